"""Writes docs/config.md from the models of the config; ``--check`` only compares.

Keys, types and defaults are the models'; what a key means is the comment beside it in the config
that ``llmb init`` writes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_batch.chain.config import DEMO_CONFIG, Config
from llm_batch.engines import ENGINES

PAGE = Path(__file__).parent / "config.md"
TOP = """# The config

Every key of `llmb.toml`, written by `make docs` from the program's own models. `llmb init`
writes a file with comments that runs as it is. Flags win over the file, see
[the command line](cli.md). An unknown key is refused, with the one that was probably meant.
"""
#: Heading, model and section of the file, in the order of the file.
TABLES = (
    ("[data]: where items come from", "Data", "data"),
    ("[sample]: which of them are played", "Sample", "sample"),
    ("[limits]: how fast, and for how much", "Limits", "limits"),
    ("[run]: how, and where to", "RunOptions", "run"),
    ("[batch]: for the providers' batch APIs", "Batch", "batch"),
    ('[models."name"]: endpoint, prices and limits of a model', "Model", "models"),
    ("endpoints: one of several servers of a model", "EndpointOptions", "endpoints"),
    ("[[steps]]: one call of the chain", "Step", "steps"),
    ("messages: one message of a step", "Turn", "messages"),
    ("[steps.output]: a field of the step's object", "OutputField", "output"),
    ("[score] and [scores.NAME]: what is a score, and what passes", "ScoreRule", "score"),
)
#: Where the comment of the file lives on the line beside it, or there is none.
_MEANINGS = {
    (
        "data",
        "path",
    ): "a file, folder, pattern, address, database, or `-` for stdin; without it the demo "
    "questions; see [Where data lives](data.md)",
    ("data", "format"): "where the name of the file does not tell",
    ("data", "on_bad_row"): "`skip`: count the rows that cannot be read, and go on",
    ("run", "engine"): "`serial`: one call at a time; `ray`: on a cluster; `batch`: by batch APIs",
    ("models", "transport"): "who speaks to the endpoint",
    ("models", "structured"): "how to ask for objects",
    ("models", "batch_input_price"): "of the batch API; without both, your prices hold for it",
    ("models", "max_reply"): "MB a reply of this model may have",
    ("endpoints", "rpm"): "requests a minute of this endpoint",
    ("steps", "model"): "`PROVIDER/NAME`: `openai/gpt-4o-mini`, `anthropic/…`, `local/…`",
    ("steps", "prompt_file"): "a file with the prompt, beside the config",
    (
        "score",
        "field",
    ): "the step, or a field of its object: `judge`, `judge.score`; of several, the "
    "first that an item has, and a rule only where it passes",
    ("steps", "repeat"): "how often it is asked; without combine the answers stay apart, and all "
    "that follows from them is played for each",
    ("steps", "models"): "a jury: each of them is asked; needs combine",
    ("steps", "combine"): "one output of several; a tie of numbers is the lower middle, a tie of "
    "words fails the item",
    ("steps", "min_votes"): "answers that can be read, at least; without it, more than half",
    ("steps", "when"): "an expression; the step is skipped where it is false",
    ("steps", "share"): "part of the items that have the step, drawn by the seed; a larger share "
    "has the items of a smaller",
    ("steps", "provided"): "the field of the data that has the output already; no model is asked",
    ("steps", "pair"): "two outputs or fields that are judged side by side: `{{ first }}` and "
    "`{{ second }}` of the prompt, in an order drawn for each item",
    ("steps", "swap"): "of a pair: the share of the items that is judged in both orders",
    ("score", "audit"): "the field of a dearer judge that a share of the items has too",
    ("score", "weights"): "under [scores.NAME]: the sum of other scores, each so many times",
    ("score", "labels"): "numbers for words: `{ right = 1, wrong = 0 }`",
    ("limits", "rpm"): "requests a minute, per model",
    ("models", "api_base"): "address of the server, up to and without `/chat/completions`",
    ("models", "output_price"): "USD per million tokens",
    ("models", "input_price"): "USD per million tokens",
    ("models", "cache_read_price"): "of input that the provider's cache serves",
    ("models", "batch_output_price"): "of the provider's batch API",
    ("models", "tpm"): "tokens a minute of this model",
    ("models", "endpoints"): "several servers that share the model, see below",
    ("endpoints", "api_base"): "address of the server",
    ("endpoints", "api_key_env"): "the environment variable that holds its key",
    ("endpoints", "tpm"): "tokens a minute of this endpoint",
    ("steps", "name"): "how later prompts and results call its output",
    ("steps", "system"): "instructions, a template as well",
    ("steps", "messages"): "in place of prompt and system: a list of messages, see below; the last "
    "is the user's",
    ("steps", "conversation"): "the field of the data with a list of turns (`role` and `content`, "
    "or `from` and `value` as in ShareGPT, or a JSON text of it); they are sent after the system "
    "message and before the step's own prompt, or alone where there is none",
    ("steps", "images"): "pictures (PNG, JPEG, GIF, WebP) by path or address, and PDFs by path; "
    "templates as prompt is; paths begin beside the data or the config; sent with the last "
    "message. A page of a PDF is counted as its text (3,000 tokens at most) and a picture of it, "
    "by Gemini 2 as 258 tokens; models that take no PDF are refused",
    ("steps", "cache"): "marks what all prompts of the step begin with, for vendors whose cache "
    "must be asked (Anthropic, wherever it runs); others keep it by themselves",
    ("messages", "role"): "`system` (the first alone), `user` or `assistant`",
    ("messages", "content"): "a template, as prompt is",
    (
        "steps",
        "prompt",
    ): "a Jinja2 template over the item's fields and the outputs of earlier steps",
    ("steps", "max_tokens"): "cap of the answer's length, thoughts included",
    ("steps", "temperature"): "0 is the most steady; without it, the provider's own",
    ("steps", "output"): "fields of the object that the reply must be, see below",
    ("output", "type"): "what kind of value",
    ("output", "description"): "told to the model",
    ("output", "choices"): "the only texts that are taken",
    ("output", "min"): "least number that is taken",
    ("output", "max"): "greatest number that is taken",
    ("score", "min"): "end of the scale, for a judge that answers in words",
    ("score", "max"): "the other end",
}


def page() -> str:
    """The whole page."""
    models = Config.model_json_schema()["$defs"]
    meanings = _comments() | _MEANINGS
    parts = [TOP]
    for heading, name, section in TABLES:
        parts += [
            f"## {heading}\n",
            "| Key | Value | Default | Meaning |",
            "| --- | --- | --- | --- |",
        ]
        needed = models[name].get("required", ())
        for key, value in models[name]["properties"].items():
            default = "*needed*" if key in needed else _default(value)
            meaning = meanings[section, key]
            parts.append(_row(f"`{key}`", _kind(key, value), default, meaning))
        parts.append("")
    return "\n".join(parts)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _kind(key: str, value: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if key == "engine":
        return _choices(ENGINES)
    kinds = [each for each in value.get("anyOf", [value]) if each.get("type") != "null"]
    return " or ".join(dict.fromkeys(map(_one_kind, kinds)))


def _one_kind(kind: dict[str, Any]) -> str:
    if "enum" in kind:
        return _choices(kind["enum"])
    bounds = [
        f"{word} {kind[bound]:g}"
        for bound, word in (
            ("exclusiveMinimum", "above"), ("minimum", "from"), ("maximum", "to")
        )
        if bound in kind
    ]  # fmt: skip
    words = {
        "string": "text",
        "number": "number",
        "integer": "whole number",
        "boolean": "true, false",
    }
    words |= {"array": "list", "object": "table"}
    return " ".join([words[kind.get("type", "object")], *bounds])


def _choices(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ("", [], {}):
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _comments() -> dict[tuple[str, str], str]:
    """What the commented config says of a key, by section and key."""
    found: dict[tuple[str, str], str] = {}
    section, last = "", None
    for line in _lines():
        if head := re.fullmatch(r"\[+(\w+)(\S*?)\]+(?:\s+#.*)?", line):
            section = "endpoints" if head[2].endswith("endpoints") else head[1]
            section = "output" if head[2] == ".output" else section
            last = None
        elif entry := re.fullmatch(r"(\w+) = .*?\s#\s+(.*)", line):
            last = section, entry[1]
            found.setdefault(last, entry[2])
        elif last and (more := re.fullmatch(r"\s{20,}#\s(.*)", line)):
            found[last] += f" {more[1]}"
        else:
            last = None
    return found


def _lines() -> Iterator[str]:
    """The lines of the config, as if nothing in it were commented out."""
    for line in DEMO_CONFIG.read_text(encoding="utf-8").splitlines():
        yield re.sub(r"^#(?: (?=\w+ = |\[)|(?=\s{20}))", "", line)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/config.md is out of date; run: make docs")
