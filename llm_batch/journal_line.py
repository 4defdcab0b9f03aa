"""A line of the journal: one finished call, as it is written and read back.

Every key it has::

    {"schema": 2, "key": "9f…", "item": "geo-001", "step": "generate", "model": "gpt-4",
     "sample": 0, "ok": true, "cost": 0.0012, "worst_case": false, "simulated": false,
     "attempts": [{"number": 1, "started_at": 1795470050.1, "seconds": 0.8, "error": "",
                   "maybe_billed": false}],
     "completion": {"text": "…", "model": "gpt-4-0613", "finish_reason": "stop",
                    "usage": {"input_tokens": 40, …}, "response_id": "…",
                    "reported_cost": null},
     "failure": null, "list_cost": null}

``cost`` is what is booked: where the provider reports a cost, the larger of that and
``list_cost``. Older lines have neither of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from llm_batch.records import (
    SCHEMA,
    Attempt,
    Call,
    Completion,
    Request,
    is_key_before,
    without_mark,
)

_encoder = msgspec.json.Encoder()


class Head(msgspec.Struct):
    """What opening a journal needs of a line."""

    schema: int
    key: str
    ok: bool
    step: str = ""
    cost: float | None = None
    worst_case: bool = False


class _Line(msgspec.Struct):
    """What answering a request from the journal needs of a line."""

    key: str
    attempts: tuple[Attempt, ...]
    completion: Completion | None = None
    cost: float | None = None
    worst_case: bool = False
    simulated: bool = False
    list_cost: float | None = None


_head_decoder = msgspec.json.Decoder(Head)
_line_decoder = msgspec.json.Decoder(_Line)


def encode_call(call: Call) -> bytes:
    """A call as a line, newline included."""
    request = call.request
    record = {
        "schema": SCHEMA,
        "key": request.key,
        "item": request.item_id,
        "step": request.step,
        "model": request.model,
        "sample": request.sample,
        "ok": call.completion is not None,
        "cost": call.cost,
        "worst_case": call.worst_case,
        "simulated": call.simulated,
        "attempts": call.attempts,
        "completion": call.completion,
        "failure": call.failure,
        "list_cost": call.list_cost,
    }
    return _encoder.encode(record) + b"\n"


def head_of(line: bytes) -> Head | None:
    """The head of a line; ``None`` when the line is damaged."""
    try:
        head = _head_decoder.decode(without_mark(line))
        short(head.key)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, no key; nested too deep
        return None
    return head


def answer_in(line: bytes, request: Request, key: str) -> Call | None:
    """The call in a line, if it is the answer to this request, which has this key there."""
    try:
        found = _line_decoder.decode(without_mark(line))
    except (ValueError, RecursionError):
        return None  # edited by hand: its head could be read and the rest cannot
    if found.key != key or found.completion is None:
        return None
    return Call(
        request,
        found.attempts,
        completion=found.completion,
        cost=found.cost,
        worst_case=found.worst_case,
        simulated=found.simulated,
        list_cost=found.list_cost,
    )


def short(key: str) -> int:
    """The beginning of a key as a number: 60 bits tell a million requests apart.

    Raises:
        ValueError: It is not a key.
    """
    return int(key[:15], 16)


class Places:
    """Where in a journal each answered request lies.

    In schema 1 the name of the step was part of a key, so such keys are tried under every name
    the journal has.
    """

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}
        self._names: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, key: str) -> bool:
        return short(key) in self._offsets

    def put(self, key: str, step: str, offset: int) -> None:
        """The newest answer to a request lies here."""
        self._offsets[short(key)] = offset
        if is_key_before(key):
            self._names[step] = None

    def answer(self, request: Request, line_at: Callable[[int], bytes]) -> Call | None:
        """The call that answered a request, read from its line; ``None`` if none did."""
        for key in self._keys(request):
            line = line_at(self._offsets[short(key)])
            if (call := answer_in(line, request, key)) is not None:
                return call
        return None

    def _keys(self, request: Request) -> Iterator[str]:
        if request.key in self:
            yield request.key
        if not self._names:
            return
        # Steps that send the same were told apart by their names, which are in the chain's order.
        found = [key for key in map(request.key_before, self._names) if key in self]
        yield from found[request.sample : request.sample + 1]
