"""One limit per minute: the pace that keeps to it, and when more than the pace may be sent.

The pace is the generic cell rate algorithm (ITU-T I.371): the limit keeps the theoretical arrival
time of the next unit, and a request conforms when that time, moved on by its own cost, is no more
than the burst ahead of now.

Where the provider tells what is left of the limit, sending ahead of the pace is `AHEAD` times as
fast, down to a reserve. These things keep that from being refused:

- A reply cannot know of what was under way beside it. What it says is left counts requests that
  had ended, or were sent a moment before its own; all others are subtracted from it.
- Whoever sent ahead keeps its own account of the last minute, and never goes beyond the limit in
  any minute. A provider that counts a sliding minute would otherwise refuse the very pace.
- Where all that is missing from the limit is in that account, nobody else uses the key, and the
  account alone decides, without a reserve.
- A provider that says nothing was used, soon after much was, does not tell the truth. Until a
  report was seen to follow what is sent, `AHEAD_UNPROVEN` is the speed.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

#: Share of a limit that is used: the rest absorbs the jitter of the network.
SHARE = 0.98
#: How far a burst may run ahead of the pace, in seconds of the limit.
BURST_SECONDS = 0.5
#: How many times the pace is sent while the provider says that enough is left.
AHEAD = 10.0
#: The same until a first report has shown that the provider counts what is sent.
AHEAD_UNPROVEN = 3.0
#: What is not sent ahead: a share of the limit, and at least so many requests. It is for others
#: on the same key, and for providers that keep an account of a second and report on a minute.
RESERVE_SHARE = 0.04
RESERVE_REQUESTS = 5.0
# How long a report is believed when no newer one comes.
_FRESH_SECONDS = 10.0
# A request is counted by the provider at most so much later than it was admitted here.
_ARRIVAL_SECONDS = 0.75
# A report that claims more than could be left by this share of the limit is not believed.
_DOUBT_SHARE = 0.01
# The account of a minute is kept in so many parts.
_PARTS = 240


class Mark(NamedTuple):
    """What had been sent when a request was: units since the beginning, its own included.

    Attributes:
        counted: What a reply to it is certain to know of.
        taken: All.
    """

    counted: float
    taken: float


class Rate:
    """One limit, in requests or tokens: *units*. Not safe for threads; times are seconds.

    Args:
        per_minute: The limit to begin with.
        given: Whether the user set it: what the provider states may then only lower it.
        minute_seconds: How long a minute lasts; tests and rehearsals shorten it.

    Attributes:
        per_minute: The limit in force.
    """

    def __init__(self, per_minute: float, *, given: bool, minute_seconds: float = 60.0) -> None:
        self._scale = minute_seconds / 60.0
        self._minute = minute_seconds
        self._burst = BURST_SECONDS * self._scale
        self._ceiling = per_minute if given else float("inf")
        self._arrival = float("-inf")
        # Units admitted and units of attempts that have ended, since the beginning.
        self._taken = 0.0
        self._ended = 0.0
        # The account of the last minute: beginning and units of each part of it.
        self._parts: deque[list[float]] = deque()
        # Units taken before the part before the last one, before the last one.
        self._taken_before = (0.0, 0.0)
        self._used = 0.0
        self._part = self._minute / _PARTS
        self._window = self._minute + self._part + _ARRIVAL_SECONDS * max(self._scale, 0.25)
        self._guarded_until = float("-inf")
        # What was reported: up to which number of units taken there is room, how new that is.
        self._room = float("-inf")
        self._mark = float("-inf")
        self._fresh_until = float("-inf")
        self._since: float | None = None
        self._taken_then = 0.0
        self._trusted, self._proven, self._alone = True, False, False
        # Whether so much was left once that the provider's account must be of a whole minute.
        self._whole_minute = False
        self._set(per_minute)

    def _set(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._per_second = per_minute * SHARE / self._minute
        self._reserve = max(RESERVE_REQUESTS, RESERVE_SHARE * per_minute)

    def adopt(self, stated: float, now: float) -> None:
        """Follow the limit the provider states, down and up again."""
        limit = min(stated, self._ceiling)
        if limit != self.per_minute:
            # What was sent ahead of the pace is so many units, whose time is now another.
            ahead = max(0.0, self._arrival - now)
            self._arrival = now + ahead * self.per_minute / limit
            self._whole_minute = False
            self._set(limit)

    def wait(self, cost: float, now: float) -> float:
        """Seconds until ``cost`` units may be sent; 0 when they may now.

        Args:
            cost: Units of the request.
            now: The time.
        """
        ahead = self._may_run_ahead(cost, now)
        duration = cost / self._speed(ahead)
        wait = max(self._arrival, now) + duration - max(self._burst, duration) - now
        if ahead or now < self._guarded_until:
            wait = max(wait, self._wait_for_window(cost, now))
        return wait

    def take(self, cost: float, now: float) -> Mark:
        """Count ``cost`` units as sent.

        Returns:
            What `report` needs of the request.
        """
        ahead = self._may_run_ahead(cost, now)
        speed = self._speed(ahead)
        if ahead or self._burst * speed < cost <= self.per_minute:
            # Ahead of the pace, or a request so large that the pace itself is a burst.
            self._guarded_until = now + self._window
        self._arrival = max(self._arrival, now) + cost / speed
        if self._since is None:
            self._since = now
        self._taken += cost
        if self._account(cost, now):
            self._taken_before = (self._taken_before[1], self._taken - cost)
        return Mark(max(self._ended, self._taken_before[0]) + cost, self._taken)

    def end(self, cost: float) -> None:
        """Note that an attempt of ``cost`` units has ended, in whatever way."""
        self._ended += cost

    def remember(self, units: float, now: float) -> None:
        """Add what was sent otherwise to the account of the last minute."""
        self._account(units, now)

    def correct(self, cost: float) -> None:
        """Count so many units more, or fewer, than was thought when sending."""
        self._arrival += cost / self._per_second
        if self._parts:
            self._parts[-1][1] += cost
            self._used += cost

    def hold(self, until: float) -> None:
        """Go on at the pace after a pause, not in a burst."""
        self._arrival = max(self._arrival, until + self._burst)

    def ahead(self, now: float) -> float:
        """Seconds by which what was sent is ahead of the pace."""
        return self._arrival - now

    def report(self, left: float, limit: float | None, mark: Mark, now: float) -> None:
        """Take in what a reply says is left.

        Args:
            left: Units.
            limit: Units per minute, in the words of the same reply.
            mark: From `take`, of the request it replies to.
            now: When it arrived.
        """
        counted = mark.counted
        if counted < self._mark:
            return  # overtaken by a reply to a later request
        room = counted + left
        self._room = min(room, self._room) if counted == self._mark else room
        self._mark = counted
        self._fresh_until = now + _FRESH_SECONDS * self._scale
        if limit is not None:
            ours = self._used - (self._taken - mark.taken)
            if not self._whole_minute and left >= limit / 2:
                self._whole_minute = True
                # What is missing was used by an earlier process, or by one beside us.
                before = max(0.0, limit - left - ours)
                self.remember(before, now)
                ours += before
            self._alone = self._whole_minute and left + ours >= limit - 1
            self._doubt(left, limit, counted, now)

    def stop_ahead(self, now: float) -> None:
        """After a refusal: from now on only the pace, and for a minute no more than the limit."""
        self._trusted = False
        self._guarded_until = max(self._guarded_until, now + self._window)

    def _may_run_ahead(self, cost: float, now: float) -> bool:
        """Whether the provider says there is room for more than the pace."""
        if not self._trusted or now >= self._fresh_until:
            return False
        return (self._alone and self._proven) or (self._taken + cost + self._reserve <= self._room)

    def _speed(self, ahead: bool) -> float:
        """Units per second."""
        if ahead:
            return self._per_second * (AHEAD if self._proven else AHEAD_UNPROVEN)
        return self._per_second

    def _doubt(self, left: float, limit: float, counted: float, now: float) -> None:
        """Compare what is said to be left with what is certain to have been used lately.

        However a provider counts a minute, what was used since some moment of it is missing from
        the limit, but for what has come back since at the rate of the limit.
        """
        if self._since is None or now > self._since + _FRESH_SECONDS * self._scale:
            self._since, self._taken_then = now, self._taken
            return
        missing = counted - self._taken_then - limit / self._minute * (now - self._since)
        doubt = max(RESERVE_REQUESTS, _DOUBT_SHARE * limit)
        if missing - (limit - left) > doubt:
            self._trusted = False
        elif missing > doubt:
            self._proven = True

    def _wait_for_window(self, cost: float, now: float) -> float:
        """Seconds until no more than the limit was sent in the last minute, ``cost`` included."""
        self._expire(now)
        excess = self._used + cost - self.per_minute
        # One request beyond the whole limit fits nowhere: the provider may judge it.
        if excess <= 1e-9 or cost > self.per_minute:
            return 0.0
        for begun, units in self._parts:
            excess -= units
            if excess <= 1e-9:
                return begun + self._window - now
        return 0.0

    def _account(self, units: float, now: float) -> bool:
        """Add to the account of the last minute; whether that began another part of it."""
        self._used += units
        parts = self._parts
        if parts and now < parts[-1][0] + self._part:
            parts[-1][1] += units
            return False
        parts.append([now, units])
        self._expire(now)
        return True

    def _expire(self, now: float) -> None:
        parts, horizon = self._parts, now - self._window + 1e-6
        while parts and parts[0][0] <= horizon:
            self._used -= parts.popleft()[1]
        if not parts:
            self._used = 0.0
