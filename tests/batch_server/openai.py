"""OpenAI's files and batches, Azure's variant of them, and live chat completions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from tests.batch_server.jobs import (
    Done,
    Job,
    Reply,
    WebError,
    _error,
    checked_ids,
    encode,
    json_reply,
    new_id,
)
from tests.server import openai
from tests.server.answers import ApiError, Ask, answer, directive

if TYPE_CHECKING:
    from tests.batch_server import BatchServer


def is_for(path: str, headers: dict[str, str]) -> bool:
    return path.startswith(("/v1/", "/openai/"))


def respond(
    server: BatchServer, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> Reply:
    azure = path.startswith("/openai/")
    if azure and "api-version" not in parse_qs(query):
        raise WebError(404, "Resource not found")
    given = headers.get("api-key") if azure else headers.get("authorization")
    if given != (server.key if azure else f"Bearer {server.key}"):
        raise WebError(401, "Incorrect API key provided.", "invalid_api_key")
    path = path.removeprefix("/openai" if azure else "/v1")
    if method == "POST" and path.endswith("/chat/completions"):
        return _live(server, body, path, headers)
    if method == "POST" and path == "/files":
        return _upload(server, headers, body, azure)
    if method == "GET" and (found := re.fullmatch(r"/files/([^/]+)/content", path)):
        if found[1] not in server.files:
            raise WebError(404, "No such File object")
        content = server.spoil(server.files[found[1]])
        return Reply(200, content, "application/octet-stream")
    if method == "GET" and (found := re.fullmatch(r"/files/([^/]+)", path)):
        if found[1] not in server.files:
            raise WebError(404, "No such File object")
        left = server.pending.get(found[1], 0)
        server.pending[found[1]] = max(0, left - 1)
        return json_reply({"id": found[1], "status": "pending" if left else "processed"})
    if path == "/batches":
        if method == "GET":
            return _list(server, parse_qs(query), azure)
        return _create(server, headers, body, azure)
    found = re.fullmatch(r"/batches/([^/]+)(/cancel)?", path)
    job = server.jobs.get(found[1]) if found else None
    if found is None or job is None:
        raise WebError(404, f"No batch found with id {path!r}.")
    if found[2]:
        if job.end is not None:
            raise WebError(409, f"Cannot cancel a batch with status {job.end}.")
        job.cancelling = True
        return json_reply(_shown(server, job))
    job.look(server)
    shown = _shown(server, job)
    if azure and server.old_azure:
        shown |= {"status": shown["status"].title(), "created_at": "2024-07-19T17:13:57.25+00:00"}
    return json_reply(shown)


def _live(server: BatchServer, body: bytes, path: str, headers: dict[str, str]) -> Reply:
    try:
        asked = openai.read(body, path, headers)
    except ApiError as error:
        return Reply(error.status, openai.write_error(error))
    error = _error(server, asked, "")
    if error is not None:
        return Reply(error.status, openai.write_error(error))
    said = answer(asked, script=directive(asked))
    server.bill("live", asked, said)
    return Reply(200, openai.write(asked, said))


def form(
    server: BatchServer, headers: dict[str, str], body: bytes
) -> dict[bytes, tuple[bytes, bytes]]:
    """Head and content of the parts of a form, by name."""
    kind = re.fullmatch(r"multipart/form-data; boundary=(\S+)", headers.get("content-type", ""))
    if kind is None:
        raise WebError(400, "the content type is not multipart/form-data")
    if len(body) > server.most_bytes + 1000:
        raise WebError(413, "The file is too large.")
    mark = b"--" + kind[1].encode()
    if not body.startswith(mark) or not body.endswith(b"\r\n" + mark + b"--\r\n"):
        raise WebError(400, "the parts of the form are not closed")
    parts = {}
    for part in (b"\r\n" + body).split(b"\r\n" + mark)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)
        assert name is not None
        parts[name[1]] = (head, content)
    return parts


def _upload(server: BatchServer, headers: dict[str, str], body: bytes, azure: bool) -> Reply:
    parts = form(server, headers, body)
    if parts.get(b"purpose", (b"", b""))[1] != b"batch" or b"file" not in parts:
        raise WebError(400, "'purpose' must be 'batch', beside a file")
    if not re.search(rb'filename="[^"]+\.jsonl"', parts[b"file"][0]):
        raise WebError(400, "Invalid extension; supported formats: jsonl")
    file_id = new_id("file-")
    server.files[file_id] = parts[b"file"][1]
    server.pending[file_id] = server.taking_in if azure else 0
    status = "pending" if server.pending[file_id] else "processed"
    return json_reply({"id": file_id, "object": "file", "purpose": "batch", "status": status})


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] = {}


def _create(server: BatchServer, headers: dict[str, str], body: bytes, azure: bool) -> Reply:
    if not headers.get("content-type", "").startswith("application/json"):
        raise WebError(415, "The content type must be application/json.")
    try:
        asked = msgspec.json.decode(body, type=_Create)
    except msgspec.MsgspecError as error:
        raise WebError(400, str(error)) from None
    wanted = "/chat/completions" if azure else "/v1/chat/completions"
    if asked.endpoint != wanted or asked.completion_window != "24h":
        raise WebError(400, "Invalid endpoint or completion_window.")
    if asked.input_file_id not in server.files:
        raise WebError(400, f"No such File object: {asked.input_file_id}")
    if server.pending.get(asked.input_file_id):
        raise WebError(400, "The input file is not processed yet.", "invalid_file_state")
    lines: list[tuple[str, Ask | ApiError]] = []
    models = set()
    raw = server.files[asked.input_file_id].splitlines()
    if len(raw) > server.most_requests:
        raise WebError(400, f"The file has more than {server.most_requests} requests.")
    for text in raw:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.MsgspecError as error:
            raise WebError(400, f"This line is not parseable as valid JSON: {error}") from None
        if line.method != "POST" or line.url != wanted:
            raise WebError(400, "The URL or the method of a line is wrong.", "mismatched_url")
        request: Ask | ApiError
        try:
            openai.refuse(bytes(line.body), server.refuses)
            request = openai.read(bytes(line.body), "", {})
            models.add(request.model)
        except ApiError as error:
            request = error
        lines.append((line.custom_id, request))
    if len(models) > 1:
        raise WebError(400, "All requests of a batch must have one model.", "mismatched_model")
    checked_ids([custom_id for custom_id, _ in lines])
    job = Job(new_id("batch_"), lines, openai.write, asked.metadata.get("llmb", ""))
    server.created(job, headers)
    return json_reply(_shown(server, job) | {"metadata": asked.metadata})


def _list(server: BatchServer, query: dict[str, list[str]], azure: bool) -> Reply:
    jobs = [job for job in server.listed() if job.id.startswith("batch_")]
    after, limit = query.get("after", [""])[0], int(query.get("limit", ["20"])[0])
    if not 1 <= limit <= 100:
        raise WebError(400, "limit must be from 1 to 100")
    ids = [job.id for job in jobs]
    start = ids.index(after) + 1 if after else 0
    page = jobs[start : start + limit]
    more = start + limit < len(jobs)
    data = [_shown(server, job) for job in page]
    name = "value" if azure and server.old_azure else "data"
    return json_reply({"object": "list", name: data, "has_more": more})


def _shown(server: BatchServer, job: Job) -> dict[str, Any]:
    settled = job.end is not None and job.after_end >= server.settling
    if settled and not job.files and job.end != "failed":
        for name, wanted in (("output_file_id", True), ("error_file_id", False)):
            rows = [_row(done) for done in job.done if (done.error is None) is wanted]
            if name == "error_file_id" and job.end in ("expired", "cancelled"):
                worked = {done.custom_id for done in job.done}
                code = f"batch_{job.end}"
                message = f"This request could not be executed before the batch {job.end}."
                rows += [
                    {"id": new_id("r"), "custom_id": custom_id, "response": None,
                     "error": {"code": code, "message": message}}
                    for custom_id, _ in job.lines if custom_id not in worked
                ]  # fmt: skip
            if rows:
                file_id = job.files[name] = new_id("file-")
                server.files[file_id] = b"".join(encode(row) + b"\n" for row in rows)
    errors = None
    if job.turned_down:
        code = "token_limit_exceeded" if "token limit" in job.turned_down else "invalid_request"
        line = re.match(r"line (\d+): ", job.turned_down)
        errors = {
            "object": "list",
            "data": [
                {"code": code, "message": job.turned_down, "param": None,
                 "line": int(line[1]) if line else None}
            ],
        }  # fmt: skip
    waiting = "cancelling" if job.cancelling else "in_progress"
    if not job.cancelling and job.looks > server.polls:
        waiting = "finalizing"
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": errors,
        "completion_window": "24h",
        "status": job.end or (waiting if job.looks else "validating"),
        "output_file_id": job.files.get("output_file_id"),
        "error_file_id": job.files.get("error_file_id"),
        "created_at": int(job.created_at),
        "request_counts": {
            "total": 0 if job.turned_down else len(job.lines),
            "completed": job.good if job.end else job.underway(server.polls),
            "failed": job.bad,
        },
        "metadata": {"llmb": job.name} if job.name else None,
    }


def _row(done: Done) -> dict[str, Any]:
    status, body = 200, done.body
    if done.error is not None:
        status, body = done.error.status, openai.write_error(done.error)
    response = {"status_code": status, "request_id": new_id("req"), "body": msgspec.Raw(body)}
    return {
        "id": new_id("batch_req_"), "custom_id": done.custom_id, "response": response,
        "error": None,
    }  # fmt: skip
