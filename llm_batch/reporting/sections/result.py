"""What came out: rates and scores with their bounds, by group, failures, times."""

from __future__ import annotations

from llm_batch.paper import words
from llm_batch.paper.document import Section, Table
from llm_batch.reporting.model import Bin, Group, Report
from llm_batch.reporting.rates import LEAST_IN_GROUP
from llm_batch.reporting.sentences import method
from llm_batch.stats.interval import ALL_SCORED

_BAR = 30


def result(report: Report) -> Section:
    """Counts, rates and means with their bounds."""
    items, rate, scores = report.items, report.pass_rate, report.scores
    parts: list[Table | str] = [_counts(report)]
    if rate.pass_at is not None and items.read:
        parts.append(
            f"Passed: {rate.passed:,}, with a score of at least {words.number(rate.pass_at)}."
        )
    rows = []
    if rate.rate.value is not None:
        rows.append(("Pass rate", words.percent(rate.rate.value), words.percent_range(rate.rate)))
    if scores.mean.value is not None:
        rows.append(("Mean score", words.mean(scores.mean.value), words.mean_range(scores.mean)))
    if rows:
        parts += _intervals(report, rows)
    parts += [text for text in (_dataset(report), _unweighted(report)) if text]
    if rate.clusters is not None:
        effect = words.number(rate.design_effect, 2) if rate.design_effect else "not known"
        parts.append(f"{rate.clusters:,} clusters; the design effect on the rate is {effect}.")
    if rate.bound is not None:
        parts.append(_bound(report))
    if scores.mean.n > 1:
        parts.append(
            f"Scores: sd {words.number(scores.sd)}, median {words.number(scores.median)}, "
            f"from {words.number(scores.min)} to {words.number(scores.max)}."
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


def _intervals(report: Report, rows: list[tuple[str, str, str]]) -> list[Table | str]:
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
    return [Table(header, (False, True, True), tuple(rows)), told]


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


_MOST_GROUPS = 20


def by_group(report: Report) -> Section:
    """Each group with its figures, largest first."""
    groups = report.groups
    assert groups is not None
    judged = report.pass_rate.rate.n > 0
    shown = groups.groups[:_MOST_GROUPS]
    header = ["", "items", "scored"]
    if judged:
        header += ["passed", "pass rate", f"{words.level(report.level)} interval"]
    if report.items.scored:
        header.append("mean score")
    rows = tuple(_group_row(group, judged, bool(report.items.scored)) for group in shown)
    parts: list[Table | str] = [Table(tuple(header), (False, *(True for _ in header[1:])), rows)]
    if len(shown) < len(groups.groups):
        parts.append(
            f"The {_MOST_GROUPS} largest of {len(groups.groups):,}; --format json has them all."
        )
    if judged and len(groups.groups) > 1:
        parts.append(_from_the_rest(report))
    return Section(f"By {words.clean(groups.field, 40)}", tuple(parts))


def _from_the_rest(report: Report) -> str:
    """Which groups differ from all other items, with the correction for looking at many."""
    groups = report.groups.groups if report.groups else ()
    tested = [group for group in groups if group.p_adjusted is not None]
    differing = [group for group in tested if (group.p_adjusted or 0.0) < 1 - report.level]
    few = len(groups) - len(tested)
    alone = "Each interval stands alone."
    if few:
        alone += (
            f" {few} of {len(groups)} groups {'is' if few == 1 else 'are'} not tested: fewer than "
            f"{LEAST_IN_GROUP} items, or worth fewer, say too little."
        )
    if not tested:
        return alone
    of = f"{len(tested)} groups"
    if not differing:
        return f"{alone} None of {of} differs from the other items after Holm's correction."
    named = ", ".join(
        f"{words.named(group.name, 24)} by {100 * (group.difference.value or 0):+.1f}"
        for group in differing[:5]
        if group.difference is not None
    )
    more = " and others" if len(differing) > 5 else ""
    return (
        f"{alone} {len(differing)} of {of} differ from the other items after Holm's correction: "
        f"{named}{more} points."
    )


def _group_row(group: Group, judged: bool, scored: bool) -> tuple[str, ...]:
    row = [
        words.named(group.name, 24),
        words.count(group.n),
        words.count(group.scored),
    ]
    if judged:
        rate = group.pass_rate
        row += [words.count(group.passed), words.percent(rate.value), words.percent_range(rate)]
    if scored:
        row.append(words.mean(group.mean_score))
    return tuple(row)


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
    parts: list[Table | str] = [Table(header, (False, True, True, True, True), rows)]
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
    parts.append(counts)
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
        parts.append(f"Wall time {words.duration(run.seconds)}{estimated}{pace}.")
    return Section("Time", tuple(parts))
