"""Two runs beside each other: items paired by id, what the pairs come to, what changed."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING

from llm_batch.errors import ConfigError
from llm_batch.paper.words import clean, items, listed
from llm_batch.reporting.comparison import (
    Against,
    CategoryDifference,
    Change,
    RateDifference,
    ScoreDifference,
)
from llm_batch.reporting.comparison.sides import Side, question_of
from llm_batch.reporting.model import PassRate
from llm_batch.reporting.rows import NO_VERDICT, Rows
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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def common_places(first: Rows, second: Rows) -> NDArray[np.int64]:
    """The items that are in both, in the order of the first, as columns of their places in the
    two.
    """
    import numpy

    mine, theirs = numpy.asarray(first.hashes), numpy.asarray(second.hashes)
    if numpy.array_equal(mine, theirs):  # as of two judges of the same answers
        return numpy.stack([numpy.arange(len(mine))] * 2)
    one, two = mine.argsort(), theirs.argsort()
    mine, theirs = mine[one], theirs[two]
    found = numpy.searchsorted(theirs, mine)
    shared = found < len(theirs)
    shared[shared] = theirs[found[shared]] == mine[shared]
    both = numpy.stack([one[shared], two[found[shared]]])
    return both[:, both[0].argsort()]


#: More changed items than this are counted and not described.
CHANGE_LIMIT = 10_000

_TEXT = 600


def described(
    changes: Sequence[Change], baseline: Side, run: Side, places: NDArray[np.int64]
) -> tuple[Change, ...]:
    """The changes, at these places in the two, with their texts, which are read from the results
    once more.
    """
    if not changes:
        return ()
    ids = {change.id for change in changes}
    one, two = places.tolist()
    before, after = baseline.texts(ids, one), run.texts(ids, two)
    described = []
    for change in changes:
        one, two = before.get(change.id), after.get(change.id)
        question = question_of(one) if one else question_of(two) if two else ""
        described.append(
            replace(
                change,
                question=clean(question, _TEXT),
                baseline_output=clean(baseline.answer(one), _TEXT),
                run_output=clean(run.answer(two), _TEXT),
                baseline_reason=clean(baseline.reason(one), _TEXT),
                run_reason=clean(run.reason(two), _TEXT),
            )
        )
    return tuple(described)


#: Below this share of the smaller run's items in common, the runs count as of other items.
_ENOUGH_IN_COMMON = 0.5
_NAMED = 3


def _check_items(first: Side, second: Side, found: _Pairs) -> None:
    """Refuse runs of other items: a difference could be the items' as well as the models'."""
    least = min(first.figures.read, second.figures.read)
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


def against(name: str, baseline: Side, run: Side, level: float, anyway: bool) -> Against:
    """One run against the baseline, item by item.

    Raises:
        ConfigError: The items are not the same, without ``anyway``.
    """
    import numpy

    counts = _Verdicts()
    first, second = baseline.rows, run.rows
    # A baseline has no fields, so the run says what an item belongs to.
    grouped, places = (run, 1) if baseline.report is None else (baseline, 0)
    categories, clusters = list(grouped.rows.names), grouped.rows.clusters
    one, two = common_places(first, second)
    place = (one, two)[places]
    category = numpy.asarray(grouped.rows.categories)[place]
    other = numpy.asarray(first.content)[one] != numpy.asarray(second.content)[two]
    before, after = numpy.asarray(first.scores)[one], numpy.asarray(second.scores)[two]
    was = numpy.asarray(first.passed, numpy.uint8)[one].astype(int)
    now = numpy.asarray(second.passed, numpy.uint8)[two].astype(int)
    scored = ~(numpy.isnan(before) | numpy.isnan(after))
    judged = (was != NO_VERDICT) & (now != NO_VERDICT)
    pairs = _Pairs(
        common=len(one),
        unscored=int((~(judged | scored)).sum()),
        other_content=int(other.sum()),
        examples=tuple(first.ids[n] for n in one[other][:_NAMED]),
    )
    if not anyway:
        _check_items(baseline, run, pairs)
    differences = array("d", (after - before)[scored].tobytes())
    # One after the other, as a loop adds them.
    means = [float(each[scored].cumsum()[-1]) if differences else 0.0 for each in (before, after)]
    wins, losses = int((after > before).sum()), int((after < before).sum())
    cells = numpy.bincount((category * 4 + was * 2 + now)[judged])
    for cell in cells.nonzero()[0].tolist():
        number, verdicts = divmod(cell, 4)
        counts.add(categories[number], *divmod(verdicts, 2), int(cells[cell]))
    by_cluster: dict[str, ClusterSums] = {}
    if clusters:
        for n, difference in zip(place[scored].tolist(), differences, strict=True):
            _add_to(by_cluster, clusters[n], difference)
        for n in judged.nonzero()[0].tolist():
            change, cluster = float(now[n] - was[n]), clusters[place[n]]
            counts.add_cluster(categories[category[n]], cluster, change)
    worse, better = numpy.where(judged, (now < was, now > was), (after < before, after > before))
    changed = numpy.concatenate([worse.nonzero()[0], better.nonzero()[0]])
    changes = []
    changed, total = changed[:CHANGE_LIMIT], len(changed)
    for n in changed.tolist():
        kinds = ("lost", "gained") if judged[n] else ("lower", "higher")
        were, are = _or_none(float(before[n])), _or_none(float(after[n]))
        changes.append(
            Change(first.ids[one[n]], kinds[int(better[n])], categories[category[n]], were, are)
        )
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
        only_baseline=len(first.ids) - pairs.common,
        only_run=len(second.ids) - pairs.common,
        unscored=pairs.unscored,
        other_content=pairs.other_content,
        rates=_rates(counts, "", level) if pairs.common else _unpaired(baseline, run, level),
        scores=scores,
        categories=tuple(_categories(counts, level)) if grouped.group_field else (),
        changed=total,
        changes=described(changes, baseline, run, numpy.stack([one[changed], two[changed]])),
    )


class _Verdicts:
    """Counts of (verdict before, now) by category, that of all items being empty; and changes by
    cluster.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter[tuple[int, int]]] = {}
        self.clusters: dict[str, dict[str, ClusterSums]] = {}

    def add(self, category: str, was: int, now: int, n: int) -> None:
        for name in (_ALL, f"={category}"):
            self.counts.setdefault(name, Counter())[was, now] += n

    def add_cluster(self, category: str, cluster: str, change: float) -> None:
        for name in (_ALL, f"={category}"):
            _add_to(self.clusters.setdefault(name, {}), cluster, change)


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


def _unpaired(first: Side, second: Side, level: float) -> RateDifference | None:
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
