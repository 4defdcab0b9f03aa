"""In any window, a limiter admits at most rate x time + burst."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_batch.sending.clock import FakeClock
from llm_batch.sending.limits import BURST_SECONDS, SHARE, Limiter

# What happens between two requests: seconds that pass, tokens, and sometimes a correction or pause.
EVENTS = st.lists(
    st.tuples(
        st.floats(0, 40),
        st.integers(0, 3000),
        st.sampled_from(["", "", "", "pause", "found fewer", "found more"]),
    ),
    min_size=1,
    max_size=60,
)


@given(
    events=EVENTS,
    rpm=st.floats(0.5, 5000),
    tpm=st.floats(50, 200_000),
    start=st.sampled_from([0.0, 1.0, 1e6]),
)
def test_in_any_window_at_most_rate_times_time_plus_burst_is_admitted(
    events: list[tuple[float, int, str]], rpm: float, tpm: float, start: float
) -> None:
    clock = FakeClock(start)
    limiter = Limiter(rpm, tpm, clock)
    sent: list[tuple[float, float]] = []
    for seconds, tokens, what in events:
        clock.seconds += seconds
        if what == "pause":
            limiter.pause(seconds)
        limiter.acquire(tokens)
        used = float(tokens)
        if what.startswith("found"):
            used = tokens / 2 if what == "found fewer" else tokens * 1.5
            limiter.correct(used - tokens)
        sent.append((clock.now(), used))
    for amounts, per_minute in (
        ([1.0] * len(sent), rpm),
        ([used for _, used in sent], tpm),
    ):
        rate = per_minute * SHARE / 60
        burst = max(BURST_SECONDS * rate, *amounts)
        for first in range(len(sent)):
            total = 0.0
            for last in range(first, len(sent)):
                total += amounts[last]
                window = sent[last][0] - sent[first][0]
                # A correction upwards is known only after the sending: it is paid off next.
                late = amounts[last] / 3 if events[last][2] == "found more" else 0.0
                assert total <= rate * window + burst + late + 1e-6 * (1 + total)


@given(changes=st.lists(st.tuples(st.floats(1, 5000), st.integers(1, 20)), min_size=1, max_size=8))
def test_a_limit_that_changes_is_kept_to_from_then_on(changes: list[tuple[float, int]]) -> None:
    """What was sent ahead of the old pace counts against the new one too."""
    clock = FakeClock()
    limiter = Limiter.with_default(clock)
    for stated, requests in changes:
        limiter.adopt(stated, None)
        changed = clock.now()
        for _ in range(requests):
            limiter.acquire()
        rate = stated * SHARE / 60
        burst = max(1.0, BURST_SECONDS * rate)
        assert requests <= rate * (clock.now() - changed) + burst + 1e-6
