"""When to look at a job again, and when and how much to submit."""

from __future__ import annotations

from llm_batch.engines.batch.api import JobState, stated_limit
from llm_batch.engines.batch.job_log import Job
from llm_batch.errors import ProviderError

# 30 s grow to 5 minutes: a job takes minutes to hours.
_GROWTH = 1.5
_LONGEST = 10.0
#: So many failures to look at a job are passed over without a word; then it is said at this many
#: and at every doubling.
_QUIET = 3
#: A provider that says so often that it has no such job, or that we may not see it, is believed;
#: and so is a file that is had so often without lines that the job says it has.
_BELIEVED = 3
#: Seconds that a job whose state means nothing here, or that cannot be looked at, is waited for:
#: the 24 hours that vendors give themselves, and as much again.
_PATIENCE = 48 * 3600.0


class Watch:
    """A job that is waited for, and looked at for the first time at once.

    Attributes:
        due: When to look next, in seconds of the clock.
        interval: Seconds between looks.
        state: As it was seen last; ``None`` before.
        cancelled: Whether the provider has heard from this session that it should end.
        looked_for: How often the provider was asked whether it has it.
        settling: How often it said it had ended without its files.
        doubt: Why it may not have been created; empty for one of an earlier session.
    """

    def __init__(self, job: Job, now: float, poll: float) -> None:
        self.job = job
        self.due = now
        self.interval = poll
        self._poll = poll
        self.state: JobState | None = None
        self.cancelled = False
        self.looked_for = 0
        self.settling = 0
        self.doubt = ""
        self._troubles = self._missed = self._short = 0
        self._dark_since: float | None = None
        self._unknown: set[str] = set()

    def later(self, now: float) -> None:
        """Look again after the interval, which grows."""
        self.due = now + self.interval
        self.interval = min(self._poll * _LONGEST, self.interval * _GROWTH)

    def soon(self, now: float) -> None:
        """Begin with short intervals again."""
        self.due, self.interval = now, self._poll

    def saw(self, state: JobState, now: float) -> None:
        """It was looked at."""
        moved = self.state is None or self.state.name != state.name
        self.state = state
        self.settling = self.settling + 1 if state.settling else 0
        if moved:
            self.interval = self._poll
        self.later(now)

    def was_fine(self) -> None:
        """It could be looked at, and what there was could be read and understood."""
        self._troubles = self._missed = 0
        self._dark_since = None

    def troubled(self) -> bool:
        """It could not be looked at; whether to say so, which is done once in a while."""
        self._troubles += 1
        times, rest = divmod(self._troubles, _QUIET)
        return not rest and times & (times - 1) == 0

    def is_new_word(self, word: str) -> bool:
        """It is in a state that means nothing here; whether that was not said yet."""
        self._troubles = self._missed = 0
        new = word not in self._unknown
        self._unknown.add(word)
        return new

    def is_given_up(self, now: float) -> bool:
        """How it stands is not known now; whether it has been so for too long."""
        if self._dark_since is None:
            self._dark_since = now
        return now - self._dark_since >= _PATIENCE

    def is_short(self) -> bool:
        """Its files lack lines that it says it has; whether to fetch them again."""
        self._short += 1
        return self._short < _BELIEVED

    def is_missing(self) -> bool:
        """The provider says that it has no such job; whether that is to be believed by now."""
        self._missed += 1
        return self._missed >= _BELIEVED


# Our count of tokens is not the provider's: what is near the limit may be above it.
_SMALLER = 0.8
# Of a refusal that names no limit.
_HALF = 0.5
# What was learned may be too little: it grows with every job that ends.
_LARGER = 1.25


class TokenQueue:
    """A limit that is known, or learned when it is met.

    Attributes:
        limit: Tokens; ``None`` while nobody knows.
        blocked_until: Nothing is submitted before, in seconds of the clock.
        refused_alone: Jobs in a row that were turned away while no other of ours was waiting.
    """

    def __init__(self, limit: int | None, poll: float) -> None:
        self.limit = self._configured = limit
        self._most = limit  # the limit never grows above it
        self.blocked_until = float("-inf")
        self.refused_alone = 0
        self._poll = self._wait = poll

    def room(self, waiting: int) -> int | None:
        """Tokens that may be submitted while so many wait; ``None`` for no limit."""
        return None if self.limit is None else max(0, self.limit - waiting)

    def turned_away(self, error: ProviderError, own: int, waiting: int, now: float) -> None:
        """A job of ``own`` tokens was refused, as so many of our other jobs are waiting."""
        total = own + waiting
        stated = stated_limit(error)
        if stated is not None:
            stated = self._most = min(stated, self._configured or stated)
        most = stated or total
        smaller = max(1, int(total * (_HALF if stated is None else _SMALLER)))
        # Below half of the limit it is other people's jobs that fill the queue.
        self.limit = min(most, smaller) if total > most / 2 else most
        self.refused_alone = 0 if waiting else self.refused_alone + 1
        self.put_off(now)

    def put_off(self, now: float) -> None:
        """Nothing can be submitted now; the next try comes later each time."""
        self.blocked_until = now + self._wait
        self._wait = min(_LONGEST * self._poll, _GROWTH * self._wait)

    def worked_off(self) -> None:
        """A job has ended, so there is room."""
        self.blocked_until = float("-inf")
        self.refused_alone = 0
        self._wait = self._poll
        if self.limit is not None:
            larger = int(self.limit * _LARGER) + 1
            self.limit = larger if self._most is None else min(self._most, larger)
