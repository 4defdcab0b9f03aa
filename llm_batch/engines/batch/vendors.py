"""From a model to its batch API, and what the APIs of all vendors share: requests over HTTP."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from llm_batch.chain.config import Config
from llm_batch.chain.options import Model
from llm_batch.engines.batch.api import BatchApi, Fields, Line, is_token_limit
from llm_batch.errors import (
    ConfigError,
    ProviderError,
    RateLimited,
    Rejected,
    Transient,
    Unavailable,
)
from llm_batch.paper import words
from llm_batch.records import Completion, Message, Request, writable
from llm_batch.sending.clock import Clock
from llm_batch.sending.providers import BATCH_VENDORS, Prepared, batch_vendor, make_provider
from llm_batch.sending.providers.decoding import value_in
from llm_batch.sending.providers.dialect import Dialect
from llm_batch.sending.providers.endpoints import shown
from llm_batch.sending.providers.refusals import error_from_reply
from llm_batch.sending.providers.wire import ENCODINGS, Wire

# Questions are answered at once; files of up to 256 MB go up and down.
_SECONDS = 60.0
_FILE_SECONDS = 900.0
# Above that it is no reply to what was asked.
_BYTES, _FILE_BYTES = 64_000_000, 4_000_000_000
#: Of the headers of a live request, those that belong to its body or its client and not to us.
_OF_THE_BODY = frozenset(
    {"host", "content-length", "content-type", "accept", "accept-encoding", "connection"}
)


def headers_like(like: Prepared) -> dict[str, str]:
    """The headers of a live request that say whose it is and what it needs."""
    return {
        name: value
        for name, value in like.headers.items()
        if name.lower() not in _OF_THE_BODY and not name.lower().startswith("x-stainless")
    }


class Http:
    """Talks to the host of a model, with the headers of a live request, the key among them."""

    def __init__(self, like: Prepared) -> None:
        self._origin = urlsplit(like.url)._replace(query="", fragment="", path="").geturl()
        self._shown = shown(self._origin)
        self.resemble(like)
        self._wire = Wire(self._origin, 1)

    def resemble(self, like: Prepared) -> None:
        """Send the headers of this request, but for those that belong to its body."""
        self._headers = headers_like(like)
        self._headers |= {"Accept": "application/json", "Accept-Encoding": ENCODINGS}

    def json(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        large: bool = False,
    ) -> Any:
        """Send, and decode what comes back, which may be ``large``; nothing counts as ``{}``.

        `ProviderError` for no JSON, and for a status that is not one of success.
        """
        large = large or (body is not None and len(body) >= 1 << 16)
        raw = self._send(method, path, body, content_type, large)
        try:
            return decoded(raw) if raw.strip() else {}
        except ValueError as error:
            said = f"{self._shown}{path.partition('?')[0]} did not answer in JSON: {error}"
            raise Unavailable(said, kind="garbage") from error

    def lines(self, path: str, *, may_be_empty: bool = False) -> Iterator[Fields]:
        """The objects of a file of JSON lines; a line that is none is passed over.

        One bad line must not keep the answers around it from those who paid for them.
        `ProviderError` for a file that cannot be had to its end, or is something else altogether.
        """
        raw = self._send("GET", path, None, "", True).removeprefix(codecs.BOM_UTF8)
        # Not splitlines(): a JSON text may hold other line ends than \n.
        lines = [line for line in raw.split(b"\n") if line.strip()]
        if all(_object(line) is None for line in lines) and (lines or not may_be_empty):
            raise Unavailable(
                f"{self._shown}{path.partition('?')[0]} is not a whole file of JSON lines",
                kind="garbage",
            )
        for line in lines:
            value = _object(line)
            if value is not None:
                yield Fields(value)

    def close(self) -> None:
        self._wire.close()

    def _send(
        self, method: str, path: str, body: bytes | None, content_type: str, large: bool
    ) -> bytes:
        headers: Mapping[str, str] = self._headers
        if body is not None:
            headers = {**headers, "Content-Type": content_type}
        seconds, most = (_FILE_SECONDS, _FILE_BYTES) if large else (_SECONDS, _BYTES)
        try:
            reply = self._wire.send(method, path, headers, body, seconds=seconds, most=most)
        except Rejected as error:
            where = f"{self._shown}{path.partition('?')[0]}"
            raise Unavailable(f"{where}: {error.message}", kind="garbage") from error
        if not 200 <= reply.status < 300:
            refusal = error_from_reply(reply.status, reply.body, reply.headers)
            if reply.status == 404:
                refusal.message = f"{self._shown}{path.partition('?')[0]}: {refusal.message}"
                refusal.hint = "is there a batch API? --engine threads does without"
            raise refusal
        return reply.body


def decoded(raw: bytes) -> Any:
    """The value of a JSON text, with what no JSON may hold left out of it; else `ValueError`.

    Half a surrogate pair, bytes that are no UTF-8, NaN and numbers beyond all bounds cost the place
    where they stand and not the text around it.
    """
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        try:
            text = writable(json.dumps(value_in(raw), ensure_ascii=False)).encode()
            return json.loads(text, parse_constant=lambda _: None, parse_int=_number)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < 19 else float(digits)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = decoded(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


# Statuses of a cancelling that fails because there is nothing left to cancel.
_OVER = (400, 404, 409)


class Vendor(BatchApi):
    """A batch API below the address of a model's live requests.

    As it stands it is one whose requests go with the creation of a job, and whose jobs bear our
    own id.
    """

    names_jobs = True

    def __init__(self, like: Prepared) -> None:
        self._http = Http(like)
        parts = urlsplit(like.url)
        self._live, self._query = parts.path, parts.query

    def resemble(self, like: Prepared) -> None:
        self._http.resemble(like)

    def marker(self) -> str:
        return ""

    def is_ready(self, uploaded: Any) -> bool:
        return True

    def cancel(self, job_id: str) -> None:
        path, body = self._cancelling(job_id)
        try:
            self._http.json("POST", self._path(path), body)
        except ProviderError as error:
            if error.status_code not in _OVER:
                raise

    def close(self) -> None:
        self._http.close()

    def _cancelling(self, job_id: str) -> tuple[str, bytes]:
        raise NotImplementedError

    def _path(self, path: str, more: str = "") -> str:
        query = "&".join(filter(None, (self._query, more)))
        return path + (f"?{query}" if query else "")


def ours(
    jobs: Iterable[Fields], own_id: str, name: str, kept_in: Iterable[str], others: Collection[str]
) -> str | None:
    """The id, under a name, of the job that bears ours in any of some fields."""
    for job in jobs:
        # Wherever they keep it: nothing else has our id in it.
        is_ours = own_id.encode() in msgspec.json.encode([job.all.get(each) for each in kept_in])
        if is_ours and job.text(name) and job.text(name) not in others:
            return job.text(name)
    return None


class Carried(Protocol):
    """What a provider says of its requests and replies when somebody else carries them."""

    dialect: Dialect

    def prepared(self, request: Request) -> Prepared: ...

    def read(self, request: Request, body: bytes) -> Completion: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """A model with the API its jobs go by.

    Attributes:
        api: Carries them.
        origin: Scheme, host and port of its address.
    """

    wire: Carried
    api: BatchApi
    origin: str = ""

    def close(self) -> None:
        self.api.close()
        self.wire.close()


def check_vendors(config: Config) -> None:
    """Refuse, with `ConfigError`, a config of which no model has a batch API; needs no key."""
    if not (live := called_live(config)):
        return
    if len(live) == len({step.model for step in config.asking}):
        raise ConfigError(
            f"{words.listed(live, 3)} cannot be served by batch: spoken here are the batch APIs of "
            f"{', '.join(BATCH_VENDORS)}",
            "use --engine threads",
        )


def called_live(config: Config) -> list[str]:
    """The models of a config that have no batch API which is spoken here."""
    models = dict.fromkeys(step.model for step in config.asking)
    return [model for model in models if not batch_vendor(model, config.model(model))]


def connect(model: str, settings: Model) -> Connection:
    wire: Carried = make_provider(model, settings, 1)  # type: ignore[assignment]  # of such vendors
    like = wire.prepared(Request("", "", model, (Message("user", "."),), {"max_tokens": 1}))
    parts = urlsplit(like.url)
    port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    origin = f"{parts.scheme}://{parts.hostname}{port}"
    vendor = batch_vendor(model, settings)
    if vendor == "anthropic":
        from llm_batch.engines.batch.anthropic import AnthropicBatches

        return Connection(wire, AnthropicBatches(like), origin)
    if vendor == "gemini":
        from llm_batch.engines.batch.gemini import GeminiBatches

        return Connection(wire, GeminiBatches(like), origin)
    from llm_batch.engines.batch.alike import ALIKE

    return Connection(wire, ALIKE[vendor](like, vendor), origin)


def connections_of(config: Config, more: Iterable[str] = ()) -> dict[str, Connection]:
    """The models of a config, and of jobs that are open, that have a batch API.

    `ConfigError` or `ProviderError` when one cannot be served as configured.
    """
    models = dict.fromkeys([*(step.model for step in config.asking), *more])
    return {
        model: connect(model, config.model(model))
        for model in models
        if batch_vendor(model, config.model(model))
    }


_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
# A file that was brought is asked about so often: some servers take minutes to take it in.
_MOST_LOOKS = 40
Made = TypeVar("Made")


class Creator:
    """Brings the requests of jobs there, and creates them.

    The first waits are no longer than ``poll`` seconds.
    """

    def __init__(self, clock: Clock, attempts: int, poll: float) -> None:
        self._clock, self._attempts = clock, attempts
        self._first = min(_FIRST_BACKOFF_SECONDS, poll)

    def bring(self, api: BatchApi, own_id: str, lines: list[Line]) -> Any:
        uploaded = self._patiently(lambda: api.upload(own_id, lines))
        for look in range(1, _MOST_LOOKS + 1):
            if self._patiently(lambda: api.is_ready(uploaded)):
                return uploaded
            self._clock.sleep(self._backoff(look))
        raise Unavailable("the provider has not taken in the file of requests")

    def mark(self, api: BatchApi) -> str:
        return self._patiently(api.marker)

    def create(self, api: BatchApi, own_id: str, uploaded: Any) -> str:
        """The provider's id of a job; created again only where certainly nothing was created.

        Raises:
            Refused: The provider takes no such job.
            RateLimited: It takes none now.
            Transient: It may have been created or not.
        """
        for attempt in range(1, self._attempts):
            try:
                return api.create(own_id, uploaded)
            except Transient as error:
                certain = isinstance(error, RateLimited) or error.kind == "unreachable"
                if is_token_limit(error) or not certain:
                    raise
            self._clock.sleep(self._backoff(attempt))
        return api.create(own_id, uploaded)

    def _patiently(self, act: Callable[[], Made]) -> Made:
        """What may be done again is, until it works or was tried often enough."""
        for attempt in range(1, self._attempts):
            try:
                return act()
            except Transient:
                self._clock.sleep(self._backoff(attempt))
        return act()

    def _backoff(self, attempt: int) -> float:
        return min(_LONGEST_BACKOFF_SECONDS, self._first * 2.0 ** (attempt - 1))
