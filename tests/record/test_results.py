"""Lines of the results file, and when it takes the place of an older one."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.errors import OutputError
from llm_batch.record.lines import SCHEMA
from llm_batch.record.results import encode_result, result_record
from llm_batch.record.results_file import ResultsFile
from llm_batch.records import Item, Result, Score, StepTotals, Usage

GENERATE = StepTotals(Usage(40, 10, 5, 1, 2), 0.0004, 1.5, 1)
JUDGE = StepTotals(Usage(80, 20), 0.0008, 0.5, 2)
OLD = b'{"schema": 1, "id": "old"}\n'


def result(number: int = 1, **more: Any) -> Result:
    made: dict[str, Any] = {
        "item": Item(f"q{number}", {"question": "What?", "answer": "That."}, "easy"),
        "status": "ok",
        "outputs": {"generate": "This.", "judge": {"reason": "good", "score": 5}},
        "score": Score(5.0, "five", "good"),
        "passed": True,
        "steps": {"generate": GENERATE, "judge": JUDGE},
    }
    return Result(**{**made, **more})


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# Lines


def test_a_line_has_every_key_that_is_promised() -> None:
    line = encode_result(result())
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "schema": SCHEMA,
        "id": "q1",
        "status": "ok",
        "error": "",
        "fields": {"question": "What?", "answer": "That."},
        "outputs": {"generate": "This.", "judge": {"reason": "good", "score": 5}},
        "score": 5.0,
        "label": "five",
        "reason": "good",
        "passed": True,
        "stratum": "easy",
        "usage": {
            "input_tokens": 120,
            "output_tokens": 30,
            "cache_read_tokens": 5,
            "cache_write_tokens": 1,
            "reasoning_tokens": 2,
            "steps": {
                "generate": {
                    "input_tokens": 40,
                    "output_tokens": 10,
                    "cache_read_tokens": 5,
                    "cache_write_tokens": 1,
                    "reasoning_tokens": 2,
                },
                "judge": {
                    "input_tokens": 80,
                    "output_tokens": 20,
                    "cache_read_tokens": 0,
                    "cache_write_tokens": 0,
                    "reasoning_tokens": 0,
                },
            },
        },
        "cost": {"total": 0.0012000000000000001, "steps": {"generate": 0.0004, "judge": 0.0008}},
        "latency_seconds": {"total": 2.0, "steps": {"generate": 1.5, "judge": 0.5}},
        "attempts": {"total": 3, "steps": {"generate": 1, "judge": 2}},
        "worst_case": False,
        "simulated": False,
    }


def test_a_failed_item_has_the_same_keys_with_nothing_in_them() -> None:
    failed = result(
        status="unparsed", outputs={}, score=None, passed=None, steps={}, error="judge: no object"
    )
    record = result_record(failed)
    assert set(record) == set(result_record(result()))
    assert (record["score"], record["passed"], record["label"], record["reason"]) == (
        None,
        None,
        "",
        "",
    )
    assert record["cost"] == {"total": 0, "steps": {}}
    assert record["usage"]["input_tokens"] == 0
    assert record["error"] == "judge: no object"


def test_an_unknown_cost_is_null_and_never_zero() -> None:
    unknown = StepTotals(Usage(1, 1), None, 0.1, 1)
    record = json.loads(encode_result(result(steps={"generate": GENERATE, "judge": unknown})))
    assert record["cost"] == {"total": None, "steps": {"generate": 0.0004, "judge": None}}


def test_what_the_provider_says_its_answers_cost_stands_beside_ours() -> None:
    told = replace(GENERATE, reported_cost=0.0005, list_cost=0.0004)
    record = result_record(result(steps={"generate": told, "judge": JUDGE}))
    assert record["cost"] == {
        "total": 0.0012000000000000001,
        "steps": {"generate": 0.0004, "judge": 0.0008},
        "reported": 0.0005,
        "listed": 0.0004,
    }
    unpriced = replace(JUDGE, reported_cost=0.25)
    record = result_record(result(steps={"generate": told, "judge": unpriced}))
    assert (record["cost"]["reported"], record["cost"]["listed"]) == (0.2505, None)


def test_only_the_fields_to_keep_are_copied_in_their_order() -> None:
    assert result_record(result(), ["answer", "nope"])["fields"] == {"answer": "That."}
    assert result_record(result(), [])["fields"] == {}


plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()


@given(fields=st.dictionaries(st.text(), plain | st.lists(plain), max_size=4), text=st.text())
def test_whatever_text_an_item_and_a_model_have_a_line_is_one_line_and_reads_back(
    fields: dict[str, Any], text: str
) -> None:
    made = result(item=Item("q", fields), outputs={"a": text}, error=text)
    line = encode_result(made)
    assert line.count(b"\n") == 1
    record = json.loads(line)
    assert (record["fields"], record["outputs"], record["error"]) == (fields, {"a": text}, text)


def test_numbers_that_json_does_not_have_become_null() -> None:
    record = json.loads(encode_result(result(item=Item("q", {"x": float("nan")}))))
    assert record["fields"] == {"x": None}


# The file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_the_old_file_stays_until_the_first_new_call(path: Path) -> None:
    path.write_bytes(OLD)
    with ResultsFile(path, None, edited=False) as results:
        results.write(result(1))
        results.flush()
        assert ids(path) == ["old"]
        results.publish()
        assert ids(path) == ["q1"]
        results.write(result(2))
        results.flush()
        assert ids(path) == ["q1", "q2"]
    assert ids(path) == ["q1", "q2"]
    assert names(path.parent) == ["results.jsonl"]


def test_readers_see_new_lines_within_about_a_second(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("llm_batch.record.results_file.time.monotonic", lambda: now)
    with ResultsFile(path, None, edited=False) as results:
        results.publish()
        results.write(result(1))
        results.publish()
        assert ids(path) == []
        now += 1.5
        results.publish()
        assert ids(path) == ["q1"]


def test_the_end_puts_the_file_in_place_without_any_call(path: Path) -> None:
    path.write_bytes(OLD)
    with ResultsFile(path, None, edited=False) as results:
        results.write(result(1))
    assert ids(path) == ["q1"]
    assert names(path.parent) == ["results.jsonl"]


def test_an_error_before_the_first_call_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    path.write_bytes(OLD)
    with pytest.raises(KeyError), ResultsFile(path, None, edited=False) as results:
        results.write(result(1))
        raise KeyError
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["results.jsonl"]


def test_an_error_after_the_first_call_keeps_what_was_written(path: Path) -> None:
    with pytest.raises(KeyError), ResultsFile(path, None, edited=False) as results:
        results.publish()
        results.write(result(1))
        raise KeyError
    assert ids(path) == ["q1"]


def test_what_a_killed_run_left_beside_is_replaced(path: Path) -> None:
    path.with_name(f".{path.name}.0123456789abcdef.tmp").write_bytes(b"half a li")
    with ResultsFile(path, None, edited=False) as results:
        results.write(result(1))
    assert ids(path) == ["q1"]
    assert names(path.parent) == ["results.jsonl"]


def test_an_edited_file_is_kept_aside_under_a_free_name(path: Path) -> None:
    for number in (1, 2):
        path.write_bytes(OLD)
        with ResultsFile(path, None, edited=True) as results:
            assert results.kept == path.with_name(f"results.edited-{number}.jsonl")
            assert path.read_bytes() == OLD  # still in its place
            results.publish()
        assert results.kept.read_bytes() == OLD
        assert path.read_bytes() == b""


def test_an_edited_file_stays_where_it_is_when_nothing_comes_of_the_run(path: Path) -> None:
    path.write_bytes(OLD)
    with pytest.raises(KeyError), ResultsFile(path, None, edited=True):
        raise KeyError
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["results.jsonl"]


@pytest.mark.parametrize("content", [b"my notes\n", b'{"id": 1}\n', b"[1]\n", b"\xff\xfe\n"])
def test_a_file_that_no_run_wrote_is_never_overwritten(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with ResultsFile(path, None, edited=False) as results:
        results.write(result(1))
    assert results.kept is not None
    assert results.kept.read_bytes() == content
    assert ids(path) == ["q1"]


def test_an_empty_file_and_a_runs_own_are_replaced(path: Path) -> None:
    for content in (b"", OLD):
        path.write_bytes(content)
        with ResultsFile(path, None, edited=False) as results:
            results.write(result(1))
        assert results.kept is None
        assert names(path.parent) == ["results.jsonl"]


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def always_full(path: Path, mode: int) -> tuple[Path, IO[bytes]]:
    return path.with_name("none"), open("/dev/full", "wb")


def test_a_full_disk_is_said_and_the_journal_is_pointed_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(OLD)
    with (
        pytest.raises(OutputError) as raised,
        ResultsFile(path, None, edited=False) as results,
    ):
        monkeypatch.setattr(os, "replace", full_disk)
        results.publish()
    assert raised.value.message == (
        f"cannot write {path}: No space left on device; every paid call is in the journal"
    )
    assert raised.value.hint == "free some space and run the same command again"
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["results.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_line_that_cannot_be_shown_is_an_error_of_ours(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_batch.record.results_file.open_beside", always_full)
    with pytest.raises(OutputError, match="No space left"), ResultsFile(path, None, False) as file:
        file.write(result(1))
        file.flush()


def test_a_disk_that_fails_at_the_very_end_is_said_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match="No space left"), ResultsFile(path, None, edited=False):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_lines_that_do_not_fit_are_an_error_of_ours(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_batch.record.results_file.open_beside", always_full)
    with pytest.raises(OutputError, match="No space left"), ResultsFile(path, None, False) as file:
        for number in range(1000):  # more than a buffer holds
            file.write(result(number))


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        ResultsFile(tmp_path / "none" / "results.jsonl", None, edited=False)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(OutputError, match="Is a directory"):
        ResultsFile(tmp_path / "folder.jsonl", None, edited=False)
