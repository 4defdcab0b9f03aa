"""What every engine promises; run over those of this process, as batch and ray have their own."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from llm_batch.engines import Engine, local
from llm_batch.engines.local import Serve, ThreadsEngine
from llm_batch.errors import ConfigError
from llm_batch.records import Call, Request
from llm_batch.sending.clock import Cancelled
from llm_batch.sending.fleet import make_room_for
from tests import builders
from tests.builders import answer, request

WORKERS = 4
Make = Callable[[Serve], Engine]


@pytest.fixture(params=["serial", "threads"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes engines of one kind, and closes them in the end."""
    made: list[Engine] = []

    def build(serve: Serve) -> Engine:
        made.append(builders.engine(request.param, serve, WORKERS))
        return made[-1]

    yield build
    for engine in made:
        engine.close()


def drain(engine: Engine) -> list[Call]:
    calls: list[Call] = []
    while engine.held:
        calls += engine.wait(1.0)
    return calls


def run_all(engine: Engine, requests: list[Request]) -> list[Call]:
    calls: list[Call] = []
    waiting = list(requests)
    while waiting or engine.held:
        while waiting and engine.free:
            engine.submit(waiting.pop())
        calls += engine.wait(1.0)
    return calls


def test_every_request_comes_back_as_its_own_call_once(make: Make) -> None:
    requests = [request(f"q{number}") for number in range(200)]
    calls = run_all(make(lambda asked: answer(asked, asked.item_id)), requests)
    assert sorted(call.request.item_id for call in calls) == sorted(r.item_id for r in requests)
    assert all(call.completion and call.completion.text == call.request.item_id for call in calls)


def test_free_and_held_add_up_to_what_fits(make: Make) -> None:
    engine = make(answer)
    room = engine.free
    assert room >= 1
    assert engine.held == 0
    for number in range(room):
        engine.submit(request(f"q{number}"))
        assert (engine.held, engine.free) == (number + 1, room - number - 1)
    drain(engine)
    assert (engine.held, engine.free) == (0, room)


def test_waiting_for_nothing_returns_at_once(make: Make) -> None:
    assert list(make(answer).wait(1000.0)) == []


def test_what_the_function_raises_reaches_whoever_waits(make: Make) -> None:
    def broken(asked: Request) -> Call:
        raise ZeroDivisionError(asked.item_id)

    engine = make(broken)
    engine.submit(request("q7"))
    with pytest.raises(ZeroDivisionError, match="q7"):
        drain(engine)
    assert engine.held == 0


def test_calls_that_finish_along_with_a_bug_are_not_lost(make: Make) -> None:
    def serve(asked: Request) -> Call:
        if asked.item_id == "bad":
            raise ZeroDivisionError
        return answer(asked)

    engine = make(serve)
    waiting = [request(name) for name in ("a", "b", "bad", "c", "d", "e")]
    calls: list[Call] = []
    bugs = 0
    while waiting or engine.held:
        while waiting and engine.free:
            engine.submit(waiting.pop(0))
        try:
            calls += engine.wait(1.0)
        except ZeroDivisionError:
            bugs += 1
    assert bugs == 1
    assert sorted(call.request.item_id for call in calls) == ["a", "b", "c", "d", "e"]


def test_a_request_whose_turn_was_cancelled_is_no_longer_held(make: Make) -> None:
    def stopping(asked: Request) -> Call:
        raise Cancelled

    engine = make(stopping)
    engine.submit(request())
    assert drain(engine) == []
    assert engine.held == 0


def test_what_is_given_back_is_never_served_and_the_rest_is(make: Make) -> None:
    served: list[str] = []
    go_on = threading.Event()

    def serve(asked: Request) -> Call:
        assert go_on.wait(60)
        served.append(asked.item_id)
        return answer(asked)

    engine = make(serve)
    names = [f"q{number}" for number in range(engine.free)]
    for name in names:
        engine.submit(request(name))
    returned = [asked.item_id for asked in engine.give_back()]
    assert engine.held == len(names) - len(returned)
    go_on.set()
    calls = drain(engine)
    engine.close()
    assert sorted(returned + [call.request.item_id for call in calls]) == sorted(names)
    assert not set(returned) & set(served)


def test_closing_waits_for_what_has_begun_and_drops_the_rest(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Semaphore(0)
    go_on = threading.Event()
    served: list[str] = []
    join = threading.Thread.join

    def joining(thread: threading.Thread, timeout: float | None = None) -> None:
        go_on.set()  # not before closing has come as far as waiting
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", joining)

    def serve(asked: Request) -> Call:
        begun.release()
        assert go_on.wait(60)
        served.append(asked.item_id)
        return answer(asked)

    engine = make(serve)
    in_threads = engine.free > 1
    for number in range(engine.free):
        engine.submit(request(f"q{number}"))
    if in_threads:
        for _ in range(WORKERS):
            assert begun.acquire(timeout=60)
    engine.close()
    assert len(served) == (WORKERS if in_threads else 0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("llmb")]


def test_an_engine_can_be_closed_twice_and_without_work(make: Make) -> None:
    engine = make(answer)
    engine.close()
    engine.close()


def test_threads_serve_as_many_at_once_as_there_are_workers() -> None:
    """Each call waits until all workers are in one: with fewer it would never come together."""
    together = threading.Barrier(WORKERS)

    def serve(asked: Request) -> Call:
        together.wait(60)
        return answer(asked)

    engine = ThreadsEngine(serve, WORKERS)
    try:
        calls = run_all(engine, [request(f"q{number}") for number in range(WORKERS * 5)])
    finally:
        engine.close()
    assert len(calls) == WORKERS * 5


def test_threads_that_wait_too_long_return_with_nothing_and_hold_on() -> None:
    go_on = threading.Event()

    def serve(asked: Request) -> Call:
        assert go_on.wait(60)
        return answer(asked)

    engine = ThreadsEngine(serve, WORKERS)
    try:
        engine.submit(request())
        assert list(engine.wait(0.0)) == []
        assert engine.held == 1
        go_on.set()
        assert len(drain(engine)) == 1
    finally:
        engine.close()


def test_calls_are_taken_together_until_few_requests_are_left_for_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an hour for it: only workers that run out of requests can end the wait."""
    monkeypatch.setattr(local, "_TOGETHER_SECONDS", 3600.0)
    workers = 40
    begun = threading.Barrier(workers + 1)
    first = iter(range(workers))

    def serve(asked: Request) -> Call:
        if next(first, None) is not None:
            begun.wait(60)
        return answer(asked)

    engine = ThreadsEngine(serve, workers)
    try:
        spare = engine.free - workers
        for number in range(workers + spare):
            engine.submit(request(f"q{number}"))
        begun.wait(60)
        together = engine.wait(4000.0)
        assert len(together) >= spare - spare // 4
        assert len(together) + len(drain(engine)) == workers + spare
    finally:
        engine.close()


def test_a_process_that_does_not_close_its_engine_ends_all_the_same() -> None:
    """As Ray ends an actor that nobody refers to any more: its threads wait for requests."""
    code = "from llm_batch.engines.local import ThreadsEngine; ThreadsEngine(print, 3)"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_more_threads_than_may_be_had_are_refused_and_none_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, room = threading.Thread.start, iter(range(100))

    def start_some(thread: threading.Thread) -> None:
        if next(room, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    with pytest.raises(ConfigError, match=r"1,000 workers .* start 100") as refused:
        ThreadsEngine(answer, 1000)
    assert "--workers 50" in refused.value.hint
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("llmb_")]


@pytest.fixture
def open_files() -> Iterator[Callable[[int], None]]:
    """Sets the limits of this process for a test; the hard one stays as it is."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_of_open_files_is_raised_to_what_the_workers_need(
    open_files: Callable[[int], None],
) -> None:
    open_files(256)
    make_room_for(300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 364
    make_room_for(10)  # and never lowered
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 364


def test_more_open_files_than_may_be_had_are_refused_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 512))
    with pytest.raises(ConfigError) as refused:
        make_room_for(1000)
    assert "ulimit -n 1064" in refused.value.hint
