"""What of a dataset is used: which of its rows, and which of their fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from llm_batch.chain.templates import Condition
from llm_batch.errors import DataError

if TYPE_CHECKING:
    from llm_batch.chain.options import Data

# Names of fields that a message lists at most.
_MANY = 20


class Selection:
    """``columns``, ``where`` and ``limit`` of ``[data]``.

    Attributes:
        limit: Rows that are taken at most; 0 for all.
    """

    def __init__(self, data: Data) -> None:
        self._columns = data.columns
        self._where = Condition(data.where, "data.where") if data.where else None
        self.limit = data.limit or 0

    def reads(self, used: Iterable[str] | None) -> frozenset[str] | None:
        """The columns to be read; ``None`` for all.

        Args:
            used: Those that anything else needs, where that is known.
        """
        wanted = used if self._columns is None else self._columns
        if wanted is None or (self._where and "item" in self._where.variables):
            return None
        return frozenset(wanted) | (self._where.variables if self._where else set())

    def more(self, most: int, taken: int) -> int:
        """How many rows to read next, up to so many, where some are taken."""
        return min(most, self.limit - taken) if self.limit else most

    def takes(self, fields: Mapping[str, Any]) -> bool:
        """Whether this is one of the rows; `PromptError` where ``where`` cannot tell."""
        return self._where is None or self._where.holds(fields)

    def of(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields that are used."""
        if self._columns is None:
            return fields
        return {name: fields[name] for name in self._columns if name in fields}

    def check(self, fields: Mapping[str, Any], where: str) -> None:
        """`DataError` where a row lacks a column that was asked for."""
        lacking = [name for name in self._columns or () if name not in fields]
        if lacking:
            known = ", ".join(list(fields)[:_MANY]) + (", …" if len(fields) > _MANY else "")
            raise DataError(
                f"{where}: no field {lacking[0]!r}, which columns under [data] names",
                f"it has {known}",
            )
