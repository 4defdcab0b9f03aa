"""A cluster without a place for an actor, or where ours cannot be started: said, and soon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm_batch import __version__
from llm_batch.engines.ray import engine
from llm_batch.engines.ray import engine as words
from llm_batch.errors import ConfigError
from llm_batch.sending.clock import Stop
from tests.engines.ray.conftest import one_more_node
from tests.engines.ray.runs import play, questions
from tests.fire.runs import load, write_project
from tests.server import Server

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'llmb[ray]'")

pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def taken(cpus: float) -> Iterator[None]:
    """So much of the cluster's only processor is somebody else's."""

    class Other:
        def here(self) -> bool:
            return True

    other = ray.remote(Other).options(num_cpus=cpus).remote()
    ray.get(other.here.remote())
    try:
        yield
    finally:
        ray.kill(other)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_FULL_SECONDS", 0.5)


def test_a_run_that_waits_for_a_place_says_so_and_can_be_stopped(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    write_project(tmp_path, server, questions(5), workers=2)
    stop, said = Stop(), []

    def hear(sentence: str) -> None:
        said.append(sentence)
        stop()

    with taken(1.0):
        summary = play(tmp_path, stop=stop, say=hear)
    assert summary.exit_code == 130 and server.stats()["requests"] == 0
    assert said == ["the run waits for a place in the Ray cluster (1 CPU, 0 free)"]


def test_a_cluster_without_a_place_is_given_up(
    cluster: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_START_SECONDS", 1.5)
    write_project(tmp_path, server, questions(5), workers=2)
    with taken(1.0), pytest.raises(ConfigError, match=r"started no process .*\(1 CPU, 0 free\)"):
        play(tmp_path)


def test_the_actors_that_have_a_place_do_the_work(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    server.control(latency=0.1)
    write_project(tmp_path, server, questions(20), workers=4)
    said: list[str] = []
    most: list[int] = []
    with taken(0.99):
        summary = play(
            tmp_path, say=said.append, progress=lambda state: most.append(state.in_flight)
        )
    assert summary.exit_code == 0
    # Before that, none may have been there yet.
    assert said[-1] == (
        "1 process waits for a place in the Ray cluster (1 CPU, 0 free); the run goes on with 2 "
        "of 4 workers"
    )
    assert most[-10:] and max(most[-10:]) <= 2


OTHER_VERSION = "import llm_batch; llm_batch.__version__ = '0.0.1'"
NOT_THERE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "llm_batch":
            raise ModuleNotFoundError("No module named 'llm_batch'", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (OTHER_VERSION, f"llm_batch 0.0.1 is installed on .*, and {__version__} on this machine"),
        (NOT_THERE, "No module named 'llm_batch'"),
    ],
    ids=["another version", "not installed"],
)
def test_a_node_that_cannot_run_ours_is_refused_by_its_reason(
    cluster: Any,
    server: Server,
    tmp_path: Path,
    code: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_MOST_FAILED_STARTS", 1)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(code)
    write_project(tmp_path, server, questions(5), workers=2)
    with (
        taken(1.0),
        one_more_node(cluster, PYTHONPATH=str(site)),
        pytest.raises(ConfigError, match=sentence) as refused,
    ):
        play(tmp_path, 1)
    assert "install" in refused.value.hint
    assert server.stats()["requests"] == 0


def test_a_server_on_this_machine_is_warned_of_where_there_are_others(
    server: Server, tmp_path: Path
) -> None:
    config = load(write_project(tmp_path, server, questions(1)).parent)
    nodes = [{"NodeManagerAddress": address} for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")]
    (warning,) = words.lonely_addresses(config, nodes)
    assert warning.startswith(f"{server.url}/v1 is another server on every node")
    assert not list(words.lonely_addresses(config, nodes[:2]))
