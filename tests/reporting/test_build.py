"""What a report says about results of every kind, degenerate ones first."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_batch.errors import ConfigError
from llm_batch.records import Result
from llm_batch.reporting import FORMATS, Report, build_report
from llm_batch.reporting.reference import CHECK_LIMIT
from llm_batch.stats.interval import jeffreys, one_sided_bound, wilson, wilson_finite
from llm_batch.stats.means import mean_t
from tests.reporting.made import full_manifest, manifest, result, write

FAILED = [result(n, None, status="timeout", error="generate: too slow") for n in range(3)]


def _said(report: Report) -> str:
    return "\n".join(report.warnings)


def _degenerate() -> dict[str, tuple[list[Result], dict[str, Any] | None]]:
    return {
        "none": ([], None),
        "none with a manifest": ([], full_manifest()),
        "one": ([result(0)], full_manifest()),
        "one failed": (FAILED[:1], full_manifest()),
        "all pass": ([result(n) for n in range(40)], full_manifest()),
        "all fail the bar": ([result(n, 1.0) for n in range(40)], full_manifest()),
        "all failed": (FAILED, full_manifest()),
        "all failed without a manifest": (FAILED, None),
        "no score configured": ([result(n, None) for n in range(3)], full_manifest(score={})),
        "no pass_at": (
            [result(n, 3.0, pass_at=None) for n in range(3)],
            manifest(score={"field": "judge.score", "pass_at": None}),
        ),
        "no manifest": ([result(n) for n in range(3)], None),
        "unknown costs": ([result(n, cost=None) for n in range(3)], full_manifest()),
        "simulated": ([result(n, simulated=True) for n in range(3)], None),
        "huge scores": ([result(n, 1.7e308) for n in range(3)], full_manifest()),
        "many values": ([result(n, n / 7) for n in range(100)], full_manifest()),
        "free": ([result(n, cost=0.0) for n in range(3)], full_manifest()),
    }


@pytest.mark.parametrize("case", _degenerate())
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_shows_degenerate_results(case: str, name: str, tmp_path: Path) -> None:
    results, manifest = _degenerate()[case]
    report = build_report(write(tmp_path, results, manifest))
    text = FORMATS[name](report)
    assert report.headline
    for word in ("nan", "inf"):
        assert word not in text.casefold().replace("information", "").split()
    if name == "json":
        assert msgspec.json.decode(text)["headline"] == report.headline


@pytest.mark.parametrize("case", _degenerate())
def test_no_figure_is_nan_or_infinite(case: str, tmp_path: Path) -> None:
    results, manifest = _degenerate()[case]

    def check(value: object) -> None:
        if isinstance(value, float):
            assert math.isfinite(value)
        elif isinstance(value, dict):
            for member in value.values():
                check(member)
        elif isinstance(value, list):
            for member in value:
                check(member)

    check(dataclasses.asdict(build_report(write(tmp_path, results, manifest))))


def test_an_empty_file_gives_nulls_and_a_sentence(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [], full_manifest()))
    assert report.headline == "No results yet: the file holds no items"
    assert report.pass_rate.rate.value is None
    assert report.scores.mean.value is None
    assert report.scores.sd is None
    assert report.items.coverage == 0
    assert report.money.per_item is None


def test_one_item_has_no_spread(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [result(0)], manifest()))
    assert report.scores.mean.value == 5
    assert report.scores.mean.low is None
    assert report.scores.sd is None
    assert "Only 1 item scored" in _said(report)


@pytest.mark.parametrize(
    ("score", "side", "words"), [(5.0, "lower", "All 40"), (1.0, "upper", "None of 40")]
)
def test_all_alike_get_an_exact_one_sided_bound(
    score: float, side: Any, words: str, tmp_path: Path
) -> None:
    report = build_report(write(tmp_path, [result(n, score) for n in range(40)]))
    assert report.pass_rate.bound == one_sided_bound(40 if score == 5 else 0, 40, side)
    assert words in FORMATS["full"](report)
    assert "Every score is" in _said(report)


def test_all_failed_is_said_in_the_headline_and_by_kind(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, FAILED, manifest(planned=3)))
    assert report.headline == "No result: all 3 items failed"
    status = report.statuses[0]
    assert (status.kind, status.n, status.example_id) == ("timeout", 3, "item-0")
    assert status.example_error == "generate: too slow"
    assert (report.pass_rate.least, report.pass_rate.most) == (0, 1)
    assert "tries 3 items again" in report.next_steps[0]


def test_without_a_score_the_answers_are_counted(tmp_path: Path) -> None:
    results = [result(n, None) for n in range(3)]
    report = build_report(write(tmp_path, results, manifest(score={}, planned=4)))
    assert report.headline == "3 of 3 items answered; none of them has a score"
    assert report.items.coverage == 0.75
    assert report.run.judge == ""
    assert "judge" not in _said(report)


def test_without_pass_at_there_is_a_mean_and_advice(tmp_path: Path) -> None:
    results = [result(n, float(n), pass_at=None) for n in range(3)]
    rule = {"field": "judge.score", "pass_at": None}
    report = build_report(write(tmp_path, results, manifest(score=rule, planned=3)))
    assert report.headline.startswith("Mean score 1.00 (95 % interval")
    assert report.pass_rate.rate.value is None
    assert report.pass_rate.missing == 0
    assert any("pass_at" in step for step in report.next_steps)


def test_without_a_manifest_the_report_says_what_it_does_not_know(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [result(n) for n in range(3)]))
    assert (report.items.population, report.items.planned, report.run.models) == (None, None, {})
    assert report.pass_rate.estimand == "future items like these"
    assert "There is no results.manifest.json beside the results" in _said(report)
    assert [step.step for step in report.steps] == ["generate", "judge"]
    assert report.judge_check is not None
    assert report.judge_check.step == "generate"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"sample": {"size": "many"}}', b"\xff"])
def test_a_manifest_that_cannot_be_read_is_a_warning(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, [result(0)])
    (tmp_path / "results.manifest.json").write_bytes(content)
    report = build_report(path)
    assert report.items.read == 1
    assert "results.manifest.json cannot be read" in _said(report)


def test_unknown_costs_are_null_and_never_zero(tmp_path: Path) -> None:
    results = [result(0), result(1, cost=None)]
    report = build_report(write(tmp_path, results, full_manifest()))
    assert report.total.cost is None
    assert report.total.unpriced == 1
    assert report.total.known_cost == pytest.approx(0.002)
    assert (report.money.per_item, report.money.whole_dataset) == (None, None)
    assert "The cost of 1 item is unknown" in _said(report)
    assert "$0.0020" in _said(report)


def test_simulated_results_say_so_in_every_format(tmp_path: Path) -> None:
    results = [result(0, simulated=True), result(1)]
    report = build_report(write(tmp_path, results))
    assert report.run.simulated
    assert "a fake provider gave 1 of the answers" in _said(report)
    for name in set(FORMATS) - {"csv"}:
        assert "SIMULATED" in FORMATS[name](report)
    lines = FORMATS["csv"](report).splitlines()
    marked = lines[0].split(",").index("simulated")
    assert [line.split(",")[marked] for line in lines[1:]] == ["true", "false"]


def test_a_sample_of_a_large_dataset_is_bounded_by_wilson(tmp_path: Path) -> None:
    results = [result(n, 5.0 if n < 30 else 2.0) for n in range(40)]
    report = build_report(write(tmp_path, results, manifest(population=30_000, planned=40)))
    assert report.pass_rate.rate == wilson(30, 40)
    assert report.pass_rate.dataset is None
    assert "this dataset of 30,000 items" in report.pass_rate.estimand
    assert report.headline.endswith("Wilson), 40 of 30,000 items")


def test_a_large_share_of_the_dataset_is_bounded_for_the_dataset_and_for_the_future(
    tmp_path: Path,
) -> None:
    results = [result(n, 5.0 if n < 30 else 2.0) for n in range(40)]
    report = build_report(write(tmp_path, results, manifest(population=100, planned=40)), level=0.9)
    assert report.pass_rate.rate == wilson(30, 40, 0.9)
    assert report.pass_rate.dataset == wilson_finite(30, 40, 100, 0.9)
    assert report.pass_rate.estimand == "future items like these"
    scores = [5.0] * 30 + [2.0] * 10
    mean = mean_t(scores, 0.9)
    assert report.scores.mean.value == pytest.approx(mean.value)
    assert report.scores.mean.low == pytest.approx(mean.low)
    assert report.scores.dataset is not None
    assert report.scores.dataset.low == pytest.approx(mean_t(scores, 0.9, 100).low)


def test_no_format_shows_the_datasets_interval_as_the_figure(tmp_path: Path) -> None:
    results = [
        result(n, 5.0 if n < 30 else 2.0, fields={"category": "ab"[n % 2]}) for n in range(40)
    ]
    path = write(tmp_path, results, manifest(population=60, planned=40))
    report = build_report(path)
    first, second = wilson(30, 40), wilson_finite(30, 40, 60)
    for name in ("full", "md", "latex", "html"):
        shown = FORMATS[name](report)
        low = f"{100 * (first.low or 0):.1f}"
        assert low in shown, name
        finite = f"{100 * (second.low or 0):.1f}"
        assert name in ("latex", "html") or shown.index(low) < shown.index(finite)
    assert second.low is not None and f"{100 * second.low:.1f}" not in FORMATS["latex"](report)
    groups = report.groups
    assert groups is not None and groups.groups[0].pass_rate == wilson(15, 20)


def test_missing_verdicts_give_bounds_and_a_warning(tmp_path: Path) -> None:
    results = [result(n, 5.0 if n < 80 else 1.0) for n in range(95)]
    results += [result(100 + n, None, status="unparsed", error="judge: no score") for n in range(5)]
    report = build_report(write(tmp_path, results))
    assert report.pass_rate.missing == 5
    assert (report.pass_rate.least, report.pass_rate.most) == (0.80, 0.85)
    assert "5 items of 100 have no verdict" in _said(report)
    assert "80.0 %; if all had passed, 85.0 %. The interval covers both" in _said(report)
    rate = report.pass_rate.rate
    assert rate.method == "imbens-manski" and rate.low is not None and rate.high is not None
    assert rate.low < 0.8 < 0.85 < rate.high and rate.value == pytest.approx(80 / 95)


@pytest.mark.parametrize(
    ("missing", "method", "dataset"),
    [(50, "imbens-manski", (0.72, 0.82)), (5, "wilson", (360 / 455, 365 / 455))],
    ids=["a tenth", "hardly any"],
)
def test_what_failed_was_not_left_out_by_chance(
    missing: int, method: str, dataset: tuple[float, float], tmp_path: Path
) -> None:
    results = [result(n, 5.0 if n < 360 else 1.0) for n in range(450)]
    results += [result(500 + n, None, status="timeout") for n in range(missing)]
    n = 450 + missing
    report = build_report(write(tmp_path, results, manifest(population=n, planned=n)))
    found = report.pass_rate
    assert found.rate.method == method and found.dataset is not None
    # All were played: what the missing could make of it is all that is in doubt.
    assert (found.dataset.low, found.dataset.high) == pytest.approx(dataset)
    assert report.scores.dataset is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("budget", "stopped at its budget"),
        ("interrupted", "was interrupted"),
        ("running", "still going, or was killed"),
        ("refused", "provider refused"),
        ("circuit", "too many items failed"),
        ("overrun", "more than estimated"),
        ("done", "is not complete"),
    ],
)
def test_a_run_that_stopped_early_is_named_and_can_be_gone_on_with(
    status: str, words: str, tmp_path: Path
) -> None:
    results = [result(n) for n in range(5)]
    report = build_report(write(tmp_path, results, manifest(planned=12, status=status)))
    assert words in _said(report)
    assert "5 of 12 items planned are here" in _said(report)
    assert "plays the 7 items left" in report.next_steps[0]
    assert report.items.coverage == pytest.approx(5 / 12)


def test_repeated_ids_count_once_and_are_named(tmp_path: Path) -> None:
    results = [result(0), result(1), result(0, 1.0), result(0, 1.0)]
    report = build_report(write(tmp_path, results))
    assert (report.items.read, report.items.duplicates) == (2, 2)
    assert report.pass_rate.passed == 2
    assert "2 lines repeat an id seen before (the first is 'item-0')" in _said(report)


def test_repeated_ids_are_found_across_batches(tmp_path: Path) -> None:
    results = [result(n) for n in range(1500)] + [result(7)]
    report = build_report(write(tmp_path, results))
    assert (report.items.read, report.items.duplicates) == (1500, 1)


def test_more_results_than_the_dataset_has_items_leave_its_size_out(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [result(n) for n in range(5)], manifest(population=3)))
    assert report.items.population is None
    assert "The dataset had 3 items and the results have 5" in _said(report)


def test_scores_of_many_values_are_binned_and_none_is_lost(tmp_path: Path) -> None:
    results = [result(n, n / 7) for n in range(100)]
    bins = build_report(write(tmp_path, results)).scores.distribution
    assert len(bins) == 10
    assert sum(bin.n for bin in bins) == 100
    assert bins[-1].high == pytest.approx(99 / 7)


def test_scores_of_few_values_are_counted_by_value(tmp_path: Path) -> None:
    results = [result(n, float(n % 12)) for n in range(30)]
    bins = build_report(write(tmp_path, results)).scores.distribution
    assert [(bin.low, bin.high) for bin in bins] == [(float(n), float(n)) for n in range(12)]
    assert [bin.n for bin in bins] == [3] * 6 + [2] * 6


def test_scores_beyond_reason_are_left_out_and_counted(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [result(0, 1.7e308), result(1, 4.0)]))
    assert report.scores.mean.value == 4
    assert report.scores.excluded == 1
    assert "beyond 1e100" in _said(report)


def test_costs_tokens_and_times_add_up_by_step(tmp_path: Path) -> None:
    results = [result(n, seconds=float(n + 1)) for n in range(4)]
    results.append(result(9, None, status="timeout", error="generate: slow", seconds=9.0))
    report = build_report(write(tmp_path, results, full_manifest(population=100)))
    generate, judge = report.steps
    assert (generate.items, judge.items, report.total.items) == (5, 4, 5)
    assert (generate.attempts, judge.attempts, report.total.attempts) == (5, 8, 13)
    assert generate.usage.input_tokens == 200
    assert report.total.usage.input_tokens == 200 + 320
    assert report.total.usage.cache_read_tokens == 40
    assert report.total.usage.reasoning_tokens == 10
    assert generate.cost == pytest.approx(0.005)
    assert report.total.cost == pytest.approx(0.009)
    assert generate.latency_p50 == 3
    assert generate.latency_p95 == pytest.approx(4 + 0.8 * 5)
    assert report.money.per_item == pytest.approx(0.009 / 5)
    assert report.money.per_passed == pytest.approx(0.009 / 4)
    whole = report.money.whole_dataset
    assert whole is not None
    assert whole.value == pytest.approx(0.18)
    assert whole.low is not None and whole.low >= 0.009


def test_what_the_provider_says_it_cost_stands_beside_our_prices(tmp_path: Path) -> None:
    plain = result(0)
    told = replace(plain.steps["judge"], reported_cost=0.5, list_cost=0.25)
    results = [plain, replace(result(1), steps={**plain.steps, "judge": told})]
    report = build_report(write(tmp_path, results))
    assert (report.money.reported, report.money.listed) == (0.5, 0.25)
    text = " ".join(FORMATS["full"](report).split())
    assert "The provider said that its answers cost $0.50; by their tokens and our prices" in text
    assert "they cost $0.25." in text
    nothing = build_report(write(tmp_path, [plain]))
    assert (nothing.money.reported, nothing.money.listed) == (None, None)
    assert "The provider said" not in FORMATS["full"](nothing)


def test_the_estimate_stands_beside_what_it_came_to(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [result(n) for n in range(12)], full_manifest()))
    estimate = report.steps[0].estimate
    assert estimate is not None and estimate.cost is not None
    assert (estimate.calls, estimate.cost.expected) == (12, 0.014)
    assert report.steps[1].estimate is not None
    assert report.steps[1].estimate.cost is None
    assert report.run.expected_seconds is not None
    text = FORMATS["full"](report)
    assert "14 % less, in range" in text
    assert "4 % less, in range" in text


def test_worst_case_costs_are_a_warning(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [result(0, worst_case=True), result(1)]))
    assert report.money.worst_case_items == 1
    assert "The cost of 1 item is an upper bound" in _said(report)
    free = [result(0, worst_case=True, cost=0.0), result(1, cost=0.0)]
    assert "upper bound" not in _said(build_report(write(tmp_path, free)))


def _by(values: list[Any], stratum: bool = False) -> list[Result]:
    return [
        result(n, 5.0 if n % 2 else 1.0, fields={} if stratum else {"category": value, "x": 1},
               stratum=value if stratum else "")
        for n, value in enumerate(values)
    ]  # fmt: skip


def test_a_category_is_grouped_by_without_being_asked(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, _by(["b", "b", "b", "a", None])))
    assert report.groups is not None
    assert [(group.name, group.n) for group in report.groups.groups] == [
        ("b", 3),
        ("", 1),
        ("a", 1),
    ]
    assert report.groups.groups[0].pass_rate == wilson(1, 3)
    assert report.groups.groups[0].mean_score == pytest.approx(7 / 3)


@pytest.mark.parametrize("values", [["a"] * 5, [str(n) for n in range(51)]], ids=["one", "51"])
def test_one_value_or_more_than_fifty_make_no_category(values: list[str], tmp_path: Path) -> None:
    assert build_report(write(tmp_path, _by(values))).groups is None


def test_a_field_asked_for_is_grouped_by_whatever_its_type(tmp_path: Path) -> None:
    path = write(tmp_path, _by([1, 1.0, 2.5, True, ["x"], "1"]))
    report = build_report(path, by="category")
    assert report.groups is not None
    assert {group.name: group.n for group in report.groups.groups} == {
        "1": 3, "2.5": 1, "true": 1, '["x"]': 1,
    }  # fmt: skip


def test_strata_are_grouped_by_and_bounded_for_items_like_these(tmp_path: Path) -> None:
    results = _by(["a"] * 8 + ["b"] * 8, stratum=True)
    sizes = {"a": 10, "b": 1000}
    path = write(tmp_path, results, manifest(stratify="topic", strata=sizes, population=1010))
    report = build_report(path)
    assert report.groups is not None
    assert report.groups.field == "topic"
    first, second = report.groups.groups
    assert first.pass_rate == wilson(4, 8)
    assert second.pass_rate == wilson(4, 8)
    assert "overall figures are weighted for that" in _said(report)
    assert build_report(path, by="topic").groups == report.groups


def test_a_field_that_no_item_has_is_an_error_that_names_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, [result(0)])
    with pytest.raises(ConfigError, match="--by topic: no item") as caught:
        build_report(path, by="topic")
    assert "question, answer" in caught.value.hint
    with pytest.raises(ConfigError, match="--reference truth: no item"):
        build_report(path, reference="truth")


def test_a_field_with_a_value_per_item_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [result(n) for n in range(1001)])
    with pytest.raises(ConfigError, match="more than 1,000 different values"):
        build_report(path, by="question")


def test_a_field_named_with_quotes_can_be_grouped_by(tmp_path: Path) -> None:
    name = 'the "kind"\\'
    results = [result(n, fields={name: str(n % 2), "answer": "Paris"}) for n in range(4)]
    report = build_report(write(tmp_path, results), by=name)
    assert report.groups is not None
    assert len(report.groups.groups) == 2


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, float("nan")])
def test_a_level_that_is_none_is_refused(level: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="level"):
        build_report(write(tmp_path, []), level=level)


def test_verdicts_are_crossed_with_the_string_match(tmp_path: Path) -> None:
    results = [
        *(result(n, 5.0, answer="Paris.") for n in range(6)),
        *(result(10 + n, 1.0, answer="Paris.") for n in range(2)),
        *(result(20 + n, 5.0, answer="Rome.") for n in range(3)),
        *(result(30 + n, 1.0, answer="Rome.") for n in range(4)),
        result(40, 5.0, fields={"answer": None}),
        *FAILED,
    ]
    check = build_report(write(tmp_path, results, manifest())).judge_check
    assert check is not None
    assert (check.reference, check.step) == ("answer", "generate")
    assert (check.found_passed, check.found_failed) == (6, 2)
    assert (check.absent_passed, check.absent_failed) == (3, 4)
    assert check.unchecked == 1
    assert check.agreement == wilson(10, 15)
    assert check.sensitivity == jeffreys(6, 8)
    assert check.specificity == jeffreys(4, 7)
    assert check.kappa.value == pytest.approx(0.3243, abs=1e-4)


def test_a_judge_that_the_match_contradicts_is_a_warning(tmp_path: Path) -> None:
    results = [result(n, 5.0 if n % 2 else 1.0, answer="Paris." if n % 3 else "Rome.")
               for n in range(60)]  # fmt: skip
    report = build_report(write(tmp_path, results))
    assert "often disagrees with the reference answers" in _said(report)
    assert "Nobody has checked the judge against people's labels" in _said(report)


def test_the_reference_may_be_named(tmp_path: Path) -> None:
    results = [result(n, fields={"answer": "no", "gold": 18}, answer="18 apples") for n in range(3)]
    check = build_report(write(tmp_path, results), reference="gold").judge_check
    assert check is not None
    assert (check.reference, check.found_passed) == ("gold", 3)


def test_a_judge_that_answers_in_text_is_not_taken_for_the_answer(tmp_path: Path) -> None:
    made = result(0)
    results = [dataclasses.replace(made, outputs={"generate": "Paris", "judge": "5"})]
    for manifest_or_none in (None, manifest()):
        check = build_report(write(tmp_path, results, manifest_or_none)).judge_check
        assert check is not None
        assert check.step == "generate"


def test_the_match_stops_at_its_limit_and_counts_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CHECK_LIMIT >= 1000
    monkeypatch.setattr("llm_batch.reporting.reference.CHECK_LIMIT", 10)
    check = build_report(write(tmp_path, [result(n) for n in range(25)])).judge_check
    assert check is not None
    assert (check.agreement.n, check.unchecked) == (10, 15)


def test_a_larger_sample_is_advised_with_its_price(tmp_path: Path) -> None:
    results = [result(n, 5.0 if n % 4 else 1.0) for n in range(100)]
    report = build_report(write(tmp_path, results, manifest(planned=100, items={"ok": 100})))
    advice = report.next_steps[-1]
    assert "llmb run --sample" in advice
    assert "to ±5 points" in advice
    assert "for about $" in advice


@pytest.mark.parametrize(
    ("population", "said"),
    [
        (30_000, "--sample 384`, with the flags of this run, to know the pass rate to ±5 points ("),
        (
            450,
            "--sample 384`, with the flags of this run, to know the pass rate to ±5 points on "
            "items like these (now ±16): 360 more items for about $0.72. For these 450 items "
            "alone, 208 are enough.",
        ),
        (
            300,
            "--sample 169`, with the flags of this run, to know the pass rate to ±5 points on "
            "these 300 items alone: 145 more items for about $0.29.",
        ),
    ],
)
def test_a_larger_sample_is_that_of_the_estimate_and_says_what_it_is_about(
    tmp_path: Path, population: int, said: str
) -> None:
    results = [result(n, 5.0 if n % 4 else 1.0) for n in range(24)]
    plan = manifest(planned=24, population=population, items={"ok": 24})
    advice = build_report(write(tmp_path, results, plan)).next_steps[-1]
    assert said in advice
    assert ("like these" in advice) == (population == 450)


def test_a_complete_report_of_a_whole_dataset_advises_no_larger_sample(tmp_path: Path) -> None:
    results = [result(n, 5.0 if n % 4 else 1.0) for n in range(100)]
    report = build_report(write(tmp_path, results, manifest(planned=100, population=100)))
    assert not any("--sample" in step for step in report.next_steps)
    assert report.headline.startswith("Pass rate 75.0 % (95 % interval 65.7 to 82.5 %, Wilson)")
    assert report.headline.endswith("all 100 items of the dataset were judged")
    assert "For this dataset alone no interval is needed" in " ".join(
        FORMATS["full"](report).split()
    )


def test_a_manifest_that_counts_other_items_than_the_file_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path, [result(0)], manifest(planned=1, items={"ok": 3}))
    assert "The run wrote 3 items and the file has 1" in _said(build_report(path))


def test_quantiles_are_the_same_however_the_values_were_sorted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path, [result(n, float(n * 7 % 5), seconds=n * 37 % 11 / 3) for n in range(50)]
    )
    few = build_report(path)
    monkeypatch.setattr("llm_batch.reporting.rates._MANY_TO_SORT", 10)
    assert build_report(path) == few


def test_only_the_largest_of_many_groups_are_shown_to_people(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, _by([f"group {n}" for n in range(30)] + ["group 29"])))
    text = FORMATS["full"](report)
    assert "The 20 largest of 30" in text
    assert "group 29 " in text
    assert FORMATS["json"](report).count('"group ') == 30
