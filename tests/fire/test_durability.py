"""Disks, signals, other runs and other hands: a clear message, and nothing paid for is lost."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from llm_batch.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from tests.fire.processes import llmb_run, started, terminal, until
from tests.fire.runs import journal, results, write_project
from tests.server import Server

WORKERS = 4


def project(folder: Path, server: Server, count: int = 30) -> None:
    write_project(folder, server, [f"{n}?" for n in range(count)], workers=WORKERS)


def everything_is_there_once(folder: Path, count: int = 30) -> None:
    found = results(folder)
    assert set(found) == {f"q{n}" for n in range(count)}
    assert {item["status"] for item in found.values()} == {"ok"}


def stuck(folder: Path, server: Server) -> None:
    """Wait until every worker waits for an answer that is held back, and all others are kept."""
    server.control(hold=True)
    until(lambda: server.stats()["in_flight"] == WORKERS)
    until(lambda: len(journal(folder)) == server.stats()["successes"])


# --- signals


def test_the_first_signal_finishes_what_is_in_flight_and_resuming_pays_for_nothing_twice(
    tmp_path: Path, server: Server
) -> None:
    project(tmp_path, server)
    server.control(hold=True)
    with started(tmp_path) as process:
        stuck(tmp_path, server)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        until(lambda: "what is in flight is finished and kept" in process.stderr.readline())  # type: ignore[union-attr]
        server.control(hold=False)
        _, said = process.communicate(timeout=120)
    assert process.returncode == EXIT_INTERRUPTED
    assert "the same command resumes" in said
    stats = server.stats()
    assert stats["requests"] == WORKERS and "abandoned" not in stats["by_status"]
    assert sum(line["ok"] for line in journal(tmp_path)) == stats["successes"] == WORKERS
    code, said = llmb_run(tmp_path)
    assert code == EXIT_OK
    assert "is not paid for again" in said
    assert server.stats()["duplicates"] == 0
    everything_is_there_once(tmp_path)


def test_the_second_signal_ends_the_run_at_once_and_it_resumes_all_the_same(
    tmp_path: Path, server: Server
) -> None:
    project(tmp_path, server)
    server.control(hold=True)
    with started(tmp_path) as process:
        stuck(tmp_path, server)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        # The first is answered with a sentence, and with patience: the calls hang.
        until(lambda: "press Ctrl-C again to stop now" in process.stderr.readline())  # type: ignore[union-attr]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == EXIT_INTERRUPTED
    server.control(hold=False)
    assert llmb_run(tmp_path)[0] == EXIT_OK
    assert server.stats()["duplicates"] == 0
    everything_is_there_once(tmp_path)


@pytest.mark.parametrize("again", [False, True], ids=["once", "passed on by a shell"])
def test_a_closed_terminal_finishes_what_is_in_flight_and_keeps_it(
    tmp_path: Path, server: Server, again: bool
) -> None:
    project(tmp_path, server)
    server.control(latency=1)  # so that most of it is still to come when it is seen
    with terminal(tmp_path) as window:
        # Everything is shown in it, so all that comes to be said later finds no terminal.
        until(lambda: "calls/min" in window.read())
        stuck(tmp_path, server)
        window.close()
        if again:
            window.process.send_signal(signal.SIGHUP)
        server.control(hold=False)
        assert window.process.wait(timeout=120) == EXIT_INTERRUPTED
    stats = server.stats()
    assert stats["requests"] < 60 and "abandoned" not in stats["by_status"]
    assert sum(line["ok"] for line in journal(tmp_path)) == stats["successes"]
    manifest = json.loads((tmp_path / "results.manifest.json").read_bytes())
    assert manifest["totals"]["status"] == "interrupted"
    server.control(latency=0)
    assert llmb_run(tmp_path)[0] == EXIT_OK
    assert server.stats()["duplicates"] == 0
    everything_is_there_once(tmp_path)


def test_a_run_that_was_told_to_outlive_its_terminal_does(tmp_path: Path, server: Server) -> None:
    project(tmp_path, server)
    server.control(hold=True)
    ignoring = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731  (as nohup does)
    with started(tmp_path, preexec_fn=ignoring) as process:
        stuck(tmp_path, server)
        process.send_signal(signal.SIGHUP)
        server.control(hold=False)
        process.communicate(timeout=120)
    assert process.returncode == EXIT_OK
    everything_is_there_once(tmp_path)


# --- disks


def test_a_full_disk_stops_the_run_and_what_was_written_is_not_paid_again(
    tmp_path: Path, server: Server
) -> None:
    project(tmp_path, server)

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    code, said = llmb_run(tmp_path, preexec_fn=small_files)
    assert code == EXIT_INCOMPLETE
    assert "error: cannot write results.calls.jsonl: " in said
    assert "free some space and run the same command again" in said
    assert "Traceback" not in said
    written = len(journal(tmp_path))  # and every line of it can be read
    paid = server.stats()["successes"]
    # What the engine holds at most: in flight, and finished but not taken.
    assert 0 < written <= paid <= written + WORKERS + WORKERS // 2
    assert llmb_run(tmp_path)[0] == EXIT_OK
    assert server.stats()["duplicates"] == paid - written
    everything_is_there_once(tmp_path)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_sent(
    tmp_path: Path, server: Server
) -> None:
    project(tmp_path, server)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    place = closed if os.geteuid() else Path("/proc")  # nothing is closed to root but this
    code, said = llmb_run(tmp_path, "-o", str(place / "results.jsonl"))
    assert code == EXIT_USAGE
    assert f"cannot write {place / 'results'}" in said and "--output" in said
    assert server.stats()["requests"] == 0


# --- other runs and other hands


def test_a_second_run_on_one_output_is_refused_and_the_first_goes_on(
    tmp_path: Path, server: Server
) -> None:
    project(tmp_path, server)
    server.control(hold=True)
    with started(tmp_path) as first:
        stuck(tmp_path, server)
        code, said = llmb_run(tmp_path)
        assert code == EXIT_USAGE
        assert "another run is writing" in said and "choose another --output" in said
        server.control(hold=False)
        first.communicate(timeout=120)
    assert first.returncode == EXIT_OK
    assert server.stats()["duplicates"] == 0
    everything_is_there_once(tmp_path)


def test_torn_and_damaged_lines_are_said_and_only_what_they_held_is_asked_again(
    tmp_path: Path, server: Server
) -> None:
    project(tmp_path, server)
    assert llmb_run(tmp_path)[0] == EXIT_OK
    path = tmp_path / "results.calls.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = b"\x00\xff not a line\n"
    lines[-1] = lines[-1][:-20]
    path.write_bytes(b"".join(lines))
    code, said = llmb_run(tmp_path)
    assert code == EXIT_OK
    assert "1 damaged line is passed over (line 4)" in said
    assert "the last line was cut off by a crash and is dropped" in said
    assert server.stats()["duplicates"] == 2
    everything_is_there_once(tmp_path)


def test_edited_results_are_kept_and_a_changed_question_alone_is_asked_again(
    tmp_path: Path, server: Server
) -> None:
    project(tmp_path, server)
    assert llmb_run(tmp_path)[0] == EXIT_OK
    output, data = tmp_path / "results.jsonl", tmp_path / "q.jsonl"
    output.write_text("my notes\n" + output.read_text())
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[7]["question"] = "another?"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sent = server.stats()["requests"]
    code, said = llmb_run(tmp_path)
    assert code == EXIT_OK
    assert "edited since" in said and "kept as results.edited-1.jsonl" in said
    assert "since the last run: the data changed" in said
    assert (tmp_path / "results.edited-1.jsonl").read_text().startswith("my notes\n")
    assert server.stats()["requests"] == sent + 2
    assert server.stats()["duplicates"] == 0
    everything_is_there_once(tmp_path)
