"""The estimate for a terminal, which reads the same in a pipe.

Colour and bold only repeat what the words say. Names from the config never reach the markup
parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from llm_batch.estimating.document import headline, sections
from llm_batch.estimating.model import Estimate
from llm_batch.paper.blocks import Table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDTH = 80
_INDENT = 2


def format(estimate: Estimate) -> str:
    """The estimate as plain text, 80 columns wide, with a newline at its end."""
    from rich.console import Console

    target = StringIO()
    render(estimate, Console(file=target, width=_WIDTH, color_system=None, legacy_windows=False))
    return target.getvalue()


def render(estimate: Estimate, console: Console) -> None:
    """Print the estimate to a console, in its width and colours."""
    for renderable in _renderables(estimate):
        # Cells are filled up with blanks, which nobody needs at the end of a line.
        with console.capture() as captured:
            console.print(renderable, highlight=False)
        for line in captured.get().splitlines():
            console.file.write(line.rstrip() + "\n")


def _renderables(estimate: Estimate) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    yield Text(headline(estimate), style="bold")
    for section in sections(estimate):
        yield Text("")
        yield Text(section.title, style="bold")
        for part in section.parts:
            drawn = _table(part) if isinstance(part, Table) else Text(part)
            yield Padding(drawn, (0, 0, 0, _INDENT))
    yield Text("")
    yield Text("Assumptions", style="bold")
    yield _list([(sentence, "") for sentence in estimate.assumptions])
    if estimate.warnings:
        yield Text("")
        yield Text("Warnings", style="bold yellow")
        yield _list(estimate.warnings)


def _table(table: Table) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    for title, right in zip(table.header, table.right, strict=True):
        drawn.add_column(
            Text(title, style="underline"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def _list(entries: Sequence[tuple[str, str]]) -> RenderableType:
    """Sentences behind dashes, each with what to do about it on a line of its own."""
    from rich.table import Table as RichTable
    from rich.text import Text

    listed = RichTable(box=None, padding=0, pad_edge=False, show_header=False)
    listed.add_column(no_wrap=True)
    listed.add_column(overflow="fold")
    for sentence, hint in entries:
        listed.add_row(Text("  - "), Text(sentence))
        if hint:
            listed.add_row(Text(""), Text(f"→ {hint}"))
    return listed
