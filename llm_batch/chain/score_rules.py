"""The rules of the scores, as the user writes them, and whether they fit the steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from llm_batch.chain.outputs import OutputField, Table, TextList, Wrong, number_in
from llm_batch.chain.steps import Step
from llm_batch.chain.templates import inserted


class ScoreRule(Table):
    """Where a score is and when it passes, as written under ``[score]`` and ``[scores.NAME]``.

    ``field`` names a step or a field of its output object (``judge.score``), or several: the first
    that an item has counts, and a rule there when it passes (as full marks) or nothing else is
    there. ``labels`` gives the number each label stands for. ``min`` and ``max`` are the ends of
    the scale, for a judge that answers in words; a number beyond them is no score, and neither is
    ``4/10`` with a max of 5. The verdict of a rule is 1 or 0, and passes at 1. ``equals`` names a
    field of the data in place of all that: the last answer in text is right where it equals that,
    but for case and spaces. ``audit`` names the field of a dearer judge that a share of the items
    has too, on the same scale. ``weights`` makes a score of others: the sum of so many times each.
    """

    field: str | TextList = ""
    equals: str | None = None
    audit: str | None = None
    pass_at: float | None = None
    min: float | None = None
    max: float | None = None
    labels: dict[str, float] = Field(default_factory=dict)
    weights: dict[str, float] | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,) if isinstance(self.field, str) else self.field

    @property
    def named(self) -> str:
        """The field, or all of them, as one reads it."""
        return ", ".join(self.fields)

    @property
    def step(self) -> str:
        """Of the last field, which counts where no other does."""
        return self.fields[-1].partition(".")[0]

    @model_serializer(mode="wrap")
    def _as_written(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = whole(self)
        if self.weights is not None:  # nothing else goes with them
            return {"weights": values["weights"], "pass_at": values["pass_at"]}
        unset = {"audit", "weights"} - self.model_fields_set
        return {key: value for key, value in values.items() if key not in unset}

    @model_validator(mode="after")
    def _sound(self) -> ScoreRule:
        if self.weights is not None:
            for key in ("field", "equals", "audit", "labels", "min", "max"):
                if key in self.model_fields_set:
                    raise Wrong((key,), "does not go with weights", f"leave out {key}")
            if not self.weights:
                raise Wrong(("weights",), "must name a score", "weights = { grounded = 0.5 }")
            return self
        if not all(self.fields) or not self.fields:
            raise Wrong((), "has no field", 'write field = "judge.score"')
        for name in self.fields:
            if self.fields.count(name) > 1:
                raise Wrong(("field",), f"names {name!r} twice")
        for key, bound in (("min", self.min), ("max", self.max)):
            if bound is not None and self.labels:
                raise Wrong((key,), "does not go with labels, whose numbers are all there are")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise Wrong(("min",), f"is {self.min:g}, above the max of {self.max:g}")
        if self.pass_at is not None and self.min is not None and self.pass_at < self.min:
            raise Wrong(
                ("pass_at",), f"is {self.pass_at:g}, below the min of {self.min:g}: all would pass"
            )
        if self.pass_at is not None and self.max is not None and self.pass_at > self.max:
            raise Wrong(
                ("pass_at",),
                f"is {self.pass_at:g}, above the max of {self.max:g}, so nothing could pass",
            )
        return self


#: The name of the step that ``equals`` under ``[score]`` stands for, and what it goes by.
EXACT = "exact"


def with_exact(raw: dict[str, Any]) -> dict[str, Any]:
    """A raw config with the step that ``[score] equals`` stands for, and its field.

    A rule's verdict passes at 1 where nothing else is said.

    Raises:
        Wrong: There is no answer to compare, or more is said beside it.
    """
    score, steps = raw.get("score"), raw.get("steps")
    if not isinstance(score, dict) or not isinstance(steps, list | tuple):
        return raw
    steps = list(steps)
    score = dict(score)
    if isinstance(column := score.get("equals"), str) and "field" not in score:
        for key in score:
            if key not in ("equals", "pass_at"):
                raise Wrong(("score", key), "does not go with equals", f"leave out {key}")
        if not column.strip():
            raise Wrong(("score", "equals"), "names no field of the data")
        texts = [step["name"] for step in steps if isinstance(step, dict) and _says_text(step)]
        if not texts:
            raise Wrong(
                ("score", "equals"),
                "has no step whose answer is a text",
                'write a step with rule = "equals" and value = "{{ step.field }}", and name it in '
                "field",
            )
        taken = {step.get("name") for step in steps if isinstance(step, dict)}
        name = next(n for n in (EXACT, *(f"{EXACT}_{i}" for i in range(2, 999))) if n not in taken)
        rule = {
            "name": name,
            "rule": "equals",
            "value": f"{{{{ {texts[-1]} }}}}",
            "expected": inserted(column),
            "normalise": ["case", "space"],
        }
        steps, score = [*steps, rule], {**score, "field": name}
    elif score.get("equals") is not None and score.get("field") not in [*_equal(steps)]:
        raise Wrong(("score", "equals"), "stands beside field", "keep one of the two")
    field = score.get("field")
    named = [field] if isinstance(field, str) else field if isinstance(field, list | tuple) else []
    rules = [step.get("name") for step in steps if isinstance(step, dict) and "rule" in step]
    if named and all(each in rules for each in named) and "pass_at" not in score:
        score["pass_at"] = 1.0
    return {**raw, "steps": steps, "score": score}


def _equal(steps: list[Any]) -> set[Any]:
    """Steps that are what ``equals`` may stand for."""
    named = [step.model_dump() if isinstance(step, Step) else step for step in steps]
    tables = [each for each in named if isinstance(each, dict)]
    return {each.get("name") for each in tables if each.get("rule") == "equals"}


def _says_text(step: dict[str, Any]) -> bool:
    return isinstance(step.get("name"), str) and "output" not in step and "rule" not in step


#: What the score is called among others, and that of its audit.
MAIN, AUDIT = "score", "audit"


def check_scores(
    score: ScoreRule | None, scores: Mapping[str, ScoreRule], steps: tuple[Step, ...]
) -> None:
    """Raise `Wrong` where a score names what there is not, or could never pass."""
    if score is not None:
        if score.weights is not None:
            raise Wrong((MAIN, "weights"), "go under [scores.total]")
        _check_score(score, steps, (MAIN,))
        _check_audit(score, steps)
    elif scores:
        name = next(iter(scores))
        raise Wrong(
            ("scores", name),
            "is a further score, and there is no first",
            'write [score] field = "…"',
        )
    for name, rule in scores.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in (MAIN, AUDIT):
            raise Wrong(
                ("scores", name),
                f"cannot be the name of a score: {name!r}",
                "letters, digits and _, and neither score nor audit",
            )
        if rule.audit is not None:
            raise Wrong(("scores", name, AUDIT), "goes under [score]")
        if rule.weights is None:
            _check_score(rule, steps, ("scores", name))
            continue
        for other in rule.weights:
            known = [MAIN, *(each for each in scores if scores[each].weights is None)]
            if other not in known:
                raise Wrong(
                    ("scores", name, "weights", other),
                    "is no score",
                    f"scores are {', '.join(known)}",
                )


def _check_audit(score: ScoreRule, steps: tuple[Step, ...]) -> None:
    for name in score.fields:
        step = next(step for step in steps if step.name == name.partition(".")[0])
        if step.share is not None and step.share < 1 and score.audit is None:
            raise Wrong(
                (MAIN, "field"),
                f"names {step.name!r}, which only {step.share:.3g} of the items have",
                "leave its share out, or name a judge of all items here and this one in audit",
            )
    if score.audit is None:
        return
    if score.audit in score.fields:
        raise Wrong((MAIN, AUDIT), "is the score itself", "name the field of another judge")
    rule = ScoreRule(field=score.audit, labels=score.labels, min=score.min, max=score.max)
    _check_score(rule, steps, (MAIN,), key=AUDIT)


def _check_score(
    score: ScoreRule, steps: tuple[Step, ...], at: tuple[str, ...], key: str = "field"
) -> None:
    alone = len(score.fields) == 1
    for named in score.fields:
        name, _, field = named.partition(".")
        step = next((step for step in steps if step.name == name), None)
        place = (*at, key)
        if step is None:
            listed = ", ".join(step.name for step in steps)
            raise Wrong(place, f"names no step: {named!r}", f"steps are {listed}")
        if step.rule == "python" and not field:
            continue  # it may give a number on any scale, or a label
        if step.rule is not None and not field:
            if alone:
                _check_rule(score, name, at)
            continue
        if step.pair is not None and not field:
            _check_bounds(score, named, OutputField(type="number", min=0, max=1), at)
            continue
        fields = step.output or {}
        if bool(field) != bool(fields) or (field and field not in fields):
            listed = ", ".join(f"{name}.{field}" for field in fields) or name
            raise Wrong(place, f"is not an output: {named!r}", f"outputs of {name}: {listed}")
        _check_values(score, named, fields[field] if fields else None, at)


def _check_rule(score: ScoreRule, name: str, at: tuple[str, ...]) -> None:
    for key in ("labels", "min", "max"):
        if key in score.model_fields_set and getattr(score, key) not in (None, {}):
            raise Wrong((*at, key), f"does not go with a rule, whose verdict {name!r} is 1 or 0")
    if score.pass_at is not None and not 0 < score.pass_at <= 1:
        raise Wrong(
            (*at, "pass_at"),
            f"is {score.pass_at:g}, but the verdict of a rule is 1 or 0",
            "leave pass_at out",
        )


def _check_values(
    score: ScoreRule, named: str, output: OutputField | None, at: tuple[str, ...]
) -> None:
    if output is not None and score.labels and not output.type == "string":
        raise Wrong((*at, "labels"), f"are for words, and {named} is {output.in_words()}")
    if output is not None:
        _check_bounds(score, named, output, at)
    if output is not None and output.choices is not None:
        _check_labels(score, named, output.choices, at)
    top = output.max if output is not None else None
    if output is not None and output.type == "boolean":
        top = 1.0
    if score.labels:
        top = max(score.labels.values())
    if score.pass_at is not None and top is not None and score.pass_at > top:
        raise Wrong(
            (*at, "pass_at"),
            f"is {score.pass_at:g}, but {named} is {top:g} at most, so nothing could pass",
        )


def _check_bounds(score: ScoreRule, named: str, output: OutputField, at: tuple[str, ...]) -> None:
    """The ends of a scale are said once, or the same twice."""
    own = (0.0, 1.0) if output.type == "boolean" else (output.min, output.max)
    for key, bound, other in (("min", score.min, own[0]), ("max", score.max, own[1])):
        if bound is not None and other is not None and bound != other:
            raise Wrong(
                (*at, key),
                f"is {bound:g}, but {named} has {other:g}",
                f"leave {key} out under [{'.'.join(at)}]; the field has its own",
            )


def without_scale(score: ScoreRule | None, steps: tuple[Step, ...]) -> str:
    """What to say of a score that is read from words while nobody said what it may be.

    Empty for every other score.
    """
    if score is None or score.labels or (score.min is not None and score.max is not None):
        return ""
    for named in (*score.fields, *((score.audit,) if score.audit else ())):
        name, _, member = named.partition(".")
        step = next((step for step in steps if step.name == name), None)
        if step is not None and (step.rule is not None or (step.pair is not None and not member)):
            continue
        field = (step.output or {}).get(member) if step else None
        if field is None or field.is_free_text:
            return (
                f"The score is read from the words of {named}, and nothing says from where to "
                "where it goes: a number that is none may be taken for one"
            )
    return ""


#: What to type against it.
SCALE_HINT = "under [score], write the ends of your scale: min = 1 and max = 5; or labels = { … }"


def _check_labels(
    score: ScoreRule, named: str, choices: tuple[str, ...], at: tuple[str, ...]
) -> None:
    known = {choice.strip().casefold() for choice in choices}
    labels = {label.strip().casefold() for label in score.labels}
    for label in score.labels:
        if label.strip().casefold() not in known:
            raise Wrong(
                (*at, "labels", label),
                f"is no choice of {named}",
                f"choices are {', '.join(choices)}",
            )
    for choice in choices:
        if choice.strip().casefold() not in labels and (labels or number_in(choice) is None):
            listed = ", ".join(f'"{each}" = …' for each in choices)
            raise Wrong(
                (*at, "labels"),
                f"give no number for {choice!r}, a choice of {named}",
                f"under [{'.'.join(at)}], give every choice its number: labels = {{ {listed} }}",
            )
