"""Which provider's format a path speaks, and how to read and write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from tests.server import anthropic, bytez, gemini, ollama, openai
from tests.server.answers import Answer, ApiError, Ask


@dataclass(frozen=True, slots=True)
class Shape:
    """A provider's wire format.

    Attributes:
        name: The provider.
        read: Body, path and headers to a request; raises `ApiError` for a bad one.
        write: The body of the reply.
        write_error: The body of an error.
        key: Headers and query to the key the client presented.
    """

    name: str
    read: Callable[[bytes, str, Mapping[str, str]], Ask]
    write: Callable[[Ask, Answer], bytes]
    write_error: Callable[[ApiError], bytes]
    key: Callable[[Mapping[str, str], str], str | None]


def _shape(name: str, module: ModuleType, write: str = "write") -> Shape:
    return Shape(name, module.read, getattr(module, write), module.write_error, module.key)


OPENAI = _shape("openai", openai)
ANTHROPIC = _shape("anthropic", anthropic)
GEMINI = _shape("gemini", gemini)
OLLAMA_CHAT = _shape("ollama", ollama, "write_chat")
OLLAMA_GENERATE = _shape("ollama", ollama, "write_generate")
BYTEZ = _shape("bytez", bytez)


def shape_of(path: str) -> Shape | None:
    """The format of a path, or ``None`` for a path no provider has."""
    if path.endswith("/chat/completions"):
        return OPENAI
    if path.endswith("/v1/messages"):
        return ANTHROPIC
    if path.endswith(":generateContent") and "/models/" in path:
        return GEMINI
    if path.endswith("/api/chat"):
        return OLLAMA_CHAT
    if path.endswith("/api/generate"):
        return OLLAMA_GENERATE
    if "/models/v2/" in path:
        return BYTEZ
    return None
