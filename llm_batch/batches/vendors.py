"""From a model to its provider and its batch API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llm_batch.batches.api import BatchApi
from llm_batch.config import Config, Model
from llm_batch.providers import make_provider
from llm_batch.providers.base import Prepared
from llm_batch.providers.batching import batch_vendor
from llm_batch.records import Completion, Message, Request


class Wire(Protocol):
    """What a provider says of its requests and replies when somebody else carries them."""

    def prepared(self, request: Request) -> Prepared: ...

    def read(self, request: Request, body: bytes) -> Completion: ...

    def relax(self) -> bool: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """A model with the API its jobs go by.

    Attributes:
        wire: Makes the bodies that would be sent live, and reads the replies.
        api: Carries them.
    """

    wire: Wire
    api: BatchApi

    def close(self) -> None:
        """Give back connections."""
        self.api.close()
        self.wire.close()


def connect(model: str, settings: Model) -> Connection:
    """The batch API of a model that has one, by the address and key of its live requests.

    Raises:
        ConfigError: It cannot be served as configured.
        ProviderError: litellm cannot prepare a request to it.
    """
    wire: Wire = make_provider(model, settings, 1)  # type: ignore[assignment]  # of such vendors
    like = wire.prepared(Request("", "", model, (Message("user", "."),), {"max_tokens": 1}))
    vendor = batch_vendor(model, settings)
    if vendor == "anthropic":
        from llm_batch.batches.anthropic import AnthropicBatches

        return Connection(wire, AnthropicBatches(like))
    if vendor == "gemini":
        from llm_batch.batches.gemini import GeminiBatches

        return Connection(wire, GeminiBatches(like))
    from llm_batch.batches.openai import OpenAIBatches

    return Connection(wire, OpenAIBatches(like, vendor))


def connections_of(config: Config) -> dict[str, Connection]:
    """The models of a config that have a batch API, connected.

    Raises:
        ConfigError: One cannot be served as configured.
        ProviderError: litellm cannot prepare a request to one.
    """
    models = dict.fromkeys(step.model for step in config.steps)
    return {
        model: connect(model, config.model(model))
        for model in models
        if batch_vendor(model, config.model(model))
    }
