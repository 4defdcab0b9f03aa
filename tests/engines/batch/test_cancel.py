"""``--cancel`` ends jobs and keeps what they finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_batch.engines.batch.engine import cancel_jobs
from llm_batch.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, Incomplete
from llm_batch.running.earlier import Earlier
from tests.batch_server import BatchServer
from tests.engines.batch.runs import Session, journal, load, results, write_project


def interrupted(folder: Path, server: BatchServer) -> None:
    """A run whose jobs go on at the provider."""
    server.polls = 10**6
    session = Session(folder)
    session.stop.clock.sleep = lambda seconds: session.stop("interrupted")  # type: ignore[method-assign]
    assert session.play().exit_code == EXIT_INTERRUPTED
    assert "go on" in session.talk and "--cancel" in session.talk


def test_what_was_finished_is_kept_and_paid_for_once(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)
    interrupted(tmp_path, server)
    session = Session(tmp_path)
    ending = cancel_jobs(load(tmp_path), session.stop.clock, session.said.append)
    assert (ending.jobs, ending.kept, ending.dropped) == (1, 3, 3)
    assert ending.cost == pytest.approx(sum(line["cost"] for line in journal(tmp_path)))
    (job,) = server.jobs.values()
    assert job.end == "cancelled"
    server.polls = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()] == [6, 3]
    assert server.paid_twice == 0 and len(results(tmp_path)) == 6


def test_a_second_time_there_is_nothing_to_cancel(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)
    interrupted(tmp_path, server)
    clock = Session(tmp_path).stop.clock
    cancel_jobs(load(tmp_path), clock, str)
    again = cancel_jobs(load(tmp_path), clock, str)
    assert (again.jobs, again.kept, again.dropped) == (0, 0, 0)
    assert len(journal(tmp_path)) == 3


def test_a_job_that_ended_meanwhile_is_kept_whole(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)
    interrupted(tmp_path, server)
    (job,) = server.jobs.values()
    server.polls = 0
    job.look(server)
    ending = cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str)
    assert (ending.kept, ending.dropped) == (6, 0)


def test_a_wrong_key_says_so_and_gives_nothing_up(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, server, judge=None)
    interrupted(tmp_path, server)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    with pytest.raises(Incomplete, match="Incorrect API key"):
        cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str)
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    assert cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str).kept == 3


def test_overwriting_is_refused_while_jobs_are_open_and_then_sets_them_aside(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    interrupted(tmp_path, server)
    with pytest.raises(ConfigError, match="1 batch job of this output is open"):
        Session(tmp_path).play(earlier=Earlier(overwrite=True))
    cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, lambda _: None)
    server.polls = 1
    assert Session(tmp_path).play(earlier=Earlier(overwrite=True)).exit_code == EXIT_OK
    assert (tmp_path / "results.1.batches.jsonl").exists()
    assert len(results(tmp_path)) == 6
