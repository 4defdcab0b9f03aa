"""Comparing runs: `compare_reports` makes a `Compared`, a format turns it into text."""

from __future__ import annotations

from collections.abc import Callable

from llm_batch.report.comparison.build import Compared, compare_reports
from llm_batch.report.comparison.model import Comparison

ComparisonFormat = Callable[[Compared], str]


def _text(compared: Compared) -> str:
    from llm_batch.report.comparison.document import document
    from llm_batch.report.text import plain

    return plain(document(compared.comparison))


def _json(compared: Compared) -> str:
    from llm_batch.report.json import encoded

    return encoded(compared.comparison)


def _markdown(compared: Compared) -> str:
    from llm_batch.report.comparison.document import document
    from llm_batch.report.markdown import markdown

    return markdown(document(compared.comparison))


def _csv(compared: Compared) -> str:
    from llm_batch.report.comparison.csv import format

    return format(compared)


def _latex(compared: Compared) -> str:
    from llm_batch.report.comparison.latex import format

    return format(compared)


def _html(compared: Compared) -> str:
    from llm_batch.report.html.comparison import format

    return format(compared)


#: Formats by the name a user gives, as `llm_batch.report.FORMATS` has them for one run.
COMPARISON_FORMATS: dict[str, ComparisonFormat] = {
    "text": _text,
    "json": _json,
    "md": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
}

__all__ = [
    "COMPARISON_FORMATS",
    "Compared",
    "Comparison",
    "ComparisonFormat",
    "compare_reports",
]
