"""What drawing keeps of the rows it has seen, without holding them all.

A `Tally` counts hashes. A store takes the rows one by one and gives some of them back later, by
index: `InFile` where they are in their file, `Spool` through a temporary file, `Smallest` from
memory, but only those that can still be in the sample.
"""

from __future__ import annotations

import heapq
import io
import tempfile
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from llm_batch.errors import DataError

#: Rows of no more bytes together are held rather than read again: a run that reads one from the
#: disk waits for its workers several times.
HELD_BYTES = 16 << 20

_BUFFER = 1 << 20


class Tally:
    """How often each 64-bit hash was added.

    A table with open addressing in two arrays: 18 to 36 bytes a hash, where a dict of ints takes
    over 100.
    """

    def __init__(self) -> None:
        self._used = 0
        self._make(1024)

    def _make(self, slots: int) -> None:
        self._keys = array("Q", bytes(8 * slots))
        self._counts = array("I", bytes(4 * slots))

    def add(self, key: int) -> int:
        """Count ``key`` and return how often it was added, this time included."""
        keys, counts = self._keys, self._counts
        last = len(keys) - 1
        slot = key & last
        while counts[slot] and keys[slot] != key:
            slot = (slot + 1) & last
        counts[slot] = count = counts[slot] + 1
        if count == 1:
            keys[slot] = key
            self._used += 1
            if 3 * self._used > 2 * last:
                self._grow()
        return count

    def _grow(self) -> None:
        old = zip(self._keys, self._counts, strict=True)
        self._make(2 * len(self._keys))
        keys, counts = self._keys, self._counts
        last = len(keys) - 1
        for key, count in old:
            if count:
                slot = key & last
                while counts[slot]:
                    slot = (slot + 1) & last
                keys[slot], counts[slot] = key, count


class Store(Protocol):
    """Takes rows in the order of the file and reads some of them back by index, from 0.

    Not for several threads at once.
    """

    def add(self, key: tuple[int, int], row: bytes, offset: int) -> None:
        """Take the next row: its order key, its JSON and where that starts in the stream."""

    def extend(
        self, firsts: array[int], seconds: array[int], rows: Sequence[bytes], offsets: Sequence[int]
    ) -> None:
        """Take the next ones, with the two numbers of each order key."""
        for key, row, offset in zip(zip(firsts, seconds, strict=True), rows, offsets, strict=True):
            self.add(key, row, offset)

    def read(self, index: int) -> bytes:
        """The JSON of a row that was taken; `DataError` when it can no longer be read."""

    def close(self) -> None: ...


class InFile(Store):
    """Rows that stay where they are, in an uncompressed file; 12 bytes a row.

    It is unbuffered and closed by its owner; ``check`` raises `DataError` once it has changed,
    unless few of them are held besides.
    """

    def __init__(self, file: io.RawIOBase, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check
        self._room = HELD_BYTES
        self._rows: list[bytes] = []
        self._offsets = array("Q")
        self._lengths = array("I")

    def add(self, key: tuple[int, int], row: bytes, offset: int) -> None:
        self._offsets.append(offset)
        self._lengths.append(len(row))
        self._hold([row], len(row))

    def extend(
        self, firsts: array[int], seconds: array[int], rows: Sequence[bytes], offsets: Sequence[int]
    ) -> None:
        self._offsets.extend(offsets)
        lengths = array("I", map(len, rows))
        self._lengths.extend(lengths)
        self._hold(rows, sum(lengths))

    def _hold(self, rows: Sequence[bytes], size: int) -> None:
        self._room -= size
        if self._room >= 0:
            self._rows += rows
        elif self._rows:
            self._rows = []

    def read(self, index: int) -> bytes:
        if self._rows:
            return self._rows[index]
        self._check()
        return _read_at(self._file, self._offsets[index], self._lengths[index])

    def close(self) -> None:
        pass


class Spool(Store):
    """Rows written one after the other to a temporary file without a name; 12 bytes a row."""

    def __init__(self, folder: Path | None = None) -> None:
        try:
            # Unbuffered, or else each read of a row would read a whole buffer.
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - see close
        except OSError as error:
            raise _no_room(folder, error) from error
        self._folder = folder
        self._pending = bytearray()
        self._written = 0
        self._offsets = array("Q")
        self._lengths = array("I")

    def add(self, key: tuple[int, int], row: bytes, offset: int) -> None:
        self._offsets.append(self._written + len(self._pending))
        self._lengths.append(len(row))
        self._pending += row
        if len(self._pending) >= _BUFFER:
            self._write()

    def _write(self) -> None:
        try:
            self._file.seek(self._written)
            while self._pending:  # one write may take only part of it
                done = self._file.write(self._pending)
                self._written += done
                del self._pending[:done]
        except OSError as error:
            raise _no_room(self._folder, error) from error

    def read(self, index: int) -> bytes:
        if self._pending:
            self._write()
        return _read_at(self._file, self._offsets[index], self._lengths[index])

    def close(self) -> None:
        self._file.close()


class Smallest(Store):
    """The rows with the ``size`` lowest order keys, in memory; others are let go."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen = 0
        self._heap: list[tuple[int, int, int, bytes]] = []
        self._rows: dict[int, bytes] = {}

    def add(self, key: tuple[int, int], row: bytes, offset: int) -> None:
        # heapq keeps the lowest on top, so keys are negated to have the highest there.
        entry = (-key[0], -key[1], -self._seen, row)
        self._seen += 1
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def read(self, index: int) -> bytes:
        if self._heap:
            self._rows = {-seen: row for _, _, seen, row in self._heap}
            self._heap = []
        return self._rows[index]

    def close(self) -> None:
        pass


def _read_at(file: io.RawIOBase, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length) or b""
    while len(data) < length and (more := file.read(length - len(data))):
        data += more
    return data


def _no_room(folder: Path | None, error: OSError) -> DataError:
    return DataError(
        f"cannot keep rows in a temporary file in {folder or tempfile.gettempdir()}: "
        f"{error.strerror or error}",
        "free some space, or name another folder: export TMPDIR=/path/with/room",
    )
