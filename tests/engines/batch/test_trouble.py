"""Paid answers are had whatever is wrong beside them, and what nobody can have is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_batch.engines.batch.engine import cancel_jobs
from llm_batch.engines.batch.job_log import JobLog, forget_job
from llm_batch.engines.batch.vendors import decoded
from llm_batch.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_REFUSED, ConfigError, Incomplete
from tests.batch_server import BatchServer
from tests.engines.batch.runs import Session, billed, journal, leave, load, results, write_project


def spoilt(change: Callable[[list[bytes]], None]) -> Callable[[bytes], bytes]:
    """Change the lines of a file that has several, however often it is fetched."""

    def spoil(content: bytes) -> bytes:
        lines = content.splitlines()
        if len(lines) < 3:
            return content
        change(lines)
        return b"\n".join(lines) + b"\n"

    return spoil


def cut(lines: list[bytes]) -> None:
    lines[1] = lines[1][:40]


def no_number(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b"200", b"1e999", 1)


def too_deep(lines: list[bytes]) -> None:
    lines[1] = b"[" * 5000 + b"]" * 5000


def nothing_at_the_end(lines: list[bytes]) -> None:
    lines[-1] = b"null"


def other_types(lines: list[bytes]) -> None:
    line = json.loads(lines[1])
    line["response"]["status_code"] = "OK"
    lines[1] = json.dumps(line).encode()


@pytest.mark.parametrize("change", [cut, too_deep, nothing_at_the_end])
def test_a_bad_line_costs_its_own_answer_and_no_other(
    tmp_path: Path, server: BatchServer, change: Callable[[list[bytes]], None]
) -> None:
    write_project(tmp_path, server, judge=None)
    server.spoil = spoilt(change)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [6, 1]
    assert len(results(tmp_path)) == 6 and server.paid_twice == 1


def half_an_emoji(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b'"content":"', b'"content":"\\ud83d', 1)
    assert b"\\ud83d" in lines[1]


def no_status(lines: list[bytes]) -> None:
    line = json.loads(lines[1])
    del line["response"]["status_code"]
    lines[1] = json.dumps(line).encode()


def body_is_the_response(lines: list[bytes]) -> None:
    line = json.loads(lines[1])
    line["response"] = line["response"]["body"]
    lines[1] = json.dumps(line).encode()


def body_as_text(lines: list[bytes]) -> None:
    line = json.loads(lines[1])
    line["response"]["body"] = json.dumps(line["response"]["body"])
    lines[1] = json.dumps(line).encode()


def not_a_number(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b"{", b'{"time":NaN,"so":-Infinity,', 1)


def deep_beside(lines: list[bytes]) -> None:
    deep = b"[" * 5000 + b"]" * 5000
    lines[1] = lines[1].replace(b'"usage":{', b'"usage":{"x":' + deep + b",", 1)
    lines[2] = lines[2][:-1] + b',"x":' + deep + b"}"
    assert deep in lines[1]


def marks_and_returns(lines: list[bytes]) -> None:
    lines[:] = [b"\xef\xbb\xbf" + line + b"\r" for line in lines]


@pytest.mark.parametrize(
    "change",
    [half_an_emoji, other_types, no_number, no_status, body_as_text, not_a_number,
     marks_and_returns, deep_beside, body_is_the_response],
)  # fmt: skip
def test_a_line_that_can_be_read_is_read(
    tmp_path: Path, server: BatchServer, change: Callable[[list[bytes]], None]
) -> None:
    write_project(tmp_path, server, judge=None)
    server.spoil = spoilt(change)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and len(results(tmp_path)) == 6


def test_half_an_emoji_in_a_line_is_no_question_mark() -> None:
    assert decoded(b'{"text": "Score: 4 \\ud83d"}') == {"text": "Score: 4 \ufffd"}


def test_a_file_that_is_something_else_is_fetched_again(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    pages = [b"<html>\n<body>a proxy's error\n", b'{"custom_id": "a"}\n{"custom_id": "llm']
    server.spoil = lambda content: pages.pop() if pages else content
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


def test_answers_are_had_although_the_file_of_errors_is_gone(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.line_faults.append("500")
    kept = server.respond

    def gone(method: str, target: str, headers: dict[str, str], body: bytes) -> object:
        for job in server.jobs.values():
            server.files.pop(job.files.get("error_file_id", ""), None)
        return kept(method, target, headers, body)

    server.respond = gone  # type: ignore[method-assign,assignment]
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [6, 1]
    assert server.paid_twice == 0


def test_a_job_that_cannot_be_found_does_not_keep_the_answers_of_others_away(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None, batch="job_requests = 3")
    leave(tmp_path, server)
    first, _ = server.jobs
    del server.jobs[first]
    server.polls = 1
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "--forget-job" in summary.message
    assert len(journal(tmp_path)) == 3
    with pytest.raises(Incomplete, match="No batch found"):
        cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str)
    assert forget_job(load(tmp_path), first) == 3
    with pytest.raises(ConfigError, match="no open batch job"):
        forget_job(load(tmp_path), first)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(results(tmp_path)) == 6 and server.paid_twice == 0


def test_cancelling_ends_all_jobs_although_one_cannot_be_found(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None, batch="job_requests = 3")
    leave(tmp_path, server)
    first, second = server.jobs
    del server.jobs[first]
    with pytest.raises(Incomplete, match="No batch found"):
        cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str)
    assert server.jobs[second].end == "cancelled" and len(journal(tmp_path)) == 1


def test_a_gateway_that_says_404_once_is_not_believed(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)
    kept, misses = server.jobs, [True, True]

    class Lagging(dict):  # type: ignore[type-arg]
        def get(self, key: str, default: object = None) -> object:
            return None if misses and misses.pop() else super().get(key, default)

    server.jobs = Lagging(kept)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1


def test_a_failed_job_with_answers_gives_them_up(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)

    def failing(job: dict[str, Any]) -> dict[str, Any]:
        over = job.get("status") == "completed" and len(server.jobs) == 1
        return job | ({"status": "failed"} if over else {})

    server.shape = failing
    server.line_faults.append("missing")
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [6, 1]
    assert server.paid_twice == 0


def test_all_failed_and_no_file_at_all_is_submitted_again(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    server.line_faults.extend(["500"] * 3)
    server.shape = lambda job: job | {"error_file_id": None}
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [3, 3]


def test_answers_without_ids_are_not_taken_for_those_of_somebody_else(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.spoil = lambda content: content.replace(b'"custom_id"', b'"custom"')
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "does not carry the ids" in summary.message
    assert server.requests["GET", "batches"] == 0 and len(JobLog(log_of(tmp_path)).open) == 1


def log_of(folder: Path) -> Path:
    return folder / "results.batches.jsonl"


def test_a_provider_that_is_down_between_two_steps_is_waited_for(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    session = Session(tmp_path)

    def down(number: int, after: bool) -> None:
        if len(server.jobs) == 1 and after and not server.broken:
            server.broken[("POST", "/files")] = 20

    server.watch = down
    assert session.play().exit_code == EXIT_OK
    assert session.talk.count("no batch of openai/writer can be submitted now") == 1
    assert len(server.jobs) == 2 and server.paid_twice == 0


def test_a_provider_without_a_list_does_not_make_a_job_happen_twice(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.lose_creates = 1
    kept = server.respond

    def no_list(method: str, target: str, headers: dict[str, str], body: bytes) -> object:
        from tests.batch_server.jobs import WebError

        if method == "GET" and target.startswith("/v1/batches?"):
            raise WebError(405, "Method Not Allowed")
        return kept(method, target, headers, body)

    server.respond = no_list  # type: ignore[method-assign,assignment]
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "--forget-job" in summary.message
    assert len(server.jobs) == 1


def test_one_request_that_is_too_large_for_any_job_fails_alone(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm_batch.engines.batch.openai import OpenAIBatches

    monkeypatch.setattr(OpenAIBatches, "most_bytes", 2000)
    server.most_bytes = 2000
    write_project(tmp_path, server, ["a?", "long " * 600, "b?"], judge=None)
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert {row["id"]: row["status"] for row in results(tmp_path).values()} == {
        "q0": "ok", "q1": "too_long", "q2": "ok",
    }  # fmt: skip


def test_one_request_above_the_limit_of_the_queue_fails_alone(
    tmp_path: Path, server: BatchServer
) -> None:
    server.token_limit = 100
    write_project(tmp_path, server, ["a?", "word " * 300, "b?"], judge=None)
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert results(tmp_path)["q1"]["status"] == "too_long"
    assert len(server.jobs) <= 4 and server.paid_twice == 0


def test_a_queue_that_never_has_room_ends_the_run(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)
    server.limit_creates = 10_000
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "no batch of openai/writer" in summary.message
    assert not server.jobs and not JobLog(log_of(tmp_path)).open


def test_a_full_queue_makes_room_when_a_job_ends(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None, batch="job_requests = 3")
    kept = server.created

    def one_at_a_time(job: object, headers: dict[str, str]) -> None:
        server.limit_creates = int(any(each.end is None for each in server.jobs.values()))
        kept(job, headers)  # type: ignore[arg-type]

    server.created = one_at_a_time  # type: ignore[method-assign]
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(results(tmp_path)) == 6 and server.paid_twice == 0


def test_an_answer_that_is_none_and_was_billed_is_counted_and_within_the_budget(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 4, judge=None)
    server.spoil = lambda content: content.replace(b'"choices"', b'"chance"').replace(
        b'"usage"', b'"use"'
    )
    worst = 40 * 2.0 / 1e6
    budget = 9.0 * worst
    Session(tmp_path).play(budget=budget)
    spent = sum(line["cost"] for line in journal(tmp_path))
    assert server.paid_twice > 0
    assert billed(server) <= spent <= budget


def test_objects_are_asked_for_more_laxly_once_for_all_lines_of_a_job(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.batch_server import jobs as served
    from tests.server.answers import ApiError

    kept = served._error

    def no_schemas(server: BatchServer, asked: object, fault: str) -> ApiError | None:
        if getattr(asked, "schema", None) is not None:
            message = "response_format json_schema is not supported"
            return ApiError(400, message, "invalid_request_error", None)
        return kept(server, asked, fault)  # type: ignore[arg-type]

    monkeypatch.setattr(served, "_error", no_schemas)
    write_project(tmp_path, server)
    Session(tmp_path).play()
    assert [len(job.lines) for job in server.jobs.values()][:3] == [6, 6, 6]
    assert not any(row["status"] == "rejected" for row in results(tmp_path).values())


def test_a_model_that_is_not_known_ends_the_run_and_fails_no_line(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    kept = server.respond

    def whole_file(method: str, target: str, headers: dict[str, str], body: bytes) -> object:
        reply = kept(method, target, headers, body)
        if b'"errors":{' in reply.body:
            job = json.loads(reply.body)
            job["errors"]["data"][0] |= {"code": "model_not_found", "param": "body.model"}
            return type(reply)(200, json.dumps(job).encode())
        return reply

    server.respond = whole_file  # type: ignore[method-assign,assignment]
    server.invalid.append("line 1: the model does not exist")
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "does not exist" in summary.message
    assert not journal(tmp_path)


def test_answers_are_had_although_no_file_of_errors_ever_comes(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.line_faults.append("500")
    server.shape = lambda job: job | {"error_file_id": None}
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [6, 1]
    assert server.paid_twice == 0


def test_lines_that_say_they_were_cancelled_of_a_job_that_was_not_are_not_tried_for_ever(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 3, judge=None, max_attempts=3)

    def cancelled(lines: list[bytes]) -> None:
        for number, line in enumerate(lines):
            error = {"code": "batch_cancelled", "message": "This request was cancelled."}
            row = {"custom_id": json.loads(line)["custom_id"], "response": None, "error": error}
            lines[number] = json.dumps(row).encode()

    server.spoil = spoilt(cancelled)
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert len(server.jobs) == 3
    assert {row["status"] for row in results(tmp_path).values()} == {"batch_cancelled"}
