"""The value that a text in words states, when it states one and one only.

It is named (``Score: 4/5``), framed (``[[4]]``, ``<score>4</score>``), given (``I rate it 4``), or
all there is on the first or last line. The shapes are those that the prompts of MT-Bench,
Prometheus, G-Eval, LangChain, OpenAI evals and others ask for. A number in prose is none of them,
and a text that states two values states none.

Texts are a stranger's, so the work is linear in them: only the two ends of a long text are read,
spaces are one space, and every pattern sees a bounded piece or has no repeats side by side.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from llm_batch.chain.outputs import YES_OR_NO, OutputField, any_of, leading_number

# A verdict is near the start or the end of a text: characters read of each.
_END = 20_000
_CUT = "cut…"
# Characters looked at on either side of a name or behind a value.
_NEAR = 200
# Without a scale, a number above this on a line of its own may be a year or an answer.
_LIKELY = 100
# A share of the scale beside a score may be rounded by so many percent.
_ROUNDED = 0.51

_NEVER = r"\b\B"

# What a score is called where the config gives it no name.
_CALLED = (
    r"scores?(?: (?:finale?|globale?|total))?|ratings?|grade|verdict|label|marks?|judge?ment"
    r"|overall|\[result\]"
    # As judges say it in other languages.
    r"|(?:gesamt|end)?(?:be)?wertung|(?:gesamt|end)?punktzahl|gesamtnote"
    r"|note (?:finale|globale|totale)|évaluation|notation|puntuación|puntaje|calificación"
    r"|valoración|pontuação|punteggio|valutazione|оценка|ocena|cijfer"
    r"|(?:最终|总体?|综合|整体)?(?:评分|得分|打分|评级|分数)|总分"
    r"|(?:総合|最終)?(?:スコア|評価|評点|評分|得点|採点|点数)|점수|평점"
)
# These may also head something else, so only a number and its scale counts behind them.
_MAY_BE_CALLED = "note|nota|voto|punkte|puntos|(?:total )?points(?: awarded)?|total"
# Behind these a number may be that of a list.
_MAY_LIST = ("verdict", "label", "judgement", "judgment", "overall")
# What prompts of one criterion call it, such as those of G-Eval.
_CRITERION = (
    "accuracy|clarity|coherence|completeness|conciseness|consistency|correctness|engagingness|"
    "factuality|faithfulness|fluency|groundedness|helpfulness|naturalness|quality|relevance"
)
_JUDGED = "answer|response|submission|prediction|claim|statement|summary|output|reply"
# A line that gives something of its own a number.
_LABELLED = re.compile(
    r"\A(?:\(?\d{1,3}[.):]? )?[^\W\d][^:=\d]{0,60}?(?: ?[:=] ?| [–—-] | )(?=\d)(?P<value>.+)"
)

# Markup that carries no meaning; a - or # does at the start of a line only. Signs of East Asian
# width are those of ASCII, and what has no width is nothing.
_MARKUP = str.maketrans(
    {chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)}
    | dict.fromkeys('*_`|"“”', " ")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufe0f\ufeff", "")
    | {"【": "[", "】": "]", "∕": "/", "⁄": "/", "。": ". "}
)
_STARS = re.compile(r"(?=[★⭐🌟☆✩]{2})([★⭐🌟]{1,10})([☆✩]{0,9})")
# Marks of templates that servers leave in; GLM's around the answer.
_TOKENS = re.compile(
    r"<\|(?:(?:begin|end)_of_box|im_end|eot_id|endoftext|end)\|>|</s>|</?(?:b|strong|em|i|p|br)>"
)
# 四分 is 4分, but not in 四分之三 or 三点四分.
_CHINESE = "一二三四五六七八九"
_CHINESE_POINTS = re.compile(rf"(?<![{_CHINESE}十百千点分\d])[{_CHINESE}](?=分(?!之))")
_FENCE = re.compile(r"```\w{0,20}")
_BULLET = re.compile(r"(?:[-•>]|#{1,6}) ")
_FINAL = frozenset({"final", "overall", "total"})
_LEADS = _FINAL | frozenset(
    re.findall(
        r"\S+",
        "the this that my your a an so thus therefore hence and given student's submitted model's "
        "assistant's predicted numeric numerical resulting evaluation quality assigned "
        "die der das meine mein also la le ma mon il el mi una une je donc 我的 私の",
    )
)
_OPENS = r"(?:[\[({'] ?|<(?=\w[^<>]{0,30}>)|\$?\\boxed ?\{ ?(?:\\text ?\{)?){0,3}"
_CLOSES = " ])}>'$’"
_CONNECTED = re.compile(
    rf"\]{{0,2}}(?: (?:for|of) (?:this|the) (?:\w{{1,12}}['’]s )?(?:{_JUDGED})(?= is| was| ?:))?"
    r"(?: ?[(\[](?P<scale>[^()\[\]]{3,60})[)\]]| ?/ ?(?P<of>\d{1,4})| out of (?P<out>\d{1,4}))?"
    r"(?P<by> ?(?:=>|[:：=]|->|→) ?| (?:is|was)(?: (?:therefore|thus|hence|now|clearly|an?))?:? "
    r"| (?:ist|beträgt|est|es|è|of|von)(?: de)? |[是为為は] ?"
    rf"| [–—-] | )?(?:(?:an?|the) )?{_OPENS}",
    re.IGNORECASE,
)
_RATES = re.compile(
    r"\bI(?: would| will| shall| have|['’](?:d|ll|ve))? "
    r"(?:rate|give|score|grade|assign|award|rated|gave|scored|graded|assigned|awarded|say"
    r"|(?:go|went|settle) (?:with|for))"
    r"|\bich (?:ver)?gebe|\bich (?:bewerte|würde) [^.;]{0,40}?mit|\bje (?:donne|mets|note)"
    r"|\bj['’](?:attribue|accorde)|我(?:会|将|想)?(?:给(?:予|出)?|打)[^.;。,\d]{0,12}"
    rf"|\b(?:it|this|(?:the|this) (?:\w{{1,12}}['’]s )?(?:{_JUDGED})) "
    r"(?:deserves|receives|gets|earns|merits|scores)",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"(?: (?:it|its|this|that|the|an?|given|(?:student|assistant|model)(?:['’]s)?|score|rating|"
    rf"grade|mark|of|as|solid|strong|full|perfect|low|high|overall|final|{_JUDGED}"
    r"|la|une|note|de|à|cette|réponse|der|die|antwort|dafür)\b)"
    rf"{{0,8}}:? ?{_OPENS}",
    re.IGNORECASE,
)
_FRAMED = re.compile(
    r"\[\[ ?([^\[\]\n]{1,40})\]\](?! ?\()"
    rf"|<(?:final |overall )?({_CALLED}|result)>\s{{0,4}}([^<>\n]{{1,60}})\s{{0,4}}"
    r"</(?:final |overall )?\2>",
    re.IGNORECASE,
)
_NAME = re.compile(rf"\A(?:{_CALLED}) ?[:=] ?", re.IGNORECASE)
# What judges give beside a score, in the same line.
_BESIDE = re.compile(
    r" ?[,;]? ?(?:confidence|certainty|reason(?:ing|s)?|explanation|justification|rationale"
    r"|comments?|feedback) ?[:=]",
    re.IGNORECASE,
)
# 4/5 (80%)
_SHARE = re.compile(r"(?: ?[(\[]| ?=) ?(\d{1,3}(?:\.\d{1,9})?) ?%[)\]]?")
_EXPLAINS = re.compile(
    r" ?[,;:(–—] ?| - | (?=(?:because|since|as|for|due)\b)| (?=(?:to|for) (?:this|the)\b)",
    re.IGNORECASE,
)
_REMARKS = re.compile(r",? (?:because|since|as it)\b| ?\((?=[^()]{0,200}\)\.?\Z)", re.IGNORECASE)
_REASONS = re.compile(r"(?:because|since|as|due to)\b", re.IGNORECASE)
_HEDGES = re.compile(
    r"(?:or|to(?! (?:this|the)\b)|maybe|perhaps|possibly|probably|actually|wait|hmm|no|not|rather|"
    r"at (?:most|least)|up to|out of|if|unless)\b",
    re.IGNORECASE,
)
_SOFTENS = re.compile(r"(?:mostly|partly|partially|almost|in part|but|though)\b", re.IGNORECASE)
_REVISES = re.compile(
    r"\b(?:wait|actually|correction|on second thoughts?|scratch that|or rather|i meant|oops"
    r"|(?:change|lower|raise|reduce|increase|adjust|revise) (?:it|this|that|(?:my|the) \w{4,6}))\b"
    r"|\A(?:no|hmm|sorry)[,.!;:…]"
    r"|\A(?:my )?(?:adjusted|revised|updated?|corrected|actual|edit(?:ed)?|new|after [a-z ]{1,40})"
    r"(?: (?:score|rating|grade|mark|verdict))? ?[:=]",
    re.IGNORECASE,
)
# Before a score that somebody else's words have, or those that say how to write one.
_QUOTES = re.compile(
    r"\b(?:(?:contains?|includ(?:es|ing)|says?|said|saying|writes?|wrote|claims?|asks? for"
    r"|requests?|demands?|examples?|e\. ?g\.|such as|like|formats?|instructions?|user|prompt"
    r"|rubric|template)(?: (?:an?|the|of|text|string|words?|tag|line|score|rating|verdict))*)"
    r"[:,]? ?['(]?\Z",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?;] | [–—-] ")
_ON_A_SCALE = re.compile(
    r"(?:on a scale (?:of|from)|auf einer skala von|sur une échelle de) "
    r"\d{1,4}(?: to | ?[-–] ?| bis | à )(\d{1,4})(?: ?[:,] ?)"
    r"|(\d{1,4})(?:点満点[中で]|段階評価で) ?",
    re.IGNORECASE,
)
_SUMS_UP = re.compile(
    r" ?(?:based on|considering|overall|in (?:conclusion|summary)|all in all)\b"
    r"[^,]{0,160},(?: (?:the|my|final|overall|resulting)){0,3} ?\Z",
    re.IGNORECASE,
)
_IS = ("is", "was", "ist", "beträgt", "est", "es", "è", "是", "为", "為", "は")
_CONDITION = re.compile(r"(?:if|unless|were|had|should|when|even)\b", re.IGNORECASE)
_OTHER_SCALE = re.compile(r"\bout of\b|\bscale\b|/ ?\d|%|\bpercent", re.IGNORECASE)
_SCALE = re.compile(
    r"\bscale:? (?:of |from |is )?\d{1,4}(?: to | ?[-–] ?)(\d{1,4})(?!\d)", re.IGNORECASE
)
_SCALED = re.compile(r"\d ?/ ?\d| (?:von|sur|de|su) \d")
_NOT_AFTER = re.compile(r"[%°+=~<>/\\→?€£¥-]")
# All of a text in one, as judges that were trained to reason write it.
_WRAPPED = re.compile(r"\s*<(answer|final_answer|output)>(.*)</\1>\s*", re.IGNORECASE | re.DOTALL)
_OBJECT = re.compile(r"\{[^{}]*\}")
_SIGNS = re.compile(r" ?([<>=]) ?")
_LISTS = re.compile(r"\d{1,3}[.):] ")
_NUMBERED = re.compile(r"\(?\d{1,3}[.):]? ")
_DIGITS_LAST = re.compile(r"\d{1,15}\Z")
_DIGITS = re.compile(r"(?<!\d)\d{1,15}(?:\.\d{1,15})?(?!\d)")


def within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


@dataclass(frozen=True, slots=True)
class Claim:
    """A place where a text states a value; ``value`` is ``None`` where it cannot be read.

    ``column`` is where in line ``at`` it begins; ``is_framed`` as in ``[[4]]``, which a prompt has
    asked for.
    """

    value: float | str | None
    line: str
    at: int
    is_final: bool = False
    column: int = 0
    is_framed: bool = False

    @property
    def place(self) -> tuple[int, int]:
        return self.at, self.column


@dataclass(frozen=True, slots=True)
class Numbers:
    low: float | None
    high: float | None

    def read(self, text: str) -> tuple[float, str, bool] | None:
        """The number at the start, what follows it, and whether it names its scale."""
        found = leading_number(text, self.high)
        if found is None:
            return None
        value, rest, named = found
        share, end = _SHARE.match(rest), named or self.high
        if share and end and abs(float(share[1]) - 100 * value / end) <= _ROUNDED:
            rest = rest[share.end() :]
        return value, rest, named is not None

    def may_follow(self, rest: str) -> bool:
        """Whether words after a number explain it, and have no other that could be the score."""
        if _BESIDE.match(rest):
            return True
        begins = _EXPLAINS.match(rest)
        if begins is None:
            return False
        words = rest[begins.end() :]
        return _REASONS.match(words) is not None or not (
            words[:1].isdigit()
            or _HEDGES.match(words)
            or _OTHER_SCALE.search(words)
            or self.mentioned_in(words)
        )

    def mentioned_in(self, text: str) -> bool:
        known = self.low is not None and self.high is not None
        return any(
            not known or within(float(digits), self.low, self.high)
            for digits in _DIGITS.findall(text)
        )


class Words:
    """``by_case``: two of them differ by their capitals alone, as AlpacaEval's m and M do."""

    def __init__(self, words: Iterable[str], by_case: bool = False) -> None:
        self.fold: Callable[[str], str] = str if by_case else str.casefold
        # The markup in a word is gone from the text as well.
        self._plain = {
            self.fold(_SIGNS.sub(r"\1", _plain(word))): self.fold(word) for word in words
        }
        self._plain.pop("", None)
        self._has_signs = any(_SIGNS.search(word) for word in self._plain)
        self._pattern = re.compile(
            rf"(?:{any_of(self._plain) or _NEVER})(?![\w%])", 0 if by_case else re.IGNORECASE
        )
        self.high = None
        self.are_letters = any(len(word) == 1 for word in self._plain)

    def read(self, text: str) -> tuple[str, str, bool] | None:
        if self._has_signs:
            text = _SIGNS.sub(r"\1", text)  # [[A >> B]]
        found = self._pattern.match(text)
        word = self._plain.get(self.fold(found[0])) if found else None
        return (word, text[found.end() :], False) if found and word is not None else None

    def may_follow(self, rest: str) -> bool:
        """Whether a reason follows, or a remark in brackets: ``correct, but late`` is neither."""
        begins = _REMARKS.match(rest)
        firm = begins is not None and self.are_firm(rest[begins.end() :])
        return firm and not self.are_letters  # A (good) answer.

    def are_firm(self, sentence: str) -> bool:
        return not _SOFTENS.match(sentence) and not self.mentioned_in(sentence)

    def mentioned_in(self, text: str) -> bool:
        return any(
            not text[found.start() - 1 : found.start()].isalnum()
            for found in self._pattern.finditer(text)
        )


Reader = Numbers | Words


def reader_of(field: OutputField) -> Reader:
    if field.is_number:
        # Where no end of the scale is set, none that a text names is right.
        return Numbers(field.min, math.nan if field.max is None else field.max)
    return Words(field.choices or YES_OR_NO)


def stated(text: str, reader: Reader, inside: str | None = None) -> Claim | None:
    """What a text without fields states; a claim without a value where that is uncertain.

    ``inside`` is what an object in the text says; the words around it must not say otherwise.
    """
    if inside is not None:
        own, around = _lines(inside), _lines(_OBJECT.sub("\n", text))
        said = _settled(_claims(own, reader), own, reader)
        claims = (said, *_claims(around, reader))
        values = {claim.value for claim in claims if claim and claim.value is not None}
        return said if len(values) == 1 else None
    lines = _lines(text)
    return _settled(_claims(lines, reader), lines, reader)


def named(text: str, name: str, reader: Reader, alone: bool) -> Claim | None:
    """What a text states of a field by its name; if ``alone``, without the name as well."""
    lines = _lines(text)
    # As names look once markup is gone: is_correct is "is correct".
    words = "[ -]?".join(re.escape(part) for part in re.split(r"[\W_]+", name) if part)
    claims = list(_named(lines, words or _NEVER, reader))
    if not claims and alone:
        claims = list(_bare(lines, reader))
    return _settled(claims, lines, reader)


def _plain(line: str) -> str:
    if "<" in line:
        line = _TOKENS.sub(" ", line)
    plain = " ".join(line.translate(_MARKUP).split())
    if plain.isascii():
        return plain
    plain = _CHINESE_POINTS.sub(lambda found: str(_CHINESE.index(found[0]) + 1), plain)
    return plain if _DIGITS.search(plain) else _STARS.sub(_counted, plain)


def _counted(stars: re.Match[str]) -> str:
    full, empty = len(stars[1]), len(stars[2])
    return f"{full}/{full + empty if empty else 5 if full <= 5 else 10}"


def _lines(text: str) -> list[str]:
    """The lines of both ends of a text, without markup and empty ones, spaces as one space."""
    if "<" in text[:_NEAR] and (wrapped := _WRAPPED.fullmatch(text)):
        text = wrapped[2]
    if len(text) > 2 * _END:
        # What stands at the cut neither ends nor begins a statement.
        text = f"{text[:_END]}{_CUT}\n{_CUT}{text[-_END:]}"
    lines = (_plain(line) for line in text.splitlines() if not _FENCE.fullmatch(line.strip()))
    return [
        _BULLET.sub("", line, count=1) if _BULLET.match(line) else line
        for line in lines
        if line.strip("-=~# ")
    ]


def _claims(lines: Sequence[str], reader: Reader) -> list[Claim]:
    called = (
        _CALLED
        if isinstance(reader, Numbers)
        else f"{_CALLED}|result|choice|decision|winner|urteil|判定|判断|结论"
    )
    claims = [*_named(lines, called, reader), *_framed(lines, reader), *_bare(lines, reader)]
    claims += _named(lines, "final", reader, by=(":", "="))
    if isinstance(reader, Numbers):
        claims += _rated(lines, reader)
        if not claims:
            claims = list(_named(lines, rf"(?:{_CRITERION})(?: score| rating)?", reader))
            may_be = _named(lines, _MAY_BE_CALLED, reader, by=(":", *_IS))
            claims += [one for one in may_be if one.value is not None and _SCALED.search(one.line)]
            alone = len(claims) == 1 and not any(
                _is_labelled(line, reader) for n, line in enumerate(lines) if n != claims[0].at
            )
            return claims if alone else []
    elif not reader.are_letters:
        # "The answer is wrong", and the "correct: yes" of Humanity's Last Exam.
        about = (
            *_named(lines, _JUDGED, reader, by=_IS),
            *_named(lines, "correct", reader, by=(":",)),
        )
        claims += [claim for claim in about if claim.value is not None]
    return claims


def _is_labelled(line: str, reader: Numbers) -> bool:
    """Whether a line gives something of its own a number: of two criteria none is the score."""
    label = _LABELLED.match(line[:_NEAR])
    found = reader.read(label["value"]) if label else None
    return (
        found is not None
        and within(found[0], reader.low, None if math.isnan(reader.high or 0) else reader.high)
        and _ends(found[1], reader)
    )


def _settled(claims: Sequence[Claim], lines: Sequence[str], reader: Reader) -> Claim | None:
    """The one thing that a text claims, or what makes it uncertain; ``None`` without claims.

    What is called final or overall stands above what came before, though not above the last frame:
    a prompt asked for that.
    """
    chosen = list(claims)
    if finals := [claim for claim in claims if claim.is_final]:
        end = max(claim.place for claim in finals)
        known = [claim for claim in claims if claim.value is not None]
        frames = sorted((one for one in known if one.is_framed), key=lambda one: one.place)
        chosen = [*finals, *(one for one in known if one.place > end), *frames[-1:]]
    if not chosen:
        return None
    doubts = [claim for claim in chosen if claim.value is None]
    if doubts:
        return doubts[0]
    other = isinstance(reader, Numbers) and any(
        float(end) != reader.high
        for line in lines
        if reader.high is not None
        for end in _SCALE.findall(line)
    )
    last = max(chosen, key=lambda claim: claim.place)
    if len({claim.value for claim in chosen}) > 1 or other or _is_revised(lines, last, reader):
        return Claim(None, last.line, last.at)
    return last


def _is_revised(lines: Sequence[str], last: Claim, reader: Reader) -> bool:
    """Whether a text takes back what it said: ``Score: 4. Wait, actually 3.``"""
    return any(
        reader.mentioned_in(line[found.end() : found.end() + _NEAR])
        for at, line in enumerate(lines[last.at :], last.at)
        for found in _REVISES.finditer(line, last.column if at == last.at else 0)
    )


def _named(
    lines: Sequence[str], names: str, reader: Reader, by: tuple[str, ...] = ()
) -> Iterator[Claim]:
    """Values behind a name: ``Score: 4``, ``the final score is 4``, ``Score`` and 4 below it.

    If only ``by`` these words connect the two, what stands below a name is not meant.
    """
    pattern = re.compile(
        rf"(?<!\w)(?:{names})(?:(?<![a-z])(?=\d)|(?![^\W是为為は]))", re.IGNORECASE
    )
    for at, line in enumerate(lines):
        for name in pattern.finditer(line):
            is_marker = name[0].startswith("[")
            begins, is_final = _begins_statement(_before(line, name.start()))
            if not begins and not is_marker:
                continue
            connected = _CONNECTED.match(line, name.end(), name.end() + _NEAR)
            how = (connected["by"] or "").strip() if connected else ""
            if connected is None or (by and not how.startswith(by)):
                continue
            rest = line[connected.end() : connected.end() + _NEAR]
            heads = not rest and at + 1 < len(lines) and not by
            if heads:
                # A heading; the value has the next line, unless that has a name itself.
                below = re.sub(rf"\A{_OPENS}", "", lines[at + 1][:_NEAR])
                inner = pattern.search(below)
                if inner and _begins_statement(below[: inner.start()])[0]:
                    continue
                rest, how = below, how or ":"
            is_final = is_final or name[0].lower() in ("overall", "final")
            claim = _claimed(line, at, rest, how, reader, is_marker)
            if (
                claim is not None
                and claim.value is not None
                and (name[0].lower() in _MAY_LIST or heads)
                and _LISTS.match(rest)
            ):
                claim = Claim(None, line[:_NEAR], at)
            if claim is None:
                continue
            if not _is_on_scale(connected, reader):
                claim = Claim(None, line[:_NEAR], at)
            yield replace(claim, is_final=is_final or is_marker, column=name.start())


def _claimed(
    line: str, at: int, rest: str, by: str, reader: Reader, is_marker: bool
) -> Claim | None:
    doubt = Claim(None, line[:_NEAR], at)
    found = reader.read(rest)
    if found is None:
        return doubt if by[:1] in (":", "=") else None
    value, after, _ = found
    if by in ("of", "von"):  # of 4 that is given, and not of what 4 means
        return Claim(value, line[:_NEAR], at) if _ends(after, reader) else None
    if by.startswith(_IS) and isinstance(reader, Words):
        # A sentence about the answer, and others after it.
        closed = _is_closed(after) or after[:2].strip() in (".", "!")
        return Claim(value, line[:_NEAR], at) if closed else None
    if by or is_marker:
        return Claim(value, line[:_NEAR], at) if _ends(after, reader) else doubt
    # Score 4: partly right. The line of a rubric.
    if after[:2].strip()[:1] in tuple(":=–—-") and after:
        return doubt
    return Claim(value, line[:_NEAR], at) if _is_closed(after) else None


def _is_on_scale(connected: re.Match[str], reader: Reader) -> bool:
    """Whether the scale in ``Score (1-5): 4``, if any, is the one that is known."""
    named = _DIGITS.findall(connected["scale"] or connected["of"] or connected["out"] or "")
    return not named or reader.high is None or float(named[-1]) == reader.high


def _before(line: str, at: int) -> str:
    return line[max(0, at - _NEAR - 1) : at]


def _begins_statement(before: str) -> tuple[bool, bool]:
    """Whether a name behind these words states something, and something final.

    It does at the start of a line or sentence, behind words like "so my": the maximum score, or
    the score of an answer that were right, is not the score.
    """
    words = before.split()
    leads = set()
    while words and words[-1].casefold().replace("’", "'").strip("([{<',") in _LEADS:
        leads.add(words.pop().casefold().strip(","))
    is_final = not _FINAL.isdisjoint(leads)
    if words[-1:] == ["'"]:
        words.pop()
    if words and _QUOTES.search(before):
        return False, is_final
    if not words:
        return len(before) <= _NEAR, is_final
    firm = is_final or not leads.isdisjoint({"so", "thus", "therefore", "hence", "my"})
    ends = words[-1][-1]
    begins = ends in ".!?;:)]}–—-" or words[-1] in ("(", "[", "[[", "'") or (ends == "," and firm)
    return begins or _SUMS_UP.match(_SENTENCE.split(before)[-1]) is not None, is_final


def _framed(lines: Sequence[str], reader: Reader) -> Iterator[Claim]:
    """``[[4]]``, ``<score>4</score>``."""
    text = "\n".join(lines)
    for frame in _FRAMED.finditer(text):
        inside = _NAME.sub("", (frame[1] or frame[3]).strip())
        at = text.count("\n", 0, frame.start())
        found = reader.read(inside)
        column = frame.start() - text.rfind("\n", 0, frame.start()) - 1
        value = found[0] if found and _ends(found[1], reader) else None
        if _QUOTES.search(_before(lines[at], column)):
            value = None
        elif value is None and not frame[3] and not reader.mentioned_in(inside):
            continue
        yield Claim(value, inside, at, column=column, is_framed=True)


def _rated(lines: Sequence[str], reader: Reader) -> Iterator[Claim]:
    """``I would give it a 4``."""
    for at, line in enumerate(lines):
        for verb in _RATES.finditer(line):
            between = _BETWEEN.match(line, verb.end(), verb.end() + _NEAR)
            before = _before(line, verb.start())
            clause = _SENTENCE.split(before)[-1]
            follows = before.rstrip().endswith(",") and not _CONDITION.match(clause)
            if between is None or not (follows or _begins_statement(before)[0]):
                continue
            found = reader.read(line[between.end() : between.end() + _NEAR])
            if found and _ends(found[1], reader):
                yield Claim(found[0], line[:_NEAR], at, column=verb.start())


def _bare(lines: Sequence[str], reader: Reader) -> Iterator[Claim]:
    """Values that are all there is on the first or last line, or n/m as a last sentence."""
    ends = {0, len(lines) - 1} if lines else set()
    if isinstance(reader, Numbers) and len(set(_numbers_alone(lines, reader))) > 1:
        return
    for at in sorted(ends):
        line = lines[at]
        if len(line) > 2 * _NEAR:
            line = "… " + line[-_NEAR:]
        scale = _ON_A_SCALE.match(line)
        if scale and reader.high in (None, float(scale[1] or scale[2])):
            line = line[scale.end() :]
        opens = re.match(_OPENS, line)
        found = reader.read(line[opens.end() :]) if opens else None
        if found is not None:
            value, after, _ = found
            if opens is not None and opens[0].strip() == "[":
                continue  # a list, or a footnote
            alone = _is_closed(after) or (
                reader.may_follow(after)
                if isinstance(reader, Words)
                else isinstance(reader, Numbers)
                and opens is not None
                and not opens[0]
                and _is_explained(after, reader)
                and not any(_NUMBERED.match(other) for n, other in enumerate(lines) if n != at)
            )
            if alone and _stands_alone(lines, at, value, reader):
                yield Claim(value, line[:_NEAR], at)
            elif (
                alone
                and at
                and (above := _DIGITS_LAST.search(lines[at - 1]))
                and float(above[0]) != value
            ):
                yield Claim(None, line[:_NEAR], at)  # that above was the score
            continue
        if isinstance(reader, Numbers):
            sentence = _SENTENCE.split(line)[-1]
            opens = re.match(_OPENS, sentence)
            found = reader.read(sentence[opens.end() :]) if opens else None
            boxed = opens is not None and "boxed" in opens[0]
            if found and (found[2] or boxed) and sentence != line and _is_closed(found[1]):
                yield Claim(found[0], line[:_NEAR], at, column=len(line) - len(sentence))


def _numbers_alone(lines: Sequence[str], reader: Numbers) -> Iterator[float]:
    """Values of all lines that are nothing but a number: two of them are no score."""
    for line in lines:
        found = reader.read(line) if len(line) <= _NEAR else None
        if found is not None and _is_closed(found[1]):
            yield found[0]


def _stands_alone(lines: Sequence[str], at: int, value: float | str, reader: Reader) -> bool:
    """Whether a line that is a value is the verdict: no ``The right answer is:`` leads up to it."""
    if len(lines) == 1 or isinstance(value, str):
        return True
    unlikely = reader.high is None or math.isnan(reader.high)
    if unlikely and abs(value) > _LIKELY:
        return False
    before = lines[at - 1] if at else "."
    return before[-1] in ".!)]}'" or _same(before, value, reader)


def _same(line: str, value: float | str, reader: Reader) -> bool:
    found = reader.read(line)
    return found is not None and found[0] == value and _is_closed(found[1])


def _is_closed(rest: str) -> bool:
    rest = rest[:_NEAR].lstrip(_CLOSES)
    return not any(each.isalnum() for each in rest) and not _NOT_AFTER.search(rest)


def _is_explained(rest: str, reader: Numbers) -> bool:
    """``5 (excellent)``, ``4 - good``: in brackets, or in few words since a list has many."""
    explains = rest.startswith((" (", "(")) or (
        rest.startswith((" - ", " – ", " — ")) and len(rest.split()) <= 5
    )
    return explains and reader.may_follow(rest)


def _ends(rest: str, reader: Reader) -> bool:
    if _is_closed(rest):
        return True
    rest = rest.lstrip(_CLOSES[1:])
    if rest[:1] in tuple(".!"):
        words = rest[1:].lstrip(_CLOSES[1:])
        sentence = words.strip()
        return (
            words[:1] == " "
            and not sentence[0].isdigit()
            and not _HEDGES.match(sentence)
            and (isinstance(reader, Numbers) or reader.are_firm(sentence))
        )
    return reader.may_follow(rest)
