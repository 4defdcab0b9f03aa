"""Every pattern and scanner that sees a stranger's words takes time in step with their length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llm_batch.chain.answers import without_thoughts
from llm_batch.chain.credentials import without_keys
from llm_batch.chain.outputs import Unreadable
from llm_batch.chain.scores import parse_object, score_of
from llm_batch.chain.steps import Step
from llm_batch.sending.providers.decoding import value_in
from tests.fire.patterns import GENERIC, Used, attack, local, timed, used, worst

SMALL, LARGE = 6_000, 500_000
# CPU seconds. A linear pattern takes under 0.013 s and 1 s; a quadratic one 0.08 s and minutes.
_SMALL_MOST, _LARGE_MOST = 0.05, 4.0

#: Quadratic by themselves, and never let loose on a long text.
BOUNDED = {
    "llm_batch.chain.scores._BEFORE_KEY": "sees the 40 characters before a key",
    "llm_batch.dataset.readers._token": "its loop ends at the first quote that nothing closes",
    "llm_batch.chain.config_errors:": "sees what another has matched: all quotes are closed",
}
#: Made of what a function knows: names of steps, fields and files of the user's own.
LOCAL = """
llm_batch.chain.config_errors: f'\\\\s*{_DOTTED}\\\\s*=\\\\s*{re.escape(mark)}'
llm_batch.models.tokens: f'(?:{pattern}){_DATED}'
llm_batch.record.changes: f"\\\\b(?:{'|'.join(map(re.escape, names))})\\\\b"
llm_batch.record.files: f'\\\\.{re.escape(path.name)}\\\\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\\\\.tmp'
llm_batch.chain.overrides: f'\\\\{{[{{%][^{{}}]*\\\\b{re.escape(str(other))}\\\\b'
llm_batch.chain.scores: f'{_QUOTE}?({field.pattern()}){_AFTER_VALUE}'
llm_batch.chain.scores: re.escape(key)
llm_batch.sending.providers.dialect: f'(?:.*\\\\.)?(?:{pattern})'
llm_batch.sending.providers.dialect: pattern
llm_batch.sending.providers.refusals: words
llm_batch.sending.providers.refusals: '|'.join(self._patterns)
llm_batch.chain.verdicts: f'(?:{any_of(self._plain) or _NEVER})(?![\\\\w%])'
llm_batch.chain.verdicts: f'(?<!\\\\w)(?:{names})(?:(?<![a-z])(?=\\\\d)|(?![^\\\\W是为為は]))'
llm_batch.chain.rules: f'[ \\\\t>#-]{{0,4}}[(\\\\[]?(?P<label>{label})(?:[)\\\\]][.:]?|[.:])(?=\\\\s|\\\\Z)'
llm_batch.chain.rules: f'[\\\\s)\\\\]}}\\\\x27’”\\\\x22$]{{0,4}}(?:\\\\b(?:or|and|oder|und|o|ou)\\\\b|[/&|,])\\\\s{{0,3}}(?i:option\\\\s|choice\\\\s)?[(\\\\[]?{label}{end}'
llm_batch.chain.rules: f'\\\\\\\\boxed\\\\s?\\\\{{\\\\s?(?:\\\\\\\\(?:text|mathrm|mathbf)\\\\{{)?\\\\(?(?P<label>{case}){end}'
llm_batch.chain.rules: label
llm_batch.chain.rules: pattern
llm_batch.chain.rules: bare if self.letters else f'{begins}{label}{end}'
llm_batch.chain.rules: f'(?i:\\\\b(?P<final>final\\\\s)?{_STATES}{_LINKS}){_OPENS}(?P<label>{claimed}){end}'
llm_batch.chain.rules: f'(?i:{_CHOSEN}){_OPENS}(?P<label>{claimed}){end}'
llm_batch.chain.rules: f'<(?P<tag>\\\\w{{1,20}})>\\\\s{{0,9}}[(\\\\[]?(?P<label>(?i:{label}))[)\\\\]]?\\\\s{{0,9}}</(?P=tag)>'
llm_batch.chain.rules: f'[\\\\W_]{{0,4}}{whole}({label})[\\\\W_]{{0,6}}'
llm_batch.chain.rules: f'{begins}(?<!\\\\bor\\\\s)(?<!\\\\band\\\\s)(?<!/)[(\\\\[]?(?P<label>{case})(?i:{_RIGHT})'
"""  # noqa: E501

ALL = used()


def _best(run: Callable[[str], object], text: str, most: float) -> float:
    """Of three tries that take too long: another process may have had the cache."""
    took = most
    for _ in range(3):
        if (took := timed(run, text, most)) < most:
            break
    return took


def _is_bounded(one: Used) -> bool:
    return any(one.where.startswith(name) for name in BOUNDED)


def test_patterns_that_cannot_be_listed_by_themselves_are_listed_here() -> None:
    assert local() == sorted(line for line in LOCAL.splitlines() if line)


def test_the_list_is_whole_and_its_exceptions_are_there() -> None:
    assert len(ALL) > 100
    for name in BOUNDED:
        assert any(one.where.startswith(name) for one in ALL), name


@pytest.mark.parametrize(
    "one",
    [one for one in ALL if not _is_bounded(one)],
    ids=lambda one: f"{one.where.removeprefix('llm_batch.')} {one.way}",
)
def test_a_pattern_is_linear_in_what_a_stranger_wrote(one: Used) -> None:
    took, found = worst(one, SMALL, _SMALL_MOST)
    if took >= _SMALL_MOST:
        took = _best(one.run, attack(*found, SMALL), _SMALL_MOST)
    assert took < _SMALL_MOST, (found, one.pattern.pattern)
    took = _best(one.run, attack(*found, LARGE), _LARGE_MOST)
    assert took < _LARGE_MOST, (found, one.pattern.pattern)


_JUDGE = Step.model_validate(
    {
        "name": "judge",
        "model": "fake/m",
        "prompt": "x",
        "output": {
            "reason": {"type": "string"},
            "score": {"type": "integer", "min": 1, "max": 5},
            "label": {"type": "string", "choices": ["good", "bad"]},
        },
    }
)


def _object(text: str) -> Any:
    assert _JUDGE.output is not None
    try:
        return parse_object(text, _JUDGE.output)
    except Unreadable:
        return None


def _body(text: str) -> Any:
    try:
        return value_in(text.encode("utf-8", "replace"))
    except ValueError:
        return None


SCANNERS: dict[str, Callable[[str], Any]] = {
    "a judge's object": _object,
    "an object behind a key": lambda text: _object('{"reason": "' + text),
    "an object of a score": lambda text: _object('{"score": ' + text + "}"),
    "a score in words": lambda text: score_of(text, {}),
    "a score in words, 1 to 5": lambda text: score_of(text, {}, "", 1.0, 5.0),
    "a label": lambda text: score_of(text, {"good": 1.0, "bad": 0.0}),
    "thoughts": without_thoughts,
    "keys": lambda text: without_keys(text),
    "a body": _body,
    "a body behind a value": lambda text: _body('{"choices": ' + text),
    "events": lambda text: _body("data: " + text),
}


@pytest.mark.parametrize("name", SCANNERS)
def test_a_scanner_is_linear_in_what_a_stranger_wrote(name: str) -> None:
    scan = SCANNERS[name]
    slow: dict[str, float] = {}
    for piece in (
        *GENERIC,
        "<think>",
        "</think>",
        "<a<",
        "Score: 4 ",
        '{"score": 4} ',
        "data: {}\n",
    ):
        text = attack("", piece, "x", 50_000)
        slow[piece] = _best(scan, text, 1.0)
    worst_piece = max(slow, key=lambda piece: slow[piece])
    assert slow[worst_piece] < 1.0, (worst_piece, slow[worst_piece])
    took = _best(scan, attack("", worst_piece, "x", 1_000_000), 12.0)
    assert took < 12.0, worst_piece
