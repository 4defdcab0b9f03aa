"""Counting the two halves of a large results file at once.

Python counts on one core only, so the second half is counted by a second process and its sums are
added to those of the first. They are those of one pass; sums of fractions may differ in their
last digits. Where that cannot be had (an id in both halves, a line that cannot be read), the
answer is ``None``, and one pass over the whole file says what there is to say.

The second process is a fork, as a fresh one would import the caller's program again, which a
script need not be written for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llm_batch.report.read import ResultsFile
from llm_batch.report.tallies import Tallies, Wanted, count_lines

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: Smaller files, in bytes, are read in less than a second by one process.
LEAST_BYTES = 200_000_000


def count_halves(path: Path, wanted: Wanted) -> Tallies | None:
    """Count both halves of a file, each in a process of its own.

    Args:
        path: The file.
        wanted: What to count.

    Returns:
        The sums of both; ``None`` where the file has to be read in one pass.

    Raises:
        OutputError: A line of the first half cannot be read.
        ConfigError: The field to group by was asked for and has too many values.
    """
    middle = _middle(path)
    if middle is None or not _may_fork():
        return None
    from multiprocessing import get_context

    context = get_context("fork")
    mine, others = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(others, path, middle, wanted), daemon=True)
    process.start()
    others.close()
    try:
        first = _count(path, 0, middle, wanted)
        second = _received(mine)
    finally:
        process.kill()
        process.join()
        mine.close()
    return first if second is not None and first.merge(second) else None


def _middle(path: Path) -> int | None:
    """Where the first line of the second half begins; ``None`` without two halves."""
    if not path.is_file():
        return None  # a pipe can be read only once
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < LEAST_BYTES:
            return None
        file.seek(size // 2)
        file.readline()
        return file.tell() if file.tell() < size else None


def _may_fork() -> bool:
    """Whether a second process helps and is safe: not while another thread may hold a lock."""
    return (
        sys.platform == "linux"
        and len(os.sched_getaffinity(0)) > 1
        and len(list(Path("/proc/self/task").iterdir())) == 1
    )


def _count(path: Path, start: int, end: int | None, wanted: Wanted) -> Tallies:
    results = ResultsFile(path, start, end)
    try:
        return count_lines(results, wanted)
    finally:
        results.close()


def _send(to: Connection, path: Path, start: int, wanted: Wanted) -> None:
    """Count the second half and send the sums; nothing is sent where that fails."""
    try:
        to.send(_count(path, start, None, wanted))
    except BaseException:  # whatever it is, one pass over the file meets it again and says so
        os._exit(1)


def _received(source: Connection) -> Tallies | None:
    try:
        tallies: Tallies = source.recv()
    except (EOFError, OSError):
        return None
    return tallies
