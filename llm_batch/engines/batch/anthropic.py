"""Anthropic's message batches: https://docs.claude.com/en/api/creating-message-batches.

A batch carries no name of ours, so one whose creation was interrupted is recognised by the custom
ids in its results: it is taken for ours while it could be, and never submitted again meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from urllib.parse import quote

import msgspec

from llm_batch.chain.credentials import without_keys
from llm_batch.engines.batch import api
from llm_batch.engines.batch.api import Fields, JobState, Line, Outcome
from llm_batch.engines.batch.vendors import Vendor
from llm_batch.errors import Refused, Unavailable
from llm_batch.sending.providers import Prepared
from llm_batch.sending.providers.refusals import error_from_reply

_encode = msgspec.json.Encoder().encode
#: Where the state of a batch is; gateways call it as OpenAI does.
_STATE = ("processing_status", "status")
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")
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


class AnthropicBatches(Vendor):
    most_requests = 100_000
    most_bytes = 256_000_000
    names_jobs = False

    def __init__(self, like: Prepared) -> None:
        super().__init__(like)
        self._batches = f"{self._live}/batches"

    def marker(self) -> str:
        newest = api.listed(self._http.json("GET", self._path(self._batches, "limit=1")), "data")
        return newest[0].text("id") if newest else ""

    def upload(self, own_id: str, lines: Sequence[Line]) -> bytes:
        rows = [{"custom_id": name, "params": msgspec.Raw(body)} for name, body in lines]
        return _encode({"requests": rows})

    def create(self, own_id: str, uploaded: bytes) -> str:
        return api.id_of(self._http.json("POST", self._path(self._batches), uploaded))

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        def get(after: str) -> object:
            more = f"&after_id={quote(after)}" if after else ""
            return self._http.json("GET", self._path(self._batches, f"limit=100{more}"))

        def cursor(page: object) -> str | None:
            jobs, fields = api.listed(page, "data"), Fields(page)
            if not jobs or not fields.flag("has_more"):
                return None
            return fields.text("last_id") or jobs[-1].text("id")

        found = None
        for page in api.pages(get, cursor):
            for job in api.listed(page, "data"):
                made, job_id = job.time("created_at"), job.text("id")
                if (marker and job_id == marker) or (made is not None and made < since - _DAY):
                    return found  # those that follow are older
                counts = job.fields("request_counts")
                known = not job_id or job.all.get("archived_at") or job_id in others
                # One that has counted none yet may be it: its results will tell.
                if not known and sum(map(counts.count, _COUNTS)) in (0, size):
                    found = job_id
        return found

    def poll(self, job_id: str) -> JobState:
        job = api.object_of(self._http.json("GET", self._path(self._job(job_id))), *_STATE)
        word, counts = job.text(*_STATE), job.fields("request_counts")
        waiting, succeeded, errored, cancelled, expired = map(counts.count, _COUNTS)
        phase = api.phase_of(word)
        over, has_results = phase in ("done", "cancelled", "expired"), bool(job.text("results_url"))
        if over and not has_results and (archived := job.text("archived_at")):
            said = f"batch {job_id} was archived on {archived[:10]}, and its answers with it"
            raise Refused(without_keys(said), kind="batch_failed", status_code=410)
        error = None
        if phase == "failed":
            error = api.refusal_of(job_id, job.words("error", "errors", "message"), "")
        return JobState(
            word,
            phase,
            ended=error is not None or (over and has_results),
            settling=over and not has_results,
            may_have_none=True,  # where they are is known all the same
            cancelled=phase == "cancelled" or bool(job.text("cancel_initiated_at")),
            total=waiting + succeeded + errored + cancelled + expired,
            completed=succeeded,
            failed=errored + cancelled + expired,
            error=error,
            has_answers=has_results,
            raw=job_id,
        )

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        # Its address is made here: a key goes to no address that a reply names.
        lines = self._http.lines(self._path(f"{self._job(state.raw)}/results"))
        yield from api.outcomes_of(lines, _outcome)

    def _cancelling(self, job_id: str) -> tuple[str, bytes]:
        return f"{self._job(job_id)}/cancel", b""

    def _job(self, job_id: str) -> str:
        return f"{self._batches}/{quote(job_id)}"


def _outcome(line: Fields) -> Outcome:
    custom_id, result = line.text("custom_id"), line.fields("result")
    kind = api.phase_of(result.text("type"))
    if kind == "done":
        return Outcome(custom_id, api.body_of(result.all.get("message")))
    if kind == "failed":
        error = result.all.get("error")
        inner = result.fields("error")
        inner = inner.fields("error") if inner.fields("error").all else inner
        if not inner.text("type"):
            return Outcome(custom_id, *api.error_in_line(error))
        body = _encode(error)
        status = _STATUS.get(inner.text("type"), 500)
        told = error_from_reply(status, body, {})
        told.maybe_billed = False  # no error of a line is, whatever its status
        return Outcome(custom_id, body, told)
    if kind == "cancelled":
        told = api.unfinished("batch_cancelled", "the batch was cancelled before it")
        return Outcome(custom_id, error=told)
    if kind == "expired":
        told = api.unfinished("batch_expired", "the batch expired before it")
        return Outcome(custom_id, error=told)
    said = f"an outcome of kind {without_keys(result.text('type'), 40)!r}"
    return Outcome(custom_id, error=Unavailable(said, kind="garbage"))
