"""Reading what a run wrote: `build_report` makes a `Report`, a format turns it into text."""

from __future__ import annotations

from collections.abc import Callable

from llm_batch.reporting.build import build_report
from llm_batch.reporting.model import Columns, Report

Format = Callable[[Report], str]


def _text(report: Report) -> str:
    from llm_batch.reporting.text import format

    return format(report)


def _json(report: Report) -> str:
    from llm_batch.reporting.json import format

    return format(report)


def _markdown(report: Report) -> str:
    from llm_batch.reporting.markdown import format

    return format(report)


def _csv(report: Report) -> str:
    from llm_batch.reporting.csv import format

    return format(report)


def _latex(report: Report) -> str:
    from llm_batch.reporting.latex import format

    return format(report)


def _html(report: Report) -> str:
    from llm_batch.reporting.html import format

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
