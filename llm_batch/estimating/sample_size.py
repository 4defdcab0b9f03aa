"""What a run is to show, and how many items that needs.

Five kinds of claim: a rate (the share of items that pass) or a mean score within a margin; a
difference of two rates or of two mean scores, on the same items or on separate ones; and that
failures are rarer than some rate, none having been seen. How many items each needs: `needed_for`.

Rates, their margins and differences are fractions of one. Means are in the unit of the score.

Formulas are in `llm_batch.stats`, the conventions in ``docs/sample-size.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from typing import Literal

from llm_batch.errors import ConfigError
from llm_batch.stats.clusters import design_effect, drawn_design_effect, drawn_size
from llm_batch.stats.sizes import (
    SampleSize,
    Spread,
    imperfect_judge_factor,
    least_difference,
    margin_for,
    mean_spread,
    paired_rates_n0,
    rate_spread,
    round_up,
    rules_out,
    sample_size,
    scores_n0,
    size_for,
    two_rates_n0,
    whole_size_for,
    zero_failures_n0,
    zero_failures_size,
)

Kind = Literal[
    "rate", "mean", "paired_rates", "two_rates", "paired_scores", "two_scores", "zero_failures"
]


#: Half width of the interval of a rate that nobody asked for another one of.
MARGIN = 0.05


#: The rate that needs most items.
WORST_RATE = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be shown; by default a rate within 5 points at 95 %.

    Attributes:
        margin: Half width of the interval of a rate, or of a mean where ``sd`` is given.
        level: Confidence level; of a difference one minus the two-sided significance level; of no
            failures one-sided.
        rate: The share of passes expected, as the judge reports it; of a difference, that of the
            first model. ``None``: the worst case, one half.
        sd: Standard deviation of the scores; of a paired difference that of the difference of an
            item's two scores.
        detect: A difference that is to be found; below 0 for a loss.
        paired: Whether both models answer the same items.
        discordance: Share of items that one model passes and the other fails; ``None``: what two
            models have whose answers have nothing in common, which is the worst case.
        power: Probability of finding the difference.
        zero_failures: A rate of failures to rule out by seeing none.
        cluster_size: Items in a cluster, where their number is all that is known.
        icc: Correlation of two scores of one cluster.
        sensitivity: Share of good answers the judge passes.
        specificity: Share of bad answers the judge fails.
    """

    margin: float | None = None
    level: float = 0.95
    rate: float | None = None
    sd: float | None = None
    detect: float | None = None
    paired: bool = False
    discordance: float | None = None
    power: float = 0.8
    zero_failures: float | None = None
    cluster_size: float | None = None
    icc: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None

    @property
    def kind(self) -> Kind:
        if self.zero_failures is not None:
            return "zero_failures"
        if self.detect is None:
            return "rate" if self.sd is None else "mean"
        pairs = self.paired or self.discordance is not None
        if self.sd is None:
            return "paired_rates" if pairs else "two_rates"
        return "paired_scores" if pairs else "two_scores"

    @property
    def is_of_rates(self) -> bool:
        """Whether figures are shares of items, to be shown in points."""
        return self.kind not in ("mean", "paired_scores", "two_scores")


def rates_of(claim: Claim, delta: float) -> tuple[float, float]:
    """The two rates that differ by ``delta``: from the one expected on, or about one half."""
    if claim.rate is None:
        return WORST_RATE - delta / 2, WORST_RATE + delta / 2
    return claim.rate, claim.rate + (delta if (claim.detect or 0) >= 0 else -delta)


def filled(claim: Claim) -> Claim:
    """The claim with the worst case where nothing was said."""
    if claim.kind in ("rate", "mean") and claim.margin is None:
        return replace(claim, margin=MARGIN)
    if claim.kind == "paired_rates" and claim.discordance is None and claim.detect is not None:
        first, second = rates_of(claim, abs(claim.detect))
        apart = first * (1 - second) + second * (1 - first)
        return replace(claim, paired=True, discordance=max(apart, abs(claim.detect)))
    return replace(claim, paired=claim.paired or claim.discordance is not None)


HINTS = {
    "rate": "--margin 0.05 --confidence 0.95, both as fractions of one",
    "mean": "--mean-sd 1.2 --margin 0.1, both in the unit of the score",
    "paired_rates": "--detect 0.03 --paired --discordance 0.09",
    "two_rates": "--detect 0.03 --expected-rate 0.8",
    "paired_scores": "--detect 0.1 --mean-sd 1.2 --paired",
    "two_scores": "--detect 0.1 --mean-sd 1.2",
    "zero_failures": "--zero-failures 0.01",
}


JUDGE_HINT = "--judge-sensitivity 0.9 --judge-specificity 0.8, as seen on labelled items"


def check_clusters(claim: Claim, field: str | None) -> None:
    """Refuse a correlation without clusters, or clusters told in two ways, with `ConfigError`."""
    if field is not None and claim.cluster_size is not None:
        raise ConfigError(
            "--cluster and --cluster-size were both given",
            "--cluster counts their sizes in the data: leave --cluster-size out",
        )
    if field is None and claim.cluster_size is None and claim.icc is not None:
        raise ConfigError(
            "--icc is for clusters, and none are named",
            "--cluster FIELD, or --cluster-size 5 where there is no data",
        )


def check(claim: Claim) -> None:
    """Refuse what does not fit together, with `ConfigError` in the words of the flags."""
    kind = claim.kind
    shares = {
        "--confidence": claim.level,
        "--expected-rate": claim.rate,
        "--zero-failures": claim.zero_failures,
        "--margin": claim.margin if kind == "rate" else None,
        "--detect": abs(claim.detect) if claim.detect is not None and claim.is_of_rates else None,
    }
    for flag, value in shares.items():
        if value is not None and not 0 < value < 1:
            share = f": {flag} {value / 100:g}" if 1 <= value < 100 else f": {flag} 0.05"
            raise ConfigError(
                f"{flag} {value:g} does not lie between 0 and 1", f"as a fraction of one{share}"
            )
    wrong = next((found for found in _contradictions(claim) if found[0]), None)
    if wrong is not None:
        raise ConfigError(wrong[1], wrong[2])


def _contradictions(claim: Claim) -> list[tuple[bool, str, str]]:
    kind = claim.kind
    compares = claim.detect is not None
    judge = (claim.sensitivity, claim.specificity)
    return [
        (
            kind == "zero_failures" and (compares or claim.sd is not None or bool(claim.margin)),
            "--zero-failures stands beside another claim",
            "give --zero-failures alone, or leave it out",
        ),
        (
            compares and claim.margin is not None,
            "--margin and --detect are two claims",
            "--margin for one rate, --detect for a difference of two",
        ),
        (
            kind == "mean" and claim.margin is None,
            "--mean-sd needs the margin of the mean",
            "--mean-sd 1.2 --margin 0.1, both in the unit of the score",
        ),
        (
            not compares and (claim.paired or claim.discordance is not None),
            "--paired and --discordance are for --detect",
            "--detect 0.03 --paired --discordance 0.09",
        ),
        (
            claim.discordance is not None and claim.sd is not None,
            "--discordance is of passes, --mean-sd of scores",
            "leave one of them out",
        ),
        (
            claim.detect == 0,
            "--detect 0 is no difference",
            "--detect 0.03 for one of 3 points",
        ),
        (
            claim.rate is not None and kind in ("mean", "paired_scores", "two_scores"),
            "--expected-rate is of passes, --mean-sd of scores",
            "leave one of them out",
        ),
        (
            None in judge and judge != (None, None),
            "a judge has both a sensitivity and a specificity",
            "--judge-sensitivity 0.9 --judge-specificity 0.8",
        ),
        (
            judge != (None, None) and not claim.is_of_rates,
            "--judge-sensitivity and --judge-specificity are of verdicts, --mean-sd of scores",
            "leave one of them out",
        ),
        (
            claim.cluster_size is not None and claim.icc is None,
            "clusters need how alike their items are",
            "--icc 0.1; 0 is not at all, 1 is one answer for all of a cluster",
        ),
    ]


# The textbook figure is what to take while it is not more than this above the least one.
_NEARLY = 1.02


@dataclass(frozen=True, slots=True)
class Clusters:
    """Items that belong together, such as questions on one document.

    Attributes:
        field: The field that says which; empty where only a size was given.
        mean_size: Items in each, on average.
        size: The size that counts where they differ, Σm²/Σm.
        icc: Correlation of two scores of one cluster, and what it was measured on.
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
        claim: With what was left open filled in.
        base: The size before factors and rounding, in a population without end.
        design_effect: The factor for clusters; 1 without.
        judge_factor: The factor for a judge that errs; 1 without.
        n0: ``base`` times both.
        n_classic: ``n0`` to the nearest integer, the figure of textbooks.
        n_min: The least size in a very large population.
        n: The least size in this one; ``None`` when not even all items are enough.
        groups: 1, or 2 where each of two groups of items has that size.
        proves_all: What all items show: a margin, or the least difference or failure rate;
            ``None`` when not even that.
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

    The population lowers the size of a rate or a mean, which are about this dataset, and not that
    of a difference, which is about models.

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
    """What n items of this dataset show; ``None``: nothing.

    The margin of a rate or a mean; the least difference that is found with the power asked for; or
    the least rate of failures that seeing none rules out.
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


def quoted(needed: Needed) -> SampleSize:
    """The figures people quote for a rate; for another claim those of a rate at its level."""
    claim, population = needed.claim, needed.population
    if needed.kind != "rate":
        return sample_size(level=claim.level, population=population)
    return SampleSize(
        n0=needed.n0,
        n_classic=needed.n_classic,
        n_min=needed.n_min,
        n_fpc=needed.n if needed.n is not None and population is not None else population,
        level=claim.level,
        margin=claim.margin or 0.0,
        population=population,
        rate=WORST_RATE if claim.rate is None else claim.rate,
    )


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
        kind=kind, claim=claim, base=base, design_effect=effect, judge_factor=judge, n0=n0,
        n_classic=classic, n_min=round_up(n0), n=n, groups=groups, population=population,
        proves_all=None, clusters=clusters, n_drawn=drawn,
        take=_take(kind, n, 0 if effect * judge > 1 else classic, population, groups),
        discordance_is_assumed=False,
    )  # fmt: skip
    every = (population or 0) // groups
    return replace(found, proves_all=proof(found, every) if every else None)


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
