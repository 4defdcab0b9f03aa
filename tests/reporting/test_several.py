"""What a report says of further scores, juries, repeats, pairs and audits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_batch.errors import ConfigError
from llm_batch.record import parts
from llm_batch.record.results import encode_result
from llm_batch.records import Item, Result, Score, StepTotals, Usage
from llm_batch.reporting import FORMATS, build_report, scan
from llm_batch.reporting.comparison.build import COMPARISON_FORMATS, compare_reports
from llm_batch.reporting.model import Report
from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.calibrate import ppi_rate
from llm_batch.stats.interval import wilson
from llm_batch.stats.repeats import pass_at_k

GENERATE = {"name": "generate", "model": "openai/m"}
GRADE = {"score": {"type": "integer", "min": 1, "max": 5}}
JURY = ("openai/a", "openai/b", "openai/c")
JUDGE = {"name": "judge", "output": GRADE, "models": [*JURY], "combine": "majority"}
MAIN = {"field": "judge.score", "pass_at": 4}


def item(number: int, score: float | None = None, **more: Any) -> Result:
    made = None if score is None else Score(score)
    passed = None if score is None else score >= 4
    parts = {"outputs": {}, "score": made, "passed": passed, "steps": {}} | more
    return Result(Item(str(number), {}), "ok", **parts)


def spent(**costs: float) -> dict[str, StepTotals]:
    return {name: StepTotals(Usage(1, 1), cost, 1.0, 1) for name, cost in costs.items()}


def write(
    folder: Path,
    results: Iterable[Result],
    steps: Sequence[Mapping[str, Any]],
    score: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    path = folder / "results.jsonl"
    path.write_bytes(b"".join(map(encode_result, results)))
    config = {"steps": [*steps], "score": score, **more}
    made = {"schema": 1, "config": config, "dataset": {"n": 1000}}
    (folder / "results.manifest.json").write_text(json.dumps(made))
    return path


def report(folder: Path, *arguments: Any, **more: Any) -> Report:
    return build_report(write(folder, *arguments, **more))


def full(made: Report) -> str:
    return " ".join(FORMATS["md"](made).split())


def graded() -> list[Result]:
    """Ten items, of which 4 are grounded: scores 1 to 5, twice; total is both together."""
    made = []
    for n in range(10):
        score, grounded = float(n % 5 + 1), float(n % 5 < 2)
        scores = {
            "grounded": Score(grounded, passed=grounded >= 1),
            "total": Score(score + 0.5 * grounded),
        }
        made.append(item(n, score, scores=scores))
    return made


SCORES = {
    "grounded": {"field": "judge.grounded", "pass_at": 1},
    "total": {"weights": {"score": 1, "grounded": 0.5}},
}


def test_each_score_has_its_figures_and_pairs_of_them_are_correlated(tmp_path: Path) -> None:
    made = report(tmp_path, graded(), [GENERATE, JUDGE], MAIN, scores=SCORES)
    assert made.several is not None
    main, grounded, total = made.several.scores
    assert (main.name, main.rate, main.mean) == (
        "score", made.pass_rate.rate, made.scores.mean,
    )  # fmt: skip
    assert (grounded.rate, grounded.n) == (wilson(4, 10), 10)
    assert (total.rate, total.mean.value, total.source) == (None, 3.2, "1 score + 0.5 grounded")
    found = {(each.one, each.other): each.spearman.value for each in made.several.correlations}
    assert found["score", "total"] == pytest.approx(1.0)
    assert found["score", "grounded"] == pytest.approx(-0.866, abs=1e-3)
    assert "grounded is judge.grounded" in full(made)


def drawn_apart(folder: Path) -> Path:
    """40 items each of strata of 900 and 100: of these 30 are grounded, and 5 of 20, while 20 of
    the small one were not asked that; 4 failed. Two and two belong together.
    """
    results = []
    for n in range(80):
        small = n >= 40
        grounded = float(n % 4 < 3 if not small else n % 4 < 1)
        scores = {} if n >= 60 else {"grounded": Score(grounded, passed=grounded >= 1)}
        one = replace(
            item(n, float(n % 5 + 1), scores=scores),
            item=Item(str(n), {"doc": n // 2}, "small" if small else "large"),
        )
        results.append(one)
    failed = Result(Item("f0", {"doc": "f"}, "large"), "truncated", {}, None, None, {})
    results += [replace(failed, item=replace(failed.item, id=f"f{n}")) for n in range(4)]
    path = write(folder, results, [GENERATE, JUDGE], MAIN, scores=SCORES)
    place = path.with_name("results.manifest.json")
    made = json.loads(place.read_text())
    made["dataset"]["strata"] = {"large": 900, "small": 100}
    place.write_text(json.dumps(made))
    return path


@pytest.mark.parametrize("asked", [{}, {"cluster": "doc"}], ids=["strata", "clusters"])
def test_each_score_has_the_interval_that_it_has_as_the_first(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    path = drawn_apart(tmp_path)
    made = build_report(path, **asked)
    first = build_report(path, score="grounded", **asked)
    assert made.several is not None and first.several is not None
    beside = {each.name: (each.rate, each.mean) for each in made.several.scores}
    assert beside["grounded"] == (first.pass_rate.rate, first.scores.mean)
    there = {each.name: (each.rate, each.mean) for each in first.several.scores}
    assert there["score"] == (made.pass_rate.rate, made.scores.mean)
    assert (first.items.unasked, first.pass_rate.missing) == (20, 4)
    if not asked:  # of the small stratum half is asked, so 50 of 100 count
        assert first.pass_rate.rate.value == pytest.approx((900 * 0.75 + 50 * 0.25) / 950)


def test_another_score_takes_the_place_of_the_main_one(tmp_path: Path) -> None:
    path = write(tmp_path, graded(), [GENERATE, JUDGE], MAIN, scores=SCORES)
    made = build_report(path, score="grounded")
    assert (made.pass_rate.rate, made.pass_rate.pass_at) == (wilson(4, 10), 1)
    assert made.headline.startswith("Pass rate of grounded 40.0 %")
    plain = build_report(path)
    assert made.several is not None
    assert made.several == plain.several
    assert [row["score"] for row in made.rows()] == [1, 1, 0, 0, 0] * 2
    assert made.rows()[3]["score.score"] == plain.rows()[3]["score"] == 4
    assert build_report(path, score="total").scores.mean.value == 3.2
    for name in ("score", "judge.score"):
        assert build_report(path, score=name) == plain
    with pytest.raises(ConfigError, match="no score called goodness") as caught:
        build_report(path, score="goodness")
    assert caught.value.hint == "it has score, grounded, total"


def test_runs_are_compared_by_the_score_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for name, grounded in (("base", 1.0), ("new", 0.0)):
        (tmp_path / name).mkdir()
        results = [
            item(n, 5.0, scores={"grounded": Score(grounded, passed=grounded > 0)})
            for n in range(40)
        ]
        paths.append(write(tmp_path / name, results, [GENERATE, JUDGE], MAIN, scores=SCORES))
    found = compare_reports(paths, score="grounded").comparison.against[0]
    every = compare_reports(paths).comparison.against[0]
    assert found.rates is not None
    assert found.rates.difference.value == -1.0
    assert found.by_score == ()
    # Without a name all of them are held against each other, with Holm's correction over both.
    main, grounded = every.by_score
    assert main.rates == every.rates
    assert (grounded.name, grounded.rates) == ("grounded", found.rates)
    assert grounded.p_adjusted == pytest.approx(2 * (found.rates.p_value or 0.0))
    assert "p is corrected for looking at 2 scores (Holm)" in COMPARISON_FORMATS["full"](
        compare_reports(paths)
    ).replace("\n  ", " ")
    monkeypatch.setattr(parts, "LEAST_BYTES", 1)
    monkeypatch.setattr(parts, "may_fork", lambda: True)
    monkeypatch.setattr(parts, "_processes", lambda: 2)
    assert compare_reports(paths).comparison.against[0] == every
    assert compare_reports(paths, score="grounded").comparison.against[0] == found


def votes(*scores: int | None) -> dict[str, Any]:
    cast = zip(JURY, scores, strict=True)
    return {"judge": {model: {"score": n} for model, n in cast if n is not None}}


def test_a_jury_says_who_decides_and_what_it_would_be_without_each(tmp_path: Path) -> None:
    cost = {f"judge#{model}": n for model, n in zip(JURY, (0.1, 0.2, 0.4), strict=True)}
    ballots = [(5, 5, 5)] * 6 + [(5, 4, 1)] * 2 + [(1, 1, 4)] + [(5, None, 5)]
    results = [
        item(n, 5.0 if each != (1, 1, 4) else 1.0, votes=votes(*each), steps=spent(**cost))
        for n, each in enumerate(ballots)
    ]
    results[-1] = replace(results[-1], lost={"judge#openai/b": "unparsed: no score"})
    made = report(tmp_path, results, [GENERATE, JUDGE], MAIN)
    assert made.several is not None
    (jury,) = made.several.juries
    assert (jury.verdict, jury.ties) == (wilson(9, 10), 0)
    assert jury.unanimous == wilson(7, 10)
    a, b, c = jury.members
    # Without a, two ballots are 4 and 1, of which the chain takes the lower; c never decides, as
    # the majority of the two others is theirs.
    assert [each.decisive for each in (a, b, c)] == [wilson(3, 10), wilson(2, 9), wilson(1, 10)]
    assert (b.votes, b.lost, b.own) == (9, 1, wilson(8, 9))
    assert [each.cost for each in jury.members] == [pytest.approx(n) for n in (1, 2, 4)]
    assert [(each.one, each.other, each.kappa.n) for each in jury.kappas][0] == (
        "openai/a", "openai/b", 9,
    )  # fmt: skip
    assert "1 vote lost: 1 unreadable by openai/b." in full(made)


def test_a_jury_that_answers_in_words_decides_by_their_numbers_as_the_chain_does(
    tmp_path: Path,
) -> None:
    judge = {"name": "judge", "models": [*JURY], "combine": "majority"}
    score = {"field": "judge", "pass_at": 0.5, "labels": {"right": 1, "half": 0.5, "wrong": 0}}
    cast = {"judge": dict(zip(JURY, (1.0, 0.5, 0.0), strict=True))}
    results = [replace(item(n), score=Score(0.5), passed=True, votes=cast) for n in range(10)]
    made = report(tmp_path, results, [GENERATE, judge], score)
    assert made.several is not None
    (jury,) = made.several.juries
    assert (jury.verdict, jury.ties) == (wilson(10, 10), 0)


def repeated(passes: Sequence[str], **cost: float) -> list[Result]:
    """An item for each text, a repeat for each of its letters: ``+`` passes."""
    made = []
    for n, each in enumerate(passes):
        scores = [Score(5.0 if sign == "+" else 1.0, passed=sign == "+") for sign in each]
        mean = sum(score.value or 0.0 for score in scores) / len(scores)
        passed = 2 * each.count("+") > len(each)
        made.append(item(n, mean, passed=passed, repeats=tuple(scores), steps=spent(**cost)))
    return made


REPEATED = ["+++"] * 4 + ["++-"] * 3 + ["+--"] * 2 + ["---"] * 3


def test_repeats_give_pass_at_k_and_the_verdict_of_most(tmp_path: Path) -> None:
    steps = [GENERATE | {"repeat": 3}, JUDGE | {"models": [], "combine": "", "model": "openai/a"}]
    made = report(tmp_path, repeated(REPEATED), steps, MAIN)
    found = made.several.repeats if made.several else None
    assert found is not None
    counts = [(3, each.count("+")) for each in REPEATED]
    assert found.at_least_one == tuple(pass_at_k(counts, k) for k in (1, 2, 3))
    assert [each.value for each in found.all_pass] == pytest.approx([20 / 36, 5 / 12, 4 / 12])
    assert found.majority == wilson(7, 12) == made.pass_rate.rate
    assert made.headline.endswith("1,000 items; majority of 3 repeats; pass@1 55.6 %")


@pytest.mark.parametrize(
    ("answers", "once", "said"),
    [
        # Items cost nothing before their answers, and differ: more items are always better.
        (0.03, 0.0, "repeat = 1 with --sample 36 is the better use of it"),
        # An item costs as much as ten answers.
        (0.03, 0.1, "no other number of repeats gives clearly less"),
    ],
)
def test_repeats_are_held_against_more_items_for_the_same_money(
    tmp_path: Path, answers: float, once: float, said: str
) -> None:
    before = {"name": "before", "model": "openai/m"}
    steps = [before, GENERATE | {"repeat": 3}, {"name": "exact", "rule": "equals"}]
    results = repeated(REPEATED, before=once, generate=answers)
    made = report(tmp_path, results, steps, {"field": "exact", "pass_at": 1})
    assert said in full(made)


def test_a_judge_that_is_asked_again_has_a_flip_rate(tmp_path: Path) -> None:
    judge = {"name": "judge", "model": "openai/a", "output": GRADE}
    apart = report(tmp_path, repeated(["++", "+-", "--", "++"]), [judge | {"repeat": 2}], MAIN)
    said = [(1, 1), (1, 5), (5, 5), (4, 4)]
    results = [
        item(n, 4.0, votes={"judge": {str(i + 1): {"score": s} for i, s in enumerate(each)}})
        for n, each in enumerate(said)
    ]
    one = report(tmp_path, results, [judge | {"repeat": 2, "combine": "median"}], MAIN)
    for made in (apart, one):
        assert made.several is not None
        (found,) = made.several.consistency
        assert (found.flips.value, found.alike.value) == (0.25, 0.75)


def pair(name: str, first: str, second: str, *said: str | None) -> dict[str, Any]:
    """What the judge said with the first output shown first, and with the second so."""
    orders = zip((first, second), said, strict=True)
    return {name: {f"{each} first": {"winner": won} for each, won in orders if won}}


PAIR = {"name": "better", "model": "openai/j", "pair": ["new", "old"]}


def test_a_jury_of_repeats_votes_on_all_of_them_and_an_item_counts_once(tmp_path: Path) -> None:
    lanes = [votes(5, 5, 1)["judge"], None, votes(1, 1, 1)["judge"]]
    results = [item(n, 3.0, votes={"judge": lanes}, repeats=(Score(5.0),)) for n in range(8)]
    made = report(tmp_path, results, [{**GENERATE, "repeat": 3}, JUDGE], MAIN)
    assert made.several is not None
    (jury,) = made.several.juries
    assert (jury.items, jury.answers, jury.members[0].votes) == (8, 3, 16)
    assert jury.unanimous.value == pytest.approx(1 / 3)  # draws: first, second, first once more
    assert jury.members[0].own.value == pytest.approx(2 / 3)
    assert jury.members[0].own.n == 8


def test_a_pair_has_a_win_rate_that_is_free_of_the_order(tmp_path: Path) -> None:
    # Whatever is first wins half of the time more: +.25 for it. New wins 1/2 over both orders.
    said: list[tuple[str | None, str | None]] = (
        [("first", None)] * 15 + [("second", None)] * 5
        + [(None, "first")] * 15 + [(None, "second")] * 5
        + [("first", "first")] * 4 + [("second", "first")] * 2 + [("first", "second")] * 2
    )  # fmt: skip
    results = [item(n, votes=pair("better", "new", "old", *each)) for n, each in enumerate(said)]
    made = report(tmp_path, results, [GENERATE, PAIR])
    assert made.several is not None
    (found,) = made.several.pairs
    assert found.rates.win_rate.value == pytest.approx(0.5)
    assert found.rates.position_bias.value == pytest.approx(0.25)
    assert (found.rates.once, found.rates.twice, found.rates.inconsistent.value) == (40, 8, 0.5)
    assert made.headline.startswith("new wins 50.0 % (95 % interval ")
    assert made.headline.endswith("against old, 48 items")
    text = full(made)
    assert "The judge favours what it sees first, by 25 points." in text
    assert "nothing speaks against it" in text


def test_outputs_that_met_in_several_pairs_are_ranked(tmp_path: Path) -> None:
    steps = [PAIR, PAIR | {"name": "best", "pair": ["old", "third"]}]
    results = [
        item(
            n,
            votes=pair("better", "new", "old", "second" if n % 4 == 0 else "first", None)
            | pair("best", "old", "third", None, "first" if n % 4 == 1 else "second"),
        )
        for n in range(40)
    ]
    made = report(tmp_path, results, steps)
    assert made.several is not None
    assert [each.name for each in made.several.ranking] == ["new", "old", "third"]
    chances = {(each.one, each.other): each.wins.value for each in made.several.chances}
    assert chances["new", "old"] == pytest.approx(30.5 / 41)
    assert "one unit of strength more wins 73 %" in full(made)


def audited(n: int = 200) -> list[Result]:
    """Judge and audit agree but for every tenth item, which the judge alone passes.

    Costs are sums of powers of two, so that no order of adding rounds them.
    """
    made = []
    for i in range(n):
        score = 5.0 if i % 2 else 1.0
        scores, steps = {}, spent(generate=1 / 128, judge=1 / 128)
        if i % 4 < 2:
            dear = 1.0 if i % 20 == 1 else score
            scores["audit"] = Score(dear, passed=dear >= 4)
            steps |= spent(audit=0.375)
        skipped = () if scores else ("audit",)
        made.append(item(i, score, scores=scores, steps=steps, skipped=skipped))
    return made


AUDITED = [
    GENERATE,
    {"name": "judge", "model": "openai/a", "output": GRADE},
    {"name": "audit", "model": "openai/o", "output": GRADE, "share": 0.5},
]


def test_an_audit_corrects_the_rate_and_says_what_it_saved(tmp_path: Path) -> None:
    made = report(tmp_path, audited(), AUDITED, MAIN | {"audit": "audit.score"})
    audit = made.several.audit if made.several else None
    assert audit is not None
    table = BinaryTable(both_yes=40, only_judge=10, both_no=50)
    assert audit.check.table == table
    assert audit.check.corrected == ppi_rate(table, 50, 100).interval
    assert made.headline.startswith("Pass rate 40.0 % (95 % interval ")
    assert (
        "corrected by an audit of 100 items (PPI++); the judge alone says 50.0 %" in made.headline
    )
    assert audit.dear_for_all == pytest.approx(200 * (1 / 128 + 0.375))
    text = full(made)
    assert "audit alone for all items would have made the run cost $76.56; it cost $40.62" in text
    # √((1 - φ²) / φ² · (1/64) / 0.375), φ = .8165.
    assert audit.best is not None
    assert audit.best.share == pytest.approx(0.144, abs=0.002)
    assert "Best for the next run: share = 0.14 under the step audit" in text
    assert "audit: not drawn for 100 of 200 items." in text


def test_what_was_skipped_and_lost_is_told_in_a_line_each(tmp_path: Path) -> None:
    lost = {"judge#openai/a": "unparsed: x", "judge#openai/b": "filtered: y"}
    results = [item(n, 4.0, skipped=("judge",) if n < 7 else (), lost=lost) for n in range(9)]
    made = report(tmp_path, results, [GENERATE, JUDGE | {"when": "{{ not exact }}"}], MAIN)
    text = full(made)
    assert "judge: not needed for 7 of 9 items." in text
    assert "18 votes lost: 9 unreadable by openai/a, 9 filtered by openai/b." in text
    assert "judge: not needed for 7 of 9 items." in FORMATS["text"](made)


def test_two_halves_count_what_one_pass_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = audited() + [
        item(
            1000 + n,
            4.0,
            votes=votes(5, 4, n % 3) | pair("better", "new", "old", "first", None),
            scores={"grounded": Score(1.0)},
            repeats=(Score(4.0, passed=True), Score(float(n % 2), passed=False)),
            lost={"judge#openai/b": "unparsed: x"},
        )
        for n in range(100)
    ]
    steps = [GENERATE | {"repeat": 2}, JUDGE, PAIR, AUDITED[2]]
    path = write(tmp_path, results, steps, MAIN | {"audit": "audit.score"}, scores=SCORES)
    once = build_report(path).several
    count: Callable[..., Any] = scan.count_parts
    halved: list[Any] = []
    monkeypatch.setattr(parts, "LEAST_BYTES", 1)
    monkeypatch.setattr(parts, "may_fork", lambda: True)
    monkeypatch.setattr(parts, "_processes", lambda: 2)
    monkeypatch.setattr(scan, "count_parts", lambda *a: halved.append(count(*a)) or halved[-1])
    assert build_report(path).several == once
    assert halved != [None]


def test_a_run_with_nothing_of_the_kind_says_nothing(tmp_path: Path) -> None:
    steps = [GENERATE, {"name": "judge", "model": "openai/a", "output": GRADE}]
    assert report(tmp_path, [item(0, 4.0)], steps, MAIN).several is None
