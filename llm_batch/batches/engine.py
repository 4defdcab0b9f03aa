"""The engine of the providers' batch APIs: requests gather into jobs, answers come back by job.

Everything happens in the thread of the loop, between two of its waits. Every answer is in the
journal of calls before the job it came by is written off.

A job outlives this process. So a run that is asked to stop lets go of what is in its jobs, and the
next one takes them up again: `submit` of a request that is in a job joins it, and answers that
nobody has asked for by the end are written into the journal all the same, since they are paid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from llm_batch.batches.collect import Collected, call_of
from llm_batch.batches.job_log import Entry, JobLog, stub_of
from llm_batch.batches.jobs import Ended, Jobs
from llm_batch.batches.late import Late
from llm_batch.batches.pack import pack
from llm_batch.batches.vendors import connections_of
from llm_batch.budget import Budget
from llm_batch.clock import Cancelled
from llm_batch.config import Config
from llm_batch.errors import ConfigError, OutputError, ProviderError, Refused, Transient
from llm_batch.fleet import Fleet
from llm_batch.journal import Journal
from llm_batch.manifest import jobs_path
from llm_batch.progress import Stop
from llm_batch.providers.batching import VENDORS
from llm_batch.providers.replies import mentions_response_format
from llm_batch.records import Attempt, Call, Failure, Request

#: Requests that are held at once: what fits into memory on any machine.
ROOM = 100_000
#: Calls that are handed over in one wait.
_HANDED = 1000


class BatchEngine:
    """Requests go into jobs of one model and step each; see the module.

    Models without a batch API are called live, in threads, and after the deadline all are.

    Args:
        config: What is run.
        fleet: What requests cost, and how they are served live.
        budget: Where money is held for what is in jobs already.
        journal: The journal of calls; this engine writes into it by `record`.
        stop: Asked before anything new is begun, and told when the provider refuses.
        say: Called with sentences a user should read.

    Raises:
        ConfigError: No model of the config has a batch API.
        OutputError: The journal of jobs cannot be read.
    """

    def __init__(
        self,
        config: Config,
        fleet: Fleet,
        budget: Budget,
        journal: Journal,
        stop: Stop,
        say: Callable[[str], None],
    ) -> None:
        self._config, self._fleet, self._budget = config, fleet, budget
        self._journal, self._stop, self._say = journal, stop, say
        self._connections = connections_of(config)
        if not self._connections:
            raise ConfigError(
                "no model of this config has a batch API that is spoken here "
                f"({', '.join(VENDORS)})",
                "use --engine threads",
            )
        log = JobLog(jobs_path(Path(config.run.output)))
        params = config.chain().params
        self._jobs = Jobs(log, self._connections, config, stop.clock, params, say)
        self._late = Late(config, fleet, budget, stop.clock, log)
        # Every request held is in one of the four: waiting for a job, in a job, live, or done.
        self._pending: dict[tuple[str, str], deque[Request]] = {}
        self._joined: dict[str, Request] = {}
        self._ready: deque[Call] = deque()
        # What is in a job and was not asked for in this session, and what came of it.
        self._job_of: dict[str, str] = {}
        self._unclaimed: dict[str, Collected] = {}
        self._tries: dict[str, list[Attempt]] = {}
        # By job that has ended: keys whose calls are not in the journal yet.
        self._left: dict[str, set[str]] = {}
        self._given: dict[str, str] = {}
        self._attach()

    @property
    def free(self) -> int:
        return self._late.free if self._late.over else max(0, ROOM - self.held)

    @property
    def held(self) -> int:
        waiting = sum(map(len, self._pending.values()))
        return waiting + len(self._joined) + self._late.held + len(self._ready)

    @property
    def note(self) -> str:
        """How the jobs stand by the providers' counts, in a few words; empty without jobs."""
        return self._jobs.note

    def submit(self, request: Request) -> None:
        if request.key in self._unclaimed:
            self._finish(self._unclaimed.pop(request.key), request)
        elif request.key in self._job_of:
            self._joined[request.key] = request
        else:
            self._put(request)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        if not self._ready and timeout_seconds and not self._stop.reason:
            self._turn()
        if not self._stop.reason:
            self._ready.extend(self._late.feed())
        calls = [self._ready.popleft() for _ in range(min(_HANDED, len(self._ready)))]
        if calls:
            return calls
        if self._late.busy:
            return self._late.wait(timeout_seconds)
        if timeout_seconds and self.held:
            try:
                self._stop.clock.sleep(min(timeout_seconds, self._next_turn()))
            except Cancelled:
                return ()
        return ()

    def record(self, call: Call) -> None:
        """Write a call down; a job of which this was the last is written off.

        Raises:
            OutputError: The disk is full or failing.
        """
        self._journal.append(call)
        job_id = self._given.pop(call.request.key, None)
        if job_id is not None:
            self._left[job_id].discard(call.request.key)
            self._write_off(job_id)

    def give_back(self) -> Sequence[Request]:
        """All that is not answered: what is in a job is left to it."""
        returned = [*self._late.give_back(), *self._joined.values()]
        for waiting in self._pending.values():
            returned += waiting
            waiting.clear()
        self._joined.clear()
        return returned

    def close(self) -> None:
        self._late.close()
        for key, found in list(self._unclaimed.items()):
            # Nobody asked for it any more, and it is paid for.
            call = self._call(found, stub_of(found.entry, found.job.model))
            self._given[key] = found.job.id
            del self._unclaimed[key]
            try:
                self.record(call)
            except OutputError:
                break  # its job is not written off, so the next session collects it again
            self._budget.charge(found.entry.item, call.cost or 0.0)
            self._budget.release(found.entry.item)
        for connection in self._connections.values():
            connection.close()
        if self._jobs.watches:
            self._say(
                f"at the provider go on: {self._jobs.names()}; the same command collects their "
                "answers, and with --cancel it ends them"
            )
            self._jobs.watches.clear()

    def _attach(self) -> None:
        """Take up the jobs of an earlier session, and hold the money that they cost."""
        count, cap = 0, self._budget.cap
        for watch in self._jobs.watches.values():
            for entry in watch.job.entries:
                if self._is_answered(entry, watch.job.model):
                    continue
                count += 1
                self._job_of[entry.key] = watch.job.id
                most = entry.most or 0.0
                if cap is not None and most and not self._budget.hold_more(entry.item, most):
                    rest = cap - self._budget.spent - self._budget.held
                    self._budget.hold_more(entry.item, max(0.0, rest))
        if self._jobs.watches:
            self._say(
                f"taken up again: {self._jobs.names()}, with {count:,} requests not answered yet"
            )

    def _is_answered(self, entry: Entry, model: str) -> bool:
        return self._journal.answered(stub_of(entry, model)) is not None

    def _put(self, request: Request) -> None:
        """A request that is in no job."""
        if self._late.over or request.model not in self._connections:
            self._late.put(request)
        else:
            self._pending.setdefault((request.model, request.step), deque()).append(request)

    # One turn: what is due at the providers

    def _turn(self) -> None:
        try:
            if self._late.is_due():
                self._go_live()
            for watch in self._jobs.due():
                ended = self._jobs.look_at(watch)
                if ended is not None:
                    self._take_in(ended)
                if self._stop.reason:
                    return
            # What is being answered live brings more for the same jobs.
            if not self._ready and not self._late.held:
                self._submit_jobs()
        except Cancelled:
            return  # what was being created is looked for by the next session
        except ProviderError as error:
            self._refused(error)

    def _next_turn(self) -> float:
        """Seconds until something is due."""
        now = self._stop.clock.now()
        due = [watch.due for watch in self._jobs.watches.values()]
        due += [
            self._jobs.queues[model].blocked_until
            for (model, _), waiting in self._pending.items()
            if waiting and self._jobs.queues[model].blocked_until > now
        ]
        return max(0.001, min(due, default=now + 1.0) - now)

    def _submit_jobs(self) -> None:
        for (model, _), waiting in self._pending.items():
            while waiting and not self._stop.reason and self._submit_job(model, waiting):
                pass

    def _submit_job(self, model: str, waiting: deque[Request]) -> bool:
        """Submit as many of the waiting requests as one job takes; ``False`` to wait instead."""
        jobs, connection = self._jobs, self._connections[model]
        queue = jobs.queues[model]
        if queue.blocked_until > self._stop.clock.now():
            return False
        in_queue = jobs.tokens_of(model)
        packed = pack(
            waiting,
            connection,
            self._fleet.models[model],
            most_requests=min(
                connection.api.most_requests, self._config.batch.job_requests or ROOM
            ),
            room=queue.room(in_queue),
            may_exceed=not in_queue,
            stopped=lambda: bool(self._stop.reason),
        )
        for request, error in packed.unfit:
            self._fail(request, error)
        if not packed.requests:
            return False
        try:
            job = jobs.begin(model, packed)
        except (Cancelled, ProviderError):
            waiting.extendleft(reversed(packed.requests))
            raise
        if job is None:
            waiting.extendleft(reversed(packed.requests))
            return False
        for request in packed.requests:
            self._joined[request.key] = request
            self._job_of[request.key] = job.id
        return True

    # The ends of jobs

    def _take_in(self, ended: Ended) -> None:
        job = ended.job
        if not ended.found:
            for entry in job.entries:
                self._job_of.pop(entry.key, None)
                if (request := self._joined.pop(entry.key, None)) is not None:
                    self._put(request)
            return
        left = self._left[job.id] = set()
        for each in ended.found:
            self._settle(each, left)
        if ended.cancelled_by_others:
            self._stop(
                "refused",
                f"batch {job.job} was cancelled at the provider; the same command submits again "
                "what it had not finished",
            )
        self._write_off(job.id)

    def _settle(self, each: Collected, left: set[str]) -> None:
        """One request of a job that has ended."""
        key, error = each.entry.key, each.error
        asked = self._job_of.pop(key, None) is not None
        request = self._joined.pop(key, None)
        if error is None:
            if request is not None:
                self._finish(each, request)
                left.add(key)
            elif asked:
                self._unclaimed[key] = each
                left.add(key)
            return
        if request is None:
            return  # it is submitted again when it is asked for
        tries = self._tries.setdefault(key, [])
        tries.append(Attempt(len(tries) + 1, each.job.at, each.seconds, error.kind))
        if self._is_worth_another(each, request, error, len(tries)):
            self._put(request)
            return
        left.add(key)
        self._given[key] = each.job.id
        self._fail(request, error)

    def _is_worth_another(
        self, each: Collected, request: Request, error: ProviderError, tries: int
    ) -> bool:
        if error.kind == "batch_cancelled":
            return True  # it goes live, or back
        if "response_format" in request.params and mentions_response_format(each.body):
            return self._connections[request.model].wire.relax()
        return isinstance(error, Transient) and tries < self._config.limits.max_attempts

    def _finish(self, found: Collected, request: Request) -> None:
        self._given[request.key] = found.job.id
        self._ready.append(self._call(found, request))

    def _call(self, found: Collected, request: Request) -> Call:
        model = self._fleet.models.get(request.model)
        tries = self._tries.pop(request.key, [])
        return call_of(found, request, tries, model.tariff if model else None)

    def _fail(self, request: Request, error: ProviderError) -> None:
        """A request that is not tried again in this run."""
        kind = "refused" if isinstance(error, Refused) else error.kind
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        priced = self._fleet.models[request.model].tariff is not None
        self._ready.append(
            Call(
                request,
                tuple(self._tries.pop(request.key, ())),
                failure=Failure(kind, message, error.status_code),
                cost=0.0 if priced else None,
            )
        )

    def _write_off(self, job_id: str) -> None:
        """Close a job when all its answers are in the journal, and the journal is on disk."""
        job = self._jobs.log.open.get(job_id)
        if job is not None and not self._left[job_id]:
            self._journal.sync()
            self._jobs.log.ended(job, "collected")
            del self._left[job_id]

    def _go_live(self) -> None:
        """The deadline is over."""
        self._late.begin()
        self._jobs.cancel()
        for waiting in self._pending.values():
            for request in waiting:
                self._late.put(request)
            waiting.clear()
        count = len(self._jobs.watches)
        self._say(
            f"the deadline of {self._config.batch.deadline} is over: {count} batch "
            f"{'job is' if count == 1 else 'jobs are'} cancelled, and what is not finished goes "
            "live"
        )

    def _refused(self, error: ProviderError) -> None:
        hint = f" ({error.hint})" if error.hint else ""
        self._stop("refused", f"{error.message}{hint}")
