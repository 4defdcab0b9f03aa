"""A comparison as people read it: sections of tables and sentences, before any markup."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from llm_batch.paper import words
from llm_batch.paper.document import on_screen
from llm_batch.reporting.comparison.model import Against, Change, Comparison, RunFigures
from llm_batch.reporting.comparison.sentences import (
    is_clustered,
)
from llm_batch.reporting.sections import FOR_PAPER, Document, Section, Table

_CHANGES = 5
_CATEGORIES = 20
_SETTINGS = 20
_NAME = 24
_RUNS_ON_SCREEN = 3


def document(comparison: Comparison) -> Document:
    """The comparison in reading order."""
    return Document(
        comparison.headline,
        tuple(_origin(comparison)),
        tuple(_sections(comparison)),
        warnings=tuple((sentence, "") for sentence in comparison.warnings),
        next_steps=comparison.next_steps,
    )


def screen(comparison: Comparison) -> Document:
    """The comparison in at most 30 lines of 80 columns; the rest is in the whole document."""
    sections = []
    for each in comparison.against[:_RUNS_ON_SCREEN]:
        several = len(comparison.against) > 1
        changed = "" if several else _change_counts(comparison, each)
        parts = [part for part in (_figures(comparison, each), changed) if part]
        sections.append(Section(words.clean(each.run, 40) if several else "", tuple(parts)))
    return Document(
        comparison.headline,
        tuple(_origin(comparison)),
        tuple(sections),
        next_steps=comparison.next_steps[:2],
        **on_screen(
            [(warning, "") for warning in comparison.warnings],
            "--format html lists every item side by side",
        ),
    )


def _origin(comparison: Comparison) -> Iterator[str]:
    for run in comparison.runs:
        models = f": {words.clean(run.models, 120)}" if run.models else ""
        base = " (baseline)" if run.name == comparison.baseline else ""
        yield f"{words.clean(run.name, 40)}{base}{models}"


def _sections(comparison: Comparison) -> Iterator[Section]:
    for place, section in enumerate(_tables(comparison)):
        yield section
        if not place and comparison.paper:
            yield Section(FOR_PAPER, tuple(each for each in comparison.paper))


def _tables(comparison: Comparison) -> Iterator[Section]:
    for each in comparison.against:
        yield _difference(comparison, each)
        if len(each.categories) > 1:
            yield _by_category(comparison, each)
        if each.changes:
            yield _changed(comparison, each)
    yield _side_by_side(comparison)
    if comparison.settings:
        yield _settings(comparison)


def _titled(comparison: Comparison, each: Against, title: str) -> str:
    """The title, with the run where there is more than one to be compared."""
    return f"{title}: {words.clean(each.run, 40)}" if len(comparison.against) > 1 else title


def _figures(comparison: Comparison, each: Against) -> Table | None:
    """The rates and means of both runs and their differences; ``None`` without either."""
    base, run = words.clean(comparison.baseline, _NAME), words.clean(each.run, _NAME)
    level = f"{words.level(comparison.level)} interval"
    rows = []
    rates, scores = each.rates, each.scores
    if rates is not None:
        rows.append(
            (
                "Pass rate",
                words.percent(rates.baseline_rate),
                words.percent(rates.run_rate),
                words.points(rates.difference.value),
                words.points_range(rates.difference),
                words.p_value(rates.p_adjusted),
            )
        )
    if scores is not None:
        rows.append(
            (
                "Mean score",
                words.mean(scores.baseline_mean),
                words.mean(scores.run_mean),
                words.signed(scores.difference.value),
                words.signed_range(scores.difference),
                words.p_value(scores.p_adjusted),
            )
        )
    if not rows:
        return None
    header = ("", base, run, "difference", level, "p")
    return Table(header, (False, True, True, True, True, True), tuple(rows))


def _change_counts(comparison: Comparison, each: Against) -> str:
    """How many items changed their verdict in either direction; empty for other items."""
    base, run, rates = (
        words.clean(comparison.baseline, _NAME),
        words.clean(each.run, _NAME),
        each.rates,
    )
    if rates is None or not rates.paired:
        return ""
    return (
        f"{rates.gained or 0:,} items fail in {base} and pass in {run}, {rates.lost or 0:,} "
        f"pass in {base} and fail in {run}."
    )


def _difference(comparison: Comparison, each: Against) -> Section:
    run, scores = words.clean(each.run, _NAME), each.scores
    parts: list[Table | str] = [_basis(comparison, each)]
    if (table := _figures(comparison, each)) is not None:
        parts.append(table)
    told = [changed] if (changed := _change_counts(comparison, each)) else []
    if scores is not None:
        told.append(
            f"{run} scores higher on {scores.wins:,}, equal on {scores.ties:,} and lower on "
            f"{scores.losses:,} of {words.items(scores.n)}."
        )
    told.append(_methods(each))
    parts.append(" ".join(told))
    return Section(_titled(comparison, each, "Difference"), tuple(parts))


def _basis(comparison: Comparison, each: Against) -> str:
    n = each.rates.n if each.rates else each.scores.n if each.scores else 0
    if not each.common:
        return "Different items: the rates of both runs are compared, each over its own."
    return (
        f"{words.items(n)} compared, of {words.items(each.common)} in both runs; rates and "
        "differences are over these alone, for future items like them."
    )


def _methods(each: Against) -> str:
    """How intervals and p-values were made."""
    if not each.common:
        return "Interval: Newcombe's hybrid score; p: chi-squared with n - 1 (both unpaired)."
    made = []
    if each.rates is not None:
        made.append(
            "Student's t by clusters for the pass rate"
            if is_clustered(each.rates)
            else "Tango's paired score and McNemar's test (mid-p) for the pass rate"
        )
    if each.scores is not None and each.scores.difference.low is not None:
        clustered = each.scores.difference.method.startswith("clustered")
        made.append(f"{'t by clusters' if clustered else 'paired t'} for the mean")
    return f"Interval and p: {'; '.join(made)}." if made else "No interval can be given."


def _by_category(comparison: Comparison, each: Against) -> Section:
    base, run = words.clean(comparison.baseline, _NAME), words.clean(each.run, _NAME)
    shown = each.categories[:_CATEGORIES]
    rows = tuple(
        (
            words.named(group.name, 40),
            words.count(group.rates.n),
            words.percent(group.rates.baseline_rate),
            words.percent(group.rates.run_rate),
            words.points(group.rates.difference.value),
            words.points_range(group.rates.difference),
            words.p_value(group.rates.p_adjusted),
        )
        for group in shown
    )
    level = f"{words.level(comparison.level)} interval"
    header = (words.clean(comparison.group_field, 24), "items", base, run, "diff.", level, "p")
    parts: list[Table | str] = [
        Table(header, (False, *(True for _ in header[1:])), rows),
        _categories_found(comparison, each),
    ]
    return Section(_titled(comparison, each, "By category"), tuple(parts))


def _categories_found(comparison: Comparison, each: Against) -> str:
    alpha = 1 - comparison.level
    differing = [
        words.named(group.name, 40)
        for group in each.categories
        if group.rates.p_adjusted is not None and group.rates.p_adjusted < alpha
    ]
    left = len(each.categories) - _CATEGORIES
    more = f" The {left} smallest are left out here; csv and json have all." if left > 0 else ""
    of = f"{len(each.categories)} categories"
    if not differing:
        return f"None of {of} differs after Holm's correction.{more}"
    named = ", ".join(differing[:5]) + (" and others" if len(differing) > 5 else "")
    return f"{len(differing)} of {of} differ after Holm's correction: {named}.{more}"


def _changed(comparison: Comparison, each: Against) -> Section:
    parts: list[Table | str] = []
    base, run = words.clean(comparison.baseline, _NAME), words.clean(each.run, _NAME)
    for kind, title in (
        ("lost", f"Pass in {base}, fail in {run}"),
        ("gained", f"Fail in {base}, pass in {run}"),
        ("lower", f"Lower in {run}"),
        ("higher", f"Higher in {run}"),
    ):
        of_kind = [change for change in each.changes if change.kind == kind]
        if not of_kind:
            continue
        total = _total(each, kind, len(of_kind))
        first = f", the first {_CHANGES}" if total > _CHANGES else ""
        parts.append(f"{title}: {words.items(total)}{first}")
        rows = tuple(_change(change) for change in of_kind[:_CHANGES])
        header = ("id", "scores", base, run)
        parts.append(Table(header, (False, True, False, False), rows))
    return Section(_titled(comparison, each, "What changed"), tuple(parts))


def _total(each: Against, kind: str, listed: int) -> int:
    rates = each.rates
    known = {"lost": rates.lost, "gained": rates.gained} if rates is not None else {}
    return known.get(kind) or listed


def _change(change: Change) -> tuple[str, ...]:
    scores = f"{words.number(change.baseline_score)} to {words.number(change.run_score)}"
    return (
        words.clean(change.id, 24),
        scores,
        words.clean(change.baseline_output, 60) or words.NONE,
        words.clean(change.run_output, 60) or words.NONE,
    )


def _side_by_side(comparison: Comparison) -> Section:
    header = ("", *(words.clean(run.name, _NAME) for run in comparison.runs))
    figures: tuple[tuple[str, Callable[[RunFigures], str]], ...] = (
        ("Items played", lambda run: words.count(run.read)),
        ("Items scored", lambda run: words.count(run.scored)),
        ("Items failed", lambda run: words.count(run.failed)),
        ("Pass rate, own items", lambda run: words.percent(run.pass_rate.value)),
        ("Mean score, own items", lambda run: words.mean(run.mean_score.value)),
        ("Cost", lambda run: words.usd(run.cost)),
        ("Cost per item", lambda run: words.usd(run.cost_per_item)),
        ("Cost per passed item", lambda run: words.usd(run.cost_per_passed)),
        ("Input tokens", lambda run: words.count(run.input_tokens)),
        ("Output tokens", lambda run: words.count(run.output_tokens)),
        ("Latency per item, p50", lambda run: words.duration(run.latency_p50)),
        ("Latency per item, p95", lambda run: words.duration(run.latency_p95)),
        ("Wall time", lambda run: words.duration(run.seconds)),
    )
    rows = [(name, *map(show, comparison.runs)) for name, show in figures]
    rows = [row for row in rows if set(row[1:]) - {words.NONE, words.UNKNOWN}]
    table = Table(header, (False, *(True for _ in comparison.runs)), tuple(rows))
    return Section("Side by side", (table,))


def _settings(comparison: Comparison) -> Section:
    shown = comparison.settings[:_SETTINGS]
    header = ("", *(words.clean(run.name, _NAME) for run in comparison.runs))
    rows = tuple((words.clean(each.name, 40), *each.values) for each in shown)
    parts: list[Table | str] = [Table(header, tuple(False for _ in header), rows)]
    left = len(comparison.settings) - len(shown)
    if left > 0:
        parts.append(f"{left} more differ; --format json has all.")
    return Section("What differs in the manifests", tuple(parts))
