"""Prompt templates: Jinja2 in a sandbox, where data is text and never a template.

A rendered prompt depends on its context alone, since the journal finds paid answers by it: what
is random or shows an address in memory is not there or refused.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from llm_batch.errors import ConfigError

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

#: Words of the template language: a step with such a name could not be named.
RESERVED = frozenset(
    ("item", "self", "true", "false", "none", "True", "False", "None", "not", "loop", "caller")
)
_CONSTANTS = frozenset(("true", "false", "none", "True", "False", "None", "self"))
_BRACED = re.compile(r"\{([^{}\n]{1,100})\}")
_INSERTED = re.compile(r"\{\{-?([^{}|]*)")
# What Python's format and f-strings take behind a name.
_FORMAT = re.compile(r"(?:![rsa])?(?::[-<>=^+#0-9.,_]*[bcdeEfFgGnosxX%]?)?")
_ROW = re.compile(r"(?:item|row|data|record|example|sample)(?:\.|\[['\"]?)")
_LATEX = re.compile(r"(?:\\[A-Za-z]+\*?(?:\{[^{}]*\}|\[[^\[\]]*\])*|[\\_^])$")
_LOOKED_BACK = 200
_EXPRESSION = re.compile(r"\s*\{\{-?((?:(?!\}\}).)+?)-?\}\}\s*", re.DOTALL)
_PLAIN = (str, int, float, bytes, Decimal, date, time, timedelta, UUID)

_Insert = Callable[[Mapping[str, Any]], str]


def inserted(name: str) -> str:
    """How a template inserts a field, whatever it is called."""
    if name.isidentifier() and not keyword.iskeyword(name) and name not in RESERVED:
        return f"{{{{ {name} }}}}"
    return f"{{{{ item[{name!r}] }}}}"


class PromptError(Exception):
    """A prompt cannot be rendered for one item; the message names the step and the reason."""


class Template:
    """One template of a step, which messages call ``where`` (``steps.judge.prompt``).

    Raises:
        ConfigError: It is not a valid template, or wants to include a file.
    """

    def __init__(self, source: str, where: str) -> None:
        from jinja2 import TemplateError, meta

        self._where = where
        self._source = source
        environment = _environment()
        try:
            tree = environment.parse(source)
            self._parts = _parts_of(tree)
            if self._parts is None:
                _ = self._template  # a filter that there is not is found by compiling
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise ConfigError(
                f"{where} is not a valid template{f' (its line {line})' if line else ''}: {error}",
                _syntax_hint(source),
            ) from error
        if any(True for _ in meta.find_referenced_templates(tree)):
            raise ConfigError(
                f"{where} includes, imports or extends another template",
                "write the whole prompt in one place; prompt_file reads it from a file",
            )
        self.variables: set[str] = meta.find_undeclared_variables(tree)
        self.inserted = set(_inserted_names(tree))
        #: The text in front of whatever is inserted first, and whether there is nothing else.
        self.head, self.is_constant = _head(tree)

    @cached_property
    def _template(self) -> jinja2.Template:
        return _environment().from_string(self._source)

    def single_braces(self, names: Collection[str]) -> tuple[int, str, str] | None:
        """Where a name in single braces inserts nothing: the line, what stands there, the name.

        JSON and LaTeX have such braces too; what stands in them there is no name of a field, or
        belongs to a command.
        """
        raw = False
        for line, token, value in _environment().lex(self._source):
            raw = (raw or token == "raw_begin") and token != "raw_end"
            if raw or token != "data":
                continue
            for found in _BRACED.finditer(value):
                name = _meant(found[1].strip(), names)
                before = value[max(0, found.start() - _LOOKED_BACK) : found.start()]
                in_math = before.endswith("$") and value.startswith("$", found.end())
                if name and not in_math and not _LATEX.search(before):
                    return line + value.count("\n", 0, found.start()), found[0], name
        return None

    def inserts(self) -> Iterator[str]:
        """What stands first in each ``{{ … }}``, filters left out."""
        for found in _INSERTED.finditer(self._source):
            yield found[1].strip().removesuffix("-").rstrip()

    def constants(self, names: Collection[str]) -> list[str]:
        """Names that are inserted and mean a word of the language, not the field so called."""
        return [word for word in self.inserts() if word in _CONSTANTS and word in names]

    def render(self, context: Mapping[str, Any]) -> str:
        """The text for one item.

        Raises:
            PromptError: A name is not there, or an expression does not work for these values.
        """
        if self._parts is not None:
            try:
                return "".join(
                    [part if isinstance(part, str) else part(context) for part in self._parts]
                )
            except Exception:
                pass  # Jinja says what is the matter, or knows the name
        from jinja2.exceptions import SecurityError

        try:
            return self._template.render(context)
        except SecurityError as error:
            raise PromptError(f"{self._where}: not allowed: {error}") from error
        except Exception as error:
            # Whatever an expression raises is a matter of the template and this item's values.
            said = str(error) or type(error).__name__
            raise PromptError(f"{self._where}: {said}") from error


def _parts_of(tree: nodes.Template) -> list[str | _Insert] | None:
    """A template that only inserts fields, in pieces; ``None`` for every other.

    Joining them takes a twentieth of the time that Jinja takes, most of it for a new context.
    """
    from jinja2 import nodes

    parts: list[str | _Insert] = []
    for node in (node for each in tree.body for node in getattr(each, "nodes", [each])):
        part = node.data if isinstance(node, nodes.TemplateData) else _inserted(node)
        if part is None:
            return None
        parts.append(part)
    return parts


def _head(tree: nodes.Template) -> tuple[str, bool]:
    from jinja2 import nodes

    found = [node for each in tree.body for node in getattr(each, "nodes", [each])]
    first = found[0] if found else None
    head = first.data if isinstance(first, nodes.TemplateData) else ""
    return head, len(found) == bool(head)


def _inserted_names(tree: nodes.Template) -> Iterator[str]:
    """What stands in plain ``{{ name }}`` and ``{{ item["name"] }}``, outside of conditions."""
    from jinja2 import nodes

    for node in (node for each in tree.body for node in getattr(each, "nodes", ())):
        if isinstance(node, nodes.Name):
            yield node.name
        elif isinstance(node, nodes.Getattr | nodes.Getitem):
            of_item = isinstance(node.node, nodes.Name) and node.node.name == "item"
            key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
            if of_item and isinstance(key, str):
                yield key


def _inserted(node: Any) -> _Insert | None:
    """What inserts ``{{ name }}``, ``{{ name.key }}`` or ``{{ name["key"] }}``; else ``None``."""
    from jinja2 import nodes

    key: Any = None
    if isinstance(node, nodes.Getattr):
        node, key = node.node, node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        node, key = node.node, node.arg.value
        if not isinstance(key, str):
            return None
    if not isinstance(node, nodes.Name) or node.name in _CONSTANTS:
        return None
    name = node.name
    if key is None:
        return lambda context: str(_as_text(context[name]))

    def inner(context: Mapping[str, Any]) -> str:
        whole = context[name]
        if not isinstance(whole, Mapping):
            raise TypeError  # a method or an index, which Jinja looks up
        return str(_as_text(whole[key]))

    return inner


def _meant(inner: str, names: Collection[str]) -> str:
    if inner in names:
        return inner
    row = _ROW.match(inner)
    rest = inner[row.end() :] if row else inner
    for name in sorted(names, key=len, reverse=True):
        if name and rest.startswith(name):
            behind = rest[len(name) :]
            if row and "[" in row[0]:
                behind = behind.lstrip("'\"").removeprefix("]")
            if _FORMAT.fullmatch(behind.strip()):
                return name
    return ""


def _syntax_hint(source: str) -> str:
    for found in _INSERTED.finditer(source):
        inner = found[1].strip()
        if inner in ("not", "if", "else", "in", "is", "and", "or"):
            return f"{inner} is a word of templates; a field so called is {{{{ item[{inner!r}] }}}}"
        if re.fullmatch(r"[\w?!#&/ -]+", inner) and not inner.isidentifier():
            return f"a field with such a name is written {{{{ item[{inner!r}] }}}}"
    return "templates are Jinja2: {{ field }} inserts a field"


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        def getattr(self, obj: Any, attribute: str) -> Any:
            # {{ order.items }} is the field, not the method of that name.
            if isinstance(obj, Mapping) and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Undefined) else _as_text(value)

    environment = Environment(
        undefined=StrictUndefined, finalize=finalize, autoescape=False, keep_trailing_newline=True
    )
    del environment.filters["random"], environment.globals["lipsum"]
    return environment


@lru_cache(maxsize=64)
def skipped(step: str) -> Any:
    """The output of a step that an item does not have: false, and no text."""
    from jinja2 import StrictUndefined, Undefined

    class Skipped(Undefined):
        __str__ = StrictUndefined.__str__

    return Skipped(
        f"{step!r} was skipped for this item; ask first: {{% if {step} %}} … {{% endif %}}"
    )


def _as_text(value: Any) -> Any:
    """How a value reads inside a prompt: objects as JSON, a missing cell as nothing."""
    if value is None:
        return ""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    raise TypeError(
        f"a {type(value).__name__} has no text; add () to call a method, or |list to a filter"
    )


class Condition:
    """An expression that is true or false of a row: ``{{ lang == "de" and score > 3 }}``.

    Raises:
        ConfigError: It is not a single expression in double braces, or not a valid one.
    """

    def __init__(self, source: str, where: str) -> None:
        from jinja2 import TemplateError, meta

        self._where = where
        found = _EXPRESSION.fullmatch(source)
        example = f"""write {where.rpartition(".")[2]} = '{{{{ lang == "de" }}}}'"""
        if found is None:
            raise ConfigError(f"{where} is not one expression in double braces", example)
        environment = _environment()
        try:
            self._holds = environment.compile_expression(found[1], undefined_to_none=False)
            self.variables: set[str] = meta.find_undeclared_variables(environment.parse(source))
        except TemplateError as error:
            raise ConfigError(f"{where} is not a valid expression: {error}", example) from error

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Whether it is true of these fields.

        Raises:
            PromptError: A name is not there, or the expression does not work for these values.
        """
        try:
            return bool(self._holds({"item": fields, **fields}))
        except Exception as error:
            # Whatever an expression raises is a matter of the expression and this row's values.
            raise PromptError(f"{self._where}: {str(error) or type(error).__name__}") from error
