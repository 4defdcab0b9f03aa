"""The sizes beside each other, the one to take, and what the rest of the money would buy."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm_batch.chain.config import Config
from llm_batch.estimating import FORMATS, Estimate, estimate_from_nothing
from llm_batch.estimating.estimates import risk_of
from llm_batch.estimating.plan import Ask
from llm_batch.estimating.sample_size import Claim, Clusters
from llm_batch.estimating.scores import Scored, ScoredItem
from llm_batch.records import Interval
from tests.estimating.made import TODAY, config, single

#: 300 tokens in and 300 out a call at these prices are 1.8 cents: 30,000 calls cost $540.
DEAR: dict[str, Any] = {"openai/dear": {"input_price": 30, "output_price": 30}}


def priced(**more: Any) -> Config:
    return single("openai/dear", max_tokens=300, models=DEAR, **more)


def made(
    claim: Claim | None = None, n: int = 30_000, settings: Config | None = None, **ask: Any
) -> Estimate:
    return estimate_from_nothing(
        settings or priced(), n, today=TODAY, ask=Ask(claim=claim or Claim(), **ask)
    )


def test_the_sentence_says_what_to_take_and_what_the_rest_would_buy() -> None:
    assert made().verdict == (
        "Take 384: ±5 points (95 %) for $6.91 in 4 min. Playing the other 29,616 items costs $533 "
        "more and only removes that ±5."
    )


@pytest.mark.parametrize(
    ("claim", "n", "settings", "said"),
    [
        (Claim(), 600, priced(), "Take 235: ±5 points (95 %) on these 600 items for $4.23 "),
        (
            Claim(),
            600,
            priced(),
            " For ±5 points on items like these, which report speaks of first, take 384.",
        ),
        (
            Claim(),
            24,
            priced(),
            "the last item costs $0.018 more and removes that ±4.3. Of items like these, which "
            "report speaks of first, all 24 show ±20 points (95 %).",
        ),
        (
            Claim(),
            10,
            priced(),
            "Take all 10 for $0.18 in 6 s: a smaller sample is not precise enough.",
        ),
        (
            Claim(detect=0.03, discordance=0.09),
            30_000,
            priced(),
            "the other 29,217 items costs $526 more and finds differences down to 0.5 points.",
        ),
        (Claim(detect=0.03, rate=0.8), 3000, priced(), "Take 1,500 for each model: finds"),
        (
            Claim(sd=1.2, margin=0.1),
            2000,
            priced(),
            "Take 434: ±0.1 (95 %) on these 2,000 items for",
        ),
        (Claim(sd=1.2, margin=0.1), 2000, priced(), " For ±0.1 on items like these, which report"),
        (Claim(sd=1.2, margin=0.1), 2000, priced(), " take 554."),
        (
            Claim(zero_failures=0.01),
            1000,
            priced(),
            "costs $13.36 more and leaves no failure unseen.",
        ),
        (Claim(), 30_000, single("local/x"), "takes 2 h 3 min more and only removes that ±5."),
        (Claim(), 30_000, single("openai/nosuch"), " in 4 min, at an unknown cost. "),
        (Claim(), 30_000, single("openai/nosuch"), "the other 29,616 items only removes that ±5."),
        (
            Claim(sensitivity=0.9, specificity=0.8),
            300,
            priced(),
            "Take all 300: ±5.8 points (95 %) on these 300 items for $5.40 in 3 min; a smaller "
            "sample does not show",
        ),
    ],
)
def test_every_kind_of_claim_has_its_sentence(
    claim: Claim, n: int, settings: Config, said: str
) -> None:
    assert said in made(claim, n, settings).verdict


def test_a_small_part_of_the_dataset_says_the_same_of_items_like_these() -> None:
    assert "like these" not in made(Claim(), 30_000, priced()).verdict
    assert "like these" not in made(Claim(detect=0.03, discordance=0.09), 900, priced()).verdict


def test_the_table_has_pilot_claim_textbook_and_all() -> None:
    options = made().options
    assert {option.n: option.label for option in options} == {
        20: "pilot",
        380: "claim",
        384: "textbook",
        500: "",
        1000: "",
        30_000: "all",
    }
    assert [option.risk for option in options] == ["low"] * 5 + ["some"]
    misses = [option.may_miss for option in options]
    assert misses == sorted(misses, reverse=True) and misses[-1] == 0
    assert misses[2] == pytest.approx(0.0077, abs=5e-5)


def test_two_groups_share_the_dataset() -> None:
    labels = {option.n: option.label for option in made(Claim(detect=0.03, rate=0.8)).options}
    assert labels[15_000] == "half" and labels[2629] == "claim"
    assert labels[30_000] == "this plan"


def test_a_plan_that_is_too_small_is_told_so() -> None:
    few = estimate_from_nothing(priced(), 100, population=30_000, today=TODAY)
    assert (
        "This plan's 100 items are fewer than the 380 needed: it gives ±9.8 points (95 %)."
        in few.claim_notes
    )
    enough = estimate_from_nothing(priced(), 380, population=30_000, today=TODAY)
    assert len(enough.claim_notes) == 1


def test_clusters_and_judges_are_explained_with_their_factors() -> None:
    clusters = Clusters("doc\x1b[31m", 3659, 5.0, 8.2, 0.2, "the pilot")
    said = " ".join(made(Claim(sensitivity=0.9, specificity=0.8), clusters=clusters).claim_notes)
    assert "3,659 clusters by doc" in said and "\x1b" not in said
    assert "of 5, which counts as 8.2 because their sizes differ" in said
    assert (
        "correlation of 0.2 (measured on the pilot) a sample of whole clusters must be 2.44 times"
        in said
    )
    assert "Run draws items one by one" in said and "takes 2.04 times as many items" in said


def test_scores_that_exist_are_offered_for_planning() -> None:
    scored = Scored("the pilot", tuple(ScoredItem(float(i % 5), i % 5 > 1) for i in range(50)))
    assert any(note.startswith("the pilot: 50 scores") for note in made(scored=scored).claim_notes)


CLAIMS = [
    Claim(),
    Claim(sd=1.2, margin=0.1),
    Claim(detect=0.03, paired=True),
    Claim(detect=0.03, rate=0.8),
    Claim(detect=0.1, sd=1.2),
    Claim(detect=0.1, sd=1.2, paired=True),
    Claim(zero_failures=0.01, sensitivity=0.9, specificity=0.9),
    Claim(cluster_size=5, icc=0.2),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.kind)
@pytest.mark.parametrize("name", FORMATS)
def test_every_claim_is_drawn_in_every_format(claim: Claim, name: str) -> None:
    for n in (1, 21, 30_000):
        found = made(
            claim,
            n,
            config("gpt-4o-mini", "gpt-4", limits={"budget": 3}),
            stratify="kind",
            strata={f"kind {i}": 3 for i in range(15)},
        )
        written = FORMATS[name](found)
        assert not re.search(r"\b(nan|inf|None)\b", written)
        if name in ("text", "full"):
            assert max(map(len, written.splitlines())) <= 80
            assert name == "text" or "And 3 smaller strata." in written


@pytest.mark.parametrize(
    ("cost", "hours", "risk"),
    [
        (0, 1, "low"),
        (49, 7.9, "low"),
        (50, 1, "some"),
        (1, 8, "some"),
        (1000, 1, "high"),
        (0, 24, "high"),
        (None, 1, "unknown"),
        (None, 24, "high"),
    ],
)
def test_risk_is_that_of_the_high_case(cost: float | None, hours: float, risk: str) -> None:
    def up_to(high: float) -> Interval:
        return Interval(0.0, 0.0, high, 0.0, 0, "")

    assert risk_of(None if cost is None else up_to(cost), up_to(3600 * hours)) == risk
