"""What people read: words, documents, and the formats that render them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llm_batch.errors import ConfigError

if TYPE_CHECKING:
    from llm_batch.paper.document import Document

T = TypeVar("T")

#: The formats of whatever is shown: which view of it each draws, and the module with ``format``.
RENDERERS: dict[str, tuple[str, str]] = {
    "text": ("screen", "llm_batch.paper.text"),
    "line": ("screen", "llm_batch.paper.line"),
    "full": ("document", "llm_batch.paper.text"),
    "json": ("values", "llm_batch.paper.json"),
    "md": ("document", "llm_batch.paper.markdown"),
    "csv": ("rows", "llm_batch.paper.csv"),
    "latex": ("publication", "llm_batch.paper.latex"),
    "html": ("page", "llm_batch.paper.html"),
    "junit": ("suite", "llm_batch.paper.junit"),
}


class Formats(Mapping[str, Callable[[T], str]]):
    """Functions from a result to text, by the name a user gives; modules load when called.

    A format draws a view of a result and never looks at the result, which has the formats of the
    views that it gives.

    Args:
        document: All of the result, as people read it.
        values: The result as a tree of dataclasses or plain values, with stable keys.
        views: More of them: ``screen`` (a document of what fits a screen), ``rows`` (cells, the
            header first), ``publication`` (a document of what a paper has of it), ``page`` (a
            `Page`), ``suite`` (a `Suite` of checks).
    """

    def __init__(
        self,
        document: Callable[[T], Document],
        values: Callable[[T], object],
        **views: Callable[[T], object],
    ) -> None:
        self._views = {"document": document, "screen": document, "values": values, **views}

    def __getitem__(self, name: str) -> Callable[[T], str]:
        view, module = RENDERERS[name]
        give = self._views[view]
        return lambda made: str(import_module(module).format(give(made)))

    def pieces(self, name: str, made: T) -> Iterator[str]:
        """The text of a format, a piece at a time where it may be as long as the results."""
        view, module = RENDERERS[name]
        format = import_module(module)
        given = self._views[view](made)
        yield from format.pieces(given) if hasattr(format, "pieces") else [format.format(given)]

    def document(self, name: str, made: T) -> Document | None:
        """What a format for people draws; ``None`` for the others."""
        view, _ = RENDERERS[name]
        shown = self._views[view](made) if view in ("document", "screen") else None
        return cast("Document | None", shown)

    def __iter__(self) -> Iterator[str]:
        whole = self._views["screen"] is self._views["document"]
        return (
            name
            for name, (view, _) in RENDERERS.items()
            if view in self._views and not (whole and name == "full")
        )

    def __len__(self) -> int:
        return len(list(iter(self)))


def later(module: str, function: str) -> Callable[[Any], Any]:
    """A view whose module is loaded when it is asked for."""
    return lambda made: getattr(import_module(module), function)(made)


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
