"""Shares of a sample among strata: in proportion, or where the spread is.

Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor, isfinite


def allocate(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """Share a sample among strata in proportion to their sizes, by largest remainder.

    Every stratum gets at least 2 items (its one item if it has no more), because a variance
    needs two, and never more than it has. When ``n`` is too small for that, strata get their
    first item from the largest down, then their second: 20 items over 15 strata are 1 each and
    a second for the 5 largest. Such shares, and those lifted to 2, are not proportional: weight
    the strata in the report. Ties go to the first name, so the order of rows does not matter.

    Largest remainder has a trap, the Alabama paradox: one item more in all can take one away
    from a stratum. {600, 600, 200} share 24 as 10, 10, 4 and 25 as 11, 11, 3. A stratum never
    loses more than one, and none when its own proportional share grew by one or more.

    Args:
        sizes: Items in each stratum, by name.
        n: Items to draw in all; capped at the number there are.

    Returns:
        Items to draw from each stratum, in the order of ``sizes``; they sum to ``n``, capped.

    Raises:
        ValueError: A size or ``n`` is negative.

    Cochran (1977), ch. 5; largest remainder as in Balinski and Young (1982). Known answer:
    {700, 200, 100} at 384 -> 269, 77, 38.
    """
    return _apportion(sizes, {name: Fraction(size) for name, size in sizes.items()}, n)


def neyman(sizes: Mapping[str, int], sds: Mapping[str, float], n: int) -> dict[str, int]:
    """Share a sample among strata so that the overall mean is sharpest: n_h ∝ N_h S_h.

    The bounds, the small ``n`` and the ties are those of ``allocate``. A stratum that hits a
    bound is set to it and the rest is shared anew. The shares are not proportional to the sizes:
    weight the strata in the report. Without any spread (all sds 0) sizes decide alone.

    Args:
        sizes: Items in each stratum, by name.
        sds: Standard deviation of the scores in each stratum (of a rate: √(p (1 - p))).
        n: Items to draw in all; capped at the number there are.

    Returns:
        Items to draw from each stratum, in the order of ``sizes``; they sum to ``n``, capped.

    Raises:
        ValueError: A size, an sd or ``n`` is negative or not finite, or a stratum has no sd.

    Neyman (1934); Cochran (1977), eq. 5.26; the bounds as in Bitran and Hax (1981). Checked
    against the best of all allocations of small samples. Known answer: two strata of 1,000 with
    sds 1 and 3 at 100 -> 25 and 75.
    """
    if sizes.keys() != sds.keys():
        raise ValueError(f"sizes and sds must name the same strata: {sorted(sizes.keys() ^ sds)}")
    for name, sd in sds.items():
        if not (sd >= 0 and isfinite(sd)):
            raise ValueError(f"the sd of stratum {name!r} must be 0 or above, got {sd}")
    # Fractions: the shares of an exact tie must not hang on the last bit of a float.
    return _apportion(sizes, {name: sizes[name] * Fraction(sds[name]) for name in sizes}, n)


def _apportion(sizes: Mapping[str, int], weights: Mapping[str, Fraction], n: int) -> dict[str, int]:
    if n < 0 or any(size < 0 for size in sizes.values()):
        raise ValueError("n and the sizes of strata must not be negative")
    shares = dict.fromkeys(sizes, 0)
    free = sorted((name for name in sizes if sizes[name]), key=lambda name: (-sizes[name], name))
    least = {name: min(2, sizes[name]) for name in free}
    left = min(n, sum(sizes.values()))
    if left <= sum(least.values()):
        turns = [(name, turn) for turn in (1, 2) for name in free if turn <= least[name]]
        shares.update(turns[:left])
        return shares
    while True:
        # Strata without weight have a claim only when the others are full.
        claims = {name: weights[name] for name in free}
        if not any(claims.values()):
            claims = {name: Fraction(sizes[name]) for name in free}
        total = sum(claims.values())
        quotas = {name: left * claim / total for name, claim in claims.items()}
        short = {name: least[name] for name in free if quotas[name] < least[name]}
        over = {name: sizes[name] for name in free if quotas[name] > sizes[name]}
        if not short and not over:
            break
        # Only the heavier side is certain to stay at its bound once the rest is shared anew.
        lacking = sum(bound - quotas[name] for name, bound in short.items())
        excess = sum(quotas[name] - bound for name, bound in over.items())
        pinned = short if lacking >= excess else over
        shares.update(pinned)
        left -= sum(pinned.values())
        free = [name for name in free if name not in pinned]
    shares.update((name, floor(quota)) for name, quota in quotas.items())
    rest = left - sum(floor(quota) for quota in quotas.values())
    for name in sorted(free, key=lambda name: (floor(quotas[name]) - quotas[name], name))[:rest]:
        shares[name] += 1
    return shares
