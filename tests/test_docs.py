"""What the documentation shows must work as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llm_batch.chain.config import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def flags_of(command: str) -> set[str]:
    from typer.main import get_command

    from llm_batch.cli import app

    found = get_command(app).commands[command]  # type: ignore[attr-defined]
    groups = getattr(found, "commands", {"": found}).values()
    parameters = [parameter for each in groups for parameter in each.params]
    return {flag for parameter in parameters for flag in parameter.opts} | {"--help"}


def test_the_page_of_commands_has_all_of_them_and_what_stands_in_brackets() -> None:
    """Typer takes square brackets for markup, and drops them and what is in them."""
    from typer.main import get_command

    from llm_batch.cli import app

    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for command in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"## llmb {command}" in page
    assert "[default: llmb.toml]" in page


def test_the_config_in_the_readme_loads(tmp_path: Path) -> None:
    path = tmp_path / "llmb.toml"
    path.write_text(blocks("toml")[0], encoding="utf-8")
    config = load_config(path)
    config.chain()
    assert config.judge is not None and config.judge.model == "gpt-4o"


def test_the_python_in_the_readme_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results.jsonl").exists()


def test_the_estimate_in_the_readme_is_what_the_program_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from llm_batch.cli import app

    typed, _, shown = blocks("console")[0].partition("\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, typed.removeprefix("$ llmb ").split())
    assert shown.endswith("…\n") and done.output.startswith(shown.removesuffix("…\n"))


def test_the_readme_is_short_and_its_picture_asks_nobody_for_anything() -> None:
    assert len(README.splitlines()) <= 130
    picture = (ROOT / "docs" / "report.svg").read_text(encoding="utf-8")
    assert "url(http" not in picture and "<script" not in picture and len(picture) < 40_000
    assert "Pass" in picture and "docs/report.svg" in README


PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("examples/*/README.md"),
]


def typed() -> Iterator[str]:
    """Every line with ``llmb`` in a block of what one types, on any page."""
    for page in PAGES:
        shown = r"^ *```(?:console|powershell)\n(.*?)^ *```"
        for block in re.findall(shown, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.strip().removeprefix("$ ").partition("  #")[0]
                yield from [part for part in command.split(" && ") if part.startswith("llmb ")]


@pytest.mark.parametrize("line", sorted(set(typed())))
def test_every_command_line_shown_has_only_flags_that_exist(line: str) -> None:
    _, command, *words = line.split()
    flags = {word for word in words if word.startswith("-") and not re.match(r"-\d", word)}
    assert command == "--version" or flags <= flags_of(command), line


def test_every_make_target_shown_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|; )make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target


def test_the_gsm8k_example_loads() -> None:
    config = load_config(ROOT / "examples" / "gsm8k" / "llmb.toml")
    assert config.chain().variables() == {"question", "answer"}
    assert config.score is not None and config.score.labels == {"same": 1, "different": 0}
    assert str(config.data_path()).endswith("gsm8k_test.jsonl")


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them, by the rule of GitHub."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(<?([^)\s>#]*)(?:#([^)\s>]+))?>?\)", text)
    for target, anchor in links:
        if re.match(r"[a-z]+:", target):
            continue
        there = page.parent / target if target else page
        assert there.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(there), f"{target} has no heading for #{anchor}"


def test_every_page_is_in_the_site_and_nothing_else() -> None:
    named = set(re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    found = {page.name for page in ROOT.glob("docs/*.md")}
    outside = {
        str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), *ROOT.glob("examples/*/*.md")]
    }
    assert named == found | outside


def test_the_page_on_the_config_is_what_the_models_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/write_config.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_citation_names_this_version() -> None:
    from llm_batch import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__ and cited["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "license"} <= set(cited)


def test_issue_forms_are_forms() -> None:
    """GitHub shows none that lacks a name, a description or a body whose ids are unique."""
    forms = [path for path in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml") if path.stem != "config"]
    assert forms
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form["name"] and form["description"]
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert all(field["attributes"]["label"] for field in fields)


def test_no_document_and_no_hint_installs_another_project() -> None:
    """The distribution is llmb; llm-batch on the package index is somebody else's."""
    texts = [*PAGES, *(ROOT / "llm_batch").rglob("*.py"), ROOT / "Makefile", ROOT / "install.sh"]
    told = re.compile(r"install [^\n]*\bllm[-_]batch\b")
    wrong = [path.name for path in texts if told.search(path.read_text(encoding="utf-8"))]
    assert wrong == []


def test_the_lock_has_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-run.lock", "requirements-model.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in text
        pinned = re.findall(r"^([a-z0-9A-Z._-]+)(?:\[.*\])?==", text, re.MULTILINE)
        assert pinned and text.count("--hash=sha256:") >= len(pinned)
        assert not re.search(r"^litellm==1\.82\.[78]\b", text, re.MULTILINE)


def test_what_an_image_gets_is_what_the_tests_ran_with() -> None:
    pins = [
        set(
            re.findall(
                r"^([\w.-]+)(?:\[.*\])?(==\S+)",
                (ROOT / name).read_text(encoding="utf-8"),
                re.MULTILINE,
            )
        )
        for name in ("requirements-run.lock", "requirements.lock")
    ]
    assert pins[0] and pins[0] <= pins[1]


def test_the_demo_set_is_what_the_readme_says() -> None:
    import msgspec

    lines = (ROOT / "llm_batch/demo/questions.jsonl").read_bytes().splitlines()
    rows = [msgspec.json.decode(line) for line in lines]
    assert len(rows) == len({row["id"] for row in rows}) >= 400
    assert len({row["category"] for row in rows}) == 3
    assert all(set(row) == {"id", "category", "question", "answer"} for row in rows)
