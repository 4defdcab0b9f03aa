"""The estimate as GitHub-flavoured Markdown, to paste into an issue or a page.

Names from the config are escaped: they start no table cell, no markup and no HTML tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_batch.estimating.document import headline, sections
from llm_batch.estimating.model import Estimate
from llm_batch.paper.blocks import Table

_MARKUP = re.compile(r"([\\`*_{}\[\]|~#])")


def format(estimate: Estimate) -> str:
    """The estimate as Markdown with a newline at its end."""
    blocks = [f"# {_escaped(headline(estimate))}"]
    for section in sections(estimate):
        blocks.append(f"## {_escaped(section.title)}")
        blocks += [
            "\n".join(_table(part)) if isinstance(part, Table) else _escaped(part)
            for part in section.parts
        ]
    blocks.append("## Assumptions")
    blocks.append("\n".join(f"- {_escaped(sentence)}" for sentence in estimate.assumptions))
    if estimate.warnings:
        blocks.append("## Warnings")
        blocks.append(
            "\n".join(
                f"- {_escaped(message)}  \n  → {_escaped(hint)}"
                if hint
                else f"- {_escaped(message)}"
                for message, hint in estimate.warnings
            )
        )
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> Iterator[str]:
    yield _row(table.header)
    yield f"| {' | '.join('---:' if right else '---' for right in table.right)} |"
    for row in table.rows:
        yield _row(row)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """The text with nothing in it that Markdown or HTML gives a meaning."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKUP.sub(r"\\\1", text)
    # GitHub turns @name into a mention and a bare address into a link, escaped or not.
    return text.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")
