"""A document for a terminal, which reads the same in a pipe.

The finding comes first, then tables, then what to keep in mind and what to do next. Colour and
bold only repeat what the words say. Texts from the data never reach the markup parser, and what
cannot be printed in them was replaced when the document was made.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from io import StringIO
from itertools import chain, repeat
from typing import TYPE_CHECKING

from llm_batch.paper.document import Document, Quote, Table
from llm_batch.paper.words import wrapped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDTH = 80
_INDENT = 2
_MARK = "- "
_HINT = "→ "
_STYLES = {"Warnings": "bold yellow"}
_HELD = "\N{NO-BREAK SPACE}"
# A command in a sentence, or in what to type.
_COMMAND = re.compile(r"`llmb [^`]*`|^→ .*?llmb (?:run|estimate|report|label|init)\b.*?(?=, or |$)")


def format(document: Document) -> str:
    """The document as plain text, 80 columns wide, with a newline at its end."""
    from rich.console import Console

    target = StringIO()
    render(document, Console(file=target, width=_WIDTH, color_system=None, legacy_windows=False))
    return target.getvalue()


def render(document: Document, console: Console) -> None:
    """Print a document to a console, in its width and colours."""
    from rich.text import Text

    for renderable in _renderables(document, console.width):
        if isinstance(renderable, str):
            console.file.write(renderable + "\n")
            continue
        # Styled blanks fill a table to the width of its cells; nobody needs them in a file.
        with console.capture() as captured:
            # Lines are wrapped by now. The terminal folds a long command, and what is copied from
            # there is one line again.
            console.print(renderable, highlight=False, soft_wrap=isinstance(renderable, Text))
        for line in captured.get().splitlines():
            console.file.write(line.rstrip() + "\n")


def said(document: Document) -> Iterator[tuple[str, bool]]:
    """A document that is said on the way: a sentence a line, and whether it is a warning."""
    for sentence in (document.headline, *document.origin):
        yield sentence, False
    for warning, hint in document.warnings:
        yield warning, True
        if hint:
            yield hint, False
    for sentence in document.next_steps:
        yield sentence, False


def _renderables(document: Document, width: int) -> Iterator[RenderableType]:
    """What stands beneath one another; a plain text is shown as it is."""
    from rich.padding import Padding
    from rich.text import Text

    yield Text(_wrapped(document.headline, width), style="bold")
    for line in document.origin:
        yield Text(_wrapped(line, width))
    for section in document.sections:
        yield Text("")
        if section.title:
            yield Text(_wrapped(section.title, width), style="bold")
        for part in section.parts:
            if isinstance(part, Quote) and not part.name:
                yield part.text
            else:
                yield Padding(_rendered(part, width - _INDENT), (0, 0, 0, _INDENT))
    for title, entries in document.lists():
        yield Text("")
        yield Text(title, style=_STYLES.get(title, "bold"))
        for sentence, hint in entries:
            yield from _listed(sentence, width, _MARK)
            if hint:
                yield from _listed(f"{_HINT}{hint}", width, " " * len(_MARK))
    if document.closing:
        yield Text("")
        yield Text(_wrapped(document.closing, width), style="dim")


def _rendered(part: Table | Quote | str, width: int) -> RenderableType:
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text

    if isinstance(part, Quote):
        alone = f"{part.name}: {part.text}"
        if "\n" not in part.text and len(alone) <= width:
            return Text(alone)
        inside = " " * _INDENT
        lines = (inside + line for line in wrapped(part.text, width - _INDENT))
        return Text("\n".join([f"{part.name}:", *lines]))
    if isinstance(part, str):
        return Text(_wrapped(part, width))
    cells = zip(part.header, *part.rows, strict=True)
    spare = width - sum(max(map(cell_len, column)) for column in cells)
    gaps = len(part.header) - 1
    # Among numbers, where that is enough, a space less is better than a name in two lines.
    gap = 1 if 2 * sum(part.right) > gaps and gaps <= spare < 2 * gaps else 2
    table = RichTable(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="")
    table.show_header = any(part.header)
    for title, right in zip(part.header, part.right, strict=True):
        table.add_column(
            Text(title, style="bold"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for row in part.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _listed(sentence: str, width: int, mark: str) -> Iterator[RenderableType]:
    from rich.text import Text

    lines = _wrapped(sentence, width - _INDENT - len(mark)).splitlines()
    for before, line in zip(chain((mark,), repeat(" " * len(mark))), lines, strict=False):
        yield Text(f"{' ' * _INDENT}{before}{line}")


def _wrapped(text: str, width: int) -> str:
    """The text in lines of that width, with no number parted from its percent sign.

    A command stays on one line, however long it is: it can be copied.
    """
    held = _COMMAND.sub(_on_one_line, text.replace(" %", f"{_HELD}%"))
    lines = textwrap.fill(
        held, max(width, 20), break_on_hyphens=False, break_long_words=not _COMMAND.search(text)
    )
    return lines.replace(_HELD, " ")


def _on_one_line(found: re.Match[str]) -> str:
    before, llmb, rest = found[0].partition("llmb ")
    return before + (llmb + rest).replace(" ", _HELD)
