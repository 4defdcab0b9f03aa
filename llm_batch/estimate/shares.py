"""How a sample is shared among strata: in proportion, or where a pilot saw the spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from llm_batch.stats.interval import z_value
from llm_batch.stats.strata import allocate, neyman

# Degrees of freedom that the spread common to all strata is given in each of them.
_PRIOR = 2.0


@dataclass(frozen=True, slots=True)
class Share:
    """One stratum.

    Attributes:
        stratum: Its name.
        size: Items it has in the dataset.
        proportional: Items of the sample, in proportion.
        measured: Scores that were seen in it.
        sd: Their standard deviation, drawn towards that common to all; ``None`` without.
        neyman: Items of the sample by size times spread; ``None`` where some stratum has fewer
            than two scores.
    """

    stratum: str
    size: int
    proportional: int
    measured: int
    sd: float | None
    neyman: int | None


@dataclass(frozen=True, slots=True)
class Strata:
    """A sample shared among strata.

    Attributes:
        field: The field whose values are the strata.
        n: Items shared out.
        shares: The strata by name.
        margin_proportional: Half width of the interval with proportional shares; ``None`` where
            the spread is not known.
        margin_neyman: With Neyman's, likewise.
    """

    field: str
    n: int
    shares: tuple[Share, ...]
    margin_proportional: float | None
    margin_neyman: float | None


def shared(
    field: str,
    sizes: Mapping[str, int],
    n: int,
    seen: Mapping[str, Sequence[float]] | None = None,
    level: float = 0.95,
) -> Strata:
    """Share ``n`` items among strata.

    Args:
        field: The field whose values are the strata.
        sizes: Items in each stratum.
        n: Items to share out.
        seen: Scores of a pilot by stratum, or 1 and 0 for passes and failures.
        level: Confidence level of the margins.

    Cochran (1977), sections 5.3 to 5.5: V = Σ W² (1 - f) s² / n_h.
    """
    scores = {name: list((seen or {}).get(name, ())) for name in sizes}
    proportional = allocate(sizes, n)
    sds = _spreads(scores) if all(len(values) > 1 for values in scores.values()) else None
    best = neyman(sizes, sds, n) if sds is not None else None
    return Strata(
        field=field,
        n=sum(proportional.values()),
        shares=tuple(
            Share(
                stratum=name,
                size=size,
                proportional=proportional[name],
                measured=len(scores[name]),
                sd=sds[name] if sds is not None else None,
                neyman=best[name] if best is not None else None,
            )
            for name, size in sizes.items()
        ),
        margin_proportional=None if sds is None else _margin(sizes, sds, proportional, level),
        margin_neyman=None if sds is None or best is None else _margin(sizes, sds, best, level),
    )


def _spreads(scores: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Standard deviations, each drawn towards the common one.

    Three passes of three are no reason to take a stratum for one without failures, and so to draw
    two items from it: the common variance counts as two further degrees of freedom.
    """
    squares = {
        name: fsum((value - fsum(values) / len(values)) ** 2 for value in values)
        for name, values in scores.items()
    }
    freedom = sum(len(values) - 1 for values in scores.values())
    common = sum(squares.values()) / freedom
    return {
        name: sqrt((squares[name] + _PRIOR * common) / (len(values) - 1 + _PRIOR))
        for name, values in scores.items()
    }


def _margin(
    sizes: Mapping[str, int], sds: Mapping[str, float], shares: Mapping[str, int], level: float
) -> float | None:
    """Half width of the interval of the weighted mean; ``None`` where a stratum has no item."""
    whole = sum(sizes.values())
    if any(size and not shares[name] for name, size in sizes.items()):
        return None
    variance = fsum(
        (size / whole) ** 2 * (1 - shares[name] / size) * sds[name] ** 2 / shares[name]
        for name, size in sizes.items()
        if size
    )
    return z_value(level) * sqrt(variance)
