"""Counting results lines by the value of a field."""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from llm_batch.errors import ConfigError
from llm_batch.report.lines import Getter, Line, too_deep
from llm_batch.report.tally import SCORE_LIMIT


class GroupCount:
    """Counts of the items that share a value."""

    __slots__ = ("n", "passed", "score_squares", "score_sum", "scored", "verdicts")

    def __init__(self) -> None:
        self.n = self.scored = self.verdicts = self.passed = 0
        self.score_sum = self.score_squares = 0.0


class GroupTally:
    """Counts by the value of a field.

    Args:
        field: What to call the field.
        value: How to get it from a line.
        limit: More different values than this end the grouping.
        asked_for: Whether the user named the field: too many values are then an error, and else
            only mean that the field is no category.
    """

    def __init__(self, field: str, value: Getter, limit: int, asked_for: bool) -> None:
        self.field = field
        self.groups: dict[str, GroupCount] = {}
        self.found = False
        self.too_many = False
        self._value = value
        self._limit = limit
        self.asked_for = asked_for

    def add(self, lines: list[Line]) -> None:
        """Count some lines.

        Raises:
            ConfigError: The field was asked for and has too many values.
        """
        if self.too_many:
            return
        groups = self.groups
        for line in lines:
            value = self._value(line)
            if value is not None:
                self.found = True
            name = value if type(value) is str else group_name(value)
            group = groups.get(name)
            if group is None:
                group = groups[name] = GroupCount()
            group.n += 1
            score = line.score
            if score is not None and -SCORE_LIMIT <= score <= SCORE_LIMIT:
                group.scored += 1
                group.score_sum += score
                group.score_squares += score * score
            if line.passed is not None:
                group.verdicts += 1
                group.passed += line.passed
        self._check_number()

    def merge(self, after: GroupTally) -> None:
        """Add the counts of a later part of the file.

        Raises:
            ConfigError: The field was asked for and has too many values.
        """
        self.found = self.found or after.found
        if self.too_many or after.too_many:
            self.too_many = True
            self.groups.clear()
            return
        for name, counts in after.groups.items():
            group = self.groups.setdefault(name, GroupCount())
            group.n += counts.n
            group.scored += counts.scored
            group.score_sum += counts.score_sum
            group.score_squares += counts.score_squares
            group.verdicts += counts.verdicts
            group.passed += counts.passed
        self._check_number()

    def _check_number(self) -> None:
        groups = self.groups
        if len(groups) > self._limit:
            self.too_many = True
            groups.clear()
            if self.asked_for:
                raise ConfigError(
                    f"--by {self.field}: the field has more than {self._limit:,} different values",
                    "name a field with a few values, such as a category",
                )


def group_name(value: Any) -> str:
    """How the group of a value is called."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and isfinite(value) and value == int(value):
        return str(int(value))  # CSV and JSON readers differ in 3 and 3.0
    if too_deep(value):
        return "(nested too deeply)"
    return msgspec.json.encode(value).decode()


def swapped_spelling(name: str) -> str:
    """A whole number as spreadsheets write it too: ``1.0`` for ``1``, ``1`` for ``1.0``.

    Empty for anything else.
    """
    whole = name.removesuffix(".0")
    if not (whole.isascii() and whole.removeprefix("-").isdecimal()):
        return ""
    return whole if whole != name else f"{name}.0"
