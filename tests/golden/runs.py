"""The runs that the golden reports are of, each in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llm_batch.records import Result
from tests.reporting.made import attempt, call, full_manifest, journal, result, write

TOPICS = ["geography", "history", "science"]
#: Of 1 to 5, in an order without a pattern that a statistic could mistake for one.
SCORES = [5, 5, 4, 2, 1, 5, 3, 5, 4, 4, 1, 5, 5, 2, 5, 4, 5, 5, 3, 4, 5, 1, 5, 4, 4, 5, 2, 5, 3, 1]


def _fields(number: int) -> dict[str, Any]:
    return {
        "question": f"Question {number}?",
        "answer": "Paris",
        "category": TOPICS[number % 3],
        "document": f"page-{number // 4}",
        "human": int(SCORES[(number * 7) % 30] >= 3),
    }


def _results(n: int, turn: int = 0, **more: Any) -> list[Result]:
    return [
        result(
            number,
            float(SCORES[(number + turn) % 30]) if turn is not None else None,
            fields=_fields(number),
            answer="The capital is **Paris**." if number % 3 else "It is Rome | <b>not</b> $5_000.",
            seconds=0.5 + number / 20,
            stratum=TOPICS[number % 3],
            **more,
        )
        for number in range(n)
    ]


def _failed(counts: dict[str, int]) -> list[Result]:
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    return [
        result(1000 + place, None, status=kind, error=f"generate: {kind}", fields=_fields(place))
        for place, kind in enumerate(kinds)
    ]


def _no_judge() -> tuple[list[Result], dict[str, Any]]:
    manifest = full_manifest(planned=40, population=450)
    manifest["config"] = {"steps": manifest["config"]["steps"][:1], "score": None}
    return [result(n, None, fields=_fields(n)) for n in range(40)], manifest


def _until() -> tuple[list[Result], dict[str, Any]]:
    manifest = full_manifest(planned=384, status="enough")
    manifest["stopping"] = {
        "margin": 0.1, "decided": None, "level": 0.95, "n": 120, "passed": 80, "low": 0.578,
        "high": 0.745, "method": "wilson",
    }  # fmt: skip
    return _results(120), manifest


def _strata() -> tuple[list[Result], dict[str, Any]]:
    strata = dict(zip(TOPICS, (600, 300, 100), strict=True))
    return _results(90), full_manifest(
        planned=90, population=1000, stratify="category", strata=strata
    )


_FAILURES = {"timeout": 2, "truncated": 1, "unparsed": 2, "refused": 1}

#: By the name of the folder: results and manifest.
RUNS: dict[str, Callable[[], tuple[Iterable[Result], dict[str, Any] | None]]] = {
    "rate": lambda: (_results(60), full_manifest(planned=60)),
    "other": lambda: (_results(60, 1), full_manifest(planned=60)),
    "third": lambda: (_results(60, 2), full_manifest(planned=60)),
    "apart": lambda: (
        [result(5000 + n, float(SCORES[n % 30]), fields=_fields(n)) for n in range(50)],
        full_manifest(planned=50),
    ),
    "mean": lambda: (
        _results(60, pass_at=None),
        full_manifest(planned=60, score={"field": "judge.score", "labels": {}}),
    ),
    "mean2": lambda: (
        _results(60, 4, pass_at=None),
        full_manifest(planned=60, score={"field": "judge.score", "labels": {}}),
    ),
    "nojudge": _no_judge,
    "strata": _strata,
    "failures": lambda: (
        _results(200) + _failed(_FAILURES),
        full_manifest(planned=206, items={"ok": 200, **_FAILURES}),
    ),
    "missing": lambda: (
        _results(40),
        full_manifest(planned=60, status="budget", items={"ok": 40}),
    ),
    "until": _until,
    "whole": lambda: (
        _results(8, cost=None, simulated=True),
        full_manifest(planned=8, population=8, simulated=True),
    ),
    "bare": lambda: (_results(12), None),
    "empty": lambda: ([], None),
}


def make(folder: Path) -> None:
    """Write every run, a journal for one, a file of another tool and people's labels."""
    for name, made in RUNS.items():
        (folder / name).mkdir()
        write(folder / name, *made())
    retried = [attempt(0.0, 1.0, "rate_limited"), attempt(2.0)]
    calls = [
        call(f"item-{n}", step, attempts=retried if n % 5 == 0 else [attempt(n * 1.5)])
        for n in range(60)
        for step in ("generate", "judge")
    ]
    journal(folder / "rate", *calls)
    rows = [f"{n},{'pass' if n % 4 else 'fail'},{TOPICS[n % 3]}" for n in range(30)]
    (folder / "foreign.csv").write_text("\n".join(["name,grade,topic", *rows, ""]))
    labels = [f"item-{n},{_fields(n)['human']}" for n in range(0, 60, 2)]
    (folder / "people.csv").write_text("\n".join(["id,label", *labels, ""]))
    questions = [
        {"id": f"q{n}", "question": f"What is {n}?" + " word" * (n % 7), "answer": str(n),
         "topic": TOPICS[n % 3], "document": f"page-{n // 4}"}
        for n in range(60)
    ]  # fmt: skip
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
