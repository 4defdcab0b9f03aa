"""What must be known to repeat a run, and what changed since the last one."""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from llm_batch import __version__
from llm_batch.chain.config import Config
from llm_batch.errors import OutputError
from llm_batch.models.table import table_version
from llm_batch.record.files import PRIVATE, real_path, replace
from llm_batch.records import SCHEMA, Price, without_mark

_encoder = msgspec.json.Encoder(order="deterministic")
_TEMPLATE = re.compile(r"\{[{%][^{}%]*[}%]\}")


def run_paths(output: str | os.PathLike[str]) -> tuple[Path, Path, Path]:
    """The three files of a run: results, calls (the journal), manifest."""
    results = Path(output)
    stem = results.with_suffix("") if results.suffix else results
    return (
        results,
        stem.with_name(stem.name + ".calls.jsonl"),
        stem.with_name(stem.name + ".manifest.json"),
    )


def jobs_path(output: str | os.PathLike[str]) -> Path:
    """Where the jobs at a provider's batch API are written down, if there are any."""
    journal = run_paths(output)[1]
    return journal.with_name(journal.name.replace(".calls.jsonl", ".batches.jsonl"))


def new_run_id() -> str:
    """The UTC time and a few random letters; sorts by time."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


def utc(seconds: float | None = None) -> str:
    """A time as ISO 8601 in UTC; now by default."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def versions() -> dict[str, str]:
    """What answers and prices may depend on."""
    return {
        "llm_batch": __version__,
        "python": platform.python_version(),
        "prices": table_version(),
    }


def config_record(config: Config) -> dict[str, Any]:
    """The whole config as plain values, prompts from files included. It holds no keys."""
    return config.model_dump(mode="json")


def hash_of(value: Any) -> str:
    """A short hash of plain values; the order of keys does not matter."""
    return blake2b(_encoder.encode(value), digest_size=8).hexdigest()


def price_record(price: Price | None) -> dict[str, Any] | None:
    """A price as plain numbers (USD per million tokens)."""
    if price is None:
        return None
    return {
        "input": float(price.input),
        "output": float(price.output),
        "cache_read": None if price.cache_read is None else float(price.cache_read),
        "cache_write": None if price.cache_write is None else float(price.cache_write),
        "source": price.source,
        "as_of": price.as_of,
    }


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of the last run; ``None`` when there is none.

    Raises:
        OutputError: It is damaged, or written by a newer version.
    """
    try:
        manifest = msgspec.json.decode(without_mark(path.read_bytes()), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OutputError(
            f"cannot read {path}: {error}",
            "delete it: the journal beside it keeps every call, and only settings are lost",
        ) from error
    schema = manifest.get("schema", 0)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise OutputError(
            f"{path} was written by a newer version", "pip install --upgrade llm_batch"
        )
    return manifest


def write_manifest(path: Path, manifest: Mapping[str, Any], mode: int = PRIVATE) -> None:
    """Replace the manifest; a crash leaves the old one or the new one.

    Raises:
        OutputError: It cannot be written.
    """
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    try:
        replace(real_path(path), content, mode)  # where a link leads, so that it stays one
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}", "choose another place with --output"
        ) from error


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two manifests in ways that decide what is paid for again, or mixed.

    Args:
        old: The manifest of the last run, of any version.
        new: That of the run to come.

    Returns:
        Sentences without a capital and a full stop; none when nothing differs.
    """
    found = []
    before, after = _part(old, "dataset"), _part(new, "dataset")
    if before.get("sha256") != after.get("sha256"):
        found.append(
            f"the data changed: {before.get('path')} with {before.get('n')} rows, "
            f"now {after.get('path')} with {after.get('n')}"
        )
    for key, words in (("size", "sample"), ("seed", "seed"), ("stratify", "stratification")):
        then, now = (_part(part, "sample").get(key) for part in (old, new))
        if then != now:
            found.append(f"the {words} was {_named(then)}, now {_named(now)}")
    then, now = _part(old, "config"), _part(new, "config")
    names = _new_names(then.get("steps") or (), now.get("steps") or ())
    found.extend(
        f"step {name!r} is called {other!r} now; its answers are kept"
        for name, other in names.items()
    )
    configs = _with_names(then, names), now
    steps = [{step["name"]: step for step in config.get("steps") or ()} for config in configs]
    found.extend(_step_changes(*steps))
    models = [_part(config, "models") for config in configs]
    for name, settings in models[1].items():
        then, now = (part.get(name, {}).get("api_base") for part in (models[0], {name: settings}))
        if then != now:
            found.append(
                f"{name} is served from {_named(now)}, was {_named(then)}; answers that the "
                "journal holds are kept"
            )
    if configs[0].get("score") != configs[1].get("score"):
        found.append("the [score] rule changed; scores are worked out again, nothing is sent")
    return found


def _part(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part: Mapping[str, Any] = manifest.get(name) or {}
    return part


def _named(value: Any) -> str:
    return "none" if value is None else str(value)


def _new_names(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """What steps are called now that were called otherwise, and are the same apart from that."""
    if len(before) != len(after):
        return {}
    known = [{step["name"] for step in steps} for steps in (before, after)]
    pairs = {
        old["name"]: new["name"]
        for old, new in zip(before, after, strict=True)
        if old["name"] not in known[1] and new["name"] not in known[0]
    }
    renamed = _with_names({"steps": before}, pairs)["steps"]
    same = {
        new["name"] for old, new in zip(renamed, after, strict=True) if not _changed_keys(old, new)
    }
    return {old: new for old, new in pairs.items() if new in same}


def _with_names(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The config with steps called so, in templates and the score too."""
    if not names:
        return dict(config)
    old = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")

    def put(found: re.Match[str]) -> str:
        return old.sub(lambda name: names[name[0]], found[0])

    def renamed(step: Mapping[str, Any]) -> dict[str, Any]:
        texts = {key: step[key] for key in ("prompt", "system") if isinstance(step.get(key), str)}
        texts = {key: _TEMPLATE.sub(put, text) for key, text in texts.items()}
        return {**step, **texts, "name": names.get(step["name"], step["name"])}

    score = config.get("score")
    if isinstance(score, Mapping) and isinstance(score.get("field"), str):
        step, dot, name = score["field"].partition(".")
        score = {**score, "field": names.get(step, step) + dot + name}
    return {
        **config,
        "steps": [renamed(step) for step in config.get("steps") or ()],
        "score": score,
    }


def _changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    # A key that the last run did not know yet was not changed by anyone.
    return [key for key in before if before[key] != after.get(key)]


def _step_changes(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> Iterable[str]:
    for name in [*after, *(name for name in before if name not in after)]:
        if name not in before:
            yield f"step {name!r} is new"
        elif name not in after:
            yield f"step {name!r} is gone"
        else:
            if keys := _changed_keys(before[name], after[name]):
                yield f"step {name!r} changed: {', '.join(keys)}"
