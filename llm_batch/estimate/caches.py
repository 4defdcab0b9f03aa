"""Which providers keep the beginning of a prompt, from how many tokens on, and what that saves.

Facts of the providers' pages on prompt caching, 2025-10. Only caches that work unasked count:
Anthropic keeps nothing unless a request marks what to keep, which this program does not send.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_batch.models import ModelInfo
from llm_batch.prices import Tariff


@dataclass(frozen=True, slots=True)
class CacheRule:
    """From how many tokens on a prefix is kept, and in steps of how many."""

    least: int
    block: int = 1


_RULES = {
    # OpenAI, Prompt caching: from 1,024 tokens on, in steps of 128. Azure says the same.
    "openai": CacheRule(1024, 128),
    "azure": CacheRule(1024, 128),
    # DeepSeek, Context caching: in units of 64 tokens.
    "deepseek": CacheRule(64, 64),
    # xAI, Cached prompt tokens: no least length is stated; OpenAI's is the careful reading.
    "xai": CacheRule(1024),
    # Google, Context caching (implicit, Gemini 2.5 and later): 1,024 for Flash, 4,096 for Pro.
    "gemini": CacheRule(1024),
    "vertex_ai": CacheRule(1024),
}
_GEMINI_PRO = CacheRule(4096)


def cache_rule(info: ModelInfo | None) -> CacheRule | None:
    """The rule of a model's provider; ``None`` where nothing is kept unasked."""
    if info is None:
        return None
    provider = "vertex_ai" if info.provider.startswith("vertex_ai") else info.provider
    if provider in ("gemini", "vertex_ai") and "pro" in info.entry:
        return _GEMINI_PRO
    return _RULES.get(provider)


def kept_tokens(prefix: int, info: ModelInfo | None) -> int:
    """How many tokens of a shared prefix a provider's cache serves; 0 when it is too short."""
    rule = cache_rule(info)
    if rule is None or prefix < rule.least:
        return 0
    return prefix // rule.block * rule.block


def saved_per_call(kept: int, tariff: Tariff | None) -> float | None:
    """USD that a call saves whose first ``kept`` tokens come from the cache.

    ``None`` when nothing is kept or the model has no listed price of cached input. Batches never
    have it: no provider counted here states that both discounts apply together.
    """
    if not kept or tariff is None or tariff.price.cache_read is None:
        return None
    rate = tariff.standard[0]
    return kept * max(0.0, rate.input - rate.cache_read) or None
