"""What of a reply is an answer: why it ended, its text without the thoughts before it, and what
several calls for one answer come to.

Only a word on the list of those that mean a whole answer is taken for one. The other lists tell
what else is certain; of any other word nothing is, so it is kept as it is and said.

Servers that do not part the two send the thoughts in front of the answer, in marks that differ
from model to model. Thoughts are taken off only where they are certain to stand: at the beginning
of the text, before a closing mark that nothing opened (chat templates often open the thoughts
inside the prompt), and on lines of their own where the text began with some. An answer that
speaks of such marks keeps them.
"""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llm_batch.chain.outputs import Unreadable
from llm_batch.chain.scores import parse_object
from llm_batch.records import Call, Completion

if TYPE_CHECKING:
    from llm_batch.chain.steps import Step

# Why it ended

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
    succeeded successful ok normal load s eostokenid normalstop naturalstop stopped
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
    contextoverflow maxnum maxtotal outofcontext truncat limitreached compaction toomanytoken
    tokensexhausted maxthinking
"""
_OF_FAILURES = """
    error abort network resource fail timeout timedout deadline cancel interrupt overload
    unavailable disconnect connection exhaust preempt evict internal outofmemory oom crash killed
    unload busy lost
"""
_WHOLE_WORDS = frozenset(_OF_WHOLE.split())
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
    if folded in _WHOLE_WORDS or folded in _UNSAID:
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


# Thoughts

# DeepSeek, Qwen and most others; Claude-like and EXAONE's tags; Seed; Magistral; Kimi; LongCat,
# MiniMax, Cohere, OpenThoughts, Apertus, Gemma, MedGemma.
_NAMES = (
    "think thinking thought thoughts reasoning reflection antthinking seed:think longcat_think "
    "mm:think 思考 思考过程 思维过程"
)
_OPENING = (
    *(f"<{name}>" for name in _NAMES.split()),
    *("[think]", "[thinking]", "◁think▷", "<|think|>", "<|start_thinking|>"),
    *("<|begin_of_thought|>", "<|inner_prefix|>", "<|channel>thought", "<unused94>thought"),
    *("<|thinking|>", "<|thought|>"),
)
_CLOSING = (
    *(f"</{name}>" for name in _NAMES.split()),
    *("[/think]", "[/thinking]", "◁/think▷", "<|/think|>", "<|end_thinking|>"),
    *("<|end_of_thought|>", "<|inner_suffix|>", "<channel|>", "<unused95>"),
    *("<|/thinking|>", "<|/thought|>"),
)
_MARK = re.compile(
    r"[<\[◁](?i:"
    + "|".join(re.escape(mark[1:]) for mark in (*_OPENING, *_CLOSING))
    + rf"|/?(?:{'|'.join(_NAMES.split())})(?:\s|\s[^<>=]{{1,40}}=[^<>]{{0,80}})>)"  # attributes
)
_ATTRIBUTES = re.compile(r"\s[^<>]*")
#: What such models put around the answer that follows.
_WRAPPED = (
    ("<|start_response|>", "<|end_response|>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    *((f"<{name}>", f"</{name}>") for name in ("answer", "response", "solution")),
    ("<|begin_of_box|>", "<|end_of_box|>"),
)
# Templates' own marks that a server may leave in front.
_BEFORE = re.compile(r"\ufeff?\s*(?:(?:<\|(?:im_start|start)\|>\s*)?[Aa]ssistant\b:?\s*)?")
_SPACE = re.compile(r"\s*")
# A mark in quotes, or in the middle of a sentence, is spoken of.
_QUOTES = "`'\"“‘«„"
_SPOKEN_OF = re.compile(r"[`'\"”’»,.;:!?)]|[ \t]+[a-z(]")

# Harmony, gpt-oss's: <|start|>assistant<|channel|>analysis<|message|>…<|end|>…, and what is left
# of it where the special tokens were dropped.
_CHANNEL = "<|channel|>"
_HARMONY = re.compile(
    r"<\|channel\|>([^<]{0,40})(?:<\|constrain\|>[^<]{0,40})?<\|message\|>", re.IGNORECASE
)
_ENDS = re.compile(r"<\|(?:end|return|call|start|im_end|eot_id|endoftext)\|>")
_LONGEST_END = 14
_BARE_FINAL = "assistantfinal"
# Granite's.
_PROCESS = re.compile(r"\s*Here(?:'s| is) my thought process:")
_RESPONSE = re.compile(r"Here(?:'s| is) my response:")


def without_thoughts(text: str) -> str | None:
    """The answer in a model's words; the text itself when there are no thoughts in it.

    ``None`` when there is no answer: the thoughts never end, or nothing follows them.
    """
    if "<" not in text and "[" not in text and "◁" not in text:
        return _after_bare_words(text)
    if _CHANNEL in text and (found := _of_harmony(text)) is not text:
        return found
    marks = list(_MARK.finditer(text))
    if not marks:
        return _after_bare_words(text)
    begin = _BEFORE.match(text)
    start = begin.end() if begin else 0
    if marks[0].start() == start and not _closes(marks[0]):
        return _after_blocks(text, marks, start)
    return _after_lone_closing(text, marks)


def _closes(mark: re.Match[str]) -> bool:
    return _ATTRIBUTES.sub("", mark[0].lower()) in _CLOSING


def _after_blocks(text: str, marks: list[re.Match[str]], at: int) -> str | None:
    position = 0
    while position < len(marks) and marks[position].start() == at and not _closes(marks[position]):
        last = _end_of_block(marks, position)
        if last is None:
            return None
        at = _after_space(text, marks[last].end())
        position = last + 1
    rest = text[at:]
    # Thoughts that speak of their own end seem to end there.
    answer = _after_lone_closing(rest, list(_MARK.finditer(rest)))
    return None if answer is None else _without_later_blocks(answer)


def _end_of_block(marks: list[re.Match[str]], opening: int) -> int | None:
    """Which mark closes a block; ``None`` when none does.

    Thoughts that speak of a mark leave one open: what follows the last end is no thought.
    """
    depth, last = 1, None
    for later in range(opening + 1, len(marks)):
        depth += -1 if _closes(marks[later]) else 1
        if _closes(marks[later]):
            last = later
        if not depth:
            break
    return last


def _without_later_blocks(text: str) -> str | None:
    """The text without blocks that begin a line; ``None`` when the last one never ends."""
    marks = list(_MARK.finditer(text))
    fences = _fences(text)
    kept, at, position = [], 0, 0
    while position < len(marks):
        mark = marks[position]
        position += 1
        begins_line = text[mark.start() - 1 : mark.start()] in ("\n", "")
        if _closes(mark) or not begins_line or _in_code(fences, mark.start()):
            continue
        last = _end_of_block(marks, position - 1)
        if last is None:
            return None
        kept.append(text[at : mark.start()])
        at = _after_space(text, marks[last].end())
        position = last + 1
    return _unwrapped("".join([*kept, text[at:]]))


def _after_lone_closing(text: str, marks: list[re.Match[str]]) -> str | None:
    """What follows the last closing mark that nothing opened; the text when there is none."""
    end, depth = None, 0
    whole = _end_of_json(text)
    fences = _fences(text)
    for mark in marks:
        if mark.end() <= whole or _is_spoken_of(text, mark) or _in_code(fences, mark.start()):
            continue
        if not _closes(mark):
            depth += 1
        elif depth:
            depth -= 1
        else:
            end = mark.end()
    return text if end is None else _unwrapped(text[end:])


def _is_spoken_of(text: str, mark: re.Match[str]) -> bool:
    before = text[mark.start() - 1 : mark.start()]
    return bool(before) and (before in _QUOTES or _SPOKEN_OF.match(text, mark.end()) is not None)


def _fences(text: str) -> list[int]:
    return [fence.start() for fence in re.finditer("```", text)]


def _in_code(fences: list[int], at: int) -> bool:
    """Whether a place is inside a block of code; one that never closes is none."""
    return bisect(fences, at) % 2 == 1 and len(fences) % 2 == 0


def _end_of_json(text: str) -> int:
    """Where the JSON ends that the text begins with; a mark in it is a value's."""
    start = _after_space(text, 0)
    if text[start : start + 1] not in ("{", "["):
        return 0
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return 0


def _of_harmony(text: str) -> str | None:
    """The final channel; the text itself when it only speaks of channels."""
    channels = list(_HARMONY.finditer(text))
    begin = _BEFORE.match(text)
    at_start = text.startswith(_CHANNEL, begin.end() if begin else 0)
    finals = (one for one in channels if one[1].strip().lower().startswith("final"))
    final = next(finals, None)
    if final is not None and (at_start or text[final.start() - 1] not in _QUOTES):
        return _unwrapped(text[final.end() :])
    if not at_start:
        return text
    ends = list(_ENDS.finditer(text))
    # Some servers drop the head of the final channel alone.
    rest = text[ends[-1].end() :] if ends and ends[-1][0] == "<|end|>" else ""
    return _unwrapped(rest)


def _after_bare_words(text: str) -> str | None:
    if text.startswith("analysis") and _BARE_FINAL in text:
        return _unwrapped(text.partition(_BARE_FINAL)[2])
    if "my thought process:" in text[:80] and _PROCESS.match(text):
        response = _RESPONSE.search(text)
        return _unwrapped(text[response.end() :]) if response else None
    return text


def _unwrapped(rest: str) -> str | None:
    rest = rest.strip()
    low = rest[:40].lower()
    for opening, closing in _WRAPPED:
        if low.startswith(opening):
            rest = rest[len(opening) :].strip()
            if rest.lower().endswith(closing):
                rest = rest[: -len(closing)].strip()
    end = _ENDS.search(rest, max(0, len(rest) - _LONGEST_END))
    if end is not None and end.end() == len(rest):
        rest = rest[: end.start()].strip()
    return rest or None


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


# What several calls come to


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the calls of one step came to, and what should be asked because of it."""

    status: str
    value: Any = None
    error: str = ""
    reask: str = ""  # the problem that a re-ask should name
    answer: str = ""  # of the last call, without thoughts
    repeat: bool = False  # ask the same once more


def outcome_of(step: Step, calls: Sequence[Call]) -> Outcome:
    call = calls[-1]
    if call.failure is not None:
        return Outcome(call.failure.kind, error=call.failure.message)
    completion = call.completion
    assert completion is not None  # a call has exactly one of the two
    reason = ending(completion.finish_reason)
    text = without_thoughts(completion.text) if completion.text else ""
    if reason != WHOLE or not text or text.isspace():
        lacking = _lacking(step, calls, completion, reason, text)
        if lacking is not None:
            return lacking
    assert text is not None  # or it would be lacking
    if step.output is None:
        return Outcome("ok", text)
    try:
        return Outcome("ok", parse_object(text, step.output))
    except Unreadable as error:
        problem = str(error)
        asked_again = sum(not _is_empty(earlier) for earlier in calls) > 1
        return Outcome("unparsed", None, problem, "" if asked_again else problem, text)


def _lacking(
    step: Step, calls: Sequence[Call], completion: Completion, reason: str, text: str | None
) -> Outcome | None:
    if reason == FILTERED:
        return Outcome("filtered", error="the provider's content filter stopped the answer")
    if reason == TOOL_CALL:
        return Outcome("tool_call", error="the model called a tool instead of answering")
    if reason not in (WHOLE, CUT, EMPTY, REASONING):
        said = repr(completion.finish_reason)
        return Outcome("incomplete", error=f"the answer ended as {said}, which may be half of it")
    reasoning = completion.usage.reasoning_tokens if completion.usage else 0
    if text is None or reason == REASONING:
        return Outcome("reasoning", error=_only_thoughts(step, completion, reason))
    if not text.strip():
        if reasoning and reason == CUT:
            return Outcome(
                "reasoning",
                error=f"all {reasoning} output tokens went into reasoning; raise max_tokens",
            )
        if reason == CUT:
            return Outcome("truncated", error=f"no text within {_cap(step)}")
        # Most servers that send nothing send something the next time.
        first = sum(map(_is_empty, calls)) == 1
        return Outcome("empty", error="the provider sent no text", repeat=first)
    if reason == CUT and (step.on_truncated == "fail" or step.output is not None):
        return Outcome("truncated", error=f"the answer was cut at {_cap(step)}; raise max_tokens")
    return None


def _only_thoughts(step: Step, completion: Completion, reason: str) -> str:
    if reason == REASONING:
        return (
            "all text is in the reply's field for reasoning and none in its content; lower the "
            "reasoning effort, or correct how the server parts the two"
        )
    if reason == CUT:
        return f"the answer was cut at {_cap(step)} in the middle of thoughts; raise max_tokens"
    return "the answer is thoughts and nothing after them"


def _is_empty(call: Call) -> bool:
    completion = call.completion
    if completion is None or completion.text.strip():
        return False
    return ending(completion.finish_reason) in (WHOLE, EMPTY)


def _cap(step: Step) -> str:
    return f"{step.max_tokens} output tokens" if step.max_tokens else "the model's output limit"
