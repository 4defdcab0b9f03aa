"""A batch server for each test; starting one takes a millisecond."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch_server import BatchServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    with BatchServer() as server:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AZURE_API_KEY"):
            monkeypatch.setenv(name, server.key)
        yield server
