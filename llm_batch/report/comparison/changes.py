"""The items that changed, with the beginnings of what was asked, answered and said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from llm_batch.report.comparison.model import Change
from llm_batch.report.comparison.rows import items_with
from llm_batch.report.items import ItemLine
from llm_batch.report.model import Report
from llm_batch.report.words import clean

#: More changed items than this are counted and not described.
CHANGE_LIMIT = 10_000

_TEXT = 600


def described(changes: Sequence[Change], baseline: Report, run: Report) -> tuple[Change, ...]:
    """The changes with their texts, which are read from the results once more."""
    if not changes:
        return ()
    ids = {change.id for change in changes}
    before, after = items_with(baseline, ids), items_with(run, ids)
    return tuple(
        replace(
            change,
            question=_question(before[change.id]),
            baseline_output=_judged(before[change.id], baseline),
            run_output=_judged(after[change.id], run),
            baseline_reason=_shown(before[change.id].reason),
            run_reason=_shown(after[change.id].reason),
        )
        for change in changes
    )


def _question(item: ItemLine) -> str:
    texts = (value for value in item.fields.values() if isinstance(value, str))
    return _shown(next((text for text in texts if text != item.id and " " in text), ""))


def _judged(item: ItemLine, report: Report) -> str:
    """What the judge saw: the last output before its own."""
    before = [output for step, output in item.outputs.items() if step != report.run.judge]
    return _shown(before[-1]) if before else ""


def _shown(value: Any) -> str:
    return clean(value if isinstance(value, str) else msgspec.json.encode(value).decode(), _TEXT)
