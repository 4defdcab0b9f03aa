"""How much of a limit is used, and how often that is refused, against four kinds of server.

The server is strict and time is simulated: `tests.simulated`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from llm_batch.sending.clock import FakeClock
from llm_batch.sending.limits import DEFAULT_RPM, Limiter
from llm_batch.sending.rate import AHEAD, SHARE, Mark, Rate
from tests.server.limits import KINDS
from tests.simulated import Simulation

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
#: Workers with seconds of latency, such that they suffice for 600 a minute.
WORKERS = pytest.mark.parametrize(
    ("workers", "latency"), [(1, 0.04), (5, 0.3), (50, 1.0), (200, 3.0)]
)


def sizes(seed: int, mean: int, spread: float = 0.67) -> Callable[[], float]:
    """Tokens of requests, evenly spread around the mean."""
    numbers = random.Random(seed)
    return lambda: float(round(mean * (1 + spread * numbers.uniform(-1, 1))))


# --- the pace


@EVERY_KIND
@WORKERS
@pytest.mark.parametrize(
    ("rpm", "tpm"),
    [(600, None), (None, 180_000), (600, 250_000), (900, 180_000)],
    ids=["requests", "tokens", "requests first", "tokens first"],
)
@pytest.mark.parametrize("headers", ["none", "limit only", "truthful"])
def test_at_least_97_percent_of_a_limit_is_used_without_a_refusal(
    kind: str, workers: int, latency: float, rpm: int | None, tpm: int | None, headers: str
) -> None:
    simulation = Simulation(kind, rpm, tpm, workers=workers, latency=latency, headers=headers)
    limiter = Limiter(rpm, tpm, simulation.clock)
    seen = simulation.run(limiter, seconds=130, tokens=sizes(1, 300) if tpm else lambda: 0.0)
    used = max(
        seen.share(rpm, 0, 120) if rpm else 0.0,
        seen.share(tpm, 0, 120, tokens=True) if tpm else 0.0,
    )
    assert seen.refused == []
    # One worker answers 12 a second: what the largest requests hold up it cannot catch up with.
    assert used >= (0.97 if workers > 1 else 0.96)


@EVERY_KIND
def test_a_run_that_both_limits_bind_uses_97_percent_of_one(kind: str) -> None:
    """Sizes vary by a fifth around what makes the limits equal: now one binds, now the other."""
    simulation = Simulation(kind, 600, 180_000, workers=50)
    seen = simulation.run(Limiter(600, 180_000, simulation.clock), tokens=sizes(2, 300, 0.2))
    assert seen.refused == []
    assert max(seen.share(600, 0, 140), seen.share(180_000, 0, 140, tokens=True)) >= 0.97


def test_two_models_have_their_limits_each() -> None:
    first, second = Simulation("bucket10", 600), Simulation("sliding", 90)
    for simulation, rpm in ((first, 600), (second, 90)):
        seen = simulation.run(Limiter(rpm, None, simulation.clock))
        assert seen.refused == []
        assert seen.share(rpm, 0, 140) >= 0.97


@EVERY_KIND
@pytest.mark.parametrize("rpm", [120, 3000])
def test_limits_are_found_from_headers_alone(kind: str, rpm: int) -> None:
    simulation = Simulation(kind, rpm, headers="limit only", workers=100)
    limiter = Limiter.with_default(simulation.clock)
    assert limiter.rpm == DEFAULT_RPM
    seen = simulation.run(limiter)
    assert limiter.rpm == rpm
    assert len(seen.refused) <= 3  # of the first burst, which the default allowed
    assert seen.share(rpm, 2, 142) >= 0.97


# --- ahead of the pace


@pytest.mark.parametrize("kind", ["sliding", "bucket60"])
@pytest.mark.parametrize(("workers", "latency"), [(5, 0.05), (20, 0.3), (200, 0.3), (200, 2.0)])
@pytest.mark.parametrize("given", [True, False])
def test_headers_that_tell_headroom_bring_1200_requests_through_600_a_minute_in_75_seconds(
    kind: str, workers: int, latency: float, given: bool
) -> None:
    simulation = Simulation(kind, 600, headers="truthful", workers=workers, latency=latency)
    clock = simulation.clock
    limiter = Limiter(600, None, clock) if given else Limiter.with_default(clock)
    seen = simulation.run(limiter, requests=1200, seconds=400)
    assert len(seen.admitted) == 1200
    assert seen.refused == []
    assert seen.admitted[-1] - seen.admitted[0] <= 75


@pytest.mark.parametrize("kind", ["sliding", "bucket60"])
@pytest.mark.parametrize("workers", [20, 200])
def test_what_was_sent_before_any_limit_was_known_is_accounted_for(kind: str, workers: int) -> None:
    """Nothing is assumed of a server on this machine: the first requests go out at once."""
    simulation = Simulation(kind, 600, headers="truthful", workers=workers)
    seen = simulation.run(Limiter(None, None, simulation.clock), seconds=300)
    assert seen.refused == []
    assert seen.share(600, 0, 300) >= 0.97


@pytest.mark.parametrize("kind", ["sliding", "bucket60"])
def test_what_an_earlier_process_used_of_the_minute_is_accounted_for(kind: str) -> None:
    simulation = Simulation(kind, 600, headers="truthful", workers=20)
    simulation.other(1200, 0, 12)
    simulation.clock.sleep(12)
    seen = simulation.run(Limiter(600, None, simulation.clock), seconds=300)
    assert seen.refused == []
    assert seen.share(600, 72, 300) >= 0.95


@EVERY_KIND
@WORKERS
def test_sending_ahead_is_not_refused_over_ten_minutes(
    kind: str, workers: int, latency: float
) -> None:
    simulation = Simulation(kind, 600, headers="truthful", workers=workers, latency=latency)
    seen = simulation.run(Limiter(600, None, simulation.clock), seconds=600)
    assert seen.refused == []
    assert seen.share(600, 0, 600) >= 0.97


@EVERY_KIND
def test_tokens_are_sent_ahead_too(kind: str) -> None:
    simulation = Simulation(kind, None, 180_000, headers="truthful", workers=50)
    limiter = Limiter(None, 180_000, simulation.clock)
    seen = simulation.run(limiter, requests=900, seconds=400, tokens=lambda: 400.0)
    assert seen.refused == []
    paced = 900 * 400 / (180_000 * SHARE / 60)
    if kind in ("sliding", "bucket60"):
        assert seen.admitted[-1] <= 0.65 * paced
    else:
        assert seen.admitted[-1] <= paced


def test_a_limit_the_user_gave_is_kept_in_any_minute_though_more_is_left() -> None:
    simulation = Simulation("bucket60", 6000, headers="truthful", workers=50)
    seen = simulation.run(Limiter(600, None, simulation.clock), seconds=300)
    assert simulation.ours.admitted[200] < 15
    times = seen.admitted
    assert all(late - early > 60 for early, late in zip(times, times[600:], strict=False))


@EVERY_KIND
@pytest.mark.parametrize(("workers", "latency"), [(5, 0.3), (50, 1.0), (200, 0.3)])
def test_headers_that_never_count_down_are_not_believed(
    kind: str, workers: int, latency: float
) -> None:
    """At most a few requests under way are refused, then the pace holds for the whole run."""
    simulation = Simulation(kind, 600, headers="constant", workers=workers, latency=latency)
    seen = simulation.run(Limiter(600, None, simulation.clock), seconds=300)
    assert len(seen.refused) <= (3 if kind == "bucket1" else 0)
    assert all(at < 5 for at in seen.refused)
    assert seen.share(600, 0, 300) >= 0.97


def report(rate: Rate, left: float, mark: Mark, now: float) -> None:
    rate.end(1)
    rate.report(left, None, mark, now)


def test_what_a_reply_cannot_know_of_is_subtracted() -> None:
    """Forty are left, but thirty were under way beside the request that was told so."""
    rate = Rate(600, given=True)
    marks = [rate.take(1, 0.0) for _ in range(31)]
    report(rate, 40, marks[0], 0.2)
    assert not rate._may_run_ahead(1, 0.2)
    report(rate, 70, marks[1], 0.2)
    assert not rate._may_run_ahead(1, 0.2)  # of two that say otherwise, the lower one
    for _ in marks[2:]:
        rate.end(1)
    late = rate.take(1, 1.0)
    report(rate, 40, late, 1.2)
    assert rate._may_run_ahead(1, 1.2)


def test_a_reply_that_was_overtaken_is_not_heard() -> None:
    rate = Rate(600, given=True)
    early = rate.take(1, 0.0)
    rate.end(1)
    later = rate.take(1, 2.0)
    report(rate, 10, later, 2.2)
    report(rate, 500, early, 3.0)
    assert not rate._may_run_ahead(1, 3.0)


def test_a_report_is_not_believed_for_long() -> None:
    rate = Rate(600, given=True)
    report(rate, 500, rate.take(1, 0.0), 0.2)
    assert rate._may_run_ahead(1, 5.0)
    assert not rate._may_run_ahead(1, 11.0)


@EVERY_KIND
def test_one_refusal_in_spite_of_headroom_ends_sending_ahead_for_the_run(kind: str) -> None:
    simulation = Simulation(kind, 600, headers="truthful", workers=50)
    clock = simulation.clock
    limiter = Limiter(600, None, clock)
    limiter.finish(limiter.acquire(), refused=True)
    clock.seconds += 120
    begun = clock.now()
    seen = simulation.run(limiter, requests=400, seconds=400)
    assert seen.refused == []
    assert seen.admitted[-1] - begun >= 400 / (600 * SHARE / 60) - 1


def test_sending_ahead_is_as_fast_as_it_says_and_no_faster() -> None:
    simulation = Simulation("bucket60", 600, headers="truthful", workers=500, latency=0.1)
    times = simulation.run(Limiter(600, None, simulation.clock), requests=400).admitted
    fastest = max(100 / (late - early) for early, late in zip(times, times[100:], strict=False))
    assert 0.8 * AHEAD * 10 * SHARE <= fastest <= 1.6 * AHEAD * 10 * SHARE


# --- limits that are not what they seem

FEW = pytest.mark.parametrize(("workers", "latency"), [(3, 0.2), (5, 0.3)])


@EVERY_KIND
@FEW
@pytest.mark.parametrize("headers", ["none", "limit only", "truthful"])
def test_a_limit_that_is_halved_costs_at_most_ten_refusals_in_its_first_two_minutes(
    kind: str, workers: int, latency: float, headers: str
) -> None:
    simulation = Simulation(kind, 600, headers=headers, workers=workers, latency=latency)
    simulation.change(70, 300)
    seen = simulation.run(Limiter(600, None, simulation.clock), seconds=400)
    assert len([at for at in seen.refused if at < 190]) <= (10 if headers == "none" else 5)
    assert len(seen.refused) <= (20 if headers == "none" else 8)
    assert seen.share(300, 130, 400) >= (0.9 if headers == "none" else 0.95)


@EVERY_KIND
@FEW
@pytest.mark.parametrize("retry_after", [True, False])
def test_a_configured_limit_of_twice_the_real_one_costs_less_than_2_percent_refusals(
    kind: str, workers: int, latency: float, retry_after: bool
) -> None:
    simulation = Simulation(kind, 300, workers=workers, latency=latency, retry_after=retry_after)
    seen = simulation.run(Limiter(600, None, simulation.clock), requests=900, seconds=1000)
    assert len(seen.admitted) == 900
    assert len(seen.refused) < 0.02 * 900
    assert seen.admitted[-1] <= 1.1 * 180


@EVERY_KIND
@FEW
@pytest.mark.parametrize("headers", ["none", "truthful"])
@pytest.mark.parametrize("retry_after", [True, False])
def test_a_second_process_on_the_same_key_gets_its_share_and_there_is_no_storm(
    kind: str, workers: int, latency: float, headers: str, retry_after: bool
) -> None:
    """The other takes half the limit from second 40 on, whatever we do."""
    simulation = Simulation(
        kind, 600, workers=workers, latency=latency, headers=headers, retry_after=retry_after
    )
    simulation.other(300, 40, 500)
    seen = simulation.run(Limiter(600, None, simulation.clock), seconds=500)
    assert len(seen.refused) < 0.02 * 2500
    assert 0.38 <= seen.share(600, 100, 500) <= 0.6


@EVERY_KIND
def test_two_of_us_on_one_key_share_it(kind: str) -> None:
    first = Simulation(kind, 600, workers=5)
    limiters = [Limiter(600, None, first.clock) for _ in range(2)]
    seen = first.run_together(limiters, seconds=600)
    shares = [traffic.share(600, 120, 600) for traffic in seen]
    assert sum(len(traffic.refused) for traffic in seen) < 0.02 * 5900
    assert sum(shares) >= 0.9
    assert min(shares) >= 0.25


def test_a_stray_refusal_costs_no_more_than_its_pause() -> None:
    simulation = Simulation("sliding", 600)
    clock = simulation.clock
    limiter = Limiter(600, None, clock)

    def stray() -> None:
        limiter.finish(limiter._take(0.0, clock.now()), refused=True)
        limiter.pause(2.0)

    clock.at(60.0, stray)
    assert simulation.run(limiter, seconds=190).share(600, 0, 180) >= 0.97 - 2 / 180


def test_a_limit_is_not_passed_by_requests_that_are_large_against_it() -> None:
    """The largest is four seconds' worth: at the pace alone a sliding minute would overflow."""
    simulation = Simulation("sliding", None, 18_000, workers=5, seed=3)
    seen = simulation.run(
        Limiter(None, 18_000, simulation.clock), seconds=400, tokens=sizes(3, 720)
    )
    assert seen.refused == []
    assert seen.share(18_000, 0, 390, tokens=True) >= 0.93


def test_the_account_of_a_minute_stays_small() -> None:
    clock = FakeClock()
    rate = Rate(600_000, given=True)
    for _ in range(20_000):
        clock.seconds += 0.01
        rate.take(1, clock.now())
    assert len(rate._parts) <= 250
