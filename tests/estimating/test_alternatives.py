"""Other models for the same items: each row is what an estimate of it alone would say."""

from __future__ import annotations

import re
from dataclasses import replace
from math import floor
from typing import Any

import pytest

from llm_batch.chain.config import Config
from llm_batch.estimating import FORMATS, Estimate, estimate_from_items, estimate_from_nothing
from llm_batch.estimating.estimates import Alternative, Purchase
from llm_batch.estimating.plan import Ask, Recount, count_items
from llm_batch.estimating.sample_size import Claim
from llm_batch.estimating.steps import facts_of
from llm_batch.models.tokens import TokenCounter
from llm_batch.stats.sizes import margin_of
from tests.estimating.made import TODAY, config, high, items, value

JUDGES = ("gpt-4", "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "openai/nosuch")
CAPS: dict[str, Any] = {"cap": 300, "judge_cap": 200}
WORDS = ("Where", " is", " the", " nächste", " Stadt", "?", " 東京", " 42,", " longer")


def question(i: int) -> str:
    return f"No. {i}: " + "".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 20 + i % 13))


def with_judges(*judges: str, **more: Any) -> list[Config]:
    return [config("gpt-4o-mini", judge, **CAPS, **more) for judge in judges]


def compared(settings: list[Config], n: int = 400, most: int = 100) -> Estimate:
    first, *others = settings
    rows = items(n, question)
    return estimate_from_items(
        first, rows, n, 30_000, most=most, today=TODAY, ask=Ask(others=tuple(others))
    )


def same(alternative: Alternative, alone: Estimate) -> None:
    for name in ("cost", "batch_cost", "cached_cost", "priced_cost", "seconds"):
        one, other = getattr(alternative, name), getattr(alone, name)
        assert (one is None) is (other is None), name
        if one is not None:
            found = (one.low, one.value, one.high)
            assert found == pytest.approx((other.low, other.value, other.high)), name


def test_each_row_is_what_an_estimate_of_these_models_alone_says() -> None:
    settings = with_judges(*JUDGES)
    made = compared(settings)
    assert [other.models["judge"] for other in made.alternatives] == list(JUDGES)
    for settings_, alternative in zip(settings, made.alternatives, strict=True):
        same(alternative, compared([settings_]))


def test_from_nothing_too() -> None:
    settings = with_judges(*JUDGES)
    made = estimate_from_nothing(settings[0], 500, today=TODAY, ask=Ask(others=tuple(settings[1:])))
    for settings_, alternative in zip(settings, made.alternatives, strict=True):
        same(alternative, estimate_from_nothing(settings_, 500, today=TODAY))


def test_the_rest_of_the_estimate_is_that_of_the_first_models() -> None:
    alone, among = compared(with_judges("gpt-4")), compared(with_judges(*JUDGES))
    assert replace(among, alternatives=alone.alternatives) == alone


def test_unknown_stays_unknown_and_is_said_so() -> None:
    *_, unknown = compared(
        with_judges("gpt-4o", "openai/nosuch", limits={"budget": 1})
    ).alternatives
    assert (unknown.cost, unknown.batch_cost, unknown.cached_cost) == (None, None, None)
    assert value(unknown.priced_cost) > 0 and unknown.buys == ()
    assert "the price of openai/nosuch is not known" in unknown.notes


def test_batch_and_cache_discounts_are_never_stacked() -> None:
    long = "You judge answers by these rules. " * 400
    settings = [
        each.model_copy(
            update={"steps": tuple(step.model_copy(update={"system": long}) for step in each.steps)}
        )
        for each in with_judges("gpt-4o", "gpt-4.1")
    ]
    for other in compared(settings).alternatives:
        live, batch, cached = (value(c) for c in (other.cost, other.batch_cost, other.cached_cost))
        assert batch == pytest.approx(live / 2)  # list price of both models, nothing cached
        assert live / 4 < cached < live


def test_prompts_are_counted_once_per_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[str, str]] = []
    count = TokenCounter.count

    def spied(self: TokenCounter, text: str) -> int:
        counted.append((self.encoding, text))
        return count(self, text)

    monkeypatch.setattr(TokenCounter, "count", spied)

    def work(*judges: str) -> int:
        counted.clear()
        compared(with_judges(*judges), most=300)
        return sum(re.search(r"No\. \d", text) is not None for _, text in counted)

    one, both = work("gpt-4"), work("gpt-4", "gpt-4o")
    assert one == 600
    assert both == 900  # the judge's prompts, once more
    assert work("gpt-4", "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "gpt-4.1") == both


def test_a_recount_of_what_was_counted_is_what_was_counted() -> None:
    (settings,) = with_judges("gemini-2.5-pro")  # priced by length, in three cases
    recount = Recount()
    facts = facts_of(settings, None, 200)
    counted = count_items(
        settings.chain(), facts, items(200, question), 200, most=80, note=recount.note
    )
    again = recount.group(facts).load(facts, 200, 200)
    for one, other in zip(counted.whole, again, strict=True):
        assert one.calls == other.calls
        assert one.input_tokens == pytest.approx(other.input_tokens)
        assert one.cost == pytest.approx(other.cost)


def bought(made: Estimate, way: str, judge: str = "gpt-4o") -> Purchase:
    other = next(other for other in made.alternatives if other.models["judge"] == judge)
    return next(purchase for purchase in other.buys if purchase.way == way)


def test_a_budget_buys_items_and_says_what_they_prove() -> None:
    made = compared(with_judges("gpt-4", "gpt-4o", limits={"budget": 2}))
    other = made.alternatives[1]
    live, batch = bought(made, "live"), bought(made, "batch")
    assert live.items == floor(2 * 400 / value(other.cost))
    assert live.at_least == floor(2 * 400 / high(other.cost)) <= live.items
    assert batch.items == pytest.approx(2 * live.items, abs=1)
    assert live.proves == pytest.approx(margin_of(live.items, population=30_000))
    assert bought(made, "live", "gpt-4").items < live.items
    assert not live.all_items


def test_a_budget_never_buys_more_than_there_is() -> None:
    made = compared(with_judges("gpt-4o", limits={"budget": 10_000}))
    assert bought(made, "live").items == 30_000 and bought(made, "live").all_items
    assert bought(made, "live").proves == 0
    assert "buys all 30,000 items" in FORMATS["full"](made)


def test_a_budget_below_the_price_of_one_item_buys_nothing() -> None:
    made = compared(with_judges("gpt-4", limits={"budget": 0.0001}))
    purchase = bought(made, "live", "gpt-4")
    assert (purchase.items, purchase.proves) == (0, None)
    assert "does not even pay for one item" in FORMATS["full"](made)


def test_free_models_buy_everything() -> None:
    made = estimate_from_nothing(
        config("local/x", "local/x", limits={"budget": 0}, **CAPS), 500, today=TODAY
    )
    assert made.alternatives[0].buys[0].items == 500


def test_what_a_budget_proves_is_what_is_claimed() -> None:
    claim = Claim(detect=0.03, discordance=0.09)
    first, other = with_judges("gpt-4", "gpt-4o", limits={"budget": 20})
    made = estimate_from_nothing(first, 30_000, today=TODAY, ask=Ask(claim=claim, others=(other,)))
    purchase = bought(made, "live")
    assert purchase.proves is not None and 0.005 < purchase.proves < 0.03


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_shows_every_alternative(name: str) -> None:
    written = FORMATS[name](compared(with_judges(*JUDGES, limits={"budget": 3})))
    if name == "line":
        return
    for judge in JUDGES:
        assert judge in written
    assert "unknown" in written or name == "json"
    if name == "text":
        assert max(map(len, written.splitlines())) <= 80
    if name == "full":
        assert "the price of openai/nosuch is not known." in written
        assert max(map(len, written.splitlines())) <= 80
