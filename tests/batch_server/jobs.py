"""A job of any vendor: lines that are worked on, looks that move it on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tests.server.answers import Answer, ApiError, Ask, answer, directive
from tests.server.faults import FAULTS

if TYPE_CHECKING:
    from tests.batch_server import BatchServer

encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)


def new_id(kind: str) -> str:
    return f"{kind}{next(_numbers):06d}"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    content_type: str = "application/json"
    location: str = ""
    cut: bool = False  # its end is lost on the way


def json_reply(value: Any) -> Reply:
    return Reply(200, encode(value))


class WebError(Exception):
    """A reply that is an error."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code

    def reply(self, path: str, headers: Mapping[str, str]) -> Reply:
        error = {"message": self.message, "type": "invalid_request_error", "code": self.code}
        value: Any = {"error": error}
        if "anthropic-version" in headers:
            value = {"type": "error", "error": {"type": "api_error", "message": self.message}}
        return Reply(self.status, encode(value))


@dataclass
class Done:
    """What became of a line: an answer, or an error."""

    custom_id: str
    body: bytes = b""
    error: ApiError | None = None


def is_json(body: bytes) -> bool:
    """Whether a body may be part of a line: strict JSON."""
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return False
    return b"\n" not in body


@dataclass
class Job:
    """A job.

    Attributes:
        id: The vendor's.
        lines: Custom id, and the request or why it is none.
        write: An answer in the vendor's format.
        name: What the client called it.
        looks: How often it was looked at since its creation.
        end: ``completed``, ``expired``, ``cancelled`` or ``failed``; ``None`` while it goes on.
        done: What became of the lines that were worked on.
        cancelling: Somebody asked for its end.
        turned_down: Why it never was one.
    """

    id: str
    lines: list[tuple[str, Ask | ApiError]]
    write: Callable[[Ask, Answer], bytes]
    name: str = ""
    created_at: float = field(default_factory=time.time)
    looks: int = 0
    end: str | None = None
    done: list[Done] = field(default_factory=list)
    cancelling: bool = False
    turned_down: str = ""
    files: dict[str, str] = field(default_factory=dict)
    after_end: int = 0
    made_of: str = ""  # the file of its requests

    @property
    def tokens(self) -> int:
        return sum(asked.input_tokens for _, asked in self.lines if isinstance(asked, Ask))

    @property
    def good(self) -> int:
        return sum(done.error is None for done in self.done)

    @property
    def bad(self) -> int:
        return len(self.done) - self.good

    def underway(self, polls: int) -> int:
        """Lines it says it has answered while it goes on."""
        return len(self.lines) * min(self.looks, polls) // (polls + 1)

    def look(self, server: BatchServer) -> None:
        """Somebody looks at it, and it has moved on."""
        self.looks += 1
        if self.end is not None:
            self.after_end += 1
        elif self.looks == 1 and self._is_turned_down(server):
            self.end = "failed"
        elif self.cancelling:
            # What was under way is finished: half of it, rounded down.
            self._work(server, "cancelled", 0.5)
        elif self.looks > server.polls + server.finalizing:
            end, share = server.ends.popleft() if server.ends else ("completed", 1.0)
            self._work(server, end, share)

    def _is_turned_down(self, server: BatchServer) -> bool:
        if server.invalid:
            self.turned_down = server.invalid.popleft()
        elif server.token_limit is not None and server.open_tokens() > server.token_limit:
            self.turned_down = (
                "Enqueued token limit reached for the model in organization org-x. Limit: "
                f"{server.token_limit:,} enqueued tokens. Please try again once some in_progress "
                "batches have been completed."
            )
        return bool(self.turned_down)

    def _work(self, server: BatchServer, end: str, share: float) -> None:
        self.end = end
        for custom_id, asked in self.lines[: int(len(self.lines) * share)]:
            fault = server.line_faults.popleft() if server.line_faults else ""
            if fault == "missing":
                continue
            if isinstance(fault, ApiError):
                self.done.append(Done(custom_id, error=fault))
                continue
            if isinstance(asked, ApiError):
                self.done.append(Done(custom_id, error=asked))
                continue
            error = _error(server, asked, fault)
            if error is not None:
                self.done.append(Done(custom_id, error=error))
                continue
            said = answer(asked, script=directive(asked))
            server.bill("batch", asked, said)
            if fault and (alter := FAULTS[fault].alter) is not None:
                alter(said)
            body = self.write(asked, said)
            # A line is JSON, so what spoils more than that has no place in it.
            if fault and (spoil := FAULTS[fault].spoil) is not None and is_json(spoil(body)):
                body = spoil(body)
            self.done.append(Done(custom_id, body))
        # In any order, as the vendors say.
        self.done.reverse()


def _error(server: BatchServer, asked: Ask, fault: str) -> ApiError | None:
    """The error that a line ends in, by cue or by the script in its prompt."""
    script = directive(asked)
    server.attempts[asked.body_hash] += 1
    if not fault and script is not None and script.fault is not None:
        attempt = server.attempts[asked.body_hash]
        fault = script.fault if script.times is None or attempt <= script.times else ""
    return FAULTS[fault].raises() if fault else None


def checked_ids(ids: list[str]) -> None:
    """Refuse custom ids that occur twice."""
    seen: set[str] = set()
    for custom_id in ids:
        if custom_id in seen:
            raise WebError(
                400, f"The custom_id {custom_id!r} is used twice.", "duplicate_custom_id"
            )
        seen.add(custom_id)
