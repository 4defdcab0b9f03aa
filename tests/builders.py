"""Short ways to make what tests need, with values that do not matter filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from llm_batch.chain.chain import Chain
from llm_batch.chain.outputs import OutputField
from llm_batch.chain.score_rules import ScoreRule
from llm_batch.chain.steps import Step
from llm_batch.engines import ENGINES, Engine, Supplies
from llm_batch.records import Attempt, Call, Completion, Failure, Item, Message, Request, Usage


def item(number: int = 1, **fields: Any) -> Item:
    """An item with a question and the reference answer."""
    return Item(f"q{number}", {"question": f"What is {number}?", "answer": str(number), **fields})


def items(count: int) -> list[Item]:
    return [item(number) for number in range(count)]


def request(
    item_id: str = "q1", step: str = "generate", content: str = "What is 1?", **params: Any
) -> Request:
    return Request(item_id, step, "fake/a", (Message("user", content),), params)


USAGE = Usage(10, 5)


def completion(
    text: str = "an answer", usage: Usage | None = USAGE, finish_reason: str = "stop"
) -> Completion:
    return Completion(text, "fake/a", finish_reason, usage)


def answer(to: Request, text: str = "an answer", cost: float | None = 0.25, **more: Any) -> Call:
    """A call that succeeded at the first attempt."""
    return Call(to, (Attempt(1, 1.0, 0.5),), completion=completion(text), cost=cost, **more)


def failure(of: Request, kind: str = "unavailable", cost: float | None = 0.0) -> Call:
    """A call that failed at the first attempt."""
    return Call(of, (Attempt(1, 1.0, 0.5, kind),), failure=Failure(kind, "no luck"), cost=cost)


def engine(name: str, serve: Callable[[Request], Call], workers: int) -> Engine:
    """An engine of this process around a function, opened by its row."""
    config = SimpleNamespace(limits=SimpleNamespace(workers=workers))
    supplies: Any = (config, SimpleNamespace(call=serve), None, None, None, str)
    return ENGINES[name].open(Supplies(*supplies))


def step(name: str, prompt: str, **more: Any) -> Step:
    return Step(name=name, model="fake/a", prompt=prompt, **{"max_tokens": 20, **more})


def chain(judge: Mapping[str, Any] | None = None) -> Chain:
    """Generate and judge, with a score from 1 to 5 that passes at 4."""
    return Chain(
        [
            step("generate", "{{ question }}"),
            step(
                "judge",
                "{{ question }} {{ answer }} {{ generate }}",
                **{
                    "output": {"score": OutputField(type="integer", min=1, max=5)},
                    **(judge or {}),
                },
            ),
        ],
        ScoreRule(field="judge.score", pass_at=4),
    )


def reply_to(asked: Request) -> str:
    """What a model would say: a judge's object, or an answer that depends on the question."""
    if asked.step == "judge":
        return f'{{"score": {1 + len(asked.messages[-1].content) % 5}}}'
    return f"answer to {asked.messages[-1].content}"


def serve(asked: Request) -> Call:
    """A model without clients, limits and failures."""
    return answer(asked, reply_to(asked))
