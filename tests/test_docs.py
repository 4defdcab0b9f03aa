"""What the documentation shows must work as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llm_batch.chain.config import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def flags_of(command: str) -> set[str]:
    from typer.main import get_command

    from llm_batch.cli import app

    parameters = get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {flag for parameter in parameters for flag in parameter.opts} | {"--help"}


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


@pytest.mark.parametrize(
    "line",
    sorted(
        {
            line.removeprefix("$ ").partition("#")[0].strip()
            for text in (README, (ROOT / "examples/gsm8k/README.md").read_text(encoding="utf-8"))
            for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
            for line in block.splitlines()
            if line.removeprefix("$ ").startswith("llmb ")
        }
    ),
)
def test_every_command_line_shown_has_only_flags_that_exist(line: str) -> None:
    _, command, *words = line.split()
    flags = {word for word in words if word.startswith("-") and not re.match(r"-\d", word)}
    assert flags <= flags_of(command), line


def test_every_make_target_shown_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|; )make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target


def test_the_gsm8k_example_loads() -> None:
    config = load_config(ROOT / "examples" / "gsm8k" / "llmb.toml")
    assert config.chain().variables() == {"question", "answer"}
    assert config.score is not None and config.score.labels == {"same": 1, "different": 0}
    assert str(config.data_path()).endswith("gsm8k_test.jsonl")


def test_every_link_in_the_docs_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_lock_has_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-run.lock", "requirements-model.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in text
        pinned = re.findall(r"^([a-z0-9A-Z._-]+)==", text, re.MULTILINE)
        assert pinned and text.count("--hash=sha256:") >= len(pinned)
        assert not re.search(r"^litellm==1\.82\.[78]\b", text, re.MULTILINE)


def test_the_demo_set_is_what_the_readme_says() -> None:
    import msgspec

    lines = (ROOT / "llm_batch/demo/questions.jsonl").read_bytes().splitlines()
    rows = [msgspec.json.decode(line) for line in lines]
    assert len(rows) == len({row["id"] for row in rows}) >= 400
    assert len({row["category"] for row in rows}) == 3
    assert all(set(row) == {"id", "category", "question", "answer"} for row in rows)
