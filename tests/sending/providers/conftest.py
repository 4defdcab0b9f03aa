"""A server for all tests of a module, and an environment without keys, addresses and proxies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.server import Server, serve

_ANY_SETTING = re.compile(
    r"_API_(KEY|BASE)$|_BASE_URL$|_TOKEN$|^OR_|(^|_)proxy$|^SSL_CERT_", re.IGNORECASE
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine of a developer has set does not change what a test says."""
    for name in list(os.environ):
        if _ANY_SETTING.search(name):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    """One process for a module; `server` resets it."""
    with serve() as started:
        yield started


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A strict server that has seen nothing yet."""
    shared_server.control(
        key=None,
        headers=False,
        latency=0,
        keep_alive=0,
        drip_seconds=0.05,
        refuses=[],
        allow=["usage"],  # OpenRouter's clients send it
    )
    shared_server.reset()
    return shared_server
