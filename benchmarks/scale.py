"""Calls per second of a Ray cluster of 1, 2 and 4 actors, beside threads in one process.

    python benchmarks/scale.py [--items 4000] [--latency 0.05] [--rounds 3]

One fast local server answers; every arm is a whole run (limits, journal, templates, parsing) in a
process of its own on the same questions, and the arms take turns. Shown are the medians, and the
ratio to threads. On a machine with 2 cores the server, the driver and the actors share them: what
this shows is the cost of the machinery, not the gain of more machines. The last lines are the
constants that docs/scale.md calculates with.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.server import serve  # noqa: E402

ONE_RUN = """
import json, resource, sys, time
from llm_batch.config import Overrides, load_config
from llm_batch.run import run
folder, engine, actors = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = load_config(folder + "/llmb.toml", Overrides(output=folder + "/results.jsonl"))
options = config.run.model_copy(update={"engine": engine, "ray_actors": actors or None})
config = config.model_copy(update={"run": options})
if engine == "ray":
    from llm_batch.cluster.engine import _connected
    _connected(None)
state = run(config).progress
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"calls": state.calls, "seconds": state.seconds,
                  "driver_cpu": usage.ru_utime + usage.ru_stime, "peak_kb": usage.ru_maxrss}))
"""

CONFIG = """
[data]
path = "q.jsonl"
id = "id"
[sample]
size = 0
[limits]
workers = {workers}
[models."openai/m"]
api_base = "{url}/v1"
[[steps]]
name = "generate"
model = "openai/m"
prompt = "{{{{ question }}}}"
max_tokens = 40
"""


def one_run(url: str, items: int, workers: int, engine: str, actors: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        rows = (json.dumps({"id": f"q{n}", "question": f"What is {n}?"}) for n in range(items))
        (Path(folder) / "q.jsonl").write_text("\n".join(rows) + "\n")
        (Path(folder) / "llmb.toml").write_text(CONFIG.format(url=url, workers=workers))
        done = subprocess.run(
            [sys.executable, "-c", ONE_RUN, folder, engine, str(actors)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-benchmark-0123"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    arms = [("threads", 0), ("ray", 1), ("ray", 2), ("ray", 4)]
    measured: dict[tuple[str, int], list[dict[str, float]]] = {arm: [] for arm in arms}
    with serve(latency=options.latency, log=0) as server:
        for _ in range(options.rounds):
            for arm in arms:
                measured[arm].append(one_run(server.url, options.items, options.workers, *arm))
                time.sleep(1)  # let the last cluster go
    base = 0.0
    print(
        f"{options.items} calls, {options.workers} workers, {options.latency * 1000:g} ms latency"
    )
    print("arm        calls/s  ratio  driver CPU a call  driver peak")
    for arm, runs in measured.items():
        rate = statistics.median(run["calls"] / run["seconds"] for run in runs)
        cpu = statistics.median(run["driver_cpu"] / run["calls"] for run in runs)
        peak = statistics.median(run["peak_kb"] for run in runs) / 1024
        base = base or rate
        name = f"{arm[0]} {arm[1] or ''}".strip()
        print(f"{name:9} {rate:8.0f}  {rate / base:5.2f}  {1000 * cpu:14.2f} ms  {peak:8.0f} MB")


if __name__ == "__main__":
    main()
