"""A request in, a call out, whatever the provider does; time is a fake clock's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from llm_batch.chain.credentials import heard_echo, remember_key
from llm_batch.chain.options import Model
from llm_batch.errors import (
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Timeout,
    Unavailable,
    WebPage,
)
from llm_batch.records import Call, Completion, Request, Usage
from llm_batch.sending.client import FORBIDDEN_IN_A_ROW, LONGEST_PAUSE_SECONDS, Budget, Client
from llm_batch.sending.clock import Cancelled, FakeClock
from llm_batch.sending.fleet import FleetModel
from llm_batch.sending.limits import DEFAULT_RPM, SHARE, Limiter
from llm_batch.sending.providers.fake import Answer, FakeProvider
from tests.builders import completion, request

PRICED = Model(input_price=1.0, output_price=4.0)
USAGE = Usage(1000, 500)
COST = (1000 * 1.0 + 500 * 4.0) / 1e6


class Rig:
    """A client with everything around it in reach."""

    def __init__(
        self,
        answers: Sequence[Answer] | Callable[[Request], Answer] | None,
        *,
        settings: Model = PRICED,
        limiter: Limiter | None = None,
        clock: FakeClock | None = None,
        cap: float | None = None,
        jitter: float = 1.0,
        headers: dict[str, str] | None = None,
        vendor: str = "fake",
        **more: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.provider = FakeProvider(answers, headers=headers)
        self.provider.vendor = vendor
        self.limiter = limiter or Limiter(None, None, self.clock)
        self.budget = Budget(cap)
        # A name without any price of its own, so that the settings decide.
        self.model = FleetModel("openai/some-model", settings)
        self.client = Client(
            self.provider,
            self.limiter,
            self.budget,
            self.clock,
            self.model,
            jitter=lambda: jitter,
            **more,
        )

    def call(self, asked: Request | None = None) -> Call:
        return self.client.call(asked or request(max_tokens=100))

    @property
    def sent(self) -> int:
        return len(self.provider.requests)


def refused_for_now(after: float | None = None) -> RateLimited:
    return RateLimited("slow down", retry_after_seconds=after, status_code=429)


def lost() -> Timeout:
    return Timeout("no answer", maybe_billed=True)


def kinds(call: Call) -> list[str]:
    return [attempt.error for attempt in call.attempts]


# --- outcomes


def test_an_answer_at_the_first_attempt_is_one_attempt_at_its_price() -> None:
    rig = Rig([completion(usage=USAGE)])
    call = rig.call()
    assert call.completion == completion(usage=USAGE)
    assert [attempt.number for attempt in call.attempts] == [1]
    assert call.cost == pytest.approx(COST)
    assert not call.worst_case
    assert call.simulated
    assert rig.clock.slept == []


@pytest.mark.parametrize(
    "fault",
    [
        Unavailable("busy", status_code=503),
        Unavailable("reset", kind="reset", maybe_billed=True),
        Unavailable("html", kind="garbage", status_code=200, maybe_billed=True),
        lost(),
        refused_for_now(),
        refused_for_now(3),
        Unavailable("overloaded", status_code=529, retry_after_seconds=2),
    ],
    ids=lambda fault: f"{fault.kind}-{getattr(fault, 'retry_after_seconds', None)}",
)
def test_a_transient_fault_is_recovered_from(fault: ProviderError) -> None:
    rig = Rig([fault, fault, completion()])
    call = rig.call()
    assert call.completion == completion()
    assert kinds(call) == [fault.kind, fault.kind, ""]
    assert [attempt.number for attempt in call.attempts] == [1, 2, 3]


def test_attempts_are_recorded_with_their_times() -> None:
    clock = FakeClock()

    def answer(asked: Request) -> Answer:
        clock.seconds += 2
        return Unavailable("busy") if len(rig.provider.requests) == 1 else "well"

    rig = Rig(answer, clock=clock)
    call = rig.call()
    assert [attempt.seconds for attempt in call.attempts] == [2, 2]
    assert [attempt.started_at - clock.time() + clock.now() for attempt in call.attempts] == [
        0,
        2.5,
    ]
    assert call.latency_seconds == 2


def test_attempts_are_bounded_and_the_last_error_is_the_outcome() -> None:
    rig = Rig([Unavailable("busy", status_code=503)], max_attempts=4)
    call = rig.call()
    assert rig.sent == len(call.attempts) == 4
    assert call.failure is not None
    assert (call.failure.kind, call.failure.status_code) == ("unavailable", 503)


def test_total_time_is_bounded_however_many_attempts_are_allowed() -> None:
    clock = FakeClock()

    def hang(asked: Request) -> Answer:
        clock.seconds += 3600  # a provider that does not keep to the timeout it is given
        return Timeout("no answer")

    rig = Rig(hang, clock=clock, max_attempts=100, timeout_seconds=1)
    assert rig.call().failure is not None
    assert rig.sent == 1


def test_waiting_for_the_first_turn_does_not_count_as_trying() -> None:
    """At one request an hour, a call that has waited long still has all its attempts."""
    clock = FakeClock()
    limiter = Limiter(1 / 60, None, clock)
    limiter.acquire()
    rig = Rig([Unavailable("busy"), completion()], clock=clock, limiter=limiter)
    call = rig.call()
    assert clock.now() > 3600
    assert call.completion is not None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Rejected("bad request", status_code=400), "rejected"),
        (Rejected("too long", kind="too_long"), "too_long"),
        (Rejected("filtered", kind="filtered"), "filtered"),
        (Refused("no credit", kind="quota"), "refused"),
        (Refused("bad key", kind="key", status_code=401), "refused"),
        (Refused("no such model", kind="model"), "refused"),
    ],
    ids=lambda value: str(value),
)
def test_what_never_works_is_not_tried_again(error: ProviderError, kind: str) -> None:
    rig = Rig([error])
    call = rig.call()
    assert rig.sent == 1
    assert call.failure is not None
    assert call.failure.kind == kind
    assert call.cost == 0.0


def test_a_refusal_says_what_to_do() -> None:
    call = Rig([Refused("no credit", kind="quota", hint="add credit")]).call()
    assert call.failure is not None
    assert call.failure.message == "no credit (add credit)"


@pytest.mark.parametrize(("status", "kind"), [(404, "model"), (400, "setting"), (403, "setting")])
def test_a_model_or_a_setting_that_was_answered_is_refused_for_an_item_only(
    status: int, kind: str
) -> None:
    refusal = Refused("no", kind=kind, status_code=status)
    rig = Rig([completion(), refusal, completion(), refusal])
    assert failures(rig, "abc") == ["", "forbidden", ""]
    kinds = failures(rig, "abcdefgh")
    assert kinds == [*["forbidden"] * (FORBIDDEN_IN_A_ROW - 1), *["refused"] * 4]
    assert failures(Rig([refusal]), "a") == ["refused"]


def forbidden(status: int = 403) -> Refused:
    return Refused("not allowed", kind="key", status_code=status)


def failures(rig: Rig, items: str) -> list[str]:
    """The kinds of failure of calls for items, one letter each."""
    calls = [rig.call(request(item_id=item, max_tokens=100)) for item in items]
    return [call.failure.kind if call.failure else "" for call in calls]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_key_that_has_answered_and_is_refused_fails_the_item_only(status: int) -> None:
    rig = Rig([completion(), forbidden(status), completion(), forbidden(status), completion()])
    assert failures(rig, "abcde") == ["", "forbidden", "", "forbidden", ""]


def test_a_key_that_is_refused_for_items_in_a_row_is_refused_for_good() -> None:
    rig = Rig([completion(), forbidden()])
    kinds = failures(rig, "abcdefg")
    assert kinds == ["", *["forbidden"] * (FORBIDDEN_IN_A_ROW - 1), "refused", "refused"]


def test_one_item_that_is_refused_again_and_again_is_no_row() -> None:
    rig = Rig([completion(), forbidden()])
    assert set(failures(rig, "a" + "b" * 20)) == {"", "forbidden"}


@pytest.mark.parametrize(("status", "kind"), [(403, "forbidden"), (401, "refused")])
def test_what_an_earlier_session_was_answered_speaks_for_a_key_that_is_not_called_wrong(
    status: int, kind: str
) -> None:
    assert failures(Rig([forbidden(status)], resumed=True), "a") == [kind]
    assert failures(Rig([forbidden(status)]), "a") == ["refused"]


def test_a_bug_in_a_provider_is_not_dressed_as_a_failure() -> None:
    def answer(asked: Request) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Rig(answer).call()


def test_a_server_that_was_never_reached_refuses_the_run() -> None:
    rig = Rig([Unavailable("cannot connect", kind="unreachable")])
    assert rig.call().failure is not None
    assert rig.call().failure.kind == "refused"  # type: ignore[union-attr]


@pytest.mark.parametrize("first", [completion(), Unavailable("busy", status_code=503)], ids=str)
def test_a_server_that_went_away_fails_the_call_only(first: Answer) -> None:
    away = Unavailable("cannot connect", kind="unreachable")
    rig = Rig([first, away], max_attempts=3)
    rig.call()
    call = rig.call()
    assert call.failure is not None
    assert call.failure.kind == "unreachable"


def test_half_an_emoji_at_the_end_of_an_answer_does_not_break_the_files() -> None:
    call = Rig([completion("smile \ud83d")]).call()
    assert call.completion is not None
    assert call.completion.text.encode() == "smile \ufffd".encode()


# --- waiting


def test_backoff_doubles_from_half_a_second_up_to_half_a_minute() -> None:
    rig = Rig([Unavailable("busy")], max_attempts=10)
    rig.call()
    assert rig.clock.slept == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_is_full() -> None:
    """Uniform from 0 on: clients that failed together do not come back together."""
    for jitter in (0.0, 0.5):
        rig = Rig([Unavailable("busy")], max_attempts=4, jitter=jitter)
        rig.call()
        assert rig.clock.slept == [0.5 * jitter, 1 * jitter, 2 * jitter]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", [RateLimited, Unavailable])
def test_retry_after_is_a_floor_with_a_little_jitter_on_top(kind: Any, jitter: float) -> None:
    fault = kind("wait", retry_after_seconds=20.0)
    rig = Rig([fault, completion()], jitter=jitter)
    rig.call()
    assert 20 <= rig.clock.now() <= 20 * 1.1 + 0.02


def test_retry_after_holds_back_the_whole_client() -> None:
    """Another thread's request waits as well: the provider refuses whoever comes."""
    rig = Rig([Unavailable("wait", retry_after_seconds=20.0), completion()], max_attempts=1)
    assert rig.call().failure is not None
    assert rig.clock.now() == 0
    assert rig.call(request("q2")).completion is not None
    assert rig.clock.now() >= 20


def test_without_retry_after_the_whole_client_pauses_longer_each_time() -> None:
    rig = Rig([refused_for_now()], jitter=0.0)
    starts = [attempt.started_at for attempt in rig.call().attempts]
    waits = [later - earlier for earlier, later in zip(starts, starts[1:], strict=False)]
    assert all(
        least - 1e-6 <= wait <= least + 0.7
        for wait, least in zip(waits, [1, 4, 8, 16, 32], strict=True)
    )


def test_six_refusals_outlast_a_minute_which_is_what_limits_are_counted_in() -> None:
    rig = Rig([refused_for_now()], jitter=0.0)
    attempts = rig.call().attempts
    assert attempts[-1].started_at - attempts[0].started_at >= 60


def test_a_retry_after_in_the_past_does_not_make_us_hammer() -> None:
    rig = Rig([refused_for_now(0.0)], jitter=0.0)
    rig.call()
    assert rig.clock.now() >= 60


def test_a_retry_after_that_is_too_short_is_waited_out_longer_each_time() -> None:
    rig = Rig([refused_for_now(0.1)], jitter=0.0)
    starts = [attempt.started_at for attempt in rig.call().attempts]
    waits = [later - earlier for earlier, later in zip(starts, starts[1:], strict=False)]
    assert all(
        least - 1e-6 <= wait <= least + 0.7
        for wait, least in zip(waits, [0.1, 4, 8, 16, 32], strict=True)
    )


def test_refusals_of_different_calls_in_a_row_are_waited_out_longer_each_time_too() -> None:
    """Each call is refused once only, yet the provider has said four times that it is full."""
    rig = Rig([refused_for_now()], jitter=0.0, max_attempts=1)
    starts = [rig.call(request(f"q{n}")).attempts[0].started_at for n in range(5)]
    waits = [later - earlier for earlier, later in zip(starts, starts[1:], strict=False)]
    assert all(
        least - 1e-6 <= wait <= least + 0.7
        for wait, least in zip(waits, [1, 4, 8, 16], strict=True)
    )


def test_an_answer_ends_the_row_of_refusals() -> None:
    rig = Rig([refused_for_now(), refused_for_now(), completion(), refused_for_now()], jitter=0.0)
    rig.call()
    assert rig.limiter.refusals_in_a_row == 0
    before = rig.clock.now()
    rig.client.max_attempts = 1
    rig.call(request("q2"))
    rig.call(request("q3"))
    assert rig.clock.now() - before <= 2 + 0.7


@pytest.mark.parametrize("vendor", ["openai", "groq"])
def test_what_headers_say_is_left_is_sent_ahead_unless_it_is_left_of_a_day(vendor: str) -> None:
    """Ten requests of a limit of 60 a minute: at the pace they take nine seconds."""
    clock = FakeClock()
    left = iter(range(59, 0, -1))

    class Counting(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            if name == "x-ratelimit-remaining-requests":
                return str(next(left))
            return super().get(name, default)

    rig = Rig(
        [completion()],
        limiter=Limiter(60, None, clock),
        clock=clock,
        vendor=vendor,
    )
    rig.provider._headers = Counting(
        {"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": "1s"}
    )
    for number in range(10):
        rig.call(request(f"q{number}"))
    paced = 9 / SHARE
    assert (clock.now() < paced / 2) == (vendor == "openai")


def test_a_provider_that_asks_for_hours_ends_the_run_instead_of_holding_it() -> None:
    rig = Rig([refused_for_now(LONGEST_PAUSE_SECONDS * 10)])
    call = rig.call()
    assert call.failure is not None
    assert call.failure.kind == "refused"
    assert "6,000 s" in call.failure.message
    assert rig.sent == 1
    assert rig.clock.now() == 0


# --- limits


def test_every_attempt_takes_its_turn_at_the_limiter() -> None:
    clock = FakeClock()
    rig = Rig([Unavailable("busy")], limiter=Limiter(6, None, clock), clock=clock, jitter=0.0)
    starts = [attempt.started_at for attempt in rig.call().attempts]
    assert all(
        later - earlier >= 10 / SHARE - 1e-6
        for earlier, later in zip(starts, starts[1:], strict=False)
    )


def test_limits_in_the_headers_of_answers_and_errors_are_taken_over() -> None:
    clock = FakeClock()
    rig = Rig(
        [
            Unavailable("busy", headers={"x-ratelimit-limit-tokens": "90000"}),
            completion(),
        ],
        headers={"x-ratelimit-limit-requests": "3000"},
        limiter=Limiter.with_default(clock),
        clock=clock,
    )
    rig.call()
    assert (rig.limiter.rpm, rig.limiter.tpm) == (3000, 90_000)


def test_groqs_requests_a_day_are_not_taken_for_a_minute() -> None:
    clock = FakeClock()
    rig = Rig(
        [completion()],
        headers={"x-ratelimit-limit-requests": "14400", "x-ratelimit-limit-tokens": "6000"},
        limiter=Limiter.with_default(clock),
        clock=clock,
        vendor="groq",
    )
    rig.call()
    assert (rig.limiter.rpm, rig.limiter.tpm) == (DEFAULT_RPM, 6000)


@pytest.mark.parametrize(
    ("vendor", "usage", "wait"),
    [
        ("openai", Usage(3000, 5), 30),
        ("openai", Usage(50, 5), 1),
        ("anthropic", Usage(3000, 5), 30),
        ("anthropic", Usage(3000, 5, cache_read_tokens=2900), 1),
        ("azure", Usage(3000, 5), 31),
    ],
    ids=str,
)
def test_token_limits_are_corrected_by_what_the_provider_counted(
    vendor: str, usage: Usage, wait: float
) -> None:
    """Our count of the prompt is short of theirs by far; the next request waits accordingly."""
    clock = FakeClock()
    limiter = Limiter(None, 6000, clock)
    rig = Rig([completion(usage=usage)], limiter=limiter, clock=clock, vendor=vendor)
    rig.call()
    rig.call()
    assert clock.now() == pytest.approx(wait / SHARE, abs=1.2)


def test_tokens_are_not_counted_where_no_limit_and_no_worst_case_needs_them() -> None:
    rig = Rig([completion()])
    rig.model.input_tokens = None  # type: ignore[assignment,method-assign]
    assert rig.call().completion is not None


# --- money


def worst(asked: Request) -> float:
    """The worst case at PRICED prices: counted input, and all of max_tokens."""
    counted = FleetModel("openai/some-model", PRICED)
    return (
        (2 * counted.input_tokens(asked) + 1) * 1.0 + (asked.max_tokens or 0) * 4.0
    ) / 1e6  # another vendor's tokens are counted twice to be safe


def test_missing_usage_is_charged_at_the_worst_case() -> None:
    asked = request(max_tokens=100)
    call = Rig([completion(usage=None)]).call(asked)
    assert call.cost == pytest.approx(worst(asked))
    assert call.worst_case


def test_attempts_that_may_have_been_billed_are_charged() -> None:
    asked = request(max_tokens=100)
    call = Rig([lost(), Unavailable("busy"), lost(), completion(usage=USAGE)]).call(asked)
    assert call.cost == pytest.approx(2 * worst(asked) + COST)
    assert call.worst_case
    assert [attempt.maybe_billed for attempt in call.attempts] == [True, False, True, False]


def broken(usage: Usage | None, reported: float | None = None) -> Unavailable:
    error = Unavailable("the answer broke off", maybe_billed=True)
    error.partial = replace(completion(usage=usage), reported_cost=reported)
    return error


@pytest.mark.parametrize(
    ("errors", "cost", "guessed"),
    [
        ([broken(USAGE), broken(USAGE)], 2 * COST, False),
        ([broken(Usage())], 0.0, False),
        ([broken(USAGE, reported=1.0)], 1.0, False),
        ([broken(USAGE, reported=0.0)], COST, False),
    ],
    ids=["usage", "nothing used", "dearer", "cheaper"],
)
def test_an_attempt_whose_reply_says_what_it_took_is_charged_that(
    errors: list[Answer], cost: float, guessed: bool
) -> None:
    call = Rig([*errors, completion(usage=USAGE)]).call()
    assert call.cost == pytest.approx(cost + COST)
    assert call.worst_case is guessed
    call = Rig([*errors, Rejected("no")]).call()
    assert (call.cost, call.worst_case) == (pytest.approx(cost), guessed)


def test_an_attempt_whose_reply_says_nothing_is_charged_the_worst() -> None:
    asked = request(max_tokens=100)
    call = Rig([broken(None), completion(usage=USAGE)]).call(asked)
    assert call.cost == pytest.approx(worst(asked) + COST)
    assert call.worst_case


@pytest.mark.parametrize(
    ("reported", "settings", "cost", "ours"),
    [
        (None, PRICED, COST, None),
        (COST / 2, PRICED, COST, COST),
        (COST * 2, PRICED, COST * 2, COST),
        (0.5, Model(), 0.5, None),
        (None, Model(), None, None),
    ],
    ids=["nothing said", "cheaper", "dearer", "no price of ours", "no price at all"],
)
def test_the_larger_of_our_cost_and_the_providers_is_booked_and_both_are_kept(
    reported: float | None, settings: Model, cost: float | None, ours: float | None
) -> None:
    said = replace(completion(usage=USAGE), reported_cost=reported)
    call = Rig([said], settings=settings).call()
    assert (call.cost, call.list_cost) == (pytest.approx(cost), pytest.approx(ours))
    assert call.completion is not None
    assert call.completion.reported_cost == reported
    assert not call.worst_case


def test_thoughts_beyond_the_cap_count_towards_the_limit_of_tokens() -> None:
    clock = FakeClock()
    limiter = Limiter(None, 1000, clock)
    rig = Rig([completion(usage=Usage(10, 600)), completion()], limiter=limiter, clock=clock)
    rig.call(request("q1", max_tokens=20))
    rig.call(request("q2", max_tokens=500))
    assert clock.now() > 1  # 600 of the minute's 1,000 tokens are gone, not 30


def test_a_failed_call_is_charged_what_may_have_been_billed_and_no_more() -> None:
    asked = request(max_tokens=100)
    call = Rig([lost(), Rejected("no")]).call(asked)
    assert call.cost == pytest.approx(worst(asked))
    assert call.worst_case
    call = Rig([Unavailable("busy")]).call(asked)
    assert call.cost == 0.0
    assert not call.worst_case


def test_an_attempt_after_one_that_may_have_been_billed_needs_money_of_its_own() -> None:
    asked = request(max_tokens=100)
    rig = Rig([lost(), completion()], cap=1.5 * worst(asked))
    assert rig.budget.hold(asked.item_id, worst(asked))
    call = rig.call(asked)
    assert rig.sent == 1
    assert call.failure is not None
    assert call.failure.kind == "budget"
    assert call.cost == pytest.approx(worst(asked))


def test_with_room_in_the_budget_the_attempt_is_made_and_the_cap_holds() -> None:
    asked = request(max_tokens=100)
    rig = Rig([lost(), completion(usage=None)], cap=2 * worst(asked))
    assert rig.budget.hold(asked.item_id, worst(asked))
    call = rig.call(asked)
    assert call.completion is not None
    assert call.cost == pytest.approx(2 * worst(asked))
    assert rig.budget.held == pytest.approx(2 * worst(asked))
    rig.budget.charge(asked.item_id, call.cost or 0)
    assert rig.budget.spent + rig.budget.held <= rig.budget.cap + 1e-9  # type: ignore[operator]


def test_only_attempts_that_may_have_been_billed_take_more_of_the_budget() -> None:
    """One lost answer and three plain errors hold twice the worst case, not five times."""
    asked = request(max_tokens=100)
    busy = Unavailable("busy")
    rig = Rig([lost(), busy, busy, busy, completion()], cap=2 * worst(asked))
    assert rig.budget.hold(asked.item_id, worst(asked))
    assert rig.call(asked).completion is not None
    assert rig.budget.held == pytest.approx(2 * worst(asked))


def test_without_a_price_costs_are_unknown_not_zero() -> None:
    for answers in ([completion()], [completion(usage=None)], [Rejected("no")], [lost()]):
        rig = Rig(answers, settings=Model(), max_attempts=2)
        assert rig.call().cost is None


def test_a_schema_that_is_sent_along_counts_as_input() -> None:
    """A provider bills it as tokens of the prompt."""
    model = FleetModel("gpt-4o-mini", PRICED)
    plain = request(max_tokens=100)
    schema = {"type": "json_schema", "json_schema": {"name": "judge", "schema": {"a": "b" * 99}}}
    asked = request(step="judge", max_tokens=100, response_format=schema)
    assert model.input_tokens(asked) > model.input_tokens(plain) + 20
    assert model.most(asked) > model.most(plain)


def test_the_most_output_is_what_the_request_or_else_the_model_allows() -> None:
    known, unknown = FleetModel("gpt-4o-mini", Model()), FleetModel("openai/unheard-of", Model())
    assert [known.most_output(10), known.most_output(None)] == [10, 16_384]
    assert [unknown.most_output(10), unknown.most_output(None)] == [10, 0]


# --- stopping


def test_a_request_that_was_not_sent_when_the_run_stopped_is_given_back() -> None:
    rig = Rig([completion()], clock=FakeClock(cancel_at=0.0))
    with pytest.raises(Cancelled):
        rig.call()
    assert rig.sent == 0


def test_a_stop_between_attempts_ends_the_call_and_keeps_what_it_may_have_cost() -> None:
    asked = request(max_tokens=100)
    rig = Rig([lost(), completion()], clock=FakeClock(cancel_at=0.1))
    call = rig.call(asked)
    assert rig.sent == 1
    assert call.failure is not None
    assert call.failure.kind == "cancelled"
    assert kinds(call) == ["timeout"]
    assert call.cost == pytest.approx(worst(asked))


def test_a_stop_ends_the_wait_after_a_rate_limit_as_well() -> None:
    rig = Rig([refused_for_now(300)], clock=FakeClock(cancel_at=100.0))
    call = rig.call()
    assert call.failure is not None
    assert call.failure.kind == "cancelled"
    assert rig.clock.now() < 110


def test_a_call_in_flight_when_the_run_stops_is_kept() -> None:
    clock = FakeClock(cancel_at=1.0)

    def answer(asked: Request) -> Answer:
        clock.seconds += 5
        return "well"

    assert Rig(answer, clock=clock).call().completion is not None


# --- threads


def test_calls_of_many_threads_do_not_mix_their_attempts() -> None:
    """One client, one retrying object: each call still has its own number of attempts."""
    lock = threading.Lock()
    seen: dict[str, int] = {}

    def answer(asked: Request) -> Answer:
        with lock:
            seen[asked.item_id] = count = seen.get(asked.item_id, 0) + 1
        wanted = 1 + int(asked.item_id) % 4
        return asked.item_id if count == wanted else Unavailable("busy")

    rig = Rig(answer, jitter=0.0)
    calls: list[Call] = []

    def work(start: int) -> None:
        for number in range(start, 200, 8):
            calls.append(rig.call(request(str(number))))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 200
    for call in calls:
        assert isinstance(call.completion, Completion)
        assert call.completion.text == call.request.item_id
        assert len(call.attempts) == 1 + int(call.request.item_id) % 4


KEY = "client-key-0123456789"


def test_a_key_that_a_server_repeats_is_in_no_call() -> None:
    remember_key(KEY)
    echo = Completion(f"You sent {KEY}.", f"m {KEY}", "stop", USAGE, KEY)
    call = Rig([echo]).client.call(request())
    assert heard_echo()  # which whoever runs is told once
    assert call.completion is not None and KEY not in repr(call)
    assert call.completion.text == "You sent [key]."
    call = Rig([Rejected(f"wrong key {KEY}")]).client.call(request())
    assert call.failure is not None and call.failure.message == "wrong key [key]"


def test_an_address_that_has_nothing_but_web_pages_is_given_up() -> None:
    rig = Rig(lambda asked: WebPage("a page", status_code=200))
    call = rig.call()
    assert call.failure is not None
    assert (call.failure.kind, rig.sent) == ("refused", 3)
    assert "check api_base" in call.failure.message


def test_a_web_page_among_answers_is_asked_past() -> None:
    page = WebPage("a page", status_code=200)
    rig = Rig([page, page, completion(), page, page, page, page, completion()])
    assert kinds(rig.call()) == ["garbage", "garbage", ""]
    assert kinds(rig.call()) == ["garbage"] * 4 + [""]
