"""The judge beside what is taken to be right, as a chart of shaded cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llm_batch.report import words
from llm_batch.report.calibration.model import Calibration
from llm_batch.report.html.spec import FIRST, SECOND, Chart, chart
from llm_batch.report.model import JudgeCheck, Report

_NAME = 40
_VERDICTS = ("pass", "fail")


def confusions(report: Report) -> Iterator[Chart]:
    """Verdicts beside a string match, and beside people's labels."""
    if report.judge_check is not None:
        yield _reference(report.judge_check)
    if report.calibration is not None:
        yield from _labels(report.calibration)


def _reference(check: JudgeCheck) -> Chart:
    return _grid(
        "confusion",
        "Judge against reference",
        f"Is the reference ({words.clean(check.reference, _NAME)}) in the answer, and does the "
        "judge pass it? Blue cells agree, orange cells do not.",
        ("reference", ("found", "not found")),
        _VERDICTS,
        ((check.found_passed, check.found_failed), (check.absent_passed, check.absent_failed)),
    )


def _labels(check: Calibration) -> Iterator[Chart]:
    how = "Blue cells agree, orange cells do not."
    if check.agreement.n:
        yield _grid(
            "labels",
            "Judge against labels",
            f"{words.items(check.agreement.n)} labelled by people ({check.source}). {how}",
            ("label", _VERDICTS),
            _VERDICTS,
            ((check.both_pass, check.only_label), (check.only_judge, check.both_fail)),
        )
    if check.scores is not None:
        names = [words.number(value) for value in check.scores.values]
        yield _grid(
            "label-scores",
            "Scores of judge and people",
            f"How often each score of a person met each score of the judge. {how}",
            ("label", names),
            names,
            check.scores.counts,
        )


def _grid(
    name: str,
    title: str,
    note: str,
    rows: tuple[str, Sequence[str]],
    columns: Sequence[str],
    counts: Sequence[Sequence[int]],
) -> Chart:
    """Counts as cells: what is right down the side, the judge along the top."""
    side, row_names = rows
    total = sum(map(sum, counts))
    values = [
        {side: row_names[i], "judge": columns[j], "items": n, "text": f"{n:,}",
         "share": words.percent(n / total), "agree": i == j, "part": n / total}
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
    ]  # fmt: skip
    few = len(columns) <= len(_VERDICTS)
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rect", "cornerRadius": 4, "stroke": None},
            "encoding": {
                "color": {"condition": {"test": "datum.agree", "value": FIRST}, "value": SECOND},
                "opacity": {
                    "field": "part",
                    "type": "quantitative",
                    "scale": {"domain": [0, 1], "range": [0.15, 0.6]},
                    "legend": None,
                },
            },
        },
        {
            "mark": {"type": "text", "fontSize": 18 if few else 13, "fontWeight": 600,
                     "dy": -6 if few else 0},
            "encoding": {"text": {"field": "text"}},
        },
    ]  # fmt: skip
    if few:
        layers.append(
            {
                "mark": {"type": "text", "fontSize": 12, "dy": 14},
                "encoding": {"text": {"field": "share"}},
            }
        )
    return chart(
        name,
        title,
        note,
        220 if few else 60 + 32 * len(row_names),
        data={"values": values},
        encoding={
            "x": {
                "field": "judge",
                "type": "nominal",
                "sort": list(columns),
                "axis": {"title": "judge", "orient": "top", "labelAngle": 0},
            },
            "y": {
                "field": side,
                "type": "nominal",
                "sort": list(row_names),
                "axis": {"title": side},
            },
            "tooltip": [{"field": field} for field in (side, "judge", "items", "share")],
        },
        layer=layers,
    )
