"""What requests went through in jobs that brought them nothing."""

from __future__ import annotations

from dataclasses import replace

from llm_batch.batches.collect import Collected
from llm_batch.records import Attempt, Call


class Tries:
    """Keeps the attempts at requests that are tried again."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[Attempt]] = {}

    def note(self, failed: Collected) -> int:
        """Remember an outcome that is no answer; how many there were for its request."""
        error = failed.error
        assert error is not None  # answers are not tried again
        tries = self._attempts.setdefault(failed.entry.key, [])
        tries.append(
            Attempt(len(tries) + 1, failed.job.at, failed.seconds, error.kind, error.maybe_billed)
        )
        return len(tries)

    def forget(self, key: str) -> None:
        """The request is not tried again in this session."""
        self._attempts.pop(key, None)

    def before(self, call: Call) -> Call:
        """A call with the attempts that came before it."""
        tries = self._attempts.pop(call.request.key, [])
        if not tries:
            return call
        made = [replace(each, number=each.number + len(tries)) for each in call.attempts]
        return replace(call, attempts=(*tries, *made))
