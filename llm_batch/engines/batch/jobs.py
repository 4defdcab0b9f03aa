"""The jobs of a run at its providers: begun, looked for, looked at, collected, cancelled.

What makes a kill harmless is the order: bring the requests there, write the intent down, create,
write the job's id down. Whenever a creation may or may not have happened, the provider's list is
asked, several times, before anything is created again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llm_batch.chain.config import Config
from llm_batch.chain.credentials import without_keys
from llm_batch.engines.batch.api import (
    GROWTH,
    LONGEST,
    EndlessList,
    JobState,
    TokenQueue,
    is_size_limit,
    is_token_limit,
    stated_limit,
)
from llm_batch.engines.batch.job_log import (
    Collected,
    Entry,
    Job,
    JobLog,
    collected,
    count_of,
    waited_for,
)
from llm_batch.engines.batch.vendors import Connection, Creator
from llm_batch.errors import ConfigError, ProviderError, RateLimited, Refused, Rejected, Transient
from llm_batch.paper import words
from llm_batch.records import Request
from llm_batch.sending.clock import Clock
from llm_batch.sending.providers import Prepared

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
        interval: Seconds between looks.
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
        self.due = now + self.interval
        self.interval = min(self._poll * LONGEST, self.interval * GROWTH)

    def soon(self, now: float) -> None:
        self.due, self.interval = now, self._poll

    def saw(self, state: JobState, now: float) -> None:
        moved = self.state is None or self.state.name != state.name
        self.state = state
        self.settling = self.settling + 1 if state.settling else 0
        if moved:
            self.interval = self._poll
        self.later(now)

    @property
    def done(self) -> int | None:
        """Requests that are answered or failed, as the provider said last; ``None`` before."""
        return None if self.state is None else self.state.completed + self.state.failed

    @property
    def wavers(self) -> bool:
        """What was seen of it last is not believed before it was seen again."""
        return not self.job.job or bool(self._missed or self._short)

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


@dataclass(slots=True)
class Pack:
    """The requests of a job to come.

    Attributes:
        like: The first as it would go live.
        unfit: Requests that cannot be sent at all, each with the reason.
    """

    requests: list[Request] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    like: Prepared | None = None
    unfit: list[tuple[Request, ProviderError]] = field(default_factory=list)


# A job that says it has ended and whose files are not there is looked at so often.
_MOST_SETTLING = 60
# A job whose creation was interrupted is looked for so often: lists may lag behind.
_LOOKED_FOR = 5
# Statuses of a list that a provider does not have.
_NO_LIST = (404, 405, 501)
# What gateways say of a job now and then although it is there and may be seen.
_MAYBE_IN_PASSING = (403, 404, 410)


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that is over.

    Attributes:
        found: What became of each of its requests; empty when the provider worked on none and
            they may be submitted again as if nothing had been.
        cancelled_by_others: Somebody ended it, and not this program.
    """

    job: Job
    found: list[Collected]
    cancelled_by_others: bool = False


class Jobs:
    """Keeps the jobs of a run.

    Raises:
        ConfigError: A job is somewhere else than its model is now.
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
        self._creator = Creator(clock, self._attempts, self._poll)
        self.queues = {
            model: TokenQueue(config.batch.enqueued_tokens, self._poll, log.limits.get(model))
            for model in connections
        }
        self.watches: dict[str, Watch] = {}
        self._cancelling = False
        #: Models whose requests could not be brought there when it was tried last.
        self.put_off: set[str] = set()
        #: Creations in a row that broke off and were not found afterwards.
        self._in_vain = 0
        for job in log.open.values():
            if job.model in connections:
                _check_place(job, connections[job.model])
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
        return f"{words.counted(len(self.watches), 'job')} at the provider: {done:,}/{total:,}"

    def waited_for(self) -> str:
        """The jobs that are open, in words: what is in them, how far they are, how old."""
        now = self._clock.time()
        watches = self.watches.values()
        return waited_for([(watch.job, watch.done) for watch in watches], now)

    def names(self) -> str:
        jobs = [watch.job for watch in self.watches.values()]
        shown = ", ".join(job.job or f"{job.id} (being created)" for job in jobs[:5])
        return shown + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")

    def tokens_of(self, model: str) -> int:
        jobs = (watch.job for watch in self.watches.values() if watch.job.model == model)
        return sum(entry.tokens for job in jobs for entry in job.entries)

    def now(self) -> float:
        return self._clock.now()

    def due(self) -> list[Watch]:
        now = self._clock.now()
        return [watch for watch in self.watches.values() if watch.due <= now]

    def begin(self, model: str, packed: Pack) -> Job | None:
        """Submit requests as a job; ``None`` when that cannot be done now and nothing is there.

        Raises:
            Refused: The provider takes no such job; nothing of it is there.
            Rejected: The same; of a job of one request it is that one's fault.
            Cancelled: The run stopped while it was being created. It is looked for next time.
        """
        connection, queue = self._connections[model], self.queues[model]
        api = connection.api
        job = Job(f"llmb-{secrets.token_hex(8)}", model, 0.0, packed.entries)
        job.origin = connection.origin
        assert packed.like is not None  # it has a first request
        api.resemble(packed.like)
        lines = [(job.custom_id(position), body) for position, body in enumerate(packed.bodies)]
        try:
            uploaded = self._creator.bring(api, job.id, lines)
            job.marker = self._creator.mark(api)
        except Rejected as error:
            if self._is_split(job, error):
                return None
            raise
        except Transient as error:
            queue.put_off(self._clock.now())
            if model not in self.put_off:
                self.put_off.add(model)
                self._say(
                    f"no batch of {model} can be submitted now, and it is tried until one can: "
                    f"{error.message}"
                )
            return None
        self.put_off.discard(model)
        self._clock.check()
        job.at = self._clock.time()
        self.log.intent(job)
        watch = self.watches[job.id] = Watch(job, self._clock.now(), self._poll)
        watch.later(self._clock.now())
        try:
            self.log.created(job, self._creator.create(api, job.id, uploaded))
        except ProviderError as error:
            if is_token_limit(error) or isinstance(error, RateLimited):
                if (rejected := self._turned_away(watch, error)) is not None:
                    raise rejected from error
                return None
            if not isinstance(error, Transient):
                self._forget(watch, "turned down")
                if self._is_split(job, error):
                    return None
                raise
            # It may be there or not: it is looked for, like one of an earlier session.
            watch.doubt = error.message
            return job
        self._in_vain = 0
        self._say(f"submitted batch {job.job}: {count_of(job)}")
        return job

    def look_at(self, watch: Watch) -> Ended | None:
        """Ask how a job stands; what became of it when it has ended.

        `Refused` when the provider does not let it be looked at, or took none of it.
        """
        job, api = watch.job, self._connections[watch.job.model].api
        try:
            if not job.job and (ended := self._look_for(watch)):
                return ended
            if not job.job:
                return None
            if self._cancelling:
                self._ask_for_its_end(watch)
            watch.saw(api.poll(job.job), self._clock.now())
            ended = self._end_of(watch)
        except Refused as error:
            if error.status_code not in _MAYBE_IN_PASSING:
                raise
            watch.later(self._clock.now())
            if not watch.is_missing():
                return None  # a list or a gateway may lag behind
            error.hint = (
                f"use the key of the account that has it; where the provider keeps it no longer, "
                f"--forget-job {job.id} gives it up, and its requests are made again"
            )
            raise
        except ProviderError as error:
            # It goes on there whatever the network does here.
            watch.later(self._clock.now())
            said = f"batch {job.job or job.id} cannot be looked at: {error.message}"
            self._check_patience(watch, said)
            if watch.troubled():
                self._say(said)
            return None
        if ended is None and watch.state is not None and not watch.state.phase:
            self._wait_for_the_unknown(watch, watch.state.name)
            return None
        watch.was_fine()
        if watch.state is not None and watch.settling == _QUIET:
            word = without_keys(watch.state.name, 60)
            self._say(f"batch {job.job} says {word!r} without its answers; they are waited for")
        if ended is not None:
            answered = sum(each.completion is not None for each in ended.found)
            self._say(
                f"batch {job.job} is over: {answered:,} answered, "
                f"{len(job.entries) - answered:,} not"
            )
        return ended

    def _wait_for_the_unknown(self, watch: Watch, word: str) -> None:
        """It is in a state that means nothing here: say so, and wait for another for a while."""
        state = f"in the state {without_keys(word, 60)!r}" if word else "in no state it names"
        said = f"batch {watch.job.job} is {state}, which is not known here"
        self._check_patience(watch, said)
        if watch.is_new_word(word):
            self._say(
                f"{said}; it is looked at for two days to come, and "
                f"--forget-job {watch.job.id} gives it up"
            )

    def _check_patience(self, watch: Watch, said: str) -> None:
        """Refuse to wait on when nobody can tell how a job stands, and has not for too long."""
        if watch.is_given_up(self._clock.now()):
            raise Refused(
                f"{said}, and this for two days",
                hint="see in the provider's console how it stands; the same command waits again, "
                f"and --forget-job {watch.job.id} gives it up",
            )

    def cancel(self) -> None:
        """Ask for the end of all jobs; they end in the looks that follow."""
        self._cancelling = True
        for watch in self.watches.values():
            watch.soon(self._clock.now())

    def _ask_for_its_end(self, watch: Watch) -> None:
        job = watch.job
        if watch.cancelled:
            return
        if job.guessed:
            # Nothing tells whose it is before its results are there.
            self._say(
                f"batch {job.job} may be that of somebody else, for {job.model} gives batches no "
                "names: it is not cancelled, and its end is waited for"
            )
        else:
            self.log.cancelling(job)
            self._connections[job.model].api.cancel(job.job)
        watch.cancelled = True

    def _look_for(self, watch: Watch) -> Ended | None:
        """Look for a job whose creation was interrupted; it ends here when it is not there."""
        job = watch.job
        others = {*job.others, *(each.job for each in self.log.open.values() if each.job)}
        api = self._connections[job.model].api
        try:
            found = api.find(job.id, job.at, job.marker, len(job.entries), others)
        except ProviderError as error:
            if error.status_code not in _NO_LIST and not isinstance(error, EndlessList):
                raise
            raise Refused(
                f"whether batch {job.id} was created cannot be known, for the provider has no list "
                f"of them that can be read: {error.message}",
                hint=f"look for it there; --forget-job {job.id} submits its requests again",
            ) from error
        if found is not None:
            self.log.created(job, found, guessed=not api.names_jobs)
            self._in_vain = 0
            self._say(f"found batch {found}: {count_of(job)}")
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

    def _end_of(self, watch: Watch) -> Ended | None:
        job, state = watch.job, watch.state
        assert state is not None  # it was just looked at
        old = self._clock.time() - job.at > _PATIENCE
        if state.settling and (old or watch.settling > _MOST_SETTLING):
            if not state.may_have_none:
                raise Refused(
                    f"batch {job.job} says {state.name!r} and has no file of its answers",
                    hint="run the same command again later, or give it up with "
                    f"--forget-job {job.id}",
                )
            state = replace(state, ended=True, settling=False)
        if not state.ended:
            return None
        if state.error is not None and not state.has_answers:
            if is_token_limit(state.error):
                rejected = self._turned_away(watch, state.error)
                lone = [] if rejected is None else [(job.entries[0], rejected)]
                return Ended(job, [Collected(job, entry, 0.0, error=why) for entry, why in lone])
            if not state.bad_lines and self._is_split(job, state.error):
                self._forget(watch, "turned down")
                return Ended(job, [])
            if isinstance(state.error, Refused) and not state.bad_lines:
                self._forget(watch, "turned down")
                raise state.error
            hint = f"; {state.error.hint}" if state.error.hint else ""
            self._say(f"{state.error.message}{hint}")
        now = self._clock.time()
        try:
            found = collected(job, state, self._connections[job.model], self._params, now)
        except Refused as refusal:
            if refusal.kind == "garbage" and watch.is_short():
                return None
            raise
        if found is None:
            # Other custom ids: a job of somebody else that looked like this one.
            self.log.mistaken(job)
            watch.cancelled = False
            return None
        lost = [each.error for each in found if each.error and each.error.kind == "missing"]
        had = sum(each.error is None or each.error.maybe_billed for each in found)
        uncounted = not (state.completed or state.failed)
        if lost and (had < state.completed or uncounted) and watch.is_short():
            return None  # what was cut off on the way is there the next time
        for error in lost[: max(0, state.completed - had)]:
            error.maybe_billed = True  # by its counts so many of them were answered
        del self.watches[job.id]
        self.queues[job.model].worked_off()
        return Ended(job, found, state.cancelled and not job.cancelling)

    def _turned_away(self, watch: Watch, error: ProviderError) -> Rejected | None:
        """Too much waits in the provider's queue: learn the limit, and come back later.

        Returned is why the only request of the job never gets through; ``None`` when others may.
        `Refused` when it is turned away again and again, with nothing else of ours waiting.
        """
        queue, model = self.queues[watch.job.model], watch.job.model
        own = sum(entry.tokens for entry in watch.job.entries)
        stated = stated_limit(error)
        self._forget(watch, "turned away", stated)
        if len(watch.job.entries) == 1 and stated is not None and own > stated:
            return Rejected(f"its {own:,} tokens are more than may wait: {error.message}",
                            kind="too_long")  # fmt: skip
        before = queue.limit
        queue.turned_away(error, own, self.tokens_of(model), self._clock.now())
        if queue.refused_alone > self._attempts:
            raise Refused(f"no batch of {model} is taken: {error.message}", kind="queue_full",
                          hint="run the same command again later")  # fmt: skip
        if queue.limit != before:
            self._say(
                f"{model}: {error.message}; from now on its jobs have at most {queue.limit:,} "
                "tokens waiting"
            )
        return None

    def _is_split(self, job: Job, error: ProviderError) -> bool:
        """Whether a job was turned down for its size, and its requests go in smaller ones."""
        requests = len(job.entries)
        if not is_size_limit(error):
            return False
        self.queues[job.model].split(requests)
        if requests > 1:
            most = words.counted(requests // 2, "request")
            said = f"{job.model}: {error.message.rstrip('.')}; its jobs have at most {most}"
            self._say(f"{said} from now on")
        return requests > 1

    def _forget(self, watch: Watch, status: str, limit: int | None = None) -> None:
        del self.watches[watch.job.id]
        self.log.ended(watch.job, status, limit)


def _check_place(job: Job, connection: Connection) -> None:
    if job.origin and connection.origin and job.origin != connection.origin:
        raise ConfigError(
            f"batch {job.job or job.id} is at {job.origin}, and {job.model} is now at "
            f"{connection.origin}",
            f"put api_base back, or give that batch up with --forget-job {job.id}",
        )
