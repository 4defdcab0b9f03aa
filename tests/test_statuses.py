"""The tables of statuses and endings are whole: whatever is raised anywhere has its row."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import llm_batch
from llm_batch import errors
from llm_batch.errors import ENDINGS, STATUSES, ProviderError, Refused, Rejected, Transient

PACKAGE = Path(llm_batch.__file__).parent
TREES = {path: ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
ERRORS = {
    name: each
    for name, each in vars(errors).items()
    if isinstance(each, type) and issubclass(each, ProviderError)
}
#: What raises an error of one class with its kind as the first argument.
SHORT = {"unfinished": Transient, "_refused": Refused}
#: What makes an outcome beside these, and where its kind stands among the arguments. A log of
#: batch jobs has an `ended` too, of a job.
MAKERS = {"Failure": 0, "Outcome": 0, "unfinished": 0, "ended": 1, "Attempt": 3, "result": 3}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield getattr(node.func, "id", getattr(node.func, "attr", "")), node


def _literal(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _kinds(of: type[ProviderError] = ProviderError) -> set[str]:
    """Kinds that errors of a class are raised with, by themselves or by an argument."""
    made = {each.kind for each in ERRORS.values() if issubclass(each, of)}
    for name, call in _calls():
        if name in ERRORS and issubclass(ERRORS[name], of):
            made |= {_literal(each.value) for each in call.keywords if each.arg == "kind"}
        elif name in SHORT and issubclass(SHORT[name], of):
            made.add(_literal(call.args[0]))
    return made - {""}


def _outcomes() -> set[str]:
    """Kinds that calls, attempts and items are made with, not by way of an error."""
    made = {"prompt", "rule"}  # the defaults of `Chain.result` and `RuleError`
    for name, call in _calls():
        of_a_log = "log" in ast.unparse(call.func)
        if name in MAKERS and len(call.args) > MAKERS[name] and not of_a_log:
            made.add(_literal(call.args[MAKERS[name]]))
        for each in call.keywords:
            if each.arg == "status":
                either = each.value if isinstance(each.value, ast.IfExp) else None
                parts = (either.body, either.orelse) if either else (each.value,)
                made |= {_literal(part) for part in parts}
    return made - {""}


def test_every_kind_that_is_raised_anywhere_is_in_the_table() -> None:
    kinds, outcomes = _kinds(), _outcomes()
    # That the search finds what it should, from each of the places.
    assert {"rate_limited", "oversized", "queue_full", "missing"} <= kinds
    assert {"truncated", "tool_call", "lost", "budget", "unscored"} <= outcomes
    assert kinds | outcomes <= STATUSES.keys()


def test_no_row_is_of_a_kind_that_nothing_ends_in() -> None:
    named = _kinds() | _outcomes() | {row.alone for row in STATUSES.values()}
    for path, tree in TREES.items():
        if path.name != "errors.py":
            named |= {_literal(node) for node in ast.walk(tree) if isinstance(node, ast.expr)}
    assert STATUSES.keys() <= named


def test_what_is_tried_again_are_errors_in_passing_and_what_the_chain_asks_once_more() -> None:
    passing = {kind for kind in _kinds(Transient) if STATUSES[kind].of != "run"}
    asked_once_more = {"empty", "unparsed"}
    again = {kind for kind, row in STATUSES.items() if row.again}
    assert again == passing | asked_once_more | {"lost"}


def test_a_refusal_is_of_the_run_and_a_rejection_is_not() -> None:
    # A batch that is refused as a whole, or a batch API that is none, ends calls as refused.
    by_batch = {"batch_failed", "garbage"}
    assert {STATUSES[kind].of for kind in _kinds(Refused) - by_batch} == {"run"}
    assert {STATUSES[kind].of for kind in _kinds(Rejected)} == {"answer", "request"}


@pytest.mark.parametrize("row", STATUSES.values(), ids=list(STATUSES))
def test_a_row_agrees_with_itself(row: errors.Status) -> None:
    assert row.means and (row.advice or row.kind == "ok")
    assert row.settled == (row.of in ("answer", "request"))
    assert not row.kept or row.of in ("", "answer")
    assert not row.doubtful or row.settled
    assert not row.alone or (row.of == "run" and STATUSES[row.alone].doubtful)
    assert "{" not in row.advice_at("http://here:8000/") and row.advice_at(None) == row.advice


def test_an_unknown_kind_of_an_old_file_is_tried_again_and_has_advice() -> None:
    row = errors.status_of("of_another_version")
    assert not row.settled and not row.kept and row.advice


def test_every_reason_to_stop_is_an_ending() -> None:
    reasons = {
        _literal(call.args[0]) for name, call in _calls() if name in ("stop", "_stop") and call.args
    }
    assert {"refused", "enough", "circuit", "overrun"} <= reasons
    # After an error, which is raised: such a run never says how it ended.
    assert reasons - {"", "failed"} <= ENDINGS.keys()
