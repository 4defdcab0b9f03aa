"""The seeded order and samples of it."""

from __future__ import annotations

from array import array
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.dataset import selection
from llm_batch.dataset.selection import in_order, in_strata_order, order_key, order_keys
from llm_batch.stats.strata import allocate

U64 = st.integers(min_value=0, max_value=2**64 - 1)
SEEDS = st.integers(min_value=-(2**70), max_value=2**70)


def keys_of(ids: list[str], seed: int = 42) -> tuple[array[int], array[int]]:
    pairs = [order_key(seed, item_id) for item_id in ids]
    return array("Q", [first for first, _ in pairs]), array("Q", [second for _, second in pairs])


def stratified(members: list[int], shares: list[int]) -> list[int]:
    firsts, seconds = keys_of([f"row-{n}" for n in range(len(members))])
    return list(in_strata_order(firsts, seconds, members, shares))


@given(seed=SEEDS, item_id=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_key_is_the_documented_hash_of_seed_and_id(seed: int, item_id: str) -> None:
    digest = blake2b(f"{seed}\n{item_id}".encode(), digest_size=16).hexdigest()
    assert "{:016x}{:016x}".format(*order_key(seed, item_id)) == digest
    several = zip(*order_keys(seed, ["q", item_id]), strict=True)
    assert list(several) == [order_key(seed, "q"), order_key(seed, item_id)]


def test_the_order_never_changes_between_versions() -> None:
    """Were this to change, a resumed run would draw other items than those already paid for."""
    ids = [f"geo-{n:03}" for n in range(8)]
    firsts, seconds = keys_of(ids, seed=42)
    assert order_key(42, "geo-001")[0] == 2100765816538027101
    assert list(in_order(firsts, seconds)) == [5, 1, 7, 3, 4, 2, 6, 0]


def test_another_seed_gives_another_order() -> None:
    ids = [str(n) for n in range(100)]
    assert list(in_order(*keys_of(ids, seed=1))) != list(in_order(*keys_of(ids, seed=2)))


@given(pairs=st.lists(st.tuples(U64, U64), max_size=300), cut=st.integers(1, 50))
def test_the_order_is_that_of_a_plain_sort_however_it_is_cut(
    pairs: list[tuple[int, int]], cut: int
) -> None:
    firsts = array("Q", [first for first, _ in pairs])
    seconds = array("Q", [second for _, second in pairs])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_SLICE", cut)
        got = list(in_order(firsts, seconds))
    assert got == sorted(range(len(pairs)), key=lambda index: pairs[index])


def test_the_first_items_are_spread_evenly_over_the_file() -> None:
    """A chi-square over 20 parts of a file; 43.8 is its 99.9 % point at 19 degrees."""
    order = list(in_order(*keys_of([str(n) for n in range(20_000)])))
    counts = [0] * 20
    for index in order[:2_000]:
        counts[index // 1_000] += 1
    assert sum((count - 100) ** 2 / 100 for count in counts) < 43.8


MEMBERS = st.lists(st.integers(0, 5), min_size=1, max_size=200)


@st.composite
def drawings(draw: st.DrawFn) -> tuple[list[int], int]:
    members = draw(MEMBERS)
    return members, draw(st.integers(1, len(members)))


def shares_of(members: list[int], n: int) -> list[int]:
    sizes = {str(stratum): members.count(stratum) for stratum in range(6)}
    return list(allocate(sizes, n).values())


@given(drawings())
def test_a_stratified_sample_takes_the_first_of_each_stratum_in_its_own_order(
    drawing: tuple[list[int], int],
) -> None:
    members, n = drawing
    shares = shares_of(members, n)
    got = stratified(members, shares)
    whole = list(in_order(*keys_of([f"row-{index}" for index in range(len(members))])))
    for stratum, share in enumerate(shares):
        own = [index for index in whole if members[index] == stratum]
        assert [index for index in got if members[index] == stratum] == own[:share]
    assert len(got) == n


@given(drawings())
def test_every_prefix_of_a_stratified_sample_is_close_to_its_shares(
    drawing: tuple[list[int], int],
) -> None:
    members, n = drawing
    shares = shares_of(members, n)
    strata = sum(share > 0 for share in shares)
    counts = [0] * len(shares)
    for length, index in enumerate(stratified(members, shares), 1):
        counts[members[index]] += 1
        for count, share in zip(counts, shares, strict=True):
            assert abs(count - length * share / n) <= 0.5 + strata * share / (2 * n) + 1e-9


def test_strata_take_turns_by_share() -> None:
    got = stratified([0] * 60 + [1] * 30, [6, 3])
    assert [index // 60 for index in got] == [0, 1, 0, 0, 1, 0, 0, 1, 0]
