"""The circuit breaker: when a run that goes wrong is stopped, and what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.records import Result, StepTotals, Usage
from llm_batch.running.stopping import AT_LEAST, WINDOW, Circuit
from tests.builders import item

TOTALS = StepTotals(Usage(), 0.0, 0.0, 1)


def result(status: str = "ok", *steps: str, error: str = "") -> Result:
    called = dict.fromkeys(steps or ("generate", "judge"), TOTALS)
    return Result(item(), status, {}, None, None, called, error)


def noted(circuit: Circuit, *statuses: str, steps: tuple[str, ...] = ("generate",)) -> str:
    """What the last of these results is answered with."""
    said = ""
    for status in statuses:
        said = circuit.note(result(status, *steps, error="why"))
    return said


def test_it_says_which_step_failed_how_and_what_to_do() -> None:
    said = noted(Circuit(0.5), *["truncated"] * (AT_LEAST - 1), "timeout")
    assert said == (
        "step 'generate': 20 of the last 20 items failed, 19 of them cut off (last: why); "
        "raise the step's max_tokens"
    )


def test_a_judge_that_fails_is_not_lost_among_generations_that_work() -> None:
    said = noted(Circuit(0.5), *["unparsed"] * AT_LEAST, steps=("generate", "judge"))
    assert said.startswith("step 'judge': 20 of the last 20")
    assert "stronger model" in said


def test_each_step_is_counted_by_itself() -> None:
    circuit = Circuit(0.5)
    for _ in range(AT_LEAST):  # a third each: neither step fails for most
        for failing in (result("timeout", "generate"), result(), result()):
            assert circuit.note(failing) == ""


@pytest.mark.parametrize("steps", [(), ("generate",)])
def test_prompts_that_cannot_be_rendered_are_no_steps_fault(steps: tuple[str, ...]) -> None:
    circuit = Circuit(0.5)
    said = ""
    for _ in range(AT_LEAST):
        failed = Result(item(), "prompt", {}, None, None, dict.fromkeys(steps, TOTALS), "why")
        said = circuit.note(failed)
    assert said == (
        "prompts: 20 of the last 20 items failed, 20 of them without a prompt (last: why); "
        "correct the prompt, or the rows that lack what it needs"
    )


def test_a_few_rows_without_a_prompt_stop_no_long_run() -> None:
    circuit = Circuit(0.5)
    for _ in range(3 * AT_LEAST):
        assert circuit.note(result("prompt", error="why")) == ""
        assert circuit.note(result()) == ""
        assert circuit.note(result("timeout", "generate")) == ""
        assert circuit.note(result()) == ""


def test_a_kind_without_advice_still_gets_a_next_step() -> None:
    said = noted(Circuit(0.5), *["odd"] * AT_LEAST)
    assert said.endswith("check the provider's status page, then run the same command again")


@given(
    st.lists(st.sampled_from(["ok", "timeout"]), max_size=150),
    st.floats(0.01, 1.0),
)
def test_it_stops_exactly_when_more_than_the_share_of_the_window_failed(
    statuses: list[str], share: float
) -> None:
    circuit = Circuit(share)
    for count, status in enumerate(statuses, 1):
        window = statuses[max(0, count - WINDOW) : count]
        stops = len(window) >= AT_LEAST and window.count("timeout") > share * len(window)
        assert bool(circuit.note(result(status, "generate"))) is stops


@pytest.mark.parametrize("kind", ["unavailable", "unreachable", "reset", "error"])
def test_a_server_of_ones_own_has_no_status_page(kind: str) -> None:
    url = "http://127.0.0.1:8000/v1"
    circuit = Circuit(0.5, {"generate": url})
    said = noted(circuit, *[kind] * AT_LEAST)
    assert said.endswith(
        f"check the log of the server at {url}, and whether it is running: curl {url}/models"
    )
    assert "provider" not in said


def test_a_limit_of_a_server_of_ones_own_is_not_looked_up_at_an_account() -> None:
    circuit = Circuit(0.5, {"generate": "http://127.0.0.1:8000/v1"})
    said = noted(circuit, *["rate_limited"] * AT_LEAST)
    assert "fewer workers" in said and "account" not in said
