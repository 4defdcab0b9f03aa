"""Keys are kept out of everything that is shown, logged or written.

Every key this program uses comes from the environment, so the values found there are struck out
wherever they appear. `llm_batch.chain.credentials` knows what providers quote of a key, and keys of
other origin.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import replace
from urllib.parse import quote

from llm_batch.chain.credentials import MARK, is_whole_secret, without_shapes
from llm_batch.records import Completion

_LONGEST_MESSAGE = 300
# What is beyond it is not looked at for shapes of keys, since it is not shown either.
_LOOKED_AT = 20
_VARIABLES = re.compile(r"(^|_)((API_?)?KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_|$)", re.I)
# As long as this a key is struck out of answers too: no text holds it by chance.
_CERTAIN = 16

_remembered: tuple[str, ...] = ()  # replaced and never changed: threads read it
# Whether an answer held a key of ours, and whether that was said.
_echoed = threading.Event()


def remember_key(key: str) -> None:
    """Strike this key out from now on, whatever the variable it came from is called.

    A placeholder ("test", "none") is no secret, and stands in ordinary words.
    """
    global _remembered
    if is_whole_secret(key) and key not in _remembered:
        _remembered = tuple(dict.fromkeys((*_remembered, key, quote(key, safe=""))))


def without_own_keys(text: str) -> str:
    """The text with every key replaced that this process has."""
    for key in (*_remembered, *keys_in_environment().values()):
        text = text.replace(key, MARK)
    return text


def without_keys(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """The text on one line, cut to ``longest``, with whatever is or looks like a key replaced."""
    text = without_own_keys(" ".join(text.split()))
    text = without_shapes(text[: longest * _LOOKED_AT])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def without_echoes(completion: Completion) -> Completion:
    """The completion without keys that this run sent and the server repeats.

    They are struck out of what it says of itself, and out of its text where they are too long to
    be there by chance.
    """
    keys = [key for key in _remembered if key in completion.text and len(key) >= _CERTAIN]
    about = (completion.model, completion.response_id, completion.finish_reason)
    if not keys and not any(key in each for key in _remembered for each in about):
        return completion
    model, response_id, finish_reason = map(without_own_keys, about)
    text = completion.text
    for key in keys:
        text = text.replace(key, MARK)
    _echoed.set()
    return replace(
        completion, text=text, model=model, response_id=response_id, finish_reason=finish_reason
    )


def heard_echo() -> bool:
    """Whether a server repeated a key since this was asked last."""
    heard = _echoed.is_set()
    _echoed.clear()
    return heard


def keys_in_environment() -> dict[str, str]:
    """The variables that hold keys, as far as their names and values tell, with their values."""
    return {
        name: value.strip()
        for name, value in os.environ.items()
        if is_whole_secret(value.strip()) and _VARIABLES.search(name)
    }
