"""Kill a run without warning at random moments, go on, and look at what was lost or paid twice.

    python benchmarks/kill.py                 # 100 kills, about five minutes
    python benchmarks/kill.py --kills 10

A run of the command line against the hostile test server is killed with SIGKILL after a random
time, started again with the same command, and so on; then it is left to finish. The server counts
for itself. Promised: every item is there once, and the answers that were paid for twice are at
most the calls that were in flight at the moments of the kills.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.server import Server, serve  # noqa: E402
from tests.settings import DATA, steps, write_questions  # noqa: E402

#: Faults that strike while the kills do; all of them pass.
FAULTS = {"500": 0.02, "503": 0.02, "reset": 0.01, "truncated_json": 0.01}


@dataclass
class Outcome:
    """What a run came to after its kills.

    Attributes:
        kills: Sessions that were killed in the middle.
        items: Items of the sample.
        lines: Lines of the results in the end.
        missing: Items without a line.
        twice: Items with more than one line.
        exit_code: Of the last session.
        in_flight: Calls that were sent and not in the journal at the kills, added up.
        workers: Threads that send at once.
        duplicates: Whole answers the server sent to a request it had answered before.
        lost_lines: Lines of the journal that a kill cut off.
        successes: Whole answers the server has sent.
        per_kill: For each kill, the lines the journal held and the requests in flight.
    """

    items: int
    workers: int
    kills: int = 0
    lines: int = 0
    missing: int = 0
    twice: int = 0
    exit_code: int = -1
    in_flight: int = 0
    duplicates: int = 0
    lost_lines: int = 0
    successes: int = 0
    per_kill: list[tuple[int, int]] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether the promise held."""
        return (
            not self.missing
            and not self.twice
            and self.exit_code == 0
            and self.duplicates <= self.in_flight
        )


def write_project(folder: Path, url: str, items: int, workers: int) -> None:
    """Data and config of a generate-and-judge run."""
    write_questions(folder, (f"What is {n}?" for n in range(items)))
    models = "".join(
        f'[models."openai/{name}"]\napi_base = "{url}/v1"\ninput_price = 1.0\noutput_price = 4.0\n'
        for name in ("writer", "judge")
    )
    judged = steps(
        "openai/writer", "openai/judge", asks="{{ question }} {{ generate }}",
        max_tokens=60, judge_tokens=60,
    )  # fmt: skip
    (folder / "llmb.toml").write_text(
        f"{DATA}[limits]\nworkers = {workers}\nmax_attempts = 8\n{models}{judged}",
        encoding="utf-8",
    )


@contextmanager
def session(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``llmb run`` in a process of its own; killed when left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llm_batch", "run", "--quiet", "--yes"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-test"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def kill_and_resume(
    folder: Path, server: Server, kills: int, items: int, workers: int, seed: int = 0
) -> Outcome:
    """Kill a run ``kills`` times, let it finish, and count.

    The moments are drawn by progress, not by time: each session may send a random number of
    requests more before it is killed, so that starting up does not catch every kill.
    """
    pick = random.Random(seed)
    write_project(folder, server.url, items, workers)
    outcome = Outcome(items, workers)
    calls, per_session = folder / "results.calls.jsonl", 2 * items / (kills + 1)
    while outcome.kills < kills:
        seen: int = server.stats()["requests"]
        until = seen + pick.uniform(0, 2 * per_session) * 0.9
        with session(folder) as process:
            while process.poll() is None and server.stats()["requests"] <= until:
                time.sleep(0.001)
            time.sleep(pick.uniform(0, 0.02))
            # Stopped first, so that what is in flight can be counted before it dies.
            process.send_signal(signal.SIGSTOP)
            in_flight = server.stats()["in_flight"]
            if process.poll() is not None:
                break  # it came to its end: nothing is left to kill
            # An answer that was sent and is not in the journal yet is in flight as well. The run
            # never holds more calls than workers and a quarter, and no excuse is made for more.
            most = workers + max(1, workers // 4)
            at_risk = min(most, max(in_flight, _unwritten(server, calls)))
            process.kill()
            process.wait()
        outcome.kills += 1
        outcome.in_flight += at_risk
        content = calls.read_bytes() if calls.exists() else b""
        outcome.lost_lines += not content.endswith(b"\n") and bool(content)
        outcome.per_kill.append((content.count(b"\n"), at_risk))
    with session(folder) as process:
        outcome.exit_code = process.wait()
    lines = (folder / "results.jsonl").read_bytes().splitlines()
    found = [json.loads(line)["id"] for line in lines]
    stats = server.stats()
    outcome.lines, outcome.missing = len(found), items - len(set(found))
    outcome.twice = len(found) - len(set(found))
    outcome.duplicates, outcome.successes = stats["duplicates"], stats["successes"]
    return outcome


def _unwritten(server: Server, calls: Path) -> int:
    """Requests that are in flight, or answered without a line in the journal."""
    stats = server.stats()
    lines = calls.read_bytes().splitlines() if calls.exists() else []
    answered = len({key for line in lines if (key := _answer(line))})
    return int(stats["in_flight"] + len(stats["successes_by_body"]) - answered)


def _answer(line: bytes) -> str:
    try:
        call = json.loads(line)
    except ValueError:
        return ""
    return call["key"] if call["ok"] else ""


def table(outcome: Outcome) -> str:
    """The outcome in words."""
    most = max((at_risk for _, at_risk in outcome.per_kill), default=0)
    rows = [
        ("kills (SIGKILL)", outcome.kills),
        ("items", outcome.items),
        ("lines of results", outcome.lines),
        ("items missing", outcome.missing),
        ("items there twice", outcome.twice),
        ("answers the server sent", outcome.successes),
        ("calls in flight at the kills", outcome.in_flight),
        (f"  at most at one kill ({outcome.workers} workers)", most),
        ("answers paid for twice", outcome.duplicates),
        ("journal lines cut in the middle", outcome.lost_lines),
        ("exit code of the last session", outcome.exit_code),
    ]
    lines = [f"{name:44} {value:>8,}" for name, value in rows]
    return "\n".join([*lines, f"{'promise kept':44} {'yes' if outcome.kept else 'NO':>8}"])


def main() -> int:
    """Read the flags, kill, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(latency=0.01, jitter=0.9, faults=FAULTS, log=0) as server,
    ):
        outcome = kill_and_resume(
            Path(folder), server, flags.kills, flags.items, flags.workers, flags.seed
        )
    print(table(outcome))
    return 0 if outcome.kept else 1


if __name__ == "__main__":
    sys.exit(main())
