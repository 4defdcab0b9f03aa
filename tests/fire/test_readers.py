"""Replies that are meant to hang, crash or fill their reader: each ends, whatever its length.

One process per attack, with an end to its time: linear work at 10 MB takes seconds, and what is
quadratic takes days. Every pattern that sees a model's words has an attack of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from llm_batch.chain import outputs, scores, verdicts

# The text that is repeated, what stands before it and behind.
Attack = tuple[str, str, str]

ATTACKS: dict[str, Attack] = {
    "a name, spaces and no number": ("Score", " ", "x"),
    "a value, spaces and no end": ("Score: 4", " ", "x"),
    "a value and blank lines": ("Score:", "\n", "x"),
    "spaces alone": ("", " ", "x"),
    "names alone": ("", "score ", ""),
    "names that begin": ("", "Score: ", ""),
    "names on lines": ("", "Score: 4\n", "Score: 5"),
    "headings without a value": ("", "Score\n", ""),
    "words before a name": ("", "the my final ", "score: 4"),
    "scales": ("", "Score (1-5) ", ""),
    "ends of scales": ("4", "/5", ""),
    "out of": ("4", " out of 5", ""),
    "units": ("4", " points", ""),
    "on a scale": ("", "4 on a scale of 1 to ", ""),
    "a scale that goes on": ("", "scale of 1 to ", "5"),
    "digits": ("", "9", ""),
    "digits and a name": ("Score: ", "9", ""),
    "digits and points": ("", "1.", ""),
    "numbers on lines": ("", "4\n", "5"),
    "numbered lines": ("", "1. x\n", ""),
    "verbs": ("", "I rate it ", ""),
    "verbs in lines": ("", "I would give this answer a score of 4 if\n", ""),
    "words between": ("I rate", " the answer", " 4"),
    "explanations": ("4 (", "a ", ""),
    "brackets": ("", "[[", ""),
    "brackets and values": ("", "[[4]]", ""),
    "tags": ("", "<score>", ""),
    "tags and values": ("", "<score>4</score>", ""),
    "wrapped again and again": ("<answer>", " </answer>", " 4"),
    "signs between": ("", " > ", "4"),
    "tags with spaces": ("<score>", " ", "</score>"),
    "boxes": ("", "\\boxed{", "4"),
    "openers": ("Score: ", "[({<'", "4"),
    "closers": ("Score: 4", "])}>'", "x"),
    "corrections": ("Score: 4", " wait actually", " 3"),
    "hedges": ("Score: 4", " or maybe", ""),
    "sentences": ("Score: 4", ". a", ""),
    "dashes": ("", " - ", "4"),
    "conditions": ("", "if so, ", "I rate it 4"),
    "bullets": ("", "- ", "4"),
    "hashes": ("", "#", " 4"),
    "fences": ("", "```\n", "4"),
    "fences in a row": ("", "```", "4"),
    "stars": ("", "* ", "4"),
    "stars of a rating": ("", "★", "☆"),
    "signs of an end": ("4", "<|end", "|>"),
    "summaries": ("", "based on all, ", "4"),
    "reasons": ("right", " because", " of"),
    "decimal commas": ("4", ",5", " von 5"),
    "thoughts": ("", "<think>", "4"),
    "escaped quotes": ('{"', '\\"', ""),
    "keys that open": ("", '{"', ""),
    "quotes that swallow braces": ("", '{"\\"}', ""),
    "braces": ("", "{", ""),
    "braces and prose": ("", "{x} ", ""),
    "braces, spaces and prose": ("", "{ " * 9, "x"),
    "one brace and spaces": ("{", " ", "'"),
    "closed braces": ("{score", "{}", "}"),
    "nested objects": ("", '{"a":', "1"),
    "nested objects that close": ('{"score": 4, "a": ' + '{"a":' * 900, " ", "1" + "}" * 901),
    "nested lists": ('{"score": ', "[", "}"),
    "nested lists that close": ('{"score": ' + "[" * 900, " ", "]" * 900 + "}"),
    "a number of a million digits": ('{"score": ', "9", "}"),
    "a fraction of a million digits": ('{"score": 4.', "9", "}"),
    "an exponent of a million digits": ('{"score": 4e', "9", "}"),
    "malformed objects": ("", "{score: x} ", ""),
    "a malformed object": ('{"score": 4, "reason": "', "a' ", '",}'),
    "quotes in a malformed object": ('{"score": 4, "reason": "', '"a', '",}'),
    "keys in a malformed object": ("{score: 4, ", "score: ", "}"),
    "blank lines before a key": ("{", "\n", "score: 4}"),
    "blank lines behind a key": ("{score", "\n", "4}"),
    "blank lines behind a value": ("{score: 4", "\n", "x}"),
    "objects that agree": ("", '{"score": 4} ', ""),
    "keys by the million": ("{", '"a": 1, ', '"score": 4}'),
    "keys of many names": ("{", '"a b": 1, ', '"Score": 4}'),
    "one key again and again": ("{", '"score": 4, ', '"score": 4}'),
    "objects in a list": ('{"results": [', '{"score": 4}, ', '{"score": 4}]}'),
    "an object in a text": ('{"result": "', "{", '"}'),
    "a text in quotes": ('"{', '\\"', '}"'),
    "an unquoted text": ("{", '\\"a', "}"),
    "half characters": ('{"reason": "', "\\ud83d", '", "score": 4}'),
    "half characters in prose": ("Score: 4 ", "\ud83d", ""),
    "points in Chinese": ("", "四", "分"),
    "words of others": ("it contains", " the text", " 'Score: 4"),
    "what stands beside": ("Score: 4", " ; ", "confidence"),
    "shares": ("Score: 4", " (80%", ")"),
    "labels on lines": ("Clarity: 4\n", "a b: 4\n", "5"),
    "digits on lines": ("Score: 4\n", "4", ""),
    "objects in prose": ("", "{ a ", "} Score: 4"),
}

# Which attack is for which pattern: a new pattern needs one too.
FOR_PATTERN = {
    "verdicts._FENCE": "fences in a row",
    "verdicts._BULLET": "hashes",
    "verdicts._CONNECTED": "a name, spaces and no number",
    "verdicts._RATES": "verbs",
    "verdicts._BETWEEN": "words between",
    "verdicts._FRAMED": "tags with spaces",
    "verdicts._EXPLAINS": "explanations",
    "verdicts._HEDGES": "hedges",
    "verdicts._SOFTENS": "hedges",
    "verdicts._REVISES": "corrections",
    "verdicts._SENTENCE": "dashes",
    "verdicts._CONDITION": "conditions",
    "verdicts._OTHER_SCALE": "out of",
    "verdicts._SCALE": "a scale that goes on",
    "verdicts._NOT_AFTER": "closers",
    "verdicts._LISTS": "numbered lines",
    "verdicts._NUMBERED": "numbered lines",
    "verdicts._DIGITS": "digits and points",
    "verdicts._NAME": "names that begin",
    "verdicts._ON_A_SCALE": "on a scale",
    "verdicts._REASONS": "reasons",
    "verdicts._REMARKS": "explanations",
    "verdicts._SCALED": "ends of scales",
    "verdicts._STARS": "stars of a rating",
    "verdicts._SUMS_UP": "summaries",
    "verdicts._TOKENS": "signs of an end",
    "verdicts._SIGNS": "signs between",
    "verdicts._WRAPPED": "wrapped again and again",
    "verdicts._CHINESE_POINTS": "points in Chinese",
    "verdicts._QUOTES": "words of others",
    "verdicts._BESIDE": "what stands beside",
    "verdicts._SHARE": "shares",
    "verdicts._LABELLED": "labels on lines",
    "verdicts._DIGITS_LAST": "digits on lines",
    "verdicts._OBJECT": "objects in prose",
    "outputs._COMMA": "decimal commas",
    "outputs._PERCENT": "digits and points",
    "outputs._RATED": "ends of scales",
    "outputs._EXPLAINED": "explanations",
    "scores._BEGINS_OBJECT": "one brace and spaces",
    "scores._ESCAPED": "an unquoted text",
    "scores._SIGNS": "escaped quotes",
    "scores._BRACES": "quotes that swallow braces",
    "scores._BEFORE_KEY": "blank lines before a key",
    "scores._COLON": "blank lines behind a key",
}

READ = """
import sys
from llm_batch.chain.outputs import OutputField
from llm_batch.chain.scores import Unreadable, parse_object, score_of

before, unit, after = eval(sys.argv[1])
text = before + unit * (int(sys.argv[2]) // len(unit)) + after
fields = {
    "reason": OutputField(type="string"),
    "score": OutputField(type="integer", min=1, max=5),
    "is_right": OutputField(type="boolean"),
    "verdict": OutputField(type="string", choices=("right", "wrong")),
}
for names in (["score"], ["reason", "score"], ["is_right"], ["verdict", "score"], ["reason"]):
    try:
        parse_object(text, {name: fields[name] for name in names})
    except Unreadable:
        pass
score_of(text, {})
score_of(text, {}, "", 1, 5)
score_of(text, {"right": 1, "wrong": 0})
score_of(text, {"A": 1, "B": 0})
try:
    parse_object('{"score": "' + before + unit * 10_000 + after + '"}', {"score": fields["score"]})
except Unreadable:
    pass
"""


def read(attack: Attack, size: int, seconds: float) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", READ, ascii(attack), str(size)],
        timeout=seconds,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-500:]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_reply_of_a_megabyte_is_read_in_time_that_grows_with_its_length(name: str) -> None:
    read(ATTACKS[name], 1_000_000, seconds=60)


def test_every_pattern_that_reads_replies_has_an_attack() -> None:
    patterns = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (scores, verdicts, outputs)
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern)
    }
    assert patterns == set(FOR_PATTERN)
    assert set(FOR_PATTERN.values()) <= set(ATTACKS)
