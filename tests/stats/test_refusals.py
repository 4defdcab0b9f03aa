"""A plan that makes no sense is refused, and planning imports nothing slow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from math import inf, nan

import pytest

from llm_batch.stats.clusters import design_effect
from llm_batch.stats.sizes import (
    cochran,
    imperfect_judge_factor,
    margin_of,
    mean_size,
    paired_rates_size,
    paired_scores_size,
    sample_size,
    two_rates_size,
    zero_failures_size,
)


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.2, 5, nan, inf])
def test_fractions_outside_0_and_1_are_refused(bad: float) -> None:
    for call in (
        lambda: cochran(bad),
        lambda: cochran(0.05, bad),
        lambda: cochran(0.05, 0.95, bad),
        lambda: sample_size(bad),
        lambda: margin_of(10, 0.95, bad),
        lambda: margin_of(10, bad),
        lambda: mean_size(1, 1, bad),
        lambda: two_rates_size(bad, 0.5),
        lambda: two_rates_size(0.5, bad),
        lambda: two_rates_size(0.4, 0.5, bad),
        lambda: two_rates_size(0.4, 0.5, 0.95, bad),
        lambda: paired_rates_size(0.1, 0.2, 0.95, bad),
        lambda: paired_scores_size(0.1, 0.2, power=bad),
        lambda: zero_failures_size(bad),
        lambda: zero_failures_size(0.1, bad),
    ):
        with pytest.raises(ValueError, match=r"between 0 and 1|power"):
            call()


@pytest.mark.parametrize("bad", [0.0, -1.0, nan, inf])
def test_spreads_and_margins_of_means_must_be_positive(bad: float) -> None:
    calls: list[Callable[[], object]] = [
        lambda: mean_size(bad, 0.1),
        lambda: mean_size(1.0, bad),
        lambda: paired_scores_size(0.1, bad),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"above 0|negative"):
            call()


def test_questions_without_an_answer_are_refused() -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: two_rates_size(0.8, 0.8), "equal rates"),
        (lambda: paired_rates_size(0, 0.1), "delta"),
        (lambda: paired_rates_size(0.2, 0.1), "discordance"),
        (lambda: paired_rates_size(0.2, 1.1), "discordance"),
        (lambda: paired_scores_size(0, 0.1), "delta"),
        (lambda: paired_scores_size(0.1, 0.1, -1), "negative"),
        (lambda: paired_scores_size(0.1, 0.1, repeats_a=0), "repeats"),
        (lambda: design_effect(0.5, 0.1), "cluster_size"),
        (lambda: design_effect(2, 1.1), "rho"),
        (lambda: imperfect_judge_factor(1.1, 0.5), "within"),
        (lambda: imperfect_judge_factor(0.7, 0.3), "chance"),
        (lambda: imperfect_judge_factor(0.2, 0.3), "chance"),
        (lambda: margin_of(0), "at least 1"),
        (lambda: margin_of(11, population=10), "population of 10"),
        (lambda: sample_size(0.05, population=0), "population"),
        (lambda: mean_size(1, 1, population=0), "population"),
        (lambda: cochran(1e-200), "beyond any number"),
        (lambda: mean_size(1, 1e-200), "beyond any number"),
    ]
    for call, words in cases:
        with pytest.raises(ValueError, match=words):
            call()


def test_planning_loads_neither_scipy_nor_numpy() -> None:
    code = (
        "import sys; from llm_batch.stats import audit, clusters, repeats, sizes, strata;"
        "sizes.sample_size(population=30000); strata.neyman({'a': 9}, {'a': 1.0}, 3);"
        "sizes.two_rates_size(0.8, 0.83); sizes.zero_failures_size(0.1, population=50);"
        "sizes.size_for(sizes.rate_spread(0.5, 0.9, 0.9), 0.05);"
        "print({'scipy', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
