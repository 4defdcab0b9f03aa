"""Runs on a real Ray cluster of several nodes on this machine, against the strict server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale import session_of
from llm_batch.config import Config
from llm_batch.progress import Progress, RunSummary, Stop
from llm_batch.run import run
from tests.fire.processes import until
from tests.fire.runs import journal, load, results, write_project
from tests.server import Server, serve

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'llm_batch[ray]'")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for actors, so that tests may take nodes away."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["OPENAI_API_KEY"] = "sk-cluster-0123456789"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, configure_logging=False)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        del os.environ["OPENAI_API_KEY"]


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    with serve(log=20_000, input_price=1.0, output_price=4.0) as server:
        yield server


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.control(rpm=None, latency=0.0, faults={}, limiter="sliding")
    one_server.reset()
    return one_server


def on_ray(config: Config, actors: int = 2) -> Config:
    options = config.run.model_copy(update={"engine": "ray", "ray_actors": actors})
    return config.model_copy(update={"run": options})


def play(folder: Path, **more: Any) -> RunSummary:
    return run(on_ray(load(folder)), stop=more.pop("stop", None), **more)


def questions(count: int) -> list[str]:
    return [f"What is {number}?" for number in range(count)]


def test_a_run_on_a_cluster_gives_what_threads_give(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    for name in ("threads", "ray"):
        (tmp_path / name).mkdir()
        write_project(tmp_path / name, server, questions(30), workers=8)
    run(load(tmp_path / "threads"))
    summary = play(tmp_path / "ray")
    assert (summary.status, summary.exit_code) == ("done", 0)
    want, found = results(tmp_path / "threads"), results(tmp_path / "ray")
    for row in [*want.values(), *found.values()]:
        del row["latency_seconds"]
    assert found == want
    # The same command again sends nothing.
    requests = server.stats()["requests"]
    assert play(tmp_path / "ray").exit_code == 0
    assert server.stats()["requests"] == requests


def test_all_actors_together_stay_within_one_limit(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(rpm=3000, limiter="bucket1")
    write_project(tmp_path, server, questions(60), workers=12, rpm=3000)
    assert play(tmp_path, ).exit_code == 0  # fmt: skip
    stats = server.stats()
    assert stats["refused"] == 0
    assert stats["successes"] == 120


def test_the_budget_holds_for_the_whole_cluster(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    write_project(tmp_path, server, questions(200), workers=12, budget=0.01)
    server.control(faults={"reset": 0.05, "500": 0.05})
    summary = play(tmp_path)
    assert summary.status == "budget"
    assert 0.005 < server.stats()["billed"]["usd"] <= 0.01


def test_a_lost_node_loses_no_finished_call_and_no_item(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1)
    server.control(latency=0.05)
    write_project(tmp_path, server, questions(150), workers=8)
    lost = threading.Event()

    def watch(state: Progress) -> None:
        if state.calls >= 60 and not lost.is_set():
            lost.set()
            cluster.remove_node(node, allow_graceful=False)

    said: list[str] = []
    summary = play(tmp_path, progress=watch, say=said.append)
    assert lost.is_set()
    assert [line[:32] for line in said] == ["a process of the Ray cluster on "]
    assert summary.exit_code == 0
    assert {row["status"] for row in results(tmp_path).values()} == {"ok"}
    assert len(results(tmp_path)) == 150
    # What was in flight on the node may be billed twice; what had finished is not.
    assert server.stats()["duplicates"] <= 4
    again = [call for call in journal(tmp_path) if call["attempts"][0]["error"] == "lost"]
    assert all(call["worst_case"] for call in again)
    until(lambda: not {"ray::Worker"} & {name for name, _ in _adopted()})


def _adopted() -> list[tuple[str, int]]:
    """Processes of this session whose node is gone: nobody would ever end them."""
    return [
        (name, pid)
        for name, pid in session_of(os.getsid(0))
        if (status := Path(f"/proc/{pid}/status")).exists() and "\nPPid:\t1\n" in status.read_text()
    ]


def test_a_stop_keeps_what_is_in_flight_and_the_same_command_goes_on(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(latency=0.05)
    write_project(tmp_path, server, questions(60), workers=8)
    stop = Stop()
    summary = play(tmp_path, stop=stop, progress=lambda state: state.calls > 20 and stop())
    assert (summary.status, summary.exit_code) == ("interrupted", 130)
    assert play(tmp_path).exit_code == 0
    assert len(results(tmp_path)) == 60
    assert server.stats()["duplicates"] == 0
