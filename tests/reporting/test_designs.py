"""Clusters, strata out of proportion, the choice of intervals; and data that says little."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_batch.errors import ConfigError
from llm_batch.records import Result
from llm_batch.reporting import FORMATS, build_report
from llm_batch.reporting.judging.labels import LabelSource
from llm_batch.stats.interval import clopper_pearson, one_sided_bound, wilson
from llm_batch.stats.means import bca_mean, mean_t
from tests.reporting.made import full_manifest, result, write


def test_items_of_a_cluster_count_for_less(tmp_path: Path) -> None:
    results = [
        result(number, 5.0 if number // 10 % 2 else 1.0, fields={"text": f"t{number // 10}"})
        for number in range(400)
    ]
    path = write(tmp_path, results, full_manifest(planned=400))
    alone, clustered = build_report(path), build_report(path, cluster="text")
    assert clustered.pass_rate.clusters == 40
    assert clustered.pass_rate.design_effect == pytest.approx(10, rel=0.1)
    assert clustered.pass_rate.rate.value == alone.pass_rate.rate.value == 0.5
    by_text = wilson(20, 40)
    assert clustered.pass_rate.rate.low == pytest.approx(by_text.low, abs=0.01)
    assert clustered.scores.mean.method == "clustered t"
    assert "40 clusters" in FORMATS["full"](clustered)
    assert not any("clusters: with fewer" in warning for warning in clustered.warnings)


def test_few_clusters_are_warned_of_and_a_wrong_field_is_named(tmp_path: Path) -> None:
    results = [result(number, fields={"text": f"t{number % 5}"}) for number in range(40)]
    path = write(tmp_path, results, full_manifest(planned=40))
    assert any("Only 5 clusters" in each for each in build_report(path, cluster="text").warnings)
    with pytest.raises(ConfigError, match="--cluster nothing"):
        build_report(path, cluster="nothing")


def _uneven(folder: Path) -> Path:
    """900 items of which 10 % of those drawn fail, and 100 of which 90 % do, 50 drawn of each."""
    results = [result(n, 1.0 if n % 10 == 0 else 5.0, stratum="common") for n in range(50)]
    results += [result(n, 5.0 if n % 10 == 0 else 1.0, stratum="rare") for n in range(50, 100)]
    strata = {"common": 900, "rare": 100}
    manifest = full_manifest(population=1000, planned=100, stratify="kind", strata=strata)
    return write(folder, results, manifest)


def test_strata_out_of_proportion_are_weighted_with_the_plain_rate_beside(tmp_path: Path) -> None:
    report = build_report(_uneven(tmp_path))
    assert report.pass_rate.rate.value == pytest.approx(0.9 * 0.9 + 0.1 * 0.1)
    assert report.pass_rate.unweighted is not None
    assert report.pass_rate.unweighted.value == pytest.approx(0.5)
    assert report.scores.mean.value == pytest.approx(0.9 * 4.6 + 0.1 * 1.4)
    text = FORMATS["full"](report)
    assert "Unweighted, these items alone: pass rate 50.0 %" in text and "weighted for that" in text
    assert "82.0 %" in report.headline


def test_proportional_strata_need_no_weights(tmp_path: Path) -> None:
    results = [result(n, stratum="a" if n < 30 else "b") for n in range(40)]
    strata = {"a": 300, "b": 100}
    manifest = full_manifest(population=400, planned=40, stratify="kind", strata=strata)
    report = build_report(write(tmp_path, results, manifest))
    assert report.pass_rate.unweighted is None
    assert report.pass_rate.rate.value == 1 and report.pass_rate.rate.method.endswith("stratified")


def test_proportional_strata_narrow_the_interval_and_grouping_by_another_field_keeps_it(
    tmp_path: Path,
) -> None:
    results = [
        result(n, 1.0 if n >= 60 else 5.0, stratum="a" if n < 60 else "b", fields={"t": n % 3})
        for n in range(100)
    ]
    sizes = {"a": 6000, "b": 4000}
    made = full_manifest(population=10_000, planned=100, stratify="kind", strata=sizes)
    path = write(tmp_path, results, made)
    report, other = build_report(path), build_report(path, by="t")
    plain, rate = wilson(60, 100), report.pass_rate.rate
    assert rate.low is not None and rate.high is not None
    assert rate.high - rate.low < 0.6 * ((plain.high or 1) - (plain.low or 0))
    assert other.pass_rate.rate == rate and other.scores.mean == report.scores.mean


def test_a_stratum_without_failures_adds_doubt(tmp_path: Path) -> None:
    results = [result(n, stratum="large" if n < 20 else "small") for n in range(200)]
    sizes = {"large": 9000, "small": 1000}
    made = full_manifest(population=10_000, planned=200, stratify="kind", strata=sizes)
    rate = build_report(write(tmp_path, results, made)).pass_rate.rate
    assert rate.value == 1 and rate.low is not None and 0.82 < rate.low < 0.87


def test_exact_intervals_are_given_by_choice(tmp_path: Path) -> None:
    results = [result(n, 5.0 if n % 3 else 1.0) for n in range(60)]
    future = build_report(write(tmp_path, results, full_manifest(planned=60)), exact=True)
    expected = clopper_pearson(40, 60)
    assert (future.pass_rate.rate.low, future.pass_rate.rate.high) == (expected.low, expected.high)
    finite = build_report(
        write(tmp_path, results, full_manifest(population=100, planned=60)), exact=True
    )
    assert finite.pass_rate.rate.method == "clopper-pearson"
    assert finite.pass_rate.dataset is not None
    assert finite.pass_rate.dataset.method == "hypergeometric, exact"
    assert "hypergeometric" in FORMATS["full"](finite)


def test_skewed_scores_get_the_bootstrap_and_others_students_t(tmp_path: Path) -> None:
    skewed = [5.0 + (95.0 if n % 20 == 0 else 0.0) for n in range(40)]
    path = write(tmp_path, [result(n, score) for n, score in enumerate(skewed)], full_manifest())
    assert build_report(path).scores.mean == bca_mean(sorted(skewed))
    assert build_report(path, mean="t").scores.mean == mean_t(skewed)
    even = [float(n % 5) for n in range(40)]
    path = write(tmp_path, [result(n, score) for n, score in enumerate(even)], full_manifest())
    assert build_report(path).scores.mean.method == "t"
    assert build_report(path, mean="bca").scores.mean.method.startswith("BCa")


def test_a_category_unlike_the_rest_is_named_with_its_difference(tmp_path: Path) -> None:
    results = [
        result(n, 1.0 if n % 3 == 0 else 5.0, fields={"category": "abc"[n % 3]}) for n in range(90)
    ]
    report = build_report(write(tmp_path, results, full_manifest(planned=90)))
    assert report.groups is not None
    found = {group.name: group for group in report.groups.groups}
    assert found["a"].difference is not None and found["a"].difference.value == -1
    assert found["a"].p_adjusted is not None and found["a"].p_adjusted < 1e-6
    text = " ".join(FORMATS["full"](report).split())
    assert "a clear difference (Holm-corrected)" in text


def test_scores_at_the_top_of_a_known_scale_keep_a_width(tmp_path: Path) -> None:
    rule = {"field": "judge.score", "pass_at": 4.0, "min": 1, "max": 5, "labels": {}}
    results = [result(n) for n in range(20)]
    mean = build_report(write(tmp_path, results, full_manifest(planned=20, score=rule))).scores.mean
    assert mean.value == mean.high == 5 and mean.low == pytest.approx(4.62, abs=0.01)
    assert build_report(write(tmp_path, results, full_manifest(planned=20))).scores.mean.low is None


def test_skewed_scores_are_told_to_cover_less(tmp_path: Path) -> None:
    skewed = [5.0 + (95.0 if n % 20 == 0 else 0.0) for n in range(40)]
    path = write(tmp_path, [result(n, score) for n, score in enumerate(skewed)], full_manifest())
    assert any("about 90 % of runs" in warning for warning in build_report(path).warnings)


def test_one_failing_item_makes_no_category_special(tmp_path: Path) -> None:
    results = [
        result(n, 1.0 if n % 33 == 1 or n == 0 else 5.0, fields={"category": "abc"[n % 3]})
        for n in range(100)
    ]
    results[0] = result(0, 1.0, fields={"category": "alone"})
    report = build_report(write(tmp_path, results, full_manifest(planned=100)))
    assert report.groups is not None
    alone = next(group for group in report.groups.groups if group.name == "alone")
    assert alone.p_value is None and alone.difference is not None
    text = " ".join(FORMATS["full"](report).split())
    assert "1 of 4 groups is too small" in text and "No group clearly differs" in text


def test_categories_are_bounded_by_clusters_too(tmp_path: Path) -> None:
    results = [
        result(
            n,
            5.0 if n // 10 % (4 if n < 200 else 2) else 1.0,
            fields={"text": f"t{n // 10}", "category": "ab"[n // 200]},
        )
        for n in range(400)
    ]
    path = write(tmp_path, results, full_manifest(planned=400))
    alone, clustered = build_report(path), build_report(path, cluster="text")
    assert alone.groups is not None and clustered.groups is not None
    for plain, wide in zip(alone.groups.groups, clustered.groups.groups, strict=True):
        assert plain.pass_rate.value == wide.pass_rate.value
        assert wide.pass_rate.method == "clustered wilson"
        assert (wide.pass_rate.low or 0) < (plain.pass_rate.low or 0)
        assert plain.p_value is not None and plain.p_value < 1e-6
        assert wide.p_value is not None and 0.02 < wide.p_value < 0.5


def test_with_clusters_no_corrected_rate_is_told(tmp_path: Path) -> None:
    results = [result(n, 5.0 if n % 4 else 1.0, fields={"text": f"t{n // 4}"}) for n in range(200)]
    path = write(tmp_path, results, full_manifest(planned=200))
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n" + "".join(f"item-{n},{int(n % 4 > 0)}\n" for n in range(40)))
    report = build_report(path, cluster="text", labels=LabelSource(str(labels), random=True))
    assert report.calibration is not None and report.calibration.corrected is None
    assert any("With --cluster no corrected rate" in warning for warning in report.warnings)
    assert "PPI++" not in FORMATS["full"](report)


#: 90 scores of 100 items.
_TENTH_MISSING = [
    result(n, 5.0 if n % 3 else 3.0, status="ok" if n % 10 else "timeout", stratum="ab"[n % 2],
           fields={"text": f"t{n // 2}"})
    for n in range(100)
]  # fmt: skip
_RUBRIC = {"field": "judge.score", "pass_at": 4.0, "labels": {}, "min": 1.0, "max": 5.0}


@pytest.mark.parametrize(
    ("manifest", "cluster"),
    [
        ({"population": None}, None),
        ({"population": None}, "text"),
        ({"population": 200, "stratify": "kind", "strata": {"a": 120, "b": 80}}, None),
        ({"population": 100}, None),
    ],
    ids=["sample", "clusters", "strata", "all played"],
)
def test_a_mean_with_scores_missing_holds_for_the_worst_and_the_best(
    manifest: dict[str, Any], cluster: str | None, tmp_path: Path
) -> None:
    made = full_manifest(planned=100, score=_RUBRIC, **manifest)
    report = build_report(write(tmp_path, _TENTH_MISSING, made), cluster=cluster)
    mean, least, most = report.scores.mean, report.scores.least, report.scores.most
    assert least is not None and most is not None and most - least == pytest.approx(0.44, abs=0.05)
    for interval in (mean, report.scores.dataset or mean):
        assert interval.method == "imbens-manski" and interval.n == 90
        assert interval.low is not None and interval.low <= least + 1e-9
        assert interval.high is not None and interval.high >= most - 1e-9
    said = " ".join(report.warnings)
    assert "lowest of the scale, the mean would be" in said and "Its interval covers both" in said
    if manifest["population"] == 100:  # a census but for what is missing
        dataset = report.scores.dataset
        assert dataset is not None
        assert (dataset.low, dataset.high) == pytest.approx((least, most))


def test_a_mean_with_scores_missing_on_an_unknown_scale_cannot_be_bounded(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, _TENTH_MISSING, full_manifest(planned=100)))
    assert report.scores.mean.method == "t" and report.scores.least is None
    assert any("could move it is unknown" in each and "[score]" in each for each in report.warnings)


@pytest.mark.parametrize(("score", "missing"), [(5.0, 3), (1.0, 3), (5.0, 1)])
def test_a_one_sided_bound_takes_missing_verdicts_for_the_worst(
    score: float, missing: int, tmp_path: Path
) -> None:
    results = [result(n, score, status="timeout" if n < missing else "ok") for n in range(100)]
    report = build_report(write(tmp_path, results, full_manifest(planned=100)))
    passed, side = (100 - missing, "lower") if score == 5 else (missing, "upper")
    assert report.pass_rate.bound == one_sided_bound(passed, 100, side)
    text = " ".join(FORMATS["full"](report).split())
    were = "fails" if score == 5 else "passes"
    assert f"If the {missing} without a verdict were {were}, items like these pass" in text


@pytest.mark.parametrize(
    ("scores", "rule", "warned"),
    [
        ([5.0] * 18 + [4.0, 2.0], {}, True),
        ([1.0] * 150 + [2.0] * 5 + [5.0] * 4, {}, True),
        ([5.0] * 18 + [4.0, 2.0], {"min": 1.0, "max": 5.0}, False),
        ([5.0] * 60 + [4.0, 3.0] * 20, {}, False),
        ([1.0, 5.0] * 5 + [3.0] * 12, {}, False),
    ],
    ids=["ceiling", "floor", "known ends", "many others", "most in the middle"],
)
def test_a_mean_at_the_end_of_an_unknown_scale_is_said_not_to_hold(
    scores: list[float], rule: dict[str, float], warned: bool, tmp_path: Path
) -> None:
    results = [result(n, score) for n, score in enumerate(scores)]
    made = full_manifest(planned=len(scores), score=_RUBRIC | {"min": None, "max": None} | rule)
    report = build_report(write(tmp_path, results, made))
    assert any("is too narrow, and contains the truth in" in each for each in report.warnings) == (
        warned
    )


_ANY_SCORE = st.one_of(
    st.none(), st.sampled_from([1.0, 5.0]), st.sampled_from([0.0, 1e308, -1e200, 1e-300])
)


def _results(scores: Sequence[float | None], statuses: Sequence[str]) -> list[Result]:
    return [
        result(n, score, status=status, stratum="a", fields={"category": "x", "answer": "Paris"})
        for n, (score, status) in enumerate(zip(scores, statuses, strict=False))
    ]


@given(
    st.lists(_ANY_SCORE, max_size=6),
    st.lists(st.sampled_from(["ok", "ok", "timeout", "unparsed"]), min_size=6, max_size=6),
    st.sampled_from([None, "category", "nowhere"]),
    st.sampled_from([6, 30_000]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_data_makes_nan_or_an_interval_without_width(
    tmp_path: Path,
    scores: list[float | None],
    statuses: list[str],
    cluster: str | None,
    population: int,
) -> None:
    made = full_manifest(population=population, planned=6, stratify="kind", strata={"a": 4, "b": 2})
    path = write(tmp_path, _results(scores, statuses), made)
    if cluster == "nowhere" or (cluster and not scores):
        cluster = None
    report = build_report(path, cluster=cluster)
    for format in ("text", "md", "latex", "csv"):
        words = FORMATS[format](report).replace(",", " ").replace("&", " ").split()
        assert not {"nan", "inf", "-inf", "NaN", "Infinity"} & set(words)
    for interval in _intervals(json.loads(FORMATS["json"](report))):
        low, high = interval["low"], interval["high"]
        if low is not None and not interval["method"].startswith(("all items", "imbens")):
            assert high is not None and high > low, interval


def _intervals(tree: Any) -> list[dict[str, Any]]:
    if isinstance(tree, dict):
        own = [tree] if {"low", "high", "method"} <= tree.keys() else []
        return own + [found for value in tree.values() for found in _intervals(value)]
    if isinstance(tree, list):
        return [found for value in tree for found in _intervals(value)]
    return []


@pytest.mark.parametrize(
    ("scores", "ends"), [([2.0, 4.0], (1.0, 5.0)), ([3.0, 3.0, 4.0], (1.9, 4.8))]
)
def test_bounds_of_a_mean_stay_on_a_known_scale(
    tmp_path: Path, scores: list[float], ends: tuple[float, float]
) -> None:
    made = full_manifest(planned=len(scores), score=_RUBRIC)
    report = build_report(write(tmp_path, [result(n, s) for n, s in enumerate(scores)], made))
    found = report.scores.mean
    assert (found.low, found.high) == pytest.approx(ends, abs=0.05)
    # The lowest of these is not the end of the scale, and nobody need name it again.
    assert not any("ends of the scale" in said for said in report.warnings)
