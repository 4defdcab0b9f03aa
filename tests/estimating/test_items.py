"""Estimates from real items: prompts are counted, answers propagate, nothing is paid twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config
from llm_batch.errors import ConfigError
from llm_batch.estimating import Estimate, estimate, estimate_from_items
from llm_batch.estimating.plan import SAMPLED
from llm_batch.estimating.ranges import Moments
from llm_batch.models.prices import tariff_of
from llm_batch.models.tokens import counter
from llm_batch.records import Call, Completion, Item, Request, Usage
from llm_batch.stats.means import mean_t
from tests.estimating.made import TODAY, answered_by, config, high, intervals, items, single, value


def from_items(
    settings: Config,
    rows: list[Item],
    n: int = 0,
    answered: Callable[[Request], Call | None] | None = None,
    most: int = SAMPLED,
) -> Estimate:
    return estimate_from_items(
        settings, iter(rows), n or len(rows), None, answered, most=most, today=TODAY
    )


def test_every_prompt_is_counted_as_it_will_be_sent() -> None:
    rows = items(30, lambda i: "word " * i)
    settings = single("gpt-4o", "Translate: {{ question }}", system="You translate.", max_tokens=9)
    chain = Chain(settings.steps)
    sent = [chain.next_request(item, []) for item in rows]
    expected = sum(
        counter("gpt-4o").count_messages(request.messages) for request in sent if request
    )
    made = from_items(settings, rows)
    inputs = made.steps[0].input_tokens
    assert (inputs.low, inputs.value, inputs.high) == (expected, expected, expected)
    assert made.steps[0].tokens_exact
    assert made.counted == 30


def test_a_judge_reads_the_answer_and_its_uncertainty() -> None:
    made = from_items(config(cap=400), items(1))
    generate, judge = made.steps
    own = value(judge.input_tokens) - 300
    assert value(generate.output_tokens) == 300
    assert judge.input_tokens.low == own + 90
    assert high(judge.input_tokens) == own + 400


def test_answers_are_capped_by_max_tokens_and_at_worst_reach_it() -> None:
    made = from_items(config(cap=100, judge_cap=4000), items(10))
    generate, judge = (step.output_tokens for step in made.steps)
    assert (generate.low, generate.value, generate.high) == (300, 1000, 1000)
    assert (judge.low, judge.value, judge.high) == (450, 1500, 40_000)
    unbounded = from_items(config(), items(10)).steps[0].output_tokens
    assert (unbounded.low, unbounded.value, unbounded.high) == (900, 3000, 6000)


def test_an_answer_is_never_longer_than_the_model_writes() -> None:
    made = from_items(single("gpt-4", max_tokens=100_000), items(1))
    assert high(made.output_tokens) == 4096


def test_counts_in_another_encoding_have_a_wider_range_that_is_stated() -> None:
    rows = items(20)
    exact = from_items(single("gpt-4o", max_tokens=9), rows).steps[0]
    made = from_items(single("claude-sonnet-4-5", max_tokens=9), rows)
    step = made.steps[0]
    assert not step.tokens_exact
    assert value(step.input_tokens) == value(exact.input_tokens)
    assert step.input_tokens.low == pytest.approx(0.8 * value(exact.input_tokens), abs=1)
    assert step.input_tokens.high == pytest.approx(2 * value(exact.input_tokens), abs=1)
    assert any("0.8 to 2 times" in line for line in made.assumptions)


def test_each_request_is_priced_by_its_own_length() -> None:
    model = "gemini/gemini-2.5-pro"
    rows = items(2, lambda i: "word " * (300_000 if i else 10))
    tariff = tariff_of(model)
    assert tariff is not None and len(tariff.standard) > 1
    settings = single(model, max_tokens=9, params={"reasoning_effort": "none"})
    short, long = (from_items(settings, [row]) for row in rows)
    for made in (short, long):
        tokens = round(value(made.input_tokens))
        assert value(made.cost) == pytest.approx(tariff.cost(Usage(tokens, 9)))
    assert tariff.cost(Usage(1000, 0)) < tariff.cost(Usage(300_000, 0)) / 400
    both = from_items(settings, rows)
    assert value(both.cost) == pytest.approx(value(short.cost) + value(long.cost))


def test_a_sample_stands_for_the_rest_and_its_error_widens_the_range() -> None:
    rows = items(300, lambda i: "word " * (i * 37 % 50))
    settings = single("gpt-4o", max_tokens=9)
    all_counted = from_items(settings, rows)
    assert all_counted.input_tokens.low == high(all_counted.input_tokens)
    part = from_items(settings, rows, most=100)
    assert part.counted == 100
    assert part.input_tokens.low is not None
    assert part.input_tokens.low < value(all_counted.input_tokens) < high(part.input_tokens)
    assert any("100 of 300 items" in line and "sampling error" in line for line in part.assumptions)
    fewer = from_items(settings, rows, most=20)
    widths = [high(made.input_tokens) - value(made.input_tokens) for made in (fewer, part)]
    assert widths[0] > 1.5 * widths[1]


def test_only_so_many_items_are_taken_from_a_long_dataset() -> None:
    rows = iter(items(SAMPLED + 10))
    made = estimate_from_items(
        single("gpt-4o", "Hi", max_tokens=9), rows, 10**6, 10**6, today=TODAY
    )
    assert made.counted == SAMPLED
    assert len(list(rows)) >= 9


def test_the_sampling_error_agrees_with_the_interval_of_the_report() -> None:
    values = [1.0, 4.0, 4.5, 9.0, 2.0, 7.0, 7.5, 3.0]
    moments = Moments()
    for each in values:
        moments.add(each)
    expected = mean_t(values, population=40)
    assert expected.high is not None and expected.value is not None
    assert moments.error_of_mean(40) == pytest.approx(expected.high - expected.value, rel=1e-3)
    assert moments.error_of_mean(8) == 0


def test_the_range_covers_the_total_of_skewed_lengths() -> None:
    pick = random.Random(7)
    covered = 0
    for _ in range(500):
        lengths = [pick.lognormvariate(5, 0.6) for _ in range(400)]
        moments = Moments()
        for length in lengths[:100]:
            moments.add(length)
        error = moments.error_of_mean(400)
        covered += abs(moments.total / 100 - sum(lengths) / 400) <= error
    assert 0.92 <= covered / 500 <= 0.98


def test_a_finished_run_has_nothing_left_to_pay() -> None:
    rows = items(20)
    journal = answered_by([row.id for row in rows], ["generate", "judge"])
    made = from_items(config(), rows, answered=journal)
    assert made.reused == 20
    assert value(made.calls) == high(made.cost) == high(made.seconds) == 0
    assert made.bound_by == "Nothing is left to send."
    assert value(made.options[0].cost) > 0  # what it would cost from the first item on


def test_what_is_answered_costs_nothing_again() -> None:
    rows = items(20)
    journal = answered_by([row.id for row in rows[:15]], ["generate", "judge"])
    made = from_items(config(), rows, answered=journal)
    assert (made.reused, value(made.calls)) == (15, 10)
    assert value(made.cost) == pytest.approx(value(from_items(config(), rows[15:]).cost))


def test_after_a_change_of_the_judge_only_judging_is_paid_and_the_real_answers_are_counted() -> (
    None
):
    rows = items(20)
    journal = answered_by([row.id for row in rows], ["generate"], text="Paris")
    made = from_items(config(), rows, answered=journal)
    generate, judge = made.steps
    assert value(generate.calls) == value(generate.cost) == 0
    assert value(judge.calls) == 20
    assert judge.input_tokens.low == high(judge.input_tokens)  # no answer is left to assume
    whole = from_items(config(), rows).steps[1]
    saved = value(whole.input_tokens) - value(judge.input_tokens)
    assert saved == 20 * (300 - counter("gpt-4o-mini").count("Paris"))


def test_items_at_different_points_of_the_chain_are_not_mixed() -> None:
    rows = items(100)
    begun = answered_by([row.id for row in rows[:90]], ["generate"])
    made = from_items(config(), rows, answered=begun, most=10)
    assert [value(step.calls) for step in made.steps] == [10, 100]


def test_items_that_are_not_given_count_as_unanswered() -> None:
    rows = items(20)
    journal = answered_by([row.id for row in rows], ["generate", "judge"])
    made = from_items(config(), rows, 1000, answered=journal)
    assert (made.reused, value(made.calls)) == (20, 2 * 980)
    fresh = from_items(config(), rows, 980)
    assert value(made.cost) == pytest.approx(value(fresh.cost))


def test_a_verdict_that_could_not_be_read_leaves_one_call() -> None:
    journal = answered_by(["item-0"], ["generate"])

    def answered(request: Request) -> Call | None:
        if request.step != "judge":
            return journal(request)
        if len(request.messages) > 1:  # the second request, which names the problem
            return None
        return Call(request, (), completion=Completion("fine", request.model, "stop", None))

    made = from_items(config(), items(1), answered=answered)
    assert [value(step.calls) for step in made.steps] == [0, 1]


def test_the_longest_prompts_are_named_longest_first() -> None:
    rows = items(50, lambda i: "word " * (i * 37 % 50))
    made = from_items(config(), rows)
    by_length = sorted(rows, key=lambda row: -len(row.fields["question"]))
    for step in made.steps:
        assert [item_id for _, item_id in step.longest] == [row.id for row in by_length[:3]]
        tokens = [tokens for tokens, _ in step.longest]
        assert tokens == sorted(tokens, reverse=True)


def test_progress_is_told_up_to_the_last_prompt() -> None:
    seen: list[int] = []
    estimate_from_items(
        single("gpt-4o", "Hi", max_tokens=9), items(450), 450, 450, progress=seen.append
    )
    assert seen == [200, 400, 450]


def test_a_prompt_that_only_a_real_answer_can_fill_is_guessed_and_not_an_error() -> None:
    settings = config()
    judge = settings.steps[1].model_copy(update={"prompt": "{{ (generate | int) // 0 }}"})
    settings = settings.model_copy(update={"steps": (settings.steps[0], judge)})
    made = from_items(settings, items(5))
    assert value(made.steps[1].calls) == 5 and value(made.steps[1].input_tokens) > 0


def test_items_that_cannot_be_asked_are_counted_and_the_first_is_named() -> None:
    rows = items(10)
    rows[3] = Item("odd", {"text": "no question"})
    made = from_items(config(), rows)
    warning = next(
        each for each in made.warnings if "cannot be put into the prompt" in each.message
    )
    assert warning.message.startswith("1 item of the 10 looked at")
    assert "'odd'" in warning.message and "question" in warning.message


def test_a_prompt_that_no_item_can_fill_is_an_error() -> None:
    with pytest.raises(ConfigError, match="question"):
        from_items(config(), [Item("a", {"text": "x"}), Item("b", {"text": "y"})])


def test_no_items_are_an_error() -> None:
    with pytest.raises(ConfigError, match="no items"):
        from_items(config(), [], 5)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=20), st.integers(1, 20), st.integers(0, 50)
)
def test_ranges_are_in_order_and_grow_with_the_items(
    lengths: list[int], most: int, extra: int
) -> None:
    rows = items(len(lengths), lambda i: "word " * lengths[i])
    made = from_items(config("gpt-4", "claude-sonnet-4-5"), rows, len(rows) + extra, most=most)
    for name, interval in intervals(made).items():
        assert interval.low is not None and interval.high is not None, name
        assert 0 <= interval.low <= value(interval) <= interval.high, name
    more = from_items(config("gpt-4", "claude-sonnet-4-5"), rows, len(rows) + extra + 1, most=most)
    if most >= len(rows):
        assert value(more.cost) > value(made.cost)


def test_the_verb_reads_the_data_of_the_config(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"id": "{i}", "question": "What is {i}?"}}\n' for i in range(50)))
    settings = config(data={"path": str(path)}, sample={"size": 20})
    made = estimate(settings)
    assert (made.n, made.population, made.counted) == (20, 50, 20)
    assert estimate(settings, sample=0).n == 50
    larger = estimate(settings, 1000)
    assert (larger.n, larger.population, larger.counted) == (1000, 1000, 50)
    part = estimate(settings, 1000, sample=10)
    assert (part.n, part.population, part.counted) == (10, 1000, 10)
