"""The bytes of a dataset: where they come from, unpacked, and hashed on their way.

Compression is recognised by the first bytes, so it needs no suffix and works on standard input.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, cast

from llm_batch.dataset.readers import READERS, Reader
from llm_batch.dataset.remote import Remote
from llm_batch.dataset.shape import (
    DELIMITER_NAMES,
    HEAD_BYTES,
    UTF8,
    Pieces,
    Recoded,
    Row,
    Shape,
    delimiter_of,
    encoding_of,
    is_whole_json,
    kind_of_binary,
    kind_of_text,
    known_encoding,
    refuse_other_kinds,
)
from llm_batch.errors import DataError
from llm_batch.paper import words

if TYPE_CHECKING:
    import zstandard
    from _typeshed import WriteableBuffer

# The names of these two are mixed up often.
_JSON = (READERS[".json"], READERS[".jsonl"])
_BUFFER = 1 << 20
_PIECE = 16 << 10
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\x00"


class Source:
    """An open dataset, or standard input (``-``), which is left open. A context manager.

    The format, delimiter, encoding and sheet are found in the file unless they are given; hints
    speak of a config only where one names it (``by_config``).

    Attributes:
        name: What messages call it.
        file: The file as it is on disk, unbuffered.
        shape: How it is written; counts what was odd once `rows` has ended.
        in_place: True when rows can be read from ``file`` again by their offsets: it is on disk,
            uncompressed, UTF-8 and of a kind with offsets.

    Raises:
        DataError: There is no such file, it cannot be opened, it is empty, or its format is not
            known.
        ConfigError: There is no such encoding.
    """

    def __init__(
        self,
        path: Path | Literal["-"] | Remote,
        kind: str | None = None,
        stdin: BinaryIO | None = None,
        *,
        delimiter: str | None = None,
        encoding: str | None = None,
        sheet: str | int | None = None,
        by_config: bool = True,
        wanted: frozenset[str] | None = None,
    ) -> None:
        remote = self._remote = path if isinstance(path, Remote) else None
        self.name = remote.name if remote else "standard input" if path == "-" else str(path)
        named = reader_of(path.path if isinstance(path, Remote) else path, kind)
        self.reader = named or READERS[".jsonl"]
        self._taken_for = named is None  # until it is seen what it holds
        self._kind = kind
        self._by_config = by_config
        self.shape = Shape(sheet="" if sheet is None else str(sheet), wanted=wanted)
        self.in_place = False
        self._packed = True
        self._closing = ExitStack()
        self._hash = hashlib.sha256()
        self._own = path != "-"
        if path == "-":
            self.file = cast(io.RawIOBase, stdin or sys.stdin.buffer)
            self._state = None
            self._stream = self._open(delimiter, encoding)
            return
        try:
            if isinstance(path, Remote):
                self.file = path.open(here_and_there=self.reader.random_access)
            else:
                self.file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed on exit
        except FileNotFoundError as error:
            raise DataError(
                f"no data file {self.name!r}", "give one with --data, or as path under [data]"
            ) from error
        except IsADirectoryError as error:
            raise DataError(
                f"{self.name!r} is a directory",
                f"name one file in it: {'--data ' if by_config else ''}{self.name}/FILE",
            ) from error
        except OSError as error:
            raise DataError(
                f"cannot open {self.name!r}: {error.strerror or error}",
                remote.hint if remote else "",
            ) from error
        try:
            with self._readable():
                self._state = self._now()
            self._stream = self._open(delimiter, encoding)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._closing.close()
        if self._own:
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self) -> Iterator[Row]:
        """Read all of it, once; `DataError` where it is not what it says, or changes meanwhile."""
        with self._readable():
            yield from self.reader.rows(self._stream, self.name, self.shape)
        self.check_unchanged()

    def at(self, *numbers: int) -> str:
        """Where rows are, by their numbers: ``line 7``, ``rows 1 and 7``."""
        place = self.reader.place + "s" * (len(numbers) > 1)
        return f"{place} {' and '.join(map(str, numbers))}"

    @property
    def is_table(self) -> bool:
        return self.reader.rows is READERS[".csv"].rows

    @property
    def is_headed(self) -> bool:
        return self.is_table or self.reader is READERS[".xlsx"]

    @property
    def has_columns(self) -> bool:
        return self.is_table or self.reader.random_access

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was read, where that is not what one expects; after `rows`, what was odd too."""
        shape, notes = self.shape, []
        found = [f"as {self.reader.title}"] if self._taken_for else []
        found += [f"as {shape.encoding}"] if shape.encoding != UTF8 else []
        if self.is_table and shape.delimiter != self._usual():
            mark = DELIMITER_NAMES.get(shape.delimiter, repr(shape.delimiter))
            found.append(f"with a {mark} between cells")
        if found:
            notes.append(f"{self.name} is read {', '.join(found)}")
        if shape.other_sheets:
            others = ", ".join(shape.other_sheets[:5]) + (", …" * (len(shape.other_sheets) > 5))
            notes.append(f"of {self.name} the sheet {shape.sheet!r} is read, not {others}")
        if shape.title:
            notes.append(
                f"the first row of {self.name} looks like a title, since only "
                f"{words.clean(shape.title, 60)!r} stands in it: delete the rows above the row "
                "with the column names"
            )
        elif shape.unnamed:
            columns = words.counted(len(shape.unnamed), "column")
            notes.append(f"{columns} of {self.name} left out: the first row gives no name")
        if shape.empty_rows:
            rows = words.counted(shape.empty_rows, "empty row")
            notes.append(f"{rows} of {self.name} passed over")
        if shape.not_finite:
            values = words.counted(shape.not_finite, "value")
            notes.append(f"{values} of {self.name} NaN or infinite, taken as missing")
        return tuple(notes)

    def sha256(self) -> str:
        """The hash of all its bytes as they are on disk, in hex; only after `rows`.

        Where not all rows were read, the rest of a file is hashed now; that of a pipe is not.
        """
        if self._on_disk and not self.reader.random_access:
            with self._readable():
                while piece := self.file.read(_BUFFER):
                    self._hash.update(piece)
        return self._hash.hexdigest()

    def check_unchanged(self) -> None:
        """See, or `DataError`, that its size and time of change are as they were."""
        if self._state is not None and self._now() != self._state:
            raise DataError(
                f"{self.name} has changed since it was opened",
                "run the same command again when nothing writes to it any more",
            )

    @property
    def _on_disk(self) -> bool:
        """Whether it is a file of this machine, and no pipe."""
        return self._state is not None and self._remote is None

    def _now(self) -> tuple[object, ...] | None:
        if self._remote is not None:
            return self._remote.state()
        status = os.fstat(self.file.fileno())
        return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise DataError(
                f"{self.name} cannot be read: {error}", "is it damaged? make it anew"
            ) from error

    def _open(self, delimiter: str | None, encoding: str | None) -> BinaryIO:
        with self._readable():
            stream = self._unpacked()
            head = stream.peek(HEAD_BYTES)
            if not head:
                raise self._empty()
            self._see_kind(head)
            if self.reader.random_access:
                return self._seekable(stream)
            return self._shaped(stream, head, delimiter, encoding)

    def _see_kind(self, head: bytes) -> None:
        """The reader by the content, where that shows more than the name does."""
        found = kind_of_binary(head)
        if found is not None and self.reader is not READERS[found]:
            self.reader, self._taken_for = READERS[found], True
        elif found is None and self.reader is READERS[".xlsx"]:
            # Many programs write tables of text under the name of Excel's files.
            self.reader, self._taken_for = READERS[".jsonl"], True

    def _unpacked(self) -> io.BufferedReader[Any]:
        packed: io.BufferedReader[Any] = io.BufferedReader(_Hashed(self.file, self._hash), _BUFFER)
        start = packed.peek(6)
        if start.startswith(_GZIP):
            unzipped = gzip.GzipFile(fileobj=packed, mode="rb")
            return io.BufferedReader(cast(io.RawIOBase, unzipped), _BUFFER)
        if start.startswith(_ZSTD):
            return io.BufferedReader(_Unzstd(packed), _BUFFER)
        if start.startswith(_BZIP2):
            return io.BufferedReader(cast(io.RawIOBase, bz2.BZ2File(packed)), _BUFFER)
        if start.startswith(_XZ):
            return io.BufferedReader(cast(io.RawIOBase, lzma.LZMAFile(packed)), _BUFFER)
        self._packed = False
        return packed

    def _shaped(
        self,
        stream: io.BufferedReader[Any],
        head: bytes,
        delimiter: str | None,
        encoding: str | None,
    ) -> BinaryIO:
        """The text as UTF-8, with its shape noted and the reader that fits it."""
        refuse_other_kinds(head, self.name)
        shape, table = self.shape, self.is_table or self._taken_for
        shape.encoding = known_encoding(encoding) if encoding else encoding_of(head, table)
        if shape.encoding != UTF8:
            stream = io.BufferedReader(Recoded(stream, shape, self.name), _BUFFER)
            head = stream.peek(HEAD_BYTES)
        text = head.decode("utf-8-sig", "replace")
        if self._taken_for:
            self._tell_text(text)
        elif self._kind is None and self._own and self.reader in _JSON:
            self.reader = READERS[".json" if is_whole_json(head) else ".jsonl"]
        if self.is_table:
            shape.delimiter, shape.lines_before = delimiter_of(text, self._usual())
            shape.delimiter = delimiter or shape.delimiter
        self.in_place = (
            self._on_disk and not self._packed and shape.encoding == UTF8 and self.reader.by_offset
        )
        return stream

    def _tell_text(self, text: str) -> None:
        """The reader of a text of which nobody said what it is; of standard input, JSON Lines."""
        jsonl = READERS[".jsonl"]
        first = text.lstrip().partition("\n")[0].strip()
        if self._own or not (first.startswith("{") and first.endswith("}")):
            try:
                self.reader = READERS[kind_of_text(text, self.name, self._by_config)]
            except DataError:
                if self._own:
                    raise
        self._taken_for = self._own or self.reader is not jsonl

    def _usual(self) -> str:
        return "\t" if self.reader is READERS[".tsv"] else ","

    def _seekable(self, stream: io.BufferedReader[Any]) -> BinaryIO:
        """All bytes in a file on disk, copied to one when they are not, at the start."""
        if self._on_disk and not self._packed:
            copy = cast(BinaryIO, self.file)
            while stream.read(_BUFFER):
                pass
        elif self._remote and self._state and not self._packed and self.file.seekable():
            # Only what is asked for comes over the network: its store says what it is.
            self._hash = hashlib.sha256(repr(self._state).encode())
            copy = cast(BinaryIO, self.file)
        else:
            copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by close()
            self._closing.enter_context(copy)
            shutil.copyfileobj(stream, copy, _BUFFER)
        copy.seek(0)
        return copy

    def _empty(self) -> DataError:
        # No program writes a table of no bytes, even where it has no rows.
        return (DataError if self.reader.random_access else Empty)(
            f"{self.name} is empty",
            "delete it, or make it anew"
            if self.reader.random_access
            else "write one item a line, or name another file",
        )


class Empty(DataError):
    """A text without a byte: of several no reason to stop."""


def reader_of(path: PurePath | Literal["-"], kind: str | None) -> Reader | None:
    """The reader by a name, or by the format that the user said; ``None`` where neither tells."""
    if kind is not None:
        return READERS[f".{kind}"]
    if path == "-":
        return None
    name = path.name.lower()
    for packed in (".gz", ".zst", ".bz2", ".xz"):
        name = name.removesuffix(packed)
    return READERS.get(Path(name).suffix)


class _Hashed(io.RawIOBase):
    """Passes bytes on and hashes them; closing it leaves the file open."""

    def __init__(self, file: io.RawIOBase, digest: hashlib._Hash) -> None:
        self._file = file
        self._digest = digest

    def readable(self) -> bool:
        return True

    def readinto(self, target: WriteableBuffer) -> int:
        view, count = memoryview(target), 0
        # A pipe gives what is there, and what a file is shows only in more than its first words.
        while count < len(view) and (more := self._file.readinto(view[count:]) or 0):
            count += more
        self._digest.update(view[:count])
        return count


class _Unzstd(Pieces):
    """Unpacks zstandard frames. The package's own reader takes a cut-off file for a whole one."""

    def __init__(self, packed: io.BufferedReader) -> None:
        import zstandard

        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj
        self._error = zstandard.ZstdError
        self._current: zstandard.ZstdDecompressionObj | None = None
        self._unused = b""

    def piece(self) -> bytes:
        # A small one at a time: it may unpack to thousands of times its size.
        while data := self._unused or self._packed.read(_PIECE):
            self._current = self._current or self._frame()
            try:
                unpacked = self._current.decompress(data)
            except self._error as error:
                raise OSError(str(error)) from error
            self._unused = self._current.unused_data
            if self._current.eof:
                self._current = None
            if unpacked:
                return unpacked
        if self._current is not None:
            raise EOFError("the packed data is cut off")
        return b""
