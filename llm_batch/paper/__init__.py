"""What people read: words and documents, before any markup."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llm_batch.errors import ConfigError


class Readable:
    """A result that shows itself: printed, in a notebook, or in a format of its command."""

    __slots__ = ()

    def _formats(self) -> Mapping[str, Callable[[Any], str]]:
        """The formats of this kind of result by the name a user gives."""
        raise NotImplementedError

    def to(self, format: str) -> str:
        """The result as ``text``, ``json``, ``md`` or what else ``--format`` of its command takes.

        Raises:
            ConfigError: There is no such format.
        """
        formats = self._formats()
        if format not in formats:
            known = ", ".join(formats)
            raise ConfigError(f"there is no format {format!r}", f"the formats are {known}")
        return formats[format](self)

    def to_json(self) -> str:
        """The result as JSON, with the keys of ``--format json``."""
        return self.to("json")

    def __str__(self) -> str:
        return self.to("text")

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.to("md")
