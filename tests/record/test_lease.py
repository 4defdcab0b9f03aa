"""The lease of a run's files: another host is kept out while its heartbeat goes on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from llm_batch.errors import OutputError
from llm_batch.record import lease
from llm_batch.record.journal import Journal
from llm_batch.record.lease import Lease
from tests.builders import answer, request


def beat(path: Path, number: int, host: str = "node-7") -> None:
    line = {"host": host, "pid": 41, "token": "t", "beat": number}
    path.write_bytes(msgspec.json.encode(line))


def test_a_host_whose_heart_beats_keeps_others_out_and_its_file(tmp_path: Path) -> None:
    path = tmp_path / "results.lease.json"
    beat(path, 1)
    with pytest.raises(OutputError, match=r"a run on node-7 \(process 41\) is writing here"):
        Lease(path, host="node-8", sleep=lambda seconds: beat(path, 2))
    assert b"node-7" in path.read_bytes()


@pytest.mark.parametrize("killed", [True, False], ids=["silent", "ended meanwhile"])
def test_a_host_that_is_gone_is_followed(tmp_path: Path, killed: bool) -> None:
    path = tmp_path / "results.lease.json"
    beat(path, 1)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if not killed:
            path.unlink()

    made = Lease(path, host="node-8", sleep=sleep)
    assert len(waited) == (4 if killed else 1)
    assert ("does not go on" in made.note) is killed
    assert b"node-8" in path.read_bytes()
    made.close()
    assert not path.exists()


def test_the_same_host_waits_for_nothing_since_the_lock_decides(tmp_path: Path) -> None:
    path = tmp_path / "results.lease.json"
    beat(path, 1, "node-8")
    Lease(path, host="node-8", sleep=pytest.fail).close()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 3}'])
def test_a_file_that_is_not_whole_is_no_ones(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.lease.json"
    path.write_bytes(content)
    Lease(path, sleep=pytest.fail).close()


def test_a_journal_whose_place_was_taken_is_written_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.001)
    journal = Journal(tmp_path / "results.calls.jsonl")
    path = tmp_path / "results.lease.json"
    journal.append(answer(request("a")))
    for number in range(1000):  # a beat of ours may fall on one of theirs; theirs goes on
        beat(path, number)
        journal._lease._thread.join(0.05)
        if not journal._lease._thread.is_alive():
            break
    with pytest.raises(OutputError, match="a run on node-7 took the place"):
        journal.append(answer(request("b")))
    journal.close()
    assert b"node-7" in path.read_bytes()
    assert len((tmp_path / "results.calls.jsonl").read_bytes().splitlines()) == 1
