"""The JSON Schema of the config: current, no stricter than the models, and of use."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from llm_batch.chain.config import DEMO_CONFIG
from llm_batch.chain.schema import SCHEMA_FILE, schema_text
from tests.chain.test_config import PROMISED, SMALL, UNKNOWN, WRONG, uncommented

ROOT = Path(__file__).parents[2]
VALIDATOR = Draft7Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))

#: What only the checks of the models can tell: how values go with each other, what is in a text.
BEYOND = (
    "finite number", "is for fake/", "must be a URL", "goes too far", "cannot read", "used twice",
    "cannot be 'keep'", "does not go here", "above the max", "is not an output", "names no step",
    "nothing could pass", "are for words", "all would pass", "but judge.score has",
    "does not go with labels", "name of a journal",
)  # fmt: skip


def problems(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def configs() -> dict[str, str]:
    """Every config in the repository that a user may read or copy."""
    golden = tomllib.loads((ROOT / "tests/golden/cases.toml").read_text(encoding="utf-8"))
    found = {
        "promised": PROMISED,
        "small": SMALL,
        "demo": DEMO_CONFIG.read_text(encoding="utf-8"),
        "demo, all of it": uncommented(DEMO_CONFIG.read_text(encoding="utf-8")).replace(
            'prompt_file = "generate.txt"', ""
        ),
        **{name: text.replace("{url}", "http://h") for name, text in golden["configs"].items()},
    }
    for path in (ROOT / "examples").rglob("*.toml"):
        found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for number, block in enumerate(page.read_text(encoding="utf-8").split("```toml\n")[1:]):
            text = block.partition("```")[0]
            if "[[steps]]" in text:
                found[f"{page.name} {number}"] = text
    return found


def test_the_file_that_is_shipped_is_the_schema_of_the_models() -> None:
    Draft7Validator.check_schema(json.loads(schema_text()))
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "run: make docs"


@pytest.mark.parametrize("name", configs())
def test_every_example_passes(name: str) -> None:
    assert problems(configs()[name]) == []


@pytest.mark.parametrize(("old", "new"), [case[:2] for case in UNKNOWN])
def test_an_unknown_key_is_marked(old: str, new: str) -> None:
    assert problems(SMALL.replace(old, new, 1)) != []


@pytest.mark.parametrize(("old", "new", "said"), WRONG, ids=[case[2][:60] for case in WRONG])
def test_a_wrong_value_is_marked_where_a_schema_can_tell(old: str, new: str, said: str) -> None:
    marked = bool(problems(SMALL.replace(old, new, 1)))
    assert marked or any(words in said for words in BEYOND)


@pytest.mark.parametrize(
    "changed",
    [
        ("size = 10", 'size = 10\nstratify = "a"'),
        ('name = "judge"\n', 'name = "judge"\ntemperature = 1\n'),
        ("[score]", '[run]\noutput = "$OUT"\n[score]'),
        ("[score]", '[batch]\ndeadline = "90 M"\n[score]'),
        ("[score]", '[models."x/y"]\napi_base = "HTTP://[::1]:80/v1"\n[score]'),
    ],
    ids=lambda changed: changed[1][:30],
)
def test_what_the_models_take_is_not_marked(changed: tuple[str, str]) -> None:
    assert problems(SMALL.replace(*changed, 1)) == []


def test_keys_come_with_the_words_of_the_example() -> None:
    tables: dict[str, Any] = json.loads(schema_text())["definitions"]
    described = [
        key
        for name in ("Data", "Sample", "Limits", "RunOptions", "Batch")
        for key, value in tables[name]["properties"].items()
        if value.get("description")
    ]
    assert len(described) > 25
    assert "items to play" in tables["Sample"]["properties"]["size"]["description"]
