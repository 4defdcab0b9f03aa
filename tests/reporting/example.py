"""A run of the chain with every device, played by the chain itself with answers of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_batch.chain.chain import Chain
from llm_batch.chain.score_rules import ScoreRule
from llm_batch.chain.steps import Step
from llm_batch.records import Attempt, Call, Completion, Failure, Item, Request, Result, Usage
from tests.reporting.made import full_manifest, write

_GRADE = {"score": {"type": "integer", "min": 1, "max": 5}}
_ASKS = {"prompt": "Judge {{ generate }}"}
STEPS: list[dict[str, Any]] = [
    {"name": "generate", "model": "openai/gen", "prompt": "{{ question }}", "repeat": 3},
    {"name": "exact", "rule": "equals", "value": "{{ generate }}", "expected": "{{ answer }}"},
    {"name": "judge", "models": ["openai/a", "anthropic/b", "gemini/c"], "combine": "majority",
     "when": "{{ not exact }}", **_ASKS,
     "output": {"reason": "string", **_GRADE, "grounded": "boolean"}},
    {"name": "audit", "model": "openai/dear", "share": 0.4, "output": _GRADE, **_ASKS},
]  # fmt: skip
SCORE: dict[str, Any] = {"field": ["exact", "judge.score"], "pass_at": 4, "audit": "audit.score"}
SCORES = {"grounded": {"field": "judge.grounded"}}
_COSTS = {"generate": 0.001, "judge": 0.002, "audit": 0.05}


def _answer(request: Request, number: int) -> str | Failure:
    """Items differ, repeats of one as well, and each judge errs in its own way."""
    step, _, member = request.step.partition("#")
    if step == "generate":
        right = (number * 7 + request.sample * 4) % 10 < 4
        return "Paris" if right else f"City {(number + request.sample) % 5}"
    text = request.messages[-1].content
    good = 4 if "City 1" in text or "City 2" in text or "Paris" in text else 2
    if step == "audit":
        return json.dumps({"score": 2 if "City 2" in text else good})
    if member == "gemini/c" and number % 13 == 3:
        return Failure("filtered", "blocked")
    off = {"openai/a": 11, "anthropic/b": 7, "gemini/c": 3}[member]
    score = 6 - good if number % off == 0 else good
    return json.dumps({"reason": f"It is {score}.", "score": score, "grounded": score > 2})


def played(n: int = 100) -> list[Result]:
    """What came of so many items."""
    chain = Chain(
        [Step.model_validate(step) for step in STEPS],
        ScoreRule.model_validate(SCORE),
        {name: ScoreRule.model_validate(rule) for name, rule in SCORES.items()},
        seed=42,
    )
    results = []
    for number in range(n):
        item = Item(f"q{number}", {"question": f"Capital {number}?", "answer": "Paris"})
        calls: list[Call] = []
        while request := chain.next_request(item, calls):
            said, cost = _answer(request, number), _COSTS[request.step.partition("#")[0]]
            attempts = (Attempt(1, 1_700_000_000.0 + len(calls), 1.0, ""),)
            if isinstance(said, Failure):
                calls.append(Call(request, attempts, failure=said, cost=cost))
                continue
            done = Completion(said, request.model, "stop", Usage(20, 5))
            calls.append(Call(request, attempts, done, cost=cost))
        results.append(chain.result(item, calls))
    return results


def write_example(folder: Path) -> Path:
    """The results with their manifest."""
    made = full_manifest(population=5_000, planned=100, items={"ok": 100})
    config = {
        "steps": [Step.model_validate(step).model_dump(mode="json") for step in STEPS],
        "score": ScoreRule.model_validate(SCORE).model_dump(mode="json"),
        "scores": {
            name: ScoreRule.model_validate(rule).model_dump(mode="json")
            for name, rule in SCORES.items()
        },
    }
    return write(folder, played(), made | {"config": config, "estimate": None})
