"""The one config file, read and checked.

Flags win over the file and the file over defaults. The bundled ``demo/llmb.toml`` is the default
config, what ``llmb init`` writes and the commented example at once, so the three never differ.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from llm_batch.chain.addresses import (
    is_address,
    with_place,
)
from llm_batch.chain.chain import Chain
from llm_batch.chain.config_errors import Place, Written, key_lines, not_toml, refuse_controls
from llm_batch.chain.functions import check_function
from llm_batch.chain.options import Batch, Data, Limits, Model, RunOptions, Sample
from llm_batch.chain.outputs import Table, Wrong
from llm_batch.chain.overrides import CONFIG_NAME, Overrides, Typed, command, expanded, with_flags
from llm_batch.chain.score_rules import ScoreRule, check_scores, with_exact
from llm_batch.chain.steps import Step
from llm_batch.engines import Kind, engine_of
from llm_batch.errors import ConfigError
from llm_batch.models.table import TierLimits, limits_of

DEMO = Path(__file__).parents[1] / "demo"
DEMO_DATA = DEMO / "questions.jsonl"
DEMO_CONFIG = DEMO / "llmb.toml"


class Config(Table):
    """Everything the user wrote, with defaults filled in.

    ``source`` is the file it came from, ``None`` for the built-in default, and ``typed`` are the
    places whose values the user gave by flags: those of a file may be a stranger's. ``flags`` are
    the flags themselves.
    """

    data: Data = Data()
    sample: Sample = Sample()
    limits: Limits = Limits()
    models: dict[str, Model] = Field(default_factory=dict)
    steps: tuple[Step, ...] = Field(min_length=1, strict=False)
    score: ScoreRule | None = None
    scores: dict[str, ScoreRule] = Field(default_factory=dict)
    run: RunOptions = RunOptions()
    batch: Batch = Batch()
    source: Path | None = Field(default=None, exclude=True)
    typed: frozenset[Place] = Field(default=frozenset(), exclude=True)
    flags: Overrides = Field(default=Overrides(), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _with_exact(cls, raw: Any) -> Any:
        return with_exact(raw) if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _references(self) -> Config:
        names = [step.name for step in self.steps]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise Wrong(
                    ("steps", position, "name"),
                    f"is used twice: {name!r}",
                    "give each step a name of its own",
                )
        check_scores(self.score, self.scores, self.steps)
        for name, model in self.models.items():
            for key in ("script", "latency", "error_rate"):
                if getattr(model, key) and not name.startswith("fake/"):
                    raise Wrong(("models", name, key), "is for fake/ models only")
        return self

    @property
    def engine(self) -> Kind:
        return engine_of(self)

    @property
    def asking(self) -> tuple[Step, ...]:
        """The steps that ask a model, one for each member of a jury."""
        return tuple(row for step in self.steps for row in step.rows)

    @property
    def judge(self) -> Step | None:
        """The step the score comes from, else the one named ``judge``, else none; no rule."""
        wanted = self.score.step if self.score else "judge"
        found = next((step for step in self.steps if step.name == wanted and step.asks), None)
        others = [step for step in self.steps if step is not found and step.rule is None]
        return found if found is not None and others else None

    def command(self, verb: str, *more: str, **flags: str | float | None) -> str:
        """A command that plays this config with its flags; see `Typed.command`."""
        return Typed(str(self.source or ""), self.flags).command(verb, *more, **flags)

    def fields_used(self) -> frozenset[str] | None:
        """The fields of the data that anything needs, as far as that is known before.

        ``None`` for all: without ``keep`` results have every field, without ``id`` the whole
        row is what an item is known by, and a template may insert the whole ``item``.
        """
        chain = self.chain()
        whole = any("item" in chain.names_used(step.name) for step in self.steps)
        if self.data.keep is None or self.data.id is None or whole:
            return None
        stratify = (self.sample.stratify,) if self.sample.stratify else ()
        return frozenset({*self.data.keep, self.data.id, *chain.variables(), *stratify})

    def model(self, name: str) -> Model:
        own = self.models.get(name, _NO_SETTINGS)
        if self.limits.max_reply is None or own.max_reply is not None:
            return own
        return own.model_copy(update={"max_reply": self.limits.max_reply})

    def chain(self, *, code: bool = False) -> Chain:
        """The chain these steps make; with ``code`` it executes the user's own rules.

        Raises:
            ConfigError: A template is not valid.
        """
        folder = self.folder if code else None
        data = self.data_path()
        beside = [data.resolve().parent] if isinstance(data, Path) else []
        images = tuple(dict.fromkeys([*beside, self.folder]))
        try:
            return Chain(self.steps, self.score, self.scores, self.sample.seed, folder, images)
        except ConfigError as error:
            where = self._line_in(error.message)
            raise ConfigError(where + error.message, error.hint) from error

    def _line_in(self, message: str) -> str:
        """Where the key stands that a message of the chain begins with."""
        found = _PLACE.match(message)
        names = [step.name for step in self.steps]
        if found is None or found[1] not in names:
            return ""
        key = found[2] or found[3]
        step = names.index(found[1])
        place: Place = ("steps", step)
        if key and (key != "prompt" or not self.steps[step].prompt_file):
            place = (*place, key if key in Step.model_fields else "value")
        return self.line_of(*place, within=int(found[4] or 1))

    @property
    def folder(self) -> Path:
        """Where the modules of rules in Python are looked for: beside the config."""
        return Path(os.path.abspath(self.source or CONFIG_NAME)).parent

    def data_path(self) -> Path | str:
        """Where the data is; a text is an address, or ``-`` for standard input."""
        if self.data.path is None:
            return DEMO_DATA
        path = self.data.path
        if is_address(path):
            path = with_place(path, lambda place: str(self.beside(place)))
            return f"{path}?{self.data.query}" if self.data.query else path
        if path == "-":
            return path
        return self.beside(self.data.path)

    def of_program(self) -> Config:
        """The same for data that a program gives, in place of what the config names."""
        keys = [key for key in _OF_ROWS if key in self.data.model_fields_set]
        data = Data(**{key: getattr(self.data, key) for key in keys})
        return self.model_copy(update={"data": data})

    def line_of(self, *path: str | int, within: int = 1) -> str:
        """Where something stands in the config's file: ``llmb.toml, line 12: ``; else empty.

        ``within`` counts the lines of a text that goes over several.
        """
        if self.source is None:
            return ""
        try:
            text = _read(self.source)
        except ConfigError:  # gone since it was read
            return ""
        line = key_lines(text).get(path)
        if line is None:
            return f"{self.source}: "
        value = text.splitlines()[line - 1].partition("=")[2].strip()
        if value[:3] in ('"""', "'''"):
            line += within - (len(value) > 3)
        return f"{self.source}, line {line}: "

    def beside(self, name: str) -> Path:
        return _beside(self.source, name)


_NO_SETTINGS = Model()
_PLACE = re.compile(r"steps\.(\w+)(?:\.(\w+)|: the (\w+) uses)?(?:.{1,80}?\(its line (\d{1,6})\))?")
#: What is said of rows, wherever they come from.
_OF_ROWS = ("id", "columns", "where", "limit", "on_bad_row", "keep")
#: What is no key of the file.
_OURS = ("source", "typed", "flags")


def model_limits(config: Config, name: str) -> tuple[float | None, float | None, TierLimits | None]:
    """Requests and tokens a minute that hold for a model, and the tier where it filled one in.

    What stands under ``[models]`` wins, then ``[limits]``, then the tier; a server of one's own
    has no tier. ``None`` where nobody set a limit.
    """
    own, common = config.model(name), config.limits
    tier = common.tier if own.api_base is None else None
    return limits_of(tier, name, own.rpm or common.rpm, own.tpm or common.tpm)


def load_config(
    path: str | os.PathLike[str] | None = None, flags: Overrides | None = None, **overrides: Any
) -> Config:
    """Read the config and lay the flags over it.

    Without a ``path``: ``LLMB_CONFIG``, ``llmb.toml`` in the working directory, or the built-in
    default. ``overrides`` are the flags by name (``model="gpt-4o"``); `Overrides` has all.

    Raises:
        ConfigError: The file is missing, is not TOML, or a key or value in it or a flag is wrong.
    """
    given = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in overrides.items()}
    flags = replace(flags or Overrides(), **given)
    source = _find(path)
    text = _read(source or DEMO_CONFIG)
    where = str(source) if source else "the built-in config"
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise not_toml(where, text, str(error)) from error
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply") from error
    refuse_controls(Written(where, text, raw, {}, Config), raw)
    raw, by_flag = with_flags(raw, flags, built_in=source is None)
    written = Written(where, text, raw, by_flag, Config)
    for ours in _OURS:
        if ours in raw:
            raise written.unknown_key((ours,), raw[ours])
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        # Not chained: its text has values in it, and one of them may be a key.
        raise written.explained(error) from None
    data = config.data
    if data.path is None and data.id is None:
        data = data.model_copy(update={"id": "id"})  # the demo set's own
        data.model_fields_set.discard("id")  # nobody wrote it: see `of_program`
    steps = tuple(
        _with_prompt(step, source, written, position) for position, step in enumerate(config.steps)
    )
    for position, step in enumerate(steps):
        if step.python is not None:
            try:
                check_function(Path(os.path.abspath(source or CONFIG_NAME)).parent, step.python)
            except Wrong as error:
                raise written.wrong(
                    ("steps", position, *error.path), str(error), error.hint
                ) from error
    return config.model_copy(
        update={
            "source": source,
            "typed": frozenset(by_flag),
            "flags": flags,
            "data": data,
            "steps": steps,
        }
    )


def _find(path: str | os.PathLike[str] | None) -> Path | None:
    named = path or os.environ.get("LLMB_CONFIG")
    if named:
        found = Path(expanded(named))
        if found.is_dir():
            inside = found / CONFIG_NAME
            hint = f"name the file in it: {inside}" if inside.is_file() else f"llmb init {inside}"
            raise ConfigError(f"the config {str(found)!r} is a folder", hint)
        if not found.is_file():
            there = [] if found.exists() else [found]  # a folder cannot become a config
            raise ConfigError(
                f"no config file {str(found)!r}", f"write one with: {command('init', *there)}"
            )
        return found
    here = Path(CONFIG_NAME)
    return here if here.is_file() else None


def _read(path: Path) -> str:
    if path.exists() and not path.is_file():
        # A device or a pipe may have no end.
        raise ConfigError(f"{path} is no file", "name a file of text")
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from error


def _beside(source: Path | None, name: str) -> Path:
    path = Path(expanded(name))
    return path if path.is_absolute() or source is None else source.parent / path


def _with_prompt(step: Step, source: Path | None, written: Written, position: int) -> Step:
    """The step with the text of its prompt, wherever that is."""
    place: Place = ("steps", position)
    if not step.asks:
        return step
    if step.prompt_file is None:
        if not step.prompt.strip() and step.messages is None and step.conversation is None:
            raise written.wrong(
                place, "has no prompt", 'write prompt = "{{ question }}" with a field of your data'
            )
        return step
    if step.prompt:
        raise written.wrong((*place, "prompt_file"), "stands beside prompt", "keep one of the two")
    try:
        prompt = _read(_beside(source, step.prompt_file))
    except ConfigError as error:
        raise written.wrong((*place, "prompt_file"), f"is wrong: {error.message}") from error
    if not prompt.strip():
        raise written.wrong((*place, "prompt_file"), f"is an empty file: {step.prompt_file!r}")
    return step.model_copy(update={"prompt": prompt})
