"""Names of models by their parts: the one that is meant stands first, and each can be typed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from llm_batch.chain.options import Model
from llm_batch.models import table
from llm_batch.models.catalogue import listed, matching, nearest, typed
from llm_batch.models.table import entry_names
from llm_batch.sending.providers import route

TODAY = date(2026, 1, 1)


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    made = {
        "gpt-9": {"litellm_provider": "openai"},
        "gpt-9-mini": {"litellm_provider": "openai"},
        "gpt-9-10": {"litellm_provider": "openai"},
        "gpt-9-9": {"litellm_provider": "openai"},
        "old-gpt-9": {"litellm_provider": "openai", "deprecation_date": "2025-06-01"},
        "azure/gpt-9": {"litellm_provider": "azure"},
        "claude-9": {"litellm_provider": "anthropic"},
    }
    for entry in made.values():
        entry |= {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6}
    monkeypatch.setattr(table, "_table", lambda: made)
    monkeypatch.setattr(table, "_entry", made.get)
    return made


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (
            "gpt-9",
            ["openai/gpt-9", "azure/gpt-9", "openai/gpt-9-9", "openai/gpt-9-10",
             "openai/gpt-9-mini", "openai/old-gpt-9"],
        ),
        ("GPT mini", ["openai/gpt-9-mini"]),
        ("openai*10", ["openai/gpt-9-10"]),
        ("gpt-?-mini", ["openai/gpt-9-mini"]),
        ("[cg]*", []),
        ("claude", ["anthropic/claude-9"]),
        ("nothing", []),
    ],
)  # fmt: skip
def test_the_name_that_is_meant_stands_first(
    pattern: str, names: list[str], entries: dict[str, Any]
) -> None:
    found = matching(pattern, today=TODAY)
    assert sorted(found) == sorted(names)
    assert found[:1] == names[:1] and found[-1:] == names[-1:]


def test_prices_by_batch_and_ends_are_told(entries: dict[str, Any]) -> None:
    row = listed("openai/old-gpt-9", TODAY)
    assert (float(row.input or 0), float(row.output or 0)) == (1, 4)
    assert (float(row.batch_input or 0), float(row.batch_output or 0)) == (0.5, 2)
    assert (row.deprecation_date, row.gone) == ("2025-06-01", True)
    assert listed("anthropic/unknown").input is None


def test_a_misspelt_name_has_neighbours() -> None:
    assert "openai/gpt-4o" in nearest("gpt-4oo") and "openai/gpt-4o" in nearest("opnai/gpt-4o")


def test_every_name_that_is_shown_can_stand_in_a_config() -> None:
    for entry in entry_names():
        name = typed(entry)
        found = table.find_entry(name)
        assert found is not None and found[0] == entry
        assert route(name, Model()).provider in ("direct", "litellm")
