"""The pages for one task each are played as they stand, against the test server.

A block with a title is a file, a line with ``$`` is a command. A page begins with an empty folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.server import Server, serve

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: As they are typed on these pages.
PROGRAMS = {
    "llmb": f'#!/bin/sh\nexec "{sys.executable}" -m llm_batch "$@"\n',
    "python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
}
OWN_SERVERS = re.compile(r"http://127\.0\.0\.1:(?:8000|8080|11434)(?=/v1)")


class Page(NamedTuple):
    """A page that is played.

    Attributes:
        makes: Files that are there at the end.
        typed: What is typed into a command, by its verb.
        codes: Exit codes; 4 where some items may have no score.
    """

    makes: tuple[str, ...]
    typed: dict[str, str] = {}  # noqa: RUF012
    codes: tuple[int, ...] = (0,)


PAGES = {
    "budget": Page(("results.jsonl",)),
    "classify": Page(("llmb.toml", "results.jsonl")),
    "compare": Page(("short.jsonl", "steps.jsonl", "compared.html")),
    "gsm8k": Page(("llmb.toml", "results.jsonl", "gsm8k.html", "mini.jsonl")),
    "gate": Page(("baseline.json", "gate.xml", "gate.md"), codes=(0, 4, 5, 6)),
    "judge": Page(("labels.csv", "mini.jsonl", "nano.jsonl"), {"label": "p\nf\n" * 10}),
    "scores": Page(("results.jsonl", "pairs.jsonl"), codes=(0, 4)),
    "script": Page(("answers.csv", "results.jsonl")),
    "own-data": Page(("llmb.toml", "results.jsonl", "report.html", "items.csv")),
    "paper": Page(("methods.tex",)),
    "python": Page(("results.jsonl", "more.jsonl", "frame.jsonl")),
    "servers": Page(("results.jsonl", "ollama.jsonl", "cpp.jsonl", "mixed.jsonl")),
}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def blocks(name: str) -> Iterator[Block]:
    """All of a page, without the indent that a list gives them."""
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    fenced = r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^\1```$'
    for found in re.finditer(fenced, page, re.DOTALL | re.MULTILINE):
        indent, language, title, text = found.groups(default="")
        yield Block(language, title, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))


def commands(name: str) -> list[str]:
    lines = [line for block in blocks(name) if block.language == "console"
             for line in block.text.splitlines()]  # fmt: skip
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    scripts = [block.title for block in blocks(name) if block.language == "python"]
    return typed + [f"python {file}" for file in scripts if not any(file in line for line in typed)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path, server: Server) -> dict[str, str]:
    """An environment in which ``llmb`` is ours, and OpenAI is the test server."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONUTF8": "1",
        "NO_COLOR": "1",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{server.url}/v1",
    }


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_played_as_it_stands(
    name: str, shell: dict[str, str], server: Server, tmp_path: Path
) -> None:
    page, folder = PAGES[name], tmp_path / "here"
    folder.mkdir()
    for block in blocks(name):
        if block.title:
            text = OWN_SERVERS.sub(server.url, block.text)
            (folder / block.title).write_text(text, encoding="utf-8")
    for command in commands(name):
        typed = next((keys for verb, keys in page.typed.items() if f"llmb {verb}" in command), "")
        done = subprocess.run(
            ["sh", "-c", OWN_SERVERS.sub(server.url, command)],
            cwd=folder, env=shell, input=typed, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode in page.codes and "Traceback" not in said, f"{command}\n{said}"
    assert [made for made in page.makes if not (folder / made).stat().st_size] == []


def test_every_page_that_is_a_task_is_played() -> None:
    """Those that bring their own files; the others show what a reader has to change."""
    pages = [path.stem for path in DOCS.glob("*.md")]
    assert {name for name in pages if any(block.title for block in blocks(name))} <= set(PAGES)
    assert all(commands(name) for name in PAGES)


RESULTS = """
{"schema":2,"id":"007","status":"rejected","error":"no","fields":{"category":"a"},"outputs":{},"score":null,"passed":null}
{"schema":2,"id":"2026-11-29","status":"ok","error":"","fields":{"category":"a"},"outputs":{},"score":4.0,"passed":true}
{"schema":2,"id":"1e3","status":"ok","error":"","fields":{"category":"b"},"outputs":{},"score":2.5,"passed":false}
"""


def test_results_load_in_one_line_with_the_types_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.jsonl").write_text(RESULTS.lstrip())
    monkeypatch.chdir(tmp_path)
    (shown,) = [block.text for block in blocks("python") if block.title == "tables.py"]
    found: dict[str, Any] = {}
    exec(shown, found)
    ids, passed = ["007", "2026-11-29", "1e3"], [None, True, False]
    frame, table = found["frame"], found["table"]
    assert list(frame["id"]) == ids == table["id"].to_list()
    assert {name: str(frame.dtypes[name]) for name in ("id", "score", "passed")} == {
        "id": "string", "score": "Float64", "passed": "boolean",
    }  # fmt: skip
    assert [None if value is found["pandas"].NA else value for value in frame["passed"]] == passed
    assert table["passed"].to_list() == passed and table["score"].to_list() == [None, 4.0, 2.5]
    assert sorted(found["rates"].fetchall()) == [("a", 1.0), ("b", 0.0)]
    rows = found["duckdb"].sql("select id::varchar, score, passed from 'results.jsonl'").fetchall()
    assert [row[0] for row in rows] == ids


def test_the_site_is_built_and_every_link_in_it_leads_somewhere(tmp_path: Path) -> None:
    """Strict: a page that is not listed, a link or an anchor that leads nowhere is an error."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")]
    assert len(pages) > len(list(DOCS.glob("*.md")))
    loaded = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?(https?:)?//""")
    assert not any(map(loaded.search, pages)), "a page loads something from elsewhere"
