"""Two runs beside each other: items paired by id, what the pairs come to, what changed.

A file is read once here. What grows with it is an entry of a dict and some forty bytes an item;
texts are read again for the few items that are shown.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, isnan, nan
from typing import Any

import msgspec

from llm_batch.errors import ConfigError
from llm_batch.paper.words import clean, items, listed
from llm_batch.record.results import ItemLine
from llm_batch.reporting.comparison import (
    Against,
    CategoryDifference,
    Change,
    RateDifference,
    ScoreDifference,
)
from llm_batch.reporting.foreign import found as field_of
from llm_batch.reporting.items import category_of, read_items
from llm_batch.reporting.model import PassRate, Report
from llm_batch.reporting.tally import SCORE_LIMIT, swapped_spelling
from llm_batch.stats.clusters import Clustered, ClusterSums, clustered_difference
from llm_batch.stats.compare import (
    difference_of,
    holm,
    mcnemar_mid_p,
    paired_difference,
    paired_mean_difference,
    unpaired_difference,
    unpaired_p_value,
)

#: What ``Rows.passed`` holds for an item without a verdict.
NO_VERDICT = 2


@dataclass(slots=True)
class Rows:
    """The items of one run, in the order of its file.

    Attributes:
        index: Place of each item by id.
        scores: NaN where there is none.
        passed: 1, 0 or `NO_VERDICT`.
        categories: Place of the category in ``names``.
        clusters: What each item belongs together with; empty where that was not asked for.
        content: Hash of the fields that both runs have, to be told apart from other items.
    """

    index: dict[str, int] = field(default_factory=dict)
    scores: array[float] = field(default_factory=lambda: array("d"))
    passed: bytearray = field(default_factory=bytearray)
    categories: array[int] = field(default_factory=lambda: array("l"))
    names: dict[str, int] = field(default_factory=dict)
    clusters: list[str] = field(default_factory=list)
    content: array[int] = field(default_factory=lambda: array("q"))


def read_rows(report: Report, fields: Collection[str], cluster: str | None = None) -> Rows:
    """The items of a run as numbers, with these ``fields`` as their content.

    Raises:
        OutputError: The file cannot be read a second time.
    """
    rows = Rows()
    encode = msgspec.json.Encoder(order="sorted").encode
    for item in read_items(report):
        rows.index[item.id] = len(rows.scores)
        rows.scores.append(_score(item))
        rows.passed.append(NO_VERDICT if item.passed is None else int(item.passed))
        name = category_of(item, report)
        rows.categories.append(rows.names.setdefault(name, len(rows.names)))
        if cluster:
            value = field_of(item.fields, cluster, None)
            rows.clusters.append(f"id {item.id}" if value is None else f"in {value}")
        known = {name: value for name, value in item.fields.items() if name in fields}
        rows.content.append(hash(encode(known)))
    return rows


def shared_fields(reports: Collection[Report]) -> set[str]:
    """The fields that the first items of every run have."""
    shared: set[str] | None = None
    for report in reports:
        first = next(read_items(report), None)
        names = set(first.fields) if first else set()
        shared = names if shared is None else shared & names
    return shared or set()


def common_places(first: Rows, second: Rows) -> Iterator[tuple[str, int, int]]:
    """Id and places of the items that are in both, in the order of the first."""
    for id, place in first.index.items():
        other = second.index.get(id)
        if other is not None:
            yield id, place, other


def spelt_alike(first: Rows, second: Rows) -> None:
    """Give the items of the second run the ids of the first, where a spreadsheet changed them.

    It makes 1.0 of 1 in a column with a gap; that is looked at where no id fits as it is.
    """
    if first.index.keys().isdisjoint(second.index):
        index = {swapped_spelling(id) or id: place for id, place in second.index.items()}
        if not first.index.keys().isdisjoint(index):
            second.index = index


def items_with(report: Report, ids: Collection[str]) -> dict[str, ItemLine]:
    """The items with these ids, whole."""
    items = ((item.id, item) for item in read_items(report))
    named = ((id if id in ids else swapped_spelling(id), item) for id, item in items)
    return {id: item for id, item in named if id in ids}


def _score(item: ItemLine) -> float:
    score = item.score
    if score is None or not isfinite(score) or abs(score) > SCORE_LIMIT:
        return nan
    return score


#: More changed items than this are counted and not described.
CHANGE_LIMIT = 10_000

_TEXT = 600


def described(changes: Sequence[Change], baseline: Report, run: Report) -> tuple[Change, ...]:
    """The changes with their texts, which are read from the results once more."""
    if not changes:
        return ()
    ids = {change.id for change in changes}
    before, after = items_with(baseline, ids), items_with(run, ids)
    return tuple(
        replace(
            change,
            question=clean(question_of(before[change.id]), _TEXT),
            baseline_output=clean(judged_of(before[change.id], baseline), _TEXT),
            run_output=clean(judged_of(after[change.id], run), _TEXT),
            baseline_reason=clean(before[change.id].reason, _TEXT),
            run_reason=clean(after[change.id].reason, _TEXT),
        )
        for change in changes
    )


def question_of(item: ItemLine) -> str:
    """The first field that is a text of several words; empty without one."""
    texts = (value for value in item.fields.values() if isinstance(value, str))
    return next((text for text in texts if text != item.id and " " in text), "")


def judged_of(item: ItemLine, report: Report) -> str:
    """What the judge saw: the last output before its own."""
    before = [output for step, output in item.outputs.items() if step != report.run.judge]
    return as_text(before[-1]) if before else ""


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


#: Below this share of the smaller run's items in common, the runs count as of other items.
_ENOUGH_IN_COMMON = 0.5
_NAMED = 3


def _check_items(first: Report, second: Report, found: _Pairs) -> None:
    """Refuse runs of other items: a difference could be the items' as well as the models'."""
    least = min(first.items.read, second.items.read)
    anyway = "--anyway compares their rates over different items"
    if not found.common:
        raise ConfigError(f"{first.path} and {second.path} have no item in common", anyway)
    if found.common < _ENOUGH_IN_COMMON * least:
        raise ConfigError(
            f"{first.path} and {second.path} have {items(found.common)} in common, fewer than half "
            f"of the smaller run's {least:,}",
            "play the same sample in both (same data, id field and seed), or compare what is "
            "common with --anyway",
        )
    if found.other_content:
        raise ConfigError(
            f"{items(found.other_content)} of {second.path} "
            f"{'has' if found.other_content == 1 else 'have'} the id of an item in {first.path} "
            f"and other fields: {listed(found.examples)}",
            "compare runs over the same data, or compare them all the same with --anyway",
        )


@dataclass(slots=True)
class _Pairs:
    """What the common items of two runs come to."""

    common: int = 0
    unscored: int = 0
    other_content: int = 0
    examples: tuple[str, ...] = ()


def against(
    name: str,
    baseline: Report,
    report: Report,
    first: Rows,
    second: Rows,
    level: float,
    anyway: bool,
) -> Against:
    """One run against the baseline, item by item.

    Raises:
        ConfigError: The items are not the same, without ``anyway``.
    """
    pairs, counts, differences = _Pairs(), _Verdicts(), []
    by_cluster: dict[str, ClusterSums] = {}
    means = [0.0, 0.0]
    wins = losses = 0
    changes: list[Change] = []
    categories = list(first.names)
    for id, one, two in common_places(first, second):
        pairs.common += 1
        if first.content[one] != second.content[two]:
            pairs.other_content += 1
            if len(pairs.examples) < _NAMED:
                pairs.examples += (id,)
        before, after = first.scores[one], second.scores[two]
        scored = not (isnan(before) or isnan(after))
        if scored:
            differences.append(after - before)
            if first.clusters:
                _add_to(by_cluster, first.clusters[one], after - before)
            means[0] += before
            means[1] += after
            wins += after > before
            losses += after < before
        was, now = first.passed[one], second.passed[two]
        judged = NO_VERDICT not in (was, now)
        if judged:
            counts.add(
                categories[first.categories[one]],
                was,
                now,
                first.clusters[one] if first.clusters else "",
            )
        pairs.unscored += not (judged or scored)
        kind = ""
        if judged:
            kind = ("", "gained", "lost")[now - was]
        elif scored and after != before:
            kind = "higher" if after > before else "lower"
        if kind:
            category = categories[first.categories[one]]
            changes.append(Change(id, kind, category, _or_none(before), _or_none(after)))
    if not anyway:
        _check_items(baseline, report, pairs)
    changes.sort(key=lambda change: change.kind not in ("lost", "lower"))
    n = len(differences)
    scores = None
    if n:
        if by_cluster:
            clustered, p_value = clustered_difference(by_cluster, level)
            difference = clustered.mean
        else:
            difference, p_value = paired_mean_difference(differences, level)
        scores = ScoreDifference(
            n=n,
            baseline_mean=means[0] / n,
            run_mean=means[1] / n,
            difference=difference,
            p_value=p_value,
            p_adjusted=p_value,
            wins=wins,
            ties=n - wins - losses,
            losses=losses,
        )
    return Against(
        run=name,
        common=pairs.common,
        only_baseline=len(first.index) - pairs.common,
        only_run=len(second.index) - pairs.common,
        unscored=pairs.unscored,
        other_content=pairs.other_content,
        rates=_rates(counts, "", level) if pairs.common else _unpaired(baseline, report, level),
        scores=scores,
        categories=tuple(_categories(counts, level)) if baseline.groups else (),
        changed=len(changes),
        changes=described(changes[:CHANGE_LIMIT], baseline, report),
    )


class _Verdicts:
    """Counts of (verdict before, now) by category, that of all items being empty; and changes by
    cluster.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter[tuple[int, int]]] = {}
        self.clusters: dict[str, dict[str, ClusterSums]] = {}

    def add(self, category: str, was: int, now: int, cluster: str) -> None:
        for name in (_ALL, f"={category}"):
            self.counts.setdefault(name, Counter())[was, now] += 1
            if cluster:
                _add_to(self.clusters.setdefault(name, {}), cluster, float(now - was))


_ALL = ""


def _add_to(clusters: dict[str, ClusterSums], name: str, value: float) -> None:
    known = clusters.get(name, ClusterSums(0, 0.0, 0.0))
    clusters[name] = ClusterSums(known.n + 1, known.total + value, known.squares + value * value)


def _rates(verdicts: _Verdicts, name: str, level: float) -> RateDifference | None:
    counts = verdicts.counts.get(name, Counter())
    n = counts.total()
    if not n:
        return None
    gained, lost, both = counts[0, 1], counts[1, 0], counts[1, 1]
    p_value: float | None = mcnemar_mid_p(gained, lost)
    difference = paired_difference(gained, lost, n, level)
    if name in verdicts.clusters:
        clustered, p_value = clustered_difference(verdicts.clusters[name], level)
        difference = clustered.mean
    return RateDifference(
        n=n,
        baseline_rate=(both + lost) / n,
        run_rate=(both + gained) / n,
        difference=difference,
        gained=gained,
        lost=lost,
        p_value=p_value,
        p_adjusted=p_value,
    )


def _unpaired(first: Report, second: Report, level: float) -> RateDifference | None:
    """The rates of runs that have no item in common."""
    one, two = first.pass_rate, second.pass_rate
    if not one.rate.n or not two.rate.n:
        return None
    groups = (one.passed, one.rate.n), (two.passed, two.rate.n)
    difference, p_value = unpaired_difference(*groups, level), unpaired_p_value(*groups)
    if one.clusters is not None and two.clusters is not None:
        difference = difference_of(one.rate, two.rate)
        p_value = unpaired_p_value(_worth(one), _worth(two))
    n, rates = one.rate.n + two.rate.n, (one.rate.value, two.rate.value)
    return RateDifference(n, *rates, difference, None, None, p_value, p_value, paired=False)


def _worth(rate: PassRate) -> tuple[int, int]:
    """The counts of a sample without clusters that tells as much."""
    counted = Clustered(rate.rate, rate.clusters or 0, rate.design_effect)
    return counted.worth(rate.passed, rate.rate.n)


def _categories(counts: _Verdicts, level: float) -> Iterator[CategoryDifference]:
    named = [(name[1:], _rates(counts, name, level)) for name in counts.counts if name != _ALL]
    known = [(name, rates) for name, rates in named if rates is not None]
    known.sort(key=lambda each: (-each[1].n, each[0]))
    adjusted = holm([1.0 if rates.p_value is None else rates.p_value for _, rates in known])
    for (name, rates), p_value in zip(known, adjusted, strict=True):
        yield CategoryDifference(name, replace(rates, p_adjusted=p_value))


def _or_none(score: float) -> float | None:
    return None if isnan(score) else score
