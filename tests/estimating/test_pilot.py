"""Estimates from a pilot or an earlier run: what was seen is projected, with what it is worth."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config
from llm_batch.chain.overrides import Overrides
from llm_batch.errors import OutputError
from llm_batch.estimating import (
    FORMATS,
    Estimate,
    config_of_run,
    estimate,
    estimate_from_items,
    estimate_from_nothing,
    measured_in,
)
from llm_batch.estimating.pilot import ItemSeen, Measured, StepSeen, read_measured
from llm_batch.record.journal import encode_call
from llm_batch.record.manifest import config_record
from llm_batch.record.results import encode_result
from llm_batch.records import Attempt, Call, Completion, Failure, Item, Message, Request, Usage
from tests.estimating.made import TODAY, config, high, items, said, single, value

PRICED: dict[str, Any] = {
    "openai/g": {"input_price": 1, "output_price": 4},
    "openai/j": {"input_price": 10, "output_price": 30},
}
SETTINGS = config("openai/g", "openai/j", cap=2000, judge_cap=300, models=PRICED)


def seen(
    item_id: str, answer: int, verdict: int | None = 40, prompt: int = 100, **more: Any
) -> ItemSeen:
    """An item of both steps; without a verdict it failed before the judge."""
    steps = {"generate": StepSeen(Usage(prompt, answer), None, 1.0, more.pop("attempts", 1))}
    if verdict is not None:
        steps["judge"] = StepSeen(Usage(prompt + answer, verdict), None, 2.0, 1)
    return ItemSeen(item_id, "ok" if verdict is not None else "truncated", steps, **more)


def measured(played: Sequence[ItemSeen], finished: int = 0, **more: Any) -> Measured:
    statuses: dict[str, int] = {}
    for item in played:
        statuses[item.status] = statuses.get(item.status, 0) + 1
    return Measured("the pilot", tuple(played), finished, 0.5, statuses, **more)


def from_nothing(played: Measured, n: int = 1000, settings: Config = SETTINGS) -> Estimate:
    return estimate_from_nothing(settings, n, measured=played, today=TODAY)


def cost_of(item: ItemSeen) -> float:
    prices = {"generate": (1e-6, 4e-6), "judge": (10e-6, 30e-6)}
    return sum(
        step.usage.input_tokens * prices[name][0] + step.usage.output_tokens * prices[name][1]
        for name, step in item.steps.items()
    )


def test_the_mean_of_what_was_played_is_projected_to_the_rest() -> None:
    played = [seen(str(i), 100 + 10 * i) for i in range(20)]
    made = from_nothing(measured(played, finished=20))
    mean = sum(map(cost_of, played)) / 20
    assert value(made.cost) == pytest.approx(980 * mean)
    assert (made.reused, made.measured, made.spent) == (20, 20, 0.5)
    assert made.cost is not None and made.cost.level == 0.9 and made.cost.n == 20
    assert [value(step.calls) for step in made.steps] == [980, 980]
    assert [value(step.seconds_per_call) for step in made.steps] == [1.0, 2.0]
    # The table of sizes counts every item from its first call.
    assert value(made.options[-1].cost) == pytest.approx(1000 * mean)


def test_a_run_of_another_output_leaves_nothing_done() -> None:
    played = [seen(str(i), 100 + 10 * i) for i in range(20)]
    made = from_nothing(measured(played))
    assert (made.reused, made.spent) == (0, None)
    assert value(made.cost) == pytest.approx(1000 * sum(map(cost_of, played)) / 20)


def test_the_range_covers_the_true_total_of_a_chain_in_at_least_90_of_100_cases() -> None:
    pick = random.Random(3)

    def item(i: int) -> ItemSeen:
        length = 1 + round(min(2000.0, pick.lognormvariate(5, 0.8)))
        if pick.random() < 0.03:
            return seen(str(i), length, None)
        return seen(str(i), length, round(20 + pick.expovariate(0.05)), pick.randint(50, 150))

    covered = 0
    for _ in range(500):
        whole = [item(i) for i in range(200)]
        made = from_nothing(measured(whole[:20], finished=20), 200)
        truth = sum(map(cost_of, whole[20:]))
        assert made.cost is not None and made.cost.low is not None
        covered += made.cost.low <= truth <= high(made.cost)
    assert covered / 500 >= 0.9


def test_failures_and_retries_are_paid_for_in_the_projection_too() -> None:
    well = [seen(str(i), 100 + i) for i in range(20)]
    ill = [*well[:15], *(seen(str(i), 2000, None, attempts=3) for i in range(15, 20))]
    made = from_nothing(measured(ill))
    assert value(made.cost) == pytest.approx(1000 * sum(map(cost_of, ill)) / 20)
    assert value(made.steps[0].calls) == 1000 * (15 + 15) / 20
    assert value(made.steps[1].calls) == 750
    assert "5 of 20 measured items failed (25 %: 5 cut off)" in said(made)
    assert "generate 1.50 requests an item" in said(made)
    assert "set max_tokens = 3000 under [[steps]] generate" in said(made)


def test_what_failed_attempts_may_have_been_billed_is_a_surcharge() -> None:
    played = [seen(str(i), 100) for i in range(10)]
    steps = {
        name: replace(step, cost=2 * cost_of(ItemSeen("", "ok", {name: step})))
        for name, step in played[0].steps.items()
    }
    billed = [ItemSeen("0", "ok", steps, worst_case=True), *played[1:]]
    plain, dearer = from_nothing(measured(played)), from_nothing(measured(billed))
    assert value(dearer.cost) == pytest.approx(1.1 * value(plain.cost))


def test_that_nothing_was_retried_does_not_mean_that_nothing_will_be() -> None:
    calls = from_nothing(measured([seen(str(i), 100 + i) for i in range(20)])).steps[0].calls
    assert value(calls) == 1000
    assert high(calls) == pytest.approx(1000 * (2 - 0.05 ** (1 / 20)), abs=1)


def test_reasoning_is_measured_instead_of_assumed() -> None:
    settings = single("gpt-5", max_tokens=20_000)
    thought = [
        ItemSeen(
            str(i),
            "ok",
            {"generate": StepSeen(Usage(50, 3000 + i, reasoning_tokens=2900), None, 9.0, 1)},
        )
        for i in range(20)
    ]
    assumed = estimate_from_nothing(settings, 100, today=TODAY)
    made = from_nothing(measured(thought), 100, settings)
    assert high(assumed.output_tokens) / assumed.output_tokens.low > 50  # type: ignore[operator]
    assert value(made.steps[0].reasoning_tokens) == pytest.approx(100 * 2900, rel=0.01)
    # One in seven may run to the cap, which 20 answers have not shown.
    missed = 1 - 0.05 ** (1 / 20)
    most = 100 * (3010 + missed * (20_000 - 3010))
    assert high(made.output_tokens) == pytest.approx(most, rel=0.01)
    assert "2,900 (2,497 to 5,279) of it thinking" in " ".join(made.assumptions)


def test_tokens_from_the_cache_are_priced_as_measured_and_not_saved_twice() -> None:
    rows = items(40)
    settings = single("gpt-4o", system="Judge with care. " * 400, max_tokens=10)
    read = 1000

    def played(cached: int) -> Measured:
        step = StepSeen(Usage(1210, 10, cached), None, 1.0, 1)
        return measured([ItemSeen(row.id, "ok", {"generate": step}) for row in rows[:20]])

    cold, warm = (
        estimate_from_items(settings, rows, 40, 40, measured=played(cached), today=TODAY)
        for cached in (0, read)
    )
    assert value(cold.cost) - value(warm.cost) == pytest.approx(40 * read * 1.25e-6, rel=0.01)
    assert high(warm.cost) >= value(cold.cost) * 0.999  # the cache may not work every time
    assert cold.cached_cost is not None and warm.cached_cost is None
    assert value(warm.batch_cost) == pytest.approx(value(cold.batch_cost))


def test_prompts_are_counted_and_the_providers_own_count_calibrates_them() -> None:
    rows = items(300, lambda i: "word " * (20 + 10 * (i % 17)))
    settings = single("claude-sonnet-4-5", max_tokens=100)
    chain = Chain(settings.steps)
    from llm_batch.chain.forecast import forecast
    from llm_batch.models.tokens import counter

    def true_tokens(row: Item) -> int:
        return round(1.3 * forecast(chain, row, counter)[0].input_tokens)

    steps = [
        ItemSeen(row.id, "ok", {"generate": StepSeen(Usage(true_tokens(row), 50), None, 1.0, 1)})
        for row in rows
    ]
    made = estimate_from_items(settings, rows, 300, 300, measured=measured(steps[:20]), today=TODAY)
    truth = sum(map(true_tokens, rows))
    inputs = made.input_tokens
    assert value(inputs) == pytest.approx(truth, rel=0.005)
    assert inputs.low is not None and inputs.low <= truth <= high(inputs)
    assert high(inputs) / inputs.low < 1.02  # instead of 0.8 to 2 times
    assert not any("approximate" in line for line in made.assumptions)


def test_a_judge_reads_the_measured_answers() -> None:
    rows = items(50)
    played = [
        ItemSeen(
            row.id,
            "ok",
            {"generate": StepSeen(Usage(20, 500 + i), None, 1.0, 1)},
        )
        for i, row in enumerate(rows[:20])
    ]
    made = estimate_from_items(config(), rows, 50, 50, measured=measured(played), today=TODAY)
    plain = estimate_from_items(config(), rows, 50, 50, today=TODAY)
    more = value(made.steps[1].input_tokens) - value(plain.steps[1].input_tokens)
    assert more == pytest.approx(50 * (509.5 - 300))
    # The judge itself was not measured: its range stays one that is assumed.
    assert made.cost is not None and made.cost.level == 0
    assert any("Step judge was not measured" in line for line in made.assumptions)


def test_a_step_whose_model_is_another_now_is_not_measured() -> None:
    played = measured(
        [seen(str(i), 900) for i in range(10)],
        models={"generate": "openai/old", "judge": "openai/j"},
    )
    made = from_nothing(played)
    assert [step.measured for step in made.steps] == [False, True]
    assert value(made.steps[0].output_tokens) == 1000 * 300


def test_simulated_answers_are_called_so() -> None:
    made = from_nothing(measured([seen("1", 9), seen("2", 8)], simulated=True))
    assert made.simulated
    assert "simulated" in FORMATS["full"](made)
    assert "2 items say little" in said(made)


# Files of a run.


def results(
    path: Path, settings: Config, rows: Sequence[Item], answer: Callable[[int], int]
) -> None:
    """The results file, the journal and the manifest of a run of these items."""
    chain = settings.chain()
    lines, calls_lines = b"", b""
    for number, row in enumerate(rows):
        calls: list[Call] = []
        while (request := chain.next_request(row, calls)) is not None:
            text = '{"reason": "so", "score": 5}' if request.step == "judge" else "An answer."
            usage = Usage(100, answer(number))
            call = Call(
                request,
                (Attempt(1, 0.0, 0.5),),
                completion=Completion(text, request.model, "stop", usage),
                cost=0.001,
            )
            calls.append(call)
            calls_lines += encode_call(call)
        lines += encode_result(chain.result(row, calls))
    path.write_bytes(lines)
    path.with_name(f"{path.stem}.calls.jsonl").write_bytes(calls_lines)


def manifest(path: Path, settings: Config, sha256: str = "") -> None:
    record = {
        "schema": 1,
        "config": config_record(settings),
        "dataset": {"sha256": sha256},
        "sample": {"seed": settings.sample.seed, "size": 20},
    }
    path.with_name(f"{path.stem}.manifest.json").write_bytes(msgspec.json.encode(record))


@pytest.mark.parametrize("name", ["out.jsonl", "out.calls.jsonl"])
def test_an_earlier_run_is_read_from_its_results_or_its_journal(tmp_path: Path, name: str) -> None:
    results(tmp_path / "out.jsonl", SETTINGS, items(12), lambda i: 50 + i)
    found = read_measured(tmp_path / name, "it", steps=["generate", "judge"])
    assert found.statuses == {"ok": 12}
    assert found.spent == pytest.approx(0.024)
    assert [item.steps["judge"].usage.output_tokens for item in found.items] == [
        50 + i for i in range(12)
    ]
    assert found.items[3].steps["generate"] == StepSeen(Usage(100, 53), 0.001, 0.5, 1)


def test_without_results_the_journal_beside_them_is_read(tmp_path: Path) -> None:
    results(tmp_path / "out.jsonl", SETTINGS, items(3), lambda i: 50)
    (tmp_path / "out.jsonl").unlink()
    assert len(read_measured(tmp_path / "out.jsonl", "it", steps=["generate"]).items) == 3


def test_a_journal_adds_up_the_calls_of_a_step_and_passes_over_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "out.calls.jsonl"
    request = Request("a", "generate", "openai/g", (Message("user", "hi"),), {})
    lost = Call(
        request, (Attempt(1, 0.0, 9.0, "timeout"),), failure=Failure("timeout", ""), cost=1.0
    )
    done = Call(
        request,
        (Attempt(1, 0.0, 0.5),),
        completion=Completion("x", "openai/g", "stop", Usage(7, 3)),
        cost=2.0,
    )
    path.write_bytes(encode_call(lost) + encode_call(done) + b'{"schema": 1, "ke')
    (item,) = read_measured(path, "it", steps=["generate"]).items
    assert item.status == "ok"
    assert item.steps["generate"] == StepSeen(Usage(7, 3), 3.0, 9.5, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no"),
        (b"", "holds no items"),
        (b'{"question": "a row of data"}\n', "line 1"),
        (b"\xff\xfe\n", "line 1"),
    ],
)
def test_a_file_that_is_no_run_is_refused_with_its_name(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "what.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OutputError, match=words) as raised:
        read_measured(path, "it", steps=["generate"])
    assert "what.jsonl" in raised.value.message


def test_a_run_of_other_steps_is_refused_and_its_steps_are_named(tmp_path: Path) -> None:
    results(tmp_path / "out.jsonl", SETTINGS, items(3), lambda i: 50)
    with pytest.raises(OutputError) as raised:
        read_measured(tmp_path / "out.jsonl", "it", steps=["translate"])
    assert "generate, judge" in raised.value.hint


def data(tmp_path: Path, n: int = 100) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"id": "{i}", "question": "What is {i}?"}}\n' for i in range(n)))
    return path


def test_items_count_as_done_only_in_the_run_that_would_go_on(tmp_path: Path) -> None:
    from hashlib import sha256

    rows, out = data(tmp_path), tmp_path / "out.jsonl"
    settings = SETTINGS.model_copy(
        update={
            "data": SETTINGS.data.model_copy(update={"path": str(rows), "id": "id"}),
            "run": SETTINGS.run.model_copy(update={"output": str(out)}),
        }
    )
    played = [Item(str(i), {"id": str(i), "question": f"What is {i}?"}) for i in range(20)]
    results(out, settings, played, lambda i: 50 + i)
    manifest(out, settings, sha256(rows.read_bytes()).hexdigest())

    def made(config: Config) -> Estimate:
        return estimate(config, sample=0, measured=measured_in(out, config))

    assert (made(settings).reused, value(made(settings).calls)) == (20, 160)
    seed = settings.model_copy(update={"sample": settings.sample.model_copy(update={"seed": 7})})
    other = settings.model_copy(
        update={"run": settings.run.model_copy(update={"output": str(tmp_path / "new.jsonl")})}
    )
    prompt = settings.steps[1].model_copy(update={"prompt": "Rate {{ generate }}"})
    edited = settings.model_copy(update={"steps": (settings.steps[0], prompt)})
    for changed in (seed, other, edited):
        assert made(changed).reused == 0
        assert made(changed).steps[0].measured
    assert any("step judge has changed" in line for line in made(edited).assumptions)
    rows.write_text(rows.read_text() + '{"id": "new", "question": "Who?"}\n')
    assert made(settings).reused == 0


def test_items_whose_answers_cannot_be_used_are_not_played_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    settings = SETTINGS.model_copy(
        update={"run": SETTINGS.run.model_copy(update={"output": str(out)})}
    )
    results(out, settings, items(4), lambda i: 50 + i)
    manifest(out, settings)
    statuses = ["ok", "truncated", "unparsed", "timeout"]
    lines = out.read_text().splitlines()
    out.write_text(
        "".join(
            line.replace('"status":"ok"', f'"status":"{status}"') + "\n"
            for line, status in zip(lines, statuses, strict=True)
        )
    )
    assert measured_in(out, settings).finished == 3


def test_the_config_of_an_earlier_run_is_enough_to_estimate_from_it(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    settings = SETTINGS.model_copy(
        update={"data": SETTINGS.data.model_copy(update={"path": str(tmp_path / "gone.jsonl")})}
    )
    results(out, settings, items(20), lambda i: 50 + i)
    assert config_of_run(out, Overrides()) is None
    manifest(out, settings)
    found = config_of_run(out, Overrides(workers=3))
    assert found is not None
    assert found.limits.workers == 3 and found.steps == settings.steps
    assert found.data.path is None  # what is not there is not read
    made = estimate(found, 5000, measured=measured_in(out, found))
    assert made.n == 5000 and all(step.measured for step in made.steps)
