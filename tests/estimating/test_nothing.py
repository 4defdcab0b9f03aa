"""Estimates without data: the yardstick of the users' guide, prices, and where time goes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.chain.config import load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.engines import ENGINES
from llm_batch.estimating import Estimate, estimate, estimate_from_nothing
from llm_batch.models.prices import tariff_of
from llm_batch.records import Usage
from llm_batch.sending.limits import BURST_SECONDS, SHARE
from llm_batch.sending.providers import embedded
from tests.estimating.made import TODAY, config, high, intervals, said, single, value


def nothing(settings: Any, n: int, **more: Any) -> Estimate:
    return estimate_from_nothing(settings, n, today=TODAY, **more)


def test_a_gpt_4_judge_over_30_000_items_costs_about_950_dollars_and_may_pass_1_000(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMB_CONFIG", raising=False)
    built_in = load_config(flags=Overrides(model="gpt-4o-mini", judge="gpt-4"))
    for settings in (built_in, config("gpt-4o-mini", "gpt-4")):
        made = estimate(settings, 30_000)
        assert value(made.calls) == 60_000
        assert 930 <= value(made.cost) <= 970
        assert high(made.cost) > 1_000
        assert value(made.steps[0].input_tokens) == 30_000 * 300
        assert value(made.steps[1].input_tokens) == 30_000 * 750
        assert value(made.steps[1].output_tokens) == 30_000 * 150


@pytest.mark.parametrize(
    "model",
    ["gpt-4o-mini", "gpt-4.1-mini", "gpt-4.1-nano", "claude-haiku-4-5", "deepseek/deepseek-chat"],
)
def test_cheap_models_cost_tens_of_dollars_and_at_most_200(model: str) -> None:
    made = nothing(config(model, model), 30_000)
    assert value(made.cost) < 100
    assert high(made.cost) <= 200


def test_a_model_that_thinks_is_cheap_only_where_max_tokens_holds_it() -> None:
    flash = "gemini/gemini-2.5-flash"
    capped = nothing(config(flash, flash, cap=300, judge_cap=200), 30_000)
    assert value(capped.cost) < 100 and high(capped.cost) <= 200
    assert "allows 300 tokens for both" in said(capped)
    free = nothing(config(flash, flash), 30_000)
    assert value(free.output_tokens) == 30_000 * (300 + 1000 + 150 + 1000)
    assert high(free.output_tokens) == 30_000 * (600 + 10_000 + 300 + 10_000)
    assert value(free.steps[1].input_tokens) == 30_000 * 750  # thoughts are not passed on


@pytest.mark.parametrize(
    ("model", "params", "thinks"),
    [
        ("gpt-5", {}, True),
        ("openai/gpt-5-mini", {}, True),
        ("gpt-5", {"reasoning_effort": "minimal"}, False),
        ("o3", {}, True),
        ("gpt-4o", {}, False),
        ("claude-sonnet-4-5", {}, False),
        ("claude-sonnet-4-5", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, True),
        ("claude-sonnet-4-5", {"reasoning_effort": "low"}, True),
        ("gemini/gemini-2.5-flash-lite", {}, False),
        ("gemini/gemini-2.5-pro", {}, True),
    ],
)
def test_thinking_is_expected_of_models_that_do_it_unasked_and_of_those_asked(
    model: str, params: dict[str, Any], thinks: bool
) -> None:
    made = nothing(single(model, params=params), 1)
    assert (value(made.output_tokens) > 300) is thinks
    assert any("thinks before it answers" in line for line in made.assumptions) is thinks


def test_500_items_with_5_workers_take_10_minutes() -> None:
    made = nothing(config(), 500)
    assert value(made.seconds) == 600
    assert made.bound_by == "Limited by 5 workers at 3 s a call."


@pytest.mark.parametrize(("workers", "low", "high"), [(5, 60, 100), (50, 600, 1000)])
def test_workers_make_so_many_requests_a_minute(workers: int, low: float, high: float) -> None:
    made = nothing(config(limits={"workers": workers}), 30_000)
    assert made.requests_per_minute == pytest.approx((low, high))


def test_options_show_the_sizes_of_the_guide_with_their_margins() -> None:
    made = nothing(config("gpt-4o-mini", "gpt-4"), 30_000)
    assert [option.n for option in made.options] == [20, 380, 384, 500, 1000, 30_000]
    margins = [round(100 * (option.margin or 0), 2) for option in made.options]
    assert margins == [21.91, 5.0, 4.97, 4.35, 3.05, 0]
    assert [option.calls for option in made.options] == [40, 760, 768, 1000, 2000, 60_000]
    assert value(made.options[-1].cost) == pytest.approx(value(made.cost))
    assert value(made.options[3].cost) == pytest.approx(value(made.cost) / 60)
    advice = made.advice
    assert (advice.n_classic, advice.n_min, advice.n_fpc) == (384, 385, 380)


def test_options_leave_out_sizes_that_the_dataset_does_not_have() -> None:
    made = nothing(config(), 100, population=450)
    assert [(o.n, o.label) for o in made.options] == [
        (20, "pilot"),
        (100, "this plan"),
        (208, "claim"),
        (384, "textbook"),
        (450, "all"),
    ]


def test_a_sample_of_a_larger_whole_costs_its_share() -> None:
    whole, part = nothing(config(), 30_000), nothing(config(), 300, population=30_000)
    assert value(part.cost) == pytest.approx(value(whole.cost) / 100)
    assert value(part.options[-1].cost) == pytest.approx(value(whole.cost))


def test_an_unknown_price_is_unknown_and_never_zero() -> None:
    made = nothing(config("gpt-4o-mini", "openai/nosuch"), 1000)
    assert made.cost is None
    assert made.steps[1].cost is None and made.steps[1].price is None
    assert all(option.cost is None for option in made.options)
    assert value(made.priced_cost) == pytest.approx(value(made.steps[0].cost)) != 0
    assert '[models."openai/nosuch"]' in said(made)


def test_a_model_nobody_serves_is_estimated_and_named() -> None:
    made = nothing(single("nosuch"), 10)
    assert value(made.calls) == 10
    assert made.warnings[0].message == "This cannot be run yet: model 'nosuch' is not known."


def test_prices_of_the_config_win_and_are_named_as_the_source() -> None:
    own = {"openai/mine": {"input_price": 1, "output_price": 2}}
    made = nothing(single("openai/mine", max_tokens=300, models=own), 1_000_000)
    assert value(made.cost) == pytest.approx(300 * 1 + 300 * 2)
    assert made.steps[0].price is not None and made.steps[0].price.source == "config"


def test_each_price_says_which_entry_page_and_version_it_comes_from() -> None:
    step = nothing(config("gpt-4o", "gpt-4"), 10).steps[0]
    assert step.price is not None
    assert "entry gpt-4o (openai)" in step.price.source and step.price.as_of.startswith("litellm ")
    assert step.price_page.startswith("https://")
    assert nothing(config("gpt-4o", "gpt-4"), 10).steps[1].deprecated_from == "2026-10-23"
    own = nothing(single("gpt-4o", models={"gpt-4o": {"input_price": 1, "output_price": 2}}), 10)
    assert own.steps[0].price_page == ""


def test_a_dearer_service_tier_is_priced_as_such() -> None:
    plain, quick = (
        nothing(single("gpt-5", params={"service_tier": tier}, max_tokens=9000), 1)
        for tier in ("default", "priority")
    )
    assert value(quick.cost) > 1.5 * value(plain.cost)


def test_many_short_requests_are_not_priced_as_one_long_one() -> None:
    tariff = tariff_of("gemini/gemini-2.5-pro")
    assert tariff is not None and len(tariff.standard) > 1  # dearer above 200,000 tokens
    made = nothing(single("gemini/gemini-2.5-pro", params={"reasoning_effort": "none"}), 10_000)
    assert value(made.cost) == pytest.approx(10_000 * tariff.cost(Usage(300, 300)))


def test_local_and_simulated_models_are_free_and_have_no_limit() -> None:
    for model in ("local/smollm2-135m-instruct", "fake/x"):
        made = nothing(config(model, model, limits={"workers": 50}), 30_000)
        assert value(made.cost) == high(made.cost) == 0
        assert "requests a minute" not in said(made)
        assert not any("No rate limit set" in line for line in made.assumptions)


def test_an_embedded_model_computes_four_calls_at_once() -> None:
    made = nothing(single("local/smollm2-135m-instruct", limits={"workers": 10}), 400)
    assert (made.seconds.low, value(made.seconds), high(made.seconds)) == (30, 100, 400)
    assert "this machine" in made.bound_by


def test_a_simulated_model_is_as_slow_as_the_config_says() -> None:
    own = {"fake/x": {"latency": 0.5}}
    made = nothing(single("fake/x", limits={"workers": 10}, models=own), 1000)
    assert made.seconds.low == value(made.seconds) == high(made.seconds) == 50


def test_a_server_on_this_machine_has_no_assumed_limit() -> None:
    for url, limited in (("http://127.0.0.1:8000/v1", False), ("http://10.0.0.7/v1", True)):
        own = {"openai/mine": {"api_base": url}}
        made = nothing(single("openai/mine", limits={"workers": 50}, models=own), 30_000)
        assert any("No rate limit set" in line for line in made.assumptions) is limited
        assert ("run allows 10 without a rate limit" in said(made)) is limited
        assert (value(made.seconds) > 30_000 * 3 / 50) is limited


def test_a_key_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    own = {"gpt-4o": {"api_key_env": "NO_SUCH_KEY"}}
    assert value(nothing(single("gpt-4o", models=own), 10).cost) > 0


def test_requests_a_minute_of_the_slowest_model_bind() -> None:
    own = {"gpt-4o": {"rpm": 100}, "gpt-4o-mini": {"rpm": 10_000}}
    made = nothing(config("gpt-4o-mini", "gpt-4o", limits={"workers": 50}, models=own), 1000)
    # The generator's call comes before the first and 3 s after the last; half a second's
    # requests go at once, which is less than one here.
    assert value(made.seconds) == pytest.approx(60 * 999 / (100 * SHARE) + 3 + 3)
    assert made.bound_by == (
        "Limited by 100 requests a minute of gpt-4o; more workers will not help; batch would take "
        "up to 24 h at half the price."
    )
    # 2,000 calls of 3 s in that time keep 10 workers busy.
    assert "--workers 10 is enough" in said(made)


def test_steps_with_one_model_share_its_limit() -> None:
    made = nothing(config(limits={"workers": 50, "rpm": 100}), 1000)
    assert value(made.seconds) == pytest.approx(60 * 1999 / (100 * SHARE) + 3)


def test_tokens_a_minute_bind_where_they_are_scarcer_than_requests() -> None:
    limits = {"workers": 10, "rpm": 10_000, "tpm": 30_000}
    made = nothing(single("gpt-4o", max_tokens=500, limits=limits), 1000)
    # OpenAI counts the larger of prompt and max_tokens.
    assert value(made.seconds) == pytest.approx(60 * 999 * 500 / (30_000 * SHARE) + 3)
    assert "30,000 tokens a minute of gpt-4o" in made.bound_by


def test_a_tier_limits_what_nobody_set_and_says_its_date() -> None:
    settings = single("gpt-4o", max_tokens=500, limits={"workers": 50, "tier": "openai-1"})
    made = nothing(settings, 5000)
    assert value(made.seconds) == pytest.approx(60 * 4999 * 500 / (30_000 * SHARE) + 3)
    assert made.bound_by == (
        "Limited by 30,000 tokens a minute of gpt-4o; more workers will not help; batch would take "
        "up to 24 h at half the price."
    )
    assert any("openai-1" in line and "2025-10" in line for line in made.assumptions)
    assert "run allows" not in said(made)
    own = single("gpt-4o", limits={"workers": 50, "tier": "openai-1", "tpm": 10**9, "rpm": 10**6})
    assert "tokens a minute" not in nothing(own, 5000).bound_by


def test_tokens_of_answers_bind_where_a_vendor_limits_them_apart() -> None:
    settings = single("claude-haiku-4-5", max_tokens=300, limits={"tier": "anthropic-1"})
    made = nothing(settings, 1000)
    assert "10,000 tokens of answers a minute of claude-haiku-4-5" in made.bound_by
    assert value(made.seconds) == pytest.approx(60 * 1000 * 300 / 10_000)


def test_requests_a_day_bind_runs_that_are_longer() -> None:
    settings = single("gpt-4o-mini", limits={"workers": 50, "tier": "openai-1"}, max_tokens=10)
    assert "a day" not in nothing(settings, 10_000).bound_by
    made = nothing(settings, 25_000)
    assert "10,000 requests a day of gpt-4o-mini" in made.bound_by
    assert value(made.seconds) == 2 * 86_400


def test_the_last_row_of_items_is_half_empty_in_the_mean() -> None:
    made = nothing(config(limits={"workers": 10}), 25)
    assert (made.seconds.low, value(made.seconds)) == (pytest.approx(15), pytest.approx(16.5))
    assert high(made.seconds) == 3 * 10


def test_reasoning_is_assumed_within_a_wide_range_that_depends_on_the_effort() -> None:
    spans = []
    for effort in ("low", "medium", "high"):
        made = nothing(single("gpt-5", params={"reasoning_effort": effort}), 10)
        spans.append((value(made.steps[0].reasoning_tokens), high(made.steps[0].reasoning_tokens)))
    assert spans == sorted(spans)
    assert all(most > 5 * expected for expected, most in spans)
    assert value(nothing(single("gpt-4o"), 10).steps[0].reasoning_tokens) == 0


def test_a_batch_is_priced_beside_the_live_run_where_a_price_is_listed() -> None:
    half = nothing(config("gpt-4o-mini", "gpt-4o-mini"), 1000)
    assert value(half.batch_cost) == pytest.approx(value(half.cost) / 2)
    part = nothing(config("gpt-4o-mini", "deepseek/deepseek-chat"), 1000)
    saved = value(part.steps[0].cost) - value(part.steps[0].batch_cost)
    assert part.steps[1].batch_cost is None
    assert value(part.batch_cost) == pytest.approx(value(part.cost) - saved)
    none = config("deepseek/deepseek-chat", "deepseek/deepseek-reasoner")
    assert nothing(none, 1000).batch_cost is None
    assert nothing(config("gpt-4", "gpt-4"), 1000).batch_cost is not None
    assert nothing(config("gpt-4o", "openai/nosuch"), 1000).batch_cost is None


def test_the_batch_engine_costs_the_batch_price_and_takes_up_to_a_day_a_step() -> None:
    live = nothing(config("gpt-4o-mini", "gpt-4o-mini"), 1000)
    made = nothing(config("gpt-4o-mini", "gpt-4o-mini", run={"engine": "batch"}), 1000)
    assert value(made.cost) == pytest.approx(value(live.batch_cost))
    assert made.batch_cost is None and made.cached_cost is None
    assert high(made.seconds) == 2 * 86_400
    assert made.bound_by == "Limited by the provider's batches, up to 24 h for each of 2 steps."
    assert made.requests_per_minute == (0, 0)  # no worker makes any of its calls
    mixed = nothing(config("gpt-4o-mini", "deepseek/x", run={"engine": "batch"}), 1000)
    assert 0 < mixed.requests_per_minute[1] == pytest.approx(live.requests_per_minute[1], rel=0.5)
    own = {"gpt-4o-mini": {"batch_input_price": 1, "batch_output_price": 1}}
    priced = nothing(single("gpt-4o-mini", max_tokens=300, models=own, run={"engine": "batch"}), 10)
    assert value(priced.cost) == pytest.approx(10 * 600e-6)


def test_workers_flood_nobody_with_what_goes_by_batch() -> None:
    many = {"workers": 200}
    live = nothing(config("gpt-4o-mini", "gpt-4o-mini", limits=many), 1000)
    made = nothing(config("gpt-4o-mini", "gpt-4o-mini", run={"engine": "batch"}, limits=many), 1000)
    assert any("flooding" in caution for caution, _ in live.warnings)
    assert not any("requests a minute" in caution for caution, _ in made.warnings)


def test_several_endpoints_have_their_limits_together() -> None:
    places = [{"api_base": f"http://10.0.0.{i}/v1", "rpm": rpm} for i, rpm in ((1, 60), (2, 40))]
    own = {"openai/mine": {"endpoints": places}}
    made = nothing(single("openai/mine", limits={"workers": 50}, models=own), 1000)
    assert made.bound_by == (
        "Limited by 100 requests a minute of openai/mine; more workers will not help."
    )


def test_without_any_limit_500_requests_a_minute_are_assumed_and_said() -> None:
    made = nothing(single("gpt-4o", limits={"workers": 1000}), 5000)
    assert value(made.seconds) == pytest.approx(60 * 5000 / (500 * SHARE) - BURST_SECONDS + 3)
    assert any("500 requests a minute" in line for line in made.assumptions)
    assert "(assumed)" in made.bound_by


def test_the_serial_engine_has_one_worker() -> None:
    made = nothing(config(limits={"workers": 5}, run={"engine": "serial"}), 10)
    assert made.workers == 1
    assert value(made.seconds) == 10 * 2 * 3


def test_a_single_item_takes_its_calls_one_after_the_other() -> None:
    assert value(nothing(config(limits={"workers": 10}), 1).seconds) == 6


@pytest.mark.parametrize(("n", "population"), [(0, None), (11, 10)])
def test_impossible_numbers_are_refused(n: int, population: int | None) -> None:
    with pytest.raises(ValueError):
        nothing(config(), n, population=population)


MODELS = st.sampled_from(
    ["gpt-4o-mini", "gpt-4", "gpt-5", "gemini/gemini-2.5-pro", "local/x", "fake/x", "nosuch"]
)
CAPS = st.none() | st.integers(1, 20_000)
LIMITS = st.fixed_dictionaries(
    {"workers": st.integers(1, 1000)},
    optional={"rpm": st.floats(1, 1e5), "tpm": st.floats(100, 1e7)},
)


@given(MODELS, MODELS, CAPS, CAPS, LIMITS, st.integers(1, 10**7))
def test_low_expected_and_high_are_in_order(
    generator: str,
    judge: str,
    cap: int | None,
    judge_cap: int | None,
    limits: dict[str, Any],
    n: int,
) -> None:
    settings = config(generator, judge, cap=cap, judge_cap=judge_cap, limits=limits)
    for name, interval in intervals(nothing(settings, n)).items():
        assert interval.value is not None and interval.low is not None, name
        assert interval.high is not None and interval.level == 0, name
        assert 0 <= interval.low <= interval.value <= interval.high, name


@given(MODELS, LIMITS, st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_items_cost_more_and_take_longer(
    model: str, limits: dict[str, Any], n: int, more: int
) -> None:
    settings = config(model, "gpt-4o", limits=limits)
    less, many = nothing(settings, n), nothing(settings, n + more)
    assert value(less.priced_cost) < value(many.priced_cost)
    assert value(less.calls) < value(many.calls)
    assert value(less.seconds) <= value(many.seconds)


@given(MODELS, LIMITS, st.integers(1, 100), st.integers(1, 10**5))
def test_more_workers_never_take_longer(
    model: str, limits: dict[str, Any], more: int, n: int
) -> None:
    quicker = {**limits, "workers": min(1000, limits["workers"] + more)}
    slow, quick = (nothing(config(model, limits=each), n) for each in (limits, quicker))
    assert value(quick.seconds) <= value(slow.seconds)


def test_the_verb_takes_n_as_the_whole_and_sample_as_what_is_played() -> None:
    made = estimate(config(), 30_000, sample=384)
    assert (made.n, made.population, value(made.calls)) == (384, 30_000, 768)
    assert estimate(config(), 30_000, sample=0).n == 30_000
    assert estimate(config(), 100, sample=384).n == 100


def test_an_estimate_from_nothing_loads_no_slow_package() -> None:
    program = """
import sys
from llm_batch.chain.config import load_config, Overrides
from llm_batch.estimating import FORMATS, estimate
settings = load_config(flags=Overrides(model="gpt-4o-mini", judge="gpt-4"))
for write in FORMATS.values():
    write(estimate(settings, 30_000))
slow = {"litellm", "tiktoken", "scipy", "numpy", "pyarrow", "urllib3"}
print(sorted(slow & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("workers", "low", "value", "high"),
    [
        # A call: 300 tokens (150 to 600) at 10 ms each, and 60 (18 to 600) at 20 ms.
        (1, 0.7 * (1.5 + 0.36), 3 + 1.2, 1.6 * (6 + 12)),
        # Four prompts wait for one another; of four answers a token takes between one and four.
        (4, 0.7 * (6 + 0.36), 12 + 2.5 * 1.2, 1.6 * (24 + 4 * 12)),
    ],
    ids=["alone", "four at once"],
)
def test_the_time_of_an_embedded_model_is_what_this_machine_takes(
    workers: int, low: float, value: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "measured_speed", lambda name: (0.01, 0.02))
    made = nothing(single("local/smollm2-135m-instruct", limits={"workers": workers}), 400)
    each = made.steps[0].seconds_per_call
    assert (each.low, each.value, each.high) == pytest.approx((low, value, high))
    assert made.seconds.value == pytest.approx(400 / workers * value)
    told = "10 ms per token read, 20 ms per token written"
    assert any(told in line for line in made.assumptions)


def test_an_object_of_labels_alone_is_as_long_as_the_labels() -> None:
    def tokens(fields: dict[str, Any], cap: int | None) -> tuple[float | None, ...]:
        made = nothing(single("openai/gpt-4o-mini", output=fields, max_tokens=cap), 1)
        found = made.steps[0].output_tokens
        return found.low, found.value, found.high

    label = {"type": "string", "choices": ["yes", "perhaps"]}
    # {"label": "perhaps"} has 20 bytes.
    assert tokens({"label": label}, 100) == (2, 7, 100)
    assert tokens({"label": label}, None) == (2, 7, 300)
    assert tokens({"label": label, "why": {"type": "string"}}, 100) == (30, 100, 100)
    assert tokens({"right": {"type": "boolean"}}, 100) == (2, 6, 100)


def test_an_embedded_model_that_is_not_here_is_assumed() -> None:
    made = nothing(single("local/x", limits={"workers": 10}), 400)
    assert not any("measured on this machine" in line for line in made.assumptions)


def test_the_rule_of_thumb_on_the_page_is_what_the_prices_give() -> None:
    page = Path(__file__).parents[2] / "docs" / "estimate.md"
    text = " ".join(page.read_text(encoding="utf-8").split())
    (told,) = re.findall(r"\*\*\"30,000 items cost \$50 to \$200.*?`gpt-4o`\.", text)
    for model in ("claude-haiku-4-5", "gpt-4o-mini", "gpt-4o"):
        cost = value(nothing(config(model, model), 30_000).cost)
        assert f"${cost:.2f} with `{model}`" in told
        assert (50 <= cost <= 200) == (model == "claude-haiku-4-5")
    cheap = value(nothing(config("gpt-4o-mini", "gpt-4o-mini"), 30_000).cost)
    assert f"{50 / cheap:.1f} to {200 / cheap:.1f} times as long" in told


@pytest.mark.parametrize(
    ("engine", "carrier", "beyond"),
    [
        ("threads", "one process", "--engine ray"),
        ("ray", "the driver of a Ray run", "--shard 1/4"),
    ],
)
def test_no_number_of_workers_makes_more_than_a_process_does(
    engine: str, carrier: str, beyond: str
) -> None:
    def made(workers: int, model: str = "openai/mine") -> Estimate:
        own = {"openai/mine": {"api_base": "http://127.0.0.1:8000/v1"}}
        limits = {"workers": workers, "rpm": 10**7}
        return nothing(single(model, limits=limits, models=own, run={"engine": engine}), 100_000)

    few, many, rate = made(1000), made(20_000), ENGINES[engine].calls_per_second
    assert value(few.seconds) == pytest.approx(100_000 * 3 / 1000)
    assert "one process" not in said(few)
    assert (value(many.seconds), high(many.seconds)) == pytest.approx((1e5 / rate, 2e5 / rate))
    assert f"Limited by {carrier}, which makes about {rate:,.0f} calls a second" in many.bound_by
    (hint,) = [hint for what, hint in many.warnings if carrier in what]
    assert f"--workers {rate * 3:.0f} is enough" in hint and beyond in hint
    # A rehearsal sends nothing.
    assert "process" not in made(20_000, "fake/x").bound_by
