"""The test server keeps the limits, fails in the ways and counts the things it says it does."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server, serve
from tests.server.faults import FAULTS

JSON = {"Content-Type": "application/json"}
DEFAULTS: dict[str, Any] = {
    "key": None,
    "models": {},
    "only_models": False,
    "allow": [],
    "rpm": None,
    "tpm": None,
    "limiter": "sliding",
    "minute": 60,
    "count_rejected": False,
    "retry_after": "right",
    "headers": False,
    "latency": 0,
    "hold": False,
    "faults": {},
    "bursts": [],
    "fault_retry_after": None,
    "drip_seconds": 0.001,
    "keep_alive": 0,
    "trace": False,
    "input_price": 0,
    "output_price": 0,
}


@pytest.fixture(scope="module")
def process() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def server(process: Server) -> Server:
    """The one server of this file, as good as new."""
    process.control(**DEFAULTS)
    process.reset()
    return process


class Reply:
    """Status, headers in small letters, and body of a reply."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> Any:
        return self.json["choices"][0]["message"]["content"]


def send(
    server: Server,
    body: Any,
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
    timeout: float = 5,
) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request("POST", path, data, JSON | (headers or {}))
        return Reply(connection.getresponse())
    finally:
        connection.close()


def chat(text: str = "Hello?", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


def script(directive: dict[str, Any], text: str = "Hello?") -> dict[str, Any]:
    return chat(f"{text} [[server: {json.dumps(directive)}]]")


# Limits, over the wire


def test_the_request_over_the_limit_gets_a_429_that_says_how_long(server: Server) -> None:
    server.control(rpm=2, limiter="bucket60", headers=True)
    first = send(server, chat())
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"] == "30s"
    send(server, chat())
    refused = send(server, chat())
    assert refused.status == 429
    assert refused.json["error"]["code"] == "rate_limit_exceeded"
    assert refused.json["error"]["type"] == "requests"
    assert 15 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    stats = server.stats()
    assert (stats["admitted"], stats["refused"], stats["rate_limited"]) == (2, 1, 1)


def test_tokens_count_as_the_larger_of_max_tokens_and_prompt(server: Server) -> None:
    server.control(tpm=1000, headers=True)
    left = send(server, chat("x" * 400, max_tokens=300)).headers["x-ratelimit-remaining-tokens"]
    assert left == "700"
    left = send(server, chat("x" * 2000, max_tokens=300)).headers["x-ratelimit-remaining-tokens"]
    assert left == "200"
    refused = send(server, chat(max_completion_tokens=300))
    assert (refused.status, refused.json["error"]["type"]) == (429, "tokens")
    too_large = send(server, chat(max_tokens=1001))
    assert too_large.json["error"]["message"].startswith("Request too large")
    assert "retry-after" not in too_large.headers


def test_failed_and_invalid_requests_count_towards_the_limit(server: Server) -> None:
    server.control(rpm=3)
    statuses = [
        send(server, script({"fault": "500"})).status,
        send(server, chat(temperature="hot")).status,
        send(server, chat()).status,
        send(server, chat()).status,
    ]
    assert statuses == [500, 400, 200, 429]


def test_each_model_has_its_own_limits_and_counts(server: Server) -> None:
    server.control(rpm=1, models={"small": {"rpm": 2}})
    wanted = {"gpt-4o-mini": [200, 429, 429], "small": [200, 200, 429]}
    for model, statuses in wanted.items():
        assert [send(server, chat() | {"model": model}).status for _ in range(3)] == statuses


@pytest.mark.parametrize("mode", ["none", "wrong", "past", "ms", "date", "huge"])
def test_retry_after_lies_as_told(server: Server, mode: str) -> None:
    server.control(rpm=1, retry_after=mode, limiter="bucket60")
    send(server, chat())
    refusals = [send(server, chat()) for _ in range(5)]
    given = [refused.headers.get("retry-after") for refused in refusals]
    if mode == "none":
        assert given == [None] * 5
    elif mode == "wrong":
        assert given == ["0", "-3", "soon", "nan", ""]
    elif mode == "ms":
        assert given == [None] * 5
        assert 55_000 < int(refusals[0].headers["retry-after-ms"]) <= 60_000
    elif mode == "huge":
        assert given == ["86400"] * 5
    else:
        assert given[0] is not None
        told = parsedate_to_datetime(given[0])
        waits = told - parsedate_to_datetime(refusals[0].headers["date"])
        assert (waits.total_seconds() >= 55) is (mode == "date")


def test_limits_changed_at_run_time_keep_what_was_counted(server: Server) -> None:
    server.control(rpm=2)
    assert [send(server, chat()).status for _ in range(3)] == [200, 200, 429]
    server.control(rpm=3)
    assert [send(server, chat()).status for _ in range(2)] == [200, 429]


# Requests


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"model": "gpt-5-mini", "max_tokens": 5}, "max_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"stream": True}, "stream"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_object"}}, "messages"),
        ({"max_token": 5}, "max_token"),
        ({"timeout": 5}, "timeout"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(
    server: Server, change: dict[str, Any], param: str
) -> None:
    reply = send(server, chat() | change)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["error"]["param"] == param


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "required": [],
            "additionalProperties": False,
        },
    ],
    ids=["open", "optional"],
)
def test_a_strict_schema_must_be_closed_and_complete(
    server: Server, schema: dict[str, Any]
) -> None:
    form = {"name": "reply", "strict": True, "schema": schema}
    reply = send(server, chat(response_format={"type": "json_schema", "json_schema": form}))
    assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_json_schema")


def test_what_is_no_request_at_all_is_refused(server: Server) -> None:
    server.control(key="sk-right")
    right = {"Authorization": "Bearer sk-right"}
    assert send(server, b'{"model": ', headers=right).status == 400
    assert send(server, chat(), path="/v1/completions", headers=right).status == 404
    assert send(server, chat(), headers=right | {"Content-Type": "text/plain"}).status == 415
    assert send(server, chat()).json["error"]["code"] == "invalid_api_key"
    assert send(server, chat(), headers={"Authorization": "Bearer sk-wrong"}).status == 401
    assert send(server, chat(), headers=right).status == 200
    with pytest.raises(RuntimeError, match="405"):
        server.request("GET", "/v1/chat/completions")


def test_a_foreign_parameter_passes_when_allowed(server: Server) -> None:
    body = chat(usage={"include": True})
    assert send(server, body).json["error"]["code"] == "unknown_parameter"
    server.control(allow=["usage"])
    assert send(server, body).status == 200
    assert server.log(1)[0]["body"] == body


def test_only_known_models_answer_when_told(server: Server) -> None:
    server.control(models={"small": {}}, only_models=True)
    assert send(server, chat()).json["error"]["code"] == "model_not_found"
    assert send(server, chat() | {"model": "small"}).status == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /v1/chat/completions HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"POST /v1/chat/completions HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nBad name: x\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\n"
            b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
    ],
)
def test_bytes_that_are_no_request_end_the_connection(
    server: Server, raw: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(raw)
        received = b""
        while data := sock.recv(4096):
            received += data
    assert received.startswith(b"HTTP/1.1 %d " % status)


def test_requests_in_chunks_in_pieces_and_in_a_row_are_read(server: Server) -> None:
    body = json.dumps(chat()).encode()
    top = b"POST /chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    plain = top + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = b"5;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    chunked = top + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    last = plain.replace(b"Host: a", b"Host: a\r\nConnection: close")
    sent = plain + chunked + last
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), 7):
            sock.sendall(sent[at : at + 7])
        received = b""
        while data := sock.recv(4096):
            received += data
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert server.stats()["successes"] == 3


def test_expect_100_continue_is_answered_before_the_body(server: Server) -> None:
    body = json.dumps(chat()).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(
            b"POST /chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert sock.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 OK")


# Answers


def test_the_same_messages_get_the_same_text_and_others_another(server: Server) -> None:
    texts = [send(server, chat(question)).text for question in ("a?", "b?", "a?")]
    assert texts[0] == texts[2] != texts[1]


def test_usage_is_a_quarter_of_the_characters(server: Server) -> None:
    reply = send(server, chat("x" * 41))
    usage = reply.json["usage"]
    assert usage["prompt_tokens"] == 10
    assert usage["completion_tokens"] == max(1, len(reply.text) // 4)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_max_tokens_cuts_the_answer(server: Server) -> None:
    reply = send(server, chat(max_tokens=2))
    assert len(reply.text) == 8
    assert reply.json["choices"][0]["finish_reason"] == "length"
    assert reply.json["usage"]["completion_tokens"] == 2
    assert server.stats()["unusable"] == 1


SCHEMA = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "label": {"enum": ["good", "bad"]},
        "reason": {"type": "string", "minLength": 40, "maxLength": 50},
        "sure": {"type": "boolean"},
        "notes": {"type": "array", "items": {"$ref": "#/$defs/note"}, "minItems": 2},
    },
    "required": ["score", "share", "label", "reason", "sure", "notes"],
    "additionalProperties": False,
    "$defs": {"note": {"anyOf": [{"type": "null"}, {"const": "x"}]}},
}


def test_a_schema_gets_a_valid_object_that_depends_on_the_messages(server: Server) -> None:
    form = {"name": "verdict", "strict": True, "schema": SCHEMA}
    wanted = {"type": "json_schema", "json_schema": form}
    texts = [send(server, chat(f"{n}?", response_format=wanted)).text for n in range(20)]
    assert len(set(texts)) == 20
    for value in map(json.loads, texts):
        assert set(value) == set(SCHEMA["properties"])  # type: ignore[call-overload]
        assert type(value["score"]) is int
        assert 1 <= value["score"] <= 5
        assert 0 <= value["share"] < 1
        assert value["label"] in ("good", "bad")
        assert 40 <= len(value["reason"]) <= 50
        assert type(value["sure"]) is bool
        assert len(value["notes"]) >= 2
        assert set(value["notes"]) <= {None, "x"}
    assert {json.loads(text)["score"] for text in texts} == {1, 2, 3, 4, 5}


# Scripts in the prompt


def test_a_script_sets_text_usage_and_times(server: Server) -> None:
    body = script({"fault": "503", "times": 2, "reply": {"score": 5}, "retry_after": "7"})
    first = send(server, body)
    assert (first.status, first.headers["retry-after"]) == (503, "7")
    assert send(server, body).status == 503
    assert json.loads(send(server, body).text) == {"score": 5}
    assert "usage" not in send(server, script({"usage": None})).json
    told = {"prompt_tokens": 1000, "completion_tokens": 50}
    assert send(server, script({"usage": told})).json["usage"] == told
    assert server.stats()["faults"] == {"503": 2}


def test_a_script_for_another_model_is_not_obeyed(server: Server) -> None:
    body = script({"fault": "500", "model": "judge"})
    assert send(server, body).status == 200
    assert send(server, body | {"model": "judge"}).status == 500


@pytest.mark.parametrize(
    "text",
    ['[[server: {"fault": "reste"}]]', '[[server: {"falt": "reset"}]]', "[[server: reset]]"],
)
def test_a_script_with_a_mistake_is_an_error(server: Server, text: str) -> None:
    assert send(server, chat(text)).status == 400


# Faults


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.error])
def test_an_error_fault_has_its_status_in_openais_shape_and_costs_nothing(
    server: Server, name: str
) -> None:
    reply = send(server, script({"fault": name}))
    wanted = FAULTS[name].raises()
    assert wanted is not None
    assert reply.status == wanted.status
    if page := FAULTS[name].page:
        assert reply.body == page
    else:
        assert reply.json["error"]["code"] == wanted.code
    stats = server.stats()
    assert stats["billed"]["replies"] == stats["successes"] == 0
    assert stats["by_status"] == {str(wanted.status): 1}


@pytest.mark.parametrize("name", ["malformed_json", "truncated_json", "html"])
def test_a_spoiled_body_is_complete_but_not_json(server: Server, name: str) -> None:
    reply = send(server, script({"fault": name}))
    assert reply.status == 200
    assert int(reply.headers["content-length"]) == len(reply.body) > 0
    with pytest.raises(ValueError, match="."):
        json.loads(reply.body)
    assert reply.headers["content-type"].startswith("text/html") is (name == "html")
    assert server.stats()["unusable"] == 1


def test_answers_without_an_answer_are_billed_but_no_success(server: Server) -> None:
    def choice(name: str) -> Any:
        return send(server, script({"fault": name})).json["choices"][0]

    assert send(server, script({"fault": "empty_choices"})).json["choices"] == []
    assert choice("null_content")["message"]["content"] is None
    assert choice("content_filter")["finish_reason"] == "content_filter"
    assert choice("length")["finish_reason"] == "length"
    reasoned = send(server, script({"fault": "reasoning_only"}))
    usage = reasoned.json["usage"]
    assert reasoned.text is None
    assert usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"]
    assert "error" in send(server, script({"fault": "error_in_200"})).json
    stats = server.stats()
    assert (stats["unusable"], stats["billed"]["replies"], stats["successes"]) == (6, 6, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("usage_huge", 10**12), ("usage_negative", -5), ("usage_strings", "many")],
)
def test_absurd_usage_is_told_but_the_true_one_billed(
    server: Server, name: str, value: Any
) -> None:
    reply = send(server, script({"fault": name}))
    assert reply.json["usage"]["prompt_tokens"] == value
    billed = server.stats()["billed"]
    assert 1 <= billed["input_tokens"] < 100
    assert 1 <= billed["output_tokens"] < 100


def test_usage_can_be_missing_from_a_whole_answer(server: Server) -> None:
    assert "usage" not in send(server, script({"fault": "usage_missing"})).json
    assert server.stats()["successes"] == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("reset", ConnectionResetError),
        ("reset_mid_body", ConnectionResetError),
        ("close_mid_body", http.client.IncompleteRead),
        ("close_before", http.client.RemoteDisconnected),
    ],
)
def test_a_broken_connection_breaks_where_it_says_and_is_billed_unseen(
    server: Server, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        send(server, script({"fault": name}))
    stats = server.stats()
    assert stats["by_status"] == {name: 1}
    assert stats["billed"]["replies"] == stats["billed_unseen"]["replies"] == 1
    assert stats["successes"] == stats["unusable"] == stats["in_flight"] == 0


def test_the_middle_of_the_body_arrives_before_its_reset(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    body = json.dumps(script({"fault": "reset_mid_body"}))
    connection.request("POST", "/chat/completions", body, JSON)
    response = connection.getresponse()
    assert response.status == 200
    with pytest.raises(ConnectionResetError):
        response.read()
    connection.close()


def test_a_hanging_request_never_answers_and_a_slow_one_may_be_abandoned(server: Server) -> None:
    with pytest.raises(TimeoutError):
        send(server, script({"fault": "hang"}), timeout=0.1)
    with pytest.raises(TimeoutError):
        send(server, script({"fault": "slow", "latency": 3}), timeout=0.1)
    with pytest.raises(TimeoutError):
        send(server, script({"latency": 30}), timeout=0.1)
    # Its own requests come after the ends of the others' connections.
    stats = server.stats()
    assert stats["by_status"] == {"hang": 1, "abandoned": 2}
    assert stats["billed_unseen"]["replies"] == 3


def test_answers_that_are_held_back_come_when_they_are_let_go(server: Server) -> None:
    server.control(hold=True)
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(send, server, chat(f"{n}?"), timeout=60) for n in (1, 2, 3)]
        while server.stats()["in_flight"] < 3:
            assert not any(each.done() for each in sent)
        assert server.stats()["successes"] == 0 and not any(each.done() for each in sent)
        server.control(hold=False)
        assert [each.result().status for each in sent] == [200] * 3


@pytest.mark.parametrize("name", ["drip", "drip_headers"])
def test_a_dripping_reply_comes_byte_by_byte_and_whole(server: Server, name: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        body = json.dumps(script({"fault": name})).encode()
        sock.sendall(
            b"POST /chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        pieces = list(iter(lambda: sock.recv(4096), b""))
    received = b"".join(pieces)
    assert json.loads(received.partition(b"\r\n\r\n")[2])["object"] == "chat.completion"
    dripping = received.partition(b"\r\n\r\n")[2 if name == "drip" else 0]
    # Not one for one: a reader that was late finds several bytes at once.
    assert len(pieces) > len(dripping) / 50
    assert server.stats()["successes"] == 1


def test_chunked_and_gzip_replies_hold_the_same_answer(server: Server) -> None:
    plain = send(server, chat()).json
    chunked = send(server, script({"fault": "chunked", "reply": plain}))
    assert chunked.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in chunked.headers
    assert json.loads(chunked.text) == plain
    packed = send(server, script({"fault": "gzip"}), headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.body))["object"] == "chat.completion"
    # The standard client asks for no coding at all.
    assert send(server, script({"fault": "gzip"})).json["object"] == "chat.completion"


def test_a_connection_closes_with_or_without_notice(server: Server) -> None:
    for name, told in (("close", "close"), ("close_silently", None)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("POST", "/chat/completions", json.dumps(script({"fault": name})), JSON)
        reply = Reply(connection.getresponse())
        assert (reply.status, reply.headers.get("connection")) == (200, told)
        if told is None:
            assert connection.sock.recv(1) == b""
        connection.close()


def test_an_idle_connection_is_closed_when_told(server: Server) -> None:
    server.control(keep_alive=0.05)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        assert sock.recv(1) == b""


def test_chance_follows_the_seed_and_not_the_order(server: Server) -> None:
    def run(order: list[int], seed: int) -> dict[int, int]:
        server.control(faults={"500": 0.3, "usage_missing": 0.2}, seed=seed)
        server.reset()
        return {n: send(server, chat(f"{n}?")).status for n in order}

    numbers = list(range(200))
    forward = run(numbers, 1)
    assert 30 <= sum(status == 500 for status in forward.values()) <= 90
    assert 15 <= server.stats()["faults"]["usage_missing"] <= 65
    assert run(numbers[::-1], 1) == forward
    assert run(numbers, 2) != forward


def test_a_burst_strikes_between_its_seconds_with_retry_after(server: Server) -> None:
    server.control(bursts=[{"fault": "503", "start": 0, "end": 3600}], fault_retry_after=2)
    reply = send(server, chat())
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    server.control(bursts=[{"fault": "503", "start": 3600, "end": 3601}])
    assert send(server, chat()).status == 200


# Counters, log, control


def test_duplicates_are_successes_beyond_the_first_of_a_body(server: Server) -> None:
    failing = script({"fault": "500", "times": 1})
    for body in (chat("a"), chat("b"), chat("a"), failing, failing):
        send(server, body)
    spaced = json.dumps(chat("b"), indent=4).encode()
    send(server, spaced)
    stats = server.stats()
    assert stats["successes"] == 5
    assert sorted(stats["successes_by_body"].values()) == [1, 2, 2]
    assert stats["duplicates"] == 2
    assert stats["by_status"] == {"200": 5, "500": 1}


def test_the_bill_is_tokens_times_the_price_of_each_model(server: Server) -> None:
    server.control(input_price=1, output_price=2, models={"small": {"input": 0.5}})
    usage = {"usage": {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}}
    send(server, script(usage))
    send(server, script(usage) | {"model": "small"})
    billed = server.stats()["billed"]
    assert billed["by_model"]["gpt-4o-mini"]["usd"] == pytest.approx(1.2)
    assert billed["by_model"]["small"]["usd"] == pytest.approx(0.7)
    assert billed["usd"] == pytest.approx(1.9)
    assert (billed["input_tokens"], billed["output_tokens"]) == (2_000_000, 200_000)


def test_concurrency_and_arrivals_are_counted(server: Server) -> None:
    server.control(trace=True, rpm=8)
    body = json.dumps(script({"fault": "hang"})).encode()
    connections = [
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=5) for _ in range(10)
    ]
    for connection in connections:
        connection.request("POST", "/chat/completions", body, JSON)
    while (stats := server.stats())["requests"] < 10:
        pass
    for connection in connections:
        connection.close()
    assert stats["by_status"] == {"429": 2}
    assert stats["in_flight"] == 8
    assert stats["peak_in_flight"] >= 8
    assert sum(stats["admissions_per_second"]) == stats["admitted"] == 8
    assert stats["first_admission"] <= stats["last_admission"]
    assert [passed for _, passed, _, _ in stats["arrivals"]] == [True] * 8 + [False] * 2
    while server.stats()["in_flight"]:
        pass
    assert server.stats()["by_status"] == {"429": 2, "hang": 8}


def test_the_log_shows_requests_as_received(server: Server) -> None:
    send(server, chat("first"))
    send(server, chat("second"), path="/a/b/chat/completions?x=1", headers={"X-Test": "yes"})
    last = server.log(1)
    assert len(last) == 1
    assert last[0]["method"] == "POST"
    assert (last[0]["path"], last[0]["query"]) == ("/a/b/chat/completions", "x=1")
    assert last[0]["headers"]["x-test"] == "yes"
    assert last[0]["body"] == chat("second")
    assert len(server.log()) == 2


def test_a_reset_zeroes_counters_limits_and_log(server: Server) -> None:
    server.control(rpm=1)
    assert [send(server, chat()).status for _ in range(2)] == [200, 429]
    server.reset()
    assert (server.stats()["requests"], server.log()) == (0, [])
    assert send(server, chat()).status == 200


@pytest.mark.parametrize(
    "change", [{"rmp": 5}, {"rpm": "many"}, {"faults": {"x": 1}}, {"faults": {"500": 2}}]
)
def test_a_wrong_setting_is_refused_and_changes_nothing(
    server: Server, change: dict[str, Any]
) -> None:
    before = server.control()
    with pytest.raises(RuntimeError, match="400"):
        server.control(**change)
    assert server.control() == before


def test_flags_reach_the_settings_and_a_wrong_one_is_an_error() -> None:
    flags = "--key sk --rpm 5 --model a:b:rpm=1,input=2 --model c --fault 500=0.1 --burst reset:1:2"
    with serve(*flags.split(), "--headers", "--retry-after", "ms") as server:
        settings = server.control()
    assert (settings["key"], settings["rpm"], settings["headers"]) == ("sk", 5, True)
    assert settings["retry_after"] == "ms"
    assert settings["models"]["a:b"]["rpm"] == 1
    assert set(settings["models"]) == {"a:b", "c"}
    assert settings["faults"] == {"500": 0.1}
    assert settings["bursts"] == [{"fault": "reset", "start": 1, "end": 2}]
    with pytest.raises(RuntimeError, match="did not start"):
        serve("--fault", "nonsense=0.5")


def test_the_server_ends_with_the_process_that_started_it() -> None:
    code = "import os; from tests.server import serve; serve(); os._exit(0)"
    # The server holds the other end of standard error: reading it to its end waits for the
    # server, and runs into the timeout if that stays.
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        timeout=10,
    )
    assert done.stderr == b""


# Other providers


def ask_as(provider: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    turn = {"role": "user", "content": "Hello?"}
    asks: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
        "anthropic": (
            "/v1/messages",
            {"model": "claude", "max_tokens": 99, "messages": [turn]},
            {"x-api-key": "sk", "anthropic-version": "2023-06-01"},
        ),
        "gemini": (
            "/v1beta/models/gemini-x:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]},
            {"x-goog-api-key": "sk"},
        ),
        "ollama": (
            "/api/chat",
            {"model": "llama", "messages": [turn], "stream": False},
            {"Authorization": "Bearer sk"},
        ),
        "bytez": (
            "/models/v2/Qwen%2FQwen3",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}]},
            {"Authorization": "Key sk"},
        ),
    }
    return asks[provider]


def text_of(provider: str, reply: Any) -> str:
    text: str = {
        "anthropic": lambda: reply["content"][0]["text"],
        "gemini": lambda: reply["candidates"][0]["content"]["parts"][0]["text"],
        "ollama": lambda: reply["message"]["content"],
        "bytez": lambda: reply["output"]["content"][0]["text"],
    }[provider]()
    return text


PROVIDERS = ["anthropic", "gemini", "ollama", "bytez"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_format_gets_the_same_answer_to_the_same_messages(
    server: Server, provider: str
) -> None:
    server.control(key="sk")
    wanted = send(server, chat(), headers={"Authorization": "Bearer sk"}).text
    path, body, headers = ask_as(provider)
    assert text_of(provider, send(server, body, path, headers).json) == wanted
    assert send(server, body, path).status in (400, 401)
    stats = server.stats()
    assert stats["providers"][provider] == 2
    assert stats["successes"] == 2


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "name", ["null_content", "empty_choices", "length", "reasoning_only", "usage_missing", "500"]
)
def test_every_format_has_its_words_for_every_kind_of_fault(
    server: Server, provider: str, name: str
) -> None:
    path, body, headers = ask_as(provider)
    text = json.dumps(f'Hello? [[server: {{"fault": "{name}"}}]]')
    scripted = json.loads(json.dumps(body).replace('"Hello?"', text))
    reply = send(server, scripted, path, headers)
    assert reply.status == (500 if name == "500" else 200)
    assert reply.json.get("error") is not None if name == "500" else not reply.json.get("error")
    assert server.stats()["successes"] == (name == "usage_missing")


def test_a_forced_tool_is_called_with_a_valid_object(server: Server) -> None:
    path, body, headers = ask_as("anthropic")
    tool = {"name": "answer", "input_schema": SCHEMA}
    body |= {"tools": [tool], "tool_choice": {"type": "tool", "name": "answer"}}
    reply = send(server, body, path, headers).json
    assert reply["content"][0]["name"] == "answer"
    assert 1 <= reply["content"][0]["input"]["score"] <= 5


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("value", [None, 5, "x", [], [5], {"a": 1}])
def test_no_body_however_odd_breaks_the_server(server: Server, provider: str, value: Any) -> None:
    path, body, headers = ask_as(provider)
    for name in (*body, "tool_choice", "output_config", "generationConfig", "options", "params"):
        assert send(server, body | {name: value}, path, headers).status in (200, 400)
    assert send(server, value, path, headers).status == 400
