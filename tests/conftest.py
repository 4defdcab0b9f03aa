"""Which tests are slow, how several workers share them, and what all tests have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from llm_batch.sending.providers import embedded
from tests.project import Project

# Properties are not timed: the first example may pay for an import, and machines differ. Their
# examples are the same each time; --hypothesis-profile random looks for others.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile("steady")

#: What is slow, by folder or file: ``make test-all`` runs it, and so does naming it.
SLOW = {
    "browser": "browser",
    "engines/ray": "cluster",
    "fire": "fire",
    "engines/batch/test_cli.py": "process",
    "engines/batch/test_kill.py": "kill",
    "cli/test_estimate.py": "process",
    "cli/test_estimate_claims.py": "process",
    "cli/test_label.py": "process",
    "cli/test_streams.py": "process",
    "engines/ray/test_kill.py": "kill",
    "fire/test_kill.py": "kill",
    "test_pages.py": "process",
    "test_release.py": "process",
}
_TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Where no file, folder or marker is asked for, the fast tests are meant."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if not named and not config.option.markexpr:
        config.option.markexpr = f"not ({' or '.join(sorted(set(SLOW.values())))})"


@pytest.hookimpl(tryfirst=True)  # markers are looked at afterwards
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(_TESTS).as_posix()
        for name, marker in SLOW.items():
            if place == name or place.startswith(f"{name}/"):
                item.add_marker(marker)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file goes to one worker, so that it starts its servers once; so do all of the cluster.

    Clusters on one machine would be in each other's way, and each takes half a minute to start.
    """
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "cluster" if "/engines/ray/" in file else file

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No estimate loads a model: what it measures differs from one moment to the next."""
    monkeypatch.setattr(embedded, "measured_speed", lambda name: None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)
