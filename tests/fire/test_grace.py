"""``--grace``: a run that is asked to stop ends although a reply does not come."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from llm_batch.errors import EXIT_INTERRUPTED, EXIT_USAGE
from tests.fire.processes import llmb_run, started, until

CONFIG = """
[data]
path = "data.jsonl"
[limits]
timeout = 900
[models."fake/slow"]
latency = 600
input_price = 1.0
output_price = 1000.0
[[steps]]
name = "fast"
model = "fake/fast"
prompt = "{{ question }}"
[[steps]]
name = "slow"
model = "fake/slow"
prompt = "{{ fast }}"
max_tokens = 100
"""


@pytest.mark.parametrize("engine", ["threads", "serial"])
def test_what_is_in_flight_is_left_when_the_grace_is_over(tmp_path: Path, engine: str) -> None:
    (tmp_path / "data.jsonl").write_text('{"question": "a"}\n{"question": "b"}\n')
    (tmp_path / "llmb.toml").write_text(CONFIG)
    journal = tmp_path / "results.calls.jsonl"
    with started(tmp_path, "--engine", engine, "--grace", "1s") as process:
        until(lambda: journal.exists() and journal.read_bytes().endswith(b"\n"))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)  # a fifth of what a reply takes
    assert process.returncode == EXIT_INTERRUPTED
    calls = [json.loads(line) for line in journal.read_text().splitlines()]
    left = [call for call in calls if call["step"] == "slow"]
    if engine == "serial":
        assert not left  # nobody looks at the clock while the one thread waits
    else:
        told = re.search(r"1 s of grace are over, ([12]) requests? in flight left", said)
        assert told and len(left) == int(told[1]) and "the same command resumes" in said
        # The provider may bill them, so the next session's budget has their worst case less.
        assert all(call["cost"] > 0.1 and call["worst_case"] for call in left)
        assert "booked at their worst case ($0." in said and not any(call["ok"] for call in left)
        manifest = json.loads((tmp_path / "results.manifest.json").read_text())
        assert manifest["totals"]["status"] == "interrupted"


def test_a_grace_that_is_no_duration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"question": "a"}\n')
    (tmp_path / "llmb.toml").write_text(CONFIG)
    code, said = llmb_run(tmp_path, "--grace", "soon")
    assert code == EXIT_USAGE and "--grace" in said and "25s" in said
