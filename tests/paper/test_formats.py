"""A format of documents is one file and a row, and every verb has it then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_batch import estimating, paper, reporting
from llm_batch.paper import text
from llm_batch.paper.document import Document, Section, Table
from llm_batch.reporting.comparison import build as comparison
from llm_batch.reporting.gating import GATE_FORMATS
from tests.estimating.made import TODAY, config
from tests.reporting.made import manifest, result, write

SHOUT = '''
def format(document):
    """Titles in capitals, and how much stands beneath them."""
    lines = [document.headline.upper()]
    lines += [f"{section.title.upper()}: {len(section.parts)}" for section in document.sections]
    lines += [f"{title.upper()}: {len(entries)}" for title, entries in document.lists()]
    return "\\n".join(lines) + "\\n"
'''


def _report(folder: Path) -> reporting.Report:
    folder.mkdir()
    results = [result(number, float(1 + number % 5)) for number in range(20)]
    return reporting.build_report(write(folder, results, manifest()))


def _results(folder: Path) -> tuple[Mapping[str, Any], Any, str, list[str]]:
    made = _report(folder / "run")
    return reporting.FORMATS, made, made.headline, ["RESULT: ", "NEXT: "]


def _comparison(folder: Path) -> tuple[Mapping[str, Any], Any, str, list[str]]:
    paths = [Path(_report(folder / name).path) for name in ("one", "two")]
    made = comparison.compare_reports(paths)
    return comparison.COMPARISON_FORMATS, made, made.comparison.headline, ["DIFFERENCE: "]


def _estimate(folder: Path) -> tuple[Mapping[str, Any], Any, str, list[str]]:
    from llm_batch.estimating.document import headline

    made = estimating.estimate_from_nothing(config(), 100, today=TODAY)
    sections = ["COST AND TOKENS: ", "TIME: 1", "ASSUMPTIONS: "]
    return estimating.FORMATS, made, headline(made), sections


@pytest.mark.parametrize(("width", "gap"), [(11, "  "), (12, " ")])
def test_a_table_that_is_a_little_too_wide_has_narrower_gaps(width: int, gap: str) -> None:
    cells = tuple("x" * width for _ in range(6))
    made = Document(
        "h", sections=(Section("", (Table(("",) * 6, (False, *[True] * 5), (cells,)),)),)
    )
    assert gap.join(cells) in text.format(made)


@pytest.mark.parametrize("shown", [_results, _comparison, _estimate])
def test_a_format_that_is_a_file_and_a_row_shows_reports_comparisons_and_estimates(
    shown: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats, made, headline, begins = shown(tmp_path)
    before = set(formats)
    (tmp_path / "llmb_shout.py").write_text(SHOUT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(paper.RENDERERS, "shout", ("document", "llmb_shout"))
    assert set(formats) == before | {"shout"} and len(formats) == len(before) + 1
    first, *lines = formats["shout"](made).splitlines()
    assert first == headline.upper()
    assert all(any(line.startswith(begin) for line in lines) for begin in begins)


DOCUMENT = Document(
    "A | finding",
    ("from here",),
    (Section("Figures", (Table(("", "n"), (False, True), (("a", "1"),)), "A sentence.")),),
    ("one holds",),
    (("careful", "llmb run"), ("no hint", "")),
    ("go on",),
)


def test_text_has_all_of_a_document_in_reading_order() -> None:
    from llm_batch.paper.text import format

    assert format(DOCUMENT).splitlines() == [
        "A | finding", "from here",
        "", "Figures", "     n", "  a  1", "  A sentence.",
        "", "Assumptions", "  - one holds",
        "", "Warnings", "  - careful", "    → llmb run", "  - no hint",
        "", "Next", "  - go on",
    ]  # fmt: skip


def test_markdown_has_all_of_a_document_in_reading_order() -> None:
    from llm_batch.paper.markdown import format

    assert [line for line in format(DOCUMENT).splitlines() if line] == [
        "# A \\| finding", "from here",
        "## Figures", "|  | n |", "| --- | ---: |", "| a | 1 |", "A sentence.",
        "## Assumptions", "- one holds",
        "## Warnings", "- careful  ", "  → llmb run", "- no hint",
        "## Next", "- go on",
    ]  # fmt: skip


def test_latex_has_tables_the_finding_and_what_it_rests_on() -> None:
    from llm_batch.paper.latex import format

    rows = (("all_of", "1,200", "< 0.001"), ("a", "-", "[-1.5, 2]"), ("b & c", "-3", "$x$"))
    table = Table(("", "n", "CI (%)"), (False, True, True), rows, sums=1)
    shown = format(replace(DOCUMENT, sections=(Section("At 95 %", (table,), "tab:one"),)))
    assert [line.strip() for line in shown.splitlines() if line][4:] == [
        r"\begin{table}[t]", r"\centering", r"\caption{At 95\,\%}", r"\label{tab:one}",
        r"\begin{tabular}{lrr}", r"\toprule", r" & $n$ & CI (\%) \\".strip(), r"\midrule",
        r"all\_of & 1{,}200 & $<0.001$ \\", r"\midrule",
        r"a & -- & [$-1.5$, 2] \\", r"b \& c & $-3$ & \$x\$ \\", r"\bottomrule",
        r"\end{tabular}", r"\end{table}",
        "% The finding, for the text:", r"A \textbar{} finding", "one holds",
    ]  # fmt: skip


def test_a_result_has_the_formats_of_the_views_it_gives() -> None:
    assert list(estimating.FORMATS) == ["text", "line", "full", "json", "md"]
    assert list(reporting.FORMATS) == list(comparison.COMPARISON_FORMATS)
    assert [*reporting.FORMATS, "junit"] == list(GATE_FORMATS) == list(paper.RENDERERS)
