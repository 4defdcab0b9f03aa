"""The journal beside results: what is counted, what is skipped, and when it is read at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_batch.errors import OutputError
from llm_batch.reporting import calls as reading
from llm_batch.reporting.calls import read_calls
from tests.reporting.made import attempt, call, journal


def test_calls_are_counted_by_step_and_model(tmp_path: Path) -> None:
    path = journal(
        tmp_path,
        call("a", "generate", "one", cost=0.25, tokens=(10, 5)),
        call("b", "generate", "one", cost=0.5, tokens=(20, 7)),
        call("b", "generate", "two", cost=None, tokens=(1, 1)),
        call("a", "judge", "two", cost=0.125, failed=True),
    )
    tally, unread = read_calls(path)
    assert tally is not None and not unread
    assert tally.calls == 4
    one, two = tally.steps["generate", "one"], tally.steps["generate", "two"]
    assert (one.calls, one.answered, one.known_cost, one.unpriced) == (2, 2, 0.75, 0)
    assert (one.tokens["input_tokens"], one.tokens["output_tokens"]) == (30, 12)
    assert (two.known_cost, two.unpriced) == (0.0, 1)
    judge = tally.steps["judge", "two"]
    assert (judge.calls, judge.answered, judge.failed_cost) == (1, 0, 0.125)


def test_attempts_become_columns_of_their_model(tmp_path: Path) -> None:
    tries = [attempt(0.0, 1.0, "rate_limited"), attempt(4.0, 0.5, "timeout"), attempt(5.0, 2.0)]
    tally, _ = read_calls(journal(tmp_path, call("a", attempts=tries, cost=0.5, tokens=(30, 10))))
    assert tally is not None
    sends = tally.models["one"]
    assert list(sends.sent) == [0.0, 4.0, 5.0]
    assert list(sends.ended) == [1.0, 4.5, 7.0]
    assert list(sends.tokens) == [0.0, 0.0, 40.0]
    assert list(sends.costs) == [0.0, 0.0, 0.5]
    assert list(sends.retried) == [4.0, 5.0]
    assert list(sends.refused) == [1.0]
    # Only the wait after a rate limit is a pause; the one after a timeout is not.
    assert (list(sends.paused_from), list(sends.paused_to)) == ([1.0], [4.0])
    assert sends.errors == {"rate_limited": 1, "timeout": 1}
    assert sends.failed_seconds == 1.5
    assert (list(tally.first_sent), list(tally.last_ended)) == ([0.0], [7.0])


def test_lines_that_cannot_be_read_are_left_out_and_the_others_count(tmp_path: Path) -> None:
    path = journal(tmp_path, call("a"), call("b"))
    beside = path.with_suffix(".calls.jsonl")
    whole = beside.read_bytes()
    first, second = whole.splitlines(keepends=True)
    beside.write_bytes(first + b"\n{broken\n" + second + second[:30])
    tally, _ = read_calls(path)
    assert tally is not None
    assert (tally.calls, tally.unreadable) == (2, 2)


def test_a_large_journal_is_read_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journal(tmp_path, call("a"))
    monkeypatch.setattr(reading, "READ_LIMIT", 10)
    tally, unread = read_calls(path)
    assert tally is None and f"llmb report {path} --calls" in unread
    tally, unread = read_calls(path, wanted=True)
    assert tally is not None and tally.calls == 1 and not unread
    assert read_calls(path, wanted=False) == (None, "")


def test_a_missing_journal_is_an_error_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert read_calls(path) == (None, "")
    with pytest.raises(OutputError, match=r"results\.calls\.jsonl") as caught:
        read_calls(path, wanted=True)
    assert "--calls" in caught.value.hint
