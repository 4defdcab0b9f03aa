"""The one config file, read and checked.

Flags win over the file and the file over defaults. The bundled ``demo/llmb.toml`` is the default
config, what ``llmb init`` writes and the commented example at once, so the three never differ.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llm_batch.chain import Chain, ScoreRule, Step
from llm_batch.errors import ConfigError

CONFIG_NAME = "llmb.toml"
DEMO = Path(__file__).parent / "demo"
DEMO_DATA = DEMO / "questions.jsonl"
DEMO_CONFIG = DEMO / "llmb.toml"

#: More workers than this need an explicit limit, unless the endpoint is on this machine.
MANY_WORKERS = 10

EngineName = Literal["threads", "serial"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Section):
    """``[data]``: where items come from. Without ``path``, the bundled demo set."""

    path: str | None = None
    id: str | None = None
    format: Literal["jsonl", "json", "csv", "tsv", "parquet"] | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    keep: tuple[str, ...] | None = None


class Sample(_Section):
    """``[sample]``: the first ``size`` items of a seeded order; 0 means all."""

    size: int = Field(default=384, ge=0)
    seed: int = 42
    stratify: str | None = None


class Limits(_Section):
    """``[limits]``: what the run may do per minute, at once and in all.

    ``timeout`` is in seconds and covers one attempt from connecting to the last byte; ``budget``
    is in USD and covers everything ever journalled for the output file. The run stops when more
    than ``max_failure_share`` of a step's last calls failed; 1 never stops it.
    """

    workers: int = Field(default=5, ge=1, le=1000)
    rpm: Positive | None = None
    tpm: Positive | None = None
    budget: NotNegative | None = None
    timeout: Positive = 60.0
    max_attempts: int = Field(default=6, ge=1)
    max_failure_share: float = Field(default=0.5, gt=0, le=1)


class Model(_Section):
    """``[models."name"]``: endpoint, prices (USD per million tokens) and limits of one model.

    ``script``, ``latency`` (seconds) and ``error_rate`` are for ``fake/`` models only.
    """

    api_base: str | None = None
    api_key_env: str | None = None
    input_price: NotNegative | None = None
    output_price: NotNegative | None = None
    cache_read_price: NotNegative | None = None
    rpm: Positive | None = None
    tpm: Positive | None = None
    transport: Literal["auto", "direct", "litellm"] = "auto"
    structured: Literal["auto", "json_schema", "json_object", "prompt"] = "auto"
    script: str | None = None
    latency: NotNegative = 0.0
    error_rate: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _sound(self) -> Model:
        if self.api_base is not None and urlsplit(self.api_base).scheme not in ("http", "https"):
            raise ValueError(f"api_base must start with http:// or https://, not {self.api_base!r}")
        return self


class RunOptions(_Section):
    """``[run]``: how and where to."""

    engine: EngineName = "threads"
    output: str = "results.jsonl"


class Config(_Section):
    """Everything the user wrote, with defaults filled in.

    ``source`` is the file it came from, ``None`` for the built-in default.
    """

    data: Data = Data()
    sample: Sample = Sample()
    limits: Limits = Limits()
    models: dict[str, Model] = Field(default_factory=dict)
    steps: tuple[Step, ...] = Field(min_length=1)
    score: ScoreRule | None = None
    run: RunOptions = RunOptions()
    source: Path | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _references(self) -> Config:
        names = [step.name for step in self.steps]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"steps: the name {name!r} is used twice")
        if self.score is not None:
            step, _, name = self.score.field.partition(".")
            chosen = next((s for s in self.steps if s.name == step), None)
            if chosen is None:
                raise ValueError(
                    f"score.field: no step is named {step!r}; steps are {', '.join(names)}"
                )
            if bool(name) != (chosen.output is not None) or (name and name not in chosen.output):
                fields = ", ".join(f"{step}.{field}" for field in chosen.output or ()) or step
                raise ValueError(
                    f"score.field: {self.score.field!r} is not an output; use {fields}"
                )
        return self

    @property
    def judge(self) -> Step | None:
        """The step the score comes from, else the one named ``judge``, else none."""
        wanted = self.score.step if self.score else "judge"
        found = next((step for step in self.steps if step.name == wanted), None)
        return found if found is not None and len(self.steps) > 1 else None

    def model(self, name: str) -> Model:
        """Settings of a model, defaults where the file has none."""
        return self.models.get(name, _NO_SETTINGS)

    def chain(self) -> Chain:
        """The chain these steps make.

        Raises:
            ConfigError: A template is not valid.
        """
        return Chain(self.steps, self.score)

    def data_path(self) -> Path | Literal["-"]:
        """Where to read items from; relative paths are relative to the config file."""
        if self.data.path is None:
            return DEMO_DATA
        if self.data.path == "-":
            return "-"
        return _beside(self.source, self.data.path)


_NO_SETTINGS = Model()


@dataclass(frozen=True, slots=True)
class Overrides:
    """What flags said; ``None`` where a flag was not given. Units as in the config."""

    data: str | None = None
    sample: int | None = None
    seed: int | None = None
    model: str | None = None
    judge: str | None = None
    api_base: str | None = None
    workers: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    budget: float | None = None
    engine: str | None = None
    output: str | None = None


def load_config(
    path: str | os.PathLike[str] | None = None, flags: Overrides | None = None
) -> Config:
    """Read the config and lay the flags over it.

    Args:
        path: The file. Without it: ``LLMB_CONFIG``, ``llmb.toml`` in the working directory, or
            the built-in default.
        flags: What was given on the command line.

    Raises:
        ConfigError: The file is missing, is not TOML, or a key or value in it or a flag is wrong.
    """
    source = _find(path)
    text = _read(source or DEMO_CONFIG)
    where = str(source) if source else "the built-in config"
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from error
    raw = _with_flags(raw, flags or Overrides(), built_in=source is None)
    try:
        config = Config.model_validate(raw | {"source": source})
    except ValidationError as error:
        raise _explained(error, where, text) from error
    data = config.data
    if data.path is None and data.id is None:
        data = data.model_copy(update={"id": "id"})  # the demo set's own
    return config.model_copy(
        update={
            "data": data,
            "steps": tuple(_with_prompt(step, source, where) for step in config.steps),
        }
    )


def _find(path: str | os.PathLike[str] | None) -> Path | None:
    named = path or os.environ.get("LLMB_CONFIG")
    if named:
        found = Path(named)
        if not found.is_file():
            raise ConfigError(f"no config file {str(found)!r}", "write one with: llmb init")
        return found
    here = Path(CONFIG_NAME)
    return here if here.is_file() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _beside(source: Path | None, name: str) -> Path:
    path = Path(name).expanduser()
    return path if path.is_absolute() or source is None else source.parent / path


def _with_prompt(step: Step, source: Path | None, where: str) -> Step:
    if (step.prompt_file is None) == (not step.prompt):
        raise ConfigError(
            f"{where}: step {step.name!r} needs exactly one of prompt and prompt_file",
            'write prompt = "{{ question }}" with a field of your data',
        )
    if step.prompt_file is None:
        return step
    return step.model_copy(update={"prompt": _read(_beside(source, step.prompt_file))})


def _with_flags(raw: dict[str, Any], flags: Overrides, built_in: bool) -> dict[str, Any]:
    """The raw config with the flags written into it, so that both are checked alike."""
    raw = dict(raw)

    def put(section: str, key: str, value: Any) -> None:
        if value is not None and isinstance(raw.setdefault(section, {}), dict):
            raw[section] = {**raw[section], key: value}

    if flags.data is not None:
        put("data", "path", flags.data if flags.data == "-" else os.path.abspath(flags.data))
    put("sample", "size", flags.sample)
    put("sample", "seed", flags.seed)
    for key in ("workers", "rpm", "tpm", "budget"):
        put("limits", key, getattr(flags, key))
    put("run", "engine", flags.engine)
    put("run", "output", flags.output)
    if isinstance(raw.get("steps"), list) and all(isinstance(s, dict) for s in raw["steps"]):
        raw["steps"] = _with_models(raw, flags, built_in)
        if flags.api_base is not None:
            raw["models"] = _with_api_base(raw, flags.api_base)
    return raw


def _with_models(raw: Mapping[str, Any], flags: Overrides, built_in: bool) -> list[dict[str, Any]]:
    steps = [dict(step) for step in raw["steps"]]
    score = raw.get("score")
    named = str(score.get("field", "")).partition(".")[0] if isinstance(score, dict) else "judge"
    judge = next((s for s in steps if len(steps) > 1 and s.get("name") == named), None)
    if flags.judge is not None and judge is None:
        raise ConfigError(
            "--judge was given, but the config has no judge step",
            "add a second [[steps]] and point [score] field at it; llmb init shows how",
        )
    for step in steps:
        if step is judge:
            # Without a config nobody chose the embedded judge, so it follows --model.
            step["model"] = flags.judge or (built_in and flags.model) or step.get("model")
        elif flags.model is not None:
            step["model"] = flags.model
    return steps


def _with_api_base(raw: Mapping[str, Any], api_base: str) -> dict[str, Any]:
    models = dict(raw.get("models") or {})
    for step in raw["steps"]:
        name = str(step.get("model"))
        if not name.startswith(("local/", "fake/")):
            models[name] = {**(models.get(name) or {}), "api_base": api_base}
    return models


def _explained(error: ValidationError, where: str, text: str) -> ConfigError:
    """The first problem as one sentence, with the line and the nearest known key."""
    problems = error.errors()
    # A misspelt section also leaves the right one missing: the spelling is the news.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    path = [str(part) for part in problem["loc"]]
    at = f"{where}{_line_of(path, text)}"
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = list(_known_keys(path[:-1]))
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return ConfigError(f"{at}: unknown key {key!r}", hint)
    if problem["type"] == "missing":
        return ConfigError(f"{at}: {key!r} is missing", "llmb init writes a complete example")
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = f", not {given!r}" if isinstance(given, str | int | float | bool) else ""
    return ConfigError(f"{at}: {key}: {message}{shown}" if key else f"{at}: {message}")


def _line_of(path: list[str], text: str) -> str:
    """``, line N`` for the key, found as a reader would find it; empty when it is ambiguous."""
    if not path:
        return ""
    pattern = re.compile(
        rf"^\s*\[*[\w.\"\s]*?\"?{re.escape(path[-1])}\"?\s*[=\]]|[{{,]\s*{re.escape(path[-1])}\s*="
    )
    hits = [n for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    return f", line {hits[0]}" if len(hits) == 1 else ""


def _known_keys(path: list[str]) -> Iterator[str]:
    """The keys that may stand at a place in the config."""
    from llm_batch.scores import OutputField

    sections: dict[str, type[BaseModel]] = {
        "data": Data, "sample": Sample, "limits": Limits, "models": Model,
        "steps": Step, "score": ScoreRule, "run": RunOptions,
    }  # fmt: skip
    if not path:
        yield from sections
    elif path[0] == "steps" and "output" in path:
        yield from OutputField.model_fields
    elif path[0] in sections:
        yield from sections[path[0]].model_fields
