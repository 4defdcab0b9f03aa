"""Keys are kept out of everything that is shown, logged or written.

Every key this program uses comes from the environment, so the values found there are struck out
wherever they appear. Patterns catch what providers quote of a key, and keys of other origin.
"""

from __future__ import annotations

import os
import re

_LONGEST_MESSAGE = 300
_MARK = "[key]"
_VARIABLES = re.compile(r"(^|_)((API_?)?KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_|$)", re.I)
# A shorter value would strike out parts of words.
_SHORTEST = 8
_PATTERNS = (
    # sk-proj-…, gsk_…, xai-…: a vendor's sign, then letters with a digit or a star among them.
    re.compile(
        r"(?<![A-Za-z])(?:(?:sk|pk|rk|gsk|xai|nvapi|hf|csk|fw|pplx|key)[-_]|AIza)"
        r"(?=[\w.-]*[\d*])[\w*.-]{8,}"
    ),
    re.compile(r"(?<=Bearer )\S{6,}|(?<=Basic )\S{6,}"),
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),
    re.compile(r"(?<=key=)[^\s&\"']+|(?<=token=)[^\s&\"']+", re.I),
)


_remembered: set[str] = set()


def remember_key(key: str) -> None:
    """Strike this key out from now on, whatever the variable it came from is called."""
    _remembered.add(key)


def without_keys(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """The text on one line, cut to ``longest``, with whatever is or looks like a key replaced."""
    text = " ".join(text.split())
    for key in (*_remembered, *keys_in_environment().values()):
        text = text.replace(key, _MARK)
    for pattern in _PATTERNS:
        text = pattern.sub(_MARK, text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def keys_in_environment() -> dict[str, str]:
    """The variables that hold keys, as far as their names and lengths tell, with their values."""
    return {
        name: value.strip()
        for name, value in os.environ.items()
        if len(value.strip()) >= _SHORTEST and _VARIABLES.search(name)
    }
