"""Whatever a vendor or a gateway sends for a job, it is read or said, and never a traceback."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_batch.engines.batch.alike import GroqBatches, MistralBatches, TogetherBatches
from llm_batch.engines.batch.anthropic import AnthropicBatches
from llm_batch.engines.batch.api import BatchApi, EndlessList, Fields, listed, phase_of
from llm_batch.engines.batch.gemini import GeminiBatches
from llm_batch.engines.batch.job_log import Entry, Job, JobLog, collected
from llm_batch.engines.batch.openai import OpenAIBatches
from llm_batch.engines.batch.vendors import Connection
from llm_batch.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_REFUSED, ProviderError, Unavailable
from llm_batch.sending.providers import Prepared
from llm_batch.sending.providers.replies import completion_from_reply
from tests.batch_server import BatchServer
from tests.batch_server.jobs import Reply
from tests.batch_server.shapes import OTHERS, SHAPES, WORDS, Shape, about, failing, having
from tests.engines.batch.runs import Session, billed, journal, leave, results, write_project
from tests.server.answers import ApiError

FAILING = [name for name in SHAPES if name.startswith("errors_")]
UNKNOWN = [name for name in SHAPES if name.startswith("state_")]
READ = [name for name in SHAPES if name not in FAILING + UNKNOWN]


@pytest.mark.parametrize("shape", READ)
def test_a_job_is_read_in_any_shape_and_found_when_its_creation_was_lost(
    tmp_path: Path, server: BatchServer, shape: str
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    server.shape = SHAPES[shape]
    server.lose_creates = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


MODELS = {"anthropic": "anthropic/claude-sonnet-4-5", "gemini": "gemini/gemini-2.5-flash"}


@pytest.mark.litellm
@pytest.mark.parametrize(
    ("vendor", "shape"), [(vendor, shape) for vendor in OTHERS for shape in OTHERS[vendor]]
)
def test_a_job_of_any_vendor_is_read_in_any_shape(
    tmp_path: Path, server: BatchServer, vendor: str, shape: str
) -> None:
    write_project(tmp_path, server, 3, judge=None, model=MODELS[vendor])
    server.shape = OTHERS[vendor][shape]
    server.lose_creates = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


@pytest.mark.litellm
@pytest.mark.parametrize(
    ("vendor", "shape"),
    [
        ("anthropic", having(processing_status="failed", error={"type": "x", "message": WORDS})),
        ("anthropic", having(processing_status="errored", errors=[WORDS])),
        ("gemini", about(lambda job: job | {"state": "BATCH_STATE_FAILED", "error": WORDS})),
        ("gemini", having(metadata=None, done=True, response=None, error={"message": WORDS})),
        ("gemini", having(done=True, response=None, error={"code": 3, "message": WORDS})),
        ("gemini", having(metadata="?", done=True, response=[], error={"code": 3, "msg": WORDS})),
    ],
)  # fmt: skip
def test_a_job_of_any_vendor_that_failed_fails_its_items_in_the_vendors_words(
    tmp_path: Path, server: BatchServer, vendor: str, shape: Shape
) -> None:
    write_project(tmp_path, server, 3, judge=None, model=MODELS[vendor])
    server.shape = shape
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_INCOMPLETE
    assert WORDS in session.talk
    assert all(WORDS in row["error"] for row in results(tmp_path).values())


@pytest.mark.parametrize("shape", FAILING)
def test_a_job_that_failed_fails_its_items_in_the_vendors_words_and_so_does_the_next_run(
    tmp_path: Path, server: BatchServer, shape: str
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    server.shape = SHAPES[shape]
    words = "no reason was given" if "null" in shape else WORDS
    for jobs in (1, 2):  # one more with every run, and not with every look
        session = Session(tmp_path)
        assert session.play().exit_code == EXIT_INCOMPLETE
        assert words in session.talk and len(server.jobs) == jobs
        assert not JobLog(tmp_path / "results.batches.jsonl").open
        rows = results(tmp_path).values()
        assert {row["status"] for row in rows} == {"rejected"}
        assert all(
            words in row["error"] and "correct what it names" in row["error"] for row in rows
        )
    server.shape = lambda value: value
    assert Session(tmp_path).play().exit_code == EXIT_OK


def test_a_job_that_failed_while_nobody_looked_ends_the_same_way(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    leave(tmp_path, server)
    server.shape = SHAPES["errors_text"]
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_INCOMPLETE
    assert WORDS in session.talk and len(server.jobs) == 1


@pytest.mark.parametrize("code", ["500", "internal_error", "server_error"])
def test_a_job_that_failed_in_passing_is_submitted_as_often_as_a_request_is_tried(
    tmp_path: Path, server: BatchServer, code: str
) -> None:
    write_project(tmp_path, server, 3, judge=None, max_attempts=3)
    server.shape = failing(errors={"data": [{"message": "Something broke here.", "code": code}]})
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert len(server.jobs) == 3
    assert all("Something broke" in row["error"] for row in results(tmp_path).values())


@pytest.mark.parametrize("shape", UNKNOWN)
def test_a_state_that_nobody_knows_is_said_once_and_waited_for(
    tmp_path: Path, server: BatchServer, shape: str
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    looks = itertools.count()
    change = SHAPES[shape]
    server.shape = lambda value: change(value) if next(looks) < 20 else value
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_OK
    # Without any word it is a job that cannot be looked at, which is said at every doubling.
    said, times = ("'dreaming'", 1) if shape == "state_unknown" else ("without a batch", 3)
    assert session.talk.count(said) == times and server.paid_twice == 0


@pytest.mark.parametrize(
    "shape", ["state_unknown", "state_null", "nothing"], ids=lambda name: f"{name} for ever"
)
def test_what_cannot_be_told_of_a_job_is_given_up_after_two_days_with_what_to_type(
    tmp_path: Path, server: BatchServer, shape: str
) -> None:
    path = write_project(tmp_path, server, 3, judge=None)
    path.write_text(path.read_text().replace("poll = 0.05", "poll = 600"))
    left = leave(tmp_path, server)
    server.polls = 1
    server.shape = SHAPES.get(shape, lambda value: {})
    for _ in range(2):
        session = Session(tmp_path)
        clock: Any = session.stop.clock

        def sleep(seconds: float, clock: Any = clock) -> None:
            clock.check()
            clock.skipped += 1000.0

        clock.sleep = sleep
        summary = session.play()
        assert summary.exit_code == EXIT_REFUSED and "for two days" in summary.message
        assert "--forget-job llmb-" in summary.message
        assert 48 * 3600 <= clock.skipped < 52 * 3600
    server.shape = lambda value: value
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0 and left.said


STATES = {
    "going": ["validating", "in_progress", "InProgress", "notStarted", "JOB_STATE_RUNNING",
              "BATCH_STATE_PENDING", "JOB_STATE_QUEUED", "canceling", "cancelling", "QUEUED",
              "CANCELLATION_REQUESTED", "finalizing", "JOB_STATE_CANCELLING", " Running "],
    "done": ["completed", "Completed", "COMPLETED", "ended", "succeeded", "SUCCEEDED",
             "JOB_STATE_SUCCEEDED", "BATCH_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED",
             "partially_succeeded", "SUCCESS"],
    "cancelled": ["cancelled", "canceled", "Canceled", "JOB_STATE_CANCELLED",
                  "BATCH_STATE_CANCELLED"],
    "expired": ["expired", "Expired", "JOB_STATE_EXPIRED", "BATCH_STATE_EXPIRED",
                "TIMEOUT_EXCEEDED"],
    "failed": ["failed", "FAILED", "errored", "JOB_STATE_FAILED", "BATCH_STATE_FAILED", "error"],
    "": ["", "dreaming", "JOB_STATE_PAUSED", "JOB_STATE_UNSPECIFIED", "None", "x" * 10**6],
}  # fmt: skip


@pytest.mark.parametrize("phase", STATES)
def test_every_vendors_word_for_a_state_has_its_meaning(phase: str) -> None:
    assert {word[:40]: phase_of(word) for word in STATES[phase]} == {
        word[:40]: phase for word in STATES[phase]
    }


# One line refused


def refused(status: int, message: str) -> ApiError:
    return ApiError(status, message, "invalid_request_error", None)


CONTENT = "Rejected by our content policy."


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refused(403, CONTENT), "filtered"),
        (refused(400, CONTENT), "filtered"),
        (refused(403, "Your project has no access to this model."), "forbidden"),
        (refused(401, "Incorrect API key provided."), "forbidden"),
        (refused(404, "The model does not exist."), "forbidden"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.status),
)
def test_one_refused_line_is_one_failed_item_and_the_others_go_on(
    tmp_path: Path, server: BatchServer, error: ApiError, kind: str
) -> None:
    write_project(tmp_path, server)
    server.line_faults.extend(["", error])
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_INCOMPLETE, summary.message
    statuses = sorted(row["status"] for row in results(tmp_path).values())
    assert statuses == sorted([kind, *["ok"] * 5])
    assert [len(job.lines) for job in server.jobs.values()] == [6, 5]
    # The next run asks once more for what failed, as with every engine, and for nothing else.
    server.line_faults.append(error)
    again = Session(tmp_path).play()
    assert [len(job.lines) for job in server.jobs.values()][2:] == [1]
    # An earlier session was answered, so a 403 is no news of the key, and the others are.
    of_the_key = error.status in (401, 404)
    assert again.exit_code == (EXIT_REFUSED if of_the_key else EXIT_INCOMPLETE), again.message
    assert server.paid_twice == 0


@pytest.mark.parametrize(
    ("refused_name", "change", "now"),
    [
        ("max_tokens", "", "max_completion_tokens"),
        ("temperature", "temperature = 0.0\n", "left out"),
        ("system", 'system = "Be brief."\n', "in the user's message"),
    ],
)
def test_lines_are_asked_otherwise_where_a_parameter_or_a_role_is_not_taken(
    tmp_path: Path, server: BatchServer, refused_name: str, change: str, now: str
) -> None:
    path = write_project(tmp_path, server, 3, judge=None)
    path.write_text(path.read_text() + change)
    server.refuses = [refused_name]
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [3, 3]
    assert session.talk.count("does not take") == 1 and now in session.talk
    assert server.paid_twice == 0


def test_a_parameter_that_is_refused_for_one_line_costs_no_other_one(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    server.line_faults.append(refused(400, "max_tokens is not supported with this model"))
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [3, 1]


def test_what_a_lines_error_quotes_of_its_prompt_does_not_end_the_run(
    tmp_path: Path, server: BatchServer
) -> None:
    text = "My bank says insufficient balance, and my key is an invalid API key"
    write_project(tmp_path, server, [text], judge=None)
    server.line_faults.append(refused(400, f"Bad request near: {text}"))
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert {row["status"] for row in results(tmp_path).values()} == {"rejected"}


def test_an_empty_answer_of_a_line_is_asked_for_once_more(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    server.line_faults.extend(["", "null_content"])
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [3, 1]


def test_an_answer_that_broke_off_costs_what_it_counted(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 3, judge=None, max_attempts=1)

    def broken(raw: bytes) -> bytes:
        return raw.replace(b'"finish_reason":"stop"', b'"finish_reason":"abort"', 1)

    server.spoil = broken
    Session(tmp_path).play()
    lines = journal(tmp_path)
    [lost] = [line for line in lines if not line["ok"]]
    assert 0 < lost["cost"] <= 1.5 * max(line["cost"] for line in lines if line["ok"])
    assert not lost.get("worst_case")
    assert sum(line["cost"] for line in lines) == pytest.approx(billed(server))


def test_what_is_said_of_every_line_ends_the_run(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, 3)
    server.line_faults.extend([refused(403, "Your project has no access to this model.")] * 3)
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "no access" in summary.message
    assert not results(tmp_path)


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_form_of_objects_that_never_worked_is_asked_for_more_laxly_whatever_the_words(
    tmp_path: Path, server: BatchServer, status: int
) -> None:
    write_project(tmp_path, server)
    grammar = refused(status, "The grammar compiler does not support minimum for integer")
    server.line_faults.extend([""] * 6 + [grammar] * 6)
    Session(tmp_path).play()
    # The judge's job goes once more, in plainer words; what it says then is another matter.
    assert [len(job.lines) for job in server.jobs.values()][:3] == [6, 6, 6]
    schemas = [asked.schema for job in server.jobs.values() for _, asked in job.lines]  # type: ignore[union-attr]
    bounded = ["minimum" in str(schema) for schema in schemas]
    assert all(bounded[6:12]) and not any(bounded[12:])
    assert not {row["status"] for row in results(tmp_path).values()} & {"rejected", "unavailable"}


def test_a_form_of_objects_that_worked_is_not_given_up_for_one_bad_line(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    server.line_faults.extend([""] * 7 + [refused(400, "This line is not to our taste")])
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert [len(job.lines) for job in server.jobs.values()] == [6, 6]


# What comes over HTTP


def test_a_file_with_fewer_lines_than_the_job_says_is_fetched_again(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    cuts = [1, 2]

    def cut(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join(lines[: -cuts.pop()]) if cuts and len(lines) > 3 else content

    server.spoil = cut
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


def test_a_file_that_never_has_its_end_keeps_no_other_answers_away(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.spoil = lambda content: content[:-40] if content.count(b"\n") == 6 else content
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [6, 1]
    # It says that all were answered, so what is lost of them was paid for.
    lost = [line for line in journal(tmp_path) if not line["ok"]]
    assert [(line["failure"]["kind"], line["worst_case"]) for line in lost] == [("missing", True)]
    assert sum(line["cost"] for line in journal(tmp_path)) >= billed(server)


def test_answers_that_do_not_come_are_said_to_be_waited_for_once(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    server.settling = 20
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_OK
    assert session.talk.count("without its answers; they are waited for") == 1


@pytest.mark.parametrize("page", [b"", b"\n\n", b"<html><body>One moment</body></html>"])
def test_an_empty_file_or_a_page_of_a_gateway_is_not_a_file_of_answers(
    tmp_path: Path, server: BatchServer, page: bytes
) -> None:
    write_project(tmp_path, server, judge=None)
    times = [1, 2, 3]
    server.spoil = lambda content: page if times and times.pop() else content
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


def instead(server: BatchServer, part: str, change: Callable[[Reply], Reply], times: int) -> None:
    """Change the first replies to paths with this part."""
    kept, left = server.respond, [None] * times

    def respond(method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        reply = kept(method, target, headers, body)
        if method == "GET" and part in target and left:
            left.pop()
            return change(reply)
        return reply

    server.respond = respond  # type: ignore[method-assign]


def test_a_download_that_breaks_off_is_had_again(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)
    instead(server, "/content", lambda reply: replace(reply, cut=True), 3)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


PAGE = b"<!DOCTYPE html><html><body><h1>One moment, please</h1></body></html>"


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: Reply(200, PAGE, "text/html"),
        lambda reply: Reply(200, b""),
        lambda reply: Reply(200, b"[]"),
        lambda reply: Reply(200, b"null"),
        lambda reply: Reply(200, b'{"error":{"message":"upstream"}}'),
        lambda reply: Reply(403, b"<html>Request blocked</html>", "text/html"),
        lambda reply: Reply(404, b"<html>No route</html>", "text/html"),
        lambda reply: Reply(200, b"[" * 100_000 + b"]" * 100_000),
    ],
    ids=["a page", "nothing", "a list", "null", "an error", "403", "404", "too deep"],
)
def test_what_a_gateway_says_in_passing_instead_of_a_job_is_waited_out(
    tmp_path: Path, server: BatchServer, change: Callable[[Reply], Reply]
) -> None:
    write_project(tmp_path, server, judge=None)
    instead(server, "/batches/", change, 2)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


def test_a_key_is_not_taken_to_where_a_reply_points(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)
    with BatchServer() as other:
        location = f"{other.url}/v1/files/f/content"
        instead(server, "/content", lambda reply: replace(reply, status=302, location=location), 9)
        summary = Session(tmp_path).play()
        assert summary.exit_code == EXIT_REFUSED and "redirected to" in summary.message
        assert not other.requests
    assert len(JobLog(tmp_path / "results.batches.jsonl").open) == 1


def test_a_reply_of_any_size_is_not_held_in_memory(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, server, judge=None)
    monkeypatch.setattr("llm_batch.engines.batch.vendors._BYTES", 50_000)
    instead(server, "/batches/", lambda reply: Reply(200, b" " * 200_000 + reply.body), 3)
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_OK
    assert "the reply has more than 0.0477 MB" in session.talk


# Lists without an end


def api_with(kind: type[Any], answer: Callable[[str], bytes]) -> Any:
    """A vendor's API whose every reply is made here, from the path."""
    like = Prepared("http://127.0.0.1:9/v1/models/m:generateContent", {}, b'{"model":"m"}')
    api = kind(like, "openai") if issubclass(kind, OpenAIBatches) else kind(like)
    api._http._send = lambda method, path, *more: answer(path)
    return api


def pages_of(kind: type[Any], job: dict[str, Any], cursor: Any) -> bytes:
    page = {"data": [job], "has_more": True, "last_id": cursor}
    if kind is GeminiBatches:
        page = {"operations": [job], "nextPageToken": cursor}
    return json.dumps(page).encode()


VENDORS = [OpenAIBatches, AnthropicBatches, GeminiBatches]
ALIKE = [GroqBatches, MistralBatches, TogetherBatches]


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("cursors", ["the same", "always new", "none"])
def test_a_list_without_an_end_is_not_read_for_ever_nor_taken_for_a_whole_one(
    kind: type[Any], cursors: str
) -> None:
    count = itertools.count(1)

    def answer(path: str) -> bytes:
        made = {"the same": "c1", "always new": f"c{next(count)}", "none": None}[cursors]
        return pages_of(kind, {"created_at": None}, made)

    api = api_with(kind, answer)
    if kind is GeminiBatches and cursors == "none":
        assert api.find("llmb-1", 0.0, "", 1, ()) is None  # that is the end of Google's lists
        return
    with pytest.raises(EndlessList):
        api.find("llmb-1", 0.0, "", 1, ())
    assert next(count) < 1100


@pytest.mark.parametrize("page", [None, {}, "text", {"data": None}, {"data": [1]}, {"jobs": []}])
def test_what_is_no_list_is_not_taken_for_an_empty_one(page: Any) -> None:
    with pytest.raises(Unavailable):
        listed(page, "data")


@pytest.mark.parametrize("page", [[], {"data": []}, {"data": None, "has_more": False},
                                  {"data": {"data": []}}])  # fmt: skip
def test_an_empty_list_is_one(page: Any) -> None:
    assert listed(page, "data") == []


# Any JSON at all

JOB = Job(
    "llmb-0123456789abcdef", "m", 1.8e9, [Entry(f"k{n}", "q", "s", 0, 0.1, 9) for n in (0, 1)]
)
ANSWER = {
    "id": "r", "model": "m", "choices": [{"finish_reason": "stop", "message": {"content": "Yes"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}  # fmt: skip
VALID: dict[type[Any], dict[str, Any]] = {
    OpenAIBatches: {
        "job": {
            "id": "b1", "status": "failed", "created_at": 1.8e9, "output_file_id": "f1",
            "error_file_id": "f2", "metadata": {"llmb": JOB.id},
            "request_counts": {"total": 2, "completed": 1, "failed": 1},
            "errors": {"data": [{"code": "invalid", "message": "no", "line": 1, "param": None}]},
        },
        "lines": [
            {"custom_id": JOB.custom_id(0), "response": {"status_code": 200, "body": ANSWER},
             "error": None},
            {"custom_id": JOB.custom_id(1), "response": {"status_code": 429, "body": {}},
             "error": {"code": "x", "message": "y"}},
        ],
    },
    AnthropicBatches: {
        "job": {
            "id": "b1", "processing_status": "ended", "created_at": "2026-01-01T00:00:00Z",
            "request_counts": {"succeeded": 1, "errored": 1}, "results_url": "http://x",
            "cancel_initiated_at": None, "archived_at": None, "status": "failed",
        },
        "lines": [
            {"custom_id": JOB.custom_id(0), "result": {"type": "succeeded", "message": ANSWER}},
            {"custom_id": JOB.custom_id(1), "result": {
                "type": "errored", "error": {"error": {"type": "api_error", "message": "no"}}}},
        ],
    },
    GeminiBatches: {
        "job": {
            "name": "batches/1", "done": True, "error": {"code": 3, "message": "no"},
            "metadata": {"state": "BATCH_STATE_FAILED", "displayName": JOB.id,
                         "batchStats": {"requestCount": "2", "successfulRequestCount": "1"}},
            "response": {"inlinedResponses": {"inlinedResponses": [
                {"metadata": {"key": JOB.custom_id(0)}, "response": ANSWER},
                {"metadata": {"key": JOB.custom_id(1)}, "error": {"code": 8, "message": "no"}},
            ]}},
        },
        "lines": [{}],
    },
}  # fmt: skip

VALID |= dict.fromkeys((GroqBatches, TogetherBatches), VALID[OpenAIBatches])
VALID[MistralBatches] = {
    "job": {
        "id": "b1", "status": "SUCCESS", "created_at": 1.8e9, "output_file": "f1",
        "error_file": "f2", "metadata": {"llmb": JOB.id}, "total_requests": 2,
        "succeeded_requests": 1, "failed_requests": 1, "errors": [{"message": "no", "count": 1}],
    },
    "lines": VALID[OpenAIBatches]["lines"],
}  # fmt: skip

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(
        ["", "failed", "ended", "completed", "9" * 5000, JOB.id, f"{JOB.id}-{'9' * 5000}", "\ud83d"]
    )
)
ANY = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "data", "message", "code", "job", "id", "status", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in a value."""
    yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, each in value.items():
            yield from paths_of(each, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, valid: Any) -> Any:
    """The value with some of its fields dropped, replaced or nested."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from(list(paths_of(value))[1:] or [("x",)]))
        place = value
        for key in way:
            place = place[key]
        what = draw(st.sampled_from(["drop", "replace", "list", "object", "text"]))
        if not isinstance(place, dict | list) or last == "x":
            return draw(ANY)
        if what == "drop":
            del place[last]
        elif what == "replace":
            place[last] = draw(ANY)
        elif what == "list":
            place[last] = [place[last]]
        elif what == "object":
            place[last] = {draw(st.sampled_from(["data", "job", "x"])): place[last]}
        else:
            place[last] = json.dumps(place[last])
    return draw(st.sampled_from([value, [value], {"job": value}, {"data": value}]))


class Wire:
    """Reads replies of OpenAI's layout."""

    def read(self, request: Any, body: bytes) -> Any:
        return completion_from_reply(body)


@pytest.mark.parametrize("kind", [*VENDORS, *ALIKE])
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_json_for_a_job_is_read_or_an_error_of_ours(
    kind: type[Any], data: st.DataObject
) -> None:
    valid = VALID[kind]
    job = data.draw(mutated(valid["job"]), "job")
    lines = data.draw(mutated(valid["lines"]), "lines")
    rows = lines if isinstance(lines, list) else [lines]
    file = "\n".join(json.dumps(row) for row in rows).encode()
    cursor = data.draw(LEAVES, "cursor")
    page = pages_of(kind, job, cursor)
    if kind is GroqBatches:
        paging = data.draw(st.just({"next_cursor": cursor}) | ANY, "paging")
        page = json.dumps({"data": [job], "paging": paging}).encode()

    def answer(path: str) -> bytes:
        if "content" in path or "results" in path:
            return file
        listing = re.search(r"limit=|page_?[sS]ize=|cursor=|/batches$", path)
        return page if listing else json.dumps(job).encode()

    api: BatchApi = api_with(kind, answer)

    def look() -> None:
        state = api.poll("b1")
        assert isinstance(state.name, str) and state.completed >= 0
        if state.ended:
            found = collected(JOB, state, Connection(Wire(), api), lambda step: {}, 1.8e9)  # type: ignore[arg-type]
            assert found is None or len(found) == 2

    tries: list[Callable[[], object]] = [
        look,
        lambda: api.find(JOB.id, 1.8e9, "b0", 2, ()),
        api.marker,
        lambda: api.create(JOB.id, "f1" if issubclass(kind, OpenAIBatches) else b""),
        lambda: api.is_ready("f1"),
        lambda: api.cancel("b1"),
    ]
    for attempt in tries:
        try:
            attempt()
        except ProviderError as error:
            assert error.message


@settings(max_examples=200, deadline=None)
@given(value=ANY)
def test_a_field_of_another_type_is_missing(value: Any) -> None:
    fields = Fields({"a": value})
    assert isinstance(fields.text("a"), str) and isinstance(fields.words("a"), str)
    assert isinstance(fields.id("a"), str) and fields.count("a") >= 0
    assert isinstance(fields.rows("a"), list) and isinstance(fields.fields("a").all, dict)
    assert fields.time("a") is None or isinstance(fields.time("a"), float)
    assert isinstance(fields.flag("a"), bool)


def test_nothing_is_charged_for_a_job_that_failed(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, 3, judge=None)
    server.shape = SHAPES["errors_text"]
    Session(tmp_path).play()
    assert sum(line["cost"] for line in journal(tmp_path)) == 0
