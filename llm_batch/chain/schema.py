"""A JSON Schema of the config, so that editors complete keys and mark what `run` would refuse.

It is made from the models and ships as a file; ``llmb init`` writes it beside the config, where
the ``#:schema`` line names it. What a schema cannot tell, the models' own checks do: it may pass
what they refuse, and refuses nothing that they pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from llm_batch.chain.config import _OURS, DEMO, DEMO_CONFIG, Config
from llm_batch.chain.templates import RESERVED

#: As it is shipped; `docs/write_cli.py` writes it anew.
SCHEMA_FILE = DEMO / "llmb.schema.json"
TITLE = "llmb.toml, the config of llmb"

_NAME = "^[A-Za-z_][A-Za-z0-9_]*$"
_URL = "^[Hh][Tt][Tt][Pp][Ss]?://."
# What the checks of the models say, as far as a schema can say it.
_MORE: dict[str, dict[str, dict[str, Any]]] = {
    "RunOptions": {
        # Of a variable nobody knows what it holds.
        "output": {"pattern": r"\.(jsonl|parquet)$|[$%]"},
        "mode": {"pattern": "^0?6[0246]{2}$"},
    },
    "Step": {
        "name": {"pattern": _NAME, "not": {"enum": sorted(RESERVED)}},
        "output": {"minProperties": 1},
        "messages": {"minItems": 1},
    },
    "Turn": {"content": {"pattern": r"\S"}},
    "OutputField": {"choices": {"minItems": 1}},
    "Model": {"api_base": {"pattern": _URL}, "api_key_env": {"pattern": r"^[A-Za-z_]\w*$"}},
    "EndpointOptions": {"api_base": {"pattern": _URL}},
    "Batch": {
        "deadline": {"pattern": r"^\s*\d+(\.\d+)?\s*[smhdSMHD]\s*$"},
        "live_tail": {"pattern": r"^\s*\d{1,2}(\.\d+)?\s*%\s*$"},
    },
}
_COMMENTED = re.compile(r"(?:# )?(\w+) = (.*?)(?:\s{2,}# (.*)|)")


def schema_text() -> str:
    """The file."""
    return json.dumps(config_schema(), indent=1, ensure_ascii=False) + "\n"


def config_schema() -> dict[str, Any]:
    """The schema of the whole file, in the draft that editors of TOML read."""
    made = Config.model_json_schema(mode="validation")
    tables: dict[str, Any] = made.pop("$defs")
    for ours in _OURS:
        made["properties"].pop(ours)
    used = set(_referred(made, tables))
    tables = {name: table for name, table in tables.items() if name in used}
    whole = {"Config": made, **tables}
    comments = _comments()
    for name, table in whole.items():
        _plain(table)
        for key, value in table.get("properties", {}).items():
            value.update(_MORE.get(name, {}).get(key, {}))
            if said := comments.get((_SECTIONS.get(name, ""), key)):
                value["description"] = said
    # A prompt stands in the step, in a file of its own, or in the data; a rule has none.
    written = {"prompt": {"pattern": r"\S"}}
    own = ("prompt", "prompt_file", "messages")
    prompted = {"anyOf": [{"required": [said]} for said in own]}
    tables["Step"]["oneOf"] = [
        *(
            {"required": [who, said], "properties": written if said == "prompt" else {}}
            for who in ("model", "models")
            for said in own
        ),
        *({"required": [who, "conversation"], "not": prompted} for who in ("model", "models")),
        {"required": ["rule", "value"]},
        {"required": ["provided"]},
    ]
    tables["ScoreRule"]["anyOf"] = [
        {"required": ["field"]},
        {"required": ["equals"]},
        {"required": ["weights"]},
    ]
    # reason = "string" is short for a table.
    kinds = tables["OutputField"]["properties"]["type"]["enum"]
    tables["OutputField"] = {"anyOf": [{"enum": kinds}, tables["OutputField"]]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": TITLE,
        **{key: value for key, value in made.items() if key != "title"},
        "definitions": tables,
    }


_SECTIONS = {
    "Data": "data",
    "Sample": "sample",
    "Limits": "limits",
    "RunOptions": "run",
    "Batch": "batch",
    "Model": "models",
    "EndpointOptions": "endpoints",
    "Step": "steps",
    "ScoreRule": "score",
}


def _referred(value: Any, tables: dict[str, Any]) -> Iterator[str]:
    """The tables that a part of the schema leads to."""
    if isinstance(value, dict):
        if isinstance(ref := value.get("$ref"), str):
            name = ref.rpartition("/")[2]
            yield name
            yield from _referred(tables[name], tables)
        for inner in value.values():
            yield from _referred(inner, tables)
    elif isinstance(value, list):
        for inner in value:
            yield from _referred(inner, tables)


def _plain(value: Any) -> None:
    """Rewrite a part in place: TOML has no null, and what is left needs no choice."""
    if isinstance(value, list):
        for inner in value:
            _plain(inner)
        return
    if not isinstance(value, dict):
        return
    choices = value.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        left = [choice for choice in choices if choice != {"type": "null"}]
        del value["anyOf"]
        value.update(left[0] if len(left) == 1 else {"anyOf": left})
    if isinstance(value.get("$ref"), str):
        value["$ref"] = value["$ref"].replace("#/$defs/", "#/definitions/")
    if value.get("default", 0) is None or isinstance(value.get("default"), dict | list):
        del value["default"]
    for key in [key for key in value if key == "title" and isinstance(value[key], str)]:
        del value[key]
    for key, inner in value.items():
        # The descriptions of tables are for those who read the code.
        if key != "description" or isinstance(inner, dict):
            _plain(inner)
    if isinstance(value.get("description"), str):
        del value["description"]


def _comments() -> dict[tuple[str, str], str]:
    """What the demo's config says of a key, by the section and the key."""
    section = ""
    found: dict[tuple[str, str], str] = {}
    last: tuple[str, str] | None = None
    for line in DEMO_CONFIG.read_text(encoding="utf-8").splitlines():
        if head := re.fullmatch(r"(?:# )?\[\[?(\w+)((?:[^\w\]][^\]]*)?)\]\]?(?: +#.*)?", line):
            section = "endpoints" if "endpoints" in head[2] else head[1]
            section = "" if head[2] == ".output" else section
            last = None
        elif entry := _COMMENTED.fullmatch(line):
            last = (section, entry[1]) if entry[3] else None
            if last and entry[3]:
                found.setdefault(last, entry[3])
        elif last and (more := re.fullmatch(r"#\s{20,}# ?(.*)", line)):
            found[last] += f" {more[1]}"
        else:
            last = None
    return found
