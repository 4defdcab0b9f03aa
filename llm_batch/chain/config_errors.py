"""What is wrong with a config file, as one sentence with the line and what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from llm_batch.chain.outputs import Wrong
from llm_batch.errors import ConfigError

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


@dataclass(frozen=True, slots=True)
class Written:
    """A config as it was written: where each key stands, and what overruled it.

    ``raw`` has the flags written in; ``flags`` tells which set a value, by its path.
    """

    where: str
    text: str
    raw: Mapping[str, Any]
    flags: Mapping[Place, str]
    root: type[BaseModel]

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
        hint = self._chosen(path, context, given) if kind == "literal_error" else ""
        return self.wrong(path, message + _not(given), hint)

    def _chosen(self, path: Place, context: Mapping[str, Any], given: Any) -> str:
        """The choice that was probably meant, or else the first, as it is written there."""
        words = re.findall(r"'([^']*)'", context["expected"])
        near = difflib.get_close_matches(str(given).lower(), words, n=1)
        if not words:
            return ""
        flag, word = self.flags.get(path), (near or words)[0]
        return f"{flag} {word}" if flag else f'write {path[-1]} = "{word}"'

    def wrong(self, path: Place, message: str, hint: str = "") -> ConfigError:
        """An error at a place in the file, or at the flag that overruled it."""
        flag = self.flags.get(path)
        if flag:
            return ConfigError(f"{flag} {message}", hint)
        line = self._line(path)
        at = f"{self.where}, line {line}" if line else self.where
        place = self._place(path)
        return ConfigError(f"{at}: {place} {message}" if place else f"{at} {message}", hint)

    def unknown_key(self, path: Place, given: Any) -> ConfigError:
        """A key that means nothing here, with the one that was probably meant."""
        last = str(path[-1])
        known = _keys_at(self.root, path[:-1])
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
        for name in _keys_at(self.root, ()):
            yield name, _keys_at(self.root, (name,))

    def _place(self, path: Place) -> str:
        """A path as a reader would write it: steps by their name, model names in quotes."""
        parts: list[str] = []
        for depth, part in enumerate(path):
            name = _at(self.raw, (*path[: depth + 1], "name")) if depth == 1 else None
            if isinstance(part, str):
                parts.append(_quoted(part))
            elif isinstance(name, str) and name:
                parts.append(_quoted(name))
            else:
                parts[-1] += f"[{part + 1}]"
        return ".".join(parts)

    def _line(self, path: Place) -> int | None:
        lines = key_lines(self.text)
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
        if not header and re.match(rf"\s*(?:{_DOTTED}\s*=\s*\[\s*)?\{{", line):
            # A message in a list over several lines, whose text goes over several too.
            closing = next((each for each in ('"""', "'''") if line.count(each) % 2), closing)
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


_CURLY = str.maketrans("“”„‟«»‘’‚‛", '""""""\'\'\'\'')
_CONTROLS = {
    "\f": (r"\f", "a form feed"),
    "\b": (r"\b", "a backspace"),
    "\t": (r"\t", "a tab"),
    "\r": (r"\r", "a carriage return"),
    "\n": (r"\n", "a line end"),
}
# No prompt has these; a tab and a line end are fine, but for what is left of a LaTeX command.
_NEVER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_EATEN = re.compile(
    r"\t(?:imes|ext(?:bf|it|rm|tt)?|heta|frac|riangle|ilde|herefore)(?![a-z])"
    r"|\n(?:abla|eq|eg|otin)(?![a-z])"
)
_BARE = re.compile(r"[^\s\"'#\[\]{},=]+")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


def not_toml(where: str, text: str, said: str) -> ConfigError:
    """A file that is no TOML: the line, and what to write there."""
    lines = text.splitlines() or [""]
    at = re.search(r"\(at line (\d+), column \d+\)", said)
    number = min(int(at[1]), len(lines)) if at else _opened(lines, said)
    problem, hint = _explained_toml(lines, number, said)
    return ConfigError(f"{where} is not valid TOML: {problem} (line {number})", hint)


def _opened(lines: Sequence[str], said: str) -> int:
    """The line on which something begins that has no end, or else the last one with text."""
    marks = {"Unterminated": '"', "Unclosed array": "[", "Unclosed inline": "{", "Expected": "'"}
    mark = next((mark for start, mark in marks.items() if said.startswith(start)), "")
    opens = re.compile(rf"\s*{_DOTTED}\s*=\s*{re.escape(mark)}")
    numbers = range(len(lines), 0, -1)
    opened = next((n for n in numbers if mark and opens.match(lines[n - 1])), 0)
    return opened or next((n for n in numbers if lines[n - 1].strip()), 1)


def _explained_toml(lines: Sequence[str], number: int, said: str) -> tuple[str, str]:
    line = lines[number - 1].strip()
    pair = re.match(rf"({_DOTTED})\s*=\s*(.*)", line)
    key, value = (pair[1], pair[2].strip()) if pair else ("", "")
    straight = len(value) > 1 and value[0] in "\"'" and value[0] in value[1:]
    if said.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        return _stands_twice(lines, number)
    if line.translate(_CURLY) != line and not straight:
        return "the quotes are curly", f"write straight ones: {line.translate(_CURLY)[:100]}"
    if "Unescaped" in said or "hex value" in said or (value.endswith('\\"') and "'" not in value):
        return "in double quotes a backslash begins an escape", _in_single_quotes(key, value)
    if line.startswith("["):
        model = re.match(r"\[\[?models\.([^\"'\]]*/[^\"'\]]*)", line)
        if model:
            return (
                "the name of a model is not in quotes",
                f'quote the name of a model: [models."{model[1]}"]',
            )
        return "this is no header of a table", "a header stands alone on its line: [data]"
    if not pair:
        return _no_pair(line)
    if not value:
        return f"{key} has no value", "write one behind the =, text in quotes, or leave the key out"
    if value.startswith("["):
        return f"the list of {key} is not right", f'write {key} = ["one", "two"]'
    if value.startswith("{"):
        return (
            f"the table of {key} in braces is not right",
            f"write it on one line, as {key} = {{ a = 1, b = 2 }}, or as a table: [{key}]",
        )
    if value.startswith(('"""', "'''")):
        return f"the text of {key} does not end as it begins", f"close it with {value[:3]}"
    return _bad_quotes(key, value) if value[0] in "\"'" else _bare_value(key, value)


def _stands_twice(lines: Sequence[str], number: int) -> tuple[str, str]:
    table, tables = "", dict[str, int]()
    keys: dict[str, int] = {}
    for at, line in enumerate(lines[:number], 1):
        header = re.match(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]", line)
        pair = re.match(rf"\s*({_DOTTED})\s*=", line)
        if header:
            table, keys = header[2], {}
            first = tables.setdefault(table, at)
            if at == number and (header[1] == "[[" or "[[" in lines[first - 1] or first == at):
                return f"{table} is a table and a list of tables", f"write [[{table}]] for each"
            if at == number:
                return (
                    f"[{table}] stands twice, first in line {first}",
                    f"move these keys up under the [{table}] of line {first}",
                )
        elif pair:
            first = keys.setdefault(pair[1].strip("\"'"), at)
            if at == number and first < at:
                under = f" under [{table}]" if table else ""
                return (
                    f"{pair[1]} stands twice{under}, first in line {first}",
                    "keep one of the two",
                )
    return "a key stands twice", "keep one of the two"


def _in_single_quotes(key: str, value: str) -> str:
    if not key or value.startswith('"""'):
        return "use single quotes, in which a backslash is itself: '''…''' around several lines"
    inner = value[1:].rpartition('"')[0] or value[1:]
    quotes = "'''" if "'" in inner else "'"
    return f"use single quotes, in which a backslash is itself: {key} = {quotes}{inner}{quotes}"


def _no_pair(line: str) -> tuple[str, str]:
    if line.startswith("="):
        return "there is no key before the =", 'write key = "value"'
    if line.startswith(("//", "--", ";", "/*", "%")):
        return "this is no comment", "comments begin with #"
    name, sign, rest = line.partition("=")
    if sign:
        return (
            f"{name.strip()!r} is no key",
            f'a key with such characters goes in quotes: "{name.strip()}" ={rest}',
        )
    name, sign, rest = line.partition(":")
    if sign and re.fullmatch(_KEY, name.strip()):
        return f"{name.strip()} has a colon", f"write {name.strip()} = {_as_value(rest)}"
    return (
        "this is neither a table nor a key with a value",
        'text of several lines goes between """ and """; a comment begins with #',
    )


def _bad_quotes(key: str, value: str) -> tuple[str, str]:
    quote, end = value[0], value.rfind(value[0])
    other = "'" if quote == '"' else '"'
    if end <= 0:
        return (
            f"the text of {key} does not end on its line",
            f"close it with {quote}; text of several lines goes between {3 * quote} and "
            f"{3 * quote}",
        )
    inner = value[1:end].strip(quote)
    if quote in value[1:end] and other not in inner:
        return (
            f"the text of {key} has its own quotes in it",
            f"use the other quotes around it: {key} = {other}{inner}{other}",
        )
    return (
        f"there is more behind the text of {key}",
        "write one key a line; a comment begins with #",
    )


def _bare_value(key: str, value: str) -> tuple[str, str]:
    bare = _BARE.match(value)
    word = bare[0] if bare else value
    if word.lower() in _TRUE + _FALSE:
        right = "true" if word.lower() in _TRUE else "false"
        return f"{word} is no value", f"write {key} = {right}"
    if word.lower() in ("none", "null", "nil"):
        return f"{word} is no value", f"leave {key} out"
    if re.match(r"\d+,\d+\b", value):
        return f"{key} has a decimal comma", f"write {key} = {value.replace(',', '.', 1)}"
    if re.fullmatch(r"0\d+", word):
        return "the number begins with 0", f"write {key} = {word.lstrip('0') or '0'}"
    if re.match(rf"[\d.]+\s+{_DOTTED}\s*=", value):
        return "two keys stand on one line", "write one key a line"
    return (
        f"the value of {key} is neither a number nor text in quotes",
        f"text goes in quotes: {key} = {_as_value(value)}",
    )


def _as_value(value: str) -> str:
    value = value.partition(" #")[0].strip()
    if re.fullmatch(r"-?\d+(\.\d+)?|true|false|\".*\"|'.*'|\[.*\]", value):
        return value
    return f"'{value}'" if '"' in value else f'"{value}"'


def refuse_controls(written: Written, raw: Mapping[str, Any]) -> None:
    r"""Refuse paths and prompts in which a backslash became a character that nobody meant.

    In double quotes ``\f`` is a form feed and ``\t`` a tab, so ``"\frac"`` and ``"C:\temp"`` are
    not what they look like.

    Raises:
        ConfigError: There is such a text.
    """
    models, steps = raw.get("models"), raw.get("steps")
    paths: list[Place] = [("data", "path"), ("run", "output")]
    if isinstance(models, dict):
        paths += [("models", name, "script") for name in models]
    texts: list[Place] = []
    for position in range(len(steps) if isinstance(steps, list) else 0):
        paths.append(("steps", position, "prompt_file"))
        texts += [("steps", position, "prompt"), ("steps", position, "system")]
        pictures = _at(raw, ("steps", position, "images"))
        for number in range(len(pictures) if isinstance(pictures, list) else 0):
            paths.append(("steps", position, "images", number))
        turns = _at(raw, ("steps", position, "messages"))
        for number in range(len(turns) if isinstance(turns, list) else 0):
            texts.append(("steps", position, "messages", number, "content"))
    for place in [*paths, *texts]:
        text = _at(raw, place)
        if not isinstance(text, str):
            continue
        if place in paths:
            found = re.search(r"[\x00-\x1f\x7f]", text)
        else:
            found = _NEVER.search(text) or _EATEN.search(text)
        if found:
            raise _eaten(written, place, text, found.start())


def _eaten(written: Written, place: Place, text: str, at: int) -> ConfigError:
    escape, name = _CONTROLS.get(text[at], (repr(text[at])[1:-1], "a control character"))
    behind = re.match(r"[\w.]*", text[at + 1 : at + 20])
    quotes = "'''…'''" if "\n" in text.replace("\n" + (behind[0] if behind else ""), "") else "'…'"
    return written.wrong(
        place,
        f"holds {name}, which {escape} stands for in double quotes: "
        f"{escape}{behind[0] if behind else ''}",
        f"use single quotes, in which a backslash is itself: {place[-1]} = {quotes}",
    )
