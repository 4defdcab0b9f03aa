"""How many items a claim needs, and what some number of items shows.

Formulas are in `llm_batch.stats`, the conventions in ``docs/sample-size.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import floor

from llm_batch.errors import ConfigError
from llm_batch.estimate.claims import (
    HINTS,
    JUDGE_HINT,
    MARGIN,
    WORST_RATE,
    Claim,
    Kind,
    check,
    filled,
    rates_of,
)
from llm_batch.stats.design import (
    design_effect,
    drawn_design_effect,
    drawn_size,
    imperfect_judge_factor,
)
from llm_batch.stats.guards import round_up
from llm_batch.stats.power import least_difference, paired_rates_n0, scores_n0, two_rates_n0
from llm_batch.stats.precision import (
    Spread,
    margin_for,
    mean_spread,
    rate_spread,
    size_for,
    whole_size_for,
)
from llm_batch.stats.rare import rules_out, zero_failures_n0, zero_failures_size

# The textbook figure is what to take while it is not more than this above the least one.
_NEARLY = 1.02


@dataclass(frozen=True, slots=True)
class Clusters:
    """Items that belong together, such as questions on one document.

    Attributes:
        field: The field that says which; empty where only a size was given.
        count: How many there are; ``None`` when unknown.
        mean_size: Items in each, on average.
        size: The size that counts where they differ, Σm²/Σm.
        icc: Correlation of two scores of one cluster.
        icc_from: What that was measured on; empty where it was given.
    """

    field: str
    count: int | None
    mean_size: float
    size: float
    icc: float
    icc_from: str = ""


@dataclass(frozen=True, slots=True)
class Needed:
    """How many items a claim needs.

    Attributes:
        kind: What is claimed; see `Claim`.
        claim: The claim, with what was left open filled in.
        base: The size before factors and rounding, in a population without end.
        design_effect: The factor for clusters; 1 without.
        judge_factor: The factor for a judge that errs; 1 without.
        n0: ``base`` times both.
        n_classic: ``n0`` to the nearest integer, the figure of textbooks.
        n_min: The least size in a very large population.
        n: The least size in this one; ``None`` when not even all items are enough.
        groups: 1, or 2 where each of two groups of items has that size.
        population: Items in the whole dataset; ``None`` when unknown.
        proves_all: What all items show: a margin, or the least difference or failure rate;
            ``None`` when not even that.
        clusters: The clusters; ``None`` without.
        n_drawn: The size where items are drawn one by one, as a run does, so that few are of one
            cluster; ``None`` without clusters.
        take: The size to take: ``n``, or the textbook figure where that is nearly the same.
        discordance_is_assumed: Whether the discordance is the worst case.
    """

    kind: Kind
    claim: Claim
    base: float
    design_effect: float
    judge_factor: float
    n0: float
    n_classic: int
    n_min: int
    n: int | None
    groups: int
    population: int | None
    proves_all: float | None
    clusters: Clusters | None
    n_drawn: int | None
    take: int
    discordance_is_assumed: bool

    def effect_of(self, n: int) -> float:
        """The factor for clusters of n items that are drawn as a run draws them, one by one."""
        clusters, population = self.clusters, self.population
        if clusters is None or population is None or not 1 <= n <= population:
            return self.design_effect
        return drawn_design_effect(n, population, clusters.size, clusters.icc)


def needed_for(
    claim: Claim, population: int | None = None, clusters: Clusters | None = None
) -> Needed:
    """Say how many items a claim needs.

    Args:
        claim: What is to be shown.
        population: Items in the whole dataset. It lowers the size of a rate or a mean, which are
            about this dataset, and not that of a difference, which is about models.
        clusters: Items that belong together.

    Raises:
        ConfigError: The claim does not fit together, or no number of items shows it.
    """
    check(claim)
    if clusters is None and claim.cluster_size is not None and claim.icc is not None:
        clusters = Clusters("", None, claim.cluster_size, claim.cluster_size, claim.icc)
    try:
        found = _needed(filled(claim), population, clusters)
    except ValueError as error:
        hint = JUDGE_HINT if "judge" in str(error) else HINTS[claim.kind]
        raise ConfigError(f"no size can be told: {error}", hint) from None
    assumed = claim.kind == "paired_rates" and claim.discordance is None
    return replace(found, discordance_is_assumed=assumed)


def proof(needed: Needed, n: int) -> float | None:
    """Say what n items of this dataset show.

    Returns:
        The margin of a rate or a mean; the least difference that is found with the power asked
        for; the least rate of failures that seeing none rules out. ``None``: nothing.
    """
    claim, level = needed.claim, needed.claim.level
    effect = needed.effect_of(n)
    factor = effect * needed.judge_factor
    if needed.kind in ("rate", "mean"):
        # Of clusters the report bounds items like these, and not the dataset.
        whole = needed.population if needed.clusters is None else None
        return margin_for(_spread(claim, effect), n, level, whole)
    if needed.kind == "zero_failures":
        spec = claim.specificity if claim.specificity is not None else 1.0
        if factor == 1 and spec == 1:
            return rules_out(n, level, needed.population)
        return min(1.0, rules_out(max(1, floor(n / effect)), level) / spec)
    size, most = _difference(claim)
    if needed.population is not None:
        n = min(n, needed.population // needed.groups)
    return least_difference(n / factor, size, most)


def _needed(claim: Claim, population: int | None, clusters: Clusters | None) -> Needed:
    kind = claim.kind
    effect = design_effect(clusters.size, clusters.icc) if clusters else 1.0
    judge = 1.0
    n: int | None
    if kind in ("rate", "mean"):
        margin = claim.margin if claim.margin is not None else MARGIN
        if claim.sensitivity is not None and claim.specificity is not None:
            judge = imperfect_judge_factor(claim.sensitivity, claim.specificity)
        one = mean_spread(claim.sd) if claim.sd is not None else rate_spread(_rate(claim))
        base = size_for(one, margin, claim.level)
        n = whole_size_for(_spread(claim, effect), margin, claim.level, population)
    elif kind == "zero_failures":
        assert claim.zero_failures is not None
        # A failure is seen where it occurs and the judge finds it.
        spec = claim.specificity if claim.specificity is not None else 1.0
        base = zero_failures_n0(claim.zero_failures * spec, claim.level)
        n = round_up(base * effect)
        if spec == 1 and effect == 1 and population is not None:
            n = zero_failures_size(claim.zero_failures, claim.level, population)
    else:
        assert claim.detect is not None
        if claim.sensitivity is not None and claim.specificity is not None:
            judge = imperfect_judge_factor(claim.sensitivity, claim.specificity)
        base = _difference(claim)[0](abs(claim.detect))
        n = round_up(base * effect * judge)
    groups = 2 if kind in ("two_rates", "two_scores") else 1
    drawn = _drawn(base * judge, population, clusters)
    if clusters is not None and population is not None:
        n = drawn
    if n is not None and population is not None and groups * n > population:
        n = None
    n0 = base * effect * judge
    classic = max(1, floor(n0 + 0.5))
    found = Needed(
        kind=kind,
        claim=claim,
        base=base,
        design_effect=effect,
        judge_factor=judge,
        n0=n0,
        n_classic=classic,
        n_min=round_up(n0),
        n=n,
        groups=groups,
        population=population,
        proves_all=None,
        clusters=clusters,
        n_drawn=drawn,
        take=_take(kind, n, 0 if effect * judge > 1 else classic, population, groups),
        discordance_is_assumed=False,
    )
    if population is None:
        return found
    return _with_all(found, population // groups)


def _with_all(needed: Needed, n: int) -> Needed:
    return replace(needed, proves_all=proof(needed, n) if n else None)


def _take(kind: Kind, n: int | None, classic: int, population: int | None, groups: int) -> int:
    """The size to take; ``classic`` is 0 where textbooks have none."""
    if n is None:
        return max(1, (population or 1) // groups)
    nearly = kind == "rate" and n <= classic <= _NEARLY * n
    return classic if nearly and classic <= (population or classic) else n


def _drawn(n0: float, population: int | None, clusters: Clusters | None) -> int | None:
    if clusters is None or population is None:
        return None
    size = drawn_size(n0, population, clusters.size, clusters.icc)
    return None if size is None else round_up(size)


def _spread(claim: Claim, effect: float) -> Spread:
    if claim.sd is not None:
        return mean_spread(claim.sd).times(effect)
    return rate_spread(_rate(claim), claim.sensitivity, claim.specificity).times(effect)


def _rate(claim: Claim) -> float:
    return WORST_RATE if claim.rate is None else claim.rate


def _difference(claim: Claim) -> tuple[Callable[[float], float], float]:
    """The size that a difference needs, as a function of it, and the largest there can be."""
    level, power = claim.level, claim.power
    if claim.kind == "two_rates":
        return partial(_two_rates, claim), _most(claim)
    if claim.kind == "paired_rates":
        assert claim.discordance is not None
        share = claim.discordance
        return lambda delta: paired_rates_n0(delta, share, level, power), share
    assert claim.sd is not None
    # Two groups differ by the variances of both.
    variance = claim.sd**2 * (1 if claim.kind == "paired_scores" else 2)
    return lambda delta: scores_n0(delta, variance, level, power), 1e3 * claim.sd


def _two_rates(claim: Claim, delta: float) -> float:
    first, second = rates_of(claim, delta)
    return two_rates_n0(first, second, claim.level, claim.power)


def _most(claim: Claim) -> float:
    if claim.rate is None:
        return 0.999
    up = (claim.detect or 0) >= 0
    return 0.999 * (1 - claim.rate if up else claim.rate)
