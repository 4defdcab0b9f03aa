"""A dataset that lies in several files of one kind: a folder, a pattern, a dataset of Hugging Face.

`opened` gives whatever the data of a config is as an `Input`.
"""

from __future__ import annotations

import glob
import hashlib
import io
import itertools
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Protocol, Self
from urllib.parse import unquote

import msgspec

from llm_batch.chain.addresses import DATABASES, scheme_of
from llm_batch.dataset.given import Query
from llm_batch.dataset.readers import READERS
from llm_batch.dataset.remote import Remote, found_at
from llm_batch.dataset.shape import Row, Shape
from llm_batch.dataset.source import Empty, Source, reader_of
from llm_batch.errors import DataError
from llm_batch.paper import words

if TYPE_CHECKING:
    from llm_batch.chain.options import Data

# Names that are listed, and notes that are said, at most.
_MANY = 3
_PATTERN = re.compile(r"[*?[]")
# What `datasets` writes beside the rows of a dataset, or of several splits.
_SAVED, _SPLITS = "state.json", "dataset_dict.json"
_SPLIT = re.compile(r"(?:^|/)(train|test|validation|valid|dev)(?=[-_./0-9])[^/]*(?:/|$)")
# ``lang=de/part-0.parquet``, as Spark and Hive part what they write.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_PARTED = re.compile(r"(?<![^/])([^/=]++)=([^/]*+)/")


class Input(Protocol):
    """Rows that are read once, from wherever they are. A context manager.

    Attributes:
        name: What messages call it.
        file: Where rows can be read again by their offsets, if ``in_place``.
        notes: How it was read, where that is not what one expects; only after `rows`.
        shape: How it is written; of several files the one that was read last.
    """

    name: str
    file: io.RawIOBase
    in_place: bool
    shape: Shape

    @property
    def is_table(self) -> bool:
        """Whether it is text with delimiters."""

    @property
    def is_headed(self) -> bool:
        """Whether its columns have their names from a first line that may be missing."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def rows(self) -> Iterator[Row]:
        """Read all of it, once; numbers grow."""

    def at(self, *numbers: int) -> str:
        """Where rows are, by their numbers: ``line 7``, ``b.csv, line 7``."""

    def sha256(self) -> str:
        """What tells whether it is the same again, in hex; after the `rows` that are needed."""

    def check_unchanged(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def opened(
    data: Data,
    path: Path | str,
    stdin: BinaryIO | None = None,
    wanted: frozenset[str] | None = None,
    by_config: bool = True,
) -> Input:
    """What ``[data]`` describes, at its path, ready to be read once.

    Args:
        wanted: The columns to read where others need not be; ``None`` for all.
        by_config: Whether hints may speak of a config.

    Raises:
        DataError: There is none, it cannot be opened, or a folder holds files of several kinds.
    """

    def one(path: Path | Literal["-"] | Remote, known: Collection[str] = ()) -> Source:
        return Source(
            path,
            data.format,
            stdin,
            delimiter=data.delimiter,
            encoding=data.encoding,
            sheet=data.sheet,
            by_config=by_config,
            wanted=None if wanted is None else wanted.difference(known),
        )

    if path == "-":
        return one("-")
    if isinstance(path, str):
        if scheme_of(path) in DATABASES:
            return Query(path)
        found = found_at(path)
        if isinstance(found, Remote):
            return one(found)
        pattern = bool(_PATTERN.search(path))
        saved = None if pattern else _saved(*found)
        return Shards(saved or files_of(*found, data.format, named=pattern), one)
    if (files := _local(path, data.format)) is not None:
        return Shards(files, one)
    return one(path)


class Files(NamedTuple):
    """The files of a dataset.

    Attributes:
        root: What messages call them all.
        names: Below the root, in the order in which they are read.
        path: That of a name.
        passed_over: Names of files that hold no rows.
    """

    root: str
    names: Sequence[str]
    path: Callable[[str], Path | Remote]
    passed_over: Sequence[str] = ()


def _local(path: Path, kind: str | None) -> Files | None:
    """The files that a path on this machine names; ``None`` where it is one file, or none."""
    if path.is_dir():
        below = (Path(folder, file) for folder, _, files in os.walk(path) for file in files)
        # A pipe would be waited for; a link to nothing is named by what opens it.
        files = (each for each in below if each.is_file() or not each.exists())
        names = [each.relative_to(path).as_posix() for each in files]
        saved = _saved(str(path), names, path.joinpath)
        return saved or files_of(str(path), names, path.joinpath, kind)
    if not _PATTERN.search(str(path)) or path.exists():
        return None
    # A folder that is there is no pattern, whatever its name is.
    folders = itertools.accumulate(path.parts[:-1], lambda above, part: str(Path(above, part)))
    above = Path(*list(itertools.takewhile(os.path.isdir, folders))[-1:])
    pattern = Path(glob.escape(str(above)), path.relative_to(above))
    # Path.glob wants the pattern apart from the folder, which this finds itself.
    found = [Path(each) for each in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207
    found = [each for each in found if each.is_file()]
    if not found:
        braces = re.search(r"\{[^{}]*,", str(path))
        raise DataError(
            f"no file fits the pattern {str(path)!r}",
            "write it without braces, which only a shell resolves"
            if braces
            else f"look: ls {path}",
        )
    names = [each.relative_to(above).as_posix() for each in found]
    return files_of(str(path), names, above.joinpath, kind, named=True)


def files_of(
    root: str,
    names: Sequence[str],
    path: Callable[[str], Path | Remote],
    kind: str | None,
    named: bool = False,
) -> Files:
    """Those that hold rows.

    Args:
        names: Of all files below ``root``.
        kind: The format of all, as the user said it.
        named: Whether a pattern of the user's named them; else hidden and other files are left.

    Raises:
        DataError: There are none, or they are of several kinds or splits.
    """
    if named:
        # As in a shell, in every store; what is hidden is meant where nothing else fits.
        taken = [name for name in names if _fits(name)] or list(names)
    else:
        taken = [name for name in names if _is_shown(name) and (kind or _kind(name, None))]
    if not taken:
        some = any(_is_shown(name) and not PurePosixPath(name).suffix for name in names)
        raise DataError(
            f"{root} holds no files with rows{', as far as their names tell' * some}",
            f"name them by a pattern: '{root.rstrip('/')}/*', or say what they are: "
            'format = "parquet" under [data]'
            if some
            else f"name them: '{root.rstrip('/')}/*.jsonl'",
        )
    kinds: dict[object, list[str]] = {}
    for name in sorted(taken):
        kinds.setdefault(_kind(name, kind), []).append(name)
    if len(kinds) > 1:
        # What has a reader is more likely to be meant.
        known = sorted(kinds.items(), key=lambda one: (one[0] is None, -len(one[1])))
        most = [some for _, some in known]
        counted = ", ".join(f"{len(some):,} like {some[0]}" for some in most[:_MANY])
        above = _PATTERN.split(root)[0].rpartition("/")[0] if named else root.rstrip("/")
        example = f"{above}/{_pattern_of(most[0])}"
        raise DataError(
            f"{root} holds files of several kinds: {counted}",
            f"name those of one kind: '{example}'",
        )
    splits = sorted({found[1] for name in taken if (found := _SPLIT.search(name))})
    if len(splits) > 1 and not named:
        raise DataError(
            f"{root} holds several splits: {', '.join(splits)}",
            f"name one: '{root.rstrip('/')}/**/{splits[0]}*'",
        )
    passed = [name for name in names if name not in set(taken) and _is_shown(name)]
    return Files(root, sorted(taken), path, passed)


def _pattern_of(names: Sequence[str]) -> str:
    """A pattern that fits all of these files, which are of one kind."""
    paths = [PurePosixPath(name) for name in names]
    folders = {path.parent for path in paths}
    # Packed and plain files differ in what follows; a dot before that may be of the name.
    kinds = [suffix for suffix in paths[0].suffixes if READERS.get(suffix.lower())]
    ends = {"".join(path.suffixes) for path in paths}
    end = ends.pop() if len(ends) == 1 else f"{kinds[-1]}*" if kinds else ""
    return str(folders.pop() / f"*{end}") if len(folders) == 1 else f"**/*{end}"


def _kind(name: str, kind: str | None) -> object:
    return reader_of(PurePosixPath(name), kind)


def _is_shown(name: str) -> bool:
    """Whether no part is hidden, or what Spark and Hadoop write for themselves."""
    return not any(part.startswith((".", "_")) for part in name.split("/"))


def _fits(name: str) -> bool:
    """Whether a pattern means it: a name such as ``_more.csv`` may be the user's own."""
    folder, _, own = name.rpartition("/")
    rows = own.startswith("_") and reader_of(PurePosixPath(own), None)
    return _is_shown(f"{folder}/{own.removeprefix('_')}" if rows else name)


def _part_value(text: str) -> str | None:
    """What the name of a folder says, as Hive writes it: ``a%2Fb``."""
    return None if text == _NO_VALUE else unquote(text)


def _saved(
    root: str, names: Collection[str], path: Callable[[str], Path | Remote], below: str = ""
) -> Files | None:
    """The files of a dataset that ``save_to_disk`` of Hugging Face's ``datasets`` wrote here."""
    try:
        if below + _SPLITS in names:
            splits = msgspec.json.decode(_bytes_of(path(below + _SPLITS)))["splits"]
            if len(splits) == 1:
                return _saved(root, names, path, f"{splits[0]}/")
            raise DataError(
                f"{root} holds several splits: {', '.join(splits)}",
                f"name one: {root.rstrip('/')}/{splits[0]}",
            )
        if below + _SAVED not in names:
            return None
        state = msgspec.json.decode(_bytes_of(path(below + _SAVED)))
        files = [below + each["filename"] for each in state["_data_files"]]
        chosen = bool(state.get("_indices_data_files"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{root} is no dataset that can be read: {type(error).__name__} in its {_SAVED}",
            "save it again with save_to_disk",
        ) from error
    if chosen:
        raise DataError(
            f"{root} is a dataset with rows chosen by an old version of datasets",
            "save it again: load_from_disk(…).flatten_indices().save_to_disk(…)",
        )
    return Files(root, files, path)


def _bytes_of(place: Path | Remote) -> bytes:
    if isinstance(place, Path):
        return place.read_bytes()
    with place.open() as file:
        return file.read() or b""


class Shards:
    """Files of one kind, read one after the other as if they were one."""

    in_place = False
    file = io.RawIOBase()  # nobody reads from it

    def __init__(
        self, files: Files, one: Callable[[Path | Remote, Collection[str]], Source]
    ) -> None:
        self.name = files.root
        self._files = files
        self._one = one
        self._first = [0]  # how many rows stand before each
        self._read: list[str] = []  # each with what its numbers count
        self._hash = hashlib.sha256()
        self._current: tuple[str, Source] | None = None
        self._notes: list[str] = []
        self._columns: frozenset[str] | None = None
        self._empty = 0
        self._is_table = self._is_headed = False
        self.shape = Shape()

    def rows(self) -> Iterator[Row]:
        for name in self._files.names:
            parted = {key: _part_value(value) for key, value in _PARTED.findall(name)}
            try:
                opened_one = self._one(self._files.path(name), parted)
            except Empty:
                self._empty += 1
                self._hash.update(f"{name}\0\n".encode())
                continue
            with opened_one as source:
                self._read.append(f"{name}, {source.reader.place}")
                number = first = self._first[-1]
                self._current = name, source
                self._is_table, self._is_headed = source.is_table, source.is_headed
                self.shape = source.shape
                for own, fields, row, _ in source.rows():
                    number = first + own
                    if isinstance(fields, str):
                        yield number, fields, b"", 0
                        continue
                    if self._columns is None or own == 1:
                        self._compare(name, source, {**fields, **parted})
                    yield number, {**fields, **parted}, b"" if parted else row, 0
                self._hash_current()
                self._first.append(number)
                self._notes += source.notes

    def _compare(self, name: str, source: Source, fields: Collection[str]) -> None:
        columns = frozenset(fields)
        self._columns = self._columns or columns
        if source.has_columns and (lacking := sorted(self._columns - columns)):
            self._notes.append(f"{name} of {self.name} has no column {lacking[0]!r}")

    @property
    def is_table(self) -> bool:
        return self._is_table

    @property
    def is_headed(self) -> bool:
        return self._is_headed

    def _hash_current(self) -> None:
        if self._current is not None:
            name, source = self._current
            self._hash.update(f"{name}\0{source.sha256()}\n".encode())
            self._current = None

    @property
    def notes(self) -> tuple[str, ...]:
        notes = self._notes[:_MANY]
        if len(self._notes) > _MANY:
            notes.append(f"{len(self._notes) - _MANY:,} more of the files of {self.name} like this")
        if passed := self._files.passed_over:
            shown = ", ".join(passed[:_MANY]) + (", …" if len(passed) > _MANY else "")
            count = words.counted(len(passed), "file")
            notes.append(f"{count} of {self.name} passed over, which hold no rows: {shown}")
        if self._empty:
            verb = "is" if self._empty == 1 else "are"
            notes.append(f"{words.counted(self._empty, 'file')} of {self.name} {verb} empty")
        return tuple(notes)

    def at(self, *numbers: int) -> str:
        places = []
        for number in numbers:
            shard = bisect_right(self._first, number - 1, hi=len(self._read)) - 1
            places.append(f"{self._read[shard]} {number - self._first[shard]}")
        return " and ".join(places)

    def sha256(self) -> str:
        """Of the names of the files that were read and the hashes of each."""
        self._hash_current()
        return self._hash.hexdigest()

    def check_unchanged(self) -> None:
        """Each file was looked at again at its end, and no row is read again from it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
