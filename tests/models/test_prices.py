"""Names resolve to one vendor's entry, unknown stays unknown, and bills follow the price list."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.models import table as models
from llm_batch.models.prices import model_info, price_of, tariff_of, why_unknown
from llm_batch.records import Usage


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A table of the test's own, for cases the real one has no lasting example of."""
    entries: dict[str, Any] = {}

    def entry(name: str) -> dict[str, Any] | None:
        found = entries.get(name)
        return None if found is None else {"mode": "chat", "litellm_provider": "acme", **found}

    monkeypatch.setattr(models, "_entry", entry)
    yield entries


@pytest.mark.parametrize(
    ("model", "entry", "provider"),
    [
        ("gpt-4", "gpt-4", "openai"),
        ("openai/gpt-4o-mini", "gpt-4o-mini", "openai"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06", "openai"),
        ("azure/gpt-4o", "azure/gpt-4o", "azure"),
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5", "anthropic"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5", "anthropic"),
        ("gemini/gemini-2.5-pro", "gemini/gemini-2.5-pro", "gemini"),
        ("vertex_ai/gemini-2.5-pro", "gemini-2.5-pro", "vertex_ai-language-models"),
        ("deepseek/deepseek-chat", "deepseek/deepseek-chat", "deepseek"),
        ("ft:gpt-4o-mini-2024-07-18:org::abc", "ft:gpt-4o-mini-2024-07-18", "openai"),
        ("openai/ft:gpt-4o-mini-2024-07-18:org:n:abc", "ft:gpt-4o-mini-2024-07-18", "openai"),
    ],
)
def test_a_name_resolves_to_the_entry_of_the_vendor_it_names(
    model: str, entry: str, provider: str
) -> None:
    info = model_info(model)
    assert info is not None
    assert (info.entry, info.provider) == (entry, provider)


@pytest.mark.parametrize(
    "model",
    [
        "",
        "/",
        "openai/",
        "openai/my-model",
        "openai/claude-sonnet-4-5",
        "anthropic/gpt-4o",
        "azure/my-deployment",
        "openrouter/foo/bar",
        "openrouter/foo/gpt-4o",
        "openrouter/openai/gpt-4o:online",
        "openrouter/meta-llama/llama-3-70b",
        "hosted_vllm/gpt-4o",
        "my-org/gpt-4",
        "bytez/openai/gpt-4",
        "gpt-4o-2099-12-31",
        "gpt-4-my-own",
    ],
)
def test_a_name_without_an_entry_is_unknown_and_never_another_vendors(model: str) -> None:
    assert model_info(model) is None
    assert price_of(model) is None
    assert tariff_of(model) is None


@pytest.mark.parametrize("model", ["sample_spec", "text-embedding-3-small", "dall-e-3", "tts-1"])
def test_entries_that_are_no_text_models_are_not_found(model: str) -> None:
    assert model_info(model) is None


def test_azure_falls_back_to_openais_entry_and_says_so(table: dict[str, Any]) -> None:
    table["gpt-9"] = {
        "litellm_provider": "openai",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
    }
    price = price_of("azure/gpt-9")
    assert price is not None
    assert "entry gpt-9 (openai)" in price.source
    assert price_of("groq/gpt-9") is None


def test_openrouter_has_the_vendors_price_only_where_the_vendor_alone_serves_the_model(
    table: dict[str, Any],
) -> None:
    listed = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    table["gpt-9"] = {"litellm_provider": "openai", **listed}
    table["gemini/gemini-9"] = {"litellm_provider": "gemini", **listed}
    table["deepseek/v9"] = {"litellm_provider": "deepseek", **listed}
    table["openrouter/deepseek/v8"] = {"litellm_provider": "openrouter", **listed}
    assert model_info("openrouter/openai/gpt-9").entry == "gpt-9"  # type: ignore[union-attr]
    found = model_info("openrouter/google/gemini-9")
    assert found is not None and found.entry == "gemini/gemini-9"
    assert model_info("openrouter/deepseek/v9") is None
    assert price_of("openrouter/deepseek/v8") is not None


@pytest.mark.parametrize(
    ("model", "entry", "provider"),
    [
        ("bedrock/anthropic.claude-v9:0", "anthropic.claude-v9:0", "bedrock_converse"),
        ("cohere/command-z", "command-z", "cohere_chat"),
        ("text-completion-openai/davinci-9", "davinci-9", "text-completion-openai"),
        ("openai/davinci-9", "davinci-9", "text-completion-openai"),
        ("vertex_ai/claude-9@001", "claude-9@001", "vertex_ai-anthropic_models"),
    ],
)
def test_a_vendor_with_several_names_is_one_vendor(
    table: dict[str, Any], model: str, entry: str, provider: str
) -> None:
    table[entry] = {"litellm_provider": provider}
    info = model_info(model)
    assert info is not None
    assert (info.entry, info.provider) == (entry, provider)
    assert model_info(f"groq/{entry}") is None


def test_what_the_table_says_of_gpt_4o_is_read_in_our_types() -> None:
    info = model_info("openai/gpt-4o")
    assert info is not None
    assert (info.max_input_tokens, info.max_output_tokens) == (128_000, 16_384)
    assert info.mode == "chat"
    assert info.supports_response_schema and not info.supports_reasoning
    assert model_info("gpt-5").supports_reasoning  # type: ignore[union-attr]


def test_dates_and_counts_are_converted_and_absent_ones_are_none(table: dict[str, Any]) -> None:
    table["m"] = {"deprecation_date": "2026-10-23", "rpm": 2000.0, "max_input_tokens": 8192}
    info = model_info("m")
    assert info is not None
    assert info.deprecation_date == date(2026, 10, 23)
    assert info.rpm == 2000 and isinstance(info.rpm, int)
    assert info.tpm is None and info.max_output_tokens is None


@pytest.mark.parametrize(
    ("model", "input_price", "output_price", "cache_read"),
    [
        ("gpt-4", "30", "60", None),
        ("gpt-4-turbo", "10", "30", None),
        ("gpt-3.5-turbo", "0.5", "1.5", None),
        ("gpt-4o", "2.5", "10", "1.25"),
        ("gpt-4o-mini", "0.15", "0.6", "0.075"),
        ("gpt-4.1", "2", "8", "0.5"),
        ("o1", "15", "60", "7.5"),
        ("gpt-5", "1.25", "10", "0.125"),
        ("anthropic/claude-sonnet-4-5", "3", "15", "0.3"),
        ("gemini/gemini-2.5-pro", "1.25", "10", "0.125"),
    ],
)
def test_prices_of_well_known_models_are_those_published(
    model: str, input_price: str, output_price: str, cache_read: str | None
) -> None:
    price = price_of(model)
    assert price is not None
    assert (str(price.input), str(price.output)) == (input_price, output_price)
    assert price.cache_read == (None if cache_read is None else Decimal(cache_read))


def test_a_price_names_its_entry_and_the_version_of_its_table() -> None:
    from importlib.metadata import version

    price = price_of("openai/gpt-4")
    assert price is not None
    assert price.source == "litellm's table, entry gpt-4 (openai)"
    assert price.as_of == f"litellm {version('litellm')}"


@pytest.mark.parametrize(
    ("model", "source"),
    [
        ("local/smollm2-135m-instruct", "runs on this machine"),
        ("local/models/some.gguf", "runs on this machine"),
        ("fake/gpt-4", "simulated"),
        ("ollama/llama3", "ollama is your own server"),
        ("ollama_chat/a-model-nobody-listed", "ollama_chat is your own server"),
    ],
)
def test_models_on_ones_own_machine_are_free(model: str, source: str) -> None:
    tariff = tariff_of(model)
    assert tariff is not None
    assert tariff.price.input == tariff.price.output == 0
    assert tariff.price.source == source
    assert tariff.cost(Usage(1000, 1000, 100, 100, 100)) == 0
    assert tariff.worst_case(1000, 1000) == 0


@pytest.mark.parametrize(
    "model",
    [
        "ollama/gpt-oss:120b-cloud",
        "ollama/glm-4.6:cloud",
        "gemini/gemma-3-27b-it",  # a 0 that stands for a free tier
        "azure/model-router",  # a surcharge alone, with output 0
        "perplexity/sonar",  # a fee for each search
        "gpt-4o-search-preview",
        "github_copilot/gpt-4o",  # no price per token
    ],
)
def test_zeros_and_bills_not_made_of_tokens_are_unknown(model: str) -> None:
    assert price_of(model) is None


@pytest.mark.parametrize(
    "costs",
    [
        {},
        {"input_cost_per_token": 1e-6},
        {"output_cost_per_token": 1e-6},
        {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
        {"input_cost_per_token": 1e-6, "output_cost_per_token": 0},
    ],
)
def test_half_a_price_is_unknown(table: dict[str, Any], costs: dict[str, float]) -> None:
    table["acme/m"] = costs
    assert model_info("acme/m") is not None
    assert price_of("acme/m") is None


def test_an_entry_marked_free_is_free(table: dict[str, Any]) -> None:
    table["acme/m:free"] = {"input_cost_per_token": 0, "output_cost_per_token": 0}
    price = price_of("acme/m:free")
    assert price is not None and price.input == price.output == 0


def test_the_users_prices_win_over_the_table() -> None:
    tariff = tariff_of("gpt-4o", input_price=1, output_price=2)
    assert tariff is not None
    assert (tariff.price.input, tariff.price.output) == (Decimal(1), Decimal(2))
    assert (tariff.price.source, tariff.price.as_of) == ("config", "")
    # Cached and batch tokens too: the list's discounts belong to the list's prices.
    assert tariff.cost(Usage(1_000_000, 1_000_000, 500_000)) == pytest.approx(3)
    assert tariff.cost(Usage(1_000_000, 1_000_000), batch=True) == pytest.approx(3)


def test_the_users_prices_make_an_unlisted_model_known() -> None:
    price = price_of("openai/my-model", input_price=0.15, output_price=0.6, cache_read_price=0.1)
    assert price is not None
    assert (price.input, price.output) == (Decimal("0.15"), Decimal("0.6"))
    assert price.cache_read == Decimal("0.1")


def test_a_zero_the_user_wrote_is_a_price() -> None:
    price = price_of("openai/my-model", input_price=0, output_price=0)
    assert price is not None and price.input == price.output == 0


@pytest.mark.parametrize(
    "given_prices", [{"input_price": 1.0}, {"output_price": 1.0}, {"cache_read_price": 1.0}]
)
def test_half_a_price_from_the_user_does_not_make_a_model_known(
    given_prices: dict[str, float],
) -> None:
    assert price_of("openai/my-model", **given_prices) is None


def test_the_table_completes_what_the_user_left_out_and_the_source_says_so() -> None:
    price = price_of("gpt-4o", output_price=5)
    assert price is not None
    assert (price.input, price.output) == (Decimal("2.5"), Decimal(5))
    assert price.cache_read == Decimal("1.25")
    assert price.source == "config; the rest from litellm's table, entry gpt-4o (openai)"
    cached = price_of("gpt-4o", cache_read_price=1)
    assert cached is not None and cached.input == Decimal("2.5") and cached.cache_read == 1


def test_a_users_price_drops_the_lists_prices_that_depend_on_it(table: dict[str, Any]) -> None:
    table["m"] = {
        "input_cost_per_token": 2e-6,
        "output_cost_per_token": 2e-6,
        "cache_read_input_token_cost": 1e-6,
        "cache_creation_input_token_cost": 3e-6,
        "output_cost_per_reasoning_token": 9e-6,
    }
    into, out = tariff_of("m", input_price=1), tariff_of("m", output_price=1)
    assert into is not None and out is not None
    assert into.cost(Usage(100, 0, 40, 40)) == pytest.approx(100e-6)
    assert into.cost(Usage(0, 100, reasoning_tokens=100)) == pytest.approx(900e-6)
    assert out.cost(Usage(0, 100, reasoning_tokens=100)) == pytest.approx(100e-6)
    assert out.cost(Usage(100, 0, 100)) == pytest.approx(100e-6)


def test_a_users_price_holds_for_long_requests_too() -> None:
    tariff = tariff_of("gemini/gemini-2.5-pro", output_price=7)
    assert tariff is not None
    assert tariff.cost(Usage(0, 1_000_000)) == pytest.approx(7)
    assert tariff.cost(Usage(300_000, 1_000_000)) == pytest.approx(7 + 0.3 * 2.5)


def test_a_request_costs_tokens_times_price() -> None:
    tariff = tariff_of("gpt-4")
    assert tariff is not None
    assert tariff.cost(Usage(1_000, 500)) == pytest.approx(0.06)
    assert tariff.cost(Usage()) == 0


@pytest.mark.parametrize(
    ("tokens", "expected"), [(200_000, 0.2 * 1.25 + 0.01), (200_001, 0.200001 * 2.5 + 0.015)]
)
def test_beyond_the_threshold_the_whole_request_is_repriced(tokens: int, expected: float) -> None:
    tariff = tariff_of("gemini/gemini-2.5-pro")
    assert tariff is not None
    assert tariff.cost(Usage(tokens, 1_000)) == pytest.approx(expected, rel=1e-12)


def test_xai_reprices_when_the_threshold_is_reached(table: dict[str, Any]) -> None:
    listed = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
        "input_cost_per_token_above_200k_tokens": 2e-6,
        "output_cost_per_token_above_200k_tokens": 2e-6,
    }
    table["xai/m"] = {"litellm_provider": "xai", **listed}
    table["acme/m"] = listed
    for model, expected in (("xai/m", 0.4), ("acme/m", 0.2)):
        tariff = tariff_of(model)
        assert tariff is not None
        assert tariff.cost(Usage(200_000)) == pytest.approx(expected)
        assert tariff.cost(Usage(199_999)) == pytest.approx(0.199999)


def test_prices_listed_by_range_of_length_become_rates_by_length(table: dict[str, Any]) -> None:
    table["m"] = {
        "tiered_pricing": [
            {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "range": [0, 32e3]},
            {"input_cost_per_token": 3e-6, "output_cost_per_token": 4e-6, "range": [32e3, 1e6]},
        ]
    }
    tariff = tariff_of("m")
    assert tariff is not None
    assert tariff.price.input == 1
    assert tariff.cost(Usage(32_000, 10)) == pytest.approx(0.032 + 20e-6)
    assert tariff.cost(Usage(32_001, 10)) == pytest.approx(0.096003 + 40e-6)


def test_cached_tokens_are_part_of_the_input_and_have_their_own_price() -> None:
    openai = tariff_of("gpt-4o")
    claude = tariff_of("anthropic/claude-sonnet-4-5")
    assert openai is not None and claude is not None
    assert openai.cost(Usage(1_000_000, 0, 400_000)) == pytest.approx(0.6 * 2.5 + 0.4 * 1.25)
    assert claude.cost(Usage(1_000_000, 0, 400_000, 100_000)) == pytest.approx(
        0.5 * 3 + 0.4 * 0.3 + 0.1 * 3.75
    )


def test_cached_tokens_without_a_price_cost_as_much_as_other_input() -> None:
    tariff = tariff_of("gpt-4")
    assert tariff is not None
    assert tariff.cost(Usage(1_000, 0, 600, 300)) == pytest.approx(0.03)


def test_reasoning_is_part_of_the_output_and_has_its_own_price_where_listed(
    table: dict[str, Any],
) -> None:
    table["m"] = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
        "output_cost_per_reasoning_token": 5e-6,
        "output_cost_per_token_batches": 1e-6,
    }
    tariff = tariff_of("m")
    assert tariff is not None
    assert tariff.cost(Usage(0, 100, reasoning_tokens=40)) == pytest.approx(60 * 2e-6 + 40 * 5e-6)
    # The table has no reasoning price for batches: it stays 2.5 times that of other output.
    batched = tariff.cost(Usage(0, 100, reasoning_tokens=40), batch=True)
    assert batched == pytest.approx(60e-6 + 40 * 2.5e-6)
    assert tariff.worst_case(0, 100) == pytest.approx(100 * 5e-6)


def test_reasoning_without_a_price_of_its_own_costs_as_much_as_other_output() -> None:
    tariff = tariff_of("gpt-5")
    assert tariff is not None
    assert tariff.cost(Usage(0, 100, reasoning_tokens=90)) == pytest.approx(100 * 10e-6)


def test_batch_prices_are_used_where_listed_and_no_discount_is_assumed_elsewhere() -> None:
    usage = Usage(1_000_000, 100_000)
    listed, halved = tariff_of("gpt-4o"), tariff_of("gpt-4")
    assert listed is not None and halved is not None
    assert listed.cost(usage, batch=True) == pytest.approx(listed.cost(usage) / 2)
    assert listed.batch_source.startswith("litellm's table")
    assert halved.cost(usage, batch=True) == pytest.approx(halved.cost(usage) / 2)
    assert halved.batch_source.startswith("half of the price, as openai says (platform.openai.com")
    # A cache price that drops out is no batch price.
    for unlisted in ("deepseek/deepseek-chat", "gpt-5-chat-latest", "azure/gpt-4o-mini"):
        tariff = tariff_of(unlisted)
        assert tariff is not None and not tariff.batch_source
        assert tariff.cost(usage, batch=True) == tariff.cost(usage)
    # gpt-4o has no cached price for batches: cached tokens cost what batch input costs.
    assert listed.cost(Usage(1_000_000, 0, 1_000_000), batch=True) == pytest.approx(1.25)


def test_writing_to_the_cache_keeps_its_surcharge_where_only_the_plain_one_is_listed(
    table: dict[str, Any],
) -> None:
    table["m"] = {
        "input_cost_per_token": 4e-6,
        "output_cost_per_token": 1e-6,
        "cache_creation_input_token_cost": 5e-6,
        "input_cost_per_token_batches": 2e-6,
        "output_cost_per_token_batches": 1e-6,
    }
    tariff = tariff_of("m")
    assert tariff is not None
    assert tariff.cost(Usage(100, 0, 0, 100)) == pytest.approx(500e-6)
    assert tariff.cost(Usage(100, 0, 0, 100), batch=True) == pytest.approx(250e-6)


def test_a_long_request_in_a_batch_without_its_own_price_has_the_dearer_one(
    table: dict[str, Any],
) -> None:
    table["m"] = {
        "input_cost_per_token": 2e-6,
        "output_cost_per_token": 2e-6,
        "input_cost_per_token_batches": 1e-6,
        "output_cost_per_token_batches": 1e-6,
        "input_cost_per_token_above_128k_tokens": 4e-6,
        "output_cost_per_token_above_128k_tokens": 4e-6,
    }
    tariff = tariff_of("m")
    assert tariff is not None
    assert tariff.cost(Usage(128_000), batch=True) == pytest.approx(0.128)
    assert tariff.cost(Usage(200_000), batch=True) == pytest.approx(0.8)


def test_a_service_tier_has_its_own_prices_and_a_dear_one_unlisted_is_unknown() -> None:
    priority = tariff_of("gpt-4o", service_tier="priority")
    assert priority is not None and priority.price.input == Decimal("4.25")
    flex = tariff_of("gpt-5", service_tier="flex")
    assert flex is not None and flex.price.input == Decimal("0.625")
    assert tariff_of("gpt-4", service_tier="priority") is None
    assert tariff_of("gpt-4", service_tier="flex") == tariff_of("gpt-4")
    assert tariff_of("gpt-4", service_tier="auto") == tariff_of("gpt-4")


def test_the_worst_case_counts_all_input_as_written_to_the_cache_where_that_is_dearer() -> None:
    tariff = tariff_of("anthropic/claude-sonnet-4-5")
    assert tariff is not None
    assert tariff.worst_case(1_000_000, 1_000_000) == pytest.approx(3.75 + 15)


@given(
    model=st.sampled_from(
        [
            "gpt-4",
            "gpt-4o",
            "gpt-5.4",
            "anthropic/claude-sonnet-4-5",
            "gemini/gemini-2.5-pro",
            "dashscope/qwen-plus-2025-07-28",
        ]
    ),
    parts=st.tuples(*[st.integers(0, 400_000)] * 5),
    slack=st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)),
    batch=st.booleans(),
)
def test_no_request_within_its_bounds_costs_more_than_the_worst_case(
    model: str, parts: tuple[int, ...], slack: tuple[int, int], batch: bool
) -> None:
    fresh, read, write, said, thought = parts
    usage = Usage(fresh + read + write, said + thought, read, write, thought)
    tariff = tariff_of(model)
    assert tariff is not None
    worst = tariff.worst_case(
        usage.input_tokens + slack[0], usage.output_tokens + slack[1], batch=batch
    )
    assert 0 <= tariff.cost(usage, batch=batch) <= worst * (1 + 1e-9)


def test_miscounted_usage_never_lowers_the_bill() -> None:
    tariff = tariff_of("gpt-4o")
    assert tariff is not None
    assert tariff.cost(Usage(0, 0, 1000, 0, 1000)) == pytest.approx(1000 * 1.25e-6 + 1000 * 10e-6)


def test_every_price_in_the_table_is_positive_and_its_rates_rise_with_length() -> None:
    known = 0
    for name in models._table():
        if (tariff := tariff_of(name)) is None:
            continue
        known += 1
        free = name.startswith(("ollama/", "lemonade/")) or name.endswith(":free")
        for rates in (tariff.standard, tariff.batch):
            assert free or all(min(rate[1:]) > 0 for rate in rates), name
            assert [rate.above for rate in rates] == sorted({rate.above for rate in rates}), name
            assert rates[0].above == 0, name
    assert known > 2000


def test_without_litellms_file_every_listed_price_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "litellm_folder", lambda: tmp_path)
    assert models._table.__wrapped__() == {}
    (tmp_path / models._TABLE_NAME).write_bytes(msgspec.json.encode({"m": {"mode": "chat"}}))
    assert list(models._table.__wrapped__()) == ["m"]


def test_looking_up_a_price_imports_neither_litellm_nor_slow_packages() -> None:
    code = (
        "import sys; from llm_batch.models.prices import tariff_of; tariff_of('gpt-4');"
        "print([m for m in ('litellm', 'tiktoken', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("openrouter/openai/gpt-4o", "the price of another seller, openrouter is not listed"),
        ("openrouter/anthropic/claude-sonnet-4.5", "entry claude-sonnet-4-5 (anthropic)"),
        ("openrouter/org/any-model:free", "openrouter charges nothing for names with :free"),
        ("gpt-4o", "litellm's table, entry gpt-4o (openai)"),
    ],
)
def test_a_price_says_whose_it_is(model: str, said: str) -> None:
    tariff = tariff_of(model)
    assert tariff is not None and said in tariff.price.source


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("openai/gpt-4o-2099-01-01", "no entry of that name; near it are gpt-4o-20"),
        ("openrouter/openai/gpt-4o-mini:online", "no entry of that name"),
        ("gemini/gemini-exp-1206", "lists no price per token"),
    ],
)
def test_an_unknown_price_says_why(model: str, why: str) -> None:
    assert tariff_of(model) is None
    assert why in why_unknown(model)


def test_the_price_shown_is_that_of_the_length_that_is_sent() -> None:
    tariff = tariff_of("gemini/gemini-2.5-pro")
    assert tariff is not None
    assert tariff.price_of(100_000) is tariff.price
    long = tariff.price_of(250_000)
    assert (str(long.input), str(long.output)) == ("2.5", "15")
    assert long.source.endswith("above 200,000 input tokens")
