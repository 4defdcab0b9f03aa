"""What of a dataset is used: which of its rows and fields, and in which order."""

from __future__ import annotations

import heapq
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Any

from llm_batch.chain.templates import Condition
from llm_batch.errors import DataError

if TYPE_CHECKING:
    from llm_batch.chain.options import Data

# Names of fields that a message lists at most.
_MANY = 20


class Selection:
    """``columns``, ``where`` and ``limit`` of ``[data]``.

    Attributes:
        limit: Rows that are taken at most; 0 for all.
    """

    def __init__(self, data: Data) -> None:
        self._columns = data.columns
        self._where = Condition(data.where, "data.where") if data.where else None
        self.limit = data.limit or 0

    def reads(self, used: Iterable[str] | None) -> frozenset[str] | None:
        """The columns to be read; ``None`` for all.

        Args:
            used: Those that anything else needs, where that is known.
        """
        wanted = used if self._columns is None else self._columns
        if wanted is None or (self._where and "item" in self._where.variables):
            return None
        return frozenset(wanted) | (self._where.variables if self._where else set())

    def more(self, most: int, taken: int) -> int:
        """How many rows to read next, up to so many, where some are taken."""
        return min(most, self.limit - taken) if self.limit else most

    def takes(self, fields: Mapping[str, Any]) -> bool:
        """Whether this is one of the rows; `PromptError` where ``where`` cannot tell."""
        return self._where is None or self._where.holds(fields)

    def of(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields that are used."""
        if self._columns is None:
            return fields
        return {name: fields[name] for name in self._columns if name in fields}

    def check(self, fields: Mapping[str, Any], where: str) -> None:
        """`DataError` where a row lacks a column that was asked for."""
        lacking = [name for name in self._columns or () if name not in fields]
        if lacking:
            known = ", ".join(list(fields)[:_MANY]) + (", …" if len(fields) > _MANY else "")
            raise DataError(
                f"{where}: no field {lacking[0]!r}, which columns under [data] names",
                f"it has {known}",
            )


_two_numbers = Struct(">QQ").unpack
#: Items sorted at once: a slice of the order this long costs little memory as Python objects.
_SLICE = 16_384


def order_key(seed: int, item_id: str) -> tuple[int, int]:
    """Where an item stands in the order: two numbers of 64 bits, to be compared as a pair.

    The first alone decides unless two items share it (among a million items a chance of
    3 in 100 million). Two items that share both are taken to have the same id.
    """
    found: tuple[int, int] = _two_numbers(*_digests(seed, (item_id,)))
    return found


def order_keys(seed: int, item_ids: Iterable[str]) -> tuple[array[int], array[int]]:
    """The two numbers of `order_key` of many items."""
    found = array("Q", b"".join(_digests(seed, item_ids)))
    if sys.byteorder == "little":
        found.byteswap()
    return found[::2], found[1::2]


def _digests(seed: int, item_ids: Iterable[str]) -> Iterator[bytes]:
    begun = blake2b(b"%d\n" % seed, digest_size=16).copy
    for item_id in item_ids:
        made = begun()
        made.update(item_id.encode())
        yield made.digest()


def in_order(firsts: array[int], seconds: array[int]) -> Iterator[int]:
    """Yield the indices of items by the two numbers of their `order_key`, lowest first.

    Memory stays near 8 bytes an item: keys are hashes, hence even, so a cut of their range into
    equal parts gives parts of nearly equal length, and only one part at a time is sorted.
    """
    if len(firsts) > _SLICE and sys.byteorder == "little":
        import numpy

        high, low = (numpy.frombuffer(column, "<u8") for column in (firsts, seconds))
        places = numpy.argsort(high)
        if not bool(numpy.all(numpy.diff(high[places]))):
            places = numpy.lexsort((low, high))
        yield from array("Q", places.astype("<u8").tobytes())
        return
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

    From each stratum the first items of its own order are taken, as many as its share. The r-th of
    n (from 0) is put at (r + 1/2) / n of the way, ties by key: the sequence of Webster
    (Sainte-Laguë). In a prefix of m of the n items a stratum with share n_h is at most
    1/2 + H n_h / 2 n away from m n_h / n, where H counts the strata.
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


def twice(numbers: array[int]) -> bool:
    """Whether one of them comes twice."""
    if len(numbers) <= _SLICE:
        return len(set(numbers)) < len(numbers)
    import numpy

    ordered = numpy.sort(numpy.frombuffer(numbers, numpy.uint64))
    return bool((ordered[1:] == ordered[:-1]).any())
