"""What an actor and its driver say to each other, when one of them does not hear the other."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_batch.engines.ray import cluster as actors
from llm_batch.engines.ray.cluster import Actor, Gone
from llm_batch.engines.ray.leases import Limits
from llm_batch.engines.ray.worker import Kit, Worker
from tests.builders import request
from tests.fire.runs import load

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'llmb[ray]'")

FAKE = """
[[steps]]
name = "generate"
model = "fake/a"
prompt = "{{ question }}"
"""


class Ledger:
    """Answers as the actor of a ledger does, at once."""

    def __init__(self) -> None:
        from llm_batch.engines.ray.leases import Ledger as Real

        self.real = Real({"fake/a": Limits(None, None)})
        self.lost = 0
        self.lease = types.SimpleNamespace(remote=self._lease)

    def _lease(self, *words: Any) -> Any:
        if self.lost:
            self.lost -= 1
            return ray.exceptions.ActorDiedError()
        return self.real.lease(*words)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    (tmp_path / "llmb.toml").write_text(FAKE)
    return Kit(load(tmp_path), {"fake/a": Limits(None, None)}, {}, str(tmp_path))


@pytest.fixture
def worker(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """One in this process, whose ledger answers at once."""

    def get(said: Any, timeout: float | None = None) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.chdir("/")
    made = Worker(Ledger(), 2)
    made.start(kit)
    yield made
    assert made._engine is not None
    made._engine.close()


def test_what_was_not_heard_is_said_again_and_done_once(worker: Worker) -> None:
    asked = request("q1")
    news = worker.exchange(1, [asked], {}, False, 5.0)
    assert [call.request for call in news.calls] == [asked]
    assert worker.exchange(1, [asked], {}, False, 5.0) is news
    assert worker.exchange(2, [], {}, False, 0.0).held == 0


def test_a_worker_waits_for_another_ledger(worker: Worker) -> None:
    worker._ledger.lost = 3
    news = worker.exchange(1, [request("q1")], {}, False, 5.0)
    (call,) = news.calls
    assert call.failure is None and len(call.attempts) == 1


def test_a_bug_in_a_call_keeps_the_answers_of_the_others(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = worker._engine
    assert engine is not None
    serve = engine._serve

    def stumble(asked: Any) -> Any:
        if asked.item_id == "bad":
            raise ZeroDivisionError("a bug")
        return serve(asked)

    monkeypatch.setattr(engine, "_serve", stumble)
    both = [request("bad"), request("good")]
    heard = [worker.exchange(1, both, {}, False, 5.0)]
    while heard[-1].held:
        heard.append(worker.exchange(len(heard) + 1, [], {}, False, 5.0))
    assert [c.request.item_id for news in heard for c in news.calls] == ["good"]
    (bug,) = [news.bug for news in heard if news.bug]
    assert isinstance(bug, RuntimeError) and "ZeroDivisionError: a bug" in str(bug)


class Flaky:
    """Ray with one actor, whose answers are what the test says."""

    exceptions = ray.exceptions

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []
        self.killed = False
        method = types.SimpleNamespace(remote=lambda *words: self.asked.append(words) or object())
        self.handle = types.SimpleNamespace(here=method, start=method, exchange=method)

    def remote(self, kind: Any) -> Any:
        return self

    def options(self, **_: Any) -> Any:
        return types.SimpleNamespace(remote=lambda *_: self.handle)

    def get(self, ref: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, handle: Any) -> None:
        self.killed = True


def blip() -> Exception:
    return ray.exceptions.ActorUnavailableError("connection reset", None)


def started(kit: Kit, *answers: Any) -> tuple[Actor, Flaky]:
    flaky = Flaky(("node", "1"), None, *answers)
    actor = Actor(flaky, None, kit, 2)
    assert actor.listen() is None and actor.spot is not None
    actor.fresh.append(request("q1"))
    actor.talk(False)
    return actor, flaky


def test_a_blip_makes_nobody_else_send_the_request(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "_AGAIN_SECONDS", 0.0)
    news = actors.News((), (), (), 1)
    actor, flaky = started(kit, blip(), blip(), news)
    assert actor.listen() is None and actor.listen() is None
    assert len(actor.sent) == 1  # not lost: it is the actor's still
    assert actor.listen() is news
    # The same exchange was asked for three times, by its number.
    assert flaky.asked[-1] == flaky.asked[-2] == flaky.asked[-3]


def test_one_that_says_nothing_for_long_is_silent_once_it_was_asked(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor, _ = started(kit, actors.News((), (), (), 1))
    assert not actor.is_silent
    monkeypatch.setattr(actors, "_SILENT_SECONDS", -1.0)
    assert actor.is_silent
    assert actor.listen() is not None and not actor.is_silent  # nothing was asked since


def test_one_that_stays_out_of_reach_is_given_up(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "_UNREACHED_SECONDS", -1.0)
    actor, _ = started(kit, blip())
    with pytest.raises(Gone):
        actor.listen()


@pytest.mark.parametrize(
    "error",
    [
        ray.exceptions.OutOfMemoryError("the node is low on memory"),
        ray.exceptions.NodeDiedError("dead"),
        ray.exceptions.WorkerCrashedError(),
        ray.exceptions.ActorDiedError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_ray_calls_it_a_lost_actor_is_gone(kit: Kit, error: Exception) -> None:
    actor, _ = started(kit, error)
    with pytest.raises(Gone):
        actor.listen()


def test_the_loss_of_another_actor_is_none_of_this_one(kit: Kit) -> None:
    inside = ray.exceptions.RayTaskError("exchange", "Traceback", ray.exceptions.ActorDiedError())
    both = inside.as_instanceof_cause()
    assert isinstance(both, ray.exceptions.ActorDiedError)
    actor, _ = started(kit, both)
    with pytest.raises(ray.exceptions.RayTaskError):
        actor.listen()
