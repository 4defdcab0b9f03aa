"""The seeded order of items; a sample is the start of it.

Every item stands where a hash of seed and id puts it. So the order does not depend on the order
of rows, a sample of n is contained in every larger one, and whatever a stopped run leaves done is
close to a random sample of the whole.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from struct import Struct

_two_numbers = Struct(">QQ")

#: Items sorted at once: a slice of the order this long costs little memory as Python objects.
_SLICE = 16_384


def order_key(seed: int, item_id: str) -> tuple[int, int]:
    """Where an item stands in the order: two numbers of 64 bits, to be compared as a pair.

    The first alone decides unless two items share it (among a million items a chance of
    3 in 100 million). Two items that share both are taken to have the same id.
    """
    digest = blake2b(f"{seed}\n{item_id}".encode(), digest_size=16).digest()
    first, second = _two_numbers.unpack(digest)
    return first, second


def in_order(firsts: array[int], seconds: array[int]) -> Iterator[int]:
    """Yield the indices of items by their keys, lowest first.

    Args:
        firsts: The first number of each item's `order_key`.
        seconds: The second.

    Memory stays near 8 bytes an item: keys are hashes, hence even, so a cut of their range into
    equal parts gives parts of nearly equal length, and only one part at a time is sorted.
    """
    parts = len(firsts) // _SLICE + 1
    indices = [array("Q") for _ in range(parts)]
    for index, first in enumerate(firsts):
        indices[first * parts >> 64].append(index)
    for part in indices:
        yield from sorted(part, key=lambda index: (firsts[index], seconds[index]))


def in_strata_order(
    firsts: array[int], seconds: array[int], strata: Sequence[int], shares: Sequence[int]
) -> Iterator[int]:
    """Yield the indices of a stratified sample, mixed so that any prefix is close to it in shares.

    From each stratum the first items of its own order are taken. The r-th of n (from 0) is put
    at (r + 1/2) / n of the way, ties by key: the sequence of Webster (Sainte-Laguë). In a prefix
    of m of the n items a stratum with share n_h is at most 1/2 + H n_h / 2 n away from m n_h / n,
    where H counts the strata.

    Args:
        firsts: The first number of each item's `order_key`.
        seconds: The second.
        strata: The number of each item's stratum, from 0.
        shares: How many items to take from each stratum, by its number.
    """
    chosen = [array("Q") for _ in shares]
    missing = sum(shares)
    for index in in_order(firsts, seconds):
        if not missing:
            break
        mine = chosen[strata[index]]
        if len(mine) < shares[strata[index]]:
            mine.append(index)
            missing -= 1

    def spread(mine: array[int]) -> Iterator[tuple[float, int, int, int]]:
        for rank, index in enumerate(mine):
            yield (rank + 0.5) / len(mine), firsts[index], seconds[index], index

    for *_, index in heapq.merge(*map(spread, chosen)):
        yield index
