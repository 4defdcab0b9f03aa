"""Which item a row is: its id, its stratum and its place in the seeded order."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from llm_batch.dataset.stores import Tally
from llm_batch.errors import DataError

#: More strata than this mean a field that is no grouping at all.
MAX_STRATA = 1_000

#: Names of fields that a message lists at most.
_MANY = 20

_ID_HINT = "set id under [data] to one of its fields, or leave it out to tell items by content"
_STRATIFY_HINT = "set stratify under [sample] to one of its fields, or leave it out"
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


class BadRow(Exception):
    """What is wrong with a row; ``hint`` is for when no row before it was any better."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class Namer:
    """Gives items their ids: the id field as text, or else a hash of the content.

    Rows with the same content are told apart by their order in the file: the second is ``-2``.
    """

    def __init__(self, field: str | None) -> None:
        self._field = field
        self._tally = Tally()
        self._copies = array("I")
        self.duplicates = 0

    def name(self, fields: Mapping[str, Any]) -> str:
        """The id of the next row."""
        if self._field is not None:
            return _text(fields, self._field, _ID_HINT)
        digest = blake2b(_encode_sorted(fields), digest_size=8)
        copy = self._tally.add(int.from_bytes(digest.digest()))
        self._copies.append(copy)
        self.duplicates += copy > 1
        return digest.hexdigest() if copy == 1 else f"{digest.hexdigest()}-{copy}"

    def seal(self) -> None:
        """Let go of what only naming further rows needs."""
        self._tally = Tally()

    def again(self, fields: Mapping[str, Any], index: int) -> str:
        """The id of a row that was named before."""
        if self._field is not None:
            return _text(fields, self._field, "")
        name = blake2b(_encode_sorted(fields), digest_size=8).hexdigest()
        copy = self._copies[index]
        return name if copy == 1 else f"{name}-{copy}"


class Grouping:
    """Which stratum each row is in."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._numbers: dict[str, int] = {}
        self._counts: list[int] = []
        self.names: list[str] = []
        self.members = array("H")

    def name(self, fields: Mapping[str, Any]) -> str:
        """The stratum a row would be in."""
        return _text(fields, self._field, _STRATIFY_HINT)

    def add(self, name: str) -> None:
        """Put the next row in a stratum."""
        number = self._numbers.setdefault(name, len(self._counts))
        if number == len(self._counts):
            if number == MAX_STRATA:
                raise DataError(
                    f"the field {self._field!r} has more than {MAX_STRATA:,} values, "
                    "too many to stratify by",
                    "set stratify under [sample] to a field with few values, or leave it out",
                )
            self._counts.append(0)
            self.names.append(name)
        self._counts[number] += 1
        self.members.append(number)

    def sizes(self) -> dict[str, int]:
        """Rows in each stratum, sorted by name."""
        return dict(sorted(zip(self.names, self._counts, strict=True)))

    def of(self, index: int) -> str:
        """The stratum of a row that was added."""
        return self.names[self.members[index]]


class Keys:
    """The order keys of all rows, which also show whether an id comes twice."""

    def __init__(self, unique: bool, name: str, place: str) -> None:
        self._name = name
        self._place = place
        self._tally = Tally() if unique else None
        self._numbers = array("Q")
        self.firsts = array("Q")
        self.seconds = array("Q")

    def add(self, key: tuple[int, int], number: int, item_id: str) -> None:
        first, second = key
        if self._tally is not None:
            if self._tally.add(first) > 1:
                self._refuse_second(key, number, item_id)
            self._numbers.append(number)
        self.firsts.append(first)
        self.seconds.append(second)

    def _refuse_second(self, key: tuple[int, int], number: int, item_id: str) -> None:
        for index, found in enumerate(zip(self.firsts, self.seconds, strict=True)):
            if found == key:
                raise DataError(
                    f"{self._name}, {self._place}s {self._numbers[index]} and {number}: "
                    f"both have the id {item_id!r}",
                    "give each row an id of its own, or leave out id under [data] to tell items "
                    "apart by content",
                )


def _text(fields: Mapping[str, Any], field: str, hint: str) -> str:
    """The value of a field as text, for an id or a stratum."""
    value = fields.get(field)
    if isinstance(value, str):
        if not value or value.isspace():
            raise BadRow(f"the field {field!r} is empty")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if field not in fields:
        known = ", ".join(list(fields)[:_MANY]) + (", ..." if len(fields) > _MANY else "")
        raise BadRow(f"no field {field!r}, it has {known or 'none'}", hint)
    if value is None:
        raise BadRow(f"the field {field!r} is null")
    raise BadRow(f"the field {field!r} is not text or a number")
