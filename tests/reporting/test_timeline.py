"""The pace of a run over time, against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_batch.paper.document import Table
from llm_batch.reporting.calls import read_calls
from llm_batch.reporting.model import Timeline
from llm_batch.reporting.timeline import over_time, pace, timeline
from tests.reporting.made import attempt, call, journal

NO_LIMITS = (None, None)


def _made(
    folder: Path, *calls: Mapping[str, Any], limits: tuple[float | None, float | None] = NO_LIMITS
) -> Timeline | None:
    tally, _ = read_calls(journal(folder, *calls))
    assert tally is not None
    return timeline(tally, lambda model: limits)


def _two_minutes(folder: Path) -> Timeline:
    """Four requests: at 0, 30, 59 and 90 seconds, of which the last is answered at 120."""
    made = _made(
        folder,
        call("a", attempts=[attempt(0.0)], tokens=(80, 20), cost=0.5),
        call("b", attempts=[attempt(30.0)], cost=0.25),
        call("c", attempts=[attempt(59.0)], cost=0.25),
        call("d", attempts=[attempt(90.0, 30.0)], cost=1.0),
        limits=(6.0, 400.0),
    )
    assert made is not None
    return made


def test_the_busiest_minute_is_held_against_the_limit(tmp_path: Path) -> None:
    made = _two_minutes(tmp_path)
    (one,) = made.models
    assert (made.seconds, made.sessions, made.idle_seconds) == (120.0, 1, 0.0)
    # 0, 30 and 59 lie within 60 seconds; 90 is the first that does not begin with 30.
    assert (one.requests.mean, one.requests.busiest, one.requests.use) == (2.0, 3.0, 0.5)
    assert (one.tokens.mean, one.tokens.busiest, one.tokens.use) == (125.0, 200.0, 0.5)


def test_bins_hold_all_that_was_sent_where_it_was_sent(tmp_path: Path) -> None:
    made = _two_minutes(tmp_path)
    (one,) = made.models
    assert (len(one.bin_sent), made.bin_seconds) == (60, 2.0)
    assert {i: n for i, n in enumerate(one.bin_sent) if n} == {0: 1, 15: 1, 29: 1, 45: 1}
    assert {i: n for i, n in enumerate(one.bin_tokens) if n} == {0: 100, 15: 50, 29: 50, 45: 50}
    assert {i: n for i, n in enumerate(one.bin_cost) if n} == {0: 0.5, 15: 0.25, 29: 0.25, 45: 1.0}


def test_a_run_of_less_than_a_minute_uses_no_more_of_a_limit_than_it_sent(tmp_path: Path) -> None:
    calls = [call(f"{i}", attempts=[attempt(float(i))]) for i in range(10)]
    made = _made(tmp_path, *calls, limits=(40.0, None))
    assert made is not None
    requests = made.models[0].requests
    assert (requests.mean, requests.busiest, requests.use) == (60.0, 10.0, 0.25)


def test_time_between_two_sessions_is_left_out(tmp_path: Path) -> None:
    made = _made(
        tmp_path, call("a", attempts=[attempt(0.0)]), call("b", attempts=[attempt(1000.0)])
    )
    assert made is not None
    assert (made.seconds, made.sessions, made.idle_seconds) == (2.0, 2, 999.0)
    assert made.models[0].bin_sent == (1, 0, 0, 0, 0, 1, 0, 0, 0, 0)


def test_a_short_silence_is_part_of_the_run(tmp_path: Path) -> None:
    made = _made(tmp_path, call("a", attempts=[attempt(0.0)]), call("b", attempts=[attempt(299.0)]))
    assert made is not None
    assert (made.seconds, made.sessions, made.idle_seconds) == (300.0, 1, 0.0)


def test_waits_that_overlap_count_once(tmp_path: Path) -> None:
    made = _made(
        tmp_path,
        call("a", attempts=[attempt(0.0, 1.0, "rate_limited"), attempt(5.0)]),
        call("b", attempts=[attempt(0.0, 2.0, "rate_limited"), attempt(6.0)]),
        call("c", attempts=[attempt(7.0, 1.0, "rate_limited"), attempt(10.0)]),
    )
    assert made is not None
    (one,) = made.models
    assert one.paused_seconds == (6.0 - 1.0) + (10.0 - 8.0)
    assert (one.refused, sum(one.bin_refused), sum(one.bin_retried)) == (3, 3, 3)
    assert one.bin_refused == (0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0)  # of a second each


@pytest.mark.parametrize(
    "attempts", [[attempt(5.0, 0.0)], [{"started_at": 5.0, "seconds": 0.0, "error": "timeout"}]]
)
def test_calls_that_took_no_time_have_no_pace(
    tmp_path: Path, attempts: list[dict[str, Any]]
) -> None:
    assert _made(tmp_path, call("a", attempts=attempts)) is None
    assert _made(tmp_path) is None


def test_the_section_says_what_was_refused_and_how_near_the_limit_was(tmp_path: Path) -> None:
    made = _made(
        tmp_path,
        call("a", attempts=[attempt(0.0, 1.0, "rate_limited"), attempt(4.0, 86.0)]),
        call("b", model="two", attempts=[attempt(0.0, 1.0, "timeout"), attempt(3.0)]),
        limits=(4.0, None),
    )
    assert made is not None
    table, told = pace(made).parts
    assert isinstance(table, Table) and isinstance(told, str)
    assert table.rows == (
        ("one", "requests", "2", "1", "2", "4", "50.0 %"),
        ("", "tokens", "50", "33", "50", "none set", "-"),
        ("two", "requests", "2", "1", "2", "4", "50.0 %"),
        ("", "tokens", "50", "33", "50", "none set", "-"),
    )
    assert "Refused for a rate limit once (one 1, waiting 3.0 s)." in told
    assert "Failed attempts: 1 rate_limited, 1 timeout." in told


def test_charts_add_up_to_what_the_journal_holds(tmp_path: Path) -> None:
    made = _two_minutes(tmp_path)
    charts = {chart.name: chart for chart in over_time(made)}
    assert list(charts) == ["cost", "requests", "tokens"]
    spent = charts["cost"].spec["layer"][0]["data"]["values"]
    assert (spent[0]["value"], spent[1]["value"], spent[-1]["value"]) == (0.0, 0.5, 2.0)
    assert spent[-1]["time"] == 120.0  # up to three minutes are told in seconds
    steps, limit, _ = charts["requests"].spec["layer"]
    rates = [value["value"] for value in steps["data"]["values"][:-1]]
    assert sum(rates) * made.bin_seconds / 60 == pytest.approx(4)
    assert limit["data"]["values"] == [{"series": "one", "value": 6.0}]
    assert "of the limit" in charts["requests"].spec["layer"][-1]["data"]["values"][0]["series_0"]


def test_a_limit_far_above_the_pace_is_named_and_not_drawn(tmp_path: Path) -> None:
    calls = [call(f"{i}", attempts=[attempt(20.0 * i)]) for i in range(10)]
    made = _made(tmp_path, *calls, limits=(10_000.0, None))
    charts = {chart.name: chart for chart in over_time(made)}
    assert len(charts["requests"].spec["layer"]) == 2
    assert "4 times as high are not drawn" in charts["requests"].note


def test_refusals_have_a_chart_of_their_own_and_models_a_legend(tmp_path: Path) -> None:
    made = _made(
        tmp_path,
        call("a", attempts=[attempt(0.0, 1.0, "rate_limited"), attempt(4.0)]),
        call("b", model="two.dotted[0]"),
    )
    charts = {chart.name: chart for chart in over_time(made)}
    assert "1 refused for a rate limit, 1 sent again" in charts["again"].note
    scale = charts["requests"].spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["one", "two.dotted[0]"]
    assert list(over_time(None)) == []
