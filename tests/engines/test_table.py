"""The table of engines is the one place that knows them by name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_batch.chain.config import Overrides, load_config
from llm_batch.engines import ENGINES, Engine, Kind, Supplies
from llm_batch.errors import ConfigError
from llm_batch.estimating import estimate
from llm_batch.records import Call, Request
from llm_batch.running.earlier import Earlier
from llm_batch.running.pilot import dry_run
from tests.project import Project

PACKAGE = Path(__file__).parents[2] / "llm_batch"


class Toy(Engine):
    """Serves the request that came last first."""

    note = "toys at work"

    def __init__(self, supplies: Supplies) -> None:
        self.serve, self.requests = supplies.fleet.call, list[Request]()

    @property
    def free(self) -> int:
        return 2 - self.held

    @property
    def held(self) -> int:
        return len(self.requests)

    def submit(self, request: Request) -> None:
        self.requests.append(request)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        return [self.serve(self.requests.pop())] if self.requests else []

    def give_back(self) -> Sequence[Request]:
        returned, self.requests = self.requests, []
        return returned

    def close(self) -> None:
        self.requests.clear()


def test_an_engine_is_a_class_and_a_row(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "toy", Kind("toy", "toy", Toy, at_once=1))
    config, notes = project.config(engine="toy"), set[str]()
    summary = project.run(config, progress=lambda state: notes.add(state.jobs))
    assert (summary.status, summary.progress.statuses["ok"]) == ("done", 12)
    assert notes == {Toy.note} and len(project.model.sent()) == 24
    manifest = json.loads((project.folder / "results.manifest.json").read_text())
    assert manifest["engine"] == "toy"


def test_what_a_row_says_is_what_is_done(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of a toy that carries two at a time, and refuses everything else it is asked."""
    asked: list[str] = []

    def check(config: object, dry: bool) -> None:
        asked.append(f"check dry={dry}")
        raise ConfigError("no toys here")

    def refuse(output: str, overwrite: bool) -> None:
        asked.append(f"{Path(output).name} overwrite={overwrite}")
        raise ConfigError("toys lie about")

    toy = Kind("toy", "toy", Toy, check, at_once=2, refuse_open=refuse)
    monkeypatch.setitem(ENGINES, "toy", toy)
    config = project.config(engine="toy")
    assert toy.workers(config) == 2 and toy.workers(project.config(engine="toy", workers=1)) == 1
    with pytest.raises(ConfigError, match="no toys here"):
        project.run(config)
    with pytest.raises(ConfigError, match="toys lie about"):  # another engine would pay again
        project.run(project.config(engine="threads"))
    assert asked == ["check dry=False", "results.jsonl overwrite=False"]
    assert not project.model.requests and not project.results.exists()


def test_what_no_vendor_batches_is_refused_before_anything_is_set_aside(project: Project) -> None:
    project.run()
    config = project.config(engine="batch")
    with pytest.raises(ConfigError, match="cannot be served by batch"):
        project.run(config, earlier=Earlier(overwrite=True))
    with pytest.raises(ConfigError, match="cannot be served by batch"):
        dry_run(config)
    assert len(project.lines()) == 12


def test_one_call_at_a_time_takes_longer_than_many(project: Project) -> None:
    slow, quick = (
        estimate(project.config(engine=name, workers=10)).seconds for name in ("serial", "threads")
    )
    assert slow.value > quick.value


def test_a_name_that_is_in_no_row_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, Overrides(engine="toy"))
    assert "--engine must be 'threads', 'serial', 'ray' or 'batch', not 'toy'" in str(refused.value)


def test_nothing_but_the_table_asks_for_an_engine_by_its_name() -> None:
    by_name = re.compile(r"\bengine\s*[!=]=|\brun\.engine\b")
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if by_name.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"engines/__init__.py"}
