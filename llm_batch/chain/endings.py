"""Why an answer ended: what the words of vendors and servers mean.

Only a word on the list of those that mean a whole answer is taken for one. The other lists tell
what else is certain; of any other word nothing is, so it is kept as it is and said.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

#: The model came to an end of its own.
WHOLE = "stop"
#: A cap or the context's end came first.
CUT = "length"
#: Somebody's rules stopped it.
FILTERED = "content_filter"
#: It wants a tool called, so the text is no answer.
TOOL_CALL = "tool_calls"
#: The server failed halfway; another attempt may be whole.
BROKEN = "broken"
#: No text came, though it ended as whole.
EMPTY = "empty"
#: All text is reasoning, though it ended as whole.
REASONING = "reasoning"

_LONGEST = 80

# In small letters, without anything between words: END_TURN, endTurn and end-turn are one. Of
# OpenAI and those who copy it, Anthropic, Gemini, Cohere, TGI, AI21, Titan, Baidu, Aleph Alpha,
# TensorRT-LLM, Ollama (whose "load" is an answer without text), the Responses API and gateways.
_OF_WHOLE = """
    stop stopsequence stopsequences stopsequencehit stopsequencereached stopstring stopstringfound
    stoptoken stopword stopwords stopcriteria stopcriteriamet endid imend matchedstop matchedtoken
    matchedstr eos eosid eostoken eosfound endofsequence eot eotid eom endturn endofturn endoftext
    endoftextreached endofmessage end eod complete completed finish finished done success
    succeeded successful ok normal load
"""
_UNSAID = frozenset(("", "none", "null", "undefined", "unspecified"))
# Fragments, since there is no end of words for these. Looked for in this order: ERROR_TOXIC is a
# filter's and ERROR_LIMIT a cap's, but a rate_limit is none.
_OF_FILTERS = """
    filter safety unsafe sensitiv moderat policy prohibited block recitation spii refus guardrail
    toxic violat harm censor inappropriate copyright flagged forbidden contentrisk jailbreak
    blacklist modelarmor
"""
_OF_CAPS = """
    length maxtoken maximumtoken maxoutput maxnew maxcompletion maxpredicted tokenlimit
    tokenslimit outputlimit errorlimit contextwindow contextlimit contextsize contextfull
    outofcontext truncat limitreached compaction
"""
_OF_FAILURES = """
    error abort network resource fail timeout timedout deadline cancel interrupt overload
    unavailable disconnect connection exhaust preempt evict internal outofmemory oom crash killed
    unload busy lost
"""
_WHOLE = frozenset(_OF_WHOLE.split())
_FRAGMENTS = (
    (FILTERED, _OF_FILTERS.split()),
    (BROKEN, ["ratelimit", "quota"]),
    (CUT, _OF_CAPS.split()),
    (TOOL_CALL, ["tool", "functioncall"]),
    (BROKEN, _OF_FAILURES.split()),
)
# As Google numbers them; https://ai.google.dev/api/generate-content#FinishReason.
_NUMBERED = (
    "",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
)


def word_of(said: Any) -> str:
    """The word in what stands where a reason should; empty when there is none."""
    if isinstance(said, str):
        return "" if _folded(said[:_LONGEST]) in _UNSAID else said.strip()[:_LONGEST]
    if isinstance(said, bool):
        return WHOLE if said else "false"  # as in ``finished: true``
    if isinstance(said, int | float):
        known = said in range(len(_NUMBERED))
        return _NUMBERED[int(said)] if known else str(said)[:_LONGEST]
    if isinstance(said, list):
        return next(filter(None, map(word_of, said[:3])), "")
    if isinstance(said, dict):
        named = (said.get(name) for name in ("type", "reason", "finish_reason", "name", "value"))
        return next((word_of(one) for one in named if isinstance(one, str | int)), "")
    return ""


@lru_cache(maxsize=256)
def ending(word: str) -> str:
    """What a word means: ``WHOLE``, ``CUT``, … or the word itself, of which nothing is known.

    No word at all counts as whole: many servers say nothing.
    """
    if word in (EMPTY, REASONING):  # our own, in a journal
        return word
    folded = _folded(word)
    if folded in _WHOLE or folded in _UNSAID:
        return WHOLE
    if "malformed" in folded:  # Gemini, of a call or an answer: neither is what it was to be
        return word
    for meaning, fragments in _FRAGMENTS:
        if any(fragment in folded for fragment in fragments):
            return meaning
    return word


def _folded(word: str) -> str:
    """``FinishReason.MAX_TOKENS`` and ``max-tokens`` are ``maxtokens``."""
    letters = "".join(letter for letter in word.casefold() if letter.isalnum())
    short = letters.removeprefix("finishreason").removeprefix("stopreason")
    return short or letters
