"""One actor as the driver sees it: what it was given, and what it says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from llm_batch import __version__
from llm_batch.cluster.losses import Sent
from llm_batch.cluster.worker import Kit, News, actor_class
from llm_batch.errors import ConfigError, LlmbError
from llm_batch.records import Request

# An actor answers at least this often.
_EXCHANGE_SECONDS = 0.2
# An actor that cannot be reached is asked again for this long before it is given up. Should it
# live on all the same, nothing more is sent by it: the ledger is out of its reach as well.
_UNREACHED_SECONDS = 4.0
_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an actor runs.

    Attributes:
        node: The name of the machine, for messages.
        node_id: Ray's own.
    """

    node: str
    node_id: str


class Gone(Exception):
    """An actor will say nothing more.

    Args:
        why: What is known of the reason.
        wrong: What a user must put right, where that is the reason.
    """

    def __init__(self, why: str, wrong: LlmbError | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.wrong = wrong


class Actor:
    """An actor of the cluster, from the request for a place on.

    Args:
        ray: Connected.
        ledger: The handle of the ledger.
        kit: What it needs to make calls.
        room: Requests it may have.

    Attributes:
        room: As above.
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

    def listen(self) -> News | None:
        """What it says, when ``ref`` is there; ``None`` when it has only started.

        Raises:
            Gone: It is lost, or could not start.
        """
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
            return None
        except exceptions.RayError as error:  # the actor, its node, or the memory of that
            raise Gone(reason(error)) from error
        self._talk, self._unreached_since = None, None
        return news

    def _asked_for(self) -> Spot:
        """Where it is.

        Raises:
            Gone: This package is not there, or another version of it.
        """
        try:
            return Spot(*self._ray.get(self._here))
        except self._ray.exceptions.RayTaskError as error:
            hint = f"install the same on every node: pip install 'llm_batch[ray]=={__version__}'"
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
        """End it, whatever it is doing."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._handle)


def reason(error: Exception) -> str:
    """The line of Ray's account that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    return (named or lines or [type(error).__name__])[-1]
