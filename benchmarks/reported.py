"""How often what `build_report` prints contains the truth: runs made up, written and read again.

`coverage.py` shows these lines after its own. They tell which interval a report chooses and what
it does to it, where `coverage.py` tells whether the formulas are right. ``covers`` is the share of
runs whose printed interval contains the truth; for a test it is the share without a false alarm,
for power the share of runs in which a true difference is told.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.reporting import build_report
from llm_batch.reporting.comparison.build import compare_reports
from llm_batch.reporting.comparison.sentences import told
from llm_batch.reporting.judging.labels import LabelSource
from llm_batch.reporting.model import Report
from llm_batch.stats.agreement import rank_agreement
from llm_batch.stats.sizes import paired_rates_size

_encode = msgspec.json.Encoder().encode
Found = tuple[float | None, float | None] | bool


@dataclass(frozen=True)
class Reported:
    """A figure of a report in a setting; `draw` makes a run and gives its bounds or a yes."""

    name: str
    setting: str
    truth: float
    draw: Callable[[random.Random, Path], Found]


def reported(runs: int) -> None:
    """Print a line for each setting."""
    print(f"\n{'printed by build_report':<34}{'setting':<44}{'covers':>8}{'width':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for each in settings():
            draw = random.Random(f"{each.name} {each.setting}")
            inside, width, given = 0, 0.0, 0
            for _ in range(runs):
                found = each.draw(draw, Path(folder))
                if isinstance(found, bool):
                    given, inside = given + 1, inside + found
                elif found[0] is not None and found[1] is not None:
                    given += 1
                    inside += found[0] <= each.truth <= found[1]
                    width += found[1] - found[0]
            share, mean = (inside / given, width / given) if given else (float("nan"), 0.0)
            mark = "  <" if share < (0.78 if each.name.startswith("power") else 0.93) else ""
            few = f"  ({given} of {runs})" if given < runs else ""
            print(f"{each.name:<34}{each.setting:<44}{share:>8.1%}{mean:>8.3f}{mark}{few}")


def settings() -> Iterator[Reported]:
    """The figures, each where it is hardest."""
    for rate in (0.9, 0.97):
        yield Reported(
            "corrected, labels by verdict", f"50+50 of 600, rate={rate}", rate, _by_verdict(rate)
        )
    for played, missing in ((500, 0.1), (500, 0.07), (100, 0.05)):
        yield Reported(
            "rate, hard items fail to answer", f"{played} of 500, {missing:.0%} missing", 0.75,
            _missing(played, missing),
        )  # fmt: skip
    for labels in (30, 60, 200):
        for figure, truth in (("corrected mean", 3.4), ("bias", 0.23), ("Spearman", None),
                              ("Kendall", None)):  # fmt: skip
            yield Reported(
                f"score judge, {figure}", f"{labels} labels of 600, scores 1 to 5",
                _score_truth(figure) if truth is None else truth, _score_judge(labels, figure),
            )  # fmt: skip
    for played, missing in ((500, 0.1), (100, 0.05)):
        yield Reported(
            "mean, bad answers get no score", f"{played} of 5,000, {missing:.0%} missing", 4.15,
            _missing_scores(played, missing),
        )  # fmt: skip
    yield Reported("mean, whole dataset, bad ones lost", "500 of 500, 7% missing, future", 4.15,
                   _missing_scores(500, 0.07, 500))  # fmt: skip
    yield Reported("all pass, fails get no verdict", "100 items, rate=0.95", 0.95, _all_pass())
    for n, known in ((20, True), (60, True), (20, False), (60, False)):
        yield Reported(
            "mean, 9 in 10 scores the best", f"{n} scores, ends {'known' if known else 'unknown'}",
            4.81, _ceiling(n, known),
        )  # fmt: skip
    yield Reported("rate, whole dataset judged", "500 of 500, future items", 0.75, _missing(500, 0))
    for rate in (0.98, 0.95, 0.8):
        yield Reported(
            "rate by strata", f"20 of 9,000 + 180 of 1,000, rate={rate}", rate, _strata(rate, "")
        )
    yield Reported("rate by strata, --by another", "the same, rate=0.8", 0.8, _strata(0.8, "topic"))
    yield Reported("no false alarm, a model-by-document effect", "40 documents x 10", 0, _pairs(10))
    yield Reported("no false alarm, paired, no clusters", "400 items, .2 change", 0, _pairs(1))
    for n in (60, 384):
        yield Reported("comparison, paired rates", f"{n} items, 10% gained, 6% lost", 0.04,
                       _difference(n, "paired"))  # fmt: skip
        yield Reported("comparison, unpaired rates", f"2 x {n} items, .9 and .7", -0.2,
                       _difference(n, "unpaired"))  # fmt: skip
        yield Reported("comparison, mean score", f"{n} items, rubric differences", 0.3,
                       _difference(n, "scores"))  # fmt: skip
    yield Reported("power of a paired comparison", "10 points, .2 change, 155 items", 0, _power())
    yield Reported("no false alarm, small groups", "10 of 5 to 15 items, rate .95", 0, _groups(1))
    yield Reported("no false alarm, clustered groups", "5 groups, 60 documents x 8", 0, _groups(8))


def _write(
    folder: Path,
    rows: Iterable[dict[str, Any]],
    *,
    name: str = "results",
    population: int | None = None,
    stratify: str | None = None,
    strata: dict[str, int] | None = None,
    scale: tuple[float, float] | None = None,
) -> Path:
    """A results file and its manifest."""
    path = folder / f"{name}.jsonl"
    lines = [
        _encode(
            {
                "schema": 1, "status": "ok", "error": "", "fields": {}, "outputs": {}, "label": "",
                "reason": "", "stratum": "", "passed": None, "score": None, "id": str(number),
                **row,
            }
        )
        for number, row in enumerate(rows)
    ]  # fmt: skip
    path.write_bytes(b"\n".join(lines) + b"\n")
    manifest = {
        "schema": 1, "run_id": "r", "created_at": "2026-11-23T21:55:00Z", "engine": "threads",
        "config": {"steps": [], "score": {"field": "judge.score", "pass_at": 1.0, "labels": {},
                   **(dict(zip(("min", "max"), scale, strict=True)) if scale else {})}},
        "dataset": {"path": "q.jsonl", "n": population, "skipped": 0, "strata": strata},
        "sample": {"size": len(lines), "seed": 42, "stratify": stratify},
        "totals": {"status": "done", "items": {}, "calls": 1, "seconds": 1.0},
    }  # fmt: skip
    (folder / f"{name}.manifest.json").write_bytes(_encode(manifest))
    return path


def _verdict(passed: bool, **more: Any) -> dict[str, Any]:
    return {"passed": passed, "score": float(passed), **more}


def _rate(report: Report) -> Found:
    return report.pass_rate.rate.low, report.pass_rate.rate.high


def _mean(report: Report) -> Found:
    return report.scores.mean.low, report.scores.mean.high


def _by_verdict(rate: float) -> Callable[[random.Random, Path], Found]:
    """Fifty judge-passes and fifty judge-fails labelled, of a judge with .95 and .8."""

    def run(draw: random.Random, folder: Path) -> Found:
        truth = [draw.random() < rate for _ in range(600)]
        judged = [draw.random() < (0.95 if right else 0.2) for right in truth]
        sides = [
            [i for i, each in enumerate(judged) if each is verdict] for verdict in (True, False)
        ]
        chosen = [i for ids in sides for i in draw.sample(ids, min(50, len(ids)))]
        labels = folder / "labels.csv"
        labels.write_text("id,label\n" + "".join(f"{i},{int(truth[i])}\n" for i in chosen))
        report = build_report(
            _write(folder, map(_verdict, judged)), labels=LabelSource(str(labels)), calls=False
        )
        corrected = report.calibration.corrected if report.calibration else None
        return (corrected.low, corrected.high) if corrected else (None, None)

    return run


#: What people give, how often, and by how much the judge is off: not past the ends.
_PEOPLE = (((1, 2, 3, 4, 5), (10, 15, 20, 35, 20)), ((-1, 0, 1), (10, 50, 40)))


def _graded(draw: random.Random, n: int) -> list[tuple[int, int]]:
    """Labels and scores."""
    (grades, shares), (steps, chances) = _PEOPLE
    labels = draw.choices(grades, shares, k=n)
    off = draw.choices(steps, chances, k=n)
    return [(y, min(max(y + by, 1), 5)) for y, by in zip(labels, off, strict=True)]


def _score_truth(figure: str) -> float:
    """The correlation of very many items, which are all that the shares allow."""
    (grades, shares), (steps, chances) = _PEOPLE
    pairs = [
        (y, min(max(y + by, 1), 5))
        for y, share in zip(grades, shares, strict=True)
        for by, chance in zip(steps, chances, strict=True)
        for _ in range(share * chance // 50)
    ]
    found = rank_agreement([float(y) for y, _ in pairs], [float(f) for _, f in pairs])
    return (found.spearman if figure == "Spearman" else found.kendall).value or 0.0


def _score_judge(labels: int, figure: str) -> Callable[[random.Random, Path], Found]:
    def run(draw: random.Random, folder: Path) -> Found:
        pairs = _graded(draw, 600)
        path = _write(folder, [{"score": float(f)} for _, f in pairs], scale=(1, 5))
        file = folder / "labels.csv"
        file.write_text(
            "id,label\n" + "".join(f"{i},{y}\n" for i, (y, _) in enumerate(pairs[:labels]))
        )
        source = LabelSource(str(file), random=True)
        report = build_report(path, labels=source, calls=False)
        check = report.calibration.score_check if report.calibration else None
        if check is None:
            return None, None
        found = {
            "corrected mean": check.corrected, "bias": check.bias,
            "Spearman": check.spearman, "Kendall": check.kendall,
        }[figure]  # fmt: skip
        return (found.low, found.high) if found else (None, None)

    return run


def _missing(played: int, missing: float) -> Callable[[random.Random, Path], Found]:
    """Three in four pass; of those that would fail some get no verdict."""

    def run(draw: random.Random, folder: Path) -> Found:
        rows = []
        for _ in range(played):
            passed = draw.random() < 0.75
            lost = not passed and draw.random() < missing / 0.25
            rows.append({"status": "timeout"} if lost else _verdict(passed))
        return _rate(build_report(_write(folder, rows, population=500), calls=False))

    return run


def _missing_scores(
    played: int, missing: float, population: int = 5000
) -> Callable[[random.Random, Path], Found]:
    """Scores of 1 to 5; of those that would be 1 or 2 some are never given."""

    def run(draw: random.Random, folder: Path) -> Found:
        rows: list[dict[str, Any]] = []
        for score in draw.choices((1, 2, 3, 4, 5), (7, 5, 8, 26, 54), k=played):
            lost = score < 3 and draw.random() < missing / 0.12
            rows.append({"status": "timeout"} if lost else {"score": float(score)})
        path = _write(folder, rows, population=population, scale=(1, 5))
        return _mean(build_report(path, calls=False))

    return run


def _all_pass() -> Callable[[random.Random, Path], Found]:
    """Every item that would fail gets no verdict; the bound that is printed alone."""

    def run(draw: random.Random, folder: Path) -> Found:
        rows = [
            _verdict(True) if draw.random() < 0.95 else {"status": "timeout"} for _ in range(100)
        ]
        bound = build_report(_write(folder, rows), calls=False).pass_rate.bound
        return (bound.low, bound.high) if bound else (None, None)

    return run


def _ceiling(n: int, known: bool) -> Callable[[random.Random, Path], Found]:
    def run(draw: random.Random, folder: Path) -> Found:
        rows = [{"score": float(score)} for score in draw.choices((5, 4, 3, 1), (90, 5, 3, 2), k=n)]
        return _mean(
            build_report(_write(folder, rows, scale=(1, 5) if known else None), calls=False)
        )

    return run


def _strata(rate: float, by: str) -> Callable[[random.Random, Path], Found]:
    """A large stratum of which few items were drawn, and a small one of which many were."""

    def run(draw: random.Random, folder: Path) -> Found:
        rows = [
            _verdict(draw.random() < rate, stratum=name, fields={"topic": str(number % 3)})
            for name, n in (("large", 20), ("small", 180))
            for number in range(n)
        ]
        strata = {"large": 9000, "small": 1000}
        path = _write(folder, rows, population=10_000, stratify="kind", strata=strata)
        return _rate(build_report(path, by=by or None, calls=False))

    return run


def _pairs(size: int) -> Callable[[random.Random, Path], Found]:
    """Two models without a difference, each better on some documents than the other."""

    def run(draw: random.Random, folder: Path) -> Found:
        rows: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for document in range(400 // size):
            rates = [draw.betavariate(1, 1) for _ in rows]
            for _ in range(size):
                for rate, each in zip(rates, rows, strict=True):
                    passed = draw.random() < (rate if size > 1 else 0.8)
                    each.append(_verdict(passed, fields={"document": str(document)}))
        return not _told(folder, rows, "document" if size > 1 else None)

    return run


def _power() -> Callable[[random.Random, Path], Found]:
    n = paired_rates_size(0.1, 0.2)

    def run(draw: random.Random, folder: Path) -> Found:
        chances = [draw.random() for _ in range(n)]
        before = [_verdict(chance < 0.05 or chance > 0.2) for chance in chances]
        return _told(folder, (before, [_verdict(chance >= 0.05) for chance in chances]), None)

    return run


def _told(folder: Path, runs: Sequence[list[dict[str, Any]]], cluster: str | None) -> bool:
    paths = [_write(folder, rows, name=name) for rows, name in zip(runs, "ab", strict=True)]
    comparison = compare_reports(paths, anyway=True, cluster=cluster).comparison
    rates = comparison.against[0].rates
    return rates is not None and told(comparison, rates)


def _difference(n: int, kind: str) -> Callable[[random.Random, Path], Found]:
    """Two runs of the same items, or of others where ``unpaired``, and the difference printed."""

    def run(draw: random.Random, folder: Path) -> Found:
        before: list[dict[str, Any]] = []
        after: list[dict[str, Any]] = []
        for i in range(n):
            chance = draw.random()
            if kind == "paired":
                before.append(_verdict(chance > 0.1 and chance < 0.8))
                after.append(_verdict(chance < 0.1 or 0.16 < chance < 0.8))
            elif kind == "unpaired":
                before.append(_verdict(chance < 0.9))
                after.append(_verdict(draw.random() < 0.7, id=f"other {i}"))
            else:
                step = draw.choices((-2, -1, 0, 1, 2), (5, 15, 35, 35, 10))[0]
                score = draw.choice((3.0, 4.0, 5.0))
                before.append({"score": score})
                after.append({"score": score + step})
        paths = [_write(folder, rows, name=name) for rows, name in ((before, "a"), (after, "b"))]
        against = compare_reports(paths, anyway=True).comparison.against[0]
        found = against.scores if kind == "scores" else against.rates
        return (found.difference.low, found.difference.high) if found else (None, None)

    return run


def _groups(size: int) -> Callable[[random.Random, Path], Found]:
    """Groups that do not differ, in documents that do where these have several items."""

    def run(draw: random.Random, folder: Path) -> Found:
        rows = []
        for group in range(10 if size == 1 else 5):
            for document in range(draw.randint(5, 15) if size == 1 else 12):
                rate = 0.95 if size == 1 else draw.betavariate(1.4, 0.6)
                fields = {"category": f"g{group}", "document": f"{group} {document}"}
                rows += [_verdict(draw.random() < rate, fields=fields) for _ in range(size)]
        cluster = "document" if size > 1 else None
        report = build_report(_write(folder, rows), by="category", cluster=cluster, calls=False)
        found = report.groups.groups if report.groups else ()
        return not any(g.p_adjusted is not None and g.p_adjusted < 0.05 for g in found)

    return run
