"""Results and manifests to report on, made through the package's own encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.record.results import encode_result
from llm_batch.records import Item, Result, Score, StepTotals, Usage


def result(
    number: int,
    score: float | None = 5.0,
    *,
    status: str = "ok",
    error: str = "",
    fields: Mapping[str, Any] | None = None,
    answer: str = "It is Paris.",
    pass_at: float | None = 4.0,
    cost: float | None = 0.001,
    stratum: str = "",
    worst_case: bool = False,
    simulated: bool = False,
    seconds: float = 1.0,
    id: str | None = None,
) -> Result:
    """One result of a chain of generate and judge; a failure ends after generate."""
    item = Item(
        f"item-{number}" if id is None else id,
        {"question": f"Question {number}?", "answer": "Paris"} if fields is None else fields,
        stratum,
    )
    steps = {"generate": StepTotals(Usage(40, 10, 8, 0, 2), cost, seconds, 1)}
    outputs: dict[str, Any] = {}
    if status == "ok":
        outputs["generate"] = answer
        steps["judge"] = StepTotals(Usage(80, 20), cost, seconds / 2, 2)
        if score is not None:
            outputs["judge"] = {"score": score, "reason": "Because."}
    verdict = None if score is None or status != "ok" else Score(score, reason="Because.")
    return Result(
        item=item,
        status=status,
        outputs=outputs,
        score=verdict,
        passed=None if verdict is None or pass_at is None else score >= pass_at,  # type: ignore[operator]
        steps=steps,
        error=error,
        worst_case=worst_case,
        simulated=simulated,
    )


def write(
    folder: Path, results: Iterable[Result], manifest: Mapping[str, Any] | None = None
) -> Path:
    """A results file and, if given, the manifest beside it."""
    path = folder / "results.jsonl"
    path.write_bytes(b"".join(encode_result(result) for result in results))
    if manifest is not None:
        (folder / "results.manifest.json").write_bytes(msgspec.json.encode(manifest))
    return path


def manifest(
    *,
    population: int | None = 30_000,
    planned: int | None = 12,
    status: str = "done",
    items: Mapping[str, int] | None = None,
    score: Mapping[str, Any] | None = None,
    stratify: str | None = None,
    strata: Mapping[str, int] | None = None,
    estimate: Mapping[str, Any] | None = None,
    simulated: bool = False,
) -> dict[str, Any]:
    """A manifest as a run writes it."""
    return {
        "schema": 1,
        "run_id": "20261123T215500-3f9a1c",
        "created_at": "2026-11-23T21:55:00Z",
        "config": {
            "steps": [
                {"name": "generate", "model": "openai/my-model", "output": None},
                {"name": "judge", "model": "gpt-4", "output": {"score": {"type": "integer"}}},
            ],
            "score": {"field": "judge.score", "pass_at": 4.0, "labels": {}}
            if score is None
            else dict(score) or None,
        },
        "dataset": {"path": "questions.jsonl", "n": population, "skipped": 0, "strata": strata},
        "sample": {"size": planned, "seed": 42, "stratify": stratify},
        "engine": "threads",
        "estimate": estimate,
        "totals": {
            "status": status,
            "items": dict(items or {}),
            "calls": 24,
            "cost": 0.05,
            "worst_case_calls": 0,
            "seconds": 12.5,
            "simulated": simulated,
        },
    }


def full_manifest(**changes: Any) -> dict[str, Any]:
    """The same with an estimate for both steps."""
    step = {"calls": 12, "input_tokens": 500, "output_tokens": 200}
    cost = {"low": 0.010, "expected": 0.014, "high": 0.020}
    estimate = {
        "calls": 24,
        "input_tokens": 1500,
        "output_tokens": 400,
        "cost": {"low": 0.020, "expected": 0.025, "high": 0.040},
        "seconds": {"low": 8.0, "expected": 11.0, "high": 15.0},
        "steps": {"generate": {**step, "cost": cost}, "judge": {**step, "cost": None}},
    }
    return manifest(**{"estimate": estimate, **changes})


def attempt(started_at: float, seconds: float = 1.0, error: str = "") -> dict[str, Any]:
    """One send of a call."""
    return {"number": 1, "started_at": started_at, "seconds": seconds, "error": error}


def call(
    item: str,
    step: str = "generate",
    model: str = "one",
    *,
    attempts: Sequence[Mapping[str, Any]] = (),
    cost: float | None = 0.001,
    tokens: tuple[int, int] = (40, 10),
    failed: bool = False,
    worst_case: bool = False,
) -> dict[str, Any]:
    """A line of a journal, as far as a report reads it; without attempts it has one at 0."""
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    return {
        "item": item,
        "step": step,
        "model": model,
        "sample": 0,
        "cost": cost,
        "worst_case": worst_case,
        "attempts": list(attempts) or [attempt(0.0)],
        "completion": None if failed else {"text": "Paris.", "usage": usage},
    }


def journal(folder: Path, *calls: Mapping[str, Any]) -> Path:
    """A journal of these calls; returns where its results are or would be."""
    lines = (msgspec.json.encode(call) + b"\n" for call in calls)
    (folder / "results.calls.jsonl").write_bytes(b"".join(lines))
    return folder / "results.jsonl"
