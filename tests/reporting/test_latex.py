"""The LaTeX table and paragraph: escaped, with the settings, and accepted by TeX itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llm_batch.paper.latex import escaped
from llm_batch.reporting import FORMATS, build_report
from tests.reporting.made import full_manifest, result, write
from tests.reporting.test_formats import HOSTILE

SPECIAL = '\\input{/etc/passwd} 100% $x_1^2$ & #1 ~ {a} --- "q" `b` <c> | d\n% e'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b", r"a\_b"),
        ("50% & $5", r"50\% \& \$5"),
        ("\\x{y}", r"\textbackslash{}x\{y\}"),
        ("a^b~c#d", r"a\textasciicircum{}b\textasciitilde{}c\#d"),
        ("a--b---c", "a-{}-b-{}--c"),
        ("one\ntwo", "one two"),
    ],
)
def test_characters_of_tex_are_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_no_command_comes_from_the_data() -> None:
    allowed = {
        "textbackslash", "textasciitilde", "textasciicircum", "textasciigrave", "textless",
        "textgreater", "textbar", "symbol",
    }  # fmt: skip
    for text in (SPECIAL, *HOSTILE):
        shown = escaped(text, 500)
        assert set(re.findall(r"\\([a-zA-Z]+)", shown)) <= allowed
        assert not re.search(r"(?<!\\)[$&#%_]", shown)


def _document(folder: Path) -> str:
    names = [SPECIAL, *(text for text in HOSTILE if text.isascii() and text.isprintable())]
    results = [
        result(n, float(n % 5 + 1), fields={"category": names[n % len(names)]}) for n in range(40)
    ]
    made = full_manifest(planned=40)
    made["config"]["steps"][0]["model"] = "openai/my_model--1"
    return FORMATS["latex"](build_report(write(folder, results, made)))


def test_the_paragraph_names_the_settings(tmp_path: Path) -> None:
    results = [result(n, float(n % 5 + 1)) for n in range(40)]
    made = full_manifest(population=30_000, planned=40)
    made["config"]["steps"][0] |= {"temperature": 0.0, "max_tokens": 256}
    made["versions"] = {"llm_batch": "1.2.3"}
    path = write(tmp_path, results, made)
    (tmp_path / "results.calls.jsonl").write_text(
        '{"item":"a","step":"judge","model":"gpt-4","completion":{"model":"gpt-4-0613"}}\n'
    )
    text = " ".join(FORMATS["latex"](build_report(path)).split())
    assert "We drew 40 of 30,000 items at random (seed 42)." in text
    assert "openai/my-model (temperature 0, at most 256 output tokens)" in text
    assert "judged by gpt-4 (answering as gpt-4-0613); an item passes at a score of at least 4" in (
        text
    )
    assert "The run started on 2026-11-23." in text
    assert (
        r"Intervals are for future items like these and have a level of 95\,\%: pass rate "
        "(Wilson), mean score (Student's t)." in text
    )
    assert r"llm\_batch 1.2.3" in text


def test_every_row_of_the_table_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    text = _document(tmp_path)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) > 5
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_it(tmp_path: Path) -> None:
    document = (
        "\\documentclass{article}\n\\usepackage{booktabs,textcomp}\n\\usepackage[T1]{fontenc}\n"
        f"\\begin{{document}}\n{_document(tmp_path)}\\end{{document}}\n"
    )
    (tmp_path / "paper.tex").write_text(document, "utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 1000
