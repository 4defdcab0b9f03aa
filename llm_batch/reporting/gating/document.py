"""A gate as people read it, on a screen and in a pull request, and as CI servers do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table, on_screen
from llm_batch.paper.html import Page
from llm_batch.paper.junit import Case, Suite
from llm_batch.reporting.comparison import Change, RunFigures
from llm_batch.reporting.comparison import build as comparing
from llm_batch.reporting.comparison import document as comparison_document
from llm_batch.reporting.comparison.build import Compared
from llm_batch.reporting.gating import Check, Gate, Gated
from llm_batch.reporting.gating.sentences import advice, between, figure, told

_NAME = 40
_BROKEN = 5
_TEXT = 100


def document(gated: Gated) -> Document:
    """The whole gate, as a pull request shows it: a table, the worst flips, the cost."""
    gate = gated.gate
    return Document(
        gate.headline,
        tuple(_origin(gate)),
        tuple(_sections(gate)),
        warnings=tuple((sentence, "") for sentence in gate.warnings),
        next_steps=(*gate.next_steps, *advice(gate)),
    )


def screen(gated: Gated) -> Document:
    """The gate in what fits a screen."""
    gate = gated.gate
    whole = (
        "llmb compare without a gate has all else"
        if gate.comparison
        else "--format html has the items"
    )
    shown = on_screen([(warning, "") for warning in gate.warnings], whole)
    return replace(document(gated), sections=tuple(_sections(gate))[:2], **shown)


def _origin(gate: Gate) -> Iterator[str]:
    if gate.comparison is None:
        yield words.clean(gate.run, 120)
        return
    for run in gate.comparison.runs:
        models = f": {words.clean(run.models, 120)}" if run.models else ""
        base = " (baseline)" if run.name == gate.baseline != "baseline" else ""
        yield f"{words.clean(run.name, _NAME)}{base}{models}"
    if gate.comparison.score:
        yield f"Score: {words.clean(gate.comparison.score, _NAME)}"


def _sections(gate: Gate) -> Iterator[Section]:
    yield Section("Checks", (_table(gate),))
    broken = _broken(gate)
    if broken:
        yield Section("What broke", (_flips(broken),))
    if gate.comparison is not None:
        yield Section("Cost and time", (_costs(gate.comparison.runs),))


def _table(gate: Gate) -> Table:
    named = gate.comparison is not None
    level = f"{words.level(gate.level)} bounds"
    own = ("before", "now") if named else ()
    header = ("", "verdict", *own, "found", level, "limit", "items")
    rows = tuple(tuple(_cells(check, named)) for check in gate.checks)
    right = (False, False, *(True for _ in header[2:]))
    return Table(header, right, rows)


def _cells(check: Check, named: bool) -> Iterator[str]:
    yield words.named(check.group, _NAME) if check.group else check.name
    yield check.verdict
    if named:
        yield _own(check, check.baseline)
        yield _own(check, check.run)
    yield figure(check.unit, check.bounds.value)
    yield between(check)
    yield figure(check.unit, check.limit)
    yield words.count(check.bounds.n)


def _own(check: Check, value: float | None) -> str:
    """A run's own figure, in the unit of what the check compares."""
    if check.unit == "points":
        return words.percent(value)
    if check.unit == "ratio":
        return (words.usd if check.name.startswith("cost") else words.duration)(value)
    return words.mean(value)


def _broken(gate: Gate) -> list[Change]:
    """The worst items of all checks, each once."""
    found = {change.id: change for check in gate.checks for change in check.broken}
    return list(found.values())[:_BROKEN]


def _flips(broken: Sequence[Change]) -> Table:
    """What was asked where a baseline has no answers, else both answers."""
    asked = not any(change.baseline_output for change in broken)
    rows = tuple(
        (
            words.clean(change.id, 24),
            _scores(change),
            words.clean(change.question if asked else change.baseline_output, _TEXT) or words.NONE,
            words.clean(change.run_output, _TEXT) or words.NONE,
        )
        for change in broken
    )
    header = ("id", "scores", "asked" if asked else "before", "now")
    return Table(header, (False, True, False, False), rows)


def _scores(change: Change) -> str:
    return f"{words.number(change.baseline_score)} to {words.number(change.run_score)}"


def _costs(runs: Iterable[RunFigures]) -> Table:
    header = ("", "cost", "per item", "latency p50", "p95")
    rows = tuple(
        (
            words.clean(run.name, _NAME),
            words.usd(run.cost),
            words.usd(run.cost_per_item),
            words.duration(run.latency_p50),
            words.duration(run.latency_p95),
        )
        for run in runs
    )
    return Table.of(header, rows)


def suite(gated: Gated) -> Suite:
    """One test for each check and category, with examples of what broke."""
    gate = gated.gate
    properties = [("verdict", gate.verdict), ("baseline", gate.baseline), ("run", gate.run)]
    properties += [("level", f"{gate.level:g}"), ("simulated", str(gate.simulated).lower())]
    return Suite("llmb gate", properties, [_case(check, gate) for check in gate.checks])


def _case(check: Check, gate: Gate) -> Case:
    open_outcome = "skipped" if gate.undecided_passes else "error"
    outcome: Any = {"passed": "passed", "failed": "failure"}.get(check.verdict, open_outcome)
    lines = [told(check)]
    for change in check.broken:
        lines += ["", f"{change.id}: {_scores(change)}"]
        for title, text in (
            ("question", change.question),
            ("before", change.baseline_output),
            ("now", change.run_output),
            ("why", change.run_reason),
        ):
            if text:
                lines.append(f"  {title}: {words.clean(text, 300)}")
    group = words.named(check.group) if check.group else "all items"
    return Case(f"llmb.{group}", check.name, outcome, check.sentence, "\n".join(lines))


def rows(gated: Gated) -> Any:
    """Every item, as without a gate."""
    if isinstance(gated.of, Compared):
        return comparing.table(gated.of)
    from llm_batch.reporting.items import table

    return table(gated.of)


def publication(gated: Gated) -> Document:
    """What a paper has of it, as without a gate."""
    if isinstance(gated.of, Compared):
        from llm_batch.reporting.comparison.sentences import publication as of_comparison

        return of_comparison(gated.of)
    from llm_batch.reporting.publication import publication as of_report

    return of_report(gated.of)


def page(gated: Gated) -> Page:
    """The page of the comparison or report, with the gate before all else."""
    if isinstance(gated.of, Compared):
        made = comparison_document.page(gated.of)
    else:
        from llm_batch.reporting.page import page as of_report

        made = of_report(gated.of)
    gate = gated.gate
    checks = Section("Gate", (_table(gate),))
    sections = (checks, *made.document.sections)
    whole = replace(made.document, headline=gate.headline, sections=sections)
    return replace(made, document=whole)
