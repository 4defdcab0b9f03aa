"""Reading what a run wrote: `build_report` makes a `Report`, a format turns it into text."""

from __future__ import annotations

from llm_batch.paper import Formats, later
from llm_batch.reporting.build import build_report
from llm_batch.reporting.foreign import Columns
from llm_batch.reporting.model import Report

#: Formats by the name a user gives.
FORMATS: Formats[Report] = Formats(
    later("llm_batch.reporting.document", "document"),
    lambda report: report,
    screen=later("llm_batch.reporting.screen", "screen"),
    rows=later("llm_batch.reporting.items", "table"),
    publication=later("llm_batch.reporting.publication", "publication"),
    page=later("llm_batch.reporting.page", "page"),
)

__all__ = ["FORMATS", "Columns", "Report", "build_report"]
