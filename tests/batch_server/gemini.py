"""Gemini's batch mode, with inline requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from tests.batch_server.jobs import Job, Reply, WebError, checked_ids, encode, json_reply, new_id
from tests.server import gemini
from tests.server.answers import ApiError, Ask

if TYPE_CHECKING:
    from tests.batch_server import BatchServer

_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 503: 14, 504: 4}
_CREATE = re.compile(r"(/v1beta/models/[^/:]+):batchGenerateContent")
_FILE = re.compile(r"/download/v1beta/(files/[^/:]+):download")
_JOB = re.compile(r"/v1beta/(batches/[^/:]+)(:cancel)?")


def is_for(path: str, headers: dict[str, str]) -> bool:
    return path.startswith(("/v1beta/", "/download/v1beta/files/"))


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    request: msgspec.Raw
    metadata: dict[str, str]


class _Lines(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[_Line]


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    requests: _Lines


class _Batch(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    display_name: str
    input_config: _Input


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    batch: _Batch


def respond(
    server: BatchServer, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> Reply:
    if gemini.key(headers, query) != server.key:
        raise WebError(403, "API key not valid.")
    if method == "POST" and (found := _CREATE.fullmatch(path)):
        return _create(server, headers, body, found[1])
    if method == "GET" and path == "/v1beta/batches":
        jobs = [job for job in server.listed() if job.id.startswith("batches/")]
        start = int(parse_qs(query).get("pageToken", ["0"])[0])
        size = int(parse_qs(query).get("pageSize", ["50"])[0])
        page: dict[str, Any] = {
            "operations": [_shown(server, job, False) for job in jobs[start : start + size]]
        }
        if start + size < len(jobs):
            page["nextPageToken"] = str(start + size)
        return json_reply(page)
    if method == "GET" and (found := _FILE.fullmatch(path)) and found[1] in server.files:
        return Reply(200, server.spoil(server.files[found[1]]), "application/octet-stream")
    found = _JOB.fullmatch(path)
    job = server.jobs.get(found[1]) if found else None
    if found is None or job is None:
        raise WebError(404, "Requested entity was not found.")
    if found[2]:
        job.cancelling = True
        return json_reply({})
    job.look(server)
    return json_reply(_shown(server, job))


def _create(server: BatchServer, headers: dict[str, str], body: bytes, model: str) -> Reply:
    if len(body) > min(server.most_bytes, 20_000_000):
        raise WebError(400, "Request payload size exceeds the limit: 20971520 bytes.")
    try:
        asked = msgspec.json.decode(body, type=_Create)
    except msgspec.MsgspecError as error:
        raise WebError(400, str(error)) from None
    lines: list[tuple[str, Ask | ApiError]] = []
    for line in asked.batch.input_config.requests.requests:
        try:
            request: Ask | ApiError = gemini.read(
                bytes(line.request), f"{model}:generateContent", headers
            )
        except ApiError as error:
            request = error
        lines.append((line.metadata["key"], request))
    checked_ids([custom_id for custom_id, _ in lines])
    job = Job(new_id("batches/b"), lines, gemini.write, asked.batch.display_name)
    server.created(job, headers)
    return json_reply(_shown(server, job))


def _shown(server: BatchServer, job: Job, whole: bool = True) -> dict[str, Any]:
    state = {"completed": "SUCCEEDED", "expired": "EXPIRED", "cancelled": "CANCELLED"}.get(
        job.end or "", "FAILED" if job.end else "RUNNING" if job.looks else "PENDING"
    )
    shown: dict[str, Any] = {
        "name": job.id,
        "metadata": {
            "displayName": job.name,
            "state": f"BATCH_STATE_{state}",
            "batchStats": {
                "requestCount": str(len(job.lines)),
                "successfulRequestCount": str(job.good),
                "failedRequestCount": str(job.bad),
            },
        },
        "done": job.end is not None,
    }
    if job.turned_down:
        shown["error"] = {"code": 3, "message": job.turned_down}
    if whole and job.end == "completed" and job.after_end >= server.settling:
        rows: list[dict[str, Any]] = []
        for done in job.done:
            row: dict[str, Any] = {"metadata": {"key": done.custom_id}}
            if done.error is None:
                row["response"] = msgspec.Raw(done.body)
            else:
                code = _CODES.get(done.error.status, 13)
                row["error"] = {"code": code, "message": done.error.message}
            rows.append(row)
        shown["response"] = {"inlinedResponses": {"inlinedResponses": rows}}
        if server.in_files:
            name = f"files/{job.id.partition('/')[2]}"
            server.files[name] = b"".join(encode(row) + b"\n" for row in rows)
            shown["response"] = {"responsesFile": name}
    return msgspec.json.decode(encode(shown))  # type: ignore[no-any-return]
