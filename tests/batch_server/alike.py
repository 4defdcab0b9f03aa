"""Groq's, Mistral's and Together's batches, as their documents and packages describe them.

Each is below a path of its own: ``/groq/openai/v1``, ``/mistral/v1`` and ``/together/v1``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

import msgspec

from tests.batch_server import openai as base
from tests.batch_server.jobs import Job, Reply, WebError, checked_ids, encode, json_reply, new_id
from tests.server import openai
from tests.server.answers import ApiError, Ask

if TYPE_CHECKING:
    from tests.batch_server import BatchServer

ENDPOINT = "/v1/chat/completions"
#: Jobs on a page of Groq's list.
PAGE = 20


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    body: msgspec.Raw


class _OpenAILine(_Line, forbid_unknown_fields=True):
    method: str
    url: str


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    input_file_id: str
    endpoint: str
    completion_window: str

    @property
    def file(self) -> str:
        return self.input_file_id


class _GroqCreate(_Create, forbid_unknown_fields=True):
    metadata: dict[str, str] = {}


class _MistralCreate(msgspec.Struct, forbid_unknown_fields=True):
    endpoint: str
    input_files: list[str]
    model: str
    metadata: dict[str, str] = {}
    timeout_hours: int = 24

    @property
    def file(self) -> str:
        return self.input_files[0]


class Groq:
    root, jobs, upload = "/groq/openai/v1", "/batches", "/files"
    fields: ClassVar = {"purpose": b"batch"}
    line: ClassVar[type[_Line]] = _OpenAILine
    create: ClassVar[type[Any]] = _GroqCreate
    states: ClassVar = {"waiting": "in_progress"}

    def shown(self, server: BatchServer, job: Job) -> dict[str, Any]:
        return base._shown(server, job) | {"id": job.id}

    def page(self, jobs: list[dict[str, Any]], query: dict[str, list[str]]) -> object:
        start = int(query.get("cursor", ["cursor_0"])[0].removeprefix("cursor_"))
        shown, end = jobs[start : start + PAGE], start + PAGE
        more = {"next_cursor": f"cursor_{end}"} if end < len(jobs) else {}
        return {"object": "list", "data": shown, "paging": more}


class Together(Groq):
    root, upload = "/together/v1", "/files/upload"
    fields: ClassVar = {"purpose": b"batch-api", "file_name": None, "file_type": b"jsonl"}
    line: ClassVar[type[_Line]] = _Line
    create: ClassVar[type[Any]] = _Create

    def shown(self, server: BatchServer, job: Job) -> dict[str, Any]:
        found = base._shown(server, job)
        word = {"completed": "COMPLETED", "finalizing": "IN_PROGRESS", "cancelling": "CANCELING"}
        return {
            "id": job.id,
            "user_id": "user-1",
            "input_file_id": job.made_of,
            "file_size_bytes": len(server.files[job.made_of]),
            "status": word.get(found["status"], found["status"].upper()),
            "job_deadline": "2026-11-30T10:00:00Z",
            "created_at": "2026-11-29T10:00:00Z",
            "endpoint": ENDPOINT,
            "progress": 100.0 if job.end else 0.0,
            "model_id": "writer",
            "output_file_id": found["output_file_id"],
            "error_file_id": found["error_file_id"],
            "error": job.turned_down or None,
        }

    def page(self, jobs: list[dict[str, Any]], query: dict[str, list[str]]) -> object:
        return jobs


class Mistral(Groq):
    root, jobs = "/mistral/v1", "/batch/jobs"
    line: ClassVar[type[_Line]] = _Line
    create: ClassVar[type[Any]] = _MistralCreate

    def shown(self, server: BatchServer, job: Job) -> dict[str, Any]:
        found = base._shown(server, job)
        word = {
            "validating": "QUEUED", "in_progress": "RUNNING", "finalizing": "RUNNING",
            "completed": "SUCCESS", "expired": "TIMEOUT_EXCEEDED", "cancelled": "CANCELLED",
            "cancelling": "CANCELLATION_REQUESTED", "failed": "FAILED",
        }  # fmt: skip
        counts = found["request_counts"]
        return {
            "id": job.id,
            "object": "batch",
            "input_files": [job.made_of],
            "metadata": {"llmb": job.name},
            "endpoint": ENDPOINT,
            "model": "writer",
            "output_file": found["output_file_id"],
            "error_file": found["error_file_id"],
            "errors": [{"message": job.turned_down, "count": 1}] if job.turned_down else [],
            "status": word[found["status"]],
            "created_at": found["created_at"],
            "total_requests": counts["total"],
            "completed_requests": counts["completed"] + counts["failed"],
            "succeeded_requests": counts["completed"],
            "failed_requests": counts["failed"],
        }

    def page(self, jobs: list[dict[str, Any]], query: dict[str, list[str]]) -> object:
        page, size = int(query.get("page", ["0"])[0]), int(query.get("page_size", ["100"])[0])
        shown = jobs[page * size : (page + 1) * size]
        return {"object": "list", "data": shown, "total": len(jobs)}


_VENDORS = (Groq(), Together(), Mistral())


def is_for(path: str, headers: dict[str, str]) -> bool:
    return any(path.startswith(f"{vendor.root}/") for vendor in _VENDORS)


def respond(
    server: BatchServer, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> Reply:
    vendor = next(each for each in _VENDORS if path.startswith(f"{each.root}/"))
    if headers.get("authorization") != f"Bearer {server.key}":
        raise WebError(401, "Incorrect API key provided.", "invalid_api_key")
    path = path.removeprefix(vendor.root)
    if (method, path) == ("POST", "/chat/completions"):
        return base._live(server, body, path, headers)
    if (method, path) == ("POST", vendor.upload):
        return _upload(server, vendor, headers, body)
    if method == "GET" and (found := re.fullmatch(r"/files/([^/]+)/content", path)):
        if found[1] not in server.files:
            raise WebError(404, "No such File object")
        return Reply(200, server.spoil(server.files[found[1]]), "application/octet-stream")
    if path == vendor.jobs:
        if method == "POST":
            return _create(server, vendor, headers, body)
        own = [vendor.shown(server, job) for job in server.listed()]
        return json_reply(vendor.page(own, parse_qs(query)))
    found = re.fullmatch(rf"{vendor.jobs}/([^/]+)(/cancel)?", path)
    job = server.jobs.get(found[1]) if found else None
    if found is None or job is None:
        raise WebError(404, f"No batch found with id {path!r}.")
    if found[2] and method == "POST":
        if job.end is not None:
            raise WebError(400, f"Cannot cancel a batch with status {job.end}.")
        job.cancelling = True
    else:
        job.look(server)
    return json_reply(vendor.shown(server, job))


def _upload(server: BatchServer, vendor: Groq, headers: dict[str, str], body: bytes) -> Reply:
    parts = base.form(server, headers, body)
    given = {name.decode(): content for name, (_, content) in parts.items() if name != b"file"}
    if given.keys() != vendor.fields.keys() or b"file" not in parts:
        raise WebError(422, f"the form has the fields {sorted(given)}")
    if any(wanted and given[name] != wanted for name, wanted in vendor.fields.items()):
        raise WebError(400, "a field of the form is wrong")
    file_id = new_id("file-")
    server.files[file_id] = parts[b"file"][1]
    return json_reply({"id": file_id, "object": "file", "purpose": given["purpose"].decode()})


def _create(server: BatchServer, vendor: Groq, headers: dict[str, str], body: bytes) -> Reply:
    if not headers.get("content-type", "").startswith("application/json"):
        raise WebError(415, "The content type must be application/json.")
    try:
        asked = msgspec.json.decode(body, type=vendor.create)
    except msgspec.MsgspecError as error:
        raise WebError(422, str(error)) from None
    if asked.endpoint != ENDPOINT or asked.file not in server.files:
        raise WebError(400, "Invalid endpoint or file.")
    lines: list[tuple[str, Ask | ApiError]] = []
    raw = server.files[asked.file].splitlines()
    if len(raw) > server.most_requests:
        raise WebError(400, f"The file has more than {server.most_requests} requests.")
    for text in raw:
        try:
            line = msgspec.json.decode(text, type=vendor.line)
        except msgspec.MsgspecError as error:
            raise WebError(400, f"This line is not parseable as valid JSON: {error}") from None
        if isinstance(line, _OpenAILine) and (line.method, line.url) != ("POST", ENDPOINT):
            raise WebError(400, "The URL or the method of a line is wrong.")
        try:
            request: Ask | ApiError = openai.read(bytes(line.body), "", {})
        except ApiError as error:
            request = error
        lines.append((line.custom_id, request))
    checked_ids([custom_id for custom_id, _ in lines])
    job = Job(new_id("batch_"), lines, openai.write, getattr(asked, "metadata", {}).get("llmb", ""))
    job.made_of = asked.file
    server.created(job, headers)
    shown = vendor.shown(server, job)
    # Together wraps the job that was created, and no other.
    return Reply(200, encode({"job": shown} if isinstance(vendor, Together) else shown))
