"""The append-only log of calls: what is in it is never paid for again.

One line of JSON per finished call, success or failure, written before anything depends on it and
forced to disk in groups. In memory there is only where each answered request lies in the file, so
a million calls cost little. A line that a crash cut short is dropped when the file is opened.

A line, with every key it has::

    {"schema": 1, "key": "9f…", "item": "geo-001", "step": "generate", "model": "gpt-4",
     "sample": 0, "ok": true, "cost": 0.0012, "worst_case": false, "simulated": false,
     "attempts": [{"number": 1, "started_at": 1795470050.1, "seconds": 0.8, "error": "",
                   "maybe_billed": false}],
     "completion": {"text": "…", "model": "gpt-4-0613", "finish_reason": "stop",
                    "usage": {"input_tokens": 40, …}, "response_id": "…"},
     "failure": null}
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.errors import OutputError
from llm_batch.records import SCHEMA, Attempt, Call, Completion, Failure, Request

#: A crash of the machine (not of the process) can lose at most this much.
SYNC_CALLS = 64
SYNC_SECONDS = 0.2

_encoder = msgspec.json.Encoder()


class _Head(msgspec.Struct):
    """What opening a journal needs of a line."""

    schema: int
    key: str
    ok: bool
    cost: float | None = None
    worst_case: bool = False


class _Line(msgspec.Struct):
    """What answering a request from the journal needs of a line."""

    key: str
    attempts: tuple[Attempt, ...]
    completion: Completion | None = None
    failure: Failure | None = None
    cost: float | None = None
    worst_case: bool = False
    simulated: bool = False


_head_decoder = msgspec.json.Decoder(_Head)
_line_decoder = msgspec.json.Decoder(_Line)


class Journal:
    """A journal open for appending; one process at a time.

    Args:
        path: The file; made when missing.

    Attributes:
        calls: Lines in it.
        answers: Requests it can answer.
        spent: USD of all its calls whose cost is known.
        unpriced: Calls in it whose cost is unknown.
        worst_case: Calls in it whose cost is an upper bound.
        notes: What was odd when it was opened, as sentences.

    Raises:
        OutputError: It cannot be written, another run has it open, or a newer version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = self.unpriced = self.worst_case = 0
        self.spent = 0.0
        self.notes: list[str] = []
        self._where: dict[int, int] = {}
        self._unsynced = 0
        self._synced_at = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115  (closed by close())
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}", "choose another place with --output"
            ) from error
        try:
            _lock(self._file.fileno(), path)
            self._load()
        except BaseException:
            self._file.close()
            raise

    @property
    def answers(self) -> int:
        return len(self._where)

    def answered(self, request: Request) -> Call | None:
        """The call that answered this request before; ``None`` if none did. Failures do not."""
        offset = self._where.get(_short(request.key))
        if offset is None:
            return None
        line = _line_decoder.decode(self._line_at(offset))
        if line.key != request.key or line.completion is None:
            return None
        return Call(
            request,
            line.attempts,
            completion=line.completion,
            cost=line.cost,
            worst_case=line.worst_case,
            simulated=line.simulated,
        )

    def append(self, call: Call) -> None:
        """Write a call; it survives a crash of this process at once, of the machine soon.

        Raises:
            OutputError: The disk is full or failing.
        """
        line = _encoder.encode(call_record(call)) + b"\n"
        try:
            offset = self._file.seek(0, os.SEEK_END)
            written = self._file.write(line)
            if written != len(line):
                self._file.truncate(offset)
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; the run stops here and nothing "
                "that was written is lost",
                "free some space and run the same command again",
            ) from error
        self._count(
            call.request.key, call.completion is not None, call.cost, call.worst_case, offset
        )
        self._unsynced += 1
        self.sync_if_due()

    def sync_if_due(self) -> None:
        """Force what was written to disk when enough calls or time have passed."""
        if self._unsynced and (
            self._unsynced >= SYNC_CALLS or time.monotonic() - self._synced_at >= SYNC_SECONDS
        ):
            self.sync()

    def sync(self) -> None:
        """Force what was written to disk now."""
        os.fsync(self._file.fileno())
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Sync, and let other runs have it."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def _count(self, key: str, ok: bool, cost: float | None, worst: bool, offset: int) -> None:
        self.calls += 1
        if ok:
            self._where[_short(key)] = offset
        if cost is None:
            self.unpriced += 1
        else:
            self.spent += cost
        self.worst_case += worst

    def _load(self) -> None:
        self._file.seek(0)
        offset = 0
        damaged: list[int] = []
        with open(self.path, "rb", buffering=1 << 20) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    head = _head_decoder.decode(line)
                except msgspec.DecodeError:
                    head = None
                if not line.endswith(b"\n"):
                    self._mend_end(offset, complete=head is not None)
                if head is None:
                    if line.endswith(b"\n"):
                        damaged.append(number)
                elif head.schema > SCHEMA:
                    raise OutputError(
                        f"{self.path}, line {number}: written by a newer version "
                        f"(schema {head.schema}, this one knows {SCHEMA})",
                        "pip install --upgrade llm_batch",
                    )
                else:
                    self._count(head.key, head.ok, head.cost, head.worst_case, offset)
                offset += len(line)
        if damaged:
            shown = ", ".join(str(number) for number in damaged[:5])
            self.notes.append(
                f"{self.path}: {len(damaged)} damaged lines are passed over (line {shown}); "
                "the calls they held are made again"
            )

    def _mend_end(self, offset: int, complete: bool) -> None:
        """The last line has no end: finish it if only that is missing, else drop it."""
        if complete:
            self._file.write(b"\n")
        else:
            self._file.truncate(offset)
            self.notes.append(f"{self.path}: the last line was cut off by a crash and is dropped")

    def _line_at(self, offset: int) -> bytes:
        fd = self._file.fileno()
        size = 4096
        while True:
            chunk = os.pread(fd, size, offset)
            end = chunk.find(b"\n")
            if end >= 0 or len(chunk) < size:
                return chunk[: end if end >= 0 else len(chunk)]
            size *= 4


def call_record(call: Call) -> dict[str, Any]:
    """A call as a line of the journal, in plain values; keys as in the module's docstring."""
    request = call.request
    return {
        "schema": SCHEMA,
        "key": request.key,
        "item": request.item_id,
        "step": request.step,
        "model": request.model,
        "sample": request.sample,
        "ok": call.completion is not None,
        "cost": call.cost,
        "worst_case": call.worst_case,
        "simulated": call.simulated,
        "attempts": call.attempts,
        "completion": call.completion,
        "failure": call.failure,
    }


def read_calls(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal as dicts, damaged ones left out.

    Raises:
        OutputError: There is no such file.
    """
    try:
        with open(path, "rb") as lines:
            for line in lines:
                try:
                    yield msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.DecodeError:
                    continue
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error


def _short(key: str) -> int:
    # 60 bits tell a million requests apart; the full key is compared on the way back.
    return int(key[:15], 16)


def _lock(fd: int, path: Path) -> None:
    """Hold the file until it is closed, or the process dies."""
    try:
        import fcntl
    except ImportError:  # Windows: opening for append does not keep others out there
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise OutputError(
            f"another run is writing {path}", "wait for it, or choose another --output"
        ) from error
