"""Runs by OpenAI's batch API, and everything that goes wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_batch.engines.batch.job_log import JobLog
from llm_batch.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_REFUSED
from tests.batch_server import BatchServer
from tests.engines.batch.runs import Session, journal, load, results, write_project
from tests.server.answers import Ask


def all_ok(folder: Path, count: int = 6) -> None:
    found = results(folder)
    assert set(found) == {f"q{n}" for n in range(count)}
    assert {row["status"] for row in found.values()} == {"ok"}


def fault(name: str, times: int | None = None) -> str:
    script = {"fault": name} | ({} if times is None else {"times": times})
    return f"[[server: {json.dumps(script)}]] what?"


def job_log(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "results.batches.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def test_a_chain_goes_step_by_step_in_one_job_each(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server)
    session = Session(tmp_path)
    summary = session.play()
    assert summary.exit_code == EXIT_OK
    all_ok(tmp_path)
    assert [len(job.lines) for job in server.jobs.values()] == [6, 6]
    assert server.paid_twice == 0
    assert server.requests["POST", "completions"] == 0
    assert "1 job at the provider: 3/6" in session.states
    assert [line["event"] for line in job_log(tmp_path)] == ["intent", "created", "ended"] * 2


def test_bodies_are_those_that_go_live_and_answers_are_shared_by_the_engines(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    assert Session(tmp_path).play(engine="threads").exit_code == EXIT_OK
    live = set(server.paid)
    (tmp_path / "results.calls.jsonl").rename(tmp_path / "live.calls.jsonl")
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert set(server.paid) == live and server.paid_twice == len(live)
    again = Session(tmp_path)
    assert again.play(engine="threads").exit_code == EXIT_OK
    assert server.paid_twice == len(live)  # the keys are the same, so nothing was asked


def test_calls_cost_what_the_batch_price_makes_of_the_tokens_that_were_billed(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    summary = Session(tmp_path).play()
    batched = summary.progress.spent
    tokens = server.tokens
    into, out = (tokens["batch", "writer", way] for way in ("input", "output"))
    assert batched == pytest.approx((into * 0.5 + out * 2.0) / 1e6)
    elsewhere = tmp_path / "live"
    elsewhere.mkdir()
    write_project(elsewhere, server)
    live = Session(elsewhere).play(engine="threads").progress.spent
    assert batched == pytest.approx(live / 2)


#: What live replies show, as lines: by fault, the status of the item.
IN_LINES = {
    **dict.fromkeys(("ended_as_error", "aborted", "network_error", "no_resource"), "unavailable"),
    **dict.fromkeys(("error_in_200", "error_in_choice"), "unavailable"),
    **dict.fromkeys(("busy_in_envelope", "busy_by_code"), "rate_limited"),
    **dict.fromkeys(("safety", "recitation", "sensitive", "refusal_beside"), "filtered"),
    **dict.fromkeys(("max_tokens", "context_full"), "truncated"),
    **dict.fromkeys(("tool_call", "tool_announced"), "tool_call"),
    **dict.fromkeys(("only_reasoning", "endless_thought"), "reasoning"),
    **dict.fromkeys(("thoughts", "thoughts_again", "content_parts", "content_strings"), "ok"),
    **dict.fromkeys(("content_object", "ending_list"), "ok"),
    "null_choices": "garbage",
    "strange_ending": "incomplete",
}


@pytest.mark.parametrize("name", IN_LINES)
def test_a_line_is_read_as_a_live_reply_is(tmp_path: Path, server: BatchServer, name: str) -> None:
    write_project(tmp_path, server, 1, judge=None, max_attempts=1)
    server.line_faults.append(name)
    Session(tmp_path).play()
    row = results(tmp_path)["q0"]
    assert row["status"] == IN_LINES[name]
    if row["status"] == "ok":
        assert "think" not in row["outputs"]["generate"]


def test_without_usage_a_call_costs_its_worst_case_at_the_batch_price(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 1, judge=None)
    server.line_faults.append("usage_missing")
    Session(tmp_path).play()
    (line,) = journal(tmp_path)
    assert line["worst_case"] and 40 * 2.0 / 1e6 < line["cost"] < 80 * 2.0 / 1e6


def test_jobs_are_split_by_requests_and_custom_ids_are_unique_over_all(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 7, judge=None, batch="job_requests = 3")
    server.most_requests = 3
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [3, 3, 1]
    ids = [custom_id for job in server.jobs.values() for custom_id, _ in job.lines]
    assert len(set(ids)) == 7


def test_jobs_are_split_by_bytes(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_batch.engines.batch.openai.OpenAIBatches.most_bytes", 2000)
    server.most_bytes = 2000
    write_project(tmp_path, server, ["long " * 80 + str(n) for n in range(6)], judge=None)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 3


def test_a_configured_limit_of_queued_tokens_is_kept(tmp_path: Path, server: BatchServer) -> None:
    server.token_limit = 100
    questions = ["word " * 30 + str(n) for n in range(6)]
    write_project(tmp_path, server, questions, judge=None, batch="enqueued_tokens = 100")
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == len(server.submitted) >= 3  # none was turned down


def test_a_limit_of_queued_tokens_is_learned_and_the_rest_comes_after(
    tmp_path: Path, server: BatchServer
) -> None:
    server.token_limit = 100
    write_project(tmp_path, server, ["word " * 30 + str(n) for n in range(6)], judge=None)
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_OK
    all_ok(tmp_path)
    assert 1 <= len(server.jobs) - len(server.submitted) <= 3  # our count of tokens is another
    assert "at most 100 tokens waiting" in session.talk
    assert {len(line["attempts"]) for line in journal(tmp_path)} == {1}


def test_partial_failures_resubmit_only_what_is_missing(
    tmp_path: Path, server: BatchServer
) -> None:
    questions = ["a?", fault("500", 1), fault("429", 2), "b?"]
    write_project(tmp_path, server, questions, judge=None)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    all_ok(tmp_path, 4)
    assert [len(job.lines) for job in server.jobs.values()] == [4, 2, 1]
    assert server.paid_twice == 0
    attempts = {line["item"]: line["attempts"] for line in journal(tmp_path)}
    assert [each["error"] for each in attempts["q2"]] == ["rate_limited", "rate_limited", ""]


def test_requests_that_never_work_fail_for_good_and_are_not_submitted_again(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, ["a?", fault("context_length")], judge=None)
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert results(tmp_path)["q1"]["status"] == "too_long"
    assert len(server.jobs) == 1


def test_resubmitting_is_bounded(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, ["a?", fault("500")], judge=None, max_attempts=3)
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert [len(job.lines) for job in server.jobs.values()] == [2, 1, 1]
    failed = results(tmp_path)["q1"]
    assert failed["status"] == "unavailable" and failed["attempts"]["total"] == 3


def test_a_job_with_an_error_file_and_no_output_file_is_submitted_again(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 3, judge=None)
    server.line_faults.extend(["500"] * 3)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    first, _ = server.jobs.values()
    assert set(first.files) == {"error_file_id"}
    all_ok(tmp_path, 3)


def test_files_that_never_come_end_the_run_and_the_job_is_not_given_up(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.settling = 10_000
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "has no file of its answers" in summary.message
    server.settling = 0
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.paid_twice == 0 and len(server.jobs) == 1


def test_a_job_that_is_turned_down_ends_the_run_with_the_reason(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    server.invalid.append("the billing hard limit has been reached")
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED
    assert "billing hard limit" in summary.message
    assert Session(tmp_path).play().exit_code == EXIT_OK
    all_ok(tmp_path)


def test_lines_that_validation_names_fail_and_the_others_are_submitted_again(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 4, judge=None)
    server.invalid.append("line 2: this line is not to our taste")
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    statuses = sorted(row["status"] for row in results(tmp_path).values())
    assert statuses == ["ok", "ok", "ok", "rejected"]


def test_no_quota_inside_a_job_ends_the_run_and_keeps_what_was_answered(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, ["a?", fault("insufficient_quota", 1)], judge=None)
    assert Session(tmp_path).play().exit_code == EXIT_REFUSED
    assert [line["ok"] for line in journal(tmp_path)].count(True) == 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.paid_twice == 0


def test_trouble_with_uploads_and_looks_is_sat_out(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server)
    server.broken = {("POST", "/files"): 2, ("GET", "/batches/"): 5, ("GET", "/content"): 2}
    assert Session(tmp_path).play().exit_code == EXIT_OK
    all_ok(tmp_path)
    assert server.paid_twice == 0 and len(server.jobs) == 2


def test_a_list_that_lags_behind_does_not_make_a_lost_creation_happen_twice(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.lose_creates, server.hidden = 1, 2
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


def test_a_creation_that_comes_too_often_is_repeated_and_not_looked_for(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.limit_creates = 2
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.requests["GET", "batches"] == 0 and len(server.jobs) == 1


def test_a_creation_that_fails_is_repeated(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server)
    server.break_creates = 2
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 2
    assert server.requests["GET", "batches"] == 10  # each was looked for five times before


def test_a_creation_that_never_works_ends_the_run(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server)
    server.break_creates = 1000
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "could not be created" in summary.message
    server.break_creates = 0
    assert Session(tmp_path).play().exit_code == EXIT_OK


def test_a_job_that_somebody_cancels_ends_the_run_and_its_answers_are_kept(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.ends.append(("cancelled", 0.5))
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "was cancelled at the provider" in summary.message
    assert len(journal(tmp_path)) == 3
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [6, 3]
    assert server.paid_twice == 0


def test_a_stop_leaves_the_jobs_running_and_the_same_command_takes_them_up_again(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    server.polls = 10**6
    session = Session(tmp_path)
    say = session.said.append

    def stop_when_submitted(sentence: str) -> None:
        say(sentence)
        if sentence.startswith("submitted"):
            session.stop("interrupted")

    session.said = type("Said", (list,), {"append": lambda _, text: stop_when_submitted(text)})()
    assert session.play().exit_code == EXIT_INTERRUPTED
    (job,) = server.jobs.values()
    assert job.end is None and not job.cancelling
    server.polls = 1
    again = Session(tmp_path)
    assert again.play().exit_code == EXIT_OK
    assert f"taken up again: {job.id}, with 6 requests" in again.talk
    assert len(server.jobs) == 2 and server.paid_twice == 0


def test_the_deadline_cancels_the_jobs_and_the_rest_goes_live(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    server.polls = 10**6
    session = Session(tmp_path)
    assert session.play(deadline="9s").exit_code == EXIT_OK
    all_ok(tmp_path)
    (job,) = server.jobs.values()
    assert job.end == "cancelled" and job.good == 3
    assert server.paid_twice == 0 and server.requests["POST", "completions"] == 9
    assert "the deadline of 9s is over: 1 batch job is being cancelled" in session.talk
    cost = 0.0
    for kind, into, out in (("batch", 0.5, 2.0), ("live", 1.0, 4.0)):
        ways = (server.tokens[kind, "writer", way] for way in ("input", "output"))
        cost += sum(n * price / 1e6 for n, price in zip(ways, (into, out), strict=True))
    assert sum(line["cost"] for line in journal(tmp_path)) == pytest.approx(cost)


def test_a_budget_is_reserved_at_batch_prices(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, 6, judge=None)
    # One request: at most 40 tokens out at 2 USD by batch, 4 USD live, per million, and some in.
    budget = 6 * (40 * 2.0 + 20) / 1e6
    assert Session(tmp_path).play(budget=budget).exit_code == EXIT_OK
    (job,) = server.jobs.values()
    assert len(job.lines) == 6


@pytest.mark.parametrize("room", [4, 6])
def test_a_budget_is_never_exceeded_whatever_goes_live(
    tmp_path: Path, server: BatchServer, room: int
) -> None:
    write_project(tmp_path, server, 6, judge=None)
    server.polls = 10**6
    budget = (room + 0.3) * 40 * 2.0 / 1e6
    summary = Session(tmp_path).play(budget=budget, deadline="9s")
    assert summary.exit_code == EXIT_INCOMPLETE
    billed = sum(
        count
        * {"batch": {"input": 0.5, "output": 2.0}, "live": {"input": 1.0, "output": 4.0}}[k][w]
        for (k, _, w), count in server.tokens.items()
    )
    assert 0 < billed / 1e6 <= budget


def test_models_without_a_batch_api_are_called_live_beside_the_others(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge="openai/writer")
    path = tmp_path / "llmb.toml"
    text = path.read_text().replace('model = "openai/writer"', 'model = "fake/a"', 1)
    path.write_text(text)
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [6]


def test_a_config_without_any_batch_api_is_refused(tmp_path: Path, server: BatchServer) -> None:
    from llm_batch.errors import ConfigError

    write_project(tmp_path, server, model="fake/a", judge=None)
    path = tmp_path / "llmb.toml"
    path.write_text(path.read_text().replace(f'api_base = "{server.url}"', ""))
    with pytest.raises(ConfigError, match="fake/a cannot be served by batch"):
        Session(tmp_path).play()


def test_what_nobody_asks_for_any_more_is_paid_for_and_written_down(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.polls = 10**6
    session = Session(tmp_path)
    session.stop.clock.sleep = lambda seconds: session.stop("interrupted")  # type: ignore[method-assign]
    assert session.play().exit_code == EXIT_INTERRUPTED
    server.polls = 1
    assert Session(tmp_path).play(sample=2).exit_code == EXIT_OK
    assert len(journal(tmp_path)) == 6 and len(results(tmp_path)) == 2
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0
    assert len({line["key"] for line in journal(tmp_path)}) == len(journal(tmp_path)) == 6


def test_a_job_the_account_does_not_have_is_said_with_a_way_out(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.polls = 10**6
    session = Session(tmp_path)
    session.stop.clock.sleep = lambda seconds: session.stop("interrupted")  # type: ignore[method-assign]
    session.play()
    server.jobs.clear()
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED
    assert "No batch found" in summary.message
    own = JobLog(tmp_path / "results.batches.jsonl").open
    assert f"--forget-job {next(iter(own))}" in summary.message


def test_no_key_is_in_any_file(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server)
    Session(tmp_path).play()
    for path in tmp_path.iterdir():
        assert server.key.encode() not in path.read_bytes()


def test_the_lines_of_a_job_are_what_the_step_says(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, 1)
    Session(tmp_path).play()
    _, judge = server.jobs.values()
    ((_, asked),) = judge.lines
    assert isinstance(asked, Ask)
    assert asked.max_tokens == 40 and asked.schema is not None and asked.model == "writer"
    assert load(tmp_path).run.engine == "batch"
