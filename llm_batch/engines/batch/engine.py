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
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from llm_batch.chain.config import Config
from llm_batch.engines import Engine, Supplies
from llm_batch.engines.batch.job_log import (
    Collected,
    JobLog,
    call_of,
    is_collected,
    lost_call,
    lost_cost,
    spared,
    stub_of,
)
from llm_batch.engines.batch.jobs import Ended, Jobs, Watch
from llm_batch.engines.batch.vendors import called_live, connections_of
from llm_batch.engines.batch.waiting import ROOM, JobMoney, Late, Tries, Unfit, Waiting
from llm_batch.errors import (
    Incomplete,
    Interrupted,
    OutputError,
    ProviderError,
    Refused,
    Transient,
    Unavailable,
)
from llm_batch.paper import words
from llm_batch.record.files import run_paths
from llm_batch.record.journal import Journal
from llm_batch.records import Call, Failure, Request, is_key_before
from llm_batch.sending.clock import Cancelled, Clock
from llm_batch.sending.fleet import FleetModel
from llm_batch.sending.providers.dialect import Form
from llm_batch.sending.providers.refusals import error_from_reply
from llm_batch.sending.trust import require_trust

#: Calls that are handed over in one wait.
_HANDED = 1000


class BatchEngine(Engine):
    """Requests go into jobs of one model and step each; see the module.

    Models without a batch API are called live, in threads, and after the deadline all are.
    """

    def __init__(self, supplies: Supplies) -> None:
        self._config = config = supplies.config
        self._journal = journal = supplies.journal
        self._budget = budget = supplies.budget
        self._stop = stop = supplies.stop
        self._say = say = supplies.say
        fleet = supplies.fleet
        log = JobLog(run_paths(config.run.output).jobs, config.run.file_mode)
        self._connections = connections_of(config, {job.model for job in log.open.values()})
        params = config.chain().params
        for model in called_live(config):
            say(f"{model} has no batch API spoken here: it is called live, at its live price")
        self._jobs = Jobs(log, self._connections, config, stop.clock, params, say)
        self._late = Late(config, fleet, budget, stop.clock, log)
        self._money = JobMoney(budget)
        # Models of jobs that are in no step any more have a price all the same.
        self._priced = {
            model: fleet.models.get(model) or FleetModel(model, config.model(model))
            for model in self._connections
        }
        for model, priced in self._priced.items():
            if priced.tariff is not None and not priced.tariff.batch_source:
                say(
                    f"{model} has no known batch price: its live price is booked; set "
                    f'batch_input_price and batch_output_price under [models."{model}"]'
                )
        # Every request held is in one of the four: waiting for a job, in a job, live, or done.
        self._waiting = Waiting(self._jobs, self._connections, self._priced, config, stop)
        self._joined: dict[str, Request] = {}
        self._ready: deque[Call] = deque()
        # What is in a job and was not asked for in this session, and what came of it.
        self._job_of: dict[str, str] = {}
        self._unclaimed: dict[str, Collected] = {}
        # Steps whose names are in keys of jobs, in their order; and those keys, by today's.
        self._names_before: dict[str, None] = {}
        self._keys_before: dict[str, str] = {}
        self._tries = Tries()
        # By job: how its requests are put.
        self._forms: dict[str, Form] = {}
        # Models that have answered, and whether any did in an earlier session.
        self._proven: set[str] = set()
        self._resumed = journal.answers > 0
        self._leave = supplies.leave
        # By step: how many of its requests may still go live as what is left over.
        most = int(config.batch.live_tail_share * supplies.items)
        self._tail = {step.name: most for step in config.asking}
        # By job that has ended: keys whose calls are not in the journal yet.
        self._left: dict[str, set[str]] = {}
        self._given: dict[str, str] = {}
        for model, connection in self._connections.items():
            connection.wire.dialect.tell = partial(self._adapted, model)
        self._attach()

    @property
    def free(self) -> int:
        return self._late.free if self._late.over else max(0, ROOM - self.held)

    @property
    def held(self) -> int:
        waiting, live = self._waiting.held, self._late.held
        return waiting + len(self._joined) + live + len(self._ready)

    @property
    def note(self) -> str:
        return self._jobs.note

    def held_already(self, key: str) -> float:
        return self._money.of(key)

    def submit(self, request: Request) -> None:
        key = self._key_in_jobs(request)
        self._money.give(key, request.item_id)
        if key in self._unclaimed:
            self._finish(self._unclaimed.pop(key), request)
        elif key in self._job_of:
            self._joined[key] = request
        else:
            self._put(request, at_batch_price=not self._late.over)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        if not self._ready and timeout_seconds and not self._stop.reason:
            self._turn()
            if self._leave and self._nothing_to_do():
                self._stop(*self._left_open())
        if not self._stop.reason:
            self._ready.extend(self._late.feed())
        calls = [self._ready.popleft() for _ in range(min(_HANDED, len(self._ready)))]
        if calls:
            return calls
        if self._late.busy:
            return [self._tries.before(call) for call in self._late.wait(timeout_seconds)]
        if timeout_seconds and self.held:
            try:
                self._stop.clock.sleep(min(timeout_seconds, self._next_turn()))
            except Cancelled:
                return ()
        return ()

    def recorded(self, call: Call) -> None:
        key = call.request.key
        if key not in self._given:
            key = self._keys_before.get(key, key)
        job_id = self._given.pop(key, None)
        if job_id is not None:
            self._left[job_id].discard(key)
            self._write_off(job_id)

    def give_back(self) -> Sequence[Request]:
        """All that is not answered: what is in a job is left to it."""
        returned = [*self._late.give_back(), *self._joined.values(), *self._waiting.take_all()]
        self._joined.clear()
        return returned

    def in_flight(self) -> Sequence[tuple[Request, float]]:
        return self._late.in_flight()

    def close(self) -> None:
        self._late.close()
        if self._stop.reason not in ("interrupted", "refused", "failed", "submitted", "pending"):
            self._look_once_more()
        for key, found in list(self._unclaimed.items()):
            # Nobody asked for it any more, and it is paid for.
            call = self._call(found, stub_of(found.entry, found.job.model))
            self._given[key] = found.job.id
            del self._unclaimed[key]
            try:
                self._journal.append(call)
                self.recorded(call)
            except OutputError:
                break  # its job is not written off, so the next session collects it again
            self._money.charge(key, call.cost or 0.0)
        for connection in self._connections.values():
            connection.close()
        if self._jobs.watches and self._stop.reason not in ("submitted", "pending"):
            self._say(
                f"at the provider go on: {self._jobs.names()}; the same command collects their "
                "answers, and with --cancel it ends them"
            )
        self._jobs.watches.clear()

    def _attach(self) -> None:
        count = 0
        for job in self._jobs.log.open.values():
            for entry in job.entries:
                if is_collected(self._journal, entry, job):
                    continue
                count += 1
                if is_key_before(entry.key):
                    self._names_before[entry.step] = None
                self._money.hold(entry)
                if job.id in self._jobs.watches:
                    self._job_of[entry.key] = job.id
        for watch in self._jobs.watches.values():
            self._forms[watch.job.id] = self._connections[watch.job.model].wire.dialect.form
        if count and self._jobs.watches:
            requests = words.counted(count, "request")
            self._say(f"taken up again: {self._jobs.names()}, with {requests} not answered yet")

    def _key_in_jobs(self, request: Request) -> str:
        """The key of a request, or that of schema 1 if it is in a job by that."""
        keys = [
            key
            for key in map(request.key_before, self._names_before)
            if key in self._job_of or key in self._unclaimed
        ]
        for key in keys[request.sample : request.sample + 1]:
            self._keys_before[request.key] = key
            return key
        return request.key

    def _put(self, request: Request, *, at_batch_price: bool = True) -> None:
        if self._late.over or request.model not in self._connections:
            self._late.put(request, at_batch_price=at_batch_price)
        else:
            self._waiting.put(request)

    # One turn: what is due at the providers

    def _turn(self) -> None:
        try:
            if self._late.is_due():
                self._go_live()
            self._look(self._jobs.due())
            if self._stop.reason:
                return
            # What is being answered live brings more for the same jobs.
            if not self._ready and not self._late.held:
                self._submit_jobs()
        except Cancelled:
            return  # what was being created is looked for by the next session
        except ProviderError as error:
            self._refused(error)

    def _look(self, watches: Sequence[Watch]) -> None:
        """Look at jobs, at all of them before anything is made of trouble with one."""
        trouble: Refused | None = None
        for watch in watches:
            try:
                ended = self._jobs.look_at(watch)
            except Refused as error:
                trouble = trouble or error
                continue
            if ended is not None:
                self._take_in(ended)
        if trouble is not None:
            raise trouble

    def _look_once_more(self) -> None:
        """Collect what has ended by now of jobs that nobody waits for."""
        try:
            self._look(list(self._jobs.watches.values()))
        except (Cancelled, OutputError):
            return
        except ProviderError as error:
            self._say(f"{error.message} ({error.hint})" if error.hint else error.message)

    def _next_turn(self) -> float:
        now = self._stop.clock.now()
        due = [watch.due for watch in self._jobs.watches.values()]
        due += self._waiting.blocked_until(now)
        return max(0.001, min(due, default=now + 1.0) - now)

    def _nothing_to_do(self) -> bool:
        """Whether all that can be done now is done, and the rest is a matter of waiting."""
        if self._stop.reason or self._ready or self._late.held:
            return False
        watches = self._jobs.watches.values()
        now = self._stop.clock.now()
        if any(watch.wavers or watch.due <= now for watch in watches):
            return False
        # Nothing is there yet, and the provider only asks for smaller jobs.
        models = self._waiting.models
        return bool(watches) or bool(models and self._jobs.put_off.issuperset(models))

    def _left_open(self) -> tuple[str, str]:
        waiting, jobs = self._waiting.held, self._jobs.waited_for()
        more = f"{words.counted(waiting, 'request')} not submitted yet, for want of room there"
        said = "; ".join(filter(None, (jobs, more if waiting else "")))
        # What could not even be brought there is not submitted.
        return (self._leave if jobs else "pending"), said

    def _send_tail_live(self) -> None:
        """Send what is left over of the steps of a model live, where that is little enough."""
        for model in self._waiting.models:
            count = self._waiting.of(model)
            if any(n > self._tail.get(step, 0) for step, n in count.items()):
                continue
            sent = 0
            for request in self._waiting.take(model):
                if self._late.put_affordable(request):
                    sent += 1
                    self._tail[request.step] -= 1
                else:
                    self._waiting.put(request)
            if sent:
                left = words.counted(sent, "request")
                self._say(f"{left} of {model} left over: sent live, at the live price")

    def _submit_jobs(self) -> None:
        self._send_tail_live()
        for each in self._waiting.submit():
            if isinstance(each, Unfit):
                self._fail(each.request, each.error)
                continue
            self._forms[each.job.id] = each.form
            for request in each.requests:
                self._joined[request.key] = request
                self._job_of[request.key] = each.job.id
            self._send_tail_live()  # what jobs as large as allowed have left over

    # The ends of jobs

    def _take_in(self, ended: Ended) -> None:
        job = ended.job
        if not ended.found:
            for entry in job.entries:
                if self._job_of.get(entry.key) != job.id:
                    continue  # it is in another job by now, or answered
                del self._job_of[entry.key]
                self._money.release(entry.key)
                if (request := self._joined.pop(entry.key, None)) is not None:
                    self._put(request)
            return
        left = self._left[job.id] = set()
        told = map(self._told_again, ended.found)
        found = spared(list(told), job.model in self._proven, self._resumed)
        if any(each.completion is not None for each in found):
            self._proven.add(job.model)
        missed = any(each.completion is None and each.entry.key in self._joined for each in found)
        cancelled = job.cancelling or ended.cancelled_by_others
        for each in found:
            self._settle(each, left, cancelled)
        if ended.cancelled_by_others:
            said = f"batch {job.job} was cancelled at the provider"
            if missed:
                again = "the same command submits again what it had not finished"
                self._stop("refused", f"{said}; {again}")
            else:
                self._say(said)
        self._write_off(job.id)

    def _settle(self, each: Collected, left: set[str], cancelled: bool) -> None:
        key, error, most = each.entry.key, each.error, each.entry.most or 0.0
        if self._job_of.get(key) != each.job.id:
            # Its request is in another job by now, or answered; it is paid all the same.
            if error is None and not is_collected(self._journal, each.entry, each.job):
                call = self._call(each, stub_of(each.entry, each.job.model))
                self._journal.append(call)
                self._budget.charge("", call.cost or 0.0)
            return
        del self._job_of[key]
        request = self._joined.pop(key, None)
        if error is None:
            left.add(key)
            if request is not None:
                self._connections[request.model].wire.dialect.worked(self._form(each), request)
                self._finish(each, request)
            else:
                self._unclaimed[key] = each
            return
        times = self._tries.note(each)
        if request is None:  # it is submitted again when it is asked for
            self._tries.forget(key)
            if error.maybe_billed:
                self._money.charge(key, self._book(each, stub_of(each.entry, each.job.model)))
            self._money.release(key)
            return
        # What a job left undone that was cancelled goes live, or back. One that says so of a line
        # and was not is no more than a line that failed.
        undone = cancelled and error.kind == "batch_cancelled"
        if undone or self._is_worth_another(each, request, error, times):
            if not error.maybe_billed:
                self._put(request)
                return
            self._budget.charge(request.item_id, self._book(each, request))
            if self._budget.hold_more(request.item_id, most):
                self._put(request)
                return
            error = Unavailable("the budget has no room for another attempt", kind="budget")
        left.add(key)
        self._given[key] = each.job.id
        cost, at_worst = lost_cost(each, self._priced[request.model].tariff)
        self._fail(
            request, error, *((cost or 0.0, at_worst) if error.maybe_billed else (0.0, False))
        )

    def _told_again(self, each: Collected) -> Collected:
        """What became of a request, now that it is at hand: an error may quote it."""
        error, request = each.error, self._joined.get(each.entry.key)
        if request is None or error is None or error.status_code is None or error.maybe_billed:
            return each
        told = error_from_reply(error.status_code, each.body, {}, request)
        told.maybe_billed = False  # as it was told of the line
        return replace(each, error=told)

    def _book(self, each: Collected, request: Request) -> float:
        """Write down what an answer that cannot be read may have cost, before it is asked again."""
        call = lost_call(each, request, self._priced[request.model].tariff)
        self._journal.append(call)
        return call.cost or 0.0

    def _is_worth_another(
        self, each: Collected, request: Request, error: ProviderError, tries: int
    ) -> bool:
        dialect = self._connections[request.model].wire.dialect
        if dialect.adopt(self._form(each), request, error):
            return True
        return isinstance(error, Transient) and tries < self._config.limits.max_attempts

    def _form(self, each: Collected) -> Form:
        return self._forms.get(each.job.id) or Form()

    def _adapted(self, model: str, what: str) -> None:
        self._say(f"{model} {what}")

    def _finish(self, found: Collected, request: Request) -> None:
        self._given[found.entry.key] = found.job.id
        self._ready.append(self._call(found, request))

    def _call(self, found: Collected, request: Request) -> Call:
        return self._tries.before(call_of(found, request, self._priced[request.model].tariff))

    def _fail(
        self, request: Request, error: ProviderError, cost: float = 0.0, at_worst: bool = False
    ) -> None:
        """A request that is not tried again in this run, and may have cost so many USD."""
        kind = "refused" if isinstance(error, Refused) else error.kind
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        priced = self._priced[request.model].tariff is not None
        failure = Failure(kind, message, error.status_code)
        call = Call(
            request, (), failure=failure, cost=cost if priced else None, worst_case=at_worst
        )
        self._ready.append(self._tries.before(call))

    def _write_off(self, job_id: str) -> None:
        """Close a job when all its answers are in the journal, and the journal is on disk."""
        job = self._jobs.log.open.get(job_id)
        if job is not None and not self._left[job_id]:
            self._journal.sync()
            self._jobs.log.ended(job, "collected")
            del self._left[job_id]

    def _go_live(self) -> None:
        self._late.begin()
        self._jobs.cancel()
        for request in self._waiting.take_all():
            self._late.put(request, at_batch_price=True)
        count = len(self._jobs.watches)
        self._say(
            f"the deadline of {self._config.batch.deadline} is over: {count} batch "
            f"{'job is' if count == 1 else 'jobs are'} being cancelled, and what is not finished "
            "goes live"
        )

    def _refused(self, error: ProviderError) -> None:
        hint = f" ({error.hint})" if error.hint else ""
        self._stop("refused", f"{error.message}{hint}")


@dataclass(frozen=True, slots=True)
class Ending:
    """What cancelling came to.

    Attributes:
        kept: Answers they had finished, which are in the journal now.
        dropped: Requests they had not finished.
        cost: USD of what was kept; ``None`` when a price is unknown.
        left: Jobs that go on, since they may be somebody else's.
    """

    jobs: int
    kept: int
    dropped: int
    cost: float | None
    left: int = 0


def cancel_jobs(
    config: Config, clock: Clock, say: Callable[[str], None], *, trusted: bool = False
) -> Ending:
    """Cancel the jobs of a run and wait for their ends.

    The output of its config says which jobs, its models where they are. When the clock is
    cancelled, the rest is left as it is. ``trusted`` as in `llm_batch.running.run.run`.

    Raises:
        Incomplete: A provider does not answer; the same call goes on from there.
    """
    if not trusted:
        require_trust(config, jobs=True)
    paths = run_paths(config.run.output)
    if not paths.jobs.exists():
        return Ending(0, 0, 0, 0.0)
    with closing(Journal(paths.journal)) as journal:
        log = JobLog(paths.jobs)
        connections = connections_of(config, {job.model for job in log.open.values()})
        jobs = Jobs(log, connections, config, clock, config.chain().params, say)
        try:
            return _cancelled(jobs, config, journal, clock)
        except ProviderError as error:
            raise Incomplete(error.message, error.hint or "run the same command again") from error
        except Cancelled:
            raise Interrupted("not all jobs have ended yet; the same command resumes") from None
        finally:
            for connection in connections.values():
                connection.close()


def _cancelled(jobs: Jobs, config: Config, journal: Journal, clock: Clock) -> Ending:
    count = len(jobs.watches)
    kept = dropped = 0
    cost: float | None = 0.0
    trouble: Refused | None = None
    jobs.cancel()
    while jobs.watches:
        for watch in jobs.due():
            try:
                ended = jobs.look_at(watch)
            except Refused as error:
                # The others are ended all the same.
                trouble = trouble or error
                jobs.watches.pop(watch.job.id, None)
                continue
            if ended is None:
                continue
            good, paid = _keep(ended, config, journal, jobs.log)
            kept += good
            dropped += len(ended.job.entries) - good
            cost = None if cost is None or paid is None else cost + paid
        # One that may be somebody else's is not cancelled, so its end is not waited for here.
        if all(watch.job.guessed for watch in jobs.watches.values()):
            break
        due = min(watch.due for watch in jobs.watches.values())
        clock.sleep(max(0.001, due - clock.now()))
    if trouble is not None:
        raise trouble
    left = len(jobs.watches)
    return Ending(count - left, kept, dropped, cost, left)


def _keep(ended: Ended, config: Config, journal: Journal, log: JobLog) -> tuple[int, float | None]:
    """Write the answers of a job into the journal; how many it had, and their cost in USD."""
    job = ended.job
    tariff = FleetModel(job.model, config.model(job.model)).tariff
    good, cost = 0, 0.0 if tariff is not None else None
    for each in ended.found:
        stub = stub_of(each.entry, job.model)
        if each.completion is not None:
            good += 1
            if is_collected(journal, each.entry, job):
                continue
            call = call_of(each, stub, tariff)
        elif each.error is not None and each.error.maybe_billed:
            call = lost_call(each, stub, tariff)
        else:
            continue
        journal.append(call)
        cost = None if cost is None or call.cost is None else cost + call.cost
    journal.sync()
    if ended.found:  # the others are written off already
        log.ended(job, "cancelled")
    return good, cost
