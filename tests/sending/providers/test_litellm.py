"""The way through litellm: every vendor's format, told apart by what came over the wire."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from llm_batch.chain.options import Model
from llm_batch.errors import ConfigError, RateLimited, Refused, Timeout, Unavailable
from llm_batch.records import PDF, Image, Parts, Request, Usage
from llm_batch.sending.providers import Provider, make_provider
from tests.sending.providers.asking import SCHEMA, ask, at_once, faulty, scripted
from tests.sending.providers.faults import (
    ENDLESS,
    ERRORS,
    NO_USAGE,
    ODD_ACCOUNTS,
    ODD_ANSWERS,
    ODD_SHAPES,
    OPENAI_ANSWERS,
    OPENAI_ERRORS,
    THOUGHTS,
    WHOLE_ANSWERS,
)
from tests.sending.providers.servers import CERTIFICATE, answering, closed_port, greeted, tunnelling
from tests.server import Server

pytestmark = [
    pytest.mark.litellm,
    # Of litellm's own code; the provider silences them, and pytest unsilences them.
    pytest.mark.filterwarnings(r"ignore:Items? '.*' on TypedDict class"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]

#: By vendor: a model, what follows the server's URL in api_base, and the path that is called.
VENDORS = {
    "openai": ("openai/m1", "/v1", "/v1/chat/completions"),
    "openrouter": ("openrouter/org/m1", "/v1", "/v1/chat/completions"),
    "hosted_vllm": ("hosted_vllm/m1", "/v1", "/v1/chat/completions"),
    "anthropic": ("anthropic/claude-sonnet-4-5", "", "/v1/messages"),
    "gemini": ("gemini/gemini-2.5-pro", "/v1beta", "/v1beta/models/gemini-2.5-pro:generateContent"),
    "ollama": ("ollama/m1", "", "/api/generate"),
    "ollama_chat": ("ollama_chat/m1", "", "/api/chat"),
    "azure": ("azure/m1", "", "/openai/deployments/m1/chat/completions"),
    "bytez": ("bytez/org/m1", "", "/models/v2/org/m1"),
}
#: Vendors whose errors have no code, so that an empty account looks like a busy one.
NO_CODES = ("anthropic", "gemini", "ollama", "ollama_chat", "bytez")

Make = Callable[..., Provider]


@pytest.fixture
def make(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes providers that go through litellm, to the test server unless told otherwise."""
    monkeypatch.setenv("THE_KEY", "k1")
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    made: list[Provider] = []

    def build(vendor: str = "openai", workers: int = 4, **settings: Any) -> Provider:
        model, suffix, _ = VENDORS[vendor]
        settings = {"api_base": server.url + suffix, **settings}
        settings = {"api_key_env": "THE_KEY", "transport": "litellm", **settings}
        made.append(make_provider(model, Model(**settings), workers))
        return made[-1]

    yield build
    for provider in made:
        provider.close()


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_answer_of_any_vendor_is_read_whole(vendor: str, make: Make, server: Server) -> None:
    reply = make(vendor).complete(ask(max_tokens=100, temperature=0.5), 30)
    completion = reply.completion
    assert len(completion.text.split()) == 12
    assert completion.finish_reason == "stop"
    assert completion.model == VENDORS[vendor][0].partition("/")[2]
    assert completion.response_id
    paths = [sent["path"] for sent in server.log()]
    assert paths == [VENDORS[vendor][2]]
    [sent] = server.log()
    assert "k1" in repr((sent["headers"], sent["query"]))
    billed = server.stats()["billed"]
    if vendor == "bytez":  # says nothing of tokens; litellm makes numbers up
        assert completion.usage is None
    else:
        assert completion.usage == Usage(billed["input_tokens"], billed["output_tokens"])


@pytest.mark.parametrize("vendor", VENDORS)
def test_max_tokens_reaches_every_vendor_and_a_cut_answer_says_so(
    vendor: str, make: Make, server: Server
) -> None:
    completion = make(vendor).complete(ask(max_tokens=3), 30).completion
    assert len(completion.text) == 12
    # Bytez does not say why it stopped.
    assert completion.finish_reason == ("stop" if vendor == "bytez" else "length")


@pytest.mark.parametrize("vendor", [name for name in VENDORS if name != "bytez"])
def test_a_schema_is_kept_by_every_vendor_that_takes_one(vendor: str, make: Make) -> None:
    provider = make(vendor, structured="json_schema")
    request = ask("Reply as JSON.", max_tokens=100, response_format=SCHEMA)
    made = msgspec.json.decode(provider.complete(request, 30).completion.text)
    assert set(made) == {"score", "reason"}
    assert type(made["score"]) is int  # Anthropic takes no bounds


def test_a_vendor_without_schemas_is_asked_in_words(make: Make, server: Server) -> None:
    make("bytez").complete(ask("Reply as JSON.", response_format=SCHEMA), 30)
    assert "response_format" not in repr(server.log()[0]["body"])


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_answer_beside_what_has_no_floor_is_read(vendor: str, make: Make) -> None:
    completion = make(vendor).complete(faulty("deep"), 30).completion
    assert len(completion.text.split()) == 12 and completion.finish_reason == "stop"
    assert completion.usage is not None or vendor == "bytez"  # which says nothing of tokens


@pytest.mark.parametrize(
    "fault",
    [*ERRORS, *OPENAI_ERRORS, *WHOLE_ANSWERS, *ODD_ANSWERS, *OPENAI_ANSWERS, *NO_USAGE]
    + [*ODD_SHAPES, *ODD_ACCOUNTS, *THOUGHTS],
)
def test_an_openai_server_is_read_as_the_direct_provider_reads_it(
    fault: str, make: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for transport in ("direct", "litellm"):
        try:
            completion = make(transport=transport).complete(faulty(fault), 30).completion
            seen.append((completion,))
        except (Unavailable, Refused, Exception) as error:
            seen.append((type(error), error.kind, error.status_code, error.maybe_billed))  # type: ignore[attr-defined]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("vendor", ["openai", "openrouter"])
def test_an_answer_that_litellm_stumbles_over_is_kept_without_its_bill(
    vendor: str, make: Make
) -> None:
    completion = make(vendor).complete(faulty("usage_strings"), 30).completion
    assert completion.text and completion.usage is None


def of_anthropic(word: str, text: str | None) -> dict[str, Any]:
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "m1",
        "content": [] if text is None else [{"type": "text", "text": text}],
        "stop_reason": word,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def of_gemini(word: str, text: str | None) -> dict[str, Any]:
    content = {} if text is None else {"content": {"role": "model", "parts": [{"text": text}]}}
    return {
        "candidates": [{"index": 0, "finishReason": word, **content}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
    }


def of_ollama(word: str, text: str | None) -> dict[str, Any]:
    counts = {"prompt_eval_count": 10, "eval_count": 5}
    said = {"model": "m1", "created_at": "2026-01-01T00:00:00Z", "response": text or ""}
    return said | {"done": True, "done_reason": word} | counts


LAYOUTS = {"anthropic": of_anthropic, "gemini": of_gemini, "ollama": of_ollama}


@pytest.mark.parametrize("text", ["The capital of Austr", None], ids=["half", "nothing"])
@pytest.mark.parametrize(
    ("vendor", "word", "reason"),
    [
        ("anthropic", "end_turn", "stop"),
        ("anthropic", "refusal", "content_filter"),
        ("anthropic", "max_tokens", "length"),
        ("anthropic", "model_context_window_exceeded", "length"),
        ("anthropic", "pause_turn", "pause_turn"),
        ("anthropic", "tool_use", "tool_calls"),
        ("anthropic", "something_new", "something_new"),
        ("gemini", "STOP", "stop"),
        ("gemini", "SAFETY", "content_filter"),
        ("gemini", "RECITATION", "content_filter"),
        ("gemini", "MAX_TOKENS", "length"),
        ("gemini", "OTHER", "OTHER"),
        ("gemini", "MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
        ("gemini", "SOMETHING_NEW", "SOMETHING_NEW"),
        ("ollama", "stop", "stop"),
        ("ollama", "length", "length"),
        ("ollama", "something_new", "something_new"),
    ],
)
def test_the_word_that_came_over_the_wire_says_why_an_answer_of_any_vendor_ended(
    vendor: str, word: str, reason: str, text: str | None, make: Make
) -> None:
    provider: Any = make(vendor)
    body = msgspec.json.encode(LAYOUTS[vendor](word, text))
    made = provider.read(ask(max_tokens=50), body)
    assert made.finish_reason == ("empty" if text is None and reason == "stop" else reason)
    assert made.usage == Usage(10, 5)


@pytest.mark.parametrize("vendor", LAYOUTS)
def test_an_answer_of_any_vendor_that_broke_off_is_tried_again_at_what_it_took(
    vendor: str, make: Make
) -> None:
    provider: Any = make(vendor)
    body = msgspec.json.encode(LAYOUTS[vendor]("aborted", "The capital of Austr"))
    with pytest.raises(Unavailable, match="broke off") as caught:
        provider.read(ask(max_tokens=50), body)
    assert caught.value.partial.usage == Usage(10, 5)


def test_a_piece_of_an_answer_of_ollama_is_none(make: Make) -> None:
    provider: Any = make("ollama")
    body = msgspec.json.encode(of_ollama("", "The capital of Austr") | {"done": False})
    with pytest.raises(Unavailable, match="broke off"):
        provider.read(ask(max_tokens=50), body)


@pytest.mark.parametrize("usage", [{}, {"usage": None, "usageMetadata": None}], ids=["no", "null"])
@pytest.mark.parametrize(
    ("vendor", "word", "reason"),
    [
        ("anthropic", "end_turn", "stop"),
        ("anthropic", "max_tokens", "length"),
        ("gemini", "STOP", "stop"),
        ("gemini", "SAFETY", "content_filter"),
    ],
)
def test_an_answer_without_its_count_of_tokens_is_an_answer(
    vendor: str, word: str, reason: str, usage: dict[str, Any], make: Make
) -> None:
    body = LAYOUTS[vendor](word, "Paris")
    body = {name: value for name, value in body.items() if not name.startswith("usage")} | usage
    thoughts = {"anthropic": {"type": "thinking", "thinking": "hm", "signature": "x"},
                "gemini": {"text": "hm", "thought": True}}[vendor]  # fmt: skip
    parts = body["content"] if vendor == "anthropic" else body["candidates"][0]["content"]["parts"]
    parts.insert(0, thoughts)
    provider: Any = make(vendor)
    made = provider.read(ask(max_tokens=50), msgspec.json.encode(body))
    assert (made.text, made.finish_reason, made.usage) == ("Paris", reason, None)


@pytest.mark.parametrize("word", ["SAFETY", "OTHER", "BLOCKLIST", "MODEL_ARMOR"])
def test_a_prompt_that_was_blocked_is_filtered_whatever_the_word(word: str, make: Make) -> None:
    provider: Any = make("gemini")
    body = msgspec.json.encode({"promptFeedback": {"blockReason": word}})
    assert provider.read(ask(max_tokens=50), body).finish_reason == "content_filter"


def test_an_answer_in_another_layout_that_litellm_stumbles_over_may_be_billed(make: Make) -> None:
    assert make("gemini").complete(faulty("usage_strings"), 30).completion.usage is None
    with pytest.raises(Unavailable) as caught:
        make("ollama").complete(faulty("usage_strings"), 30)
    assert (caught.value.kind, caught.value.maybe_billed) == ("garbage", True)
    assert "Traceback" not in caught.value.message


@pytest.mark.parametrize("fault", ERRORS)
@pytest.mark.parametrize("vendor", ["anthropic", "gemini", "ollama", "ollama_chat", "bytez"])
def test_a_fault_of_any_vendor_becomes_the_error_of_its_kind(
    vendor: str, fault: str, make: Make
) -> None:
    error, kind, billed = ERRORS[fault]
    if fault == "insufficient_quota" and vendor in NO_CODES:
        error, kind = RateLimited, "rate_limited"
    with pytest.raises(error) as caught:
        make(vendor).complete(faulty(fault, max_tokens=50), 30)
    assert type(caught.value) is error
    assert (caught.value.kind, caught.value.maybe_billed) == (kind, billed)


@pytest.mark.parametrize("vendor", VENDORS)
def test_how_long_to_wait_arrives_from_every_vendor(vendor: str, make: Make) -> None:
    with pytest.raises(RateLimited) as caught:
        make(vendor).complete(scripted({"fault": "429", "retry_after": 7}), 30)
    assert caught.value.retry_after_seconds == 7.0


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "bytez"])
def test_headers_that_speak_of_limits_come_with_the_answer(
    vendor: str, make: Make, server: Server
) -> None:
    server.control(headers=True, rpm=60)
    reply = make(vendor).complete(ask(), 30)
    assert reply.headers
    # And the date, where one of them is a time.
    assert all("ratelimit" in name or name == "date" for name in reply.headers)


@pytest.mark.parametrize("fault", ENDLESS)
@pytest.mark.parametrize("vendor", VENDORS)
def test_the_deadline_holds_for_every_vendor_however_the_reply_drips(
    vendor: str, fault: str, make: Make
) -> None:
    provider = make(vendor)
    provider.complete(ask(), 30)  # the first call of a vendor imports what it needs
    with pytest.raises(Timeout) as caught:
        provider.complete(faulty(fault), 0.2)
    assert caught.value.maybe_billed


@pytest.mark.parametrize("vendor", ["anthropic", "gemini", "ollama"])
@pytest.mark.parametrize("fault", ["usage_huge", "usage_negative"])
def test_absurd_usage_of_any_vendor_is_none(vendor: str, fault: str, make: Make) -> None:
    completion = make(vendor).complete(faulty(fault), 30).completion
    assert completion.usage is None
    assert completion.text


@pytest.mark.parametrize("vendor", ["openai", "openrouter", "ollama", "ollama_chat", "bytez"])
def test_usage_that_litellm_makes_up_is_none(vendor: str, make: Make) -> None:
    assert make(vendor).complete(faulty("usage_missing"), 30).completion.usage is None


@pytest.mark.parametrize("vendor", ["anthropic", "gemini", "ollama"])
def test_an_answer_without_words_is_empty_and_never_an_answer(vendor: str, make: Make) -> None:
    completion = make(vendor).complete(faulty("null_content"), 30).completion
    assert (completion.text, completion.finish_reason) == ("", "empty")


def test_a_schema_that_is_turned_down_is_asked_for_more_laxly_and_that_is_remembered(
    make: Make, server: Server
) -> None:
    provider = make(structured="json_object")
    for item in ("q1", "q2"):
        # Without the word "JSON" in it the server turns down a json_object.
        provider.complete(ask("Reply as an object.", item, response_format=SCHEMA), 30)
    formats = [sent["body"].get("response_format") for sent in server.log()]
    assert formats == [{"type": "json_object"}, None, None]


def test_one_call_is_one_request(make: Make, server: Server) -> None:
    for vendor in VENDORS:
        with pytest.raises(Unavailable):
            make(vendor).complete(faulty("500"), 30)
    assert server.stats()["requests"] == len(VENDORS)


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_a_server_that_is_not_there_is_unreachable_and_bills_nothing(
    vendor: str, make: Make
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(Unavailable) as caught:
        make(vendor, api_base=url).complete(ask(), 30)
    assert (caught.value.kind, caught.value.maybe_billed) == ("unreachable", False)
    assert caught.value.message.startswith(f"cannot connect to {url}")


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_two_hundred_calls_at_once_do_not_queue(vendor: str, make: Make) -> None:
    # The answer comes when all 200 are waiting for it; a pool of 100 would wait for ever.
    with answering(crowd=200) as (port, _):
        provider = make(vendor, workers=200, api_base=f"http://127.0.0.1:{port}/v1")

        def call(number: int) -> str:
            return provider.complete(ask(item=str(number)), 60).completion.text

        outcomes = set(at_once(200, call))
    assert outcomes == {"Paris"}


def test_https_goes_through_a_proxy_by_a_tunnel_and_checks_the_certificate(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm_batch.sending.providers import exchange

    with answering(tls=True) as (port, _), tunnelling(port) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{proxy}")
        transport = exchange.WatchedTransport(ssl.create_default_context(cafile=CERTIFICATE), 1)
        monkeypatch.setattr(exchange.WatchedTransport, "handle_request", transport.handle_request)
        base = "https://api.example.test/v1"
        assert make(api_base=base).complete(ask(), 30).completion.text == "Paris"
        for each in transport._by_origin.values():
            each.close()
    assert asked[0][0].startswith("CONNECT api.example.test:443 ")


@pytest.mark.parametrize(
    "said", [b"hello\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 502 No\r\n\r\n"]
)
def test_a_proxy_that_leads_nowhere_bills_nothing(
    said: bytes, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with greeted("closed", said) as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        with pytest.raises(Unavailable) as caught:
            make(api_base="https://api.example.test/v1").complete(ask(), 10)
    assert (caught.value.kind, caught.value.maybe_billed) == ("unreachable", False)


def test_a_certificate_that_is_not_trusted_stops_the_run_at_once(make: Make) -> None:
    with answering(tls=True) as (port, _), pytest.raises(Refused) as caught:
        make(api_base=f"https://localhost:{port}/v1").complete(ask(), 30)
    assert "certificate" in caught.value.message


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("gemini/gemini-2.5-pro", "API_KEY"),
        ("bytez/org/m1", "BYTEZ_API_KEY"),
        ("azure/m1", "AZURE_API_KEY"),
        ("fireworks_ai/m1", "FIREWORKS_AI_API_KEY"),
    ],
)
def test_a_vendor_without_its_key_is_refused_before_anything_is_sent(
    model: str, variable: str
) -> None:
    with pytest.raises(ConfigError, match=variable):
        make_provider(model, Model(), 1)


@pytest.mark.parametrize("suffix", ["", "/", "/models/v2", "/models/v2/"])
def test_bytez_is_called_where_api_base_says_with_its_own_key(
    suffix: str, make: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYTEZ_API_KEY", "k-bytez")
    server.control(key="k-bytez")
    try:
        provider = make("bytez", api_base=server.url + suffix, api_key_env="BYTEZ_API_KEY")
        assert provider.complete(ask(), 30).completion.text
    finally:
        server.control(key=None)
    assert [sent["path"] for sent in server.log()] == ["/models/v2/org/m1"]


@pytest.mark.parametrize("model", ["openai/m1", "anthropic/claude-sonnet-4-5", "ollama/m1"])
def test_a_server_of_ones_own_needs_no_key(model: str, server: Server) -> None:
    suffix = "/v1" if model.startswith("openai") else ""
    settings = Model(api_base=server.url + suffix, transport="litellm")
    provider = make_provider(model, settings, 1)
    assert provider.on_this_machine
    assert provider.complete(ask(), 30).completion.text


def test_ollama_is_on_this_machine_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_provider("ollama/m1", Model(), 1).on_this_machine
    monkeypatch.setenv("OLLAMA_API_BASE", "http://gpu-box:11434")
    assert not make_provider("ollama/m1", Model(), 1).on_this_machine


@pytest.mark.parametrize(
    ("vendor", "params"), [("bytez", {"seed": 1}), ("anthropic", {"frequency_penalty": 1.0})]
)
def test_a_parameter_that_litellm_does_not_map_is_left_out_and_said(
    vendor: str, params: dict[str, Any], make: Make, server: Server
) -> None:
    provider = make(vendor)
    heard: list[str] = []
    provider.dialect.tell = heard.append  # type: ignore[attr-defined]
    for item in ("q1", "q2"):
        assert provider.complete(ask(item=item, **params), 30).completion.text
    [sentence] = heard
    assert sentence.startswith(f"does not take {next(iter(params))}; it is left out from now on")
    assert server.stats()["requests"] == 2


@pytest.mark.parametrize("vendor", ["bytez", "anthropic"])
def test_what_an_answer_cannot_do_without_stops_the_run_where_litellm_does_not_map_it(
    vendor: str, make: Make, server: Server
) -> None:
    with pytest.raises(Refused) as caught:
        make(vendor).complete(ask(modalities=["audio"]), 30)
    assert caught.value.kind == "setting"
    assert "modalities" in caught.value.message
    assert server.stats()["requests"] == 0


SECRET = "sk-" + "proj-Abc123Def456"


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini", "bytez"])
def test_a_key_is_in_no_error(
    vendor: str, make: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", SECRET)
    server.control(key="another")
    with pytest.raises(Refused) as caught:
        make(vendor).complete(ask(f"Is it {SECRET}?"), 30)
    assert caught.value.kind == "key"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("vendor", VENDORS)
def test_extras_reach_the_wire_of_every_vendor(
    vendor: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_KEY", "gateway-key-1")
    provider: Any = make(vendor)
    extras = {"X-Team": "evals", "X-Gateway-Key": "env:GATEWAY_KEY"}
    sent = provider.prepared(ask(extra_headers=extras, extra_body={"own": {"deep": 1}}))
    headers = {name.lower(): value for name, value in sent.headers.items()}
    assert (headers["x-team"], headers["x-gateway-key"]) == ("evals", "gateway-key-1")
    body = msgspec.json.decode(sent.body)
    assert body["own"] == {"deep": 1}
    assert not {"extra_body", "extra_headers"} & set(body)


def test_ollama_is_not_asked_about_its_models_aside(make: Make, server: Server) -> None:
    make("ollama").complete(ask(), 30)
    assert [sent["path"] for sent in server.log()] == ["/api/generate"]


def test_importing_it_is_quiet_and_looks_nothing_up(server: Server) -> None:
    check = (
        "import socket, sys\n"
        "asked = []\n"
        "real = socket.getaddrinfo\n"
        "def look(host, *rest, **more):\n"
        "    asked.append(host)\n"
        "    return real('127.0.0.1', *rest, **more)\n"
        "socket.getaddrinfo = look\n"
        "from llm_batch.chain.config import Model\n"
        "from llm_batch.sending.providers import make_provider\n"
        "from llm_batch.records import Message, Request\n"
        f"settings = Model(api_base='{server.url}/v1', transport='litellm')\n"
        "provider = make_provider('openai/m1', settings, 1)\n"
        "request = Request('i', 's', 'openai/m1', (Message('user', 'hi'),), {})\n"
        "reply = provider.complete(request, 30)\n"
        "print(sorted(set(asked)), bool(reply.completion.text))\n"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert (ran.stdout.strip(), ran.stderr) == ("['127.0.0.1'] True", "")


def test_a_file_of_settings_in_a_project_is_not_read(server: Server) -> None:
    # litellm looks for it beside itself and above, where a project may be.
    check = (
        "import dotenv\n"
        "dotenv.load_dotenv = lambda *a, **k: print('read')\n"
        "from llm_batch.chain.config import Model\n"
        "from llm_batch.sending.providers import make_provider\n"
        f"make_provider('openai/m1', Model(api_base='{server.url}/v1', transport='litellm'), 1)\n"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ran.stdout == ""


#: What stands for a PDF in each vendor's format.
_AS_DOCUMENT = {
    "openai": b'"file_data":"data:application/pdf;base64,JVBERi0xLjQ="',
    "azure": b'"file_data":"data:application/pdf;base64,JVBERi0xLjQ="',
    "anthropic": b'{"type":"document","source":{"type":"base64","media_type":"application/pdf",'
    b'"data":"JVBERi0xLjQ="}}',
    "gemini": b'"inline_data":{"data":"JVBERi0xLjQ=","mime_type":"application/pdf"}',
}


@pytest.mark.parametrize("vendor", _AS_DOCUMENT)
def test_pictures_and_pdfs_reach_the_wire_in_every_format(
    vendor: str, make: Make, server: Server
) -> None:
    picture = Image("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "d", "image/gif", 9)
    pdf = Image("data:application/pdf;base64,JVBERi0xLjQ=", "p", PDF, 9)
    message = Parts("user", "What is this?", (picture, pdf))
    provider: Any = make(vendor)
    request = Request("q1", "step", "any/m", (message,), {"max_tokens": 9})
    sent = provider.prepared(request).body.replace(b", ", b",").replace(b": ", b":")
    assert b"R0lGODlhAQABAAAAACw=" in sent and b"image/gif" in sent and b"What is this?" in sent
    assert _AS_DOCUMENT[vendor] in sent
    assert provider.complete(request, 30).completion.text


def test_the_mark_for_anthropics_cache_stands_where_the_shared_part_ends(make: Make) -> None:
    messages = (Parts("system", "S", (), 1), Parts("user", "Rules. Question", (), 7))
    provider: Any = make("anthropic")
    request = Request("q1", "step", "any/m", messages, {"max_tokens": 9})
    body = msgspec.json.decode(provider.prepared(request).body)
    mark = {"cache_control": {"type": "ephemeral"}}
    assert body["system"] == [{"type": "text", "text": "S", **mark}]
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Rules. ", **mark},
        {"type": "text", "text": "Question"},
    ]


@pytest.mark.parametrize("closed_before", [True, False])
def test_a_connection_that_had_been_closed_before_a_request_bills_nothing(
    closed_before: bool, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm_batch.sending.providers import exchange

    monkeypatch.setattr(exchange, "was_closed_before", lambda sock: closed_before)
    with greeted("closed", b"HTTP/1.1 503 No\r\n\r\n", b"") as (port, _):
        provider = make(api_base=f"http://127.0.0.1:{port}/v1")
        for kind in ("unavailable", "reset"):
            with pytest.raises(Unavailable) as caught:
                provider.complete(ask(), 30)
            assert caught.value.kind == kind
    assert caught.value.maybe_billed is not closed_before
