"""The items behind a report, whole, for the formats that show them one by one.

They are read from the results file a second time: a report itself keeps no item, so that a
million of them fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_batch.errors import OutputError
from llm_batch.record.results import ItemLine, item_lines
from llm_batch.reporting.foreign import ForeignFile
from llm_batch.reporting.model import Report


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
    for item in _foreign(report) if report.columns else item_lines(report.path):
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
