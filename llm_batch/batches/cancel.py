"""``--cancel``: end the jobs of a run, and keep what they had finished."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from llm_batch.batches.collect import call_of
from llm_batch.batches.job_log import JobLog, stub_of
from llm_batch.batches.jobs import Ended, Jobs
from llm_batch.batches.vendors import connections_of
from llm_batch.clock import Cancelled, Clock
from llm_batch.config import Config
from llm_batch.errors import Incomplete, Interrupted, ProviderError
from llm_batch.fleet import FleetModel
from llm_batch.journal import Journal
from llm_batch.manifest import jobs_path, run_paths


@dataclass(frozen=True, slots=True)
class Ending:
    """What cancelling came to.

    Attributes:
        jobs: Jobs that are over now.
        kept: Answers they had finished, which are in the journal now.
        dropped: Requests they had not finished.
        cost: USD of what was kept; ``None`` when a price is unknown.
    """

    jobs: int
    kept: int
    dropped: int
    cost: float | None


def cancel_jobs(config: Config, clock: Clock, say: Callable[[str], None]) -> Ending:
    """Cancel the jobs of a run and wait for their ends.

    Args:
        config: That of the run: its output says which jobs, its models where they are.
        clock: Where time comes from; when it is cancelled, the rest is left as it is.
        say: Called with sentences a user should read.

    Raises:
        OutputError: A run of this output is going on, or its files cannot be written.
        Incomplete: A provider does not answer; the same call goes on from there.
    """
    _, journal_path, _ = run_paths(config.run.output)
    with closing(Journal(journal_path)) as journal:
        log = JobLog(jobs_path(Path(config.run.output)))
        connections = connections_of(config)
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


def _cancelled(jobs: Jobs, config: Config, journal: Journal, clock: Clock) -> Ending:
    count = len(jobs.watches)
    kept = dropped = 0
    cost: float | None = 0.0
    jobs.cancel()
    while jobs.watches:
        for watch in jobs.due():
            ended = jobs.look_at(watch)
            if ended is None:
                continue
            good, paid = _keep(ended, config, journal, jobs.log)
            kept += good
            dropped += len(ended.job.entries) - good
            cost = None if cost is None or paid is None else cost + paid
        if jobs.watches:
            due = min(watch.due for watch in jobs.watches.values())
            clock.sleep(max(0.001, due - clock.now()))
    return Ending(count, kept, dropped, cost)


def _keep(ended: Ended, config: Config, journal: Journal, log: JobLog) -> tuple[int, float | None]:
    """Write the answers of a job into the journal; how many it had, and their cost in USD."""
    job = ended.job
    tariff = FleetModel(job.model, config.model(job.model)).tariff
    good, cost = 0, 0.0 if tariff is not None else None
    for each in ended.found:
        if each.completion is None:
            continue
        good += 1
        stub = stub_of(each.entry, job.model)
        if journal.answered(stub) is not None:
            continue
        call = call_of(each, stub, [], tariff)
        journal.append(call)
        cost = None if cost is None or call.cost is None else cost + call.cost
    journal.sync()
    if ended.found:  # the others are written off already
        log.ended(job, "cancelled")
    return good, cost
