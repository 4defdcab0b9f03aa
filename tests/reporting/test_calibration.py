"""A report that holds the judge against labels: which items count, which rate is told."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_batch.errors import ConfigError
from llm_batch.records import Result
from llm_batch.reporting import FORMATS, Columns, Report, build_report
from llm_batch.reporting.judging.calibration import Calibration
from llm_batch.reporting.judging.labels import LabelSource
from llm_batch.reporting.page import charts
from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.calibrate import by_verdict, ppi_mean, ppi_rate, rogan_gladen
from llm_batch.stats.means import mean_t
from tests.reporting.made import full_manifest, result, write

#: Of 40 items the judge passes the first 28.
RUN = [result(n, 5.0 if n < 28 else 2.0) for n in range(40)]
#: People pass 10 of the 12 labelled that the judge passes, and 2 of the 8 that it fails.
TRUTH = {f"item-{n}": int(n < 10) for n in range(12)} | {
    f"item-{n}": int(n < 30) for n in range(28, 36)
}
TABLE = BinaryTable(both_yes=10, only_judge=2, only_reference=2, both_no=6)


def _labels(folder: Path, labels: Mapping[str, Any], seed: int | None = None) -> str:
    path = folder / "labels.csv"
    columns = "id,label,labelled_at,seed" if seed is not None else "id,label"
    end = f",2026-11-24T00:00:00Z,{seed}" if seed is not None else ""
    rows = "".join(f"{item},{label}{end}\n" for item, label in labels.items())
    path.write_text(f"{columns}\n{rows}")
    return str(path)


def _report(folder: Path, source: LabelSource, run: list[Result] = RUN, **more: Any) -> Report:
    return build_report(write(folder, run, full_manifest(planned=40)), labels=source, **more)


def _checked(report: Report) -> Calibration:
    assert report.calibration is not None
    return report.calibration


def _all_text(report: Report) -> str:
    return " ".join(FORMATS["full"](report).split())


def test_labels_of_llmb_label_make_the_prediction_powered_rate_the_one_to_report(
    tmp_path: Path,
) -> None:
    report = _report(tmp_path, LabelSource(_labels(tmp_path, TRUTH, seed=7)))
    check = _checked(report)
    assert (check.drawn, check.seed, check.main, check.labelled) == ("random", 7, "ppi", 20)
    assert check.ppi == ppi_rate(TABLE, 28 - 12, 20).interval == check.corrected
    assert check.rogan_gladen == rogan_gladen(TABLE, 28, 40).interval
    assert report.headline.startswith("Pass rate 66.5 % (95 % interval 46.1 to 83.7 %), corrected")
    assert "PPI++" in report.headline and "the judge alone says 70.0 %" in report.headline
    assert "drawn at random from this run by llmb label (seed 7)" in _all_text(report)


def test_labels_nobody_vouches_for_leave_rogan_gladen_and_a_warning(tmp_path: Path) -> None:
    report = _report(tmp_path, LabelSource(_labels(tmp_path, TRUTH)))
    check = _checked(report)
    assert (check.drawn, check.main) == ("unknown", "rogan_gladen")
    assert any("--labels-random" in warning for warning in report.warnings)
    assert not any("not been checked" in warning for warning in report.warnings)


def _spread(passes: range, fails: range, wrong: int = 0) -> dict[str, int]:
    """Labels of items of `LARGE` that agree with the judge, the first fails of it excepted."""
    agreeing = {f"item-{n}": 1 for n in passes} | {f"item-{n}": 0 for n in fails}
    return agreeing | {f"item-{n}": 1 for n in [*fails][:wrong]}


#: Of 1,000 items the judge passes the first 800.
LARGE = [result(n, 5.0 if n < 800 else 2.0) for n in range(1000)]
FIFTY_EACH = _spread(range(50), range(800, 850), wrong=10)


@pytest.mark.parametrize("random", [None, True, False], ids=["nobody says", "random", "chosen"])
def test_labels_chosen_by_verdict_are_weighted_by_verdict_whatever_is_claimed(
    random: bool | None, tmp_path: Path
) -> None:
    report = _report(tmp_path, LabelSource(_labels(tmp_path, FIFTY_EACH), random=random), LARGE)
    check = _checked(report)
    assert (check.drawn, check.main) == ("verdict", "verdict")
    # 80 % of the run passes, all of it rightly; of the 20 % that fail 10 of 50 are wrong.
    assert check.corrected is not None and check.corrected.value == pytest.approx(0.84)
    assert check.corrected == by_verdict(BinaryTable(50, 0, 10, 40), 800, 1000).interval
    assert check.alike is not None and check.alike < 0.001
    assert report.headline.startswith("Pass rate 84.0 % (95 % interval ")
    warned = [warning for warning in report.warnings if "do not look like a random" in warning]
    assert len(warned) == bool(random) and all("p < 0.001" in warning for warning in warned)


def test_labels_drawn_by_verdict_carry_a_note_that_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    rows = [f"{item},{label},2026-11-24T00:00:00Z,7,by verdict" for item, label in TRUTH.items()]
    path.write_text("\n".join(["id,label,labelled_at,seed,drawn", *rows]) + "\n")
    check = _checked(_report(tmp_path, LabelSource(str(path))))
    # Twelve passes and eight fails could be a random subset too: the note decides.
    assert (check.drawn, check.noted, check.main) == ("verdict", "verdict", "verdict")
    assert check.corrected is not None
    assert check.corrected.value == pytest.approx(0.7 * 10 / 12 + 0.3 * 2 / 8)


def test_labels_on_passes_alone_say_what_they_leave_open(tmp_path: Path) -> None:
    truth = {f"item-{n}": int(n > 4) for n in range(50)}
    report = _report(tmp_path, LabelSource(_labels(tmp_path, truth)), LARGE)
    assert _checked(report).corrected is None
    said = " ".join(report.warnings)
    assert "Only items that the judge passed are labelled: 45 of 50 passes are right" in said
    assert "anything from 72.0 % to 92.0 %" in said


def test_labels_that_say_the_opposite_of_the_judge_correct_nothing(tmp_path: Path) -> None:
    truth = {item: 1 - label for item, label in _spread(range(80), range(800, 820), 2).items()}
    report = _report(tmp_path, LabelSource(_labels(tmp_path, truth, seed=7)), LARGE)
    check = _checked(report)
    assert check.swapped and check.corrected is None and check.agreement.value == 0.02
    assert any("swapped" in warning for warning in report.warnings)
    assert report.headline.startswith("Pass rate 80.0 %")


@pytest.mark.parametrize(("random", "main"), [(True, "ppi"), (False, "rogan_gladen")])
def test_the_user_may_say_how_items_were_chosen(random: bool, main: str, tmp_path: Path) -> None:
    path = _labels(tmp_path, TRUTH, seed=None if random else 7)
    assert _checked(_report(tmp_path, LabelSource(path, random=random))).main == main


def test_labels_of_other_items_come_with_the_judges_verdict(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    rows = [f"x{n},{label},{judge}" for n, (label, judge) in enumerate([(1, 1), (0, 0)] * 10)]
    path.write_text("id,human,judge\n" + "\n".join([*rows, "x98,1,0", "x99,0,1"]) + "\n")
    check = _checked(_report(tmp_path, LabelSource(str(path))))
    assert (check.drawn, check.separate, check.main) == ("separate", 22, "rogan_gladen")
    assert check.rogan_gladen == rogan_gladen(BinaryTable(10, 1, 1, 10), 28, 40).interval
    assert check.ppi.value is None and check.plan == ()


def test_labels_of_other_items_find_the_verdict_in_the_results_that_have_it(
    tmp_path: Path,
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    judged = write(other, [result(n, 5.0 if n < 25 else 1.0) for n in range(100, 150)])
    truth = {f"item-{n}": int(n % 5 > 0) for n in range(100, 150)}
    source = LabelSource(_labels(tmp_path, truth), judged=str(judged))
    check = _checked(_report(tmp_path, source))
    assert (check.drawn, check.separate) == ("separate", 50)
    assert check.unmatched == 0


def test_when_every_item_is_labelled_the_labels_own_rate_is_told(tmp_path: Path) -> None:
    truth = {f"item-{n}": int(n < 20) for n in range(40)}
    check = _checked(_report(tmp_path, LabelSource(_labels(tmp_path, truth))))
    assert (check.drawn, check.main) == ("all", "labels")
    assert check.corrected is not None and check.corrected.value == 0.5


def test_labels_may_stand_in_a_field_of_the_items(tmp_path: Path) -> None:
    run = [
        result(n, 5.0 if n < 28 else 2.0, fields={"human": "pass" if n < 20 else None})
        for n in range(40)
    ]
    run.append(result(99, 5.0, fields={"human": "perhaps"}))
    check = _checked(_report(tmp_path, LabelSource(field="human"), run))
    assert (check.labelled, check.unreadable, check.both_pass) == (20, 1, 20)
    assert "the field 'human'" in check.source


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    failed = result(50, None, status="timeout", error="generate: too slow")
    truth: dict[str, Any] = {**TRUTH, "item-50": 1, "nowhere": 1, "item-37": "skip"}
    report = _report(tmp_path, LabelSource(_labels(tmp_path, truth)), [*RUN, failed])
    check = _checked(report)
    assert (check.labelled, check.unjudged, check.unmatched, check.skipped) == (20, 1, 1, 1)
    assert check.unmatched_ids == ("nowhere",)
    said = " ".join(report.warnings)
    for words in ("'nowhere'", "1 item labelled without a verdict", "1 item without a label"):
        assert words in said


def test_labels_of_other_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of the items labelled") as caught:
        _report(tmp_path, LabelSource(_labels(tmp_path, {"elsewhere": 1})))
    assert "--labels-run" in caught.value.hint


def test_a_field_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no item in the results has a label"):
        _report(tmp_path, LabelSource(field="human"))


def test_few_labels_are_a_warning_that_says_what_more_would_give(tmp_path: Path) -> None:
    run = [result(n, 5.0 if n % 4 else 2.0) for n in range(1000)]
    truth = {f"item-{n}": int(n % 4 > 0 or n == 8) for n in range(30)}
    report = _report(tmp_path, LabelSource(_labels(tmp_path, truth, seed=1)), run)
    assert any("Only 30 items labelled" in w and "more would give" in w for w in report.warnings)
    assert any("llmb label" in step and "--n" in step for step in report.next_steps)


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ({f"item-{n}": 1 for n in range(20, 36)}, "specificity is unknown"),
        ({f"item-{n}": int(n >= 28) for n in range(20, 36)}, "say the opposite"),
        (
            {f"item-{n}": int(n % 2 if n < 28 else n % 4 > 0) for n in range(20, 36)},
            "no better than guessing",
        ),
        (
            {f"item-{n}": int(n != 21 if n < 28 else n % 2) for n in range(20, 36)},
            "The judge is weak",
        ),
    ],
    ids=["one kind of label", "labels are swapped", "judge is wrong", "judge is weak"],
)
def test_a_judge_that_cannot_be_trusted_is_a_warning(
    truth: dict[str, int], said: str, tmp_path: Path
) -> None:
    report = _report(tmp_path, LabelSource(_labels(tmp_path, truth)))
    assert said in " ".join(report.warnings)


def test_scores_for_labels_give_the_square_table_and_the_mean_people_would_give(
    tmp_path: Path,
) -> None:
    truth = {f"item-{n}": 4 if n < 10 else 2 for n in (*range(12), *range(28, 36))}
    source = LabelSource(_labels(tmp_path, truth), random=True)
    check = _checked(_report(tmp_path, source))
    assert check.scores is not None and check.corrected_mean is not None
    assert check.scores.values == (2, 3, 4, 5)
    assert check.scores.counts[2][3] == 10 and check.scores.counts[0][0] == 8
    assert check.both_pass == 10 and check.both_fail == 8 and check.only_judge == 2
    quadratic, linear = check.scores.kappa_quadratic.value, check.scores.kappa_linear.value
    assert quadratic is not None and linear is not None and quadratic > linear


def test_scores_without_a_bar_to_pass_are_compared_as_scores_alone(tmp_path: Path) -> None:
    path = tmp_path / "grades.csv"
    path.write_text("id,grade,human\n" + "".join(f"{n},{n % 5},{n % 5}\n" for n in range(20)))
    report = build_report(
        path, columns=Columns("grade", "id"), labels=LabelSource(field="human", random=True)
    )
    check = _checked(report)
    assert check.agreement.n == 0 and check.corrected is None and check.labelled == 20
    assert check.scores is not None and check.corrected_mean is not None
    assert "Weighted kappa" in _all_text(report)


#: The judge gives 200 items 1 to 5, and of the first 60 one point more than people do in a half.
GRADED = [result(n, float(2 + n % 4), pass_at=None) for n in range(200)]
PEOPLE = {f"item-{n}": 2 + n % 4 - (n // 4) % 2 for n in range(60)}
_UNPASSED = {"field": "judge.score", "pass_at": None, "labels": {}, "min": 1.0, "max": 5.0}


def _graded(folder: Path, labels: Mapping[str, Any], random: bool | None = True) -> Report:
    source = LabelSource(_labels(folder, labels), random=random)
    return build_report(
        write(folder, GRADED, full_manifest(planned=200, score=_UNPASSED)), labels=source
    )


def test_a_judge_of_scores_is_told_by_correlation_bias_and_the_mean_people_would_give(
    tmp_path: Path,
) -> None:
    from scipy import stats  # type: ignore[import-untyped]

    report = _graded(tmp_path, PEOPLE)
    check = _checked(report).score_check
    labels, judged = list(PEOPLE.values()), [2 + n % 4 for n in range(60)]
    assert check is not None and (check.labelled, check.drawn) == (60, "random")
    assert check.spearman.value == pytest.approx(stats.spearmanr(labels, judged)[0])
    assert check.kendall.value == pytest.approx(stats.kendalltau(labels, judged)[0])
    assert check.bias == mean_t([j - y for j, y in zip(judged, labels, strict=True)])
    everyone = [result.score.value for result in GRADED if result.score]
    assert check.corrected == ppi_mean(labels, judged, everyone).interval
    corrected = f"{check.corrected.value:.2f}"
    assert report.headline.startswith(f"Mean score {corrected} (95 % interval ")
    assert "corrected by 60 labels (PPI++); the judge alone says 3.50" in report.headline
    for name in ("text", "md", "latex", "json", "html"):
        assert corrected in FORMATS[name](report) or name == "json", name
    assert "All items, corrected by labels" in FORMATS["latex"](report)
    assert "mean score, corrected by labels" in FORMATS["html"](report)
    text = _all_text(report)
    assert "Spearman's rho" in text and "Kendall's tau-b" in text and "Mean bias" in text
    assert "The judge scores higher than people" in text


@pytest.mark.parametrize(
    ("labels", "random", "said"),
    [
        (PEOPLE, None, "nothing says that the labelled items are a random subset"),
        ({item: 20 * label for item, label in PEOPLE.items()}, True, "not on one scale"),
        ({f"item-{n}": 4 for n in range(200) if n % 4 == 3}, True, "but the judge scored"),
        ({f"item-{n}": n % 2 for n in range(60)}, True, "set pass_at"),
    ],
    ids=["chosen in an unknown way", "per cent", "the best alone", "verdicts"],
)  # fmt: skip
def test_what_stands_against_a_corrected_mean_is_said(
    labels: Mapping[str, Any], random: bool | None, said: str, tmp_path: Path
) -> None:
    report = _graded(tmp_path, labels, random)
    assert _checked(report).corrected_mean is None
    assert report.headline.startswith("Mean score 3.50 (95 % interval")
    assert said in _all_text(report)


def test_labels_of_all_items_are_the_mean_themselves(tmp_path: Path) -> None:
    labels = {f"item-{n}": 1 + n % 5 for n in range(200)}
    check = _checked(_graded(tmp_path, labels, None)).score_check
    assert check is not None and check.drawn == "all"
    assert check.corrected == mean_t([1 + n % 5 for n in range(200)])


def test_several_people_are_held_against_each_other(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    rows = [f"{item},{label},{label if n else 1 - label}" for n, (item, label) in
            enumerate(TRUTH.items())]  # fmt: skip
    path.write_text("id,anna,ben\n" + "\n".join(rows) + "\n")
    report = _report(tmp_path, LabelSource(str(path), columns=("anna", "ben")))
    people = _checked(report).raters
    assert people is not None and people.raters == ("anna", "ben") and people.items == 20
    assert people.all_agree.value == 0.95
    assert _checked(report).skipped == 1
    assert "Krippendorff" in _all_text(report)


def _two_judges(n: int) -> Result:
    made = result(n, float(n % 5 + 1))
    outputs = {**made.outputs, "second": {"score": n % 5 + (1 if n % 4 else 2), "verdict": "A"}}
    return Result(
        item=made.item, status="ok", outputs=outputs, score=made.score, passed=made.passed,
        steps=made.steps,
    )  # fmt: skip


def test_several_judges_are_held_against_each_other(tmp_path: Path) -> None:
    path = write(tmp_path, [_two_judges(n) for n in range(40)], full_manifest(planned=40))
    report = build_report(path, judges=("judge.score", "second.score"))
    check = report.judges
    assert check is not None and check.items == 40 and check.scale == "ordinal"
    assert check.all_agree.value == 0.75
    assert check.alpha.value is not None and 0.8 < check.alpha.value < 1
    assert "Do the judges agree?" in FORMATS["md"](report)


def test_judges_that_answer_in_words_are_compared_as_words(tmp_path: Path) -> None:
    path = write(tmp_path, [_two_judges(n) for n in range(8)], full_manifest(planned=8))
    check = build_report(path, judges=("second.verdict", "generate")).judges
    assert check is not None and check.scale == "nominal" and check.all_agree.value == 0


@pytest.mark.parametrize(
    ("judges", "said"),
    [
        (("judge.score",), "two fields or more"),
        (("judge.score", "judge.grade"), "judge.grade: no item"),
    ],
)
def test_judges_that_are_not_there_are_refused(
    judges: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    path = write(tmp_path, RUN, full_manifest(planned=40))
    with pytest.raises(ConfigError, match=said):
        build_report(path, judges=judges)


def test_two_scores_of_a_foreign_file_are_judges_too(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("id,gpt,claude\n" + "".join(f"{n},{n % 2},{n % 3 % 2}\n" for n in range(30)))
    check = build_report(path, columns=Columns("gpt", "id"), judges=("gpt", "claude")).judges
    assert check is not None and check.items == 30 and check.scale == "nominal"


def test_every_format_shows_the_corrected_rate(tmp_path: Path) -> None:
    report = _report(tmp_path, LabelSource(_labels(tmp_path, TRUTH, seed=7)))
    corrected = _checked(report).corrected
    assert corrected is not None and corrected.value is not None
    figure = f"{100 * corrected.value:.1f}"
    for name in ("text", "md", "latex", "html"):
        shown = FORMATS[name](report)
        assert figure in shown, name
        assert shown.index(figure) < shown.index("70.0"), f"{name}: the judge's own stands first"
    made = json.loads(FORMATS["json"](report))["calibration"]
    assert made["corrected"]["value"] == pytest.approx(corrected.value)
    assert {chart.name for chart in charts(report)} >= {"labels"}


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    judged=st.lists(st.sampled_from([1.0, 2.0, 4.0, 5.0]), min_size=1, max_size=8),
    labels=st.lists(st.sampled_from(["1", "0", "skip", "3", "5"]), min_size=1, max_size=8),
    random=st.booleans(),
)  # fmt: skip
def test_no_few_labels_put_nan_or_an_interval_without_width_into_any_format(
    judged: list[float], labels: list[str], random: bool, tmp_path: Path
) -> None:
    run = [result(n, score) for n, score in enumerate(judged)]
    truth = {f"item-{n}": label for n, label in enumerate(labels)}
    if set(labels[: len(judged)]) == {"skip"}:
        return
    report = _report(tmp_path, LabelSource(_labels(tmp_path, truth), random=random), run)
    for name in ("text", "md", "latex", "json"):
        shown = FORMATS[name](report).casefold()
        assert not re.search(r"\b(nan|inf|infinity)\b", shown), name
    check = _checked(report)
    for interval in (check.ppi, check.rogan_gladen, check.labels_alone, check.corrected_mean,
                     check.kappa, check.sensitivity, check.specificity):  # fmt: skip
        if interval is not None and interval.low is not None and interval.high is not None:
            assert interval.low < interval.high
