"""Engines carry requests and bring calls back: the protocol of all, and the table of them.

Whatever differs between engines is asked here and nowhere by name: of its row while nothing is
opened, of the engine itself once it carries. To add one, write a class and a row.

A config names a row, so rooms below this one read the table too. Hence it loads nothing but
values: what a row opens is imported when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from llm_batch.chain.config import Config
    from llm_batch.record.journal import Journal
    from llm_batch.records import Call, Request
    from llm_batch.sending.client import Budget
    from llm_batch.sending.clock import Stop
    from llm_batch.sending.fleet import Fleet


class Engine(Protocol):
    """Holds a number of requests at once.

    Attributes:
        free: How many more requests it takes now.
        held: How many requests it has that `wait` has not returned yet.
    """

    @property
    def free(self) -> int: ...

    @property
    def held(self) -> int: ...

    def submit(self, request: Request) -> None:
        """Take a request; only while ``free`` is positive."""
        ...

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        """Calls that have finished; at least one unless the time is up or nothing is held.

        A request whose function raised `Cancelled` is no longer held and has no call.

        Raises:
            BaseException: Whatever else the function raised: a bug, not an outcome. Calls that
                finished before or after it are returned by this engine's other waits.
        """
        ...

    def give_back(self) -> Sequence[Request]:
        """Requests that were taken but not begun; they will not be sent."""
        ...

    def close(self) -> None:
        """Stop: drop what has not begun and wait for what has."""
        ...

    # What most engines have nothing to say to

    def hold(self, on: bool) -> None:
        """Send nothing from other processes while the user is asked; of this one the fleet does."""
        return

    def recorded(self, call: Call) -> None:
        """A call that `wait` returned is in the journal, before anything depends on it."""
        return

    def in_flight(self) -> Sequence[tuple[Request, float]]:
        """Requests that are sent and not answered, and when they were taken up.

        In seconds since 1970-01-01 UTC. A run that does not wait for them books their worst case.
        """
        return ()

    @property
    def note(self) -> str:
        """How things stand elsewhere, in a few words for the progress line; may be empty."""
        return ""

    def held_already(self, key: str) -> float:
        """USD of the budget that are held for a request, by its key, before it is submitted."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Supplies:
    """What an engine is opened with.

    Attributes:
        fleet: Serves requests from this process, and knows what they cost at most.
        budget: Asked before more is spent than is held for an item.
        journal: Of the calls; who waits for them writes them into it.
        stop: Asked before anything new is begun, and told when a provider refuses the run.
        say: Called with sentences a user should read.
        items: Of the run.
        leave: Where the run does not wait for jobs elsewhere: the ending it stops with, one of
            `llm_batch.errors.ENDINGS`, once nothing more can be done now.
    """

    config: Config
    fleet: Fleet
    budget: Budget
    journal: Journal
    stop: Stop
    say: Callable[[str], None]
    items: int = 0
    leave: str = ""


#: Calls a second that one process makes at most, by HTTP and however many workers it has. How it
#: was measured: docs/scale.md, "One process".
CALLS_PER_SECOND = 2_500.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table: what is known of an engine before it is opened.

    Attributes:
        about: The same for ``--help``, with what it is.
        open: Makes the engine. Raises `ConfigError` when it cannot be had as configured.
        check: Refuses, with `ConfigError`, what cannot be carried, before anything is asked, set
            aside or written; ``True`` for a dry run, which leaves nothing running.
        by_batch: It goes by the batch APIs of the vendors that have one: at their prices, without
            a pace, in jobs that outlive the process, of models that may be in no step any more.
        at_once: Calls at once at most; ``None`` for as many as there are workers.
        keys_go_to: Other machines that get the keys of models, in words; ``None`` without.
        refuse_open: Refuses, with `ConfigError`, to pay again for what it left open of a results
            file; called for a run by another engine, or (``True``) one that overwrites.
        on_stop: What becomes of what is under way when the run is stopped.
        early: What to know before a run by it that may stop early; may be empty.
        elsewhere: Requests are sent by other machines, which do not have this one's files.
        calls_per_second: That one run by it makes at most, whatever the provider allows.
        carrier: What cannot do more than that, in words.
        beyond: What to type where more is needed.
    """

    name: str
    about: str
    open: Callable[[Supplies], Engine]
    check: Callable[[Config, bool], None] = lambda config, dry: None
    by_batch: bool = False
    at_once: int | None = None
    keys_go_to: Callable[[Config], str | None] = lambda config: None
    refuse_open: Callable[[str, bool], None] = lambda output, overwrite: None
    on_stop: str = "what is in flight is finished and kept"
    early: str = ""
    elsewhere: bool = False
    calls_per_second: float = CALLS_PER_SECOND
    carrier: str = "one process"
    beyond: str = "for more, run with --engine ray (several processes, on this machine or on "
    "many) or --shard 1/4 (a quarter of the items each run)"

    def workers(self, config: Config) -> int:
        return min(config.limits.workers, self.at_once or config.limits.workers)


def _threads(supplies: Supplies) -> Engine:
    from llm_batch.engines.local import ThreadsEngine

    return ThreadsEngine(supplies.fleet.call, supplies.config.limits.workers)


def _serial(supplies: Supplies) -> Engine:
    from llm_batch.engines.local import SerialEngine

    return SerialEngine(supplies.fleet.call)


def _ray(supplies: Supplies) -> Engine:
    from llm_batch.engines.ray.engine import RayEngine

    return RayEngine(supplies)


def _check_cluster(config: Config, dry: bool) -> None:
    from llm_batch.engines.ray.cluster import check_reachable, connected

    (check_reachable if dry else connected)(config.run.cluster)


def _cluster(config: Config) -> str | None:
    from llm_batch.sending.providers.endpoints import is_loopback

    address = config.run.ray_address
    # By a flag or in RAY_ADDRESS the user says himself where his keys go.
    if address in (None, "", "auto", "local") or ("run", "ray_address") in config.typed:
        return None
    if is_loopback(address if "://" in address else f"ray://{address}"):
        return None
    return f"the Ray cluster at {address}"


def _batch(supplies: Supplies) -> Engine:
    from llm_batch.engines.batch.engine import BatchEngine

    return BatchEngine(supplies)


def _check_vendors(config: Config, dry: bool) -> None:
    from llm_batch.engines.batch.vendors import check_vendors

    check_vendors(config)


def _refuse_open_jobs(output: str, overwrite: bool) -> None:
    from llm_batch.record.files import run_paths

    if not run_paths(output).jobs.exists():
        return
    from llm_batch.engines.batch.job_log import refuse_open_jobs

    refuse_open_jobs(output, overwrite)


#: Engine by name; the first is the default.
ENGINES: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("threads", "threads (default)", _threads),
        Kind("serial", "serial", _serial, at_once=1),
        Kind(
            "ray",
            "ray (a cluster)",
            _ray,
            _check_cluster,
            keys_go_to=_cluster,
            elsewhere=True,
            # What stays with the driver: the chain, the journal and the budget.
            calls_per_second=1.1 * CALLS_PER_SECOND,
            carrier="the driver of a Ray run",
            beyond="for more, run with --shard 1/4 (a quarter of the items each run)",
        ),
        Kind(
            "batch",
            "batch: the provider's batch API, half the price within 24 h",
            _batch,
            _check_vendors,
            by_batch=True,
            refuse_open=_refuse_open_jobs,
            on_stop="the jobs at the provider go on without this",
            early="by batch all items of a step are submitted together, so stopping early saves "
            "little; a smaller --sample does, and --engine threads",
        ),
    )
}


def engine_of(config: Config) -> Kind:
    return ENGINES[config.run.engine]
