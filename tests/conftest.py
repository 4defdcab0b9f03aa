"""Properties are not timed: the first example may pay for an import, and machines differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.project import Project

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)
