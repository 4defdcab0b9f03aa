"""Where each call of a journal lies: in memory, and in a file that saves reading it all again.

Beside a journal stands ``results.calls.index``: forty bytes a call, appended after the call's line,
with all that opening a journal takes from it. A run that goes on reads these and the lines that
are not in it yet. It is a copy that may be missing, old or torn: what does not fit the journal is
thrown away and made anew from it, as it is for a journal that somebody else wrote to. It is made
for journals alone whose every line can be read and is of this schema.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from array import array
from bisect import bisect_left
from itertools import compress
from operator import add, eq
from pathlib import Path
from typing import IO, NamedTuple

from llm_batch.record.files import PRIVATE, open_to_append, real_path

# Key, item, offset, cost, length, flags; numbers as this machine has them.
_ENTRY = struct.Struct("=QQQdIB3x")
_HEADER = b"llmb index 1 %s" % sys.byteorder.encode()
_ANSWERED, _UNPRICED, _WORST = 1, 2, 4
_BUFFER = 1 << 16
# Lines of the journal that are held against the index besides the last.
_CHECKED = 32
# Fewer are sorted before the package that sorts many is imported.
_FEW = 50_000


class Places:
    """Where in a journal each answered request lies; 24 bytes each.

    Keys are numbers (`journal.short`). Of those that come twice the last counts.
    """

    def __init__(self) -> None:
        self._keys, self._items, self._offsets = array("Q"), array("Q"), array("Q")
        self._in_order = True
        self._late: dict[int, int] = {}
        self._late_new = 0

    def __len__(self) -> int:
        self._sort()
        return len(self._keys) + self._late_new

    def __contains__(self, key: int) -> bool:
        return self.offset(key) is not None

    def offset(self, key: int) -> int | None:
        """Where the answer of this key begins; ``None`` without one."""
        if (found := self._late.get(key)) is not None:
            return found
        self._sort()
        place = bisect_left(self._keys, key)
        if place < len(self._keys) and self._keys[place] == key:
            return self._offsets[place]
        return None

    def read(self, key: int, item: int, offset: int) -> None:
        """Take in one of a file that is being opened."""
        self._keys.append(key)
        self._items.append(item)
        self._offsets.append(offset)
        self._in_order = False

    def written(self, key: int, offset: int) -> None:
        """Take in one that was written since."""
        self._late_new += key not in self
        self._late[key] = offset

    def extend(self, entries: Entries) -> None:
        chosen = entries.answered
        for mine, theirs in (
            (self._keys, entries.keys),
            (self._items, entries.items),
            (self._offsets, entries.offsets),
        ):
            mine.extend(array("Q", compress(theirs, chosen)))
        self._in_order = False

    def items(self) -> array[int]:
        """The item of each that was read, by its number."""
        self._sort()
        return self._items

    def _sort(self) -> None:
        if self._in_order:
            return
        self._in_order = True
        columns = (self._keys, self._items, self._offsets)
        if len(self._keys) < _FEW:
            last = dict(zip(self._keys, range(len(self._keys)), strict=True))
            order = [last[key] for key in sorted(last)]
            made = [array("Q", map(column.__getitem__, order)) for column in columns]
        else:
            import numpy

            keys = numpy.frombuffer(self._keys, numpy.uint64)
            places = numpy.argsort(keys, kind="stable")
            keys = keys[places]
            places = places[numpy.append(keys[1:] != keys[:-1], True)]
            made = [
                array("Q", numpy.frombuffer(column, numpy.uint64)[places].tobytes())
                for column in columns
            ]
        self._keys, self._items, self._offsets = made


class Entries(NamedTuple):
    """All calls of an index as columns, in the order of the journal; costs in USD."""

    keys: array[int]
    items: array[int]
    offsets: array[int]
    costs: array[float]
    lengths: array[int]
    flags: bytes

    @property
    def end(self) -> int:
        """Where in the journal the next one would begin."""
        return self.offsets[-1] + self.lengths[-1]

    @property
    def answered(self) -> list[int]:
        return [flag & _ANSWERED for flag in self.flags]

    def count(self, unpriced: bool = False) -> int:
        """Calls whose cost is unknown, or else an upper bound."""
        bit = _UNPRICED if unpriced else _WORST
        return sum(self.flags.count(flag) for flag in range(8) if flag & bit)


class CallIndex:
    """The file; nothing is read or written where there is no path.

    What the disk has against it ends the index and not the run.

    Args:
        seed: Of the numbers of items (`journal.Journal`); an index with others is made anew.
    """

    def __init__(self, path: Path | None, mode: int = PRIVATE, seed: int = 0) -> None:
        self._file: IO[bytes] | None = None
        self._pending = bytearray()
        self._header = (_HEADER + seed.to_bytes(8, signed=True)).ljust(_ENTRY.size)
        if path is not None:
            with contextlib.suppress(OSError):
                self._file = open_to_append(real_path(path), mode)

    def entries(self, journal: int, prefix: bytes) -> Entries | None:
        """What it holds, if that is the beginning of the journal; else it is emptied.

        Args:
            journal: The journal's file descriptor.
            prefix: What stands in a line of the journal before the key.
        """
        if self._file is None:
            return None
        try:
            found = self._read()
            if found is not None and _fits(found, journal, self._file.fileno(), prefix):
                return found
            self._file.truncate(0)
        except OSError:
            self.end()
        self._pending += self._header
        return None

    def add(
        self,
        key: int,
        item: int,
        offset: int,
        length: int,
        ok: bool,
        cost: float | None,
        worst: bool,
    ) -> None:
        if self._file is not None:
            flags = ok * _ANSWERED + (cost is None) * _UNPRICED + worst * _WORST
            self._pending += _ENTRY.pack(key, item, offset, cost or 0.0, length, flags)
            if len(self._pending) > _BUFFER:
                self.flush()

    def flush(self) -> None:
        """Write what is new; the journal has these lines already."""
        if self._file is None or not self._pending:
            return
        try:
            whole = self._file.write(self._pending) == len(self._pending)
        except OSError:
            whole = False
        self._pending.clear()
        if not whole:
            self.end()

    def end(self) -> None:
        """Have no index of this journal from now on."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()
            self._file = None

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> Entries | None:
        assert self._file is not None
        self._file.seek(0)
        data = self._file.read()
        if data[: _ENTRY.size] != self._header:
            return None
        torn = len(data) % _ENTRY.size
        if torn:
            self._file.truncate(len(data) - torn)
        data = data[_ENTRY.size : len(data) - torn]
        if not data:
            return None
        words, halves = array("Q", data), array("I", data)
        costs = array("d", words[3::5].tobytes())
        return Entries(words[::5], words[1::5], words[2::5], costs, halves[8::10], data[36::40])


def _fits(found: Entries, journal: int, index: int, prefix: bytes) -> bool:
    """Whether these are the journal's first calls, as far as some of its lines tell.

    Calls lie one after the other, so whoever puts in or takes out a byte moves the last one.
    """
    size, changed_at = os.fstat(journal).st_size, os.fstat(journal).st_mtime_ns
    ends = map(add, found.offsets, found.lengths)
    if found.offsets[0] or not all(map(eq, ends, found.offsets[1:])) or found.end > size:
        return False
    if found.end == size and changed_at > os.fstat(index).st_mtime_ns:
        return False  # somebody wrote into a line
    calls = len(found.keys)
    for place in {*range(0, calls, calls // _CHECKED + 1), calls - 1}:
        line = os.pread(journal, found.lengths[place], found.offsets[place])
        if not line.startswith(prefix + b"%015x" % found.keys[place]) or line[-1:] != b"\n":
            return False
    return True
