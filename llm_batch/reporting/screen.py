"""The report that fits a screen: the finding, its figures, what stands against it, what is next."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.errors import status_of
from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table, on_screen
from llm_batch.reporting.judging.sentences import labels_of
from llm_batch.reporting.model import Group, Report
from llm_batch.reporting.rules import no_answer, worst_classes
from llm_batch.reporting.sentences import checked_by, headline, mean_name, rate_name
from llm_batch.reporting.several import document as several

#: Groups that are shown; those that differ clearly come first.
_GROUPS = 6
_STEPS = 2
_Row = tuple[str, str, str, str]


def screen(report: Report) -> Document:
    """A report in at most 30 lines of 80 columns; what is left out is in the whole document."""
    return Document(
        headline(report, methods=False),
        sections=tuple(_sections(report)),
        next_steps=report.next_steps[:_STEPS],
        **on_screen(
            [(warning, "") for warning in report.warnings],
            "--format html makes a page with every item",
        ),
    )


def _sections(report: Report) -> Iterator[Section]:
    rows = tuple(_rows(report))
    parts: list[Table | str] = []
    if rows:
        header = ("", "", f"{words.level(report.level)} interval", "")
        parts.append(Table(header, (False, True, True, False), rows))
    check = report.rule_check
    unanswered = no_answer(check) if check is not None and check.unanswered else ""
    parts += [each for each in (unanswered, _failed(report)) if each]
    parts += several.left_out(report.several) if report.several else ()
    parts += [each for each in (_taken(report),) if each]
    if parts:
        yield Section("", tuple(parts))


def _rows(report: Report) -> Iterator[_Row]:
    yield from _corrected(report)
    rate, mean = report.pass_rate, report.scores.mean
    if rate.rate.value is not None:
        yield (
            rate_name(report),
            words.percent(rate.rate.value),
            words.percent_range(rate.rate),
            f"{rate.passed:,} of {words.items(rate.rate.n)} "
            f"{'right' if report.run.rule else 'pass'}",
        )
    if mean.value is not None and not report.run.rule:
        spread = ""
        if report.scores.min is not None:
            low, high = (words.number(end) for end in (report.scores.min, report.scores.max))
            spread = f"scores from {low} to {high}"
        yield mean_name(report), words.mean(mean.value), words.mean_range(mean), spread
    if report.rule_check is not None:
        yield from worst_classes(report.rule_check)
    yield from _groups(report)
    if report.several is not None:
        yield from several.rows(report.several, report.score)
    check = report.judge_check
    if check is not None and report.calibration is None and check.agreement.value is not None:
        yield (
            f"Judge agrees with {words.clean(check.reference, 20)!r}",
            words.percent(check.agreement.value),
            words.percent_range(check.agreement),
            "as text",
        )


def _corrected(report: Report) -> Iterator[_Row]:
    check = checked_by(report)
    if check is None:
        return
    by = f"corrected by {labels_of(check)}"
    if (rate := check.corrected) is not None and rate.value is not None:
        yield "Corrected pass rate", words.percent(rate.value), words.percent_range(rate), by
    if (mean := check.corrected_mean) is not None and mean.value is not None:
        yield "Corrected mean score", words.mean(mean.value), words.mean_range(mean), by
    if check.agreement.value is not None:
        yield (
            "Judge and audit agree" if check.audit else "Judge is right",
            words.percent(check.agreement.value),
            words.percent_range(check.agreement),
            f"on {words.items(check.agreement.n)}",
        )


def _groups(report: Report) -> Iterator[_Row]:
    groups = report.groups.groups if report.groups else ()
    if len(groups) < 2 or not report.pass_rate.rate.n:
        return
    shown = sorted(groups, key=lambda group: not _differs(report, group))[:_GROUPS]
    for group in shown:
        told = ""
        if _differs(report, group) and group.difference is not None:
            told = f", clearly {'lower' if (group.difference.value or 0) < 0 else 'higher'}"
        rate = group.pass_rate
        yield (
            f"  {words.named(group.name, 24)}",
            words.percent(rate.value),
            words.percent_range(rate),
            f"{group.passed:,} of {rate.n:,}{told}",
        )
    if left := len(groups) - len(shown):
        yield f"  and {left:,} more", "", "", ""


def _differs(report: Report, group: Group) -> bool:
    return group.p_adjusted is not None and group.p_adjusted < 1 - report.level


def _failed(report: Report) -> str:
    failed = [status for status in report.statuses if status.kind != "ok"]
    if not failed:
        return ""
    kinds = ", ".join(
        f"{status.n:,} {words.clean(status_of(status.kind).name, 30)}" for status in failed
    )
    n = sum(status.n for status in failed)
    return f"{words.items(n)} failed: {kinds}."


def _taken(report: Report) -> str:
    """What it cost and how long it took, as far as that is known."""
    run, total = report.run, report.total
    told = []
    if run.calls:
        told.append(words.counted(run.calls, "call"))
    if report.steps and total.cost:
        told.append(words.usd(total.cost))
    if run.seconds:
        told.append(words.duration(run.seconds))
    return f"{', '.join(told)}." if told else ""
