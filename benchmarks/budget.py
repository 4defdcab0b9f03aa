"""Random runs under a budget: what the server billed, and how many affordable items got done.

    python benchmarks/budget.py               # 1,000 runs, about ten minutes
    python benchmarks/budget.py --runs 50 --first 200

Every run plays a generate-and-judge chain against the hostile test server, over HTTP, with
prices, sizes, faults, workers, budget and interruptions drawn from its number. Only the pauses
between attempts are not waited for. The server adds up what it worked for, delivered or not.

*Affordable* are the first k items, in the order of play, whose charges add up to no more than the
budget less one reserve. The charge of an item is what the same chain under the same faults charges
for it without a budget (or did charge with it, if that was more): bills, and worst cases where a
bill cannot be known. The reserve is the largest worst case of one item: no item can begin unless
all that it may cost is still there, so up to that much must be left over by whoever keeps the cap.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llm_batch.dataset import draw  # noqa: E402
from llm_batch.errors import ConfigError  # noqa: E402
from llm_batch.running.progress import Progress  # noqa: E402
from llm_batch.running.run import run  # noqa: E402
from llm_batch.running.stopping import Purse  # noqa: E402
from llm_batch.sending.client import Budget  # noqa: E402
from llm_batch.sending.clock import Stop  # noqa: E402
from llm_batch.sending.fleet import Fleet  # noqa: E402
from tests.fire.runs import hurried, journal, load, results, write_project  # noqa: E402
from tests.server import Server, serve  # noqa: E402

FAULTS = (
    "500", "429", "529", "400", "context_length", "reset", "reset_mid_body", "truncated_json",
    "html", "usage_missing", "usage_huge", "usage_strings", "prose", "length", "content_filter",
    "null_content", "reasoning_only",
)  # fmt: skip

#: Counted approximately, and counted exactly.
MODELS = (("writer", "judge"), ("gpt-4o-mini", "gpt-4o-mini"), ("gpt-4o", "judge"))


@dataclass(frozen=True)
class Case:
    """One run to be, drawn from its number."""

    number: int
    prices: tuple[float, float]
    models: tuple[str, str]
    questions: tuple[str, ...]
    words: int
    max_tokens: int
    faults: dict[str, float]
    workers: int
    attempts: int
    share: float
    interrupted: tuple[float, ...]

    @classmethod
    def drawn(cls, number: int) -> Case:
        pick = random.Random(number)
        words = pick.randint(1, 40)
        struck = pick.sample(FAULTS, pick.randint(0, 5))
        longest = pick.choice((5, 60, 400))
        return cls(
            number=number,
            prices=(10 ** pick.uniform(-2, 1.5), 10 ** pick.uniform(-2, 2)),
            models=pick.choice(MODELS),
            questions=tuple(
                # Short numbers: a token has at most three digits, so that nobody's way of
                # counting comes to more than the exact one.
                " ".join(str(pick.randint(0, 999)) for _ in range(pick.randint(1, longest)))
                for _ in range(pick.randint(5, 60))
            ),
            words=words,
            max_tokens=pick.randint(10, 4 * words + 10),
            faults={name: pick.choice((0.01, 0.05, 0.15)) for name in struck},
            workers=pick.choice((1, 2, 5, 12, 30)),
            attempts=pick.randint(1, 6),
            share=pick.uniform(0.0, 1.1),
            interrupted=tuple(sorted(pick.random() for _ in range(pick.choice((0, 0, 1, 2))))),
        )


@dataclass(frozen=True)
class Outcome:
    """What became of it; money in USD."""

    case: Case
    budget: float
    billed: float
    booked: float
    worst_case_calls: int
    items: int
    done: int
    affordable: int

    @property
    def within(self) -> bool:
        return self.billed <= self.budget + 1e-9 and self.booked <= self.budget + 1e-9

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.affordable) if self.affordable else 1.0


def simulate(case: Case, server: Server, folder: Path) -> Outcome:
    """Play a case without a budget, to learn what items cost, and then with one."""
    server.control(
        input_price=case.prices[0], output_price=case.prices[1], words=case.words,
        faults=case.faults, seed=case.number,
    )  # fmt: skip
    free, capped = folder / "free", folder / "capped"
    for place in (free, capped):
        place.mkdir(parents=True)
        write_project(
            place,
            server,
            case.questions,
            prices=case.prices,
            models=case.models,
            max_tokens=case.max_tokens,
            workers=case.workers,
            max_attempts=case.attempts,
        )
    server.reset()
    run(load(free), stop=hurried())
    costs = charged(free)
    budget = case.share * sum(costs.values())
    server.reset()
    try:
        for part in case.interrupted:
            stop = hurried()
            run(load(capped, budget=budget), stop=stop, progress=ending(stop, part * len(costs)))
        run(load(capped, budget=budget), stop=hurried())
    except ConfigError as error:
        if "less than one item may cost" not in error.message:
            raise
        return Outcome(case, budget, server.stats()["billed"]["usd"], 0.0, 0, len(costs), 0, 0)
    while (stats := server.stats())["in_flight"]:
        time.sleep(0.01)
    calls = journal(capped)
    for name, cost in charged(capped).items():
        costs[name] = max(cost, costs[name])
    order, reserve = order_and_reserve(capped)
    return Outcome(
        case=case,
        budget=budget,
        billed=stats["billed"]["usd"],
        booked=sum(call["cost"] for call in calls),
        worst_case_calls=sum(call["worst_case"] for call in calls),
        items=len(order),
        done=len(results(capped)),
        affordable=affordable([costs[name] for name in order], budget - reserve),
    )


def charged(folder: Path) -> dict[str, float]:
    """What the journal charges for each item."""
    costs: dict[str, float] = {}
    for call in journal(folder):
        costs[call["item"]] = costs.get(call["item"], 0.0) + call["cost"]
    return costs


def ending(stop: Stop, at: float) -> Callable[[Progress], None]:
    """Interrupts a session once it has made so many calls."""

    def look(state: Progress) -> None:
        if state.calls >= at:
            stop("interrupted")

    return look


def order_and_reserve(folder: Path) -> tuple[list[str], float]:
    """The items in the order of play, and the largest worst case of one of them in USD."""
    config = load(folder)
    budget, chain = Budget(1e9), config.chain()
    order, reserve = [], 0.0
    with (
        Fleet(config, budget, hurried().clock) as fleet,
        draw(
            config.data, config.data_path(), size=0, seed=config.sample.seed, stratify=None
        ) as drawn,
    ):
        purse = Purse(chain, budget, fleet, Stop())
        for item in drawn.items():
            request = chain.next_request(item, [])
            assert request is not None
            purse.admit(item, request, [])
            reserve = max(reserve, budget.held)
            purse.forget(item)
            order.append(item.id)
    return order, reserve


def affordable(costs: list[float], money: float) -> int:
    """How many of the first items the money is enough for."""
    total = 0.0
    for count, cost in enumerate(costs):
        total += cost
        if total > money:
            return count
    return len(costs)


def table(outcomes: list[Outcome]) -> str:
    """All runs in a few lines."""
    used = [each for each in outcomes if each.affordable]
    done = sum(min(each.done, each.affordable) for each in used)
    total = sum(each.affordable for each in used)
    shares = sorted(each.share for each in used)
    spent = [each.billed / each.budget for each in outcomes if each.budget > 0]
    rows: list[tuple[str, Any]] = [
        ("runs", len(outcomes)),
        ("  interrupted and resumed", sum(bool(each.case.interrupted) for each in outcomes)),
        ("  with faults", sum(bool(each.case.faults) for each in outcomes)),
        ("items", sum(each.items for each in outcomes)),
        ("runs billed above the budget", sum(not each.within for each in outcomes)),
        ("most of a budget that was billed", f"{max(spent):.4f}"),
        ("calls charged at their worst case", sum(each.worst_case_calls for each in outcomes)),
        ("affordable items", total),
        ("  of these done", f"{100 * done / max(1, total):.2f} %"),
        ("  in the median run", f"{100 * statistics.median(shares):.2f} %"),
        ("  runs with fewer than 95 %", sum(share < 0.95 for share in shares)),
        ("  in the worst run", f"{100 * shares[0]:.2f} %"),
    ]
    return "\n".join(
        f"{name:40} {value if isinstance(value, str) else format(value, ','):>10}"
        for name, value in rows
    )


def main() -> int:
    """Read the flags, play, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    flags = parser.parse_args()
    outcomes = []
    with serve(log=0) as server, tempfile.TemporaryDirectory() as folder:
        for number in range(flags.first, flags.first + flags.runs):
            outcome = simulate(Case.drawn(number), server, Path(folder, str(number)))
            outcomes.append(outcome)
            if not outcome.within or outcome.share < 0.95:
                print(outcome, file=sys.stderr)
    print(table(outcomes))
    kept = all(each.within for each in outcomes)
    enough = sum(min(e.done, e.affordable) for e in outcomes) >= 0.95 * sum(
        e.affordable for e in outcomes
    )
    return 0 if kept and enough else 1


if __name__ == "__main__":
    sys.exit(main())
