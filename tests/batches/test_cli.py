"""The command line by batch, as users start it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from llm_batch.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from tests.batch_server import BatchServer
from tests.batches.runs import journal, results, write_project
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
        _, said = process.communicate(timeout=30)
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
