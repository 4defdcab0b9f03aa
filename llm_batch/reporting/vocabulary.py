"""What the values of a column mean as scores: numbers as they are, words all together or not.

A letter says something beside its neighbours alone: C passes beside I (Inspect), and is a grade
beside A and B. So a word counts only where every word of its column is understood.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_batch.paper.words import clean

_WORDS = {
    **dict.fromkeys(("pass", "passed", "true", "yes", "correct", "success"), 1.0),
    **dict.fromkeys(("fail", "failed", "false", "no", "incorrect", "wrong"), 0.0),
}
#: Words that pass or fail as single letters do, and which of them must be there to say so.
_ALPHABETS: tuple[tuple[dict[str, float], tuple[frozenset[str], ...]], ...] = (
    ({"y": 1.0, "n": 0.0}, (frozenset("y"), frozenset("n"))),
    ({"t": 1.0, "f": 0.0}, (frozenset("t"), frozenset("f"))),
    ({"p": 1.0, "f": 0.0}, (frozenset("f"),)),
    # Inspect: correct, partial, incorrect, no answer.
    (
        {"c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0},
        (frozenset("i"), frozenset("cp"), frozenset("cn")),
    ),
)
_MISSING = frozenset(("", "nan", "na", "n/a", "#n/a", "null", "none", "-", "missing"))
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_LISTED = 8


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How the values of a column are read.

    What each of its words is worth, in small letters; no letters where any word is ``unknown``:
    those are kept as written, with how often they come. ``numbers`` counts the values that are
    numbers.
    """

    words: Mapping[str, float] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    numbers: int = 0
    decimal_comma: bool = False

    def score(self, value: Any) -> float | None:
        """A value as a number, ``None`` where it is none."""
        if self.words and (word := _text(value)) in self.words:
            return self.words[word]
        return number_of(value, self.decimal_comma)

    @property
    def listed(self) -> str:
        """The unknown words with their counts."""
        shown = [f"{clean(w, 40)!r} ({n:,})" for w, n in list(self.unknown.items())[:_LISTED]]
        more = len(self.unknown) - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more else "")


def vocabulary_of(
    values: Iterable[Any],
    *,
    passing: Collection[str] = (),
    decimal_comma: bool = False,
    more: Mapping[str, float] | None = None,
) -> Vocabulary:
    """How the values of a column are to be read, all of them given.

    Where any of the ``passing`` words is there, all others fail; ``more`` are understood here
    besides.
    """
    counts: Counter[str] = Counter()
    numbers: Counter[float] = Counter()
    texts: set[str] = set()
    for value in values:
        number = number_of(value, decimal_comma)
        if number is not None:
            numbers[number] += 1
            texts.add(_text(value))
        elif isinstance(value, str) and not is_missing(value):
            counts[value.strip()] += 1
    found = {word.casefold() for word in counts}
    if (said := {word.strip().casefold() for word in passing}) & (found | texts):
        return Vocabulary({word: float(word in said) for word in found | texts})
    known = _understood(found, {**_WORDS, **(more or {})})
    unknown = {word: n for word, n in counts.most_common() if word.casefold() not in known}
    on_a_scale = any(not 0 <= number <= 1 for number in numbers)
    if unknown:
        known = {word: score for word, score in known.items() if len(word) > 1}
    if on_a_scale:
        known = {}
    return Vocabulary(known, unknown, numbers.total(), decimal_comma)


def _understood(words: Collection[str], table: Mapping[str, float]) -> dict[str, float]:
    """The words that mean something, the letters by the alphabet that has all of them."""
    known = {word: table[word] for word in words if word in table}
    letters = {word for word in words if word not in known and len(word) == 1}
    for alphabet, signs in _ALPHABETS:
        if letters <= alphabet.keys() and any(sign <= letters for sign in signs):
            return known | {letter: alphabet[letter] for letter in letters}
    return known


def passing_words(words: Iterable[str]) -> list[str]:
    """Those that pass for certain, as written."""
    return [word for word in words if _WORDS.get(word.casefold()) == 1.0]


def is_missing(value: Any) -> bool:
    """Whether a value says that there is none."""
    if isinstance(value, str):
        return value.strip().casefold() in _MISSING or _not_finite(value)
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def number_of(value: Any, decimal_comma: bool = False) -> float | None:
    """A value as a finite number, 1 and 0 for true and false; ``None`` where it is none."""
    if isinstance(value, str):
        value = value.strip()
        if decimal_comma and "," in value:
            if _THOUSANDS.fullmatch(value):
                value = value.replace(".", "")
            if _DECIMAL_COMMA.fullmatch(value):
                value = value.replace(",", ".")
        try:
            value = float(value) if "_" not in value else None
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _not_finite(text: str) -> bool:
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


def _text(value: Any) -> str:
    return str(value).strip().casefold()
