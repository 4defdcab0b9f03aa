"""The command line by batch, as users start it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from llm_batch.chain.config import load_config
from llm_batch.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from tests.batch_server import BatchServer
from tests.engines.batch.runs import journal, results, write_project
from tests.fire.processes import KEY, llmb_run, started, until


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back_or_to_end_it(
    tmp_path: Path, server: BatchServer
) -> None:
    server.key = KEY
    server.polls = 10**9
    write_project(tmp_path, server, judge=None)
    with started(tmp_path) as process:
        until(lambda: any(job.looks > 2 for job in server.jobs.values()))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    (job,) = server.jobs.values()
    assert process.returncode == EXIT_INTERRUPTED
    assert job.end is None and not job.cancelling
    assert "the jobs at the provider go on without this" in said
    assert job.id in said and "--cancel" in said and "the same command" in said
    code, said = llmb_run(tmp_path, "--cancel")
    assert code == EXIT_OK and "3 answers kept" in said and "3 requests not finished" in said
    assert len(journal(tmp_path)) == 3
    server.polls = 1
    code, said = llmb_run(tmp_path)
    assert code == EXIT_OK and len(results(tmp_path)) == 6
    assert server.paid_twice == 0
    code, said = llmb_run(tmp_path, "--cancel")
    assert code == EXIT_OK and "no batch jobs" in said


@pytest.mark.parametrize("wrong", ["soon", "6", "h"])
def test_a_deadline_that_is_no_duration_is_refused(
    tmp_path: Path, server: BatchServer, wrong: str
) -> None:
    write_project(tmp_path, server)
    code, said = llmb_run(tmp_path, "--deadline", wrong)
    assert code == EXIT_USAGE and "--deadline" in said and "6h" in said
    assert not server.requests


def test_the_display_shows_the_providers_own_counts() -> None:
    from llm_batch.cli.progress import _facts
    from llm_batch.running.progress import Progress

    state = Progress(planned=6, calls=6, seconds=9.0, jobs="1 job at the provider: 3/6")
    state.spent, state.budget, state.expected_cost = 0.00031, 1.0, 0.0016
    assert _facts(state) == [
        "1 job at the provider: 3/6",
        "$0.00031 of $0.0016 estimated, $1.00 budget",
    ]


def test_the_settings_in_the_guide_load(tmp_path: Path) -> None:
    guide = Path(__file__).parents[3] / "docs" / "batch.md"
    (block,) = re.findall(r"```toml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    step = '[[steps]]\nname = "a"\nmodel = "openai/my-model"\nprompt = "{{ question }}"\n'
    path = tmp_path / "llmb.toml"
    path.write_text(block + step, encoding="utf-8")
    config = load_config(path)
    assert config.run.engine == "batch" and config.batch.deadline_seconds == 6 * 3600
