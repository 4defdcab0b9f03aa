"""What open jobs cost at most, held until their answers are paid for.

It is held under names of its own and not under those of items, because an item may need money for
another request as well: its prompt may have changed since the job was made.

A line of JSON for every turn of a job's life, forced to disk before the next thing is done::

    {"schema": 1, "event": "intent", "id": "llmb-3f9c…", "model": "openai/gpt-4o-mini",
     "at": 1795470050.1, "origin": "https://api.openai.com", "marker": "",
     "entries": [{"key": "9f…", "item": "geo-001", "step": "generate", "sample": 0, "most": 0.0003,
     "tokens": 41}, …]}
    {"schema": 1, "event": "created", "id": "llmb-3f9c…", "job": "batch_abc", "guessed": false}
    {"schema": 1, "event": "cancelling", "id": "llmb-3f9c…"}
    {"schema": 1, "event": "ended", "id": "llmb-3f9c…", "status": "collected"}

The intent is written before the provider is asked to create the job, so that one whose creation
was interrupted is looked for there. ``ended`` is written when every answer of the job is in the
journal of calls. No key and no prompt is in this file.
"""

from __future__ import annotations

import codecs
import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.errors import ConfigError, OutputError
from llm_batch.record.files import PRIVATE, open_to_append, real_path, run_paths
from llm_batch.record.lines import SCHEMA, newer
from llm_batch.records import Request, without_mark
from llm_batch.sending.client import Budget

_encode = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One request of a job.

    Attributes:
        key: Of the request.
        item: Its item's id.
        step: Its step.
        sample: Which repeat.
        most: What it costs at most, in USD; ``None`` when the price is unknown.
        tokens: Our count of its input.
    """

    key: str
    item: str
    step: str
    sample: int
    most: float | None
    tokens: int


class Job(msgspec.Struct):
    """A job that has been begun and not ended.

    Attributes:
        id: Ours.
        model: The model string.
        at: When it was begun, in seconds since 1970-01-01 UTC.
        entries: Its requests; a custom id is ours with the position here.
        marker: As in `BatchApi.marker`.
        job: The provider's id; empty until it is known.
        others: Jobs of the provider that were taken for it and are not.
        origin: Scheme, host and port of the provider; empty when not written down.
        guessed: The provider's job may be that of somebody else.
        cancelling: This program asked for its end, or was about to.
    """

    id: str
    model: str
    at: float
    entries: list[Entry]
    marker: str = ""
    job: str = ""
    others: list[str] = []
    origin: str = ""
    guessed: bool = False
    cancelling: bool = False

    def custom_id(self, position: int) -> str:
        """How the entry at a position is called at the provider."""
        return f"{self.id}-{position}"

    def entry(self, custom_id: str) -> Entry | None:
        """The entry that is called so; ``None`` when it is none of this job."""
        own, _, position = custom_id.rpartition("-")
        if own != self.id or not position.isdecimal() or len(position) > 9:
            return None
        return self.entries[int(position)] if int(position) < len(self.entries) else None


def stub_of(entry: Entry, model: str) -> Request:
    """A request that has the key of an entry and not its text, for the journal of calls."""
    request = Request(entry.item, entry.step, model, (), {}, entry.sample)
    object.__setattr__(request, "key", entry.key)
    return request


def refuse_open_jobs(output: str, overwrite: bool) -> None:
    """Refuse what would pay again for what jobs of a results file are working on.

    Raises:
        ConfigError: There are such jobs.
    """
    count = len(JobLog(run_paths(output).jobs).open)
    if not count:
        return
    jobs = (
        "1 batch job of this output is" if count == 1 else f"{count} batch jobs of this output are"
    )
    ways = "--cancel ends them and keeps what they have finished, --forget-job gives one up"
    if overwrite:
        raise ConfigError(f"not overwritten: {jobs} open at the provider", ways)
    raise ConfigError(
        f"{jobs} open at the provider, and another engine would pay for the same answers again",
        f"collect them with --engine batch; {ways}",
    )


class JobLog:
    """The file of jobs, made with the first. The lock of the journal of calls covers it too.

    Attributes:
        open: Jobs that have been begun and not ended, by our id.

    Raises:
        OutputError: It cannot be read, or a newer version wrote it.
    """

    def __init__(self, path: Path, mode: int = PRIVATE) -> None:
        self.path = path
        self._real, self._mode = real_path(path), mode
        self.open: dict[str, Job] = {}
        #: Bytes of whole lines; what lies behind them was cut short by a crash.
        self._end = 0
        try:
            content = self._real.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"cannot read {path}: {error.strerror}") from error
        self._end = content.rfind(b"\n") + 1
        lines = content[: self._end].removeprefix(codecs.BOM_UTF8).splitlines()
        for number, line in enumerate(lines, 1):
            self._load(line, number)

    def intent(self, job: Job) -> None:
        """A job is about to be created."""
        entries = [msgspec.structs.asdict(entry) for entry in job.entries]
        self._append(
            event="intent", id=job.id, model=job.model, at=job.at, origin=job.origin,
            marker=job.marker, entries=entries,
        )  # fmt: skip
        self.open[job.id] = job

    def created(self, job: Job, job_id: str, guessed: bool = False) -> None:
        """The provider has it, by this id; or it may be another that only looks like it."""
        self._append(event="created", id=job.id, job=job_id, guessed=guessed)
        job.job, job.guessed = job_id, guessed

    def cancelling(self, job: Job) -> None:
        """Its end is about to be asked for, so it is nobody else's doing."""
        if not job.cancelling:
            self._append(event="cancelling", id=job.id)
            job.cancelling = True

    def mistaken(self, job: Job) -> None:
        """The provider's job that was taken for this one is another."""
        self._append(event="mistaken", id=job.id, job=job.job)
        job.others.append(job.job)
        job.job, job.guessed = "", False

    def ended(self, job: Job, status: str) -> None:
        """Nothing of it is left to collect."""
        self._append(event="ended", id=job.id, status=status)
        self.open.pop(job.id, None)

    def _append(self, **record: Any) -> None:
        """Write a line and force it to disk.

        Raises:
            OutputError: The disk is full or failing.
        """
        line = _encode({"schema": SCHEMA, **record}) + b"\n"
        try:
            with open_to_append(self._real, self._mode) as file:
                if file.seek(0, os.SEEK_END) < self._end:
                    raise OutputError(
                        f"{self.path} was changed by somebody else while the run was going on",
                        "put it back, then run the same command again",
                    )
                file.truncate(self._end)
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            if not self._end:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; the run stops here",
                "free some space and run the same command again",
            ) from error
        self._end += len(line)

    def _load(self, line: bytes, number: int) -> None:
        try:
            record = msgspec.json.decode(without_mark(line), type=dict[str, Any])
            if record.get("schema", 0) > SCHEMA:
                raise newer(f"{self.path}, line {number}")
            own, event = record.get("id"), record.get("event")
            if event == "intent":
                self.open[str(own)] = msgspec.convert(record, Job)
            elif (job := self.open.get(str(own))) is None:
                return
            elif event == "created":
                job.job, job.guessed = str(record["job"]), bool(record.get("guessed"))
            elif event == "mistaken":
                job.others.append(str(record["job"]))
                job.job, job.guessed = "", False
            elif event == "cancelling":
                job.cancelling = True
            elif event == "ended":
                del self.open[str(own)]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            # What it said may be a job that goes on: to pass it over could pay for it twice.
            raise OutputError(
                f"{self.path}, line {number} is damaged; it may tell of a batch at the provider",
                "see in the provider's list whether one goes on, then delete that line",
            ) from error


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file durable; not every system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class JobMoney:
    """Holds the worst case of requests in jobs that no item of this session has asked for yet."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held: dict[str, float] = {}

    def hold(self, entry: Entry) -> None:
        """Hold what a request in a job costs at most, or what is left if that is less.

        It is being spent already, so it comes before everything else.
        """
        amount, cap = entry.most or 0.0, self._budget.cap
        if cap is None or not amount:
            return
        if not self._budget.hold(_name(entry.key), amount):
            amount = max(0.0, cap - self._budget.spent - self._budget.held)
            self._budget.hold(_name(entry.key), amount)
        self._held[entry.key] = amount

    def of(self, key: str) -> float:
        """USD that are held for a request."""
        return self._held.get(key, 0.0)

    def give(self, key: str, item_id: str) -> None:
        """An item has asked for the request: the money is its own from now on."""
        if self._held.pop(key, None) is not None:
            self._budget.move(_name(key), item_id)

    def charge(self, key: str, cost: float) -> None:
        """The request was answered and no item asked for it."""
        self._budget.charge(_name(key), cost)
        self.release(key)

    def release(self, key: str) -> None:
        """The request costs nothing."""
        self._held.pop(key, None)
        self._budget.release(_name(key))


def _name(key: str) -> str:
    return f"\0{key}"  # no item is called so
