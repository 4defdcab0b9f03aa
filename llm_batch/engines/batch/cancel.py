"""``--cancel`` and ``--forget-job``: end the jobs of a run, or give one up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from llm_batch.chain.config import Config
from llm_batch.engines.batch.collect import call_of, is_collected, lost_call
from llm_batch.engines.batch.job_log import JobLog, stub_of
from llm_batch.engines.batch.jobs import Ended, Jobs
from llm_batch.engines.batch.vendors import connections_of
from llm_batch.errors import ConfigError, Incomplete, Interrupted, ProviderError, Refused
from llm_batch.record.files import run_paths
from llm_batch.record.journal import Journal
from llm_batch.sending.clock import Cancelled, Clock
from llm_batch.sending.fleet import FleetModel
from llm_batch.sending.trust import require_trust


@dataclass(frozen=True, slots=True)
class Ending:
    """What cancelling came to.

    Attributes:
        jobs: Jobs that are over now.
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
        ConfigError: A model of a job cannot be reached as configured.
        OutputError: A run of this output is going on, or its files cannot be written.
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
            raise Interrupted("not all jobs have ended yet; the same command goes on") from None
        finally:
            for connection in connections.values():
                connection.close()


def forget_job(config: Config, own_id: str) -> int:
    """Give a job up: nothing asks for its answers any more, and its requests may be made again.

    The id may be ours or the provider's; returned is how many requests it has.

    Raises:
        ConfigError: There is no such job.
        OutputError: A run of this output is going on, or its files cannot be written.
    """
    paths = run_paths(config.run.output)
    if paths.jobs.exists():
        with closing(Journal(paths.journal)):  # nobody else may be writing it
            log = JobLog(paths.jobs)
            for job in log.open.values():
                if own_id in (job.id, job.job):
                    log.ended(job, "given up")
                    return len(job.entries)
            known = ", ".join(job.job or job.id for job in log.open.values())
    else:
        known = ""
    raise ConfigError(
        f"this output has no open batch job {own_id!r}",
        f"those that are open: {known}" if known else "none is open",
    )


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
