"""Each warning comes when it should, and only then, and says what to type."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from llm_batch.chain.config import Config
from llm_batch.estimating import Estimate, estimate_from_items, estimate_from_nothing
from llm_batch.estimating.estimates import Caution
from tests.estimating.made import TODAY, config, items, said, single, value

CAPPED: Any = {"cap": 300, "judge_cap": 200}


def nothing(settings: Config, n: int = 100, today: date = TODAY) -> Estimate:
    return estimate_from_nothing(settings, n, today=today)


def about(made: Estimate, words: str) -> list[Caution]:
    return [each for each in made.warnings if words in each.message]


def test_a_cheap_small_capped_run_has_no_warning() -> None:
    assert nothing(config(**CAPPED)).warnings == ()


def test_above_a_dollar_the_question_is_announced() -> None:
    assert not about(nothing(config(**CAPPED), 384), "asks first")
    made = nothing(config("gpt-4o", "gpt-4o", **CAPPED), 384)
    assert value(made.cost) > 1
    (caution,) = about(made, "more than $1 asks first")
    assert "--yes" in caution.hint and "--budget" in caution.hint


def test_a_large_bill_is_named_as_it_is_in_the_high_case() -> None:
    assert about(nothing(config("gpt-4o", "gpt-4o"), 30_000), "This may cost $428.")
    (caution,) = about(nothing(config("gpt-4o-mini", "gpt-4"), 30_000), "This may cost $1,")
    assert "--budget 952" in caution.hint and "--pilot 20" in caution.hint
    assert about(nothing(config("gpt-4", "gpt-4"), 30_000), "This may cost $3,")


def test_a_budget_that_ends_the_run_says_when() -> None:
    settings = config("gpt-4o", "gpt-4o", limits={"budget": 1}, **CAPPED)
    made = nothing(settings, 1000)
    (caution,) = made.warnings[:1]
    fits = int(1000 / value(made.cost))
    assert f"pays for about {fits} of the 1,000 items" in caution.message
    assert f"--sample {fits}" in caution.hint
    assert "asks first" not in said(made)
    assert not nothing(settings, 100).warnings


def test_far_more_items_than_a_claim_needs_are_compared_with_a_sample() -> None:
    made = nothing(config("gpt-4o-mini", "gpt-4", **CAPPED), 30_000)
    (caution,) = about(made, "A sample of 384")
    assert caution.message == ("A sample of 384 gives ±5 points (95 %) for $12.18 instead of $952.")
    assert caution.hint == "llmb run --data FILE --sample 384"
    assert not about(nothing(config("gpt-4o-mini", "gpt-4", **CAPPED), 350), "A sample")


def test_a_small_dataset_needs_fewer_than_the_textbook_says() -> None:
    (caution,) = about(nothing(config("gpt-4", "gpt-4", **CAPPED), 600), "A sample of 235")
    assert caution.hint == "llmb run --data FILE --sample 235"


def test_a_free_run_is_compared_by_time() -> None:
    made = nothing(config("local/x", "local/x", **CAPPED), 30_000)
    (caution,) = about(made, "A sample of 384")
    assert "in 3 min instead of 4 h 10 min" in caution.message


def test_more_than_ten_workers_need_a_limit() -> None:
    made = nothing(config(limits={"workers": 50}, **CAPPED))
    (caution,) = about(made, "50 workers make about 600 to 1,000 requests a minute")
    assert "--rpm" in caution.hint and "--workers 5" in caution.hint
    for limits in ({"workers": 10}, {"workers": 50, "rpm": 5000}, {"workers": 50, "tpm": 10**6}):
        assert not about(nothing(config(limits=limits, **CAPPED)), "run allows")


def test_more_requests_than_the_limit_are_named() -> None:
    made = nothing(config(limits={"workers": 10, "rpm": 100}, **CAPPED), 1000)
    (caution,) = about(made, "up to 200 requests a minute at gpt-4o-mini, whose limit is 100")
    assert "--workers 5 is enough" in caution.hint
    assert not about(nothing(config(limits={"workers": 5, "rpm": 100}, **CAPPED)), "whose limit")


@pytest.mark.parametrize(("today", "warned"), [((2026, 10, 22), False), ((2026, 10, 23), True)])
def test_a_model_is_deprecated_from_its_day_on(today: tuple[int, int, int], warned: bool) -> None:
    made = nothing(config("gpt-4o-mini", "gpt-4", **CAPPED), today=date(*today))
    found = about(made, "The provider retires gpt-4 on 2026-10-23, which is past")
    assert bool(found) is warned
    assert all("--judge" in caution.hint for caution in found)


def test_a_deprecation_that_is_near_is_announced() -> None:
    made = nothing(config("gpt-4o-mini", "gpt-4", **CAPPED), today=date(2026, 9, 1))
    (caution,) = about(made, "The provider retires gpt-4 on 2026-10-23, in 52 days.")
    assert "--judge" in caution.hint


def judged_in_words(**score: Any) -> Config:
    return single("gpt-4o-mini", max_tokens=300, score={"field": "generate", **score})


def test_a_score_in_words_without_a_scale_is_named_with_the_line_to_add() -> None:
    (caution,) = about(nothing(judged_in_words()), "nothing says from where to where")
    assert caution.message.startswith("The score is read from the words of generate")
    assert "min = 1 and max = 5" in caution.hint
    assert about(nothing(judged_in_words(max=5)), "nothing says from where to where")
    for scale in ({"min": 1, "max": 5}, {"labels": {"right": 1, "wrong": 0}}):
        assert not nothing(judged_in_words(**scale)).warnings


def test_no_max_tokens_means_no_bound() -> None:
    made = nothing(config())
    assert about(made, "Step generate has no max_tokens") and about(made, "up to 16,384")
    assert about(made, "Step judge has no max_tokens")


def test_a_cap_above_what_the_model_writes_is_named() -> None:
    (caution,) = about(nothing(single("gpt-4", max_tokens=5000)), "at most 4,096")
    assert caution.hint == "set max_tokens = 4096 under [[steps]] generate"


def test_a_cap_that_leaves_no_room_to_think_is_named() -> None:
    assert about(nothing(single("gpt-5", max_tokens=300)), "thinks before it answers")
    assert not about(nothing(single("gpt-5", max_tokens=3000)), "thinks before it answers")


def test_prompts_longer_than_the_context_are_counted_and_the_first_is_named() -> None:
    rows = items(10, lambda i: "word " * (9000 if i in (4, 7) else 9))
    made = estimate_from_items(single("gpt-4", max_tokens=9), rows, 10, 10, today=TODAY)
    (caution,) = about(made, "8,192 tokens that gpt-4 reads")
    assert caution.message.startswith("2 prompts of step generate among the 10 counted")
    assert caution.message.endswith("reads: those of items 'item-4', 'item-7'.")
    assert (made.steps[0].too_long, made.steps[0].too_long_ids) == (2, ("item-4", "item-7"))


def test_an_unpriced_model_is_named_once() -> None:
    own: dict[str, Any] = {"openai/mine": {"api_base": "http://10.0.0.7/v1"}}
    made = nothing(config("openai/mine", "openai/mine", models=own, **CAPPED))
    (caution,) = about(made, "openai/mine")
    assert 'under [models."openai/mine"]' in caution.hint


def test_with_an_unknown_price_no_budget_is_offered_that_a_run_would_refuse() -> None:
    own: dict[str, Any] = {"openai/mine": {"api_base": "http://10.0.0.7/v1"}}
    made = nothing(config("gpt-4o", "openai/mine", models=own, **CAPPED), 30_000)
    (caution,) = about(made, "known price alone may cost")
    assert "missing prices" in caution.hint
    assert not about(made, "asks first")
