"""Calls per second and CPU per call: llmb beside what people write by hand.

    python benchmarks/engine.py                        # all arms, 3 rounds; about 10 minutes
    python benchmarks/engine.py --rounds 1 --arms direct,litellm-threads

One local server answers after 0 or 50 ms. Every arm is a process of its own and the arms take
turns, so that a noisy machine is noisy for all. Seconds and CPU are those of the calls, counted
from the first to the last in the client's process; imports and start are left out, but for
`chain`, which is timed from outside as a whole process. The arms:

direct           llmb, whole runs: templates, limits, budget, journal, parsing, results
litellm          the same with transport = "litellm"
litellm-threads  ThreadPoolExecutor over litellm.completion, what scripts do
openai-threads   ThreadPoolExecutor over openai's client
httpx-threads    ThreadPoolExecutor over one httpx.Client: no limits, no journal, nothing
chain            `llmb run` of 2,000 items x 2 calls at 20 ms with 50 workers, whole process

At 50 ms and 50 workers no client can make more than 1,000 calls/s.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.settings import DATA  # noqa: E402

Figures = dict[str, float]

CONFIG = (
    DATA
    + """
[limits]
workers = {workers}
budget = 1000
[models."openai/m"]
api_base = "{url}/v1"
input_price = 1.0
output_price = 4.0
transport = "{transport}"
[[steps]]
name = "generate"
model = "openai/m"
prompt = "{{{{ question }}}}"
max_tokens = 40
"""
)

JUDGE = """
[[steps]]
name = "judge"
model = "openai/m"
prompt = "{{ question }} {{ generate }}"
max_tokens = 40
output = { score = { type = "integer", min = 1, max = 5 } }
[score]
field = "judge.score"
pass_at = 3
"""

#: Arms that are measured per call: calls at 0 and 50 ms, fewer for the slow ones.
ARMS = {
    "direct": 6000,
    "litellm": 800,
    "litellm-threads": 800,
    "openai-threads": 1500,
    "httpx-threads": 3000,
}


def write(folder: str, url: str, items: int, workers: int, transport: str, judge: bool) -> Path:
    rows = (
        json.dumps({"id": f"q{n}", "question": f"What is {n}? " + "word " * 30})
        for n in range(items)
    )
    (Path(folder) / "q.jsonl").write_text("\n".join(rows) + "\n")
    path = Path(folder) / "llmb.toml"
    text = CONFIG.format(url=url, workers=workers, transport=transport)
    path.write_text(text + (JUDGE if judge else ""))
    return path


# --- inside the process of an arm


def by_llmb(url: str, calls: int, workers: int, transport: str) -> Callable[[], None]:
    from llm_batch.chain.config import load_config
    from llm_batch.chain.overrides import Overrides
    from llm_batch.running.run import run

    folder = tempfile.mkdtemp()
    path = write(folder, url, calls, workers, transport, judge=False)
    config = load_config(path, Overrides(output=f"{folder}/results.jsonl"))
    warm = load_config(path, Overrides(output=f"{folder}/warm.jsonl", sample=2 * workers))
    run(warm)

    def whole() -> None:
        summary = run(config)
        if summary.exit_code:
            raise SystemExit(f"the run ended with {summary.status}: {summary.message}")

    return whole


def in_threads(ask: Callable[[int], object], calls: int, workers: int) -> Callable[[], None]:
    pool = ThreadPoolExecutor(workers)
    list(pool.map(ask, range(2 * workers)))
    return lambda: list(pool.map(ask, range(calls))) and None


def messages(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is {number}? " + "word " * 30}]


def by_litellm(url: str, calls: int, workers: int) -> Callable[[], None]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    def ask(number: int) -> object:
        return litellm.completion(
            model="openai/m",
            messages=messages(number),
            api_base=f"{url}/v1",
            api_key="none",
            max_tokens=40,
            max_retries=0,
            num_retries=0,
        )

    return in_threads(ask, calls, workers)


def by_openai(url: str, calls: int, workers: int) -> Callable[[], None]:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def ask(number: int) -> object:
        return client.chat.completions.create(
            model="m",
            messages=messages(number),  # type: ignore[arg-type]
            max_tokens=40,
        )

    return in_threads(ask, calls, workers)


def by_httpx(url: str, calls: int, workers: int) -> Callable[[], None]:
    import httpx

    limits = httpx.Limits(max_connections=workers, max_keepalive_connections=workers)
    client = httpx.Client(limits=limits, timeout=60)

    def ask(number: int) -> object:
        body = {"model": "m", "messages": messages(number), "max_tokens": 40}
        reply = client.post(f"{url}/v1/chat/completions", json=body)
        return reply.raise_for_status().json()["choices"][0]["message"]["content"]

    return in_threads(ask, calls, workers)


def measure(arm: str, url: str, calls: int, workers: int) -> None:
    """Run one arm and print its figures as JSON."""
    if arm in ("direct", "litellm"):
        work = by_llmb(url, calls, workers, arm)
    else:
        makers = {"litellm-threads": by_litellm, "openai-threads": by_openai}
        work = makers.get(arm, by_httpx)(url, calls, workers)
    started, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"rate": calls / seconds, "cpu": cpu / calls}), flush=True)
    os._exit(0)


# --- outside


def one(arm: str, url: str, calls: int, workers: int) -> Figures:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", arm, url, str(calls), str(workers)],
        env=os.environ | {"OPENAI_API_KEY": "sk-benchmark-0123456789"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{arm}: {done.stderr}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def chain(url: str) -> float:
    """Seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        write(folder, url, 2000, 50, "direct", judge=True)
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "llm_batch", "run", "--quiet", "--yes"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-benchmark-0123456789"},
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(done.stderr)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Calls per second and CPU per call.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", default=",".join([*ARMS, "chain"]))
    parser.add_argument("--workers", type=int, nargs="*", default=[50, 200])
    parser.add_argument("--latency", type=float, nargs="*", default=[0.0, 0.05])
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        arm, url, calls, workers = options.measure
        measure(arm, url, int(calls), int(workers))
    from tests.server import serve

    arms = options.arms.split(",")
    for latency in options.latency:
        for workers in options.workers:
            found: dict[str, list[Figures]] = {arm: [] for arm in arms if arm in ARMS}
            with serve(latency=latency, log=0) as server:
                for _ in range(options.rounds):
                    for arm, runs in found.items():
                        runs.append(one(arm, server.url, ARMS[arm], workers))
            print(f"\n{1000 * latency:g} ms, {workers} workers        calls/s      CPU a call")
            for arm, runs in found.items():
                rate = statistics.median(run["rate"] for run in runs)
                cpu = statistics.median(run["cpu"] for run in runs)
                first = found[next(iter(found))]
                ratio = statistics.median(run["rate"] for run in first) / rate
                print(f"  {arm:16}      {rate:12,.0f}  {1000 * cpu:9.2f} ms   1 : {ratio:.1f}")
    if "chain" in arms:
        with serve(latency=0.02, log=0) as server:
            seconds = [chain(server.url) for _ in range(options.rounds)]
        print(f"\n2,000 items x 2 calls, 20 ms, 50 workers: {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
