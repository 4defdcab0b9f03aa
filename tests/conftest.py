"""Properties are not timed: the first example may pay for an import, and machines differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from llm_batch.sending.providers import embedded
from tests.project import Project

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No estimate loads a model: what it measures differs from one moment to the next."""
    monkeypatch.setattr(embedded, "measured_speed", lambda name: None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)
