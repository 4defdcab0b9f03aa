"""The append-only log of calls: what is in it is never paid for again.

One line of JSON per finished call, success or failure, written before
anything depends on it and forced to disk in groups. In memory there is only where each answered
request lies in the file, so a million calls cost little. A line that a crash cut short is dropped
when the file is opened.

Every key it has::

    {"schema": 2, "key": "9f…", "item": "geo-001", "step": "generate", "model": "gpt-4",
     "sample": 0, "ok": true, "cost": 0.0012, "worst_case": false, "simulated": false,
     "attempts": [{"number": 1, "started_at": 1795470050.1, "seconds": 0.8, "error": "",
                   "maybe_billed": false}],
     "completion": {"text": "…", "model": "gpt-4-0613", "finish_reason": "stop",
                    "usage": {"input_tokens": 40, …}, "response_id": "…",
                    "reported_cost": null},
     "failure": null, "list_cost": null}

``cost`` is what is booked: where the provider reports a cost, the larger of that and
``list_cost``. Older lines have neither of the two.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import time
from array import array
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Annotated

import msgspec

from llm_batch.errors import OutputError
from llm_batch.paper import words
from llm_batch.record.files import (
    FREE_SPACE,
    JOURNAL_ENDS,
    LEASE_ENDS,
    PRIVATE,
    Writing,
    make_own,
    open_to_append,
    real_path,
)
from llm_batch.record.index import CallIndex, Places
from llm_batch.record.lease import Lease
from llm_batch.record.lines import (
    SCHEMA,
    UNREADABLE,
    Amount,
    StepUsage,
    bounded_lines,
    newer,
    some_blocks,
)
from llm_batch.records import (
    Attempt,
    Call,
    Completion,
    Failure,
    Request,
    Usage,
    is_key_before,
    without_mark,
)

_encoder = msgspec.json.Encoder()

_When = Annotated[float, msgspec.Meta(ge=0, le=1e11)]  # seconds since 1970
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Head(msgspec.Struct):
    """What opening a journal needs of a line."""

    schema: int
    key: str
    ok: bool
    item: str = ""
    step: str = ""
    cost: float | None = None
    worst_case: bool = False


class _Answered(msgspec.Struct):
    """What answering a request from the journal needs of a line."""

    key: str
    attempts: tuple[Attempt, ...]
    completion: Completion | None = None
    cost: float | None = None
    worst_case: bool = False
    simulated: bool = False
    list_cost: float | None = None


class Send(msgspec.Struct, gc=False):
    started_at: _When
    seconds: _Seconds
    error: str = ""


class Answer(msgspec.Struct, gc=False):
    model: str = ""
    usage: StepUsage | None = None


class CallLine(msgspec.Struct, gc=False):
    """A line as those read it who count calls; what is without bounds or kin there is damaged."""

    item: str
    step: str
    model: str
    schema: int = SCHEMA
    sample: int = 0
    cost: Amount | None = None
    worst_case: bool = False
    simulated: bool = False
    attempts: list[Send] = []
    completion: Answer | None = None


class Said(Answer, gc=False):
    """The same with its text."""

    text: str = ""
    finish_reason: str | None = None


class Failed(msgspec.Struct, gc=False):
    """The failure of a call."""

    kind: str = ""
    message: str = ""


class ItemCall(CallLine, gc=False, kw_only=True):
    """The same with the words of both sides, for those who show an item."""

    key: str = ""
    completion: Said | None = None
    failure: Failed | None = None

    def call(self, request: Request) -> Call | None:
        """The call that this is of a request; ``None`` where it is none."""
        said, failed = self.completion, self.failure
        if (said is None) == (failed is None):
            return None
        tokens = Usage(**msgspec.structs.asdict(said.usage)) if said and said.usage else None
        ending = said.finish_reason if said else None
        return Call(
            request,
            tuple(
                Attempt(n, sent.started_at, sent.seconds, sent.error)
                for n, sent in enumerate(self.attempts, 1)
            ),
            completion=Completion(said.text, said.model, ending or "", tokens) if said else None,
            failure=Failure(failed.kind, failed.message) if failed else None,
            cost=self.cost,
            worst_case=self.worst_case,
            simulated=self.simulated,
        )


class _OfItem(msgspec.Struct):
    item: str


_head_decoder = msgspec.json.Decoder(Head)
_answered_decoder = msgspec.json.Decoder(_Answered)


def encode_call(call: Call) -> bytes:
    request = call.request
    record = {
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
        "list_cost": call.list_cost,
    }
    return _encoder.encode(record) + b"\n"


# How a line begins, so that its key is found without reading it.
_UP_TO_KEY = b'{"schema":%d,"key":"' % SCHEMA


def head_of(line: bytes) -> Head | None:
    """The head of a line; ``None`` when the line is damaged."""
    try:
        head = _head_decoder.decode(without_mark(line))
        short(head.key)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, no key; nested too deep
        return None
    return head


def answer_in(line: bytes, request: Request, key: str) -> Call | None:
    """The call in a line, if it is the answer to this request, which has this key there."""
    try:
        found = _answered_decoder.decode(without_mark(line))
    except (ValueError, RecursionError):
        return None  # edited by hand: its head could be read and the rest cannot
    if found.key != key or found.completion is None:
        return None
    return Call(
        request,
        found.attempts,
        completion=found.completion,
        cost=found.cost,
        worst_case=found.worst_case,
        simulated=found.simulated,
        list_cost=found.list_cost,
    )


def call_lines(file: IO[bytes], damaged: Callable[[int], object]) -> Iterator[list[CallLine]]:
    """The tolerant door: the calls of a journal, some at a time.

    ``damaged`` is called with the number of each line that is cut off or none of a journal.
    """
    decoder = msgspec.json.Decoder(CallLine)
    before = 0
    for block in some_blocks(file):
        try:
            yield decoder.decode_lines(block)
        except UNREADABLE:
            calls = []
            for number, line in enumerate(io.BytesIO(block), before + 1):
                try:
                    calls.append(decoder.decode(without_mark(line)))
                except UNREADABLE:
                    if not line.isspace():
                        damaged(number)
            yield calls
        before += block.count(b"\n")


def calls_of(
    path: Path, items: Collection[str], damaged: Callable[[int], object]
) -> dict[str, list[ItemCall]]:
    """The tolerant door for some items: their calls in the order of the journal.

    Args:
        path: The journal; without one no item has calls.
        items: Ids.
        damaged: As for `call_lines`.

    Raises:
        OutputError: It cannot be read.
    """
    found: dict[str, list[ItemCall]] = {item: [] for item in items}
    of_item, whole = msgspec.json.Decoder(_OfItem), msgspec.json.Decoder(ItemCall)
    try:
        with open(path, "rb", buffering=1 << 20) as file:
            for number, line in enumerate(bounded_lines(file), 1):
                try:
                    if (item := of_item.decode(line).item) in found:
                        found[item].append(whole.decode(line))
                except UNREADABLE:
                    if not line.isspace():
                        damaged(number)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
    return found


def short(key: str) -> int:
    """The beginning of a key as a number: 60 bits tell a million requests apart.

    `ValueError` for what is no key.
    """
    return int(key[:15], 16)


class Lookup:
    """Finds the answered requests of a journal.

    In schema 1 the name of the step was part of a key, so such keys are tried under every name
    the journal has.
    """

    def __init__(self) -> None:
        self.places = Places()
        self._names: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, key: str) -> bool:
        return short(key) in self.places

    def read(self, head: Head, offset: int, item: int = 0) -> None:
        """Take in the head of an answered line."""
        self.places.read(short(head.key), item, offset)
        if is_key_before(head.key):
            self._names[head.step] = None

    def answer(self, request: Request, line_at: Callable[[int], bytes]) -> Call | None:
        for key in self._keys(request):
            offset = self.places.offset(short(key))
            if offset is not None:
                line = line_at(offset)
                if (call := answer_in(line, request, key)) is not None:
                    return call
        return None

    def _keys(self, request: Request) -> Iterator[str]:
        yield request.key
        if not self._names:
            return
        # Steps that send the same were told apart by their names, which are in the chain's order.
        found = [key for key in map(request.key_before, self._names) if key in self]
        yield from found[request.sample : request.sample + 1]


#: A crash of the machine (not of the process) can lose at most this much.
SYNC_CALLS = 256
SYNC_SECONDS = 0.2


class Journal:
    """A journal open for appending; one process at a time.

    Args:
        find_new: Whether calls that are appended can be looked up again. A run asks for each
            request once, and does without: its memory then stays the same however long it is.
        mode: What a new file may be used for; that of an old one stays.
        index: Where its index is, see `record.index`; without one all of it is read.
        number: Gives an item's number in the index by its id, the same for the same ``seed``.

    Attributes:
        calls: Lines in it.
        intact: Whether it is, all of it, what runs have written: its index says so.
        answers: Requests it can answer.
        spent: USD of all its calls whose cost is known.
        unpriced: Calls in it whose cost is unknown.
        worst_case: Calls in it whose cost is an upper bound.
        notes: What was odd when it was opened, as sentences.

    Raises:
        OutputError: It cannot be written, another run has it open, or a newer version wrote it.
    """

    def __init__(
        self,
        path: Path,
        *,
        find_new: bool = True,
        mode: int = PRIVATE,
        index: Path | None = None,
        number: Callable[[str], int] = lambda item_id: 0,
        seed: int = 0,
    ) -> None:
        self.path = path
        self._find_new = find_new
        self.calls = self.unpriced = self.worst_case = 0
        self.spent = 0.0
        self.notes: list[str] = []
        self.intact = False
        self._where = Lookup()
        self._unsynced = 0
        self._synced_at = time.monotonic()
        after = "; the run stops here and nothing that was written is lost"
        self._writing = Writing(path, after, FREE_SPACE)
        with Writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._real = real_path(path)
            self._file = open_to_append(self._real, mode)
        try:
            _lock(self._file.fileno(), path)
            self._keep_to_itself(mode)
            with Writing(path):
                self._lease = Lease(_lease_path(self._real))
        except BaseException:
            self._file.close()
            raise
        if self._lease.note:
            self.notes.append(self._lease.note)
        try:
            self._number = number
            self._index = CallIndex(index, mode, seed)
            try:
                self._load()
            except BaseException:
                self._index.close()
                raise
        except BaseException:
            self._lease.close()
            self._file.close()
            raise

    @property
    def answers(self) -> int:
        return len(self._where)

    def answered(self, request: Request) -> Call | None:
        """The call that answered this request before; ``None`` if none did. Failures do not."""
        return self._where.answer(request, self._line_at)

    def append(self, *calls: Call) -> None:
        """Write calls; they survive a crash of this process at once, of the machine soon.

        `OutputError` when the disk is full or failing, as for `sync`; those that fitted are kept.
        """
        lines = [encode_call(call) for call in calls]
        self._lease.check()
        try:
            offset = self._write(b"".join(lines))
        except OutputError:
            if len(calls) == 1:
                raise
            for call in calls:
                self.append(call)
            return
        for call, line in zip(calls, lines, strict=True):
            request, ok = call.request, call.completion is not None
            key = short(request.key)
            if ok and (self._find_new or key in self._where.places):
                self._where.places.written(key, offset)
            self._index.add(
                *(key, self._number(request.item_id), offset, len(line)),
                *(ok, call.cost, call.worst_case),
            )
            self._count(call.cost, call.worst_case)
            offset += len(line)
        self._unsynced += len(calls)
        self.sync_if_due()

    def _write(self, lines: bytes) -> int:
        """Where they begin."""
        with self._writing:
            offset = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(offset)
                raise
        return offset

    def sync_if_due(self) -> None:
        """Force what was written to disk when enough calls or time have passed."""
        if self._unsynced and (
            self._unsynced >= SYNC_CALLS or time.monotonic() - self._synced_at >= SYNC_SECONDS
        ):
            self.sync()

    def sync(self) -> None:
        with self._writing:
            os.fsync(self._file.fileno())
        self._index.flush()
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def close(self) -> None:
        if not self._file.closed:
            try:
                self.sync()
            finally:
                self._index.close()
                self._lease.close()
                self._file.close()

    def answered_items(self) -> array[int]:
        """The item of each answer that it held when it was opened, by its number."""
        return self._where.places.items()

    def _count(self, cost: float | None, worst: bool) -> None:
        self.calls += 1
        if cost is None:
            self.unpriced += 1
        else:
            self.spent += cost
        self.worst_case += worst

    def _keep_to_itself(self, mode: int) -> None:
        with self._writing:
            if not make_own(self._real):
                return
            with self._file:  # which keeps others out until the copy is locked
                self._file = open_to_append(self._real, mode)
                _lock(self._file.fileno(), self.path)
        self.notes.append(f"{self.path} had another name too (a hard link), which stays as it was")

    def _load(self) -> None:
        offset = self._indexed()
        damaged: list[int] = []
        with open(self._real, "rb", buffering=1 << 20) as lines:
            lines.seek(offset)
            line = b"\n"
            for number, line in enumerate(lines, self.calls + 1):
                head = head_of(line)
                if head is not None:
                    if head.schema > SCHEMA:
                        raise newer(f"{self.path}, line {number}")
                    item = self._number(head.item)
                    if head.ok:
                        self._where.read(head, offset, item)
                    self._count(head.cost, head.worst_case)
                    if is_key_before(head.key) or not line.endswith(b"\n"):
                        self._index.end()
                    self._index.add(
                        short(head.key), item, offset, len(line), head.ok, head.cost,
                        head.worst_case,
                    )  # fmt: skip
                else:
                    self._index.end()
                    if line.endswith(b"\n") and without_mark(line).strip():
                        damaged.append(number)
                offset += len(line)
        if not line.endswith(b"\n"):
            self._mend_end(offset - len(line), complete=head_of(line) is not None)
        if damaged:
            shown = ", ".join(str(number) for number in damaged[:5])
            count = words.counted(len(damaged), "damaged line is", "damaged lines are")
            self.notes.append(
                f"{self.path}: {count} passed over (line {shown}); what they held is asked again"
            )

    def _indexed(self) -> int:
        """Take in what the index holds; gives where the first call begins that it lacks."""
        found = self._index.entries(self._file.fileno(), _UP_TO_KEY)
        if found is None:
            return 0
        self.intact = True
        self._where.places.extend(found)
        self.calls, self.spent = len(found.keys), sum(found.costs)
        self.unpriced, self.worst_case = found.count(unpriced=True), found.count()
        return found.end

    def _mend_end(self, offset: int, complete: bool) -> None:
        """The last line has no end: finish it if only that is missing, else drop it."""
        with self._writing:
            if complete:
                self._file.write(b"\n")
            else:
                self._file.truncate(offset)
        if not complete:
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


class Replay:
    """The answers a journal held when a run began, each of which a run asks for once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.used = 0
        self.unused = journal.answers

    def count(self, used: int) -> None:
        """Count answers as used that were asked for in another way."""
        self.used += used
        self.unused -= used

    def answered(self, request: Request) -> Call | None:
        if not self.unused:
            return None
        call = self._journal.answered(request)
        if call is not None:
            self.used += 1
            self.unused -= 1
        return call


def _lease_path(journal: Path) -> Path:
    return journal.with_name(journal.name.removesuffix(JOURNAL_ENDS) + LEASE_ENDS)


def _lock(fd: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: opening for append does not keep others out there
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(fd), os.stat(path)):
            raise BlockingIOError  # it was put in the place of this one meanwhile
    except OSError as error:
        raise OutputError(
            f"another run is writing {path}", "wait for it, or choose another --output"
        ) from error
