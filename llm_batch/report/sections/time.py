"""How long items took, and the run."""

from __future__ import annotations

from llm_batch.report import words
from llm_batch.report.model import Report
from llm_batch.report.sections.parts import Paragraph, Section, Table

#: With fewer items a 99 % quantile is the slowest of them, more or less.
_ENOUGH_FOR_99 = 100


def time(report: Report) -> Section:
    """Latency by step and the wall time beside its estimate."""
    rows = tuple(
        (
            words.clean(step.step, 24),
            words.duration(step.latency_p50),
            words.duration_range(step.latency_median),
            words.duration(step.latency_p95),
            words.duration(step.latency_p99),
        )
        for step in (*report.steps, report.total)
    )
    header = (
        "time per item",
        "median",
        f"its {words.level(report.level)} interval",
        "95 % within",
        "99 % within",
    )
    parts: list[Paragraph | Table] = [Table(header, (False, True, True, True, True), rows)]
    counts = "The time of the attempts that answered; waiting and failed attempts are left out."
    if 0 < report.total.latency_median.n < _ENOUGH_FOR_99:
        counts += f" With fewer than {_ENOUGH_FOR_99} items, 99 % is about the slowest one."
    tails = [
        f"{name} of items within {words.duration(tail.value)} "
        f"({words.duration(tail.low)} to {words.duration(tail.high)})"
        for name, tail in zip(("95 %", "99 %"), report.total.latency_tails, strict=True)
        if tail.low is not None
    ]
    if tails:
        counts += f" In all, with {words.level(report.level)} intervals: {', '.join(tails)}."
    parts.append(Paragraph(counts))
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
