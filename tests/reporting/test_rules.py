"""What a report says of a classification by a rule."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from llm_batch.record.results import encode_result
from llm_batch.records import Item, Result, Score
from llm_batch.reporting import build_report
from llm_batch.reporting.model import Report
from llm_batch.reporting.page import _facts, charts

#: What is right, what was answered, how often.
ANSWERS = [
    ("good", "good", 40), ("good", "bad", 6), ("good", "", 4),
    ("bad", "bad", 25), ("bad", "good", 3), ("bad", "so so", 2),
    ("fair", "fair", 2), ("fair", "bad", 8),
]  # fmt: skip


def results(answers: Iterable[tuple[str, str, int]]) -> Iterable[Result]:
    for right, found, n in answers:
        for number in range(n):
            score = Score(float(right == found), found, "", right)
            item = Item(f"{right}-{found or 'none'}-{number}", {"text": "x"})
            yield Result(item, "ok", {"exact": right == found}, score, right == found, {})


def report(
    folder: Path, answers: Iterable[tuple[str, str, int]] = ANSWERS, rule: str = "equals"
) -> Report:
    path = folder / "results.jsonl"
    path.write_bytes(b"".join(map(encode_result, results(answers))))
    step = {"name": "exact", "rule": rule, "value": "{{ a }}", "expected": "{{ b }}"}
    config = {"steps": [step], "score": {"field": "exact", "pass_at": 1.0}}
    (folder / "results.manifest.json").write_text(json.dumps({"schema": 1, "config": config}))
    return build_report(path)


def test_each_class_has_its_figures_and_the_table_counts_every_item(tmp_path: Path) -> None:
    check = report(tmp_path).rule_check
    assert check is not None
    assert (check.compared, check.unanswered) == (90, 4)
    assert [(each.name, each.items, each.answered) for each in check.classes] == [
        ("bad", 30, 39), ("fair", 10, 2), ("good", 50, 43),
    ]  # fmt: skip
    assert check.table == ((25, 0, 3, 2, 0), (8, 2, 0, 0, 0), (6, 0, 40, 0, 4))
    bad = check.classes[0]
    assert (bad.precision.value, bad.recall.value) == (25 / 39, 25 / 30)
    assert bad.f1.value == pytest.approx(2 * 25 / (39 + 30))


def test_the_most_frequent_confusions_come_first_with_examples(tmp_path: Path) -> None:
    check = report(tmp_path).rule_check
    assert check is not None
    first = check.confusions[0]
    assert (first.expected, first.found, first.n) == ("fair", "bad", 8)
    assert first.ids == ("fair-bad-0", "fair-bad-1", "fair-bad-2")
    assert [each.n for each in check.confusions] == [8, 6, 4, 3, 2]


def test_the_screen_shows_accuracy_and_the_two_worst_classes(tmp_path: Path) -> None:
    shown = report(tmp_path).to("text")
    assert shown.startswith("Accuracy 74.4 %")
    assert "F1 of fair" in shown
    assert "F1 of bad" in shown
    assert "F1 of good" not in shown
    assert "No answer found in 4 items, which count as wrong." in shown


@pytest.mark.parametrize("name", ["full", "md"])
def test_the_whole_report_has_classes_averages_and_what_was_taken_for_what(
    tmp_path: Path, name: str
) -> None:
    shown = report(tmp_path).to(name)
    for text in ("By class", "macro", "weighted", "micro", "What was taken for what", "other",
                 "none", "fair-bad-0", "Accuracy"):  # fmt: skip
        assert text in shown
    assert "judge" not in shown.casefold()


def test_json_has_the_same_figures(tmp_path: Path) -> None:
    found = json.loads(report(tmp_path).to_json())["rule_check"]
    assert found["classes"][1]["f1"]["value"] == pytest.approx(4 / 12)
    assert found["averages"]["macro"]["f1"]["low"] is not None
    assert found["table"][0] == [25, 0, 3, 2, 0]


@pytest.mark.parametrize(
    ("answers", "rule"),
    [
        ([(f"answer {n}", f"answer {n}", 1) for n in range(50)], "equals"),
        ([(f"answer {n}", "x", 2) for n in range(8)], "equals"),
        ([("4", "4", 20), ("5", "4", 20)], "number"),
        ([("good", "good", 20)], "equals"),
    ],
    ids=["many answers", "few of each", "numbers", "one class"],
)
def test_right_answers_that_are_no_classes_are_not_taken_for_some(
    tmp_path: Path, answers: list[tuple[str, str, int]], rule: str
) -> None:
    found = report(tmp_path, answers, rule)
    assert found.rule_check is not None
    assert found.rule_check.classes == ()
    assert "By class" not in found.to("full")
    assert found.to("text").startswith("Accuracy")


def test_a_file_is_counted_the_same_in_two_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm_batch.record import parts

    whole = report(tmp_path).rule_check
    monkeypatch.setattr(parts, "LEAST_BYTES", 1)
    monkeypatch.setattr(parts, "may_fork", lambda: True)
    monkeypatch.setattr(parts, "_processes", lambda: 2)
    assert report(tmp_path).rule_check == whole


def test_the_page_draws_what_was_taken_for_what(tmp_path: Path) -> None:
    drawn = next(each for each in charts(report(tmp_path)) if each.name == "classes")
    cells = {
        (each["right"], each["answered"]): (each["items"], each["agree"])
        for each in drawn.spec["data"]["values"]
    }
    assert cells["fair", "bad"] == (8, False)
    assert cells["good", "good"] == (40, True)
    assert (cells["bad", "(other)"], cells["good", "(none)"]) == ((2, False), (4, False))
    assert len(cells) == 3 * 5


def test_answers_with_a_part_of_the_right_one_are_told_with_what_to_do(tmp_path: Path) -> None:
    answers = [
        ("william shakespeare", "shakespeare wrote it", 2), ("ulan bator", "it is lima", 3),
        ("42 km", "41 km", 1), ("東京都", "東京", 1), ("lima", "lima", 4),
    ]  # fmt: skip
    made = report(tmp_path, answers, "contains")
    assert made.rule_check is not None and made.rule_check.near == 2
    (said,) = [each for each in made.warnings if "share a word" in each]
    assert "2 wrong answers" in said and "--judge MODEL --force`" in said
    assert "'shakespeare wrote it' where 'william shakespeare' is right" in said


def test_the_mean_of_verdicts_is_not_told_beside_the_rate(tmp_path: Path) -> None:
    made = report(tmp_path)
    path = tmp_path / "results.jsonl"
    failed = Result(Item("left", {}), "truncated", {}, None, None, {})
    path.write_bytes(path.read_bytes() + encode_result(failed))
    assert "Mean score" not in [name for name, *_ in _facts(made)]
    said = " ".join(build_report(path).warnings)
    assert "If all of them had failed" in said and "lowest of the scale" not in said
