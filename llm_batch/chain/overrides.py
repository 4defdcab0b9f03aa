"""What flags say, written into the config before it is checked."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_batch.chain.addresses import is_address, with_place
from llm_batch.errors import ConfigError

if TYPE_CHECKING:  # it brings pydantic along, and --help needs these flags
    from llm_batch.chain.config_errors import Place

_SECRET = re.compile(r"[$%]\{?\w*(KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH)", re.IGNORECASE)


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
    tier: str | None = None
    budget: float | None = None
    engine: str | None = None
    deadline: str | None = None
    live_tail: str | None = None
    shard: str | None = None
    ray_address: str | None = None
    output: str | None = None


#: The file that is read where none is named.
CONFIG_NAME = "llmb.toml"
# What `llmb estimate` has no flag for, or means something else by.
_OF_RUNS = ("engine", "deadline", "live_tail", "shard", "ray_address", "output")


@dataclass(frozen=True, slots=True)
class Typed:
    """What made a run: the config and the flags, to suggest commands that play the same.

    Attributes:
        config: The file, as it is found from here; empty for the built-in config.
        flags: What was given on the command line.
    """

    config: str = ""
    flags: Overrides = Overrides()

    def command(self, verb: str, *more: str, **flags: str | float | None) -> str:
        """A command for a shell, with the config and the flags.

        Args:
            verb: ``run`` or ``estimate``.
            more: Further words.
            flags: Flags of `Overrides` that are other than they were.
        """
        words = ["llmb", verb]
        if self.config and (self.config != CONFIG_NAME or os.environ.get("LLMB_CONFIG")):
            words += ["-c", self.config]
        changed = replace(self.flags, **flags)  # type: ignore[arg-type]
        for each in fields(changed):
            value = getattr(changed, each.name)
            if value is not None and not (verb == "estimate" and each.name in _OF_RUNS):
                words += [f"--{each.name.replace('_', '-')}", _word(value)]
        return shlex.join([*words, *more])

    def moved(self, there: Path, here: Path) -> Typed:
        """The same with paths that led from one folder leading from another."""

        def path(name: str) -> str:
            if not name or name == "-" or is_address(name):
                return with_place(name, path) if name else name
            whole = str(Path(os.path.abspath(there), expanded(name)))
            try:
                return Path(os.path.relpath(whole, os.path.abspath(here))).as_posix()
            except ValueError:  # on another drive
                return whole

        data, output = (each and path(each) for each in (self.flags.data, self.flags.output))
        return Typed(path(self.config), replace(self.flags, data=data, output=output))


def command(verb: str, *words: str | os.PathLike[str]) -> str:
    """A command for a shell, of these words alone."""
    return shlex.join(["llmb", verb, *map(as_word, words)])


def as_word(word: str | os.PathLike[str]) -> str:
    """A word of a command; the name of a file that begins as a flag does, after ``./``."""
    text = os.fspath(word)
    return f"./{text}" if text.startswith("-") and "." in text else text


def _word(value: str | float) -> str:
    """A value as one types it: 5 and not 5.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def expanded(path: str | os.PathLike[str]) -> str:
    """A path with ``~`` and the variables of the environment filled in; ``-`` and addresses stay.

    A variable that is called like a key stays as it is: names of files are shown and recorded.
    """
    text = os.fspath(path)
    if text != "-" and not _SECRET.search(text) and not is_address(text):
        # Path.expanduser raises where there is no such user; then ~name is a name.
        text = str(Path(os.path.expanduser(os.path.expandvars(text))))  # noqa: PTH111
    return text


def with_flags(
    raw: dict[str, Any], flags: Overrides, built_in: bool
) -> tuple[dict[str, Any], dict[Place, str]]:
    """The raw config with the flags written into it, so that both are checked alike; who set what.

    In the built-in config nobody chose a model.

    Raises:
        ConfigError: A flag has nothing to apply to.
    """
    raw = dict(raw)
    by_flag: dict[Place, str] = {}

    def put(flag: str, value: Any, section: str, key: str) -> None:
        if value is not None and isinstance(raw.setdefault(section, {}), dict):
            raw[section] = {**raw[section], key: value}
            by_flag[section, key] = flag

    data = flags.data
    if data is not None and is_address(data):
        data = with_place(data, lambda place: os.path.abspath(expanded(place)))
    elif data not in (None, "-"):
        data = os.path.abspath(expanded(data))
    put("--data", data, "data", "path")
    put("--sample", flags.sample, "sample", "size")
    put("--seed", flags.seed, "sample", "seed")
    for key in ("workers", "rpm", "tpm", "tier", "budget"):
        put(f"--{key}", getattr(flags, key), "limits", key)
    put("--engine", flags.engine, "run", "engine")
    put("--deadline", flags.deadline, "batch", "deadline")
    put("--live-tail", flags.live_tail, "batch", "live_tail")
    put("--output", flags.output, "run", "output")
    put("--shard", flags.shard, "run", "shard")
    put("--ray-address", flags.ray_address, "run", "ray_address")
    if isinstance(raw.get("steps"), list) and all(isinstance(s, dict) for s in raw["steps"]):
        raw["steps"] = _with_models(raw, flags, built_in, by_flag)
        if flags.api_base is not None and isinstance(raw.setdefault("models", {}), dict):
            raw["models"] = _with_api_base(raw, flags.api_base, by_flag)
    return raw, by_flag


def _with_models(
    raw: Mapping[str, Any], flags: Overrides, built_in: bool, by_flag: dict[Place, str]
) -> list[dict[str, Any]]:
    """The steps with the models that flags name: --judge those of judges, --model all others'."""
    steps = [dict(step) for step in raw["steps"]]
    judges = _judges([step for step in steps if "rule" not in step], raw.get("score"))
    if flags.judge is not None and not judges:
        raise ConfigError(
            "--judge was given, but the config has no judge step",
            "add a second [[steps]] and point [score] field at it; llmb init shows how",
        )
    for position, step in enumerate(steps):
        if not _asks(step):
            continue
        model, flag = flags.model, "--model"
        # Without a config nobody chose the embedded judge, so it follows --model.
        if step.get("name") in judges and (flags.judge is not None or not built_in):
            model, flag = flags.judge, "--judge"
        if model is not None:
            if "models" in step:  # one takes the place of a jury
                step = steps[position] = {k: v for k, v in step.items() if k not in _OF_JURIES}
            step["model"] = model
            by_flag["steps", position, "model"] = flag
    return steps


def _asks(step: Mapping[str, Any]) -> bool:
    return "rule" not in step and "provided" not in step


_OF_JURIES = ("models", "combine", "min_votes")


def _judges(steps: Sequence[Mapping[str, Any]], score: Any) -> set[Any]:
    """Names of the steps that judge.

    That is the step the score comes from, and beside it a panel: steps that are named judge, give
    the field that is the score, or stand in its step's prompt, two or more of them, each with a
    verdict on an earlier step. A step that reads none before it judges nothing.
    """
    if len(steps) < 2:
        return set()
    field = score.get("field", "") if isinstance(score, Mapping) else ""
    last, _, name = str(field[-1] if isinstance(field, list) and field else field).partition(".")
    names = [step.get("name") for step in steps]
    reads = {
        step.get("name"): {other for other in names[:position] if _names(step, other)}
        for position, step in enumerate(steps)
    }
    outputs = {
        step.get("name"): step["output"]
        for step in steps
        if isinstance(step.get("output"), Mapping)
    }
    panel = {each for each in reads.get(last, ()) if each in outputs and reads[each]}
    return {
        each
        for each in names
        if each == (last or "judge")
        or (
            reads[each]
            and (
                re.match(r"judge(?![a-z])", str(each))
                or (name and name in outputs.get(each, ()))
                or (each in panel and len(panel) > 1)
            )
        )
    }


def _names(step: Mapping[str, Any], other: Any) -> bool:
    turns = step.get("messages")
    turns = turns if isinstance(turns, list | tuple) else ()
    texts = [str(step.get(key) or "") for key in ("prompt", "system")]
    texts += [str(turn.get("content")) for turn in turns if isinstance(turn, Mapping)]
    word = re.compile(rf"\{{[{{%][^{{}}]*\b{re.escape(str(other))}\b")
    texts += map(str, step.get("images") or ())
    return any(word.search(text) for text in texts) or "prompt_file" in step


def _with_api_base(
    raw: Mapping[str, Any], api_base: str, by_flag: dict[Place, str]
) -> dict[str, Any]:
    """The models with --api-base, which is where every step's model is served from."""
    models = dict(raw["models"])
    for step in raw["steps"]:
        if not _asks(step):
            continue
        several = step.get("models")
        for name in map(str, several if isinstance(several, list) else [step.get("model")]):
            settings = models.get(name, {})
            if not name.startswith(("local/", "fake/")) and isinstance(settings, dict):
                models[name] = {**settings, "api_base": api_base}
                by_flag["models", name, "api_base"] = "--api-base"
    return models
