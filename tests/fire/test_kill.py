"""Killed without warning, and resumed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.kill import FAULTS, kill_and_resume
from tests.server import serve


def test_killed_runs_resume_with_every_item_once_and_pay_twice_for_no_more_than_was_in_flight(
    tmp_path: Path,
) -> None:
    with serve(latency=0.01, jitter=0.9, faults=FAULTS, log=0) as server:
        outcome = kill_and_resume(tmp_path, server, kills=4, items=100, workers=8)
    assert outcome.kills == 4
    assert (outcome.missing, outcome.twice, outcome.exit_code) == (0, 0, 0)
    assert outcome.duplicates <= outcome.in_flight <= 4 * 10
    assert outcome.lines == 100
