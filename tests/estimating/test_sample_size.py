"""How many items a claim needs, and what some number of items shows: the conventions agreed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.errors import ConfigError
from llm_batch.estimating.sample_size import Claim, Clusters, check_clusters, needed_for, proof
from llm_batch.stats.clusters import ClusterSums, clustered_rate

JUDGE: dict[str, Any] = {"sensitivity": 0.9, "specificity": 0.8}


@pytest.mark.parametrize(
    ("claim", "population", "n", "take"),
    [
        pytest.param(Claim(), 30_000, 380, 384, id="five points: the textbook figure"),
        pytest.param(Claim(), 600, 235, 235, id="a small dataset needs fewer"),
        pytest.param(Claim(), None, 385, 385, id="a population without end"),
        pytest.param(Claim(level=0.99), None, 664, 664, id="99 %"),
        pytest.param(Claim(margin=0.03, rate=0.8), None, 683, 683, id="an expected rate"),
        pytest.param(Claim(sd=1.2, margin=0.1), 2000, 434, 434, id="a mean"),
        pytest.param(
            Claim(detect=0.03, paired=True, discordance=0.09), 30_000, 783, 783, id="pairs"
        ),
        pytest.param(Claim(detect=-0.03, discordance=0.09), 30_000, 783, 783, id="a loss"),
        pytest.param(Claim(detect=0.03, rate=0.8), 30_000, 2629, 2629, id="two groups"),
        pytest.param(Claim(detect=0.03, paired=True, sd=1 / 3), None, 969, 969, id="pair scores"),
        pytest.param(Claim(zero_failures=0.01), None, 299, 299, id="no failures"),
        pytest.param(Claim(zero_failures=0.01), 1000, 258, 258, id="no failures of 1,000"),
        pytest.param(Claim(cluster_size=5, icc=0.2), None, 692, 692, id="clusters"),
        pytest.param(Claim(**JUDGE), None, 784, 784, id="a judge that errs"),
        pytest.param(Claim(**JUDGE), 30_000, 775, 775, id="of 30,000"),
    ],
)
def test_known_sizes(claim: Claim, population: int | None, n: int, take: int) -> None:
    needed = needed_for(claim, population)
    assert (needed.n, needed.take) == (n, take)


def test_the_four_figures_of_a_rate() -> None:
    needed = needed_for(Claim(), 30_000)
    assert needed.n0 == pytest.approx(384.146, abs=5e-4)
    assert (needed.n_classic, needed.n_min, needed.n) == (384, 385, 380)
    assert needed_for(Claim(), 10**7).n == 385


def test_factors_multiply_and_are_told_apart() -> None:
    needed = needed_for(Claim(cluster_size=5, icc=0.2, **JUDGE))
    assert needed.design_effect == pytest.approx(1.8)
    assert needed.judge_factor == pytest.approx(1 / 0.49)
    assert needed.n0 == pytest.approx(needed.base * 1.8 / 0.49)
    paired = Claim(detect=0.03, discordance=0.09, cluster_size=5, icc=0.2)
    assert needed_for(paired).n == 1409  # 782.53 times 1.8


def test_unequal_clusters_need_more_than_equal_ones_of_the_same_mean() -> None:
    equal = Clusters("doc", 10, 5.0, 5.0, 0.2)
    unequal = replace(equal, size=8.2)
    sizes = [needed_for(Claim(), 30_000, c).n for c in (None, equal, unequal)]
    assert sizes == sorted(sizes, key=lambda n: n or 0) and len(set(sizes)) == 3
    whole = [needed_for(Claim(), None, c).n for c in (equal, unequal)]
    assert whole == [692, 938]


def test_the_size_for_clusters_is_that_of_items_drawn_one_by_one_as_a_run_draws_them() -> None:
    needed = needed_for(Claim(cluster_size=5, icc=0.2), 3000)
    assert needed.n is not None and needed.n == needed.take == needed.n_drawn == 428
    assert needed.effect_of(needed.n) == pytest.approx(428 / 384.146, rel=2e-3)
    assert (proof(needed, needed.n) or 1) <= 0.05
    draw, margins = random.Random(1), []
    for _ in range(40):
        items = [
            (c, rate) for c in range(600) for rate in [draw.betavariate(2, 2)] for _ in "12345"
        ]
        sums: dict[str, list[float]] = {}
        for cluster, rate in draw.sample(items, needed.n):
            own = sums.setdefault(str(cluster), [])
            own.append(float(draw.random() < rate))
        found = clustered_rate(
            {name: ClusterSums(len(own), sum(own), sum(own)) for name, own in sums.items()}
        ).mean
        margins.append(((found.high or 1.0) - (found.low or 0.0)) / 2)
    # betavariate(2, 2) is a correlation of 0.2 within a document; 676 were whole clusters' size.
    assert sum(margins) / len(margins) == pytest.approx(0.05, abs=0.0015)


def test_a_comparison_is_about_models_so_the_dataset_does_not_lower_its_size() -> None:
    claim = Claim(detect=0.03, discordance=0.09)
    assert needed_for(claim, 1000).n == needed_for(claim).n == 783
    assert needed_for(claim, 700).n is None
    groups = Claim(detect=0.03, rate=0.8)
    assert needed_for(groups, 5258).n == 2629
    assert needed_for(groups, 5257).n is None


def test_what_all_items_show_is_told_where_they_are_too_few() -> None:
    judged = needed_for(Claim(**JUDGE), 300)
    assert judged.n is None and judged.take == 300
    assert judged.proves_all == pytest.approx(0.0583, abs=5e-5)
    half = needed_for(Claim(detect=0.03, rate=0.8), 3000)
    assert half.take == 1500 and half.proves_all == proof(half, 1500) == proof(half, 3000)


def test_without_a_discordance_two_models_have_nothing_in_common() -> None:
    needed = needed_for(Claim(detect=0.03, paired=True, rate=0.8))
    assert needed.claim.discordance == pytest.approx(0.8 * 0.17 + 0.83 * 0.2)
    assert needed.discordance_is_assumed
    assert not needed_for(Claim(detect=0.03, discordance=0.09)).discordance_is_assumed


claims = st.one_of(
    st.builds(
        Claim,
        margin=st.floats(0.01, 0.2),
        level=st.floats(0.8, 0.99),
        cluster_size=st.floats(1, 9),
        icc=st.floats(0, 1),
        sensitivity=st.just(0.9),
        specificity=st.just(0.85),
    ),
    st.builds(Claim, margin=st.floats(0.05, 1), sd=st.floats(0.1, 3)),
    st.builds(Claim, detect=st.floats(0.02, 0.2), discordance=st.floats(0.2, 0.6)),
    st.builds(Claim, detect=st.floats(-0.2, -0.02), rate=st.floats(0.3, 0.7)),
    st.builds(Claim, detect=st.floats(0.05, 1), sd=st.floats(0.5, 3), paired=st.booleans()),
    st.builds(Claim, zero_failures=st.floats(0.001, 0.2)),
)


def asked(claim: Claim) -> float:
    return abs(claim.detect or claim.zero_failures or claim.margin or 0)


@given(claims, st.integers(2, 10**5))
def test_the_size_shows_what_is_claimed_and_one_item_less_does_not(
    claim: Claim, population: int
) -> None:
    needed = needed_for(claim, population)
    if needed.n is None:
        # All of them show less than is claimed, or nothing.
        assert needed.proves_all is None or needed.proves_all > asked(claim) * (1 - 1e-4)
        return
    shown = proof(needed, needed.n)
    # Of a share of so many items, the next one below is as good as ruled out.
    slack = 1 / population if needed.kind == "zero_failures" else 0
    assert shown is not None and shown <= asked(claim) * (1 + 1e-5) + slack
    if needed.n > 1:
        less = proof(needed, needed.n - 1)
        assert less is None or less > asked(claim) * (1 - 1e-4) - slack


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (Claim(margin=5), "--margin 0.05"),
        (Claim(level=95), "--confidence 0.95"),
        (Claim(rate=80), "--expected-rate 0.8"),
        (Claim(detect=0), "--detect"),
        (Claim(sd=1.2), "--margin"),
        (Claim(paired=True), "--detect"),
        (Claim(margin=0.05, detect=0.03), "two claims"),
        (Claim(zero_failures=0.01, detect=0.03), "alone"),
        (Claim(detect=0.1, discordance=0.05), "discordance"),
        (Claim(detect=0.1, sd=1, discordance=0.2), "leave one"),
        (Claim(sd=1, margin=0.1, rate=0.5), "leave one"),
        (Claim(sensitivity=0.9), "--judge-specificity"),
        (Claim(sensitivity=0.5, specificity=0.5), "no better than chance"),
        (Claim(rate=0.95, **JUDGE), "never 0.95"),
        (Claim(sd=1, margin=0.1, **JUDGE), "leave one"),
        (Claim(cluster_size=5), "--icc"),
        (Claim(cluster_size=5, icc=1.2), "rho"),
        (Claim(rate=0.99, detect=0.03), "between 0 and 1"),
        (Claim(margin=1e-200), "beyond any number"),
        (Claim(sd=float("nan"), margin=0.1), "above 0"),
    ],
    ids=str,
)
def test_a_claim_that_makes_no_sense_is_refused_with_what_to_type(claim: Claim, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        needed_for(claim, 1000)
    assert said in f"{refused.value.message} {refused.value.hint}"
    assert refused.value.hint


def test_clusters_are_told_in_one_way() -> None:
    for claim, field in ((Claim(icc=0.1), None), (Claim(cluster_size=5, icc=0.1), "doc")):
        with pytest.raises(ConfigError):
            check_clusters(claim, field)
    check_clusters(Claim(icc=0.1), "doc")
    check_clusters(Claim(), "doc")
