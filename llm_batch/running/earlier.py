"""What becomes of calls that were made before: kept, asked again, set aside, or taken over."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from llm_batch.chain.overrides import expanded
from llm_batch.errors import ConfigError, OutputError
from llm_batch.record.files import Paths, run_paths
from llm_batch.record.journal import Journal, Places, Replay, head_of
from llm_batch.records import Call, Request


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a run does with the calls of earlier ones.

    Attributes:
        retry_failed: Ask again also for answers that came and cannot be used: cut off, not to be
            read, empty, filtered. (Calls that failed are always tried again.)
        overwrite: Set the files of an earlier run of the same output aside and begin anew.
        reuse: Journals of other outputs whose answers are taken over where the same request is
            to be made.
    """

    retry_failed: bool = False
    overwrite: bool = False
    reuse: Sequence[str | os.PathLike[str]] = ()


def set_aside(output: str | os.PathLike[str]) -> Path | None:
    """Rename the files of an earlier run, so that a new one begins with nothing.

    They are not deleted: what is in the journal was paid for.

    Returns:
        The new name of its journal; ``None`` when there is no earlier run.

    Raises:
        OutputError: They cannot be renamed, or a run is writing them.
    """
    files = run_paths(output)
    if not any(path.exists() for path in files):
        return None
    with closing(Journal(files.journal)):  # nobody else may be writing it
        numbered = (_numbered(files.results, number) for number in itertools.count(1))
        names = next(free for free in numbered if not any(path.exists() for path in free))
        try:
            for path, name in zip(files, names, strict=True):
                if path.exists():
                    _rename(path, name)
        except OSError as error:
            raise OutputError(
                f"cannot rename {error.filename}: {error.strerror}", "choose another --output"
            ) from error
    return names.journal


def _rename(path: Path, name: Path) -> None:
    """Rename a file; of a link, what it leads to, with another link to that."""
    if not path.is_symlink():
        path.rename(name)
        return
    real = Path(os.path.realpath(path))
    names = (real.with_name(f"{real.stem}.{n}{real.suffix}") for n in itertools.count(1))
    aside = next(free for free in names if not free.exists())
    real.rename(aside)
    name.symlink_to(aside)


def _numbered(results: Path, number: int) -> Paths:
    return run_paths(results.with_name(f"{results.stem}.{number}{results.suffix}"))


class Answers:
    """What was answered before, in this run's journal and in those of other outputs.

    An answer of another journal is recorded in this run's own when it is used, so that the
    results follow from that one alone; at a cost of 0, since this run does not pay for it.

    Args:
        journal: This run's.
        others: Journals of other outputs; read, never written.

    Attributes:
        taken: Answers that came from the other journals.

    Raises:
        ConfigError: One of the others is not a journal.
    """

    def __init__(self, journal: Journal, others: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._journal = journal
        self._own = Replay(journal)
        self._others = [_Index(Path(expanded(path))) for path in others]
        self.taken = 0

    @property
    def used(self) -> int:
        """Answers that were asked for, and so not paid again."""
        return self._own.used + self.taken

    @property
    def unused(self) -> int:
        """Answers that may still be asked for; too many where journals overlap."""
        return self._own.unused + sum(index.answers for index in self._others) - self.taken

    def answered(self, request: Request) -> Call | None:
        """The call that answered this request before; ``None`` if none did."""
        call = self._own.answered(request)
        if call is None and (call := self._elsewhere(request)) is not None:
            call = replace(call, cost=0.0, worst_case=False)
            self._journal.append(call)
            self.taken += 1
        return call

    def look_up(self, request: Request) -> Call | None:
        """The same without using it."""
        return self._journal.answered(request) or self._elsewhere(request)

    def close(self) -> None:
        """Let go of the other journals."""
        for index in self._others:
            index.close()

    def _elsewhere(self, request: Request) -> Call | None:
        found = (index.answered(request) for index in self._others)
        return next((call for call in found if call is not None), None)


class _Index:
    """Where the answers of a journal lie in its file."""

    def __init__(self, path: Path) -> None:
        self._where = Places()
        lines = 0
        try:
            self._file = open(path, "rb", buffering=1 << 20)  # noqa: SIM115  (kept for reading)
            offset = 0
            for line in self._file:
                head = head_of(line)
                if head is not None:
                    lines += 1
                    if head.ok:
                        self._where.put(head.key, head.step, offset)
                offset += len(line)
        except OSError as error:
            raise ConfigError(
                f"--reuse: cannot read {path}: {error.strerror}",
                "name the journal of another run: its file ends in .calls.jsonl",
            ) from error
        if offset and not lines:
            self._file.close()
            raise ConfigError(
                f"--reuse: {path} is not a journal",
                "name the file of another run that ends in .calls.jsonl",
            )

    @property
    def answers(self) -> int:
        return len(self._where)

    def answered(self, request: Request) -> Call | None:
        return self._where.answer(request, self._line_at)

    def _line_at(self, offset: int) -> bytes:
        self._file.seek(offset)
        return self._file.readline()

    def close(self) -> None:
        self._file.close()
