"""What goes into a job is what goes live, and its answers are read alike, for every vendor."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec
import pytest

from llm_batch.chain.options import Model
from llm_batch.engines.batch.vendors import Carried
from llm_batch.errors import ProviderError
from llm_batch.records import Message, Request
from llm_batch.sending.providers import make_provider
from llm_batch.sending.providers.dialect import STRUCTURED
from llm_batch.sending.providers.refusals import error_from_reply
from tests.server import Server, serve

KEY = "sk-test-0123456789"
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}},
    "required": ["score"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": SCHEMA}}
BASES = {
    "openai/writer": "/v1",
    "azure/writer": "",
    "anthropic/claude-sonnet-4-5": "",
    "anthropic/claude-3-haiku-20240307": "",  # asked for objects by way of a tool
    "gemini/gemini-2.5-flash": "/v1beta",
}
# Of the connection, not of the request.
_NOT_COMPARED = {"host", "connection", "x-stainless-retry-count", "x-stainless-read-timeout"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(log=100) as server:
        yield server


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> Request:
    messages = (Message("system", "Be brief."), Message("user", "What is it?"))
    params = {"max_tokens": 30, "temperature": 0.0}
    return Request("q1", "judge", "m", messages, params | request.param)


@pytest.mark.litellm
@pytest.mark.parametrize("asked", [{}, {"response_format": FORMAT}], indirect=True)
@pytest.mark.parametrize("model", BASES)
def test_prepared_is_what_is_sent_and_read_is_what_comes_of_it(
    model: str, asked: Request, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AZURE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    provider = make_provider(model, Model(api_base=server.url + BASES[model]), 1)
    wire: Carried = provider  # type: ignore[assignment]  # it is one, of such vendors
    live = provider.complete(asked, 30).completion
    prepared = wire.prepared(asked)
    sent = server.log(1)[0]
    where = urlsplit(prepared.url)
    assert (where.path, where.query) == (sent["path"], sent["query"])
    # A line of a batch has nobody to stream to, and does not say so.
    assert sent["body"].pop("stream", False) is False
    assert msgspec.json.decode(prepared.body) == sent["body"]
    headers = {name.lower(): value for name, value in prepared.headers.items()}
    same = {name: value for name, value in sent["headers"].items() if name not in _NOT_COMPARED}
    assert {name: headers.get(name, value) for name, value in same.items()} == same
    assert KEY in "".join(headers.values())
    # The same body by another way, and its reply read without sending anything.
    plain = {"Accept-Encoding": "identity", **dict(prepared.headers)} | {
        "Accept-Encoding": "identity", "accept-encoding": "identity",
    }  # fmt: skip
    again = urllib.request.Request(prepared.url, prepared.body, plain)
    with urllib.request.urlopen(again) as reply:
        body = reply.read()
    requests = server.stats()["requests"]
    read = wire.read(asked, body)
    assert server.stats()["requests"] == requests
    assert (read.text, read.finish_reason, read.usage) == (
        live.text, live.finish_reason, live.usage,
    )  # fmt: skip
    with pytest.raises(ProviderError):
        wire.read(asked, b"<html>not an answer</html>")
    provider.close()


@pytest.mark.litellm
@pytest.mark.parametrize("model", ["openai/writer", "anthropic/claude-sonnet-4-5"])
def test_objects_are_asked_for_more_and_more_laxly(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    settings = Model(api_base="http://127.0.0.1:9", structured="json_schema")
    wire: Carried = make_provider(model, settings, 1)  # type: ignore[assignment]
    dialect, heard = wire.dialect, list[str]()
    dialect.tell = heard.append
    request = Request("q", "s", model, (Message("user", "?"),), {"response_format": FORMAT})
    refusal = error_from_reply(400, b"the grammar compiler does not know minimum", {})
    forms = [dialect.form]
    for _ in STRUCTURED[1:]:
        before = forms[-1]
        # Once for all that were refused in one form.
        assert [dialect.adopt(before, request, refusal) for _ in range(3)] == [True] * 3
        forms.append(dialect.form)
    assert [form.level for form in forms] == list(range(len(STRUCTURED)))
    assert len(heard) == len(STRUCTURED) - 1
    assert not dialect.adopt(forms[-1], request, refusal) and dialect.form == forms[-1]
