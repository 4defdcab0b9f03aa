"""A comparison as people read it: sections, and a page with both outputs of what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from llm_batch.chain.overrides import command
from llm_batch.errors import status_of
from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table, on_screen
from llm_batch.paper.html import (
    FIRST,
    GREY,
    NAMES,
    SECOND,
    Chart,
    Items,
    Page,
    between_bounds,
    chart,
    told,
)
from llm_batch.record.results import ItemLine
from llm_batch.records import Interval
from llm_batch.reporting.comparison import (
    Against,
    Change,
    Comparison,
    RateDifference,
    RunFigures,
    ScoreDifference,
)
from llm_batch.reporting.comparison.build import Compared, table
from llm_batch.reporting.comparison.sentences import is_clustered
from llm_batch.reporting.comparison.sides import Side, as_text, question_of
from llm_batch.reporting.document import FOR_PAPER
from llm_batch.reporting.page import reference_fields

#: Heads the column; `docs/words.md` explains it under this name.
P_VALUE = "p-value"
_CHANGES = 5
_CATEGORIES = 20
_SETTINGS = 20
_NAME = 24
_RUNS_ON_SCREEN = 3


def document(compared: Compared) -> Document:
    """The comparison in reading order."""
    comparison = compared.comparison
    return Document(
        comparison.headline,
        tuple(_origin(comparison)),
        tuple(_sections(comparison)),
        warnings=tuple((sentence, "") for sentence in comparison.warnings),
        next_steps=comparison.next_steps,
    )


def screen(compared: Compared) -> Document:
    """The comparison in at most 30 lines of 80 columns; the rest is in the whole document."""
    comparison = compared.comparison
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
            "--format html shows every item side by side",
        ),
    )


def _origin(comparison: Comparison) -> Iterator[str]:
    for run in comparison.runs:
        models = f": {words.clean(run.models, 120)}" if run.models else ""
        base = " (baseline)" if run.name == comparison.baseline != "baseline" else ""
        yield f"{words.clean(run.name, 40)}{base}{models}"
    if comparison.score:
        yield f"Score: {words.clean(comparison.score, 40)}"


def _sections(comparison: Comparison) -> Iterator[Section]:
    for place, section in enumerate(_tables(comparison)):
        yield section
        if not place and comparison.paper:
            yield Section(FOR_PAPER, tuple(each for each in comparison.paper))


def _tables(comparison: Comparison) -> Iterator[Section]:
    for each in comparison.against:
        yield _difference(comparison, each)
        if each.by_score:
            yield _scores(comparison, each)
        if len(each.categories) > 1:
            yield _by_category(comparison, each)
        if each.changes:
            yield _changed(comparison, each)
    yield _side_by_side(comparison)
    if comparison.settings:
        yield _settings(comparison)


def _level(comparison: Comparison) -> str:
    return f"{words.level(comparison.level)} interval"


def _titled(comparison: Comparison, each: Against, title: str) -> str:
    """The title, with the run where there is more than one to be compared."""
    return f"{title}: {words.clean(each.run, 40)}" if len(comparison.against) > 1 else title


def _figures(comparison: Comparison, each: Against) -> Table | None:
    """The rates and means of both runs and their differences; ``None`` without either."""
    base, run = words.clean(comparison.baseline, _NAME), words.clean(each.run, _NAME)
    level = _level(comparison)
    rows = []
    rates, scores = each.rates, each.scores
    if rates is not None:
        shares = (words.percent(share) for share in (rates.baseline_rate, rates.run_rate))
        rows.append(("Pass rate", *shares, *_tested(rates, words.points, words.points_range)))
    if scores is not None:
        means = (words.mean(mean) for mean in (scores.baseline_mean, scores.run_mean))
        rows.append(("Mean score", *means, *_tested(scores, words.signed, words.signed_range)))
    return Table.of(("", base, run, "difference", level, P_VALUE), rows) if rows else None


def _change_counts(comparison: Comparison, each: Against) -> str:
    """How many items changed their verdict in either direction; empty for other items."""
    base, run = words.clean(comparison.baseline, _NAME), words.clean(each.run, _NAME)
    rates = each.rates
    if rates is None or not rates.paired or not (rates.gained or rates.lost):
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


def _tested(
    found: RateDifference | ScoreDifference,
    shown: Callable[[float | None], str],
    between: Callable[[Interval], str],
) -> tuple[str, str, str]:
    """A difference, its bounds and p."""
    difference = found.difference
    return shown(difference.value), between(difference), words.p_value(found.p_adjusted)


def _basis(comparison: Comparison, each: Against) -> str:
    n = each.rates.n if each.rates else each.scores.n if each.scores else 0
    if not each.common:
        return "Different items: each run's rate is over its own items."
    return (
        f"{words.items(n)} compared, of {words.items(each.common)} in both runs; rates and "
        "differences are over these alone, for future items like them."
    )


def _methods(each: Against) -> str:
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


def _scores(comparison: Comparison, each: Against) -> Section:
    """Every score of both runs, corrected for looking at all of them."""
    base, run = words.clean(comparison.baseline, _NAME), words.clean(each.run, _NAME)
    rows = []
    for score in each.by_score:
        figures: tuple[str, ...] = ()
        if (rates := score.rates) is not None:
            shares = (words.percent(share) for share in (rates.baseline_rate, rates.run_rate))
            figures = (*shares, *_tested(rates, words.points, words.points_range)[:2])
        elif (means := score.scores) is not None:
            both = (words.mean(mean) for mean in (means.baseline_mean, means.run_mean))
            figures = (*both, *_tested(means, words.signed, words.signed_range)[:2])
        if figures:
            rows.append((words.named(score.name, _NAME), *figures, words.p_value(score.p_adjusted)))
    header = ("", base, run, "difference", _level(comparison), P_VALUE)
    told = (
        "Pass rates in percent where a score has pass_at, else means. p is corrected for looking "
        f"at {len(rows)} scores (Holm)."
    )
    return Section(_titled(comparison, each, "Every score"), (Table.of(header, rows), told))


def _by_category(comparison: Comparison, each: Against) -> Section:
    base, run = words.clean(comparison.baseline, _NAME), words.clean(each.run, _NAME)
    shown = each.categories[:_CATEGORIES]
    rows = tuple(
        (
            words.named(group.name, 40),
            words.count(group.rates.n),
            words.percent(group.rates.baseline_rate),
            words.percent(group.rates.run_rate),
            *_tested(group.rates, words.points, words.points_range),
        )
        for group in shown
    )
    level = _level(comparison)
    header = (words.clean(comparison.group_field, 24), "items", base, run, "diff.", level, "p")
    parts: list[Table | str] = [
        Table.of(header, rows),
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
    adjusted = "p allows for looking at several (Holm), the intervals do not."
    if not differing:
        return f"None of {of} clearly differs. {adjusted}{more}"
    named = ", ".join(differing[:5]) + (" and others" if len(differing) > 5 else "")
    one = len(differing) == 1
    return (
        f"{named} clearly differ{'s' if one else ''} ({len(differing)} of {of}). {adjusted}{more}"
    )


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
    table = Table.of(header, rows)
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


_MOST_GROUPS = 30
_LONG_NAME = 40
#: Items in the page, and characters that their texts may have together and each; more would make
#: it slow to open on a phone.
_ON_PAGE, _TEXTS, _TEXT = 10_000, 60_000_000, 4000
#: What changed comes first, and of that what got worse.
_ORDER = ("lost", "lower", "gained", "higher", "same")


def page(compared: Compared) -> Page:
    """The comparison as a page, with all runs' answers to each item side by side."""
    comparison = compared.comparison
    made = document(compared)
    # The browser shows these instead.
    listed = tuple(part for part in made.sections if not part.title.startswith("What changed"))
    items = list(_side_by_side_items(compared))
    return Page(
        "comparison",
        replace(made, sections=listed),
        finding=_finding(comparison),
        facts=list(_facts(comparison)),
        charts=list(_charts(comparison)),
        data={
            "runs": [run.name for run in comparison.runs],
            "group": comparison.group_field,
        },
        shown=len(items),
        total=len({id for rows in compared.rows for id in rows.ids}),
        simulated=any(run.simulated for run in comparison.runs),
        items=Items.of(items),
    )


def _side_by_side_items(compared: Compared) -> Iterator[list[Any]]:
    """Of each item id, category, question and reference; and of each run, where it has the item,
    status, score, verdict, change, output and reason or error.
    """
    _, *cells = table(compared)
    n = len(compared.sides)
    rows = [list(each) for each in cells]
    rows.sort(key=lambda row: min(map(_place, row[2 + 2 * n :])))
    rows = rows[:_ON_PAGE]
    ids = {row[0] for row in rows}
    texts = [side.texts(ids) for side in compared.sides]
    left = _TEXTS
    for id, category, *values in rows:
        changes = [None, *values[2 * n :]]
        runs: list[list[Any] | None] = []
        question = reference = ""
        for i, side in enumerate(compared.sides):
            item = texts[i].get(id)
            if item is None:
                # A baseline has scores and no texts.
                known = side.report is None and id in side.rows.index
                figures = ["ok", *values[2 * i : 2 * i + 2], changes[i], "", ""]
                runs.append(figures if known else None)
                continue
            foreign = side.report is None or side.report.columns is not None
            whole = str(side.path) if foreign else command("show", id, side.path)
            question = question or _cut(question_of(item), whole)
            reference = reference or _cut(_reference(item, side), whole)
            why = side.reason(item) or item.error
            said = [_cut(text, whole) for text in (side.answer(item), why)]
            left -= sum(map(len, said))
            status = item.status if item.status == "ok" else status_of(item.status).name
            runs.append([status, *values[2 * i : 2 * i + 2], changes[i], *said])
        left -= len(question) + len(reference)
        if left < 0:
            return
        yield [id, category, question, reference, runs]


def _cut(text: str, whole: str) -> str:
    """A text that a page can hold; one that is cut says so, and where it is whole."""
    left = len(text) - _TEXT
    return text if left <= 0 else f"{text[:_TEXT]}\n[cut: {left:,} more characters; see {whole}]"


def _place(change: str | None) -> int:
    return _ORDER.index(change) if change else len(_ORDER)


def _reference(item: ItemLine, side: Side) -> str:
    if side.report is None:
        return ""
    values = (item.fields.get(name) for name in reference_fields(side.report))
    return next((as_text(value) for value in values if value not in (None, "")), "")


def _finding(comparison: Comparison) -> dict[str, str]:
    each = comparison.against[0]
    run, base = (words.clean(name, _LONG_NAME) for name in (each.run, comparison.baseline))
    against = f"{run} against {base}"
    if each.rates is not None:
        return {
            "figure": words.points(each.rates.difference.value),
            "what": f"points in pass rate, {against}",
            "bounds": f"{_level(comparison)} {words.points_range(each.rates.difference)} points",
        }
    if each.scores is not None:
        return {
            "figure": words.signed(each.scores.difference.value),
            "what": f"in mean score, {against}",
            "bounds": f"{_level(comparison)} {words.signed_range(each.scores.difference)}",
        }
    return {"figure": "", "what": comparison.headline, "bounds": ""}


def _facts(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    each = comparison.against[0]
    rates, scores = each.rates, each.scores
    n = rates.n if rates else scores.n if scores else 0
    yield "Items compared", f"{n:,}", f"of {each.common:,} in both runs"
    if rates is not None and rates.paired:
        yield "Now pass", words.count(rates.gained), "failed in the baseline"
        yield "Now fail", words.count(rates.lost), "passed in the baseline"
        yield (
            P_VALUE,
            words.p_value(rates.p_adjusted),
            "McNemar's test, mid-p" if rates.difference.method == "tango" else "by clusters",
        )
    base, run = comparison.runs[0], comparison.runs[1]
    if run.cost_per_item is not None and base.cost_per_item is not None:
        before = f"baseline {words.usd(base.cost_per_item)}"
        yield "Cost per item", words.usd(run.cost_per_item), before
    if run.latency_p50 is not None and base.latency_p50 is not None:
        before = f"baseline {words.duration(base.latency_p50)}"
        yield "Latency, median", words.duration(run.latency_p50), before


def _charts(comparison: Comparison) -> Iterator[Chart]:
    for i, each in enumerate(comparison.against):
        name = f" of {words.clean(each.run, _LONG_NAME)}" if len(comparison.against) > 1 else ""
        if each.rates is not None:
            yield _differences(comparison, each, f"differences-{i}", name)
        if each.scores is not None:
            yield _outcomes(each, f"outcomes-{i}", name)


def _differences(comparison: Comparison, each: Against, id: str, name: str) -> Chart:
    assert each.rates is not None
    shown = each.categories[:_MOST_GROUPS] if len(each.categories) > 1 else ()
    groups = ((group.name or words.NAMELESS, group.rates) for group in shown)
    named = [("All items", each.rates), *groups]
    values = [
        {
            "group": words.clean(group, _LONG_NAME),
            "difference": 100 * (rates.difference.value or 0),
            "low": 100 * (rates.difference.low or 0),
            "high": 100 * (rates.difference.high or 0),
            "points": words.points(rates.difference.value),
            "interval": words.points_range(rates.difference),
            "items": rates.n,
            "p": words.p_value(rates.p_adjusted),
        }
        for group, rates in named
    ]
    title = f"points; right: {words.clean(each.run, _LONG_NAME)} passes more often"
    layers = between_bounds("difference", [{"zero": 0}], None, ends={"axis": {"title": title}})
    left = len(each.categories) - len(shown)
    more = f" The {len(shown)} largest categories." if shown and left > 0 else ""
    return chart(
        id,
        f"Difference in pass rate{name}",
        f"In percentage points, with {words.level(comparison.level)} intervals; none at the dashed "
        f"line.{more}",
        60 + 34 * len(values),
        data={"values": values},
        encoding={"y": NAMES, "tooltip": told("group", "points", "interval", "items", "p")},
        layer=layers,
    )


def _outcomes(each: Against, id: str, name: str) -> Chart:
    """On how many items the run scores lower, equal and higher."""
    assert each.scores is not None
    counts = (
        ("lower", each.scores.losses, SECOND),
        ("equal", each.scores.ties, GREY),
        ("higher", each.scores.wins, FIRST),
    )
    values = [
        {"outcome": outcome, "items": n, "share": words.percent(n / each.scores.n)}
        for outcome, n, _ in counts
    ]
    return chart(
        id,
        f"Scores item by item{name}",
        f"Items on which {words.clean(each.run, _LONG_NAME)} scores lower, equal or higher.",
        140,
        data={"values": values},
        mark={"type": "bar", "height": {"band": 0.7}},
        encoding={
            "y": {"field": "outcome", "type": "nominal", "sort": None, "axis": {"title": None}},
            "x": {"field": "items", "type": "quantitative", "axis": {"title": "items"}},
            "color": {
                "field": "outcome",
                "type": "nominal",
                "legend": None,
                "scale": {
                    "domain": [outcome for outcome, _, _ in counts],
                    "range": [color for _, _, color in counts],
                },
            },
            "tooltip": told("outcome", "items", "share"),
        },
    )
