"""Configs, items and answers to estimate with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from llm_batch.chain.config import Config
from llm_batch.estimating import Estimate
from llm_batch.records import Call, Completion, Interval, Item, Request

#: Before every deprecation date that matters here.
TODAY = date(2026, 1, 1)

VERDICT = '{"reason": "the same city", "score": 5}'


def config(
    generator: str = "gpt-4o-mini",
    judge: str = "gpt-4o-mini",
    *,
    cap: int | None = None,
    judge_cap: int | None = None,
    limits: dict[str, Any] | None = None,
    models: dict[str, Any] | None = None,
    **more: Any,
) -> Config:
    """A generator and a judge that returns an object."""
    return Config.model_validate(
        {
            "limits": limits or {},
            "models": models or {},
            "steps": [
                {
                    "name": "generate",
                    "model": generator,
                    "prompt": "{{ question }}",
                    "max_tokens": cap,
                },
                {
                    "name": "judge",
                    "model": judge,
                    "prompt": "Question: {{ question }}\nAnswer: {{ generate }}",
                    "max_tokens": judge_cap,
                    "output": {"reason": "string", "score": {"type": "integer"}},
                },
            ],
            "score": {"field": "judge.score", "pass_at": 4},
            **more,
        }
    )


def single(model: str, prompt: str = "{{ question }}", **more: Any) -> Config:
    """A chain of one step."""
    tables = {name: more.pop(name, {}) for name in ("limits", "models", "run")}
    tables["score"] = more.pop("score", None)
    step = {"name": "generate", "model": model, "prompt": prompt, **more}
    return Config.model_validate({**tables, "steps": [step]})


def items(n: int, question: Callable[[int], str] = lambda i: f"What is {i}?") -> list[Item]:
    return [Item(f"item-{i}", {"question": question(i)}) for i in range(n)]


def answered_by(
    chosen: Iterable[str], steps: Iterable[str], text: str = "It is Paris."
) -> Callable[[Request], Call | None]:
    """A journal with the calls of some steps for some items."""
    ids, names = set(chosen), set(steps)

    def look_up(request: Request) -> Call | None:
        if request.item_id not in ids or request.step not in names:
            return None
        answer = VERDICT if request.step == "judge" else text
        return Call(request, (), completion=Completion(answer, request.model, "stop", None))

    return look_up


def intervals(estimate: Estimate) -> dict[str, Interval]:
    """Every range an estimate holds, by where it stands."""
    found = {
        "calls": estimate.calls,
        "input_tokens": estimate.input_tokens,
        "output_tokens": estimate.output_tokens,
        "priced_cost": estimate.priced_cost,
        "seconds": estimate.seconds,
    }
    if estimate.cost is not None:
        found["cost"] = estimate.cost
    for step in estimate.steps:
        found[f"{step.step}.calls"] = step.calls
        found[f"{step.step}.input_tokens"] = step.input_tokens
        found[f"{step.step}.output_tokens"] = step.output_tokens
        if step.cost is not None:
            found[f"{step.step}.cost"] = step.cost
    for option in estimate.options:
        found[f"option {option.n}.seconds"] = option.seconds
        if option.cost is not None:
            found[f"option {option.n}.cost"] = option.cost
    return found


def value(interval: Interval | None) -> float:
    """The expected case, which every range of an estimate has."""
    assert interval is not None and interval.value is not None
    return interval.value


def high(interval: Interval | None) -> float:
    """The high case."""
    assert interval is not None and interval.high is not None
    return interval.high


def said(estimate: Estimate) -> str:
    """All warnings and hints."""
    return "\n".join(f"{message} -> {hint}" for message, hint in estimate.warnings)
