"""Play the chain for real: journal, limits, budget, results. The same call resumes."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_batch import manifest as manifests
from llm_batch.budget import Budget
from llm_batch.chain import Chain
from llm_batch.checks import check_before_spending
from llm_batch.circuit import Circuit
from llm_batch.clock import SystemClock
from llm_batch.config import Config
from llm_batch.dataset import Drawn, draw
from llm_batch.engines import ENGINES
from llm_batch.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_REFUSED, ConfigError
from llm_batch.estimate import Estimate, estimate_from_items
from llm_batch.fleet import Fleet
from llm_batch.journal import Journal
from llm_batch.play import Tick, play
from llm_batch.purse import Purse
from llm_batch.records import SCHEMA, Call, Result
from llm_batch.results import ResultsFile

#: A run that is expected to cost more than this, and has no budget, is asked about.
ASK_ABOVE_USD = 1.00
# Enough prompts to know the mean length to a few percent, counted in a moment.
_ESTIMATE_ITEMS = 100


@dataclass
class Progress:
    """How a run stands; handed to the progress display after every event.

    Costs are USD of everything in the journal, seconds are of this session.
    """

    planned: int = 0
    done: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    retries: int = 0
    reused: int = 0
    spent: float = 0.0
    priced: bool = True
    budget: float | None = None
    expected_cost: float | None = None
    scored: int = 0
    passed: int = 0
    score_sum: float = 0.0
    simulated: bool = False
    in_flight: int = 0
    rpm: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        path: The results file.
        status: ``done``, ``budget``, ``interrupted``, ``refused`` or ``circuit``.
        message: Why it stopped, empty when it is done.
        progress: The last state.
        exit_code: As in the README.
    """

    path: Path
    status: str
    message: str
    progress: Progress
    exit_code: int


class Stop:
    """Asks a run to stop: admit nothing new, finish what is in flight.

    Safe to call from a signal handler or another thread.
    """

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.reason = ""
        self.message = ""

    def __call__(self, reason: str = "interrupted", message: str = "") -> None:
        if not self.reason:
            self.message = message
            self.reason = reason
            self.clock.cancel()


def run(
    config: Config,
    *,
    confirm: Callable[[Estimate], bool] | None = None,
    progress: Callable[[Progress], None] = lambda state: None,
    say: Callable[[str], None] = lambda sentence: None,
    stop: Stop | None = None,
) -> RunSummary:
    """Run the chain over the sample, or go on where an earlier run of the same output ended.

    Args:
        config: What to run; see `load_config`.
        confirm: Asked when the rest of the run is expected to cost more than a dollar and there
            is no budget; ``None`` means yes.
        progress: Called after every event with the state so far.
        say: Called with sentences a user should read (what changed, what was odd).
        stop: Call it to end the run early.

    Returns:
        How it ended; failures of items are in the results, not raised.

    Raises:
        LlmbError: The config, data or output is wrong, or the answer to ``confirm`` was no;
            nothing was spent.
    """
    chain = config.chain()
    stop = stop or Stop()
    results_path, journal_path, manifest_path = manifests.run_paths(config.run.output)
    source = config.data_path()
    with draw(
        config.data,
        source,
        size=config.sample.size,
        seed=config.sample.seed,
        stratify=config.sample.stratify,
    ) as drawn:
        check_before_spending(config, chain, next(iter(drawn.items())))
        journal = Journal(journal_path)
        try:
            before = manifests.read_manifest(manifest_path)
            estimate = _estimate(config, drawn, None)
            manifest = _new_manifest(config, drawn, before, estimate)
            for sentence in _notes(drawn, journal, before, manifest):
                say(sentence)
            _ask(config, drawn, journal, estimate, confirm)
            state = Progress(
                planned=drawn.size,
                spent=journal.spent,
                priced=not journal.unpriced,
                budget=config.limits.budget,
                expected_cost=estimate.cost.value if estimate.cost else None,
            )
            results = ResultsFile(
                results_path, config.data.keep, _edited_since(before, results_path)
            )
            if results.kept:
                say(f"{results_path} was edited since the run wrote it; kept as {results.kept}")
            manifests.write_manifest(manifest_path, manifest)
            _play(config, chain, drawn, journal, results, state, stop, progress)
            summary = _summary(results_path, stop, state)
            manifest |= _totals(manifest, summary, journal, results_path)
            manifests.write_manifest(manifest_path, manifest)
            return summary
        finally:
            journal.close()


def _play(
    config: Config,
    chain: Chain,
    drawn: Drawn,
    journal: Journal,
    results: ResultsFile,
    state: Progress,
    stop: Stop,
    progress: Callable[[Progress], None],
) -> None:
    started = time.monotonic()
    budget = Budget(config.limits.budget, journal.spent)
    circuit = Circuit(config.limits.max_failure_share)
    with results, Fleet(config, budget, stop.clock) as fleet:
        purse = Purse(chain, budget, fleet, stop)
        engine = ENGINES[config.run.engine](fleet.call, config.limits.workers)
        try:
            for event in play(drawn.items(), chain, engine, journal.answered, purse):
                if isinstance(event, Call):
                    journal.append(event)
                    budget.charge(event.request.item_id, event.cost or 0.0)
                    results.publish()
                    _count_call(state, event)
                    if event.failure is not None and event.failure.kind == "refused":
                        stop("refused", event.failure.message)
                elif isinstance(event, Result):
                    # Written before its share of the budget is given back to others.
                    results.write(event)
                    budget.release(event.item.id)
                    _count_result(state, event)
                    trouble = circuit.note(event)
                    if trouble:
                        stop("circuit", trouble)
                elif isinstance(event, Tick):
                    journal.sync_if_due()
                    results.flush()
                state.spent, state.in_flight = budget.spent, engine.held
                state.seconds = time.monotonic() - started
                state.rpm = fleet.rpm
                progress(state)
        finally:
            engine.close()
    if state.done < state.planned and not stop.reason:
        stop.reason = "budget"
        stop.message = (
            f"the budget of ${config.limits.budget:,.2f} has no room for the worst case of "
            "another item"
        )


def _count_call(state: Progress, call: Call) -> None:
    state.calls += 1
    state.retries += max(0, len(call.attempts) - 1)
    state.simulated |= call.simulated
    if call.cost is None:
        state.priced = False


def _count_result(state: Progress, result: Result) -> None:
    state.done += 1
    state.statuses[result.status] += 1
    state.simulated |= result.simulated
    if result.score is not None and result.score.value is not None:
        state.scored += 1
        state.score_sum += result.score.value
        state.passed += bool(result.passed)


def _estimate(config: Config, drawn: Drawn, journal: Journal | None) -> Estimate:
    return estimate_from_items(
        config,
        itertools.islice(drawn.items(), _ESTIMATE_ITEMS),
        drawn.size,
        drawn.population,
        answered=journal.answered if journal else None,
    )


def _ask(
    config: Config,
    drawn: Drawn,
    journal: Journal,
    estimate: Estimate,
    confirm: Callable[[Estimate], bool] | None,
) -> None:
    if confirm is None or config.limits.budget is not None:
        return
    rest = _estimate(config, drawn, journal) if journal.answers else estimate
    unpriced = rest.cost is None
    if (unpriced or (rest.cost and (rest.cost.value or 0.0) > ASK_ABOVE_USD)) and not confirm(rest):
        raise ConfigError("not run: the cost was not agreed to", "set a cap with --budget USD")


def _new_manifest(
    config: Config, drawn: Drawn, before: Mapping[str, Any] | None, estimate: Estimate
) -> dict[str, Any]:
    from llm_batch.estimate import estimate_record
    from llm_batch.prices import price_of

    record = manifests.config_record(config)
    prices = {}
    for step in config.steps:
        own = config.model(step.model)
        price = price_of(step.model, own.input_price, own.output_price, own.cache_read_price)
        prices[step.model] = manifests.price_record(price)
    return {
        "schema": SCHEMA,
        "run_id": (before or {}).get("run_id") or manifests.new_run_id(),
        "created_at": (before or {}).get("created_at") or manifests.utc(),
        "updated_at": manifests.utc(),
        "versions": manifests.versions(),
        "config": record,
        "config_hash": manifests.hash_of(record),
        "dataset": {
            "path": str(drawn.path),
            "sha256": drawn.sha256,
            "n": drawn.population,
            "skipped": drawn.skipped,
            "strata": drawn.strata,
        },
        "sample": {
            "size": drawn.size,
            "seed": config.sample.seed,
            "stratify": config.sample.stratify,
        },
        "prices": prices,
        "engine": config.run.engine,
        "limits": record["limits"],
        "estimate": estimate_record(estimate),
        "totals": {"status": "running", "seconds": _seconds(before)},
    }


def _seconds(before: Mapping[str, Any] | None) -> float:
    return float(((before or {}).get("totals") or {}).get("seconds") or 0.0)


def _notes(
    drawn: Drawn, journal: Journal, before: Mapping[str, Any] | None, manifest: Mapping[str, Any]
) -> list[str]:
    notes = [*journal.notes, *drawn.notes]
    if journal.calls:
        if before is not None:
            notes.extend(
                f"since the last run: {change}" for change in manifests.changes(before, manifest)
            )
        notes.append(
            f"{journal.path.name} holds {journal.answers:,} answered calls"
            + (f" (${journal.spent:,.4f})" if journal.spent else "")
            + "; what still applies is not paid again"
        )
    return notes


def _edited_since(before: Mapping[str, Any] | None, path: Path) -> bool:
    """Whether someone else changed the results file after the last run finished it."""
    written = ((before or {}).get("totals") or {}).get("results_file")
    if not written:
        return False
    try:
        now = os.stat(path)
    except FileNotFoundError:
        return False
    return [now.st_size, now.st_mtime_ns] != list(written)


def _summary(path: Path, stop: Stop, state: Progress) -> RunSummary:
    status = stop.reason or "done"
    code = {
        "refused": EXIT_REFUSED,
        "interrupted": EXIT_INTERRUPTED,
        "budget": EXIT_INCOMPLETE,
        "circuit": EXIT_INCOMPLETE,
    }.get(status, EXIT_OK)
    if status == "interrupted" and state.done == state.planned:
        status, code = "done", EXIT_OK  # it was asked to stop when nothing was left to do
    if code == EXIT_OK and state.statuses.total() > state.statuses["ok"]:
        code = EXIT_INCOMPLETE
    return RunSummary(path, status, stop.message, state, code)


def _totals(
    manifest: Mapping[str, Any], summary: RunSummary, journal: Journal, results: Path
) -> dict[str, Any]:
    state = summary.progress
    written = os.stat(results)
    return {
        "updated_at": manifests.utc(),
        "totals": {
            "status": summary.status,
            "items": dict(state.statuses),
            "calls": journal.calls,
            "cost": None if journal.unpriced else journal.spent,
            "worst_case_calls": journal.worst_case,
            "seconds": manifest["totals"]["seconds"] + state.seconds,
            "simulated": state.simulated,
            "results_file": [written.st_size, written.st_mtime_ns],
        },
    }
