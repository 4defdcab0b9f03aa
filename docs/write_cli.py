"""Writes what docs/ take from the program; ``--check`` only compares.

That is docs/cli.md, from the help of every command, and the tables of statuses and endings in
docs/reliability.md. The JSON Schema of the config is written too, into the package.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}

from typer.testing import CliRunner

from llm_batch.chain.schema import SCHEMA_FILE, schema_text
from llm_batch.cli import app
from llm_batch.errors import ENDINGS, STATUSES, VERDICTS, Status

DOCS = Path(__file__).parent
BEGIN, END = "<!-- statuses -->", "<!-- end of statuses -->"
_AFTERWARDS = {
    "": "is done",
    "answer": "is kept if there is an answer; `--retry-failed` asks again",
    "request": "is asked again, and fails again until something changes",
    "service": "is asked again",
    "run": "has no line yet, and is asked again",
}
COMMANDS = (
    *("", "init", "estimate", "run", "batches", "merge", "view"),
    *("report", "compare", "baseline set"),
    *("show", "failures", "export", "label", "models", "doctor"),
)


def page() -> str:
    """The whole page."""
    parts = ["# The command line", "", "The help of every command, written by `make docs`.", ""]
    for command in COMMANDS:
        words = command.split()
        shown = CliRunner().invoke(app, [*words, "--help"]).output
        lines = [line.rstrip() for line in shown.strip("\n").splitlines()]
        title = " ".join(["llmb", *words])
        parts += [f"## {title}", "", "```text", *lines, "```", ""]
    return "\n".join(parts)


def tables() -> str:
    """All statuses by what the next run does with the item, and all endings of a run."""
    lines = ["| Status | What happened | Retried at once | What to do |", "| --- " * 4 + "|"]
    lines += map(_row, STATUSES.values())
    lines += ["", "| What failed | In the next run, the item |", "| --- | --- |"]
    lines += [
        f"| {of or 'nothing: `ok`'} | {then}: "
        + ", ".join(f"`{row.kind}`" for row in STATUSES.values() if row.of == of)
        + " |"
        for of, then in _AFTERWARDS.items()
    ]
    lines += ["", "| A run's status | In words | Exit code |", "| --- | --- | --- |"]
    lines += [
        f"| `{ending.status}` | {ending.words or 'all items are done'} "
        f"| {ending.exit_code or '0; 4 if an item is not ok'} |"
        for ending in ENDINGS.values()
    ]
    lines += ["", "| A gate's verdict | In words | Exit code |", "| --- | --- | --- |"]
    lines += [
        f"| `{verdict.name}` | {verdict.words} | {verdict.exit_code} |"
        for verdict in VERDICTS.values()
    ]
    return "\n".join(lines)


def _row(row: Status) -> str:
    again = "yes" if row.again else ""
    advice = row.advice.replace("|", "\\|")
    kind = f"`{row.kind}`" if row.name == row.kind else f"`{row.kind}`: {row.name}"
    return f"| {kind} | {row.means} | {again} | {advice} |"


def reliability(page: str) -> str:
    """The page on reliability, with the tables between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    found = (DOCS / "reliability.md").read_text(encoding="utf-8")
    pages = {
        DOCS / "cli.md": page(),
        DOCS / "reliability.md": reliability(found),
        SCHEMA_FILE: schema_text(),
    }
    for path, text in pages.items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is out of date; run: make docs")
