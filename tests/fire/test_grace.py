"""``--grace``: a run that is asked to stop ends although a reply does not come."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from llm_batch.errors import EXIT_INTERRUPTED, EXIT_USAGE
from tests.fire.processes import llmb_run, started, until
from tests.server import Server

CONFIG = """
[data]
path = "data.jsonl"
[limits]
timeout = 900
[models."openai/m1"]
api_base = "{url}/v1"
input_price = 1.0
output_price = 1000.0
[[steps]]
name = "answer"
model = "openai/m1"
prompt = "{{{{ question }}}}"
max_tokens = 100
"""


@pytest.mark.parametrize(("engine", "sent"), [("threads", 2), ("serial", 1)])
def test_what_is_in_flight_is_left_when_the_grace_is_over_and_booked(
    tmp_path: Path, server: Server, engine: str, sent: int
) -> None:
    (tmp_path / "data.jsonl").write_text('{"question": "a"}\n{"question": "b"}\n')
    (tmp_path / "llmb.toml").write_text(CONFIG.format(url=server.url))
    server.control(hold=True)
    with started(tmp_path, "--engine", engine, "--grace", "1s") as process:
        until(lambda: server.stats()["in_flight"] == sent)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == EXIT_INTERRUPTED
    if engine == "serial":  # nobody looks at the clock while the one thread waits
        return
    assert "1 s of grace are over, 2 requests in flight left" in said
    assert "booked at their worst case ($0.20)" in said
    # The provider may bill them, so the next session's budget has their worst case less.
    lines = (tmp_path / "results.calls.jsonl").read_text().splitlines()
    calls = [json.loads(line) for line in lines]
    assert [call["worst_case"] and not call["ok"] and call["cost"] > 0.1 for call in calls] == [
        True,
        True,
    ]


def test_a_grace_that_is_no_duration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"question": "a"}\n')
    (tmp_path / "llmb.toml").write_text(CONFIG.format(url="http://127.0.0.1:9"))
    code, said = llmb_run(tmp_path, "--grace", "soon")
    assert code == EXIT_USAGE and "--grace" in said and "25s" in said
