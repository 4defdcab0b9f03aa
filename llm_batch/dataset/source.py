"""The bytes of a dataset: where they come from, unpacked, and hashed on their way.

Compression is recognised by the first bytes, so it needs no suffix and works on standard input.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, cast

from llm_batch.dataset.readers import READERS, Reader, Row
from llm_batch.errors import DataError

if TYPE_CHECKING:
    import zstandard
    from _typeshed import WriteableBuffer

_BUFFER = 1 << 20
_PIECE = 16 << 10
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Source:
    """An open dataset. A context manager; standard input is left open.

    Attributes:
        name: What messages call it.
        reader: How its rows are read.
        file: The file as it is on disk, unbuffered.
        in_place: True, once `rows` has begun, when rows can be read from ``file`` again by their
            offsets: it is on disk, uncompressed and of a kind with offsets.

    Args:
        path: The file, or ``-`` for standard input.
        kind: The format, when the suffix does not tell it or is to be overruled.
        stdin: Read for ``-``; the process's standard input by default.

    Raises:
        DataError: There is no such file, it cannot be opened, or its format is not known.
    """

    def __init__(
        self, path: Path | Literal["-"], kind: str | None = None, stdin: BinaryIO | None = None
    ) -> None:
        self.name = "standard input" if path == "-" else str(path)
        self.reader = _reader(path, kind)
        self.in_place = False
        self._hash = hashlib.sha256()
        self._own = path != "-"
        if path == "-":
            self.file = cast(io.RawIOBase, stdin or sys.stdin.buffer)
            self._state = None
            return
        try:
            self.file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed on exit
        except FileNotFoundError as error:
            raise DataError(
                f"no data file {self.name!r}", "give one with --data, or as path under [data]"
            ) from error
        except IsADirectoryError as error:
            raise DataError(
                f"{self.name!r} is a directory", f"name one file in it: --data {self.name}/FILE"
            ) from error
        except OSError as error:
            raise DataError(f"cannot open {self.name!r}: {error.strerror or error}") from error
        self._state = self._now()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self.file.close()

    def rows(self) -> Iterator[Row]:
        """Read all of it, once.

        Raises:
            DataError: It is empty, damaged, not what its format says or changes meanwhile.
        """
        with ExitStack() as stack:
            try:
                random_access = self.reader.random_access
                stream = self._seekable(stack) if random_access else self._text()
                yield from self.reader.rows(stream, self.name)
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(
                    f"{self.name} cannot be read: {error}", "is it damaged? make it anew"
                ) from error
        self.check_unchanged()

    def sha256(self) -> str:
        """The hash of all its bytes as they are on disk, in hex; only after `rows`."""
        return self._hash.hexdigest()

    def check_unchanged(self) -> None:
        """Make sure that the file is still as it was when it was opened.

        Raises:
            DataError: Its size or time of change is another.
        """
        if self._state is not None and self._now() != self._state:
            raise DataError(
                f"{self.name} has changed since it was opened",
                "run the same command again when nothing writes to it any more",
            )

    def _now(self) -> tuple[int, int] | None:
        status = os.fstat(self.file.fileno())
        return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    def _text(self) -> BinaryIO:
        """The bytes of a text file, unpacked, at its start."""
        packed: io.BufferedReader[Any] = io.BufferedReader(_Hashed(self.file, self._hash), _BUFFER)
        stream = packed
        start = packed.peek(4)
        if start.startswith(_GZIP):
            unzipped = gzip.GzipFile(fileobj=packed, mode="rb")
            stream = io.BufferedReader(cast(io.RawIOBase, unzipped), _BUFFER)
        elif start.startswith(_ZSTD):
            stream = io.BufferedReader(_Unzstd(packed), _BUFFER)
        else:
            self.in_place = self._state is not None and self.reader.by_offset
        start = stream.peek(4)
        if not start:
            raise self._empty()
        if start.startswith(_UTF16):
            raise DataError(
                f"{self.name} is UTF-16, not UTF-8 text",
                "convert it: iconv -f utf-16 -t utf-8 OLD > NEW",
            )
        return stream

    def _seekable(self, stack: ExitStack) -> BinaryIO:
        """All bytes in a file on disk, copied to one when they are not, at the start."""
        hashed = _Hashed(self.file, self._hash)
        if self._state is not None:
            copy = cast(BinaryIO, self.file)
            while hashed.read(_BUFFER):
                pass
        else:
            copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by stack
            stack.enter_context(copy)
            shutil.copyfileobj(hashed, copy, _BUFFER)
        if not copy.tell():
            raise self._empty()
        copy.seek(0)
        return copy

    def _empty(self) -> DataError:
        return DataError(f"{self.name} is empty", "write one item a line, or name another file")


def _reader(path: Path | Literal["-"], kind: str | None) -> Reader:
    """The reader for a format, or else for a suffix; JSONL for standard input."""
    if kind is not None:
        return READERS[f".{kind}"]
    if path == "-":
        return READERS[".jsonl"]
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    suffix = Path(name).suffix
    if suffix not in READERS:
        raise DataError(
            f"cannot tell the format of {str(path)!r} by its name",
            f"name it {', '.join(READERS)} (text also .gz or .zst), or set format under [data]",
        )
    return READERS[suffix]


class _Hashed(io.RawIOBase):
    """Passes bytes on and hashes them; closing it leaves the file open."""

    def __init__(self, file: io.RawIOBase, digest: hashlib._Hash) -> None:
        self._file = file
        self._digest = digest

    def readable(self) -> bool:
        return True

    def readinto(self, target: WriteableBuffer) -> int:
        count = self._file.readinto(target) or 0
        self._digest.update(memoryview(target)[:count])
        return count


class _Unzstd(io.RawIOBase):
    """Unpacks zstandard frames. The package's own reader takes a cut-off file for a whole one."""

    def __init__(self, packed: io.BufferedReader) -> None:
        import zstandard

        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj
        self._error = zstandard.ZstdError
        self._current: zstandard.ZstdDecompressionObj | None = None
        self._unused = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: WriteableBuffer) -> int:
        while not self._ready:
            # A small piece at a time: it may unpack to thousands of times its size.
            data = self._unused or self._packed.read(_PIECE)
            if not data:
                if self._current is not None:
                    raise EOFError("the packed data is cut off")
                return 0
            self._current = self._current or self._frame()
            try:
                self._ready = self._current.decompress(data)
            except self._error as error:
                raise OSError(str(error)) from error
            self._unused = self._current.unused_data
            if self._current.eof:
                self._current = None
        view = memoryview(target)
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
