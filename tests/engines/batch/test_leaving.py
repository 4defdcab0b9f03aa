"""``--submit``, ``--collect`` and ``llmb batches``: runs that do not wait for their jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm_batch.cli import app
from llm_batch.engines.batch.job_log import JobLog
from llm_batch.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, LlmbError
from tests.batch_server import BatchServer
from tests.engines.batch.runs import Session, billed, journal, results, write_project

Llmb = Callable[..., tuple[int, str]]


@pytest.fixture
def llmb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Llmb:
    """The command in the folder of the run, where nobody is asked: exit code, and what was said."""
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str) -> tuple[int, str]:
        made = CliRunner().invoke(app, words)
        if isinstance(made.exception, LlmbError):
            error = made.exception
            return error.exit_code, f"{error.message}\n{error.hint}"
        return made.exit_code, made.output

    return invoke


def sizes(server: BatchServer) -> list[int]:
    return [len(job.lines) for job in server.submitted]


def spent(folder: Path) -> float:
    return sum(line["cost"] for line in journal(folder))


def test_a_cron_job_plays_a_run_over_three_submits(
    tmp_path: Path, server: BatchServer, llmb: Llmb
) -> None:
    config = write_project(tmp_path, server, 8)
    # However slow this machine is, each command looks at a job once.
    config.write_text(config.read_text().replace("poll = 0.05", "poll = 600"))
    server.polls = 1
    # The judge of one item is not worked on, and is submitted a third time.
    server.line_faults.extend([*[""] * 8, "500"])
    code, said = llmb("run", "--collect")
    assert code == EXIT_USAGE and "--submit" in said and not server.requests
    code, said = llmb("run", "--submit", "--yes")
    assert code == EXIT_OK and "what can be sent is at the provider" in said
    (job,) = server.jobs.values()
    assert not job.looks  # nobody waited
    code, said = llmb("report", "results.jsonl")
    said = " ".join(said.split())
    assert "No results yet: what can be sent is at the provider" in said
    assert (
        f"still to come from {job.id} (8 requests of openai/writer, step 'generate', begun" in said
    )
    assert "--collect" in said and "still represent" not in said
    codes = []
    while not codes or (codes[-1] == EXIT_INCOMPLETE and len(codes) < 20):
        code, said = llmb("run", "--collect")
        codes.append(code)
        assert code == EXIT_OK or ("the run waits for the provider: batch_" in said)
    assert codes[-1] == EXIT_OK and codes.count(EXIT_INCOMPLETE) >= 3
    assert sizes(server) == [8, 8, 1] and server.paid_twice == 0
    assert [row["status"] for row in results(tmp_path).values()] == ["ok"] * 8
    assert spent(tmp_path) == pytest.approx(billed(server))


def test_a_creation_that_broke_off_is_looked_for_before_the_command_leaves(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.lose_creates, server.hidden = 1, 2
    assert Session(tmp_path).play(leave="submitted").exit_code == EXIT_OK
    assert len(server.jobs) == 1
    assert [job.job for job in JobLog(tmp_path / "results.batches.jsonl").open.values()] == [
        *server.jobs
    ]


def test_a_provider_that_takes_nothing_now_is_no_success(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.broken = {("POST", "/files"): 100}
    summary = Session(tmp_path).play(leave="submitted")
    assert (summary.status, summary.exit_code) == ("pending", EXIT_INCOMPLETE)
    assert "6 requests not submitted yet" in summary.message
    server.broken.clear()
    assert Session(tmp_path).play(leave="pending").exit_code == EXIT_INCOMPLETE
    assert sizes(server) == [6]


def test_the_limit_of_the_queue_is_learned_once_and_not_by_every_command(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 12, judge=None)
    server.token_limit, server.polls = 20, 1
    code = Session(tmp_path).play(leave="submitted").exit_code
    for _ in range(30):
        code = Session(tmp_path).play(leave="pending").exit_code
        if code == EXIT_OK:
            break
    assert code == EXIT_OK and server.paid_twice == 0
    assert sum(bool(job.turned_down) for job in server.jobs.values()) == 1


@pytest.mark.parametrize(
    "limit", ["requests", "bytes", "validation"], ids=["400 at the creation", "413", "later"]
)
def test_a_job_that_is_too_large_is_split(tmp_path: Path, server: BatchServer, limit: str) -> None:
    write_project(tmp_path, server, 8, judge=None)
    if limit == "requests":
        server.most_requests = 3
    elif limit == "bytes":
        server.most_bytes = 300
    else:
        server.invalid.extend(["This batch has more than 4 requests."])
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_OK
    assert max(sizes(server)) <= 4 and sum(sizes(server)) == 8
    assert server.paid_twice == 0 and "requests from now on" in session.talk


def test_what_is_left_over_of_a_step_goes_with_the_next_one(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    server.line_faults.extend(["500", "429"])
    session = Session(tmp_path)
    assert session.play().exit_code == EXIT_OK
    assert sizes(server) == [6, 6, 2]
    assert "6 requests of openai/writer, steps 'generate' and 'judge'" in session.talk
    assert server.paid_twice == 0 and spent(tmp_path) == pytest.approx(billed(server))


@pytest.mark.parametrize(("share", "live"), [("16%", 0), ("17%", 1)])
def test_a_small_rest_goes_live_where_that_is_allowed(
    tmp_path: Path, server: BatchServer, share: str, live: int
) -> None:
    write_project(tmp_path, server, 6)
    server.line_faults.append("500")
    assert Session(tmp_path).play(live_tail=share, budget=0.01).exit_code == EXIT_OK
    # One judge is left over when all else is done.
    assert sizes(server) == [6, 6, *([1] * (1 - live))]
    assert server.requests["POST", "completions"] == live
    assert server.paid_twice == 0 and spent(tmp_path) == pytest.approx(billed(server))


@pytest.mark.parametrize(("share", "jobs"), [("19%", [2, 2, 1]), ("20%", [2, 2])])
def test_what_full_jobs_leave_over_is_no_job_of_one_where_it_may_go_live(
    tmp_path: Path, server: BatchServer, share: str, jobs: list[int]
) -> None:
    write_project(tmp_path, server, 5, judge=None, batch="job_requests = 2")
    session = Session(tmp_path)
    assert session.play(live_tail=share).exit_code == EXIT_OK
    assert sizes(server) == jobs and server.requests["POST", "completions"] == 5 - sum(jobs)
    assert server.paid_twice == 0 and spent(tmp_path) == pytest.approx(billed(server))


def test_the_jobs_are_listed_with_counts_age_and_cost_and_given_up_or_ended(
    tmp_path: Path, server: BatchServer, llmb: Llmb
) -> None:
    write_project(tmp_path, server, 6, judge=None, batch="job_requests = 3")
    assert llmb("batches")[1].strip() == "results.jsonl has no batch jobs."
    server.polls = 10**6
    llmb("run", "--submit", "--yes", "-o", "other.jsonl")
    first, second = server.jobs
    code, said = llmb("batches", "other.jsonl")
    assert code == EXIT_OK and "2 jobs open, 0 over; $0 so far, at most $0.00" in said
    assert first in said and "in_progress" in said and "run --engine batch" in said
    assert "-o" not in said.split("Next")[0]
    code, said = llmb("batches", "other.jsonl", "--forget-job", first)
    assert code == EXIT_OK and "gave up" in said
    assert "1 answers kept" in llmb("batches", "other.jsonl", "--cancel")[1]
    listed = json.loads(llmb("batches", "other.jsonl", "--json")[1])
    assert [(job["id"], job["state"], job["answers"]) for job in listed["jobs"]] == [
        (first, "given up", 0),
        (second, "cancelled", 1),
    ]
    assert listed["jobs"][1]["cost"] == pytest.approx(spent_of(tmp_path / "other.calls.jsonl"))


def spent_of(path: Path) -> float:
    return sum(json.loads(line)["cost"] for line in path.read_text().splitlines())


@pytest.mark.parametrize("flag", ["--submit", "--collect", "--live-tail=2%", "--deadline=6h"])
def test_flags_of_batches_are_refused_where_another_engine_runs(
    tmp_path: Path, server: BatchServer, llmb: Llmb, flag: str
) -> None:
    write_project(tmp_path, server)
    code, said = llmb("run", "--engine", "threads", flag)
    assert code == EXIT_USAGE and flag.partition("=")[0] in said and "--engine batch" in said
