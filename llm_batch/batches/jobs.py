"""The jobs of a run at its providers: begun, looked for, looked at, collected, cancelled.

What makes a kill harmless is the order: bring the requests there, write the intent down, create,
write the job's id down. Whenever a creation may or may not have happened, the provider's list is
asked, several times, before anything is created again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from llm_batch.batches.api import is_token_limit
from llm_batch.batches.collect import Collected, collected
from llm_batch.batches.job_log import Job, JobLog
from llm_batch.batches.pack import Pack
from llm_batch.batches.token_queue import TokenQueue
from llm_batch.batches.vendors import Connection
from llm_batch.batches.watch import Watch
from llm_batch.clock import Clock
from llm_batch.config import Config
from llm_batch.errors import ProviderError, RateLimited, Refused, Transient

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
# A job that says it has ended and whose files are not there is looked at so often.
_MOST_SETTLING = 60
# A job whose creation was interrupted is looked for so often: lists may lag behind.
_LOOKED_FOR = 3

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that is over.

    Attributes:
        job: The job.
        found: What became of each of its requests; empty when the provider worked on none and
            they may be submitted again as if nothing had been.
        cancelled_by_others: Somebody ended it, and not this program.
    """

    job: Job
    found: list[Collected]
    cancelled_by_others: bool = False


class Jobs:
    """Keeps the jobs of a run.

    Args:
        log: Where they are written down.
        connections: By model.
        config: How often to look and to try.
        clock: Where time comes from.
        params: The parameters of a step's requests.
        say: Called with sentences a user should read.

    Attributes:
        watches: Jobs that have not ended, by our id.
    """

    def __init__(
        self,
        log: JobLog,
        connections: Mapping[str, Connection],
        config: Config,
        clock: Clock,
        params: Callable[[str], Mapping[str, Any]],
        say: Callable[[str], None],
    ) -> None:
        self.log, self._connections = log, connections
        self._poll, self._attempts = config.batch.poll, config.limits.max_attempts
        self._clock, self._params, self._say = clock, params, say
        self.queues = {
            model: TokenQueue(config.batch.enqueued_tokens, self._poll) for model in connections
        }
        self.watches: dict[str, Watch] = {}
        self._cancelling = False
        #: Creations in a row that broke off and were not found afterwards.
        self._in_vain = 0
        for job in log.open.values():
            if job.model in connections:
                self.watches[job.id] = Watch(job, clock.now(), self._poll)
            else:
                say(
                    f"batch {job.job or job.id} is one of {job.model}, which this config does not "
                    "use by a batch API; it is left alone"
                )

    @property
    def note(self) -> str:
        """How they stand by the providers' counts, in a few words; empty without jobs."""
        if not self.watches:
            return ""
        states = [watch.state for watch in self.watches.values() if watch.state is not None]
        done = sum(state.completed + state.failed for state in states)
        total = sum(len(watch.job.entries) for watch in self.watches.values())
        jobs = "1 job" if len(self.watches) == 1 else f"{len(self.watches)} jobs"
        return f"{jobs} at the provider: {done:,}/{total:,}"

    def names(self) -> str:
        """The jobs that go on, by the provider's ids."""
        jobs = [watch.job for watch in self.watches.values()]
        shown = ", ".join(job.job or f"{job.id} (being created)" for job in jobs[:5])
        return shown + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")

    def tokens_of(self, model: str) -> int:
        """Input tokens of the jobs of a model that have not ended."""
        jobs = (watch.job for watch in self.watches.values() if watch.job.model == model)
        return sum(entry.tokens for job in jobs for entry in job.entries)

    def due(self) -> list[Watch]:
        """The jobs to look at now."""
        now = self._clock.now()
        return [watch for watch in self.watches.values() if watch.due <= now]

    def begin(self, model: str, packed: Pack) -> Job | None:
        """Submit requests as a job; ``None`` when the provider's queue has no room for it.

        Raises:
            Refused: The provider takes no such job; nothing of it is there.
            Unavailable: It cannot be brought there; nothing of it is there.
            Cancelled: The run stopped while it was being created. It is looked for next time.
        """
        api = self._connections[model].api
        job = Job(f"llmb-{secrets.token_hex(8)}", model, 0.0, packed.entries)
        assert packed.like is not None  # it has a first request
        api.resemble(packed.like)
        lines = [(job.custom_id(position), body) for position, body in enumerate(packed.bodies)]
        uploaded = self._patiently(lambda: api.upload(job.id, lines))
        job.marker = self._patiently(api.marker)
        job.at = self._clock.time()
        self.log.intent(job)
        watch = self.watches[job.id] = Watch(job, self._clock.now(), self._poll)
        watch.later(self._clock.now())
        try:
            self._create(watch, uploaded)
        except ProviderError as error:
            if is_token_limit(error):
                self._turned_away(watch, error)
                return None
            if not isinstance(error, Transient):
                self._forget(watch, "turned down")
                raise
            # It may be there or not: it is looked for, like one of an earlier session.
            watch.doubt = error.message
            return job
        self._say(f"submitted batch {job.job}: {_count(job)}")
        return job

    def look_at(self, watch: Watch) -> Ended | None:
        """Ask how a job stands; what became of it when it has ended.

        Raises:
            Refused: The provider does not let it be looked at, or took none of it.
        """
        job, api = watch.job, self._connections[watch.job.model].api
        try:
            if not job.job and (ended := self._look_for(watch)):
                return ended
            if not job.job:
                return None
            if self._cancelling and not watch.cancelled:
                api.cancel(job.job)
                watch.cancelled = True
            watch.saw(api.poll(job.job), self._clock.now())
            ended = self._end_of(watch)
            if ended is not None:
                self._say(f"batch {job.job} is over: {len(ended.found):,} requests came back")
            return ended
        except Refused as error:
            if error.status_code == 404:
                error.hint = (
                    f"use the key of the account that has it, or delete {self.log.path} to give "
                    "it up"
                )
            raise
        except ProviderError as error:
            # It goes on there whatever the network does here.
            watch.later(self._clock.now())
            if watch.troubled():
                self._say(f"batch {job.job or job.id} cannot be looked at: {error.message}")
            return None

    def cancel(self) -> None:
        """Ask for the end of all jobs; they end in the looks that follow."""
        self._cancelling = True
        for watch in self.watches.values():
            watch.soon(self._clock.now())

    def _look_for(self, watch: Watch) -> Ended | None:
        """Look for a job whose creation was interrupted; it ends here when it is not there."""
        job = watch.job
        others = {*job.others, *(each.job for each in self.log.open.values() if each.job)}
        api = self._connections[job.model].api
        found = api.find(job.id, job.at, job.marker, len(job.entries), others)
        if found is not None:
            self.log.created(job, found)
            self._in_vain = 0
            return None
        watch.looked_for += 1
        watch.later(self._clock.now())
        if watch.looked_for < _LOOKED_FOR:
            return None
        self._forget(watch, "never created")
        if watch.doubt:
            self._in_vain += 1
            if self._in_vain >= self._attempts:
                raise Refused(f"a batch of {job.model} could not be created: {watch.doubt}")
        return Ended(job, [])

    def _find(self, watch: Watch) -> str | None:
        job = watch.job
        others = {*job.others, *(each.job for each in self.log.open.values() if each.job)}
        api = self._connections[job.model].api
        return api.find(job.id, job.at, job.marker, len(job.entries), others)

    def _create(self, watch: Watch, uploaded: object) -> None:
        """Create a job, and again only where it is certain that nothing was created."""
        job, api = watch.job, self._connections[watch.job.model].api
        for attempt in range(1, self._attempts + 1):
            try:
                self.log.created(job, api.create(job.id, uploaded))
                self._in_vain = 0
                return
            except Transient as error:
                certain = isinstance(error, RateLimited) or error.kind == "unreachable"
                if is_token_limit(error) or not certain or attempt == self._attempts:
                    raise
            self._clock.sleep(self._backoff(attempt))

    def _end_of(self, watch: Watch) -> Ended | None:
        job, state = watch.job, watch.state
        assert state is not None  # it was just looked at
        if state.settling and watch.settling > _MOST_SETTLING:
            raise Refused(
                f"batch {job.job} says {state.name!r} and has no file of its answers",
                hint="run the same command again later",
            )
        if not state.ended:
            return None
        if state.error is not None and is_token_limit(state.error):
            self._turned_away(watch, state.error)
            return Ended(job, [])
        if isinstance(state.error, Refused) and not state.bad_lines:
            self._forget(watch, "turned down")
            raise state.error
        now = self._clock.time()
        found = collected(job, state, self._connections[job.model], self._params, now)
        if found is None:
            # Other custom ids: a job of somebody else that looked like this one.
            self.log.mistaken(job)
            watch.cancelled = False
            return None
        del self.watches[job.id]
        self.queues[job.model].worked_off()
        return Ended(job, found, state.cancelled and not watch.cancelled)

    def _turned_away(self, watch: Watch, error: ProviderError) -> None:
        """Too many tokens wait in the provider's queue: learn the limit, and come back later."""
        queue, model = self.queues[watch.job.model], watch.job.model
        own = sum(entry.tokens for entry in watch.job.entries)
        before = queue.limit
        queue.turned_away(error, own, self.tokens_of(model) - own, self._clock.now())
        if queue.limit != before:
            self._say(
                f"{model}: {error.message}; from now on its jobs have at most {queue.limit:,} "
                "tokens waiting"
            )
        self._forget(watch, "over the token limit")

    def _forget(self, watch: Watch, status: str) -> None:
        """A job of which nothing is at the provider."""
        del self.watches[watch.job.id]
        self.log.ended(watch.job, status)

    def _patiently(self, act: Callable[[], Made]) -> Made:
        """What may be done again is, until it works or was tried often enough."""
        for attempt in range(1, self._attempts):
            try:
                return act()
            except Transient:
                self._clock.sleep(self._backoff(attempt))
        return act()

    def _backoff(self, attempt: int) -> float:
        first = min(_FIRST_BACKOFF_SECONDS, self._poll)
        return min(_LONGEST_BACKOFF_SECONDS, first * 2.0 ** (attempt - 1))


def _count(job: Job) -> str:
    count = len(job.entries)
    requests = "1 request" if count == 1 else f"{count:,} requests"
    return f"{requests} of {job.model}, step {job.entries[0].step!r}"
