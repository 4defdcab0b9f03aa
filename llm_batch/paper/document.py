"""What the formats for people draw, before any markup: tables and sentences, in reading order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; ``right`` says which columns are figures. An all-empty header is left out.

    The first ``sums`` rows are of all that the others are parts of, where it is not 0.
    """

    header: tuple[str, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    sums: int = 0

    @classmethod
    def of(cls, header: Sequence[str], rows: Iterable[tuple[str, ...]], sums: int = 0) -> Table:
        """One whose first column says what the others are figures of."""
        return cls(tuple(header), (False, *(True for _ in header[1:])), tuple(rows), sums)


@dataclass(frozen=True, slots=True)
class Quote:
    """Somebody's words as they stand, line by line, under the name of who says them.

    Without a name nothing is wrapped or indented: a prompt as it is sent.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands beneath it: tables, and paragraphs of a sentence or some.

    A text may refer to it by its ``label``.
    """

    title: str
    parts: tuple[Table | Quote | str, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """All that people read of a result. Texts are cleaned here, and escaped by the format.

    Attributes:
        headline: The finding in one sentence.
        origin: What it is about, a line or some.
        assumptions: What the figures rest on.
        warnings: What to keep in mind, each with what to type about it or an empty text.
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
