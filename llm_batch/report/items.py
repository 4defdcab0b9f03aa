"""The items behind a report, whole, for the formats that show them one by one.

They are read from the results file a second time: a report itself keeps no item, so that a
million of them fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from llm_batch.errors import OutputError
from llm_batch.records import without_mark
from llm_batch.report.foreign import ForeignFile
from llm_batch.report.model import Report

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _Total(msgspec.Struct):
    total: float | None = None


class ItemLine(msgspec.Struct, kw_only=True):
    """A results line with all that people read; numbers over all steps."""

    id: str
    status: str
    error: str = ""
    fields: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    score: float | None = None
    label: str = ""
    reason: str = ""
    passed: bool | None = None
    stratum: str = ""
    usage: _Usage = msgspec.field(default_factory=_Usage)
    cost: _Total = msgspec.field(default_factory=_Total)
    latency_seconds: _Total = msgspec.field(default_factory=_Total)
    attempts: _Total = msgspec.field(default_factory=_Total)
    simulated: bool = False


def read_items(report: Report) -> Iterator[ItemLine]:
    """The items of a report in the order of the file, each id once.

    Raises:
        OutputError: The results came from standard input, or the file is gone.
    """
    if report.path == "-":
        raise OutputError(
            "this format reads the results twice, which standard input does not allow",
            "write them to a file: llmb report results.jsonl",
        )
    seen: set[str] = set()
    for item in _foreign(report) if report.columns else _own(report.path):
        if item.id not in seen:
            seen.add(item.id)
            yield item


def category_of(item: ItemLine, report: Report) -> str:
    """The group of an item, as the report names its groups; empty without groups."""
    if report.groups is None:
        return ""
    from llm_batch.report.group_tally import group_name

    if item.stratum:
        return item.stratum
    return group_name(field_of(item.fields, report.groups.field))


def field_of(fields: dict[str, Any], name: str) -> Any:
    """A field by its name, or along the dots of its name; ``None`` where there is none."""
    from llm_batch.report.foreign import found

    return found(fields, name, None)


def _own(path: str) -> Iterator[ItemLine]:
    decode = msgspec.json.Decoder(ItemLine).decode
    try:
        with open(path, "rb") as file:
            for line in map(without_mark, file):
                try:
                    yield decode(line)
                except _UNREADABLE:
                    continue  # blank, or the last one cut off: the report has said so
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def _foreign(report: Report) -> Iterator[ItemLine]:
    if report.columns is None:
        return
    for line in ForeignFile(report.path, report.columns).lines():
        yield ItemLine(
            id=line.id,
            status=line.status,
            error=line.error,
            fields=line.fields,
            score=line.score,
            passed=line.passed,
        )
