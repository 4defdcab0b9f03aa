"""Strata share a sample in proportion, and by spread where scores tell one."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from llm_batch.estimating.scores import shared
from llm_batch.stats.sizes import margin_of

SIZES = {"easy": 700, "hard": 200, "rare": 100}


def test_without_scores_the_shares_are_proportional() -> None:
    strata = shared("kind", SIZES, 384)
    assert [share.proportional for share in strata.shares] == [269, 77, 38]
    assert all(share.neyman is None and share.sd is None for share in strata.shares)
    assert strata.margin_neyman is None and strata.n == 384


def test_with_scores_in_all_strata_the_spread_decides() -> None:
    seen = {"easy": [1.0] * 49 + [0.0], "hard": [1.0, 0.0] * 25, "rare": [1.0, 0.0, 0.0] * 10}
    strata = shared("kind", SIZES, 200, seen)
    easy, hard, _ = strata.shares
    assert easy.neyman is not None and hard.neyman is not None
    assert easy.neyman < easy.proportional and hard.neyman > hard.proportional
    assert sum(share.neyman or 0 for share in strata.shares) == 200
    assert strata.margin_neyman is not None and strata.margin_proportional is not None
    assert strata.margin_neyman < strata.margin_proportional


def test_a_stratum_with_one_score_tells_no_spread() -> None:
    seen = {"easy": [1.0, 0.0], "hard": [1.0, 0.0], "rare": [1.0]}
    assert shared("kind", SIZES, 100, seen).margin_neyman is None
    assert shared("kind", SIZES, 100, {"easy": [1.0, 0.0]}).margin_neyman is None


def test_three_passes_of_three_are_not_taken_for_no_spread() -> None:
    seen = {"easy": [1.0] * 3, "hard": [1.0, 0.0] * 20, "rare": [1.0, 0.0] * 20}
    easy = shared("kind", SIZES, 100, seen).shares[0]
    assert easy.sd is not None and easy.sd > 0.2
    assert easy.neyman is not None and easy.neyman > 2


def test_equal_spread_in_equal_rates_is_the_margin_of_a_plain_sample() -> None:
    seen = dict.fromkeys(SIZES, [1.0, 0.0] * 500)
    strata = shared("kind", SIZES, 400, seen)
    assert strata.margin_proportional == pytest.approx(margin_of(400, population=1000), rel=2e-3)


def test_the_margin_is_that_of_simulated_stratified_samples() -> None:
    rng = np.random.default_rng(3)
    rates = {"easy": 0.9, "hard": 0.5, "rare": 0.2}
    whole = {
        name: rng.permutation((np.arange(size) < rates[name] * size).astype(float))
        for name, size in SIZES.items()
    }
    seen = {name: values.tolist() for name, values in whole.items()}
    strata = shared("kind", SIZES, 150, seen)
    total = sum(SIZES.values())
    for of in ("proportional", "neyman"):
        means = [
            sum(
                SIZES[share.stratum]
                / total
                * rng.choice(whole[share.stratum], getattr(share, of), replace=False).mean()
                for share in strata.shares
            )
            for _ in range(4000)
        ]
        margin = getattr(strata, f"margin_{of}")
        assert 1.959964 * sqrt(np.var(means)) == pytest.approx(margin, rel=0.05)
