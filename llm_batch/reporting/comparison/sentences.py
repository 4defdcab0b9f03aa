"""The finding of a comparison in one sentence, what to keep in mind, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from llm_batch.chain.overrides import Typed, command
from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table
from llm_batch.records import Interval
from llm_batch.reporting.comparison import (
    Against,
    Comparison,
    RateDifference,
    RunFigures,
    ScoreDifference,
)
from llm_batch.reporting.comparison.sides import Side
from llm_batch.reporting.publication import bounds, figure
from llm_batch.stats.interval import z_value
from llm_batch.stats.sizes import paired_rates_size, z_power

if TYPE_CHECKING:
    from llm_batch.reporting.comparison.build import Compared

#: Fewer changed items than this leave a paired difference on a few items' shoulders.
FEW_CHANGED = 10
_FEW_ITEMS = 30


def headline(comparison: Comparison) -> str:
    """The finding in one sentence; of the first run where there are several."""
    found = ". ".join(finding(comparison, each) for each in comparison.against[:3])
    more = len(comparison.against) - 3
    found += f". And {more} more" if more > 0 else ""
    return f"SIMULATED: {found}" if any(run.simulated for run in comparison.runs) else found


def finding(comparison: Comparison, against: Against) -> str:
    """What one run's difference from the baseline comes to."""
    base, level = words.clean(comparison.baseline, 40), words.level(comparison.level)
    run, rates, scores = words.clean(against.run, 40), against.rates, against.scores
    none = f"No difference found between {base} and {run}:"
    if rates is not None and rates.difference.value is not None:
        bounds = f"{level} interval {words.points_range(rates.difference)}"
        on = f"{words.items(rates.n)}{' in common' if rates.paired else ' in all'}"
        value = f"{words.points(rates.difference.value)} points"
        if told(comparison, rates):
            side = "more" if rates.difference.value > 0 else "less"
            return f"{run} passes {side} often than {base}: {value} ({bounds}), {on}"
        least = _unseen(rates.difference)
        told_ = f"{none} {value} ({_why(rates, bounds)})"
        unseen = f"anything below about {100 * (least or 0):.0f} points would go unseen"
        return f"{told_}; with {on} {unseen}" if least else f"{told_}, {on}"
    if scores is not None:
        bounds = f"{level} interval {words.signed_range(scores.difference)}"
        on = f"{words.items(scores.n)} in common"
        value = words.signed(scores.difference.value)
        if told(comparison, scores):
            side = "higher" if (scores.difference.value or 0) > 0 else "lower"
            return f"{run} scores {side} than {base}: {value} ({bounds}), {on}"
        least = _unseen(scores.difference)
        told_ = f"{none} {value} ({_why(scores, bounds)})"
        unseen = f"anything below about {words.number(least or 0, 2)} would go unseen"
        return f"{told_}; with {on} {unseen}" if least else f"{told_}, {on}"
    return f"{run} and {base} have no scored items to compare"


def for_paper(comparison: Comparison) -> Iterator[str]:
    """What a paper can say of each difference, with its test; nothing where there is none."""
    simulated = any(run.simulated for run in comparison.runs)
    runs = {run.name: _named(run) for run in comparison.runs}
    base, level = runs[comparison.baseline], words.level(comparison.level)
    corrected = ", Holm-corrected" if len(comparison.against) > 1 else ""
    for each in comparison.against:
        rates, scores, run = each.rates, each.scores, runs[each.run]
        if rates is not None and rates.difference.value is not None:
            on = f"On the same {words.items(rates.n)}"
            first, second = (words.percent(rate) for rate in (rates.run_rate, rates.baseline_rate))
            if not rates.paired:
                on = f"On different items, {words.count(rates.n)} in all"
            value = f"{words.points(rates.difference.value)} points"
            bounds = f"{level} CI {words.points_range(rates.difference)}, {_BOUNDS[_kind(rates)]}"
            test, p = _TESTS[_kind(rates)], rates.p_adjusted
            sentence = f"{on}, {run} passed {first} and {base} {second}"
        elif scores is not None and scores.difference.value is not None:
            value = words.signed(scores.difference.value)
            bounds = f"{level} CI {words.signed_range(scores.difference)}, paired t"
            test, p = "paired t test", scores.p_adjusted
            sentence = (
                f"On the same {words.items(scores.n)}, {run} had a mean score of "
                f"{words.mean(scores.run_mean)} and {base} of {words.mean(scores.baseline_mean)}"
            )
        else:
            continue
        if f"CI {words.NONE}," in bounds:
            bounds = "no interval can be given"
        tested = f"; {test}, p = {words.p_value(p)}{corrected}" if p is not None else ""
        told = f"{sentence}, a difference of {value} ({bounds}{tested})."
        yield ("SIMULATED: " if simulated else "") + told.replace("p = <", "p <")


_BOUNDS = {"pairs": "Tango", "clusters": "t over clusters", "apart": "Newcombe"}
_TESTS = {
    "pairs": "McNemar's mid-p test",
    "clusters": "t test over clusters",
    "apart": "chi-squared test with n - 1",
}


def _kind(rates: RateDifference) -> str:
    if not rates.paired:
        return "apart"
    return "clusters" if is_clustered(rates) else "pairs"


def _named(run: RunFigures) -> str:
    models = f" ({words.clean(run.models, 80)})" if run.models else ""
    return f"{words.clean(run.name, 40)}{models}"


def _why(found: RateDifference | ScoreDifference, bounds: str) -> str:
    """The bounds; p where these leave out 0, as they may after a correction for several tests."""
    low, high = found.difference.low, found.difference.high
    if low is None or high is None:
        return "no interval"
    return (
        bounds if low <= 0 <= high else f"p = {words.p_value(found.p_adjusted)}".replace("= <", "<")
    )


def _unseen(difference: Interval) -> float | None:
    """The difference that as many items would tell in 80 % of comparisons."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return None
    z = z_value(difference.level)
    return (high - low) / 2 * (z + z_power(0.8)) / z


def is_clustered(rates: RateDifference) -> bool:
    """Whether a difference is bounded and tested by clusters."""
    return rates.paired and rates.difference.method.startswith("clustered")


def told(comparison: Comparison, found: RateDifference | ScoreDifference) -> bool:
    """Whether a difference can be told: by its p-value after correction and by its interval."""
    low, high, p_adjusted = found.difference.low, found.difference.high, found.p_adjusted
    if low is None or high is None or p_adjusted is None:
        return False
    return p_adjusted < 1 - comparison.level and not low <= 0 <= high


def cautions(
    comparison: Comparison,
    sides: Sequence[Side],
    manifests: Sequence[bool],
    judges: Sequence[list[str]],
) -> Iterator[str]:
    """What to keep in mind, most serious first.

    The sides are the runs, the baseline first, as are the ``manifests``: whether each has
    one. ``judges`` are the judge's settings that differ, for each run but the baseline.
    """
    if any(run.simulated for run in comparison.runs):
        yield (
            "Simulated: a fake provider gave answers. The figures show that the comparison works; "
            "they say nothing about a model."
        )
    unknown = [run.name for run, known in zip(comparison.runs, manifests, strict=True) if not known]
    if unknown:
        yield (
            f"{words.listed(unknown, 4)} {'has' if len(unknown) == 1 else 'have'} no manifest, so "
            "it is unknown whether the same judge scored all runs."
        )
    for each, differing in zip(comparison.against, judges, strict=True):
        if differing:
            yield (
                f"{each.run} was not judged as {comparison.baseline} was "
                f"({words.listed(differing, 4)}): a difference may come from the judge."
            )
    for each in comparison.against:
        yield from _about_the_items(comparison, each)
    for side, run in zip(sides, comparison.runs, strict=True):
        yield from _about_a_run(side, run)
    if len(comparison.against) > 1:
        yield (
            f"{len(comparison.against)} runs are compared with {comparison.baseline}: p allows for "
            "that (Holm), the intervals do not."
        )


def _about_the_items(comparison: Comparison, each: Against) -> Iterator[str]:
    base = comparison.baseline
    if not each.common:
        yield (
            f"{each.run} and {base} have no item in common: a difference may come from the items "
            "rather than the models."
        )
        return
    if each.other_content:
        yield (
            f"{words.items(each.other_content)} of {each.run} have the id of an item in {base} "
            "but other fields: they are compared as if they were the same."
        )
    alone = ((each.only_baseline, base), (each.only_run, each.run))
    left = [f"{words.items(n)} only in {words.clean(name, 40)}" for n, name in alone if n]
    if left:
        yield f"Left out: {' and '.join(left)}."
    if each.unscored:
        yield (
            f"{words.items(each.unscored)} in {base} and {each.run} have no score in one of them "
            "and are left out; a model that fails on hard items looks better for it."
        )
    rates = each.rates
    if rates is not None and rates.paired and rates.gained is not None and rates.lost is not None:
        changed = rates.gained + rates.lost
        if not changed:
            yield f"No item changed its verdict between {base} and {each.run}."
        elif changed < FEW_CHANGED:
            yield (
                f"Only {words.items(changed)} changed {'its' if changed == 1 else 'their'} verdict "
                f"between {base} and {each.run}: the difference rests on a few items."
            )
    n = rates.n if rates else each.scores.n if each.scores else 0
    if n < _FEW_ITEMS:
        yield f"Only {words.items(n)} compared: fewer than {_FEW_ITEMS} say little."


def _about_a_run(side: Side, run: RunFigures) -> Iterator[str]:
    if side.planned is not None and run.read < side.planned:
        yield (
            f"{run.name} is not complete: {run.read:,} of {side.planned:,} planned items "
            "were played."
        )
    if side.duplicates:
        yield f"{run.name}: {side.duplicates:,} lines repeat an id and were left out."


def next_steps(
    comparison: Comparison,
    population: int | None,
    typed: Sequence[Typed | None],
    flags: Sequence[str] = (),
) -> Iterator[str]:
    """What to do next.

    Args:
        comparison: Of the runs.
        population: The size of the dataset, where it is known.
        typed: What made each run, where that is known.
        flags: Those that made the comparison.
    """
    unclear = [
        (each.rates, (typed[0], typed[place]))
        for place, each in enumerate(comparison.against, 1)
        if each.rates is not None
        and each.rates.paired
        and not is_clustered(each.rates)
        and not told(comparison, each.rates)
    ]
    for rates, pair in unclear[:1]:
        needed = _pairs_to_tell(rates)
        if needed is None or needed <= rates.n:
            continue
        told_by = (
            f"To show a difference of {words.points(rates.difference.value).lstrip('+-')} points, "
            f"if it is real, takes about {words.items(needed)} in both runs (now {rates.n:,}; with "
            "a chance of 80 %)"
        )
        if population is not None and needed > population:
            yield f"{told_by}: more than the {population:,} of this dataset."
        else:
            plays = [f"`{each.command('run', sample=needed)}`" for each in pair if each]
            unknown = f"`llmb run --sample {needed}` with the flags of each run"
            said = " and ".join(dict.fromkeys(plays)) if all(pair) else unknown
            yield f"{told_by}: {said} {'play' if all(pair) else 'plays'} what is missing."
    if any(each.changed for each in comparison.against):
        paths = [run.path for run in comparison.runs]
        page = command("report", *paths, *flags, "--format", "html", "-o", "compared.html")
        yield f"Read the items that changed, both answers side by side: `{page}`."


def _pairs_to_tell(rates: RateDifference) -> int | None:
    """Items in common that would tell the difference seen, were it the true one."""
    difference, gained, lost = rates.difference.value, rates.gained, rates.lost
    if not difference or gained is None or lost is None:
        return None
    return paired_rates_size(abs(difference), (gained + lost) / rates.n)


_CATEGORIES = 40
_NAME = 60


def publication(compared: Compared) -> Document:
    """What a paper has of a comparison: the findings, a table for each, and the methods."""
    comparison = compared.comparison
    named = ", ".join(words.clean(run.path) for run in comparison.runs)
    several = len(comparison.against) > 1
    return Document(
        " ".join(comparison.paper),
        (f"From {words.clean(named, 500)} by llmb report --format latex",),
        tuple(
            Section(
                _caption(comparison, each),
                (_table(comparison, each),),
                f"tab:llmb-comparison{f'-{i}' if several else ''}",
            )
            for i, each in enumerate(comparison.against, 1)
        ),
        assumptions=tuple(_methods(comparison)),
        warnings=tuple((warning, "") for warning in comparison.warnings),
    )


def _caption(comparison: Comparison, each: Against) -> str:
    simulated = any(run.simulated for run in comparison.runs)
    mark = "SIMULATED (a fake provider answered): " if simulated else ""
    run, base = (words.clean(name, _NAME) for name in (each.run, comparison.baseline))
    what = "pass rate (points)" if each.rates else "mean score"
    return (
        f"{mark}{run} compared with {base}: difference in {what} with "
        f"{words.level(comparison.level)} confidence intervals."
    )


def _table(comparison: Comparison, each: Against) -> Table:
    base, run = (words.clean(name, 24) for name in (comparison.baseline, each.run))
    header = ("", "n", base, run, "Difference", "CI", "p")
    rows = []
    if each.rates is not None:
        rows.append(("Pass rate (%)", *_rates(each.rates)))
    if each.scores is not None:
        found = each.scores
        rows.append(
            (
                "Mean score",
                words.count(found.n),
                *(figure(mean, 1, 2) for mean in (found.baseline_mean, found.run_mean)),
                figure(found.difference.value, 1, 2),
                bounds(found.difference, 1, 2),
                words.p_value(found.p_adjusted),
            )
        )
    sums = len(rows)
    if each.rates is not None and len(each.categories) > 1:
        for group in each.categories[:_CATEGORIES]:
            rows.append((words.named(group.name, _NAME), *_rates(group.rates)))
    return Table.of(header, rows, sums)


def _rates(rates: RateDifference) -> tuple[str, ...]:
    return (
        words.count(rates.n),
        *(figure(rate, 100, 1) for rate in (rates.baseline_rate, rates.run_rate)),
        figure(rates.difference.value, 100, 1),
        bounds(rates.difference, 100, 1),
        words.p_value(rates.p_adjusted),
    )


def _methods(comparison: Comparison) -> Iterator[str]:
    base = comparison.runs[0]
    for run in comparison.runs:
        models = f" ({words.clean(run.models, 120)})" if run.models else ""
        role = "baseline" if run is base else "run"
        yield f"The {role} {words.clean(run.name, _NAME)}{models} has {run.scored:,} scored items."
    paired = [each for each in comparison.against if each.common]
    if paired:
        n = min((each.rates.n if each.rates else each.common) for each in paired)
        yield f"Runs are compared on the same items (at least {n:,}), paired by id."
        clustered = any(each.rates and is_clustered(each.rates) for each in paired)
        yield (
            "Differences have Student's t interval and test over clusters of items (Miller 2024)."
            if clustered
            else "Differences in pass rate have Tango's score interval and McNemar's test (mid-p), "
            "those in mean score the paired t interval and test."
        )
    if len(paired) < len(comparison.against):
        yield (
            "Runs without common items are compared by Newcombe's hybrid score interval and the "
            "chi-squared test with n - 1."
        )
    if any(len(each.categories) > 1 for each in comparison.against) or len(comparison.against) > 1:
        yield "P-values are Holm-adjusted; intervals are not."
    yield "Computed with llm_batch."
