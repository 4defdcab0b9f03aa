"""Writes docs/report.svg, the picture of the README: the report of a results file on a terminal.

``make demo`` makes ``demo/results.jsonl``, which is taken where no other is named.
"""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from llm_batch.paper.text import render
from llm_batch.reporting import build_report
from llm_batch.reporting.screen import screen

PICTURE = Path(__file__).parent / "report.svg"
_WIDTH = 80


def main(results: str = "demo/results.jsonl") -> None:
    shown = StringIO()
    render(
        screen(build_report(Path(results))), Console(file=shown, width=_WIDTH, force_terminal=True)
    )
    console = Console(file=StringIO(), width=_WIDTH, record=True)
    console.print("[bold green]$[/] llmb report results.jsonl", highlight=False)
    for line in shown.getvalue().replace(results, "results.jsonl").splitlines():
        console.print(Text.from_ansi(line), highlight=False, soft_wrap=True)
    svg = console.export_svg(title="llmb report", theme=MONOKAI, unique_id="report")
    # A picture that asks nobody for a font.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "monospace")
    PICTURE.write_text(re.sub(r"[ \t]+\n", "\n", svg), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
