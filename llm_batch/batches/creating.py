"""Jobs are brought to a provider, and created once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llm_batch.batches.api import BatchApi, Line, is_token_limit
from llm_batch.batches.job_log import Job, JobLog
from llm_batch.clock import Clock
from llm_batch.errors import RateLimited, Transient, Unavailable

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
# A file that was brought is asked about so often: some servers take minutes to take it in.
_MOST_LOOKS = 40

Made = TypeVar("Made")


class Creator:
    """Brings the requests of jobs there, and creates them.

    Args:
        log: Where the ids of jobs are written down.
        clock: Where time comes from.
        attempts: At anything that may be tried again.
        poll: Seconds; the first waits are no longer.
    """

    def __init__(self, log: JobLog, clock: Clock, attempts: int, poll: float) -> None:
        self._log, self._clock, self._attempts = log, clock, attempts
        self._first = min(_FIRST_BACKOFF_SECONDS, poll)

    def bring(self, api: BatchApi, own_id: str, lines: list[Line]) -> Any:
        """Upload the requests of a job, as far as that goes ahead of its creation.

        Raises:
            Refused: The provider does not take them.
            Transient: They could not be brought there this time.
        """
        uploaded = self._patiently(lambda: api.upload(own_id, lines))
        for look in range(1, _MOST_LOOKS + 1):
            if self._patiently(lambda: api.is_ready(uploaded)):
                return uploaded
            self._clock.sleep(self._backoff(look))
        raise Unavailable("the provider has not taken in the file of requests")

    def mark(self, api: BatchApi) -> str:
        """The marker to find a job by; see `BatchApi.marker`."""
        return self._patiently(api.marker)

    def create(self, api: BatchApi, job: Job, uploaded: Any) -> None:
        """Create a job, and again only where it is certain that nothing was created.

        Raises:
            Refused: The provider takes no such job.
            RateLimited: It takes none now.
            Transient: It may have been created or not.
        """
        for attempt in range(1, self._attempts + 1):
            try:
                self._log.created(job, api.create(job.id, uploaded))
                return
            except Transient as error:
                certain = isinstance(error, RateLimited) or error.kind == "unreachable"
                if is_token_limit(error) or not certain or attempt == self._attempts:
                    raise
            self._clock.sleep(self._backoff(attempt))

    def _patiently(self, act: Callable[[], Made]) -> Made:
        """What may be done again is, until it works or was tried often enough."""
        for attempt in range(1, self._attempts):
            try:
                return act()
            except Transient:
                self._clock.sleep(self._backoff(attempt))
        return act()

    def _backoff(self, attempt: int) -> float:
        return min(_LONGEST_BACKOFF_SECONDS, self._first * 2.0 ** (attempt - 1))
