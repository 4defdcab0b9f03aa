"""What docs/architecture.md says of adding things, done: each takes a function or class and a row.

An engine is added in tests/engines/test_table.py.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from math import isclose, sqrt
from pathlib import Path
from typing import BinaryIO

import pytest
from statsmodels.stats.proportion import proportion_confint  # type: ignore[import-untyped]

import llm_batch
from llm_batch.chain.options import Model
from llm_batch.dataset.readers import READERS, Reader
from llm_batch.dataset.shape import Row, Shape
from llm_batch.records import Completion, Interval, Request, Usage
from llm_batch.reporting import FORMATS
from llm_batch.sending.providers import PREFIXES, PROVIDERS, Reply, route
from llm_batch.sending.providers.endpoints import ENDPOINTS, Endpoint
from llm_batch.stats.interval import z_value
from tests.project import Project

ARCHITECTURE = (Path(__file__).parents[1] / "docs/architecture.md").read_text(encoding="utf-8")


def test_a_provider_is_a_class_and_its_rows(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Echo:
        """Says what it was asked; a judge's verdict where one is wanted."""

        vendor = "echo"
        on_this_machine = True
        simulated = False

        def __init__(self, model: str, settings: Model, workers: int) -> None:
            self.model = model

        def complete(self, request: Request, timeout_seconds: float) -> Reply:
            text = '{"score": 4}' if request.step == "judge" else request.messages[-1].content
            return Reply(Completion(text, self.model, "stop", Usage(7, 3)))

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setitem(PROVIDERS, "echo", Echo)  # type: ignore[arg-type]
    monkeypatch.setitem(PREFIXES, "echo", "echo")  # type: ignore[arg-type]
    project.config()
    flags = {"model": "echo/one", "judge": "echo/one", "output": project.results}
    config = llm_batch.load_config(project.folder / "llmb.toml", **flags)
    assert llm_batch.estimate(config).calls.value == 24
    summary = llm_batch.run(config)
    assert summary.progress.statuses == {"ok": 12}
    assert project.lines()[0]["outputs"]["generate"].startswith("What is ")
    assert llm_batch.report(summary.path).total.usage == Usage(24 * 7, 24 * 3)


def test_an_endpoint_that_speaks_openai_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Endpoint("https://api.toy.example/v1", ("TOY_API_KEY",), ())
    monkeypatch.setitem(ENDPOINTS, "toy", row)  # type: ignore[arg-type]
    monkeypatch.setenv("TOY_API_KEY", "sk-toy")
    way = route("toy/large", Model())
    assert (way.provider, way.name, way.base_url, way.key) == (
        "direct", "large", "https://api.toy.example/v1", "sk-toy",
    )  # fmt: skip


def agresti_coull(successes: int, n: int, level: float = 0.95) -> Interval:
    """Agresti and Coull (1998): Wald's with z squared trials more, half of them passed."""
    z = z_value(level)
    trials = n + z * z
    middle = (successes + z * z / 2) / trials
    half = z * sqrt(middle * (1 - middle) / trials)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Interval(successes / n, low, high, level, n, "agresti-coull")


def test_a_statistic_is_a_function_from_numbers_to_an_interval(project: Project) -> None:
    made = agresti_coull(9, 12)
    known = proportion_confint(9, 12, 0.05, method="agresti_coull")
    assert isclose(made.low, known[0]) and isclose(made.high, known[1])
    report = llm_batch.report(project.run().path)
    shown = replace(report, pass_rate=replace(report.pass_rate, passed=9, rate=made))
    for name in set(FORMATS) - {"csv", "html"}:  # these have items, and what the json has
        bounds = re.findall(r"(?:46\.\d|0\.46\d*|91\.\d|0\.91\d*)", shown.to(name))
        assert len(bounds) >= 2, name


def test_a_kind_of_dataset_is_a_reader_and_a_row(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_lines(stream: BinaryIO, name: str, shape: Shape) -> Iterator[Row]:
        for number, line in enumerate(stream, 1):
            question = line.decode().strip()
            yield number, {"id": f"line-{number}", "question": question, "answer": "x"}, b"", 0

    monkeypatch.setitem(READERS, ".ask", Reader(read_lines, title="questions"))
    path = project.folder / "mine.ask"
    path.write_text("Why?\nWhen?\nWhere?\n")
    project.config()
    config = llm_batch.load_config(project.folder / "llmb.toml", data=path, output=project.results)
    assert llm_batch.estimate(config).n == 3
    summary = llm_batch.run(config)
    rows = llm_batch.report(summary.path).rows()
    assert {row["id"]: row["field.question"] for row in rows} == {
        "line-1": "Why?", "line-2": "When?", "line-3": "Where?",
    }  # fmt: skip


def test_the_page_names_tables_and_rooms_that_exist() -> None:
    package = Path(llm_batch.__file__).parent
    tables = re.findall(r"`([A-Z]+)` in `([a-z_/.]+)`", ARCHITECTURE)
    assert len(tables) >= 5
    for name, place in tables:
        assert re.search(rf"^{name}\b", (package / place).read_text("utf-8"), re.MULTILINE), name
    layers = tomllib.loads((package.parent / "pyproject.toml").read_text("utf-8"))
    [contract] = layers["tool"]["importlinter"]["contracts"]
    rooms = [re.split(" [|:] ", row) for row in contract["layers"]]
    section = ARCHITECTURE.partition("## The rooms")[2].partition("\n## ")[0]
    shown = [
        re.findall("`([a-z_]+)`", row.split("|")[2]) for row in section.splitlines()[8:] if row
    ]
    assert [name for row in shown for name in row] == [name for row in rooms for name in row]
    for place in re.findall(r"`([a-z]+/[a-z_/.]+)`", ARCHITECTURE):
        assert (package / place).exists() or (package.parent / place).exists(), place
