"""What a run says of itself in its manifest, and what it finds there from the run before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_batch.chain.config import Config
from llm_batch.dataset import Drawn
from llm_batch.estimating import Estimate, estimate_record
from llm_batch.models.prices import tariff_of
from llm_batch.paper import words
from llm_batch.record import manifest as manifests
from llm_batch.record.journal import Journal
from llm_batch.record.results import ResultsFile, is_edited
from llm_batch.records import SCHEMA
from llm_batch.running.progress import RunSummary
from llm_batch.sending.providers.batching import batch_vendor


def new_manifest(
    config: Config, drawn: Drawn, before: Mapping[str, Any] | None, estimate: Estimate
) -> dict[str, Any]:
    """The manifest of a run that begins, or goes on from ``before``."""
    record = manifests.config_record(config)
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
        if tariff is not None and config.run.engine == "batch" and batch_vendor(step.model, own):
            tariff = tariff.at_batch()
        prices[step.model] = manifests.price_record(tariff.price if tariff else None)
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
        "totals": {"status": "running", "seconds": _totals_of(before).get("seconds") or 0.0},
    }


def with_seconds(manifest: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The manifest of a run that has gone on for so long in this session."""
    totals = manifest["totals"]
    return {
        **manifest,
        "updated_at": manifests.utc(),
        "totals": {**totals, "seconds": totals["seconds"] + seconds},
    }


def with_totals(
    manifest: Mapping[str, Any], summary: RunSummary, journal: Journal, results: ResultsFile
) -> dict[str, Any]:
    """The manifest of a run that has ended."""
    state = summary.progress
    return {
        **manifest,
        "updated_at": manifests.utc(),
        "totals": {
            "status": summary.status,
            "items": dict(state.statuses),
            "calls": journal.calls,
            "cost": None if journal.unpriced else journal.spent,
            "worst_case_calls": journal.worst_case,
            "seconds": manifest["totals"]["seconds"] + state.seconds,
            "simulated": state.simulated,
            "results_file": results.stamp(),
        },
    }


def what_is_odd(
    config: Config,
    drawn: Drawn,
    journal: Journal,
    before: Mapping[str, Any] | None,
    manifest: Mapping[str, Any],
) -> list[str]:
    """Sentences a user should read before a run spends anything."""
    notes = [*journal.notes, *drawn.notes]
    if not journal.calls:
        return notes
    if before is not None:
        notes += [f"since the last run: {each}" for each in manifests.changes(before, manifest)]
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


def edited_since(before: Mapping[str, Any] | None, path: Path) -> bool:
    """Whether someone else changed the results file after the last run finished it."""
    written = _totals_of(before).get("results_file")
    return written is not None and is_edited(path, written)


def replaced_by(
    before: Mapping[str, Any] | None, manifest: Mapping[str, Any], path: Path
) -> tuple[str, bool]:
    """What is lost of the last run's results once this run has some; nothing for an edit of it.

    Changed prompts over the same data are an edit, and so is the same chain over data that grew:
    the new results stand for the old ones. Other data and other steps do not.

    Args:
        before: The manifest of the last run of this output.
        manifest: That of the run to come.
        path: The results file.

    Returns:
        What the results are of, empty for an edit; and whether data and steps are both others.
    """
    if before is None or not path.exists() or not path.stat().st_size:
        return "", False
    then, now = ((each.get("dataset") or {}) for each in (before, manifest))
    other_data = then.get("sha256") != now.get("sha256") and not _same_place(then, now)
    old, new = (((each.get("config") or {}).get("steps") or []) for each in (before, manifest))
    shared = {step.get("prompt") for step in old} & {step.get("prompt") for step in new}
    names = [step.get("name") for step in old]
    same_names = not {step.get("name") for step in new}.isdisjoint(names)
    if not names or not (other_data or not (shared or same_names)):
        return "", False
    items = sum((_totals_of(before).get("items") or {}).values())
    counted = f"{items:,} item{'' if items == 1 else 's'} of " if items else "items of "
    said = f"{counted}another run ({then.get('path')}; steps {', '.join(map(str, names))})"
    return said, other_data and not shared


def _same_place(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return os.path.realpath(str(then.get("path"))) == os.path.realpath(str(now.get("path")))


def _totals_of(manifest: Mapping[str, Any] | None) -> Mapping[str, Any]:
    totals: Mapping[str, Any] = (manifest or {}).get("totals") or {}
    return totals
