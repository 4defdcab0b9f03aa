"""Each format as it is read: a change shows here as a diff.

After a change that is meant, write the files anew:
``LLMB_GOLDEN=write pytest tests/estimating``.
"""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_batch.estimating import (
    FORMATS,
    Estimate,
    estimate_from_items,
    estimate_from_nothing,
    estimate_record,
)
from llm_batch.estimating.document import document
from llm_batch.estimating.estimates import ESTIMATE_SCHEMA
from llm_batch.paper.text import render
from llm_batch.record.manifest import Manifest
from tests.estimating.made import TODAY, answered_by, config, items, single

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs"
#: Words in code marks after the heading, which is where a reader looks a key up.
DOCUMENTED = {
    word
    for page in ("estimate.md", "sample-size.md")
    for code in re.findall(r"`([^`]+)`", (DOCS / page).read_text("utf-8").split("## JSON")[1])
    for word in re.findall(r"\w+", code)
}
SUFFIXES = {"text": "txt", "full": "full.txt", "json": "json", "md": "md", "line": "line.txt"}
#: Prices of the test's own: the files must not change with litellm's table.
PRICES = {
    "openai/small": {"input_price": 0.15, "output_price": 0.6},
    "openai/large": {"input_price": 30, "output_price": 60, "rpm": 100},
}


def _from_nothing() -> Estimate:
    """A bill that is worth a few warnings."""
    settings = config(
        "openai/small", "openai/large", cap=300, models=PRICES, limits={"workers": 20}
    )
    return estimate_from_nothing(settings, 30_000, today=TODAY)


def _from_items() -> Estimate:
    """Half answered, counted in part, and one model without a price."""
    rows = items(100, lambda i: "How far is it to the next town? " * (1 + i % 7))
    settings = config("openai/small", "openai/unknown", cap=300, judge_cap=200, models=PRICES)
    journal = answered_by([row.id for row in rows[:40]], ["generate", "judge"])
    return estimate_from_items(settings, rows, 200, 450, journal, most=50, today=TODAY)


CASES = {"nothing": _from_nothing, "items": _from_items}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FORMATS)
def test_the_format_reads_as_agreed(case: str, name: str) -> None:
    path = GOLDEN / f"{case}.{SUFFIXES[name]}"
    written = FORMATS[name](CASES[case]())
    if os.environ.get("LLMB_GOLDEN") == "write":
        path.write_text(written, encoding="utf-8")
    assert written == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_the_text_fits_80_columns_without_trailing_blanks(case: str) -> None:
    for line in FORMATS["full"](CASES[case]()).splitlines():
        assert len(line) <= 80
        assert line == line.rstrip()


def test_the_first_line_says_items_calls_cost_and_time() -> None:
    first = FORMATS["full"](_from_nothing()).splitlines()[0]
    assert first == "30,000 items, 60,000 calls: about $952 ($367 to $1,628), about 5 h 6 min"


def test_colour_changes_nothing_but_colour() -> None:
    from rich.console import Console
    from rich.text import Text

    coloured = StringIO()
    render(document(_from_nothing()), Console(file=coloured, width=80, force_terminal=True))
    plain = [Text.from_ansi(line).plain.rstrip() for line in coloured.getvalue().splitlines()]
    assert plain == FORMATS["full"](_from_nothing()).splitlines()


def test_names_from_the_config_are_text_and_never_markup() -> None:
    name = "fake/[bold]|<b>*x*\x1b[31m"
    made = estimate_from_nothing(single(name), 10, today=TODAY)
    assert "[bold]|<b>*x*" in FORMATS["full"](made)
    assert "\x1b" not in FORMATS["full"](made)
    markdown = FORMATS["md"](made)
    assert r"\[bold\]\|&lt;b&gt;\*x\*" in markdown and "<b>" not in markdown


def test_every_key_of_the_json_is_documented_and_always_there() -> None:
    documents = [msgspec.json.decode(FORMATS["json"](make())) for make in CASES.values()]
    assert documents[0].keys() == documents[1].keys()
    for key in _keys(documents[0]):
        assert key in DOCUMENTED, key
    assert documents[0]["schema"] == ESTIMATE_SCHEMA == 1


def test_the_json_has_the_four_figures_of_the_sample_size() -> None:
    size = msgspec.json.decode(FORMATS["json"](_from_nothing()))["sample_size"]
    assert round(size["n0"], 3) == 384.146
    assert (size["n_classic"], size["n_min"], size["n_fpc"]) == (384, 385, 380)


def test_the_json_says_null_for_what_is_unknown() -> None:
    document = msgspec.json.decode(FORMATS["json"](_from_items()))
    assert document["cost"] is None
    assert document["steps"][1]["price"] is None
    assert document["priced_cost"]["value"] > 0


@pytest.mark.parametrize("case", CASES)
def test_a_report_reads_the_estimate_of_the_manifest(case: str) -> None:
    made = CASES[case]()
    raw = msgspec.json.encode({"estimate": estimate_record(made)})
    found = Manifest.of(msgspec.json.decode(raw)).estimate
    assert found is not None
    assert found.calls == made.calls.value
    assert found.seconds is not None
    assert found.seconds.high == made.seconds.high
    for step in made.steps:
        figures = found.steps.get(step.step)
        assert figures is not None and figures.input_tokens == step.input_tokens.value
        assert (figures.cost is None) is (step.cost is None)
        if figures.cost is not None and step.cost is not None:
            assert figures.cost.expected == step.cost.value


def _keys(tree: Any) -> set[str]:
    if isinstance(tree, dict):
        return set(tree).union(*map(_keys, tree.values()))
    return set().union(*map(_keys, tree)) if isinstance(tree, list) else set()
