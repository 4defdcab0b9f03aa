"""What requests went through in jobs that brought them nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llm_batch.chain.credentials import without_echoes
from llm_batch.engines.batch.api import JobState, unfinished
from llm_batch.engines.batch.job_log import Entry, Job, stub_of
from llm_batch.engines.batch.vendors import Connection
from llm_batch.errors import ProviderError, Refused, Rejected, Unavailable, status_of
from llm_batch.models.prices import Tariff
from llm_batch.record.journal import Journal
from llm_batch.records import Attempt, Call, Completion, Failure, Message, Request, larger, writable

# Seconds: a job takes longer than that to be made.
_SAME_MOMENT = 0.002
_ANY = (Message("user", "."),)


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of one request of a job: exactly one of completion and error.

    Attributes:
        job: The job.
        entry: The request, as the job has it.
        seconds: From the creation of the job to its end, as seen here.
        completion: The answer.
        error: Why there is none.
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
    """Why a line has no outcome."""
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
    """The failed call of an outcome that is no answer and may have been billed."""
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


class Tries:
    """Keeps the attempts at requests that are tried again."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[Attempt]] = {}

    def note(self, failed: Collected) -> int:
        """Remember an outcome that is no answer; how many there were for its request."""
        error = failed.error
        assert error is not None  # answers are not tried again
        tries = self._attempts.setdefault(failed.entry.key, [])
        tries.append(
            Attempt(len(tries) + 1, failed.job.at, failed.seconds, error.kind, error.maybe_billed)
        )
        return len(tries)

    def forget(self, key: str) -> None:
        """The request is not tried again in this session."""
        self._attempts.pop(key, None)

    def before(self, call: Call) -> Call:
        """A call with the attempts that came before it."""
        tries = self._attempts.pop(call.request.key, [])
        if not tries:
            return call
        made = [replace(each, number=each.number + len(tries)) for each in call.attempts]
        return replace(call, attempts=(*tries, *made))
