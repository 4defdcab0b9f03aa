"""The notebook runs from its first cell to its last."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def played(cells: list[str]) -> list[Any]:
    """What each cell ends in, as a notebook shows it; ``None`` for a statement."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in cells:
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
        shown.append(value)
    return shown


def test_every_cell_runs_and_results_show_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    shown = played(cells)
    rendered = [value for value in shown if hasattr(value, "_repr_markdown_")]
    assert len(rendered) == 3 and all("|" in value._repr_markdown_() for value in rendered)
    assert shown[-1] is True and (tmp_path / "report.html").exists()
    assert ("done", 40) in shown


def test_no_output_is_kept() -> None:
    """What a cell shows is made anew by whoever runs it."""
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert book["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in book["cells"])
