"""Which models have a batch API that is spoken here."""

from __future__ import annotations

from llm_batch.chain.config import Config, Model
from llm_batch.errors import ConfigError
from llm_batch.models.table import model_info
from llm_batch.sending.providers import route

#: Vendors whose batch API `llm_batch.engines.batch` speaks.
VENDORS = ("openai", "azure", "anthropic", "gemini")


def batch_vendor(model: str, settings: Model) -> str:
    """Whose batch API serves a model; empty where there is none.

    Needs no key. A server of one's own counts as OpenAI's when its model string says so: some
    (gateways, vLLM behind one) have the batch endpoints. Models that are reached by another API
    than chat completions have none here.
    """
    try:
        way = route(model, settings.model_copy(update={"api_key_env": None}))
    except ConfigError:
        return ""
    info = model_info(model)
    chats = info is None or info.mode == "chat"
    return way.vendor if way.vendor in VENDORS and chats and not settings.endpoints else ""


def goes_by_batch(model: str, config: Config) -> bool:
    """Whether a run sends a model's requests by its batch API; it calls the others live."""
    return config.engine.by_batch and bool(batch_vendor(model, config.model(model)))
