"""Rules: what a step does that compares in place of asking a model.

A rule is a pure function of two texts and its options. It either passes or fails; where it cannot
be applied, since there is nothing right to compare with, it says so and gives no verdict. An
answer in which nothing can be found is wrong, and is told apart from one that says another thing.

Texts are a stranger's, so the work is linear in them: patterns have bounded repeats or see a
bounded piece, and a pattern of the user's own has a time after which it is given up.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from llm_batch.chain.outputs import (
    OutputField,
    Unreadable,
    Wrong,
    any_of,
    checked_object,
    printable,
    whole_number,
)

RuleName = Literal["equals", "contains", "regex", "number", "choice", "json", "python"]
Normaliser = Literal["case", "space", "punctuation"]
Normalisers = Annotated[tuple[Normaliser, ...], Field(strict=False)]

#: What `choice` takes for labels by itself.
LETTERS = tuple("ABCDEFGHIJ")
#: Why a rule fails an answer that says nothing.
NO_ANSWER = "no answer found"

#: Of each rule: the keys that it must have beside ``value``, and those that it may have.
RULES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "equals": (("expected",), ("normalise",)),
    "contains": (("expected",), ("normalise",)),
    "regex": (("pattern",), ("expected", "normalise")),
    "number": (("expected",), ("tolerance", "relative")),
    "choice": (("expected",), ("labels",)),
    "json": ((), ("expected", "fields")),
    "python": (("python",), ("expected", "normalise")),
}
#: The keys of rules, whichever they are for.
RULE_KEYS = ("rule", "value", "expected", "normalise", "pattern", "tolerance", "relative",
             "labels", "fields", "python")  # fmt: skip

# Patterns are texts, which `re` compiles when they are first used, and keeps: a run without rules
# would wait for them before its first request.

# Characters of either end of a text in which numbers, labels and patterns are looked for.
_END = 20_000
_SHOWN = 200
# Seconds that a pattern of the user's may take on one text.
_PATIENCE = 1.0


class RuleError(ValueError):
    """A rule cannot be applied to an item; the message says why.

    ``trace`` has the traceback where the code of a user raised; else it is empty. ``status`` is
    what becomes of the item.
    """

    def __init__(self, message: str, trace: str = "", status: str = "rule") -> None:
        super().__init__(message)
        self.trace, self.status = trace, status


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a rule says of an item.

    Attributes:
        passed: Its verdict.
        found: What the answer says, as it was compared; empty where nothing was found.
        expected: The same of the right answer; ``None`` where the rule compares with none.
        reason: Of a fail.
        output: What it says in place of a verdict: a number or a label that is not compared.
    """

    passed: bool
    found: str = ""
    expected: str | None = None
    reason: str = ""
    output: float | str | None = None


class Options(Protocol):
    """The keys of a step that say how its rule goes; see `llm_batch.chain.steps.Step`."""

    @property
    def rule(self) -> RuleName | None: ...
    @property
    def normalise(self) -> tuple[Normaliser, ...]: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def tolerance(self) -> float | None: ...
    @property
    def relative(self) -> float | None: ...
    @property
    def labels(self) -> tuple[str, ...] | None: ...
    @property
    def fields(self) -> dict[str, OutputField] | None: ...


def apply(options: Options, value: str, expected: str | None) -> Ruling:
    """The verdict on a value.

    Raises:
        RuleError: There is nothing right to compare it with.
    """
    assert options.rule is not None
    return _RULES[options.rule](options, printable(value), expected and printable(expected))


def said_by_function(options: Options, said: bool | float | str, expected: str | None) -> Ruling:
    """What a user's own function said as a ruling: a bool is a verdict, a label is compared where
    there is something right, and a number is the score.
    """
    right = normalised(expected or "", options.normalise) or None
    if isinstance(said, bool):
        return Ruling(said, expected=right and right[:_SHOWN], reason="" if said else "false")
    if isinstance(said, str):
        found = normalised(printable(said), options.normalise)
        if right is not None:
            return _compared(found == right, found, right)
        return Ruling(False, found[:_SHOWN], output=found)
    return Ruling(False, output=said)


# Texts


def normalised(text: str, how: Sequence[Normaliser] = ()) -> str:
    """A text as it is compared: composed characters, no space at its ends, and what is asked for.

    ``punctuation`` leaves what belongs to a number: 3.5, 1,000 and -2.
    """
    text = unicodedata.normalize("NFC", text).strip()
    if "punctuation" in how:
        text = unicodedata.normalize("NFC", _kept_punctuation(text))
    if "case" in how:
        text = unicodedata.normalize("NFC", text.casefold())
    if "space" in how or "punctuation" in how:
        text = " ".join(text.split())
    return text


_OF_NUMBER = r"(?<=\d)[.,:/](?=\d)|(?<!\w)[-+−](?=\.?\d)"


def _kept_punctuation(text: str) -> str:
    kept = {found.start() for found in re.finditer(_OF_NUMBER, text)}
    return "".join(
        char if at in kept or not _is_punctuation(char) else "" for at, char in enumerate(text)
    )


@lru_cache(maxsize=4096)
def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char).startswith("P") or char in "$+<=>^`|~"


def _right(text: str | None, how: Sequence[Normaliser] = ()) -> str:
    found = normalised(text or "", how)
    if not found:
        raise RuleError("there is nothing in expected")
    return found


def _compared(passed: bool, found: str, expected: str) -> Ruling:
    found, expected = found[:_SHOWN], expected[:_SHOWN]
    if passed:
        return Ruling(True, found, expected)
    if not found:
        return Ruling(False, "", expected, f"{NO_ANSWER}; expected {expected}")
    return Ruling(False, found, expected, f"expected {expected}")


def _equals(options: Options, value: str, expected: str | None) -> Ruling:
    right = _right(expected, options.normalise)
    found = normalised(value, options.normalise)
    return _compared(found == right, found, right)


def _contains(options: Options, value: str, expected: str | None) -> Ruling:
    right = _right(expected, options.normalise)
    text = normalised(value, options.normalise)
    passed = any(
        not _goes_on(text, at, right[0], -1) and not _goes_on(text, at + len(right), right[-1], 1)
        for at in _places(text, right)
    )
    return _compared(passed, right if passed else text, right)


def _places(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


# Chinese, Japanese and Thai are written without spaces: there every character is a word.
_UNSPACED = "[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"


def _goes_on(text: str, at: int, edge: str, step: int) -> bool:
    """Whether a word or number that ends or begins at a place is part of a longer one."""
    near = text[max(0, at - 2) : at][::-1] if step < 0 else text[at : at + 2]
    if not near or not edge.isalnum() or re.match(_UNSPACED, edge) or re.match(_UNSPACED, near):
        return False
    if near[0].isalnum():
        return True
    return edge.isdigit() and near[0] in ".," and near[1:].isdigit()


def _regex(options: Options, value: str, expected: str | None) -> Ruling:
    right = None if expected is None else _right(expected, options.normalise)
    found = _searched(options.pattern or "", _both_ends(value))
    if right is None:
        passed = found is not None
        return Ruling(passed, (found or "")[:_SHOWN], None, "" if passed else "no match")
    said = normalised(found or "", options.normalise)
    return _compared(said == right, said, right)


def _searched(pattern: str, text: str) -> str | None:
    """The pattern's first group, or all of it without groups; ``None`` without a match."""
    import regex  # type: ignore[import-untyped]

    try:
        match = regex.search(pattern, text, timeout=_PATIENCE)
    except TimeoutError:
        raise RuleError(f"the pattern takes more than {_PATIENCE:g} s on this text") from None
    if match is None:
        return None
    groups = [group for group in match.groups() if group is not None]
    return str(groups[0] if groups else match[0])


def _both_ends(text: str) -> str:
    return text if len(text) <= 2 * _END else f"{text[:_END]}\n{text[-_END:]}"


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that is none, or whose time may grow beyond all bounds.

    Raises:
        Wrong: It does not compile, repeats what has a repeat in it, or refers back.
    """
    import warnings

    import regex

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
            parsed = re._parser.parse(pattern)  # type: ignore[attr-defined]
        regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise Wrong(
            ("pattern",),
            f"is no regular expression: {error}",
            "write it in single quotes, in which a backslash is itself: pattern = '\\d+'",
        ) from None
    if _has(parsed, times=1):
        raise Wrong(
            ("pattern",),
            "may take a time without end: it repeats what has a repeat or a choice in it, or "
            "refers back to a group",
            "write [ab]+ for (a|b)+, \\w+ for (\\w+)+; give what is inside a number: {1,20}",
        )


# Of a repeat that is taken for one at will.
_MANY = 100


def _has(parsed: Any, times: int) -> bool:
    """Whether a pattern may go back and forth without end, where it is repeated so many times.

    It may by what is repeated at will in a repeat, by a choice in one at will, and by references.
    """
    for kind, given in parsed:
        name = str(kind)
        if name.startswith("GROUPREF"):
            return True
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, inner = given
            at_will = max(times, most) > _MANY
            if times > 1 and least != most and at_will:
                return True
            if _has(inner, max(times, most)):
                return True
            continue
        if name == "BRANCH" and times > _MANY:
            return True
        if any(_has(inner, times) for inner in _inside(given)):
            return True
    return False


def _inside(given: Any) -> Iterator[Any]:
    """The patterns that a part of a pattern has in it."""
    if type(given).__name__ == "SubPattern":
        yield given
    elif isinstance(given, list | tuple):
        for each in given:
            yield from _inside(each)


# Numbers

# Thousands (by lakhs in India, by points with a decimal comma, by spaces that do not break), a
# decimal comma that is no list's, a decimal point.
_GROUPS = (
    r"\d{1,3}(?:,\d{3}){1,12}(?!\d)(?:\.\d{1,40})?",
    r"\d{1,2}(?:,\d{2}){1,8},\d{3}(?!,?\d)(?:\.\d{1,40})?",
    r"\d{1,3}(?:\.\d{3}){1,12},\d{1,40}(?![,.]?\d)",
    r"\d{1,3}(?:\.\d{3}){2,12}(?![,.]?\d)",
    r"\d{1,3}(?:(?:['’\xa0\u2009\u202f]\d{3}){1,12}|(?: \d{3}){2,12})(?!\d)(?:[.,]\d{1,40})?",
)
_DIGITS = (
    rf"(?P<groups>{'|'.join(_GROUPS)})|(?<!\d,)\d{{1,40}},\d{{1,40}}(?!,?\d)|"
    r"\d{1,40}(?:\.\d{1,40})?|\.\d{1,40}"
)
_POWER = (
    r"(?:[eE][-+]?\d{1,3}(?!\d)|(?P<ten>\s?[x×*·]\s?10)?"
    r"\s?(?:\^|\*\*)\s?\{?[-+−]?\d{1,3}(?![\d.])\}?)"
)
# A minus with a space behind it is one where nothing that it could join stands before it.
_NUMBER = (
    r"(?<![\w.])(?P<sign>(?:[-+−–]|(?:\A|(?<=[=:≈({])|(?<=[=:≈({] ))[-−] )"
    r"(?=[$€£¥]?[.\d]))?[$€£¥]?\s?(?P<sign2>[-−])?"
    rf"(?P<digits>{_DIGITS})(?P<power>{_POWER})?"
    r"(?:\s?/\s?(?P<under>\d{1,40})(?!\w|[./]\d)|"
    r"\s(?P<part>\d{1,9}/\d{1,9})(?!\w|[./]\d))?"
)
# Digits of a number that is raised to a power: beyond them nobody writes one.
_LONGEST_BASE = 12
_BOXED = r"\\boxed\s?\{([^{}]{0,200}(?:\{[^{}]{0,100}\}[^{}]{0,100}){0,4})\}"
_FRACTION = r"\\[dt]?frac\s?\{\s?([^{}]{1,40})\}\s?\{\s?([^{}]{1,40})\}"
_TIMES = r"\\(?:times|cdot)"
# Of a unit: cm^2 is no 2.
_UNIT_POWER = r"(?:(?<=[^\W\d_])|(?<=[A-Za-z]\}))\s?(?:\^|\*\*)\s?\{?[-+−]?\d{1,3}(?!\d)\}?"
_RAISED = r"(?<=\d)[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}"
_VULGAR = "[¼-¾⅐-⅞]"
#: Full-width letters, digits and signs as those of ASCII.
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}


def last_number(text: str) -> Fraction | None:
    """The number a text comes to: behind its last ``####``, in its last box, or its last one.

    ``1,234``, ``1.234,5``, ``$5``, ``1/2``, ``3 1/2``, ``2.5e3``, ``2^10``, ``50 %`` as 50; of
    ``3,5`` the comma is a decimal one.
    """
    text = text[-_END:].translate(_NARROW)
    final = text.rfind("####")
    if final >= 0 and (found := _last(text[final + 4 :].strip().partition("\n")[0])) is not None:
        return found
    boxes = re.findall(_BOXED, text)
    if boxes and (found := _last(boxes[-1])) is not None:
        return found
    return _last(text)


def _last(text: str) -> Fraction | None:
    text = re.sub(_TIMES, "×", text.replace("\\$", "$").replace("\\,", "").replace("{,}", ","))
    text = re.sub(_FRACTION, r" \1/\2", text)
    text = re.sub(_VULGAR, lambda one: f" {_plain_form(one[0])}", text).replace("\u2044", "/")
    text = re.sub(_RAISED, lambda power: f"^{_plain_form(power[0])}", text)
    text = re.sub(_UNIT_POWER, " ", text)
    found = None
    for found in re.finditer(_NUMBER, text):  # noqa: B007  (the last one is wanted)
        pass
    return None if found is None else _as_fraction(found)


def _plain_form(char: str) -> str:
    return unicodedata.normalize("NFKC", char)


def _ungrouped(digits: str) -> str:
    """Digits in groups without what parts these, and with a decimal point."""
    plain = re.sub("['’ \xa0\u2009\u202f]", "", digits)
    if "," in plain and "." in plain:
        groups = "." if plain.rfind(",") > plain.rfind(".") else ","
        return plain.replace(groups, "").replace(",", ".")
    if plain == digits:
        return re.sub("[.,]", "", plain)
    return plain.replace(",", ".")


def _as_fraction(found: re.Match[str]) -> Fraction | None:
    groups = found["groups"]
    number = Fraction(Decimal(_ungrouped(groups) if groups else found["digits"].replace(",", ".")))
    if found["power"]:
        *_, last = re.findall(r"[-+−]?\d{1,3}", found["power"])
        power = int(last.replace("−", "-"))
        if found["ten"] or ("^" not in found["power"] and "**" not in found["power"]):
            number *= Fraction(10) ** power
        elif (not number and power < 0) or len(found["digits"]) > _LONGEST_BASE:
            return None
        else:
            number **= power
    if found["part"]:
        over, _, under = found["part"].partition("/")
        if not int(under):
            return None
        number += Fraction(int(over), int(under))
    elif found["under"]:
        if not int(found["under"]):
            return None
        number /= int(found["under"])
    negative = (found["sign"] or "").strip() in ("-", "−", "–") or found["sign2"]
    return -number if negative else number


def _number(options: Options, value: str, expected: str | None) -> Ruling:
    right = last_number(_right(expected))
    if right is None:
        raise RuleError(f"there is no number in expected: {(expected or '').strip()[:60]!r}")
    found = last_number(value)
    if found is None:
        return _compared(False, "", _written(right))
    slack = max(
        Fraction(str(options.tolerance or 0)), Fraction(str(options.relative or 0)) * abs(right)
    )
    return _compared(abs(found - right) <= slack, _written(found), _written(right))


def _written(number: Fraction) -> str:
    """A number for people: exact where it is whole or short."""
    if number.denominator == 1 and abs(number) < 10**15:
        return str(number.numerator)
    try:
        return f"{float(number):.12g}"
    except OverflowError:
        return f"{'-' if number < 0 else ''}1e{len(str(abs(number.numerator))) - 1}"


# Labels

_STATES = (
    r"(?:answer|option|choice|label|category|class|classification|sentiment|verdict|result|"
    r"prediction|antwort|respuesta|réponse|risposta|答案|選択肢|(?:it|that)(?=['’]s| is))"
)
_LINKS = (
    r"(?:\s{0,3}(?:['’]s|is|are|was|(?:would|should|must) be|ist|es|est|[是为為:：=]|->|→)){1,2}"
    r"\s{0,3}(?:(?-i:the |an? )?(?:(?:option|choice|answer|letter|label|category|class)\s)?)"
)
_RIGHT = (
    r"[)\]]?\s(?:is|would be)\s(?:the\s)?(?:correct|right|best)"
    r"(?:\s(?:answer|option|choice|one))?\b"
)
_CHOSEN = (
    r"\bI(?:['’]d| would| will|['’]ll)? (?:choose|pick|select|go (?:with|for)) (?:option |choice )?"
)
_OPENS = r"[\s(\[{'‘“\"$]{0,4}(?:\\(?:boxed|text|mathrm|mathbf)\{){0,2}[(\[]?"
_NOT = re.compile(
    r"(?:\b(?:not|never|no|neither|nor|without|cannot)|n['’]t)(?:\s+[\w'’]+){0,2}\s*[\W_]{0,3}\Z",
    re.IGNORECASE,
)
_MARKS = str.maketrans(dict.fromkeys('*`"“”', "")) | _NARROW


class _Labels:
    """Finds which one of some labels a text states."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._known = {_folded(label): label for label in labels}
        self.letters = all(len(label.strip()) == 1 for label in labels)
        label = f"(?:{any_of(map(_spaced, labels))})".replace(r"\ ", r"\s{1,3}")
        # 1 is neither in 1.5 nor in -1, and no quoted label is a word with an apostrophe.
        end = r"(?![\w-]|['’]\w|[.,]\d|[ ]?%)" if self.letters else r"(?!\w|-\w|[.,]\d)"
        whole = r"(?<![-−.,](?=\d))"
        begins = rf"(?<!\w)(?<!\w-){whole}"
        flags = 0 if self.letters else re.IGNORECASE
        case = label if self.letters else f"(?i:{label})"
        # In small letters a label could be a word, unless it ends what is said.
        claimed = rf"{case}|(?i:{label})(?=[)\]]|[.:]?\s{{0,9}}(?:\Z|\n))" if self.letters else case
        self._alone = re.compile(rf"[\W_]{{0,4}}{whole}({label})[\W_]{{0,6}}", re.IGNORECASE)
        self._claims = re.compile(
            rf"(?i:\b(?P<final>final\s)?{_STATES}{_LINKS}){_OPENS}(?P<label>{claimed}){end}"
        )
        self._tagged = re.compile(
            rf"<(?P<tag>\w{{1,20}})>\s{{0,9}}[(\[]?(?P<label>(?i:{label}))[)\]]?\s{{0,9}}</(?P=tag)>"
        )
        self._right = re.compile(
            rf"{begins}(?<!\bor\s)(?<!\band\s)(?<!/)[(\[]?(?P<label>{case})(?i:{_RIGHT})"
        )
        self._chosen = re.compile(rf"(?i:{_CHOSEN}){_OPENS}(?P<label>{claimed}){end}")
        self._boxed = re.compile(
            rf"\\boxed\s?\{{\s?(?:\\(?:text|mathrm|mathbf)\{{)?\(?(?P<label>{case}){end}"
        )
        self._leads = re.compile(
            rf"[ \t>#-]{{0,4}}[(\[]?(?P<label>{label})(?:[)\]][.:]?|[.:])(?=\s|\Z)", flags
        )
        bare = rf"(?i:\b(?:option|choice|answer|letter)\s){label}{end}|[(\[]{label}[)\]]"
        self._mentions = re.compile(bare if self.letters else f"{begins}{label}{end}", flags)
        self._label = re.compile(label, flags)
        self._another = re.compile(
            rf"[\s)\]}}\x27’”\x22$]{{0,4}}(?:\b(?:or|and|oder|und|o|ou)\b|[/&|,])\s{{0,3}}"
            rf"(?i:option\s|choice\s)?[(\[]?{label}{end}",
            flags,
        )

    def known(self, text: str) -> str | None:
        """The label that a right answer is, written alone or in brackets."""
        text = _folded(text)
        return self._known.get(text) or self._known.get(text.strip("()[]. "))

    def stated(self, text: str) -> str | None:
        text = _both_ends(text).translate(_MARKS).strip()
        if (label := self._known.get(_folded(text))) is not None:
            return label
        if alone := self._alone.fullmatch(text):
            return self._known.get(_folded(alone[1]))
        claims = _all(text, self._claims, self._boxed, self._tagged)
        final = [one for one in claims if one.groupdict().get("final")]
        claims = final or claims or _all(text, self._right, self._chosen)
        if claims:
            return self._one(text, claims)
        lines = [line for line in text.splitlines() if line.strip()]
        leads = [found for line in lines if (found := self._leads.match(line))]
        if leads:
            first_or_last = any(self._leads.match(line) for line in (lines[:1] + lines[-1:]))
            return self._of({self._name(one["label"]) for one in leads}) if first_or_last else None
        last = self._alone.fullmatch(lines[-1]) if lines else None
        first = self._alone.fullmatch(lines[0]) if lines else None
        ends = {self._name(one[1]) for one in (first, last) if one}
        if ends:
            return self._of(ends)
        mentions = list(self._mentions.finditer(text))
        return self._one(text, mentions)

    def _one(self, text: str, found: Sequence[re.Match[str]]) -> str | None:
        labels = set()
        for one in found:
            inner = one["label"] if "label" in one.re.groupindex else self._inner(one[0])
            before = text[max(0, one.start() - 40) : one.start()]
            if self._another.match(text, one.end()) or _NOT.search(before):
                return None
            labels.add(self._name(inner))
        return self._of(labels)

    def _inner(self, text: str) -> str:
        """The label at the end of a mention."""
        plain = text.strip("()[] ")
        return plain.split()[-1] if self.letters else plain

    def _name(self, text: str) -> str | None:
        return self._known.get(_folded(text))

    @staticmethod
    def _of(labels: set[str | None]) -> str | None:
        return labels.pop() if len(labels) == 1 else None


def _all(text: str, *patterns: re.Pattern[str]) -> list[re.Match[str]]:
    return [found for pattern in patterns for found in pattern.finditer(text)]


def _spaced(label: str) -> str:
    return " ".join(label.split())


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.translate(_NARROW).split()).casefold())


@lru_cache(maxsize=64)
def _labels_of(labels: tuple[str, ...]) -> _Labels:
    return _Labels(labels)


def _choice(options: Options, value: str, expected: str | None) -> Ruling:
    labels = _labels_of(options.labels or LETTERS)
    right = labels.known(_right(expected))
    if right is None:
        raise RuleError(f"expected is none of the labels: {(expected or '').strip()[:60]!r}")
    found = labels.stated(unicodedata.normalize("NFC", value))
    return _compared(found == right, found or "", right)


def check_labels(labels: tuple[str, ...]) -> None:
    """Refuse labels that cannot be told apart.

    Raises:
        Wrong: There are fewer than two, one is blank, or two differ in case alone.
    """
    folded = [_folded(label) for label in labels]
    if len(labels) < 2 or not all(folded):
        raise Wrong(("labels",), "must name two labels or more, and none that is blank")
    for label, one in zip(labels, folded, strict=True):
        if folded.count(one) > 1:
            raise Wrong(("labels",), f"differ only in case or not at all: {label!r}")


# JSON

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)


def _json(options: Options, value: str, expected: str | None) -> Ruling:
    right = None
    if expected is not None:
        try:
            right = _loaded(_right(expected))
        except ValueError as error:
            raise RuleError(f"expected is no JSON: {error}") from None
    shown = None if expected is None else " ".join(expected.split())[:_SHOWN]
    text = value.strip()
    if not text:
        return Ruling(False, "", shown, NO_ANSWER)
    fenced = _FENCED.fullmatch(text)
    inner = fenced[1] if fenced else text
    found = " ".join(inner[: 2 * _SHOWN].split())[:_SHOWN]
    try:
        said = _loaded(inner)
        if options.fields is not None:
            _check_fields(inner, options.fields)
    except (ValueError, Unreadable) as error:
        return Ruling(False, found, shown, f"{error}")
    if expected is not None and not _same(said, right):
        return Ruling(False, found, shown, "another value than expected")
    return Ruling(True, found, shown)


def _loaded(text: str) -> Any:
    """What a text of JSON says, and nothing but JSON.

    Raises:
        ValueError: It is none, names a key twice, or is nested too deeply.
    """
    try:
        return _decoder.decode(text.strip())
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=Decimal, parse_float=Decimal, parse_constant=_no_constant
)
_plain = json.JSONDecoder(parse_int=whole_number)


def _check_fields(text: str, fields: dict[str, OutputField]) -> None:
    """Raises `Unreadable` or `ValueError` unless a text is an object of exactly these fields."""
    found = _plain.decode(text.strip())
    if not isinstance(found, dict):
        raise ValueError("no object")
    for name in found:
        if name not in fields:
            raise ValueError(f"field {name[:60]!r} is not known")
    for name, field in fields.items():
        if field.is_free_text and not isinstance(found.get(name), str):
            raise ValueError(f"field {name!r} is missing or no string")
        if not field.is_free_text and isinstance(found.get(name), str) != (field.type == "string"):
            raise ValueError(f"field {name!r} is missing or not {field.in_words()}")
    checked_object(found, fields)


def _same(one: Any, two: Any) -> bool:
    """Whether two values are equal as JSON has it: true is no 1, and 1.0 is 1."""
    try:
        return _equal(one, two)
    except RecursionError:
        return False


def _equal(one: Any, two: Any) -> bool:
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_equal(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(_equal, one, two))
    return bool(one == two)


_RULES: dict[RuleName, Callable[[Options, str, str | None], Ruling]] = {
    "equals": _equals,
    "contains": _contains,
    "regex": _regex,
    "number": _number,
    "choice": _choice,
    "json": _json,
    # A function of the user's own is called by the chain: see `llm_batch.chain.functions`.
}
