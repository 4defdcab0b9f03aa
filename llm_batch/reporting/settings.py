"""How a run was set up, for readers who want to repeat it: from its manifest and journal.

The report's figures do without this. Formats for publication name the seed, the models as they
answered and the parameters; where a file is missing they leave out what it would have said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.reporting.lines import UNREADABLE, Amount, Count, bounded_lines
from llm_batch.reporting.manifest import manifest_bytes
from llm_batch.reporting.model import Report

_JOURNAL_LINES = 500


class _Step(msgspec.Struct):
    name: str = ""
    model: str = ""
    prompt: str = ""
    system: str | None = None
    params: dict[str, Any] = {}


class _Score(msgspec.Struct):
    field: str = ""


class _Config(msgspec.Struct):
    steps: list[_Step] = []
    score: _Score | None = None


class _Dataset(msgspec.Struct):
    path: str = ""
    n: Count | None = None
    sha256: str = ""


class _Sample(msgspec.Struct):
    seed: int | None = None
    size: Count | None = None
    stratify: str | None = None


class _Manifest(msgspec.Struct):
    created_at: str = ""
    versions: dict[str, Any] = {}
    config: _Config = msgspec.field(default_factory=_Config)
    dataset: _Dataset = msgspec.field(default_factory=_Dataset)
    sample: _Sample = msgspec.field(default_factory=_Sample)


class _Answer(msgspec.Struct):
    model: str = ""


class _Call(msgspec.Struct):
    step: str = ""
    completion: _Answer | None = None


@dataclass(frozen=True, slots=True)
class StepSettings:
    """One step of the chain.

    Attributes:
        name: The step.
        model: As the config names it.
        answered: As the provider named it in its answers, sorted; empty when not known.
        temperature: As it was asked for; ``None`` for the provider's default.
        max_tokens: The cap on output tokens; ``None`` for the provider's.
        prompt: The template of the user's message.
        system: The template of the system's message; may be empty.
    """

    name: str
    model: str
    answered: tuple[str, ...]
    temperature: float | None
    max_tokens: int | None
    prompt: str
    system: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What must be known to repeat a run; empty where the manifest does not say."""

    created_at: str = ""
    version: str = ""
    seed: int | None = None
    stratify: str = ""
    dataset: str = ""
    dataset_sha256: str = ""
    score_field: str = ""
    steps: tuple[StepSettings, ...] = field(default=())


def read_settings(report: Report) -> Settings:
    """The settings of the run a report is about; all of them empty without its manifest."""
    if report.path == "-" or report.columns is not None:
        return Settings()
    try:
        manifest = msgspec.json.decode(manifest_bytes(report.path), type=_Manifest)
    except (*UNREADABLE, OSError):
        return Settings()
    answered = _answered(report.path)
    return Settings(
        created_at=manifest.created_at,
        version=str(manifest.versions.get("llm_batch", "")),
        seed=manifest.sample.seed,
        stratify=manifest.sample.stratify or "",
        dataset=Path(manifest.dataset.path).name,
        dataset_sha256=manifest.dataset.sha256,
        score_field=manifest.config.score.field if manifest.config.score else "",
        steps=tuple(
            StepSettings(
                name=step.name,
                model=step.model,
                answered=tuple(sorted(answered.get(step.name, ()))),
                temperature=_converted(step.params.get("temperature"), Amount),
                max_tokens=_converted(step.params.get("max_tokens"), Count),
                prompt=step.prompt,
                system=step.system or "",
            )
            for step in manifest.config.steps
        ),
    )


def _answered(path: str) -> dict[str, set[str]]:
    """The models that answered, by step, from the first calls of the journal."""
    models: dict[str, set[str]] = {}
    for call in islice(_calls(path), _JOURNAL_LINES):
        if call.completion and call.completion.model:
            models.setdefault(call.step, set()).add(call.completion.model)
    return models


def _calls(path: str) -> Any:
    decode = msgspec.json.Decoder(_Call).decode
    try:
        with open(Path(path).with_suffix(".calls.jsonl"), "rb") as journal:
            for line in bounded_lines(journal):
                try:
                    yield decode(line)
                except UNREADABLE:
                    continue  # blank, or cut off
    except OSError:
        return


def _converted(value: Any, kind: Any) -> Any:
    """A parameter that a provider was sent, where it is what it should be; else ``None``."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
