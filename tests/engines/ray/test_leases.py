"""Leave to send, leased to many limiters: what each gets, and what the ledger hears of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from llm_batch.engines.ray.leases import OPEN_SECONDS, Ended, Lease, LeasedLimiter, Ledger, Limits
from llm_batch.sending.clock import Cancelled, SystemClock
from llm_batch.sending.headers import StatedLimits
from llm_batch.sending.limits import BURST_SECONDS


class Office:
    """A ledger in this process, and limiters that lease from it."""

    def __init__(self, pace: Limits, limiters: int) -> None:
        self.ledger = Ledger({"m": pace})
        self.leases: list[int] = []
        self.clock = SystemClock()
        self.limiters = [
            LeasedLimiter(pace, self.clock, self._lease, self._tell) for _ in range(limiters)
        ]

    def _lease(self, wants: Sequence[float], ended: Sequence[Ended], unasked: int) -> Lease:
        lease = self.ledger.lease("m", wants, ended, unasked)
        self.leases.append(len(lease.slips))
        return lease

    def _tell(self, what: str, *arguments: Any) -> None:
        getattr(self.ledger, what)("m", *arguments)


def in_threads(office: Office, threads: int, each: int, tokens: float = 0.0) -> list[float]:
    """When the requests of so many threads were admitted, sorted."""
    admitted: list[float] = []

    def ask(number: int) -> None:
        limiter = office.limiters[number % len(office.limiters)]
        for _ in range(each):
            slip = limiter.acquire(tokens)
            admitted.append(time.monotonic())
            limiter.finish(slip)

    running = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sorted(admitted)


@pytest.mark.parametrize(
    ("pace", "tokens"),
    [(Limits(12_000, None), 0.0), (Limits(None, 1_200_000), 100.0)],
    ids=["requests", "tokens"],
)
def test_limiters_of_many_processes_stay_within_one_limit(pace: Limits, tokens: float) -> None:
    office = Office(pace, 4)
    began = time.monotonic()
    admitted = in_threads(office, 12, 15, tokens)
    assert len(admitted) == 180
    # 200 a second, of which half a second's worth may come at once.
    assert admitted[-1] - began >= (180 - 0.5 * 200 - 10) / 200


def test_one_question_is_answered_for_several_that_wait() -> None:
    ledger = Ledger({"m": Limits(600_000, None)})
    assert len(ledger.lease("m", [0.0] * 10, []).slips) == 10


def test_the_ledger_follows_what_any_process_is_told() -> None:
    office = Office(Limits(None, None, assumed=True), 2)
    assert office.ledger.rpm() == {"m": 500.0}
    assert not office.limiters[0].counts_tokens
    slip = office.limiters[0].acquire()
    office.limiters[0].finish(slip, StatedLimits(rpm=9_000.0, tpm=900_000.0))
    office.limiters[0].acquire()
    assert office.ledger.rpm() == {"m": 9_000.0}
    assert office.limiters[0].counts_tokens


def test_a_pause_that_one_process_asks_for_holds_all_of_them() -> None:
    office = Office(Limits(600_000, None), 2)
    began = time.monotonic()
    office.limiters[0].pause(0.3)
    office.limiters[1].acquire()
    assert time.monotonic() - began >= 0.3


def test_while_the_user_is_asked_nobody_gets_a_lease() -> None:
    ledger = Ledger({"m": Limits(None, None)})
    ledger.hold(True)
    lease = ledger.lease("m", [0.0], [])
    assert not lease.slips and not lease.is_open
    ledger.hold(False)
    assert len(ledger.lease("m", [0.0], []).slips) == 1


def test_a_stopped_run_admits_nothing() -> None:
    office = Office(Limits(600, None), 1)
    office.clock.cancel()
    with pytest.raises(Cancelled):
        office.limiters[0].acquire()
    assert office.leases == []


def test_a_ledger_that_takes_over_lets_no_burst_through_and_knows_only_its_own() -> None:
    before = Ledger({"m": Limits(6_000, None)})
    slips = before.lease("m", [0.0] * 5, []).slips
    began = time.monotonic()
    ledger = Ledger({"m": Limits(6_000, None)}, another=lambda: True)
    stated = StatedLimits(rpm=3_000.0, requests_left=2_999.0)
    let = len(ledger.lease("m", [0.0] * 30, [(slips[0], stated, 0.0, False)]).slips)
    took = time.monotonic() - began
    assert took >= BURST_SECONDS
    assert let <= 5 + (took - BURST_SECONDS) * 6_000 / 60
    assert ledger.rpm() == {"m": 3_000.0}


def test_where_nothing_is_limited_hardly_anybody_asks() -> None:
    office = Office(Limits(None, None), 2)
    began = time.monotonic()
    assert len(in_threads(office, 8, 500)) == 4000
    windows = (time.monotonic() - began) / OPEN_SECONDS
    assert sum(office.leases) <= 8 * 2 * (windows + 1)


def test_what_was_sent_without_asking_is_known_where_a_limit_begins() -> None:
    office = Office(Limits(None, None), 2)
    in_threads(office, 2, 300)
    time.sleep(OPEN_SECONDS)
    for limiter in office.limiters:
        slip = limiter.acquire()
    assert office.ledger._limiters["m"]._unmetered == 602
    limiter.finish(slip, StatedLimits(rpm=600.0))
    limiter.acquire()
    assert office.ledger.rpm() == {"m": 600.0}


def test_a_refusal_ends_the_freedom_of_all() -> None:
    office = Office(Limits(None, None), 2)
    slips = [limiter.acquire() for limiter in office.limiters]
    office.limiters[0].finish(slips[0], refused=True)
    began = time.monotonic()
    office.limiters[0].pause(0.4)
    time.sleep(OPEN_SECONDS)
    office.limiters[1].acquire()
    assert time.monotonic() - began >= 0.4
