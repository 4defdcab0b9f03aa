"""Addresses are judged by the host they name, and shown without what is secret in them."""

from __future__ import annotations

import pytest

from llm_batch.sending.providers.endpoints import is_loopback, plain_http, proxy_for, shown


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "http://models.localhost/v1",
        "http://127.0.0.1:8000/v1",
        "http://127.8.9.10",
        "http://[::1]:8000/v1",
        "http://0.0.0.0:8000",
        "https://user:word@localhost/v1",
    ],
)
def test_an_address_of_this_machine_is_recognised(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1.example.com/v1",
        "http://localhost.example.com/v1",
        "http://192.168.0.7:8000/v1",
        "https://api.openai.com/v1",
        "http://[2001:db8::1]/v1",
        "",
    ],
)
def test_an_address_that_only_looks_like_this_machine_is_not_taken_for_it(url: str) -> None:
    assert not is_loopback(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://user:word@host:8000/v1?api-key=abc#x", "http://host:8000/v1"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
    ],
)
def test_a_url_is_shown_without_password_and_query(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, "https://api.openai.com/v1", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://api.openai.com/v1", "http://p:1"),
        ({"https_proxy": "http://p:1"}, "https://api.openai.com/v1", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://gpu-box:8000/v1", None),
        ({"ALL_PROXY": "http://p:1"}, "http://gpu-box:8000/v1", "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, "https://api.openai.com/v1", "http://p:1"),
        (
            {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com,api.openai.com"},
            "https://api.openai.com/v1",
            None,
        ),
        ({"ALL_PROXY": "http://p:1"}, "http://127.0.0.1:8000/v1", None),
    ],
)
def test_proxies_are_read_from_the_environment(
    environment: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == expected


def test_https_that_met_plain_text_is_told_to_write_http() -> None:
    found = plain_http("https://h:8000/v1", "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    assert found is not None and found.hint == "write http://h:8000/v1"
    assert plain_http("http://h/v1", "[SSL: WRONG_VERSION_NUMBER]") is None
    assert plain_http("https://h/v1", "connection refused") is None
