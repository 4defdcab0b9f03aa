"""What came out: counts, the pass rate and the mean score with their bounds."""

from __future__ import annotations

from llm_batch.report import words
from llm_batch.report.model import Bin, Report
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
        rows.append(("Pass rate", words.percent(rate.rate.value), words.percent_range(rate.rate)))
    if scores.mean.value is not None:
        rows.append(("Mean score", words.mean(scores.mean.value), words.mean_range(scores.mean)))
    if rows:
        parts += _intervals(report, rows)
    parts += [Paragraph(text) for text in (_dataset(report), _unweighted(report)) if text]
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


def _intervals(report: Report, rows: list[tuple[str, str, str]]) -> list[Paragraph | Table]:
    """The figures with their bounds, what these speak of and how they were made."""
    header = ("", "value", f"{words.level(report.level)} interval")
    both = "Both are for" if len(rows) > 1 else "For"
    methods = [
        f"{method(interval)} for the {name}"
        for name, interval in (("pass rate", report.pass_rate.rate), ("mean", report.scores.mean))
        if interval.low is not None
    ]
    made = f"Intervals: {'; '.join(methods)}." if methods else "No interval can be given."
    told = f"{both} {report.pass_rate.estimand}. {made}"
    return [Table(header, (False, True, True), tuple(rows)), Paragraph(told)]


def _dataset(report: Report) -> str:
    """What is known of the dataset alone; empty where the items are a small part of it."""
    rate, mean, n = report.pass_rate.dataset, report.scores.dataset, report.items.population
    if ALL_SCORED in {interval.method for interval in (rate, mean) if interval}:
        return (
            f"For this dataset alone no interval is needed: all {words.items(n or 0)} were judged. "
            "The judge still errs, and another run of the models would differ."
        )
    told = []
    if rate is not None and rate.low is not None:
        told.append(f"pass rate {words.percent_range(rate)} ({method(rate)})")
    if mean is not None and mean.low is not None:
        told.append(f"mean score {words.mean_range(mean)} ({method(mean)})")
    return f"For this dataset of {words.items(n or 0)} alone: {'; '.join(told)}." if told else ""


def _unweighted(report: Report) -> str:
    """What the items alone come to, without weights; empty where these change nothing."""
    rate, mean = report.pass_rate.unweighted, report.scores.unweighted
    told = []
    if rate is not None:
        told.append(f"pass rate {words.percent(rate.value)} ({words.percent_range(rate)})")
    if mean is not None:
        told.append(f"mean score {words.mean(mean.value)} ({words.mean_range(mean)})")
    return f"Unweighted, these items alone: {'; '.join(told)}." if told else ""


def _bound(report: Report) -> str:
    rate, bound = report.pass_rate, report.pass_rate.bound
    assert bound is not None
    level, missing = words.level(report.level), bound.n - rate.rate.n
    side, figure = ("least", bound.low) if rate.passed else ("most", bound.high)
    found = f"{'All' if rate.passed else 'None of'} {words.items(rate.rate.n)} passed"
    if missing:
        were = "fails" if rate.passed else "passes"
        found += f". Were the {missing:,} without a verdict {were}"
    return (
        f"{found}{',' if missing else ':'} items like these pass at a rate of at {side} "
        f"{words.percent(figure, 2)} (exact, one-sided, {level})."
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
