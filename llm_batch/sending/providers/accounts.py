"""What a reply says it took: tokens, and the price the provider puts on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llm_batch.records import Usage

#: No single call of any model has this many tokens; a larger count is noise.
_MOST_TOKENS = 100_000_000
#: USD that no single call costs.
_MOST_USD = 100_000.0
_COSTS = frozenset(("cost", "total_cost", "estimated_cost", "cost_in_usd_ticks", "cost_details"))
# DeepSeek's, Anthropic's, and Moonshot's name for what was read from a cache.
_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
#: Where LiteLLM's proxy says what a call cost.
COST_HEADER = "x-litellm-response-cost"
# xAI's; https://docs.x.ai/developers/cost-tracking
_TICKS = 1e10


def usage_from(value: Any) -> Usage | None:
    """Usage in OpenAI's layout; ``None`` when it is missing or cannot be true."""
    if not isinstance(value, dict):
        return None
    read = _table(value.get("prompt_tokens_details") or value.get("input_tokens_details"))
    made = _table(value.get("completion_tokens_details") or value.get("output_tokens_details"))
    counts: tuple[Any, ...] = (
        value.get("prompt_tokens", value.get("input_tokens")),
        value.get("completion_tokens", value.get("output_tokens")),
        read.get("cached_tokens") or (0 if read else _first(value, _CACHED)),
        read.get("cache_creation_tokens") or value.get("cache_creation_input_tokens") or 0,
        made.get("reasoning_tokens") or value.get("reasoning_tokens") or 0,
    )
    for count in counts:
        if type(count) is not int or not 0 <= count <= _MOST_TOKENS:
            whole = tuple(map(_count, counts))
            if None in whole:
                return None
            counts = whole
            break
    usage = Usage(*counts)
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    total = value.get("total_tokens")
    if isinstance(total, str) and total.isdecimal() and len(total) < 10:
        total = int(total)
    total = total if type(total) is int and total <= _MOST_TOKENS else _count(total) or 0
    if cached and "prompt_tokens" not in value and "cache_read_input_tokens" in value:
        # Anthropic's own layout, in which input is what no cache had.
        usage = replace(usage, input_tokens=usage.input_tokens + cached)
    beside = total - usage.input_tokens - usage.output_tokens
    if cached > usage.input_tokens and beside == cached:
        # A gateway that counts cached input beside the rest.
        return replace(usage, input_tokens=usage.input_tokens + cached)
    if usage.input_tokens == 0 or cached > usage.input_tokens:
        return None  # no prompt has no tokens
    reasoning = usage.reasoning_tokens
    if beside > 0:
        # All that is in the total is billed. xAI counts thoughts beside the output, and Gemini's
        # endpoint for OpenAI clients names them nowhere else.
        output = usage.output_tokens + beside
        return replace(usage, output_tokens=output, reasoning_tokens=reasoning or beside)
    if reasoning > usage.output_tokens:
        return replace(usage, output_tokens=usage.output_tokens + reasoning)
    return usage


def _first(value: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next(filter(None, map(value.get, names)), 0)


def _count(said: Any) -> int | None:
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    return said if type(said) is int and 0 <= said <= _MOST_TOKENS else None


def _table(said: Any) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


def nothing_used(value: Any) -> bool:
    """Whether a usage says that nothing was worked for."""
    counts = [said for name, said in _table(value).items() if name.endswith("tokens")]
    return bool(counts) and not any(counts)


def cost_from(value: Any, header: str | None = None) -> float | None:
    """What a provider says a call cost, in USD; ``None`` if it says nothing that can be true.

    Args:
        value: The usage it sends.
        header: What stands under ``COST_HEADER``, which counts where the usage says nothing.
    """
    usage = _table(value)
    if _COSTS.isdisjoint(usage):
        return None if header is None else dollars(header)
    said = usage.get("cost")
    if isinstance(said, dict):  # Perplexity
        said = said.get("total_cost")
    if said is None:
        said = usage.get("total_cost", usage.get("estimated_cost"))  # DeepInfra
    cost = dollars(said)
    if cost is None and (ticks := usage.get("cost_in_usd_ticks")) is not None:
        cost = dollars(ticks, _TICKS)
    details = _table(usage.get("cost_details"))
    upstream = dollars(details.get("upstream_inference_cost"))
    if upstream is None or cost is None:
        return cost if upstream is None else upstream
    # OpenRouter: with a key of one's own its fee stands beside what the vendor takes.
    return cost + upstream if usage.get("is_byok") is True else max(cost, upstream)


def dollars(said: Any, divided_by: float = 1.0) -> float | None:
    """An amount as a provider writes it; ``None`` when it cannot be one."""
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        amount = float(said) / divided_by
    except (ValueError, OverflowError):
        return None
    return amount if math.isfinite(amount) and 0 <= amount <= _MOST_USD else None
