"""Published limits: found by family, never lent to another model, and only where none is set."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm_batch.chain.config import Config, model_limits
from llm_batch.errors import ConfigError
from llm_batch.models.table import _tiers as table
from llm_batch.models.table import check_tier, limits_of, tier_limits, tier_names


def test_the_tiers_that_are_promised_are_there() -> None:
    expected = [f"openai-{step}" for step in "12345"] + [f"anthropic-{step}" for step in "1234"]
    assert set(expected) | {"gemini-1", "azure-default"} <= set(tier_names())


@pytest.mark.parametrize(
    ("tier", "model", "rpm", "tpm"),
    [
        ("openai-1", "gpt-4o", 500, 30_000),
        ("openai-1", "openai/gpt-4o-2024-08-06", 500, 30_000),
        ("openai-1", "gpt-4o-mini", 500, 200_000),
        ("openai-2", "gpt-4o", 5000, 450_000),
        ("openai-5", "gpt-4o", 10_000, 30_000_000),
        ("openai-1", "gpt-4-0613", 500, 10_000),
        ("openai-1", "ft:gpt-4o-mini-2024-07-18:org::id", 500, 200_000),
        ("anthropic-1", "claude-sonnet-4-5", 50, 30_000),
        ("anthropic-2", "anthropic/claude-3-5-haiku-20241022", 1000, 100_000),
        ("gemini-1", "gemini/gemini-2.5-flash-lite", 4000, 4_000_000),
        ("azure-default", "azure/gpt-4o", 2700, 450_000),
        ("openai-1, anthropic-4", "claude-opus-4-1", 4000, 2_000_000),
        ("OpenAI-1", "gpt-4o", 500, 30_000),
    ],
)
def test_a_model_has_the_limits_of_its_family(
    tier: str, model: str, rpm: float, tpm: float
) -> None:
    found = tier_limits(tier, model)
    assert found is not None
    assert (found.rpm, found.tpm) == (rpm, tpm)
    assert re.fullmatch(r"20\d\d-\d\d", found.as_of) and found.source


@pytest.mark.parametrize(
    ("tier", "model"),
    [
        ("openai-1", "gpt-4o-audio-preview"),
        ("openai-1", "gpt-4.5-preview"),
        ("openai-1", "gpt-5-chat-latest"),
        ("openai-1", "azure/gpt-4o"),
        ("openai-1", "openrouter/openai/gpt-4o"),
        ("openai-1", "claude-sonnet-4-5"),
        ("anthropic-1", "gpt-4o"),
        ("openai-1", "local/gpt-4o"),
        (None, "gpt-4o"),
    ],
)
def test_a_tier_is_silent_about_other_models(tier: str | None, model: str) -> None:
    assert tier_limits(tier, model) is None
    assert limits_of(tier, model, None, None) == (None, None, None)


def test_limits_of_answers_are_kept_apart_where_the_vendor_does() -> None:
    found = tier_limits("anthropic-1", "claude-sonnet-4-5")
    assert found is not None and found.otpm == 8000


def test_a_higher_tier_never_allows_less() -> None:
    for vendor, known in table().items():
        before: dict[str, Any] = {}
        for step, rows in known.tiers.items():
            for row in rows:
                lower = before.get(row.model)
                for key in ("rpm", "tpm", "otpm"):
                    if lower is not None and getattr(lower, key) is not None:
                        assert getattr(row, key) >= getattr(lower, key), (vendor, step, row)
                before[row.model] = row


def test_an_unknown_tier_is_refused_with_the_nearest_one() -> None:
    check_tier("openai-1,anthropic-4")
    with pytest.raises(ConfigError) as raised:
        check_tier("opnai-1")
    assert raised.value.hint == "did you mean openai-1?"
    with pytest.raises(ConfigError) as raised:
        check_tier("mine")
    assert "azure-default" in raised.value.hint


def limits(common: dict[str, Any], own: dict[str, Any]) -> tuple[float | None, float | None, bool]:
    settings = Config.model_validate(
        {
            "steps": [{"name": "a", "model": "gpt-4o", "prompt": "{{ q }}"}],
            "limits": common,
            "models": {"gpt-4o": own},
        }
    )
    rpm, tpm, tier = model_limits(settings, "gpt-4o")
    return rpm, tpm, tier is not None


@pytest.mark.parametrize(
    ("common", "own", "expected"),
    [
        ({}, {}, (None, None, False)),
        ({"tier": "openai-1"}, {}, (500, 30_000, True)),
        ({"tier": "openai-1", "rpm": 60}, {}, (60, 30_000, True)),
        ({"tier": "openai-1"}, {"tpm": 5}, (500, 5, True)),
        ({"tier": "openai-1", "rpm": 60, "tpm": 7}, {}, (60, 7, False)),
        ({"tier": "openai-1"}, {"api_base": "http://10.0.0.1/v1"}, (None, None, False)),
    ],
    ids=str,
)
def test_a_tier_fills_in_what_nobody_set_and_not_for_servers_of_ones_own(
    common: dict[str, Any], own: dict[str, Any], expected: tuple[float | None, float | None, bool]
) -> None:
    assert limits(common, own) == expected
