"""Agreement of several raters: Krippendorff's example, the package's answers, and edges."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_batch.stats.agreement import Scale, krippendorff_alpha, self_consistency

__ = None
#: Krippendorff (2011), example C: four observers, twelve units, missing data.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, __, __, __],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, __, 3],
    [__, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, __],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, __],
]
EXAMPLE = list(zip(*OBSERVERS, strict=True))
ratings = st.lists(
    st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=3, max_size=3), max_size=12
)
scales = st.sampled_from(["nominal", "ordinal", "interval"])


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_krippendorffs_example(scale: Scale, alpha: float) -> None:
    made = krippendorff_alpha(EXAMPLE, scale)
    assert made.value == pytest.approx(alpha, abs=5e-4)
    assert made.n == 11
    assert made.low is not None and made.high is not None
    assert made.low < alpha < made.high


def test_alpha_of_krippendorffs_binary_example() -> None:
    # Krippendorff (2011), example A: two observers, ten units.
    first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    made = krippendorff_alpha(zip(first, second, strict=True))
    assert made.value == pytest.approx(0.095, abs=5e-4)


@settings(max_examples=60, deadline=None)
@given(items=ratings, scale=scales)
def test_alpha_agrees_with_the_package_krippendorff(
    items: list[list[int | None]], scale: Scale
) -> None:
    package = pytest.importorskip("krippendorff")
    import numpy

    made = krippendorff_alpha(items, scale)
    if made.value is None:
        there = [[r for r in item if r is not None] for item in items]
        assert len({r for item in there if len(item) > 1 for r in item}) < 2
        return
    table = [[math.nan if r is None else r for r in item] for item in items]
    oracle = package.alpha(numpy.array(table, dtype=float).T, level_of_measurement=scale)
    assert made.value == pytest.approx(oracle, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(items=ratings, scale=scales)
def test_alpha_is_never_nan_and_its_bounds_have_a_width(
    items: list[list[int | None]], scale: Scale
) -> None:
    made = krippendorff_alpha(items, scale)
    if made.low is not None and made.high is not None:
        assert made.value is not None
        assert made.low <= made.value <= made.high
        assert made.low < made.high
    assert made.value is None or math.isfinite(made.value)


def test_items_counted_by_their_ratings_give_the_same_as_items_one_by_one() -> None:
    counted = Counter(EXAMPLE * 3)
    assert krippendorff_alpha(counted, "ordinal") == krippendorff_alpha(EXAMPLE * 3, "ordinal")


@pytest.mark.parametrize(
    "items",
    [[], [(1, None), (2,)], [(1, 1), (1, 1)]],
    ids=["no items", "one rating each", "one value only"],
)
def test_alpha_is_null_where_it_is_undefined(items: list[tuple[float | None, ...]]) -> None:
    made = krippendorff_alpha(items)
    assert (made.value, made.low, made.high) == (None, None, None)


def test_full_agreement_claims_no_bounds() -> None:
    made = krippendorff_alpha([(1, 1), (2, 2), (3, 3)])
    assert (made.value, made.low, made.high) == (1, None, None)


def test_many_different_scores_take_no_table_of_pairs() -> None:
    items = [(float(i), float(i) + (i % 3)) for i in range(3000)]
    made = krippendorff_alpha(items, "interval")
    assert made.value is not None and made.value > 0.999


def test_the_same_data_gives_the_same_bounds() -> None:
    assert krippendorff_alpha(EXAMPLE) == krippendorff_alpha(EXAMPLE)


def test_the_bounds_hold_the_true_alpha_about_as_often_as_they_say() -> None:
    import numpy

    generator = numpy.random.default_rng(3)

    def drawn(n: int) -> Counter[tuple[float | None, ...]]:
        truth = generator.integers(0, 2, n)
        noise = generator.random((n, 2)) < 0.1
        return Counter(tuple(map(float, row)) for row in truth[:, None] ^ noise)

    true = krippendorff_alpha(drawn(100_000)).value
    assert true is not None
    held = 0
    for _run in range(150):
        made = krippendorff_alpha(drawn(100))
        held += made.low is not None and made.high is not None and made.low <= true <= made.high
    assert held >= 0.9 * 150


def test_self_consistency_of_a_known_case() -> None:
    made = self_consistency([(1, 1), (1, 0), (0, 0), (1, 1), (1, None)])
    assert made.all_agree.value == 0.75 and made.all_agree.n == 4
    assert made.within.value == 0.75


def test_within_item_agreement_counts_pairs() -> None:
    made = self_consistency([(1, 1, 0), (1, 1, 1)])
    assert made.all_agree.value == 0.5
    assert made.within.value == pytest.approx((1 / 3 + 1) / 2)


def test_equal_items_claim_no_bounds_within() -> None:
    made = self_consistency([(1, 1)] * 9)
    assert made.within.value == 1 and made.within.low is None
    assert made.all_agree.low is not None and made.all_agree.low < 1


def test_ratings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        krippendorff_alpha([(1.0, math.nan)])
    with pytest.raises(ValueError, match="scale"):
        krippendorff_alpha([(1.0, 2.0)], "ratio")  # type: ignore[arg-type]
