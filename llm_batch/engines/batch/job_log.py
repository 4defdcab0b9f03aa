"""Jobs as they are written down, and what became of their requests.

A line of JSON for every turn of a job's life, forced to disk before the next thing is done::

    {"schema": 1, "event": "intent", "id": "llmb-3f9c…", "model": "openai/gpt-4o-mini",
     "at": 1795470050.1, "origin": "https://api.openai.com", "marker": "",
     "entries": [{"key": "9f…", "item": "geo-001", "step": "generate", "sample": 0, "most": 0.0003,
     "tokens": 41}, …]}
    {"schema": 1, "event": "created", "id": "llmb-3f9c…", "job": "batch_abc", "guessed": false}
    {"schema": 1, "event": "cancelling", "id": "llmb-3f9c…"}
    {"schema": 1, "event": "ended", "id": "llmb-3f9c…", "status": "collected"}

One that was turned away for the provider's limit of tokens has the ``limit`` that this taught.

The intent is written before the provider is asked to create the job, so that one whose creation
was interrupted is looked for there. ``ended`` is written when every answer of the job is in the
journal of calls. No key and no prompt is in this file.
"""

from __future__ import annotations

import codecs
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.chain.config import Config
from llm_batch.chain.credentials import without_echoes
from llm_batch.engines.batch.api import JobState, unfinished
from llm_batch.engines.batch.vendors import Connection
from llm_batch.errors import (
    ConfigError,
    OutputError,
    ProviderError,
    Refused,
    Rejected,
    Unavailable,
    status_of,
)
from llm_batch.models.prices import Tariff
from llm_batch.paper import words
from llm_batch.record.files import (
    FREE_SPACE,
    PRIVATE,
    Writing,
    make_own,
    open_to_append,
    real_path,
    run_paths,
)
from llm_batch.record.journal import Journal
from llm_batch.record.lines import SCHEMA, newer
from llm_batch.records import (
    Attempt,
    Call,
    Completion,
    Failure,
    Message,
    Request,
    larger,
    without_mark,
    writable,
)

_encode = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One request of a job, by its key.

    Attributes:
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
        return f"{self.id}-{position}"

    def entry(self, custom_id: str) -> Entry | None:
        """The entry that is called so; ``None`` when it is none of this job."""
        own, _, position = custom_id.rpartition("-")
        if own != self.id or not position.isdecimal() or len(position) > 9:
            return None
        return self.entries[int(position)] if int(position) < len(self.entries) else None


def count_of(job: Job) -> str:
    """What is in a job, in words."""
    steps = list(dict.fromkeys(repr(entry.step) for entry in job.entries))
    named = f"step{'s' if len(steps) > 1 else ''} {' and '.join(steps)}"
    return f"{words.counted(len(job.entries), 'request')} of {job.model}, {named}"


def waited_for(jobs: Sequence[tuple[Job, int | None]], now: float) -> str:
    """Open jobs in words: what is in them, how many of it are done where known, how old they are.

    ``now`` is in seconds since 1970-01-01 UTC.
    """
    said = []
    for job, done in jobs[:3]:
        counts = count_of(job) if done is None else f"{count_of(job)}, {done:,} done"
        age = words.duration(max(1.0, now - job.at))
        said.append(f"{job.job or job.id} ({counts}, begun {age} ago)")
    more = len(jobs) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")


def stub_of(entry: Entry, model: str) -> Request:
    """A request that has the key of an entry and not its text, for the journal of calls."""
    request = Request(entry.item, entry.step, model, (), {}, entry.sample)
    request.set_key(entry.key)
    return request


def refuse_open_jobs(output: str, overwrite: bool) -> None:
    """Refuse, with `ConfigError`, to pay again for what jobs of a results file are working on."""
    count = len(JobLog(run_paths(output).jobs).open)
    if not count:
        return
    jobs = words.counted(count, "batch job of this output is", "batch jobs of this output are")
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
        over: Those that have ended and how, in their order, where ``keep`` asks for them.
        limits: By model, the limit of tokens in the queue that was learned last.

    Raises:
        OutputError: It cannot be read, or a newer version wrote it.
    """

    def __init__(self, path: Path, mode: int = PRIVATE, *, keep: bool = False) -> None:
        self.path = path
        self._real, self._mode = real_path(path), mode
        self._keep = keep
        self.open: dict[str, Job] = {}
        self.over: list[tuple[Job, str]] = []
        self.limits: dict[str, int] = {}
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

    def ended(self, job: Job, status: str, limit: int | None = None) -> None:
        """It is over; with the limit of tokens in the queue where it taught one."""
        learned = {} if limit is None else {"limit": limit}
        self._append(event="ended", id=job.id, status=status, **learned)
        self.open.pop(job.id, None)

    def _append(self, **record: Any) -> None:
        line = _encode({"schema": SCHEMA, **record}) + b"\n"
        with Writing(self.path, "; the run stops here", FREE_SPACE):
            make_own(self._real)
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
                if self._keep:
                    self.over.append((job, str(record.get("status", ""))))
                if isinstance(limit := record.get("limit"), int) and limit > 0:
                    self.limits[job.model] = limit
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


def forget_job(config: Config, own_id: str) -> int:
    """Give a job up, by our id or the provider's; how many requests may be made again."""
    paths = run_paths(config.run.output)
    if paths.jobs.exists():
        with closing(Journal(paths.journal)):  # nobody else may be writing it
            log = JobLog(paths.jobs)
            for job in log.open.values():
                if own_id in (job.id, job.job):
                    log.ended(job, "given up")
                    return len(job.entries)
            known = ", ".join(job.job or job.id for job in log.open.values())
    else:
        known = ""
    raise ConfigError(
        f"this output has no open batch job {own_id!r}",
        f"those that are open: {known}" if known else "none is open",
    )


# Seconds: a job takes longer than that to be made.
_SAME_MOMENT = 0.002
_ANY = (Message("user", "."),)


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of one request of a job: exactly one of completion and error.

    Attributes:
        seconds: From the creation of the job to its end, as seen here.
        body: What the provider sent.
    """

    job: Job
    entry: Entry
    seconds: float
    completion: Completion | None = None
    error: ProviderError | None = None
    body: bytes = b""


def collected(
    job: Job,
    state: JobState,
    connection: Connection,
    params: Callable[[str], Mapping[str, Any]],
    now: float,
) -> list[Collected] | None:
    """What became of every request of a job; ``None`` when it is the job of somebody else.

    Only a job without a name of ours can be that: one that bears our id is ours.

    What a reply means may depend on the parameters of its step's requests, ``params``; ``now`` is
    in seconds since 1970-01-01 UTC.

    Raises:
        ProviderError: The outcomes cannot be read.
        Refused: They do not say which request they answer.
    """
    seconds = max(0.0, now - job.at)
    found: dict[str, Collected] = {}
    strangers = 0
    turned_down = state.error is not None and not state.has_answers
    for outcome in () if turned_down else connection.api.outcomes(state):
        entry = job.entry(outcome.custom_id)
        if entry is None:
            strangers += 1
            continue
        if outcome.error is not None:
            # An answer wins over an error of the same line, wherever it stands.
            failed = Collected(job, entry, seconds, None, outcome.error, outcome.body)
            found.setdefault(entry.key, failed)
            continue
        # Its text does not matter for reading the reply.
        about = Request(entry.item, entry.step, job.model, _ANY, params(entry.step), entry.sample)
        try:
            completion = connection.wire.read(about, outcome.body)
        except ProviderError as unread:
            found.setdefault(entry.key, Collected(job, entry, seconds, None, unread, outcome.body))
            continue
        found[entry.key] = Collected(job, entry, seconds, completion, None, outcome.body)
    if strangers and not found:
        if not connection.api.names_jobs:
            return None
        raise Refused(
            f"what batch {job.job} answered does not carry the ids of its requests",
            kind="garbage",
            hint=f"look at it in the provider's console; --forget-job {job.id} gives it up",
        )
    for position, entry in enumerate(job.entries):
        if entry.key not in found:
            error = _missing(position, state)
            found[entry.key] = Collected(job, entry, seconds, error=error)
    return list(found.values())


def spared(found: list[Collected], proven: bool, resumed: bool) -> list[Collected]:
    """What became of the requests of a job, where a refusal of one is no refusal of the run.

    A job is taken with the same key and model as its lines. So a line that is refused beside one
    that was answered fails alone, whatever its status; only what is said of every line is said of
    the key, the model or the config. A quota that is used up is one however much was answered.

    ``proven`` is a model that has answered before, and ``resumed`` a run of which an earlier
    session was answered: a 403 is no news of the key then, as in `llm_batch.sending.client`.
    """
    kinds = {each.error.kind for each in found if isinstance(each.error, Refused)}
    refused = sum(isinstance(each.error, Refused) for each in found)
    alone = proven or refused < len(found) or len(kinds) > 1
    return [
        replace(each, error=_of_the_line(each.error))
        if isinstance(each.error, Refused)
        and each.error.kind != "quota"
        and (alone or (resumed and each.error.status_code == 403))
        else each
        for each in found
    ]


def _of_the_line(error: Refused) -> Rejected:
    kind = status_of(error.kind).alone
    alone = Rejected(error.message, kind=kind, status_code=error.status_code)
    alone.words = error.words
    return alone


def _missing(position: int, state: JobState) -> ProviderError:
    if position in state.bad_lines:
        return Rejected(state.bad_lines[position])
    if isinstance(state.error, Rejected) and not (state.bad_lines or state.has_answers):
        return state.error
    if state.error is not None:
        return unfinished("batch_failed", state.error.message)
    if state.cancelled:
        return unfinished("batch_cancelled", "the batch was cancelled before it")
    if state.phase == "expired":
        return unfinished("batch_expired", "the batch expired before it")
    return Unavailable(f"the batch ended ({state.name}) without an outcome for it", kind="missing")


def is_collected(journal: Journal, entry: Entry, job: Job) -> bool:
    """Whether the answer that a job gave to an entry is in the journal of calls.

    Another answer to the same request may be there: ``--retry-failed`` asks anew.
    """
    call = journal.answered(stub_of(entry, job.model))
    return call is not None and any(
        abs(attempt.started_at - job.at) < _SAME_MOMENT for attempt in call.attempts
    )


def lost_cost(found: Collected, tariff: Tariff | None) -> tuple[float | None, bool]:
    """What an outcome that is no answer and may have been billed costs, and whether at its worst.

    USD; ``None`` where nobody can tell.
    """
    partial = found.error.partial if found.error is not None else None
    usage = partial.usage if partial is not None else None
    ours: float | None = None
    if tariff is not None:
        ours = (found.entry.most or 0.0) if usage is None else tariff.cost(usage, batch=True)
    return larger(ours, partial.reported_cost if partial is not None else None), usage is None


def lost_call(found: Collected, request: Request, tariff: Tariff | None) -> Call:
    error = found.error
    assert error is not None  # or it would be an answer
    cost, at_worst = lost_cost(found, tariff)
    attempt = Attempt(1, found.job.at, found.seconds, error.kind, maybe_billed=True)
    return Call(
        request,
        (attempt,),
        failure=Failure(error.kind, error.message, error.status_code),
        cost=cost,
        worst_case=at_worst,
    )


def call_of(found: Collected, request: Request, tariff: Tariff | None) -> Call:
    """The call that an answer makes, at the price of the batch API."""
    completion = found.completion
    assert completion is not None  # errors do not come here
    usage = completion.usage
    ours: float | None = None
    if tariff is not None:
        ours = found.entry.most if usage is None else tariff.cost(usage, batch=True)
    reported = completion.reported_cost
    if (text := writable(completion.text)) is not completion.text:
        completion = replace(completion, text=text)
    completion = without_echoes(completion)
    attempt = Attempt(1, found.job.at, found.seconds)
    return Call(
        request,
        (attempt,),
        completion=completion,
        cost=larger(ours, reported),
        worst_case=usage is None,
        list_cost=None if reported is None else ours,
    )
