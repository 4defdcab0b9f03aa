"""The judge beside what is taken to be right."""

from __future__ import annotations

from llm_batch.report import words
from llm_batch.report.model import JudgeCheck
from llm_batch.report.reference import CHECK_LIMIT
from llm_batch.report.sections.parts import Paragraph, Section, Table


def against_reference(check: JudgeCheck, level: float) -> Section:
    """The judge's verdicts beside a string match."""
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
