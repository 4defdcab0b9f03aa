"""Counting two halves at once gives what one pass gives, and leaves what it cannot to one pass."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_batch.errors import ConfigError, LlmbError, OutputError
from llm_batch.record import lines, parts
from llm_batch.records import Score
from llm_batch.reporting import FORMATS, build_report, items, reference, scan
from llm_batch.reporting.comparison.build import COMPARISON_FORMATS, compare_reports
from llm_batch.reporting.comparison.sides import baseline_of
from llm_batch.reporting.scan import Tallies
from tests.reporting.made import full_manifest, result, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="halves are counted on Linux only")


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Tallies | None]:
    """Files of any size are halved; what came of it is kept."""
    kept: list[Tallies | None] = []
    count = scan.count_parts

    def keeping(*args: Any) -> Tallies | None:
        kept.append(None)
        kept[-1] = count(*args)
        return kept[-1]

    monkeypatch.setattr(parts, "LEAST_BYTES", 1)
    # Other tests of this process may have started threads that numpy keeps.
    monkeypatch.setattr(parts, "may_fork", lambda: True)
    monkeypatch.setattr(parts, "_processes", lambda: 2)
    monkeypatch.setattr(scan, "count_parts", keeping)
    return kept


def _results(n: int = 400) -> list[Any]:
    """Costs and times are sums of powers of two, so that no order of adding rounds them."""
    return [
        result(
            i,
            float(i % 5 + 1),
            status="timeout" if i % 20 == 3 else "ok",
            error=f"no answer {i}" if i % 20 == 3 else "",
            fields={
                "question": f"Q{i}",
                "answer": "Paris" if i % 3 else "Rome",
                "category": "ab"[i % 2],
            },
            cost=None if i == 250 else i / 1024,
            seconds=1 + i / 256,
            worst_case=i % 100 == 7,
        )
        for i in range(n)
    ]


def _one_pass(path: Path, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(parts, "LEAST_BYTES", sys.maxsize)
        return build_report(path, **asked)


def test_both_halves_make_the_report_of_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[Tallies | None]
) -> None:
    path = write(tmp_path, _results(), full_manifest(planned=400))
    made = build_report(path)
    assert counted[0] is not None
    assert made == _one_pass(path, monkeypatch)
    assert (made.items.read, made.groups and len(made.groups.groups)) == (400, 2)


def _everything(path: Path, other: Path) -> list[str]:
    compared = compare_reports([path, other], by="category", cluster="answer")
    formats = ("csv", "json", "full")
    return [
        *(FORMATS[name](build_report(path)) for name in formats),
        *(COMPARISON_FORMATS[name](compare_reports([path, other])) for name in formats),
        COMPARISON_FORMATS["json"](compared),
        baseline_of(path).encoded().decode(),
    ]


def test_parts_make_the_texts_of_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of columns that come late, texts in quotes, ids that were changed, and a blank line."""
    first = [replace(each, item=replace(each.item, id=str(n))) for n, each in enumerate(_results())]
    late = replace(first[399].item, fields={"late": 'a "b", c\r\nd;=1', **first[399].item.fields})
    first[399] = replace(first[399], item=late)
    second = [replace(each, passed=each.passed and n % 7 > 0) for n, each in enumerate(first)]
    second = [replace(each, item=replace(each.item, id=f"{each.item.id}.0")) for each in second]
    paths = [tmp_path / "one", tmp_path / "two"]
    for folder, results in zip(paths, (first, second), strict=True):
        folder.mkdir()
        write(folder, results, full_manifest(planned=400))
    one, two = (folder / "results.jsonl" for folder in paths)
    two.write_bytes(two.read_bytes().replace(b"\n", b"\n\n", 1))
    monkeypatch.setattr(items, "PIECE_BYTES", 5_000)
    made = _everything(one, two)
    with monkeypatch.context() as patch:
        patch.setattr(parts, "LEAST_BYTES", sys.maxsize)
        assert _everything(one, two) == made
    assert "field.late" in made[0].partition("\n")[0] and '"lost"' in made[4]


def test_a_column_that_a_late_line_brings_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is: most lines are only looked at for names that did not come before."""
    results = _results(60)
    for n, changed in {
        20: {"item": replace(results[20].item, fields={"": "no name", 'a "name"': 1})},
        30: {"outputs": {"generate": {"a": {"b": 1}}, "judge": {}}},
        36: {"outputs": {"generate": "text", "judge": None}},
        40: {"outputs": {"more": [1]}},
        45: {"scores": {"tone": Score(2.0)}},
        50: {"scores": {"tone": Score(None, passed=False)}},
        55: {"outputs": {"judge": {"": 1}}},
    }.items():
        results[n] = replace(results[n], **changed)
    path = write(tmp_path, results, full_manifest(planned=60))
    monkeypatch.setattr(items, "PIECE_BYTES", 5_000)
    monkeypatch.setattr(lines, "BATCH_BYTES", 1_500)
    made = FORMATS["csv"](build_report(path))
    header = made.partition("\n")[0].split(",")
    late = ["field.", "output.generate.a", "output.judge", "output.more", "score.tone"]
    assert {*late, "passed.tone", "output.judge."} <= set(header)
    with monkeypatch.context() as patch:
        patch.setattr(parts, "LEAST_BYTES", sys.maxsize)
        assert FORMATS["csv"](build_report(path)) == made


def test_an_id_in_both_halves_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[Tallies | None]
) -> None:
    results = _results()
    path = write(tmp_path, [*results, results[0]], full_manifest(planned=400))
    made = build_report(path)
    assert counted[0] is not None and counted[0].lines.twice()  # it was left to one pass
    assert (made.items.read, made.items.duplicates) == (400, 1)
    assert made == _one_pass(path, monkeypatch)


def test_an_id_twice_in_one_half_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[Tallies | None]
) -> None:
    results = _results()
    path = write(tmp_path, [*results, results[-1]], full_manifest(planned=400))
    made = build_report(path)
    assert counted[0] is not None
    assert made.items.duplicates == 1 and any("item-399" in text for text in made.warnings)
    assert made == _one_pass(path, monkeypatch)


def test_references_checked_in_the_first_half_only_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[Tallies | None]
) -> None:
    path = write(tmp_path, _results(), full_manifest(planned=400))
    monkeypatch.setattr(reference, "CHECK_LIMIT", 50)
    made = build_report(path)
    assert counted[0] is not None
    assert made == _one_pass(path, monkeypatch)
    monkeypatch.setattr(reference, "CHECK_LIMIT", 300)  # is reached within the second half
    assert build_report(path) == _one_pass(path, monkeypatch)
    assert counted[1] is None


@pytest.mark.parametrize("place", [100, 300], ids=["first half", "second half"])
def test_a_line_that_cannot_be_read_is_named_by_its_number(tmp_path: Path, place: int) -> None:
    path = write(tmp_path, _results())
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place] = b'{"id": 7}\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(OutputError, match=f"line {place + 1} is not a result"):
        build_report(path)


def test_a_last_line_that_was_cut_off_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[Tallies | None]
) -> None:
    path = write(tmp_path, _results(), full_manifest(planned=400))
    path.write_bytes(path.read_bytes()[:-40])
    made = build_report(path)
    assert counted[0] is not None and counted[0].torn
    assert made.items.read == 399
    assert made == _one_pass(path, monkeypatch)


def test_groups_too_many_in_all_are_refused(tmp_path: Path) -> None:
    results = [result(i, fields={"key": f"k{i}"}) for i in range(1200)]
    path = write(tmp_path, results)
    with pytest.raises(ConfigError, match="more than 1,000 different values"):
        build_report(path, by="key")


def test_a_second_process_that_dies_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[Tallies | None]
) -> None:
    path = write(tmp_path, _results(), full_manifest(planned=400))
    monkeypatch.setattr(parts, "_send", lambda *_: os._exit(9))
    made = build_report(path)
    assert counted[0] is not None
    assert made == _one_pass(path, monkeypatch)


def test_a_file_of_one_line_or_none_is_read_in_one_pass(
    tmp_path: Path, counted: list[Tallies | None]
) -> None:
    assert build_report(write(tmp_path, [])).items.read == 0
    assert build_report(write(tmp_path, _results(1))).items.read == 1
    assert counted == [None, None]


def test_fields_with_quotes_in_their_names_reach_the_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[Tallies | None]
) -> None:
    name = 'the "key"'
    path = write(tmp_path, [result(i, fields={name: "ab"[i % 2]}) for i in range(100)])
    made = build_report(path, by=name)
    assert counted[0] is not None
    assert made == _one_pass(path, monkeypatch, by=name)


def test_errors_are_the_same_as_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, _results())
    for asked in ({"by": "nothing"}, {"reference": "nothing"}):
        with pytest.raises(LlmbError) as halved:
            build_report(path, **asked)  # type: ignore[arg-type]
        with pytest.raises(LlmbError) as whole:
            _one_pass(path, monkeypatch, **asked)
        assert str(halved.value) == str(whole.value)


def test_items_paired_by_hashes_are_those_paired_by_ids(tmp_path: Path) -> None:
    """Also in another order, with ids that one run has alone, and as a spreadsheet spells them."""
    one = _run(tmp_path, "one", [f"{i}" for i in range(200)])
    ids = [f"{i}" for i in range(250) if i % 7]
    ids.reverse()
    for name, spelt in (("two", ids), ("three", [f"{id}.0" for id in ids])):
        found = compare_reports([one, _run(tmp_path, name, spelt)])
        against = found.comparison.against[0]
        assert (against.common, against.only_baseline, against.only_run) == (171, 29, 43)
        changed = {change.id: change for change in against.changes}
        assert list(changed) == [f"{i}" for i in range(200) if i % 7 and i % 5 == 4]
        assert changed["9"].baseline_output == "one 9"
        assert changed["9"].run_output == f"{name} 9{'.0' * (name == 'three')}"
        assert [*found.rows[1].ids] == ids and found.rows[1].index["9"] == ids.index("9")


def _run(folder: Path, name: str, ids: list[str]) -> Path:
    """Items whose number ends in 4 or 9 pass in the first run alone."""
    (folder / name).mkdir()
    results = [
        result(
            i,
            5.0 if name == "one" or float(id) % 5 != 4 else 1.0,
            id=id,
            answer=f"{name} {id}",
            fields={"question": f"What is {int(float(id))}?"},
        )
        for i, id in enumerate(ids)
    ]
    return write(folder / name, results)
