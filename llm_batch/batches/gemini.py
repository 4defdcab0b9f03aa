"""Gemini's batch mode: https://ai.google.dev/api/batch-api. Requests go inline, up to 20 MB a job.

Of a job that is cancelled or expires, Google returns nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from llm_batch.batches.api import JobState, Line, Outcome, counted, id_of, outcomes_of
from llm_batch.batches.http import Http, is_over
from llm_batch.errors import ProviderError, Refused, Unavailable
from llm_batch.providers.base import Prepared
from llm_batch.providers.redact import without_keys
from llm_batch.providers.refusals import error_from_reply

_encode = msgspec.json.Encoder().encode
#: HTTP statuses of gRPC's codes (google/rpc/code.proto).
_STATUS = {
    1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501,
    13: 500, 14: 503, 16: 401,
}  # fmt: skip


class GeminiBatches:
    """Batches of a Gemini API key.

    Args:
        like: A live request of the model.
    """

    most_requests = 50_000
    most_bytes = 19_000_000
    names_jobs = True

    def __init__(self, like: Prepared) -> None:
        self._http = Http(like)
        parts = urlsplit(like.url)
        self._model = parts.path.rpartition(":")[0]
        self._base = self._model.rpartition("/models/")[0]
        self._query = parts.query

    def resemble(self, like: Prepared) -> None:
        self._http.resemble(like)

    def marker(self) -> str:
        return ""

    def upload(self, own_id: str, lines: Sequence[Line]) -> bytes:
        """There is nothing to bring ahead: the requests go with the creation."""
        rows = [{"request": msgspec.Raw(body), "metadata": {"key": name}} for name, body in lines]
        batch = {"displayName": own_id, "inputConfig": {"requests": {"requests": rows}}}
        return _encode({"batch": batch})

    def is_ready(self, uploaded: bytes) -> bool:
        return True

    def create(self, own_id: str, uploaded: bytes) -> str:
        path = self._path(f"{self._model}:batchGenerateContent")
        return id_of(self._http.json("POST", path, uploaded), "name")

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        token = ""
        while True:
            more = "pageSize=100" + (f"&pageToken={quote(token)}" if token else "")
            page = self._http.json("GET", self._path(f"{self._base}/batches", more))
            for job in page.get("operations") or ():
                named = (job.get("metadata") or {}).get("displayName") == own_id
                if named and job["name"] not in others:
                    return str(job["name"])
            token = str(page.get("nextPageToken") or "")
            if not token:
                return None

    def poll(self, job_id: str) -> JobState:
        # The answers come with it.
        job = self._http.json("GET", self._path(f"{self._base}/{quote(job_id)}"), large=True)
        about = job.get("metadata") or {}
        # The reference says BATCH_STATE_…, the guide JOB_STATE_….
        status = str(about.get("state")).rpartition("_STATE_")[2].lower()
        stats = about.get("batchStats") or {}
        names = ("requestCount", "successfulRequestCount", "failedRequestCount")
        total, completed, failed = counted(map(stats.get, names))
        error = None
        if status == "failed":
            said = job.get("error") or {}
            message = without_keys(str(said.get("message") or "no reason was given"))
            code = _http_status(said.get("code"))
            error = (Unavailable if code >= 429 else Refused)(
                f"batch {job_id} failed: {message}", kind="batch_failed", status_code=code
            )
        settling = status == "succeeded" and not _responses(job)
        return JobState(
            status,
            ended=status in ("succeeded", "failed", "cancelled", "expired") and not settling,
            settling=settling,
            may_have_none=not completed,
            cancelled=status == "cancelled",
            total=total,
            completed=completed,
            failed=failed,
            error=error,
            raw=job,
        )

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        return outcomes_of(_responses(state.raw), _outcome)

    def cancel(self, job_id: str) -> None:
        try:
            self._http.json("POST", self._path(f"{self._base}/{quote(job_id)}:cancel"), b"")
        except ProviderError as error:
            if not is_over(error):
                raise

    def close(self) -> None:
        self._http.close()

    def _path(self, path: str, more: str = "") -> str:
        query = "&".join(filter(None, (self._query, more)))
        return path + (f"?{query}" if query else "")


def _responses(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers, which the reference has in a list within an object, in either of two places."""
    for place in (job.get("response"), (job.get("metadata") or {}).get("output")):
        found = (place or {}).get("inlinedResponses") or ()
        if isinstance(found, dict):
            found = found.get("inlinedResponses") or ()
        if found:
            return list(found)
    return []


def _http_status(code: Any) -> int:
    """The HTTP status of a gRPC code; some errors have an HTTP status there already."""
    (number,) = counted([code])
    return number if 400 <= number < 600 else _STATUS.get(number, 500)


def _outcome(line: dict[str, Any]) -> Outcome:
    custom_id = str((line.get("metadata") or {}).get("key"))
    if line.get("response") is not None:
        return Outcome(custom_id, _encode(line["response"]))
    error = line.get("error") or {}
    status = _http_status(error.get("code"))
    body = _encode({"error": error})
    return Outcome(custom_id, body, error_from_reply(status, body, {}))
