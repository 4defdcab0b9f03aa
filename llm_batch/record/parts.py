"""A large file in parts, which several processes work on at once.

Python counts on one core only. The other processes are forks, as fresh ones would import the
caller's program again, which a script need not be written for. Where they cannot be had, or one of
them fails, this process does their work.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import starmap
from pathlib import Path
from typing import IO, Any, TypeVar

T = TypeVar("T")

#: Smaller files, in bytes, are read in less than a second by one process.
LEAST_BYTES = 200_000_000
#: A part whose result is passed on as it comes, and held in memory until then.
PIECE_BYTES = 8 << 20
_MOST_PROCESSES = 8

#: The first byte of a part and the one after its last; both begin a line, or end the file.
Part = tuple[int, int]


def parts_of(path: Path | None, piece: int | None = None, ahead: int = 0) -> list[Part]:
    """The parts of a file, each of some bytes or, without a number, one for each process.

    The first, which is this process's own, is smaller by the bytes that it has other work for.
    None of a file that is small or cannot be read twice, or where there is one process only.
    """
    if path is None or not path.is_file() or not may_fork():
        return []
    size = path.stat().st_size
    if size < LEAST_BYTES:
        return []
    ahead = min(ahead, size // 4)
    step = piece or (size + ahead) // _processes() + 1
    starts = [0]
    with open(path, "rb") as file:
        for near in range(step - ahead, size, step):
            file.seek(near)
            file.readline()
            if starts[-1] < file.tell() < size:
                starts.append(file.tell())
    return list(zip(starts, [*starts[1:], size], strict=True)) if len(starts) > 1 else []


def each_part(work: Callable[[int, int], T], parts: Sequence[Part]) -> Iterator[T]:
    """Give what ``work`` makes of each part, in their order, and makes without cycles.

    Parts are dealt out in turn. What fails in another process is done again in this one, which
    meets the error and raises it.
    """
    work = no_garbage_collection()(work)
    count = min(_processes(), len(parts))
    if count < 2 or not may_fork():
        yield from starmap(work, parts)
        return
    from multiprocessing import get_context

    _give_back_memory()
    context = get_context("fork")
    sources: list[IO[bytes] | None] = [None]
    processes: list[Any] = []
    try:
        for first in range(1, count):
            mine, others = os.pipe()
            sources.append(os.fdopen(mine, "rb"))
            with open(others, "wb") as to:
                process = context.Process(
                    target=_send, args=(to, work, parts[first::count]), daemon=True
                )
                process.start()
            processes.append(process)
        for place, part in enumerate(parts):
            source = sources[place % count]
            found = None if source is None else _received(source)
            if source is not None and found is None:
                source.close()
                sources[place % count] = None
            yield work(*part) if found is None else found[0]
    finally:
        for process in processes:
            process.kill()
            process.join()
        for source in sources:
            if source is not None:
                source.close()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Leave objects to their reference counts: lines hold no cycles, and looking for some in
    millions of them takes longer than counting them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def stay_able_to_fork() -> None:
    """Keep numpy from starting threads when it is imported, for a program that uses none of them.

    Nothing here multiplies matrices.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _give_back_memory() -> None:
    """Keep what takes megabytes apart from the rest, so that it goes back when it is let go.

    The C library stops doing so once such a piece was let go, and columns that grow then leave gaps
    of their size: of two runs with a million items a third of the memory.
    """
    import ctypes

    with suppress(AttributeError, OSError):  # of another C library than glibc
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)


_MMAP_THRESHOLD = -3  # as malloc.h has it


def may_fork() -> bool:
    """Whether another process helps and is safe: not while another thread may hold a lock."""
    return (
        sys.platform == "linux"
        and _processes() > 1
        and len(list(Path("/proc/self/task").iterdir())) == 1
    )


def _processes() -> int:
    return min(len(os.sched_getaffinity(0)), _MOST_PROCESSES) if sys.platform == "linux" else 1


def _received(source: IO[bytes]) -> Any:
    """What was sent, in a tuple; ``None`` where the other process has failed."""
    try:
        return pickle.load(source)
    except (EOFError, OSError, pickle.UnpicklingError):
        return None


def _send(to: IO[bytes], work: Callable[[int, int], object], parts: Sequence[Part]) -> None:
    """Do some parts and send what comes of each; nothing more is sent where one fails.

    It is written as it is pickled, so that neither process holds it twice.
    """
    try:
        for part in parts:
            pickle.dump((work(*part),), to)
            to.flush()
    except BaseException:  # whatever it is, the other process meets it again and says so
        os._exit(1)
