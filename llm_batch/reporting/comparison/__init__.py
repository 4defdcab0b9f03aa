"""Comparing runs: `compare_reports` makes a `Compared`, a format turns it into text."""

from __future__ import annotations

from collections.abc import Callable

from llm_batch.reporting.comparison.build import Compared, compare_reports
from llm_batch.reporting.comparison.model import Comparison

ComparisonFormat = Callable[[Compared], str]


def _text(compared: Compared) -> str:
    from llm_batch.reporting.comparison.document import document
    from llm_batch.reporting.text import plain

    return plain(document(compared.comparison))


def _json(compared: Compared) -> str:
    from llm_batch.reporting.json import encoded

    return encoded(compared.comparison)


def _markdown(compared: Compared) -> str:
    from llm_batch.reporting.comparison.document import document
    from llm_batch.reporting.markdown import markdown

    return markdown(document(compared.comparison))


def _csv(compared: Compared) -> str:
    from llm_batch.reporting.comparison.csv import format

    return format(compared)


def _latex(compared: Compared) -> str:
    from llm_batch.reporting.comparison.latex import format

    return format(compared)


def _html(compared: Compared) -> str:
    from llm_batch.reporting.html.comparison import format

    return format(compared)


#: Formats by the name a user gives, as `llm_batch.reporting.FORMATS` has them for one run.
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
