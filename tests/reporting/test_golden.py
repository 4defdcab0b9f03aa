"""Each format of one rich report, as it is read: a change shows here as a diff.

After a change that is meant, write the files anew:
``LLMB_GOLDEN=write pytest tests/reporting``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from llm_batch.reporting import FORMATS, build_report
from llm_batch.reporting.model import Report
from tests.reporting.example import write_example
from tests.reporting.made import full_manifest, result, write

GOLDEN = Path(__file__).parent / "golden"
#: Formats that show the report alone; those that show items read their file again and have
#: tests of their own.
SUFFIXES = {"text": "txt", "full": "full.txt", "json": "json", "md": "md", "latex": "tex"}


def _built(path: Path) -> Report:
    """The report of a file by its bare name: no folder of one test run gets into the texts."""
    with contextlib.chdir(path.parent):
        return build_report(path.name)


def _rich(folder: Path) -> Report:
    """Passes and fails, three categories, four failures, an estimate and a larger dataset."""
    scores = [
        5,
        5,
        4,
        2,
        1,
        5,
        3,
        5,
        4,
        4,
        1,
        5,
        5,
        2,
        5,
        4,
        5,
        5,
        3,
        4,
        5,
        1,
        5,
        4,
        4,
        5,
        2,
        5,
    ] * 2
    categories = ["geography", "history", "science"]
    results = [
        result(
            number,
            float(score),
            fields={"answer": "Paris", "category": categories[number % 3]},
            answer="The capital is **Paris**." if score > 2 or number % 5 == 0 else "It is Rome.",
            seconds=0.5 + number / 20,
            worst_case=number == 7,
        )
        for number, score in enumerate(scores)
    ]
    failed = [
        ("timeout", "generate: no complete answer within 60 s"),
        ("timeout", "generate: no complete answer within 60 s"),
        ("truncated", "generate: the answer was cut at 256 output tokens; raise max_tokens"),
        ("unparsed", "judge: field 'score' is 7, not an integer from 1 to 5"),
    ]
    results += [
        result(
            100 + number,
            None,
            status=status,
            error=error,
            fields={"answer": "Paris", "category": "history"},
        )
        for number, (status, error) in enumerate(failed)
    ]
    manifest = full_manifest(population=30_000, planned=60, items={"ok": 56, "timeout": 2})
    return _built(write(folder, results, manifest))


def _small(folder: Path) -> Report:
    """All of a small dataset, all passed, simulated, without a price."""
    results = [result(number, 5.0, cost=None, simulated=True) for number in range(8)]
    manifest = full_manifest(population=8, planned=8, items={"ok": 8}, simulated=True)
    return _built(write(folder, results, manifest))


def _empty(folder: Path) -> Report:
    return _built(write(folder, []))


def _several(folder: Path) -> Report:
    """Repeats, a rule, a jury where it fails, an audit of some and a further score."""
    return _built(write_example(folder))


_MADE = [_rich, _small, _empty, _several]


@pytest.mark.parametrize("name", sorted(SUFFIXES))
@pytest.mark.parametrize("make", _MADE, ids=lambda each: each.__name__.strip("_"))
def test_a_report_reads_as_it_did(make, name: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = FORMATS[name](make(tmp_path))
    golden = GOLDEN / f"{make.__name__.strip('_')}.{SUFFIXES[name]}"
    if os.environ.get("LLMB_GOLDEN") == "write":
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("make", _MADE, ids=lambda each: each.__name__.strip("_"))
def test_text_fits_80_columns_and_has_no_trailing_blanks(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for line in FORMATS["full"](make(tmp_path)).splitlines():
        assert len(line) <= 80
        assert line == line.rstrip()
        assert "\x1b" not in line
