"""Strata share a sample as promised."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import ceil, comb, inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.stats.strata import allocate, neyman

strata = st.dictionaries(st.text(max_size=3), st.integers(0, 400), max_size=12)


@pytest.mark.parametrize(
    ("sizes", "n", "expected"),
    [
        pytest.param({"a": 700, "b": 200, "c": 100}, 384, [269, 77, 38], id="by remainder"),
        pytest.param({"a": 50, "b": 50}, 7, [4, 3], id="a tie goes to the first name"),
        pytest.param({"b": 50, "a": 50}, 7, [3, 4], id="whatever the order"),
        pytest.param({"a": 1000, "b": 10, "c": 1}, 100, [97, 2, 1], id="at least 2 or all"),
        pytest.param({"a": 3, "b": 4}, 99, [3, 4], id="no more than there is"),
        pytest.param({"a": 9, "b": 5, "c": 1}, 4, [2, 1, 1], id="too few: rounds by size"),
        pytest.param({"a": 1, "b": 5, "c": 9}, 2, [0, 1, 1], id="fewer than strata"),
        pytest.param({"a": 0, "b": 5}, 3, [0, 3], id="an empty stratum"),
        pytest.param({"a": 5, "b": 5}, 0, [0, 0], id="nothing to share"),
        pytest.param({}, 5, [], id="no strata"),
        pytest.param({"a": 0}, 5, [0], id="no items"),
    ],
)
def test_shares_in_proportion(sizes: dict[str, int], n: int, expected: list[int]) -> None:
    shares = allocate(sizes, n)
    assert list(shares) == list(sizes)
    assert list(shares.values()) == expected


@pytest.mark.parametrize(
    ("sizes", "sds", "n", "expected"),
    [
        pytest.param((1000, 1000), (1, 3), 100, (25, 75), id="by spread"),
        pytest.param((300, 100), (1, 3), 40, (20, 20), id="size times spread"),
        pytest.param((1000, 30), (1, 100), 100, (70, 30), id="a full stratum frees the rest"),
        pytest.param((1000, 1000), (0, 1), 100, (2, 98), id="no spread still gets 2"),
        pytest.param((10, 10), (1, 0), 15, (10, 5), id="the rest goes where there is room"),
        pytest.param((30, 10), (0, 0), 8, (6, 2), id="no spread at all: by size"),
    ],
)
def test_shares_by_spread(
    sizes: tuple[int, int], sds: tuple[float, float], n: int, expected: tuple[int, int]
) -> None:
    shares = neyman(dict(zip("ab", sizes, strict=True)), dict(zip("ab", sds, strict=True)), n)
    assert tuple(shares.values()) == expected


def check_bounds(sizes: dict[str, int], shares: dict[str, int], n: int) -> None:
    assert sum(shares.values()) == min(n, sum(sizes.values()))
    assert all(0 <= shares[name] <= size for name, size in sizes.items())
    if n >= sum(min(2, size) for size in sizes.values()):
        assert all(shares[name] >= min(2, size) for name, size in sizes.items())


@given(strata, st.integers(0, 5000))
def test_proportional_shares_add_up_and_keep_their_bounds(sizes: dict[str, int], n: int) -> None:
    shares = allocate(sizes, n)
    check_bounds(sizes, shares, n)
    assert list(shares) == list(sizes)


@given(strata, st.integers(0, 5000), st.data())
def test_neyman_shares_add_up_and_keep_their_bounds(
    sizes: dict[str, int], n: int, data: st.DataObject
) -> None:
    sd = st.one_of(st.just(0.0), st.floats(0, 1e6))
    sds = {name: data.draw(sd) for name in sizes}
    check_bounds(sizes, neyman(sizes, sds, n), n)


@given(strata, st.integers(0, 5000), st.floats(1e-6, 1e6))
def test_equal_spread_is_proportional(sizes: dict[str, int], n: int, sd: float) -> None:
    assert neyman(sizes, dict.fromkeys(sizes, sd), n) == allocate(sizes, n)


@given(strata, st.floats(0, 1))
def test_no_stratum_is_an_item_away_from_its_quota(sizes: dict[str, int], share: float) -> None:
    total = sum(sizes.values())
    # From here on no quota is below what each stratum has at least.
    whole = [size for size in sizes.values() if size]
    least = max((ceil(min(2, size) * total / size) for size in whole), default=0)
    n = round(least + share * (total - least))
    for name, taken in allocate(sizes, n).items():
        assert abs(taken - n * sizes[name] / max(1, total)) < 1


@given(strata, st.integers(0, 3000), st.integers(1, 500))
def test_a_larger_sample_takes_at_most_one_item_back_from_a_stratum(
    sizes: dict[str, int], n: int, more: int
) -> None:
    before, after = allocate(sizes, n), allocate(sizes, n + more)
    assert all(after[name] >= before[name] - 1 for name in sizes)


@given(strata, st.floats(0, 1, exclude_max=True))
def test_samples_too_small_for_two_each_are_nested(sizes: dict[str, int], share: float) -> None:
    n = int(share * sum(min(2, size) for size in sizes.values()))
    before, after = allocate(sizes, n), allocate(sizes, n + 1)
    assert all(after[name] >= before[name] for name in sizes)


def test_the_alabama_paradox_is_as_documented() -> None:
    sizes = {"a": 600, "b": 600, "c": 200}
    assert allocate(sizes, 24) == {"a": 10, "b": 10, "c": 4}
    assert allocate(sizes, 25) == {"a": 11, "b": 11, "c": 3}


@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 60))
def test_the_order_of_strata_does_not_matter(names: list[str], n: int) -> None:
    sizes = {"a": 20, "b": 20, "c": 13, "d": 7}
    assert allocate({name: sizes[name] for name in names}, n) == allocate(sizes, n)


@pytest.mark.parametrize("seed", range(20))
def test_neyman_comes_within_a_rounding_of_the_best_of_all_allocations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = {name: int(size) for name, size in zip("abc", rng.integers(3, 25, 3), strict=True)}
    sds = {name: float(sd) for name, sd in zip("abc", rng.uniform(0.1, 3, 3), strict=True)}
    n = int(rng.integers(6, sum(sizes.values()) + 1))

    def variance(shares: dict[str, int]) -> float:
        return sum((sizes[h] * sds[h]) ** 2 * (1 / shares[h] - 1 / sizes[h]) for h in sizes)

    options = [
        dict(zip("abc", option, strict=True))
        for option in product(*(range(2, sizes[name] + 1) for name in "abc"))
        if sum(option) == n
    ]
    assert len(options) <= comb(n, 2)
    best = min(map(variance, options))
    chosen = neyman(sizes, sds, n)
    assert variance(chosen) <= best * 1.1 + 1e-9
    assert variance(chosen) <= variance(allocate(sizes, n)) * 1.02 + 1e-9


def test_strata_that_make_no_sense_are_refused() -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: allocate({"a": -1}, 3), "negative"),
        (lambda: allocate({"a": 1}, -3), "negative"),
        (lambda: neyman({"a": 1, "b": 2}, {"a": 1.0}, 2), r"same strata.*b"),
        (lambda: neyman({"a": 1}, {"a": -1.0}, 1), "sd of stratum 'a'"),
        (lambda: neyman({"a": 1}, {"a": nan}, 1), "sd of stratum 'a'"),
        (lambda: neyman({"a": 1}, {"a": inf}, 1), "sd of stratum 'a'"),
    ]
    for call, words in cases:
        with pytest.raises(ValueError, match=words):
            call()
