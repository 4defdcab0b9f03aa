"""From the bytes of a reply to the JSON value they were meant to be, or the words of an error.

A reply may be paid for by the time it is read, so what can be read is: after a byte order mark or
a gateway's comments, in another encoding, with half an emoji, NaN or a tail that does not belong
to it, and as the events of a stream that nobody asked for. What is nested without end is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_batch.chain.answers import word_of
from llm_batch.chain.outputs import whole_number

# What a reply means is said in its first few levels, and a reader has an end to its own.
_DEEPEST = 200
_BELOW = '"..."'
# What lies between brackets, of which a string is one step, closed or not; and brackets, or the
# end: without it a text that has none would be looked through anew from each of its places.
_STEPS = re.compile(r'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+"?)*+([\[{]++|[\]}]++|\Z)', re.DOTALL)
#: Why a stream ended that was cut: `llm_batch.chain.answers` takes it for a failure of the server.
CUT_OFF = "aborted before its last event"

_FIELDS = ("data:", "event:", "id:", "retry:")
_DONE = "[DONE]"


def value_in(body: bytes) -> Any:
    """The JSON value of a body, or `ValueError`; the events of a stream become one reply."""
    text = body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff \t\r\n")
    if text.startswith(":"):
        text = text[_after_comments(text) :]
    if text.startswith(_FIELDS):
        return _reply_of_events(text)
    values, _ = _values(text)
    if not values:
        raise ValueError("it is no JSON")
    return _joined(values, False) if len(values) > 1 and _is_stream(values) else values[0]


def is_whole_reply(body: bytes) -> bool:
    """Whether all of a reply with choices is there, and nothing else, though it broke off.

    What has lines, such as a file of a batch, may lack some of them.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "choices" in value


def _after_comments(text: str) -> int:
    """Where a reply begins after a gateway's signs of life: lines that begin with a colon."""
    at = 0
    while text.startswith(":", at) and (end := text.find("\n", at)) >= 0:
        at = _after_space(text, end)
    return at


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _values(text: str) -> tuple[list[Any], str]:
    """JSON values one after the other, up to the first thing that is none; and that."""
    values: list[Any] = []
    at, shallow = 0, False
    while at < len(text):
        try:
            value, at = _decoder.raw_decode(text, at)
        except RecursionError:
            if shallow:
                raise ValueError("it is nested too deeply") from None
            text, at, shallow = _without_depths(text[at:]), 0, True
            continue
        except ValueError:
            break
        values.append(value)
        at = _after_space(text, at)
    return values, text[at:]


def within_depth(body: bytes) -> bytes:
    """A reply for a reader that fails at what is nested without end, which is left out."""
    if body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return body
    try:
        return _without_depths(body.decode("latin-1")).encode("latin-1")
    except ValueError:
        return body


def _without_depths(text: str) -> str:
    """A JSON text with a mark in the place of what lies below the deepest level that is read.

    Raises:
        ValueError: It ends down there.
    """
    kept: list[str] = []
    depth = start = 0
    for step in _STEPS.finditer(text):
        brackets = step[1]
        before, count = depth, len(brackets)
        if brackets[:1] in ("[", "{"):
            depth += count
            if before <= _DEEPEST < depth:
                kept += (text[start : step.start(1) + _DEEPEST - before], _BELOW)
        else:
            depth -= count
            if depth <= _DEEPEST < before:
                start = step.start(1) + before - _DEEPEST
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    return "".join((*kept, text[start:]))


# Not strict: a line break inside a string is no reason to doubt the rest.
_decoder = json.JSONDecoder(parse_int=whole_number, strict=False)


# Streams


def _is_stream(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values) and any(
        "delta" in choice or "error" in value for value in values for choice in _choices(value)
    )


def _choices(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = value.get("choices")
    listed = choices if isinstance(choices, list) else []
    return [choice for choice in listed if isinstance(choice, dict)]


def _reply_of_events(text: str) -> Any:
    """Server-sent events (WHATWG HTML, 9.2), some servers' without blank lines between them."""
    values: list[Any] = []
    data: list[str] = []
    name, done, lost = "", False, False
    # Not splitlines, which also ends a line at what a JSON string may hold.
    for line in (*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""):
        field, _, said = line.partition(":")
        if field == "data":
            data.append(said.removeprefix(" "))
            continue
        if field == "event":
            name = said.strip()
        if line:
            continue
        payload = "\n".join(data).strip()
        if payload.endswith(_DONE):
            payload, done = payload[: -len(_DONE)], True
        found, rest = _values(payload.lstrip())
        lost = lost or rest.startswith("{")
        if name == "error" and payload:
            found = [_as_error(found[0] if found else payload)]
        values += found
        data, name = [], ""
    if not values:
        raise ValueError("its events hold nothing")
    return _joined(values, done, lost)


def _as_error(said: Any) -> dict[str, Any]:
    return said if isinstance(said, dict) and said.get("error") else {"error": said}


def _joined(values: list[Any], done: bool, lost: bool = False) -> dict[str, Any]:
    """One reply of many pieces; with one that was ``lost`` it is not whole."""
    reply: dict[str, Any] = {}
    pieces: dict[str, list[Any]] = {}
    choice: dict[str, Any] = {}
    for value in values:
        if not isinstance(value, dict):
            continue
        told = {name: part for name, part in value.items() if part is not None}
        told.pop("choices", None)
        reply.update(told if not reply.get("error") else {})
        for one in _choices(value)[:1]:
            if one.get("index", 0) != 0:
                continue
            choice |= {name: part for name, part in one.items() if part}
            if isinstance(whole := one.get("message"), dict):  # the last event repeats it all
                pieces = {name: [part] for name, part in whole.items() if part is not None}
            delta = one.get("delta") or ({"content": one["text"]} if one.get("text") else {})
            for name, part in delta.items() if isinstance(delta, dict) else ():
                if part is not None:
                    pieces.setdefault(name, []).append(part)
    if not choice and not pieces:
        return reply
    message = {name: _in_one(parts) for name, parts in pieces.items()}
    ended = not lost and (done or word_of(choice.get("finish_reason")))
    reason = choice.get("finish_reason") if ended else CUT_OFF
    choice = {name: part for name, part in choice.items() if name not in ("delta", "text")}
    return reply | {"choices": [choice | {"message": message, "finish_reason": reason}]}


def _in_one(parts: list[Any]) -> Any:
    if all(isinstance(part, str) for part in parts):
        return "".join(parts)
    return [one for part in parts for one in (part if isinstance(part, list) else [part])]


# The words of an error

# No provider's own words are longer; the middle of the rest is what it quotes.
_LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Words:
    """What an error body says: to people in full, to programs, and the parameter at fault.

    ``own`` is the message without what it quotes of the request; ``None`` where that is not known.
    """

    message: str = ""
    codes: tuple[str, ...] = ()
    param: str = ""
    own: str | None = None

    @property
    def all(self) -> str:
        return f"{' '.join(self.codes)} {self.message if self.own is None else self.own}"


_TEXTS = (
    *("message", "detail", "details", "reason", "title", "msg", "error_msg", "error_message"),
    *("errormessage", "error_description", "description", "status_msg"),
)
_CODES = ("code", "type", "status", "__type", "error_code", "errorcode", "error_type")
# What holds more of the same: Google's, Azure's, OpenRouter's, and lists of errors.
_WITHIN = ("error", "errors", "details", "innererror", "inner_error", "metadata", "base_resp")
_DEEPEST_WORDS = 6
_MOST_PARTS = 40


def words_of(body: bytes | str) -> Words:
    value = _json_in(body)
    if value is None:
        # A page of a proxy, or plain words.
        return Words(re.sub(r"<[^<>]*>", " ", bounded(body)))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict):
        return Words(bounded(value if isinstance(value, str) else msgspec.json.encode(value)))
    texts = list(dict.fromkeys(text for text in _texts(value) if text.strip()))[:_MOST_PARTS]
    codes = dict.fromkeys(code for code in _codes(value) if code)
    message = _in_words(texts) or bounded(body)
    return Words(bounded(message), tuple(codes)[:_MOST_PARTS], _param(value))


def bounded(text: bytes | str) -> str:
    if isinstance(text, bytes):
        text = (text if len(text) <= 8 * _LONGEST else text[: 4 * _LONGEST]).decode(
            "utf-8", "replace"
        )
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


def _json_in(text: bytes | str) -> Any:
    """The JSON value of a text; ``None`` when it is something else, or nested too deeply."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):  # msgspec's own and Unicode's are ValueErrors
        return None


def _object_in(text: str) -> dict[str, Any] | None:
    start, end = text.find("{"), text.rfind("}")
    value = _json_in(text[start : end + 1]) if 0 <= start < end else None
    return value if isinstance(value, dict) else None


def _in_words(texts: list[str]) -> str:
    kept = [t for t in texts if not any(t in other for other in texts if other is not t)]
    return ": ".join(kept[:2]) + "".join(f"; {text}" for text in kept[2:])


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST_WORDS:
        return
    if isinstance(value, str):
        yield _opened(bounded(value), depth)
    elif isinstance(value, list):
        for part in value[:_MOST_PARTS]:
            yield from _texts(part, depth + 1)
    elif isinstance(value, dict):
        if isinstance(value.get("msg"), str) and isinstance(value.get("loc"), list):
            # FastAPI's: where and what, without the input it quotes.
            where = ".".join(str(part) for part in value["loc"] if isinstance(part, str | int))
            yield f"{where}: {value['msg']}" if where else value["msg"]
            return
        for name in ("error", *_TEXTS, "errors", "innererror", "metadata", "base_resp", "raw"):
            part = _get(value, name)
            if part is None or (
                name == "reason"
                and " " not in (part if isinstance(part, str) else " ")[:200].strip()
            ):
                continue  # a reason of one word is a code
            if name == "details" and not isinstance(part, str):
                continue  # Google's, for programs
            yield from _texts(part, depth + 1)


def _opened(text: str, depth: int) -> str:
    """A text, or what the JSON in it says: a gateway quotes the reply it got (one level)."""
    value = None if depth > _DEEPEST_WORDS else _object_in(text)
    if value is None:
        return text
    inner = _in_words([t for t in _texts(value, _DEEPEST_WORDS - 2) if t.strip()])
    before = text[: text.find("{")].rstrip(" -:b'\"")
    return f"{before}: {inner}" if before and inner else inner or text


def _codes(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST_WORDS:
        return
    if isinstance(value, str):  # a reply that a gateway quotes
        if (inner := _object_in(value)) is not None:
            yield from _codes(inner, _DEEPEST_WORDS - 2)
    elif isinstance(value, list):
        for part in value[:_MOST_PARTS]:
            yield from _codes(part, depth + 1)
    elif isinstance(value, dict):
        for name in (*_CODES, "reason"):
            code = _get(value, name)
            if isinstance(code, str | int) and not isinstance(code, bool):
                yield str(code)[:100]
        base = value.get("base_resp")
        if isinstance(base, dict) and base.get("status_code"):
            yield f"base_resp {base['status_code']}"[:100]
        for name in (*_WITHIN, "message", "raw"):
            if (part := _get(value, name)) is not None:
                yield from _codes(part, depth + 1)


def _param(value: dict[str, Any]) -> str:
    error = value.get("error")
    for each in (error, value):
        if isinstance(each, dict) and isinstance(param := each.get("param"), str):
            return param[:100]
    return ""


def _get(value: dict[str, Any], name: str) -> Any:
    """A field, whatever its capitals: Amazon's begin with one."""
    found = value.get(name)
    return value.get(name.capitalize()) if found is None else found
