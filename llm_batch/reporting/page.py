"""The report as a page: its finding, facts, charts and items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil, floor
from typing import Any

from llm_batch.paper import words
from llm_batch.paper.html import (
    FIRST,
    NAMES,
    SECOND,
    Chart,
    Items,
    Page,
    between_bounds,
    chart,
    told,
)
from llm_batch.record.manifest import Manifest
from llm_batch.records import Interval
from llm_batch.reporting.document import document
from llm_batch.reporting.items import ITEM_LIMIT, manifest_of, page_items
from llm_batch.reporting.judging.calibration import Calibration
from llm_batch.reporting.model import FUTURE, Bin, JudgeCheck, Report, RuleCheck
from llm_batch.reporting.reference import REFERENCE_NAMES
from llm_batch.reporting.sentences import checked_by, method
from llm_batch.reporting.timeline import over_time


def page(report: Report, limit: int = ITEM_LIMIT) -> Page:
    """The report as a page with the first ``limit`` of its items.

    Raises:
        OutputError: The results file cannot be read a second time.
    """
    manifest = manifest_of(report) or Manifest()
    shown = page_items(report, manifest.steps, limit)
    return Page(
        "page",
        document(report),
        finding=_finding(report),
        facts=_facts(report),
        charts=list(charts(report, manifest.scale)),
        data={
            "judge": report.run.judge,
            "group": report.groups.field if report.groups else "",
            "references": reference_fields(report),
        },
        shown=len(shown),
        total=report.items.read,
        simulated=report.run.simulated,
        items=Items.of(shown),
    )


def reference_fields(report: Report) -> Sequence[str]:
    """The fields where an item's right answer may be, first of them first."""
    return [report.judge_check.reference] if report.judge_check else REFERENCE_NAMES


def _finding(report: Report) -> dict[str, Any]:
    check, rate, scores = checked_by(report), report.pass_rate, report.scores
    corrected = (check.corrected, check.corrected_mean) if check else (None, None)
    percent, mean = (words.percent, words.percent_range), (words.mean, words.mean_range)
    by = "an audit" if check is not None and check.audit else "labels"
    several = report.several
    pair = several.headline_pair if several else None
    repeats = several.repeats if several else None
    most = f", majority of {repeats.times} repeats" if repeats and repeats.at_least_one else ""
    wins = f"of pairs won by {pair.first} against {pair.second}" if pair else ""
    of_score = f" of {words.named(report.score, 30)}" if report.score else ""
    for found, what, of, (shown, between) in (
        (pair.rates.win_rate if pair else None, words.clean(wins), FUTURE, percent),
        (corrected[0], f"pass rate, corrected by {by}", FUTURE, percent),
        (rate.rate, f"pass rate{of_score}{most}", rate.estimand, percent),
        (corrected[1], f"mean score, corrected by {by}", FUTURE, mean),
        (scores.mean, f"mean{of_score}" if of_score else "mean score", scores.estimand, mean),
    ):
        if found is not None and found.value is not None:
            return {
                "figure": shown(found.value),
                "what": what,
                "bounds": f"{words.interval(found, between)} ({method(found)})"
                if found.low is not None
                else "no interval, because there are too few items",
                "about": f"for {of}",
                "bar": bar(found) if shown is words.percent else None,
            }
    return {"figure": "", "what": report.headline, "bounds": "", "about": "", "bar": None}


def bar(found: Interval) -> dict[str, str] | None:
    """Where the parts of the interval's bar stand, in units of its drawing (1000 wide)."""
    low, value, high = found.low, found.value, found.high or 1.0
    if low is None or value is None:
        return None
    places = {"low": low, "width": high - low, "value": value}
    return {name: f"{1000 * place:.1f}" for name, place in places.items()}


def _facts(report: Report) -> list[tuple[str, str, str]]:
    items, money, mean = report.items, report.money, report.scores.mean
    of = f"of {items.read:,} played"
    if items.population == items.read:
        of = "of all items in the dataset"
    elif items.population is not None:
        of = f"of {items.read:,} played, {items.population:,} in the dataset"
    facts = [("Items scored", f"{items.scored:,}", of)]
    rated = report.pass_rate.rate.value is not None
    if mean.value is not None and rated and not report.run.rule:
        facts.append(("Mean score", words.mean(mean.value), words.mean_range(mean)))
    rate = report.pass_rate.rate
    check = checked_by(report)
    if check is not None and check.corrected is not None:
        facts.append(("The judge alone", words.percent(rate.value), words.percent_range(rate)))
    elif check is not None and check.corrected_mean is not None and rate.value is None:
        facts.append(("The judge alone", words.mean(mean.value), words.mean_range(mean)))
    failed = items.read - items.ok
    facts.append(("Failed", f"{failed:,}", words.percent(failed / items.read if failed else 0.0)))
    if report.total.cost is not None and report.steps:
        each = f"{words.usd(money.per_item)} an item" if money.per_item else ""
        facts.append(("Cost", words.usd(report.total.cost), each))
    if report.run.seconds is not None:
        median = f"median {words.duration(report.total.latency_p50)} an item"
        facts.append(("Time", words.duration(report.run.seconds), median))
    return facts


_REFERENCE = 40
_VERDICTS = ("pass", "fail")


def _reference(check: JudgeCheck) -> Chart:
    return _grid(
        "confusion",
        "Judge against reference",
        f"Is the reference ({words.clean(check.reference, _REFERENCE)}) in the answer, and does "
        "the judge pass it? Blue cells agree, orange cells do not.",
        ("reference", ("found", "not found")),
        _VERDICTS,
        check.table.rows,
    )


def _labels(check: Calibration) -> Iterator[Chart]:
    how = "Blue cells agree, orange cells do not."
    who, name, whose = ("label", "labels", "a person") if not check.audit else (
        "audit", "audit", "the audit"
    )  # fmt: skip
    made = f"labelled by people ({check.source})"
    made = f"judged by {check.source} too" if check.audit else made
    if check.agreement.n:
        yield _grid(
            name,
            f"Judge against {name}",
            f"{words.items(check.agreement.n)} {made}. {how}",
            (who, _VERDICTS),
            _VERDICTS,
            check.table.rows,
        )
    if check.scores is not None:
        names = [words.number(value) for value in check.scores.values]
        yield _grid(
            f"{who}-scores",
            f"Scores of judge and {'audit' if check.audit else 'people'}",
            f"How often each score of {whose} met each score of the judge. {how}",
            (who, names),
            names,
            check.scores.counts,
        )


#: The classes of a picture; those with most items are shown.
_MOST_CLASSES = 15


def _taken(check: RuleCheck) -> Chart:
    """What was answered where what is right: the table of a rule's classes as a picture."""
    order = sorted(range(len(check.classes)), key=lambda at: -check.classes[at].items)
    shown = sorted(order[:_MOST_CLASSES])
    names = _distinct([words.named(check.classes[at].name, 14) for at in shown])
    none = len(check.classes) + 1
    rest = [at for at in range(none) if at not in shown]
    counts = [
        [*(row[to] for to in shown), sum(row[to] for to in rest), row[none]]
        for row in (check.table[at] for at in shown)
    ]
    columns = [*names, "(other)", "(none)"]
    kept = [to for to in range(len(columns)) if to < len(names) or any(row[to] for row in counts)]
    left = len(check.classes) - len(shown)
    told = f" The {len(shown)} largest of {len(check.classes)} classes." if left else ""
    return _grid(
        "classes",
        "What was taken for what",
        f"What is right down the side, what was answered along the top.{told} Blue cells are "
        "right, orange cells are not.",
        ("right", names),
        [columns[to] for to in kept],
        [[row[to] for to in kept] for row in counts],
        "answered",
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that were cut alike, with a number after each but the first."""
    seen: Counter[str] = Counter()
    made = []
    for name in names:
        seen[name] += 1
        made.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return made


def _grid(
    name: str,
    title: str,
    note: str,
    rows: tuple[str, Sequence[str]],
    columns: Sequence[str],
    counts: Sequence[Sequence[int]],
    along: str = "judge",
) -> Chart:
    """Counts as cells: what is right down the side, the judge or an answer along the top."""
    side, row_names = rows
    total = sum(map(sum, counts))
    values = [
        {side: row_names[i], along: columns[j], "items": n, "text": f"{n:,}",
         "share": words.percent(n / total), "agree": i == j, "part": n / total}
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
    ]  # fmt: skip
    few = len(columns) <= len(_VERDICTS)
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rect", "cornerRadius": 4, "stroke": None},
            "encoding": {
                "color": {"condition": {"test": "datum.agree", "value": FIRST}, "value": SECOND},
                "opacity": {
                    "field": "part",
                    "type": "quantitative",
                    "scale": {"domain": [0, 1], "range": [0.15, 0.6]},
                    "legend": None,
                },
            },
        },
        {
            "mark": {"type": "text", "fontSize": 18 if few else 13, "fontWeight": 600,
                     "dy": -6 if few else 0},
            "encoding": {"text": {"field": "text"}},
        },
    ]  # fmt: skip
    if few:
        layers.append(
            {
                "mark": {"type": "text", "fontSize": 12, "dy": 14},
                "encoding": {"text": {"field": "share"}},
            }
        )
    return chart(
        name,
        title,
        note,
        220 if few else 60 + 32 * len(row_names),
        data={"values": values},
        encoding={
            "x": {
                "field": along,
                "type": "nominal",
                "sort": list(columns),
                "axis": {"title": along, "orient": "top", "labelAngle": 0},
            },
            "y": {
                "field": side,
                "type": "nominal",
                "sort": list(row_names),
                "axis": {"title": side},
            },
            "tooltip": told(side, along, "items", "share"),
        },
        layer=layers,
    )


_MOST_GROUPS = 30
_NAME = 40
_MOST_LABELS = 6


def charts(report: Report, scale: tuple[float, float] | None = None) -> Iterator[Chart]:
    """The charts there is data for, in reading order.

    ``scale`` has the least and the greatest score there can be, where that is known.
    """
    if report.scores.distribution:
        yield _distribution(report, scale)
    if report.groups is not None and any(g.pass_rate.n for g in report.groups.groups):
        yield _groups(report)
    if report.rule_check is not None and report.rule_check.classes:
        yield _taken(report.rule_check)
    if report.judge_check is not None:
        yield _reference(report.judge_check)
    if report.calibration is not None:
        yield from _labels(report.calibration)
    if report.several is not None and report.several.audit is not None:
        yield from _labels(report.several.audit.check)
    yield from over_time(report.timeline)


_MOST_SCORES = 21


def _every(bins: Sequence[Bin], scale: tuple[float, float] | None) -> Sequence[Bin]:
    """The bins, and empty ones for whole scores that nobody gave, between them and on the scale."""
    whole = all(part.low == part.high == int(part.low) for part in bins)
    low, high = bins[0].low, bins[-1].high
    if scale is not None:
        low, high = min(low, scale[0]), max(high, scale[1])
    if not whole or high - low >= _MOST_SCORES:
        return bins
    given = {int(part.low): part.n for part in bins}
    every = range(ceil(low), floor(high) + 1)
    return [Bin(float(score), float(score), given.get(score, 0)) for score in every]


def _distribution(report: Report, scale: tuple[float, float] | None) -> Chart:
    least = report.columns.pass_at if report.columns else report.pass_rate.pass_at
    if report.several is not None and report.several.repeats is not None:
        least = None  # an item passes by the majority of its repeats, and not by their mean
    bins = _every(report.scores.distribution, scale)
    total = sum(part.n for part in bins)
    single = all(part.low == part.high for part in bins)
    values = [
        {
            "score": words.number(part.low)
            if part.low == part.high
            else f"{words.number(part.low)} to {words.number(part.high)}",
            "low": part.low,
            "high": part.high,
            "items": part.n,
            "share": words.percent(part.n / total),
            "verdict": "fail" if least is not None and part.low < least else "pass",
        }
        for part in bins
    ]
    color: dict[str, Any] = {"value": FIRST}
    note = f"{words.items(total)} with a score. Select a bar to list its items."
    if least is not None:
        color = {
            "field": "verdict",
            "type": "nominal",
            "scale": {"domain": ["pass", "fail"], "range": [FIRST, SECOND]},
        }
        note = f"A score of {words.number(least)} or more passes. Select a bar to list its items."
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "cornerRadiusEnd": 3, "cursor": "pointer"},
            "encoding": {"color": color},
        }
    ]
    if len(bins) <= _MOST_LABELS:
        layers.append(
            {
                "mark": {"type": "text", "dy": -7, "fontSize": 12},
                "encoding": {"text": {"field": "share"}},
            }
        )
    return chart(
        "distribution",
        "Scores",
        note,
        220,
        data={"values": values},
        encoding={
            "x": {
                "field": "score",
                "type": "ordinal",
                "sort": None,
                "axis": {"labelAngle": 0 if single or len(bins) < 5 else -40, "title": "score"},
            },
            "y": {
                "field": "items",
                "type": "quantitative",
                "axis": {"title": "items", "tickCount": 4, "format": ",d"},
            },
            "tooltip": told("score", "items", "share"),
        },
        layer=layers,
    )


def _groups(report: Report) -> Chart:
    assert report.groups is not None  # its caller asked
    groups = [group for group in report.groups.groups if group.pass_rate.value is not None]
    shown = sorted(groups[:_MOST_GROUPS], key=lambda group: -(group.pass_rate.value or 0))
    values = [
        {
            "group": words.named(group.name, _NAME),
            "name": group.name,
            "rate": group.pass_rate.value,
            "low": group.pass_rate.low,
            "high": group.pass_rate.high,
            "pass rate": words.percent(group.pass_rate.value),
            "interval": words.percent_range(group.pass_rate),
            "items": group.pass_rate.n,
        }
        for group in shown
    ]
    field = words.clean(report.groups.field, _NAME)
    left = f" The {_MOST_GROUPS} largest of {len(groups):,}." if len(groups) > len(shown) else ""
    overall = report.pass_rate.rate.value
    dashed = [] if overall is None else [{"rate": overall, "pass rate": words.percent(overall)}]
    layers = between_bounds(
        "rate",
        dashed,
        [{"field": "pass rate", "title": "all items"}],
        point={"cursor": "pointer"},
        x={
            "scale": {"domain": [0, 1]},
            "axis": {"format": ".0%", "title": "pass rate", "values": [0, 0.25, 0.5, 0.75, 1]},
        },
    )
    return chart(
        "groups",
        f"Pass rate by {field}",
        f"With {words.level(report.level)} intervals; the dashed line is the rate of all items."
        f"{left} Select a point to list its items.",
        40 + 34 * len(shown),
        data={"values": values},
        encoding={"y": NAMES, "tooltip": told("group", "pass rate", "interval", "items")},
        layer=layers,
    )
