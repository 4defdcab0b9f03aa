"""List prices as the vendors' pages give them, against what the bundled table makes of them.

Each row is a fact with its month: USD per million tokens, for requests that are not long. Where
the bundled table says something else, the row says so, and the test fails when that changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from llm_batch.models.prices import tariff_of
from llm_batch.models.table import vendors
from llm_batch.records import Usage

MILLION = 1_000_000


@dataclass(frozen=True)
class Listed:
    """A line of a vendor's price list.

    Attributes:
        model: As a config would name it.
        prices: Input, output and cached input; ``None`` where the vendor has no such price.
        batch: Share of the price that batches cost; ``None`` where there are none.
        month: When the page was read.
        above: Threshold in tokens, input and output beyond it.
        differs: What the bundled table says instead: ``input``, ``output``, ``cached``, ``batch``.
    """

    model: str
    prices: tuple[str, str, str | None]
    batch: str | None
    month: str
    above: tuple[int, str, str] | None = None
    differs: dict[str, str | None] = field(default_factory=dict)


OPENAI, ANTHROPIC, GOOGLE, MISTRAL, DEEPSEEK, COHERE, GROQ, TOGETHER = (
    "openai", "anthropic", "gemini", "mistral", "deepseek", "cohere", "groq", "together_ai",
)  # fmt: skip

PRICE_LISTS: dict[str, list[Listed]] = {
    OPENAI: [
        Listed("gpt-4", ("30", "60", None), "0.5", "2025-10"),
        Listed("gpt-4-turbo", ("10", "30", None), "0.5", "2025-10"),
        Listed("gpt-3.5-turbo", ("0.5", "1.5", None), "0.5", "2025-10"),
        Listed("gpt-4o", ("2.5", "10", "1.25"), "0.5", "2025-12"),
        Listed("gpt-4o-mini", ("0.15", "0.6", "0.075"), "0.5", "2025-12"),
        Listed("gpt-4.1", ("2", "8", "0.5"), "0.5", "2025-12"),
        Listed("gpt-4.1-mini", ("0.4", "1.6", "0.1"), "0.5", "2025-12"),
        Listed("gpt-4.1-nano", ("0.1", "0.4", "0.025"), "0.5", "2025-12"),
        Listed("gpt-5", ("1.25", "10", "0.125"), "0.5", "2025-12"),
        Listed("gpt-5-mini", ("0.25", "2", "0.025"), "0.5", "2025-12"),
        Listed("gpt-5-nano", ("0.05", "0.4", "0.005"), "0.5", "2025-12"),
        Listed("gpt-5.1", ("1.25", "10", "0.125"), "0.5", "2025-12"),
        Listed("gpt-5.2", ("1.75", "14", "0.175"), "0.5", "2025-12"),
        Listed("gpt-5-pro", ("15", "120", None), "0.5", "2025-12"),
        Listed("o1", ("15", "60", "7.5"), "0.5", "2025-12"),
        Listed("o3", ("2", "8", "0.5"), "0.5", "2025-12"),
        Listed("o3-mini", ("1.1", "4.4", "0.55"), "0.5", "2025-12"),
        Listed("o4-mini", ("1.1", "4.4", "0.275"), "0.5", "2025-12"),
    ],
    ANTHROPIC: [
        Listed("claude-sonnet-4-5", ("3", "15", "0.3"), "0.5", "2025-12"),
        Listed("claude-opus-4-5", ("5", "25", "0.5"), "0.5", "2025-12"),
        Listed("claude-haiku-4-5", ("1", "5", "0.1"), "0.5", "2025-12"),
    ],
    GOOGLE: [
        Listed(
            "gemini/gemini-2.5-pro",
            ("1.25", "10", "0.125"),
            "0.5",
            "2025-12",
            above=(200_000, "2.5", "15"),
        ),
        Listed("gemini/gemini-2.5-flash", ("0.3", "2.5", "0.03"), "0.5", "2025-12"),
        Listed("gemini/gemini-2.5-flash-lite", ("0.1", "0.4", "0.01"), "0.5", "2025-12"),
    ],
    MISTRAL: [
        Listed(
            "mistral/mistral-large-latest",
            ("0.5", "1.5", None),
            "0.5",
            "2025-12",
            differs={"cached": "0.05"},
        ),
        Listed(
            "mistral/codestral-2508",
            ("0.3", "0.9", None),
            "0.5",
            "2025-12",
            differs={"cached": "0.03"},
        ),
        Listed(
            "mistral/open-mistral-nemo",
            ("0.15", "0.15", None),
            "0.5",
            "2025-10",
            differs={"input": "0.3", "output": "0.3", "cached": "0.03"},
        ),
    ],
    DEEPSEEK: [
        Listed("deepseek/deepseek-chat", ("0.28", "0.42", "0.028"), None, "2025-12"),
        Listed("deepseek/deepseek-reasoner", ("0.28", "0.42", "0.028"), None, "2025-12"),
    ],
    COHERE: [
        Listed("command-a-03-2025", ("2.5", "10", None), None, "2025-10"),
        Listed("command-r-plus-08-2024", ("2.5", "10", None), None, "2025-10"),
        Listed("command-r-08-2024", ("0.15", "0.6", None), None, "2025-10"),
        Listed("command-r7b-12-2024", ("0.0375", "0.15", None), None, "2025-10"),
    ],
    GROQ: [
        Listed("groq/openai/gpt-oss-120b", ("0.15", "0.6", "0.075"), "0.5", "2025-12"),
        Listed("groq/openai/gpt-oss-20b", ("0.075", "0.3", "0.0375"), "0.5", "2025-12"),
    ],
    TOGETHER: [
        Listed("together_ai/zai-org/GLM-4.5-Air-FP8", ("0.2", "1.1", None), "0.5", "2026-11"),
        Listed("together_ai/openai/gpt-oss-120b", ("0.15", "0.6", None), "1", "2026-11"),
    ],
}  # fmt: skip
ALL = [line for lines in PRICE_LISTS.values() for line in lines]


def test_the_facts_are_of_at_least_25_models_of_6_vendors() -> None:
    assert len({line.model for line in ALL}) >= 25
    assert len(PRICE_LISTS) >= 6
    assert PRICE_LISTS.keys() - {COHERE} <= vendors()


@pytest.mark.parametrize("line", ALL, ids=lambda line: line.model)
def test_the_bundled_table_has_the_vendors_list_price(line: Listed) -> None:
    tariff = tariff_of(line.model)
    assert tariff is not None
    names = ("input", "output", "cached")
    listed = dict(zip(names, line.prices, strict=True))
    expected = {name: line.differs.get(name, listed[name]) for name in names}
    price = tariff.price
    found = {"input": price.input, "output": price.output, "cached": price.cache_read}
    assert found == {
        name: None if value is None else Decimal(value) for name, value in expected.items()
    }
    assert price.source.startswith("litellm's table, entry ") and price.as_of.startswith("litellm ")


@pytest.mark.parametrize("line", ALL, ids=lambda line: line.model)
def test_batches_cost_what_the_vendor_says_or_have_no_known_price(line: Listed) -> None:
    tariff = tariff_of(line.model)
    assert tariff is not None
    share = line.differs.get("batch", line.batch)
    assert bool(tariff.batch_source) == (share is not None)
    for usage in (Usage(1000, 0), Usage(0, 1000)):
        expected = tariff.cost(usage) * float(share or 1)
        assert tariff.cost(usage, batch=True) == pytest.approx(expected)


@pytest.mark.parametrize("line", [line for line in ALL if line.above], ids=lambda line: line.model)
def test_long_requests_cost_what_the_vendor_says(line: Listed) -> None:
    tariff = tariff_of(line.model)
    assert tariff is not None and line.above is not None
    threshold, into, out = line.above
    long, short = threshold + 1, threshold
    assert tariff.cost(Usage(long)) == pytest.approx(long * float(into) / MILLION)
    assert tariff.cost(Usage(short)) == pytest.approx(short * float(line.prices[0]) / MILLION)
    more = tariff.cost(Usage(long, 1000)) - tariff.cost(Usage(long))
    assert more == pytest.approx(1000 * float(out) / MILLION)
