"""Killed without warning; the same outcome is measured at length in benchmarks/batch_kill.py."""

from __future__ import annotations

from pathlib import Path

from benchmarks.batch_kill import kill_and_resume
from tests.batch_server import BatchServer


def test_a_run_that_is_killed_again_and_again_submits_nothing_twice(tmp_path: Path) -> None:
    with BatchServer() as server:
        server.polls = 2
        outcome = kill_and_resume(tmp_path, server, kills=4, items=60, job_requests=20, seed=3)
    assert outcome.kills == 4
    assert outcome.kept, outcome
