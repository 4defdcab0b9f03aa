"""From a request to the reply the settings, the limits and the script ask for."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from functools import partial
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qs

import msgspec

from tests.server.answers import ApiError, Ask, Directive, answer, directive
from tests.server.delivery import Connection
from tests.server.faults import FAULTS, Fault
from tests.server.openai import refuse
from tests.server.settings import Settings, make_settings
from tests.server.shapes import OPENAI, Shape, shape_of
from tests.server.stats import Bill, Stats
from tests.server.throttle import Throttle
from tests.server.wire import Reply, Request, WireError

_encode = msgspec.json.Encoder().encode
#: Statuses that may carry a Retry-After header when a fault sends them.
_BUSY = (429, 503, 529)


class App:
    """State of a server: settings, limits, counters, log."""

    def __init__(self, settings: Settings) -> None:
        self.connections: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._restart()

    def _restart(self) -> None:
        """Forget everything but the settings; the server's life begins anew."""
        self._start = self._loop.time()
        self._throttle = Throttle(self._settings)
        self._attempts: Counter[str] = Counter()
        self._log: deque[tuple[float, Request]] = deque(maxlen=self._settings.log)
        # Replies still under way end in the counters they began in.
        self._stats = Stats(self._settings.trace)

    @property
    def holds(self) -> bool:
        """Whether answers are held back now."""
        return self._settings.hold

    @property
    def keep_alive(self) -> float:
        """Seconds an idle connection is kept; 0 for ever."""
        return self._settings.keep_alive

    def _now(self) -> float:
        return self._loop.time() - self._start

    # Requests for answers

    def respond(self, request: Request) -> Reply:
        """The reply to a request, by its path."""
        shape = shape_of(request.path)
        if shape is None and (own := self._own(request)) is not None:
            return own
        now = self._now()
        if self._settings.log:
            self._log.append((now, request))
        stats = self._stats
        stats.begin()
        try:
            if shape is None:
                url = f"{request.method} {request.path}"
                raise ApiError(404, f"Invalid URL ({url})", code="unknown_url")
            stats.providers[shape.name] += 1
            reply = self._admit(request, shape, now)
        except ApiError as error:
            reply = Reply(error.status, (shape or OPENAI).write_error(error))
        reply.stats = stats
        reply.headers += f"x-request-id: req_{stats.received:08x}\r\n"
        return reply

    def garbage(self, error: WireError) -> Reply:
        """The reply to bytes that are no request."""
        self._stats.begin()
        body = OPENAI.write_error(ApiError(error.status, str(error)))
        return Reply(error.status, body, stats=self._stats)

    def _admit(self, request: Request, shape: Shape, now: float) -> Reply:
        """Check a request and hold it against the limits, then serve it."""
        settings, throttle = self._settings, self._throttle
        if request.method != "POST":
            raise ApiError(405, f"Not allowed to {request.method} on {request.path}, only POST.")
        if settings.key is not None and shape.key(request.headers, request.query) != settings.key:
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        content_type = request.headers.get("content-type", "")
        # Ollama takes any; litellm sends it none.
        if not content_type.startswith("application/json") and shape.name != "ollama":
            raise ApiError(415, "The content type of a request must be application/json.")
        bad: ApiError | None = None
        body = _without(request.body, settings.allow) if settings.allow else request.body
        try:
            ask = shape.read(body, request.path, request.headers)
            if settings.refuses and shape is OPENAI:
                refuse(body, settings.refuses)
        except ApiError as error:
            # A request that fails counts all the same, as far as its model can be told.
            ask, bad = Ask(_model_of(request.body), [], ""), error
        if bad is None and settings.only_models and ask.model not in settings.models:
            message = f"The model '{ask.model}' does not exist or you do not have access to it."
            raise ApiError(404, message, code="model_not_found", param="model")
        decision = throttle.admit(ask, now)
        self._stats.arrive(now, decision.admitted, ask.limit_tokens, ask.model)
        if not decision.admitted:
            refused, header = throttle.refusal(ask, decision, now)
            reply = Reply(429, shape.write_error(refused), headers=header)
        else:
            if bad is not None:
                reply = Reply(bad.status, shape.write_error(bad))
            else:
                reply = self._serve(request, shape, ask, now)
            reply.ended = partial(throttle.end, ask.model)
        if settings.headers:
            reply.headers += throttle.headers(ask.model, now, shape.name)
        return reply

    def _serve(self, request: Request, shape: Shape, ask: Ask, now: float) -> Reply:
        """The reply to a request that the limits let pass."""
        settings = self._settings
        script = directive(ask)
        self._attempts[ask.body_hash] += 1
        attempt = self._attempts[ask.body_hash]
        name = self._fault(ask, script, attempt, now)
        fault = None
        if name is not None:
            fault = FAULTS[name]
            self._stats.faults[name] += 1
        delay = self._delay(ask, script, attempt, fault)
        if fault is not None and (error := fault.raises()) is not None:
            header = self._busy_header(error.status, script)
            reply = Reply(error.status, shape.write_error(error), headers=header, delay=delay)
            if fault.page:
                reply.body, reply.content_type = fault.page, fault.content_type
            return reply
        result = answer(ask, settings.words, script)
        reply = Reply(200, b"", delay=delay, usable=result.finish == "stop")
        if fault is not None:
            if fault.alter is not None:
                fault.alter(result)
            reply.content_type = fault.content_type
            reply.delivery = fault.delivery
            reply.usable = reply.usable and fault.usable
            reply.drip_seconds = settings.drip_seconds
            # Without the header any coding is welcome (RFC 9110, 12.5.3).
            reply.gzip = "gzip" in request.headers.get("accept-encoding", "gzip")
        reply.bill = Bill(ask.body_hash, ask.model, result.input_tokens, result.output_tokens)
        reply.may_be_held = fault is None
        reply.body = shape.write(ask, result)
        if fault is not None and fault.spoil is not None:
            reply.body = fault.spoil(reply.body)
        return reply

    # Faults and latency

    def _fault(self, ask: Ask, script: Directive | None, attempt: int, now: float) -> str | None:
        """The fault that strikes: by script, by burst, or by chance, in this order."""
        if script is not None and script.fault is not None:
            if script.fault not in FAULTS:
                raise ApiError(400, f"[[server: ...]] asks for {script.fault!r}, not a fault")
            return script.fault if script.times is None or attempt <= script.times else None
        for burst in self._settings.bursts:
            if burst.start <= now < burst.end:
                return burst.fault
        if not self._settings.faults:
            return None
        chance = self._chance(ask, attempt, "fault")
        for name, probability in self._settings.faults.items():
            chance -= probability
            if chance < 0:
                return name
        return None

    def _chance(self, ask: Ask, attempt: int, purpose: str) -> float:
        """A number in [0, 1) that depends on body and attempt, not on the order of arrival."""
        text = f"{self._settings.seed} {ask.body_hash} {attempt} {purpose}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64

    def _delay(
        self, ask: Ask, script: Directive | None, attempt: int, fault: Fault | None
    ) -> float:
        settings = self._settings
        delay = settings.latency
        if script is not None and script.latency is not None:
            delay = script.latency
        elif delay and settings.jitter:
            delay *= 1 + settings.jitter * (2 * self._chance(ask, attempt, "latency") - 1)
        return delay * fault.latency_factor if fault is not None else delay

    def _busy_header(self, status: int, script: Directive | None) -> str:
        value = script.retry_after if script is not None else None
        if value is None and status in _BUSY:
            value = self._settings.fault_retry_after
        if value is None:
            return ""
        return f"retry-after: {value if isinstance(value, str) else format(value, 'g')}\r\n"

    # The server's own endpoints

    def _own(self, request: Request) -> Reply | None:
        path, method = request.path, request.method
        if method == "GET" and path.endswith("/stats"):
            report = self._stats.report(self._settings, self._now(), len(self.connections))
            return Reply(200, _encode(report))
        if method == "GET" and path.endswith("/log"):
            count = parse_qs(request.query).get("n", ["0"])[0]
            entries = list(self._log)[-int(count) if count.isdecimal() else 0 :]
            return Reply(200, _encode([_logged(at, entry) for at, entry in entries]))
        if method == "GET" and path.endswith(("/models", "/api/tags")):
            return self._list(request)
        if method == "POST" and path.endswith("/reset"):
            self._restart()
            return Reply(200, b"{}")
        if method == "POST" and path.endswith("/control"):
            return self._control(request.body)
        return None

    def _list(self, request: Request) -> Reply:
        """The names of the models, in the layout of whose path it is; free, so nothing counts."""
        settings, headers = self._settings, request.headers
        self._log.append((self._now(), request))
        keys = [headers.get(name) for name in ("authorization", "x-api-key", "x-goog-api-key")]
        if (
            settings.key is not None
            and f"{settings.key}" not in " ".join(filter(None, keys)).split()
        ):
            error = ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
            return Reply(401, OPENAI.write_error(error))
        names = list(settings.models)
        if request.path.endswith("/api/tags"):
            body = _encode({"models": [{"name": name, "model": name} for name in names]})
        elif "/v1beta" in request.path:
            body = _encode({"models": [{"name": f"models/{name}"} for name in names]})
        else:
            rows = [{"id": name, "object": "model"} for name in names]
            body = _encode({"object": "list", "data": rows})
        reply = Reply(200, body)
        if settings.headers:
            reply.headers += self._throttle.headers("", self._now(), "openai")
        if settings.list_fault is not None:
            fault = FAULTS[settings.list_fault]
            if (raised := fault.raises()) is not None:
                reply = Reply(raised.status, OPENAI.write_error(raised))
            reply.body = fault.spoil(reply.body) if fault.spoil is not None else reply.body
            reply.content_type, reply.delivery = fault.content_type, fault.delivery
            reply.drip_seconds = settings.drip_seconds
        return reply

    def _control(self, body: bytes) -> Reply:
        try:
            changes = msgspec.json.decode(body, type=dict[str, Any])
            settings = make_settings(changes, self._settings)
        except ValueError as error:
            return Reply(400, OPENAI.write_error(ApiError(400, str(error))))
        if settings.log != self._settings.log:
            self._log = deque(self._log, maxlen=settings.log)
        self._settings = settings
        self._throttle.change(settings)
        self._stats.trace = settings.trace
        return Reply(200, _encode(settings))


def _without(body: bytes, names: list[str]) -> bytes:
    """A body less some parameters; as it is, when it cannot be read."""
    try:
        value = msgspec.json.decode(body, type=dict[str, Any])
    except ValueError:
        return body
    return _encode({name: part for name, part in value.items() if name not in names})


def _model_of(body: bytes) -> str:
    """The model a bad request names, if it does."""
    try:
        value = msgspec.json.decode(body)
    except ValueError:
        return ""
    model = value.get("model") if isinstance(value, dict) else None
    return model if isinstance(model, str) else ""


def _logged(at: float, request: Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(request.body)
    except ValueError:
        body = request.body.decode("utf-8", "replace")
    return {
        "at": at,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body": body,
    }
