"""Steps and the rule of the score, as the user writes them."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from llm_batch.outputs import OutputField, Table, Wrong, number_in

# What is said elsewhere, or would break what is promised: a stream or several answers cannot be
# read, and a budget counts on the step's own max_tokens.
_NOT_PARAMS = {
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens"), "set max_tokens of the step"
    ),
    "temperature": "set temperature of the step",
    "response_format": "describe the object under [steps.output]",
    "model": "set model of the step",
    "messages": "set system and prompt of the step",
    "api_base": "set api_base under [models]",
    "timeout": "set timeout under [limits]",
    "max_retries": "set max_attempts under [limits]",
    "num_retries": "set max_attempts under [limits]",
    "stream": "answers are read whole",
    "n": "one answer is asked for at a time",
}
# What keys are called; none may stand in a config, since the manifest copies it.
_SECRETS = re.compile(r"api[_-]?key|authorization|password|secret", re.IGNORECASE)


class Step(Table):
    """One call of the chain, as written under ``[[steps]]``.

    ``prompt`` and ``system`` are Jinja2 templates over the item's fields and, by step name, the
    outputs of earlier steps; ``item`` is all fields at once. With ``output`` the reply must be an
    object of those fields. An answer cut at ``max_tokens`` fails its item, or is kept as it is.
    ``params`` go to the provider as they are.
    """

    name: str
    model: str = Field(min_length=1)
    prompt: str = ""
    prompt_file: str | None = None
    system: str | None = None
    max_tokens: int | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0)
    output: dict[str, OutputField] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    on_truncated: Literal["fail", "keep"] = "fail"

    @model_validator(mode="after")
    def _sound(self) -> Step:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name):
            raise Wrong(
                ("name",), f"must be letters, digits and _, no digit first, not {self.name!r}"
            )
        if self.output is not None and not (self.output and all(self.output)):
            raise Wrong(("output",), "must name at least one field")
        if self.output is not None and self.on_truncated == "keep":
            # Cut off, {"score": 1 may have been going to be 10.
            raise Wrong(("on_truncated",), "cannot be 'keep' in a step with output")
        for name in self.params:
            if name in _NOT_PARAMS:
                raise Wrong(("params", name), "does not go here", _NOT_PARAMS[name])
        _refuse_keys(self.params)
        return self


def _refuse_keys(params: Any, path: tuple[str | int, ...] = ("params",)) -> None:
    """Keys hide in headers too, so the whole of the parameters is looked through."""
    for name, value in params.items() if isinstance(params, dict) else ():
        if _SECRETS.search(name):
            raise Wrong(
                (*path, name),
                "must not be in a file",
                "keys are read from the environment; api_key_env under [models] names one",
            )
        _refuse_keys(value, (*path, name))


class ScoreRule(Table):
    """Where the score is and when it passes, as written under ``[score]``.

    ``field`` names a step or a field of its output object (``judge.score``); ``labels`` gives the
    number each label stands for. ``min`` and ``max`` are the ends of the scale, for a judge that
    answers in words; a number beyond them is no score, and neither is ``4/10`` with a max of 5.
    """

    field: str
    pass_at: float | None = None
    min: float | None = None
    max: float | None = None
    labels: dict[str, float] = Field(default_factory=dict)

    @property
    def step(self) -> str:
        """The name of the step the score comes from."""
        return self.field.partition(".")[0]

    @model_validator(mode="after")
    def _sound(self) -> ScoreRule:
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


def check_score(score: ScoreRule, steps: tuple[Step, ...]) -> None:
    """A score that nothing could produce or reach is a mistake."""
    name, _, field = score.field.partition(".")
    step = next((step for step in steps if step.name == name), None)
    place = ("score", "field")
    if step is None:
        listed = ", ".join(step.name for step in steps)
        raise Wrong(place, f"names no step: {score.field!r}", f"steps are {listed}")
    fields = step.output or {}
    if bool(field) != bool(fields) or (field and field not in fields):
        listed = ", ".join(f"{name}.{field}" for field in fields) or name
        raise Wrong(place, f"is not an output: {score.field!r}", f"outputs of {name}: {listed}")
    output = fields[field] if fields else None
    if output is not None and score.labels and not output.type == "string":
        raise Wrong(("score", "labels"), f"are for words, and {score.field} is {output.in_words()}")
    if output is not None:
        _check_bounds(score, output)
    if output is not None and output.choices is not None:
        _check_labels(score, output.choices)
    top = output.max if output is not None else None
    if output is not None and output.type == "boolean":
        top = 1.0
    if score.labels:
        top = max(score.labels.values())
    if score.pass_at is not None and top is not None and score.pass_at > top:
        raise Wrong(
            ("score", "pass_at"),
            f"is {score.pass_at:g}, but {score.field} is {top:g} at most, so nothing could pass",
        )


def _check_bounds(score: ScoreRule, output: OutputField) -> None:
    """The ends of a scale are said once, or the same twice."""
    own = (0.0, 1.0) if output.type == "boolean" else (output.min, output.max)
    for key, bound, other in (("min", score.min, own[0]), ("max", score.max, own[1])):
        if bound is not None and other is not None and bound != other:
            raise Wrong(
                ("score", key),
                f"is {bound:g}, but {score.field} has {other:g}",
                f"leave {key} out under [score]; the field has its own",
            )


def without_scale(score: ScoreRule | None, steps: tuple[Step, ...]) -> str:
    """What to say of a score that is read from words while nobody said what it may be.

    Empty for every other score.
    """
    if score is None or score.labels or (score.min is not None and score.max is not None):
        return ""
    step = next((step for step in steps if step.name == score.step), None)
    field = (step.output or {}).get(score.field.partition(".")[2]) if step else None
    if field is not None and not field.is_free_text:
        return ""
    return (
        f"The score is read from the words of {score.field}, and nothing says from where to where "
        "it goes: a number that is none may be taken for one"
    )


#: What to type against it.
SCALE_HINT = "under [score], write the ends of your scale: min = 1 and max = 5; or labels = { … }"


def _check_labels(score: ScoreRule, choices: tuple[str, ...]) -> None:
    """Every label is a choice, and every choice has a number."""
    known = {choice.strip().casefold() for choice in choices}
    labels = {label.strip().casefold() for label in score.labels}
    for label in score.labels:
        if label.strip().casefold() not in known:
            raise Wrong(
                ("score", "labels", label),
                f"is no choice of {score.field}",
                f"choices are {', '.join(choices)}",
            )
    for choice in choices:
        if choice.strip().casefold() not in labels and (labels or number_in(choice) is None):
            raise Wrong(
                ("score", "labels"),
                f"give no number for {choice!r}, a choice of {score.field}",
                f"under [score]: labels = {{ {choice!r} = 1, … }}, with every choice",
            )
