"""Memory and time of large runs through the fake provider, and of resuming one.

    python benchmarks/size.py                  # 1,000,000 items from JSONL and Parquet; minutes
    python benchmarks/size.py --items 200000

A run of half of the items, one of the rest, and one with nothing left, each a process of its own:
seconds of wall time and of CPU until its first call is made, resident memory (VmHWM and VmRSS) when
each tenth of the items is done, and the seconds that tenth took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CONFIG = """
[data]
path = "{data}"
id = "id"
keep = []
[sample]
size = {size}
[limits]
workers = 4
[[steps]]
name = "generate"
model = "fake/m"
prompt = "{{{{ question }}}}"
max_tokens = 20
on_truncated = "keep"
"""

ONE_RUN = """
import json, re, sys, time
from pathlib import Path
from llm_batch.chain.config import load_config
from llm_batch.running.run import run

def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

marks, began, first = [], time.perf_counter(), []
def watch(state):
    if state.calls and not first:
        first.extend([time.perf_counter() - began, time.process_time()])
    if state.done >= len(marks) * state.planned / 10:
        marks.append((state.done, time.perf_counter() - began, memory("VmRSS")))

summary = run(load_config(sys.argv[1]), progress=watch)
print(json.dumps({"marks": marks, "seconds": time.perf_counter() - began,
                  "cpu": time.process_time(), "first": first,
                  "peak": memory("VmHWM"), "calls": summary.progress.calls,
                  "done": summary.progress.done}))
"""


def write_data(folder: Path, items: int, kind: str) -> str:
    rows = ({"id": f"q{n}", "question": f"What is {n}? " + "word " * 40} for n in range(items))
    if kind == "jsonl":
        with open(folder / "q.jsonl", "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        return "q.jsonl"
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("id", pyarrow.string()), ("question", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(folder / "q.parquet", schema) as writer:
        block = []
        for row in rows:
            block.append(row)
            if len(block) == 50_000:
                writer.write_table(pyarrow.Table.from_pylist(block, schema))
                block.clear()
        writer.write_table(pyarrow.Table.from_pylist(block, schema))
    return "q.parquet"


def one_run(folder: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", ONE_RUN, "llmb.toml"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and time of large runs.")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--kinds", default="jsonl,parquet")
    options = parser.parse_args()
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            data = write_data(folder, options.items, kind)
            half = options.items // 2
            for what, size in (("first half", half), ("the rest", 0), ("nothing left", 0)):
                (folder / "llmb.toml").write_text(CONFIG.format(data=data, size=size))
                found = one_run(folder)
                print(
                    f"\n{kind}, {what}: {found['done']:,} items, {found['calls']:,} calls made, "
                    f"{found['seconds']:.1f} s, {found['cpu']:.1f} s of CPU, "
                    f"peak {found['peak']:.0f} MB"
                )
                if found["first"]:
                    wall, cpu = found["first"]  # type: ignore[misc]
                    print(f"  first call after {wall:.1f} s, {cpu:.1f} s of CPU")
                before = 0.0
                for done, seconds, memory in found["marks"]:  # type: ignore[attr-defined]
                    print(f"  {done:>9,}  {seconds - before:6.1f} s  {memory:5.0f} MB")
                    before = seconds


if __name__ == "__main__":
    main()
