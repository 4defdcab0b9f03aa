"""What a provider is to the rest: one method that sends a request once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llm_batch.records import Completion, Request


@dataclass(frozen=True, slots=True)
class Reply:
    """A completion, and the response headers that speak of limits (names in lower case)."""

    completion: Completion
    headers: Mapping[str, str] = field(default_factory=dict)


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
        """Give back connections and processes."""
