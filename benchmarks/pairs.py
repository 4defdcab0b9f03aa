"""Pairs of outputs judged in one order, in an order drawn, and in both: bias, error, money.

    python benchmarks/pairs.py            # a minute
    python benchmarks/pairs.py --quick

200 items, A wins 60 % over both orders, and what is shown first wins 15 points more often than
half. `cost` counts calls per item, `rmse` is the error of the win rate in points, and `for its
money` that error times the root of the cost: what designs of the same number of calls would come
to, where there are items enough and their outputs cost nothing. `bias off by` is the error of the
position bias, where the design tells one.

Three judges have that bias. One wavers: each verdict is drawn anew. One settles: asked again in
the same order it says the same, so its bias is that of the items it decides by their order. One
errs by items: it wavers, and its bias is 0 for half of the items and twice as large for the rest.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from math import sqrt

from llm_batch.stats.interval import wilson
from llm_batch.stats.pairs import Verdicts, pair_rates

Judge = Callable[[random.Random, float, float], tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=2000, help="runs per setting")
    parser.add_argument("--quick", action="store_true", help="200 runs")
    asked = parser.parse_args()
    runs = 200 if asked.quick else asked.runs
    print(f"{runs:,} runs a setting, level 95 %, errors in points\n")
    head = ("judge", "design", "cost", "bias", "rmse", "for its money", "covers", "bias off by")
    print("{:<14}{:<26}{:>6}{:>8}{:>7}{:>15}{:>8}{:>13}".format(*head))
    for judge in JUDGES:
        for design, swap in DESIGNS.items():
            print(_line(judge, design, swap, runs))


def wavers(draw: random.Random, win: float, bias: float) -> tuple[float, float]:
    """Verdicts for A where it is first and where it is second, drawn apart."""
    return float(draw.random() < win + bias), float(draw.random() < win - bias)


def settles(draw: random.Random, win: float, bias: float) -> tuple[float, float]:
    """Of four kinds of items: A wins, B wins, the first wins, the second wins."""
    chance, second = draw.random(), 0.05
    first = 2 * bias + second
    if chance < first:
        return 1.0, 0.0
    if chance < first + second:
        return 0.0, 1.0
    won = float(chance < first + second + win - (first + second) / 2)
    return won, won


def by_items(draw: random.Random, win: float, bias: float) -> tuple[float, float]:
    """No bias on half of the items, twice as much on the others."""
    return wavers(draw, win, 2 * bias if draw.random() < 0.5 else 0.0)


JUDGES: dict[str, Judge] = {"wavers": wavers, "settles": settles, "by items": by_items}

#: The share of items judged twice; ``None`` where A is always first.
DESIGNS = {"A is always first": None, "order drawn": 0.0, "order drawn, 20 % twice": 0.2,
           "both orders": 1.0}  # fmt: skip


def drawn(
    draw: random.Random, judge: Judge, items: int, win: float, bias: float, swap: float
) -> list[Verdicts]:
    """The verdicts of a run: half of the items show A first, a share is judged both ways."""
    made: list[Verdicts] = []
    for _ in range(items):
        first, second = judge(draw, win, bias)
        if draw.random() < swap:
            made.append((first, second))
        else:
            made.append((first, None) if draw.random() < 0.5 else (None, second))
    return made


def _line(name: str, design: str, swap: float | None, runs: int) -> str:
    draw = random.Random(f"{name} {design}")
    items, win, bias = 200, 0.6, 0.15
    errors, off, inside = [], [], 0
    for _ in range(runs):
        if swap is None:
            verdicts = [JUDGES[name](draw, win, bias)[0] for _ in range(items)]
            found = wilson(int(sum(verdicts)), items)
        else:
            rates = pair_rates(drawn(draw, JUDGES[name], items, win, bias, swap))
            found = rates.win_rate
            off.append((rates.position_bias.value or 0.0) - bias)
        assert found.value is not None and found.low is not None and found.high is not None
        errors.append(found.value - win)
        inside += found.low <= win <= found.high
    cost = 1 + (swap or 0.0)
    rmse = _rmse(errors)
    position = f"{100 * _rmse(off):.1f}" if off else "-"
    return (
        f"{name:<14}{design:<26}{cost:>6.1f}{100 * sum(errors) / runs:>+8.1f}{100 * rmse:>7.1f}"
        f"{100 * rmse * sqrt(cost):>15.1f}{inside / runs:>8.1%}{position:>13}"
    )


def _rmse(errors: list[float]) -> float:
    return sqrt(sum(error * error for error in errors) / len(errors))


if __name__ == "__main__":
    main()
