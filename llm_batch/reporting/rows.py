"""The items of a run as numbers, for what holds two runs against each other.

What grows with a file is some sixty bytes an item. Ids are packed, and items of two runs are paired
by the hashes of their ids, eight bytes each, which takes no dict. Of two runs with a million items
each, one in twenty million has two ids with the same hash.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, count
from math import nan
from typing import NamedTuple, Protocol

import msgspec

from llm_batch.record.baseline import content_hash
from llm_batch.record.parts import Part
from llm_batch.reporting.tally import is_counted

#: What ``Rows.passed`` holds for an item without a verdict.
NO_VERDICT = 2

_pack = msgspec.msgpack.Encoder().encode
_unpacked = lru_cache(2)(msgspec.msgpack.Decoder(list[str]).decode)


class Content(NamedTuple):
    """The fields by which an item is told from another one of its id.

    ``lasting`` hashes of them are those of a baseline; others take less time, and can be held only
    against those of this process and its forks.
    """

    fields: tuple[str, ...] = ()
    lasting: bool = False

    def hashes(self, contents: Iterable[bytes]) -> list[int]:
        if self.lasting:
            return list(map(content_hash, contents))
        return [found & (1 << 64) - 1 for found in map(hash, contents)]


class Ids:
    """Ids in the order of a file, packed some at a time."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._starts = [0]

    def add(self, ids: list[str]) -> None:
        self._blocks.append(_pack(ids))
        self._starts.append(self._starts[-1] + len(ids))

    def extend(self, after: Ids) -> None:
        before = self._starts[-1]
        self._blocks += after._blocks
        self._starts += [before + start for start in after._starts[1:]]

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(map(_unpacked, self._blocks))

    def __getitem__(self, place: int) -> str:
        block = bisect_right(self._starts, place) - 1
        return _unpacked(self._blocks[block])[place - self._starts[block]]


class Scored(Protocol):
    """A line, or one of its scores."""

    @property
    def score(self) -> float | None: ...
    @property
    def passed(self) -> bool | None: ...


@dataclass(slots=True)
class Rows:
    """The items of one run, each id once, in the order of its file.

    Attributes:
        hashes: Those of ``ids``, which hold in this process and its forks.
        scores: NaN where there is none, as of ``costs`` (USD) and ``seconds`` (of latency).
        passed: 1, 0 or `NO_VERDICT`.
        categories: Place of the category in ``names``.
        clusters: What each item belongs together with; empty where that was not asked for.
        content: Hash of the fields that both runs have, see `Content`.
        further: Scores and verdicts by each further score of the run, as in ``scores``, ``passed``.
        parts: Place of the first item of each part that the file was read in, and ``read`` these
            parts; none where it was read in one.
        respelt: Whether ``ids`` are as another run spells them.
    """

    ids: Ids = field(default_factory=Ids)
    hashes: array[int] = field(default_factory=lambda: array("q"))
    scores: array[float] = field(default_factory=lambda: array("d"))
    passed: bytearray = field(default_factory=bytearray)
    costs: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    categories: array[int] = field(default_factory=lambda: array("i"))
    names: dict[str, int] = field(default_factory=dict)
    clusters: list[str] = field(default_factory=list)
    content: array[int] = field(default_factory=lambda: array("Q"))
    further: dict[str, tuple[array[float], bytearray]] = field(default_factory=dict)
    parts: list[int] = field(default_factory=lambda: [0])
    read: list[Part] = field(default_factory=list)
    respelt: bool = False
    _index: tuple[Ids, dict[str, int]] | None = None

    @property
    def index(self) -> dict[str, int]:
        """Place of each item by id; once asked for, it takes some hundred bytes an item."""
        if self._index is None or self._index[0] is not self.ids:
            self._index = self.ids, dict(zip(self.ids, count(), strict=False))
        return self._index[1]

    def add(
        self,
        ids: list[str],
        scored: Sequence[Scored],
        costs: list[float | None],
        seconds: list[float | None],
        categories: list[str],
        content: list[int],
        clusters: Iterable[str] = (),
        further: Mapping[str, Sequence[Scored]] | None = None,
    ) -> None:
        """Add some items by their columns; ``scored`` are what has their scores and verdicts, and
        ``further`` what has those of other scores.
        """
        self.ids.add(ids)
        self.hashes.fromlist(list(map(hash, ids)))
        _add_scores(self.scores, self.passed, scored)
        for name, those in (further or {}).items():
            _add_scores(*self.further.setdefault(name, (array("d"), bytearray())), those)
        self.costs.fromlist([nan if cost is None else cost for cost in costs])
        self.seconds.fromlist([nan if each is None else each for each in seconds])
        names = self.names
        for name in dict.fromkeys(categories):
            names.setdefault(name, len(names))
        self.categories.fromlist([names[name] for name in categories])
        self.content.fromlist(content)
        self.clusters += clusters

    def extend(self, after: Rows) -> None:
        """Add the items of a later part of the file."""
        before = len(self.scores)
        self.ids.extend(after.ids)
        self.parts += [before + place for place in after.parts]
        categories = [self.names.setdefault(name, len(self.names)) for name in after.names]
        if categories != list(range(len(categories))):
            after.categories = array("i", map(categories.__getitem__, after.categories))
        self.hashes.extend(after.hashes)
        self.scores.extend(after.scores)
        self.costs.extend(after.costs)
        self.seconds.extend(after.seconds)
        self.categories.extend(after.categories)
        self.content.extend(after.content)
        self.passed += after.passed
        self.clusters += after.clusters
        for name, (scores, verdicts) in after.further.items():
            values, passed = self.further.setdefault(name, (array("d"), bytearray()))
            values.extend(scores)
            passed += verdicts

    def scored_by(self, name: str) -> Rows:
        """The same items with their scores and verdicts by a further score."""
        scores, passed = self.further[name]
        return replace(self, scores=scores, passed=passed)

    def ungroup(self) -> None:
        """Put all items in one category without a name."""
        self.names = {"": 0}
        self.categories = array("i", bytes(self.categories.itemsize * len(self.categories)))

    def respell(self, spelt: list[str]) -> None:
        """Take other ids for the same items."""
        self.ids, self.hashes, self.respelt = Ids(), array("q", map(hash, spelt)), True
        self.ids.add(spelt)


def _add_scores(scores: array[float], passed: bytearray, scored: Sequence[Scored]) -> None:
    scores.fromlist([each.score if is_counted(each.score) else nan for each in scored])
    passed += bytes([NO_VERDICT if (found := each.passed) is None else found for each in scored])
