"""What is wrong with a config file, as one sentence with the line and what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from llm_batch.errors import ConfigError
from llm_batch.outputs import Wrong

#: Keys and positions that lead to a value in the config.
Place = tuple[str | int, ...]

_SENTENCES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
_SHOWN = 60
_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"


class Written:
    """A config as it was written: where each key stands, and what overruled it.

    Args:
        where: What messages call the file.
        text: Its text.
        raw: Its values, with the flags written in.
        flags: The flag that set a value, by the value's path.
        root: The model the values are checked against.
    """

    def __init__(
        self,
        where: str,
        text: str,
        raw: Mapping[str, Any],
        flags: Mapping[Place, str],
        root: type[BaseModel],
    ) -> None:
        self._where = where
        self._text = text
        self._raw = raw
        self._flags = flags
        self._root = root

    def explained(self, error: ValidationError) -> ConfigError:
        """The first problem; an unknown key before all, since it also leaves one missing."""
        problems = error.errors(include_url=False)
        problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        path, kind, context = problem["loc"], problem["type"], problem.get("ctx", {})
        given = problem.get("input")
        if kind == "extra_forbidden":
            return self.unknown_key(path, given)
        if kind == "missing":
            return self.wrong(
                path[:-1], f"has no {path[-1]}", "llmb init writes a complete example"
            )
        if isinstance(context.get("error"), Wrong):
            found: Wrong = context["error"]
            return self.wrong((*path, *found.path), str(found), found.hint)
        if path == ("steps",) and isinstance(given, dict):
            return self.wrong(path, "must be a list", "write [[steps]], with two brackets")
        sentence = _SENTENCES.get(kind)
        message = sentence.format(**context) if sentence else problem["msg"]
        return self.wrong(path, message + _not(given))

    def wrong(self, path: Place, message: str, hint: str = "") -> ConfigError:
        """An error at a place in the file, or at the flag that overruled it."""
        flag = self._flags.get(path)
        if flag:
            return ConfigError(f"{flag} {message}", hint)
        line = self._line(path)
        at = f"{self._where}, line {line}" if line else self._where
        place = self._place(path)
        return ConfigError(f"{at}: {place} {message}" if place else f"{at} {message}", hint)

    def unknown_key(self, path: Place, given: Any) -> ConfigError:
        """A key that means nothing here, with the one that was probably meant."""
        last = str(path[-1])
        known = _keys_at(self._root, path[:-1])
        near = difflib.get_close_matches(last, known, n=1)
        homes = [f"[{name}]" for name, keys in self._sections() if last in keys]
        if len(path) > 1 and path[0] == "models" and isinstance(given, dict):
            hint = 'quote the name of a model: [models."openai/gpt-4.1"]'
        elif near:
            hint = f"did you mean {near[0]!r}?"
        elif homes:
            hint = f"{last} goes under {' or '.join(homes)}"
        else:
            hint = f"known keys: {', '.join(known)}"
        return self.wrong(path, "is not a known key", hint)

    def _sections(self) -> Iterator[tuple[str, list[str]]]:
        for name in _keys_at(self._root, ()):
            yield name, _keys_at(self._root, (name,))

    def _place(self, path: Place) -> str:
        """A path as a reader would write it: steps by their name, model names in quotes."""
        parts: list[str] = []
        for depth, part in enumerate(path):
            name = _at(self._raw, (*path[: depth + 1], "name")) if depth == 1 else None
            if isinstance(part, str):
                parts.append(_quoted(part))
            elif isinstance(name, str) and name:
                parts.append(_quoted(name))
            else:
                parts[-1] += f"[{part + 1}]"
        return ".".join(parts)

    def _line(self, path: Place) -> int | None:
        """The line of the key, or of the nearest table around it that is in the file."""
        lines = key_lines(self._text)
        around = (path[:length] for length in range(len(path), 0, -1))
        return next((lines[part] for part in around if part in lines), None)


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else f'"{key}"'


def _not(given: Any) -> str:
    if given == "" or not isinstance(given, str | int | float | bool):
        return ""
    # As TOML has it, and short: it may be a whole prompt in the wrong place.
    text = str(given).lower() if isinstance(given, bool) else repr(given)
    return f", not {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"


def _at(raw: Any, path: Place) -> Any:
    for part in path:
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            return None
    return raw


def _keys_at(root: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a place; names that the user chooses lead nowhere else."""
    model = root
    for part in path:
        if part in model.model_fields:
            model = _table_in(model.model_fields[str(part)].annotation) or model
    return [name for name, field in model.model_fields.items() if not field.exclude]


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _table_in(arg))), None)


def key_lines(text: str) -> dict[Place, int]:
    """The line of every key and table header of a TOML document that is valid, from 1.

    tomllib does not tell lines. Keys of inline tables are found to a depth of one, which is as
    deep as this config has them.
    """
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    closing = ""
    for number, line in enumerate(text.splitlines(), 1):
        if closing:  # inside a text of several lines
            closing = "" if closing in line else closing
            continue
        header = re.match(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]", line)
        pair = re.match(rf"\s*({_DOTTED})\s*=\s*(.*)", line)
        if header:
            table = _within(_split(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                found.setdefault(table, number)
                table = (*table, counts[table])
            found.setdefault(table, number)
        elif pair:
            key = (*table, *_split(pair[1]))
            found.setdefault(key, number)
            for inner in re.finditer(rf"[{{,]\s*({_DOTTED})\s*=", pair[2]):
                found.setdefault((*key, *_split(inner[1])), number)
            opened = re.match(r'"""|\'\'\'', pair[2])
            if opened and opened[0] not in pair[2][3:]:
                closing = opened[0]
    return found


def _within(path: tuple[str, ...], counts: Mapping[Place, int]) -> Place:
    """A header's path; below an array of tables it belongs to the last one."""
    placed: Place = ()
    for position, part in enumerate(path):
        placed = (*placed, part)
        if position < len(path) - 1 and placed in counts:
            placed = (*placed, counts[placed])
    return placed


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))
