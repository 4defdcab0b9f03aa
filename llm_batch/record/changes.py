"""What differs between the manifests of two runs, or between a run and a config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm_batch.record.manifest import Manifest

#: What decides which rows and fields of the same data are items.
_PARTS_OF_DATA = ("query", "columns", "where", "limit")


_TEMPLATE = re.compile(r"\{[{%][^{}%]*[}%]\}")


def changes(old: Manifest, new: Manifest) -> list[str]:
    """What differs between two manifests in ways that decide what is paid for again, or mixed."""
    found = []
    if old.dataset.sha256 != new.dataset.sha256:
        found.append(
            f"the data changed: {old.dataset.path} with {old.dataset.n} rows, "
            f"now {new.dataset.path} with {new.dataset.n}"
        )
    for key, words in (("size", "sample"), ("seed", "seed"), ("stratify", "stratification")):
        then, now = (getattr(each.sample, key) for each in (old, new))
        if then != now:
            found.append(f"the {words} was {_named(then)}, now {_named(now)}")
    for key in _PARTS_OF_DATA:
        then, now = ((each.config.get("data") or {}).get(key) for each in (old, new))
        if then != now:
            found.append(f"{key} under [data] was {_named(then)}, now {_named(now)}")
    names = _new_names(steps_of(old), steps_of(new))
    found.extend(
        f"step {name!r} is called {other!r} now; its answers are kept"
        for name, other in names.items()
    )
    configs = _with_names(old.config, names), new.config
    found.extend(_step_changes(*configs))
    models = [config.get("models") or {} for config in configs]
    for name, settings in models[1].items():
        then, now = (part.get(name, {}).get("api_base") for part in (models[0], {name: settings}))
        if then != now:
            found.append(
                f"{name} is served from {_named(now)}, was {_named(then)}; answers that the "
                "journal holds are kept"
            )
    found.extend(
        f"the code of step {name!r} changed; it is worked out again, without a call"
        for name, code in new.code.items()
        if old.code.get(name, code) != code
    )
    if _set(configs[0].get("score")) != _set(configs[1].get("score")):
        found.append("the [score] rule changed: scores are recalculated from the stored answers")
    return found


def _set(rule: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a rule says; keys that another version does not know say nothing."""
    return {key: value for key, value in (rule or {}).items() if value not in (None, {})}


def changed_steps(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    """The steps that two configs have and on which they do not agree, with the keys that differ."""
    before = _by_name(old)
    changed = {name: _changed_keys(before[name], step) for name, step in _by_name(new).items()
               if name in before}  # fmt: skip
    return {name: keys for name, keys in changed.items() if keys}


def steps_of(manifest: Manifest) -> list[dict[str, Any]]:
    """The steps with every key they have, those of other versions too."""
    return manifest.config.get("steps") or []


def _named(value: Any) -> str:
    return "none" if value is None else str(value)


def _new_names(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
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
    if not names:
        return dict(config)
    old = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")

    def put(found: re.Match[str]) -> str:
        return old.sub(lambda name: names[name[0]], found[0])

    def renamed(step: Mapping[str, Any]) -> dict[str, Any]:
        keys = ("prompt", "system", "value", "expected", "when")
        texts = {key: step[key] for key in keys if isinstance(step.get(key), str)}
        texts = {key: _TEMPLATE.sub(put, text) for key, text in texts.items()}
        if isinstance(turns := step.get("messages"), list):
            texts["messages"] = [
                {**turn, "content": _TEMPLATE.sub(put, turn["content"])} for turn in turns
            ]
        if isinstance(images := step.get("images"), list):
            texts["images"] = [_TEMPLATE.sub(put, source) for source in images]
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


def _by_name(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {step["name"]: step for step in config.get("steps") or ()}


def _changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    # A key that the last run did not know yet was not changed by anyone, and a prompt is what its
    # file holds, wherever that lies. A rule has the keys that were written and no others.
    # Those that say how it is played are there where they are set.
    from llm_batch.chain.steps import MESSAGE_KEYS, PLAY_KEYS

    set_now = (key for key in after if "rule" in before or key in (*PLAY_KEYS, *MESSAGE_KEYS))
    keys = [*before, *(key for key in set_now if key not in before)]
    return [key for key in keys if key != "prompt_file" and before.get(key) != after.get(key)]


def _step_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[str]:
    before, after, changed = _by_name(old), _by_name(new), changed_steps(old, new)
    for name in [*after, *(name for name in before if name not in after)]:
        if name not in before:
            yield f"step {name!r} is new"
        elif name not in after:
            yield f"step {name!r} is gone"
        elif name in changed:
            free = "; it is worked out again, without a call" if "rule" in after[name] else ""
            yield f"step {name!r} changed: {', '.join(changed[name])}{free}"
