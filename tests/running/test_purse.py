"""What a budget holds back for an item when a request of it is to be sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config
from llm_batch.records import Call, Request
from llm_batch.running.run import Stop
from llm_batch.running.stopping import Purse
from llm_batch.sending.client import Budget
from llm_batch.sending.clock import FakeClock
from llm_batch.sending.fleet import Fleet
from llm_batch.sending.providers.fake import FakeProvider
from tests.builders import answer, item

STEPS: list[dict[str, Any]] = [
    {"name": "generate", "model": "fake/cheap", "prompt": "{{ question }}", "max_tokens": 50},
    {
        "name": "judge",
        "model": "fake/dear",
        "prompt": "{{ question }} {{ generate }}",
        "max_tokens": 10,
        "output": {"score": {"type": "integer", "min": 1, "max": 5}},
    },
]


class Rig:
    def __init__(self, purse: Purse, budget: Budget, fleet: Fleet, chain: Chain, stop: Stop):
        self.purse, self.budget, self.fleet = purse, budget, fleet
        self.chain, self.stop = chain, stop

    def next(self, *calls: Call, number: int = 1) -> Request:
        request = self.chain.next_request(item(number), calls)
        assert request is not None
        return request


@contextmanager
def rig(
    cap: float | None, steps: list[dict[str, Any]] = STEPS, *, roughly: bool = False
) -> Iterator[Rig]:
    config = Config.model_validate(
        {
            "steps": steps,
            "models": {
                "fake/cheap": {"input_price": 1.0, "output_price": 4.0},
                "fake/dear": {"input_price": 30.0, "output_price": 60.0},
            },
            "source": Path("llmb.toml"),
        }
    )
    budget, chain, stop = Budget(cap), config.chain(), Stop()
    with Fleet(config, budget, FakeClock(), lambda *_: FakeProvider()) as fleet:
        purse = Purse(chain, budget, fleet, stop)
        purse.roughly = roughly
        yield Rig(purse, budget, fleet, chain, stop)


def test_the_first_request_holds_the_judges_share_as_well() -> None:
    with rig(1.0) as one:
        request = one.next()
        assert one.purse.admit(item(), request, [])
        generate = one.fleet.models["fake/cheap"].most(request)
        # The judge's prompt holds the answer, which may be 50 tokens, and its own 10 are dear.
        assert one.budget.held > generate + (50 * 30.0 + 10 * 60.0) / 1e6


def test_what_was_held_covers_the_judge_of_the_longest_answer() -> None:
    with rig(1.0) as one:
        request = one.next()
        one.purse.admit(item(), request, [])
        one.budget.cap = one.budget.held  # not a cent more
        longest = answer(request, "word " * 50, cost=one.fleet.models["fake/cheap"].most(request))
        one.budget.charge("q1", longest.cost or 0)
        assert one.purse.admit(item(), one.next(longest), [longest])
        assert one.budget.spent + one.budget.held <= one.budget.cap


def test_an_item_whose_worst_case_does_not_fit_is_not_begun() -> None:
    with rig(1.0) as one:
        request = one.next()
        one.purse.admit(item(), request, [])
        needed = one.budget.held
    for cap, fits in ((needed * 0.999, False), (needed, True)):
        with rig(cap) as one:
            assert one.purse.admit(item(), one.next(), []) is fits
            assert one.budget.held == pytest.approx(needed if fits else 0.0)


def test_the_last_step_holds_its_own_worst_case_and_no_more() -> None:
    with rig(1.0) as one:
        request = one.next()
        call = answer(request)
        judge = one.next(call)
        assert one.purse.admit(item(), judge, [call])
        assert one.budget.held == pytest.approx(one.fleet.models["fake/dear"].most(judge))


def test_a_prompt_that_needs_a_real_answer_is_held_for_before_it_is_there() -> None:
    """``generate.split('#')[1]`` cannot be rendered before there is an answer, but costs money."""
    steps = [STEPS[0], {**STEPS[1], "prompt": "{{ question }} {{ generate.split('#')[1] }}"}]
    with rig(1.0, steps) as one:
        request = one.next()
        assert one.purse.admit(item(), request, [])
        one.budget.cap = one.budget.held  # not a cent more
        longest = "#" + " word" * 49
        call = answer(request, longest, cost=one.fleet.models["fake/cheap"].most(request))
        one.budget.charge("q1", call.cost or 0)
        assert one.purse.admit(item(), one.next(call), [call])
        assert one.budget.spent + one.budget.held <= one.budget.cap


def test_a_reask_must_fit_too() -> None:
    with rig(1.0) as one:
        call = answer(one.next())
        unreadable = answer(one.next(call), "who knows")
        again = one.next(call, unreadable)
        assert one.purse.admit(item(), again, [call, unreadable])
        assert one.budget.held == pytest.approx(one.fleet.models["fake/dear"].most(again))


def test_an_item_that_is_given_up_frees_its_share() -> None:
    with rig(1.0) as one:
        one.purse.admit(item(), one.next(), [])
        one.purse.forget(item())
        assert one.budget.held == 0


def test_without_a_cap_nothing_is_counted_and_all_is_admitted() -> None:
    with rig(None) as one:
        assert one.purse.admit(item(), one.next(), [])
        assert one.budget.held == 0


def test_the_gate_is_stopped_once_the_run_is() -> None:
    with rig(None) as one:
        assert not one.purse.stopped
        one.stop()
        assert one.purse.stopped


def test_items_are_forecast_now_and_then_while_half_of_the_budget_is_left() -> None:
    with rig(1.0) as one:
        one.purse.admit(item(), one.next(), [])
        counted = one.budget.held
    with rig(1.0, roughly=True) as one:
        held = []
        while one.purse.roughly:
            before = one.budget.held
            number = len(held) + 1
            assert one.purse.admit(item(number), one.next(number=number), [])
            held.append(one.budget.held - before)
    assert one.budget.held == pytest.approx(0.5, abs=max(held))
    assert [held[0], held[-1]] == pytest.approx([counted, counted])
    assert all(each > counted for each in held[1:30])  # by their bytes
    with rig(1.5 * counted, roughly=True) as one:
        assert one.purse.admit(item(), one.next(), [])
        assert one.budget.held == pytest.approx(counted)


def test_nothing_is_counted_before_it_may_be() -> None:
    with rig(1.0) as one:
        one.purse.admit(item(), one.next(), [])
        counted = one.budget.held
    with rig(1.0, roughly=True) as one:
        one.purse.counts = False
        assert one.purse.admit(item(), one.next(), [])
        assert one.budget.held > 2 * counted
    with rig(counted, roughly=True) as one:  # unless nothing else fits
        one.purse.counts = False
        assert one.purse.admit(item(), one.next(), [])
        assert one.budget.held == pytest.approx(counted)
