"""What a vendor's batch API is to the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec

from llm_batch.chain.credentials import without_keys
from llm_batch.errors import ProviderError, Refused, Rejected, Transient, Unavailable
from llm_batch.records import writable
from llm_batch.sending.providers import Prepared
from llm_batch.sending.providers.refusals import error_from_reply

_encode = msgspec.json.Encoder().encode
#: A line of a job: its custom id, and the body that would be sent live.
Line = tuple[str, bytes]
_TOKEN_LIMIT = re.compile(r"token_limit_exceeded|enqueued.{0,20}token", re.IGNORECASE)
_LIMIT = re.compile(
    r"limit(?: of|:)?\s{0,9}(\d(?:[\d,._ ]{0,20}\d)?)\s{0,9}([KM]\b)?", re.IGNORECASE
)
_UNITS = {"": 1, "K": 1000, "M": 1_000_000}


@dataclass(frozen=True, slots=True)
class Outcome:
    custom_id: str
    body: bytes = b""
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job stands; counts are the vendor's.

    Attributes:
        name: The vendor's word for it.
        phase: What that word means; see `phase_of`.
        ended: Nothing more will happen and the outcomes can be read.
        settling: It says that it has ended, and its files are not there yet.
        may_have_none: Its files need not come, since it ended early.
        error: Why the whole job was turned down; ``None`` when it was not.
        has_answers: Some of a job that was turned down are there all the same.
        bad_lines: Lines the vendor turned down, from 0, with its words.
        raw: What `BatchApi.outcomes` needs of the vendor's own description.
    """

    name: str
    phase: str = "going"
    ended: bool = False
    settling: bool = False
    may_have_none: bool = False
    cancelled: bool = False
    total: int = 0
    completed: int = 0
    failed: int = 0
    error: ProviderError | None = None
    has_answers: bool = False
    bad_lines: Mapping[int, str] = field(default_factory=dict)
    raw: Any = None


class BatchApi(Protocol):
    """One vendor's batch API for one model.

    Every method raises `ProviderError` for anything the vendor does.

    Attributes:
        most_requests: That one job may have.
        most_bytes: That its requests may have together.
        names_jobs: Whether a job carries our own id, so that `find` is certain.
    """

    most_requests: int
    most_bytes: int
    names_jobs: bool

    def resemble(self, like: Prepared) -> None:
        """Send the headers of this live request from now on; they may depend on its step."""

    def marker(self) -> str:
        """What is remembered before a job is created so that it can be found; may be empty."""

    def upload(self, own_id: str, lines: Sequence[Line]) -> Any:
        """Bring the requests there, as far as that can be repeated without cost."""

    def is_ready(self, uploaded: Any) -> bool:
        """Whether a job can be made of what was brought there."""

    def create(self, own_id: str, uploaded: Any) -> str:
        """Start the job, and return the vendor's id of it. Costs money: never to be repeated.

        After `RateLimited` nothing was started: too much waits in the vendor's queue.
        """

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        """The id of a job whose creation was begun, if the vendor has it.

        Its creation began at ``since``, in seconds since 1970, and `marker` returned ``marker``
        then; it has ``size`` requests, and is none of ``others``.
        """

    def poll(self, job_id: str) -> JobState: ...

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        """What became of the lines of a job that has ended; some may be missing."""

    def cancel(self, job_id: str) -> None:
        """Ask for an end; what is finished by then stays."""

    def close(self) -> None: ...


def is_token_limit(error: ProviderError) -> bool:
    return bool(_TOKEN_LIMIT.search(error.message) or error.kind == "token_limit")


def stated_limit(error: ProviderError) -> int | None:
    """The limit of tokens in the queue that an error names (OpenAI: 90,000; Azure: 30K)."""
    found = _LIMIT.search(error.message) if is_token_limit(error) else None
    if found is None:
        return None
    unit = _UNITS[(found[2] or "").upper()]
    # Behind a unit a point is a decimal point: 2.5M.
    return (
        int(float(found[1]) * unit)
        if unit > 1 and re.fullmatch(r"[\d.]+", found[1])
        else (int(re.sub(r"\D", "", found[1])) * unit)
    )


def unfinished(kind: str, message: str) -> Unavailable:
    """The outcome of a line that was not worked on, and is not billed."""
    return Unavailable(message, kind=kind)


class Fields:
    """An object of a vendor's, of whose fields nothing is taken for granted.

    A field of another type than the one that is asked for counts as missing. Vendors, and the
    gateways before them, send text for numbers, null for objects and lists of anything. What was
    decoded to anything but an object has no fields.
    """

    def __init__(self, value: object) -> None:
        self.all: dict[str, Any] = value if isinstance(value, dict) else {}

    def text(self, *names: str) -> str:
        """The first of some fields that is text, or a number written as such; or nothing."""
        for name in names:
            value = self.all.get(name)
            if isinstance(value, str) and value.strip():
                return value.strip()
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
        return ""

    def id(self, name: str) -> str:
        """The id in a field, which some wrap into an object."""
        return self.text(name) or Fields(self.all.get(name)).text("id", "name")

    def fields(self, name: str) -> Fields:
        return Fields(self.all.get(name))

    def rows(self, name: str) -> list[Any]:
        value = self.all.get(name)
        return value if isinstance(value, list) else []

    def flag(self, name: str) -> bool:
        return str(self.all.get(name)).lower() in ("true", "1")

    def count(self, name: str) -> int:
        """A count, which Google writes as text; 0 where there is none."""
        value = self.all.get(name)
        if isinstance(value, bool):
            return 0
        if isinstance(value, str) and value.isdecimal() and len(value) < 16:
            return int(value)
        if isinstance(value, int | float) and 0 <= value < 1e15:
            return int(value)
        return 0

    def time(self, name: str) -> float | None:
        """A moment in seconds since 1970, from a number or an ISO date with its zone."""
        value = self.all.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        try:
            moment = datetime.fromisoformat(str(value))
            return moment.timestamp() if moment.tzinfo is not None else None
        except (ValueError, OverflowError):
            return None

    def words(self, *names: str) -> str:
        """What the first of some fields says that says anything, without keys."""
        said = (words_of(self.all.get(name)) for name in names)
        return without_keys(next(filter(None, said), ""))


#: Where the words are in an object that says what went wrong.
_WORDS = ("message", "detail", "details", "msg", "reason", "error", "errors", "data", "code")


def words_of(value: object, depth: int = 4) -> str:
    """What a vendor says in a field, be it text, an object or a list of either."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and depth:
        return "; ".join(filter(None, (words_of(each, depth - 1) for each in value[:3])))
    if isinstance(value, dict) and depth:
        said = (words_of(value.get(name), depth - 1) for name in _WORDS)
        return next(filter(None, said), "")
    return str(value) if isinstance(value, int) and value and value is not True else ""


#: What a vendor's word for the state of a job means, once it is written alike. Of OpenAI, Azure,
#: Anthropic, Gemini and Vertex AI, Mistral, Together, and of gateways that speak for them.
_PHASES = {
    word: phase
    for phase, words in {
        "going": "validating validated created submitted scheduled queued pending not_started "
        "notstarted started starting running processing in_progress inprogress active finalizing "
        "finalising updating cancelling canceling cancellation_requested cancel_requested",
        "done": "completed complete done ended finished succeeded success successful "
        "partially_succeeded partially_completed completed_with_errors",
        "cancelled": "cancelled canceled aborted",
        "expired": "expired timeout timed_out timeout_exceeded",
        "failed": "failed failure error errored rejected invalid",
    }.items()
    for word in words.split()
}


def phase_of(word: str) -> str:
    """``going``, ``done``, ``cancelled``, ``expired`` or ``failed``; empty for an unknown word."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]", "_", word.strip()[:100])
    return _PHASES.get(re.sub(r"^(batch|job)_(state|status)_", "", snake.lower()), "")


#: What gateways put around an object; no vendor has fields of these names in a job.
_WRAPPERS = ("job", "batch", "data", "result")


def object_of(value: object, *marks: str) -> Fields:
    """The object that has any of some fields, also from within a wrapper or a list of one.

    `Unavailable` where there is none.
    """
    found: Fields | None = None
    for _ in range(4):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        fields = Fields(value)
        if any(fields.all.get(mark) not in (None, "") for mark in marks):
            found = fields  # and what is within it comes first: an envelope has a status too
        inside = (fields.all.get(name) for name in _WRAPPERS)
        value = next((each for each in inside if isinstance(each, dict | list)), None)
        if found is None:
            said = fields.words("error", "message", "detail")
    if found is None:
        raise Unavailable(
            "the batch API answered without a batch" + (f": {said}" if said else ""), kind="garbage"
        )
    return found


def id_of(value: object, name: str = "id") -> str:
    """The id in a reply; `Unavailable` without one."""
    found = object_of(value, name).id(name)
    if not found:
        raise Unavailable(f"the batch API answered without {name!r}", kind="garbage")
    return found


def listed(page: object, *names: str) -> list[Fields]:
    """The jobs on a page of a list, under the first of some names that it has.

    `Unavailable` for what is no list: to take it for an empty one would start jobs anew.
    """
    for _ in range(3):
        if isinstance(page, list):
            jobs = [Fields(each) for each in page if isinstance(each, dict)]
            if jobs or not page:
                return jobs
            break
        fields = Fields(page)
        named = [name for name in names if name in fields.all]
        if named and fields.all[named[0]] is None and "has_more" in fields.all:
            return []  # an empty list in the JSON of Go
        page = next((fields.all[name] for name in named), None)
    raise Unavailable("the batch API answered without a list of batches", kind="garbage")


class EndlessList(Unavailable):
    """A list of jobs whose pages never end: what is not on them may be there all the same."""


#: Of 100 jobs each.
_MOST_PAGES = 1000


def pages(get: Callable[[str], object], cursor: Callable[[object], str | None]) -> Iterator[object]:
    """The pages of a list, one cursor after the other; the first has none, the last names none.

    Raises:
        EndlessList: A page that is not the last names no cursor or one that was there, or there is
            no end of them.
    """
    after, seen = "", {""}
    for _ in range(_MOST_PAGES):
        page = get(after)
        yield page
        named = cursor(page)
        if named is None:
            return
        if named in seen:
            break
        seen.add(after := named)
    raise EndlessList("the list of batches has no end", kind="garbage")


def outcomes_of(lines: Iterable[Any], outcome: Callable[[Fields], Outcome]) -> Iterator[Outcome]:
    """The outcomes of lines, of which each that cannot be written down again is passed over.

    Its request then has no outcome, and the answers beside it are kept.
    """
    for line in lines:
        try:
            yield outcome(line if isinstance(line, Fields) else Fields(line))
        except (ValueError, RecursionError):  # nested beyond what can be encoded
            continue


def body_of(value: object) -> bytes:
    """A body within a line; some have it as JSON in a text."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        return writable(value).encode()
    return _encode(value)


_IN_PASSING = re.compile(r"server.?error|internal|unavailable|overloaded", re.IGNORECASE)
_FOR_GOOD = re.compile(r"400|bad.?request|invalid", re.IGNORECASE)


def error_in_line(error: object) -> tuple[bytes, ProviderError]:
    """An error of a line that comes without a status: its body, and what its words make of it.

    Where they make nothing of it, it is one in passing.
    """
    fields, body = Fields(error), _encode({"error": error})
    said = without_keys(words_of(error)) or "it was not worked on"
    told = error_from_reply(400, body, {})
    code = fields.text("code", "type", "status")
    if told.kind != Rejected.kind or _FOR_GOOD.search(code):
        return body, told
    passing = Unavailable(said, kind="failed")
    passing.words = told.words
    return body, passing


def refusal_of(job_id: str, message: str, code: str, status: int = 400) -> ProviderError:
    """Why a whole job failed: in passing, for its requests, or for whoever asks.

    The vendor's words, which are without keys, and its code may be empty.
    """
    if found := re.fullmatch(r"[45]\d\d", code):
        status = int(found[0])
    elif _IN_PASSING.search(code):
        status = 500
    body = _encode({"error": {"message": message, "code": code}})
    told = error_from_reply(status, body, {})
    said = f"batch {job_id} failed: {message or 'no reason was given'}"
    if code and code not in said:
        said += f" ({code})"
    if is_token_limit(told) or _TOKEN_LIMIT.search(code):
        return Unavailable(said, kind="token_limit")
    if isinstance(told, Transient):
        return Unavailable(said, kind="batch_failed", status_code=status)
    if isinstance(told, Refused):
        return Refused(said, kind="batch_failed", hint=told.hint)
    hint = "correct what it names in the config or the data; see the job in the provider's console"
    return Rejected(said, hint=hint)


_SIZE_LIMIT = re.compile(
    r"too[ _](many[ _](requests|lines|tasks)|large)|payload.{0,20}large"
    r"|(file|batch|body|requests?|lines)\b.{0,60}\b(exceeds?|more than|larger than|limit of)\b",
    re.IGNORECASE,
)


def is_size_limit(error: ProviderError) -> bool:
    """Whether a job was turned down since it has more requests or bytes than one may have."""
    if not isinstance(error, Rejected):
        return False
    return error.status_code == 413 or bool(_SIZE_LIMIT.search(error.message))


# 30 s grow to 5 minutes: a job takes minutes to hours.
GROWTH = 1.5
LONGEST = 10.0
# Our count of tokens is not the provider's: what is near the limit may be above it.
_SMALLER = 0.8
# Of a refusal that names no limit.
_HALF = 0.5
# What was learned may be too little: it grows with every job that ends.
_LARGER = 1.25


class TokenQueue:
    """A limit that is known, or learned when it is met.

    Attributes:
        limit: Tokens; ``None`` while nobody knows.
        most_requests: That a job may have, where a larger one was turned down for its size.
        blocked_until: Nothing is submitted before, in seconds of the clock.
        refused_alone: Jobs in a row that were turned away while no other of ours was waiting.
    """

    def __init__(self, limit: int | None, poll: float, learned: int | None = None) -> None:
        self._configured = limit
        self._most = limit  # the limit never grows above it
        self.limit = min(filter(None, (limit, learned)), default=None)
        self.most_requests: int | None = None
        self.blocked_until = float("-inf")
        self.refused_alone = 0
        self._poll = self._wait = poll

    def room(self, waiting: int) -> int | None:
        return None if self.limit is None else max(0, self.limit - waiting)

    def turned_away(self, error: ProviderError, own: int, waiting: int, now: float) -> None:
        """A job of ``own`` tokens was refused, as so many of our other jobs are waiting."""
        total = own + waiting
        stated = stated_limit(error)
        if stated is not None:
            stated = self._most = min(stated, self._configured or stated)
        most = stated or total
        smaller = max(1, int(total * (_HALF if stated is None else _SMALLER)))
        # Below half of the limit it is other people's jobs that fill the queue.
        self.limit = min(most, smaller) if total > most / 2 else most
        self.refused_alone = 0 if waiting else self.refused_alone + 1
        self.put_off(now)

    def split(self, requests: int) -> None:
        """A job of so many was turned down for its size: the next have half of it."""
        self.most_requests = requests // 2 if requests > 1 else None

    def put_off(self, now: float) -> None:
        """Nothing can be submitted now; the next try comes later each time."""
        self.blocked_until = now + self._wait
        self._wait = min(LONGEST * self._poll, GROWTH * self._wait)

    def worked_off(self) -> None:
        self.blocked_until = float("-inf")
        self.refused_alone = 0
        self._wait = self._poll
        if self.limit is not None:
            larger = int(self.limit * _LARGER) + 1
            self.limit = larger if self._most is None else min(self._most, larger)
