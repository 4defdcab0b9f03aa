"""Where the money went, against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_batch.paper import words
from llm_batch.paper.document import Table
from llm_batch.record.manifest import ListPrice
from llm_batch.records import Usage
from llm_batch.reporting import build_report
from llm_batch.reporting.model import CostBreakdown, Range
from llm_batch.reporting.spending import list_cost, where_it_went
from tests.reporting.made import attempt, call, full_manifest, journal, manifest, result, write

PRICES = {
    "openai/my-model": {"input": 1.0, "output": 4.0, "cache_read": 0.5, "source": "config"},
    "gpt-4": {"input": 2.0, "output": 8.0, "source": "config"},
}
GENERATE, JUDGE = ("generate", "openai/my-model"), ("judge", "gpt-4")


def _breakdown(
    folder: Path,
    results: list[Any],
    *calls: Mapping[str, Any],
    prices: Mapping[str, Any] = PRICES,
) -> CostBreakdown:
    if calls:
        journal(folder, *calls)
    made = manifest(planned=len(results)) | {"prices": prices, "versions": {"prices": "then"}}
    found = build_report(write(folder, results, made)).breakdown
    assert found is not None
    return found


def _told(spent: CostBreakdown, cost: float | None) -> str:
    parts = where_it_went(spent, cost)
    return " ".join(part for part in parts if isinstance(part, str))


@pytest.mark.parametrize(
    ("usage", "price", "usd"),
    [
        (Usage(1_000_000, 0), ListPrice(3.0, 15.0), 3.0),
        (Usage(0, 1_000_000), ListPrice(3.0, 15.0), 15.0),
        (Usage(1_000_000, 0, 400_000), ListPrice(3.0, 15.0, cache_read=0.5), 0.6 * 3 + 0.4 * 0.5),
        (Usage(1_000_000, 0, 0, 500_000), ListPrice(4.0, 0.0, cache_write=5.0), 2.0 + 2.5),
        (Usage(1_000_000, 0, 400_000), ListPrice(3.0, 15.0), 3.0),
    ],
    ids=["input", "output", "read from cache", "written to cache", "no price of a cache"],
)
def test_list_price_of_tokens(usage: Usage, price: ListPrice, usd: float) -> None:
    assert list_cost(usage, price) == pytest.approx(usd)


def test_shares_and_prices_of_a_plain_run(tmp_path: Path) -> None:
    # Each item: 40 in (8 cached) and 10 out (2 reasoning), then 80 in and 20 out in two attempts.
    spent = _breakdown(tmp_path, [result(i) for i in range(10)])
    assert (spent.sent_again, spent.sent_again_share) == (10, pytest.approx(1 / 3))
    assert spent.cached_share == pytest.approx(8 / 120)
    assert spent.cache_saved == pytest.approx(10 * 8 * 0.5e-6)
    assert spent.reasoning_share == pytest.approx(2 / 30)
    assert spent.reasoning_cost == pytest.approx(10 * 2 * 4e-6)
    per_item = (32 * 1.0 + 8 * 0.5 + 10 * 4.0) * 1e-6 + (80 * 2.0 + 20 * 8.0) * 1e-6
    assert spent.list_cost == pytest.approx(10 * per_item)
    assert (spent.failed_items, spent.failed_cost, spent.journal) == (0, 0.0, None)
    assert spent.list_cost_now is None  # the config's prices hold, whatever a table says
    told = _told(spent, 0.02)
    assert "10 of the attempts (33.3 %) were retries or re-asks." in told
    assert "6.7 % of input tokens came from a cache, which saved $0.000040." in told
    assert "6.7 % of output tokens were reasoning ($0.000080)." in told


def test_items_without_a_result_cost_what_their_steps_took(tmp_path: Path) -> None:
    results = [result(i, cost=0.25) for i in range(3)]
    results += [result(3, status="timeout", cost=0.25), result(4, status="rejected", cost=0.25)]
    spent = _breakdown(tmp_path, results)
    assert (spent.failed_items, spent.failed_cost) == (2, 0.5)
    # Three items took two steps and two took one: 8 x $0.25.
    assert _told(spent, 2.0).startswith("2 items without a result cost $0.50 (25.0 %).")


def test_an_unknown_price_is_unknown_and_not_zero(tmp_path: Path) -> None:
    results = [result(0), result(1, status="timeout", cost=None)]
    spent = _breakdown(tmp_path, results, prices={**PRICES, "gpt-4": None})
    assert (spent.failed_cost, spent.list_cost, spent.cache_saved) == (None, None, None)
    assert "1 item without a result cost unknown." in _told(spent, None)


def test_the_journal_tells_what_was_paid_beside_the_results(tmp_path: Path) -> None:
    retried = [attempt(1.0, 2.0, "timeout"), attempt(4.0)]
    spent = _breakdown(
        tmp_path,
        [result(0, cost=0.25)],
        call("item-0", *GENERATE, cost=0.25),
        call("item-0", *JUDGE, cost=0.125, tokens=(80, 20)),  # an earlier prompt of the judge
        call("item-0", *JUDGE, cost=0.25, tokens=(80, 20), attempts=retried, worst_case=True),
        call(
            "item-1", *GENERATE, cost=0.0625, failed=True, attempts=[attempt(0.0, 3.0, "timeout")]
        ),
    )
    paid = spent.journal
    assert paid is not None
    assert (paid.calls, paid.cost, paid.beside_results) == (4, 0.6875, 0.1875)
    assert (paid.failed_calls, paid.failed_cost) == (1, 0.0625)
    assert (paid.replaced_calls, paid.replaced_cost) == (1, 0.125)
    # The answer's own price is 80 x $2 + 20 x $8 a million; the rest is for the attempt before it.
    assert paid.retry_cost == pytest.approx(0.25 - 320e-6)
    assert paid.failed_seconds == 5.0
    told = _told(spent, 0.5)
    assert "Up to $0.25 is for attempts that failed before the answer came." in told
    assert "1 call ended without an answer, booked at up to $0.062." in told
    assert "1 answer was replaced by later ones ($0.12)" in told
    assert "All 4 calls in the journal cost $0.69; $0.19 of that is not part of these" in told


def test_a_step_that_two_models_answered_is_listed_by_model(tmp_path: Path) -> None:
    spent = _breakdown(
        tmp_path,
        [result(0, cost=0.25)],
        call("item-0", *GENERATE, cost=0.25),
        call("item-0", "generate", "openai/other", cost=0.5, tokens=(7, 3)),
        call("item-0", *JUDGE, cost=0.25),
    )
    table = where_it_went(spent, 0.5)[-1]
    assert isinstance(table, Table)
    assert table.rows[:2] == (
        ("generate", "openai/my-model", "1", "1", "40", "10", "$0.25"),
        ("generate", "openai/other", "1", "1", "7", "3", "$0.50"),
    )


def test_results_without_any_call_have_no_breakdown(tmp_path: Path) -> None:
    assert build_report(write(tmp_path, [])).breakdown is None


@pytest.mark.parametrize(
    ("seconds", "cost", "whole", "told"),
    [
        (12.0, 0.03, True, ""),
        (15.004, 0.04, True, ""),
        (15.9, 0.04, True, ""),
        (159.0, 0.03, True, "it took 2 min 39 s (estimated 8.0 s to 15 s)."),
        (12.0, 0.09, False, "it cost $0.090 (estimated $0.020 to $0.040)."),
        (2.0, 0.001, True,
         "it took 2.0 s (estimated 8.0 s to 15 s) and cost $0.0010 (estimated $0.020 to $0.040)."),
        (2.0, 0.001, False, ""),
        (None, None, True, ""),
    ],
    ids=["within", "reads the same", "a moment more", "too long", "too dear", "less",
         "less so far", "unknown"],
)  # fmt: skip
def test_a_run_that_left_its_estimate_is_told(
    seconds: float | None, cost: float | None, whole: bool, told: str
) -> None:
    found = words.left_estimate(seconds, Range(8, 11, 15), cost, Range(0.02, 0.025, 0.04), whole)
    assert found == (f"The estimate was off: {told.replace('it ', 'the run ', 1)}" if told else "")


def test_the_report_warns_of_a_run_that_left_its_estimate(tmp_path: Path) -> None:
    made = full_manifest(planned=2)
    made["totals"]["seconds"] = 159.0
    report = build_report(write(tmp_path, [result(0), result(1)], made))
    (found,) = (warning for warning in report.warnings if "estimate was off" in warning)
    assert "the run took 2 min 39 s (estimated 8.0 s to 15 s) and cost $0.0040" in found
