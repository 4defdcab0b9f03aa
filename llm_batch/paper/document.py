"""What the formats for people draw, before any markup: tables and sentences, in reading order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


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

    def lists(self) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
        """Yield the lists after the sections that have entries: titles, sentences with hints."""
        for title, entries in (
            ("Assumptions", tuple((sentence, "") for sentence in self.assumptions)),
            ("Warnings", self.warnings),
            ("Next", tuple((sentence, "") for sentence in self.next_steps)),
        ):
            if entries:
                yield title, entries
