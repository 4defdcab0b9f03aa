"""What a provider is to the rest: one method that sends a request once."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from llm_batch.errors import Timeout, Unavailable
from llm_batch.records import Completion, Request

if TYPE_CHECKING:
    from llm_batch.sending.providers.dialect import Dialect

#: A host that does not take a connection within this many seconds is not there.
CONNECT_SECONDS = 10.0
#: Nor one that does not answer the first words of TLS within these.
HELLO_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A completion, and the response headers that speak of limits (names in lower case)."""

    completion: Completion
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would be sent for a request; the key is among the headers, so it is never written."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Provider(Protocol):
    """Serves the requests of one model. Used from many threads at once.

    Attributes:
        vendor: Whose rules of counting apply (``openai``, ``anthropic``, ``local``, …).
        on_this_machine: True when requests do not leave it; no limit is assumed then.
        simulated: True when nothing it answers is real.
    """

    vendor: str
    on_this_machine: bool
    simulated: bool

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        """Send a request once and wait for its whole answer.

        Args:
            request: What to ask.
            timeout_seconds: From connecting to the last byte.

        Raises:
            ProviderError: One of its kinds; nothing else for anything the provider does.
        """

    def close(self) -> None:
        """Give back connections and processes. May be called again."""


@runtime_checkable
class Adapting(Protocol):
    """A provider that learns what its deployment takes, and has to say so."""

    dialect: Dialect


def too_slow(timeout_seconds: float) -> Timeout:
    """The error when the time of a call is over; what was answered by then may be billed."""
    return Timeout(f"no complete answer within {timeout_seconds:g} s", maybe_billed=True)


def out_of_files(error: BaseException | None) -> Unavailable | None:
    """The error when this process may not open another file: ours, and nothing was sent."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return Unavailable(f"this machine opens no more connections: {error}", kind="files")
        inner = next((each for each in error.args if isinstance(each, BaseException)), None)
        error = error.__cause__ or inner or error.__context__
    return None
