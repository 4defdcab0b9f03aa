"""``import llm_batch`` gives what a notebook needs, when it is asked for."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import llm_batch
from tests.project import Project

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")


def python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", llm_batch.__all__)
def test_every_name_of_the_face_is_there(name: str) -> None:
    assert name in dir(llm_batch)
    assert callable(getattr(llm_batch, name))


def test_type_checkers_and_python_find_the_same_things() -> None:
    tree = ast.parse(Path(llm_batch.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    given = {}
    for module, names in llm_batch._PLACES.items():
        for each in names:
            original, _, renamed = each.partition(" as ")
            given[renamed or original] = f"llm_batch.{module}.{original}"
    assert seen == given
    assert sorted(seen) == sorted(llm_batch.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'estimates'"):
        llm_batch.estimates  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_no_room(tmp_path: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import llm_batch; dir(llm_batch)\n"
        "print([name for name in set(sys.modules) - before if '.' in name and 'llm_' in name])"
    )
    assert python(code, tmp_path).strip() == "[]"


def test_the_help_of_the_command_loads_no_slow_package(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.argv = ['llmb', '--help']\nfrom llm_batch.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "slow = {'pydantic', 'litellm', 'scipy', 'numpy', 'pyarrow', 'tiktoken', 'jinja2', 'ray'}\n"
        "print('loaded', sorted(slow & set(sys.modules)))"
    )
    assert python(code, tmp_path).splitlines()[-1] == "loaded []"


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    code, *_ = re.findall(r"```python[^\n]*\n(.*?)```", PAGE, re.DOTALL)
    said = python(code, tmp_path)
    assert "done 0.0" in said and "Interval(value=" in said
    assert (tmp_path / "more.jsonl").exists()


def test_the_page_and_the_readme_name_only_what_the_face_gives() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for text in (PAGE, readme):
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            assert set(re.findall(r"llm_batch\.(\w+)", code)) <= set(llm_batch.__all__)
            assert "from llm_batch" not in code


def test_flags_are_given_by_name(project: Project) -> None:
    project.config()
    path = project.folder / "llmb.toml"
    config = llm_batch.load_config(path, sample=3, output=project.folder / "o.jsonl", budget=2)
    assert (config.sample.size, config.limits.budget) == (3, 2)
    assert config.run.output == str(project.folder / "o.jsonl")
    with pytest.raises(TypeError, match="'smaple'"):
        llm_batch.load_config(path, smaple=3)


def test_results_show_themselves_and_are_rows(project: Project) -> None:
    config = project.config()
    estimate = llm_batch.estimate(config)
    assert json.loads(estimate.to_json())["n"] == 12
    summary = llm_batch.run(config)
    report = llm_batch.report(summary.path)
    assert str(report).startswith(report.headline.split(",")[0])
    assert report._repr_markdown_() == report.to("md")
    assert json.loads(report.to_json())["schema"] == report.schema
    rows = report.rows()
    assert {row["id"] for row in rows} == {f"q{number}" for number in range(12)}
    assert all(row["status"] == "ok" and row["field.answer"] == "x" for row in rows)
    with pytest.raises(llm_batch.ConfigError, match="no format 'pdf'") as wrong:
        report.to("pdf")
    assert "json" in wrong.value.hint
    other = llm_batch.run(config.model_copy(update={"run": config.run.model_copy(
        update={"output": str(project.folder / "b.jsonl")})}))  # fmt: skip
    compared = llm_batch.compare([summary.path, other.path])
    assert compared.comparison.headline in str(compared).replace("\n", " ")
    assert json.loads(compared.to_json())["baseline"] == compared.comparison.baseline


def test_a_notebook_shows_an_error_as_the_command_line_does() -> None:
    error = llm_batch.ConfigError("wrong", "write it right")
    assert error._render_traceback_() == ["error: wrong", "  try: write it right"]
