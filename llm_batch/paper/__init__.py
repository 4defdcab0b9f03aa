"""What people read: words, documents, and the formats that render them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from llm_batch.errors import ConfigError

if TYPE_CHECKING:
    from llm_batch.paper.document import Document

T = TypeVar("T")

#: The formats of whatever is shown: what of it they take, and the module with ``format``.
RENDERERS: dict[str, tuple[Literal["screen", "document", "values"], str]] = {
    "text": ("screen", "llm_batch.paper.text"),
    "full": ("document", "llm_batch.paper.text"),
    "json": ("values", "llm_batch.paper.json"),
    "md": ("document", "llm_batch.paper.markdown"),
}


class Formats(Mapping[str, Callable[[T], str]]):
    """Functions from a result to text, by the name a user gives; modules load when called.

    Args:
        document: All of the result, as people read it.
        screen: What of it fits a screen.
        values: The result as a tree of dataclasses or plain values, with stable keys.
        own: Formats of this kind of result alone: the module whose ``format`` takes it.
    """

    def __init__(
        self,
        document: Callable[[T], Document],
        screen: Callable[[T], Document],
        values: Callable[[T], object],
        own: Mapping[str, str] | None = None,
    ) -> None:
        self._taken: dict[str, Callable[[T], object]] = {
            "document": document,
            "screen": screen,
            "values": values,
        }
        self._own = own or {}

    def __getitem__(self, name: str) -> Callable[[T], str]:
        if name in self._own:
            return lambda made: str(import_module(self._own[name]).format(made))
        takes, module = RENDERERS[name]
        return lambda made: str(import_module(module).format(self._taken[takes](made)))

    def document(self, name: str, made: T) -> Document | None:
        """What a format for people draws; ``None`` for the others."""
        takes, _ = RENDERERS.get(name, ("", ""))
        shown = self._taken[takes](made) if takes in ("document", "screen") else None
        return cast("Document | None", shown)

    def __iter__(self) -> Iterator[str]:
        return iter([*RENDERERS, *self._own])

    def __len__(self) -> int:
        return len(RENDERERS) + len(self._own)


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
