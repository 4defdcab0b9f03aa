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

from llm_batch.batches.api import JobState, Line, Outcome, counted, unfinished
from llm_batch.batches.http import Http, is_over
from llm_batch.errors import ProviderError, Refused, Unavailable
from llm_batch.providers.base import Prepared
from llm_batch.providers.redact import without_keys
from llm_batch.providers.replies import error_from_reply

_encode = msgspec.json.Encoder().encode
_BOUNDARY = "llmb-boundary-7c1d9e54a2"
_ENDS = ("completed", "expired", "cancelled")
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
        if vendor == "azure":
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
            f'filename="{own_id}.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n'
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
        return _id_of(self._http.json("POST", self._path("/files"), body, kind))

    def create(self, own_id: str, uploaded: str) -> str:
        body = {
            "input_file_id": uploaded,
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": {_NAME: own_id},
        }
        return _id_of(self._http.json("POST", self._path("/batches"), _encode(body)))

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        after = ""
        while True:
            more = f"limit=100&after={quote(after)}" if after else "limit=100"
            page = self._http.json("GET", self._path("/batches", more))
            jobs: list[dict[str, Any]] = page.get("data") or []
            for job in jobs:
                if (job.get("metadata") or {}).get(_NAME) == own_id:
                    return _id_of(job)
            # The newest come first. A day is more than any clock is wrong.
            old = jobs and float(jobs[-1].get("created_at") or 0) < since - _DAY
            if not jobs or not page.get("has_more") or old:
                return None
            after = _id_of(jobs[-1])

    def poll(self, job_id: str) -> JobState:
        job = self._http.json("GET", self._path(f"/batches/{quote(job_id)}"))
        status = str(job.get("status"))
        counts = job.get("request_counts") or {}
        total, completed, failed = counted(
            counts.get(name) for name in ("total", "completed", "failed")
        )
        state = JobState(status, total=total, completed=completed, failed=failed, raw=job)
        if status == "failed":
            error, bad_lines = _why_failed(job)
            return replace(state, ended=True, error=error, bad_lines=bad_lines)
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
            cancelled=status == "cancelled",
        )

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        for name in ("output_file_id", "error_file_id"):
            file_id = state.raw.get(name)
            if file_id:
                path = self._path(f"/files/{quote(file_id)}/content")
                yield from map(_outcome, self._http.lines(path))

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


def _id_of(value: dict[str, Any]) -> str:
    found = value.get("id")
    if not isinstance(found, str) or not found:
        raise Unavailable("the batch API answered without an id", kind="garbage")
    return found


def _why_failed(job: dict[str, Any]) -> tuple[ProviderError, dict[int, str]]:
    """Why a job was turned down, and which of its lines were, from 0."""
    errors = (job.get("errors") or {}).get("data") or []
    first = errors[0] if errors else {}
    message = without_keys(str(first.get("message") or "no reason was given"))
    code = str(first.get("code") or "")
    bad = {
        int(each["line"]) - 1: without_keys(str(each.get("message") or each.get("code")))
        for each in errors
        if isinstance(each.get("line"), int) and each["line"] > 0
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
    code = str(said.get("code") or "failed")
    message = without_keys(str(said.get("message") or "it was not worked on"))
    return Outcome(custom_id, error=unfinished(code, message))
