"""A jury: the rules by hand, and what each member adds against counting."""

from __future__ import annotations

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from llm_batch.stats.jury import RULES, Rule, combined, jury, most_common


@pytest.mark.parametrize(
    ("votes", "rule", "min_votes", "verdict"),
    [
        ((1, 1, 0), "majority", 1, 1),
        ((1, 0), "majority", 1, None),
        ((5, 5, 4, 3, 2), "majority", 1, 5),
        ((2, 5, 5, 2, 1), "majority", 1, None),
        ((1, 0, None), "majority", 1, None),
        ((1, None, None), "majority", 2, None),
        ((1, None, 1), "majority", 2, 1),
        ((1, 2, 6), "mean", 1, 3),
        ((1, 2, 6), "median", 1, 2),
        ((1, 2, None), "median", 1, 1.5),
        ((5, 4, 2), "all", 1, 2),
        ((5, 4, 2), "any", 1, 5),
        ((None, None), "any", 1, None),
    ],
)
def test_the_rules(
    votes: tuple[float | None, ...], rule: Rule, min_votes: int, verdict: float | None
) -> None:
    assert combined(votes, rule, min_votes) == verdict


def test_words_have_a_majority_too() -> None:
    assert most_common(["no", "yes", None, "no"]) == "no"
    assert most_common(["no", "yes"]) is most_common([None]) is most_common([]) is None


def test_what_makes_no_sense_is_refused() -> None:
    for call, words in (
        (lambda: combined([1], "most"), "majority, mean"),  # type: ignore[arg-type]
        (lambda: combined([1], "mean", 0), "min_votes"),
        (lambda: combined([nan], "mean"), "finite"),
        (lambda: jury([(1, 0), (1, 0, 1)], "mean"), "each member"),
        (lambda: jury([(1,)], "mean"), "at least 2"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# 60 items on which all agree, 20 on which the last stands alone, 10 that miss a vote, 5 ties.
VOTES = (
    [(1, 1, 1)] * 40 + [(0, 0, 0)] * 20 + [(1, 1, 0)] * 20
    + [(0, 1, 1)] * 5 + [(None, 1, 1)] * 8 + [(None, None, 1)] * 2 + [(1, 0, None)] * 5
)  # fmt: skip


def test_who_decides_and_what_a_smaller_jury_says() -> None:
    found = jury(VOTES, "majority", min_votes=2)
    assert (found.verdict.value, found.verdict.n) == (73 / 93, 93)
    assert (found.ties, found.too_few) == (5, 2)
    assert (found.unanimous.value, found.unanimous.n) == (68 / 93, 93)
    first, _, last = found.members
    assert (first.votes, last.votes) == (90, 95)
    # Without the first 20 items (1, 0) are tied; its own 5 lone votes changed nothing.
    assert (first.decisive.value, first.undecided) == (20 / 85, 20)
    assert (first.without.value, first.without.n) == (53 / 73, 73)
    # Without the last, (0, 1) is tied and (None, 1) is too few; never another verdict.
    assert (last.undecided, last.decisive.value) == (13, 13 / 93)
    assert (last.agrees.value, last.change.value) == (73 / 93, 0)
    assert last.change.low is not None and last.change.low < 0
    both = [(a, c) for a, _, c in VOTES if a is not None and c is not None]
    assert found.kappas[0, 2].value == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))


def test_scores_are_compared_by_their_threshold_where_there_is_one() -> None:
    votes = [(5, 4, 1), (3, 3, 3), (5, 5, 5), (2, 4, 5)] * 5  # means 3.3, 3, 5, 3.7
    raw, passing = jury(votes, "mean"), jury(votes, "mean", pass_at=3.5, scale="nominal")
    assert raw.verdict.value == pytest.approx((10 / 3 + 3 + 5 + 11 / 3) / 4)
    assert raw.members[2].without.value == pytest.approx((4.5 + 3 + 5 + 3) / 4)
    assert raw.members[2].change.value == pytest.approx(3.875 - 3.75)
    assert passing.verdict.value == 0.5
    # Without the last: 4.5 passes where it failed, 3 fails where it passed.
    assert (passing.members[2].decisive.value, passing.members[2].change.value) == (0.5, 0)


@given(
    st.lists(st.tuples(*[st.sampled_from([None, 0.0, 1.0, 2.0])] * 3), max_size=30),
    st.sampled_from(RULES),
    st.sampled_from([None, 1.0]),
)
def test_any_votes_give_figures_within_bounds(
    votes: list[tuple[float | None, ...]], rule: Rule, pass_at: float | None
) -> None:
    found = jury(votes, rule, 2, pass_at)
    assert found.ties + found.too_few + found.verdict.n == len(votes)
    assert rule == "majority" or not found.ties
    for each in found.members:
        for share in (each.decisive, each.agrees, found.unanimous):
            if share.value is not None:
                assert share.low is not None and share.high is not None
                assert 0 <= share.low <= share.value <= share.high <= 1
