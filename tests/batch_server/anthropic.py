"""Anthropic's message batches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from tests.batch_server.jobs import Job, Reply, WebError, checked_ids, encode, json_reply, new_id
from tests.server import anthropic
from tests.server.answers import ApiError, Ask

if TYPE_CHECKING:
    from tests.batch_server import BatchServer

_PATH = re.compile(r"/v1/messages/batches(?:/([^/]+))?(?:/(cancel|results))?")


def is_for(path: str, headers: dict[str, str]) -> bool:
    return path.startswith("/v1/messages")


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    params: msgspec.Raw


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[_Line]


def respond(
    server: BatchServer, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> Reply:
    if headers.get("x-api-key") != server.key:
        raise WebError(401, "invalid x-api-key")
    if "anthropic-version" not in headers:
        raise WebError(400, "anthropic-version: header is required")
    found = _PATH.fullmatch(path)
    if found is None:
        raise WebError(404, "Not found")
    if found[1] is None:
        return _create(server, headers, body) if method == "POST" else _list(server, query)
    job = server.jobs.get(found[1])
    if job is None:
        raise WebError(404, "No such batch.")
    if found[2] == "cancel":
        if job.end is not None:
            raise WebError(400, "The batch has ended.")
        job.cancelling = True
    elif found[2] == "results":
        if job.end is None:
            raise WebError(404, "The batch has no results yet.")
        return Reply(200, _results(job), "application/x-jsonl")
    else:
        job.look(server)
    return json_reply(_shown(server, job))


def _create(server: BatchServer, headers: dict[str, str], body: bytes) -> Reply:
    if len(body) > server.most_bytes:
        raise WebError(413, "Request exceeds the maximum size")
    try:
        asked = msgspec.json.decode(body, type=_Create)
    except msgspec.MsgspecError as error:
        raise WebError(400, str(error)) from None
    if not 1 <= len(asked.requests) <= server.most_requests:
        raise WebError(400, "requests: wrong number of them")
    lines: list[tuple[str, Ask | ApiError]] = []
    for line in asked.requests:
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", line.custom_id):
            raise WebError(400, f"requests: custom_id {line.custom_id!r} is not valid")
        raw = bytes(line.params)
        if b'"output_format"' in raw and "structured" not in headers.get("anthropic-beta", ""):
            raise WebError(400, "output_format: a beta header is required")
        try:
            lines.append((line.custom_id, anthropic.read(raw, "/v1/messages", headers)))
        except ApiError as error:
            lines.append((line.custom_id, error))
    checked_ids([custom_id for custom_id, _ in lines])
    job = Job(new_id("msgbatch_"), lines, anthropic.write)
    server.created(job, headers)
    return json_reply(_shown(server, job))


def _list(server: BatchServer, query: str) -> Reply:
    asked = parse_qs(query)
    jobs = [job for job in server.listed() if job.id.startswith("msgbatch_")]
    limit, after = int(asked.get("limit", ["20"])[0]), asked.get("after_id", [""])[0]
    start = [job.id for job in jobs].index(after) + 1 if after else 0
    page = [_shown(server, job) for job in jobs[start : start + limit]]
    return json_reply(
        {
            "data": page,
            "has_more": start + limit < len(jobs),
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }
    )


def _shown(server: BatchServer, job: Job) -> dict[str, Any]:
    left = len(job.lines) - len(job.done)
    ended = job.end is not None
    settled = ended and job.after_end >= server.settling
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "canceling" if job.cancelling else "in_progress",
        "request_counts": {
            "processing": 0 if ended else left,
            "succeeded": job.good,
            "errored": job.bad,
            "canceled": left if job.end == "cancelled" else 0,
            "expired": left if job.end in ("expired", "completed") else 0,
        },
        "cancel_initiated_at": "2026-01-01T00:00:00Z" if job.cancelling else None,
        "results_url": f"{server.url}/v1/messages/batches/{job.id}/results" if settled else None,
    }


def _results(job: Job) -> bytes:
    rows: list[dict[str, Any]] = []
    for done in job.done:
        result: dict[str, Any] = {"type": "succeeded", "message": msgspec.Raw(done.body)}
        if done.error is not None:
            result = {"type": "errored", "error": msgspec.Raw(anthropic.write_error(done.error))}
        rows.append({"custom_id": done.custom_id, "result": result})
    worked = {done.custom_id for done in job.done}
    kind = {"cancelled": "canceled"}.get(job.end or "", "expired")
    rows += [
        {"custom_id": name, "result": {"type": kind}} for name, _ in job.lines if name not in worked
    ]
    return b"".join(encode(row) + b"\n" for row in rows)
