"""Reading what a run wrote: `build_report` makes a `Report`, a format turns it into text."""

from __future__ import annotations

from collections.abc import Callable

from llm_batch.report.build import build_report
from llm_batch.report.model import Columns, Report

Format = Callable[[Report], str]


def _text(report: Report) -> str:
    from llm_batch.report.text import format

    return format(report)


def _json(report: Report) -> str:
    from llm_batch.report.json import format

    return format(report)


def _markdown(report: Report) -> str:
    from llm_batch.report.markdown import format

    return format(report)


def _csv(report: Report) -> str:
    from llm_batch.report.csv import format

    return format(report)


def _latex(report: Report) -> str:
    from llm_batch.report.latex import format

    return format(report)


def _html(report: Report) -> str:
    from llm_batch.report.html import format

    return format(report)


#: Formats by the name a user gives; each imports what it needs when it is chosen.
FORMATS: dict[str, Format] = {
    "text": _text,
    "json": _json,
    "md": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
}

__all__ = ["FORMATS", "Columns", "Format", "Report", "build_report"]
