"""How much of one limit a Ray cluster uses, how often it is refused, and what becomes of a budget.

    python benchmarks/cluster_limits.py                       # 12 runs of a minute each
    python benchmarks/cluster_limits.py --rpm 12000 --only bucket1

Each line is a strict server of its own (`tests.server`), which counts in its way, and a whole run
on a local cluster of so many actors. The server counts: the share of the limit that was used from
the first admission to the last, and the requests refused with 429. The last lines are runs whose
budget ends them half-way while a tenth of the requests fail after they were billed or before: what
the server billed must not be more than the budget.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.limits import MODEL, TOKENS, Setting, configure  # noqa: E402
from tests.server import Server, serve  # noqa: E402

ACTORS = (1, 2, 4)
#: USD per million tokens, in and out.
PRICES = (1.0, 4.0)


def settings(rpm: int) -> dict[str, Setting]:
    """What the server counts, by the name of the line."""
    kinds = {
        f"requests, {kind}": Setting(kind, rpm, workers=64, latency=0.2)
        for kind in ("sliding", "bucket60", "bucket1")
    }
    return {
        **kinds,
        "tokens, bucket10": Setting("bucket10", None, rpm * TOKENS, workers=64, latency=0.2),
    }


def play(config: Path, actors: int, *more: str) -> int:
    """``llmb run`` on a local cluster, in a process of its own; its exit code."""
    text = config.read_text(encoding="utf-8")
    config.write_text(f'{text}\n[run]\nengine = "ray"\nray_actors = {actors}\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "llm_batch", "run", "--quiet", "--yes", *more],
        cwd=config.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-benchmark-0123"},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 4):
        raise SystemExit(done.stderr)
    return done.returncode


def use_of_limit(setting: Setting, actors: int, minutes: float) -> dict[str, Any]:
    """One run; what the server counted."""
    requests = round(setting.per_minute * minutes)
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(
            limiter=setting.kind,
            latency=setting.latency,
            jitter=0.5,
            models={MODEL: {"rpm": setting.rpm, "tpm": setting.tpm}},
            trace=True,
        ) as server,
    ):
        play(configure(setting, server, Path(folder), requests), actors)
        arrivals = server.stats()["arrivals"]
    admitted = [at for at, passed, *_ in arrivals if passed]
    seconds = admitted[-1] - admitted[0]
    return {
        "refused": len(arrivals) - len(admitted),
        "seconds": seconds,
        "share": (len(admitted) - 1) / (setting.per_minute * seconds / 60),
    }


def bill(actors: int, budget: float, items: int) -> float:
    """USD the server billed in a run that its budget ended."""
    faults = {"reset": 0.05, "500": 0.05}
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(
            latency=0.02, faults=faults, input_price=PRICES[0], output_price=PRICES[1], log=0
        ) as server,
    ):
        config = configure(Setting(rpm=None, workers=64), server, Path(folder), items)
        _set_prices(config, server)
        code = play(config, actors, "--budget", str(budget))
        if code != 4:
            raise SystemExit(f"the budget of ${budget} did not end the run: give more --items")
        return float(server.stats()["billed"]["usd"])


def _set_prices(config: Path, server: Server) -> None:
    base = f'api_base = "{server.url}/v1"'
    priced = f"{base}\ninput_price = {PRICES[0]}\noutput_price = {PRICES[1]}"
    config.write_text(config.read_text(encoding="utf-8").replace(base, priced), encoding="utf-8")


def main() -> None:
    """Read the flags, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rpm", type=int, default=6000, help="the limit (6000)")
    parser.add_argument("--minutes", type=float, default=1.0, help="minutes' worth of requests (1)")
    parser.add_argument("--only", default="", help="settings whose name contains this")
    parser.add_argument("--budget", type=float, default=0.20, help="USD of the last runs (0.20)")
    parser.add_argument("--items", type=int, default=4000, help="items of the last runs (4000)")
    asked = parser.parse_args()
    print(f"{asked.rpm:,} requests a minute (or their tokens), 64 workers, 200 ms latency")
    print(f"{'the server counts':22}{'actors':>8}{'of limit':>10}{'429s':>7}{'time':>9}")
    for name, setting in settings(asked.rpm).items():
        for actors in ACTORS if asked.only in name else ():
            found = use_of_limit(setting, actors, asked.minutes)
            print(
                f"{name:22}{actors:>8}{found['share']:>10.1%}{found['refused']:>7}"
                f"{found['seconds']:>8.1f}s",
                flush=True,
            )
    for actors in ACTORS if asked.only in "budget" else ():
        billed = bill(actors, asked.budget, asked.items)
        kept = "kept" if billed <= asked.budget else "EXCEEDED"
        print(f"{'budget':22}{actors:>8}   ${billed:.4f} billed of ${asked.budget:.2f}: {kept}")


if __name__ == "__main__":
    main()
