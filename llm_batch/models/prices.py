"""What a request costs: list prices with all that changes them.

Prices come from the user's config or else from litellm's table (`models.table`). Two rules
keep the answers honest:

- **Unknown is ``None``, never 0.** A missing price or a 0 in the table is unknown: there, zeros
  mark previews, placeholders and models billed in other ways. Free are ``local/``, ``fake/``,
  servers of one's own such as Ollama, entries named ``:free``, and a 0 the user wrote. Models that
  always search the web are unknown too, since their bill is not made of tokens alone.
- **No discount is assumed.** Where the table lists no cached or long-request price, the dearer
  price it does list applies; surcharges (cache writes, reasoning) keep their proportion. Batches
  have a price where the table lists one, where the vendor's page halves it for the model or for all
  its chat models, or by the user's word; elsewhere they have none, and the live price is booked.

Left out: fees for tools, regional surcharges, off-peak discounts, caches kept for an hour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from llm_batch.models.table import (
    ModelInfo,
    find_entry,
    is_of,
    model_info,
    names_like,
    table_version,
    vendors,
)
from llm_batch.records import Price, Usage

__all__ = ["ModelInfo", "Rates", "Tariff", "model_info", "price_of", "tariff_of"]

_HERE = {"local": "runs on this machine", "fake": "simulated"}
#: Software that runs on the user's own machines; its ``cloud`` models are served by the vendor.
_OWN_SERVERS = frozenset(
    {"ollama", "ollama_chat", "llamafile", "lm_studio", "lemonade", "docker_model_runner"}
)

_ALWAYS_SEARCHES = re.compile(r"sonar|search-preview|search-api|-search$|deep-research")
_LEVEL = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


class _Discount(NamedTuple):
    """What a vendor's page says of its batch API: half of the live price.

    Attributes:
        page: The page.
        as_of: When it was read.
        models: Names of the models it holds for, and all others have the live price by batch too;
            empty where it holds for every chat model.
    """

    page: str
    as_of: str = "2026-11"
    models: frozenset[str] = frozenset()


#: By vendor.
_HALF_BY_BATCH = {
    "openai": _Discount("platform.openai.com/docs/guides/batch"),
    "anthropic": _Discount("docs.claude.com/en/docs/build-with-claude/batch-processing"),
    "gemini": _Discount("ai.google.dev/gemini-api/docs/batch-api"),
    "mistral": _Discount("docs.mistral.ai/capabilities/batch"),
    "groq": _Discount("console.groq.com/docs/batch"),
    "together_ai": _Discount(
        "docs.together.ai/docs/inference/batch/overview",
        models=frozenset(
            {
                "meta-llama/Llama-3.3-70B-Instruct-Turbo",
                "meta-llama/Llama-3-70b-chat-hf",
                "Qwen/Qwen2.5-7B-Instruct-Turbo",
                "mistralai/Mixtral-8x7B-Instruct-v0.1",
                "zai-org/GLM-4.5-Air-FP8",
            }
        ),
    ),
}
#: Models of these vendors that are not for batches, or not billed by tokens alone.
_NOT_IN_BATCHES = re.compile(
    r"audio|realtime|search|deep-research|computer-use|chat-latest|^chatgpt|container|lyria|gemma"
    r"|live|robotics|-exp-|experimental"
)

Number = Decimal | float


class Rates(NamedTuple):
    """USD per token for requests of more than ``above`` input tokens.

    ``worst_input`` and ``worst_output`` are the highest that can be charged for a token in a
    request of this size or any smaller one.
    """

    above: int
    input: float
    output: float
    cache_read: float
    cache_write: float
    reasoning: float
    worst_input: float
    worst_output: float


@dataclass(frozen=True, slots=True)
class Tariff:
    """A model's price with all that changes it: length of the request, batch, cache, reasoning.

    Attributes:
        price: The plain list price, for requests that are not long.
        standard: Rates by length, shortest first.
        batch: The same for a provider's batch API; ``standard`` where that has no known price.
        batch_source: Where the price of batches is from; empty where none is known.
    """

    price: Price
    standard: tuple[Rates, ...]
    batch: tuple[Rates, ...]
    batch_source: str = ""

    def cost(self, usage: Usage, batch: bool = False) -> float:
        """USD of one request; not of a sum of requests, which would look like one long request.

        Beyond a threshold the whole request has the higher rates, not only what is above it.
        Tokens read from and written to the cache are part of the input, reasoning of the output.
        """
        rates = self.batch if batch else self.standard
        tokens = usage.input_tokens
        rate = rates[0]
        if len(rates) > 1:
            for longer in rates:
                if tokens > longer.above:
                    rate = longer
        read = usage.cache_read_tokens
        write = usage.cache_write_tokens
        thought = usage.reasoning_tokens
        fresh = tokens - read - write
        said = usage.output_tokens - thought
        # Negative only where a provider miscounts; that must not lower the bill.
        return (
            max(fresh, 0) * rate.input
            + read * rate.cache_read
            + write * rate.cache_write
            + max(said, 0) * rate.output
            + thought * rate.reasoning
        )

    def at_batch(self) -> Tariff:
        """The tariff of a run that goes by the provider's batch API alone."""
        first = self.batch[0]
        into, out = (_per_million(Decimal(str(rate))) for rate in (first.input, first.output))
        source = self.batch_source or f"{self.price.source}, no batch price known"
        price = Price(into, out, None, None, self.price.as_of, source)
        return Tariff(price, self.batch, self.batch)

    def price_of(self, input_tokens: float) -> Price:
        """The list price of requests of such a length; its source names the length, if long."""
        rate = next(r for r in reversed(self.standard) if not r.above or input_tokens > r.above)
        if not rate.above:
            return self.price
        into, out = (_per_million(Decimal(str(price))) for price in (rate.input, rate.output))
        source = f"{self.price.source}, above {rate.above:,} input tokens"
        return Price(into, out, None, None, self.price.as_of, source)

    def worst_case(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float:
        """USD that one request costs at most, given upper bounds on its tokens."""
        rates = self.batch if batch else self.standard
        rate = rates[0]
        for longer in rates:
            if input_tokens > longer.above:
                rate = longer
        return input_tokens * rate.worst_input + output_tokens * rate.worst_output


def price_of(
    model: str,
    input_price: Number | None = None,
    output_price: Number | None = None,
    cache_read_price: Number | None = None,
) -> Price | None:
    """The list price of `tariff_of` in USD per million tokens; ``None`` when unknown."""
    tariff = tariff_of(model, input_price, output_price, cache_read_price)
    return tariff.price if tariff else None


def tariff_of(
    model: str,
    input_price: Number | None = None,
    output_price: Number | None = None,
    cache_read_price: Number | None = None,
    *,
    service_tier: str | None = None,
    batch_input_price: Number | None = None,
    batch_output_price: Number | None = None,
) -> Tariff | None:
    """All that is needed to bill ``model``; ``None`` when input or output has no known price.

    Args:
        model: The model string as the config has it.
        input_price: The user's price in USD per million tokens. It holds for requests of every
            length and for batches, and for cached tokens unless ``cache_read_price`` is given.
        output_price: Likewise; also for reasoning.
        cache_read_price: Likewise.
        service_tier: The request's parameter of that name (``flex``, ``priority``). A faster tier
            without a listed price is unknown.
        batch_input_price: The user's price of the provider's batch API, instead of all others.
        batch_output_price: Likewise.
    """
    into, out, read = (
        None if price is None else Decimal(str(price))
        for price in (input_price, output_price, cache_read_price)
    )
    if into is not None and out is not None:
        own = (_Row(0, into, out, read, None, out),)
        known = _Known(own, own, "config", "", "")
    else:
        found = _known(model, service_tier)
        if found is None:
            return None
        known = found
        if (into, out, read) != (None, None, None):
            known = known._replace(
                standard=_override(known.standard, into, out, read),
                batch=_override(known.batch, into, out, read),
                source=f"config; the rest from {known.source}",
            )
    batched = [
        None if price is None else Decimal(str(price))
        for price in (batch_input_price, batch_output_price)
    ]
    if any(price is not None for price in batched):
        known = known._replace(
            batch=_override(known.batch, batched[0], batched[1], None),
            batch_source="config, batch",
        )
    first = known.standard[0]
    price = Price(
        first.input, first.output, first.cache_read, first.cache_write, known.as_of, known.source
    )
    return Tariff(price, _rates(known.standard), _rates(known.batch), known.batch_source)


class _Row(NamedTuple):
    """As `Rates`, in USD per million tokens; ``None`` means the same price as ``input``."""

    above: int
    input: Decimal
    output: Decimal
    cache_read: Decimal | None
    cache_write: Decimal | None
    reasoning: Decimal


class _Known(NamedTuple):
    standard: tuple[_Row, ...]
    batch: tuple[_Row, ...]
    source: str
    as_of: str
    batch_source: str


def _override(
    rows: tuple[_Row, ...], into: Decimal | None, out: Decimal | None, read: Decimal | None
) -> tuple[_Row, ...]:
    if into is not None:
        rows = tuple(row._replace(input=into, cache_read=None, cache_write=None) for row in rows)
    if out is not None:
        rows = tuple(row._replace(output=out, reasoning=out) for row in rows)
    if read is not None:
        rows = tuple(row._replace(cache_read=read) for row in rows)
    return rows


def _known(model: str, service_tier: str | None) -> _Known | None:
    """What is known before the user's own prices."""
    zero = Decimal(0)
    free = (_Row(0, zero, zero, zero, zero, zero),)
    prefix, _, rest = model.partition("/")
    if rest and prefix in _HERE:
        return _Known(free, free, _HERE[prefix], "", "")
    if rest and prefix in _OWN_SERVERS:
        if rest.endswith((":cloud", "-cloud")):
            return None
        return _Known(free, free, f"{prefix} is your own server", "", "")
    if prefix == "openrouter" and rest.endswith(":free"):
        return _Known(free, free, "openrouter charges nothing for names with :free", "", "")
    found = find_entry(model)
    if found is None:
        return None
    name, entry = found
    source = f"litellm's table, entry {name} ({entry['litellm_provider']})"
    if rest and prefix in vendors() and not is_of(entry, prefix):
        source = f"the price of another seller, {prefix} is not listed: {source}"
    if name.endswith(":free"):
        return _Known(free, free, source, table_version(), "")
    variant = _variant(entry, service_tier)
    if variant is None or _ALWAYS_SEARCHES.search(name):
        return None
    standard = _rows(entry, variant)
    if not standard:
        return None
    batch, batch_source = standard, ""
    vendor = entry["litellm_provider"]
    if any(key.endswith("_batches") for key in entry):
        batch, batch_source = _rows(entry, "_batches"), f"{source}, batch"
    elif (half := _HALF_BY_BATCH.get(vendor)) and not _NOT_IN_BATCHES.search(name):
        page = f"as {vendor} says ({half.page}, {half.as_of})"
        if half.models and name.removeprefix(f"{vendor}/") not in half.models:
            batch_source = f"the live price, {page}"
        else:
            batch = tuple(_halved(row) for row in standard)
            batch_source = f"half of the price, {page}"
    return _Known(standard, batch, source, table_version(), batch_source)


def why_unknown(model: str) -> str:
    """Why a model has no known price, in a clause, with the names that are most like it."""
    found = find_entry(model)
    if found is None:
        near = names_like(model)
        like = f"; near it are {', '.join(near)}" if near else ""
        return f"litellm's table has no entry of that name{like}"
    name, entry = found
    if _ALWAYS_SEARCHES.search(name):
        return "it always searches, and searches are billed beside tokens"
    if _variant(entry, None) is not None and not _rows(entry, ""):
        return f"entry {name} of litellm's table lists no price per token"
    return "the service tier has no listed price"


def _halved(row: _Row) -> _Row:
    """At half price, and no discount on cached tokens beside that."""
    write = None if row.cache_write is None else row.cache_write / 2
    return row._replace(
        input=row.input / 2,
        output=row.output / 2,
        cache_read=None,
        cache_write=write,
        reasoning=row.reasoning / 2,
    )


def _variant(entry: Mapping[str, Any], service_tier: str | None) -> str | None:
    """The ending of price keys for a service tier; ``None`` when it has no listed price."""
    if service_tier in (None, "auto", "default", "standard", "standard_only"):
        return ""
    if all(f"{way}_cost_per_token_{service_tier}" in entry for way in ("input", "output")):
        return f"_{service_tier}"
    return "" if service_tier == "flex" else None


def _rows(entry: Mapping[str, Any], variant: str) -> tuple[_Row, ...]:
    """Prices by length of the request, of one variant; empty when they are not known."""
    levels: list[tuple[int, Mapping[str, Any], str]]
    if "tiered_pricing" in entry:
        levels = [(int(part["range"][0]), part, "") for part in entry["tiered_pricing"]]
    else:
        above = sorted({int(m[1]) for m in map(_LEVEL.fullmatch, entry) if m})
        # xAI bills the higher rates when the threshold is reached, the others when it is passed.
        reached = 1 if entry["litellm_provider"] == "xai" else 0
        levels = [(0, entry, "")]
        levels += [(k * 1000 - reached, entry, f"_above_{k}k_tokens") for k in above]
    rows: list[_Row] = []
    surcharge = thinking = Decimal(1)
    for threshold, part, level in levels:
        into = _token_price(part, "input_cost_per_token", level, variant)
        out = _token_price(part, "output_cost_per_token", level, variant)
        if rows:
            into, out = into or rows[-1].input, out or rows[-1].output
        if into is None or out is None:
            return ()
        read = _listed(part, f"cache_read_input_token_cost{level}{variant}")
        write = _listed(part, f"cache_creation_input_token_cost{level}{variant}")
        reasoning = _listed(part, f"output_cost_per_reasoning_token{level}{variant}")
        if not rows:
            plain_in = _listed(part, "input_cost_per_token") or into
            plain_out = _listed(part, "output_cost_per_token") or out
            plain_write = _listed(part, "cache_creation_input_token_cost") or plain_in
            plain_reasoning = _listed(part, "output_cost_per_reasoning_token") or plain_out
            surcharge = max(surcharge, plain_write / plain_in)
            thinking = max(thinking, plain_reasoning / plain_out)
        if write is None and surcharge > 1:
            write = into * surcharge
        rows.append(_Row(threshold, into, out, read, write, reasoning or out * thinking))
    return tuple(rows)


def _token_price(part: Mapping[str, Any], key: str, level: str, variant: str) -> Decimal | None:
    """Price under the key's exact form, or else the dearer of what is listed for either ending."""
    exact = _listed(part, key + level + variant)
    if exact is not None or not variant:
        return exact
    others = [_listed(part, key + level), _listed(part, key + variant)]
    return max((price for price in others if price is not None), default=None)


def _listed(part: Mapping[str, Any], key: str) -> Decimal | None:
    """USD per million tokens; ``None`` for what is missing and for 0."""
    value = part.get(key)
    if not value:
        return None
    # By way of the text, so that 1.5e-07 becomes 0.15 exactly.
    return _per_million(Decimal(str(value)))


def _per_million(rate: Decimal) -> Decimal:
    price = rate.scaleb(6).normalize()
    # 3E+1 is written 30.
    return price.quantize(Decimal(1)) if price == price.to_integral_value() else price


def _rates(rows: tuple[_Row, ...]) -> tuple[Rates, ...]:
    rates: list[Rates] = []
    worst_in = worst_out = 0.0
    for row in rows:
        into, out, reasoning = (
            float(price.scaleb(-6)) for price in (row.input, row.output, row.reasoning)
        )
        read = into if row.cache_read is None else float(row.cache_read.scaleb(-6))
        write = into if row.cache_write is None else float(row.cache_write.scaleb(-6))
        worst_in = max(worst_in, into, read, write)
        worst_out = max(worst_out, out, reasoning)
        rates.append(Rates(row.above, into, out, read, write, reasoning, worst_in, worst_out))
    return tuple(rates)
