"""What becomes of an item, and of the run, under every fault a provider has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from llm_batch.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_REFUSED, ConfigError
from llm_batch.running.progress import Progress
from llm_batch.running.run import run
from llm_batch.sending import client
from tests.fire.runs import (
    GENERATE,
    hurried,
    journal,
    load,
    play,
    results,
    script,
    write_project,
)
from tests.sending.providers.faults import ODD_SHAPES
from tests.server import Server, serve

TRIES = 3

#: Faults that pass, and what an item comes to when they do not.
TRANSIENT = {
    "408": "unavailable",
    "409": "unavailable",
    "421": "unavailable",
    "424": "unavailable",
    "425": "unavailable",
    "498": "unavailable",
    "499": "unavailable",
    "520": "unavailable",
    "retry_later": "unavailable",
    "loading": "unavailable",
    "bad_draw": "unparsed",
    "429": "rate_limited",
    "wait_in_words": "rate_limited",
    "500": "unavailable",
    "502": "unavailable",
    "503": "unavailable",
    "504": "unavailable",
    "529": "unavailable",
    "reset": "reset",
    "reset_mid_body": "reset",
    "close_mid_body": "reset",
    "close_before": "reset",
    "hang": "timeout",
    "drip": "timeout",
    "drip_headers": "timeout",
    "malformed_json": "garbage",
    "truncated_json": "garbage",
    "html": "garbage",
    "error_in_200": "unavailable",
    **dict.fromkeys(
        ("ended_as_error", "aborted", "network_error", "no_resource", "error_in_choice")
        + ("half_of_events",),
        "unavailable",
    ),
    "busy_in_envelope": "rate_limited",
    "busy_by_code": "rate_limited",
    "null_choices": "garbage",
}

#: Faults of one request, for which another attempt would be wasted.
LASTING = {
    "400": "rejected",
    "413": "too_long",
    "context_length": "too_long",
    "content_policy": "filtered",
    "451": "filtered",
    "content_403": "filtered",
    "firewall": "filtered",
    "content_filter": "filtered",
    "length": "truncated",
    "reasoning_only": "reasoning",
    **dict.fromkeys(("safety", "recitation", "sensitive"), "filtered"),
    **dict.fromkeys(("max_tokens", "context_full"), "truncated"),
    "strange_ending": "incomplete",
    "tool_call": "tool_call",
    "tool_announced": "tool_call",
    "refusal_beside": "filtered",
    "no_cap": "oversized",
    **dict.fromkeys(("only_reasoning", "endless_thought"), "reasoning"),
}

#: Answers without text that ended as whole: most servers send some the next time.
NOTHING = {"empty_choices": "empty", "null_content": "empty"}

#: Whole answers in an unusual shape.
HARMLESS = ("chunked", "gzip", "close", "close_silently", *ODD_SHAPES, "thoughts", "thoughts_again")

#: Whole answers that cost more than the counts of their tokens say.
DEARER = ("thoughts_beside", "cost_reported")

#: Whole answers whose bill cannot be told.
UNBILLED = ("usage_missing", "usage_huge", "usage_negative", "usage_strings")

#: Faults of account and model.
REFUSING = {"insufficient_quota": "quota"}

#: Faults of the key and the model; once these have answered, they are those of an item.
REFUSING_KEY = {"401": "API key", "403": "access", "key_400": "API key", "404": "does not exist"}


class Fire:
    """One run in which every fault strikes an item of its own."""

    def __init__(self, folder: Path, transport: str) -> None:
        if transport == "litellm":
            import litellm  # noqa: F401  (its seconds are not those of the first requests)
        questions = {}
        for fault in TRANSIENT:
            questions[f"{fault} twice"] = f"{fault}? " + script(fault=fault, times=2)
            questions[f"{fault} always"] = f"{fault}! " + script(fault=fault)
        for fault in NOTHING:
            questions[f"{fault} once"] = f"{fault}? " + script(fault=fault, times=1)
        for fault in (*LASTING, *NOTHING, *HARMLESS, *UNBILLED, *DEARER):
            questions[fault] = f"{fault}! " + script(fault=fault)
        with serve(input_price=1.0, output_price=4.0, log=0, drip_seconds=0.5) as server:
            write_project(
                folder,
                server,
                questions,
                # Threads share what a busy machine leaves them, and litellm takes a lot of it; a
                # dripped reply takes longer.
                workers=30 if transport == "direct" else 10,
                max_attempts=TRIES,
                timeout=3 if transport == "direct" else 10,
                transport=transport,
            )
            # The pauses of all threads add up on the hurried clock, so its hours bound no call.
            with patch.object(client, "LONGEST_PAUSE_SECONDS", 1e9):
                self.summary = play(folder)
            self.stats = server.stats()
        self.items = results(folder)
        self.journal = journal(folder)
        self.questions = questions


@pytest.fixture(scope="module", params=["direct", "litellm"])
def fire(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fire]:
    before = os.environ.get("OPENAI_API_KEY")
    os.environ["OPENAI_API_KEY"] = "sk-fire-0123456789abcdef"
    yield Fire(tmp_path_factory.mktemp("fire"), request.param)
    if before is None:
        del os.environ["OPENAI_API_KEY"]
    else:
        os.environ["OPENAI_API_KEY"] = before


def attempts(item: dict[str, Any]) -> int:
    made: int = item["attempts"]["steps"]["generate"]
    return made


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_passes_costs_attempts_and_no_item(fire: Fire, fault: str) -> None:
    item = fire.items[f"{fault} twice"]
    assert (item["status"], attempts(item)) == ("ok", 3), item["error"]
    assert item["score"] is not None


@pytest.mark.parametrize(("fault", "status"), TRANSIENT.items())
def test_a_fault_that_stays_ends_in_its_status_after_a_bounded_number_of_attempts(
    fire: Fire, fault: str, status: str
) -> None:
    item = fire.items[f"{fault} always"]
    assert (item["status"], attempts(item)) == (status, TRIES), item["error"]
    assert item["error"].startswith("generate: ")
    assert item["score"] is None and item["passed"] is None
    assert "judge" not in item["outputs"] and "generate" not in item["outputs"]


@pytest.mark.parametrize(("fault", "status"), LASTING.items())
def test_a_request_that_never_works_is_sent_once(fire: Fire, fault: str, status: str) -> None:
    item = fire.items[fault]
    assert (item["status"], attempts(item)) == (status, 1), item["error"]
    assert item["score"] is None  # never an empty answer scored 0


@pytest.mark.parametrize(("fault", "status"), NOTHING.items())
def test_an_empty_answer_is_asked_for_once_more_and_not_again(
    fire: Fire, fault: str, status: str
) -> None:
    once, always = fire.items[f"{fault} once"], fire.items[fault]
    assert (once["status"], attempts(once)) == ("ok", 2), once["error"]
    assert (always["status"], attempts(always)) == (status, 2), always["error"]


@pytest.mark.parametrize("fault", HARMLESS)
def test_a_whole_answer_counts_however_it_was_sent(fire: Fire, fault: str) -> None:
    item = fire.items[fault]
    assert (item["status"], attempts(item)) == ("ok", 1), item["error"]
    assert not item["worst_case"]
    assert "think" not in item["outputs"]["generate"]


@pytest.mark.parametrize(
    ("fault", "at_least"), [("thoughts_beside", 0.0012), ("cost_reported", 0.5)]
)
def test_an_answer_costs_what_its_total_or_its_provider_says(
    fire: Fire, fault: str, at_least: float
) -> None:
    item = fire.items[fault]
    assert item["status"] == "ok"
    assert item["cost"]["steps"]["generate"] >= at_least
    assert not item["worst_case"]


def test_an_answer_that_broke_off_is_charged_what_it_says_it_took(fire: Fire) -> None:
    item = fire.items["aborted always"]
    # Three answers of some 20 tokens, where three times the cap of 40 would be the worst.
    assert 0 < item["cost"]["total"] < 3 * 40 * 4.0 / 1e6
    assert not item["worst_case"]
    assert not fire.items["busy_in_envelope twice"]["worst_case"]


@pytest.mark.parametrize("fault", UNBILLED)
def test_an_answer_whose_bill_is_missing_or_absurd_is_charged_at_its_worst_case(
    fire: Fire, fault: str
) -> None:
    item = fire.items[fault]
    assert item["status"] == "ok" and item["worst_case"] is True
    # 40 tokens at $4 a million are the most the answer can have been, with the prompt beside it.
    assert item["cost"]["steps"]["generate"] > 40 * 4.0 / 1e6


def test_every_item_has_one_line_and_the_run_is_incomplete(fire: Fire) -> None:
    assert set(fire.items) == set(fire.questions)
    assert fire.summary.status == "done"
    assert fire.summary.exit_code == EXIT_INCOMPLETE


def test_the_bill_is_covered_by_what_was_booked(fire: Fire) -> None:
    booked = sum(line["cost"] for line in fire.journal)
    assert fire.stats["billed"]["usd"] <= booked + 1e-9
    assert fire.summary.progress.spent == pytest.approx(booked)
    # Of these, some may have been billed and nobody saw the answer.
    assert fire.stats["billed_unseen"]["usd"] > 0


def test_no_answer_is_paid_for_twice(fire: Fire) -> None:
    assert fire.stats["duplicates"] == 0


# --- bursts and Retry-After


def test_a_burst_that_hits_every_request_for_a_while_loses_no_item(
    tmp_path: Path, server: Server
) -> None:
    faults = ("500", "502", "503", "529")
    asked = [f"{n}? " + script(fault=faults[n % 4], times=3) for n in range(40)]
    write_project(tmp_path, server, asked, max_attempts=6, workers=8)
    summary = play(tmp_path)
    assert summary.exit_code == EXIT_OK
    assert {item["status"] for item in results(tmp_path).values()} == {"ok"}
    assert server.stats()["duplicates"] == 0


@pytest.mark.parametrize(
    ("retry_after", "at_least"),
    [("7", 7), ("Wed, 21 Oct 2015 07:28:00 GMT", 1), ("soon", 1), ("-3", 1), ("nan", 1), (None, 1)],
)
def test_retry_after_is_a_floor_and_nonsense_in_it_is_not_believed(
    tmp_path: Path, server: Server, retry_after: str | None, at_least: float
) -> None:
    asked = script(fault="429", times=1, retry_after=retry_after)
    write_project(tmp_path, server, [f"one {asked}"], rpm=6000)
    stop = hurried()
    assert play(tmp_path, stop).exit_code == EXIT_OK
    # By the run's own clock, from the end of the refusal: a busy machine waits for part of it.
    refused, again = journal(tmp_path)[0]["attempts"][:2]
    assert again["started_at"] - refused["started_at"] - refused["seconds"] >= at_least - 0.01
    assert stop.clock.skipped < 2 * at_least  # type: ignore[attr-defined]


def test_a_provider_that_asks_for_a_day_is_not_waited_for(tmp_path: Path, server: Server) -> None:
    asked = script(fault="429", times=1, retry_after="86400")
    write_project(tmp_path, server, [f"one {asked}"])
    summary = play(tmp_path)
    assert (summary.status, summary.exit_code) == ("refused", EXIT_REFUSED)
    assert "run the same command again after " in summary.message


# --- faults that stop the run


@pytest.mark.parametrize(("fault", "says"), REFUSING.items())
def test_a_refusal_stops_the_run_and_keeps_everything_in_flight(
    tmp_path: Path, server: Server, fault: str, says: str
) -> None:
    slow = {f"q{n}": f"{n}? " + script(latency=0.06) for n in range(40)}
    slow["q20"] = "20? " + script(fault=fault, times=1, latency=0.03)
    write_project(tmp_path, server, slow, workers=8)
    summary = play(tmp_path)
    assert (summary.status, summary.exit_code) == ("refused", EXIT_REFUSED)
    assert says in summary.message
    assert "(" in summary.message  # and what to do about it
    stats = server.stats()
    answered = [line for line in journal(tmp_path) if line["ok"]]
    assert stats["successes"] == len(answered)  # whatever was paid for is kept
    again = play(tmp_path)
    assert again.exit_code == EXIT_OK
    assert set(results(tmp_path)) == set(slow)
    assert server.stats()["duplicates"] == 0


@pytest.mark.parametrize(("fault", "says"), REFUSING_KEY.items())
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_a_key_that_is_refused_for_one_item_costs_that_item_and_no_other(
    tmp_path: Path, server: Server, fault: str, says: str, transport: str
) -> None:
    asked = {f"q{n}": f"{n}? " + script(latency=0.02) for n in range(12)}
    asked["q7"] = "7? " + script(fault=fault, times=1, latency=0.1)
    write_project(tmp_path, server, asked, workers=3, transport=transport)
    summary = play(tmp_path)
    assert (summary.status, summary.exit_code) == ("done", EXIT_INCOMPLETE)
    statuses = {name: item["status"] for name, item in results(tmp_path).items()}
    assert statuses == {**dict.fromkeys(asked, "ok"), "q7": "forbidden"}
    assert says in results(tmp_path)["q7"]["error"]
    before = server.stats()["requests"]
    assert play(tmp_path).exit_code == EXIT_OK
    assert server.stats()["requests"] == before + 2  # its answer, and the judge's


def test_an_item_that_the_key_is_always_refused_for_holds_up_no_later_session(
    tmp_path: Path, server: Server
) -> None:
    asked = {f"q{n}": f"{n}? " for n in range(12)}
    asked["q7"] = "7? " + script(fault="403", latency=0.1)
    write_project(tmp_path, server, asked, workers=3)
    for _ in range(2):
        assert play(tmp_path).exit_code == EXIT_INCOMPLETE
        statuses = [item["status"] for item in results(tmp_path).values()]
        assert sorted(statuses) == ["forbidden", *["ok"] * 11]


@pytest.mark.parametrize("fault", REFUSING_KEY)
def test_a_key_that_is_revoked_on_the_way_ends_the_run_and_fails_no_item(
    tmp_path: Path, server: Server, fault: str
) -> None:
    write_project(tmp_path, server, [f"{n}?" for n in range(300)], workers=4)

    def revoke(state: Progress) -> None:
        if state.done >= 10:
            server.control(faults={fault: 1.0})

    summary = run(load(tmp_path), stop=hurried(), progress=revoke)
    assert (summary.status, summary.exit_code) == ("refused", EXIT_REFUSED)
    assert "check the " in summary.message
    assert {item["status"] for item in results(tmp_path).values()} == {"ok"}
    # Of each of the two models five in a row, and what the workers took up meanwhile.
    assert server.stats()["faults"][fault] <= 2 * 5 + 3 * 4
    server.control(faults={})
    assert play(tmp_path).exit_code == EXIT_OK
    assert len(results(tmp_path)) == 300
    assert server.stats()["duplicates"] == 0


@pytest.mark.parametrize("fault", ["content_403", "firewall", "content_policy"])
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_one_refused_prompt_is_one_filtered_item_from_the_first_request_on(
    tmp_path: Path, server: Server, fault: str, transport: str
) -> None:
    asked = {f"q{n}": f"{n}? " for n in range(12)}
    asked["q5"] = "5? " + script(fault=fault)
    write_project(tmp_path, server, asked, workers=1, transport=transport)
    for sent in (12 + 11, 1):
        server.reset()
        summary = play(tmp_path)
        assert (summary.status, summary.exit_code) == ("done", EXIT_INCOMPLETE)
        statuses = {name: item["status"] for name, item in results(tmp_path).items()}
        assert statuses == {**dict.fromkeys(asked, "ok"), "q5": "filtered"}
        assert server.stats()["requests"] == sent


@pytest.mark.parametrize("fault", [*REFUSING, *REFUSING_KEY])
def test_after_a_refusal_nothing_more_is_sent(tmp_path: Path, server: Server, fault: str) -> None:
    server.control(faults={fault: 1.0})
    write_project(tmp_path, server, [f"{n}?" for n in range(200)], workers=4)
    assert play(tmp_path).exit_code == EXIT_REFUSED
    # The first refusals of every worker, and what they took up before the first was looked at.
    assert server.stats()["requests"] <= 3 * 4


def test_a_wrong_key_and_an_unknown_model_are_refused_with_a_hint(
    tmp_path: Path, server: Server
) -> None:
    write_project(tmp_path, server, ["one?"])
    server.control(key="sk-another")
    wrong_key = play(tmp_path)
    assert (wrong_key.exit_code, "check the key" in wrong_key.message) == (EXIT_REFUSED, True)
    server.control(key=None, only_models=True)
    unknown = play(tmp_path)
    assert unknown.exit_code == EXIT_REFUSED
    assert f"'{GENERATE}'" in unknown.message and "check the model's name" in unknown.message


def test_a_budget_refuses_a_model_whose_price_is_not_known(tmp_path: Path, server: Server) -> None:
    write_project(tmp_path, server, ["one?"], prices=None, budget=1.0)
    with pytest.raises(ConfigError, match="a budget needs prices"):
        play(tmp_path)
    assert server.stats()["requests"] == 0


# --- the circuit


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ("length", "raise the step's max_tokens"),
        ("reasoning_only", "raise the step's max_tokens, or lower its reasoning effort"),
        ("content_filter", "use another model"),
        ("context_length", "shorten the prompt"),
        ("500", "check the log of the server at http://127.0.0.1:"),
        ("html", "api_base"),
        ("hang", "raise timeout under [limits]"),
    ],
)
def test_a_run_that_goes_wrong_stops_and_says_what_to_change(
    tmp_path: Path, server: Server, fault: str, advice: str
) -> None:
    server.control(faults={fault: 1.0})
    asked = [f"{n}?" for n in range(120)]
    limits: dict[str, Any] = {"timeout": 0.2, "workers": 10, "max_attempts": 1}
    write_project(tmp_path, server, asked, max_failure_share=0.5, **limits)
    summary = play(tmp_path)
    assert (summary.status, summary.exit_code) == ("circuit", EXIT_INCOMPLETE)
    assert "step 'generate'" in summary.message and advice in summary.message
    assert server.stats()["requests"] < len(asked) / 2


def test_a_judge_that_cannot_be_read_stops_the_run_at_the_judge(
    tmp_path: Path, server: Server
) -> None:
    server.control(faults={"prose": 1.0})
    write_project(tmp_path, server, [f"{n}?" for n in range(120)], max_failure_share=0.5)
    summary = play(tmp_path)
    assert (summary.status, summary.exit_code) == ("circuit", EXIT_INCOMPLETE)
    assert "step 'judge'" in summary.message and "20 of them unreadable" in summary.message
    assert "use a stronger model" in summary.message


# --- what the documentation says


@pytest.mark.parametrize(
    ("fault", "status"), [*TRANSIENT.items(), *LASTING.items(), *NOTHING.items()]
)
def test_the_table_of_faults_in_the_docs_is_what_happens(fault: str, status: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    table = page.partition("## What happens on each fault")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|") and f"`{fault}`" in line]
    assert len(rows) == 1 and f"`{status}`" in rows[0]
