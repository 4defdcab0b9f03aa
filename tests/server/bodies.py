"""What the readers of the other providers' formats share.

Their requests are read less strictly than OpenAI's: what the answer depends on must have the
right type, the rest is left to the log (GET /log), where a contract test can look at it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from tests.server.answers import Answer, ApiError

#: With sorted keys, so that equal bodies have equal bytes.
encode = msgspec.json.Encoder(order="deterministic").encode
Json = dict[str, Any]


class Text(msgspec.Struct):
    """A part of a message: a text, or a picture or document in Anthropic's or Gemini's form."""

    text: str = ""
    type: str = "text"
    source: Json | None = None
    inline_data: Json | None = None

    def __post_init__(self) -> None:
        """Msgspec makes a validation error of what this raises."""
        if self.source is not None and (
            self.type not in ("image", "document")
            or self.source.get("type") not in ("base64", "url")
            or (self.type == "document" and self.source.get("media_type") != "application/pdf")
        ):
            raise ValueError(f"a part of type {self.type!r} with such a source is not known")
        if self.inline_data is not None and not self.inline_data.get("data"):
            raise ValueError("inline_data has no data")
        if not (self.text or self.source or self.inline_data):
            raise ValueError("a part has no content")


class Turn(msgspec.Struct):
    """A message whose content is a text or a list of parts."""

    role: str
    content: str | list[Text]


def plain_text(content: str | list[Text]) -> str:
    """The text of a content of either form."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def decode(body: bytes) -> Json:
    """The body as an object; `ApiError` 400 when it is not one."""
    try:
        return msgspec.json.decode(body, type=Json)
    except ValueError as error:
        raise ApiError(400, f"cannot read the body: {error}") from None


def take(body: Json, name: str, kind: Any) -> Any:
    """The value of a key, checked to be of a type; a key that is missing counts as null."""
    try:
        return msgspec.convert(body.get(name), kind)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"{name}: {error}", param=name) from None


def take_object(body: Json, name: str) -> Json:
    """The value of a key that holds an object; an empty one when it is missing or null."""
    value: Json = take(body, name, Json | None) or {}
    return value


def body_hash(body: Json, path: str) -> str:
    """What makes a request the same as another: its path and its body, whatever the spacing."""
    return blake2b(path.encode() + encode(body), digest_size=8).hexdigest()


def counts(answer: Answer) -> tuple[Any, Any]:
    """Prompt and completion tokens as the reply claims them."""
    usage = answer.usage or {}
    return usage.get("prompt_tokens"), usage.get("completion_tokens")
