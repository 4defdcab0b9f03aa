"""Keys: what one looks like, and how all are kept out of what is shown, logged or written.

A key is told by the name of its place, by its vendor's sign, by its randomness. Those of this
program come from the environment, so the values found there are struck out wherever they appear.
Everything here is linear in the length of a text, whoever wrote it: patterns have no two repeats
side by side, and what follows a sign is looked at once.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import replace
from urllib.parse import quote

from llm_batch.records import Completion

#: What stands where a key was.
MARK = "[key]"
#: A shorter value is a placeholder ("test", "none"), and would be struck out of ordinary words.
_SHORTEST = 8
#: A value of letters alone is taken for a word ("lm-studio") unless it is as long as this.
_SHORTEST_WITHOUT_DIGIT = 16

# A vendor's sign; what follows it, in one run of characters, is the key when a digit or a star is
# in it: sk-proj-…, gsk_…, ghp_…, AIza…, AKIA…, eyJ… (a JWT).
_SIGN = re.compile(
    r"(?<![A-Za-z])(?:(?:sk|pk|rk|gsk|xai|nvapi|hf|csk|fw|pplx|key|r8|glpat|npm|gh[oprsu]"
    r"|github_pat|xox[abeprs]|dapi|tgp)[-_]|AIza|AKIA|ASIA|eyJ|ya29\.)"
)
_RUN = re.compile(r"[\w*.-]{10,}")
_LEAST_BEHIND_SIGN = 8
_DIGIT_OR_STAR = re.compile(r"[\d*]")
_SCHEME = re.compile(r"((?:Bearer|Basic) )(\S{6,})")
_USERINFO = re.compile(r"(?<=://)[^/?#\s@]+(?=@)")
_QUERY = re.compile(r"([?&]([\w.~-]{1,64})=)([^\s&\"'<>#]+)")
_SET = re.compile(r"((?:key|token|secret|password|sig|signature)=)([^\s&\"']+)", re.I)
_HEADER = re.compile(
    r"((?:authorization|api[-_]?key|-key|[-_]secret|[-_]token|cookie|password)[\"']? ?[:=] ?"
    r"[\"']?)([^\s\"',;&<>]{6,})",
    re.I,
)
_PRIVATE = "PRIVATE KEY-----"
_RANDOM = re.compile(r"[A-Za-z0-9]{16,}")

_PARAMETER_NAMES = re.compile(
    r"api[-_]?key|authorization|passw(?:or)?d|passphrase|secret|credential|cookie|\bjwt\b"
    r"|(?:access|auth|bearer|id|refresh|session|security|api|identity)[-_]?token|^token$"
    r"|(?:private|access|subscription|signing|account)[-_]?key",
    re.I,
)
_HEADER_NAMES = re.compile(
    r"key|token|auth|secret|cookie|passw|credential|signature|jwt|bearer|\bsas\b", re.I
)
_QUERY_NAMES = re.compile(
    r"key|token|secret|passw|signature|credential|auth|^(?:code|sig|sas|pwd|jwt)$", re.I
)
# Ids that are long and random, and no secrets.
_PUBLIC_HEADERS = ("openai-organization", "openai-project", "traceparent", "user-agent")


def is_whole_secret(value: str) -> bool:
    """Whether a key is long enough to be one, and is struck out of texts wherever it stands."""
    least = _SHORTEST if re.search(r"\d", value) else _SHORTEST_WITHOUT_DIGIT
    return len(value) >= least


def without_shapes(text: str) -> str:
    if (begins := text.find(_PRIVATE)) >= 0:
        text = text[:begins] + MARK
    if _SIGN.search(text):
        text = _RUN.sub(_behind_sign, text)
    text = _SCHEME.sub(_if_no_word, text)
    text = _USERINFO.sub(MARK, text)
    text = _QUERY.sub(_in_query, text)
    text = _SET.sub(rf"\1{MARK}", text)
    return _HEADER.sub(_if_no_word, text)


def _behind_sign(run: re.Match[str]) -> str:
    sign = _SIGN.search(run[0])
    if sign is None or len(run[0]) - sign.end() < _LEAST_BEHIND_SIGN:
        return run[0]
    # A later sign in the same run has less behind it, so the first decides.
    found = _DIGIT_OR_STAR.search(run[0], sign.start())
    return run[0][: sign.start()] + MARK if found else run[0]


def _if_no_word(found: re.Match[str]) -> str:
    """Struck out unless it is a word: "Basic authentication", "api_key: missing."."""
    value = found[2]
    word = value.rstrip(".,;:!)")
    is_word = len(word) < _SHORTEST_WITHOUT_DIGIT and word.isalpha() and word[1:].islower()
    return found[0] if is_word or value.startswith(MARK) else found[1] + MARK


def _in_query(found: re.Match[str]) -> str:
    secret = _QUERY_NAMES.search(found[2]) or looks_random(found[3])
    return found[1] + MARK if secret else found[0]


def looks_random(value: str) -> bool:
    """Whether letters and digits stand mixed in it as in a key or a hash, and in no word."""
    return any(
        sum(map(str.isdigit, run)) >= 2 and sum(map(str.isalpha, run)) >= 2
        for run in _RANDOM.findall(value)
    )


def hides_key(value: str) -> bool:
    return without_shapes(value) != value


def parameter_is_secret(name: str) -> bool:
    return bool(_PARAMETER_NAMES.search(name))


def header_is_secret(name: str, value: str) -> bool:
    if name.lower() in _PUBLIC_HEADERS:
        return hides_key(value)
    return bool(_HEADER_NAMES.search(name)) or hides_key(value) or looks_random(value)


def query_is_secret(name: str, value: str) -> bool:
    return bool(_QUERY_NAMES.search(name)) or hides_key(value) or looks_random(value)


# What this process has

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
    """Since this was asked last."""
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
