"""What a gate says: what must hold, what was found, and what would decide it."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.paper import words
from llm_batch.reporting.gating import Check, Gate, Unit


def requirement(name: str, unit: Unit, limit: float) -> str:
    """What must hold, as the name of a check."""
    if name == "cost":
        return f"cost per item at most {limit:g} times"
    if name == "latency":
        return f"latency p95 at most {limit:g} times"
    if name == "at-least":
        what = "pass rate" if unit == "rate" else "mean score"
        return f"{what} at least {figure(unit, limit)}"
    what = "pass rate" if unit == "points" else "mean score"
    size = size_of(unit, limit)
    if name == "worse":
        return f"{what} not worse by more than {size}" if limit else f"{what} not worse"
    return f"{what} better by more than {size}" if limit else f"{what} better"


def size_of(unit: Unit, limit: float) -> str:
    """The size of a difference: ``2 points``, ``0.1``."""
    return f"{abs(100 * limit):.4g} points" if unit == "points" else f"{abs(limit):g}"


def figure(unit: Unit, value: float | None) -> str:
    """A value in its unit."""
    if unit == "points":
        return words.points(value)
    if unit == "score":
        return words.signed(value)
    if unit == "ratio":
        return words.NONE if value is None else f"{value:.2f}"
    return words.percent(value) if unit == "rate" else words.mean(value)


def between(check: Check) -> str:
    """Both one-sided bounds."""
    low, high = check.bounds.low, check.bounds.high
    if low is None or high is None:
        return words.NONE
    return f"{figure(check.unit, low)} to {figure(check.unit, high)}"


def sentence(check: Check, population: int | None) -> str:
    """The finding of a check, with the bound that decides it."""
    bounds, unit = check.bounds, check.unit
    value = figure(unit, bounds.value) + {"points": " points", "ratio": " times"}.get(unit, "")
    on = words.items(bounds.n)
    if bounds.low is None or bounds.high is None:
        return f"{value} on {on}, and no bounds can be given"
    good_above = unit != "ratio"
    if check.verdict == "undecided":
        return f"{value} ({between(check)}) on {on}; {_to_decide(check, population)}"
    lower = (check.verdict == "passed") == good_above
    bound = (
        f"at least {figure(unit, bounds.low)}" if lower else f"at most {figure(unit, bounds.high)}"
    )
    return f"{value} ({bound}) on {on}"


def _to_decide(check: Check, population: int | None) -> str:
    needed, more = check.needed, check.more
    if needed is None or more is None:
        if check.missing:
            return f"{words.items(check.missing)} without a verdict leave it open"
        if check.bounds.value == check.limit and check.unit in ("points", "score"):
            return "what was found lies at the limit: allow for more with --tolerance"
        return "no number of items would decide it"
    cost = f", about {words.about_usd(check.more_cost)}" if check.more_cost else ""
    if population is not None and needed > population:
        return (
            f"about {words.items(needed)} would decide it{cost}, and this dataset has "
            f"{population:,}"
        )
    return f"about {words.items(more)} more would decide it{cost}"


def told(check: Check) -> str:
    """A check on one line: its name, the category and what was found."""
    group = f" in {words.named(check.group, 40)}" if check.group else ""
    return f"{check.name}{group}: {check.sentence}"


def headline(gate: Gate) -> str:
    """The verdict on one line, with the check that it rests on most."""
    grave = [check for check in gate.checks if check.verdict == gate.verdict]
    of = ""
    if len(gate.checks) > 1:
        of = f" ({len(grave)} of {len(gate.checks)} checks)"
    mark = "SIMULATED: " if gate.simulated else ""
    passes = gate.verdict == "undecided" and gate.undecided_passes
    verdict = f"Gate {gate.verdict}{of}{', which passes here' if passes else ''}"
    return f"{mark}{verdict}: {told(grave[0])}"


def advice(gate: Gate) -> Iterator[str]:
    """What to do about a gate that did not pass."""
    if any(check.missing for check in gate.checks if check.verdict != "passed"):
        yield "Failed items are asked for again by the same llmb run command."
    open_ones = [check for check in gate.checks if check.verdict == "undecided"]
    if open_ones and not gate.undecided_passes:
        yield (
            "Undecided is neither good nor bad: play more items in both runs, allow for more with "
            "--tolerance, or let it pass with --undecided-passes."
            if gate.baseline
            else "Undecided is neither good nor bad: play more items, or let it pass with "
            "--undecided-passes."
        )
