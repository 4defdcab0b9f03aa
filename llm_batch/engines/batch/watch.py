"""When to look at a job again."""

from __future__ import annotations

from llm_batch.engines.batch.api import JobState
from llm_batch.engines.batch.job_log import Job

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
    """A job that is waited for.

    Args:
        job: Which.
        now: Seconds of the clock; it is looked at for the first time then.
        poll: Seconds between the first two looks.

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
