"""A Ray cluster as the driver sees it: connected to, its actors, the ledger, what they lost."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llm_batch import __version__
from llm_batch.chain.options import RunOptions
from llm_batch.engines.ray.leases import Ledger, Limits
from llm_batch.engines.ray.worker import Kit, News, actor_class
from llm_batch.errors import ConfigError, Incomplete, LlmbError
from llm_batch.records import Attempt, Call, Failure, Request
from llm_batch.sending.clock import STOP_SIGNALS
from llm_batch.sending.fleet import Fleet

# Ray itself tries an address for minutes at which nobody listens, or something else does.
_REACH_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
# What answers is asked by another process: such a question cannot be taken back in this one.
_QUESTION = """
import sys
from ray._private.services import canonicalize_bootstrap_address_or_die as found
from ray._raylet import GcsClient
GcsClient(address=found(sys.argv[1]))
"""
_START_ONE = "start one with: ray start --head, or leave ray_address out for one of its own"


#: Of the clusters that this process started.
_started: set[str] = set()


def connected(address: str | None) -> Any:
    """Ray, connected; ``None`` starts a cluster of this machine, which ends with this process.

    A program that is connected already stays where it is: Ray knows one cluster at a time.
    Signals are handled by whoever did before: Ray would end the process at SIGTERM. `ConfigError`
    where Ray is not installed or there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    imported_before = "ray" in sys.modules
    with _signals_as_before():
        if not (imported_before and sys.modules["ray"].is_initialized()):
            check_reachable(address)
        ray = _imported()
        if ray.is_initialized():
            return ray
        if address is None:
            _want_a_token()
        if not imported_before:
            # Stderr is for what the run has to say, and stdout for its results; a program with
            # Ray of its own decides itself.
            logging.getLogger("ray").setLevel(logging.ERROR)
            ray._private.worker._worker_logs_enabled = False
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                include_dashboard=False if address is None else None,
                configure_logging=False,
            )
        except ray.exceptions.AuthenticationError as error:
            raise _not_let_in(address) from error
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise _no_cluster(address, _words(error)) from error
    if address is None:
        _started.add(ray.get_runtime_context().gcs_address)
    return ray


def where(options: RunOptions, ray: Any) -> str:
    """Which cluster a run is on, and who chose it."""
    address = ray.get_runtime_context().gcs_address
    if address in _started:
        return "on a Ray cluster of this machine alone, which ends with the run"
    if options.ray_address:
        who = ""
    else:
        who = " (RAY_ADDRESS)" if options.cluster else ", which this program is connected to"
    return f"on the Ray cluster at {address}{who}"


def check_reachable(address: str | None) -> None:
    """See whether a Ray cluster answers at an address, with `ConfigError` if not.

    ``None`` needs Ray alone.
    """
    if address is None:
        _imported()
        return
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"ray_address {address!r} is that of the dashboard, which takes jobs and not a driver",
            "submit the command as a job: ray job submit -- llmb run --engine ray; or name the "
            "cluster itself with --ray-address host:6379",
        )
    if address.startswith("ray://"):
        raise ConfigError(
            f"ray_address {address!r} is that of Ray's client server, which is not used here",
            'run this on a machine of the cluster, with ray_address = "auto" or "host:6379"',
        )
    try:
        _reach(address)
    except (OSError, ValueError) as error:
        raise _no_cluster(address, _words(error)) from error
    # A session of its own: Ctrl-C is for the run to hear.
    with subprocess.Popen(
        [sys.executable, "-c", _QUESTION, address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as asking:
        try:
            _imported()  # meanwhile
            _, said = asking.communicate(timeout=_ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            why = f"what is there gave no answer in {_ANSWER_SECONDS:.0f} s"
            raise _no_cluster(address, why) from None
        finally:
            asking.kill()
    if asking.returncode:
        if "authentication" in said.lower():
            raise _not_let_in(address)
        last = said.strip().splitlines()[-1:] or ["it cannot be asked"]
        raise _no_cluster(address, last[0].partition(": ")[2] or last[0])


def _imported() -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise ConfigError("Ray is not installed", "pip install 'llmb[ray]'") from error
    return ray


def _want_a_token() -> None:
    """Let nobody into the cluster of this machine who has not its token.

    Its ports are open to every user of the machine, and often to its network. Ray would keep a
    token of its own in the home folder, for good; this one is in the memory of the cluster alone.
    A user who set either of the two has decided himself.
    """
    if os.environ.setdefault("RAY_AUTH_MODE", "token").lower() != "token":
        return
    theirs = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if not any(map(os.environ.get, theirs)) and not Path("~/.ray/auth_token").expanduser().exists():
        os.environ["RAY_AUTH_TOKEN"] = _token()
    from ray._raylet import Config  # type: ignore[attr-defined]  # of Cython

    Config.initialize("")  # it has read the mode when it was imported


@cache
def _token() -> str:
    """Of every cluster that this process starts: Ray reads it once."""
    return secrets.token_hex(32)


def _reach(address: str) -> None:
    if ":" not in address:
        return
    parts = urlsplit(f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), _REACH_SECONDS).close()


def _no_cluster(address: str | None, why: str) -> ConfigError:
    return ConfigError(f"there is no Ray cluster at {address or 'this machine'}: {why}", _START_ONE)


def _not_let_in(address: str | None) -> ConfigError:
    return ConfigError(
        f"the Ray cluster at {address or 'this machine'} wants a token, and not the one of here",
        "export RAY_AUTH_MODE=token, and copy ~/.ray/auth_token from a node of the cluster",
    )


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _signals_as_before() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # nobody can replace them here
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set by something other than Python
                signal.signal(number, handler)


@dataclass(slots=True)
class Sent:
    """A request that an actor has, handed out ``at`` (seconds since 1970-01-01 UTC).

    ``granted`` is what the driver allowed for each attempt after one that may have been billed.
    """

    request: Request
    at: float
    granted: list[float] = field(default_factory=list)


class Losses:
    """Nobody knows whether a lost request was answered, so it is charged at its worst."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        # By request: USD, ``None`` when a price is unknown, and when each attempt was handed out.
        self._lost: dict[str, tuple[float | None, tuple[float, ...]]] = {}

    def lose(self, sent: Sent) -> float:
        """Note that an actor was lost with a request; USD that another attempt needs."""
        request, model = sent.request, self._fleet.models[sent.request.model]
        most = model.most(request)
        before, times = self._lost.get(request.key, (0.0, ()))
        cost = None
        if model.tariff is not None and before is not None:
            cost = before + most + sum(sent.granted)
        # Every attempt that was granted followed one that may have been billed.
        lost = (sent.at,) * (1 + len(sent.granted))
        self._lost[request.key] = cost, (*times, *lost)
        return most

    def attempts(self, request: Request) -> int:
        return len(self._lost.get(request.key, (None, ()))[1])

    def with_lost(self, call: Call) -> Call:
        cost, times = self._lost.pop(call.request.key, (0.0, ()))
        if not times:
            return call
        lost = [Attempt(n, at, 0.0, "lost", maybe_billed=True) for n, at in enumerate(times, 1)]
        made = [replace(each, number=each.number + len(times)) for each in call.attempts]
        return replace(
            call,
            attempts=(*lost, *made),
            cost=None if cost is None or call.cost is None else cost + call.cost,
            worst_case=True,
        )

    def ended(self, request: Request, kind: str, why: str) -> Call:
        message = f"its process on the cluster was lost, and {why}"
        return self.with_lost(Call(request, (), failure=Failure(kind, message), cost=0.0))

    def split(self, requests: Sequence[Request]) -> tuple[list[Request], list[Call]]:
        """Requests that will not be sent: those nothing was paid for, and calls of the others."""
        unsent = [request for request in requests if request.key not in self._lost]
        calls = [
            self.ended(request, "cancelled", "the run stopped before another attempt")
            for request in requests
            if request.key in self._lost
        ]
        return unsent, calls


# An actor answers at least this often.
_EXCHANGE_SECONDS = 0.2
# An actor that cannot be reached is asked again for this long before it is given up. Should it
# live on all the same, nothing more is sent by it: the ledger is out of its reach as well.
_UNREACHED_SECONDS = 4.0
_AGAIN_SECONDS = 0.1
# One that is asked and says nothing for so long is on a node that hangs or is cut off: Ray itself
# notices that after half a minute or more.
_SILENT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an actor runs: the machine's name, for messages, and Ray's own id of the node."""

    node: str
    node_id: str


class Gone(Exception):
    """An actor will say nothing more: why, and what a user must put right where that is why."""

    def __init__(self, why: str, wrong: LlmbError | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.wrong = wrong


class Actor:
    """An actor of the cluster, from the request for a place on.

    Attributes:
        room: Requests it may have.
        since: When it was asked for, by the monotonic clock.
        spot: Where it runs, once it has started.
        fresh: Requests for the next exchange.
        sent: Requests it has, by key.
        answers: To its questions, for the next exchange.
    """

    def __init__(self, ray: Any, ledger: Any, kit: Kit, room: int) -> None:
        self._ray = ray
        made = ray.remote(actor_class()).options(
            num_cpus=0.01, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self._handle = made.remote()
        self._here = self._handle.here.remote(__version__)
        # Alone they are short enough to be part of a message. Ray keeps what is longer beside it,
        # and puts that on disk when it is short of room.
        without = replace(kit, variables={})
        self._start = self._handle.start.remote(ledger, room, without, kit.variables)
        self.room = room
        self.since = time.monotonic()
        self.spot: Spot | None = None
        self.fresh: list[Request] = []
        self.sent: dict[str, Sent] = {}
        self.answers: dict[int, bool] = {}
        self._talk: Any = None
        self._number = 0
        self._last: tuple[Any, ...] = ()
        self._unreached_since: float | None = None
        self._asked_at = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether it should have said something long ago."""
        asked = self.spot is not None and self._talk is not None
        return asked and time.monotonic() - self._asked_at > _SILENT_SECONDS

    @property
    def load(self) -> int:
        return len(self.fresh) + len(self.sent)

    @property
    def placed(self) -> bool:
        """Whether the cluster has given it a place, and its process is there."""
        return self.spot is not None or bool(self._ray.wait([self._here], timeout=0)[0])

    @property
    def ref(self) -> Any:
        """What it says next, as Ray refers to it; ``None`` when nothing was asked."""
        return self._talk if self.spot is not None else self._start

    def talk(self, stop: bool) -> None:
        """Give it what there is for it and ask for news, unless that is under way."""
        if self._talk is None and (self.load or self.answers):
            self._number += 1
            self._last = self._number, self.fresh, self.answers, stop, _EXCHANGE_SECONDS
            now = time.time()
            self.sent.update((request.key, Sent(request, now)) for request in self.fresh)
            self.fresh, self.answers = [], {}
            self._talk = self._handle.exchange.remote(*self._last)
            self._asked_at = time.monotonic()

    def listen(self) -> News | None:
        """What it says, when ``ref`` is there; ``None`` when it has only started. Else `Gone`."""
        exceptions = self._ray.exceptions
        try:
            if self.spot is None:
                spot = self._asked_for()
                self._ray.get(self._start)
                self.spot = spot
                return None
            news: News = self._ray.get(self._talk)
        except exceptions.RayTaskError as error:
            # Raised in the actor. Tested first: it may pass for whatever was raised there, the
            # loss of yet another actor included.
            if isinstance(error.cause, LlmbError):
                raise Gone(error.cause.message, error.cause) from None
            raise error.as_instanceof_cause() from None
        except exceptions.ActorUnavailableError as error:
            # It may be well, and have what it was sent.
            now = time.monotonic()
            since = self._unreached_since = self._unreached_since or now
            if self.spot is None or now - since > _UNREACHED_SECONDS:
                raise Gone(reason(error)) from error
            time.sleep(_AGAIN_SECONDS)
            self._talk = self._handle.exchange.remote(*self._last)
            self._asked_at = time.monotonic()
            return None
        except exceptions.RayError as error:  # the actor, its node, or the memory of that
            raise Gone(reason(error)) from error
        self._talk, self._unreached_since = None, None
        return news

    def _asked_for(self) -> Spot:
        """Where it is; `Gone` where this package is not, or another version of it."""
        try:
            return Spot(*self._ray.get(self._here))
        except self._ray.exceptions.RayTaskError as error:
            hint = f"install the same on every node: pip install 'llmb[ray]=={__version__}'"
            raise Gone(str(error.cause), ConfigError(str(error.cause), hint)) from None

    def taken_in(self, news: News) -> Sequence[Sent]:
        """Forget the requests it has no more; those that will have no call are returned."""
        for call in news.calls:
            self.sent.pop(call.request.key, None)
        dropped = [self.sent.pop(r.key) for r in news.returned if r.key in self.sent]
        if news.stopped and not news.held:
            # The rest was waiting for its turn, and was not sent.
            dropped += self.sent.values()
            self.sent.clear()
        return dropped

    def kill(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._handle)


def reason(error: Exception) -> str:
    """The line of Ray's account that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    return (named or lines or [type(error).__name__])[-1]


# How often it is asked what the limits are by now.
_RATES_SECONDS = 1.0


def took_over() -> bool:
    """Whether the actor this is called in was started again by Ray after its process was lost."""
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


class LedgerActor:
    """One ledger for all actors of a run; when its process is lost Ray starts another."""

    def __init__(self, ray: Any, limits: Mapping[str, Limits], actors: int) -> None:
        self._ray = ray
        # It is beside the driver: without the driver there is no run anyway.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        # Each actor may wait for each place, and those of actors that are gone may still do.
        waiting = 2 * actors * len(limits)
        made = ray.remote(Ledger).options(
            num_cpus=0, max_concurrency=waiting + 8, max_restarts=-1, scheduling_strategy=here
        )
        #: For actors, to ask it.
        self.handle = made.remote(limits, took_over)
        self._asked: Any = None
        self._heard = float("-inf")
        self._started = False

    def rates(self) -> dict[str, float | None]:
        """Requests a minute now in force, by place; empty when there is nothing new.

        `ConfigError` when it could not be started, `Incomplete` when it is gone for good.
        """
        exceptions, now = self._ray.exceptions, time.monotonic()
        if self._asked is None:
            if now - self._heard >= _RATES_SECONDS:
                self._heard, self._asked = now, self.handle.rpm.remote()
            return {}
        if not self._ray.wait([self._asked], timeout=0)[0]:
            return {}
        asked, self._asked = self._asked, None
        try:
            rates: dict[str, float | None] = self._ray.get(asked)
            self._started = True
            return rates
        except exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except exceptions.ActorDiedError as error:
            if not self._started:
                raise ConfigError(
                    "no process that keeps the limits starts on the Ray cluster's node of this "
                    f"machine: {reason(error)}",
                    "start the node with the Python that has the same llm_batch as this one",
                ) from error
            raise Incomplete(
                "the process of the Ray cluster that keeps the limits is gone and is not started "
                "again",
                "look at: ray status; then run the same command again",
            ) from error
        except exceptions.RayError:
            return {}  # it is being started again

    def close(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self.handle)
