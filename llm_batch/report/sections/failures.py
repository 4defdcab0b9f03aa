"""What failed, by kind, with the first of each as an example."""

from __future__ import annotations

from llm_batch.report import words
from llm_batch.report.model import Report
from llm_batch.report.sections.parts import Section, Table


def failures(report: Report) -> Section:
    """Items without a result, by kind."""
    rows = tuple(
        (
            words.clean(status.kind, 20),
            words.count(status.n),
            words.clean(f"{status.example_id}: {status.example_error}", 160),
        )
        for status in report.statuses
        if status.kind != "ok"
    )
    table = Table(("kind", "items", "first of them"), (False, True, False), rows)
    return Section("Failures", (table,))
