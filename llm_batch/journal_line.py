"""A line of the journal: one finished call, as it is written and read back.

Every key it has::

    {"schema": 1, "key": "9f…", "item": "geo-001", "step": "generate", "model": "gpt-4",
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

import msgspec

from llm_batch.records import SCHEMA, Attempt, Call, Completion, Request

_encoder = msgspec.json.Encoder()


class Head(msgspec.Struct):
    """What opening a journal needs of a line."""

    schema: int
    key: str
    ok: bool
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
        head = _head_decoder.decode(line)
        short(head.key)
    except ValueError:  # that of msgspec, of a wrong encoding and of a key that is no number
        return None
    return head


def answer_in(line: bytes, request: Request) -> Call | None:
    """The call in a line, if it is the answer to this request."""
    try:
        found = _line_decoder.decode(line)
    except ValueError:
        return None  # edited by hand: its head could be read and the rest cannot
    if found.key != request.key or found.completion is None:
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
