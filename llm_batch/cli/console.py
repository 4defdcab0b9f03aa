"""The two consoles: stdout is data, stderr is talk."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def talk() -> Console:
    """Where messages, warnings and progress go. NO_COLOR is honoured."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(sentence: str, style: str = "") -> None:
    """A sentence for the user; never interpreted as markup."""
    talk().print(sentence, style=style, markup=False)


def put(text: str) -> None:
    """Data for stdout, as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
