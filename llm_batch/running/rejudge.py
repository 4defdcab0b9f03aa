"""Old answers, judged as another run judges: so that two runs can be compared after all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llm_batch.chain.config import Config
from llm_batch.chain.overrides import command
from llm_batch.errors import ConfigError
from llm_batch.estimating import Estimate
from llm_batch.record.baseline import is_baseline
from llm_batch.record.changes import steps_of
from llm_batch.record.files import Writing, run_paths
from llm_batch.record.manifest import Manifest
from llm_batch.reporting.comparison.sides import scoring_steps
from llm_batch.running.run import drawn_for, run


def rejudged_config(base: str | Path, like: str | Path) -> Config:
    """The config that plays the answers of one run with the judging of another.

    Its results lie beside those of the first: ``base.rejudged.jsonl``.

    Raises:
        ConfigError: One of them has no manifest or no journal, or the judging does not fit.
    """
    if is_baseline(base):
        raise ConfigError(
            f"{base} has no answers that could be judged anew",
            f"name the results that it was made from: {command('compare', 'base.jsonl', like)}",
        )
    one, two = (_manifest(path) for path in (base, like))
    if not run_paths(base).journal.is_file():
        raise ConfigError(
            f"{base} has no journal beside it, which holds its answers", "play it again: llmb run"
        )
    old, new = (
        set().union(*(scoring_steps(each, rule) for rule in (each.score, *each.scores.values())))
        for each in (one, two)
    )
    steps = [step for step in steps_of(one) if step["name"] not in old | new]
    steps += [step for step in steps_of(two) if step["name"] in new]
    values = {
        **one.config,
        "steps": list(map(_written, steps)),
        "models": {**(two.config.get("models") or {}), **(one.config.get("models") or {})},
        "score": two.config.get("score"),
        "scores": two.config.get("scores") or {},
    }
    output = Path(base).with_name(f"{Path(base).stem}.rejudged.jsonl")
    values["run"] = {**(values.get("run") or {}), "output": str(output)}
    try:
        config = Config.model_validate(_known(values))
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ConfigError(
            f"the judging of {like} does not fit the steps of {base}: {reason}",
            "play the old config with the new judge: its answers are kept",
        ) from None
    typed = one.typed(base)
    # Where no config is known, the manifests say where keys go, and they may be a stranger's.
    known = typed is not None and typed.config
    source = typed.config if typed is not None and known else run_paths(base).manifest.name
    return config.model_copy(update={"source": Path(source)})


def rejudge(
    config: Config,
    base: str | Path,
    *,
    confirm: Callable[[Estimate], bool],
    say: Callable[[str], None],
) -> Path:
    """Judge the answers of ``base`` anew; only what the judge is asked costs anything.

    Args:
        config: Of `rejudged_config`, which the user trusts.
        confirm: Asked before anything is spent, whatever it is expected to cost.

    Returns:
        The results. A second time nothing is asked that was answered.

    Raises:
        ConfigError: The data has changed since, or the answer was no.
    """
    manifest = _manifest(base)
    with drawn_for(config) as drawn:
        if manifest.dataset.sha256 not in (None, drawn.sha256):
            raise ConfigError(
                f"{drawn.path} has changed since {base} was played, so its answers cannot be "
                "judged anew",
                "play the baseline on the new data: llmb run",
            )
    kept, own = run_paths(base).journal, run_paths(config.run.output).journal
    if not own.exists():
        with Writing(own):
            shutil.copyfile(kept, own)  # with what the answers cost, and how long they took
            shutil.copymode(kept, own)
    summary = run(config, trusted=True, confirm=confirm, ask_above=0.0, say=say)
    if summary.progress.done < summary.progress.planned:
        raise ConfigError(
            f"not all answers of {base} were judged anew: {summary.message}",
            "type the same command again: what was answered is kept",
        )
    return summary.path


def _manifest(path: str | Path) -> Manifest:
    found, problem = Manifest.beside(path)
    if found is None:
        raise ConfigError(f"{path} cannot be judged anew: {problem}", "name the results of a run")
    return found


def _written(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step as one writes it: its prompt stands in it, wherever it came from."""
    return {key: value for key, value in step.items() if key != "prompt_file"}


def _known(value: Any) -> Any:
    """Values without what is not set."""
    if isinstance(value, Mapping):
        return {key: _known(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_known(member) for member in value]
    return value
