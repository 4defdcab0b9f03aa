"""OpenAI's batch API, and Azure's variant of it: files of requests, jobs, files of answers.

https://platform.openai.com/docs/api-reference/batch. Azure has the same below ``/openai``, with
``api-version`` in the query and endpoints without ``/v1``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from urllib.parse import quote

import msgspec

from llm_batch.chain.credentials import without_keys
from llm_batch.engines.batch import api
from llm_batch.engines.batch.api import Fields, JobState, Line, Outcome
from llm_batch.engines.batch.vendors import Vendor, ours
from llm_batch.errors import ProviderError, Refused
from llm_batch.sending.providers import Prepared
from llm_batch.sending.providers.refusals import error_from_reply

_encode = msgspec.json.Encoder().encode
_BOUNDARY = "llmb-boundary-7c1d9e54a2"
#: A file is one of these before a job can be made of it; not all servers say.
_TAKEN_IN = ("", "none", "processed", "uploaded")
#: Validation names the first line for these, and means the whole file.
_OF_THE_FILE = re.compile(r"model|url|endpoint|too_many|empty|duplicate")
_DAY = 86_400.0
#: Where lists are: Azure has them under either name.
_LISTS = ("data", "value")
#: Where an error within a job's has its words.
_SAID = ("message", "detail", "msg", "code")
#: Where a job's own id is kept.
NAME = "llmb"


class OpenAIBatches(Vendor):
    """What others have in common with it is here too; see `llm_batch.engines.batch.alike`."""

    most_requests = 50_000
    most_bytes = 200_000_000
    #: Paths below the address, and the fields with the ids of the files of answers and of errors.
    files, jobs = "/files", "/batches"
    outputs = ("output_file_id", "error_file_id")
    purpose = "batch"

    def __init__(self, like: Prepared, vendor: str) -> None:
        super().__init__(like)
        base = self._live.removesuffix("/chat/completions")
        self._endpoint = "/v1/chat/completions"
        self._azure = vendor == "azure"
        if self._azure:
            base = re.sub(r"/deployments/[^/]+$", "", base)
            if not base.endswith("/v1"):
                self._endpoint = "/chat/completions"
        self._base = base

    def upload(self, own_id: str, lines: Sequence[Line]) -> str:
        texts = {"purpose": self.purpose, **self._described(own_id)}
        head = "".join(
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
            for name, text in texts.items()
        ) + (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{own_id}.jsonl"\r\nContent-Type: application/json\r\n\r\n'
        )
        rows = (_encode(self._line(custom_id, body)) for custom_id, body in lines)
        body = b"%s%s\n\r\n--%s--\r\n" % (head.encode(), b"\n".join(rows), _BOUNDARY.encode())
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        return api.id_of(self._http.json("POST", self._path(self.files), body, kind))

    def is_ready(self, uploaded: str) -> bool:
        """Azure takes a file in after it answered the upload, and makes no job of it before."""
        if not self._azure:
            return True
        file = api.object_of(self._http.json("GET", self._path(f"/files/{quote(uploaded)}")), "id")
        status = file.text("status").lower()
        if status in ("error", "deleted", "deleting"):
            said = file.words("status_details", "error", "status")
            raise Refused(f"file {uploaded} was turned down: {said}", kind="batch_failed")
        return status in _TAKEN_IN

    def create(self, own_id: str, uploaded: str) -> str:
        body = _encode(self._creation(own_id, uploaded))
        return api.id_of(self._http.json("POST", self._path(self.jobs), body))

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        def get(after: str) -> object:
            return self._http.json("GET", self._path(self.jobs, self._more(after)))

        for page in api.pages(get, lambda page: self._next(page, since)):
            if found := ours(api.listed(page, *_LISTS), own_id, "id", ("metadata",), others):
                return found
        return None

    def poll(self, job_id: str) -> JobState:
        reply = self._http.json("GET", self._path(f"{self.jobs}/{quote(job_id)}"))
        job = api.object_of(reply, "status")
        phase = api.phase_of(job.text("status"))
        total, completed, failed = self._counts(job)
        output, errors = map(job.id, self.outputs)
        state = JobState(
            job.text("status"), phase, total=total, completed=completed, failed=failed,
            raw=(output, errors),
        )  # fmt: skip
        if phase == "failed":
            error, bad_lines = _why_failed(job, job_id)
            # It may have done something before it failed.
            return replace(
                state, ended=True, error=error, bad_lines=bad_lines, has_answers=bool(output)
            )
        # The status may come before the files do.
        missing = (completed and not output) or (failed and phase == "done" and not errors)
        nothing = phase == "done" and not (output or errors)
        over, settling = phase in ("done", "expired", "cancelled"), bool(missing or nothing)
        return replace(
            state,
            ended=over and not settling,
            settling=over and settling,
            may_have_none=bool(phase != "done" or not completed or output),
            cancelled=phase == "cancelled",
        )

    def outcomes(self, state: JobState) -> Iterator[Outcome]:
        output, errors = state.raw
        if output:
            lines = self._http.lines(self._content(output), may_be_empty=not state.completed)
            yield from api.outcomes_of(lines, _outcome)
        if errors:
            try:
                lines = self._http.lines(self._content(errors), may_be_empty=True)
                yield from api.outcomes_of(lines, _outcome)
            except ProviderError as error:
                if error.status_code != 404:
                    raise
                # Without their errors these are requests of which nothing is said.

    def _cancelling(self, job_id: str) -> tuple[str, bytes]:
        return f"{self.jobs}/{quote(job_id)}/cancel", b"{}"

    def _more(self, after: str) -> str:
        """The query for a page of the list, behind a cursor; that of the first is empty."""
        return f"limit=100&after={quote(after)}" if after else "limit=100"

    def _next(self, page: object, since: float) -> str | None:
        """The cursor that a page names; ``None`` where nothing behind it can be what is sought."""
        jobs, fields = api.listed(page, *_LISTS), Fields(page)
        if not jobs or not fields.flag("has_more"):
            return None
        # OpenAI has the newest first. A day is more than any clock is wrong.
        made = None if self._azure else jobs[-1].time("created_at")
        if made is not None and made < since - _DAY:
            return None
        return fields.text("last_id") or jobs[-1].text("id")

    def _described(self, own_id: str) -> dict[str, str]:
        """Fields of the form that brings a file, beside what it is for."""
        return {}

    def _line(self, custom_id: str, body: bytes) -> dict[str, object]:
        raw = msgspec.Raw(body)
        return {"custom_id": custom_id, "method": "POST", "url": self._endpoint, "body": raw}

    def _creation(self, own_id: str, uploaded: str) -> dict[str, object]:
        return {
            "input_file_id": uploaded,
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": {NAME: own_id},
        }

    def _counts(self, job: Fields) -> tuple[int, int, int]:
        """Requests in all, answered and failed."""
        counts = job.fields("request_counts")
        return counts.count("total"), counts.count("completed"), counts.count("failed")

    def _content(self, file_id: str) -> str:
        return self._path(f"/files/{quote(file_id)}/content")

    def _path(self, path: str, more: str = "") -> str:
        return super()._path(f"{self._base}{path}", more)


def _why_failed(job: Fields, job_id: str) -> tuple[ProviderError, dict[int, str]]:
    """Why a job was turned down, and which of its lines were, from 0."""
    errors = job.fields("errors")
    rows = [Fields(row) for row in errors.rows("data") or job.rows("errors") or (errors.all,)]
    first = next((row for row in rows if row.words(*_SAID)), rows[0])
    message = first.words(*_SAID) or job.words("errors", "error", "message", "status_details")
    code = without_keys(first.text("code"))
    bad = {
        row.count("line") - 1: row.words("message", "code")
        for row in rows
        if row.count("line") and not _OF_THE_FILE.search(f"{row.text('code')} {row.text('param')}")
    }
    error = api.refusal_of(job_id, message, code)
    return error, {} if error.kind == "token_limit" else bad


def _outcome(line: Fields) -> Outcome:
    custom_id, error = line.text("custom_id"), line.all.get("error")
    reply, said = line.fields("response"), api.words_of(error)
    if reply.all:
        body = api.body_of(reply.all if "choices" in reply.all else reply.all.get("body"))
        # Without a status there is still an answer to read, or an error in its place.
        status = reply.count("status_code") or (500 if said else 200)
        if 200 <= status < 300 and not said:
            return Outcome(custom_id, body)
        if said and not api.words_of(reply.all.get("body")):
            body = _encode({"error": error})
        told = error_from_reply(status if status >= 300 else 502, body, {})
        told.maybe_billed |= status < 300
        return Outcome(custom_id, body, told)
    code = line.fields("error").text("code")
    if code.startswith("batch_"):
        code = {"batch_canceled": "batch_cancelled"}.get(code, code)
        return Outcome(custom_id, error=api.unfinished(code, without_keys(said or code)))
    return Outcome(custom_id, *api.error_in_line(error))
