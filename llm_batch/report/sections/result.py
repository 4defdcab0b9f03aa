"""What came out: counts, the pass rate and the mean score with their bounds."""

from __future__ import annotations

from llm_batch.report import words
from llm_batch.report.model import FUTURE, Bin, Report
from llm_batch.report.sections.parts import Paragraph, Section, Table
from llm_batch.report.sentences import method
from llm_batch.stats.interval import ALL_SCORED

_BAR = 30


def result(report: Report) -> Section:
    """Counts, rates and means with their bounds."""
    items, rate, scores = report.items, report.pass_rate, report.scores
    parts: list[Paragraph | Table] = [Paragraph(_counts(report))]
    if rate.pass_at is not None and items.read:
        parts.append(
            Paragraph(
                f"Passed: {rate.passed:,}, with a score of at least {words.number(rate.pass_at)}."
            )
        )
    rows = []
    if rate.rate.value is not None:
        share = words.percent(rate.rate.value)
        rows.append(("Pass rate", share, words.percent_range(rate.rate), rate.estimand))
        if rate.unweighted is not None:
            plain = rate.unweighted
            row = (words.percent(plain.value), words.percent_range(plain))
            rows.append(("Pass rate", *row, "unweighted, these items alone"))
        if rate.future is not None:
            rows.append(("Pass rate", share, words.percent_range(rate.future), FUTURE))
    if scores.mean.value is not None:
        score = words.mean(scores.mean.value)
        rows.append(("Mean score", score, words.mean_range(scores.mean), scores.estimand))
        if scores.unweighted is not None:
            plain = scores.unweighted
            row = (words.mean(plain.value), words.mean_range(plain))
            rows.append(("Mean score", *row, "unweighted, these items alone"))
        if scores.future is not None:
            rows.append(("Mean score", score, words.mean_range(scores.future), FUTURE))
    if rows:
        parts += _intervals(report, rows)
    if rate.clusters is not None:
        effect = words.number(rate.design_effect, 2) if rate.design_effect else "not known"
        parts.append(
            Paragraph(f"{rate.clusters:,} clusters; the design effect on the rate is {effect}.")
        )
    if rate.bound is not None:
        parts.append(Paragraph(_bound(report)))
    if scores.mean.n > 1:
        parts.append(
            Paragraph(
                f"Scores: sd {words.number(scores.sd)}, median {words.number(scores.median)}, "
                f"from {words.number(scores.min)} to {words.number(scores.max)}."
            )
        )
    return Section("Result", tuple(parts))


def _counts(report: Report) -> str:
    items = report.items
    scoring = bool(report.run.judge or items.scored)
    done = f"{items.scored:,} scored" if scoring else f"{items.ok:,} answered"
    text = f"Items: {done} of {items.read:,} played"
    if items.planned is not None:
        text += f" and {items.planned:,} planned"
    if items.coverage is not None:
        text += f" (coverage {words.percent(items.coverage)})"
    if items.population is not None:
        text += f"; {items.population:,} in the dataset"
    return f"{text}."


def _intervals(report: Report, rows: list[tuple[str, str, str, str]]) -> list[Paragraph | Table]:
    """The figures with their bounds, what these speak of and how they were made."""
    header: tuple[str, ...] = ("", "value", f"{words.level(report.level)} interval", "for")
    right: tuple[bool, ...] = (False, True, True, False)
    estimands = list(dict.fromkeys(row[3] for row in rows))
    told = ""
    if len(estimands) == 1:  # then a sentence says it once
        header, right = header[:3], right[:3]
        told = f"Both are for {estimands[0]}. " if len(rows) > 1 else f"For {estimands[0]}. "
    table = Table(header, right, tuple(row[: len(header)] for row in rows))
    pairs = [("pass rate", report.pass_rate.rate, report.pass_rate.future)]
    pairs.append(("mean", report.scores.mean, report.scores.future))
    methods = []
    for name, interval, future in pairs:
        chosen = future if interval.method == ALL_SCORED else interval
        if chosen is not None and chosen.low is not None:
            methods.append(f"{method(chosen)} for the {name}")
    if any(interval.method == ALL_SCORED for _, interval, _ in pairs):
        told += "All items were scored, so figures for the dataset are exact. "
    told += f"Intervals: {'; '.join(methods)}." if methods else "No interval can be given."
    return [table, Paragraph(told)]


def _bound(report: Report) -> str:
    rate, bound = report.pass_rate, report.pass_rate.bound
    assert bound is not None
    level = words.level(report.level)
    if rate.passed:
        return (
            f"All {words.items(bound.n)} passed: items like these pass at a rate of at least "
            f"{words.percent(bound.low, 2)} (exact, one-sided, {level})."
        )
    return (
        f"None of {words.items(bound.n)} passed: items like these pass at a rate of at most "
        f"{words.percent(bound.high, 2)} (exact, one-sided, {level})."
    )


def distribution(bins: tuple[Bin, ...]) -> Section:
    """How the scores are spread, with bars."""
    total = sum(bin.n for bin in bins)
    most = max(bin.n for bin in bins)
    rows = []
    for bin in bins:
        name = words.number(bin.low)
        if bin.high != bin.low:
            name = f"{name} to {words.number(bin.high)}"
        bar = "=" * max(round(_BAR * bin.n / most), 1 if bin.n else 0)
        rows.append((name, words.count(bin.n), words.percent(bin.n / total), bar))
    table = Table(("score", "items", "share", ""), (True, True, True, False), tuple(rows))
    return Section("Scores", (table,))
