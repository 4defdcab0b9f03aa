"""Reading what a run wrote: `build_report` makes a `Report`, a format turns it into text."""

from __future__ import annotations

from llm_batch.paper import Formats
from llm_batch.paper.document import Document
from llm_batch.reporting.build import build_report
from llm_batch.reporting.foreign import Columns
from llm_batch.reporting.model import Report


def _document(report: Report) -> Document:
    from llm_batch.reporting.document import document

    return document(report)


#: Formats by the name a user gives.
FORMATS = Formats(
    _document,
    lambda report: report,
    {
        "csv": "llm_batch.reporting.items",
        "latex": "llm_batch.reporting.publication",
        "html": "llm_batch.reporting.page",
    },
)

__all__ = ["FORMATS", "Columns", "Report", "build_report"]
