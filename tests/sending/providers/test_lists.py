"""Where an endpoint lists its models, and what is read of the list."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_batch.sending.providers import Prepared
from llm_batch.sending.providers.lists import list_url, listed
from tests.server import serve


@pytest.mark.parametrize(
    ("live", "url"),
    [
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/models"),
        ("http://h:1/v1/chat/completions?k=1", "http://h:1/v1/models?k=1"),
        ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/models?limit=1000"),
        ("https://g/v1beta/models/x:generateContent", "https://g/v1beta/models?pageSize=1000"),
        ("http://localhost:11434/api/chat", "http://localhost:11434/api/tags"),
        ("https://a/openai/deployments/x/chat/completions?api-version=1", ""),
        ("https://bedrock/model/x/converse", ""),
    ],
)
def test_the_list_is_at_the_host_of_the_live_requests(live: str, url: str) -> None:
    assert list_url(live) == url


@pytest.mark.parametrize(
    ("live", "header"),
    [
        ("/v1/chat/completions", {"Authorization": "Bearer sk-right"}),
        ("/v1/messages", {"x-api-key": "sk-right"}),
        ("/v1beta/models/m:generateContent", {"x-goog-api-key": "sk-right"}),
        ("/api/chat", {"Authorization": "Bearer sk-right"}),
    ],
)
def test_every_vendors_list_is_read(live: str, header: dict[str, str]) -> None:
    with serve(key="sk-right", models={"m": {}, "other": {}}) as server:
        found = listed(Prepared(server.url + live, header, b"{}"), 20)
        sent = server.log()[-1]["headers"]
    assert found.names == ("m", "other") and found.has("m") and not found.has("n")
    assert "content-type" not in sent


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"data": [{"id": "a"}, {"id": 5}, {"id": "x" * 400}, "b", None, {"id": "a"}]}, ("a",)),
        ([{"id": "a"}], ("a",)),
        ({"models": [{"name": "models/g"}, {"model": "llama3:latest"}]}, ("g", "llama3:latest")),
        ({"data": []}, ()),
    ],
)
def test_what_is_no_name_is_passed_over(body: Any, names: tuple[str, ...]) -> None:
    from llm_batch.sending.providers import lists

    rows = lists._rows(msgspec.json.decode(msgspec.json.encode(body)))
    assert rows is not None
    assert tuple(dict.fromkeys(lists._names(rows))) == names
