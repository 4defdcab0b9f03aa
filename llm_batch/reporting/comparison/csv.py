"""All items of the compared runs as CSV, one row per item, safe to open in a spreadsheet.

Columns: ``id``, ``category``, then ``score.RUN``, ``passed.RUN`` for each run and ``change.RUN``
for each but the baseline: ``gained``, ``lost``, ``higher``, ``lower``, ``same``, or empty where
one of the two has neither verdict nor score.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import Any

from llm_batch.reporting.comparison.build import Compared
from llm_batch.reporting.comparison.pair import NO_VERDICT, Rows
from llm_batch.reporting.csv import line


def format(compared: Compared) -> str:
    """The items as CSV, header first: the baseline's in its order, then those of the others."""
    names = [run.name for run in compared.comparison.runs]
    header = ["id", "category"]
    for name in names:
        header += [f"score.{name}", f"passed.{name}"]
    header += [f"change.{name}" for name in names[1:]]
    ids = dict.fromkeys(id for rows in compared.rows for id in rows.index)
    categories = [list(rows.names) for rows in compared.rows]
    lines = [line(header)]
    lines += [line(_cells(id, compared.rows, categories)) for id in ids]
    return "".join(lines)


def _cells(id: str, runs: tuple[Rows, ...], categories: list[list[str]]) -> Iterator[Any]:
    places = [rows.index.get(id) for rows in runs]
    known = next(i for i, place in enumerate(places) if place is not None)
    yield id
    yield categories[known][runs[known].categories[places[known] or 0]]
    values = [_values(rows, place) for rows, place in zip(runs, places, strict=True)]
    for score, passed in values:
        yield score
        yield passed
    for value in values[1:]:
        yield _change(values[0], value)


def _values(rows: Rows, place: int | None) -> tuple[float | None, bool | None]:
    if place is None:
        return None, None
    score, passed = rows.scores[place], rows.passed[place]
    return None if isnan(score) else score, None if passed == NO_VERDICT else bool(passed)


def _change(
    before: tuple[float | None, bool | None], after: tuple[float | None, bool | None]
) -> str | None:
    if before[1] is not None and after[1] is not None:
        return "same" if before[1] == after[1] else "gained" if after[1] else "lost"
    if before[0] is not None and after[0] is not None:
        return "same" if before[0] == after[0] else "higher" if after[0] > before[0] else "lower"
    return None
