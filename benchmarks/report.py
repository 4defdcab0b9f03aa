"""Summing up a results file: our reader beside a json loop, msgspec structs, DuckDB and pyarrow.

    python benchmarks/report.py                      # 1,000,000 lines, about a minute
    python benchmarks/report.py --lines 100000 --rounds 5

Every way runs in a process of its own, the least of the rounds counts, and its ratio to ours is
printed. What the others do is less: they add up the passes, the scores and the cost of each line,
while ``llmb report`` also checks every number, looks for repeated ids, adds up tokens, cost and
latency by step, groups by category, holds verdicts against references and bounds all of it; as CSV
it writes every item, and a comparison reads two such files and pairs their items. DuckDB
is given the columns, as it would otherwise look for them. CPU time and peak memory are those of
the process and of the one that it may have started, added up.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WORDS = ["the", "of", "and", "a", "to", "in", "is", "was", "that", "for", "it", "as", "with", "on"]


def write(path: Path, lines: int, seed: int = 1) -> None:
    """A results file as a generate-and-judge run writes it, 1 KB a line."""
    from llm_batch.record.results import encode_result
    from llm_batch.records import Item, Result, Score, StepTotals, Usage

    rng = random.Random(seed)
    with open(path, "wb") as file:
        for number in range(lines):
            ok = number % 50 != 7
            score = rng.choice((1, 2, 3, 4, 4, 5, 5, 5)) if ok else None
            steps = {
                "generate": StepTotals(
                    Usage(40 + number % 9, 10 + number % 30), 0.001 * rng.random(), rng.random(), 1
                )
            }
            outputs: dict[str, object] = {}
            if score is not None:
                steps["judge"] = StepTotals(
                    Usage(80, 20 + number % 7), 0.002 * rng.random(), rng.random(), 1
                )
                reason = " ".join(rng.choices(WORDS, k=12))
                outputs = {
                    "generate": " ".join(rng.choices(WORDS, k=25)),
                    "judge": {"reason": reason, "score": score},
                }
            fields = {
                "question": " ".join(rng.choices(WORDS, k=10)),
                "answer": rng.choice(WORDS),
                "category": "abcdefgh"[number % 8],
            }
            result = Result(
                Item(f"item-{number:07d}", fields),
                "ok" if ok else "timeout",
                outputs,
                None if score is None else Score(float(score)),
                None if score is None else score >= 4,
                steps,
                "" if ok else "generate: no answer in time",
            )
            file.write(encode_result(result))


def ours(path: str) -> tuple[int, float]:
    """``llmb report``, as the command runs it."""
    from llm_batch.reporting import FORMATS, build_report

    report = build_report(path)
    FORMATS["text"](report)
    return report.pass_rate.passed, report.total.cost or 0.0


def as_csv(path: str) -> tuple[int, float]:
    """``llmb report --format csv`` into a file."""
    from llm_batch.reporting import FORMATS, build_report

    report = build_report(path)
    with tempfile.TemporaryFile("w") as file:
        file.writelines(FORMATS.pieces("csv", report))
    return report.pass_rate.passed, report.total.cost or 0.0


def compared(path: str) -> tuple[int, float]:
    """``llmb compare`` of the file with itself under another name: two runs of as many lines."""
    from llm_batch.reporting.comparison.build import COMPARISON_FORMATS, compare_reports

    twin = Path(f"{path}.twin")
    twin.hardlink_to(path)  # under another name, which tells one run from the other
    try:
        made = compare_reports([path, twin])
        COMPARISON_FORMATS["text"](made)
    finally:
        twin.unlink()
    report = made.sides[0].report
    assert report is not None
    return report.pass_rate.passed, report.total.cost or 0.0


def json_loop(path: str) -> tuple[int, float]:
    """The loop one writes by hand."""
    import json

    passed, cost = 0, 0.0
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            passed += record["passed"] is True
            cost += record["cost"]["total"] or 0.0
    return passed, cost


def msgspec_structs(path: str) -> tuple[int, float]:
    """Structs of the fields that are added up, and no more."""
    import msgspec

    cost_type = msgspec.defstruct("Cost", [("total", float | None, None)], gc=False)
    line_type = msgspec.defstruct(
        "Line",
        [("cost", cost_type), ("passed", bool | None, None), ("score", float | None, None)],
        gc=False,
    )
    decode = msgspec.json.Decoder(line_type).decode
    passed, cost = 0, 0.0
    with open(path, "rb") as file:
        for raw in file:
            line = decode(raw)
            passed += line.passed is True
            cost += line.cost.total or 0.0
    return passed, cost


def duckdb(path: str) -> tuple[int, float]:
    """DuckDB with given columns."""
    import duckdb

    query = (
        "select count(*) filter (where passed), sum(cost.total), avg(score) from read_json(?, "
        "format='newline_delimited', columns={passed: 'BOOLEAN', score: 'DOUBLE', "
        "cost: 'STRUCT(total DOUBLE)'})"
    )
    row = duckdb.connect().execute(query, [path]).fetchone()
    assert row is not None
    return int(row[0]), float(row[1])


def pyarrow(path: str) -> tuple[int, float]:
    """Arrow's reader of JSON with a schema, on all cores."""
    import pyarrow
    import pyarrow.compute as compute
    from pyarrow import json

    schema = pyarrow.schema(
        [
            ("passed", pyarrow.bool_()),
            ("score", pyarrow.float64()),
            ("cost", pyarrow.struct([("total", pyarrow.float64())])),
        ]
    )
    options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    table = json.read_json(
        path, json.ReadOptions(block_size=8 << 20), parse_options=options
    ).combine_chunks()
    cost = compute.sum(compute.struct_field(table["cost"], "total")).as_py()
    return int(compute.sum(table["passed"]).as_py()), float(cost)


WAYS = {
    "llmb report": ours,
    "llmb csv": as_csv,
    "llmb compare": compared,
    "json loop": json_loop,
    "msgspec structs": msgspec_structs,
    "duckdb": duckdb,
    "pyarrow": pyarrow,
}


def one(way: str, path: str) -> None:
    """Run one way in this process and print wall time, CPU time, memory and what it found."""
    from llm_batch.record.parts import stay_able_to_fork

    stay_able_to_fork()  # as the commands do
    start, cpu = time.perf_counter(), time.process_time()
    passed, cost = WAYS[way](path)
    wall = time.perf_counter() - start
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    used = time.process_time() - cpu + others.ru_utime + others.ru_stime
    peak = (own.ru_maxrss + others.ru_maxrss) / 1024
    print(wall, used, peak, passed, round(cost, 6))


def main() -> None:
    """Compare all ways that are installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", help="a results file to read instead of a made one")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(*args.one)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.file or Path(folder) / "results.jsonl")
        if not args.file:
            write(path, args.lines)
        size = path.stat().st_size
        print(f"{path.name}: {size / 1e6:,.0f} MB; least of {args.rounds} rounds\n")
        print(f"{'':16}  {'wall s':>7}  {'CPU s':>7}  {'ratio':>6}  {'MB':>6}")
        found = {}
        for way in WAYS:
            if way in ("duckdb", "pyarrow") and importlib.util.find_spec(way) is None:
                print(f"{way:16}  not installed")
                continue
            runs = []
            for _ in range(args.rounds):
                command = [sys.executable, __file__, "--one", way, str(path)]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                wall, used, peak, *result = said.split()
                runs.append((float(wall), float(used), float(peak)))
                found[way] = result
            wall_least, used_least, peak_most = (
                min(run[0] for run in runs),
                min(run[1] for run in runs),
                max(run[2] for run in runs),
            )
            if way == "llmb report":
                base = wall_least
            ratio = wall_least / base
            print(f"{way:16}  {wall_least:7.2f}  {used_least:7.2f}  {ratio:6.2f}  {peak_most:6.0f}")
        passed = {result[0] for result in found.values()}
        if len(passed) > 1:
            sys.exit(f"the ways disagree: {found}")
        print(f"\nall found {passed.pop()} passes")


if __name__ == "__main__":
    main()
