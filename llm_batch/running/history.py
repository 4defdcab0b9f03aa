"""What a run says of itself in its manifest, and what it finds there from the run before."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.chain.config import Config
from llm_batch.chain.flags import Typed
from llm_batch.dataset import Drawn
from llm_batch.estimating import Estimate, estimate_record
from llm_batch.models.prices import tariff_of
from llm_batch.paper import words
from llm_batch.record.changes import changes
from llm_batch.record.files import run_paths
from llm_batch.record.journal import Journal
from llm_batch.record.manifest import (
    RUNNING,
    Dataset,
    ListPrice,
    Manifest,
    Sample,
    Stopping,
    Totals,
    config_record,
    hash_of,
    new_run_id,
    utc,
    versions,
)
from llm_batch.record.results import ResultsFile, is_edited
from llm_batch.running.progress import RunSummary
from llm_batch.sending.providers.batching import goes_by_batch


def new_manifest(
    config: Config, drawn: Drawn, before: Manifest | None, estimate: Estimate
) -> Manifest:
    """The manifest of a run that begins, or goes on from ``before``."""
    record = config_record(config)
    prices = {}
    for step in config.steps:
        own = config.model(step.model)
        tariff = tariff_of(
            step.model,
            own.input_price,
            own.output_price,
            own.cache_read_price,
            batch_input_price=own.batch_input_price,
            batch_output_price=own.batch_output_price,
        )
        if tariff is not None and goes_by_batch(step.model, config):
            tariff = tariff.at_batch()
        prices[step.model] = ListPrice.of(tariff.price if tariff else None)
    before = before or Manifest()
    return Manifest(
        run_id=before.run_id or new_run_id(),
        created_at=before.created_at or utc(),
        updated_at=utc(),
        versions=versions(),
        config=record,
        config_hash=hash_of(record),
        dataset=Dataset(
            str(drawn.path), drawn.sha256, drawn.population, drawn.skipped, drawn.strata
        ),
        sample=Sample(drawn.size, config.sample.seed, config.sample.stratify),
        prices=prices,
        engine=config.engine.name,
        limits=record["limits"],
        estimate=estimate_record(estimate),
        totals=Totals(RUNNING, seconds=before.totals.seconds or 0.0),
        made=_made(config),
    )


def _made(config: Config) -> dict[str, Any]:
    """The config's file and the flags, with paths from the folder of the results."""
    folder = run_paths(config.run.output).results.parent
    typed = Typed(str(config.source or ""), config.flags).moved(Path(), folder)
    flags = {name: value for name, value in asdict(typed.flags).items() if value is not None}
    return {"config": typed.config, **flags}


def with_seconds(manifest: Manifest, seconds: float) -> Manifest:
    """The manifest of a run that has gone on for so long in this session."""
    totals = Totals(RUNNING, seconds=(manifest.totals.seconds or 0.0) + seconds)
    return msgspec.structs.replace(manifest, updated_at=utc(), totals=totals)


def with_totals(
    manifest: Manifest,
    summary: RunSummary,
    journal: Journal,
    results: ResultsFile,
    stopping: Stopping | None,
) -> Manifest:
    """The manifest of a run that has ended."""
    state = summary.progress
    totals = Totals(
        status=summary.status,
        items=dict(state.statuses),
        calls=journal.calls,
        cost=None if journal.unpriced else journal.spent,
        worst_case_calls=journal.worst_case,
        seconds=(manifest.totals.seconds or 0.0) + state.seconds,
        simulated=state.simulated,
        results_file=results.stamp(),
    )
    return msgspec.structs.replace(manifest, updated_at=utc(), totals=totals, stopping=stopping)


def what_is_odd(
    config: Config,
    drawn: Drawn,
    journal: Journal,
    before: Manifest | None,
    manifest: Manifest,
) -> list[str]:
    """Sentences a user should read before a run spends anything."""
    notes = [*journal.notes, *drawn.notes]
    if not journal.calls:
        return notes
    if before is not None:
        notes += [f"since the last run: {each}" for each in changes(before, manifest)]
    spent = f" ({words.usd(journal.spent)})" if journal.spent else ""
    answered = words.counted(journal.answers, "answered call")
    notes.append(
        f"{journal.path.name} holds {answered}{spent}; what still applies is not paid again"
    )
    if journal.unpriced and config.limits.budget is not None:
        notes.append(
            f"{journal.unpriced:,} of its calls were made without a known price, so the budget "
            "does not count them"
        )
    return notes


def edited_since(before: Manifest | None, path: Path) -> bool:
    """Whether someone else changed the results file after the last run finished it."""
    written = before.totals.results_file if before else None
    return written is not None and is_edited(path, written)


def replaced_by(before: Manifest | None, manifest: Manifest, path: Path) -> tuple[str, bool]:
    """What is lost of the last run's results once this run has some; nothing for an edit of it.

    Changed prompts over the same data are an edit, and so is the same chain over data that grew:
    the new results stand for the old ones. Other data and other steps do not.

    Returns:
        What the results are of, empty for an edit; and whether data and steps are both others.
    """
    if before is None or not path.exists() or not path.stat().st_size:
        return "", False
    then, now = before.dataset, manifest.dataset
    other_data = then.sha256 != now.sha256 and not _same_place(then, now)
    shared = {step.prompt for step in before.steps} & {step.prompt for step in manifest.steps}
    names = [step.name for step in before.steps]
    same_names = not {step.name for step in manifest.steps}.isdisjoint(names)
    if not names or not (other_data or not (shared or same_names)):
        return "", False
    items = sum(before.totals.items.values())
    counted = f"{items:,} item{'' if items == 1 else 's'} of " if items else "items of "
    said = f"{counted}another run ({then.path}; steps {', '.join(names)})"
    return said, other_data and not shared


def _same_place(then: Dataset, now: Dataset) -> bool:
    return os.path.realpath(str(then.path)) == os.path.realpath(str(now.path))
