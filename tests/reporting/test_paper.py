"""The sentence for a paper: true of how the items were chosen, in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_batch.reporting import FORMATS, Columns, build_report
from llm_batch.reporting.comparison.build import COMPARISON_FORMATS, compare_reports
from llm_batch.reporting.judging.labels import LabelSource
from tests.reporting.made import full_manifest, result, write

#: 30 of 40 pass.
RUN = [result(n, 5.0 if n < 30 else 2.0) for n in range(40)]
PASSED = (
    "my-model passed 75.0 % as judged by gpt-4 (a score of at least 4; 95 % CI 59.8 to 85.8 %, "
    "Wilson)."
)
FUTURE = PASSED.replace("95 % CI", "95 % CI for items like these")
ENOUGH = {"margin": 0.1, "n": 40, "level": 0.95}


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ({"planned": 40}, f"Of 40 items drawn at random (seed 42) from 30,000, {PASSED}"),
        ({"planned": 40, "population": 100},
         f"Of 40 items drawn at random (seed 42) from 100, {FUTURE}"),
        ({"planned": 40, "population": 40}, f"Of all 40 items of the dataset, {FUTURE}"),
        ({"planned": 90},
         "Of 90 items drawn at random (seed 42) from 30,000, of which the first 40 were played, "
         f"{PASSED}"),
        ({"planned": 90, "population": 90},
         "Of the first 40 of the 90 items of the dataset, in random order (seed 42), " + FUTURE),
        ({"planned": 40, "population": None}, f"Of 40 items in results.jsonl, {FUTURE}"),
        ({"planned": 40, "population": 39}, f"Of 40 items in results.jsonl, {FUTURE}"),
        ({"planned": 90, "status": "enough", "stopping": ENOUGH},
         "Of 40 items drawn at random (seed 42) from 30,000, one after the other until the "
         f"interval was narrow enough, {PASSED}"),
        ({"planned": 40, "simulated": True},
         f"SIMULATED: Of 40 items drawn at random (seed 42) from 30,000, {PASSED}"),
        (None, "Of 40 items in results.jsonl, the answers passed 75.0 % (95 % CI for items like "
         "these 59.8 to 85.8 %, Wilson)."),
    ],
    ids=["a sample", "a large part", "a census", "not whole", "a census not whole", "unknown size",
         "another dataset", "stopped by a rule", "simulated", "no manifest"],
)  # fmt: skip
def test_only_what_is_known_of_the_draw_is_claimed(
    manifest: dict[str, Any] | None, sentence: str, tmp_path: Path
) -> None:
    made = None
    if manifest is not None:
        stopping = manifest.pop("stopping", None)
        made = full_manifest(**manifest) | {"stopping": stopping}
    assert build_report(write(tmp_path, RUN, made)).paper == sentence


def test_items_without_a_verdict_are_counted_by_why(tmp_path: Path) -> None:
    lost = [result(n, None, status="timeout") for n in range(40, 43)]
    lost.append(result(43, None, status="unparsed"))
    report = build_report(write(tmp_path, [*RUN, *lost], full_manifest(planned=44)))
    assert report.paper.startswith(
        "Of 44 items drawn at random (seed 42) from 30,000, 40 got a verdict (3 failed, "
        "1 unreadable), and of these my-model passed 75.0 %"
    )
    assert report.paper.endswith("Imbens-Manski, whatever the missing verdicts are).")


def test_strata_are_named(tmp_path: Path) -> None:
    run = [result(n, 5.0, stratum="a" if n % 2 else "b") for n in range(40)]
    made = full_manifest(planned=40, stratify="topic", strata={"a": 15_000, "b": 15_000})
    paper = build_report(write(tmp_path, run, made)).paper
    assert paper.startswith("Of 40 items drawn at random within each topic (seed 42) from 30,000,")


def test_a_mean_is_told_where_nothing_passes_or_fails(tmp_path: Path) -> None:
    run = [result(n, float(n % 5 + 1), pass_at=None) for n in range(40)]
    made = full_manifest(planned=40, score={"field": "judge.score"})
    assert build_report(write(tmp_path, run, made)).paper == (
        "Of 40 items drawn at random (seed 42) from 30,000, my-model had a mean score of 3.00 as "
        "judged by gpt-4 (95 % CI 2.54 to 3.46, Student's t)."
    )


def test_a_corrected_rate_comes_first_and_the_judges_own_is_beside_it(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"item-{n},{int(n < 27)},2026-11-24T00:00:00Z,7\n" for n in range(0, 40, 2)]
    labels.write_text("id,label,labelled_at,seed\n" + "".join(rows))
    path = write(tmp_path, RUN, full_manifest(planned=40))
    report = build_report(path, labels=LabelSource(str(labels)))
    assert report.calibration is not None and report.calibration.corrected is not None
    corrected = report.calibration.corrected
    told = f"my-model passed {100 * (corrected.value or 0):.1f} % as judged by gpt-4, corrected by"
    assert f"{told} 20 labels of people" in report.paper
    assert "PPI++; the judge alone said 75.0 %)." in report.paper


def test_a_file_of_another_tool_claims_no_draw_and_no_model(tmp_path: Path) -> None:
    path = tmp_path / "ragas.csv"
    path.write_text("id,faithfulness\n" + "".join(f"{n},{n / 40}\n" for n in range(40)))
    paper = build_report(path, columns=Columns("faithfulness", "id")).paper
    assert paper.startswith("Of 40 items in ragas.csv, the mean of faithfulness is 0.487 (95 % CI")


def test_nothing_is_said_without_a_result(tmp_path: Path) -> None:
    failed = write(tmp_path, [result(0, None, status="timeout")], full_manifest())
    assert build_report(failed).paper == ""
    assert "For the paper" not in FORMATS["full"](build_report(failed))


@pytest.mark.parametrize("format", ["full", "md", "json", "latex", "html"])
def test_every_format_for_people_has_the_sentence(format: str, tmp_path: Path) -> None:
    report = build_report(write(tmp_path, RUN, full_manifest(planned=40)))
    shown = " ".join(FORMATS[format](report).replace(r"\,\%", " %").split())
    assert "drawn at random (seed 42) from 30,000, my-model passed 75.0 %" in shown


@pytest.mark.parametrize("format", ["full", "md", "json", "latex", "html"])
def test_a_comparison_has_one_for_each_run(format: str, tmp_path: Path) -> None:
    paths = []
    for name, passing in (("a", 20), ("b", 32)):
        (tmp_path / name).mkdir()
        run = [result(n, 5.0 if n < passing else 2.0) for n in range(40)]
        paths.append(write(tmp_path / name, run, full_manifest(planned=40)))
    shown = COMPARISON_FORMATS[format](compare_reports(paths))
    if format == "json":
        (shown,) = json.loads(shown)["paper"]
    shown = " ".join(shown.replace(r"\,\%", " %").replace(r"\textless{}", "<").split())
    shown = shown.replace("&lt;", "<").replace("&#39;", "'")
    assert (
        "On the same 40 items, b/results (openai/my-model + gpt-4) passed 80.0 % and a/results "
        "(openai/my-model + gpt-4) 50.0 %, a difference of +30.0 points (95 % CI +18.1 to +45.4, "
        "Tango; McNemar's mid-p test, p < 0.001)."
    ) in shown
