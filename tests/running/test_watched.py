"""A run by the files that it writes: each look reads what is new, whatever state they are in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_batch.errors import OutputError
from llm_batch.record.lines import Growing
from llm_batch.record.results import encode_result
from llm_batch.running.watched import QUIET_SECONDS, Watched
from tests.reporting.made import call, full_manifest, journal, result, write


def _lines(*numbers: int, **changes: Any) -> bytes:
    return b"".join(encode_result(result(n, float(n % 5 + 1), **changes)) for n in numbers)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """A run of 12 items that goes on, with a journal of four calls and no result yet."""
    calls = [call(f"item-{n}", step) for n in range(2) for step in ("generate", "judge")]
    journal(tmp_path, *calls)
    manifest = full_manifest(planned=12, status="running") | {"limits": {"budget": 2.5}}
    (tmp_path / "results.manifest.json").write_bytes(msgspec.json.encode(manifest))
    return Watched(tmp_path / "results.jsonl", clock=lambda: 0.0)


def _append(watched: Watched, data: bytes) -> None:
    with watched.paths.results.open("ab") as file:
        file.write(data)


def test_a_run_without_a_result_says_what_it_spent(watched: Watched) -> None:
    watched.look()
    state = watched.state
    assert watched.running
    assert (state.planned, state.done, state.calls) == (12, 0, 4)
    assert state.spent == pytest.approx(0.004)
    assert (state.budget, state.expected_cost) == (2.5, 0.025)


def test_each_look_adds_what_is_new_and_nothing_twice(watched: Watched) -> None:
    _append(watched, _lines(0, 1, 2, 3))
    watched.look()
    watched.look()
    assert (watched.state.done, watched.state.passed, watched.state.judged) == (4, 1, 4)
    _append(watched, _lines(4) + _lines(5, status="timeout", error="too slow"))
    watched.look()
    assert (watched.state.done, watched.state.passed) == (6, 2)
    assert watched.state.statuses == {"ok": 5, "timeout": 1}
    assert [item.id for item in watched.latest] == ["item-5", "item-2", "item-1", "item-0"]
    assert watched.latest[0].error == "too slow"


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_line_that_is_being_written_is_read_once_it_is_whole(watched: Watched, cut: int) -> None:
    line = _lines(3)
    _append(watched, _lines(0) + line[:cut])
    watched.look()
    assert watched.state.done == 1
    _append(watched, line[cut:])
    watched.look()
    assert (watched.state.done, watched.state.passed) == (2, 1)


@pytest.mark.parametrize(
    "damaged",
    [
        b"\n",
        b"not json\n",
        b'{"id": 3}\n',
        b'{"id": "a", "status": "ok", "score": "high"}\n',
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
    ],
    ids=["empty", "no json", "no item", "no number", "no text", "deep"],
)
def test_what_cannot_be_read_is_left_out(watched: Watched, damaged: bytes) -> None:
    _append(watched, _lines(0) + damaged + _lines(1))
    with watched.paths.journal.open("ab") as file:
        file.write(damaged)
    watched.look()
    assert (watched.state.done, watched.state.calls) == (2, 4)


def test_a_score_beyond_all_bounds_does_not_end_the_looking(watched: Watched) -> None:
    _append(watched, b'{"id": "a", "status": "ok", "score": 1e300, "passed": true}\n')
    watched.look()
    assert (watched.state.done, watched.state.scored) == (1, 0)


@pytest.mark.parametrize("n", [2, 4, 9])
def test_the_results_of_another_session_are_counted_anew(watched: Watched, n: int) -> None:
    _append(watched, _lines(*range(4)))
    watched.look()
    beside = watched.paths.results.with_name("other")
    beside.write_bytes(_lines(*range(10, 10 + n)))
    os.replace(beside, watched.paths.results)
    watched.look()
    assert (watched.state.done, watched.state.calls) == (n, 4)
    assert {item.id for item in watched.latest}.isdisjoint({f"item-{i}" for i in range(4)})


def test_files_that_are_gone_or_none_are_looked_for_again(watched: Watched) -> None:
    _append(watched, _lines(0))
    watched.look()
    kept = watched.paths.results.read_bytes()
    watched.paths.results.unlink()
    watched.look()
    assert watched.state.done == 1
    watched.paths.results.write_bytes(kept + _lines(1))
    watched.look()
    assert watched.state.done == 2


def test_a_pipe_in_the_place_of_a_file_is_not_opened(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    os.mkfifo(tmp_path / "results.jsonl")
    assert list(Growing(tmp_path / "results.jsonl").new_lines(lambda: None)) == []


def test_a_look_reads_no_more_than_what_is_new(watched: Watched, tmp_path: Path) -> None:
    _append(watched, _lines(*range(2000)))
    watched.look()
    growing = watched._results
    before = growing._end
    _append(watched, _lines(2000))
    assert len(list(growing.new_lines(lambda: pytest.fail("it is the same file")))) == 1
    assert growing._end - before == len(_lines(2000))


def test_the_speed_is_told_by_looks_that_lie_apart(tmp_path: Path) -> None:
    path = write(tmp_path, [result(0)], full_manifest(status="running"))
    at = iter([0.0, 1.0, 10.0])
    watched = Watched(path, clock=lambda: next(at))
    watched.look()
    _append(watched, _lines(1, 2))
    watched.look()
    assert watched.items_per_second is None, "a second is too short to tell"
    _append(watched, _lines(*range(3, 21)))
    watched.look()
    assert watched.items_per_second == pytest.approx(2.0)


def _age(path: Path) -> Callable[[], float]:
    os.utime(path, (1000.0, 1000.0))
    return lambda: 1000.0 + QUIET_SECONDS


@pytest.mark.parametrize(
    ("status", "engine", "quiet"),
    [("running", "threads", True), ("running", "batch", False), ("done", "threads", False)],
)
def test_a_run_that_wrote_nothing_for_long_is_told_from_one_that_waits(
    tmp_path: Path, status: str, engine: str, quiet: bool
) -> None:
    made = full_manifest(status=status) | {"engine": engine}
    path = write(tmp_path, [result(0)], made)
    os.utime(tmp_path / "results.manifest.json", (1000.0, 1000.0))
    watched = Watched(path, now=_age(path))
    watched.look()
    assert (watched.quiet_seconds is not None) == quiet


def test_without_any_file_of_a_run_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no results file"):
        Watched(tmp_path / "results.jsonl")
