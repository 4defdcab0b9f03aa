"""A jury: several votes on one item, the verdict they come to, and what each member adds.

A vote is a number, ``None`` where a member has none. Verdicts of yes and no are 1 and 0, words
are numbered by the caller. What is said of a smaller jury costs nothing: it is the same votes
with one left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from statistics import fmean, median
from typing import Literal, TypeVar, get_args

from llm_batch.records import Interval
from llm_batch.stats.agreement import Scale, Weights, cohen_kappa, krippendorff_alpha
from llm_batch.stats.compare import paired_difference, paired_mean_difference
from llm_batch.stats.interval import wilson, z_value
from llm_batch.stats.means import mean_t, with_width

V = TypeVar("V", bound=Hashable)

Rule = Literal["majority", "mean", "median", "all", "any"]

#: How votes become one verdict, by name.
RULES: tuple[Rule, ...] = get_args(Rule)

#: Another one: from the votes that were cast, one at least, to a verdict.
OwnRule = Callable[[Sequence[float]], float | None]

#: Kappa of more classes than this says little of each, and is left out.
MOST_CLASSES = 20

_WEIGHTS: Mapping[Scale, Weights] = {
    "nominal": "none",
    "ordinal": "linear",
    "interval": "quadratic",
}

Votes = tuple[float | None, ...]


def combined(
    values: Iterable[float | None], rule: Rule | OwnRule, min_votes: int = 1
) -> float | None:
    """Combine the votes on one item.

    ``majority`` is the vote that most members give, and nothing where two are given equally
    often: a tie is no verdict. ``all`` is the least vote and ``any`` the greatest, so that of
    yes and no they are what their names say, and a threshold on scores is reached by all members
    or by any. The ``median`` of an even number is the mean of the two in the middle.

    Args:
        values: The votes; ``None`` where a member failed or could not be read.
        min_votes: With fewer votes there is no verdict.

    Returns:
        The verdict, in the unit of the votes; ``None`` for a tie or too few votes.

    Raises:
        ValueError: An unknown rule, ``min_votes`` below 1, or a vote that is NaN or infinite.

    Known answers: 1, 1, 0 -> 1 by majority, median and any, 0 by all, 2/3 by mean.
    """
    if not callable(rule) and rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    if min_votes < 1:
        raise ValueError(f"min_votes must be at least 1, got {min_votes}")
    votes = [float(value) for value in values if value is not None]
    if not all(map(isfinite, votes)):
        raise ValueError("votes must be finite numbers; a vote that is missing is None")
    if len(votes) < min_votes:
        return None
    if callable(rule):
        return rule(votes)
    if rule == "majority":
        return most_common(votes)
    if rule == "mean":
        return fmean(votes)
    if rule == "median":
        return float(median(votes))
    return min(votes) if rule == "all" else max(votes)


def most_common(values: Iterable[V | None]) -> V | None:
    """The vote that is given most often, words as well as numbers; ``None`` for a tie or none.

    Known answers: a, b, a -> a; a, b -> ``None``.
    """
    first, second = [*Counter(v for v in values if v is not None).most_common(2), None, None][:2]
    if first is None or (second is not None and second[1] == first[1]):
        return None
    return first[0]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a jury, and what the jury would be without it.

    Attributes:
        votes: Items that it voted on.
        own: Its own pass rate, or its mean score.
        agrees: Share of the items with its vote and a verdict on which both are the same.
        decisive: Share of these items on which the others alone would have said something else,
            or nothing.
        undecided: Items of these on which the others alone come to no verdict.
        without: Pass rate or mean of the jury without it.
        change: `without` less the jury's own, on the items that both decide.
    """

    votes: int
    own: Interval
    agrees: Interval
    decisive: Interval
    undecided: int
    without: Interval
    change: Interval


@dataclass(frozen=True, slots=True)
class Jury:
    """How far a jury agrees, and who decides.

    Attributes:
        verdict: Its pass rate, or its mean score; ``n`` counts the items it decided.
        ties: Items with votes enough and no verdict.
        too_few: Items with fewer votes than asked for.
        unanimous: Share of decided items with two votes or more on which all say the same.
        alpha: Krippendorff's alpha over all members.
        kappas: Cohen's kappa of each pair of members, by their places; without a value where it
            is undefined or there are more than `MOST_CLASSES` classes.
        members: In the order of the votes.
    """

    verdict: Interval
    ties: int
    too_few: int
    unanimous: Interval
    alpha: Interval
    kappas: Mapping[tuple[int, int], Interval]
    members: tuple[Member, ...]


def jury(
    votes: Iterable[Sequence[float | None]] | Mapping[Votes, int],
    rule: Rule | OwnRule,
    min_votes: int = 1,
    pass_at: float | None = None,
    scale: Scale = "nominal",
    level: float = 0.95,
) -> Jury:
    """Say how far the members of a jury agree, and what each of them adds.

    Without a member the jury needs ``min_votes`` votes all the same, or all of those that are
    left where these are fewer.

    Args:
        votes: ``votes[item][member]``, or a count of items by their votes.
        pass_at: A vote or verdict of at least this passes, and passes are what is compared;
            without it verdicts are compared as they are. With ``mean`` nearly every vote then
            moves the verdict, so set it there.
        scale: Of the votes, for alpha and kappa: ordinal ones are weighted linearly, those of an
            interval scale quadratically.

    Raises:
        ValueError: Items differ in their number of members, of which there must be two or more;
            or as `combined`.

    Leave-one-out changes are those of the power to swing a vote (Banzhaf 1965), counted over the
    votes that were cast. Pass rates differ by Tango's interval, means by the paired t.
    """
    z_value(level)
    counted = _counted(votes)
    size = len(next(iter(counted), ()))
    if counted and size < 2:
        raise ValueError(f"a jury has at least 2 members, got {size}")
    found = {cast: _verdict(combined(cast, rule, min_votes), pass_at) for cast in counted}
    ballots = {cast: tuple(_verdict(vote, pass_at) for vote in cast) for cast in counted}
    cast_by = {cast: sum(vote is not None for vote in cast) for cast in counted}
    decided = {cast: n for cast, n in counted.items() if found[cast] is not None}
    several = {cast: n for cast, n in decided.items() if cast_by[cast] > 1}
    agree = sum(n for cast, n in several.items() if len(set(ballots[cast]) - {None}) == 1)
    too_few = sum(n for cast, n in counted.items() if cast_by[cast] < min_votes)
    by_ballot: Counter[Votes] = Counter()
    for cast, n in counted.items():
        by_ballot[ballots[cast]] += n
    return Jury(
        verdict=_level_of([(found[cast], n) for cast, n in counted.items()], level),
        ties=sum(counted.values()) - sum(decided.values()) - too_few,
        too_few=too_few,
        unanimous=wilson(agree, sum(several.values()), level),
        alpha=krippendorff_alpha(by_ballot, scale, level),
        kappas={
            (i, j): _kappa(by_ballot, i, j, scale, level) for i, j in combinations(range(size), 2)
        },
        members=tuple(
            _member(m, counted, found, ballots, rule, min_votes, pass_at, level)
            for m in range(size)
        ),
    )


def _counted(votes: Iterable[Sequence[float | None]] | Mapping[Votes, int]) -> Counter[Votes]:
    pairs = votes.items() if isinstance(votes, Mapping) else ((tuple(v), 1) for v in votes)
    counted: Counter[Votes] = Counter()
    for cast, n in pairs:
        counted[cast] += n
    if len({len(cast) for cast in counted}) > 1:
        raise ValueError("every item must have a vote, or None, of each member")
    return counted


def _verdict(value: float | None, pass_at: float | None) -> float | None:
    return value if value is None or pass_at is None else float(value >= pass_at)


def _level_of(values: Iterable[tuple[float | None, int]], level: float) -> Interval:
    """The pass rate of verdicts that are 1 and 0, the mean of others; how often each comes."""
    there = [(value, n) for value, n in values if value is not None]
    if {value for value, _ in there} <= {0.0, 1.0}:
        passed = sum(n for value, n in there if value)
        return wilson(passed, sum(n for _, n in there), level)
    return with_width(mean_t([value for value, n in there for _ in range(n)], level))


def _member(
    m: int,
    counted: Mapping[Votes, int],
    found: Mapping[Votes, float | None],
    ballots: Mapping[Votes, Votes],
    rule: Rule | OwnRule,
    min_votes: int,
    pass_at: float | None,
    level: float,
) -> Member:
    own: list[tuple[float | None, int]] = []
    others: list[tuple[float | None, int]] = []
    differences: list[tuple[float, int]] = []
    votes = judged = agrees = decisive = undecided = 0
    for cast, n in counted.items():
        rest = cast[:m] + cast[m + 1 :]
        alone = _verdict(combined(rest, rule, min(min_votes, len(rest))), pass_at)
        whole, mine = found[cast], ballots[cast][m]
        own.append((mine, n))
        others.append((alone, n))
        votes += n if mine is not None else 0
        if whole is None:
            continue
        if alone is not None:
            differences.append((alone - whole, n))
        if mine is not None:
            judged += n
            agrees += n if mine == whole else 0
            decisive += n if alone != whole else 0
            undecided += n if alone is None else 0
    return Member(
        votes=votes,
        own=_level_of(own, level),
        agrees=wilson(agrees, judged, level),
        decisive=wilson(decisive, judged, level),
        undecided=undecided,
        without=_level_of(others, level),
        change=_change(differences, level),
    )


def _change(differences: Sequence[tuple[float, int]], level: float) -> Interval:
    if {value for value, _ in differences} <= {-1.0, 0.0, 1.0}:
        gained = sum(n for value, n in differences if value > 0)
        lost = sum(n for value, n in differences if value < 0)
        return paired_difference(gained, lost, sum(n for _, n in differences), level)
    return paired_mean_difference([v for v, n in differences for _ in range(n)], level)[0]


def _kappa(by_ballot: Mapping[Votes, int], i: int, j: int, scale: Scale, level: float) -> Interval:
    pairs: Counter[tuple[float, float]] = Counter()
    for cast, n in by_ballot.items():
        one, other = cast[i], cast[j]
        if one is not None and other is not None:
            pairs[one, other] += n
    classes = sorted({value for pair in pairs for value in pair})
    if not 2 <= len(classes) <= MOST_CLASSES:
        return Interval(None, None, None, level, sum(pairs.values()), "kappa")
    table = [[pairs[one, other] for other in classes] for one in classes]
    return cohen_kappa(table, _WEIGHTS[scale], level).interval
