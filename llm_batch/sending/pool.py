"""Several endpoints that serve one model: weights, limits of each, health, failover.

A request goes to the endpoint with the fewest requests for its weight among those that are well
and may be sent to now; it waits only when there is none, and then for the one that is soonest.
One that cannot be reached, refuses its key or the model, asks for a longer pause than a run makes,
or fails three times in a row, is left out for a while that doubles up to five minutes (or for that
pause); before it is used again it is asked whether it is there. The client sees one provider and
one limiter, so its retries are what moves a request to another endpoint. When all endpoints refuse,
the run is refused.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from llm_batch.chain.config import Config
from llm_batch.errors import (
    ConfigError,
    ProviderError,
    RateLimited,
    Refused,
    Transient,
    Unavailable,
)
from llm_batch.records import Request
from llm_batch.sending.client import LONGEST_PAUSE_SECONDS
from llm_batch.sending.clock import Clock
from llm_batch.sending.headers import StatedLimits
from llm_batch.sending.limits import Limiter, Slip
from llm_batch.sending.providers import Provider, Reply

_FIRST_REST_SECONDS = 2.0
_LONGEST_REST_SECONDS = 300.0
_FAILURES_IN_A_ROW = 3
# When no endpoint is well, they are looked at again this often.
_LOOK_AGAIN_SECONDS = 0.5
_PROBE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Notice:
    """An endpoint is left out, or used again; without a URL, a sentence on all of them."""

    url: str
    well: bool
    why: str = ""


@dataclass(slots=True)
class Endpoint:
    """One place that serves the model; times are of the clock."""

    url: str
    weight: float
    provider: Provider
    limiter: Limiter
    busy: int = 0
    sent: int = 0
    failures: int = 0
    out: bool = False
    refuses: bool = False
    rests: int = 0
    rest_until: float = float("-inf")
    full_until: float = float("-inf")

    def load(self) -> tuple[float, float]:
        """For its weight: what it would have under way with one more, and what it has had."""
        return (self.busy + 1) / self.weight, self.sent / self.weight


class Pool(Limiter):
    """The provider and the limiter of a client whose model has several endpoints.

    Each attempt takes an endpoint in `acquire` and keeps it, for its thread, until `finish`. From
    any thread ``tell`` hears when one is left out or used again.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        clock: Clock,
        probe: Callable[[Endpoint], bool] | None = None,
        tell: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        super().__init__(None, None, clock)
        self.endpoints = list(endpoints)
        self._probe = probe or is_there
        self._tell = tell
        self._chosen = _Chosen()
        self._choosing = threading.Lock()
        first = self.endpoints[0].provider
        self.vendor, self.simulated = first.vendor, first.simulated
        self.on_this_machine = all(each.provider.on_this_machine for each in self.endpoints)

    @property
    def rpm(self) -> float | None:
        return _together(each.limiter.rpm for each in self.endpoints)

    @property
    def tpm(self) -> float | None:
        return _together(each.limiter.tpm for each in self.endpoints)

    @property
    def counts_tokens(self) -> bool:
        return any(each.limiter.counts_tokens for each in self.endpoints)

    def acquire(self, tokens: float = 0.0) -> Slip:
        """Choose an endpoint, and wait until a request may be sent to it."""
        slip = self._try(tokens)
        if isinstance(slip, Slip):
            return slip
        with self._turn:  # one of those who wait looks, for all of them
            while not isinstance(slip := self._try(tokens), Slip):
                self._clock.sleep(min(slip, _LOOK_AGAIN_SECONDS))
        return slip

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        """Send to the endpoint this thread was given.

        Raises:
            Refused: By all endpoints; when others are left, the error is one to try again at.
            ProviderError: Whatever else the endpoint's provider raises.
        """
        endpoint = self._mine()
        try:
            reply = endpoint.provider.complete(request, timeout_seconds)
        except Transient as error:
            asked = getattr(error, "retry_after_seconds", None) or 0.0
            if asked > LONGEST_PAUSE_SECONDS and (again := self._refused(endpoint, error, asked)):
                raise again from error
            # At its limit it is there, and says how long to wait; and of what this machine has no
            # files for it never heard.
            if not isinstance(error, RateLimited) and error.kind != "files":
                self._failed(endpoint, str(error), at_once=error.kind == "unreachable")
            raise
        except Refused as error:
            if again := self._refused(endpoint, error):
                raise again from error
            raise
        with self._choosing:
            endpoint.failures, endpoint.refuses = 0, False
            # What was under way when it was left out says nothing of now.
            if endpoint.rests and not endpoint.out:
                endpoint.rests = 0
                self._tell(Notice(endpoint.url, well=True))
        return reply

    def finish(
        self,
        slip: Slip,
        stated: StatedLimits | None = None,
        correction: float = 0.0,
        *,
        refused: bool = False,
    ) -> None:
        endpoint = self._mine()
        endpoint.limiter.finish(slip, stated, correction, refused=refused)
        self._let_go(endpoint)

    @property
    def refusals_in_a_row(self) -> int:
        return self._mine().limiter.refusals_in_a_row

    @property
    def pause_seconds(self) -> float:
        return self._mine().limiter.pause_seconds

    @property
    def strays(self) -> bool:
        return self._mine().limiter.strays

    def pause(self, seconds: float) -> None:
        endpoint = self._mine()
        endpoint.limiter.pause(seconds)
        with self._choosing:
            # The others take its share meanwhile.
            endpoint.rest_until = max(endpoint.rest_until, self._clock.now() + seconds)

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.provider.close()

    def _try(self, tokens: float) -> Slip | float:
        """Take the best endpoint that may be sent to now; else seconds until there may be one."""
        while True:
            self._clock.check()
            with self._choosing:
                now = self._clock.now()
                free = {id(each): max(each.rest_until, each.full_until) for each in self.endpoints}
                well = [each for each in self.endpoints if free[id(each)] <= now]
                if not well:
                    return min(free.values()) - now
                chosen = min(well, key=Endpoint.load)
                chosen.busy += 1
                out = chosen.out
                if out:
                    # Nobody else takes it until it is known to be there again.
                    self._rest(chosen, now)
            try:
                if not out or self._is_back(chosen):
                    slip = chosen.limiter.try_acquire(tokens)
                    if isinstance(slip, Slip):
                        chosen.sent += 1
                        self._chosen.endpoint = chosen
                        return slip
                    chosen.full_until = self._clock.now() + min(slip, _LOOK_AGAIN_SECONDS)
            except BaseException:
                self._let_go(chosen)
                raise
            self._let_go(chosen)

    def _is_back(self, endpoint: Endpoint) -> bool:
        if not self._probe(endpoint):
            return False
        with self._choosing:
            endpoint.rest_until, endpoint.out = float("-inf"), False
            # It may answer this question only: one more failure is enough.
            endpoint.failures = _FAILURES_IN_A_ROW - 1
        return True

    def _refused(
        self, endpoint: Endpoint, error: ProviderError, seconds: float = 0.0
    ) -> Unavailable | None:
        """Leave one out that refuses everything, for so long at least; the error to try again at.

        ``None`` where all of them do.
        """
        with self._choosing:
            endpoint.refuses = True
            if all(each.refuses for each in self.endpoints):
                return None
        self._failed(endpoint, str(error), at_once=True, seconds=seconds)
        again = Unavailable(
            error.message,
            kind=error.kind,
            status_code=error.status_code,
            maybe_billed=error.maybe_billed,
            headers=error.headers,
        )
        again.partial = error.partial
        return again

    def _failed(self, endpoint: Endpoint, why: str, at_once: bool, seconds: float = 0.0) -> None:
        with self._choosing:
            now = self._clock.now()
            endpoint.failures += 1
            if not at_once and endpoint.failures < _FAILURES_IN_A_ROW:
                return
            if endpoint.rest_until > now:
                return  # what was under way when it began to rest says nothing new
            if not endpoint.rests:
                self._tell(Notice(endpoint.url, well=False, why=why))
            self._rest(endpoint, now)
            endpoint.rest_until = max(endpoint.rest_until, now + seconds)

    def _rest(self, endpoint: Endpoint, now: float) -> None:
        seconds = min(_LONGEST_REST_SECONDS, _FIRST_REST_SECONDS * 2.0**endpoint.rests)
        endpoint.rests += 1
        endpoint.out = True
        endpoint.rest_until = now + seconds

    def _mine(self) -> Endpoint:
        endpoint = self._chosen.endpoint
        assert endpoint is not None  # acquire() came first, in this thread
        return endpoint

    def _let_go(self, endpoint: Endpoint) -> None:
        with self._choosing:
            endpoint.busy -= 1


def _together(limits: Iterable[float | None]) -> float | None:
    """``None`` when one of them has no limit."""
    known = list(limits)
    return None if None in known else sum(limit for limit in known if limit is not None)


class _Chosen(threading.local):
    """The endpoint of the attempt that a thread is making, or made last."""

    endpoint: Endpoint | None = None


def is_there(endpoint: Endpoint) -> bool:
    """Whether an HTTP server answers at an endpoint, whatever it answers short of a failure.

    It is asked by the proxy, and with the authorities, that requests take as well.
    """
    from llm_batch.sending.providers.wire import Wire

    parts = urlsplit(endpoint.url)
    target = f"{parts.path.rstrip('/')}/models"
    if parts.query:
        target += f"?{parts.query}"
    try:
        wire = Wire(endpoint.url, 1)
    except ConfigError:
        return False
    try:
        return wire.send("GET", target, {}, seconds=_PROBE_SECONDS).status < 500
    except ProviderError:
        return False
    finally:
        wire.close()


# An endpoint that comes and goes all night must not fill the screen.
_SAID_AT_MOST = 3


class Outages:
    """Turns the notices of a run's pools into sentences, each said once however many notice it."""

    def __init__(self, config: Config) -> None:
        models = dict.fromkeys(step.model for step in config.asking)
        self._endpoints = {
            name: [each.api_base for each in config.model(name).endpoints] for name in models
        }
        self._out: set[str] = set()
        self._said: set[str] = set()
        self._times: Counter[str] = Counter()

    def sentences(self, notices: Iterable[Notice | str]) -> Iterator[str]:
        """What is new in some notices; those that are sentences are said once."""
        for notice in notices:
            if isinstance(notice, str):
                if notice not in self._said:
                    self._said.add(notice)
                    yield notice
                continue
            if notice.well != (notice.url in self._out):
                continue  # another pool, or another process, has said so already
            if notice.well:
                self._out.discard(notice.url)
                if self._times[notice.url] <= _SAID_AT_MOST:
                    yield f"{notice.url} answers again, and is used again"
                continue
            self._out.add(notice.url)
            self._times[notice.url] += 1
            if self._times[notice.url] > _SAID_AT_MOST:
                continue
            last = self._times[notice.url] == _SAID_AT_MOST
            yield (
                f"{notice.url} is left out until it answers again: {notice.why}"
                + ("; when it fails once more, nothing is said" if last else "")
            )
            for model, urls in self._endpoints.items():
                if notice.url in urls and self._out.issuperset(urls):
                    yield (
                        f"no endpoint of {model} answers; the run waits for one, and asks "
                        "after 2 s to 5 min. Ctrl-C ends the run, and nothing is lost"
                    )
