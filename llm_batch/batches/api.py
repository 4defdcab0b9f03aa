"""What a vendor's batch API is to the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from llm_batch.errors import ProviderError, Unavailable
from llm_batch.providers.base import Prepared

#: A line of a job: its custom id, and the body that would be sent live.
Line = tuple[str, bytes]

_TOKEN_LIMIT = re.compile(r"token_limit_exceeded|enqueued.{0,20}token", re.IGNORECASE)
_LIMIT = re.compile(r"limit(?: of|:)?\s*([\d,._ ]*\d)\s*([KM]\b)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1000, "M": 1_000_000}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one line: a reply in the vendor's own layout, or an error."""

    custom_id: str
    body: bytes = b""
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job stands.

    Attributes:
        name: The vendor's word for it.
        ended: Whether nothing more will happen and the outcomes can be read.
        settling: It says that it has ended, and its files are not there yet.
        may_have_none: Its files need not come, since it ended early.
        cancelled: It was cancelled, by whomever.
        total: Requests in it, as the vendor counts.
        completed: Requests answered.
        failed: Requests that failed.
        error: Why the whole job was turned down; ``None`` when it was not.
        has_answers: Some of a job that was turned down are there all the same.
        bad_lines: Lines the vendor turned down, from 0, with its words.
        raw: The vendor's own description, for `BatchApi.outcomes`.
    """

    name: str
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

        Args:
            own_id: The id we gave it.
            since: When its creation began, in seconds since 1970.
            marker: What `marker` returned then.
            size: Requests in it.
            others: Ids of jobs that it is not.
        """

    def poll(self, job_id: str) -> JobState:
        """How a job stands."""

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        """What became of the lines of a job that has ended; some may be missing."""

    def cancel(self, job_id: str) -> None:
        """Ask for an end; what is finished by then stays."""

    def close(self) -> None:
        """Give back connections."""


def is_token_limit(error: ProviderError) -> bool:
    """Whether a job was turned down because too many tokens wait in the vendor's queue."""
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


def id_of(value: Mapping[str, Any], name: str = "id") -> str:
    """The id in a reply.

    Raises:
        Unavailable: There is none.
    """
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise Unavailable(f"the batch API answered without {name!r}", kind="garbage")
    return found


def listed(page: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    """The jobs on a page of a list, under the first of some names that it has.

    Raises:
        Unavailable: It is no list. To take it for an empty one would start jobs anew.
    """
    jobs = next((page[name] for name in names if name in page), None)
    if not isinstance(jobs, list):
        raise Unavailable("the batch API answered without a list of batches", kind="garbage")
    return jobs


def outcomes_of(
    lines: Iterable[Any], outcome: Callable[[dict[str, Any]], Outcome]
) -> Iterator[Outcome]:
    """The outcomes of lines; one of a shape that no reference knows is passed over.

    Its request then has no outcome, and the answers beside it are kept.
    """
    for line in lines:
        try:
            yield outcome(line)
        except (ValueError, TypeError, AttributeError, LookupError):
            continue


def counted(values: Iterable[Any]) -> tuple[int, ...]:
    """Counts as integers, whatever the vendor writes for them (Google: text; missing: 0)."""
    return tuple(int(value) if str(value or "").isdecimal() else 0 for value in values)
