"""What is known of models from tables: litellm's, and the limits of the vendors' usage tiers.

litellm itself is not imported (that takes seconds). Its table is one JSON file, of which only the
entries asked for are decoded. A model's name is resolved here, by rules that never let it slip to
the entry of another vendor.

Limits of tiers are dated facts in ``tiers.json``. A tier is named ``vendor-step`` (``openai-1``);
several of different vendors may be given, separated by commas. It fills in what nobody set: limits
of flags and config win, and what response headers say while a run goes on corrects them.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.errors import ConfigError

_TABLE_NAME = "model_prices_and_context_window_backup.json"


_VENDORS_NAME = "provider_endpoints_support_backup.json"


_TEXT_MODES = frozenset({"chat", "completion", "responses"})


#: Other names of one vendor in litellm's provider fields and prefixes.
_VENDOR = {
    "azure_text": "azure",
    "bedrock_converse": "bedrock",
    "cohere_chat": "cohere",
    "ollama_chat": "ollama",
    "text-completion-openai": "openai",
}


#: OpenRouter passes on a vendor's price, its fee is on buying credit (openrouter.ai/docs/faq).
#: That fixes the price only where the vendor alone serves the model; open weights have one a host.
_OPENROUTER = {"openai": "openai", "anthropic": "anthropic", "google": "gemini", "x-ai": "xai"}


_MARKING = ("anthropic", "bedrock", "vertex_ai", "azure_ai", "openrouter")
_FINE_TUNED = re.compile(r"((?:[^:]*/)?ft:[^:]+):")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the table says of a model; ``None`` where it says nothing.

    Attributes:
        entry: The name of the entry used, which may differ from the model string.
        provider: litellm's name of who serves it.
        mode: ``chat``, ``completion`` or ``responses``.
        max_input_tokens: Length of the context.
        max_output_tokens: Most it writes in one answer.
        deprecation_date: The day from which it may be gone.
        cache_least: Tokens of the shortest beginning that the vendor's cache keeps.
        page: The vendor's page that the table names as its source; empty where it names none.
    """

    entry: str
    provider: str
    mode: str
    max_input_tokens: int | None
    max_output_tokens: int | None
    deprecation_date: date | None
    supports_response_schema: bool
    supports_reasoning: bool
    rpm: int | None
    tpm: int | None
    page: str = ""
    supports_vision: bool = False
    supports_pdf: bool = False
    cache_least: int | None = None


def model_info(model: str) -> ModelInfo | None:
    """What the table says of ``model``; ``None`` when it has no such text model.

    Names are matched exactly, dates included, in this order: the whole string; without its first
    part (``openai/gpt-4o`` is ``gpt-4o``), if that entry belongs to the vendor named there; for
    ``azure/``, OpenAI's entry; for ``openrouter/``, the entry of a vendor that alone serves its
    models. Fine-tuned models (``ft:gpt-4o-2024-08-06:org::id``) are listed by their base.
    """
    found = find_entry(model)
    if found is None:
        return None
    name, entry = found
    ends = entry.get("deprecation_date")
    return ModelInfo(
        entry=name,
        provider=entry["litellm_provider"],
        mode=entry["mode"],
        max_input_tokens=_whole(entry.get("max_input_tokens")),
        max_output_tokens=_whole(entry.get("max_output_tokens")),
        deprecation_date=date.fromisoformat(ends) if ends else None,
        supports_response_schema=bool(entry.get("supports_response_schema")),
        supports_reasoning=bool(entry.get("supports_reasoning")),
        rpm=_whole(entry.get("rpm")),
        tpm=_whole(entry.get("tpm")),
        page=str(entry.get("source") or ""),
        supports_vision=bool(entry.get("supports_vision")),
        supports_pdf=bool(entry.get("supports_pdf_input")),
        cache_least=_whole(entry.get("prompt_cache_min_tokens")),
    )


def must_mark(model: str) -> bool:
    """Whether the vendor caches only what a request marks, as Anthropic does wherever it runs."""
    vendor = model.partition("/")[0] if "/" in model else ""
    return "claude" in model and (not vendor or vendor in _MARKING)


def find_entry(model: str) -> tuple[str, Mapping[str, Any]] | None:
    tuned = _FINE_TUNED.match(model)
    name = tuned[1] if tuned else model
    entry = _entry(name)
    if entry is not None:
        return name, entry
    prefix, _, rest = name.partition("/")
    if prefix == "openrouter":
        vendor, _, rest = rest.partition("/")
        if vendor == "anthropic":
            rest = rest.replace(".", "-")  # claude-sonnet-4.5 there, claude-sonnet-4-5 here
        return find_entry(f"{_OPENROUTER[vendor]}/{rest}") if vendor in _OPENROUTER else None
    vendor = _VENDOR.get(prefix, prefix)
    accepted = {vendor, "openai"} if vendor == "azure" else {vendor}
    for candidate in (rest, f"{vendor}/{rest}"):
        entry = _entry(candidate)
        if entry is not None and _vendor_of(entry) in accepted:
            return candidate, entry
    return None


def is_of(entry: Mapping[str, Any], prefix: str) -> bool:
    """Whether an entry is of the vendor whose prefix a model string has."""
    return _vendor_of(entry) == _VENDOR.get(prefix, prefix)


def names_like(model: str, most: int = 3) -> list[str]:
    """Names of text models in the table that are most like one that it does not have."""
    prefix, _, rest = model.partition("/")
    name = (rest or model).rpartition("/")[2]
    names = [known for known in _table() if "/" not in known or known.startswith(f"{prefix}/")]
    tails = {known.rpartition("/")[2]: known for known in reversed(names)}
    near = difflib.get_close_matches(name, tails, n=4 * most, cutoff=0.75)
    return [tails[tail] for tail in near if _entry(tails[tail]) is not None][:most]


def entry_names() -> list[str]:
    """Names of all text models in the table."""
    return [name for name in _table() if _entry(name) is not None]


def vendor_of(name: str) -> str:
    """Whose an entry is, as it stands before the slash; empty where there is no such entry."""
    entry = _entry(name)
    return _vendor_of(entry) if entry is not None else ""


def _vendor_of(entry: Mapping[str, Any]) -> str:
    provider = str(entry["litellm_provider"])
    # Vertex entries name the kind of model too: vertex_ai-language-models.
    return "vertex_ai" if provider.startswith("vertex_ai-") else _VENDOR.get(provider, provider)


@lru_cache(maxsize=256)
def _entry(name: str) -> Mapping[str, Any] | None:
    raw = _table().get(name)
    entry: dict[str, Any] | None = msgspec.json.decode(raw) if raw is not None else None
    return entry if entry is not None and entry.get("mode") in _TEXT_MODES else None


@lru_cache(maxsize=1)
def _table() -> Mapping[str, msgspec.Raw]:
    """The table with its entries not yet decoded; empty when the package has no such file."""
    folder = litellm_folder()
    if folder is None or not (folder / _TABLE_NAME).is_file():
        return {}
    content = (folder / _TABLE_NAME).read_bytes()
    return msgspec.json.decode(content, type=dict[str, msgspec.Raw])


@lru_cache(maxsize=1)
def litellm_folder() -> Path | None:
    """Where the litellm package lies; ``None`` when it is not installed. Does not import it."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@lru_cache(maxsize=1)
def table_version() -> str:
    """Which litellm shipped the table, as ``litellm 1.106.2``."""
    folder = litellm_folder()
    beside = list(folder.parent.glob("litellm-*.dist-info")) if folder else []
    if len(beside) == 1:
        # The folder's name tells it; importlib.metadata takes 20 ms to import.
        return "litellm " + beside[0].name.removeprefix("litellm-").removesuffix(".dist-info")
    from importlib.metadata import version

    return "litellm " + version("litellm")


def _whole(value: float | None) -> int | None:
    # The table has a few counts as floats.
    return int(value) if value else None


@lru_cache(maxsize=1)
def vendors() -> frozenset[str]:
    """litellm's names of providers, as they stand before the slash."""
    folder = litellm_folder()
    listed = folder / _VENDORS_NAME if folder else None
    names = {name.partition("/")[0] for name in _table() if "/" in name}
    if listed is not None and listed.is_file():
        names |= set(msgspec.json.decode(listed.read_bytes()).get("providers", {}))
    return frozenset(names)


_TIERS = Path(__file__).with_name("tiers.json")


#: Whose limits hold for a model string without a prefix.
_BARE = (
    (re.compile(r"(ft:)?(gpt-|chatgpt-|o\d)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "gemini"),
)


@dataclass(frozen=True, slots=True)
class TierLimits:
    """What one tier allows one model, per minute; ``None`` where no such limit is published.

    Attributes:
        family: The family of models the limits are listed for.
        tpm: Tokens, counted as the vendor counts them: for Anthropic, uncached input alone.
        otpm: Tokens of answers, where the vendor limits them apart.
        rpd: Requests a day.
        as_of: When the limits were read, as ``2025-10``.
    """

    tier: str
    family: str
    rpm: float | None
    tpm: float | None
    otpm: float | None
    rpd: float | None
    as_of: str
    source: str


class _TierRow(msgspec.Struct):
    model: str
    rpm: float | None = None
    tpm: float | None = None
    otpm: float | None = None
    rpd: float | None = None


class _TierVendor(msgspec.Struct):
    source: str
    as_of: str
    tiers: dict[str, list[_TierRow]]


def tier_names() -> list[str]:
    """All that can be given, vendor by vendor."""
    return [f"{vendor}-{step}" for vendor, known in _tiers().items() for step in known.tiers]


def check_tier(tier: str) -> None:
    """Refuse a tier that is not known, with `ConfigError`."""
    names = tier_names()
    for name in _names(tier):
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise ConfigError(
                f"tier {name!r} is not known",
                f"did you mean {near[0]}?" if near else f"tiers are {', '.join(names)}",
            )


def tier_limits(tier: str | None, model: str) -> TierLimits | None:
    """What a tier, or several with commas, allows a model; ``None`` where they are silent."""
    vendor, name = _vendor_and_name(model)
    for given in _names(tier or ""):
        of, _, step = given.rpartition("-")
        known = _tiers().get(of)
        if of != vendor or known is None or step not in known.tiers:
            continue
        fitting = [row for row in known.tiers[step] if _fits(row.model, name)]
        if fitting:
            row = max(fitting, key=lambda row: len(row.model))
            return TierLimits(
                given, row.model, row.rpm, row.tpm, row.otpm, row.rpd, known.as_of, known.source
            )
    return None


def limits_of(
    tier: str | None, model: str, rpm: float | None, tpm: float | None
) -> tuple[float | None, float | None, TierLimits | None]:
    """Requests and tokens a minute, and the tier where ``rpm`` or ``tpm`` was left open to it."""
    found = tier_limits(tier, model) if rpm is None or tpm is None else None
    if found is None:
        return rpm, tpm, None
    return found.rpm if rpm is None else rpm, found.tpm if tpm is None else tpm, found


def _names(tier: str) -> list[str]:
    return [name.strip().lower() for name in tier.split(",") if name.strip()]


def _vendor_and_name(model: str) -> tuple[str, str]:
    prefix, slash, rest = model.partition("/")
    if slash:
        return prefix, rest
    return next((vendor for names, vendor in _BARE if names.match(model)), ""), model


def _fits(family: str, name: str) -> bool:
    """Whether a model is of a family: the family's name, alone or with a version behind it.

    ``gpt-4o`` does not stand for ``gpt-4o-mini``: what follows must be a number, a date,
    ``latest`` or ``preview``.
    """
    name = name.removeprefix("ft:").partition(":")[0]
    rest = name.removeprefix(family)
    return name.startswith(family) and re.fullmatch(r"|-(\d.*|latest|preview.*)", rest) is not None


@lru_cache(maxsize=1)
def _tiers() -> dict[str, _TierVendor]:
    return msgspec.json.decode(_TIERS.read_bytes(), type=dict[str, _TierVendor])
