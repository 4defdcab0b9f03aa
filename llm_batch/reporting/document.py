"""A report as people read it: sections of tables and sentences, before any markup."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.errors import status_of
from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table
from llm_batch.records import Interval
from llm_batch.reporting.judging import sentences
from llm_batch.reporting.judging.calibration import Calibration, ScoreCheck, ScoreTable
from llm_batch.reporting.judging.reliability import raters_compared, several_judges
from llm_batch.reporting.model import Bin, Group, JudgeCheck, Report
from llm_batch.reporting.rates import LEAST_IN_GROUP
from llm_batch.reporting.reference import CHECK_LIMIT
from llm_batch.reporting.rules import classification, no_answer
from llm_batch.reporting.sentences import mean_name, method, rate_name
from llm_batch.reporting.several import document as several
from llm_batch.reporting.spending import tokens_and_cost
from llm_batch.reporting.timeline import pace
from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.calibrate import LABELS_ALONE
from llm_batch.stats.interval import ALL_SCORED

#: The section with the sentence that a paper can take over.
FOR_PAPER = "For the paper"


def document(report: Report) -> Document:
    """A report as people read it."""
    return Document(
        report.headline,
        origin(report),
        tuple(sections(report)),
        warnings=tuple((sentence, "") for sentence in report.warnings),
        next_steps=report.next_steps,
    )


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
    yield result(report)
    if report.paper:
        yield Section(FOR_PAPER, (report.paper,))
    if report.scores.distribution and not report.run.rule:
        yield distribution(report.scores.distribution)
    if report.rule_check is not None and report.rule_check.classes:
        yield from classification(report.rule_check, report.level)
    if report.several is not None:
        yield from several.sections(report.several, report.level)
    if report.groups is not None:
        yield by_group(report)
    if report.judge_check is not None:
        yield against_reference(report.judge_check, report.level)
    if report.calibration is not None:
        yield against_labels(report.calibration, report.level)
    if report.several is not None and (audit := report.several.audit) is not None:
        checked = against_labels(audit.check, report.level)
        told = tuple(several.audit_told(audit))
        yield Section(f"Audit: {words.clean(audit.step, 40)}", (*checked.parts, *told))
    if report.judges is not None:
        yield several_judges(report.judges)
    if report.steps:
        yield tokens_and_cost(report)
        yield time(report)
    if report.timeline is not None:
        yield pace(report.timeline)
    if any(status.kind != "ok" for status in report.statuses):
        yield failures(report)


_BAR = 30


def result(report: Report) -> Section:
    """Counts, rates and means with their bounds."""
    items, rate, scores = report.items, report.pass_rate, report.scores
    parts: list[Table | str] = [_counts(report)]
    if report.run.rule and rate.pass_at is not None and items.read:
        parts.append(f"Right by the rule {report.run.rule!r}: {rate.passed:,}.")
    elif rate.pass_at is not None and items.read:
        least = f"a score of at least {words.number(rate.pass_at)}"
        repeats = report.several.repeats if report.several else None
        most = f"where most of the {repeats.times} repeats have" if repeats else "with"
        parts.append(f"Passed: {rate.passed:,}, {most} {least}.")
    rows = []
    if rate.rate.value is not None:
        name = rate_name(report)
        rows.append((name, words.percent(rate.rate.value), words.percent_range(rate.rate)))
    if scores.mean.value is not None and not report.run.rule:
        rows.append(
            (mean_name(report), words.mean(scores.mean.value), words.mean_range(scores.mean))
        )
    if rows:
        parts += _intervals(report, rows)
    parts += [text for text in (_dataset(report), _unweighted(report)) if text]
    if report.rule_check is not None and report.rule_check.unanswered:
        parts.append(no_answer(report.rule_check))
    if rate.clusters is not None:
        effect = words.number(rate.design_effect, 2) if rate.design_effect else "not known"
        parts.append(f"{rate.clusters:,} clusters; the design effect on the rate is {effect}.")
    if rate.bound is not None:
        parts.append(_bound(report))
    if scores.mean.n > 1 and not report.run.rule:
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
    header = ("", "value", f"{words.level(report.level)} interval")
    both = "Both are for" if len(rows) > 1 else "For"
    methods = [
        f"{method(interval)} for the {name}"
        for name, interval in (
            (rate_name(report).lower(), report.pass_rate.rate),
            ("mean", report.scores.mean),
        )
        if interval.low is not None and not (name == "mean" and report.run.rule)
    ]
    made = f"Intervals: {'; '.join(methods)}." if methods else "No interval can be given."
    told = f"{both} {report.pass_rate.estimand}. {made}"
    return [Table.of(header, rows), told]


def _dataset(report: Report) -> str:
    """What is known of the dataset alone; empty where the items are a small part of it."""
    rate, mean, n = report.pass_rate.dataset, report.scores.dataset, report.items.population
    if ALL_SCORED in {interval.method for interval in (rate, mean) if interval}:
        return (
            f"For this dataset alone no interval is needed: all {words.items(n or 0)} were "
            + ("scored. The" if report.run.rule else "judged. The judge may still err, and the")
            + " models may answer differently in another run."
        )
    told = []
    if rate is not None and rate.low is not None:
        told.append(f"pass rate {words.percent_range(rate)} ({method(rate)})")
    if mean is not None and mean.low is not None and not report.run.rule:
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
        found += f". If the {missing:,} without a verdict were {were}"
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
#: Groups that are named as different.
_FOUND = 5


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
    parts: list[Table | str] = [Table.of(header, rows)]
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
    differing = [
        (group, group.difference.value or 0.0)
        for group in tested
        if (group.p_adjusted or 0.0) < 1 - report.level and group.difference is not None
    ]
    told = ["Each interval is for its group alone."]
    if few := len(groups) - len(tested):
        told.append(
            f"{few} of {len(groups)} groups {'is' if few == 1 else 'are'} too small to be compared "
            f"with the rest: fewer than {LEAST_IN_GROUP} items, or worth fewer."
        )
    for group, by in differing[:_FOUND]:
        side = "below" if by < 0 else "above"
        told.append(
            f"{words.named(group.name, 24)} is {100 * abs(by):.1f} points {side} the rest, a clear "
            "difference (Holm-corrected)."
        )
    if more := len(differing) - _FOUND:
        told += [f"So are {more} more."] if more > 0 else []
    if others := len(tested) - len(differing):
        which = "group" if others == 1 else f"{others} groups"
        differ = f"The other {which} {'is' if others == 1 else 'are'} not clearly different"
        told.append(f"{differ}." if differing else "No group clearly differs from the rest.")
    return " ".join(told)


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
            words.clean(status_of(status.kind).named, 40),
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
    parts: list[Table | str] = [Table.of(header, rows)]
    counts = "Time of successful calls only; waiting and failed attempts are not counted."
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


_NAME = 40


def against_reference(check: JudgeCheck, level: float) -> Section:
    """The judge's verdicts beside a string match."""
    checked = check.agreement.n
    error = check.kappa_standard_error
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
            (
                f"Is {words.clean(check.reference, 40)!r} found in the output of "
                f"{words.clean(check.step, 40)!r}? Checked on {words.items(checked)}.{left_out} "
                "This compares text only: a hint at how far the judge is right, not the truth."
            ),
            _confusion(check.table, "reference found", "not found"),
            _rates(check, level, "judge passes when found", "judge fails when not found"),
            _kappa(check.kappa, f" (standard error {words.number(error, 2)})" if error else ""),
        ),
    )


def against_labels(check: Calibration, level: float) -> Section:
    """Whether the judge is right, and the rates corrected for its errors.

    Right is what people say, or a dearer judge in an audit.
    """
    who, labels = ("audit", "audited") if check.audit else ("label", "labels")
    parts: list[Table | str] = [sentences.basis(check)]
    if check.agreement.n:
        parts += [
            _confusion(check.table, f"{who}: pass", f"{who}: fail"),
            _rates(
                check, level, "passes that the judge passes", "fails that the judge fails", labels
            ),
            _kappa(check.kappa, _between(check.kappa)),
        ]
    if check.scores is not None:
        parts += [_square(check.scores, who), _weighted(check.scores)]
    if check.agreement.n and not check.clustered:
        parts += [_estimates(check, level)]
    if check.score_check is not None:
        parts += [_score_table(check.score_check, level, who)]
        parts += [sentences.mean_finding(check.score_check, bool(check.audit))]
    found = sentences.finding(check)
    if found:
        parts.append(found)
    if check.raters is not None:
        parts += raters_compared(check.raters, "People")
    return Section("Is the judge right?", tuple(parts))


def _confusion(table: BinaryTable, *sides: str) -> Table:
    """What is taken to be right down the side, yes first; the judge along the top."""
    rows = tuple(
        (side, *map(words.count, row)) for side, row in zip(sides, table.rows, strict=True)
    )
    return Table.of(("", "judge passed", "judge failed"), rows)


def _rates(
    check: JudgeCheck | Calibration, level: float, passes: str, fails: str, counted: str = ""
) -> Table:
    """Agreement and the judge's two rates; with how many they rest on, where those are named."""
    rows = tuple(
        (
            *(name, words.percent(rate.value), words.percent_range(rate)),
            *((words.count(rate.n),) if counted else ()),
            meaning,
        )
        for name, rate, meaning in (
            ("Agreement", check.agreement, "both say the same"),
            ("Sensitivity", check.sensitivity, passes),
            ("Specificity", check.specificity, fails),
        )
    )
    named = (counted,) if counted else ()
    header = ("", "value", f"{words.level(level)} interval", *named, "")
    return Table(header, (False, *(True for _ in header[1:-1]), False), rows)


def _kappa(kappa: Interval, bounds: str) -> str:
    if kappa.value is None:
        return "Cohen's kappa is undefined: both put every item into one class."
    return (
        f"Cohen's kappa {words.number(kappa.value, 2)}{bounds}: 1 is full agreement, 0 is what "
        "chance gives."
    )


def _between(interval: Interval) -> str:
    if interval.low is None:
        return ""
    return f" ({words.interval(interval, words.coefficient_range)})"


def _square(scores: ScoreTable, who: str) -> Table:
    names = [words.number(value) for value in scores.values]
    rows = tuple(
        (f"{who} {name}", *(words.count(n) for n in row))
        for name, row in zip(names, scores.counts, strict=True)
    )
    header = ("", *(f"judge {name}" if i == 0 else name for i, name in enumerate(names)))
    return Table.of(header, rows)


def _weighted(scores: ScoreTable) -> str:
    quadratic, linear = scores.kappa_quadratic, scores.kappa_linear
    if quadratic.value is None or linear.value is None:
        return "Weighted kappa is undefined: both gave every item one and the same score."
    return (
        f"Weighted kappa of the scores: quadratic {words.number(quadratic.value, 2)}"
        f"{_between(quadratic)}, linear {words.number(linear.value, 2)}{_between(linear)}."
    )


def _estimates(check: Calibration, level: float) -> Table:
    rows = []
    labels, labelled, alone = "labels", "labelled", "Labels"
    if check.audit:
        labels, labelled, alone = "audited", "audited", "Audit"
    for name, rate, valid in (
        ("Judge alone", check.uncorrected, "the judge makes no errors"),
        ("PPI++", check.ppi, f"{labels}: random subset of this run"),
        ("Weighted by verdict", check.by_verdict, f"{labels}: drawn within each verdict"),
        ("Rogan-Gladen", check.rogan_gladen, f"same errors here as on {labelled} items"),
        (f"{alone} alone", check.labels_alone, f"{labels}: random subset of this run"),
    ):
        if rate.value is not None and (name, rate.method) != ("PPI++", LABELS_ALONE):
            rows.append((name, words.percent(rate.value), words.percent_range(rate), valid))
    header = ("Pass rate", "value", f"{words.level(level)} interval", "valid if")
    return Table(header, (False, True, True, False), tuple(rows))


def _score_table(check: ScoreCheck, level: float, who: str) -> Table:
    rows = [
        (
            name,
            words.number(found.value, 2),
            words.coefficient_range(found),
            f"same order, by {how}",
        )
        for name, found, how in (
            ("Spearman's rho", check.spearman, "ranks"),
            ("Kendall's tau-b", check.kendall, "pairs"),
        )
    ]
    if check.bias.value is not None:
        rows.append(("Mean bias", words.signed(check.bias.value), words.mean_range(check.bias),
                     f"judge minus {who}"))  # fmt: skip
    rows.append(("Mean, judge alone", words.mean(check.uncorrected.value),
                 words.mean_range(check.uncorrected), "the judge makes no errors"))  # fmt: skip
    if check.corrected is not None:
        labels = "audited" if who == "audit" else "labels"
        how = f"every item has a{'n' * (who == 'audit')} {who}"
        how = how if check.drawn == "all" else f"{labels}: random subset"
        rows.append(("Mean, corrected", words.mean(check.corrected.value),
                     words.mean_range(check.corrected), how))  # fmt: skip
    header = ("Scores", "value", f"{words.level(level)} interval", "")
    return Table(header, (False, True, True, False), tuple(rows))
