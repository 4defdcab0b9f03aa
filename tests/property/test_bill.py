"""Whatever a provider does, what it bills stays within the budget, and what was paid is used.

The provider counts as real ones do: tokens of the prompt and of the answer, also for answers that
never arrive or arrive broken. Prices, sizes, faults and the number of workers are drawn.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_batch.chain.config import Config
from llm_batch.engines.local import ThreadsEngine
from llm_batch.errors import ProviderError, RateLimited, Rejected, Timeout, Unavailable
from llm_batch.models.tokens import counter
from llm_batch.records import Call, Completion, Item, Request, Result, Usage
from llm_batch.running.play import play
from llm_batch.running.run import Stop
from llm_batch.running.stopping import Purse
from llm_batch.sending.client import Budget
from llm_batch.sending.clock import FakeClock
from llm_batch.sending.fleet import Fleet
from llm_batch.sending.providers import Reply

MODEL = "openai/gpt-4o-mini"  # counted exactly, so that worst cases leave no slack


class Hasty(FakeClock):
    """A fake clock for several threads: each wait moves the time of all."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.seconds += max(0.0, seconds)


class Billing:
    """A provider that keeps its own account of what it will charge."""

    vendor = "openai"
    on_this_machine = True
    simulated = True

    def __init__(self, prices: tuple[float, float], faults: dict[str, float], seed: int) -> None:
        self.prices, self.faults = prices, faults
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.billed = 0.0

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        with self.lock:
            kind = self.random.choices(list(self.faults), list(self.faults.values()))[0]
            written = self.random.randint(1, request.max_tokens or 1)
        if kind == "busy":
            raise Unavailable("busy", status_code=503)
        if kind == "limited":
            raise RateLimited("slow down", status_code=429)
        if kind == "rejected":
            raise Rejected("no", status_code=400)
        usage = Usage(counter(MODEL).count_messages(request.messages), written)
        with self.lock:
            self.billed += (
                usage.input_tokens * self.prices[0] + usage.output_tokens * self.prices[1]
            ) / 1e6
        lost: dict[str, ProviderError] = {
            "timeout": Timeout("no answer", maybe_billed=True),
            "garbage": Unavailable("html", kind="garbage", maybe_billed=True),
        }
        if kind in lost:
            raise lost[kind]
        text = (
            '{"score": 3}'
            if request.step == "judge" and kind != "unreadable"
            else " word" * written
        )
        return Reply(Completion(text, "m", "stop", None if kind == "no usage" else usage))

    def close(self) -> None:
        pass


def config(prices: tuple[float, float], max_tokens: int, attempts: int, schema: bool) -> Config:
    judge: dict[str, Any] = {
        "name": "judge",
        "model": MODEL,
        "prompt": "{{ question }} {{ generate }}",
        "max_tokens": max_tokens,
    }
    if schema:
        judge["output"] = {"score": {"type": "integer", "min": 1, "max": 5}}
    return Config.model_validate(
        {
            "steps": [
                {"name": "generate", "model": MODEL, "prompt": "{{ question }}",
                 "max_tokens": max_tokens},
                judge,
            ],
            "models": {MODEL: {"input_price": prices[0], "output_price": prices[1]}},
            "limits": {"max_attempts": attempts},
            "source": Path("llmb.toml"),
        }
    )  # fmt: skip


FAULTS = st.fixed_dictionaries(
    {
        "none": st.just(1.0),
        **{
            kind: st.sampled_from([0.0, 0.05, 0.3])
            for kind in (
                "busy", "limited", "rejected", "timeout", "garbage", "no usage", "unreadable",
            )
        },
    }
)  # fmt: skip


@settings(max_examples=60)
@given(
    prices=st.tuples(st.floats(0.01, 50), st.floats(0.01, 200)),
    max_tokens=st.integers(1, 200),
    words=st.lists(st.integers(1, 300), min_size=1, max_size=25),
    faults=FAULTS,
    attempts=st.integers(1, 6),
    schema=st.booleans(),
    workers=st.integers(1, 12),
    share=st.floats(0.0, 1.5),
    seed=st.integers(0, 2**32),
)
def test_the_bill_never_exceeds_the_budget(
    prices: tuple[float, float],
    max_tokens: int,
    words: list[int],
    faults: dict[str, float],
    attempts: int,
    schema: bool,
    workers: int,
    share: float,
    seed: int,
) -> None:
    items = [
        Item(f"q{number}", {"question": f"{number}" + " word" * count})
        for number, count in enumerate(words)
    ]
    settings = config(prices, max_tokens, attempts, schema)
    one = (300 * prices[0] + 2 * max_tokens * prices[1]) / 1e6
    cap = share * one * len(items)
    budget, chain, stop = Budget(cap), settings.chain(), Stop()
    provider = Billing(prices, faults, seed)
    finished: set[str] = set()
    booked = 0.0
    with Fleet(settings, budget, Hasty(), lambda *_: provider) as fleet:
        engine = ThreadsEngine(fleet.call, workers)
        try:
            purse = Purse(chain, budget, fleet, stop)
            for event in play(items, chain, engine, gate=purse):
                if isinstance(event, Call):
                    assert event.cost is not None
                    budget.charge(event.request.item_id, event.cost)
                    booked += event.cost
                elif isinstance(event, Result):
                    assert event.item.id not in finished
                    finished.add(event.item.id)
                    budget.release(event.item.id)
                assert budget.spent + budget.held <= cap + 1e-9
        finally:
            engine.close()
    assert provider.billed <= booked + 1e-9  # nothing is charged that was not booked
    assert booked <= cap + 1e-9
    assert budget.held <= 1e-9  # no share is held for an item that will not go on
