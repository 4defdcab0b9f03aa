"""How a run was set up, for readers who want to repeat it: from its manifest and journal.

The report's figures do without this. Formats for publication name the seed, the models as they
answered and the parameters; where a file is missing they leave out what it would have said.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice

from llm_batch.record.files import run_paths
from llm_batch.record.journal import call_lines
from llm_batch.record.manifest import Manifest
from llm_batch.reporting.model import Report

_JOURNAL_LINES = 500


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
    steps: tuple[StepSettings, ...] = field(default=())


def read_settings(report: Report) -> Settings:
    """The settings of the run a report is about; all of them empty without its manifest."""
    if report.columns is not None:
        return Settings()
    manifest, _ = Manifest.beside(report.path)
    if manifest is None:
        return Settings()
    answered = _answered(report.path)
    return Settings(
        created_at=manifest.created_at,
        version=manifest.versions.get("llm_batch", ""),
        seed=manifest.sample.seed,
        stratify=manifest.sample.stratify or "",
        steps=tuple(
            StepSettings(
                name=step.name,
                model=step.model,
                answered=tuple(sorted(answered.get(step.name, ()))),
                temperature=step.temperature,
                max_tokens=step.max_tokens,
                prompt=step.prompt,
                system=step.system or "",
            )
            for step in manifest.steps
        ),
    )


def _answered(path: str) -> dict[str, set[str]]:
    """The models that answered, by step, from the first calls of the journal."""
    models: dict[str, set[str]] = {}
    with suppress(OSError), open(run_paths(path).journal, "rb") as file:
        calls = chain.from_iterable(call_lines(file, damaged=lambda line: None))
        for call in islice(calls, _JOURNAL_LINES):
            if call.completion and call.completion.model:
                models.setdefault(call.step, set()).add(call.completion.model)
    return models
