"""Files that a run writes: their names, where they really lie, and who may read them.

A folder may be a stranger's. It can hold links in the place of a run's files, or of names that a
program would use for a moment, and whoever writes through them writes over something of his own.
So a new file has a random name and is made or not at all; what is opened is never a link, and
what is written has no other name; and a link that leads out of its folder is followed only once
the user has agreed (`sending.trust`).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from llm_batch.chain.addresses import COPY, is_address
from llm_batch.chain.overrides import expanded
from llm_batch.errors import OutputError

#: Prompts and answers are for their owner.
PRIVATE = 0o600
#: As any other program would make it.
USUAL = 0o666

# Not on every system.
_NOT_A_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
_RANDOM_BYTES = 8
_BUFFER = 1 << 16


class Writing:
    """Around what writes a file: what the system says against it becomes an `OutputError`."""

    def __init__(
        self, path: object, after: str = "", hint: str = "choose another place with --output"
    ) -> None:
        self._path, self._after, self._hint = path, after, hint

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            said = f"cannot write {self._path}: {error.strerror}{self._after}"
            raise OutputError(said, self._hint) from error


#: What to do about a disk that is full.
FREE_SPACE = "free some space and run the same command again"


class Paths(NamedTuple):
    """The files of a run, which lie side by side and are called alike.

    Attributes:
        results: One line per item: ``results.jsonl``, or as ``--output`` has it.
        journal: Every call: ``results.calls.jsonl``.
        jobs: Jobs at a provider's batch API, if there are any: ``results.batches.jsonl``.
        call_index: Where each call lies in the journal: ``results.calls.index``.
    """

    results: Path
    journal: Path
    manifest: Path
    jobs: Path
    call_index: Path


JOURNAL_ENDS = ".calls.jsonl"
#: Of an output that is a table too: ``results.parquet``, made of ``results.jsonl`` as a run ends.
TABLE_ENDS = ".parquet"
#: Beside the journal while a run writes it; see `llm_batch.record.lease`.
LEASE_ENDS = ".lease.json"


def run_paths(output: str | os.PathLike[str]) -> Paths:
    """The files of a run, by that of its results, its table or its journal."""
    results = Path(output)
    if results.suffix == TABLE_ENDS:
        results = results.with_suffix(".jsonl")
    if results.name.endswith(JOURNAL_ENDS):
        results = results.with_name(results.name.removesuffix(JOURNAL_ENDS) + ".jsonl")
    stem = results.with_suffix("") if results.suffix else results
    ends = (JOURNAL_ENDS, ".manifest.json", ".batches.jsonl", ".calls.index")
    return Paths(results, *(stem.with_name(stem.name + end) for end in ends))


def table_of(output: str | os.PathLike[str]) -> Path | None:
    """The table that a run with this output writes besides; ``None`` where it writes none."""
    path = Path(output)
    return path if path.suffix == TABLE_ENDS else None


def files_of(output: str | os.PathLike[str]) -> list[Path]:
    """All that a run with this output writes over."""
    table = table_of(output)
    return [*run_paths(output), *([] if table is None else [table])]


def results_of(path: str | os.PathLike[str]) -> str:
    """The results that a user names, who may name their table: every verb reads the lines.

    A table without its run beside it is a stranger's, and stays what it is.
    """
    given = expanded(path)
    if table_of(given) is None:
        return given
    paths = run_paths(given)
    return str(paths.results) if paths.results.exists() or paths.journal.exists() else given


def leads_out(path: str | os.PathLike[str]) -> Path | None:
    """Where a link leads that leaves its folder; ``None`` for all else."""
    target = real_path(path)
    if not Path(path).is_symlink():
        return None
    folder = os.path.realpath(Path(path).absolute().parent)
    return None if target.is_relative_to(folder) else target


def real_path(path: str | os.PathLike[str]) -> Path:
    """Where a file lies, links followed; `OutputError` for no file, or a link to a stranger's."""
    target = Path(os.path.realpath(path))
    is_link = Path(path).is_symlink()
    try:
        found = os.lstat(target)
    except OSError:
        return target  # there is none, or opening it will say what is wrong
    shown = f"cannot write {path}: it is {f'a link to {target}, which is ' if is_link else ''}"
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{shown}no file", "delete it, or choose another place")
    if is_link and os.name != "nt" and found.st_uid != os.geteuid():
        raise OutputError(f"{shown}somebody else's", "delete the link")
    return target


def refuse_address(path: str | os.PathLike[str]) -> None:
    """`OutputError` where a file to write has an address, which here would be a strange folder."""
    if is_address(os.fspath(path)):
        raise OutputError(f"cannot write {path}: it is an address, no file of this machine", COPY)


def typed_path(path: str | os.PathLike[str], option: str) -> Path:
    """As `real_path`, for a file that an option names and no question is asked about.

    `OutputError` for a link out of its folder too.
    """
    refuse_address(path)
    if (target := leads_out(path)) is not None:
        raise OutputError(
            f"{path} is a link that leads out of its folder, to {target}; it is not written",
            f"if that is what you want: {option} {target}",
        )
    return real_path(path)


def open_to_append(path: Path, mode: int = PRIVATE, *, buffered: bool = False) -> IO[bytes]:
    """Open a file that `real_path` gave for reading and appending, by default without a buffer.

    The ``mode`` is that of a new file; an old one stays as it is. `OSError` when it has become a
    link.
    """
    flags = os.O_RDWR | os.O_APPEND | _NOT_A_LINK | _AT_ONCE
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        handle = os.open(path, flags)
    else:
        _set_mode(handle, mode)
    return os.fdopen(handle, "a+b", buffering=_BUFFER if buffered else 0)


def open_to_change(path: Path) -> IO[bytes]:
    """Open a file that is there and that `real_path` gave, without a buffer."""
    return os.fdopen(os.open(path, os.O_RDWR | _NOT_A_LINK | _AT_ONCE), "r+b", buffering=0)


def open_beside(path: Path, mode: int = PRIVATE) -> tuple[Path, IO[bytes]]:
    """A new file in the same folder under a random name, to take the place of ``path``.

    It gets the mode of the old file, or else ``mode``.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = stat.S_IMODE(os.lstat(path).st_mode)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(_RANDOM_BYTES)}.tmp")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_A_LINK, PRIVATE)
    _set_mode(handle, mode)
    return beside, os.fdopen(handle, "wb", buffering=_BUFFER)


@contextlib.contextmanager
def in_place_of(path: Path, mode: int = PRIVATE) -> Iterator[IO[bytes]]:
    """A file that takes the place of one that `real_path` gave, whole or, after an error, not at
    all; ``mode`` as in `open_beside`.
    """
    beside, file = open_beside(path, mode)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def replace(path: Path, content: bytes | IO[bytes], mode: int = PRIVATE) -> None:
    """Write a file as `in_place_of` does."""
    with in_place_of(path, mode) as file:
        shutil.copyfileobj(io.BytesIO(content) if isinstance(content, bytes) else content, file)


def make_own(path: Path) -> bool:
    """Make a copy of a file that has other names too, so that nothing is written through them.

    A hard link may be a backup (``cp -al``), or a stranger's trap. Returned is whether it was one.
    """
    try:
        if os.lstat(path).st_nlink < 2:
            return False
    except FileNotFoundError:
        return False
    with open(path, "rb") as shared:
        replace(path, shared)
    return True


def deliver(path: str | os.PathLike[str], content: bytes | IO[bytes], option: str) -> None:
    """Write what an option asked for into its file; a device that it names is written to."""
    if is_device(path):
        with open(path, "wb") as file:
            shutil.copyfileobj(io.BytesIO(content) if isinstance(content, bytes) else content, file)
        return
    # As other programs make files: the mask of the user's shell holds.
    mask = os.umask(0)
    os.umask(mask)
    replace(typed_path(path, option), content, USUAL & ~mask)


def is_device(path: str | os.PathLike[str]) -> bool:
    """Whether a name is one of the system's, such as ``/dev/stderr``: no folder can ship it."""
    return os.path.abspath(path).startswith(("/dev/", "/proc/self/fd/"))


def left_beside(path: Path) -> Iterator[Path]:
    """Files that killed runs left under random names beside ``path``."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.tmp")
    with contextlib.suppress(OSError):
        yield from (found for found in path.parent.iterdir() if name.fullmatch(found.name))


def _set_mode(handle: Any, mode: int) -> None:
    """Exactly so, whatever the mask of the shell is; not every system and disk can."""
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):
            os.fchmod(handle, mode)
