"""Writes docs/cli.md from the help of every command; ``--check`` only compares."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}

from typer.testing import CliRunner

from llm_batch.cli import app

PAGE = Path(__file__).parent / "cli.md"
COMMANDS = ("", "init", "estimate", "run", "report", "label")


def page() -> str:
    """The whole page."""
    parts = ["# The command line", "", "Written by `make docs` from the commands' own help.", ""]
    for command in COMMANDS:
        words = [command] if command else []
        shown = CliRunner().invoke(app, [*words, "--help"]).output
        lines = [line.rstrip() for line in shown.strip("\n").splitlines()]
        title = " ".join(["llmb", *words])
        parts += [f"## {title}", "", "```text", *lines, "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/cli.md is out of date; run: make docs")
