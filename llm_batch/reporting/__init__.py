"""Reading what a run wrote: `build_report` makes a `Report`, a format turns it into text."""

from __future__ import annotations

from llm_batch.paper import Formats
from llm_batch.paper.document import Document
from llm_batch.reporting.build import build_report
from llm_batch.reporting.model import Columns, Report


def _document(report: Report) -> Document:
    from llm_batch.reporting.sections import document

    return document(report)


def _screen(report: Report) -> Document:
    from llm_batch.reporting.screen import screen

    return screen(report)


#: Formats by the name a user gives.
FORMATS = Formats(
    _document,
    _screen,
    lambda report: report,
    {
        "csv": "llm_batch.reporting.csv",
        "latex": "llm_batch.reporting.latex",
        "html": "llm_batch.reporting.html",
    },
)

__all__ = ["FORMATS", "Columns", "Report", "build_report"]
