"""The two consoles: stdout is data, stderr is talk."""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


# All but tab and line feed; the codes from 80 to 9f are obeyed by some terminals too. Marks that
# turn the direction of writing make a text look like another one, and halves of characters cannot
# be written.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@cache
def talk() -> Console:
    """Where messages, warnings and progress go. NO_COLOR is honoured."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def say(sentence: str, style: str = "") -> None:
    """A sentence for the user; never interpreted as markup."""
    talk().print(printable(sentence), style=style)


def put(text: str) -> None:
    """Data for stdout, as it is; a terminal is shown what it would obey."""
    if sys.stdout.isatty():
        text = printable(text)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    """The text without characters that a terminal would obey instead of show."""
    return _CONTROL.sub("\ufffd", text)
