"""Comparing runs: `compare_reports` makes a `Compared`, a format turns it into text."""

from __future__ import annotations

from llm_batch.paper import Formats
from llm_batch.paper.document import Document
from llm_batch.reporting.comparison.build import Compared, compare_reports
from llm_batch.reporting.comparison.model import Comparison


def _document(compared: Compared) -> Document:
    from llm_batch.reporting.comparison.document import document

    return document(compared.comparison)


def _screen(compared: Compared) -> Document:
    from llm_batch.reporting.comparison.document import screen

    return screen(compared.comparison)


#: Formats by the name a user gives, as `llm_batch.reporting.FORMATS` has them for one run.
COMPARISON_FORMATS = Formats(
    _document,
    _screen,
    lambda compared: compared.comparison,
    {
        "csv": "llm_batch.reporting.comparison.csv",
        "latex": "llm_batch.reporting.comparison.latex",
        "html": "llm_batch.reporting.html.comparison",
    },
)

__all__ = ["COMPARISON_FORMATS", "Compared", "Comparison", "compare_reports"]
