"""Beginnings that prompts share: found, priced with and without the cache, never with batch."""

from __future__ import annotations

from typing import Any

import pytest

from llm_batch.chain.config import Config
from llm_batch.estimating import FORMATS, Estimate, estimate_from_items
from llm_batch.estimating.plan import shared_prefixes
from llm_batch.estimating.steps import kept_tokens
from llm_batch.models.table import model_info
from llm_batch.models.tokens import counter
from tests.estimating.made import TODAY, config, items, single, value

LONG = "Judge with care and say why. " * 500


def prefixes(settings: Config, n: int = 5) -> dict[str, int]:
    return shared_prefixes(settings.chain(), items(n, lambda i: f"{i * 7919} apples?"))


def test_a_system_prompt_and_the_fixed_beginning_of_the_prompt_are_shared() -> None:
    found = prefixes(single("gpt-4o", "Question: {{ question }}", system="Be brief."))
    texts = counter("gpt-4o").count("Be brief.") + counter("gpt-4o").count("Question: ")
    assert found == {"generate": texts + 2 * 4 - 1}


def test_a_prompt_that_begins_with_the_data_shares_only_its_frame() -> None:
    assert prefixes(single("gpt-4o", "{{ question }} Answer!")) == {"generate": 3}


def test_what_an_earlier_step_answers_ends_what_is_shared() -> None:
    settings = config()
    judge = settings.steps[1].model_copy(update={"prompt": "Rate this: {{ generate }}\n" + LONG})
    settings = settings.model_copy(update={"steps": (settings.steps[0], judge)})
    assert prefixes(settings)["judge"] < 10


def test_one_item_shares_nothing_with_anyone() -> None:
    assert prefixes(config(), 1) == {}


@pytest.mark.parametrize(
    ("model", "prefix", "kept"),
    [
        ("gpt-4o", 1023, 0),
        ("gpt-4o", 1024, 1024),
        ("gpt-4o", 1200, 1152),
        ("gemini/gemini-2.5-flash", 1500, 1500),
        ("gemini/gemini-2.5-pro", 1500, 0),
        ("claude-sonnet-4-5", 5000, 0),  # keeps only what a request marks
        ("local/x", 5000, 0),
    ],
)
def test_a_cache_serves_what_its_provider_says(model: str, prefix: int, kept: int) -> None:
    assert kept_tokens(prefix, model_info(model)) == kept


def made(model: str, n: int = 1000, **more: Any) -> Estimate:
    settings = single(model, "{{ question }}", system=LONG, max_tokens=10, **more)
    return estimate_from_items(settings, items(50), n, n, today=TODAY)


def test_the_cost_stands_without_the_cache_and_beside_it_with_it() -> None:
    estimate = made("gpt-4o")
    step = estimate.steps[0]
    assert step.cacheable_prefix % 128 == 0 and step.cacheable_prefix > 2500
    # $2.50 a million tokens, $1.25 from the cache; the first call fills it.
    saved = 999 * step.cacheable_prefix * (2.5e-6 - 1.25e-6)
    assert value(estimate.cost) - value(estimate.cached_cost) == pytest.approx(saved)
    said = " ".join(FORMATS["full"](estimate).split())
    assert "All prompts of generate begin with the same" in said
    assert "never both together" in said


def test_batch_and_cache_discounts_are_never_stacked() -> None:
    estimate = made("gpt-4o")
    assert value(estimate.batch_cost) == pytest.approx(value(estimate.cost) / 2)
    assert value(estimate.batch_cost) < value(estimate.cached_cost) < value(estimate.cost)


@pytest.mark.parametrize(
    ("model", "models"),
    [("gpt-4", {}), ("claude-sonnet-4-5", {}), ("gpt-4o", {"gpt-4o": {"input_price": 2}})],
)
def test_no_discount_is_assumed_where_none_is_stated(model: str, models: dict[str, Any]) -> None:
    estimate = made(model, models=models)
    assert estimate.cached_cost is None
    assert "begin with the same" in FORMATS["full"](estimate)


def test_a_free_model_has_no_word_on_it() -> None:
    assert "begin with the same" not in FORMATS["full"](made("fake/x"))


def test_a_cache_that_must_be_asked_saves_where_the_step_asks_it() -> None:
    model, texts = "claude-sonnet-4-5", counter("claude-sonnet-4-5")
    plain = single(model, LONG + "{{ question }}")
    asking = plain.model_copy(
        update={"steps": tuple(s.model_copy(update={"cache": True}) for s in plain.steps)}
    )
    saved = []
    for settings in (plain, asking):
        (step,) = estimate_from_items(settings, items(50), 1000, 1000, today=TODAY).steps
        saved.append(step.cache_saves)
    assert saved[0] is None
    kept = step.cacheable_prefix
    assert abs(kept - texts.count(LONG)) < 10
    assert saved[1] == pytest.approx(999 * kept * (3e-6 - 0.3e-6))
