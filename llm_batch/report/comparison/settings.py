"""What the manifests of several runs say differently, and whether one judge scored them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_batch.report.comparison.model import Setting
from llm_batch.report.lines import UNREADABLE, too_deep
from llm_batch.report.manifest import manifest_bytes
from llm_batch.report.model import Report
from llm_batch.report.words import clean

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class SetUp:
    """How a run was set up, flat: name and value of each setting, as its manifest has them.

    Attributes:
        known: Whether there is a manifest.
        values: ``model of generate`` -> ``openai/gpt-4o-mini`` and so on.
        judging: The names in ``values`` that belong to the judge.
    """

    known: bool
    values: dict[str, Any]
    judging: frozenset[str]


def set_up(report: Report) -> SetUp:
    """The settings of a run; empty where its manifest cannot be read."""
    if report.path == "-" or report.columns is not None:
        return SetUp(False, {}, frozenset())
    try:
        manifest = msgspec.json.decode(manifest_bytes(report.path), type=dict[str, Any])
    except (*UNREADABLE, OSError):
        return SetUp(False, {}, frozenset())
    if too_deep(manifest):
        return SetUp(False, {}, frozenset())
    values = dict(_values(manifest))
    judge = report.run.judge
    judging = {name for name in values if name.endswith(f" of {judge}")} if judge else set()
    return SetUp(True, values, frozenset(judging | {"score field", "pass at", "score labels"}))


def _values(manifest: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    config, dataset = _dict(manifest, "config"), _dict(manifest, "dataset")
    yield "dataset", dataset.get("path")
    yield "dataset sha256", dataset.get("sha256")
    yield "items in the dataset", dataset.get("n")
    sample = _dict(manifest, "sample")
    yield "sample size", sample.get("size")
    yield "sample seed", sample.get("seed")
    yield "stratified by", sample.get("stratify")
    steps = config.get("steps")
    for step in steps if isinstance(steps, list) else ():
        if not isinstance(step, dict):
            continue
        name = step.get("name")
        for key, value in step.items():
            if key == "params" and isinstance(value, dict):
                for param, each in value.items():
                    yield f"{param} of {name}", each
            elif key != "name":
                yield f"{key} of {name}", value
    score = _dict(config, "score")
    yield "score field", score.get("field")
    yield "pass at", score.get("pass_at")
    yield "least score", score.get("min")
    yield "greatest score", score.get("max")
    yield "score labels", score.get("labels")
    yield "engine", manifest.get("engine")
    for name, value in _dict(manifest, "versions").items():
        yield f"version of {name}", value


def differing(reports: Sequence[Report], made: Sequence[SetUp]) -> tuple[Setting, ...]:
    """The settings on which the runs with a manifest do not agree, the judge's last."""
    names = dict.fromkeys(name for each in made for name in each.values)
    found = []
    for name in names:
        values = [each.values.get(name) for each in made]
        known = [value for value, each in zip(values, made, strict=True) if each.known]
        if any(value != known[0] for value in known):
            shown = tuple(
                _shown(value, values) if each.known else "unknown"
                for value, each in zip(values, made, strict=True)
            )
            found.append(Setting(name, shown))
    return tuple(found)


def judged_differently(one: SetUp, two: SetUp) -> list[str]:
    """The judge's settings on which two runs do not agree; empty where one has no manifest."""
    if not (one.known and two.known):
        return []
    names = [name for name in one.values | two.values if name in one.judging | two.judging]
    return [name for name in names if one.values.get(name) != two.values.get(name)]


def _shown(value: Any, all_values: Sequence[Any]) -> str:
    """A value for a table cell; of long texts the part where they begin to differ."""
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    others = [other for other in all_values if isinstance(other, str)]
    if isinstance(value, str) and len(text) > _SHOWN and len(others) > 1:
        start = next(
            (i for i, chars in enumerate(zip(*others, strict=False)) if len(set(chars)) > 1),
            min(map(len, others)),
        )
        start = max(0, start - _SHOWN // 3)
        return clean(f"{'…' if start else ''}{text[start:]}", _SHOWN)
    return clean(text, _SHOWN)


def _dict(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
