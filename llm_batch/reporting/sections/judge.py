"""The judge beside what is taken to be right: references, and labels made by people."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.paper import words
from llm_batch.paper.document import Paragraph, Section, Table
from llm_batch.records import Interval
from llm_batch.reporting.judging import sentences
from llm_batch.reporting.judging.model import Calibration, Reliability, ScoreCheck, ScoreTable
from llm_batch.reporting.model import JudgeCheck
from llm_batch.reporting.reference import CHECK_LIMIT
from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.calibrate import LABELS_ALONE


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
            Paragraph(
                f"Is {words.clean(check.reference, 40)!r} found in the output of "
                f"{words.clean(check.step, 40)!r}? Checked on {words.items(checked)}.{left_out} "
                "This is a string match and not a person's label: a hint, not the truth."
            ),
            _confusion(check.table, "reference found", "not found"),
            _rates(check, level, "judge passes when found", "judge fails when not found"),
            _kappa(check.kappa, f" (standard error {words.number(error, 2)})" if error else ""),
        ),
    )


_NAME = 40


def against_labels(check: Calibration, level: float) -> Section:
    """Whether the judge is right, and the rates corrected for its errors."""
    parts: list[Paragraph | Table] = [Paragraph(sentences.basis(check))]
    if check.agreement.n:
        parts += [
            _confusion(check.table, "label: pass", "label: fail"),
            _rates(
                check, level, "passes that the judge passes", "fails that the judge fails", "labels"
            ),
            _kappa(check.kappa, _between(check.kappa)),
        ]
    if check.scores is not None:
        parts += [_square(check.scores), Paragraph(_weighted(check.scores))]
    if check.agreement.n and not check.clustered:
        parts += [_estimates(check, level)]
    if check.score_check is not None:
        parts += [_score_table(check.score_check, level)]
        parts += [Paragraph(sentences.mean_finding(check.score_check))]
    found = sentences.finding(check)
    if found:
        parts.append(Paragraph(found))
    if check.raters is not None:
        parts += _raters(check.raters, "People")
    return Section("Is the judge right?", tuple(parts))


def several_judges(check: Reliability) -> Section:
    """How far several judges, or one asked several times, say the same."""
    return Section("Do the judges agree?", tuple(_raters(check, "Compared")))


def _confusion(table: BinaryTable, *sides: str) -> Table:
    """What is taken to be right down the side, yes first; the judge along the top."""
    rows = tuple(
        (side, *map(words.count, row)) for side, row in zip(sides, table.rows, strict=True)
    )
    return Table(("", "judge passed", "judge failed"), (False, True, True), rows)


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


def _kappa(kappa: Interval, bounds: str) -> Paragraph:
    if kappa.value is None:
        return Paragraph("Cohen's kappa is undefined: both put every item into one class.")
    return Paragraph(
        f"Cohen's kappa {words.number(kappa.value, 2)}{bounds}: 1 is full agreement, 0 is what "
        "chance gives."
    )


def _between(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    low, high = words.number(interval.low, 2), words.number(interval.high, 2)
    return f" ({words.level(interval.level)} interval {low} to {high})"


def _square(scores: ScoreTable) -> Table:
    names = [words.number(value) for value in scores.values]
    rows = tuple(
        (f"label {name}", *(words.count(n) for n in row))
        for name, row in zip(names, scores.counts, strict=True)
    )
    header = ("", *(f"judge {name}" if i == 0 else name for i, name in enumerate(names)))
    return Table(header, (False, *(True for _ in names)), rows)


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
    for name, rate, valid in (
        ("Judge alone", check.uncorrected, "the judge makes no errors"),
        ("PPI++", check.ppi, "labels: random subset of this run"),
        ("Weighted by verdict", check.by_verdict, "labels: drawn within each verdict"),
        ("Rogan-Gladen", check.rogan_gladen, "same errors here as on labelled items"),
        ("Labels alone", check.labels_alone, "labels: random subset of this run"),
    ):
        if rate.value is not None and (name, rate.method) != ("PPI++", LABELS_ALONE):
            rows.append((name, words.percent(rate.value), words.percent_range(rate), valid))
    header = ("Pass rate", "value", f"{words.level(level)} interval", "valid if")
    return Table(header, (False, True, True, False), tuple(rows))


def _score_table(check: ScoreCheck, level: float) -> Table:
    rows = [
        ("Spearman's rho", words.number(check.spearman.value, 2), _bounds(check.spearman),
         "same order, by ranks"),
        ("Kendall's tau-b", words.number(check.kendall.value, 2), _bounds(check.kendall),
         "same order, by pairs"),
    ]  # fmt: skip
    if check.bias.value is not None:
        rows.append(("Mean bias", words.signed(check.bias.value), words.mean_range(check.bias),
                     "judge minus label"))  # fmt: skip
    rows.append(("Mean, judge alone", words.mean(check.uncorrected.value),
                 words.mean_range(check.uncorrected), "the judge makes no errors"))  # fmt: skip
    if check.corrected is not None:
        how = "every item has a label" if check.drawn == "all" else "labels: random subset"
        rows.append(("Mean, corrected", words.mean(check.corrected.value),
                     words.mean_range(check.corrected), how))  # fmt: skip
    header = ("Scores", "value", f"{words.level(level)} interval", "")
    return Table(header, (False, True, True, False), tuple(rows))


def _bounds(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "-"
    return f"{words.number(interval.low, 2)} to {words.number(interval.high, 2)}"


def _raters(check: Reliability, who: str) -> Iterator[Paragraph | Table]:
    named = ", ".join(words.clean(name, _NAME) for name in check.raters)
    yield Paragraph(
        f"{who}: {named}, on {words.items(check.items)} rated by at least two. "
        f"{sentences.agreement_of(check)}"
    )
    if not check.items:
        return
    rows = (
        (
            "All say the same",
            words.percent(check.all_agree.value),
            words.percent_range(check.all_agree),
        ),
        (
            "Equal pairs per item",
            words.percent(check.within.value),
            words.percent_range(check.within),
        ),
    )
    level = f"{words.level(check.alpha.level)} interval"
    yield Table(("", "value", level), (False, True, True), rows)
