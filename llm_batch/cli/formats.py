"""Choosing a format by name and handing the text over."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import TypeVar

from llm_batch.errors import ConfigError, OutputError
from llm_batch.flags import expanded

T = TypeVar("T")


def chosen(formats: Mapping[str, Callable[[T], str]], name: str) -> Callable[[T], str]:
    """The formatter called ``name``.

    Raises:
        ConfigError: There is none.
    """
    if name not in formats:
        near = difflib.get_close_matches(name, formats, n=1)
        raise ConfigError(
            f"--format {name!r} is not known",
            f"did you mean {near[0]}?" if near else f"formats are {', '.join(formats)}",
        )
    return formats[name]


def deliver(text: str, output: str | None) -> None:
    """Write to a file, or to stdout without one or with ``-``."""
    from llm_batch.cli.console import put, say
    from llm_batch.files import deliver as write

    if output is None or output == "-":
        put(text)
        return
    try:
        write(expanded(output), (text if text.endswith("\n") else text + "\n").encode(), "--output")
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}") from error
    say(f"wrote {output}")
