"""How the pace gives way when a limit is not what was said, or someone else uses the same key.

A single refusal costs no more than the pause it asks for. Repeated ones lower the pace by a
factor, and quiet minutes raise it again, slowly at first: all who share a limit go on at a share
of it. Multiplicative decrease and slow increase are what makes shares converge (Chiu and Jain,
"Analysis of the increase and decrease algorithms for congestion avoidance", 1989).
"""

from __future__ import annotations

# Refusals within so many minutes of the one before lower the pace by this factor.
_REPEATED_MINUTES = 2.0
_SLOWER = 0.7
_SLOWEST = 0.01
# What the first quiet minute adds to the pace, as a share of it; later ones add more each.
_FASTER = 0.05


class Sharing:
    """What the pace is multiplied with, so that repeated refusals end."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._refused_at = float("-inf")
        self._answered_since = True
        #: Refusals since the last answer, those of requests sent at one time counted once.
        self.in_a_row = 0

    def answered(self, sent_at: float) -> None:
        """Note that a request was not refused."""
        if sent_at > self._refused_at:
            self._answered_since = True
            self.in_a_row = 0

    def refused(self, sent_at: float, now: float, minute: float) -> bool:
        """Note a refusal; whether it is a repeated one, and the pace was lowered for it.

        One that was sent before the last one was known is old news, and as long as all are
        refused the pace is not what matters: the provider wants the pause to last longer.
        """
        if sent_at <= self._refused_at:
            return False
        recently = now - self._refused_at < _REPEATED_MINUTES * minute
        repeated = recently and self._answered_since
        self._factor = max(_SLOWEST, self.factor(now, minute) * (_SLOWER if repeated else 1.0))
        self._refused_at = now
        self._answered_since = False
        self.in_a_row += 1
        return repeated

    def factor(self, now: float, minute: float) -> float:
        if self._factor >= 1.0:
            return 1.0
        quiet = (now - self._refused_at) / minute
        return min(1.0, self._factor * (1.0 + _FASTER * quiet * (1.0 + quiet)))
