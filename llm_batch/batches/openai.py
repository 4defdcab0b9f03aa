"""OpenAI's batch API, and Azure's variant of it: files of requests, jobs, files of answers.

https://platform.openai.com/docs/api-reference/batch. Azure has the same below ``/openai``, with
``api-version`` in the query and endpoints without ``/v1``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
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
from llm_batch.errors import ProviderError, Refused, Unavailable
from llm_batch.providers.base import Prepared
from llm_batch.providers.redact import without_keys
from llm_batch.providers.refusals import error_from_reply

_encode = msgspec.json.Encoder().encode
_BOUNDARY = "llmb-boundary-7c1d9e54a2"
_ENDS = ("completed", "expired", "cancelled")
#: A file is one of these before a job can be made of it; not all servers say.
_TAKEN_IN = ("", "none", "processed", "uploaded")
#: Validation names the first line for these, and means the whole file.
_OF_THE_FILE = re.compile(r"model|url|endpoint|too_many|empty|duplicate")
_DAY = 86_400.0
#: Where a job's own id is kept.
_NAME = "llmb"


class OpenAIBatches:
    """Files and batches of an OpenAI or Azure account.

    Args:
        like: A live request of the model.
        vendor: ``openai`` or ``azure``.
    """

    most_requests = 50_000
    most_bytes = 200_000_000
    names_jobs = True

    def __init__(self, like: Prepared, vendor: str) -> None:
        self._http = Http(like)
        parts = urlsplit(like.url)
        base = parts.path.removesuffix("/chat/completions")
        self._endpoint = "/v1/chat/completions"
        self._azure = vendor == "azure"
        if self._azure:
            base = re.sub(r"/deployments/[^/]+$", "", base)
            if not base.endswith("/v1"):
                self._endpoint = "/chat/completions"
        self._base, self._query = base, parts.query

    def resemble(self, like: Prepared) -> None:
        self._http.resemble(like)

    def marker(self) -> str:
        return ""

    def upload(self, own_id: str, lines: Sequence[Line]) -> str:
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{own_id}.jsonl"\r\nContent-Type: application/json\r\n\r\n'
        )
        rows = (
            _encode(
                {
                    "custom_id": custom_id,
                    "method": "POST",
                    "url": self._endpoint,
                    "body": msgspec.Raw(body),
                }
            )
            for custom_id, body in lines
        )
        body = b"%s%s\n\r\n--%s--\r\n" % (head.encode(), b"\n".join(rows), _BOUNDARY.encode())
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        return id_of(self._http.json("POST", self._path("/files"), body, kind))

    def is_ready(self, uploaded: str) -> bool:
        """Azure takes a file in after it answered the upload, and makes no job of it before."""
        if not self._azure:
            return True
        file = self._http.json("GET", self._path(f"/files/{quote(uploaded)}"))
        status = str(file.get("status") or "").lower()
        if status in ("error", "deleted", "deleting"):
            said = without_keys(str(file.get("status_details") or file.get("error") or status))
            raise Refused(f"file {uploaded} was turned down: {said}", kind="batch_failed")
        return status in _TAKEN_IN

    def create(self, own_id: str, uploaded: str) -> str:
        body = {
            "input_file_id": uploaded,
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": {_NAME: own_id},
        }
        return id_of(self._http.json("POST", self._path("/batches"), _encode(body)))

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        after = ""
        while True:
            more = f"limit=100&after={quote(after)}" if after else "limit=100"
            page = self._http.json("GET", self._path("/batches", more))
            jobs = listed(page, "data", "value")  # Azure has them under either name
            for job in jobs:
                if (job.get("metadata") or {}).get(_NAME) == own_id and job["id"] not in others:
                    return id_of(job)
            # OpenAI has the newest first. A day is more than any clock is wrong.
            made = jobs[-1].get("created_at") if jobs and not self._azure else None
            old = isinstance(made, int | float) and made < since - _DAY
            if not jobs or not page.get("has_more") or old:
                return None
            after = id_of(jobs[-1])

    def poll(self, job_id: str) -> JobState:
        job = self._http.json("GET", self._path(f"/batches/{quote(job_id)}"))
        status = str(job.get("status")).lower()  # some versions of Azure's write Completed
        counts = job.get("request_counts") or {}
        total, completed, failed = counted(
            counts.get(name) for name in ("total", "completed", "failed")
        )
        state = JobState(status, total=total, completed=completed, failed=failed, raw=job)
        if status == "failed":
            error, bad_lines = _why_failed(job)
            answered = bool(job.get("output_file_id"))  # what it had done before it failed
            return replace(
                state, ended=True, error=error, bad_lines=bad_lines, has_answers=answered
            )
        # The status may come before the files do.
        missing = (completed and not job.get("output_file_id")) or (
            failed and status == "completed" and not job.get("error_file_id")
        )
        nothing = status == "completed" and not (
            job.get("output_file_id") or job.get("error_file_id")
        )
        over, settling = status in _ENDS, bool(missing or nothing)
        return replace(
            state,
            ended=over and not settling,
            settling=over and settling,
            may_have_none=bool(status != "completed" or not completed or job.get("output_file_id")),
            cancelled=status == "cancelled",
        )

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        for name in ("output_file_id", "error_file_id"):
            file_id = state.raw.get(name)
            if file_id:
                path = self._path(f"/files/{quote(file_id)}/content")
                try:
                    lines = self._http.lines(path)
                    yield from outcomes_of(lines, _outcome)
                except ProviderError as error:
                    if error.status_code != 404 or name == "output_file_id":
                        raise
                    # Without their errors these are requests of which nothing is said.

    def cancel(self, job_id: str) -> None:
        try:
            self._http.json("POST", self._path(f"/batches/{quote(job_id)}/cancel"), b"{}")
        except ProviderError as error:
            if not is_over(error):
                raise

    def close(self) -> None:
        self._http.close()

    def _path(self, path: str, more: str = "") -> str:
        query = "&".join(filter(None, (self._query, more)))
        return f"{self._base}{path}" + (f"?{query}" if query else "")


def _why_failed(job: dict[str, Any]) -> tuple[ProviderError, dict[int, str]]:
    """Why a job was turned down, and which of its lines were, from 0."""
    errors = (job.get("errors") or {}).get("data") or []
    first = errors[0] if errors else {}
    message = without_keys(str(first.get("message") or "no reason was given"))
    code = str(first.get("code") or "")
    bad = {
        int(each["line"]) - 1: without_keys(str(each.get("message") or each.get("code")))
        for each in errors
        if isinstance(each.get("line"), int)
        and each["line"] > 0
        and not _OF_THE_FILE.search(f"{each.get('code')} {each.get('param')}")
    }
    kind = "token_limit" if code == "token_limit_exceeded" else "batch_failed"
    said = f"batch {job.get('id')} was turned down: {message}" + (f" ({code})" if code else "")
    if kind == "token_limit":
        return Unavailable(said, kind=kind), {}
    return Refused(said, kind=kind, hint="correct the config, then run again"), bad


def _outcome(line: dict[str, Any]) -> Outcome:
    custom_id = str(line.get("custom_id"))
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict):
        status, body = int(response.get("status_code") or 0), _encode(response.get("body"))
        if 200 <= status < 300:
            return Outcome(custom_id, body)
        return Outcome(custom_id, body, error_from_reply(status or 500, body, {}))
    said = error if isinstance(error, dict) else {}
    code = str(said.get("code"))
    code = code if code.startswith("batch_") else "failed"  # the vendor's word is shown as kind
    message = without_keys(str(said.get("message") or "it was not worked on"))
    return Outcome(custom_id, error=unfinished(code, message))
