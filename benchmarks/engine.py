"""Calls per second and CPU per call: llmb beside what people write by hand.

    python benchmarks/engine.py                        # all arms, 3 rounds; about 10 minutes
    python benchmarks/engine.py --rounds 1 --arms direct,litellm-threads
    python benchmarks/engine.py --arms chain --peers ../peers/bin/python   # one table, 2 minutes
    python benchmarks/engine.py --arms start --rounds 15                   # one table, 1 minute

One local server answers after 0 or 50 ms. Every arm is a process of its own and the arms take
turns, so that a noisy machine is noisy for all. Seconds and CPU are those of the calls, counted
from the first to the last in the client's process; imports and start are left out, but for
`chain` and `start`, which are timed from outside. The arms:

direct           llmb, whole runs: templates, limits, budget, journal, parsing, results
litellm          the same with transport = "litellm"
litellm-threads  ThreadPoolExecutor over litellm.completion, what scripts do
openai-threads   ThreadPoolExecutor over openai's client
httpx-threads    ThreadPoolExecutor over one httpx.Client: no limits, no journal, nothing
chain            whole processes for 2,000 items x 2 calls at 20 ms, 50 at once: `llmb run`, two
                 batches of flexllm, threads over openai's client, over litellm and over sockets
start            from the start of the process of `llmb run` until its first request arrives, beside
                 processes that do nothing, or import typer and rich; Linux only

Peers run in the Python of ``--peers``, where they are installed (pip install flexllm openai
litellm), and by default in this one. Threads over sockets do nothing but send and read.

At 50 ms and 50 workers no client can make more than 1,000 calls/s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
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


def environment() -> dict[str, str]:
    own = {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-benchmark-0123456789"}
    # Installed packages are compiled; with this ours would be compiled in every process.
    return {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"} | own


def chain(peer: str, url: str, python: str) -> Figures:
    """Seconds and CPU seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        write(folder, url, ITEMS, WORKERS, "direct", judge=True)
        command = [python, __file__, "--chain", peer, url]
        if peer == "llmb":
            command = [sys.executable, "-m", "llm_batch", "run", "--quiet", "--yes"]
        env = environment()
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{peer}: {done.stderr}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"seconds": seconds, "cpu": cpu}


def first_request() -> Figures:
    """Seconds and CPU seconds of `llmb run` until its first request is read from a socket."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        write(folder, url, ITEMS, WORKERS, "direct", judge=True)
        command = [sys.executable, "-m", "llm_batch", "run", "--yes"]
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stderr=subprocess.DEVNULL
        )
        try:
            server.settimeout(60)
            connection = server.accept()[0]
            with connection:
                assert connection.recv(4) == b"POST"
                seconds = time.perf_counter() - started
                # What clock_getcpuclockid(3) gives for another process.
                cpu = time.clock_gettime((~process.pid << 3) | 2)
        finally:
            process.kill()
            process.wait()
        return {"seconds": seconds, "cpu": cpu}


def whole(*words: str) -> Figures:
    """Seconds and CPU seconds of Python with these words, from start to end."""
    command = [sys.executable, *words]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu}


STARTS: dict[str, Callable[[], Figures]] = {
    "python -c pass": lambda: whole("-c", "pass"),
    "import typer, rich": lambda: whole("-c", "import typer, rich"),
    "llmb --help": lambda: whole("-m", "llm_batch", "--help"),
    "llmb run, first request": first_request,
}


def starts(rounds: int) -> None:
    for measured in STARTS.values():
        measured()
    found: dict[str, list[Figures]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, runs in found.items():
            runs.append(STARTS[name]())
    print("\nstart                       seconds: median, least   CPU seconds: median, least")
    for name, runs in found.items():
        seconds, cpu = ([run[key] for run in runs] for key in ("seconds", "cpu"))
        print(
            f"  {name:24}  {statistics.median(seconds):14.3f} {min(seconds):7.3f}"
            f"  {statistics.median(cpu):18.3f} {min(cpu):7.3f}"
        )


# --- the chain as others play it, inside their processes

ITEMS, WORKERS = 2000, 50


def questions() -> list[str]:
    rows = Path("q.jsonl").read_text().splitlines()
    return [str(json.loads(row)["question"]) for row in rows]


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def judged(question: str, answer: str) -> str:
    return f"{question} {answer}\n\nAnswer with one JSON object and nothing else: score, 1 to 5."


def chain_in_threads(ask: Callable[[str], str]) -> list[str]:
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(lambda text: ask(judged(text, ask(text))), questions()))


def chain_by_openai(url: str) -> list[str]:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def ask(text: str) -> str:
        made = client.chat.completions.create(
            model="m",
            messages=asked(text),  # type: ignore[arg-type]
            max_tokens=40,
        )
        return str(made.choices[0].message.content)

    return chain_in_threads(ask)


def chain_by_litellm(url: str) -> list[str]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    def ask(text: str) -> str:
        made = litellm.completion(
            model="openai/m",
            messages=asked(text),
            api_base=f"{url}/v1",
            api_key="none",
            max_tokens=40,
            max_retries=0,
        )
        return str(made.choices[0].message.content)

    return chain_in_threads(ask)


def chain_by_flexllm(url: str) -> list[str]:
    from flexllm import LLMClient

    client = LLMClient(
        provider="openai",
        base_url=f"{url}/v1",
        api_key="none",
        model="m",
        concurrency_limit=WORKERS,
    )

    def batch(texts: list[str]) -> list[str]:
        made = client.chat_completions_batch_sync(
            [asked(text) for text in texts], show_progress=False, max_tokens=40
        )
        return [str(one) for one in made]

    rows = questions()
    return batch([judged(*pair) for pair in zip(rows, batch(rows), strict=True)])


def chain_by_sockets(url: str) -> list[str]:
    host, _, port = url.removeprefix("http://").partition(":")
    local = threading.local()

    def ask(text: str) -> str:
        if not hasattr(local, "sock"):
            local.sock = socket.create_connection((host, int(port)))
            local.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local.file = local.sock.makefile("rb")
        body = json.dumps({"model": "m", "messages": asked(text), "max_tokens": 40}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}"
        kind = "Content-Type: application/json\r\nAuthorization: Bearer none"
        local.sock.sendall(f"{head}\r\n{kind}\r\n\r\n".encode() + body)
        length = 0
        while (line := local.file.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return str(json.loads(local.file.read(length))["choices"][0]["message"]["content"])

    return chain_in_threads(ask)


#: Who plays the chain; llmb is the command itself.
PEERS: dict[str, Callable[[str], list[str]] | None] = {
    "llmb": None,
    "flexllm": chain_by_flexllm,
    "openai": chain_by_openai,
    "litellm": chain_by_litellm,
    "sockets": chain_by_sockets,
}


def chain_of(peer: str, url: str) -> None:
    """Play the chain as a peer, with its answers in a file."""
    play = PEERS[peer]
    assert play is not None
    answers = play(url)
    if len(answers) != ITEMS or not all(answers):
        raise SystemExit(f"{peer} has {sum(map(bool, answers))} answers")
    Path("answers.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))


def chains(rounds: int, python: str) -> None:
    from tests.server import serve

    found: dict[str, list[Figures]] = {peer: [] for peer in PEERS}
    with serve(latency=0.02, log=0) as server:
        for _ in range(rounds):
            for peer, runs in found.items():
                runs.append(chain(peer, server.url, python))
    print(f"\n{ITEMS:,} items x 2 calls, 20 ms, {WORKERS} at once, whole processes")
    print("                         seconds      times llmb      CPU seconds")
    for peer, runs in found.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        cpu = statistics.median(run["cpu"] for run in runs)
        pairs = zip(runs, found["llmb"], strict=True)
        ratio = statistics.median(run["seconds"] / own["seconds"] for run, own in pairs)
        print(f"  {peer:16}      {seconds:10.2f}  {ratio:14.2f}  {cpu:15.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Calls per second and CPU per call.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", default=",".join([*ARMS, "start", "chain"]))
    parser.add_argument("--workers", type=int, nargs="*", default=[50, 200])
    parser.add_argument("--latency", type=float, nargs="*", default=[0.0, 0.05])
    parser.add_argument("--peers", default=sys.executable, help="the Python that has them")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--chain", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        arm, url, calls, workers = options.measure
        measure(arm, url, int(calls), int(workers))
    if options.chain:
        chain_of(*options.chain)
        return
    from tests.server import serve

    arms = options.arms.split(",")
    for latency in options.latency if set(arms) & set(ARMS) else ():
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
    if "start" in arms:
        starts(options.rounds)
    if "chain" in arms:
        chains(options.rounds, options.peers)


if __name__ == "__main__":
    main()
