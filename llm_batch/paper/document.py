"""What sections are made of: tables and sentences, before any markup."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or some."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; ``right`` says which columns are figures. An all-empty header is left out."""

    header: tuple[str, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands beneath it."""

    title: str
    parts: tuple[Paragraph | Table, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """All that people read of a report or a comparison, in reading order.

    Attributes:
        headline: The finding in one sentence.
        origin: What it is about, a line or some.
        sections: The figures.
        warnings: What to keep in mind.
        next_steps: What to do next.
    """

    headline: str
    origin: tuple[str, ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]
