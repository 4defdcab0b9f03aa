"""A run whose cost leaves the estimate, as a user meets it: the question, and nobody to answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fire.processes import llmb_run, terminal, until
from tests.fire.runs import journal, results, script, write_project
from tests.server import Server

COUNT = 12


def dear(folder: Path, server: Server) -> None:
    """Answers that the estimate puts at a cent, and the gateway bills half a dollar for."""
    bills = script(fault="cost_reported")
    write_project(folder, server, [f"What is {n}? {bills}" for n in range(COUNT)], workers=1)


def test_nobody_to_ask_stops_the_run_and_what_to_type_goes_on(
    tmp_path: Path, server: Server
) -> None:
    dear(tmp_path, server)
    code, said = llmb_run(tmp_path, agree=False)
    assert code == 4, said
    assert "it cost more than estimated and nobody agreed to that: this run has cost $1." in said
    assert "add --yes to agree to the cost, or --budget USD to cap it" in said
    paid = len(journal(tmp_path))
    assert paid < COUNT
    code, said = llmb_run(tmp_path)
    assert code == 0, said
    assert said.count("it goes on, as was agreed") == 1
    assert len(results(tmp_path)) == COUNT
    assert len(journal(tmp_path)) == 2 * COUNT  # nothing was paid twice


def test_a_budget_without_a_terminal_is_what_was_agreed_to(tmp_path: Path, server: Server) -> None:
    dear(tmp_path, server)
    code, said = llmb_run(tmp_path, "--budget", "50", agree=False)
    assert code == 0, said
    assert said.count("it continues, up to its budget of $50.00") == 1


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 4), ("\x03", 4)])
@pytest.mark.parametrize("budget", [(), ("--budget", "50")], ids=["no-budget", "budget"])
def test_on_a_terminal_the_run_waits_for_an_answer(
    tmp_path: Path, server: Server, answer: str, code: int, budget: tuple[str, ...]
) -> None:
    dear(tmp_path, server)
    with terminal(tmp_path, *budget, agree=False) as window:
        until(lambda: "Continue?" in window.read())
        assert "no new one starts until you answer" in " ".join(window.shown.split())
        window.type(answer)
        until(lambda: window.read() is not None and window.process.poll() is not None)
        assert window.process.returncode == code, window.read()
    assert (len(results(tmp_path)) == COUNT) == (code == 0)
