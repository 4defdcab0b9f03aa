"""How long items took, and the run."""

from __future__ import annotations

from llm_batch.report import words
from llm_batch.report.model import Report
from llm_batch.report.sections.parts import Paragraph, Section, Table


def time(report: Report) -> Section:
    """Latency by step and the wall time beside its estimate."""
    rows = tuple(
        (
            words.clean(step.step, 24),
            words.duration(step.latency_p50),
            words.duration(step.latency_p95),
        )
        for step in (*report.steps, report.total)
    )
    parts: list[Paragraph | Table] = [
        Table(("time per item", "median", "95 % within"), (False, True, True), rows)
    ]
    run = report.run
    if run.seconds is not None:
        expected = run.expected_seconds
        estimated = (
            f" (estimated {words.duration(expected.low)} to {words.duration(expected.high)})"
            if expected is not None
            else ""
        )
        pace = (
            f", {words.number(60 * report.items.read / run.seconds)} items a minute"
            if run.seconds > 0 and report.items.read
            else ""
        )
        parts.append(Paragraph(f"Wall time {words.duration(run.seconds)}{estimated}{pace}."))
    return Section("Time", tuple(parts))
