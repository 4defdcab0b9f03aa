"""How many input tokens the jobs of one model may have waiting at the provider."""

from __future__ import annotations

from llm_batch.batches.api import stated_limit
from llm_batch.errors import ProviderError

_GROWTH = 1.5
_LONGEST = 10.0
# Our count of tokens is not the provider's: what is near the limit may be above it.
_SMALLER = 0.8


class TokenQueue:
    """A limit that is known, or learned when it is met.

    Args:
        limit: What the config says; ``None`` when it says nothing.
        poll: Seconds to wait after the first time it was met; more each time after that.

    Attributes:
        limit: Tokens; ``None`` while nobody knows.
        blocked_until: Nothing is submitted before, in seconds of the clock.
    """

    def __init__(self, limit: int | None, poll: float) -> None:
        self.limit = limit
        self.blocked_until = float("-inf")
        self._poll = self._wait = poll

    def room(self, waiting: int) -> int | None:
        """Tokens that may be submitted while so many wait; ``None`` for no limit."""
        return None if self.limit is None else max(0, self.limit - waiting)

    def turned_away(self, error: ProviderError, own: int, waiting: int, now: float) -> None:
        """A job was refused for its tokens.

        Args:
            error: The provider's words, which may name the limit.
            own: Tokens of the job.
            waiting: Tokens of our other jobs in the queue.
            now: Seconds of the clock.
        """
        total = own + waiting
        most = stated_limit(error) or total
        # Below half of the limit it is other people's jobs that fill the queue.
        self.limit = min(most, max(1, int(total * _SMALLER))) if total > most / 2 else most
        self.blocked_until = now + self._wait
        self._wait = min(_LONGEST * self._poll, _GROWTH * self._wait)

    def worked_off(self) -> None:
        """A job has ended, so there is room."""
        self.blocked_until = float("-inf")
        self._wait = self._poll
