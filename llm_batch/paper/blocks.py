"""What the formats for people draw: tables and sentences under a title."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; ``right`` says which columns are figures."""

    header: tuple[str, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands beneath it: tables and sentences, in order."""

    title: str
    parts: tuple[Table | str, ...]
