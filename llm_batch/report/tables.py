"""What a report shows to people: sections of tables and sentences, before any markup.

The formats for people (text, Markdown) differ only in how they draw these, so that a figure
reads the same in all of them. Texts from the data are cleaned here, not escaped: how to escape
is the format's own knowledge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llm_batch.report import words
from llm_batch.report.model import FUTURE, Bin, Group, JudgeCheck, Range, Report, Spending
from llm_batch.report.reference import CHECK_LIMIT
from llm_batch.report.sentences import method
from llm_batch.stats.interval import ALL_SCORED

_MOST_GROUPS = 20
_BAR = 30


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or some."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; ``right`` says which columns are figures. An all-empty header is left out."""

    header: tuple[str, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands beneath it."""

    title: str
    parts: tuple[Paragraph | Table, ...]


def origin(report: Report) -> tuple[str, ...]:
    """Which file and run this is about, as one line or two."""
    run = report.run
    named = [words.clean(report.path)]
    if run.id:
        named.append(f"run {words.clean(run.id, 60)}")
    if run.created_at:
        named.append(
            f"started {words.clean(run.created_at, 40).replace('T', ' ').replace('Z', ' UTC')}"
        )
    lines = [", ".join(named)]
    if run.models:
        models = (
            f"{words.clean(step, 40)} {words.clean(model, 80)}"
            for step, model in run.models.items()
        )
        lines.append(f"Models: {', '.join(models)}")
    return tuple(lines)


def sections(report: Report) -> Iterator[Section]:
    """The sections that have something to say, in reading order."""
    yield _result(report)
    if report.scores.distribution:
        yield Section("Scores", (_distribution(report.scores.distribution),))
    if report.groups is not None:
        yield _groups(report)
    if report.judge_check is not None:
        yield _judge_check(report.judge_check, report.level)
    if report.steps:
        yield _tokens_and_cost(report)
        yield _time(report)
    failures = [status for status in report.statuses if status.kind != "ok"]
    if failures:
        rows = tuple(
            (
                words.clean(status.kind, 20),
                words.count(status.n),
                words.clean(f"{status.example_id}: {status.example_error}", 160),
            )
            for status in failures
        )
        table = Table(("kind", "items", "first of them"), (False, True, False), rows)
        yield Section("Failures", (table,))


def _result(report: Report) -> Section:
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
        if rate.future is not None:
            rows.append(("Pass rate", share, words.percent_range(rate.future), FUTURE))
    if scores.mean.value is not None:
        score = words.mean(scores.mean.value)
        rows.append(("Mean score", score, words.mean_range(scores.mean), scores.estimand))
        if scores.future is not None:
            rows.append(("Mean score", score, words.mean_range(scores.future), FUTURE))
    if rows:
        parts += _intervals(report, rows)
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


def _distribution(bins: tuple[Bin, ...]) -> Table:
    total = sum(bin.n for bin in bins)
    most = max(bin.n for bin in bins)
    rows = []
    for bin in bins:
        name = words.number(bin.low)
        if bin.high != bin.low:
            name = f"{name} to {words.number(bin.high)}"
        bar = "=" * max(round(_BAR * bin.n / most), 1 if bin.n else 0)
        rows.append((name, words.count(bin.n), words.percent(bin.n / total), bar))
    return Table(("score", "items", "share", ""), (True, True, True, False), tuple(rows))


def _groups(report: Report) -> Section:
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
    parts: list[Paragraph | Table] = [
        Table(tuple(header), (False, *(True for _ in header[1:])), rows)
    ]
    if len(shown) < len(groups.groups):
        parts.append(
            Paragraph(
                f"The {_MOST_GROUPS} largest of {len(groups.groups):,}; --format json has them all."
            )
        )
    if judged and len(groups.groups) > 1:
        parts.append(Paragraph("Each interval stands alone: of many groups some differ by chance."))
    return Section(f"By {words.clean(groups.field, 40)}", tuple(parts))


def _group_row(group: Group, judged: bool, scored: bool) -> tuple[str, ...]:
    row = [
        words.clean(group.name, 24) or "(empty)",
        words.count(group.n),
        words.count(group.scored),
    ]
    if judged:
        rate = group.pass_rate
        row += [words.count(group.passed), words.percent(rate.value), words.percent_range(rate)]
    if scored:
        row.append(words.mean(group.mean_score))
    return tuple(row)


def _judge_check(check: JudgeCheck, level: float) -> Section:
    checked = check.agreement.n
    counts = (
        ("reference found", words.count(check.found_passed), words.count(check.found_failed)),
        ("not found", words.count(check.absent_passed), words.count(check.absent_failed)),
    )
    rates = tuple(
        (name, words.percent(rate.value), words.percent_range(rate), meaning)
        for name, rate, meaning in (
            ("Agreement", check.agreement, "both say the same"),
            ("Sensitivity", check.sensitivity, "judge passes when found"),
            ("Specificity", check.specificity, "judge fails when not found"),
        )
    )
    if check.kappa.value is None:
        kappa = "Cohen's kappa is undefined: both put every item into one class."
    else:
        error = check.kappa_standard_error
        kappa = (
            f"Cohen's kappa {words.number(check.kappa.value, 2)}"
            + (f" (standard error {words.number(error, 2)})" if error else "")
            + ": 1 is full agreement, 0 is what chance gives."
        )
    left_out = ""
    if check.unchecked:
        limit = f", or beyond the first {CHECK_LIMIT:,}" if checked >= CHECK_LIMIT else ""
        left_out = (
            f" {words.items(check.unchecked)} left out (no reference, a long one, or no "
            f"text{limit})."
        )
    return Section(
        "Judge against reference",
        (
            Paragraph(
                f"Is {words.clean(check.reference, 40)!r} found in the output of "
                f"{words.clean(check.step, 40)!r}? Checked on {words.items(checked)}.{left_out} "
                "This is a string match and not a person's label: a hint, not the truth."
            ),
            Table(("", "judge passed", "judge failed"), (False, True, True), counts),
            Table(
                ("", "value", f"{words.level(level)} interval", ""),
                (False, True, True, False),
                rates,
            ),
            Paragraph(kappa),
        ),
    )


def _tokens_and_cost(report: Report) -> Section:
    spent = [*report.steps, report.total]
    cached = any(step.usage.cache_read_tokens for step in spent)
    reasoning = any(step.usage.reasoning_tokens for step in spent)
    header = ["step", "attempts", "input", "output"]
    header += ["cached"] * cached + ["reasoning"] * reasoning + ["cost"]
    rows = []
    for step in spent:
        usage = step.usage
        row = [words.clean(step.step, 24), words.count(step.attempts)]
        row += [words.count(usage.input_tokens), words.count(usage.output_tokens)]
        row += [words.count(usage.cache_read_tokens)] * cached
        row += [words.count(usage.reasoning_tokens)] * reasoning
        rows.append((*row, words.usd(step.cost)))
    parts: list[Paragraph | Table] = [
        Table(tuple(header), (False, *(True for _ in header[1:])), tuple(rows))
    ]
    parts += [Paragraph(text) for text in _per_item(report)]
    if any(step.estimate is not None for step in spent):
        parts.append(_estimates(spent))
        if report.items.planned is not None and report.items.read < report.items.planned:
            parts.append(
                Paragraph(f"The estimate is for all {words.items(report.items.planned)} planned.")
            )
    return Section("Tokens and cost", tuple(parts))


def _per_item(report: Report) -> Iterator[str]:
    money = report.money
    if money.per_item:
        passed = f", per passed item {words.usd(money.per_passed)}" if money.per_passed else ""
        yield f"Per item {words.usd(money.per_item)}{passed}."
    whole = money.whole_dataset
    if whole is not None and whole.low is not None and whole.high is not None and whole.value:
        yield (
            f"All {report.items.population or 0:,} items would cost {words.usd(whole.value)} in "
            f"all ({words.usd_range(whole.low, whole.high)})."
        )


def _estimates(spent: list[Spending]) -> Table:
    rows = []
    for step in spent:
        estimate = step.estimate
        if estimate is None:
            continue
        cost = estimate.cost
        expected = "unknown"
        if cost is not None:
            expected = words.usd(cost.expected)
            if cost.low != cost.high:
                expected += f" ({words.usd_range(cost.low, cost.high)})"
        rows.append(
            (
                words.clean(step.step, 24),
                words.count(estimate.input_tokens),
                words.count(estimate.output_tokens),
                expected,
                _against(step.cost, cost),
            )
        )
    return Table(
        ("estimated", "input", "output", "cost (low to high)", "actual cost"),
        (False, True, True, True, True),
        tuple(rows),
    )


def _against(actual: float | None, estimate: Range | None) -> str:
    """How a cost turned out beside its estimate: ``7 % less, in range``."""
    if actual is None or estimate is None:
        return words.NONE
    place = "in range"
    if actual > estimate.high:
        place = "above range"
    elif actual < estimate.low:
        place = "below range"
    if estimate.expected <= 0:
        return place
    change = round(100 * (actual / estimate.expected - 1))
    if change == 0:
        return f"as expected, {place}"
    return f"{abs(change):,} % {'more' if change > 0 else 'less'}, {place}"


def _time(report: Report) -> Section:
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
