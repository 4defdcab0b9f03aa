"""What requests went through in jobs that brought them nothing."""

from __future__ import annotations

from dataclasses import replace

from llm_batch.batches.collect import Collected
from llm_batch.records import Attempt, Call


class Tries:
    """Keeps the attempts at requests that are tried again, and what they may have cost."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[Attempt]] = {}
        self._lost: dict[str, float] = {}

    def note(self, failed: Collected) -> int:
        """Remember an outcome that is no answer; how many there were for its request."""
        error, key = failed.error, failed.entry.key
        assert error is not None  # answers are not tried again
        tries = self._attempts.setdefault(key, [])
        tries.append(
            Attempt(len(tries) + 1, failed.job.at, failed.seconds, error.kind, error.maybe_billed)
        )
        if error.maybe_billed:
            self._lost[key] = self._lost.get(key, 0.0) + (failed.entry.most or 0.0)
        return len(tries)

    def before(self, call: Call) -> Call:
        """A call with the attempts that came before it, and what they may have cost (USD)."""
        key = call.request.key
        tries, lost = self._attempts.pop(key, []), self._lost.pop(key, 0.0)
        if not tries:
            return call
        made = [replace(each, number=each.number + len(tries)) for each in call.attempts]
        call = replace(call, attempts=(*tries, *made))
        if not lost:
            return call
        cost = None if call.cost is None else call.cost + lost
        return replace(call, cost=cost, worst_case=True)
