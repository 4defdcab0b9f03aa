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
from llm_batch.reporting.foreign import ForeignFile
from llm_batch.reporting.lines import (
    LONGEST_LINE,
    TOO_LONG,
    UNREADABLE,
    Amount,
    Count,
    bounded_lines,
    too_deep,
)
from llm_batch.reporting.model import Report


class _Usage(msgspec.Struct):
    input_tokens: Count = 0
    output_tokens: Count = 0


class _Total(msgspec.Struct):
    total: Amount | None = None


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


_decode = msgspec.json.Decoder(ItemLine).decode


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
    from llm_batch.reporting.tally import group_name

    if item.stratum:
        return item.stratum
    return group_name(field_of(item.fields, report.groups.field))


def field_of(fields: dict[str, Any], name: str) -> Any:
    """A field by its name, or along the dots of its name; ``None`` where there is none."""
    from llm_batch.reporting.foreign import found

    return found(fields, name, None)


def _own(path: str) -> Iterator[ItemLine]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(bounded_lines(file), 1):
                if line.isspace() or not line.endswith(b"\n"):
                    if (last := _last(line)) is not None:
                        yield last
                    continue
                yield decoded_item(line, f"{path}, line {number}")
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def decoded_item(line: bytes, where: str) -> ItemLine:
    """A line with all that people read.

    A report reads less of a line at first; what it has skipped so far may be wrong as well.

    Raises:
        OutputError: It is not a result; ``where`` says which.
    """
    try:
        item = _decode(without_mark(line))
    except UNREADABLE as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        if line == TOO_LONG:
            reason = f"it is longer than {LONGEST_LINE >> 20} MB"
    else:
        if not too_deep(*item.fields.values(), *item.outputs.values()):
            return item
        reason = "nested too deeply"
    raise OutputError(
        f"{where} is not a result: {reason}",
        "the same llmb run command writes the file again from its journal",
    )


def _last(line: bytes) -> ItemLine | None:
    """A line without its end; ``None`` where it is cut off, as the report has said."""
    try:
        return decoded_item(line, "the last line")
    except OutputError:
        return None


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
