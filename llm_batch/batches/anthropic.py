"""Anthropic's message batches: https://docs.claude.com/en/api/creating-message-batches.

A batch carries no name of ours, so one whose creation was interrupted is recognised by the custom
ids in its results: it is taken for ours while it could be, and never submitted again meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from llm_batch.batches.api import (
    JobState,
    Line,
    Outcome,
    counted,
    id_of,
    listed,
    outcomes_of,
    unfinished,
)
from llm_batch.batches.http import Http, is_over
from llm_batch.errors import ProviderError, Unavailable
from llm_batch.providers.base import Prepared
from llm_batch.providers.refusals import error_from_reply

_encode = msgspec.json.Encoder().encode
#: More than any clock is wrong, in seconds.
_DAY = 86_400.0
_STATUS = {
    "invalid_request_error": 400,
    "invalid_request": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicBatches:
    """Message batches of an Anthropic workspace.

    Args:
        like: A live request of the model.
    """

    most_requests = 100_000
    most_bytes = 256_000_000
    names_jobs = False

    def __init__(self, like: Prepared) -> None:
        self._http = Http(like)
        self._path = urlsplit(like.url).path + "/batches"

    def resemble(self, like: Prepared) -> None:
        self._http.resemble(like)

    def marker(self) -> str:
        page = self._http.json("GET", f"{self._path}?limit=1")
        newest = page.get("data") or []
        return str(newest[0]["id"]) if newest else ""

    def upload(self, own_id: str, lines: Sequence[Line]) -> bytes:
        """There is nothing to bring ahead: the requests go with the creation."""
        rows = [{"custom_id": name, "params": msgspec.Raw(body)} for name, body in lines]
        return _encode({"requests": rows})

    def is_ready(self, uploaded: bytes) -> bool:
        return True

    def create(self, own_id: str, uploaded: bytes) -> str:
        return id_of(self._http.json("POST", self._path, uploaded))

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        after, found = "", None
        while True:
            more = f"&after_id={quote(after)}" if after else ""
            page = self._http.json("GET", f"{self._path}?limit=100{more}")
            jobs = listed(page, "data")
            for job in jobs:
                if job.get("id") == marker or _is_before(job, since - _DAY):
                    return found  # those that follow are older
                counts = counted((job.get("request_counts") or {}).values())
                known = job.get("archived_at") or job.get("id") in others
                if sum(counts) == size and not known:
                    found = str(job["id"])
            if not jobs or not page.get("has_more"):
                return found
            after = str(page.get("last_id") or jobs[-1]["id"])

    def poll(self, job_id: str) -> JobState:
        job = self._http.json("GET", f"{self._path}/{quote(job_id)}")
        status = str(job.get("processing_status"))
        counts = job.get("request_counts") or {}
        names = ("processing", "succeeded", "errored", "canceled", "expired")
        waiting, succeeded, errored, cancelled, expired = counted(map(counts.get, names))
        has_results = bool(job.get("results_url"))
        return JobState(
            status,
            ended=status == "ended" and has_results,
            settling=status == "ended" and not has_results,
            may_have_none=not succeeded,
            cancelled=bool(job.get("cancel_initiated_at")),
            total=waiting + succeeded + errored + cancelled + expired,
            completed=succeeded,
            failed=errored + cancelled + expired,
            raw=job,
        )

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        # Its address is made here: a key goes to no address that a reply names.
        path = f"{self._path}/{quote(state.raw['id'])}/results"
        yield from outcomes_of(self._http.lines(path), _outcome)

    def cancel(self, job_id: str) -> None:
        try:
            self._http.json("POST", f"{self._path}/{quote(job_id)}/cancel", b"")
        except ProviderError as error:
            if not is_over(error):
                raise

    def close(self) -> None:
        self._http.close()


def _is_before(job: dict[str, Any], at: float) -> bool:
    """Whether a job was created before a time, in seconds since 1970, as far as it says."""
    try:
        created = datetime.fromisoformat(str(job.get("created_at")))
    except ValueError:
        return False
    return created.tzinfo is not None and created.timestamp() < at


def _outcome(line: dict[str, Any]) -> Outcome:
    custom_id, result = str(line.get("custom_id")), line.get("result") or {}
    kind = str(result.get("type"))
    if kind == "succeeded":
        return Outcome(custom_id, _encode(result.get("message")))
    if kind == "errored":
        body = _encode(result.get("error"))
        inner = result.get("error") or {}
        inner = inner.get("error") or inner
        status = _STATUS.get(str(inner.get("type")), 500)
        return Outcome(custom_id, body, error_from_reply(status, body, {}))
    if kind == "canceled":
        error = unfinished("batch_cancelled", "the batch was cancelled before it")
        return Outcome(custom_id, error=error)
    if kind == "expired":
        error = unfinished("batch_expired", "the batch expired before it")
        return Outcome(custom_id, error=error)
    return Outcome(custom_id, error=Unavailable(f"an outcome of kind {kind}", kind="garbage"))
