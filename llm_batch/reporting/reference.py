"""Is the reference found in the answer? A string match to hold a judge's verdicts against.

The match is a hint and no person's label. It compares words as question answering does (SQuAD,
Rajpurkar et al. 2016): without case, accents, punctuation and articles, and as a run of whole
words, so that 5 is not found in 15. A reference that ends in ``#### 18`` (GSM8K, Cobbe et al.
2021) is found when 18 is the last number of the answer.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from llm_batch.record.reading import Getter, Line
from llm_batch.reporting.judging.reliability import rates_of
from llm_batch.reporting.model import JudgeCheck
from llm_batch.stats.agreement import BinaryTable

#: Names of fields that are taken for a reference, first of them first.
REFERENCE_NAMES = ("answer", "reference", "target", "expected")

#: So many items settle the rates to within a point; more would only take longer.
CHECK_LIMIT = 20_000

#: A reference of more words than this is not expected in an answer word for word.
_LONGEST_REFERENCE = 12

_ARTICLES = frozenset(("a", "an", "the"))
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
# Chinese, Japanese and Thai are written without spaces: there every character is a word.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"{_NUMBER}|[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")
_DIGIT = re.compile("[0-9]")
_SPACED = "".join(char if char.isalnum() else " " for char in map(chr, range(128)))
_SIGNED = re.compile(rf"(?<![\w.])-?\$?(?:{_NUMBER})|{_NUMBER}")


def reference_found(reference: Any, answer: Any) -> bool | None:
    """Say whether an answer has the reference in it; of one with ``####`` only the number after
    counts.

    ``None`` where nothing can be said: either is no text, or the reference has no words or more
    than twelve.
    """
    if isinstance(reference, float):
        reference = f"{reference:.15g}"
    elif isinstance(reference, int) and not isinstance(reference, bool):
        reference = str(reference)
    if not isinstance(reference, str) or not isinstance(answer, str):
        return None
    if "####" in reference:
        final = reference.rpartition("####")[2].strip()
        wanted = _numbers(final) if "\n" not in final else []
        if wanted:
            given = _numbers(answer)
            return bool(given) and given[-1] == wanted[-1]
        return None
    words = _words(reference)
    if not words or len(words) > _LONGEST_REFERENCE:
        return None
    if words[0].isalpha() and answer.isascii() and words[0] not in answer.casefold():
        return False  # most answers without the reference end here, at a tenth of the time
    return f" {' '.join(words)} " in f" {' '.join(_words(answer))} "


def _words(text: str) -> list[str]:
    text = text.casefold()
    if text.isascii():
        if not _DIGIT.search(text):  # as the pattern has it, in a third of the time
            return [word for word in text.translate(_SPACED).split() if word not in _ARTICLES]
    else:
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in decomposed if not unicodedata.combining(char))
    return [_plain(word) for word in _WORD.findall(text) if word not in _ARTICLES]


def _plain(word: str) -> str:
    """A number without separators and trailing zeros, any other word as it is."""
    if not word[0].isdecimal():
        return word
    word = word.replace(",", "")
    return word.rstrip("0").rstrip(".") if "." in word else word


def _numbers(text: str) -> list[float]:
    found = (number.replace("$", "").replace(",", "") for number in _SIGNED.findall(text))
    return [float(number) for number in found]


@dataclass(slots=True)
class ReferenceTally:
    """Verdicts by whether the reference, a field of the items, was found in a step's output."""

    reference: str
    step: str
    get_reference: Getter
    get_answer: Getter
    seen: bool = False
    #: By whether it was found, and whether the judge passed.
    counts: dict[tuple[bool, bool], int] = field(
        default_factory=lambda: {(a, b): 0 for a in (True, False) for b in (True, False)}
    )
    unchecked: int = 0

    def add(self, lines: list[Line]) -> None:
        """Count some lines; those without a verdict say nothing."""
        checked = self.checked
        if checked >= CHECK_LIMIT and self.seen:
            self.unchecked += len(lines) - [line.passed for line in lines].count(None)
            return
        for line in lines:
            if line.passed is None:
                continue
            if checked >= CHECK_LIMIT:
                self.unchecked += 1
                continue
            reference = self.get_reference(line)
            self.seen = self.seen or reference is not None
            found = reference_found(reference, self.get_answer(line))
            if found is None:
                self.unchecked += 1
            else:
                self.counts[found, line.passed] += 1
                checked += 1

    def merge(self, after: ReferenceTally) -> bool:
        """Add the counts of a later part of the file; False where only some of its items were to be
        checked.
        """
        self.seen = self.seen or after.seen
        if self.checked >= CHECK_LIMIT:
            self.unchecked += after.checked + after.unchecked
            return True
        for cell, n in after.counts.items():
            self.counts[cell] += n
        self.unchecked += after.unchecked
        return self.checked < CHECK_LIMIT

    @property
    def checked(self) -> int:
        """How many items had both a verdict and a match or none."""
        return sum(self.counts.values())

    def check(self, level: float) -> JudgeCheck | None:
        """The table with its rates; ``None`` when no item could be checked."""
        if not self.checked:
            return None
        rates = rates_of(BinaryTable.counted(self.counts), level)
        for (found, passed), n in self.counts.items():
            rates[f"{'found' if found else 'absent'}_{'passed' if passed else 'failed'}"] = n
        return JudgeCheck(self.reference, self.step, unchecked=self.unchecked, **rates)
