"""Gates over comparisons and reports: verdicts, what is refused, baselines, every format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from llm_batch.cli import app
from llm_batch.errors import ConfigError
from llm_batch.reporting.comparison.build import compare_reports
from llm_batch.reporting.comparison.sides import baseline_of
from llm_batch.reporting.gating import GATE_FORMATS, Asked, Gated
from llm_batch.reporting.gating.build import gate_of
from tests.reporting.made import full_manifest, result, write

CATEGORY = ("maths", "poetry")


def run(
    folder: Path,
    name: str,
    scores: Sequence[float | None],
    *,
    pass_at: float | None = 4.0,
    cost: float | None = 0.001,
    seconds: float = 1.0,
    judge: str = "gpt-4",
    sha256: str = "aa",
    **changes: Any,
) -> Path:
    place = folder / name
    place.mkdir()
    results = [
        result(
            number,
            score,
            fields={"question": f"What is {number}?", "category": CATEGORY[number % 2]},
            answer=f"{name} says {number}.",
            status="ok" if score is not None else "timeout",
            pass_at=pass_at,
            cost=None if cost is None else cost * (1 + number % 3),
            seconds=seconds * (1 + number % 7),
        )
        for number, score in enumerate(scores)
    ]
    rule = {"field": "judge.score", "pass_at": pass_at, "min": 1.0, "max": 5.0}
    made = full_manifest(planned=len(results), score=rule, **changes)
    made["config"]["steps"][1] |= {
        "model": judge,
        "prompt": "Rate it. " * 20,
        "system": "Be strict.",
    }
    made["dataset"]["sha256"] = sha256
    return write(place, results, made)


def gate(one: Path, two: Path, by: str | None = None, **asked: Any) -> Gated:
    compared = compare_reports([one, two], by=by, gate=True)
    return gate_of(compared, Asked(by_group=by is not None, **{"fail_if": "worse"} | asked))


def spread(n: int, failing: Sequence[int]) -> list[float | None]:
    """Scores of n items; these fail."""
    return [1.0 if number in set(failing) else 5.0 for number in range(n)]


@pytest.mark.parametrize(
    ("failing", "asked", "verdict", "code"),
    [
        (range(30), {}, "failed", 5),
        (range(30), {"tolerance": 0.2}, "passed", 0),
        (range(4), {"tolerance": 0.02}, "undecided", 6),
        (range(4), {"tolerance": 0.02, "undecided_passes": True}, "undecided", 0),
        ((), {}, "undecided", 6),  # equal is not shown to be not worse by anything at all
        ((), {"tolerance": 0.02}, "passed", 0),
        ((), {"fail_if": "not-better"}, "undecided", 6),
        (range(30), {"fail_if": "not-better"}, "failed", 5),
    ],
)
def test_a_gate_passes_fails_or_is_undecided(
    failing: Sequence[int], asked: dict[str, Any], verdict: str, code: int, tmp_path: Path
) -> None:
    one, two = run(tmp_path, "one", spread(200, ())), run(tmp_path, "two", spread(200, failing))
    found = gate(one, two, **asked).gate
    assert (found.verdict, found.exit_code) == (verdict, code)
    assert found.headline.startswith(f"Gate {verdict}")


def test_a_better_run_is_not_better_enough_within_the_tolerance(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", spread(200, range(40))), run(tmp_path, "two", spread(200, ()))
    assert gate(one, two, fail_if="not-better").gate.verdict == "passed"
    assert gate(one, two, fail_if="not-better", tolerance=0.4).gate.verdict == "failed"


def test_undecided_says_how_many_items_would_decide_it_and_their_price(tmp_path: Path) -> None:
    one = run(tmp_path, "one", spread(200, range(5)))
    two = run(tmp_path, "two", spread(200, range(3, 10)))
    (check,) = gate(one, two, tolerance=0.02).gate.checks
    assert check.verdict == "undecided" and check.needed is not None and check.needed > 200
    per_item = 2 * 2 * 0.001 * 2  # two runs of two steps, and twice the price on average
    assert check.more_cost == pytest.approx((check.needed - 200) * per_item, rel=0.01)
    assert f"about {check.needed - 200:,} items more would decide it, about $" in check.sentence


def test_the_items_that_a_category_needs_are_counted_as_items_of_the_run(tmp_path: Path) -> None:
    one = run(tmp_path, "one", spread(200, range(5)))
    two = run(tmp_path, "two", spread(200, range(3, 10)))
    whole, *parts = gate(one, two, by="category", tolerance=0.05).gate.checks
    undecided = [check for check in parts if check.verdict == "undecided"]
    assert undecided
    for check in undecided:
        assert check.bounds.n == 100 and check.needed is not None
        assert check.needed > 200 and check.more == check.needed - 200
        assert f"about {check.more:,} items more would decide it" in check.sentence


def test_one_bad_category_fails_the_gate_and_is_named_with_what_broke(tmp_path: Path) -> None:
    one = run(tmp_path, "one", spread(400, ()))
    two = run(tmp_path, "two", spread(400, range(1, 60, 2)))
    found = gate(one, two, by="category", tolerance=0.1).gate
    verdicts = {check.group: check.verdict for check in found.checks}
    assert verdicts == {"": "passed", "maths": "passed", "poetry": "failed"}
    poetry = next(check for check in found.checks if check.group == "poetry")
    assert len(poetry.broken) == 5 and {each.category for each in poetry.broken} == {"poetry"}
    assert poetry.broken[0].run_output == "two says 1."
    assert "in poetry" in found.headline


def test_failed_items_count_as_badly_as_they_may_and_not_worse(tmp_path: Path) -> None:
    one = run(tmp_path, "one", spread(400, ()))
    gaps = run(tmp_path, "gaps", [None] * 20 + spread(380, ()))
    found = gate(one, gaps, tolerance=0.02).gate
    assert found.verdict == "undecided" and found.checks[0].missing == 20
    assert "20 items without a verdict leave it open" in found.headline
    assert gate(one, gaps, tolerance=0.1).gate.verdict == "passed"


def test_mean_scores_are_held_to_the_gate_where_there_are_no_verdicts(tmp_path: Path) -> None:
    one = run(tmp_path, "one", spread(200, ()), pass_at=None)
    same = run(tmp_path, "same", spread(200, ()), pass_at=None)
    worse = run(tmp_path, "worse", spread(200, range(40)), pass_at=None)
    assert gate(one, same, tolerance=0.1).gate.verdict == "passed"
    failed = gate(one, worse, tolerance=0.1, by="category").gate
    assert failed.verdict == "failed" and "mean score not worse by more than 0.1" in failed.headline
    assert len(failed.checks) == 3


def test_cost_and_latency_have_limits_of_their_own(tmp_path: Path) -> None:
    one = run(tmp_path, "one", spread(200, ()))
    dear = run(tmp_path, "dear", spread(200, ()), cost=0.0015, seconds=3.0)
    asked = {"fail_if": "", "max_cost_ratio": 1.2, "max_latency_ratio": 1.5}
    found = gate(one, dear, **asked).gate
    assert [check.verdict for check in found.checks] == ["failed", "failed"]
    assert found.checks[0].bounds.value == pytest.approx(1.5)
    wide = {"fail_if": "", "max_cost_ratio": 1.6, "max_latency_ratio": 4.0}
    assert gate(one, dear, **wide).gate.verdict == "passed"
    unpriced = run(tmp_path, "unpriced", spread(200, ()), cost=None)
    with pytest.raises(ConfigError, match=r"unpriced.* knows no cost"):
        gate(one, unpriced, **asked)
    free = run(tmp_path, "free", spread(200, ()), cost=0.0)
    with pytest.raises(ConfigError, match="cost is 0"):
        gate(free, one, **asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tolerance": -0.1}, "--tolerance -0.1 is no size"),
        ({"tolerance": 2.0}, "--tolerance 2 is no share"),
        ({"fail_if": "worst"}, "'worst' is not known"),
        ({"fail_if": "", "tolerance": 0.1}, "--tolerance needs a gate"),
        ({"max_cost_ratio": 0.0}, "--max-cost-ratio 0 is no ratio"),
        ({"level": 0.4}, "--confidence 0.4 is not a level"),
    ],
)
def test_what_makes_no_gate_is_one_sentence(
    asked: dict[str, Any], said: str, tmp_path: Path
) -> None:
    one, two = run(tmp_path, "one", spread(40, ())), run(tmp_path, "two", spread(40, ()))
    with pytest.raises(ConfigError, match=said) as raised:
        gate(one, two, **asked)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"judge": "gpt-4o"}, "model of judge differs"),
        ({"pass_at": 3.0}, "pass at differs"),
        ({"sha256": "bb"}, "played on different data"),
    ],
)
@pytest.mark.parametrize("kept", [False, True])
def test_another_judge_threshold_or_data_set_is_no_basis(
    changes: dict[str, Any], said: str, kept: bool, tmp_path: Path
) -> None:
    one, two = run(tmp_path, "one", spread(40, ())), run(tmp_path, "two", spread(40, ()), **changes)
    base = _kept(one) if kept else one
    with pytest.raises(ConfigError, match=said) as raised:
        gate(base, two)
    anew = base if kept else "baseline.json"
    assert f"llmb baseline set {two} -o {anew}" in raised.value.hint


def _kept(results: Path) -> Path:
    path = results.with_name("baseline.json")
    path.write_bytes(baseline_of(results).encoded())
    return path


def test_a_baseline_stands_for_its_run_and_holds_no_text(tmp_path: Path) -> None:
    one = run(tmp_path, "one", spread(60, range(9)))
    two = run(tmp_path, "two", spread(60, range(5, 20)))
    kept = _kept(one)
    asked = {"max_cost_ratio": 1.2, "max_latency_ratio": 2.0, "by": "category"}
    first, second = gate(one, two, **asked).gate, gate(kept, two, **asked).gate
    told = [(check.name, check.group, check.bounds.n, check.verdict) for check in first.checks]
    assert told == [(c.name, c.group, c.bounds.n, c.verdict) for c in second.checks]
    for before, after in zip(first.checks, second.checks, strict=True):
        assert before.bounds.low == pytest.approx(after.bounds.low)
        assert before.p_value == pytest.approx(after.p_value)
    text = kept.read_text()
    assert not any(words in text for words in ("What is", "says", "Rate it", "Be strict."))
    assert len(text.splitlines()) == 62 and kept.stat().st_size < one.stat().st_size / 5
    assert compare_reports([kept, two]).comparison.runs[0].cost == pytest.approx(0.24, rel=0.1)


def test_a_baseline_knows_items_with_other_content(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", spread(40, ())), run(tmp_path, "two", spread(40, ()))
    kept = _kept(one)
    two.write_text(two.read_text().replace("What is 7?", "What is it?"))
    with pytest.raises(ConfigError, match=r"1 item of .* other fields: item-7"):
        gate(kept, two)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:300], "is not a whole baseline"),
        (lambda text: text.replace('"baseline":1', '"baseline":9'), "newer version"),
        (lambda text: text.replace('"item-1"', '"item-2"'), "has an item twice"),
        (lambda text: text.replace('"read":', '"seen":'), "is not a whole baseline"),
        (lambda text: '{"a": 1}', "is no baseline, nor results"),
    ],
)
def test_a_spoilt_baseline_is_one_sentence(spoil: Any, said: str, tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", spread(40, ())), run(tmp_path, "two", spread(40, ()))
    kept = _kept(one)
    kept.write_text(spoil(kept.read_text()))
    done = CliRunner().invoke(app, ["compare", str(kept), str(two), "--fail-if", "worse"])
    assert said in str(done.exception) and getattr(done.exception, "hint", "")


def test_the_command_line_ends_in_the_verdict_and_writes_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = run(tmp_path, "one", spread(90, ())), run(tmp_path, "two", spread(90, range(30)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    typed = ["compare", str(one), str(two), "--fail-if", "worse", "--by", "category"]
    files = ["--also", "junit=gate.xml", "--also", "md=comment.md", "--also", "json=gate.json"]
    done = CliRunner().invoke(app, [*typed, *files, "--step-summary", "--format", "line"])
    assert done.exit_code == 5 and done.stdout.startswith("Gate failed (3 of 3 checks): pass rate")
    assert len(done.stdout.splitlines()) == 1
    comment = (tmp_path / "comment.md").read_text()
    assert (tmp_path / "summary.md").read_text().strip() == comment.strip()
    assert "| pass rate not worse | failed |" in comment and "two says 0." in comment
    root = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert root.attrib == {"tests": "3", "failures": "3", "errors": "0", "skipped": "0"}
    assert "two says 0." in (root.findtext("testsuite/testcase/failure") or "")
    tree = json.loads((tmp_path / "gate.json").read_bytes())
    assert tree["verdict"] == "failed" and tree["comparison"]["against"][0]["rates"]["lost"] == 30
    no_gate = CliRunner().invoke(app, typed[:3])
    assert no_gate.exit_code == 0
    assert no_gate.stdout == CliRunner().invoke(app, ["report", *typed[1:3]]).stdout


@pytest.mark.parametrize(("least", "code"), [("0.6", 0), ("0.72", 6), ("0.9", 5), ("90", 2)])
def test_a_report_is_held_against_a_number(least: str, code: int, tmp_path: Path) -> None:
    one = run(tmp_path, "one", spread(200, range(50)))
    done = CliRunner().invoke(app, ["report", str(one), "--at-least", least, "--format", "line"])
    assert done.exit_code == code or getattr(done.exception, "exit_code", 0) == code
    if code == 6:
        assert "75.0 % (69." in done.stdout and "would decide it" in done.stdout


@pytest.mark.parametrize("format", list(GATE_FORMATS))
@pytest.mark.parametrize("undecided_passes", [False, True])
def test_every_format_shows_a_gate(format: str, undecided_passes: bool, tmp_path: Path) -> None:
    if format == "html":
        pytest.importorskip("vl_convert")
    one, two = run(tmp_path, "one", spread(40, (3,))), run(tmp_path, "two", spread(40, (4, 5)))
    gated = gate(one, two, tolerance=0.02, undecided_passes=undecided_passes)
    assert gated.gate.verdict == "undecided"
    text = GATE_FORMATS[format](gated)
    if format == "junit":
        assert ("<skipped" in text) is undecided_passes and (
            "<error" in text
        ) is not undecided_passes
    elif format not in ("csv", "latex"):
        assert "undecided" in text and "pass rate not worse by more than 2 points" in text


def test_a_gate_of_documents_that_belong_together_goes_by_these(tmp_path: Path) -> None:
    one, two = run(tmp_path, "one", spread(200, ())), run(tmp_path, "two", spread(200, range(12)))
    compared = compare_reports([one, two], gate=True, cluster="question")
    (check,) = gate_of(compared, Asked("worse")).gate.checks
    assert check.bounds.method == "clustered t" and check.verdict == "failed"


def _graded(folder: Path, name: str, grounded: Sequence[bool]) -> Path:
    """A run with a further score, which differs while the main one does not."""
    path = run(folder, name, spread(len(grounded), ()))
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for line, passed in zip(lines, grounded, strict=True):
        line["scores"] = {"grounded": {"score": float(passed), "passed": passed, "label": ""}}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    place = path.with_name("results.manifest.json")
    made = json.loads(place.read_bytes())
    made["config"]["scores"] = {"grounded": {"field": "judge.grounded", "pass_at": 1}}
    place.write_text(json.dumps(made))
    return path


@pytest.mark.parametrize("kept", [False, True])
def test_a_further_score_is_compared_by_its_name(kept: bool, tmp_path: Path) -> None:
    one = _graded(tmp_path, "one", [True] * 90)
    two = _graded(tmp_path, "two", [number % 3 > 0 for number in range(90)])
    base = _kept(one) if kept else one
    compared = compare_reports([base, two], gate=True, score="grounded")
    assert gate_of(compared, Asked("worse", tolerance=0.1)).gate.verdict == "failed"
    assert compared.comparison.runs[1].pass_rate.value == pytest.approx(2 / 3)
    for main in ("", "score", "judge.score"):
        same = compare_reports([base, two], gate=True, score=main)
        assert gate_of(same, Asked("worse", tolerance=0.1)).gate.verdict == "passed"
    with pytest.raises(ConfigError, match="no score called other") as raised:
        compare_reports([base, two], score="other")
    assert "score, grounded" in raised.value.hint
