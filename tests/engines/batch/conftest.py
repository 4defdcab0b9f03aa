"""A batch server for each test; starting one takes a millisecond."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch_server import BatchServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    with BatchServer() as server:
        for name in ("OPENAI", "ANTHROPIC", "GEMINI", "AZURE", "GROQ", "MISTRAL", "TOGETHER"):
            monkeypatch.setenv(f"{name}_API_KEY", server.key)
        yield server
