"""How much of a limit is used, and how often that is refused, beside threads with backoff.

    python benchmarks/limits.py                     # real minutes: about ten of them
    python benchmarks/limits.py --minute 6          # ten times as fast
    python benchmarks/limits.py --only ahead --minutes 2

Each setting is a strict server of its own (`tests.server`), a run of llm_batch against it, and
then the same requests from plain threads that retry with exponential backoff and Retry-After, as
scripts do. The server counts. Read: of the limit, what share was used from the first admission to
the last, and of that from a minute on; how many requests were refused with 429; how long it took.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.server import Server, serve  # noqa: E402
from tests.settings import DATA, write_questions  # noqa: E402

#: Tokens a request counts: its max_tokens, for prompts as short as these.
TOKENS = 300
MODEL = "limited"


@dataclass(frozen=True)
class Setting:
    """One line of the table.

    Attributes:
        kind: How the server counts.
        rpm: Requests a minute.
        tpm: Tokens a minute.
        workers: Threads.
        latency: Seconds of an answer.
        headers: Whether the server tells limits and headroom.
        told: Whether the limits are in the config.
        told_times: What the configured limit is multiplied with: 2 is a wrong config.
        halved: Whether the server halves its limit half-way.
        others: Requests a minute of another process on the key.
        period: Seconds in which the server counts: 1 makes its limit one per second.
        tell: Requests a minute in the config, whatever the limit; 0 for none.
        at_once: Requests the server takes at once, instead of any other limit.
        retry_after: Whether refusals say how long to wait.
        twin: Whether a second run of the same kind uses the key.
        strays: Share of the requests that is refused for no reason of ours.
    """

    kind: str = "sliding"
    rpm: int | None = 600
    tpm: int | None = None
    workers: int = 50
    latency: float = 1.0
    headers: bool = False
    told: bool = True
    told_times: float = 1.0
    halved: bool = False
    others: float = 0.0
    period: float = 60.0
    tell: float | None = None
    at_once: int | None = None
    retry_after: bool = True
    twin: bool = False
    strays: float = 0.0

    @property
    def per_minute(self) -> float:
        """Requests a minute that the limits allow."""
        if self.at_once is not None:
            return 60.0 * self.at_once / self.latency
        if self.strays:
            return 60.0 * self.workers / self.latency
        if self.rpm is not None and self.period != 60.0:
            return 60.0 * self.rpm / self.period
        by_tokens = self.tpm / TOKENS if self.tpm else float("inf")
        return min(self.rpm or float("inf"), by_tokens)


KINDS = ("sliding", "bucket60", "bucket10", "bucket1")
SETTINGS = {
    **{f"requests, {kind}, 50 workers": Setting(kind) for kind in KINDS},
    **{f"tokens, {kind}, 50 workers": Setting(kind, None, 600 * TOKENS) for kind in KINDS},
    **{f"both, {kind}, 50 workers": Setting(kind, 600, 600 * TOKENS) for kind in KINDS},
    "requests, sliding, 1 worker": Setting(workers=1, latency=0.05),
    "requests, sliding, 5 workers": Setting(workers=5, latency=0.3),
    "requests, sliding, 200 workers": Setting(workers=200, latency=5.0),
    "requests, bucket1, 200 workers": Setting("bucket1", workers=200, latency=5.0),
    "ahead, sliding, headers alone": Setting(headers=True, told=False, latency=0.3),
    "ahead, bucket60, headers alone": Setting("bucket60", headers=True, told=False, latency=0.3),
    "ahead, bucket10, headers alone": Setting("bucket10", headers=True, told=False, latency=0.3),
    "halved, sliding, told by headers": Setting(headers=True, workers=5, latency=0.3, halved=True),
    "halved, bucket10, not told": Setting("bucket10", workers=5, latency=0.3, halved=True),
    "twice the limit configured": Setting(told_times=2.0, workers=5, latency=0.2),
    "learn: 3 a second, 600/min told": Setting(
        "sliding", 3, workers=20, latency=2.0, period=1.0, tell=600, retry_after=False
    ),
    "learn: 2 at once, nothing told": Setting(
        rpm=None, workers=5, latency=1.0, tell=0, at_once=2, retry_after=False
    ),
    "learn: 60 a minute, nothing told": Setting(rpm=60, workers=5, latency=0.5, tell=0),
    "learn: 10 a second, two runs": Setting(
        "bucket60", 10, workers=10, latency=0.3, period=1.0, tell=1200, twin=True
    ),
    "learn: 600 a minute, another takes half": Setting(
        "bucket10", workers=10, latency=0.3, tell=1200, others=300, retry_after=False
    ),
    **{
        f"learn: {share:.0%} refused at random": Setting(
            rpm=None, workers=5, latency=0.3, tell=0, strays=share, retry_after=False
        )
        for share in (0.01, 0.03, 0.3)
    },
    "another process takes half": Setting("bucket10", workers=5, latency=0.3, others=300),
}


def configure(setting: Setting, server: Server, folder: Path, requests: int) -> Path:
    """Data and config of a run with one step."""
    write_questions(folder, (f"question {n}" for n in range(requests)))
    limits = ""
    if setting.tell is not None:
        limits = f"rpm = {setting.tell}\n" if setting.tell else ""
    elif setting.told:
        limits += f"rpm = {setting.rpm * setting.told_times}\n" if setting.rpm else ""
        limits += f"tpm = {setting.tpm * setting.told_times}\n" if setting.tpm else ""
    path = folder / "llmb.toml"
    path.write_text(
        f"""{DATA}[limits]
workers = {setting.workers}
max_attempts = 12
{limits}
[models."openai/{MODEL}"]
api_base = "{server.url}/v1"
[[steps]]
name = "answer"
model = "openai/{MODEL}"
prompt = "{{{{ question }}}}"
max_tokens = {TOKENS}
""",
        encoding="utf-8",
    )
    return path


def ours(setting: Setting, server: Server, requests: int, minute: float) -> None:
    """A run of llm_batch."""
    from llm_batch.chain.config import load_config
    from llm_batch.chain.overrides import Overrides
    from llm_batch.running.run import run
    from llm_batch.sending import limits

    limits.MINUTE_SECONDS = minute
    with tempfile.TemporaryDirectory() as folder:
        path = configure(setting, server, Path(folder), requests)
        output = str(Path(folder) / "results.jsonl")
        run(load_config(path, Overrides(output=output)))


def naive(setting: Setting, server: Server, requests: int, minute: float) -> None:
    """Threads that send as fast as they can and back off when refused: ten where we must learn."""
    own = setting.tell is None or setting.strays
    threads_of = setting.workers if own else 10
    import urllib3

    pool = urllib3.PoolManager(maxsize=threads_of, retries=False)

    def send(number: int) -> None:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"question {number}"}],
            "max_tokens": TOKENS,
        }
        for attempt in range(12):
            reply = pool.request("POST", f"{server.url}/v1/chat/completions", json=body)
            if reply.status == 200:
                return
            backoff = min(60.0, 2.0**attempt) * random.uniform(0.5, 1.0) * minute / 60
            time.sleep(max(backoff, float(reply.headers.get("retry-after") or 0) * minute / 60))

    with ThreadPoolExecutor(threads_of) as threads:
        list(threads.map(send, range(requests)))


def measure(
    setting: Setting,
    arm: Callable[[Setting, Server, int, float], None],
    minutes: float,
    minute: float,
) -> dict[str, Any]:
    """Run one arm; what the server counted."""
    requests = round(setting.per_minute * minutes)
    models = {MODEL: {"rpm": setting.rpm, "tpm": setting.tpm}}
    with serve(
        limiter=setting.kind,
        minute=minute * setting.period / 60,
        at_once=setting.at_once,
        headers=setting.headers,
        latency=setting.latency * minute / 60,
        retry_after=("right" if minute >= 30 else "ms") if setting.retry_after else "none",
        models=models,
        faults={"429": setting.strays} if setting.strays else {},
        trace=True,
    ) as server:
        over = threading.Event()
        if setting.halved:
            half = {MODEL: {"rpm": setting.per_minute / 2, "tpm": None}}
            timer = threading.Timer(minutes / 2 * minute, lambda: server.control(models=half))
            timer.daemon = True
            timer.start()
        if setting.others:
            body = {"model": MODEL, "messages": [{"role": "user", "content": "other"}]}
            threading.Thread(
                target=_keep_sending, args=(server, body, setting.others / minute, over)
            ).start()
        try:
            runs = 2 if setting.twin else 1
            with ThreadPoolExecutor(runs) as together:
                for run in [
                    together.submit(arm, setting, server, requests // runs, minute)
                    for _ in range(runs)
                ]:
                    run.result()
        finally:
            over.set()
        stats = server.stats()
    # The limits let those pass that were refused at random.
    arrivals, strays = stats["arrivals"], stats["faults"].get("429", 0)
    # The other process sends without max_tokens, which counts fewer tokens.
    mine = [(at, passed) for at, passed, tokens, _ in arrivals if tokens >= TOKENS]
    admitted = [at for at, passed in mine if passed]
    done = len(admitted) - strays
    answered = done / len(admitted)
    # Of two runs one may end before the other.
    counted = admitted[: round(0.95 * len(admitted))] if setting.twin else admitted
    seconds = counted[-1] - counted[0]
    late = [at for at in counted if at > counted[0] + minute]
    span = seconds - minute
    allowed = setting.per_minute / minute / answered
    return {
        "requests": requests,
        "done": done,
        "refused": len(mine) - done,
        "seconds": seconds,
        "later": len(late) / (allowed * span) if span > minute / 4 else None,
        "share": (len(counted) - 1) / (allowed * seconds),
    }


def _keep_sending(server: Server, body: Any, per_second: float, over: threading.Event) -> None:
    import urllib3

    pool = urllib3.PoolManager(maxsize=8, retries=False)
    with ThreadPoolExecutor(8) as threads:
        while not over.wait(1 / per_second):
            url = f"{server.url}/v1/chat/completions"
            threads.submit(pool.request, "POST", url, json=body)


def one(name: str, minutes: float, minute: float) -> dict[str, Any]:
    """Both arms of one setting, in a process of its own, so that nothing is shared."""
    flags = ["--one", name, "--minutes", str(minutes), "--minute", str(minute)]
    done = subprocess.run(
        [sys.executable, __file__, *flags], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _share(share: float | None) -> str:
    return f"{share:>8.1%}" if share is not None else f"{'':8}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="minutes' worth of requests (2)")
    parser.add_argument("--minute", type=float, default=60.0, help="seconds a minute lasts (60)")
    parser.add_argument("--only", default="", help="settings whose name contains this")
    parser.add_argument("--at-once", type=int, default=8, help="settings measured at once (8)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        os.environ["OPENAI_API_KEY"] = "sk-benchmark"
        setting = SETTINGS[asked.one]
        outcome = {
            arm.__name__: measure(setting, arm, asked.minutes, asked.minute)
            for arm in (ours, naive)
        }
        print(json.dumps(outcome))
        return
    names = [name for name in SETTINGS if asked.only in name]
    print(f"{'':40}{'llmb':>34}   {'threads with backoff':>34}")
    print(f"{'setting':40}{'of limit':>10}{'later':>8}{'429s':>7}{'time':>9}   ", end="")
    print(f"{'of limit':>10}{'later':>8}{'429s':>7}{'time':>9}")
    with ThreadPoolExecutor(asked.at_once) as pool:
        rows = {pool.submit(one, name, asked.minutes, asked.minute): name for name in names}
        # Each row as soon as it is measured: the slowest would hold back all that follow.
        for row in as_completed(rows):
            name = rows[row]
            if (error := row.exception()) is not None:
                print(f"{name:40}{error}", flush=True)
                continue
            outcome = row.result()
            cells = [
                f"{each['share']:>10.1%}{_share(each['later'])}{each['refused']:>7}"
                f"{each['seconds']:>8.1f}s"
                for each in (outcome["ours"], outcome["naive"])
            ]
            lost = outcome["naive"]["requests"] - outcome["naive"]["done"]
            note = f"  ({lost} never answered)" if lost else ""
            print(f"{name:40}{cells[0]}   {cells[1]}{note}", flush=True)


if __name__ == "__main__":
    main()
