"""Actors, their node or the ledger are killed for real: nothing paid is lost, all is charged."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm_batch.engines.ray import cluster as actors
from llm_batch.engines.ray import engine as words
from llm_batch.running.progress import Progress
from llm_batch.sending.clock import Stop
from tests.engines.ray.conftest import KEY, one_more_node
from tests.engines.ray.runs import parent, play, processes, questions
from tests.fire.processes import started, until
from tests.fire.runs import journal, results, script, write_project
from tests.server import Server

pytest.importorskip("ray", reason="Ray is not installed: pip install 'llmb[ray]'")

pytestmark = pytest.mark.filterwarnings("ignore")


def once(calls: int, do: Callable[[], object]) -> Callable[[Progress], None]:
    """A progress display that does something when so many calls have been made."""
    left = [do]

    def watch(state: Progress) -> None:
        if state.calls >= calls and left:
            left.pop()()

    return watch


@contextmanager
def meanwhile(server: Server, do: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread while the block runs; what it raises is raised at the end.

    However it ends the server answers again: the run would wait for an answer for ever.
    """
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            do()
        except BaseException as error:
            wrong.append(error)
        finally:
            server.control(hold=False)

    working = threading.Thread(target=work)
    working.start()
    try:
        yield
    finally:
        working.join()
        if wrong:
            raise wrong[0]


@pytest.fixture(autouse=True)
def alone(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of an earlier run is there, and one that starts slowly is not talked about."""
    until(lambda: not processes("Worker") | processes("Ledger"))
    monkeypatch.setattr(words, "_FULL_SECONDS", float("inf"))


def kill(name: str) -> None:
    """Kill one process of the run, by Ray's name for it."""
    found = processes(name)
    assert found
    os.kill(found.pop(), signal.SIGKILL)


def cost(folder: Path) -> float:
    return sum(call["cost"] for call in journal(folder))


def lost(folder: Path) -> list[dict[str, Any]]:
    """Calls with attempts that were lost, each of which says so."""
    found = [
        call for call in journal(folder) if any(a["error"] == "lost" for a in call["attempts"])
    ]
    assert all(call["worst_case"] for call in found)
    assert all(a["maybe_billed"] for call in found for a in call["attempts"] if a["error"])
    return found


def test_a_lost_node_loses_no_finished_call_and_no_item(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(latency=0.5, hold=True)
    write_project(tmp_path, server, questions(40), workers=8)
    said: list[str] = []
    there: set[int] = set()

    def lose(node: Any) -> None:
        until(lambda: server.stats()["in_flight"] == 8)  # both actors are there
        server.control(hold=False)
        until(lambda: server.stats()["successes"] >= 8)
        server.control(hold=True)
        until(lambda: server.stats()["in_flight"] == 8)
        there.update(processes("Worker"))
        cluster.remove_node(node, allow_graceful=False)

    with one_more_node(cluster) as node, meanwhile(server, lambda: lose(node)):
        summary = play(tmp_path, say=said.append)
    assert len(said) == 1 and re.match("a process of the Ray cluster on .* was lost with", said[0])
    assert summary.exit_code == 0
    assert {row["status"] for row in results(tmp_path).values()} == {"ok"}
    assert len(results(tmp_path)) == 40
    # What was in flight on the node may be billed twice; what had finished is not.
    under_way = int(re.findall(r"(\d+) requests? under way", said[0])[0])
    again = lost(tmp_path)
    assert len(again) == under_way > 0
    stats = server.stats()
    assert stats["duplicates"] <= under_way
    assert stats["billed"]["usd"] <= cost(tmp_path) + 1e-9
    first = min(call["attempts"][0]["started_at"] for call in journal(tmp_path))
    assert all(first <= call["attempts"][0]["started_at"] <= time.time() for call in again)
    assert all(
        call["attempts"][0]["started_at"] < call["attempts"][1]["started_at"] for call in again
    )
    # Actors whose node is gone end by themselves: nobody else would ever end them.
    until(lambda: 1 not in map(parent, there))


def test_a_node_that_hangs_is_found_and_its_work_done_elsewhere(
    cluster: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes are stopped and not ended, so no connection breaks: as a network that drops."""
    monkeypatch.setattr(actors, "_SILENT_SECONDS", 3.0)
    server.control(latency=0.5, hold=True)
    write_project(tmp_path, server, questions(12), workers=4, timeout=120)
    said: list[str] = []
    stopped: list[int] = []

    def hang() -> None:
        until(lambda: server.stats()["in_flight"] == 4)
        (raylet,) = [p for kind, p in hung.all_processes.items() if kind == "raylet"]
        pid = raylet[0].process.pid
        stopped.extend([pid, *(worker for worker in processes("Worker") if parent(worker) == pid)])
        for each in stopped:
            os.kill(each, signal.SIGSTOP)
        server.control(hold=False)

    with one_more_node(cluster) as hung:
        try:
            with meanwhile(server, hang):
                summary = play(tmp_path, say=said.append)
        finally:
            for each in stopped:
                os.kill(each, signal.SIGCONT)
    assert len(stopped) == 2 and summary.exit_code == 0
    assert len(results(tmp_path)) == 12
    assert any("was lost with 2 requests under way" in sentence for sentence in said)


def test_a_lost_ledger_is_replaced_and_nobody_notices(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(rpm=3000, limiter="bucket1", latency=0.1)
    write_project(tmp_path, server, questions(60), workers=8, rpm=3000)
    said: list[str] = []
    summary = play(tmp_path, progress=once(20, lambda: kill("Ledger")), say=said.append)
    assert summary.exit_code == 0 and said == []
    assert len(journal(tmp_path)) == 120
    assert {len(call["attempts"]) for call in journal(tmp_path)} == {1}
    stats = server.stats()
    assert (stats["refused"], stats["duplicates"], stats["successes"]) == (0, 0, 120)


def test_what_was_lost_before_a_stop_is_charged(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(hold=True)
    write_project(tmp_path, server, questions(20), workers=4)
    stop = Stop()

    def lose_and_stop() -> None:
        until(lambda: server.stats()["in_flight"] == 4)
        kill("Worker")
        until(lambda: len(said) == 1)
        stop()

    said: list[str] = []
    with meanwhile(server, lose_and_stop):
        summary = play(tmp_path, stop=stop, say=said.append)
    assert summary.exit_code == 130
    # No answer came before the stop, so there are these four calls and no other; two were lost,
    # whether they were sent once more by then or not.
    charged = lost(tmp_path)
    assert len(charged) == 2
    assert all(call["cost"] > 0 for call in charged)
    until(lambda: server.stats()["in_flight"] == 0)
    assert server.stats()["billed"]["usd"] <= cost(tmp_path) + 1e-9
    assert len(journal(tmp_path)) == 4


def test_a_retry_that_is_lost_is_charged_with_the_attempt_before(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(hold=True)  # answers, and not the reset of the first
    asked = ["tell " + script(fault="reset", times=1)]
    write_project(tmp_path, server, asked, workers=1, budget=0.01)

    def lose_the_second() -> None:
        until(lambda: server.stats()["requests"] == 2)
        kill("Worker")

    with meanwhile(server, lose_the_second):
        summary = play(tmp_path, 1)
    assert summary.exit_code == 0
    (call,) = lost(tmp_path)
    assert [attempt["error"] for attempt in call["attempts"]] == ["lost", "lost", ""]
    assert server.stats()["billed"]["usd"] <= cost(tmp_path) + 1e-9


def test_sigterm_ends_a_run_on_ray_as_ctrl_c_does(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(latency=0.5)
    config = write_project(tmp_path, server, questions(60), workers=4)
    where = f'[run]\nengine = "ray"\nray_address = "{cluster.address}"\nray_actors = 2\n'
    config.write_text(config.read_text() + where)
    with started(tmp_path, "--quiet", key=KEY) as driver:
        until(lambda: server.stats()["in_flight"] == 4)
        kill("Worker")  # what Ray has to say of that is for nobody
        until(lambda: server.stats()["successes"] >= 6)
        driver.send_signal(signal.SIGTERM)
        out, said = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert out == "results.jsonl\n"
    assert "interrupted" in said and "next: llmb report" in said
    assert "raylet" not in said and "\x1b" not in said
    # Nothing that was under way was dropped.
    until(lambda: server.stats()["in_flight"] == 0)
    answered = [call for call in journal(tmp_path) if call.get("failure") is None]
    unseen = len(lost(tmp_path))
    assert server.stats()["successes"] - unseen <= len(answered) <= server.stats()["successes"]
