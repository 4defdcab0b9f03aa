"""Runs on a real Ray cluster of several nodes on this machine, against the strict server."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from llm_batch.engines.ray.engine import RayEngine
from llm_batch.running.run import Overrun, run
from llm_batch.sending.clock import Stop
from tests.engines.ray.runs import on_ray, play, questions
from tests.fire.processes import until
from tests.fire.runs import load, results, write_project
from tests.server import Server

pytest.importorskip("ray", reason="Ray is not installed: pip install 'llmb[ray]'")

pytestmark = pytest.mark.filterwarnings("ignore")


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


@pytest.mark.parametrize("by", ["flag", "variable", "program"])
def test_the_cluster_that_is_used_is_said(
    cluster: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    write_project(tmp_path, server, questions(4))
    said: list[str] = []
    flag = None
    if by == "flag":
        monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
        flag = cluster.address
    elif by == "variable":
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    else:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run(load(tmp_path, engine="ray", ray_address=flag), say=said.append)
    who = {
        "flag": "",
        "variable": " (RAY_ADDRESS)",
        "program": ", which this program is connected to",
    }[by]
    nodes = "2 nodes, 1 CPU, 2 processes of this run"
    assert f"on the Ray cluster at {cluster.address}{who}: {nodes}" in said


def test_all_actors_together_stay_within_one_limit(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(rpm=3000, limiter="bucket1")
    write_project(tmp_path, server, questions(60), workers=12, rpm=3000)
    assert play(tmp_path).exit_code == 0
    stats = server.stats()
    assert stats["refused"] == 0
    assert stats["successes"] == 120


def test_while_the_question_of_the_cost_stands_no_actor_gets_leave_to_send(
    cluster: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    write_project(tmp_path, server, questions(40), workers=8)
    monkeypatch.setattr("llm_batch.running.run.ASK_ABOVE_USD", 0.0)
    monkeypatch.setattr("llm_batch.running.run._LEAVES_ESTIMATE", 0.0)
    engines: list[RayEngine] = []
    hold = RayEngine.hold

    def held(engine: RayEngine, on: bool) -> None:
        engines.append(engine)
        hold(engine, on)

    def confirm(_: Overrun) -> bool:
        ledger = engines[0]._ledger.handle
        for place in engines[0]._kit.limits:
            until(lambda: not ray.get(ledger.lease.remote(place, [0.0], (), 0)).slips)  # noqa: B023
        until(lambda: not server.stats()["in_flight"])
        return True

    monkeypatch.setattr(RayEngine, "hold", held)
    assert play(tmp_path, confirm_overrun=confirm).status == "done"
    assert len(engines) == 2 and server.stats()["successes"] == 80


def test_the_budget_holds_for_the_whole_cluster(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    write_project(tmp_path, server, questions(200), workers=12, budget=0.01)
    server.control(faults={"reset": 0.05, "500": 0.05})
    summary = play(tmp_path)
    assert summary.status == "budget"
    assert 0.005 < server.stats()["billed"]["usd"] <= 0.01


def test_a_stop_keeps_what_is_in_flight_and_the_same_command_goes_on(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(latency=0.05)
    write_project(tmp_path, server, questions(60), workers=3)  # of 8 actors, 5 have no worker
    stop = Stop()
    summary = play(tmp_path, 8, stop=stop, progress=lambda state: state.calls > 20 and stop())
    assert (summary.status, summary.exit_code) == ("interrupted", 130)
    assert play(tmp_path).exit_code == 0
    assert len(results(tmp_path)) == 60
    assert server.stats()["duplicates"] == 0


def test_a_limit_that_replies_state_holds_for_all_actors_and_is_shown(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(rpm=1200, limiter="bucket1", headers=True, latency=0.02)
    write_project(tmp_path, server, questions(60), workers=16)
    shown = set()
    summary = play(tmp_path, progress=lambda state: shown.add(state.rpm))
    stats = server.stats()
    assert summary.exit_code == 0
    # What was under way before the first reply came is all that may be too much: a second's worth
    # is 20 requests.
    assert stats["refused"] <= 16
    assert 2400 in shown  # of two models


def test_a_refusal_by_one_model_on_one_node_holds_all_actors_back(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    told = '[[server: {"model": "writer", "fault": "429", "times": 1, "retry_after": "2"}]]'
    asked = {f"q{n}": f"What is {n}?" + (told if n == 8 else "") for n in range(40)}
    server.control(latency=0.1, trace=True)
    write_project(tmp_path, server, asked, workers=4, models=("writer", "writer"))
    assert play(tmp_path).exit_code == 0
    at = [arrival[0] for arrival in server.stats()["arrivals"]]
    gaps = [later - earlier for earlier, later in zip(at, at[1:], strict=False)]
    assert max(gaps) > 1.8


def test_paths_begin_where_the_command_was_typed(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llmb.toml").write_text(
        '[data]\npath = "q.csv"\n[models."fake/writer"]\nscript = "answers.jsonl"\n'
        '[[steps]]\nname = "generate"\nmodel = "fake/writer"\nprompt = "{{ text }}"\n'
    )
    (tmp_path / "q.csv").write_text("text\none\ntwo\n")
    (tmp_path / "answers.jsonl").write_text('"as scripted"\n')
    monkeypatch.chdir(tmp_path)
    assert play(tmp_path, 1).exit_code == 0
    found = [row["outputs"]["generate"] for row in results(tmp_path).values()]
    assert found == ["as scripted"] * 2


def test_a_dataset_of_ray_goes_in_and_the_results_are_one(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    data = pytest.importorskip("ray.data", reason="Ray Data is not installed: ray[data]")
    write_project(tmp_path, server, [])
    rows = [{"id": f"q{n}", "question": f"What is {n}?"} for n in range(20)]
    summary = run(on_ray(load(tmp_path)), data=data.from_items(rows))
    assert summary.status == "done"
    written = data.read_json(summary.path, lines=True)
    found = {row["id"]: row["outputs"]["generate"] for row in written.iter_rows()}
    assert set(found) == {row["id"] for row in rows} and all(found.values())


def test_many_workers_wait_in_few_processes_and_take_no_connections_of_the_driver(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    write_project(tmp_path, server, questions(2), workers=600)
    said: list[str] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        run(load(tmp_path, engine="ray"), say=said.append)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "2 processes of this run" in said[0]
