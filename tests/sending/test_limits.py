"""When a request may be sent."""

from __future__ import annotations

import threading

import pytest

from llm_batch.sending import limits
from llm_batch.sending.clock import Cancelled, FakeClock, SystemClock
from llm_batch.sending.limits import (
    BURST_SECONDS,
    DEFAULT_RPM,
    SHARE,
    Limiter,
    Slip,
    counted_tokens,
)

# --- pace


def admitted(limiter: Limiter, clock: FakeClock, seconds: float, tokens: float = 0) -> list[float]:
    """When requests were admitted that asked one after the other for so many seconds."""
    times = []
    until = clock.now() + seconds
    while True:
        limiter.acquire(tokens)
        if clock.now() >= until:
            return times
        times.append(clock.now())


@pytest.mark.parametrize("rpm", [6, 60, 500, 3000])
def test_a_request_limit_is_used_to_98_percent_and_not_beyond(rpm: int) -> None:
    clock = FakeClock()
    times = admitted(Limiter(rpm, None, clock), clock, 600)
    burst = max(1, BURST_SECONDS * rpm * SHARE / 60)
    assert 10 * rpm * SHARE - 1 <= len(times) <= 10 * rpm * SHARE + burst + 1e-6


def test_a_token_limit_is_used_to_98_percent_and_not_beyond() -> None:
    clock = FakeClock()
    times = admitted(Limiter(None, 60_000, clock), clock, 600, tokens=500)
    assert 600_000 * SHARE - 500 <= 500 * len(times) <= 600_000 * SHARE + 500


@pytest.mark.parametrize(("tokens", "pace"), [(50, 600), (400, 250)], ids=["requests", "tokens"])
def test_of_two_limits_the_tighter_one_sets_the_pace(tokens: int, pace: int) -> None:
    clock = FakeClock()
    times = admitted(Limiter(600, 100_000, clock), clock, 60, tokens)
    assert pace * SHARE - 1 <= len(times) <= (pace + 10) * SHARE


def test_waiting_for_tokens_does_not_use_up_requests() -> None:
    """One reservation for both: after a minute's wait for tokens, a request costs no more."""
    clock = FakeClock()
    limiter = Limiter(60, 6000, clock)
    limiter.acquire(6000)
    limiter.acquire(6000)
    waited = clock.now()
    limiter.acquire(0)
    assert waited == pytest.approx(60 / SHARE, abs=0.01)
    assert clock.now() - waited == pytest.approx(1 / SHARE)


def test_without_limits_nobody_waits() -> None:
    clock = FakeClock()
    limiter = Limiter(None, None, clock)
    for _ in range(1000):
        limiter.acquire(10_000)
    assert clock.slept == []


def test_a_request_larger_than_a_minutes_tokens_is_sent_once_all_else_is_paid_off() -> None:
    clock = FakeClock()
    limiter = Limiter(None, 1000, clock)
    limiter.acquire(100)
    limiter.acquire(5000)
    assert clock.now() == pytest.approx(6 / SHARE, abs=0.01)


def test_tokens_that_were_counted_wrongly_are_corrected_both_ways() -> None:
    clock = FakeClock()
    limiter = Limiter(None, 6000, clock)
    limiter.acquire(6000)
    limiter.correct(-3000)
    limiter.acquire(1)
    assert clock.now() == pytest.approx(30 / SHARE, rel=0.02)
    limiter.correct(3000)
    limiter.acquire(1)
    assert clock.now() == pytest.approx(60 / SHARE, rel=0.02)


# --- pause and stop


def test_a_pause_holds_everyone_back() -> None:
    clock = FakeClock()
    limiter = Limiter(None, None, clock)
    limiter.pause(7)
    limiter.acquire()
    assert clock.now() == pytest.approx(7)


@pytest.mark.parametrize("rpm", [None, 600.0], ids=["no limit", "a limit"])
def test_what_is_held_is_admitted_once_it_is_let_go(rpm: float | None) -> None:
    limiter = Limiter(rpm, None, FakeClock())
    limiter.hold(True)
    assert isinstance(limiter.try_acquire(), float) and not limiter.is_open
    assert limiter.acquire_within(0.0, 60.0) is None
    limiter.hold(False)
    assert isinstance(limiter.try_acquire(), Slip)


def test_a_longer_pause_is_not_cut_short_by_a_shorter_one() -> None:
    clock = FakeClock()
    limiter = Limiter(None, None, clock)
    limiter.pause(7)
    limiter.pause(1)
    limiter.acquire()
    assert clock.now() == pytest.approx(7)


@pytest.mark.parametrize("tokens", [0, 100], ids=["requests", "tokens"])
def test_after_a_pause_all_go_on_at_the_pace_of_the_limit_and_not_at_once(tokens: int) -> None:
    """A burst of those who waited is what a provider that has just refused would refuse again."""
    clock = FakeClock()
    limiter = Limiter(None if tokens else 600, 60_000 if tokens else None, clock)
    admitted(limiter, clock, 5, tokens)
    limiter.pause(60)
    paused = clock.now()
    times = admitted(limiter, clock, 65, tokens)
    assert times[0] >= paused + 60 - 1e-6
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert min(gaps) >= 0.1 / SHARE - 1e-6
    assert len(times) >= 4 * 10 * SHARE


def test_after_a_stop_nothing_is_admitted_with_or_without_a_limit() -> None:
    for rpm in (None, 1e9):
        clock = SystemClock()
        limiter = Limiter(rpm, None, clock)
        limiter.acquire()
        clock.cancel()
        with pytest.raises(Cancelled):
            limiter.acquire()


def test_a_stop_wakes_all_who_wait_for_their_turn() -> None:
    clock = SystemClock()
    limiter = Limiter(1, None, clock)
    limiter.acquire()
    ended: list[bool] = []

    def wait() -> None:
        try:
            limiter.acquire()
        except Cancelled:
            ended.append(True)

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    clock.cancel()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 20


def test_many_threads_together_keep_to_one_pace() -> None:
    """Under real time: threads that share a limiter cannot take the same slot twice."""
    clock = SystemClock()
    limiter = Limiter(60_000, None, clock)
    times: list[float] = []

    def work() -> None:
        for _ in range(30):
            limiter.acquire()
            times.append(clock.now())

    limiter.acquire()
    begun = clock.now()
    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = 60_000 * SHARE / 60
    assert len(times) == 600
    assert max(times) - begun >= 600 / rate - BURST_SECONDS - 1e-3


# --- limits that change


def test_limits_in_headers_replace_the_default() -> None:
    limiter = Limiter.with_default(FakeClock())
    assert (limiter.rpm, limiter.tpm) == (DEFAULT_RPM, None)
    limiter.adopt(3000, 90_000)
    assert (limiter.rpm, limiter.tpm) == (3000, 90_000)


def test_limits_in_headers_lower_a_given_one_and_never_raise_it() -> None:
    limiter = Limiter(600, 10_000, FakeClock())
    limiter.adopt(6000, 1_000_000)
    assert (limiter.rpm, limiter.tpm) == (600, 10_000)
    limiter.adopt(300, 5000)
    assert (limiter.rpm, limiter.tpm) == (300, 5000)


def test_a_limit_that_was_lowered_for_a_while_comes_back() -> None:
    limiter = Limiter(600, None, FakeClock())
    found = Limiter.with_default(FakeClock())
    for stated in (1000, 300, 1000):
        limiter.adopt(stated, None)
        found.adopt(stated, None)
    assert (limiter.rpm, found.rpm) == (600, 1000)


def test_a_limit_nobody_gave_is_taken_from_headers() -> None:
    limiter = Limiter(600, None, FakeClock())
    assert not limiter.counts_tokens
    limiter.adopt(None, 5000)
    assert limiter.counts_tokens
    assert (limiter.rpm, limiter.tpm) == (600, 5000)


class _Changing(FakeClock):
    """States another limit at second 5, while someone sleeps."""

    def __init__(self, rpm: float, stated: float) -> None:
        super().__init__()
        self.limiter = Limiter(None, None, self)
        self.limiter.adopt(rpm, None)
        self.stated = stated

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.seconds >= 5:
            self.limiter.adopt(self.stated, None)


def test_whoever_waits_already_profits_from_a_limit_that_is_raised() -> None:
    clock = _Changing(rpm=6, stated=600)
    for _ in range(3):
        clock.limiter.acquire()
    assert clock.now() == pytest.approx(5, abs=0.7)


def test_whoever_waits_already_is_held_to_a_limit_that_is_lowered() -> None:
    clock = _Changing(rpm=6, stated=1)
    for _ in range(2):
        clock.limiter.acquire()
    assert clock.now() >= 5 + 5 * 6


# --- refusals


def refuse(limiter: Limiter) -> None:
    limiter.finish(limiter.acquire(), refused=True)


def answer(limiter: Limiter) -> None:
    limiter.finish(limiter.acquire())


def pace(limiter: Limiter, clock: FakeClock) -> float:
    """Requests a minute as they are admitted now."""
    admitted(limiter, clock, 2)
    return len(admitted(limiter, clock, 10)) * 6


def test_a_single_refusal_leaves_the_pace_as_it_is() -> None:
    clock = FakeClock()
    limiter = Limiter(600, None, clock)
    refuse(limiter)
    assert pace(limiter, clock) == pytest.approx(600 * SHARE, rel=0.03)


def refused_at_half(limiter: Limiter, clock: FakeClock) -> None:
    """Twice in succession: half of what the pace allows is admitted, and then a refusal."""
    for _ in range(2):
        for _ in range(20):
            answer(limiter)
        began = clock.now()
        refuse(limiter)
        limiter.pause(2 * (20 / 9.8))
        assert clock.now() - began < 1


def test_refusals_bring_what_was_admitted_and_quiet_minutes_bring_the_limit_back() -> None:
    clock = FakeClock()
    limiter = Limiter(600, None, clock)
    refused_at_half(limiter, clock)
    answer(limiter)
    assert limiter.slowed.per_minute == pytest.approx(300, rel=0.15)
    for _ in range(3000):
        answer(limiter)
    assert pace(limiter, clock) == pytest.approx(600 * SHARE, rel=0.03)


def test_refusals_of_requests_that_were_sent_before_the_first_was_known_count_once() -> None:
    clock = FakeClock()
    limiter = Limiter(6000, None, clock)
    refuse(limiter)
    clock.seconds += 10
    answer(limiter)
    slips = [limiter.acquire() for _ in range(20)]
    clock.seconds += 1
    for slip in slips:
        limiter.finish(slip, refused=True)
    assert limiter.refusals_in_a_row == 1


def test_as_long_as_all_are_refused_the_pace_is_lowered_no_further() -> None:
    """The provider wants a longer pause then, and has it; the pace is not what it minds."""
    clock = FakeClock()
    limiter = Limiter(600, None, clock)
    for _ in range(6):
        refuse(limiter)
        clock.seconds += 20
    assert limiter.refusals_in_a_row == 6
    assert pace(limiter, clock) == pytest.approx(600 * SHARE, rel=0.03)


def test_what_is_refused_with_as_many_under_way_twice_is_sent_by_no_more_at_once() -> None:
    clock = FakeClock()
    limiter = Limiter(None, None, clock)
    first, second, third = (limiter.acquire() for _ in range(3))
    limiter.finish(third, refused=True)
    limiter.pause(1)
    limiter.finish(limiter.acquire(), refused=True)
    assert limiter.slowed.at_once == 2
    assert isinstance(limiter.try_acquire(), float)
    limiter.finish(first)
    assert not isinstance(limiter.try_acquire(), float)
    limiter.finish(second)


def test_where_no_limit_is_known_refusals_bring_the_pace_that_was_admitted() -> None:
    clock = FakeClock()
    limiter = Limiter(None, None, clock)
    for _ in range(2):
        for _ in range(10):
            clock.seconds += 0.2
            answer(limiter)
        refuse(limiter)
        limiter.pause(limiter.pause_seconds)
    answer(limiter)
    assert limiter.rpm == pytest.approx(240, rel=0.1)
    assert not limiter.is_open


def test_an_assumed_limit_doubles_with_every_ten_seconds_worth_that_is_not_refused() -> None:
    clock = FakeClock()
    limiter = Limiter.with_default(clock)
    for _ in range(int(DEFAULT_RPM / 6) + 2):
        answer(limiter)
    assert limiter.rpm == 2 * DEFAULT_RPM
    for _ in range(int(2 * DEFAULT_RPM / 6)):
        answer(limiter)
    assert limiter.rpm == 2 * DEFAULT_RPM
    answer(limiter)
    answer(limiter)
    assert limiter.rpm == 4 * DEFAULT_RPM
    assert limiter.is_default


def test_a_shorter_minute_shortens_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MINUTE_SECONDS", 6.0)
    clock = FakeClock()
    times = admitted(Limiter(600, None, clock), clock, 6)
    assert len(times) == pytest.approx(600 * SHARE + BURST_SECONDS * 10 * SHARE, abs=1.1)
    assert times[6] > 0  # a burst of half a second of a real minute is five requests


@pytest.mark.parametrize(
    ("vendor", "input_tokens", "max_tokens", "expected"),
    [
        ("openai", 100, 500, 500),
        ("openai", 900, 500, 900),
        ("openai", 100, None, 100),
        ("azure", 100, 500, 600),
        ("anthropic", 100, 500, 100),
        ("gemini", 100, 500, 100),
        ("groq", 100, 500, 600),
    ],
)
def test_tokens_count_as_the_vendor_counts_them(
    vendor: str, input_tokens: int, max_tokens: int | None, expected: int
) -> None:
    assert counted_tokens(vendor, input_tokens, max_tokens) == expected
