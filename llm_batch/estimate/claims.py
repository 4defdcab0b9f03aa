"""What a run is to show.

Five kinds of claim: a rate (the share of items that pass) or a mean score within a margin; a
difference of two rates or of two mean scores, on the same items or on separate ones; and that
failures are rarer than some rate, none having been seen. How many items each needs: `needs`.

Rates, their margins and differences are fractions of one. Means are in the unit of the score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from llm_batch.errors import ConfigError

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
        """What is claimed."""
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
    """Refuse a correlation without clusters, and clusters told in two ways.

    Args:
        claim: The claim.
        field: The field that says which items belong together.

    Raises:
        ConfigError: They do not fit together.
    """
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
    """Refuse what does not fit together, in the words of the flags.

    Raises:
        ConfigError: It does not.
    """
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
