"""A format of documents is one file and a row, and every verb has it then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_batch import estimating, paper, reporting
from llm_batch.paper import text
from llm_batch.paper.document import Document, Section, Table
from llm_batch.reporting import comparison
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


def test_a_command_stays_on_one_line_however_long_it_is() -> None:
    command = "llmb run -c 'a config.toml' --data " + "d" * 60 + " --sample 384"
    document = Document(
        headline="Found",
        warnings=(("Too much.", f"measure it first, in a few words: {command}, or not"),),
        next_steps=(f"Run it again with other words in front of it: `{command}`.",),
    )
    lines = text.format(document).splitlines()
    assert sum(command in line for line in lines) == 2
    assert all(len(line) <= 80 for line in lines if command not in line)
