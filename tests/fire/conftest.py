"""One hostile server for all tests of this folder, as new for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server import Server, serve


@pytest.fixture(scope="session")
def one_server() -> Iterator[Server]:
    with serve(log=20_000) as server:
        yield server


@pytest.fixture
def server(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Without faults, limits and prices; a test sets its own with ``server.control``."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fire-0123456789abcdef")
    one_server.control(
        key=None, models={}, only_models=False, rpm=None, tpm=None, latency=0.0, faults={},
        hold=False,
        bursts=[], drip_seconds=0.05, words=12, seed=0,
        input_price=1.0, output_price=4.0, fault_retry_after=None, retry_after="right",
        minute=60.0, limiter="sliding", headers=False, jitter=0.0, count_rejected=False,
    )  # fmt: skip
    one_server.reset()
    return one_server
