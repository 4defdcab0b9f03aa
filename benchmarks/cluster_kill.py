"""Kill the driver of a run on Ray again and again, go on, and look at what was paid twice or left.

    python benchmarks/cluster_kill.py               # 20 kills, each takes a local cluster along
    python benchmarks/cluster_kill.py --existing    # on a cluster of two nodes that goes on

The driver is killed with SIGKILL after a random number of requests and started again with the same
command; then it is left to finish. After every kill the actors must end by themselves, and so must
the whole cluster when it was the driver's own. The server counts: answers that are not in the
journal when all actors are gone are those that may be paid for twice, and never more than workers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.kill import _unwritten, write_project  # noqa: E402
from benchmarks.scale import session_of  # noqa: E402
from tests.fire.processes import llmb_run, started, until  # noqa: E402
from tests.server import Server, serve  # noqa: E402

#: What must be gone. (Ray's own two agents of a node without work end a minute after it.)
ACTORS = frozenset({"ray::Worker", "ray::Ledger"})
CLUSTER = frozenset({"raylet", "gcs_server"})


@contextmanager
def two_nodes() -> Iterator[str]:
    """A cluster of this process, by its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


@dataclass
class Outcome:
    """What a run came to after its kills.

    Attributes:
        items: Items of the sample.
        workers: Calls that are made at once, in the whole cluster.
        kills: Sessions that were killed in the middle.
        unwritten: For each kill, answers that were sent and are not in the journal.
        seconds: For each kill, how long it took until the actors were gone.
        lines: Lines of the results in the end.
        missing: Items without a usable line.
        exit_code: Of the last session.
        successes: Whole answers the server has sent.
        duplicates: Those to a request it had answered before.
    """

    items: int
    workers: int
    kills: int = 0
    unwritten: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lines: int = 0
    missing: int = 0
    exit_code: int = -1
    successes: int = 0
    duplicates: int = 0

    @property
    def kept(self) -> bool:
        """Whether the promise held."""
        return (
            self.exit_code == 0
            and not self.missing
            and self.lines == self.items
            and max(self.unwritten, default=0) <= self.workers
            and self.duplicates <= sum(self.unwritten)
        )


def kill_and_resume(
    folder: Path,
    server: Server,
    *,
    kills: int,
    items: int,
    workers: int = 8,
    address: str | None = None,
    seed: int = 0,
) -> Outcome:
    """Kill the driver ``kills`` times, let it finish, and count.

    Args:
        folder: For the files of the run.
        server: Answers, and counts.
        kills: How often.
        items: Of two calls each.
        workers: Shared by two actors.
        address: Of a cluster of this process; ``None`` for one of the driver's own.
        seed: Of the moments.
    """
    pick = random.Random(seed)
    write_project(folder, server.url, items, workers)
    where = f'ray_address = "{address}"\n' if address else ""
    with open(folder / "llmb.toml", "a", encoding="utf-8") as config:
        config.write(f'[run]\nengine = "ray"\nray_actors = 2\n{where}')
    outcome = Outcome(items, workers)
    calls = folder / "results.calls.jsonl"
    while outcome.kills < kills:
        most = pick.uniform(0.2, 1.5) * 2 * items / (kills + 1)
        enough = server.stats()["requests"] + most
        with started(folder, "--quiet", start_new_session=True) as driver:
            while driver.poll() is None and server.stats()["requests"] <= enough:
                time.sleep(0.002)
            if driver.poll() is not None:
                break  # it came to its end: nothing is left to kill
            driver.kill()
            killed = time.monotonic()
            kin = ACTORS if address else ACTORS | CLUSTER
            session = os.getsid(0) if address else driver.pid
            until(lambda: not kin & {name for name, _ in session_of(session)})  # noqa: B023
        until(lambda: not server.stats()["in_flight"])
        outcome.kills += 1
        outcome.seconds.append(time.monotonic() - killed)
        outcome.unwritten.append(_unwritten(server, calls))
    outcome.exit_code, _ = llmb_run(folder, "--quiet")
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_bytes().splitlines()]
    stats = server.stats()
    outcome.lines = len(rows)
    outcome.missing = items - len({row["id"] for row in rows if row["status"] == "ok"})
    outcome.successes, outcome.duplicates = stats["successes"], stats["duplicates"]
    return outcome


def table(outcome: Outcome) -> str:
    """The outcome in words."""
    rows = [
        ("kills of the driver (SIGKILL)", outcome.kills),
        ("items", outcome.items),
        ("lines of results", outcome.lines),
        ("items missing or failed", outcome.missing),
        ("answers the server sent", outcome.successes),
        ("answers in flight at the kills", sum(outcome.unwritten)),
        (f"  at most at one kill ({outcome.workers} workers)", max(outcome.unwritten, default=0)),
        ("answers paid for twice", outcome.duplicates),
        ("exit code of the last session", outcome.exit_code),
    ]
    lines = [f"{name:44} {value:>8,}" for name, value in rows]
    longest = max(outcome.seconds, default=0.0)
    lines.append(f"{'seconds until all actors were gone, at most':44} {longest:>8.1f}")
    return "\n".join([*lines, f"{'promise kept':44} {'yes' if outcome.kept else 'NO':>8}"])


def main() -> int:
    """Read the flags, kill, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--existing", action="store_true", help="on a cluster that goes on")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(latency=0.01, jitter=0.9, faults={"500": 0.02, "reset": 0.01}, log=0) as server,
        two_nodes() if flags.existing else nullcontext() as address,
    ):
        outcome = kill_and_resume(
            Path(folder),
            server,
            kills=flags.kills,
            items=flags.items,
            workers=flags.workers,
            address=address,
            seed=flags.seed,
        )
    print(table(outcome))
    return 0 if outcome.kept else 1


if __name__ == "__main__":
    sys.exit(main())
