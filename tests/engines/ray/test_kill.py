"""The driver of a run on Ray is killed for real: nothing is lost, nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'llmb[ray]'")

from benchmarks.cluster_kill import kill_and_resume, two_nodes
from tests.server import serve


def test_a_killed_driver_takes_its_own_cluster_along_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    with serve(latency=0.01, jitter=0.9, faults={"500": 0.02, "reset": 0.01}, log=0) as server:
        outcome = kill_and_resume(tmp_path, server, kills=1, items=120)
    assert outcome.kills == 1
    assert outcome.kept, outcome


def test_actors_on_a_cluster_that_goes_on_end_with_their_driver(tmp_path: Path) -> None:
    with serve(latency=0.01, jitter=0.9, log=0) as server, two_nodes() as address:
        outcome = kill_and_resume(tmp_path, server, kills=1, items=120, address=address)
    assert outcome.kills == 1
    assert outcome.kept, outcome
