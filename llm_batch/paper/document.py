"""What the formats for people draw, before any markup: tables and sentences, in reading order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; ``right`` says which columns are figures. An all-empty header is left out."""

    header: tuple[str, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands beneath it: tables, and paragraphs of a sentence or some."""

    title: str
    parts: tuple[Table | str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """All that people read of a result. Texts are cleaned here, and escaped by the format.

    Attributes:
        headline: The finding in one sentence.
        origin: What it is about, a line or some.
        sections: The figures.
        assumptions: What the figures rest on.
        warnings: What to keep in mind, each with what to type about it or an empty text.
        next_steps: What to do next.
        closing: Where the rest is, in a document that leaves some out.
    """

    headline: str
    origin: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    assumptions: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    next_steps: tuple[str, ...] = ()
    closing: str = ""

    def lists(self) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
        """Yield the lists after the sections that have entries: titles, sentences with hints."""
        for title, entries in (
            ("Assumptions", tuple((sentence, "") for sentence in self.assumptions)),
            ("Warnings", self.warnings),
            ("Next", tuple((sentence, "") for sentence in self.next_steps)),
        ):
            if entries:
                yield title, entries


#: Warnings on a screen, and the characters that they may have together: about nine lines.
_WARNINGS, _CHARACTERS = 3, 620


def on_screen(warnings: Sequence[tuple[str, str]], besides: str) -> dict[str, Any]:
    """The warnings that fit a screen, most serious first, and a closing that counts the others.

    Args:
        warnings: All of them, each with what to type about it or an empty text.
        besides: What else there is to see.
    """
    kept: list[tuple[str, str]] = []
    room = _CHARACTERS
    for warning in warnings[:_WARNINGS]:
        room -= len(warning[0]) + len(warning[1])
        if kept and room < 0:
            break
        kept.append(warning)
    left = len(warnings) - len(kept)
    more = f"{left} more warning{'s' if left > 1 else ''} and all else" if left else "everything"
    return {"warnings": tuple(kept), "closing": f"--full shows {more}; {besides}."}
