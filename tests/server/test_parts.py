"""The parts of the test server that need no server: limiters on a clock of their own, answers."""

from __future__ import annotations

import math
import random
from itertools import accumulate

import pytest

from tests.server.answers import Ask, answer
from tests.server.limits import KINDS, Limiter
from tests.server.schemas import value_for
from tests.server.throttle import duration


@pytest.mark.parametrize("kind", KINDS)
def test_no_window_holds_more_than_the_limit_and_one_burst(kind: str) -> None:
    minute, rpm = 6.0, 60.0
    limiter = Limiter(rpm, None, kind, minute)
    rng = random.Random(kind)
    admitted = [
        now
        for now in accumulate(rng.expovariate(40) for _ in range(4000))
        if limiter.admit(now, 1).admitted
    ]
    burst = rpm * KINDS[kind] / 60
    for window in (0.5, 1.0, minute):
        allowed = rpm if kind == "sliding" else burst + window * rpm / minute
        for first, start in enumerate(admitted):
            inside = sum(start <= time < start + window for time in admitted[first : first + 200])
            assert inside <= allowed + 1e-6


@pytest.mark.parametrize(
    ("kind", "at_once"), [("sliding", 60), ("bucket60", 60), ("bucket10", 10), ("bucket1", 1)]
)
def test_a_burst_from_rest_passes_up_to_the_size_of_the_window(kind: str, at_once: int) -> None:
    limiter = Limiter(60, None, kind, 60)
    assert sum(limiter.admit(0.0, 1).admitted for _ in range(100)) == at_once


@pytest.mark.parametrize("count_rejected", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_as_told_is_admitted_and_who_comes_earlier_is_not(
    kind: str, count_rejected: bool
) -> None:
    for earlier in (0.0, 0.01):
        limiter = Limiter(30, 3000, kind, 6, count_rejected)
        now, rng = 0.0, random.Random(kind)
        for _ in range(200):
            tokens = rng.randint(1, 300)
            decision = limiter.admit(now, tokens)
            if not decision.admitted:
                now += decision.wait_seconds - min(earlier, decision.wait_seconds / 2)
                assert limiter.admit(now, tokens).admitted is (earlier == 0.0)
                break
        else:
            pytest.fail("nothing was ever refused")


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_limited_beside_requests(kind: str) -> None:
    limiter = Limiter(6000, 600, kind, 60)
    spent, tokens = 0, 10
    while (decision := limiter.admit(0.0, tokens)).admitted:
        spent += tokens
    assert decision.quantity == "tokens"
    assert spent == 600 * (KINDS[kind] or 60) / 60


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_beyond_a_minutes_tokens_never_passes(kind: str) -> None:
    decision = Limiter(None, 600, kind, 60).admit(0.0, 601)
    assert not decision.admitted
    assert math.isinf(decision.wait_seconds)


def test_a_request_beyond_the_bucket_passes_when_it_is_full_and_leaves_a_debt() -> None:
    limiter = Limiter(None, 600, "bucket1", 60)
    assert limiter.admit(0.0, 100).admitted
    # 90 of debt and 1 more to have, at 10 a second.
    assert limiter.admit(0.0, 1).wait_seconds == pytest.approx(9.1)


def test_hammering_keeps_the_door_shut_when_rejected_requests_count() -> None:
    for count_rejected, passes in ((False, True), (True, False)):
        limiter = Limiter(2, None, "sliding", 60, count_rejected)
        admitted = [limiter.admit(float(now), 1).admitted for now in range(70)]
        assert any(admitted[60:]) is passes


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.12, "120ms"),
        (0.1201, "121ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (90.951, "1m30.951s"),
        (3603, "1h0m3s"),
    ],
)
def test_durations_read_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_integers_stay_in_their_bounds() -> None:
    rng = random.Random(1)
    for _ in range(200):
        low = rng.randint(-10, 10)
        schema = {"type": "INTEGER", "exclusiveMinimum": low, "maximum": low + 2}
        assert value_for(schema, rng, schema) in (low + 1, low + 2)


def test_an_answer_has_as_many_words_as_told() -> None:
    ask = Ask("m", [("user", "hi")], "h")
    for words in (1, 12, 100):
        assert len((answer(ask, words).text or "").split()) == words
