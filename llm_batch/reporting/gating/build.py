"""From a comparison or a report to a `Gate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, isnan

from llm_batch.errors import VERDICTS, ConfigError
from llm_batch.paper import words
from llm_batch.reporting.comparison import Against, Change
from llm_batch.reporting.comparison.build import Compared, typed_of
from llm_batch.reporting.comparison.pair import common_places
from llm_batch.reporting.comparison.sides import Side
from llm_batch.reporting.gating import GATE_SCHEMA, Asked, Check, Gate, Gated, Unit
from llm_batch.reporting.gating.sentences import headline, requirement, sentence
from llm_batch.reporting.model import Report
from llm_batch.reporting.rows import NO_VERDICT
from llm_batch.stats.clusters import ClusterSums
from llm_batch.stats.compare import holm
from llm_batch.stats.gate import (
    Tested,
    at_least,
    bounded,
    clustered_test,
    decide,
    mean_test,
    quantile_ratio_test,
    rate_test,
    ratio_test,
)

_BROKEN = 5
_TAIL = 0.95


def check_asked(asked: Asked) -> None:
    """Refuse what makes no sense, whatever the runs are; `ConfigError`."""
    if asked.fail_if not in ("", "worse", "not-better"):
        raise ConfigError(
            f"--fail-if {asked.fail_if!r} is not known",
            "use worse, or not-better; for money and time there are --max-cost-ratio and "
            "--max-latency-ratio",
        )
    if not 0 <= asked.tolerance < float("inf"):
        raise ConfigError(
            f"--tolerance {asked.tolerance:g} is no size of a difference",
            "write how much worse is as good as equal: 0.02 is 2 points",
        )
    if asked.tolerance and not asked.fail_if:
        raise ConfigError("--tolerance needs a gate to widen", "add --fail-if worse")
    for flag, ratio in (
        ("--max-cost-ratio", asked.max_cost_ratio),
        ("--max-latency-ratio", asked.max_latency_ratio),
    ):
        if ratio is not None and not 0 < ratio < float("inf"):
            raise ConfigError(
                f"{flag} {ratio:g} is no ratio", "write run by baseline: 1.2 allows 20 % more"
            )
    if not 0.5 < asked.level < 1:
        raise ConfigError(f"--confidence {asked.level:g} is not a level", "use 0.95, or 0.99")


def gate_of(compared: Compared, asked: Asked) -> Gated:
    """Hold a run against a baseline.

    Raises:
        ConfigError: What is asked for makes no sense, or not for these runs.
    """
    check_asked(asked)
    if len(compared.sides) != 2:
        raise ConfigError(
            "a gate holds one run against one baseline, and more files are named",
            "name two: llmb compare base.jsonl new.jsonl --fail-if worse",
        )
    (against,) = compared.comparison.against
    base, run = compared.sides
    pairs = _Pairs.of(compared)
    checks: list[Check] = []
    if asked.fail_if:
        checks += _score_checks(compared, pairs, asked)
    price = _price(base, run)
    if asked.max_cost_ratio is not None:
        costs = _both(pairs.costs, "cost", base, run)
        test = _ratio(ratio_test, "cost", costs, asked.max_cost_ratio, asked.level)
        checks.append(_check(asked, "cost", "ratio", "", test, _means(costs), price))
    if asked.max_latency_ratio is not None:
        times = _both(pairs.seconds, "latency", base, run)
        test = _ratio(_tails, "latency", times, asked.max_latency_ratio, asked.level)
        figures = base.figures.latency_p95, run.figures.latency_p95
        checks.append(_check(asked, "latency", "ratio", "", test, figures, price))
    comparison = compared.comparison
    played = comparison.against[0].common
    checks = [_of_all(check, played, price) for check in checks]
    steps = tuple(_plays(checks, compared)) if _gravest(checks) == "undecided" else ()
    gate = Gate(
        schema=GATE_SCHEMA,
        verdict=_gravest(checks),
        exit_code=0,
        headline="",
        level=asked.level,
        baseline=comparison.baseline,
        run=against.run,
        simulated=any(each.simulated for each in comparison.runs),
        undecided_passes=asked.undecided_passes,
        checks=tuple(checks),
        warnings=comparison.warnings,
        next_steps=steps,
        comparison=comparison,
    )
    return Gated(_worded(gate, run.population), compared)


def _of_all(check: Check, played: int, price: float | None) -> Check:
    """The check with the items that a run needs for it, of which a part counts: those of a
    category, or those that have the score.
    """
    n = check.bounds.n
    if check.needed is None or not 0 < n < played:
        return check
    needed = ceil(check.needed * played / n)
    more = needed - played
    return replace(
        check, needed=needed, more=more, more_cost=None if price is None else more * price
    )


def _plays(checks: Sequence[Check], compared: Compared) -> Iterator[str]:
    """What plays the items that would decide it, where that is known and there are so many."""
    needed = max((check.needed or 0 for check in checks), default=0)
    base, run = compared.sides
    population = run.population
    if not needed or (population is not None and needed > population):
        return
    typed = [
        None if side.report is None or side.report.columns else typed_of(side.path)
        for side in (base, run)
    ]
    if typed[1] is None:
        return
    again = [f"`{each.command('run', sample=needed)}`" for each in typed if each]
    told = f"{' and '.join(dict.fromkeys(again))} {'play' if len(again) > 1 else 'plays'} more"
    if base.report is None:
        told += "; the baseline needs as many, from the run that it was made from"
    yield f"{told}, up to {words.items(needed)}."


def gate_report(report: Report, bounds: Report, asked: Asked) -> Gated:
    """Hold a run against a number.

    Args:
        report: As it is shown.
        bounds: The same at the level whose ends are one-sided bounds, with exact intervals.

    Raises:
        ConfigError: The number is no rate and no mean score of this run, or nothing was scored.
    """
    check_asked(asked)
    limit, rated = asked.at_least, bool(bounds.pass_rate.rate.n)
    assert limit is not None
    if not rated and not bounds.scores.mean.n:
        raise ConfigError(f"{report.path} has no scores to hold against --at-least", "name a run")
    if rated and not 0 < limit < 1:
        raise ConfigError(
            f"--at-least {limit:g} is no pass rate between 0 and 1",
            "write 0.9 for 90 %; of a run without pass_at it is a mean score",
        )
    if rated:
        tests = [_rate_test(bounds, limit, asked.level)]
        groups = bounds.groups.groups if asked.by_group and bounds.groups else ()
        for group in groups:
            exact = group.pass_rate.method == "clopper-pearson"
            passed, n = group.passed, group.pass_rate.n
            tests.append(
                at_least(passed, n, limit, asked.level)
                if exact
                else bounded(group.pass_rate, limit, "above")
            )
        names, unit = ["", *(group.name for group in groups)], "rate"
    else:
        tests, names, unit = [bounded(bounds.scores.mean, limit, "above")], [""], "mean"
    checks = _family(
        asked,
        "at-least",
        "rate" if unit == "rate" else "mean",
        names,
        tests,
        [(None, test.interval.value) for test in tests],
        report.money.per_item,
    )
    checks = [_of_all(check, report.items.read, report.money.per_item) for check in checks]
    gate = Gate(
        schema=GATE_SCHEMA,
        verdict=_gravest(checks),
        exit_code=0,
        headline="",
        level=asked.level,
        baseline="",
        run=report.path,
        simulated=report.run.simulated,
        undecided_passes=asked.undecided_passes,
        checks=tuple(checks),
        warnings=report.warnings,
        next_steps=(),
    )
    return Gated(_worded(gate, report.items.population), report)


def _rate_test(bounds: Report, limit: float, level: float) -> Tested:
    rate = bounds.pass_rate.rate
    if rate.method == "clopper-pearson":
        return at_least(bounds.pass_rate.passed, rate.n, limit, level)
    return bounded(rate, limit, "above")


@dataclass(slots=True)
class _Counts:
    """The pairs of one category, or of all items."""

    gained: int = 0
    lost: int = 0
    both: int = 0
    n: int = 0
    missing: int = 0
    #: Of those without a verdict, what could at worst be lost and at best be gained.
    may_lose: int = 0
    may_gain: int = 0
    clusters: dict[str, ClusterSums] = field(default_factory=dict)

    def add(self, was: int, now: int, cluster: str) -> None:
        if NO_VERDICT in (was, now):
            if was != now:
                self.missing += 1
                self.may_lose += was == 1 or now == 0
                self.may_gain += was == 0 or now == 1
            return
        self.n += 1
        self.gained += now > was
        self.lost += now < was
        self.both += was == now == 1
        if cluster:
            known = self.clusters.get(cluster, ClusterSums(0, 0.0, 0.0))
            change = float(now - was)
            self.clusters[cluster] = ClusterSums(
                known.n + 1, known.total + change, known.squares + change * change
            )


@dataclass(slots=True)
class _Pairs:
    """What a gate looks at: the verdicts by category, the scores, and what each item took."""

    counts: dict[str, _Counts] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    score_clusters: dict[str, ClusterSums] = field(default_factory=dict)
    costs: list[tuple[float, float]] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of(cls, compared: Compared) -> _Pairs:
        made = cls()
        one, two = (side.rows for side in compared.sides)
        base = compared.sides[0].report is None
        grouped = two if base else one
        names = list(grouped.names)
        for places in common_places(one, two).T.tolist():
            first, second = places
            place = places[base]
            category = names[grouped.categories[place]]
            cluster = grouped.clusters[place] if grouped.clusters else ""
            for name in (_ALL, f"={category}"):
                made.counts.setdefault(name, _Counts()).add(
                    one.passed[first], two.passed[second], cluster
                )
            change = two.scores[second] - one.scores[first]
            if not isnan(change):
                for name in (_ALL, f"={category}"):
                    made.scores.setdefault(name, []).append(change)
                if cluster:
                    known = made.score_clusters.get(cluster, ClusterSums(0, 0.0, 0.0))
                    made.score_clusters[cluster] = ClusterSums(
                        known.n + 1, known.total + change, known.squares + change * change
                    )
            made.costs.append((one.costs[first], two.costs[second]))
            made.seconds.append((one.seconds[first], two.seconds[second]))
        return made


_ALL = ""


def _score_checks(compared: Compared, pairs: _Pairs, asked: Asked) -> list[Check]:
    (against,) = compared.comparison.against
    base, run = compared.sides
    limit = (-asked.tolerance if asked.fail_if == "worse" else asked.tolerance) or 0.0
    if against.rates is not None and not against.common:
        raise ConfigError("a gate needs items that are in both runs", "play the same sample")
    if asked.by_group and not against.categories and against.rates is not None:
        raise ConfigError("there are no categories to hold to the gate", "name their field: --by")
    price = _price(base, run)
    if against.rates is not None:
        if asked.tolerance >= 1:
            raise ConfigError(
                f"--tolerance {asked.tolerance:g} is no share of the items",
                f"a pass rate is compared: write {asked.tolerance / 100:g} for "
                f"{asked.tolerance:g} points",
            )
        groups = [(_ALL, against.rates)]
        if asked.by_group:
            groups += [(f"={each.name}", each.rates) for each in against.categories]
        tests = [_counts_test(pairs.counts[key], limit, asked.level) for key, _ in groups]
        checks = _family(
            asked,
            asked.fail_if,
            "points",
            [key[1:] for key, _ in groups],
            tests,
            [(rates.baseline_rate, rates.run_rate) for _, rates in groups],
            price,
        )
        checks = [
            replace(check, missing=pairs.counts[key].missing)
            for check, (key, _) in zip(checks, groups, strict=True)
        ]
    elif against.scores is not None:
        scale = run.scale or base.scale
        width = scale[1] - scale[0] if scale else None
        keys = [_ALL]
        if asked.by_group:
            keys += sorted(key for key in pairs.scores if key != _ALL)
        tests = [
            clustered_test(pairs.score_clusters, limit, asked.level)
            if key == _ALL and pairs.score_clusters
            else mean_test(pairs.scores[key], limit, asked.level, width)
            for key in keys
        ]
        whole = (against.scores.baseline_mean, against.scores.run_mean)
        figures = [whole if key == _ALL else (None, None) for key in keys]
        names = [key[1:] for key in keys]
        checks = _family(asked, asked.fail_if, "score", names, tests, figures, price)
    else:
        raise ConfigError(
            f"{compared.comparison.baseline} and {against.run} have no scored items in common",
            "a gate on quality needs a [score]; llmb init shows how",
        )
    return [_with_broken(check, against) for check in checks]


def _counts_test(counts: _Counts, limit: float, level: float) -> Tested:
    """By Tango, or by clusters where items belong together.

    Where verdicts are missing it passes only if it did so with the worst of them, and fails only if
    it did so with the best.
    """
    if counts.clusters:
        return clustered_test(counts.clusters, limit, level)
    test = rate_test(counts.gained, counts.lost, counts.n, limit, level)
    if not counts.missing:
        return test
    n = counts.n + counts.missing
    worst = rate_test(counts.gained, counts.lost + counts.may_lose, n, limit, level)
    best = rate_test(counts.gained + counts.may_gain, counts.lost, n, limit, level)
    interval = replace(test.interval, low=worst.interval.low, high=best.interval.high)
    alone = decide([test], level) != decide([worst], level) or decide([test], level) != decide(
        [best], level
    )
    return replace(
        test,
        interval=interval,
        p_failed=best.p_failed,
        p_passed=worst.p_passed,
        needed=None if alone else test.needed,
    )


def _ratio(
    test: Callable[[Sequence[float], Sequence[float], float, float], Tested],
    what: str,
    values: tuple[list[float], list[float]],
    limit: float,
    level: float,
) -> Tested:
    try:
        return test(*values, limit, level)
    except ValueError as error:
        raise ConfigError(
            f"the baseline's {what} is 0, and no limit is a multiple of that",
            f"leave out --max-{what}-ratio",
        ) from error


def _tails(first: Sequence[float], second: Sequence[float], limit: float, level: float) -> Tested:
    return quantile_ratio_test(first, second, _TAIL, limit, level)


def _both(
    values: Sequence[tuple[float, float]], what: str, base: Side, run: Side
) -> tuple[list[float], list[float]]:
    """The values of items that have one in both runs."""
    known = [(one, two) for one, two in values if not (isnan(one) or isnan(two))]
    if not known:
        side = base if all(isnan(one) for one, _ in values) else run
        why = "its prices are unknown" if what == "cost" else "nothing was timed"
        raise ConfigError(
            f"{side.path} knows no {what} of any item in both runs: {why}",
            f"set prices under [models] and run again, or leave out --max-{what}-ratio"
            if what == "cost"
            else f"leave out --max-{what}-ratio",
        )
    return [one for one, _ in known], [two for _, two in known]


def _means(columns: tuple[list[float], list[float]]) -> tuple[float, float]:
    one, two = columns
    return sum(one) / len(one), sum(two) / len(two)


def _price(base: Side, run: Side) -> float | None:
    """USD for one item more in both runs."""
    costs = base.figures.cost_per_item, run.figures.cost_per_item
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _family(
    asked: Asked,
    name: str,
    unit: Unit,
    groups: Sequence[str],
    tests: Sequence[Tested],
    figures: Sequence[tuple[float | None, float | None]],
    price: float | None,
) -> list[Check]:
    """Checks that stand together: failures are Holm-adjusted over them."""
    verdicts = decide(tests, asked.level)
    adjusted = holm([1.0 if test.p_failed is None else test.p_failed for test in tests])
    return [
        _made(asked, name, unit, group, test, each, price, verdict, p_value)
        for group, test, each, verdict, p_value in zip(
            groups, tests, figures, verdicts, adjusted, strict=True
        )
    ]


def _check(
    asked: Asked,
    name: str,
    unit: Unit,
    group: str,
    test: Tested,
    figures: tuple[float | None, float | None],
    price: float | None,
) -> Check:
    return _family(asked, name, unit, [group], [test], [figures], price)[0]


def _made(
    asked: Asked,
    name: str,
    unit: Unit,
    group: str,
    test: Tested,
    figures: tuple[float | None, float | None],
    price: float | None,
    verdict: str,
    p_value: float,
) -> Check:
    needed = test.needed if verdict == "undecided" else None
    more = None if needed is None else needed - test.interval.n
    return Check(
        name=requirement(name, unit, test.limit),
        group=group,
        verdict=verdict,
        unit=unit,
        baseline=figures[0],
        run=figures[1],
        bounds=test.interval,
        limit=test.limit,
        p_value=None if test.p_failed is None else p_value,
        missing=0,
        needed=needed,
        more=more,
        more_cost=None if more is None or price is None else more * price,
        sentence="",
    )


def _with_broken(check: Check, against: Against) -> Check:
    worse = [
        change
        for change in against.changes
        if change.kind in ("lost", "lower") and check.group in ("", change.category)
    ]
    worse.sort(key=_fall)
    return replace(check, broken=tuple(worse[:_BROKEN]))


def _fall(change: Change) -> float:
    return (change.run_score or 0.0) - (change.baseline_score or 0.0)


def _gravest(checks: Sequence[Check]) -> str:
    order = list(VERDICTS)
    return max((check.verdict for check in checks), key=order.index)


def _worded(gate: Gate, population: int | None) -> Gate:
    checks = tuple(replace(check, sentence=sentence(check, population)) for check in gate.checks)
    gate = replace(
        gate, checks=checks, exit_code=VERDICTS[gate.verdict].code(gate.undecided_passes)
    )
    return replace(gate, headline=headline(gate))
