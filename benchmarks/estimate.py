"""How far estimates are from what happens: time of real runs, and coverage of the intervals.

    python benchmarks/estimate.py time [settings]       the real engine, random settings
    python benchmarks/estimate.py coverage [cases]      intervals from 10, 20 and 50 values
    python benchmarks/estimate.py pilots [cases]        whole estimates from real pilots
    python benchmarks/estimate.py counting [items]      seconds of sampling and of counting all

``time`` plays chains of one or two steps with simulated answers of known latency under random
workers and limits, 3 to 12 s long, and prints estimated over real seconds; each must be within
10 %. ``pilots``
plays the pilot through the real engine and compares the interval of the total with the bill of
all items. Everything is simulated: no key, no network.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llm_batch.chain.config import Config
from llm_batch.chain.forecast import forecast
from llm_batch.chain.options import Model
from llm_batch.estimating import estimate
from llm_batch.estimating.ranges import mean_of_unseen
from llm_batch.models.tokens import counter
from llm_batch.records import Completion, Request, Usage
from llm_batch.running.pilot import pilot
from llm_batch.running.run import run
from llm_batch.sending.fleet import Fleet
from llm_batch.sending.providers.fake import FakeProvider

#: An estimate of time further off than this is a fault.
ALLOWED = 0.10
#: Seconds a run should take at most: its settings are drawn again otherwise.
LONGEST = 12.0
SHORTEST = 3.0


def write_rows(folder: Path, n: int, pick: random.Random) -> Path:
    path = folder / "rows.jsonl"
    with open(path, "w") as file:
        for i in range(n):
            words = " ".join("what" for _ in range(pick.randint(5, 60)))
            file.write(json.dumps({"id": f"r{i}", "question": words}) + "\n")
    return path


def chain(folder: Path, n: int, pick: random.Random) -> dict[str, Any]:
    """A config with simulated models, as plain values."""
    judge = {
        "name": "judge",
        "model": pick.choice(["fake/judge", "fake/writer"]),
        "prompt": "{{ question }} {{ generate }}",
        "max_tokens": pick.choice([20, 100]),
        "output": {"score": {"type": "integer", "min": 1, "max": 5}},
    }
    writer = {
        "name": "generate",
        "model": "fake/writer",
        "prompt": "{{ question }}",
        "max_tokens": pick.choice([50, 200]),
    }
    steps = [writer, judge] if pick.random() < 0.75 else [writer]
    return {
        "data": {"path": str(write_rows(folder, n, pick)), "id": "id"},
        "sample": {"size": 0},
        "steps": steps,
        "run": {"output": str(folder / "out.jsonl")},
    }


def drawn_settings(folder: Path, pick: random.Random) -> Config:
    """Random workers, latencies and limits, bound now by the one and now by the other."""
    while True:
        raw = chain(folder, pick.randint(100, 800), pick)
        models: dict[str, Any] = {}
        for step in raw["steps"]:
            own: dict[str, Any] = {"latency": round(pick.uniform(0.03, 0.4), 3)}
            if pick.random() < 0.5:
                own["rpm"] = pick.randint(1000, 9000)
            if pick.random() < 0.4:
                own["tpm"] = pick.randint(100_000, 2_000_000)
            models.setdefault(step["model"], own)
        workers = pick.randint(1, 40)
        config = Config.model_validate({**raw, "models": models, "limits": {"workers": workers}})
        made = estimate(config)
        if SHORTEST < (made.seconds.value or 0.0) < LONGEST:
            return config


def times(settings: int) -> bool:
    """Play random settings for real and compare the seconds."""
    print("estimated / real seconds, what bound it")
    pick, worst, played = random.Random(8), 0.0, 0
    while played < settings:
        with tempfile.TemporaryDirectory() as name:
            config = drawn_settings(Path(name), pick)
            # The simulated provider counts tokens in a way of its own: a pilot learns it.
            measured = pilot(config, 20)
            made = estimate(config, measured=measured)
            if (made.seconds.value or 0.0) < SHORTEST:
                continue  # the pilot was most of it
            started = time.perf_counter()
            run(config)
            real = time.perf_counter() - started
        played += 1
        ratio = (made.seconds.value or 0.0) / real
        worst = max(worst, abs(ratio - 1))
        print(f"  {made.seconds.value:6.2f} / {real:6.2f} = {ratio:.3f}   {made.bound_by}")
    print(f"{settings} settings, furthest off {100 * worst:.1f} %, allowed {100 * ALLOWED:.0f} %")
    return worst <= ALLOWED


Lengths = Callable[[random.Random], float]
#: Lengths whose mean an interval must hold, and, after the bar, those that no interval can.
KINDS: dict[str, Lengths] = {
    "lognormal 0.3": lambda pick: pick.lognormvariate(5, 0.3),
    "lognormal 0.6": lambda pick: pick.lognormvariate(5, 0.6),
    "lognormal 0.9": lambda pick: pick.lognormvariate(5, 0.9),
    "lognormal 1.2": lambda pick: pick.lognormvariate(5, 1.2),
    "gamma 1": lambda pick: pick.gammavariate(1, 100),
    "gamma 4": lambda pick: pick.gammavariate(4, 100),
    "Weibull 0.7": lambda pick: pick.weibullvariate(100, 0.7),
    "cut at 400": lambda pick: min(400.0, pick.lognormvariate(5, 1.0)),
    "uniform": lambda pick: pick.uniform(10, 300),
    "normal": lambda pick: max(1.0, pick.gauss(100, 20)),
    "5 % failed": lambda pick: pick.lognormvariate(5, 0.6) * (pick.random() > 0.05),
}
HOPELESS: dict[str, Lengths] = {
    "10 % of 5 times": lambda pick: pick.lognormvariate(5, 0.4) * (5 if pick.random() < 0.1 else 1),
    "5 % of 10 times": lambda pick: (
        pick.lognormvariate(5, 0.4) * (10 if pick.random() < 0.05 else 1)
    ),
}


def coverage(cases: int) -> bool:
    """How often an interval at nominal 90 % holds the mean of 380 further values."""
    print(f"coverage in % of {cases:,} cases (median of high over truth)")
    print(f"{'':18}{'n = 10':>16}{'n = 20':>16}{'n = 50':>16}")
    least = 1.0
    for name, length in (KINDS | HOPELESS).items():
        pick, cells = random.Random(name), []
        for n in (10, 20, 50):
            held, ratios = 0, []
            for _ in range(cases):
                low, _, high = mean_of_unseen([length(pick) for _ in range(n)], 380)
                truth = sum(length(pick) for _ in range(380)) / 380
                held += low <= truth <= high
                ratios.append(high / truth)
            if name in KINDS:
                least = min(least, held / cases)
            cells.append(f"{100 * held / cases:8.1f} ({sorted(ratios)[cases // 2]:.2f})")
        print(f"{name:18}" + "".join(f"{cell:>16}" for cell in cells))
    print("the last two are too rare to be seen by so few: see the docs")
    print(f"least of the others {100 * least:.1f} %")
    return least >= 0.9


class Scripted:
    """Answers whose lengths are a function of the item, with tokens counted as a provider does."""

    def __init__(self, seed: int, sigma: float) -> None:
        self._seed = seed
        self._sigma = sigma

    def length(self, item: str, step: str) -> int:
        pick = random.Random(f"{self._seed} {item} {step}")
        if step == "judge":
            return 20 + round(pick.expovariate(0.04))
        return 1 + min(1999, round(pick.lognormvariate(4.5, self._sigma)))

    def __call__(self, request: Request) -> Completion:
        tokens = self.length(request.item_id, request.step)
        text = '{"score": 3}' if request.step == "judge" else "word " * tokens
        inputs = counter("gpt-4o").count_messages(request.messages)
        return Completion(text, request.model, "stop", Usage(inputs, tokens))


@contextmanager
def answering(answer: Scripted) -> Iterator[None]:
    """Every model of a run answers from a script."""

    def make(name: str, settings: Model, workers: int) -> FakeProvider:
        return FakeProvider(answer)

    with patch("llm_batch.running.run.Fleet", partial(Fleet, make=make)):
        yield


def pilots(cases: int) -> bool:
    """How often the interval of the rest of a run holds what the rest is billed."""
    print("pilot  held    estimated / billed: median, worst")
    least = 1.0
    for n in (10, 20, 50):
        held, ratios = 0, []
        for case in range(cases):
            pick = random.Random(case)
            answer = Scripted(case, pick.uniform(0.3, 1.1))
            with tempfile.TemporaryDirectory() as name, answering(answer):
                config = _priced(Path(name), pick)
                made = estimate(config, measured=pilot(config, n))
                paid = _bill(config, answer, n)
            assert made.cost is not None and made.cost.value and made.cost.low is not None
            held += made.cost.low <= paid <= (made.cost.high or 0.0)
            ratios.append(made.cost.value / paid)
        least = min(least, held / cases)
        ratios.sort(key=lambda ratio: abs(ratio - 1))
        print(f"{n:5}  {100 * held / cases:5.1f} %  {ratios[cases // 2]:.2f}, {ratios[-1]:.2f}")
    print(f"{cases} cases each, nominal 90 %")
    return least >= 0.9


def _priced(folder: Path, pick: random.Random) -> Config:
    raw = chain(folder, 150, pick)
    raw["steps"] = raw["steps"][:1]
    raw["steps"].append(
        {
            "name": "judge",
            "model": "fake/judge",
            "prompt": "{{ question }} {{ generate }}",
            "max_tokens": 2000,
            "output": {"score": {"type": "integer", "min": 1, "max": 5}},
        }
    )
    raw["steps"][0]["max_tokens"] = 2000
    prices = {"fake/writer": (1, 4), "fake/judge": (2, 8)}
    models = {name: {"input_price": a, "output_price": b} for name, (a, b) in prices.items()}
    return Config.model_validate({**raw, "models": models, "limits": {"workers": 20}})


def _bill(config: Config, answer: Scripted, n: int) -> float:
    """USD of all items after the first n, from the script."""
    from llm_batch.dataset import draw

    bill = 0.0
    steps = config.chain()
    with draw(config.data, config.data_path(), size=0, seed=config.sample.seed) as drawn:
        for item in list(drawn.items())[n:]:
            outputs: dict[str, float] = {}
            for coming in forecast(steps, item, lambda model: counter("gpt-4o")):
                own = config.model(coming.step.model)
                outputs[coming.step.name] = answer.length(item.id, coming.step.name)
                inputs = coming.input_tokens_given(outputs)
                if coming.step.output is not None:
                    inputs -= _schema_tokens(coming.step.name, steps)
                bill += inputs * (own.input_price or 0) / 1e6
                bill += outputs[coming.step.name] * (own.output_price or 0) / 1e6
    return bill


def _schema_tokens(step: str, steps: Any) -> int:
    """What our count has and the script's does not: the schema sent beside the messages."""
    import msgspec

    params = steps._rendered[step].params
    return counter("gpt-4o").count(msgspec.json.encode(params["response_format"]).decode())


def counting(n: int) -> bool:
    """CPU seconds of an estimate that samples and of one that counts all."""
    pick = random.Random(1)
    vocabulary = ["question", "river", "of", "the", "many", "steps", "between", "apples", "seven"]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rows.jsonl"
        texts = []
        with open(path, "w") as file:
            for i in range(n):
                texts.append(" ".join(pick.choices(vocabulary, k=200)))
                file.write(json.dumps({"id": i, "question": texts[-1]}) + "\n")
        step = {"name": "generate", "model": "gpt-4o-mini", "prompt": "{{ question }}"}
        config = Config.model_validate(
            {
                "data": {"path": str(path), "id": "id"},
                "sample": {"size": 0},
                "steps": [{**step, "max_tokens": 100}],
            }
        )
        counter("gpt-4o-mini").count("loaded")

        def seconds(work: Callable[[], Any]) -> float:
            started = time.process_time()
            work()
            return time.process_time() - started

        alone = min(seconds(lambda: counter("gpt-4o-mini").count_many(texts)) for _ in range(3))
        sampled = min(seconds(lambda: estimate(config)) for _ in range(3))
        exact = min(seconds(lambda: estimate(config, exact=True)) for _ in range(2))
    print(f"{n:,} prompts of 200 words, CPU seconds: sampled {sampled:.2f}, all {exact:.2f}, ")
    print(f"tiktoken alone {alone:.2f}; the rest costs {1e6 * (exact - alone) / n:.0f} µs a prompt")
    return sampled < 2 and exact - alone < 5 * n / 30_000


MODES: dict[str, tuple[Callable[[int], bool], int]] = {
    "time": (times, 24),
    "coverage": (coverage, 1000),
    "pilots": (pilots, 200),
    "counting": (counting, 30_000),
}

if __name__ == "__main__":
    mode = sys.argv[1] if len(sys.argv) > 1 else "coverage"
    if mode not in MODES:
        sys.exit(__doc__)
    play, default = MODES[mode]
    size = int(sys.argv[2]) if len(sys.argv) > 2 else default
    sys.exit(0 if play(size) else 1)
