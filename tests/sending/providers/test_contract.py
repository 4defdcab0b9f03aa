"""litellm is the reference: the direct provider sends what it sends and reads what it reads."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from llm_batch.chain.options import Model
from llm_batch.errors import ProviderError, Refused, Unavailable
from llm_batch.records import PDF, Image, Message, Parts, Request
from llm_batch.sending.providers import make_provider, route, wire
from llm_batch.sending.providers.endpoints import ENDPOINTS, OWN_SERVERS, renamed_for
from tests.sending.providers.asking import SCHEMA, ask
from tests.sending.providers.servers import ANSWER, answering, greeted, leaving
from tests.server import Server

pytestmark = pytest.mark.litellm

#: A model of each vendor that takes a schema: where it does not, litellm makes a tool of it.
MODELS = {
    "openai": "gpt-4o-mini",
    "openrouter": "openai/gpt-4o-mini",
    "groq": "openai/gpt-oss-20b",
    "mistral": "mistral-large-latest",
    "deepseek": "deepseek-chat",
    "together_ai": "openai/gpt-oss-20b",
    "xai": "grok-4",
    "cerebras": "gpt-oss-120b",
    "nvidia_nim": "meta/llama3-70b-instruct",
}

TALK = Request(
    "q1",
    "step",
    "any/model",
    (
        Message("system", "Reply as JSON.\n\n  Spaces stay.  "),
        Message("user", 'Où est « la tour » ? 東京 🗼 \u2028 \\ " \t'),
        Message("assistant", '{"score": 9}'),
        Message("user", "That reply cannot be used."),
    ),
    {"max_tokens": 40},
)
_DATA = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
SEEN = Parts(
    "user",
    "What is this?",
    (
        Image(_DATA, "d", "image/gif", 9),
        Image("https://h/a.png", "https://h/a.png", "", 9),
        Image("data:application/pdf;base64,JVBERi0xLjQ=", "p", PDF, 9),
    ),
)
REQUESTS = {
    "plain": ask(),
    "caps": ask(max_tokens=40, temperature=0.0, top_p=0.5),
    "conversation": TALK,
    "schema": ask("Reply as JSON.", max_tokens=40, response_format=SCHEMA),
    "seed": ask(seed=7),
    "body": ask(extra_body={"top_k": 3, "chat_template_kwargs": {"enable_thinking": False}}),
    "body over ours": ask(top_p=0.5, extra_body={"top_p": 0.9, "usage": {"include": False}}),
    "headers": ask(extra_headers={"X-Team": "evals", "user-agent": "mine/1"}),
    "secret header": ask(extra_headers={"X-Gateway-Key": "env:GATEWAY_KEY"}),
    "both": ask(extra_headers={"X-Team": "evals"}, extra_body={"min_p": 0.1}, max_tokens=40),
}
#: What OpenAI's models take besides; other vendors' do not all, in litellm's view.
OPENAIS_OWN = {
    "stop": ask(stop=["END"]),
    "sampling": ask(presence_penalty=0.5, frequency_penalty=0.25, logit_bias={"50256": -100}),
    "user": ask(user="team-1"),
    "tier": ask(service_tier="flex"),
    "effort": ask(reasoning_effort="low"),
    "logprobs": ask(logprobs=True, top_logprobs=2),
    "store": ask(store=True),
    "cache": ask(prompt_cache_key="judge-1"),
    "safety": ask(safety_identifier="u1"),
    "verbosity": ask(verbosity="low"),
    "pictures and a PDF": Request(
        "q1", "step", "any/model", (Message("system", "Look."), SEEN), {}
    ),
    "strange": ask(top_k=3, repetition_penalty=1.1, guided_choice=["yes", "no"]),
    "metadata": ask(extra_body={"metadata": {"run": "1"}}),
}
#: Of these, what OpenAI does not know and other servers take.
FOREIGN = ["usage", "top_k", "min_p", "chat_template_kwargs", "repetition_penalty", "guided_choice"]


def both_ways(
    model: str, server: Server, request: Request, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[dict[str, Any], Any]]:
    """What was sent and what came back, directly and through litellm."""
    monkeypatch.setenv("THE_KEY", "k1")
    monkeypatch.setenv("GATEWAY_KEY", "gateway-key-1")
    server.control(allow=FOREIGN)
    seen = []
    for transport in ("direct", "litellm"):
        settings = Model(
            api_base=f"{server.url}/v1",
            api_key_env="THE_KEY",
            transport=transport,
            structured="json_schema",
        )
        provider = make_provider(model, settings, 1)
        server.reset()
        try:
            outcome: Any = provider.complete(request, 30)
        except ProviderError as error:
            outcome = error
        finally:
            provider.close()
        sent, *others = server.log()
        # Mistral's random_seed is strange to the server, and left out then.
        assert len(others) <= ("random_seed" in sent["body"])
        seen.append((sent, outcome))
    return seen


def what_matters(sent: Mapping[str, Any]) -> dict[str, Any]:
    """All of a request but the headers by which clients introduce themselves."""
    return {
        **{name: sent[name] for name in ("method", "path", "query", "body")},
        **{
            name: sent["headers"].get(name)
            for name in ("authorization", "x-team", "x-gateway-key", "extra_headers")
        },
        "own agent": sent["headers"].get("user-agent") == "mine/1",
        # With or without a charset.
        "content-type": sent["headers"]["content-type"].partition(";")[0],
    }


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("vendor", [*ENDPOINTS, *OWN_SERVERS])
def test_both_ways_send_the_same_and_read_the_same(
    vendor: str, asked: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"{vendor}/{MODELS.get(vendor, 'my-model')}"
    (direct, one), (through, other) = both_ways(model, server, REQUESTS[asked], monkeypatch)
    assert what_matters(direct) == what_matters(through)
    assert one.completion == other.completion
    assert one.completion.text


@pytest.mark.parametrize("asked", OPENAIS_OWN)
def test_parameters_mean_the_same_both_ways(
    asked: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"openai/{'gpt-5-mini' if asked in ('effort', 'verbosity') else 'gpt-4o-mini'}"
    (direct, _), (through, _) = both_ways(model, server, OPENAIS_OWN[asked], monkeypatch)
    assert what_matters(direct) == what_matters(through)


def test_extras_are_where_they_belong(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for sent, _ in both_ways("openai/gpt-4o-mini", server, REQUESTS["both"], monkeypatch):
        assert sent["headers"]["x-team"] == "evals"
        assert sent["body"]["min_p"] == 0.1
        assert not {"extra_body", "extra_headers"} & set(sent["body"])
    for sent, _ in both_ways("openai/gpt-4o-mini", server, REQUESTS["secret header"], monkeypatch):
        assert sent["headers"]["x-gateway-key"] == "gateway-key-1"


@pytest.mark.parametrize(
    "model", ["openai/gpt-5-mini", "gpt-5-mini", "o3", "openai/o4-mini", "gpt-5-chat-latest"]
)
def test_reasoning_models_get_the_same_parameters_both_ways(
    model: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(max_tokens=40, reasoning_effort="low") if "chat" not in model else ask()
    (direct, one), (through, other) = both_ways(model, server, request, monkeypatch)
    assert what_matters(direct) == what_matters(through)
    assert one.completion == other.completion


@pytest.mark.parametrize("model", ["my-model", "my-org/my-model"])
def test_a_model_that_litellm_has_no_name_for_is_spoken_to_as_openai(
    model: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (direct, one), (through, other) = both_ways(model, server, ask(), monkeypatch)
    assert what_matters(direct) == what_matters(through)
    assert direct["body"]["model"] == model
    assert one.completion == other.completion


def test_every_listed_openai_model_gets_the_name_of_max_tokens_that_litellm_uses() -> None:
    provider = make_provider(
        "openai/m", Model(api_base="http://127.0.0.1:9", transport="litellm"), 1
    )
    provider.close()
    import litellm

    names = [
        name
        for name, entry in litellm.model_cost.items()
        if entry.get("litellm_provider") == "openai"
        and entry.get("mode") == "chat"
        and not name.startswith("ft:o")  # litellm forgets that these reason
    ]
    assert len(names) > 50
    for name in names:
        params = litellm.get_optional_params(name, custom_llm_provider="openai", max_tokens=7)
        theirs = {key for key, value in params.items() if value == 7}
        assert theirs == {renamed_for("openai", name).get("max_tokens", "max_tokens")}, name


@pytest.fixture
def sent_to(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """URL and key of every request that litellm would send; all are answered."""
    from llm_batch.sending.providers.exchange import WatchedTransport

    sent: list[tuple[str, str]] = []

    def answer(_: WatchedTransport, request: httpx.Request) -> httpx.Response:
        sent.append((str(request.url), request.headers["authorization"]))
        return httpx.Response(
            200, headers={"content-type": "application/json"}, content=ANSWER, request=request
        )

    monkeypatch.setattr(WatchedTransport, "handle_request", answer)
    return sent


@pytest.mark.parametrize("vendor", [*ENDPOINTS, "hosted_vllm", "lm_studio", "llamafile"])
def test_addresses_and_keys_come_from_the_variables_that_litellm_reads(
    vendor: str, sent_to: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = ENDPOINTS.get(vendor) or OWN_SERVERS[vendor]
    model = f"{vendor}/{MODELS.get(vendor, 'my-model')}"
    for key_env in endpoint.key_envs:
        for base_env in ("", *endpoint.base_envs):
            if not (base_env or endpoint.base_url):
                continue
            with monkeypatch.context() as patch:
                patch.setenv(key_env, f"key in {key_env}".replace(" ", "-"))
                if base_env:
                    patch.setenv(base_env, "http://gpu-box:8000/v1")
                way = route(model, Model())
                through = make_provider(model, Model(transport="litellm"), 1)
                through.complete(ask(), 10)
            assert sent_to[-1] == (f"{way.base_url}/chat/completions", f"Bearer {way.key}")
            assert way.key is not None


@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_too_many_open_files_are_not_the_providers_fault_and_cost_nothing(
    transport: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Model(api_base=f"{server.url}/v1", transport=transport)
    make_provider("openai/some-model", loaded, 1).complete(ask(), 10.0)
    elsewhere = Model(api_base="http://127.0.0.2:9/v1", transport=transport)
    provider = make_provider("openai/some-model", elsewhere, 1)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "connect", full)
    with pytest.raises(Unavailable) as lost:
        provider.complete(ask(), 10.0)
    assert lost.value.kind == "files" and not lost.value.maybe_billed


# http and https

_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_SAYS_HTTPS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 58\r\n\r\n"
    b"<center>The plain HTTP request was sent to HTTPS port</ce>"
)
_TO_HTTPS = b"HTTP/1.1 308 Elsewhere\r\nLocation: https://h/\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine, what is asked in the other scheme is waited for."""
    monkeypatch.setattr(wire, "_PROBE_SECONDS", 60.0)


def error_of(transport: str, base: str, seconds: float = 30) -> ProviderError:
    """What a request ends in."""
    provider = make_provider("openai/m1", Model(api_base=base, transport=transport), 1)
    with pytest.raises(ProviderError) as caught:
        provider.complete(ask(), seconds)
    provider.close()
    assert not (caught.value.maybe_billed and isinstance(caught.value, Refused))
    return caught.value


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize(
    ("scheme", "hello", "plain", "hint"),
    [
        # It waits for the end of a line in what is TLS to us.
        pytest.param("https", "silent", _NOT_FOUND, "write http://", id="silence"),
        pytest.param("https", "closed", _NOT_FOUND, "write http://", id="closed at the hello"),
        pytest.param("http", "tls", b"\x15\x03\x01\x00\x02\x02\x46", "write https://", id="alert"),
        pytest.param("http", "tls", b"", "write https://", id="closed at plain text"),
        pytest.param("http", "tls", _SAYS_HTTPS, "write https://", id="said in plain text"),
    ],
)
def test_the_wrong_one_of_http_and_https_is_said_and_not_tried_again(
    scheme: str, hello: str, plain: bytes, hint: str, transport: str
) -> None:
    with greeted(hello, plain) as (port, _):
        error = error_of(
            transport, f"{scheme}://127.0.0.1:{port}/v1", 1 if hello == "silent" else 30
        )
    assert isinstance(error, Refused)
    assert (error.kind, error.hint[: len(hint)]) == ("setting", hint)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_https_to_the_plain_server_of_the_tests_is_told_to_write_http(
    transport: str, server: Server
) -> None:
    error = error_of(transport, f"https://127.0.0.1:{server.port}/v1", 1)
    assert isinstance(error, Refused)
    assert "speaks plain http, not https" in error.message
    assert error.hint.startswith(f"write http://127.0.0.1:{server.port}/v1")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_http_to_a_server_with_tls_is_told_to_write_https(transport: str) -> None:
    with answering(tls=True) as (port, asked):
        error = error_of(transport, f"http://127.0.0.1:{port}/v1")
    assert isinstance(error, Refused)
    assert "speaks https (TLS), not http" in error.message
    assert error.hint.startswith(f"write https://127.0.0.1:{port}/v1")
    assert not asked


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize(
    ("scheme", "hello", "plain", "kind"),
    [
        pytest.param("https", "closed", _SAYS_HTTPS, "unreachable", id="TLS that is down"),
        pytest.param("https", "silent", _SAYS_HTTPS, "unreachable", id="TLS that is slow"),
        pytest.param("https", "closed", _TO_HTTPS, "unreachable", id="leads to https"),
        pytest.param("https", "closed", b"SSH-2.0-x\r\n", "unreachable", id="another protocol"),
        pytest.param("https", "closed", b"", "unreachable", id="closes on everything"),
        pytest.param("http", "closed", b"", "reset", id="plain and closes on everything"),
    ],
)
def test_a_server_that_fails_is_not_told_from_its_scheme(
    scheme: str, hello: str, plain: bytes, kind: str, transport: str
) -> None:
    with greeted(hello, plain) as (port, _):
        error = error_of(
            transport, f"{scheme}://127.0.0.1:{port}/v1", 1 if hello == "silent" else 30
        )
    assert (type(error), error.kind) == (Unavailable, kind)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_a_host_that_has_answered_is_not_asked_for_its_scheme(transport: str) -> None:
    with greeted("tls", _NOT_FOUND, b"") as (port, first_bytes):
        settings = Model(api_base=f"http://127.0.0.1:{port}/v1", transport=transport)
        provider = make_provider("openai/m1", settings, 1)
        for kind in ("model", "reset"):
            with pytest.raises(ProviderError) as caught:
                provider.complete(ask(), 30)
            assert caught.value.kind == kind
        assert set(first_bytes) == {b"P"}  # no hello of TLS
        provider.close()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_a_request_that_was_not_written_whole_is_not_billed(transport: str) -> None:
    # More than the buffers of both sides hold, so the connection breaks while it is written.
    with leaving() as port:
        settings = Model(api_base=f"http://127.0.0.1:{port}/v1", transport=transport)
        provider = make_provider("openai/m1", settings, 1)
        with pytest.raises(Unavailable, match="broke before the request was sent") as caught:
            provider.complete(ask("x" * (48 << 20)), 60)
        provider.close()
    assert (caught.value.kind, caught.value.maybe_billed) == ("reset", False)


_ANOTHER = ANSWER.replace(b"Paris", b"Rome ")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "more",
    [
        b"\r\n\r\n",
        b"}",
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(_ANOTHER) + _ANOTHER,
        b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["an empty line", "a brace", "another answer", "a timeout"],
)
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_what_comes_behind_a_reply_is_never_the_answer_to_the_next_request(
    transport: str, more: bytes
) -> None:
    with answering(more=more) as (port, asked):
        settings = Model(api_base=f"http://127.0.0.1:{port}/v1", transport=transport)
        provider = make_provider("openai/m1", settings, 1)
        for number in range(3):
            assert provider.complete(ask(item=str(number)), 30).completion.text == "Paris"
        provider.close()
    assert len(asked) == 3
