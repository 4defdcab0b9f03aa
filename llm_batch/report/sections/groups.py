"""The results by a field of the items."""

from __future__ import annotations

from llm_batch.report import words
from llm_batch.report.model import Group, Report
from llm_batch.report.rates import LEAST_IN_GROUP
from llm_batch.report.sections.parts import Paragraph, Section, Table

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
        parts.append(Paragraph(_from_the_rest(report)))
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
        f"{words.clean(group.name, 24) or '(empty)'} by {100 * (group.difference.value or 0):+.1f}"
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
