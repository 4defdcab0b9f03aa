"""The log of calls: what it keeps through crashes, and what it costs."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llm_batch.errors import OutputError
from llm_batch.record import journal as journal_line
from llm_batch.record import journal as journals
from llm_batch.record.journal import SYNC_CALLS, Journal, Replay
from llm_batch.records import Attempt, Call, Completion, Failure, Usage
from tests.builders import answer, failure, request

CALL = Call(
    request("q1", temperature=0.5),
    (Attempt(1, 1_795_470_050.125, 0.75, "timeout", True), Attempt(2, 1_795_470_052.0, 0.5)),
    completion=Completion("naïve „answer“\n", "m-1", "stop", Usage(40, 7, 3, 2, 1), "r-9"),
    cost=0.0012,
    worst_case=True,
    simulated=True,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.calls.jsonl"


def write(path: Path, *calls: Call) -> None:
    journal = Journal(path)
    for call in calls:
        journal.append(call)
    journal.close()


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


# --- what is written reads back


def test_an_answer_reads_back_as_it_was_written(path: Path) -> None:
    write(path, CALL)
    with opened(path) as journal:
        assert journal.answered(CALL.request) == CALL


def test_a_line_has_the_documented_keys_and_no_others(path: Path) -> None:
    write(path, CALL, failure(request("q2"), "timeout"))
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    keys = [
        "schema", "key", "item", "step", "model", "sample", "ok", "cost", "worst_case",
        "simulated", "attempts", "completion", "failure", "list_cost",
    ]  # fmt: skip
    assert [list(line) for line in lines] == [keys, keys]
    assert lines[0]["attempts"][0] == {
        "number": 1, "started_at": 1_795_470_050.125, "seconds": 0.75, "error": "timeout",
        "maybe_billed": True,
    }  # fmt: skip
    assert lines[0]["completion"]["usage"] == {
        "input_tokens": 40, "output_tokens": 7, "cache_read_tokens": 3, "cache_write_tokens": 2,
        "reasoning_tokens": 1,
    }  # fmt: skip
    assert lines[1]["failure"] == {"kind": "timeout", "message": "no luck", "status_code": None}
    assert [line["ok"] for line in lines] == [True, False]


def test_only_the_very_same_request_is_answered(path: Path) -> None:
    write(path, CALL)
    with opened(path) as journal:
        for other in (request("q2", temperature=0.5), request("q1", temperature=0.6)):
            assert journal.answered(other) is None


def test_requests_whose_keys_begin_alike_are_told_apart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_line, "short", lambda key: 7)
    write(path, answer(request("q1")))
    with opened(path) as journal:
        assert journal.answered(request("q1")) is not None
        assert journal.answered(request("q2")) is None


def test_failures_are_tried_again_and_an_answer_counts_whatever_comes_after_it(
    path: Path,
) -> None:
    once, again, last = request("q1"), request("q2"), request("q3")
    write(
        path,
        failure(once),
        failure(again),
        answer(again, "well"),
        answer(last, "first"),
        failure(last),
    )
    with opened(path) as journal:
        assert journal.answered(once) is None
        assert journal.answered(again).completion.text == "well"  # type: ignore[union-attr]
        assert journal.answered(last).completion.text == "first"  # type: ignore[union-attr]
        assert (journal.calls, journal.answers) == (5, 2)


def test_answers_are_found_at_once_in_the_session_that_wrote_them(path: Path) -> None:
    with opened(path) as journal:
        for number in range(10):
            call = answer(request(f"q{number}"), f"text {number}")
            journal.append(call)
            assert journal.answered(call.request) == call


@pytest.mark.parametrize("size", [100, 4000, 4096, 5000, 200_000])
def test_lines_of_any_length_read_back(path: Path, size: int) -> None:
    calls = [answer(request(f"q{number}"), chr(97 + number) * size) for number in range(4)]
    write(path, *calls)
    with opened(path) as journal:
        assert [journal.answered(call.request) for call in calls] == calls


def test_money_is_added_up_from_the_file(path: Path) -> None:
    calls = [
        answer(request("q1"), cost=0.25),
        answer(request("q2"), cost=None),
        failure(request("q3"), cost=0.5),
        answer(request("q4"), cost=0.125, worst_case=True),
    ]
    with opened(path) as journal:
        for call in calls:
            journal.append(call)
        written = (journal.calls, journal.spent, journal.unpriced, journal.worst_case)
    assert written == (4, 0.875, 1, 1)
    with opened(path) as journal:
        assert (journal.calls, journal.spent, journal.unpriced, journal.worst_case) == written
        assert journal.notes == []


def test_each_answer_is_counted_down_as_it_is_used(path: Path) -> None:
    write(path, answer(request("q1")), answer(request("q2")), failure(request("q3")))
    with opened(path) as journal:
        replay = Replay(journal)
        assert (replay.used, replay.unused) == (0, 2)
        assert replay.answered(request("q9")) is None
        assert replay.answered(request("q1")) is not None
        assert (replay.used, replay.unused) == (1, 1)
        assert replay.answered(request("q2")) is not None
        assert (replay.used, replay.unused) == (2, 0)
        assert replay.answered(request("q2")) is None


# --- crashes


def test_a_last_line_that_was_cut_off_is_dropped_and_said(path: Path) -> None:
    write(path, answer(request("q1")), answer(request("q2")))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[:-20])
    with opened(path) as journal:
        assert journal.answered(request("q1")) is not None
        assert journal.answered(request("q2")) is None
        assert len(journal.notes) == 1
        assert "cut off" in journal.notes[0]
        journal.append(answer(request("q2")))
    assert path.read_bytes() == whole
    assert path.read_bytes()[:first].endswith(b"\n")


def test_a_last_line_that_lacks_only_its_end_is_kept(path: Path) -> None:
    write(path, answer(request("q1")), answer(request("q2")))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with opened(path) as journal:
        assert journal.answered(request("q2")) is not None
        assert journal.notes == []
        journal.append(answer(request("q3")))
    with opened(path) as journal:
        assert journal.answers == 3
        assert journal.notes == []


@pytest.mark.parametrize(
    "damage",
    [
        b"\x00" * 200,
        b"not json",
        b"[]",
        b'{"schema": 1}',
        b'{"schema": 1, "key": "zz", "ok": true}',
        b'{"schema": 1, "key": "", "ok": true}',
        b'{"schema": 1, "key": "\xff\xfe", "ok": true}',
        b'{"schema": 1, "key": "ab", "ok": "yes"}',
        b'{"schema": 1, "key": "ab", "ok": true}{"schema": 1',
    ],
    ids=repr,
)
def test_a_damaged_line_in_the_middle_is_passed_over_and_said(path: Path, damage: bytes) -> None:
    write(path, answer(request("q1")), answer(request("q2")))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + b"\n" + second)
    with opened(path) as journal:
        assert journal.answered(request("q1")) is not None
        assert journal.answered(request("q2")) is not None
        assert journal.notes == [
            f"{path}: 1 damaged line is passed over (line 2); what they held is asked again"
        ]


def test_a_line_whose_answer_was_damaged_by_hand_is_asked_again(path: Path) -> None:
    write(path, CALL)
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":"one"'))
    with opened(path) as journal:
        assert journal.answered(CALL.request) is None


def test_an_empty_file_is_an_empty_journal(path: Path) -> None:
    path.touch()
    with opened(path) as journal:
        assert (journal.calls, journal.answers, journal.spent, journal.notes) == (0, 0, 0, [])


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    write(path, answer(request("q1")), answer(request("q2")))
    newer = path.read_bytes().replace(b'"schema":2', b'"schema":99')
    path.write_bytes(newer)
    with pytest.raises(OutputError, match=r"line 1 was written by a newer version"):
        Journal(path)
    assert path.read_bytes() == newer
    # Nobody is left holding the file.
    path.write_bytes(b"")
    with opened(path):
        pass


# --- who may write


def test_another_process_is_refused_as_well_and_a_dead_one_is_not_in_the_way(path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from llm_batch.record.journal import Journal\n"
        f"journal = Journal(pathlib.Path({str(path)!r}))\n"
        "print('open', flush=True)\n"
        "sys.stdin.read(1)\n"
        "os._exit(9)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(OutputError, match="another run"):
            Journal(path)
        other.communicate(b"x")
    assert other.returncode == 9
    with opened(path):
        pass


def test_the_folder_is_made_when_it_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "c.calls.jsonl", CALL)
    assert (tmp_path / "a" / "b" / "c.calls.jsonl").is_file()


def test_a_place_that_cannot_be_written_is_said_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "c.calls.jsonl"):
        with pytest.raises(OutputError, match="cannot write") as error:
            Journal(path)
        assert "--output" in error.value.hint


# --- full disks


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond ``size``: a real write that is cut short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 50])
def test_on_a_full_disk_the_run_stops_with_a_clear_message_and_nothing_is_lost(
    path: Path, room: int
) -> None:
    with opened(path) as journal:
        journal.append(answer(request("q1")))
        before = path.read_bytes()
        with disk_of(len(before) + room), pytest.raises(OutputError, match="cannot write") as error:
            journal.append(answer(request("q2")))
        assert "free some space" in error.value.hint
        # No half line: neither for whoever reads now, nor for the next one to be written.
        assert path.read_bytes() == before
        assert (journal.calls, journal.answered(request("q2"))) == (1, None)
        journal.append(answer(request("q3")))
    with opened(path) as journal:
        assert journal.answered(request("q1")) is not None
        assert journal.answered(request("q3")) is not None
        assert journal.notes == []


def test_a_disk_that_fails_to_sync_is_said_and_not_a_traceback(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal = Journal(path)
    journal.append(CALL)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OutputError, match="Input/output error"):
            journal.sync()
        with pytest.raises(OutputError):
            journal.close()
    with opened(path) as again:  # the lock was given back all the same
        assert again.answers == 1


# --- when it is safe


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    done: list[int] = []
    sync = os.fsync

    def counting(fd: int) -> None:
        done.append(fd)
        sync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", counting)
        yield done


def test_a_call_is_in_the_file_as_soon_as_append_returns(path: Path) -> None:
    """A crash of the process loses nothing: what the kernel has, it will write."""
    with opened(path) as journal:
        journal.append(CALL)
        assert path.read_bytes().endswith(b"\n")
        assert io.BytesIO(path.read_bytes()).readline()


def test_calls_are_forced_to_disk_in_groups(
    path: Path, syncs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "time", Clock())
    with opened(path) as journal:
        for number in range(SYNC_CALLS * 3):
            journal.append(answer(request(f"q{number}")))
            assert len(syncs) == (number + 1) // SYNC_CALLS


def test_no_call_waits_longer_than_a_fifth_of_a_second_for_the_disk(
    path: Path, syncs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(journals, "time", clock)
    with opened(path) as journal:
        journal.append(CALL)
        journal.sync_if_due()
        assert len(syncs) == 0
        clock.seconds += 0.21
        journal.sync_if_due()
        assert len(syncs) == 1
        clock.seconds += 10
        journal.sync_if_due()
        assert len(syncs) == 1  # nothing was written since


def test_closing_forces_the_rest_to_disk(path: Path, syncs: list[int]) -> None:
    journal = Journal(path)
    journal.append(CALL)
    before = len(syncs)
    journal.close()
    assert len(syncs) == before + 1
    journal.close()


GROWN = """
import sys, tracemalloc
from pathlib import Path
from llm_batch.record.journal import Journal

path = Path(sys.argv[1])
with open(path.with_name("short"), "wb") as short, open(path, "rb") as file:
    short.write(file.readline())
Journal(path.with_name("short")).close()  # what is imported when it is needed is there by now
tracemalloc.start()
journal = Journal(path)
print(journal.answers, tracemalloc.get_traced_memory()[0])
"""


def test_memory_grows_by_two_numbers_a_call_whatever_its_length(path: Path) -> None:
    with open(path, "wb") as file:
        for number in range(20_000):
            line = {"schema": 1, "key": request(f"q{number}").key, "ok": True, "text": "x" * 500}
            file.write(json.dumps(line).encode() + b"\n")
    # In a process of its own, where no thread and no import of another test takes memory.
    measured = subprocess.run(
        [sys.executable, "-c", GROWN, str(path)], capture_output=True, text=True, check=True
    )
    answers, grown = map(int, measured.stdout.split())
    assert answers == 20_000
    assert grown < 20_000 * 160


def test_failures_that_were_written_keep_their_reason(path: Path) -> None:
    call = Call(request("q1"), (), failure=Failure("rejected", "too hot", 400), cost=None)
    write(path, call)
    assert json.loads(path.read_bytes())["failure"] == {
        "kind": "rejected", "message": "too hot", "status_code": 400,
    }  # fmt: skip
