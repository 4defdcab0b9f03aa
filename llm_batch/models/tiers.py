"""Limits that providers publish for their usage tiers, as dated facts in ``tiers.json``.

A tier is named ``vendor-step`` (``openai-1``); several of different vendors may be given,
separated by commas. It fills in what nobody set: limits of flags and config win, and what
response headers say while a run goes on corrects them.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from llm_batch.errors import ConfigError

_FILE = Path(__file__).with_name("tiers.json")
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
        tier: Its name.
        family: The family of models the limits are listed for.
        rpm: Requests.
        tpm: Tokens, counted as the vendor counts them: for Anthropic, uncached input alone.
        otpm: Tokens of answers, where the vendor limits them apart.
        rpd: Requests a day.
        as_of: When the limits were read, as ``2025-10``.
        source: The page that lists them.
    """

    tier: str
    family: str
    rpm: float | None
    tpm: float | None
    otpm: float | None
    rpd: float | None
    as_of: str
    source: str


class _Row(msgspec.Struct):
    model: str
    rpm: float | None = None
    tpm: float | None = None
    otpm: float | None = None
    rpd: float | None = None


class _Vendor(msgspec.Struct):
    source: str
    as_of: str
    tiers: dict[str, list[_Row]]


def tier_names() -> list[str]:
    """All that can be given, vendor by vendor."""
    return [f"{vendor}-{step}" for vendor, known in _table().items() for step in known.tiers]


def check_tier(tier: str) -> None:
    """Refuse a tier that is not known.

    Raises:
        ConfigError: Its message names the nearest known one.
    """
    names = tier_names()
    for name in _names(tier):
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise ConfigError(
                f"tier {name!r} is not known",
                f"did you mean {near[0]}?" if near else f"tiers are {', '.join(names)}",
            )


def tier_limits(tier: str | None, model: str) -> TierLimits | None:
    """What a tier allows a model; ``None`` when it is silent about it.

    Args:
        tier: One name or several with commas; ``None`` for none.
        model: The model string as the config has it.
    """
    vendor, name = _vendor_of(model)
    for given in _names(tier or ""):
        of, _, step = given.rpartition("-")
        known = _table().get(of)
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
    """Requests and tokens a minute of a model, and the tier where it filled something in.

    Args:
        tier: As in `tier_limits`.
        model: The model string.
        rpm: What flags and config say; ``None`` where they are silent.
        tpm: Likewise.
    """
    found = tier_limits(tier, model) if rpm is None or tpm is None else None
    if found is None:
        return rpm, tpm, None
    return found.rpm if rpm is None else rpm, found.tpm if tpm is None else tpm, found


def _names(tier: str) -> list[str]:
    return [name.strip().lower() for name in tier.split(",") if name.strip()]


def _vendor_of(model: str) -> tuple[str, str]:
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
def _table() -> dict[str, _Vendor]:
    return msgspec.json.decode(_FILE.read_bytes(), type=dict[str, _Vendor])
