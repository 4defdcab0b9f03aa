"""What a gate says; the JSON format is this tree, a name here is a key there.

A gate is a few checks that must all hold: of a run against a baseline, or of one run alone. Rates
and shares are fractions of one, money is USD, times are seconds. What is not known is ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llm_batch.paper import Formats, Readable, later
from llm_batch.records import Interval
from llm_batch.reporting.comparison import Change, Comparison
from llm_batch.reporting.comparison.build import Compared
from llm_batch.reporting.model import Report

#: Version of the layout of ``llmb compare … --fail-if worse --format json``.
GATE_SCHEMA = 1

Unit = Literal["points", "score", "ratio", "rate", "mean"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a gate asks for.

    Attributes:
        fail_if: ``worse`` or ``not-better``; empty for neither.
        tolerance: Differences up to this count as none; a fraction of one, or in the score's unit.
        max_cost_ratio: Of cost per item, run by baseline; ``max_latency_ratio`` of the 95 %
            quantiles of latency.
        at_least: A pass rate, or a mean score where there are no verdicts.
        level: One-sided, of each check.
        by_group: Whether each category must hold too.
        undecided_passes: Whether the command ends in 0 where the items do not decide it.
    """

    fail_if: Literal["", "worse", "not-better"] = ""
    tolerance: float = 0.0
    max_cost_ratio: float | None = None
    max_latency_ratio: float | None = None
    at_least: float | None = None
    level: float = 0.95
    by_group: bool = False
    undecided_passes: bool = False

    def __bool__(self) -> bool:
        return bool(self.fail_if) or (
            self.max_cost_ratio,
            self.max_latency_ratio,
            self.at_least,
        ) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: What must hold, in words: ``pass rate not worse by more than 2 points``.
        group: A category; empty for all items.
        verdict: One of `llm_batch.errors.VERDICTS`.
        unit: Of value, bounds and limit.
        baseline: Its own figure over these items; ``None`` where it is not compared.
        bounds: The figure with its one-sided bounds: each holds at the gate's level.
        p_value: That it failed by chance, Holm-adjusted over the checks that stand together.
        missing: Items without a verdict in one of the runs. To pass, it must hold if they all came
            out badly, and to fail if they came out well.
        needed: Items in all that would decide it in 80 % of cases, if the figure is the true one.
        more: Those of them that are not played yet, and ``more_cost`` USD for these in both runs.
        sentence: The whole finding.
        broken: Up to five items that got worse, the worst first.
    """

    name: str
    group: str
    verdict: str
    unit: Unit
    baseline: float | None
    run: float | None
    bounds: Interval
    limit: float
    p_value: float | None
    missing: int
    needed: int | None
    more: int | None
    more_cost: float | None
    sentence: str
    broken: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """What all checks come to: the gravest verdict of them."""

    schema: int
    verdict: str
    exit_code: int
    headline: str
    level: float
    baseline: str
    run: str
    simulated: bool
    undecided_passes: bool
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Gated(Readable):
    """A gate, and the comparison or report that it was held against."""

    gate: Gate
    of: Compared | Report

    def _formats(self) -> Mapping[str, Callable[[Any], str]]:
        return GATE_FORMATS


#: Formats by the name a user gives: those of what was gated, and two for other programs.
GATE_FORMATS: Formats[Gated] = Formats(
    later("llm_batch.reporting.gating.document", "document"),
    lambda gated: gated.gate,
    screen=later("llm_batch.reporting.gating.document", "screen"),
    rows=later("llm_batch.reporting.gating.document", "rows"),
    publication=later("llm_batch.reporting.gating.document", "publication"),
    page=later("llm_batch.reporting.gating.document", "page"),
    suite=later("llm_batch.reporting.gating.document", "suite"),
)
