"""A document as one line: its finding, for logs and scripts."""

from __future__ import annotations

from llm_batch.paper.document import Document


def format(document: Document) -> str:
    """The headline with a newline at its end."""
    return f"{document.headline}\n"
