"""Gemini's batch mode: https://ai.google.dev/api/batch-api. Requests go inline, up to 20 MB a job.

Of a job that is cancelled or expires, Google returns nothing. Answers may come in another order,
whatever the reference says (https://github.com/googleapis/python-genai/issues/1909), so one without
a key is nobody's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from llm_batch.engines.batch import api
from llm_batch.engines.batch.api import Fields, JobState, Line, Outcome
from llm_batch.engines.batch.vendors import Vendor, ours
from llm_batch.sending.providers import Prepared
from llm_batch.sending.providers.refusals import error_from_reply

_encode = msgspec.json.Encoder().encode
#: Where a job may have its name for display.
_ABOUT = ("metadata", "displayName")
#: HTTP statuses of gRPC's codes (google/rpc/code.proto).
_STATUS = {
    1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501,
    13: 500, 14: 503, 16: 401,
}  # fmt: skip


class GeminiBatches(Vendor):
    most_requests = 50_000
    most_bytes = 19_000_000

    def __init__(self, like: Prepared) -> None:
        super().__init__(like)
        self._model = self._live.rpartition(":")[0]
        self._base = self._model.rpartition("/models/")[0]

    def upload(self, own_id: str, lines: Sequence[Line]) -> bytes:
        rows = [{"request": msgspec.Raw(body), "metadata": {"key": name}} for name, body in lines]
        batch = {"displayName": own_id, "inputConfig": {"requests": {"requests": rows}}}
        return _encode({"batch": batch})

    def create(self, own_id: str, uploaded: bytes) -> str:
        path = self._path(f"{self._model}:batchGenerateContent")
        return api.id_of(self._http.json("POST", path, uploaded), "name")

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        def get(token: str) -> object:
            more = "pageSize=100" + (f"&pageToken={quote(token)}" if token else "")
            return self._http.json("GET", self._path(f"{self._base}/batches", more))

        def cursor(page: object) -> str | None:
            return Fields(page).text("nextPageToken") or None

        for page in api.pages(get, cursor):
            if not set(Fields(page).all) - {"nextPageToken"} and isinstance(page, dict):
                continue  # Google leaves out what is empty
            jobs = api.listed(page, "operations", "batches")
            if (found := ours(jobs, own_id, "name", _ABOUT, others)) is not None:
                return found
        return None

    def poll(self, job_id: str) -> JobState:
        # The answers come with it.
        reply = self._http.json("GET", self._path(f"{self._base}/{quote(job_id)}"), large=True)
        job = api.object_of(reply, "metadata", "state", "done")
        about = job.fields("metadata")
        word = about.text("state") or job.text("state")
        phase, responses = api.phase_of(word), _responses(job)
        if phase in ("", "going", "done") and job.flag("done"):
            # As of any long-running operation of Google's, whose state here may lag behind.
            phase = "done" if responses or not job.words("error") else "failed"
        stats = about.fields("batchStats")
        completed, failed = map(stats.count, ("successfulRequestCount", "failedRequestCount"))
        error = None
        if phase == "failed":
            said = job.fields("error") if job.words("error") else about.fields("error")
            message = job.words("error") or about.words("error")
            error = api.refusal_of(
                job_id, message, said.text("status"), _http_status(said.count("code"))
            )
        settling = phase == "done" and not responses and (completed > 0 or not failed)
        return JobState(
            word,
            phase,
            ended=phase in ("done", "failed", "cancelled", "expired") and not settling,
            settling=settling,
            may_have_none=not completed,
            cancelled=phase == "cancelled",
            total=stats.count("requestCount"),
            completed=completed,
            failed=failed,
            error=error,
            has_answers=bool(responses),
            raw=responses,
        )

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        if isinstance(state.raw, str):
            path = self._path(f"/download{self._base}/{quote(state.raw)}:download", "alt=media")
            return api.outcomes_of(self._http.lines(path), _outcome)
        return api.outcomes_of(state.raw, _outcome)

    def _cancelling(self, job_id: str) -> tuple[str, bytes]:
        return f"{self._base}/{quote(job_id)}:cancel", b""


def _responses(job: Fields) -> list[Any] | str:
    """The answers, or the name of the file that has them; nothing where there are none.

    The reference has them in a list within an object, in either of two places.
    """
    for place in (job.fields("response"), job.fields("metadata").fields("output")):
        inner = place.fields("inlinedResponses")
        if found := inner.rows("inlinedResponses") or place.rows("inlinedResponses"):
            return found
        if name := place.text("responsesFile"):
            return name
    return []


def _http_status(number: int) -> int:
    """The HTTP status of a gRPC code; some errors have an HTTP status there already."""
    return number if 400 <= number < 600 else _STATUS.get(number, 500)


def _outcome(line: Fields) -> Outcome:
    custom_id = line.fields("metadata").text("key") or line.text("key")
    error, answer = line.all.get("error"), line.all.get("response")
    if not api.words_of(error) and answer:
        return Outcome(custom_id, api.body_of(answer))
    body, told = api.error_in_line(error)
    if code := line.fields("error").count("code"):
        told = error_from_reply(_http_status(code), body, {})
    told.maybe_billed = bool(answer)  # Google bills no request that fails
    return Outcome(custom_id, body, told)
