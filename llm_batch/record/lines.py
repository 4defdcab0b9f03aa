"""What all files of a run have in common: their schema, the bounds of what is in them, and lines.

Every line of results, journal and jobs, and the manifest, has the ``schema`` it was written in:

1. The first one.
2. The key of a request has no step's name in it, so that a renamed step keeps its answers, and
   has twenty bytes instead of sixteen. Journals of schema 1 are still looked up, by
   `llm_batch.records.Request.key_before`.

Keys that only say more came without a new number, and a reader takes their absence for not known:
``list_cost`` and ``reported_cost`` of a call, ``reported`` and ``listed`` of a result's cost,
``results_file`` of the manifest's totals (size and time alone in the first version, as a list; then
without ``chain`` and ``counts``) and its ``stopping``. What changes is named in the CHANGELOG.

Files are read by two doors. A run reads its own by the strict one: what it cannot read ends it
before anything is spent. A report reads a stranger's by the tolerant one: what cannot be read is
left out, and it says so.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec

from llm_batch.errors import OutputError
from llm_batch.records import without_mark

#: That of what is written now. Readers accept every one up to it.
SCHEMA = 2

#: A line longer than so many bytes is damaged: no answer that a run keeps is as long.
LONGEST_LINE = 64 << 20

#: What stands for such a line.
TOO_LONG = b"a line that was too long\n"

#: What is nested deeper is damaged too; a value that was read can be written and compared.
DEEPEST = 100

# Nobody is paid to be asked and no clock runs backwards. Far beyond any bill or clock, and far
# below where a sum of squares overflows.
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e100)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class StepUsage(msgspec.Struct, gc=False):
    """`records.Usage` as a line has it that may be a stranger's."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    reasoning_tokens: Count = 0


#: What decoding raises for a line or file that is none.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def newer(where: object) -> OutputError:
    return OutputError(
        f"{where} was written by a newer version of llm_batch: this one reads schema {SCHEMA}",
        "upgrade llm_batch, or use the one that wrote it",
    )


def bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file without its mark, and `TOO_LONG` in place of each that is; no JSON."""
    while line := without_mark(file.readline(LONGEST_LINE)):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            line = TOO_LONG
        yield line


#: What is read of a file at a time stays in the processor's cache; 16 times as much takes half as
#: long again.
BATCH_BYTES = 1 << 18


def some_blocks(file: IO[bytes], end: int | None = None) -> Iterator[bytes]:
    """`bounded_lines` joined, as many at a time as `BATCH_BYTES` hold; to the byte ``end``, if any.

    What follows the last end of a line is given alone. A mark stays where it is.
    """
    left = sys.maxsize if end is None else end - file.tell()
    held: list[bytes] = []  # of a line that has no end yet
    too_long = False
    while more := file.read(min(BATCH_BYTES, left)):
        left -= len(more)
        first, cut = more.find(b"\n"), more.rfind(b"\n") + 1
        if not cut:
            if not too_long:
                held.append(more)
            too_long = too_long or sum(map(len, held)) >= LONGEST_LINE
            continue
        if too_long:
            held, more, cut = [TOO_LONG[:-1]], more[first:], cut - first
        yield b"".join([*held, more[:cut]])
        held, too_long = [more[cut:]], False
    if too_long:
        held = [TOO_LONG]
    if last := b"".join(held):
        yield last


#: So many bytes before where a look ended tell the file from another one of its name.
_KNOWN_BYTES = 256


class Growing:
    """A file that others write: at each look, the lines that it got since the last.

    It is open during a look alone, since Windows does not replace a file that is open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end, self._before = 0, b""

    def new_lines(self, anew: Callable[[], object]) -> Iterator[bytes]:
        """Whole lines; what is not ended yet is left for the next look.

        ``anew`` is called before the first of a file that took the place of the one known.
        """
        try:
            if not self.path.is_file():  # what is none, such as a pipe, may keep who opens it
                return
            with open(self.path, "rb") as file:
                if self._end and self._read_before(file) != self._before:
                    self._end = 0
                    anew()
                file.seek(self._end)
                for line in bounded_lines(file):
                    if not line.endswith(b"\n"):
                        break
                    self._end = file.tell()
                    yield line
                self._before = self._read_before(file)
        except OSError:
            return  # it is being replaced, or gone: the next look finds what there is

    def _read_before(self, file: IO[bytes]) -> bytes:
        start = max(0, self._end - _KNOWN_BYTES)
        file.seek(start)
        return file.read(self._end - start)


_NESTING = (dict, list)  # a union of them is looked at twice as long


def ended_lines(block: bytes) -> int:
    """How many lines there are, or -1 where the last has no end.

    It is how Python reads lines that looks for their ends fastest, five times as fast as counting.
    """
    return len(io.BytesIO(block).readlines()) if block.endswith(b"\n") else -1


def too_deep(*values: Any) -> bool:
    level: list[Any] = [value for value in values if isinstance(value, _NESTING)]
    for _ in range(DEEPEST):
        if not level:
            return False
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, _NESTING)
        ]
    return bool(level)
