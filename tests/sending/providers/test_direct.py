"""The direct provider: the wire, the deadline, and every fault a server can have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llm_batch.errors import ConfigError, ProviderError, RateLimited, Refused, Timeout, Unavailable
from llm_batch.records import Usage
from llm_batch.sending.providers.direct import DirectProvider
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
from tests.server import Server, serve
from tests.server.faults import FAULTS

Make = Callable[..., DirectProvider]


@pytest.fixture
def make(server: Server) -> Iterator[Make]:
    """Makes providers of the test server, or of another address, and closes them."""
    made: list[DirectProvider] = []

    def build(base_url: str = "", key: str | None = "k1", **more: Any) -> DirectProvider:
        made.append(DirectProvider(base_url or f"{server.url}/v1", "m1", key, **more))
        return made[-1]

    yield build
    for provider in made:
        provider.close()


@pytest.fixture
def connections(make: Make) -> Iterator[tuple[DirectProvider, Server]]:
    """A provider for 8 threads and a server that nobody else has connections to."""
    with serve() as server:
        yield make(f"{server.url}/v1", connections=8), server


def _count(server: Server) -> int:
    """Open connections, without the one that asks."""
    count: int = server.stats()["connections"] - 1
    return count


# What goes out


def test_the_body_holds_model_messages_and_parameters_and_nothing_else(
    make: Make, server: Server
) -> None:
    make().complete(ask("Où ? 東京 🗼", max_tokens=5, temperature=0.0), 10)
    [sent] = server.log()
    assert sent["method"] == "POST"
    assert sent["path"] == "/v1/chat/completions"
    assert sent["headers"]["authorization"] == "Bearer k1"
    assert sent["body"] == {
        "model": "m1",
        "messages": [{"role": "user", "content": "Où ? 東京 🗼"}],
        "max_tokens": 5,
        "temperature": 0.0,
        "stream": False,
    }


def test_without_a_key_no_authorization_is_sent(make: Make, server: Server) -> None:
    make(key=None).complete(ask(), 10)
    assert "authorization" not in server.log()[0]["headers"]


def test_an_address_keeps_its_query(make: Make, server: Server) -> None:
    make(f"{server.url}/deployments/a/?api-version=2").complete(ask(), 10)
    [sent] = server.log()
    assert (sent["path"], sent["query"]) == ("/deployments/a/chat/completions", "api-version=2")


def test_parameters_are_renamed_and_added_as_the_endpoint_wants(make: Make, server: Server) -> None:
    provider = make(
        renamed={"max_tokens": "max_completion_tokens"}, extra={"usage": {"include": True}}
    )
    provider.complete(ask(max_tokens=5), 10)
    body = server.log()[0]["body"]
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body
    assert body["usage"] == {"include": True}


# What comes back


def test_headers_that_speak_of_limits_come_with_the_answer(make: Make, server: Server) -> None:
    server.control(headers=True, rpm=60)
    reply = make().complete(ask(), 10)
    assert reply.headers["x-ratelimit-limit-requests"] == "60"
    assert all(name.startswith("x-ratelimit") for name in reply.headers)


@pytest.mark.parametrize("fault", [*WHOLE_ANSWERS, *ODD_SHAPES, *ODD_ACCOUNTS])
def test_an_answer_is_whole_however_it_was_sent(fault: str, make: Make) -> None:
    completion = make().complete(faulty(fault), 10).completion
    words = completion.text.removesuffix(" \ufffd")  # of an emoji, nobody can write the half
    assert len(words.split()) == 12
    assert completion.usage is not None
    assert completion.finish_reason == "stop"


@pytest.mark.parametrize("fault", [*ERRORS, *OPENAI_ERRORS])
def test_a_fault_becomes_the_error_of_its_kind(fault: str, make: Make) -> None:
    error, kind, billed = (ERRORS | OPENAI_ERRORS)[fault]
    with pytest.raises(error) as caught:
        make().complete(faulty(fault), 10)
    assert type(caught.value) is error
    assert (caught.value.kind, caught.value.maybe_billed) == (kind, billed)
    assert caught.value.message


def test_every_fault_the_server_knows_is_tried() -> None:
    # What is wrong with words is for the chain to find; tests/fire does.
    tried = {*ERRORS, *OPENAI_ERRORS, *ENDLESS, *ODD_ANSWERS, *OPENAI_ANSWERS, *NO_USAGE}
    tried |= {*WHOLE_ANSWERS, *ODD_SHAPES, *ODD_ACCOUNTS, *THOUGHTS, "prose", "no_cap"}
    assert tried == set(FAULTS)


def test_a_429_says_how_long_to_wait(make: Make) -> None:
    with pytest.raises(RateLimited) as caught:
        make().complete(scripted({"fault": "429", "retry_after": 7}), 10)
    assert caught.value.retry_after_seconds == 7.0


@pytest.mark.parametrize("fault", [*ODD_ANSWERS, *OPENAI_ANSWERS])
def test_an_answer_that_is_none_says_why(fault: str, make: Make) -> None:
    reason, has_text = (ODD_ANSWERS | OPENAI_ANSWERS)[fault]
    completion = make().complete(faulty(fault), 10).completion
    assert completion.finish_reason == reason
    assert bool(completion.text) is has_text


def test_tokens_spent_on_reasoning_alone_are_reported(make: Make) -> None:
    usage = make().complete(faulty("reasoning_only"), 10).completion.usage
    assert usage is not None
    assert usage.reasoning_tokens == usage.output_tokens > 0


@pytest.mark.parametrize("fault", NO_USAGE)
def test_usage_that_is_missing_or_absurd_is_none_and_the_answer_stays(
    fault: str, make: Make
) -> None:
    completion = make().complete(faulty(fault), 10).completion
    assert completion.usage is None
    assert completion.text


def test_what_broke_off_says_what_it_took(make: Make, server: Server) -> None:
    with pytest.raises(Unavailable) as caught:
        make().complete(faulty("aborted"), 10)
    billed = server.stats()["billed"]
    assert caught.value.partial.usage == Usage(billed["input_tokens"], billed["output_tokens"])


def test_thoughts_that_only_the_total_has_are_output_and_a_cost_is_told(
    make: Make, server: Server
) -> None:
    usage = make().complete(faulty("thoughts_beside"), 10).completion.usage
    assert usage is not None
    assert usage.output_tokens == server.stats()["billed"]["output_tokens"]
    assert usage.reasoning_tokens == 300
    assert make().complete(faulty("cost_reported"), 10).completion.reported_cost == 0.5


# The deadline


@pytest.mark.parametrize("fault", ENDLESS)
def test_the_deadline_holds_however_the_reply_drips(fault: str, make: Make, server: Server) -> None:
    # At this pace a whole reply takes half a minute or, in one case, for ever.
    with pytest.raises(Timeout, match=r"within 0\.2 s") as caught:
        make().complete(faulty(fault), 0.2)
    assert caught.value.maybe_billed


@pytest.mark.parametrize("fault", ENDLESS)
def test_a_connection_that_was_too_slow_is_not_used_again(fault: str, make: Make) -> None:
    provider = make()
    with pytest.raises(Timeout):
        provider.complete(faulty(fault), 0.1)
    assert provider.complete(scripted({"reply": "Rome"}), 10).completion.text == "Rome"


def test_a_slow_reply_before_the_deadline_is_an_answer(make: Make, server: Server) -> None:
    server.control(drip_seconds=0.0001)
    assert make().complete(faulty("drip"), 30).completion.text
    assert make().complete(faulty("drip_headers"), 30).completion.text


def test_a_long_timeout_on_one_call_does_not_stretch_the_next(make: Make) -> None:
    provider = make()
    provider.complete(ask(), 600)
    with pytest.raises(Timeout):
        provider.complete(faulty("drip_headers"), 0.1)


# Asking for objects


def _format(server: Server) -> list[Any]:
    formats = [sent["body"].get("response_format") for sent in server.log()]
    return [found and found["type"] for found in formats]


def test_an_endpoint_without_schemas_is_asked_more_laxly_and_that_is_remembered(
    make: Make, server: Server
) -> None:
    server.control(refuses=["json_schema"])
    provider = make()
    for item in ("q1", "q2"):
        reply = provider.complete(ask("Reply as JSON.", item, response_format=SCHEMA), 10)
        assert reply.completion.text.startswith("{")
    # As it is, with plain keywords, and then as any object.
    assert _format(server) == ["json_schema", "json_schema", "json_object", "json_object"]


def test_an_endpoint_that_knows_no_format_is_asked_in_words(make: Make, server: Server) -> None:
    provider = make(structured="json_object")
    # Without the word "JSON" in it the server turns down a json_object too.
    provider.complete(ask("Reply as an object.", response_format=SCHEMA), 10)
    provider.complete(ask("Reply as an object.", "q2", response_format=SCHEMA), 10)
    assert _format(server) == ["json_object", None, None]


def test_other_errors_change_nothing_about_the_format(make: Make, server: Server) -> None:
    provider = make()
    provider.complete(ask("Reply as JSON.", response_format=SCHEMA), 10)
    for fault in ("400", "500", "context_length"):
        with pytest.raises(ProviderError):
            provider.complete(faulty(fault, response_format=SCHEMA), 10)
    provider.complete(ask("Reply as JSON.", response_format=SCHEMA), 10)
    assert set(_format(server)) == {"json_schema"}


def test_threads_that_are_turned_down_together_step_down_once(make: Make, server: Server) -> None:
    provider = make(connections=8)
    schema = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {
        "type": "object", "properties": {"a": {"type": "string"}}}}}  # fmt: skip
    at_once(8, lambda n: provider.complete(ask("As JSON.", str(n), response_format=schema), 10))
    assert None not in _format(server)


# Connections


def test_calls_one_after_the_other_share_a_connection(
    connections: tuple[DirectProvider, Server],
) -> None:
    provider, server = connections
    for number in range(20):
        provider.complete(ask(item=str(number)), 10)
    assert _count(server) == 1


def test_an_error_does_not_cost_the_connection(
    connections: tuple[DirectProvider, Server],
) -> None:
    provider, server = connections
    for fault in ("400", "500", "html", "429"):
        with pytest.raises(ProviderError):
            provider.complete(faulty(fault), 10)
    assert _count(server) == 1


def test_there_are_no_more_connections_than_workers(
    connections: tuple[DirectProvider, Server],
) -> None:
    provider, server = connections
    at_once(8, lambda n: [provider.complete(ask(item=f"{n} {i}"), 10) for i in range(10)])
    assert _count(server) <= 8
    assert server.stats()["successes"] == 80


def test_two_hundred_calls_at_once_do_not_queue() -> None:
    with answering(crowd=200) as (port, _):
        provider = DirectProvider(f"http://127.0.0.1:{port}/v1", "m1", None, connections=200)
        replies = at_once(200, lambda n: provider.complete(ask(item=str(n)), 60))
        provider.close()
    assert {reply.completion.text for reply in replies} == {"Paris"}


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    connections: tuple[DirectProvider, Server],
) -> None:
    provider, server = connections
    server.control(keep_alive=0.01)
    for number in range(3):
        provider.complete(ask(item=str(number)), 10)
        while _count(server):
            pass


def test_a_server_that_is_not_there_is_unreachable_and_bills_nothing(make: Make) -> None:
    port = closed_port()
    with pytest.raises(Unavailable) as caught:
        make(f"http://127.0.0.1:{port}/v1").complete(ask(), 10)
    assert (caught.value.kind, caught.value.maybe_billed) == ("unreachable", False)
    assert caught.value.message.startswith(f"cannot connect to http://127.0.0.1:{port}/v1: ")
    assert "refused" in caught.value.message
    # And how to look, where no provider's status page would help.
    assert caught.value.hint.endswith(f"see with: curl http://127.0.0.1:{port}/v1/models")


def test_a_host_that_has_no_address_is_unreachable(make: Make) -> None:
    with pytest.raises(Unavailable) as caught:
        make("http://nowhere.invalid/v1").complete(ask(), 10)
    assert (caught.value.kind, caught.value.maybe_billed) == ("unreachable", False)


def test_closing_twice_is_harmless(make: Make) -> None:
    provider = make()
    provider.complete(ask(), 10)
    provider.close()
    provider.close()


# Proxies and certificates


def test_a_proxy_gets_the_whole_url_and_its_own_password(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering() as (port, asked):
        monkeypatch.setenv("HTTP_PROXY", f"http://user:word@127.0.0.1:{port}")
        provider = make("http://api.example.test/v1")
        provider.complete(ask(), 10)
        provider.close()
    [(target, headers)] = asked
    sent = {name.lower(): value for name, value in headers.items()}
    assert target == "http://api.example.test/v1/chat/completions"
    assert sent["host"] == "api.example.test"
    assert sent["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
    assert sent["authorization"] == "Bearer k1"


def test_https_goes_through_a_proxy_by_a_tunnel(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(tls=True) as (port, _), tunnelling(port) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{proxy}")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        provider = make("https://api.example.test/v1")
        for _ in range(2):
            assert provider.complete(ask(), 10).completion.text == "Paris"
        provider.close()
    [head] = asked
    assert head[0].startswith("CONNECT api.example.test:443 ")
    assert "proxy-authorization: Basic dXNlcjp3b3Jk" in head
    assert not any("k1" in line for line in head)


def test_a_proxy_that_refuses_is_unreachable_and_bills_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tunnelling(None) as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{proxy}")
        with pytest.raises(Unavailable) as caught:
            make("https://api.example.test/v1").complete(ask(), 10)
    assert (caught.value.kind, caught.value.maybe_billed) == ("unreachable", False)
    assert "by its proxy" in caught.value.message
    assert "word" not in caught.value.message


def test_a_proxy_that_speaks_something_else_bills_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with greeted("closed", b"hello\r\n\r\n") as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        with pytest.raises(Unavailable) as caught:
            make("https://api.example.test/v1").complete(ask(), 10)
    assert (caught.value.kind, caught.value.maybe_billed) == ("unreachable", False)


def test_a_proxy_that_is_not_there_is_unreachable(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:word@127.0.0.1:{closed_port()}")
    with pytest.raises(Unavailable) as caught:
        make("http://api.example.test/v1").complete(ask(), 10)
    assert (caught.value.kind, caught.value.maybe_billed) == ("unreachable", False)
    assert "word" not in caught.value.message


def test_a_certificate_of_ones_own_authority_is_trusted_when_named(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with answering(tls=True) as (port, _):
        provider = make(f"https://localhost:{port}/v1")
        assert provider.complete(ask(), 10).completion.usage == Usage(5, 2)
        provider.close()


def test_a_certificate_that_is_not_trusted_stops_the_run_at_once(make: Make) -> None:
    with answering(tls=True) as (port, _), pytest.raises(Refused) as caught:
        make(f"https://localhost:{port}/v1").complete(ask(), 10)
    assert "certificate" in caught.value.message
    assert "SSL_CERT_FILE" in caught.value.hint
    assert not caught.value.maybe_billed


def test_a_file_of_certificates_that_cannot_be_read_is_a_mistake_in_the_setup(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with pytest.raises(ConfigError, match="SSL_CERT_FILE=/no/such/file.pem"):
        make("https://localhost:1/v1")


# Keys

SECRET = "sk-" + "proj-Abc123Def456"


@pytest.mark.parametrize("where", ["user", "query"])
def test_a_key_in_the_address_is_in_no_error(where: str, make: Make) -> None:
    port = closed_port()
    url = {
        "user": f"http://me:{SECRET}@127.0.0.1:{port}/v1",
        "query": f"http://127.0.0.1:{port}/v1?key={SECRET}",
    }[where]
    with pytest.raises(Unavailable) as caught:
        make(url, key=SECRET).complete(ask(), 10)
    assert SECRET not in str(caught.value)


def test_a_key_that_a_server_quotes_is_in_no_error(make: Make, server: Server) -> None:
    server.control(key="another")
    # The server names the parameter that it does not know.
    with pytest.raises(Refused):
        make(key=SECRET).complete(ask(), 10)
    server.control(key=None)
    with pytest.raises(Refused) as caught:
        make(key=SECRET).complete(ask(**{f"x {SECRET}": 1}), 10)
    assert "[key]" in caught.value.message
    assert SECRET not in str(caught.value)


def test_errors_of_one_thread_do_not_reach_another(make: Make) -> None:
    provider = make(connections=8)
    seen: list[str] = []
    lock = threading.Lock()

    def call(number: int) -> None:
        fault = ("400", "500", "reset", "chunked")[number % 4]
        try:
            provider.complete(faulty(fault, f"{number} JSON"), 10)
            outcome = "chunked"
        except Exception as error:
            outcome = {"rejected": "400", "unavailable": "500", "reset": "reset"}[error.kind]  # type: ignore[attr-defined]
        with lock:
            seen.append(f"{fault} {outcome}")

    at_once(16, call)
    assert set(seen) == {"400 400", "500 500", "reset reset", "chunked chunked"}
