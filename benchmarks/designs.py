"""Settings of `coverage.py` for juries, repeats, pairs, audits and several scores.

Each is an interval's name, the setting in words, the truth, and a function that draws one run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import combinations, product
from math import asin, exp, pi, prod

from pairs import JUDGES, drawn

from llm_batch.records import Interval
from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.calibrate import ppi_mean, ppi_rate
from llm_batch.stats.jury import Member, Rule, Votes, combined, jury
from llm_batch.stats.pairs import bradley_terry, pair_rates
from llm_batch.stats.repeats import flip_rate, pass_at_k, pass_hat_k, repeated_mean
from llm_batch.stats.several import pearson, spearman

Drawn = Callable[[random.Random], Interval]
Row = tuple[str, str, float, Drawn]

_GRID = 20_000


def designs() -> Iterator[Row]:
    """All of them."""
    for items in (20, 50, 200):
        for n, k, shape in ((3, 2, (0.5, 0.5)), (10, 5, (4.0, 1.0)), (5, 4, (20.0, 1.0))):
            yield from _repeats(items, n, k, shape)
        for repeats in (2, 5):
            yield from _flips(items, repeats)
        yield _scores(items)
        yield from _juries(items)
        for name in JUDGES:
            for swap in (0.0, 0.2, 1.0):
                yield from _pairs(name, items, swap)
    for items in (60, 300):
        for strengths in ((1.0, 0.0, -1.0), (0.5, 0.2, 0.0, -0.5, 1.0)):
            yield _ranking(items, strengths)
    for items, audited in ((300, 30), (1000, 100)):
        for rate in (0.7, 0.95):
            yield _audit(items, audited, rate)
        yield _audit_of_scores(items, audited)
    for items in (20, 100, 400):
        for points in (1, 100):
            yield from _correlated(items, points)


def _beta(shape: tuple[float, float]) -> list[float]:
    """Quantiles of a beta distribution: means over them are its integrals."""
    from scipy.special import betaincinv

    return [float(p) for p in betaincinv(*shape, [(i + 0.5) / _GRID for i in range(_GRID)])]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _repeats(items: int, n: int, k: int, shape: tuple[float, float]) -> Iterator[Row]:
    rates = _beta(shape)

    def passes(draw: random.Random) -> list[tuple[int, int]]:
        chances = [draw.betavariate(*shape) for _ in range(items)]
        return [(n, sum(draw.random() < chance for _ in range(n))) for chance in chances]

    note = f"{items} items, {n} answers, k={k}, beta{shape}"
    some, every = _mean([1 - (1 - p) ** k for p in rates]), _mean([p**k for p in rates])
    yield "pass@k", note, some, lambda draw: pass_at_k(passes(draw), k)
    yield "pass^k", note, every, lambda draw: pass_hat_k(passes(draw), k)


def _flips(items: int, repeats: int) -> Iterator[Row]:
    for shape in ((0.5, 0.5), (0.05, 0.05)):
        rates = _beta(shape)

        def ratings(draw: random.Random, shape: tuple[float, float] = shape) -> list[list[float]]:
            chances = [draw.betavariate(*shape) for _ in range(items)]
            return [[float(draw.random() < p) for _ in range(repeats)] for p in chances]

        note = f"{items} items, {repeats} verdicts, beta{shape}"
        flips = _mean([2 * p * (1 - p) for p in rates])
        yield "Flip rate", note, flips, lambda draw, made=ratings: flip_rate(made(draw))
        yield (
            "Pass rate with repeats", note, 0.5,
            lambda draw, made=ratings: repeated_mean(made(draw)),
        )  # fmt: skip


def _scores(items: int) -> Row:
    def scores(draw: random.Random) -> Interval:
        made = []
        for i in range(items):
            own = draw.gauss(3, 1)
            made.append([draw.gauss(own, 0.5 + own / 10) for _ in range(1 + i % 4)])
        return repeated_mean(made)

    return "Mean with repeats", f"{items} items, 1 to 4 scores", 3.0, scores


def _juries(items: int) -> Iterator[Row]:
    """Three members, right in 9, 8 and 7 of 10 items, of which 6 in 10 pass; the last left out."""
    right = (0.9, 0.8, 0.7)
    chances: dict[Votes, float] = {}
    for votes in product((0.0, 1.0), repeat=3):
        for passes, share in ((1.0, 0.6), (0.0, 0.4)):
            each = (p if v == passes else 1 - p for v, p in zip(votes, right, strict=True))
            chances[votes] = chances.get(votes, 0.0) + share * prod(each)

    def last(draw: random.Random, rule: Rule) -> Member:
        votes = draw.choices(list(chances), list(chances.values()), k=items)
        return jury(votes, rule).members[2]

    def moved(rule: Rule) -> float:
        """How much the rate moves; `majority` leaves it, as of two that agree none is outvoted."""
        return sum(
            chance * ((combined(votes[:2], rule) or 0.0) - (combined(votes, rule) or 0.0))
            for votes, chance in chances.items()
        )

    split = sum(chance for (one, other, _), chance in chances.items() if one != other)
    note = f"{items} items, 3 members, right in .9 .8 .7"
    yield "Decisive votes", note, split, lambda draw: last(draw, "majority").decisive
    yield "Change without a member", note, moved("any"), lambda draw: last(draw, "any").change


def _pairs(judge: str, items: int, swap: float) -> Iterator[Row]:
    for win, bias in ((0.6, 0.15), (0.85, 0.05)):
        note = f"{items} pairs, {swap:.0%} twice, {judge}, {win:g} {bias:g}"

        def rates(
            draw: random.Random, win: float = win, bias: float = bias
        ) -> tuple[Interval, Interval]:
            found = pair_rates(drawn(draw, JUDGES[judge], items, win, bias, swap))
            return found.win_rate, found.position_bias

        yield "Win rate", note, win, lambda draw, made=rates: made(draw)[0]
        yield "Position bias", note, bias, lambda draw, made=rates: made(draw)[1]


def _ranking(items: int, strengths: tuple[float, ...]) -> Row:
    def rank(draw: random.Random) -> Interval:
        matches = []
        for _ in range(items):
            i, j = draw.choice(list(combinations(range(len(strengths)), 2)))
            chance = 1 / (1 + exp(strengths[j] - strengths[i]))
            matches.append({(i, j): float(draw.random() < chance)})
        return bradley_terry(matches, len(strengths)).chances[0, 1]

    note = f"{items} pairs of {len(strengths)}"
    return "Bradley-Terry", note, 1 / (1 + exp(strengths[1] - strengths[0])), rank


def _audit(items: int, audited: int, rate: float) -> Row:
    def corrected(draw: random.Random) -> Interval:
        cells: dict[tuple[bool, bool], int] = {}
        passed = 0
        for i in range(items):
            right = draw.random() < rate
            cheap = draw.random() < (0.93 if right else 0.25)
            if i < audited:
                cells[right, cheap] = cells.get((right, cheap), 0) + 1
            else:
                passed += cheap
        return ppi_rate(BinaryTable.counted(cells), passed, items - audited).interval

    return "Audit, rate", f"{audited} of {items} audited, rate={rate}", rate, corrected


def _audit_of_scores(items: int, audited: int) -> Row:
    def corrected(draw: random.Random) -> Interval:
        dear, cheap = [], []
        for _ in range(items):
            score = draw.choices((1, 2, 3, 4, 5), (5, 15, 20, 35, 25))[0]
            dear.append(float(score))
            cheap.append(float(min(5, max(1, score + draw.choice((-1, 0, 0, 1, 1))))))
        return ppi_mean(dear[:audited], cheap[:audited], cheap).interval

    return "Audit, mean", f"{audited} of {items} audited, scores 1-5", 3.6, corrected


def _correlated(items: int, points: int) -> Iterator[Row]:
    """Two normal scores with a correlation of .7, in whole points or in hundredths."""
    rho = 0.7

    def columns(draw: random.Random) -> tuple[list[float], list[float]]:
        x = [draw.gauss(0, 1) for _ in range(items)]
        y = [rho * value + (1 - rho**2) ** 0.5 * draw.gauss(0, 1) for value in x]
        return [round(v * points) / points for v in x], [round(v * points) / points for v in y]

    note = f"{items} items, in steps of {1 / points:g}"
    if points == 1:
        huge = random.Random(1)
        x, y = ([], [])
        for _ in range(400_000):
            value = huge.gauss(0, 1)
            x.append(float(round(value)))
            y.append(float(round(rho * value + (1 - rho**2) ** 0.5 * huge.gauss(0, 1))))
        of_values, of_ranks = (made(x, y).value or 0.0 for made in (pearson, spearman))
    else:
        of_values, of_ranks = rho, 6 / pi * asin(rho / 2)
    yield "Pearson", note, of_values, lambda draw: pearson(*columns(draw))
    yield "Spearman", note, of_ranks, lambda draw: spearman(*columns(draw))
