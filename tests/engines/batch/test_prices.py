"""Estimates, manifests and reports of a batch run have the prices of the batch API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_batch.estimating import estimate_from_nothing
from llm_batch.models.prices import tariff_of
from llm_batch.reporting import build_report
from tests.batch_server import BatchServer
from tests.engines.batch.runs import Session, load, write_project


def test_the_estimate_and_the_manifest_name_the_price_of_the_batch(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    live = estimate_from_nothing(load(tmp_path, engine="threads"), 100)
    batch = estimate_from_nothing(load(tmp_path), 100)
    assert live.cost is not None and batch.cost is not None
    assert batch.cost.value == pytest.approx((live.cost.value or 0) / 2)
    Session(tmp_path).play()
    manifest = json.loads((tmp_path / "results.manifest.json").read_bytes())
    assert manifest["engine"] == "batch"
    assert manifest["prices"]["openai/writer"]["input"] == 0.5
    assert manifest["prices"]["openai/writer"]["output"] == 2.0


def test_the_report_adds_up_what_the_batch_cost(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server)
    spent = Session(tmp_path).play().progress.spent
    report = build_report(tmp_path / "results.jsonl")
    assert report.total.cost == pytest.approx(spent)


def test_the_users_prices_hold_for_batches_unless_there_are_some_for_batches() -> None:
    plain = tariff_of("openai/x", 1.0, 4.0)
    own = tariff_of("openai/x", 1.0, 4.0, batch_input_price=0.5, batch_output_price=2.0)
    assert plain is not None and own is not None
    assert plain.worst_case(10**6, 10**6, batch=True) == 5.0
    assert own.worst_case(10**6, 10**6, batch=True) == 2.5
    assert own.worst_case(10**6, 10**6) == 5.0
    assert float(own.at_batch().price.input) == 0.5
    assert own.at_batch().worst_case(10**6, 10**6) == 2.5
