"""How well limits that nobody stated rightly are found, in a simulation with jitter.

    python benchmarks/pace.py                    # all of them: some minutes
    python benchmarks/pace.py --only "seconds sliding" --seeds 1

Requests arrive 5 to 50 ms after they were sent, and 1 % of them 0.4 s late. For each setting: of
the limit, what share was used from the first minute on, and what share of the requests was
refused. Beside strict seconds stands the best fixed pace that is refused less than 2 % of the time.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llm_batch.sending.limits import Limiter  # noqa: E402
from tests.server.limits import Limiter as ServerLimiter  # noqa: E402
from tests.simulated import Simulation, Traffic  # noqa: E402

LATE = 0.01


@dataclass(frozen=True)
class Setting:
    """A server and what is told of it.

    Attributes:
        limit: Requests in a period; ``None`` for as many as there is time for.
        period: Seconds.
        kind: How the server counts.
        latency: Of an answer, in seconds.
        told: Requests a minute in the config; 0 for nothing, ``None`` for the assumed default.
        at_once: Requests the server takes at once.
        strays: Share of the requests that is refused at random.
        workers: Of each run.
        runs: On the same key.
        seconds: Simulated.
        retry_after: Whether refusals say how long to wait, in whole seconds.
        tokens: Of a request on average, where the limit is one of tokens.
    """

    limit: float | None = None
    period: float = 60.0
    kind: str = "sliding"
    latency: float = 0.5
    told: float | None = 0
    at_once: int | None = None
    strays: float = 0.0
    workers: int = 5
    runs: int = 1
    seconds: float = 360.0
    retry_after: bool = False
    tokens: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests that a client without fault gets through."""
        if self.limit is not None:
            return self.limit / (self.tokens or 1.0) / self.period
        # The way there takes 27.5 ms; a refused request takes 0.08 s and waits for 0.25 s.
        takes = self.latency + 0.0275 + 0.4 * LATE * (not self.at_once)
        return (self.at_once or self.workers) / (takes + 0.33 * self.strays)


def settings() -> dict[str, Setting]:
    """All of them, by name."""
    found = {}
    for number, latency in ((1, 0.05), (2, 5.0), (3, 2.0), (5, 0.2), (10, 0.5), (15, 0.3)):
        for kind in ("sliding", "fixed", "bucket60", "bucket1"):
            found[f"seconds {kind}, {number}"] = Setting(number, 1, kind, latency, 6000)
    for number, latency in ((20, 2.0), (60, 0.5), (120, 3.0), (300, 0.5), (1000, 1.0)):
        for kind in ("sliding", "fixed", "bucket60", "bucket10", "bucket1"):
            seconds = max(300.0, 60 + 36000 / number)
            found[f"minutes {kind}, {number}"] = Setting(
                number, 60, kind, latency, 10 * number, seconds=seconds
            )
    for number in (600, 3000):
        for kind in ("sliding", "fixed", "bucket60", "bucket10"):
            found[f"assumed {kind}, {number}"] = Setting(number, 60, kind, 0.3, None)
    for number, latency in ((1, 1.0), (2, 1.0), (2, 5.0), (2, 0.05), (4, 0.3), (5, 1.0), (8, 1.0)):
        found[f"at once {number}, {latency:g} s"] = Setting(
            at_once=number, latency=latency, workers=2 * number + 1, seconds=660
        )
    for workers, latency in ((5, 0.05), (5, 0.3), (5, 1.0), (8, 0.5), (50, 1.0)):
        for share in (0.01, 0.03, 0.1, 0.3):
            found[f"random {share:.0%}, {workers} workers, {latency:g} s"] = Setting(
                latency=latency, strays=share, workers=workers, seconds=180
            )
    for number, latency in ((60, 0.5), (600, 0.3)):
        for kind in ("sliding", "fixed", "bucket10"):
            found[f"tokens {kind}, {number}"] = Setting(
                number * 500, 60, kind, latency, 5000 * number, seconds=660, tokens=500
            )
    for name in ("sliding, 3", "fixed, 10", "bucket1, 3"):
        found[f"told when, seconds {name}"] = replace(found[f"seconds {name}"], retry_after=True)
    for name in ("sliding, 60", "fixed, 60", "bucket10, 300", "fixed, 1000"):
        found[f"told when, minutes {name}"] = replace(found[f"minutes {name}"], retry_after=True)
    for name in ("sliding, 3", "fixed, 10", "bucket1, 3"):
        found[f"two runs, seconds {name}"] = replace(found[f"seconds {name}"], runs=2)
    for name in ("sliding, 60", "bucket10, 300", "fixed, 1000"):
        found[f"two runs, minutes {name}"] = replace(found[f"minutes {name}"], runs=2)
    found["two runs, at once 5, 1 s"] = replace(found["at once 5, 1 s"], runs=2)
    return found


def simulation_of(setting: Setting, workers: int, seed: int) -> Simulation:
    """The server of a setting."""
    by_tokens = setting.tokens > 0
    return Simulation(
        setting.kind,
        None if by_tokens else setting.limit,
        setting.limit if by_tokens else None,
        workers=workers,
        latency=setting.latency,
        retry_after=setting.retry_after,
        seed=seed,
        period=setting.period,
        at_once=setting.at_once,
        late=LATE,
        strays=setting.strays,
    )


def shares(setting: Setting, seen: list[Traffic]) -> tuple[float, float]:
    """The shares used and refused from the first minute on."""
    admitted = sum(at >= 60 for traffic in seen for at in traffic.admitted)
    refused = sum(at >= 60 for traffic in seen for at in traffic.refused)
    allowed = setting.per_second * (setting.seconds - 60)
    return admitted / allowed, refused / max(1, admitted + refused)


def play(setting: Setting, seed: int) -> tuple[float, float]:
    """The shares of runs of llm_batch."""
    workers = setting.workers
    if setting.limit is not None:
        workers = max(5, int(2 * setting.per_second * setting.latency) + 5)
    simulation = simulation_of(setting, workers, seed)
    clock = simulation.clock
    limiters = [
        Limiter.with_default(clock) if setting.told is None else Limiter(setting.told, None, clock)
        for _ in range(setting.runs)
    ]
    if setting.tokens:
        sizes = random.Random(seed)
        limiter = Limiter(None, setting.told, clock)
        seen = [
            simulation.run(
                limiter,
                seconds=setting.seconds,
                tokens=lambda: float(round(setting.tokens * sizes.uniform(0.4, 1.6))),
            )
        ]
    else:
        seen = simulation.run_together(limiters, seconds=setting.seconds)
    return shares(setting, seen)


def plain(setting: Setting, seed: int) -> tuple[float, float]:
    """The shares of plain threads with backoff: ten, or as many as there are workers."""
    threads = setting.workers if setting.strays else 10
    simulation = simulation_of(setting, threads, seed)
    return shares(setting, [simulation.run_plain(threads, seconds=setting.seconds)])


def best(setting: Setting) -> tuple[float, float]:
    """The same of the best fixed pace that is refused less than 2 % of the time."""
    found = (0.0, 0.0)
    for percent in range(40, 101):
        chance, pace = random.Random(0), setting.per_second * percent / 100
        arrivals = sorted(
            number / pace + chance.uniform(0.005, 0.05) + 0.4 * (chance.random() < LATE)
            for number in range(int(1200 * pace))
        )
        server = ServerLimiter(setting.limit, None, setting.kind, setting.period)
        admitted = sum(server.admit(at, 0).admitted for at in arrivals)
        used, refused = admitted / (setting.per_second * 1200), 1 - admitted / len(arrivals)
        if refused < 0.02:
            found = max(found, (used, refused))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="settings whose name contains this")
    parser.add_argument("--seeds", type=int, default=3, help="simulations of each (3)")
    parser.add_argument("--first-seed", type=int, default=0, help="of these (0)")
    parser.add_argument("--ours", action="store_true", help="no plain threads")
    parser.add_argument("--fixed", action="store_true", help="the best fixed pace as well")
    asked = parser.parse_args()
    print(f"{'':36}{'llmb':>17}{'plain threads':>18}")
    print(f"{'setting':36}{'used':>8}{'refused':>9}{'used':>9}{'refused':>9}")
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    with ProcessPoolExecutor() as pool:
        for name, setting in settings().items():
            if asked.only not in name:
                continue
            line = f"{name:36}"
            arms = (play,) if asked.ours or setting.tokens or setting.runs > 1 else (play, plain)
            for arm in arms:
                played = list(pool.map(arm, repeat(setting), seeds))
                used, refused = (statistics.mean(column) for column in zip(*played, strict=True))
                line += f"{used:>8.1%}{refused:>9.2%} "
            if asked.fixed and setting.period == 1 and setting.runs == 1:
                line += "   at a fixed pace {:.1%} used, {:.2%} refused".format(*best(setting))
            print(line, flush=True)


if __name__ == "__main__":
    main()
