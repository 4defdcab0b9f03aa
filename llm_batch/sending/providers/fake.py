"""Scripted answers for tests, documentation and rehearsals; marked as simulated in every output.

Without a script a reply is made up from the request: the same request always gets the same words,
and a request for an object gets one that fits its schema. Latency and faults come on cue.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.chain.options import Model
from llm_batch.errors import ConfigError, ProviderError, Unavailable
from llm_batch.records import Completion, Request, Usage
from llm_batch.sending.providers import Reply, too_slow

#: What a function or script may answer with: words, a whole completion, or an error to raise.
Answer = str | Completion | ProviderError

_WORDS = [
    *("a", "simulated", "answer", "says", "little", "about", "the", "world", "but", "has", "the"),
    *("length", "of", "a", "real", "one", "and", "so", "shows", "how", "much", "work", "a"),
    *("chain", "makes", "before", "any", "of", "it", "is", "paid", "for"),
]
#: A token in made-up words, as in English.
_CHARACTERS_PER_TOKEN = 4


class FakeProvider:
    """Answers from a function, answers in turn (the last one for ever), or made-up words.

    The share ``error_rate`` of attempts fails with a 503, chosen by the request's key.
    """

    vendor = "fake"
    on_this_machine = True
    simulated = True

    def __init__(
        self,
        answer: Callable[[Request], Answer] | Sequence[Answer] | None = None,
        *,
        latency_seconds: float = 0.0,
        error_rate: float = 0.0,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if answer is not None and not callable(answer) and not answer:
            raise ValueError("a script needs at least one answer")
        self._answer = answer
        self._sleep = sleep
        self._latency_seconds = latency_seconds
        self._error_rate = error_rate
        self._headers = dict(headers or {})
        self._lock = threading.Lock()
        self._given = 0
        self._seen: dict[str, int] = {}
        #: Every request that was answered or refused, in order, when answers are scripted.
        self.requests: list[Request] = []

    @classmethod
    def from_settings(cls, model: str, settings: Model) -> FakeProvider:
        """As ``[models."fake/…"]`` says. A script is a JSONL file of strings, given in turn."""
        answer = _from_script(model, settings.script) if settings.script else None
        return cls(answer, latency_seconds=settings.latency, error_rate=settings.error_rate)

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        if self._latency_seconds:
            self._sleep(min(self._latency_seconds, timeout_seconds))
            if self._latency_seconds > timeout_seconds:
                raise too_slow(timeout_seconds)
        if self._error_rate:
            self._fail_at_times(request)
        if self._answer is None:
            return Reply(_made_up_completion(request), self._headers)
        answer = self._next(request, self._answer)
        if isinstance(answer, ProviderError):
            raise answer
        if isinstance(answer, str):
            answer = Completion(answer, request.model, "stop", _usage(request, answer))
        return Reply(answer, self._headers)

    def close(self) -> None: ...

    def _next(
        self, request: Request, answers: Callable[[Request], Answer] | Sequence[Answer]
    ) -> Answer:
        with self._lock:
            self.requests.append(request)
            turn = self._given
            self._given += 1
        return answers(request) if callable(answers) else answers[min(turn, len(answers) - 1)]

    def _fail_at_times(self, request: Request) -> None:
        with self._lock:
            attempt = self._seen.get(request.key, 0) + 1
            self._seen[request.key] = attempt
        if random.Random(f"{request.key} {attempt}").random() < self._error_rate:
            raise Unavailable("simulated fault", status_code=503)
        with self._lock:
            self._seen.pop(request.key, None)


def _made_up_completion(request: Request) -> Completion:
    text, reason = made_up(request), "stop"
    cap = request.max_tokens
    if cap is not None and _tokens(text) > cap:
        text, reason = text[: _CHARACTERS_PER_TOKEN * cap], "length"
    return Completion(text, request.model, reason, _usage(request, text), f"fake-{request.key}")


def made_up(request: Request) -> str:
    """Words or an object, the same for the same request."""
    number = int(request.key[:12], 16)
    wanted = request.params.get("response_format", {})
    if wanted.get("type") == "json_schema":
        properties = wanted["json_schema"]["schema"].get("properties", {})
        pick = random.Random(number)
        fields = {name: _value(schema, pick) for name, schema in properties.items()}
        return msgspec.json.encode(fields).decode()
    length = 5 + number % 20
    start = number % len(_WORDS)
    words = " ".join((_WORDS * 2)[start : start + length])
    if wanted.get("type") == "json_object":
        return msgspec.json.encode({"answer": words}).decode()
    return words


def _value(schema: Mapping[str, Any], pick: random.Random) -> Any:
    if "enum" in schema:
        return pick.choice(schema["enum"])
    if schema["type"] == "boolean":
        return pick.random() < 0.5
    if schema["type"] not in ("integer", "number"):
        return "simulated"
    low, high = schema.get("minimum"), schema.get("maximum")
    span = 10 if schema["type"] == "integer" else 1.0
    if low is None:
        low = 0 if high is None else min(0, high - span)
    if high is None:
        high = low + span
    if schema["type"] == "integer":
        return pick.randint(int(low), int(high))
    return float(min(high, max(low, round(pick.uniform(low, high), 3))))


def _tokens(text: str) -> int:
    return max(1, -(-len(text) // _CHARACTERS_PER_TOKEN))


def _usage(request: Request, text: str) -> Usage:
    return Usage(_tokens("".join(message.content for message in request.messages)), _tokens(text))


def _from_script(model: str, path: str) -> Callable[[Request], Answer]:
    try:
        lines = Path(path).read_bytes().splitlines()
        replies = [msgspec.json.decode(line, type=str) for line in lines if line.strip()]
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"model {model!r}: cannot read the script {path}: {error}") from error
    if not replies:
        raise ConfigError(f"model {model!r}: the script {path} has no lines")
    turn = itertools.count()
    return lambda request: replies[next(turn) % len(replies)]
