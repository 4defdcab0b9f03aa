"""The report for a terminal, which reads the same in a pipe.

The finding comes first, then tables, then what to keep in mind and what to do next. Colour and
bold only repeat what the words say. Texts from the data never reach the markup parser, and what
cannot be printed in them is replaced.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import chain, repeat
from typing import TYPE_CHECKING

from llm_batch.reporting.model import Report
from llm_batch.reporting.sections import Document, Paragraph, Table, document

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDTH = 80
_INDENT = 2
_MARK = "- "
_HELD = "\N{NO-BREAK SPACE}"


def format(report: Report) -> str:
    """The report as plain text, 80 columns wide."""
    return plain(document(report))


def plain(document: Document) -> str:
    """A document as plain text, 80 columns wide."""
    from rich.console import Console

    target = StringIO()
    console = Console(file=target, width=_WIDTH, color_system=None, legacy_windows=False)
    render(document, console)
    return target.getvalue()


def render(document: Document, console: Console) -> None:
    """Print a document to a console, in its width and colours."""
    for renderable in _renderables(document, console.width):
        # Styled blanks fill a table to the width of its cells; nobody needs them in a file.
        with console.capture() as captured:
            console.print(renderable, highlight=False)
        for line in captured.get().splitlines():
            console.file.write(line.rstrip() + "\n")


def _renderables(document: Document, width: int) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    yield Text(_wrapped(document.headline, width), style="bold")
    for line in document.origin:
        yield Text(_wrapped(line, width))
    for section in document.sections:
        yield Text("")
        yield Text(section.title, style="bold")
        for part in section.parts:
            yield Padding(_rendered(part, width - _INDENT), (0, 0, 0, _INDENT))
    yield from _list("Warnings", document.warnings, width, "yellow")
    yield from _list("Next", document.next_steps, width, "")


def _rendered(part: Paragraph | Table, width: int) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    if isinstance(part, Paragraph):
        return Text(_wrapped(part.text, width))
    table = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    table.show_header = any(part.header)
    for title, right in zip(part.header, part.right, strict=True):
        table.add_column(
            Text(title, style="underline"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for row in part.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _list(title: str, sentences: Sequence[str], width: int, style: str) -> Iterator[RenderableType]:
    from rich.text import Text

    if not sentences:
        return
    yield Text("")
    yield Text(title, style=f"bold {style}".strip())
    for sentence in sentences:
        lines = _wrapped(sentence, width - _INDENT - len(_MARK)).splitlines()
        for mark, line in zip(chain((_MARK,), repeat(" " * len(_MARK))), lines, strict=False):
            yield Text(f"{' ' * _INDENT}{mark}{line}")


def _wrapped(text: str, width: int) -> str:
    """The text in lines of that width, with no number parted from its percent sign."""
    held = text.replace(" %", f"{_HELD}%")
    return textwrap.fill(held, max(width, 20), break_on_hyphens=False).replace(_HELD, " ")
