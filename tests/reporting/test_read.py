"""Files that are no results, or not quite: each is named with its line and a way out."""

from __future__ import annotations

import io
import sys
from contextlib import closing
from pathlib import Path

import pytest

from llm_batch.errors import OutputError
from llm_batch.record.journal import Journal
from llm_batch.record.results import encode_result
from llm_batch.records import Attempt, Call, Completion, Request, Usage
from llm_batch.reporting import build_report
from tests.reporting.made import manifest, result, write

LINE = encode_result(result(0))


def _lines(*lines: bytes) -> bytes:
    return b"".join(lines)


def test_a_missing_file_is_named_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no results file .*results.jsonl") as caught:
        build_report(tmp_path / "results.jsonl")
    assert caught.value.hint == "llmb run writes it"


def test_a_missing_file_beside_a_journal_means_the_run_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "results.calls.jsonl").write_bytes(b"")
    with pytest.raises(OutputError, match="cut off") as caught:
        build_report(tmp_path / "results.jsonl")
    assert "same llmb run" in caught.value.hint


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a directory"):
        build_report(tmp_path)


@pytest.mark.parametrize("named", ["results.calls.jsonl", "renamed.jsonl"])
def test_a_journal_is_recognised_by_name_and_by_content(named: str, tmp_path: Path) -> None:
    journal = tmp_path / "results.calls.jsonl"
    call = Call(
        Request("a", "generate", "fake/x", (), {}),
        (Attempt(1, 0.0, 1.0),),
        Completion("hello", "x", "stop", Usage(1, 1)),
    )
    with closing(Journal(journal)) as open_journal:
        open_journal.append(call)
    journal.rename(tmp_path / named)
    with pytest.raises(OutputError, match="is the journal of a run") as caught:
        build_report(tmp_path / named)
    assert "llmb report" in caught.value.hint


def test_a_dataset_is_not_taken_for_results(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": "a", "question": "Why?"}\n')
    with pytest.raises(OutputError, match="not a results file: its first line has no status"):
        build_report(path)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"not json\n", "malformed"),
        (b"{}\n", "missing required field"),
        (LINE.replace(b'"score":5.0,"label"', b'"score":"five","label"'), "score"),
        (LINE.replace(b"item-0", b"item-\xff"), "utf-8"),
        (LINE.replace(b"item-0", b"item-\\ud800"), "surrogate"),
        (LINE.replace(b'"total":0.002', b'"total":1e300'), "cost"),
        (LINE.replace(b'"input_tokens":40', b'"input_tokens":-40'), "input_tokens"),
        (b'{"schema":1,"id":"x","status":"ok","fields":{"answer":' + b"[" * 9000 + b"\n", "deep"),
    ],
    ids=["text", "keys", "score", "bytes", "surrogate", "money", "tokens", "nesting"],
)
def test_a_bad_line_is_named_by_its_number(bad: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(_lines(LINE, b"\n", bad, LINE))
    with pytest.raises(OutputError, match=r"results\.jsonl, line 3 is not a result") as caught:
        build_report(path)
    assert words in str(caught.value)


def test_a_bad_line_far_down_is_named_by_its_number(tmp_path: Path) -> None:
    lines = [encode_result(result(number)) for number in range(2000)]
    path = tmp_path / "results.jsonl"
    path.write_bytes(_lines(*lines, b"{}\n"))
    with pytest.raises(OutputError, match="line 2001"):
        build_report(path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for newer in (LINE.replace(b'"schema":2', b'"schema":99'), b'{"schema":99,"item":"a"}\n'):
        path.write_bytes(_lines(LINE, newer))
        with pytest.raises(OutputError, match="written by a newer version of llm_batch"):
            build_report(path)


def test_a_manifest_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [result(0)], {**manifest(), "schema": 99})
    with pytest.raises(OutputError, match=r"results\.manifest\.json was written by a newer"):
        build_report(path)


@pytest.mark.parametrize("cut", [1, 20, len(LINE) // 2, len(LINE) - 2])
def test_a_torn_last_line_is_left_out_with_a_warning(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(LINE + encode_result(result(1))[:cut])
    report = build_report(path)
    assert report.items.read == 1
    assert any("cut off" in warning for warning in report.warnings)


def test_a_last_line_without_a_newline_counts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(_lines(LINE, encode_result(result(1)).rstrip()))
    report = build_report(path)
    assert report.items.read == 2
    assert not any("cut off" in warning for warning in report.warnings)


def test_blank_lines_and_windows_line_ends_are_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(_lines(b"\n", LINE.replace(b"\n", b"\r\n"), b"  \r\n"))
    assert build_report(path).items.read == 1


def test_fields_added_later_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(LINE.replace(b'{"schema":2', b'{"new":{"a":[1]},"schema":2'))
    assert build_report(path).items.read == 1


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(_lines(LINE, encode_result(result(1))))

    monkeypatch.setattr(sys, "stdin", Input)
    report = build_report("-")
    assert (report.path, report.items.read) == ("-", 2)
    assert not Input.buffer.closed
    assert any("no manifest" in warning for warning in report.warnings)


def test_a_step_first_met_late_in_the_file_is_counted(tmp_path: Path) -> None:
    lines = [encode_result(result(n, None, status="timeout")) for n in range(3000)]
    lines += [encode_result(result(n)) for n in range(3000, 3005)]
    path = tmp_path / "results.jsonl"
    path.write_bytes(_lines(*lines))
    steps = {step.step: step for step in build_report(path).steps}
    assert steps["generate"].items == 3005
    assert (steps["judge"].items, steps["judge"].attempts) == (5, 10)
    assert steps["judge"].usage == Usage(400, 100)
    assert steps["judge"].cost == pytest.approx(0.005)


def test_a_line_longer_than_what_is_read_at_once_counts(tmp_path: Path) -> None:
    long = result(1, fields={"question": "x" * 2_000_000, "category": "long"})
    path = tmp_path / "results.jsonl"
    path.write_bytes(_lines(LINE, encode_result(long), encode_result(result(2))))
    report = build_report(path)
    assert (report.items.read, report.items.scored) == (3, 3)


def test_a_step_whose_name_is_none_is_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(_lines(LINE, LINE.replace(b'"judge":{"input', b'"ju\\"dge":{"input')))
    with pytest.raises(OutputError, match="line 2 is not a result"):
        build_report(path)


def test_an_item_whose_steps_were_never_called_has_taken_no_time(tmp_path: Path) -> None:
    from dataclasses import replace

    unsent = replace(result(1, None, status="prompt"), steps={})
    report = build_report(write(tmp_path, [result(0), unsent]))
    assert (report.total.items, report.items.read) == (1, 2)
    assert report.total.latency_p50 == pytest.approx(1.5)
