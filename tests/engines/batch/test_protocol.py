"""What every engine promises, of the one whose requests wait in jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from llm_batch.engines import Supplies
from llm_batch.engines.batch.engine import ROOM, BatchEngine
from llm_batch.record.journal import Journal
from llm_batch.records import Call, Request
from llm_batch.sending.client import Budget
from llm_batch.sending.fleet import Fleet
from tests.batch_server import BatchServer
from tests.builders import request
from tests.engines.batch.runs import Session, load, write_project

Make = Callable[[], BatchEngine]


@pytest.fixture
def make(tmp_path: Path, server: BatchServer) -> Iterator[Make]:
    write_project(tmp_path, server, judge=None)
    config = load(tmp_path)
    with ExitStack() as stack:
        journal = stack.enter_context(closing(Journal(tmp_path / "results.calls.jsonl")))
        stop = Session(tmp_path).stop
        budget = Budget(None)
        fleet = stack.enter_context(Fleet(config, budget, stop.clock))

        def build() -> BatchEngine:
            engine = BatchEngine(Supplies(config, fleet, budget, journal, stop, str))
            stack.enter_context(closing(engine))
            return engine

        yield build


def asked(count: int) -> list[Request]:
    found = (request(f"q{n}", content=f"What is {n}?", max_tokens=9) for n in range(count))
    return [replace(each, model="openai/writer") for each in found]


def drain(engine: BatchEngine) -> list[Call]:
    calls: list[Call] = []
    while engine.held:
        got = engine.wait(1.0)
        for call in got:
            engine.recorded(call)
        calls += got
    return calls


def test_every_request_comes_back_as_its_own_call_once(make: Make) -> None:
    engine = make()
    for each in asked(40):
        engine.submit(each)
    calls = drain(engine)
    assert sorted(call.request.key for call in calls) == sorted(each.key for each in asked(40))
    assert all(call.completion is not None for call in calls)


def test_free_and_held_add_up_to_what_fits(make: Make) -> None:
    engine = make()
    assert (engine.free, engine.held) == (ROOM, 0)
    for number, each in enumerate(asked(3), 1):
        engine.submit(each)
        assert (engine.free, engine.held) == (ROOM - number, number)
    drain(engine)
    assert (engine.free, engine.held) == (ROOM, 0)


def test_waiting_for_nothing_returns_at_once(make: Make) -> None:
    assert list(make().wait(1000.0)) == []


def test_a_glance_submits_nothing_so_that_jobs_are_not_made_of_crumbs(
    make: Make, server: BatchServer
) -> None:
    engine = make()
    for each in asked(3):
        engine.submit(each)
        assert list(engine.wait(0.0)) == []
    assert not server.jobs
    drain(engine)
    assert [len(job.lines) for job in server.jobs.values()] == [3]


def test_what_is_given_back_is_all_that_is_not_answered(make: Make, server: BatchServer) -> None:
    server.polls = 10**6
    engine = make()
    first, *rest = asked(5)
    engine.submit(first)
    engine.wait(1.0)
    for each in rest:
        engine.submit(each)
    returned = engine.give_back()
    assert {each.key for each in returned} == {each.key for each in asked(5)}
    assert engine.held == 0 and list(engine.give_back()) == []
    assert [len(job.lines) for job in server.jobs.values()] == [1]


def test_an_engine_can_be_closed_twice_and_without_work(make: Make) -> None:
    engine = make()
    engine.close()
    engine.close()
