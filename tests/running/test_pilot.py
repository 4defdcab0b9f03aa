"""The pilot is the beginning of the run: same order, same files, nothing paid twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.config import Config
from llm_batch.dataset import draw
from llm_batch.errors import ConfigError
from llm_batch.estimating import Estimate, estimate
from llm_batch.running.pilot import pilot
from llm_batch.running.run import run
from tests.estimating.made import high, value

PRICES = {"input_price": 1.0, "output_price": 2.0}


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    """A chain with simulated models over 200 rows in three groups of unequal size."""
    rows = [
        {"id": f"r{i}", "question": "why " * (1 + i % 9), "kind": "abbbbbbcc"[i % 9]}
        for i in range(200)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Config.model_validate(
        {
            "data": {"path": str(tmp_path / "rows.jsonl"), "id": "id"},
            "sample": {"size": 60},
            "models": {"fake/g": PRICES, "fake/j": PRICES},
            "steps": [
                {
                    "name": "generate",
                    "model": "fake/g",
                    "prompt": "{{ question }}",
                    "max_tokens": 90,
                },
                {
                    "name": "judge",
                    "model": "fake/j",
                    "prompt": "{{ question }}: {{ generate }}",
                    "max_tokens": 90,
                    "output": {"score": {"type": "integer", "min": 1, "max": 5}},
                },
            ],
            "score": {"field": "judge.score", "pass_at": 4},
            "run": {"output": str(tmp_path / "out.jsonl")},
        }
    )


def changed(settings: Config, section: str, **values: Any) -> Config:
    part = getattr(settings, section).model_copy(update=values)
    return settings.model_copy(update={section: part})


def played(settings: Config) -> list[str]:
    lines = Path(settings.run.output).read_text().splitlines()
    return [json.loads(line)["id"] for line in lines]


def order(settings: Config) -> list[str]:
    sample = settings.sample
    with draw(
        settings.data, settings.data_path(), size=sample.size, seed=sample.seed,
        stratify=sample.stratify,
    ) as drawn:  # fmt: skip
        return [item.id for item in drawn.items()]


def calls(settings: Config) -> int:
    return len(Path(settings.run.output).with_suffix(".calls.jsonl").read_bytes().splitlines())


def test_it_plays_the_first_items_of_the_order_and_the_run_pays_for_the_rest_only(
    settings: Config,
) -> None:
    measured = pilot(settings, 20)
    assert sorted(played(settings)) == sorted(order(settings)[:20])
    assert (measured.finished, calls(settings)) == (20, 40)
    made = estimate(settings, measured=measured)
    assert (made.n, made.reused, value(made.calls)) == (60, 20, 80)
    summary = run(settings)
    assert summary.progress.calls == 80 and calls(settings) == 120
    paid = summary.progress.spent - (measured.spent or 0)
    assert made.cost is not None and made.cost.low is not None
    assert made.cost.low <= paid <= high(made.cost)


def test_a_second_pilot_sends_nothing_and_a_larger_one_only_what_is_new(settings: Config) -> None:
    said: list[str] = []
    pilot(settings, 10)
    pilot(settings, 10, say=said.append)
    assert calls(settings) == 20 and "nothing was sent" in said[0]
    assert pilot(settings, 30).finished == 30
    assert calls(settings) == 60


def test_after_the_run_the_pilot_is_free(settings: Config) -> None:
    run(settings)
    measured = pilot(settings, 20)
    assert (measured.finished, calls(settings)) == (60, 120)
    assert value(estimate(settings, measured=measured).calls) == 0
    assert len(played(settings)) == 60


def test_results_of_another_chain_are_not_replaced_by_a_few(settings: Config) -> None:
    run(settings)
    prompt = settings.steps[1].model_copy(update={"prompt": "Rate {{ generate }}"})
    other = settings.model_copy(update={"steps": (settings.steps[0], prompt)})
    with pytest.raises(ConfigError) as raised:
        pilot(other, 20)
    assert "--from" in raised.value.hint
    assert len(played(settings)) == 60 and calls(settings) == 120


def test_it_is_no_larger_than_the_sample(settings: Config) -> None:
    assert pilot(changed(settings, "sample", size=5), 20).finished == 5


@pytest.mark.parametrize("n", [1, 5, 6, 7, 20])
@pytest.mark.parametrize("size", [24, 25, 60, 0])
def test_with_strata_every_item_of_the_pilot_is_one_of_the_run(
    settings: Config, n: int, size: int
) -> None:
    stratified = changed(settings, "sample", stratify="kind", size=size)
    pilot(stratified, n)
    assert set(played(stratified)) <= set(order(stratified))
    before = calls(stratified)
    summary = run(stratified)
    assert summary.progress.calls == 2 * len(order(stratified)) - before


def test_the_budget_holds_in_the_pilot_too(settings: Config) -> None:
    poor = changed(settings, "limits", budget=0.002)
    measured = pilot(poor, 20)
    assert 0 < measured.finished < 20
    assert measured.spent is not None and measured.spent <= 0.002
    with pytest.raises(ConfigError, match="less than one item may cost"):
        elsewhere = str(Path(settings.run.output).with_name("x.jsonl"))
        pilot(changed(changed(settings, "limits", budget=0.00001), "run", output=elsewhere), 20)


def test_above_a_dollar_it_asks_for_its_own_items_and_no_means_that_nothing_is_sent(
    settings: Config,
) -> None:
    dear = {"input_price": 1e3, "output_price": 1e4}
    priced = settings.models["fake/g"].model_copy(update=dear)
    costly = settings.model_copy(update={"models": {"fake/g": priced, "fake/j": priced}})
    asked: list[Estimate] = []

    def refuse(made: Estimate) -> bool:
        asked.append(made)
        return False

    with pytest.raises(ConfigError, match="not agreed"):
        pilot(costly, 20, confirm=refuse)
    assert asked[0].n == 20
    assert calls(settings) == 0


def test_failures_are_counted_and_projected(settings: Config, monkeypatch: Any) -> None:
    failing = settings.models["fake/g"].model_copy(update={"error_rate": 0.3})
    monkeypatch.setattr("llm_batch.sending.client.Client._exponential", lambda *_: 0.0)
    ill = settings.model_copy(update={"models": {**settings.models, "fake/g": failing}})
    made = estimate(ill, measured=pilot(ill, 20))
    assert value(made.steps[0].calls) > 40  # more sends than items
    assert any("sent more than once" in caution.message for caution in made.warnings)
