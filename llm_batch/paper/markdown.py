"""A document as GitHub-flavoured Markdown, to paste into an issue or a page.

Texts from the data are escaped: they start no table cell, no markup and no HTML tag, and they
make no link or mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_batch.paper.document import Document, Quote, Table

_FENCES = re.compile("`+")
#: Our own commands, which are to be copied; nothing in a span has a meaning.
_COMMAND = re.compile(r"(`llmb [^`]*`)")
_MARKUP = re.compile(r"([\\`*_{}\[\]|~#])")


def format(document: Document) -> str:
    """The document as Markdown with a newline at its end."""
    blocks = [f"# {_escaped(document.headline)}"]
    if document.origin:
        blocks.append("  \n".join(map(_escaped, document.origin)))
    for section in document.sections:
        blocks.append(f"## {_escaped(section.title)}")
        blocks += map(_block, section.parts)
    for title, entries in document.lists():
        blocks.append(f"## {title}")
        blocks.append(
            "\n".join(
                f"- {_sentence(sentence)}" + (f"  \n  → {_escaped(hint)}" if hint else "")
                for sentence, hint in entries
            )
        )
    return "\n\n".join(blocks) + "\n"


def _block(part: Table | Quote | str) -> str:
    if isinstance(part, str):
        return _escaped(part)
    if isinstance(part, Table):
        return "\n".join(_table(part))
    fence = "`" * (1 + max(map(len, re.findall("`{2,}", part.text)), default=2))
    said = f"{_escaped(part.name)}:\n\n" if part.name else ""
    return f"{said}{fence}\n{part.text}\n{fence}"


def _table(table: Table) -> Iterator[str]:
    yield _row(map(_escaped, table.header))
    yield _row("---:" if right else "---" for right in table.right)
    for row in table.rows:
        yield _row(map(_escaped, row))


def _row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _sentence(text: str) -> str:
    """The text escaped, but for commands."""
    parts = _COMMAND.split(text)
    return "".join(part if place % 2 else _escaped(part) for place, part in enumerate(parts))


def _escaped(text: str) -> str:
    """The text with nothing in it that Markdown or HTML gives a meaning."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKUP.sub(r"\\\1", text)
    # GitHub turns @name into a mention and a bare address into a link, escaped or not.
    return text.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")
