"""Kill runs by the batch API at random moments, go on, and let the server count.

    python benchmarks/batch_kill.py                       # 60 kills against OpenAI's API
    python benchmarks/batch_kill.py --vendor anthropic --kills 20
    python benchmarks/batch_kill.py --trouble             # and lines fail, jobs expire, lists lag
    python benchmarks/batch_kill.py --bill                # the same job live and by batch

A run of the command line is killed with SIGKILL when the server has received a random number of
requests, before or after the last of them is worked on (so that creations happen whose answer
nobody hears), or when the journal has grown by a random number of lines. Then it is started again
with the same command. Promised: every item is there once, no request is in two jobs, no answer is
paid for twice, every job is collected, and the journal says to the cent what the server billed.
With ``--trouble`` requests that a job did not answer are rightly in another one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llm_batch.engines.batch.job_log import JobLog  # noqa: E402
from llm_batch.models.prices import tariff_of  # noqa: E402
from llm_batch.records import Usage  # noqa: E402
from tests.batch_server import BatchServer, Dropped  # noqa: E402
from tests.settings import DATA, steps, write_questions  # noqa: E402

MODELS = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash",
}
_MOMENTS = ("before a request", "after a request", "when a job is created", "while writing")
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")


@dataclass
class Outcome:
    """What a run came to after its kills.

    Attributes:
        items: Items of the data.
        kills: Sessions that were killed.
        moments: How many of them at which moment.
        jobs: Jobs at the server.
        lost_creates: Of them, jobs whose creation was never answered.
        submitted_twice: Requests that are in two jobs.
        paid_twice: Answers to a request beyond its first.
        paid: Answers the server has billed.
        lines: Lines of the results.
        missing: Items without one.
        exit_code: Of the last session.
        spent: USD of the journal of calls.
        billed: USD that the server charged.
        left_open: Jobs that the journal of jobs holds to go on.
        trouble: Whether jobs and lines failed by chance as well.
    """

    items: int
    kills: int = 0
    moments: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    lost_creates: int = 0
    submitted_twice: int = 0
    paid_twice: int = 0
    paid: int = 0
    lines: int = 0
    missing: int = 0
    exit_code: int = -1
    spent: float = 0.0
    billed: float = 0.0
    left_open: int = 0
    trouble: bool = False

    def add(self, other: Outcome) -> None:
        """Count another run too."""
        for name in ("items", "kills", "jobs", "lost_creates", "submitted_twice", "paid_twice",
                     "paid", "lines", "missing", "spent", "billed", "left_open",
                     "trouble"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for moment, count in other.moments.items():
            self.moments[moment] = self.moments.get(moment, 0) + count
        self.exit_code = self.exit_code or other.exit_code

    @property
    def kept(self) -> bool:
        """Whether the promise held."""
        return (
            self.exit_code == 0
            and (self.trouble or self.submitted_twice == 0)
            and self.paid_twice == 0
            and self.missing == 0
            and self.lines == self.items
            and self.left_open == 0
            and abs(self.spent - self.billed) < 1e-9 * self.paid
        )


def write_project(folder: Path, url: str, vendor: str, items: int, job_requests: int) -> None:
    """Data and config of a generate-and-judge run by batch."""
    write_questions(folder, (f"What is {n}?" for n in range(items)))
    model = MODELS[vendor]
    base = url + {"openai": "/v1", "gemini": "/v1beta"}.get(vendor, "")
    judged = steps(
        model, model, asks="{{ question }} {{ generate }}",
        max_tokens=60, judge_tokens=60, scale=(0, 100),
    )  # fmt: skip
    (folder / "llmb.toml").write_text(
        f'{DATA}[run]\nengine = "batch"\n[batch]\npoll = 0.02\njob_requests = {job_requests}\n'
        f'[models."{model}"]\napi_base = "{base}"\n{judged}',
        encoding="utf-8",
    )


def start(folder: Path, key: str, *words: str) -> subprocess.Popen[bytes]:
    """``llmb run`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "llm_batch", "run", "--quiet", "--yes", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)} | dict.fromkeys(_KEYS, key),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_and_resume(
    folder: Path,
    server: BatchServer,
    kills: int,
    items: int,
    *,
    vendor: str = "openai",
    job_requests: int = 50,
    seed: int = 0,
    trouble: bool = False,
) -> Outcome:
    """Kill a run up to ``kills`` times, let it finish, and count."""
    pick = random.Random(seed)
    if trouble:
        # A line fails in 40, Google says nothing of what an expired job had done.
        faults = ["500", "429", "missing"] + [""] * 117
        server.line_faults.extend(pick.choices(faults, k=8 * items))
        ends = [("completed", 1.0)] * 3 + [("expired", 0.0 if vendor == "gemini" else 0.5)]
        server.ends.extend(pick.choices(ends, k=items))
        server.settling, server.hidden = 2, 3
    write_project(folder, server.url, vendor, items, job_requests)
    outcome = Outcome(items, trouble=trouble)
    calls = folder / "results.calls.jsonl"
    unheard: set[str] = set()
    while outcome.kills < kills:
        moment = pick.choice(_MOMENTS)
        process = start(folder, server.key)
        if moment == "while writing":
            until = _lines(calls) + pick.randint(1, max(1, items // 4))
            give_up = server.requests.total() + 40
            while process.poll() is None and _lines(calls) < until:
                if server.requests.total() > give_up:
                    break
                time.sleep(0.0005)
            process.kill()
        else:
            target = server.requests.total() + pick.randint(1, 10)
            _kill_at(server, process, target, moment, unheard)
        code = process.wait()
        server.watch = lambda number, after: None
        if code != -9:
            break  # it came to its end: nothing is left to kill
        outcome.kills += 1
        outcome.moments[moment] = outcome.moments.get(moment, 0) + 1
    outcome.exit_code = start(folder, server.key).wait()
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_bytes().splitlines()]
    found = {row["id"] for row in rows if row["status"] == "ok"}
    outcome.lines, outcome.missing = len(rows), items - len(found)
    outcome.jobs, outcome.lost_creates = len(server.jobs), len(unheard)
    outcome.submitted_twice, outcome.paid_twice = server.submitted_twice, server.paid_twice
    outcome.paid = server.paid.total()
    outcome.spent = sum(json.loads(line)["cost"] for line in calls.read_bytes().splitlines())
    outcome.billed = _billed(server, MODELS[vendor])
    outcome.left_open = len(JobLog(folder / "results.batches.jsonl").open)
    return outcome


def _billed(server: BatchServer, model: str) -> float:
    """USD that the server's tokens cost by batch at list prices."""
    tariff, name = tariff_of(model), model.partition("/")[2]
    assert tariff is not None
    into, out = (server.tokens["batch", name, way] for way in ("input", "output"))
    return tariff.cost(Usage(into, out), batch=True)


def _kill_at(
    server: BatchServer,
    process: subprocess.Popen[bytes],
    target: int,
    moment: str,
    unheard: set[str],
) -> None:
    """Kill a process when the server has received so many requests, or has a new job."""
    known = set(server.jobs)

    def watch(number: int, after: bool) -> None:
        nonlocal known
        new = set(server.jobs) - known
        is_it = number >= target and after is (moment == "after a request")
        if moment == "when a job is created":
            is_it = bool(new)
        if is_it:
            process.kill()
            process.wait()
            unheard.update(new)
            raise Dropped
        known |= new

    server.watch = watch
    process.wait()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def bill(items: int) -> dict[str, float]:
    """USD that one job costs live and by batch, each by the journal of its run."""
    spent = {}
    for engine in ("threads", "batch"):
        with tempfile.TemporaryDirectory() as name, BatchServer() as server:
            folder = Path(name)
            write_project(folder, server.url, "openai", items, 50_000)
            code = start(folder, server.key, "--engine", engine).wait()
            assert code == 0, f"{engine} ended with {code}"
            lines = (folder / "results.calls.jsonl").read_bytes().splitlines()
            spent[engine] = sum(json.loads(line)["cost"] for line in lines)
    return spent


def table(outcome: Outcome) -> str:
    """The outcome in words."""
    rows = [
        ("kills (SIGKILL)", outcome.kills),
        *((f"  {moment}", count) for moment, count in sorted(outcome.moments.items())),
        ("items", outcome.items),
        ("lines of results", outcome.lines),
        ("items missing or failed", outcome.missing),
        ("jobs at the server", outcome.jobs),
        ("  whose creation was never answered", outcome.lost_creates),
        ("answers the server billed", outcome.paid),
        ("requests submitted twice", outcome.submitted_twice),
        ("answers paid for twice", outcome.paid_twice),
        ("jobs not collected", outcome.left_open),
        ("exit code of the last session", outcome.exit_code),
    ]
    lines = [f"{name:44} {value:>8,}" for name, value in rows]
    lines.append(f"{'billed by the server':44} {'$' + format(outcome.billed, '.6f'):>12}")
    lines.append(f"{'spent by the journal':44} {'$' + format(outcome.spent, '.6f'):>12}")
    return "\n".join([*lines, f"{'promise kept':44} {'yes' if outcome.kept else 'NO':>8}"])


def main() -> int:
    """Read the flags, kill, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--vendor", choices=sorted(MODELS), default="openai")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trouble", action="store_true", help="let lines and jobs fail as well")
    parser.add_argument("--bill", action="store_true", help="compare the bill, kill nothing")
    flags = parser.parse_args()
    if flags.bill:
        spent = bill(flags.items)
        print(f"{flags.items:,} items, two calls each, gpt-4o-mini at list prices")
        print(f"live  ${spent['threads']:.6f}\nbatch ${spent['batch']:.6f}")
        print(f"batch costs {spent['batch'] / spent['threads']:.1%} of live")
        return 0
    total, rounds, seed = Outcome(0), 0, flags.seed
    total.exit_code = 0
    while total.kills < flags.kills:
        # A run that comes to its end in spite of the kills is followed by another.
        with tempfile.TemporaryDirectory() as folder, BatchServer() as server:
            server.polls = 3
            left = flags.kills - total.kills
            total.add(
                kill_and_resume(
                    Path(folder),
                    server,
                    left,
                    flags.items,
                    vendor=flags.vendor,
                    seed=seed,
                    trouble=flags.trouble,
                )
            )
        rounds, seed = rounds + 1, seed + 1
    print(f"{flags.vendor}, {rounds} runs of {flags.items:,} items, two calls each")
    print(table(total))
    return 0 if total.kept else 1


if __name__ == "__main__":
    sys.exit(main())
