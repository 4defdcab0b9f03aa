"""Two runs beside each other: their common items paired by id, and what the pairs come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isnan

from llm_batch.errors import ConfigError
from llm_batch.report.comparison.changes import CHANGE_LIMIT, described
from llm_batch.report.comparison.model import (
    Against,
    CategoryDifference,
    Change,
    RateDifference,
    ScoreDifference,
)
from llm_batch.report.comparison.rows import NO_VERDICT, Rows, common_places
from llm_batch.report.model import PassRate, Report
from llm_batch.report.words import clean, items
from llm_batch.stats.clusters import Clustered, ClusterSums, clustered_difference
from llm_batch.stats.compare import (
    difference_of,
    mcnemar_mid_p,
    paired_difference,
    paired_mean_difference,
    unpaired_difference,
    unpaired_p_value,
)
from llm_batch.stats.multiple import holm

#: Below this share of the smaller run's items in common, the runs count as of other items.
_ENOUGH_IN_COMMON = 0.5
_NAMED = 3


def _check_items(first: Report, second: Report, found: _Pairs) -> None:
    """Refuse runs of other items: a difference could be the items' as well as the models'."""
    least = min(first.items.read, second.items.read)
    anyway = "--anyway compares their rates as of different items"
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
        named = ", ".join(clean(id, 40) for id in found.examples)
        raise ConfigError(
            f"{items(found.other_content)} of {second.path} "
            f"{'has' if found.other_content == 1 else 'have'} the id of an item in {first.path} "
            f"and other fields: {named}",
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
    """Counts of (verdict before, verdict now) by category, that of all items being empty; and
    what changed by cluster.
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
    """Count a value in its cluster."""
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
    return RateDifference(
        n=one.rate.n + two.rate.n,
        baseline_rate=one.rate.value,
        run_rate=two.rate.value,
        difference=difference,
        gained=None,
        lost=None,
        p_value=p_value,
        p_adjusted=p_value,
        paired=False,
    )


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
