"""The loop: what is sent when, what is not sent, and what is left when it stops."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from llm_batch.chain.chain import Chain
from llm_batch.chain.outputs import OutputField
from llm_batch.chain.score_rules import ScoreRule
from llm_batch.chain.steps import Step
from llm_batch.engines.local import SerialEngine, Serve, ThreadsEngine
from llm_batch.records import Call, Item, Request, Result
from llm_batch.running.play import _REFUSALS, OpenGate, Tick, play
from llm_batch.sending.clock import Cancelled
from tests.builders import answer, chain, failure, item, items, reply_to, serve, step


class Batch:
    """An engine with room for many, which finishes calls in the order it is told to.

    Args:
        room: How many it holds.
        order: From the names of what it holds (``q1.generate``) to the ones to finish next; by
            default all of them.
    """

    def __init__(
        self,
        serve: Serve = serve,
        room: int = 3,
        order: Callable[[list[str]], list[str]] = lambda names: names,
    ) -> None:
        self.serve, self.room, self.order = serve, room, order
        self.holding: dict[str, Request] = {}
        self.submitted: list[str] = []
        self.most = 0

    @property
    def free(self) -> int:
        return self.room - len(self.holding)

    @property
    def held(self) -> int:
        return len(self.holding)

    def submit(self, request: Request) -> None:
        assert self.free > 0
        name = f"{request.item_id}.{request.step}"
        self.holding[name] = request
        self.submitted.append(name)
        self.most = max(self.most, self.held)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        if not timeout_seconds:
            return []
        calls = []
        for name in self.order(list(self.holding)):
            request = self.holding.pop(name)
            try:
                calls.append(self.serve(request))
            except Cancelled:
                continue
        return calls

    def give_back(self) -> Sequence[Request]:
        return []

    def close(self) -> None:
        pass


class Known:
    """Answers made before, by item and step."""

    def __init__(self, calls: dict[tuple[str, str], Call]) -> None:
        self.calls = calls

    @property
    def unused(self) -> int:
        return len(self.calls)

    def answered(self, request: Request) -> Call | None:
        return self.calls.pop((request.item_id, request.step), None)


class Shut(OpenGate):
    """Refuses what it is told to, and notes what was given up."""

    def __init__(self, refuses: Callable[[Item, Request], bool] = lambda item, request: False):
        self.refuses = refuses
        self.stopped = False
        self.forgotten: list[str] = []

    def admit(self, item: Item, request: Request, calls: Sequence[Call]) -> bool:
        return not self.refuses(item, request)

    def forget(self, item: Item) -> None:
        self.forgotten.append(item.id)


def results(events: Sequence[Any]) -> list[Result]:
    return [event for event in events if isinstance(event, Result)]


def ids(events: Sequence[Any]) -> list[str]:
    return [result.item.id for result in results(events)]


def known_answers(which: Sequence[Item], played: Chain) -> Known:
    calls: dict[tuple[str, str], Call] = {}
    for one in which:
        own: list[Call] = []
        while (request := played.next_request(one, own)) is not None:
            own.append(serve(request))
            calls[one.id, request.step] = own[-1]
    return Known(calls)


# --- the order of things


@pytest.mark.parametrize(
    "make",
    [SerialEngine, lambda serve: ThreadsEngine(serve, 4), Batch],
    ids=["serial", "threads", "batch"],
)
def test_every_engine_leads_to_the_same_results(make: Callable[[Serve], Any]) -> None:
    engine = make(serve)
    try:
        events = list(play(items(30), chain(), engine))
    finally:
        engine.close()
    found = {result.item.id: result for result in results(events)}
    assert len(results(events)) == len(found) == 30
    assert {result.status for result in found.values()} == {"ok"}
    expected = 1 + len(f"{found['q7'].outputs['generate']}") % 5
    assert isinstance(expected, int)
    assert found["q7"].outputs["generate"] == "answer to What is 7?"
    assert len([event for event in events if isinstance(event, Call)]) == 60


def test_follow_ups_go_before_new_items() -> None:
    engine = Batch(room=2)
    list(play(items(4), chain(), engine))
    assert engine.submitted == [
        "q0.generate", "q1.generate", "q0.judge", "q1.judge",
        "q2.generate", "q3.generate", "q2.judge", "q3.judge",
    ]  # fmt: skip


def test_an_engine_is_filled_and_never_overfilled() -> None:
    engine = Batch(room=3, order=lambda names: names[:1])
    list(play(items(20), chain(), engine))
    assert engine.most == 3


def test_items_begin_in_the_order_they_are_given() -> None:
    engine = Batch(room=3, order=lambda names: names[-1:])
    list(play(items(10), chain(), engine))
    begun = [name for name in engine.submitted if name.endswith("generate")]
    assert begun == [f"q{number}.generate" for number in range(10)]


def test_items_are_read_only_as_they_are_needed() -> None:
    read: list[int] = []

    def stream() -> Any:
        for number in range(100):
            read.append(number)
            yield item(number)

    engine = Batch(room=2)
    for event in play(stream(), chain(), engine):
        if isinstance(event, Result):
            break
    assert len(read) <= 4


def test_a_call_is_recorded_before_anything_is_done_with_it_or_its_neighbours() -> None:
    engine = Batch(room=3)
    recorded: list[Call] = []
    sent_when_recorded: list[int] = []

    def record(calls: Sequence[Call]) -> None:
        recorded.extend(calls)
        sent_when_recorded.append(len(engine.submitted))

    events = play(items(3), chain(), engine, record)
    first = next(events)
    assert isinstance(first, Call)
    assert len(recorded) == 3
    assert sent_when_recorded == [3]
    list(events)
    assert len(recorded) == 6


def test_nothing_for_a_while_is_a_tick() -> None:
    turns = iter([[], [], ["q0.generate"], ["q0.judge"]])
    engine = Batch(order=lambda names: next(turns))
    kinds = [type(event) for event in play(items(1), chain(), engine)]
    assert kinds == [Tick, Tick, Call, Call, Result]


# --- what was answered before


def test_an_answered_call_is_neither_sent_nor_yielded() -> None:
    engine = Batch()
    known = known_answers(items(2), chain())
    del known.calls["q1", "judge"]
    events = list(play(items(2), chain(), engine, answers=known))
    assert engine.submitted == ["q1.judge"]
    assert sorted(ids(events)) == ["q0", "q1"]
    assert [event.request.step for event in events if isinstance(event, Call)] == ["judge"]


def test_calls_that_finish_while_many_known_answers_are_passed_are_recorded_at_once() -> None:
    """A crash in the middle of a long resume must not cost what was just paid for."""
    recorded_after: list[int] = []
    seen: list[str] = []

    class Quick(Batch):
        def wait(self, timeout_seconds: float) -> Sequence[Call]:
            return super().wait(1.0)

    engine = Quick(room=50)
    known = known_answers(items(100)[1:], chain())
    events = play(items(100), chain(), engine, lambda call: recorded_after.append(len(seen)), known)
    for event in events:
        if isinstance(event, Result):
            seen.append(event.item.id)
    assert recorded_after[0] <= 2
    assert sorted(seen) == sorted(one.id for one in items(100))


# --- failures


def test_a_failed_call_ends_its_item_and_no_other() -> None:
    def half(request: Request) -> Call:
        return failure(request, "timeout") if request.item_id == "q1" else serve(request)

    engine = Batch(half)
    found = {
        result.item.id: result.status for result in results([*play(items(3), chain(), engine)])
    }
    assert found == {"q0": "ok", "q1": "timeout", "q2": "ok"}
    assert "q1.judge" not in engine.submitted


def test_only_an_answer_that_was_asked_for_after_a_refusal_shows_that_the_key_is_good() -> None:
    sent_at = {"q0": 10.0, "q1": 5.0, "q2": 20.0}

    def refused_once(request: Request) -> Call:
        name = request.item_id
        call = failure(request, "forbidden") if name == "q0" else serve(request)
        return replace(call, attempts=(replace(call.attempts[0], started_at=sent_at[name]),))

    events = [*play(items(3), Chain([step("generate", "{{ question }}")]), Batch(refused_once))]
    assert ids(events) == ["q1", "q0", "q2"]


@pytest.mark.parametrize("kind", ["budget", "cancelled", "refused"])
def test_a_call_that_was_not_tried_to_the_end_leaves_its_item_unfinished(kind: str) -> None:
    def half(request: Request) -> Call:
        return failure(request, kind) if request.item_id == "q1" else serve(request)

    gate = Shut()
    events = list(play(items(3), chain(), Batch(half), gate=gate))
    assert sorted(ids(events)) == ["q0", "q2"]
    assert set(gate.forgotten) == {"q1"}
    # Two calls of each other item; without money for another attempt it is tried again.
    refused = 1 + _REFUSALS if kind == "budget" else 1
    assert len([event for event in events if isinstance(event, Call)]) == 4 + refused


def test_a_prompt_that_cannot_be_rendered_is_a_result_and_sends_nothing() -> None:
    broken = Chain([step("generate", "{{ question }} {{ other.field }}")])
    engine = Batch()
    [result] = results([*play([item()], broken, engine)])
    assert result.status == "prompt"
    assert "generate" in result.error
    assert engine.submitted == []


def test_a_later_prompt_that_cannot_be_rendered_keeps_what_was_answered() -> None:
    broken = Chain(
        [step("generate", "{{ question }}"), step("next", "{{ generate.split('#')[1] }}")]
    )
    [result] = results([*play([item()], broken, Batch())])
    assert result.status == "prompt"
    assert result.outputs == {"generate": "answer to What is 1?"}


def test_an_unreadable_reply_is_asked_again_once() -> None:
    def serve_twice(request: Request) -> Call:
        if request.step == "judge" and len(request.messages) == 1:
            return answer(request, "dunno")
        return answer(request, reply_to(request))

    engine = Batch(serve_twice)
    [result] = results([*play([item()], chain(), engine)])
    assert result.status == "ok"
    assert engine.submitted == ["q1.generate", "q1.judge", "q1.judge"]


# --- the gate


def test_a_new_item_the_gate_refuses_waits_for_what_is_in_flight_and_then_ends_the_play() -> None:
    asked: list[tuple[str, int]] = []

    def refuses(item: Item, request: Request) -> bool:
        asked.append((f"{item.id}.{request.step}", engine.held))
        return item.id == "q2"

    engine = Batch(room=3, order=lambda names: names[:1])
    gate = Shut(refuses)
    events = list(play(items(9), chain(), engine, gate=gate))
    assert sorted(ids(events)) == ["q0", "q1"]
    assert not any(name.startswith("q3") for name in engine.submitted)
    # It was asked about again whenever a call had finished, last with nothing in flight.
    held = [held for name, held in asked if name == "q2.generate"]
    assert held[-1] == 0
    assert len(held) >= 3


def test_a_new_item_goes_once_something_that_finished_has_made_room() -> None:
    engine = Batch(room=3, order=lambda names: names[:1])
    gate = Shut(lambda item, request: item.id == "q2" and engine.held > 1)
    assert sorted(ids([*play(items(4), chain(), engine, gate=gate)])) == ["q0", "q1", "q2", "q3"]


def test_a_follow_up_the_gate_refuses_does_not_hold_up_the_others() -> None:
    engine = Batch(room=3)
    gate = Shut(lambda item, request: request.step == "judge" and item.id == "q0")
    events = list(play(items(6), chain(), engine, gate=gate))
    assert sorted(ids(events)) == ["q1", "q2", "q3", "q4", "q5"]
    assert engine.submitted.index("q1.judge") < engine.submitted.index("q3.generate")
    assert gate.forgotten == ["q0"]


def test_a_refused_follow_up_goes_once_there_is_room() -> None:
    engine = Batch(room=3, order=lambda names: names[:1])
    gate = Shut(
        lambda item, request: request.step == "judge" and item.id == "q0" and engine.held > 0
    )
    assert sorted(ids([*play(items(5), chain(), engine, gate=gate)])) == [
        "q0", "q1", "q2", "q3", "q4",
    ]  # fmt: skip
    assert gate.forgotten == []


def test_a_refused_follow_up_gives_up_its_share_to_the_next_one() -> None:
    """Two items outgrew their shares; when the first is given up there is room for the second."""
    gate = Shut()
    gate.refuses = lambda item, request: (
        request.step == "judge" and not (item.id == "q1" and "q0" in gate.forgotten)
    )
    events = list(play(items(2), chain(), Batch(), gate=gate))
    assert ids(events) == ["q1"]
    assert gate.forgotten == ["q0"]


def test_no_new_item_begins_while_a_follow_up_is_refused() -> None:
    """A budget buys whole results: what is begun comes first."""
    engine = Batch(room=2, order=lambda names: names[:1])
    gate = Shut(lambda item, request: item.id == "q0" and request.step == "judge" and engine.held)  # type: ignore[arg-type,return-value]
    list(play(items(4), chain(), engine, gate=gate))
    begun = engine.submitted
    assert begun.index("q0.judge") < begun.index("q2.generate")


def test_a_stop_midway_leaves_unfinished_items_without_a_result() -> None:
    engine = Batch(room=2)
    gate = Shut()
    events = []
    for event in play(items(9), chain(), engine, gate=gate):
        events.append(event)
        if isinstance(event, Call) and event.request.step == "generate":
            gate.stopped = True
    assert ids(events) == []
    # Both calls in flight were taken in, their judges were not sent.
    assert len([event for event in events if isinstance(event, Call)]) == 2
    assert engine.submitted == ["q0.generate", "q1.generate"]


def test_a_stop_takes_back_what_waits_for_a_worker() -> None:
    class Queueing(Batch):
        def give_back(self) -> Sequence[Request]:
            names = list(self.holding)[1:]
            return [self.holding.pop(name) for name in names]

    engine = Queueing(room=3, order=lambda names: names[:1])
    gate = Shut()
    events = []
    for event in play(items(9), chain(), engine, gate=gate):
        events.append(event)
        gate.stopped = True
    assert [type(event) for event in events] == [Call, Call]
    assert engine.submitted[:3] == ["q0.generate", "q1.generate", "q2.generate"]
    assert engine.held == 0


def test_a_request_that_was_cancelled_in_the_engine_leaves_no_trace() -> None:
    gate = Shut()

    def cancelled(request: Request) -> Call:
        gate.stopped = True
        raise Cancelled

    events = list(play(items(3), chain(), Batch(cancelled), gate=gate))
    assert {type(event) for event in events} <= {Tick}


@pytest.mark.parametrize("why", ["stopped", "no room"])
def test_items_that_are_answered_already_get_their_results_although_nothing_is_sent(
    why: str,
) -> None:
    """Else a resumed run that stops early would replace a file of results by a shorter one."""
    known = known_answers(items(20), chain())
    for number in (3, 11):
        del known.calls[f"q{number}", "judge"]
    gate = Shut(lambda item, request: why == "no room")
    gate.stopped = why == "stopped"
    engine = Batch()
    events = list(play(items(40), chain(), engine, answers=known, gate=gate))
    assert engine.submitted == []
    assert ids(events) == [f"q{number}" for number in range(20) if number not in (3, 11)]


def test_after_a_stop_items_are_read_only_while_there_are_answers_left_to_find() -> None:
    read: list[int] = []

    def stream() -> Any:
        for number in range(1000):
            read.append(number)
            yield item(number)

    gate = Shut()
    gate.stopped = True
    known = known_answers(items(5), chain())
    assert len(ids([*play(stream(), chain(), Batch(), answers=known, gate=gate)])) == 5
    assert len(read) == 5


def test_a_call_without_money_for_another_attempt_is_made_again_when_some_comes_free() -> None:
    refused: list[str] = []

    def once(request: Request) -> Call:
        if request.item_id == "q1" and not refused:
            refused.append(request.item_id)
            return failure(request, "budget")
        return serve(request)

    events = list(play(items(3), chain(), Batch(once)))
    assert sorted(ids(events)) == ["q0", "q1", "q2"]


def many_votes() -> Chain:
    """Three drafts, of which those that are wrong go to a jury of two."""
    grade = {"score": OutputField(type="integer", min=1, max=5)}
    return Chain(
        [
            step("generate", "{{ question }}", repeat=3),
            Step(name="exact", rule="equals", value="{{ generate }}", expected="{{ answer }}"),
            Step(
                name="judge",
                models=("fake/a", "fake/b"),
                combine="mean",
                when="{{ not exact }}",
                prompt="Judge {{ generate }}",
                output=grade,
            ),
        ],
        ScoreRule(field=("exact", "judge.score"), pass_at=4),
    )


def drawn(asked: Request) -> Call:
    """An answer that depends on the request alone: empty, right, wrong, or not to be read."""
    number = int(asked.key[:6], 16)
    if asked.step == "generate":
        return answer(asked, ("", "wrong", "5", str(asked.messages[-1].content[8:9]))[number % 4])
    return answer(asked, ('{"score": 5}', '{"score": 2}', "no idea")[number % 3])


class Interrupted(OpenGate):
    """A gate that shuts after so many requests."""

    def __init__(self, room: int) -> None:
        self.room = room

    @property
    def stopped(self) -> bool:  # type: ignore[override]
        return self.room <= 0

    def admit(self, item: Item, request: Request, calls: Sequence[Call]) -> bool:
        self.room -= 1
        return True


@pytest.mark.parametrize("seed", range(12))
def test_parts_in_any_order_and_after_any_stop_are_paid_once_and_come_to_the_same(
    seed: int,
) -> None:
    some = items(8)
    rng = random.Random(seed)

    def shuffled(names: list[str]) -> list[str]:
        return rng.sample(names, rng.randint(1, len(names))) if names else []

    whole = {
        result.item.id: result
        for result in play(some, many_votes(), SerialEngine(drawn))
        if isinstance(result, Result)
    }
    journal: dict[str, Call] = {}
    sent: list[str] = []

    def serve_once(asked: Request) -> Call:
        sent.append(asked.key)
        return drawn(asked)

    class Journal:
        unused = 1

        def answered(self, asked: Request) -> Call | None:
            found = journal.get(asked.key)
            return found and replace(found, request=asked)

    found: dict[str, Result] = {}
    for _ in range(100):
        found = {}
        engine = Parts(serve_once, room=rng.randint(1, 9), order=shuffled)
        events = play(
            *(some, many_votes(), engine),
            lambda calls: journal.update({call.request.key: call for call in calls}),
            *(Journal(), Interrupted(rng.randint(1, 20))),
        )
        found = {each.item.id: each for each in events if isinstance(each, Result)}
        if len(found) == len(some):
            break
    assert len(sent) == len(set(sent))
    assert {id: (r.status, r.outputs, r.score, r.votes) for id, r in found.items()} == {
        id: (r.status, r.outputs, r.score, r.votes) for id, r in whole.items()
    }


class Parts(Batch):
    """A batch that tells the parts of a step apart."""

    def submit(self, request: Request) -> None:
        self.holding[f"{request.item_id}.{request.step}.{request.part}"] = request
        self.submitted.append(request.step)
        self.most = max(self.most, self.held)


def test_the_parts_of_a_step_are_under_way_at_once() -> None:
    engine = Parts(serve=drawn, room=10)
    list(play(items(1), many_votes(), engine))
    assert engine.most >= 3
