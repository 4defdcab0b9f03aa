"""results.jsonl as a run writes it: what stands already is kept, and the rest goes on beside it."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Self

import msgspec

from llm_batch.record.files import (
    FREE_SPACE,
    PRIVATE,
    Writing,
    left_beside,
    make_own,
    open_beside,
    open_to_append,
    open_to_change,
    real_path,
)
from llm_batch.record.lines import (
    LONGEST_LINE,
    UNREADABLE,
    some_blocks,
)
from llm_batch.record.results import DoneLine, IdLine, encode_result
from llm_batch.records import Result, without_mark


@dataclass(slots=True)
class Standing:
    """What of a results file stays as it is: all of its whole lines but those to be ``cut``.

    Attributes:
        end: Where the last whole line ends, in bytes.
        cut: Where each other line begins and ends.
        hash: `text_hash` of the file as it is, in hex, where that is known.
    """

    end: int = 0
    cut: list[tuple[int, int]] = field(default_factory=list)
    hash: str | None = None


def standing(
    path: Path, keeps: Callable[[list[DoneLine]], list[bool]]
) -> Generator[None, None, Standing | None]:
    """Ask of each line of a results file whether it stays, in their order; a yield after some.

    Returns ``None`` where there is no file, or one that no run left so.
    """
    found = Standing()
    decode = msgspec.json.Decoder(DoneLine).decode_lines
    rest = b""
    try:
        with open(path, "rb", buffering=0) as file:
            while more := file.read(_BLOCK):
                block, mark, rest = (rest + more).rpartition(b"\n")
                if not mark:
                    continue
                lines = decode(block)
                if block.count(b"\n") + 1 != len(lines):
                    return None  # no run writes blank lines
                kept = keeps(lines)
                if not all(kept):
                    start = found.end
                    for line, keep in zip(block.split(b"\n"), kept, strict=True):
                        if not keep:
                            found.cut.append((start, start + len(line) + 1))
                        start += len(line) + 1
                found.end += len(block) + 1
                yield
    except (OSError, *UNREADABLE):
        return None
    return found


_BLOCK = 1 << 20


class _Before:
    """The lines of a file whose results are all worked out again, by their items.

    Those that come out the same stay where they are: 24 bytes in memory for each line.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._keys, self._lines = array("q"), array("Q")
        self._starts = array("Q", [0])
        self._same = array("Q")
        self._is_same = bytearray()

    @classmethod
    def of(cls, path: Path, chain: str | None) -> Self | None:
        """``None`` without a file that begins with a line of this chain: others come out new."""
        try:
            with open(path, "rb") as file:
                line = msgspec.json.decode(file.readline(LONGEST_LINE), type=DoneLine)
            if chain is None or line.chain != chain:
                return None
            return cls(open(path, "rb", buffering=0))
        except (OSError, *UNREADABLE):
            return None

    def has(self, item_id: str, line: bytes) -> bool:
        """Whether this item has this line there, which is then one of the `same`."""
        if not self._is_same:
            self._look()
        found = bisect_left(self._keys, key := hash(item_id))
        if found == len(self._keys) or self._keys[found] != key:
            return False
        number = self._lines[found]
        if self._is_same[number] or self._line(number) != line:
            return False
        self._is_same[number] = 1
        self._same.append(number)
        return True

    def same(self) -> Iterator[bytes]:
        """The lines that stay, in the order in which they were asked for."""
        return map(self._line, self._same)

    def standing(self) -> Standing:
        if not self._is_same:
            self._look()
        ends = enumerate(self._is_same)
        cut = [(self._starts[n], self._starts[n + 1]) for n, stays in ends if not stays]
        return Standing(self._starts[-1], cut)

    def close(self) -> None:
        self._file.close()

    def _line(self, number: int) -> bytes:
        start, end = self._starts[number : number + 2]
        self._file.seek(start)
        return self._file.read(end - start)

    def _look(self) -> None:
        import numpy

        decode = msgspec.json.Decoder(IdLine).decode
        self._file.seek(0)
        for block in some_blocks(self._file):
            for line in io.BytesIO(block):
                try:
                    self._keys.append(hash(decode(line).id))
                    self._lines.append(len(self._starts) - 1)
                except UNREADABLE:
                    pass  # it comes out otherwise
                self._starts.append(self._starts[-1] + len(line))
        self._is_same = bytearray(len(self._starts) - 1)
        # Stable, so that of an item with two lines the first is found.
        keys = numpy.frombuffer(self._keys, numpy.int64)
        order = numpy.argsort(keys, kind="stable").tolist()
        self._keys = array("q", map(self._keys.__getitem__, order))
        self._lines = array("Q", map(self._lines.__getitem__, order))


def _cut(path: Path, standing: Standing) -> None:
    """Take lines out of a file in its place, so that it is never there twice.

    A crash on the way leaves lines that are no results or come twice. `standing` finds such a
    file to be none of a run's, and all of it follows from the journal.
    """
    ends = [start for start, _ in standing.cut[1:]] + [standing.end]
    with open_to_change(path) as file:
        target = standing.cut[0][0] if standing.cut else standing.end
        for (_, start), end in zip(standing.cut, ends, strict=False):
            while start < end:
                file.seek(start)
                block = file.read(min(_BLOCK, end - start))
                file.seek(target)
                target += file.write(block)
                start += len(block)
        file.truncate(target)


class ResultsFile:
    """The results of a run as they come; replaces the file of an earlier run only once it must.

    Results that follow from the journal alone are held against the old file. From the first on
    that is not in it as it is, they are written beside it. The first new call, or the end, puts the
    new file in its place, and it grows there from then on: at every moment the path holds a whole
    older file or the newest results. Where nothing came out otherwise, none is written. An older
    file that the run did not write, or that was changed since (``edited``), is renamed then and not
    replaced; ``kept`` is the name it gets.

    Of a file in which lines are ``standing``, the others are cut, and new ones come behind; it is
    left alone until there are some, or to the end where there is nothing to cut. While it is
    ``undecided`` which lines stand, new ones are held in memory, up to `decide`: they follow from
    the journal.

    Args:
        chain: What lines follow from besides the calls, see the module's docstring.
    """

    def __init__(
        self,
        path: Path,
        keep: Collection[str] | None,
        edited: bool,
        mode: int = PRIVATE,
        chain: str | None = None,
        standing: Standing | None = None,
        undecided: bool = False,
    ) -> None:
        self.path = path
        self._keep = keep
        self._chain = chain
        # Where a link leads, so that it stays one; else the name that the user knows.
        self._real = real_path(path) if path.is_symlink() else path
        self._mode = mode
        self._standing = standing
        #: By item, the status and the line.
        self._held: dict[str, tuple[str, bytes]] | None = {} if undecided else None
        self._withdrawn: set[str] = set()
        self._published = self._to_publish = False
        self._written = False
        self._flushed_at = time.monotonic()
        self._hash: Any = None if standing is not None or undecided else text_hash(None)
        self._before: _Before | None = None
        self.kept = _free_name(self._real) if edited or not _is_results(path) else None
        self._writing = Writing(path, "; every paid call is in the journal", FREE_SPACE)
        with Writing(path):
            for left in left_beside(self._real):  # no other run writes here: the journal is ours
                left.unlink()
            self._beside: Path | None = None
            if standing is None and not undecided and self.kept is None:
                self._before = _Before.of(self._real, chain)
            if standing is not None or undecided or self._before is not None:
                make_own(self._real)
                self._file = open_to_append(self._real, mode, buffered=True)
            else:
                self._beside, self._file = open_beside(self._real, mode)

    def decide(self, standing: Standing | None) -> None:
        """Which lines stand, now that it is known; none of them, without any."""
        held, self._held = self._held or {}, None
        self._standing = standing
        if standing is None:
            self._begin_beside()
        for item_id, (_, line) in held.items():
            if standing is None or item_id not in self._withdrawn:
                self._add(item_id, line)
        if self._to_publish:
            self.publish()

    def withdraw(self, item_id: str, status: str) -> bool:
        """Whether the line that is held of an item has this status; if lines stand, it is dropped.

        Only the first of two lines that stand withdraws it.
        """
        held = self._held or {}
        same = item_id in held and held[item_id][0] == status and item_id not in self._withdrawn
        if same:
            self._withdrawn.add(item_id)
        return same

    def stamp(self) -> dict[str, Any]:
        """What tells later whether somebody changed the file; see `is_edited`."""
        found = os.stat(self.path)
        unchanged = None if self._written or self._standing is None else self._standing.hash
        if self._hash is None and unchanged is None:
            with open(self.path, "rb", buffering=0) as file:
                self._hash = text_hash(file)
        return {
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
            "hash": unchanged or self._hash.hexdigest(),
        }

    def write(self, result: Result) -> None:
        """Add a line; `OutputError` on a full disk, where the journal has what was paid for."""
        line = encode_result(result, self._keep, self._chain)
        if self._held is not None:
            self._held[result.item.id] = result.status, line
        else:
            self._add(result.item.id, line)

    def _add(self, item_id: str, line: bytes) -> None:
        if self._before is not None:
            if self._before.has(item_id, line):
                return
            self._begin_beside()
        if self._standing is not None:
            self.publish()
        else:
            self._hash.update(line)
        with self._writing:
            self._file.write(line)
        self._written = True

    def _begin_beside(self) -> None:
        """Write a new file beside the old one, with what is the same so far."""
        self._file.close()
        self._hash = text_hash(None)
        with self._writing:
            self._beside, self._file = open_beside(self._real, self._mode)
            if self._before is not None:
                for line in self._before.same():
                    self._hash.update(line)
                    self._file.write(line)
                self._before.close()
                self._before = None

    def _keep_the_same(self) -> None:
        """Leave the old file in its place, without the lines that did not come out again."""
        if self._before is not None:
            with self._writing:
                self._standing, self._hash = self._before.standing(), None
            self._before.close()
            self._before = None

    def publish(self) -> None:
        if self._held is not None:
            self._to_publish = True
            return
        if self._before is not None:
            self._begin_beside()
        if self._published:
            if time.monotonic() - self._flushed_at > 1.0:
                self.flush()
            return
        self.flush()
        with self._writing:
            if self._standing is not None:
                whole = os.fstat(self._file.fileno()).st_size == self._standing.end
                if self._standing.cut or not whole:
                    _cut(self._real, self._standing)
                    self._written = True
            elif self.kept is not None:
                self._real.rename(self.kept)
            if self._beside is not None:
                os.replace(self._beside, self._real)
        self._published = True

    def flush(self) -> None:
        with self._writing:
            self._file.flush()
        self._flushed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._keep_the_same()
                self.publish()
                self.flush()
                with self._writing:
                    os.fsync(self._file.fileno())
        finally:
            with contextlib.suppress(OSError):  # on a full disk: the error is raised already
                self._file.close()
            if self._before is not None:
                self._before.close()
            if not self._published and self._beside is not None:
                self._beside.unlink(missing_ok=True)


def is_edited(path: Path, stamp: Any) -> bool:
    """Whether a file says something else than it did when a run wrote it.

    A copy has another time, and one that was transferred as text has other ends of lines. The stamp
    is `ResultsFile.stamp` then, or size and time alone as older versions wrote them.
    """
    try:
        found = os.stat(path)
        if isinstance(stamp, list):
            return stamp != [found.st_size, found.st_mtime_ns]
        if (found.st_size, found.st_mtime_ns) == (stamp.get("size"), stamp.get("mtime_ns")):
            return False
        with open(path, "rb", buffering=0) as file:
            return bool(text_hash(file).hexdigest() != stamp.get("hash"))
    except OSError:
        return False  # there is none, or opening it will say what is wrong


def text_hash(file: IO[bytes] | None) -> Any:
    """The hash of lines, whatever marks their ends and the beginning of the file."""
    made = blake2b(digest_size=16)
    for block in some_blocks(file) if file else ():
        if _as_written(block):
            made.update(block)
            continue
        for line in map(without_mark, io.BytesIO(block)):
            if line.strip():
                made.update(line.rstrip(b"\r\n") + b"\n")
    return made


def _as_written(block: bytes) -> bool:
    """Whether these are lines as a run writes them, objects and nothing else."""
    begins = block.startswith(b"{") + block.count(b"\n{")
    return begins == block.count(b"\n") and block.endswith(b"\n") and b"\r" not in block


def _is_results(path: Path) -> bool:
    """Whether a run wrote this file, as far as its first line tells; True when there is none."""
    with Writing(path):
        if not path.exists():
            return True
        with open(path, "rb") as file:
            first = file.readline()
    try:
        return not first or "schema" in msgspec.json.decode(
            without_mark(first), type=dict[str, Any]
        )
    except UNREADABLE:
        return False


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.edited-{n}{path.suffix}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())
