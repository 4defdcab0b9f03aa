"""Comparing runs: pairing, differences, what is refused, and every format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from llm_batch.errors import ConfigError
from llm_batch.reporting.comparison.build import COMPARISON_FORMATS, compare_reports
from llm_batch.reporting.comparison.document import page
from llm_batch.reporting.foreign import Columns
from llm_batch.stats.compare import paired_mean_difference
from tests.reporting.made import full_manifest, result, write

#: Ten items: 1 and 2 are lost, 3 is gained, 4 to 7 pass in both, 8 to 10 fail in both.
BEFORE = [5, 4, 2, 5, 5, 4, 4, 1, 2, 3]
AFTER = [1, 3, 4, 5, 4, 5, 4, 1, 1, 3]


def run(
    folder: Path,
    name: str,
    scores: Sequence[float | None],
    *,
    judge: str = "gpt-4",
    model: str = "openai/my-model",
    fields: Mapping[int, Mapping[str, Any]] | None = None,
    first: int = 1,
    **changes: Any,
) -> Path:
    """A run in a folder of its own; its items are numbered from ``first``."""
    place = folder / name
    place.mkdir()
    category = ("maths", "poetry")
    results = [
        result(
            number,
            score,
            fields={"question": f"What is {number}?", "category": category[number % 2]}
            | dict((fields or {}).get(number, {})),
            answer=f"{name} says {number}.",
            status="ok" if score is not None else "timeout",
        )
        for number, score in enumerate(scores, first)
    ]
    made = full_manifest(planned=len(results), **changes)
    made["config"]["steps"][0]["model"] = model
    made["config"]["steps"][1]["model"] = judge
    return write(place, results, made)


def test_differences_are_those_counted_by_hand(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER)
    found = compare_reports([one, two]).comparison.against[0]
    rates, scores = found.rates, found.scores
    assert rates is not None and scores is not None
    assert (rates.n, rates.gained, rates.lost) == (10, 1, 2)
    assert (rates.baseline_rate, rates.run_rate) == (0.6, 0.5)
    assert rates.difference.value == pytest.approx(-0.1)
    assert rates.p_value == 0.625  # 1 of 3 changed: the exact 1 less half of what is as likely
    assert (scores.wins, scores.ties, scores.losses) == (2, 4, 4)
    assert scores.baseline_mean == pytest.approx(3.5)
    assert scores.difference.value == pytest.approx(-0.4)


def test_items_are_paired_by_id_whatever_their_order(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER)
    before = compare_reports([one, two]).comparison.against
    two.write_bytes(b"".join(reversed(two.read_bytes().splitlines(keepends=True))))
    assert compare_reports([one, two]).comparison.against == before


def test_items_of_one_run_alone_and_failed_ones_are_left_out_and_counted(tmp_path: Path) -> None:
    one = run(tmp_path, "one", BEFORE)
    two = run(tmp_path, "two", [*AFTER[:8], None, 3, 5, 5])
    compared = compare_reports([one, two]).comparison
    found = compared.against[0]
    assert (found.common, found.only_baseline, found.only_run, found.unscored) == (10, 0, 2, 1)
    assert found.rates is not None and found.rates.n == 9
    assert any("2 items only in two" in warning for warning in compared.warnings)
    assert any("have no score in one" in warning for warning in compared.warnings)


def test_what_changed_is_shown_with_both_outputs(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER)
    changes = compare_reports([one, two]).comparison.against[0].changes
    assert [(change.id, change.kind) for change in changes] == [
        ("item-1", "lost"),
        ("item-2", "lost"),
        ("item-3", "gained"),
    ]
    assert changes[0].baseline_output == "one says 1."
    assert changes[0].run_output == "two says 1."
    assert changes[0].question == "What is 1?"


def test_categories_have_their_own_differences_with_holms_correction(tmp_path: Path) -> None:
    one = run(tmp_path, "one", [5, 5] * 20)
    two = run(tmp_path, "two", [1, 5] * 20)
    against = compare_reports([one, two]).comparison.against[0]
    found = {group.name: group.rates for group in against.categories}
    assert found["poetry"].lost == 20 and found["maths"].lost == 0
    assert found["poetry"].p_value == pytest.approx(0.5**20)
    assert found["poetry"].p_adjusted == pytest.approx(2 * 0.5**20)
    assert found["maths"].p_adjusted == 1


def test_several_runs_are_compared_with_the_first_and_corrected(tmp_path: Path) -> None:
    one = run(tmp_path, "one", [5] * 20)
    two = run(tmp_path, "two", [1] * 6 + [5] * 14)
    three = run(tmp_path, "three", [1] * 7 + [5] * 13)
    compared = compare_reports([one, two, three]).comparison
    assert [each.run for each in compared.against] == ["two/results", "three/results"]
    p_values = [each.rates.p_value for each in compared.against if each.rates]
    adjusted = [each.rates.p_adjusted for each in compared.against if each.rates]
    assert p_values == pytest.approx([0.5**6, 0.5**7])
    assert adjusted == pytest.approx([0.5**6, 2 * 0.5**7])


def test_a_difference_is_claimed_only_where_it_can_be_told(tmp_path: Path) -> None:
    one = run(tmp_path, "one", [5] * 40)
    same, worse = run(tmp_path, "same", [5] * 39 + [1]), run(tmp_path, "worse", [1] * 20 + [5] * 20)
    told = compare_reports([one, same]).comparison.headline
    assert told.startswith("No difference found between ") and "would go unseen" in told
    assert "passes less often" in compare_reports([one, worse]).comparison.headline


def test_few_changed_items_are_warned_of(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER)
    warnings = compare_reports([one, two]).comparison.warnings
    assert any("Only 3 items changed" in warning for warning in warnings)


def test_another_judge_is_refused_until_told(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER, judge="gpt-4o")
    with pytest.raises(ConfigError, match=r"not judged as .*model of judge differs \(gpt-4 and"):
        compare_reports([one, two])
    warnings = compare_reports([one, two], anyway=True).comparison.warnings
    assert any("may come from the judge" in warning for warning in warnings)


def test_another_threshold_is_another_judge(tmp_path: Path) -> None:
    one = run(tmp_path, "one", BEFORE)
    two = run(tmp_path, "two", AFTER, score={"field": "judge.score", "pass_at": 3.0, "labels": {}})
    with pytest.raises(ConfigError, match="pass at differs"):
        compare_reports([one, two])


def test_other_items_are_refused_until_told(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER, first=100)
    with pytest.raises(ConfigError, match="no item in common"):
        compare_reports([one, two])
    found = compare_reports([one, two], anyway=True).comparison.against[0]
    assert found.rates is not None and not found.rates.paired
    assert found.rates.difference.value == pytest.approx(-0.1)
    assert found.rates.difference.method == "newcombe"


def test_few_common_items_are_refused_until_told(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER, first=8)
    with pytest.raises(ConfigError, match="3 items in common, fewer than half"):
        compare_reports([one, two])
    found = compare_reports([one, two], anyway=True).comparison.against[0]
    assert found.rates is not None and found.rates.paired and found.rates.n == 3


def test_the_same_id_on_other_content_is_refused_and_named(tmp_path: Path) -> None:
    one = run(tmp_path, "one", BEFORE)
    two = run(tmp_path, "two", AFTER, fields={4: {"question": "Something else?"}})
    with pytest.raises(ConfigError, match="and other fields: item-4"):
        compare_reports([one, two])
    assert compare_reports([one, two], anyway=True).comparison.against[0].other_content == 1


def test_a_field_that_only_one_run_kept_is_no_other_content(tmp_path: Path) -> None:
    one = run(tmp_path, "one", BEFORE)
    more = {number: {"note": "kept"} for number in range(1, 11)}
    two = run(tmp_path, "two", AFTER, fields=more)
    assert compare_reports([one, two]).comparison.against[0].other_content == 0


def test_what_the_manifests_say_differently_is_listed(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER, model="openai/other")
    settings = compare_reports([one, two]).comparison.settings
    assert [(each.name, each.values) for each in settings] == [
        ("model of generate", ("openai/my-model", "openai/other"))
    ]


@pytest.mark.parametrize("paths", [["one"], ["one", "one"], ["one", "-"]])
def test_files_that_cannot_be_compared_are_refused(paths: list[str], tmp_path: Path) -> None:
    one = run(tmp_path, "one", BEFORE)
    with pytest.raises(ConfigError):
        compare_reports([one if path == "one" else path for path in paths])


def test_files_of_other_tools_are_compared_by_their_fields(tmp_path: Path) -> None:
    for name, grades in (("a", "pass fail pass"), ("b", "pass pass fail")):
        rows = [f"{number},{grade}" for number, grade in enumerate(grades.split())]
        (tmp_path / f"{name}.csv").write_text("\n".join(["key,grade", *rows]) + "\n")
    compared = compare_reports(
        [tmp_path / "a.csv", tmp_path / "b.csv"], columns=Columns("grade", "key")
    )
    rates = compared.comparison.against[0].rates
    assert rates is not None and (rates.gained, rates.lost, rates.n) == (1, 1, 3)


EDGES: dict[str, tuple[list[float | None], list[float | None]]] = {
    "one item": ([5], [1]),
    "all equal": ([5] * 5, [5] * 5),
    "all lost": ([5] * 5, [1] * 5),
    "all failed": ([None] * 3, [None] * 3),
    "one side failed": ([5] * 3, [None] * 3),
    "huge scores": ([1e300, 5, 5], [5, -1e300, 5]),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("format", COMPARISON_FORMATS)
def test_every_format_says_something_honest_of_every_edge(
    format: str, edge: str, tmp_path: Path
) -> None:
    if format == "html":
        pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    before, after = EDGES[edge]
    paths = [run(tmp_path, "one", before), run(tmp_path, "two", after)]
    compared = compare_reports(paths)
    text = COMPARISON_FORMATS[format](compared)
    if format != "html":  # the charts' library is full of NaN
        assert not {"nan", "inf", "NaN", "Infinity"} & set(text.replace(",", " ").split())
    rates = compared.comparison.against[0].rates
    if rates is not None:
        assert rates.difference.low is not None and rates.difference.high is not None
        assert rates.difference.high > rates.difference.low


def test_json_has_the_documented_keys_and_csv_a_row_per_item(tmp_path: Path) -> None:
    compared = compare_reports([run(tmp_path, "one", BEFORE), run(tmp_path, "two", AFTER)])
    tree = json.loads(COMPARISON_FORMATS["json"](compared))
    assert tree["schema"] == 1 and tree["against"][0]["rates"]["lost"] == 2
    rows = list(csv.DictReader(io.StringIO(COMPARISON_FORMATS["csv"](compared))))
    assert len(rows) == 10
    assert rows[0]["change.two/results"] == "lost" and rows[0]["score.one/results"] == "5"
    assert rows[4]["change.two/results"] == "same"


def test_latex_escapes_what_comes_from_the_data(tmp_path: Path) -> None:
    odd = {number: {"category": r"50 % \evil_{x}"} for number in range(1, 11)}
    paths = [run(tmp_path, name, BEFORE, fields=odd) for name in ("one", "two")]
    text = COMPARISON_FORMATS["latex"](compare_reports(paths))
    assert r"\evil" not in text
    assert r"\begin{tabular}" in text and "McNemar" in text


def _documents(folder: Path, passing: set[int]) -> Path:
    """Eight documents of ten items; a document passes as a whole or fails so."""
    folder.mkdir()
    results = [
        result(n, 5.0 if n // 10 in passing else 1.0, fields={"document": f"d{n // 10}"})
        for n in range(80)
    ]
    return write(folder, results, full_manifest(planned=80))


def test_items_of_a_document_change_together_and_count_as_one(tmp_path: Path) -> None:
    paths = [_documents(tmp_path / "one", {0, 1, 2}), _documents(tmp_path / "two", {2, 3, 4, 5})]
    alone = compare_reports(paths).comparison.against[0]
    clustered = compare_reports(paths, cluster="document").comparison
    rates, scores = clustered.against[0].rates, clustered.against[0].scores
    assert alone.rates is not None and rates is not None and scores is not None
    assert rates.difference.value == alone.rates.difference.value == pytest.approx(1 / 8)
    # By hand: of eight documents three gain and two lose, each as a whole.
    changes = [-1.0, -1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    expected, p_value = paired_mean_difference(changes)
    assert rates.difference.low == pytest.approx(expected.low)
    assert rates.p_value == pytest.approx(p_value)
    assert (rates.difference.low or 0) < (alone.rates.difference.low or 0)
    assert scores.difference.method == "clustered t"
    for name, format in COMPARISON_FORMATS.items():
        shown = format(compare_reports(paths, cluster="document"))
        assert "McNemar" not in shown or name == "html", name


def test_where_nothing_changed_between_clusters_nothing_is_claimed(tmp_path: Path) -> None:
    paths = [_documents(tmp_path / "one", {0}), _documents(tmp_path / "two", {0})]
    comparison = compare_reports(paths, cluster="document").comparison
    assert comparison.against[0].rates is not None
    assert comparison.against[0].rates.p_value is None
    assert "No difference" in comparison.headline


def test_a_text_that_a_page_cuts_says_so_and_where_it_is_whole(tmp_path: Path) -> None:
    long = {1: {"question": "why? " * 2_000}}
    paths = [run(tmp_path, name, BEFORE, fields=long) for name in ("a", "b")]
    made = page(compare_reports(paths))
    assert "[cut: 6,000 more characters; see llmb show" in made.items.text


def test_fields_in_another_order_are_the_same_content_and_null_is_not_absent(
    tmp_path: Path,
) -> None:
    fields = {1: {"note": None}, 2: {"note": {"b": 1, "a": 2}}}
    other = {1: {"note": None}, 2: {"note": {"a": 2, "b": 1}}}
    one, two = (
        run(tmp_path, name, BEFORE, fields=own) for name, own in (("one", fields), ("two", other))
    )
    assert compare_reports([one, two]).comparison.against[0].other_content == 0
    other[3] = {"note": None}
    three = run(tmp_path, "three", BEFORE, fields=other)
    with pytest.raises(ConfigError, match="1 item of .* has the id of .*: item-3$"):
        compare_reports([one, three])


def test_categories_are_those_of_the_field_that_was_asked_for(tmp_path: Path) -> None:
    """Also where the sample was drawn by another one."""
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        fields = [{"question": f"{i}?", "size": ("short", "long")[i % 2]} for i in range(10)]
        results = [result(i, fields=each, stratum="easy") for i, each in enumerate(fields)]
        paths.append(write(tmp_path / name, results, full_manifest(planned=10)))
    found = compare_reports(paths, by="size").comparison.against[0]
    assert [each.name for each in found.categories] == ["long", "short"]
