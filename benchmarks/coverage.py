"""How often the intervals that llmb prints contain the truth, simulated.

    python benchmarks/coverage.py            # some minutes
    python benchmarks/coverage.py --quick    # seconds, rough

Each line is one interval in one setting: the share of runs whose 95 % interval contained the true
figure, and its mean width. Below 93 % a line is marked. The second table is of what whole reports
print (`reported.py`). The last is about stopping early: how often a run that looked again and
again ended with a wrong claim, and what it saved against a fixed sample that decides in 90 % of
runs (for a margin: the sample of the worst case). With ``--only-gate``: how often a gate passes,
fails and stays undecided, where all is well and where it is not.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil, log

from designs import designs
from reported import reported

from llm_batch.records import Interval
from llm_batch.stats import gate
from llm_batch.stats.agreement import BinaryTable, Weights, cohen_kappa
from llm_batch.stats.calibrate import ppi_rate, rogan_gladen
from llm_batch.stats.clusters import ClusterSums, clustered_mean, clustered_rate
from llm_batch.stats.compare import paired_difference, paired_mean_difference, unpaired_difference
from llm_batch.stats.gate import at_least, mean_test
from llm_batch.stats.interval import clopper_pearson, hypergeometric, wilson, wilson_finite, z_value
from llm_batch.stats.means import bca_mean, mean_t, median_interval
from llm_batch.stats.sequential import T_OPT, _log_evidence, beta_binomial, prior_posterior_ratio
from llm_batch.stats.strata import Stratum, stratified_mean, stratified_rate

MARK_BELOW = 0.93
LOG_20 = log(20)  # a level of 95 %


@dataclass(frozen=True)
class Setting:
    """An interval in a setting: draws one run and says the truth."""

    name: str
    setting: str
    truth: float
    draw: Callable[[random.Random], Interval]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=2000, help="runs per setting")
    parser.add_argument("--quick", action="store_true", help="200 runs")
    parser.add_argument("--only-stopping", action="store_true", help="only the last table")
    parser.add_argument("--only", default="", help="only intervals whose name contains this")
    parser.add_argument("--only-reports", action="store_true", help="only what reports print")
    parser.add_argument("--only-gate", action="store_true", help="only the verdicts of gates")
    asked = parser.parse_args()
    runs = 200 if asked.quick else asked.runs
    if asked.only_stopping:
        return stopping(runs)
    if asked.only_reports:
        return reported(min(runs, 1000))
    if asked.only_gate:
        return gates(runs)
    print(f"{runs:,} runs a setting, level 95 %\n")
    print(f"{'interval':<28}{'setting':<48}{'covers':>8}{'width':>9}")
    worst: dict[str, float] = {}
    for each in settings():
        if asked.only.lower() not in each.name.lower():
            continue
        random_numbers = random.Random(f"{each.name} {each.setting}")
        inside, width, given = 0, 0.0, 0
        for _ in range(runs):
            interval = each.draw(random_numbers)
            if interval.low is None or interval.high is None:
                continue
            given += 1
            inside += interval.low <= each.truth <= interval.high
            width += interval.high - interval.low
        share = inside / given
        worst[each.name] = min(worst.get(each.name, 1.0), share)
        mark = "  <" if share < MARK_BELOW else ""
        print(f"{each.name:<28}{each.setting:<48}{share:>8.1%}{width / given:>9.3f}{mark}")
    print("\nworst of each interval:")
    for name, share in worst.items():
        print(f"  {name:<28}{share:>7.1%}")
    if asked.only:
        return None
    reported(min(runs, 1000))
    stopping(runs)
    gates(runs)
    return None


def settings() -> Iterator[Setting]:
    """Every interval in a few settings, hard ones among them."""
    for n in (20, 100, 384):
        for rate in (0.05, 0.3, 0.8, 0.95):
            yield Setting("Wilson", f"n={n} rate={rate}", rate, _of_rate(wilson, n, rate))
            yield Setting(
                "Clopper-Pearson", f"n={n} rate={rate}", rate, _of_rate(clopper_pearson, n, rate)
            )
    for rate in (0.1, 0.5, 0.9):
        dataset = [i < 1000 * rate for i in range(1000)]
        for name, method in (("Wilson, finite", wilson_finite), ("Hypergeometric", hypergeometric)):
            yield Setting(
                name, f"384 of 1000, rate={rate}", rate, _of_dataset(method, dataset, 384)
            )
    for n in (12, 40, 384):
        yield Setting("Student's t", f"n={n} normal", 0.0, _mean(mean_t, n, _normal))
        yield Setting("Student's t", f"n={n} rubric 1-5", 3.6, _mean(mean_t, n, _rubric))
        yield Setting("Student's t", f"n={n} exponential", 1.0, _mean(mean_t, n, _skewed))
        yield Setting("Median", f"n={n} exponential", 0.693147, _mean(median_interval, n, _skewed))
    for n in (12, 40, 150):
        yield Setting("BCa bootstrap", f"n={n} exponential", 1.0, _mean(bca_mean, n, _skewed))
    for spread in (0.5, 2.0, 20.0):
        note = f"40 clusters of 8, beta({0.7 * spread:g}, {0.3 * spread:g})"
        yield Setting("Wilson, clusters ignored", note, 0.7, _clusters(spread, False, False))
        yield Setting("Wilson by clusters", note, 0.7, _clusters(spread, True, False))
        yield Setting("t by clusters", note, 0.7, _clusters(spread, True, True))
    for sizes in ((30, 60, 40), (100, 20, 10)):
        yield from _strata(sizes)
    for n in (60, 384):
        for gained, lost in ((0.1, 0.06), (0.03, 0.03), (0.02, 0.08)):
            note = f"n={n} gained={gained} lost={lost}"
            yield Setting("Tango, paired", note, gained - lost, _pairs(n, gained, lost))
        yield Setting("Newcombe, unpaired", f"2x{n}, 0.9 and 0.7", -0.2, _unpaired(n, 0.9, 0.7))
        yield Setting("Paired t", f"n={n} rubric differences", 0.3, _paired_scores(n))
    for labels in (40, 200):
        for rate in (0.6, 0.9):
            note = f"{labels} labels, n=1000, rate={rate}, judge .9/.8"
            yield Setting("Rogan-Gladen", note, rate, _corrected(labels, rate, random_subset=False))
            yield Setting("PPI++", note, rate, _corrected(labels, rate, random_subset=True))
    weightings: tuple[Weights, ...] = ("none", "linear", "quadratic")
    for classes, labels in ((3, 20), (3, 60), (5, 30), (5, 60), (10, 60)):
        for weights in weightings:
            yield _kappa(classes, labels, weights)
    for row in designs():
        yield Setting(*row)


def _of_rate(
    method: Callable[[int, int], Interval], n: int, rate: float
) -> Callable[[random.Random], Interval]:
    return lambda draw: method(sum(draw.random() < rate for _ in range(n)), n)


def _of_dataset(
    method: Callable[[int, int, int], Interval], dataset: list[bool], n: int
) -> Callable[[random.Random], Interval]:
    return lambda draw: method(sum(draw.sample(dataset, n)), n, len(dataset))


def _mean(
    method: Callable[[list[float]], Interval], n: int, value: Callable[[random.Random], float]
) -> Callable[[random.Random], Interval]:
    return lambda draw: method([value(draw) for _ in range(n)])


def _normal(draw: random.Random) -> float:
    return draw.gauss(0, 1)


def _skewed(draw: random.Random) -> float:
    return draw.expovariate(1.0)


def _rubric(draw: random.Random) -> float:
    return float(draw.choices((1, 2, 3, 4, 5), (5, 15, 20, 35, 25))[0])


def _clusters(spread: float, by: bool, mean: bool) -> Callable[[random.Random], Interval]:
    def run(draw: random.Random) -> Interval:
        sums = {}
        for cluster in range(40):
            rate = draw.betavariate(0.7 * spread, 0.3 * spread)
            passed = float(sum(draw.random() < rate for _ in range(8)))
            sums[str(cluster)] = ClusterSums(8, passed, passed)
        if not by:
            return wilson(int(sum(each.total for each in sums.values())), 320)
        return (clustered_mean if mean else clustered_rate)(sums).mean

    return run


def _strata(sizes: tuple[int, int, int]) -> Iterator[Setting]:
    fixed = random.Random(1)
    populations = [[float(fixed.random() < rate) for _ in range(400)] for rate in (0.95, 0.6, 0.3)]
    truth = sum(map(sum, populations)) / 1200

    def strata(draw: random.Random) -> list[Stratum]:
        made = []
        for values, n in zip(populations, sizes, strict=True):
            passed = sum(draw.sample(values, n))
            made.append(Stratum(len(values), n, passed, passed))
        return made

    note = "3 x 400, " + "/".join(map(str, sizes)) + " drawn"
    yield Setting("Wilson by strata", note, truth, lambda draw: stratified_rate(strata(draw)))
    yield Setting("t by strata", note, truth, lambda draw: stratified_mean(strata(draw)))


def _pairs(n: int, gained: float, lost: float) -> Callable[[random.Random], Interval]:
    def run(draw: random.Random) -> Interval:
        chances = [draw.random() for _ in range(n)]
        up = sum(chance < gained for chance in chances)
        return paired_difference(up, sum(gained <= c < gained + lost for c in chances), n)

    return run


def _unpaired(n: int, first: float, second: float) -> Callable[[random.Random], Interval]:
    def run(draw: random.Random) -> Interval:
        one, two = (sum(draw.random() < rate for _ in range(n)) for rate in (first, second))
        return unpaired_difference((one, n), (two, n))

    return run


def _paired_scores(n: int) -> Callable[[random.Random], Interval]:
    values, weights = (-2.0, -1.0, 0.0, 1.0, 2.0), (0.05, 0.15, 0.35, 0.35, 0.10)
    return lambda draw: paired_mean_difference(draw.choices(values, weights, k=n))[0]


def _corrected(
    labels: int, rate: float, random_subset: bool
) -> Callable[[random.Random], Interval]:
    sensitivity, specificity, n = 0.9, 0.8, 1000

    def run(draw: random.Random) -> Interval:
        def one() -> tuple[bool, bool]:
            right = draw.random() < rate
            return right, draw.random() < (sensitivity if right else 1 - specificity)

        items = [one() for _ in range(n)]
        known = items[:labels] if random_subset else [one() for _ in range(labels)]
        table = BinaryTable(
            both_yes=sum(right and judged for right, judged in known),
            only_reference=sum(right and not judged for right, judged in known),
            only_judge=sum(judged and not right for right, judged in known),
            both_no=sum(not right and not judged for right, judged in known),
        )
        passed = sum(judged for _, judged in items)
        return (ppi_rate if random_subset else rogan_gladen)(table, passed, n).interval

    return run


def _kappa(classes: int, labels: int, weights: Weights) -> Setting:
    """Two raters who agree on three in four, and are one class apart on most of the others."""
    shares = [0.5 ** (classes - i) for i in range(classes)]
    cells, chances = [], []
    for i in range(classes):
        apart = [0.0 if j == i else 0.25 ** abs(i - j) for j in range(classes)]
        for j in range(classes):
            cells.append((i, j))
            chances.append(shares[i] * (0.75 if i == j else 0.25 * apart[j] / sum(apart)))

    def table(draws: Iterable[tuple[int, int]]) -> list[list[int]]:
        counted = Counter(draws)
        return [[counted[i, j] for j in range(classes)] for i in range(classes)]

    exact = [[0] * classes for _ in range(classes)]
    for (i, j), chance in zip(cells, chances, strict=True):
        exact[i][j] = round(1e9 * chance)
    return Setting(
        "Kappa, several classes",
        f"{classes} classes, {labels} labels, weights: {weights}",
        cohen_kappa(exact, weights).interval.value or 0.0,
        lambda draw: cohen_kappa(table(draw.choices(cells, chances, k=labels)), weights).interval,
    )


def stopping(runs: int) -> None:
    """Look after every item, stop by each rule, and count wrong claims and items."""
    print(f"\n{'stopping rule':<44}{'wrong':>8}{'mean n':>9}{'fixed n':>9}{'saved':>8}")
    for rate, threshold in ((0.75, 0.8), (0.85, 0.8), (0.9, 0.8), (0.80, 0.8)):
        wrong, used, most = 0, 0, 2000
        draw = random.Random(f"{rate} {threshold}")
        for _ in range(runs):
            n, side = _until_decided(draw, rate, threshold, most)
            used += n
            wrong += side * (rate - threshold) < 0 or (rate == threshold and side != 0)
        fixed = _fixed(rate, threshold) or most
        line = f"decided {threshold:g}, true rate {rate:g}"
        _print(line, wrong / runs, used / runs, fixed)
    for rate in (0.5, 0.9, 0.97):
        wrong, used, margin = 0, 0, 0.05
        draw = random.Random(f"margin {rate}")
        for _ in range(runs):
            passed = n = 0
            while True:
                n += 1
                passed += draw.random() < rate
                interval = wilson(passed, n)
                assert interval.low is not None and interval.high is not None
                if n >= 30 and interval.high - interval.low <= 2 * margin:
                    break
            used += n
            wrong += not interval.low <= rate <= interval.high
        _print(f"margin {margin:g}, true rate {rate:g}", wrong / runs, used / runs, 385)
    dataset = [i < 850 for i in range(1000)]
    wrong, used, draw = 0, 0, random.Random("finite")
    few = min(runs, 500)
    for _ in range(few):
        order, passed = draw.sample(dataset, 1000), 0
        for n, item in enumerate(order, 1):
            passed += item
            if n % 5:
                continue
            interval = prior_posterior_ratio(passed, n, 1000)
            low, high = interval.low or 0.0, 1.0 if interval.high is None else interval.high
            if low > 0.8 or high < 0.8:
                break
        used += n
        wrong += high < 0.8
    _print("decided 0.8, 850 of 1000 pass, finite", wrong / few, used / few, _fixed(0.85, 0.8) or 0)


def gates(runs: int) -> None:
    """How often each verdict comes; at the limit itself neither should in more than 5 % of runs.

    One in ten items changes its verdict besides what makes the runs differ; of mean scores, on 1 to
    5, three in ten change.
    """
    print(f"\n{'gate':<26}{'truth':<34}{'passed':>9}{'failed':>9}{'undecided':>11}")
    for n in (30, 100, 400, 1600):
        for tolerance, loss in ((0.0, 0.0), (0.0, 0.05), (0.02, 0.0), (0.02, 0.02), (0.02, 0.05)):
            _gate(f"rate, tolerance {tolerance:g}", f"n={n}, worse by {loss:g}", runs,
                  lambda draw, n=n, by=loss, at=tolerance: [_rates(draw, n, by, at)])  # fmt: skip
    for loss in (0.0, 0.1, 0.2):
        _gate("mean, tolerance 0.1", f"n=400, worse by {loss:g}", runs,
              lambda draw, loss=loss: [mean_test(_changes(draw, 400, loss), -0.1)])  # fmt: skip
    for losses in ((0.0,) * 6, (0.0,) * 5 + (0.1,)):
        _gate("6 categories, all must", f"n=200 each, worst {max(losses):g}", runs,
              lambda draw, all=losses: [_rates(draw, 200, loss, 0.0) for loss in all])  # fmt: skip
    for ratio in (1.0, 1.2, 1.4):
        _gate("cost at most 1.2 times", f"n=200, {ratio:g} times", runs,
              lambda draw, ratio=ratio: [_costs(draw, 200, ratio)])  # fmt: skip
    for ratio in (1.0, 1.5, 2.5):
        _gate("p95 at most 1.5 times", f"n=400, {ratio:g} times", runs,
              lambda draw, ratio=ratio: [_tails(draw, 400, ratio)])  # fmt: skip
    for rate in (0.85, 0.9, 0.95):
        _gate("rate at least 0.9", f"n=400, {rate:g}", runs,
              lambda draw, rate=rate: [_reached(draw, 400, rate)])  # fmt: skip


def _gate(
    name: str, truth: str, runs: int, play: Callable[[random.Random], list[gate.Tested]]
) -> None:
    draw, found = random.Random(f"{name} {truth}"), Counter[str]()
    order = ("passed", "undecided", "failed")
    for _ in range(runs):
        found[max(gate.decide(play(draw), 0.95), key=order.index)] += 1
    passed, failed, undecided = (found[each] / runs for each in ("passed", "failed", "undecided"))
    print(f"{name:<26}{truth:<34}{passed:>9.1%}{failed:>9.1%}{undecided:>11.1%}")


def _reached(draw: random.Random, n: int, rate: float) -> gate.Tested:
    return at_least(sum(draw.random() < rate for _ in range(n)), n, 0.9)


def _rates(draw: random.Random, n: int, loss: float, tolerance: float) -> gate.Tested:
    changes = draw.choices((1, -1, 0), (0.05, 0.05 + loss, 0.9 - loss), k=n)
    return gate.rate_test(changes.count(1), changes.count(-1), n, -tolerance or 0.0)


def _changes(draw: random.Random, n: int, loss: float) -> list[float]:
    shares = (0.02 + loss / 8, 0.13 + loss / 2, 0.7 - loss / 8 - loss / 2, 0.13, 0.02)
    return draw.choices((-4.0, -1.0, 0.0, 1.0, 4.0), shares, k=n)


def _costs(draw: random.Random, n: int, ratio: float) -> gate.Tested:
    first = [draw.lognormvariate(0, 0.6) for _ in range(n)]
    second = [ratio * cost * draw.lognormvariate(-0.045, 0.3) for cost in first]
    return gate.ratio_test(first, second, 1.2)


def _tails(draw: random.Random, n: int, ratio: float) -> gate.Tested:
    items = [draw.lognormvariate(0, 0.4) for _ in range(n)]
    first = [item * draw.lognormvariate(0, 0.4) for item in items]
    second = [ratio * item * draw.lognormvariate(0, 0.4) for item in items]
    return gate.quantile_ratio_test(first, second, 0.95, 1.5)


def _until_decided(
    draw: random.Random, rate: float, threshold: float, most: int
) -> tuple[int, int]:
    """Items until the sequence leaves the threshold out, looking at every one; and the side."""
    passed = 0
    for n in range(1, most + 1):
        passed += draw.random() < rate
        # The same as to ask whether the bounds of `beta_binomial` exclude it, without the bounds.
        if _log_evidence(threshold, passed, n, T_OPT) > LOG_20:
            interval = beta_binomial(passed, n)
            assert interval.low is not None and interval.high is not None
            assert not interval.low <= threshold <= interval.high
            return n, 1 if interval.low > threshold else -1
    return most, 0


def _fixed(rate: float, threshold: float) -> int | None:
    """Items of a fixed sample that would tell the rate from the threshold in 90 % of runs."""
    if rate == threshold:
        return None
    alone = (threshold * (1 - threshold)) ** 0.5
    other = (rate * (1 - rate)) ** 0.5
    return ceil(((z_value(0.95) * alone + z_value(0.8) * other) / (rate - threshold)) ** 2)


def _print(name: str, wrong: float, used: float, fixed: int) -> None:
    print(f"{name:<44}{wrong:>8.1%}{used:>9.0f}{fixed:>9,}{1 - used / fixed:>8.0%}")


if __name__ == "__main__":
    main()
