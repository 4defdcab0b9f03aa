"""The batch jobs of an output, as their log, the journal of calls and their provider have them."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from llm_batch.chain.config import Config
from llm_batch.chain.credentials import without_keys
from llm_batch.engines.batch.job_log import Job, JobLog
from llm_batch.engines.batch.vendors import Connection, connect
from llm_batch.errors import ConfigError, OutputError, ProviderError
from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table
from llm_batch.record.files import run_paths
from llm_batch.record.journal import call_lines
from llm_batch.sending.clock import Clock
from llm_batch.sending.providers import batch_vendor

_OPEN = "open"


@dataclass(frozen=True, slots=True)
class Listed:
    """A job.

    Attributes:
        id: The provider's; ours where that is not known.
        own_id: Ours, in the log and in the job's name at the provider.
        requests: That it was made of.
        seconds: Since it was begun.
        is_open: Its answers are not all collected yet.
        state: The provider's word for it; of one that is over, what became of it.
        done: Requests that the provider has answered or failed; ``None`` where it does not say.
        answers: That are in the journal of calls.
        cost: USD of these; ``None`` when a price is unknown.
        most: USD that it costs at most; ``None`` when a price is unknown.
        trouble: Why the provider could not be asked; may be empty.
    """

    id: str
    own_id: str
    model: str
    steps: tuple[str, ...]
    requests: int
    seconds: float
    is_open: bool
    state: str
    done: int | None
    answers: int
    cost: float | None
    most: float | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The jobs of an output, those that are open first, each kind oldest first."""

    output: str
    jobs: tuple[Listed, ...]


def list_jobs(config: Config, clock: Clock) -> Listing:
    """Ask the providers once how the jobs of an output stand; nothing is written.

    `OutputError` where the log of jobs or the journal cannot be read.
    """
    paths = run_paths(config.run.output)
    log = JobLog(paths.jobs, keep=True)
    paid = _paid(paths.journal)
    now = clock.time()
    with ExitStack() as stack:
        connections: dict[str, Connection | str] = {}
        jobs = []
        for job in log.open.values():
            if job.model not in connections:
                connections[job.model] = found = _connected(job.model, config)
                if isinstance(found, Connection):
                    stack.enter_context(closing(found))
            jobs.append(_asked(_listed(job, now, paid), job, connections[job.model]))
        over = [replace(_listed(job, now, paid), is_open=False, state=how) for job, how in log.over]
    return Listing(str(paths.results), (*jobs, *over))


def _connected(model: str, config: Config) -> Connection | str:
    settings = config.model(model)
    if not batch_vendor(model, settings):
        return f"this config does not serve {model} by a batch API"
    try:
        return connect(model, settings)
    except (ConfigError, ProviderError) as error:
        return error.message


def _asked(listed: Listed, job: Job, connection: Connection | str) -> Listed:
    if isinstance(connection, str):
        return replace(listed, trouble=connection)
    if job.origin and connection.origin and job.origin != connection.origin:
        return replace(listed, trouble=f"it is at {job.origin}, and not at {connection.origin}")
    if not job.job:
        return replace(listed, state="being created")
    try:
        state = connection.api.poll(job.job)
    except ProviderError as error:
        return replace(listed, trouble=error.message)
    said = without_keys(state.name, 40)
    return replace(listed, state=said or _OPEN, done=state.completed + state.failed)


def _listed(job: Job, now: float, paid: dict[int, list[float | None]]) -> Listed:
    costs = paid.get(_moment(job.at), [])
    most = [entry.most for entry in job.entries]
    return Listed(
        job.job or job.id,
        job.id,
        job.model,
        tuple(dict.fromkeys(entry.step for entry in job.entries)),
        len(job.entries),
        max(0.0, now - job.at),
        True,
        _OPEN,
        None,
        len(costs),
        _sum(costs),
        _sum(most),
    )


def _sum(amounts: list[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _moment(at: float) -> int:
    return round(at * 1000)


def _paid(journal: Path) -> dict[int, list[float | None]]:
    """USD of the calls of a journal, by the milliseconds at which their last attempt began.

    A job's answers have the moment at which the job was begun; see `job_log.is_collected`.
    """
    found: dict[int, list[float | None]] = {}
    try:
        with open(journal, "rb", buffering=1 << 20) as file:
            for calls in call_lines(file, lambda number: None):
                for call in calls:
                    if call.attempts:
                        at = _moment(call.attempts[-1].started_at)
                        found.setdefault(at, []).append(call.cost)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f"cannot read {journal}: {error.strerror or error}") from error
    return found


def document(listing: Listing, going_on: str, ending: str) -> Document:
    """What people read of it, with the commands that collect and that cancel."""
    jobs = listing.jobs
    still = [job for job in jobs if job.is_open]
    if not jobs:
        return Document(f"{listing.output} has no batch jobs.")
    spent = _sum([job.cost for job in jobs])
    cost = "" if spent is None else f"; {words.usd(spent)} so far"
    coming = _sum([job.most for job in still])
    if still and coming is not None:
        cost += f", at most {words.usd(coming)} more"
    models = list(dict.fromkeys(job.model for job in jobs))
    several = len(models) > 1
    rows = [
        (
            job.id,
            *((job.model,) if several else ()),
            ", ".join(job.steps),
            f"{job.requests:,}",
            words.NONE if job.done is None and job.is_open else f"{job.done or job.answers:,}",
            job.state,
            words.duration(max(1.0, job.seconds)),
            words.NONE if job.cost is None or not job.answers else words.usd(job.cost),
        )
        for job in jobs
    ]
    header = ["Job", "Step", "Requests", "Done", "State", "Age", "Cost"]
    right = [False, False, True, True, False, True, True]
    if several:
        header.insert(1, "Model")
        right.insert(1, False)
    title = "Batch jobs" if several else f"Batch jobs of {models[0]}"
    table = Table(tuple(header), tuple(right), tuple(rows))
    return Document(
        f"{words.counted(len(still), 'job')} open, {len(jobs) - len(still)} over{cost}.",
        sections=(Section(title, (table,)),),
        warnings=tuple((f"{job.id}: {job.trouble}", "") for job in still if job.trouble),
        next_steps=(f"collect: {going_on}", f"end them: {ending}") if still else (),
    )
