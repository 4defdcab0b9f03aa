"""The limit of tokens in a provider's queue is learned from its refusals."""

from __future__ import annotations

import pytest

from llm_batch.engines.batch.api import TokenQueue, is_token_limit, stated_limit
from llm_batch.errors import Unavailable

SAID = (
    "Enqueued token limit reached for gpt-4o-mini in organization org-x. Limit: 2,000,000 "
    "enqueued tokens. Please try again once some in_progress batches have been completed."
)


def refusal(text: str = SAID) -> Unavailable:
    return Unavailable(text)


def test_the_limit_is_read_from_the_words() -> None:
    assert is_token_limit(refusal()) and stated_limit(refusal()) == 2_000_000
    assert not is_token_limit(refusal("the server is busy"))
    assert stated_limit(refusal("token_limit_exceeded")) is None


@pytest.mark.parametrize(
    ("own", "waiting", "limit"),
    [
        (5_000_000, 0, 2_000_000),  # far above it: the limit itself
        (1_900_000, 0, 1_520_000),  # by our count below it: our count is too low
        (900_000, 900_000, 1_440_000),
        (100_000, 0, 2_000_000),  # others fill the queue
    ],
)
def test_a_refusal_sets_the_limit(own: int, waiting: int, limit: int) -> None:
    queue = TokenQueue(None, 30.0)
    queue.turned_away(refusal(), own, waiting, 0.0)
    assert queue.limit == limit


def test_waits_grow_until_a_job_ends() -> None:
    queue = TokenQueue(100, 30.0)
    waits = []
    for _ in range(10):
        queue.turned_away(refusal("token_limit_exceeded"), 10, 0, 0.0)
        waits.append(queue.blocked_until)
    assert waits[:3] == [30.0, 45.0, 67.5] and waits[-1] == 300.0
    queue.worked_off()
    assert queue.blocked_until < 0


def test_room_is_what_the_limit_leaves() -> None:
    assert TokenQueue(None, 1.0).room(10) is None
    assert TokenQueue(100, 1.0).room(30) == 70
    assert TokenQueue(100, 1.0).room(130) == 0


def test_a_configured_limit_is_not_raised_by_what_a_provider_states() -> None:
    queue = TokenQueue(2000, 30.0)
    queue.turned_away(refusal(SAID.replace("2,000,000", "90,000")), 1500, 0, 0.0)
    assert queue.limit is not None and queue.limit <= 2000
    for _ in range(20):
        queue.worked_off()
    assert queue.limit == 2000


@pytest.mark.parametrize(
    ("words", "limit"), [("limit of 30K", 30_000), ("Limit: 2.5M", 2_500_000), ("Limit: 90", 90)]
)
def test_limits_are_written_in_several_ways(words: str, limit: int) -> None:
    assert stated_limit(refusal(f"enqueued token {words} for the deployment")) == limit
