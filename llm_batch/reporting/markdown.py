"""The report as GitHub-flavoured Markdown, to paste into an issue or a page.

Texts from the data are escaped: they start no table cell, no markup and no HTML tag, and they
make no link or mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_batch.reporting.model import Report
from llm_batch.reporting.sections import Document, Paragraph, Table, document

_MARKUP = re.compile(r"([\\`*_{}\[\]|~#])")


def format(report: Report) -> str:
    """The report as Markdown with a newline at its end."""
    return markdown(document(report))


def markdown(document: Document) -> str:
    """A document as Markdown with a newline at its end."""
    blocks = [f"# {_escaped(document.headline)}"]
    blocks.append("  \n".join(_escaped(line) for line in document.origin))
    for section in document.sections:
        blocks.append(f"## {_escaped(section.title)}")
        blocks += [
            _escaped(part.text) if isinstance(part, Paragraph) else "\n".join(_table(part))
            for part in section.parts
        ]
    for title, sentences in (("Warnings", document.warnings), ("Next", document.next_steps)):
        if sentences:
            blocks.append(f"## {title}")
            blocks.append("\n".join(f"- {_escaped(sentence)}" for sentence in sentences))
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> Iterator[str]:
    yield _row(table.header)
    yield _row(["---:" if right else "---" for right in table.right], escape=False)
    for row in table.rows:
        yield _row(row)


def _row(cells: tuple[str, ...] | list[str], escape: bool = True) -> str:
    shown = [_escaped(cell) if escape else cell for cell in cells]
    return f"| {' | '.join(shown)} |"


def _escaped(text: str) -> str:
    """The text with nothing in it that Markdown or HTML gives a meaning."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKUP.sub(r"\\\1", text)
    # GitHub turns @name into a mention and a bare address into a link, escaped or not.
    return text.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")
