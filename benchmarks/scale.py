"""Calls per second of a Ray cluster of 1, 2 and 4 actors, beside threads in one process.

    python benchmarks/scale.py [--items 4000] [--latency 0.05] [--rounds 3]
    python benchmarks/scale.py --only threads --items 6000 --workers 50 200 1000 5000
    python benchmarks/scale.py --only threads --items 15000 --workers 5000 --latency 20 --rounds 1
    python benchmarks/scale.py --items 1000000 --latency 0.01 --rounds 1 --only "ray 2" \\
        --rpm 100000
    python benchmarks/scale.py --fake --items 1000000 --rounds 1 --only "ray 2"

One fast local server answers, or with ``--fake`` the rehearsal model in the actors' own threads, so
that no server takes its share of the cores. Every arm is a whole run (limits, journal, templates,
parsing) in a process of its own on the same questions, and the arms take turns. Shown are the
medians, and the ratio to threads. On a machine with 2 cores the server, the driver and the actors
share them: what this shows is the cost of the machinery, not the gain of more machines. Peaks are
of resident memory: of the driver, of the largest actor and of the ledger; open files and threads
are the driver's, and in flight is what the server saw at most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.server import serve  # noqa: E402
from tests.settings import DATA  # noqa: E402

ONE_RUN = """
import json, resource, sys, time
from llm_batch.chain.config import Overrides, load_config
from llm_batch.running.run import run
folder, engine, actors = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = load_config(folder + "/llmb.toml", Overrides(output=folder + "/results.jsonl"))
options = config.run.model_copy(update={"engine": engine, "ray_actors": actors or None})
config = config.model_copy(update={"run": options})
if engine == "ray":
    from llm_batch.engines.ray.cluster import connected
    connected(None)
state = run(config).progress
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"calls": state.calls, "seconds": state.seconds,
                  "driver_cpu": usage.ru_utime + usage.ru_stime, "peak_kb": usage.ru_maxrss}))
"""

CONFIG = (
    DATA
    + """
[limits]
workers = {workers}
{pace}[[steps]]
name = "generate"
model = "{model}"
prompt = "{{{{ question }}}}"
max_tokens = 40
"""
)

SERVER = """
[models."openai/m"]
api_base = "{url}/v1"
"""


def one_run(
    url: str | None, items: int, workers: int, rpm: int | None, engine: str, actors: int
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        rows = (json.dumps({"id": f"q{n}", "question": f"What is {n}?"}) for n in range(items))
        (Path(folder) / "q.jsonl").write_text("\n".join(rows) + "\n")
        pace = f"rpm = {rpm}\n" if rpm else ""
        model = "openai/m" if url else "fake/m"
        config = CONFIG.format(model=model, workers=workers, pace=pace)
        config += SERVER.format(url=url) if url else ""
        (Path(folder) / "llmb.toml").write_text(config)
        process = subprocess.Popen(
            [sys.executable, "-c", ONE_RUN, folder, engine, str(actors)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-benchmark-0123"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        peaks: dict[str, float] = {}
        threading.Thread(target=_watch, args=(process, peaks), daemon=True).start()
        said, trouble = process.communicate()
        if process.returncode:
            raise SystemExit(trouble)
        found: dict[str, float] = json.loads(said.splitlines()[-1])
        return found | peaks


def _watch(process: subprocess.Popen[str], peaks: dict[str, float]) -> None:
    """Keep the peaks of the processes of a run while it lasts: KB, and open files and threads."""

    def keep(name: str, value: float) -> None:
        peaks[name] = max(peaks.get(name, 0.0), value)

    while process.poll() is None:
        for name, pid in session_of(process.pid):
            for line in _read(f"/proc/{pid}/status").splitlines():
                if line.startswith("VmHWM"):
                    keep(name, float(line.split()[1]))
                if line.startswith("Threads") and pid == process.pid:
                    keep("threads", float(line.split()[1]))
        with suppress(OSError):  # it has ended
            keep("files", len(os.listdir(f"/proc/{process.pid}/fd")))
        time.sleep(0.5)


def session_of(leader: int) -> list[tuple[str, int]]:
    """The processes of a session: name (``ray::Worker``, ``raylet``, …) and id."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := _read(f"{entry}/stat")):
            # pid (comm) state ppid pgrp session …
            state, _, _, session = stat.rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                command = _read(f"{entry}/cmdline").replace("\0", " ").split()
                name = Path(command[0]).name.partition(".")[0] if command else "?"
                found.append((name, int(entry.name)))
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""  # the process has ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--workers", type=int, nargs="+", default=[64])
    parser.add_argument("--rpm", type=int, help="a limit that the ledger keeps (none)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fake", action="store_true", help="no server: the rehearsal model")
    parser.add_argument("--only", default="", help="arms whose name contains this")
    options = parser.parse_args()
    arms = {"threads": 0, "ray 1": 1, "ray 2": 2, "ray 4": 4}
    arms = {name: actors for name, actors in arms.items() if options.only in name}
    for workers in options.workers:
        compare(options, arms, workers)


def compare(options: argparse.Namespace, arms: dict[str, int], workers: int) -> None:
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    with serve(latency=options.latency, log=0) as server:
        for _ in range(options.rounds):
            for name, actors in arms.items():
                server.reset()
                engine = name.partition(" ")[0]
                shape = options.items, workers, options.rpm
                url = None if options.fake else server.url
                found = one_run(url, *shape, engine, actors)
                measured[name].append(found | {"in_flight": server.stats()["peak_in_flight"]})
                time.sleep(1)  # let the last cluster go
    latency = "no server" if options.fake else f"{options.latency * 1000:g} ms latency"
    print(f"{options.items:,} calls, {workers:,} workers, {latency}")
    print(
        "arm        calls/s  ratio  driver CPU a call  in flight  files  threads  "
        "driver peak  actor peak  ledger peak"
    )
    base = 0.0
    for name, runs in measured.items():
        rate = statistics.median(run["calls"] / run["seconds"] for run in runs)
        cpu = statistics.median(run["driver_cpu"] / run["calls"] for run in runs)
        base = base or rate
        line = f"{name:9} {rate:8,.0f}  {rate / base:5.2f}  {1000 * cpu:14.2f} ms"
        for what, width in (("in_flight", 9), ("files", 5), ("threads", 7)):
            line += f"  {max(run[what] for run in runs):{width},.0f}"
        for who, width in (("peak_kb", 8), ("ray::Worker", 7), ("ray::Ledger", 8)):
            peak = statistics.median(run.get(who, 0.0) for run in runs) / 1024
            line += f"  {peak:{width}.0f} MB" if peak else ""
        print(line, flush=True)


if __name__ == "__main__":
    main()
