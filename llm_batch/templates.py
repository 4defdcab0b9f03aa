"""Prompt templates: Jinja2 in a sandbox, where data is text and never a template.

A rendered prompt depends on its context alone, since the journal finds paid answers by it: what
is random or shows an address in memory is not there or refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from llm_batch.errors import ConfigError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_PLAIN = (str, int, float, bytes, Decimal, date, time, timedelta, UUID)


class PromptError(Exception):
    """A prompt cannot be rendered for one item; the message names the step and the reason."""


class Template:
    """One template of a step.

    Args:
        source: Its text.
        where: What messages call it (``steps.judge.prompt``).

    Attributes:
        variables: The names it looks up.

    Raises:
        ConfigError: It is not a valid template, or wants to include a file.
    """

    def __init__(self, source: str, where: str) -> None:
        from jinja2 import TemplateError, meta

        self._where = where
        environment = _environment()
        try:
            tree = environment.parse(source)
            self._template = environment.from_string(source)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise ConfigError(
                f"{where} is not a valid template{f' (its line {line})' if line else ''}: {error}",
                "templates are Jinja2: {{ field }} inserts a field",
            ) from error
        if any(True for _ in meta.find_referenced_templates(tree)):
            raise ConfigError(
                f"{where} includes, imports or extends another template",
                "write the whole prompt in one place; prompt_file reads it from a file",
            )
        self.variables: set[str] = meta.find_undeclared_variables(tree)

    def render(self, context: Mapping[str, Any]) -> str:
        """The text for one item.

        Raises:
            PromptError: A name is not there, or an expression does not work for these values.
        """
        from jinja2.exceptions import SecurityError

        try:
            return self._template.render(context)
        except SecurityError as error:
            raise PromptError(f"{self._where}: not allowed: {error}") from error
        except Exception as error:
            # Whatever an expression raises is a matter of the template and this item's values.
            said = str(error) or type(error).__name__
            raise PromptError(f"{self._where}: {said}") from error


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
