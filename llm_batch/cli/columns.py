"""The columns of somebody's own data: what they hold, and which of them is what.

They are told by their names and, where those say nothing, by what is in them. Whatever is not
certain is said, since a wrong guess costs the user a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from llm_batch.chain.options import Data
from llm_batch.dataset.shape import DELIMITER_NAMES, DELIMITERS
from llm_batch.dataset.shards import opened
from llm_batch.dataset.stores import Tally
from llm_batch.errors import ConfigError, DataError
from llm_batch.paper import words

TASKS = ("grade", "compare", "classify", "extract")
#: Grading answers that are there already, as a step of their own.
JUDGE = "judge"

#: A column with more values than this is no list of labels.
MANY_LABELS = 50
_FEW_LABELS = 20
#: Values of a column that are looked at for what it holds.
_LOOKED_AT = 2_000
_LONGEST_LABEL = 60
NAMED_COLUMNS = 20


def _listed(names: str) -> tuple[str, ...]:
    return tuple(names.split())


# By the folded name, those that are surest first.
_IDS = _listed("id itemid questionid qid uuid guid key exampleid rowid index idx nr no number")
# Of those that are asked, questions and instructions stand before texts.
_ASKED = _listed(
    "question prompt query instruction input problem text sentence review comment message "
    "tweet document content passage article body abstract email post utterance title feedback "
    "description source src original frage aufgabe text beschreibung nachricht kommentar pregunta "
    "domanda pergunta vraag pytanie soru pertanyaan texte énoncé texto testo tekst metin вопрос "
    "текст 问题 質問 질문 文本 本文 سؤال"
)
_REFERENCES = _listed(
    "reference referenceanswer groundtruth goldanswer gold correctanswer rightanswer expected "
    "expectedanswer expectedoutput ideal target solution answer correct human translation "
    "musterlösung lösung antwort réponse respuesta risposta resposta antwoord odpowiedź cevap "
    "solución soluzione solução attendu attendue esperada esperado ответ 答案 正解 回答 정답 إجابة "
    "output completion response"
)
_LABELS = _listed(
    "label goldlabel gold class sentiment intent category target topic type tag annotation "
    "etikett klasse étiquette etiqueta etichetta ラベル 标签 标注 레이블 "
    "kategorie thema categoria categoría catégorie rating stars overall truth groundtruth answer"
)
_GIVEN = _listed(
    "modelanswer modeloutput modelresponse llmanswer llmoutput llmresponse prediction "
    "predicted generated generatedanswer machinetranslation mt candidate hypothesis response "
    "completion output"
)
# A name with a word of each says it too: "Model's answer (v2)".
_WHO_ANSWERED = frozenset(_listed("model models llm ai ki ia bot chatbot assistant gpt claude"))
_WHAT_WAS_SAID = frozenset(
    _listed("answer answers response responses reply output completion prediction antwort réponse "
            "respuesta risposta resposta")
)  # fmt: skip
_CATEGORIES = _listed(
    "category topic subject domain type difficulty level language lang group section dataset "
    "source split kategorie thema categoria categoría catégorie department priority priorität"
)
_CLASSES = _listed(
    "label goldlabel class sentiment intent etikett klasse étiquette etiqueta etichetta "
    "ラベル 标签 标注 레이블"
)
#: What texts are sorted by as well, where nothing else in the file is a right answer.
_SORTED_BY = frozenset(
    ("category", "topic", "kategorie", "thema", "categoria", "categoría", "catégorie")
) | frozenset(("rating", "stars", "overall"))
#: A table with one of these on top has names there, whatever the others look like.
_KNOWN = frozenset((*_IDS, *_ASKED, *_REFERENCES, *_LABELS, *_GIVEN, *_CATEGORIES))
_LETTERS, _YES_NO = frozenset("abcdefghij"), frozenset(("yes", "no", "true", "false"))
#: What the rule "number" can compare: a number and nothing else but a sign, a currency or a unit,
#: or a solution as GSM8K ends it.
_AMOUNT = re.compile(
    r"^\s*+[-+−]?\s*+[$€£¥]?\s*+\d[\d.,/ ]*+\s*+(?:%|°?[A-Za-z€]{0,4})\s*$"
    r"|####\s*[-+]?\$?\d[\d.,]*\s*$"
)
_NEARLY_ALL = 0.95
#: Answers of more words than this, on average, are said in more than one way.
_SHORT_WORDS = 3
_PICTURE = re.compile(r"\.(?:png|jpe?g|gif|webp)(?:\?\S*)?\s*$", re.IGNORECASE)
_PAIR = re.compile(r"(.*?)[ _.-]?([ab12])", re.IGNORECASE | re.DOTALL)


@dataclass(slots=True)
class Column:
    """A column of a dataset.

    Attributes:
        name: As the file has it.
        filled: Rows with something in it.
        values: How often each value stands there; empty where they are too many.
        texts: The length of the texts that were looked at, in all.
        numbers: How many values looked at are numbers, or texts of one.
        whole: How many of these are whole.
        asking: How many end with a question mark.
        longest: The length of the longest of these texts.
        words: How many words they have, in all.
        amounts: How many are a number with its sign, currency or unit, or end with ``#### 42``.
        nested: Whether lists or objects are in it.
        talks: How many are conversations: turns of a role and a text.
        answered: How many of these end with the assistant's turn.
        pictures: How many are paths or addresses of pictures.
        requests: How many are bodies of chat requests, as batch APIs take them.
        shapes: The roles of the messages in these.
        unique: Whether no value stands there twice; known of columns that are called like ids.
    """

    name: str
    filled: int = 0
    values: dict[str, int] = field(default_factory=dict)
    seen: int = 0
    texts: int = 0
    numbers: int = 0
    whole: int = 0
    asking: int = 0
    longest: int = 0
    words: int = 0
    amounts: int = 0
    nested: bool = False
    talks: int = 0
    answered: int = 0
    pictures: int = 0
    requests: int = 0
    shapes: set[tuple[str, ...]] = field(default_factory=set)
    unique: bool = True
    _tally: Tally | None = None
    _many: bool = False

    def __post_init__(self) -> None:
        if _by_name([self.name], _IDS):
            self._tally = Tally()

    def add(self, value: Any) -> None:
        """Take in a value that is not empty."""
        self.filled += 1
        if self.filled <= _LOOKED_AT and (turns := _turns(value)):
            self.talks += 1
            self.answered += turns[-1][0] == "assistant"
        if isinstance(value, dict | list):
            self.nested = True
            if isinstance(value, dict) and (turns := _turns(value.get("messages"))):
                self.requests += 1
                self.shapes.add(tuple(role for role, _ in turns))
            return
        text = as_label(value)
        if self._tally is not None and self.unique:
            key = int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
            self.unique = self._tally.add(key) == 1
        if not self._many:
            self.values[text] = self.values.get(text, 0) + 1
            if len(self.values) > MANY_LABELS:
                self._many = True
                self.values.clear()
        if self.seen < _LOOKED_AT:
            self.seen += 1
            self.texts += len(text)
            self.asking += text.rstrip().endswith("?")
            self.longest = max(self.longest, len(text))
            self.words += len(text.split())
            self.pictures += bool(_PICTURE.search(text[-_LONGEST_LABEL:]))
            self.amounts += bool(_AMOUNT.search(text[-_LONGEST_LABEL:]))
            if is_number(text):
                self.numbers += 1
                self.whole += text.strip().lstrip("+-").isdecimal()

    @property
    def mean_length(self) -> float:
        """Characters of a value."""
        return self.texts / self.seen if self.seen else 0.0

    @property
    def labels(self) -> list[str]:
        """Its values where they are few and come again and again: numbers in order, else the
        commonest first.
        """
        spelt: dict[str, str] = {}
        for value in sorted(self.values, key=lambda value: -self.values[value]):
            spelt.setdefault(value.strip().casefold(), value.strip())
        few = 1 < len(spelt) <= min(MANY_LABELS, max(2, self.filled // 2))
        short = all(len(label) <= _LONGEST_LABEL for label in spelt)
        if not few or not short or self.nested:
            return []
        found = list(spelt.values())
        return sorted(found, key=float) if all(map(_is_plain_number, found)) else found

    @property
    def is_text(self) -> bool:
        """Whether it holds text that could be put to a model."""
        return bool(self.seen) and not self.nested and self.numbers < self.seen / 2

    @property
    def is_conversation(self) -> bool:
        """Whether it holds conversations; with ``answered`` a model has the last word in most."""
        return self.talks > _NEARLY_ALL * min(self.filled, _LOOKED_AT)

    @property
    def is_request(self) -> bool:
        """Whether it holds the bodies of chat requests, as batch APIs take them."""
        return 0 < self.requests == self.filled

    @property
    def is_picture(self) -> bool:
        """Whether it names pictures."""
        return bool(self.seen) and self.pictures > _NEARLY_ALL * self.seen


@dataclass(frozen=True, slots=True)
class Table:
    """What was found in a file.

    Attributes:
        path: The file.
        columns: In the order of the file.
        rows: Rows that can be read.
        bad_rows: What is wrong with the others, where.
        notes: How it was read, where that is not what one expects.
        settings: What the user said of it: delimiter, encoding, sheet.
    """

    path: Path
    columns: tuple[Column, ...]
    rows: int
    bad_rows: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def column(self, name: str) -> Column:
        """The column of a name.

        Raises:
            ConfigError: There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        plain = {_plain(each): each for each in self.names}
        listed = ", ".join(words.clean(each, 40) for each in self.names[:NAMED_COLUMNS])
        near = plain.get(_plain(name))
        raise ConfigError(
            f"{self.path} has no column {name!r}",
            f"did you mean {near!r}?" if near else f"its columns are {listed}",
        )


def look(path: Path, settings: Sequence[tuple[str, str]] = ()) -> Table:
    """Read a file once, as a run would, and see what its columns hold.

    Raises:
        DataError: It cannot be read, has no rows, or has no line with the names of columns.
    """
    columns: dict[str, Column] = {}
    rows, bad = 0, []
    said = dict(settings)
    data = Data(
        delimiter=said.get("delimiter"), encoding=said.get("encoding"), sheet=said.get("sheet")
    )
    with opened(data, path, by_config=False) as source:
        for number, fields, _, _ in source.rows():
            if isinstance(fields, str):
                bad.append(f"{source.at(number)}: {fields}")
                continue
            rows += 1
            for name, value in fields.items():
                column = columns.get(name) or columns.setdefault(name, Column(name))
                if not is_empty(value):
                    column.add(value)
        if not rows:
            raise DataError(
                f"{path} has no rows" + (f" that can be read; {bad[0]}" if bad else ""),
                "the file needs a line with column names and at least one row below it",
            )
        if source.shape.title:
            raise DataError(
                f"the first row of {path} looks like a title: only "
                f"{words.clean(source.shape.title, 60)!r} stands in it, above "
                f"{len(source.shape.unnamed) + 1} columns",
                "delete the rows above the row with the column names",
            )
        notes = (*source.notes, *(_one_column(columns) if source.is_table else ()))
        table = Table(path, tuple(columns.values()), rows, tuple(bad), notes, (*settings,))
        if source.is_headed:
            _refuse_no_header(table)
    return table


def _one_column(columns: Iterable[str]) -> Iterator[str]:
    """What to say of a table whose only column is called as if it were several."""
    name, *others = columns
    marks = [mark for mark in DELIMITERS if mark in name]
    if marks and not others:
        mark = max(marks, key=name.count)
        said = "tab" if mark == "\t" else f"'{mark}'"
        yield (
            f"the file has one column, {words.clean(name, 60)}; if a {DELIMITER_NAMES[mark]} "
            f"separates its cells, add --delimiter {said}"
        )


def is_empty(value: Any) -> bool:
    """Whether a cell has nothing in it."""
    return value is None or (isinstance(value, str) and not value.strip())


def _turns(value: Any) -> list[tuple[str, str]]:
    """The turns of a conversation; empty for anything else."""
    from llm_batch.chain.prompts import turns_of
    from llm_batch.chain.templates import PromptError

    if not isinstance(value, list) and not (isinstance(value, str) and value.startswith("[{")):
        return []
    try:
        return turns_of(value, "", "")
    except PromptError:
        return []


def is_number(text: str) -> bool:
    """Whether a text is a number and nothing else."""
    return bool(re.fullmatch(r"\s*[-+]?\d+(?:[.,]\d+)?\s*", text[:_LONGEST_LABEL]))


def _is_plain_number(text: str) -> bool:
    return bool(re.fullmatch(r"[-+]?[0-9]+(?:[.][0-9]+)?", text))


def as_label(value: Any) -> str:
    """A value as prompts and comparisons have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def rule_for(table: Table, roles: Roles) -> tuple[str, str]:
    """The rule that tells right answers from wrong ones without a judge, and why it can.

    Both are empty where only a reader can tell, as of sentences.
    """
    if roles.task != "grade" or not roles.reference:
        return "", ""
    column = table.column(roles.reference)
    if not column.seen or column.nested:
        return "", ""
    labels = {label.casefold() for label in column.labels}
    if labels and (labels <= _LETTERS or labels <= _YES_NO):
        return "choice", f"are {' or '.join(sorted(labels)) if len(labels) < 3 else 'letters'}"
    if column.amounts > _NEARLY_ALL * column.seen:
        return "number", "are numbers"
    if column.longest <= _LONGEST_LABEL and column.words <= _SHORT_WORDS * column.seen:
        return "contains", "are short"
    return "", ""


def _refuse_no_header(table: Table) -> None:
    """Refuse a table whose first line is an item: what it says are no names.

    Raises:
        DataError: The names look like what stands beneath them, and none looks otherwise.
    """
    alike = [name for column in table.columns if (name := _like_its_values(column)) is not None]
    if not alike or not all(alike):
        return
    # pandas numbers columns without names, and statistics have a column for each year.
    if (
        table.names == [str(number) for number in range(len(table.names))]
        or all(re.fullmatch(r"(?:18|19|20|21)\d\d", name) for name in alike)
        or any(_plain(name) in _KNOWN for name in table.names)
    ):
        return
    shown = ", ".join(words.clean(name, 40) for name in table.names[:5])
    example = ["id", "question", "answer", *(f"column_{n}" for n in range(4, 99))]
    raise DataError(
        f"{table.path} has no column names: its first line looks like data: {shown}",
        f"add a first line with names, such as: {','.join(example[: len(table.columns)])}",
    )


def _like_its_values(column: Column) -> str | None:
    """The name where it looks like the values, empty where it differs; ``None`` if neither."""
    if not column.seen or column.nested:
        return None
    if column.numbers > 0.9 * column.seen:
        return column.name if is_number(column.name) else ""
    if column.asking > 0.5 * column.seen:
        return column.name if column.name.rstrip().endswith("?") else ""
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _words_of(name: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return {_plain(word) for word in re.split(r"[\W_]+", spaced)} - {""}


def _by_name(names: Iterable[str], wanted: Sequence[str]) -> str:
    """The column that is called by one of the words, or has it in its name; else empty."""
    names = list(names)
    for called in (
        lambda name, word: _plain(name) == word,
        # Chinese and Japanese put no spaces between words.
        lambda name, word: word in (_plain(name) if word > "\u2e80" else _words_of(name)),
    ):
        for word in wanted:
            for name in names:
                if called(name, word):
                    return name
    return ""


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what; empty for none.

    Attributes:
        task: One of `TASKS`.
        asked: What is put to the model.
        reference: The right answer, or the right label.
        id: Names the items.
        category: To break results down by.
        given: Answers that are there already: one is graded, two are compared.
        pictures: Paths or addresses of pictures that go with what is asked.
        unsure: Which of ``asked`` and ``reference`` are guesses that a user may know better.
    """

    task: str
    asked: str
    reference: str = ""
    id: str = ""
    category: str = ""
    given: tuple[str, ...] = ()
    pictures: str = ""
    unsure: frozenset[str] = frozenset()


def guess(
    table: Table, task: str | None = None, asked: str = "", reference: str | None = None
) -> Roles:
    """Which column is what, as far as names and values tell.

    Args:
        table: What was found.
        task: As the user said it; told by the columns without.
        asked: The column put to the model, if the user said so; empty to guess.
        reference: The same of the right answer; empty for none, ``None`` to guess.

    Raises:
        ConfigError: There is no such column, or none that could be put to a model.
    """
    columns = {column.name: column for column in table.columns if column.filled}
    if is_batch(table):
        # Who gets the requests and how is no part of them.
        columns = {name: each for name, each in columns.items() if name not in ("method", "url")}
        asked = asked or "body"
        _check_batch(table)
    named_id = next((name for name in [_by_name(columns, _IDS)] if name), "")
    unsure = set()
    if asked:
        table.column(asked)
    else:
        others = {name: each for name, each in columns.items() if name != reference}
        asked, sure = _guess_asked(table, others or columns, named_id)
        if not sure:
            unsure.add("asked")
    rest = {name: column for name, column in columns.items() if name not in (asked, named_id)}
    label = _by_name([name for name, column in rest.items() if column.labels], _LABELS)
    given = () if task in ("classify", "extract") else _given(rest, reference, task)
    if reference is None:
        free = [name for name in rest if name not in given]
        named = _by_name([name for name in free if not rest[name].nested], _REFERENCES)
        alone = named in ("", label)
        few = label and len(rest[label].labels) <= _FEW_LABELS
        wordy = any(rest[name].words > 1.5 * rest[name].seen for name in free if name != label)
        sorts = bool(_by_name([label], _CLASSES)) or (_plain(label) in _SORTED_BY and not wordy)
        if task is None and alone and few and sorts:
            task = "classify"
        if task == "classify":
            # Without a name that says it, an age or a year is no label.
            likely = [
                name
                for name in free
                if 0 < len(rest[name].labels) <= _FEW_LABELS and rest[name].is_text
            ]
            reference = label or next(iter(likely), "")
            certain = bool(label)
        else:
            reference, certain = named, bool(named) or not any(rest[n].is_text for n in free)
        if not certain and task not in ("compare", "extract"):
            unsure.add("reference")
    elif reference:
        table.column(reference)
    task = task or "grade"
    if task in ("compare", "extract"):
        reference = reference if task == "compare" and not given else ""
    taken = {asked, reference, named_id, *given}
    groups = [name for name, column in columns.items() if name not in taken and column.labels]
    ids = columns.get(named_id)
    whole = ids is not None and ids.unique and ids.filled == table.rows and not ids.nested
    return Roles(
        task,
        asked,
        reference or "",
        named_id if whole and named_id != asked else "",
        _by_name(groups, _CATEGORIES),
        given,
        next((name for name, column in columns.items() if column.is_picture), ""),
        frozenset(unsure),
    )


def is_batch(table: Table) -> bool:
    """Whether it has the requests of a batch API: ``custom_id``, ``method``, ``url``, ``body``."""
    return {"custom_id", "method", "url", "body"} <= set(table.names)


def _check_batch(table: Table) -> None:
    """Refuse requests of a batch that no prompt can be made of.

    Raises:
        ConfigError: They are no chats of text, or have more turns than a question.
    """
    body = table.column("body")
    if not body.is_request:
        raise ConfigError(
            f"{table.path} has the requests of a batch, and not all have messages of text in body",
            'write llmb.toml yourself, with id = "custom_id" and a prompt such as '
            "{{ body.input }}; llmb init example.toml has all settings",
        )
    if body.shapes not in ({("user",)}, {("system", "user")}):
        raise ConfigError(
            f"the requests of the batch in {table.path} have several turns, or not all the same",
            "put the messages into a column of their own: jq -c '{id: .custom_id, messages: "
            f".body.messages}}' {table.path} > turns.jsonl, then llmb init --data turns.jsonl",
        )


def _guess_asked(table: Table, columns: dict[str, Column], named_id: str) -> tuple[str, bool]:
    """The column to put to the model, and whether that is sure."""
    talks = [column for column in columns.values() if column.is_conversation]
    if open_ones := [column for column in talks if column.answered <= column.talks / 2]:
        return open_ones[0].name, len(open_ones) == 1
    usable = [column for column in columns.values() if not column.nested]
    texts = [column for column in usable if column.is_text and column.name != named_id]
    texts = [column for column in texts if not column.is_picture] or texts or usable
    if talks and all(column.name == named_id for column in texts):
        raise ConfigError(
            f"the conversations in {talks[0].name!r} end with the assistant's answer, so there is "
            "nothing for a model to answer",
            "put the last turn of each into a column of its own, such as 'answer'",
        )
    if not texts:
        raise ConfigError(
            f"no column of {table.path} has text for the model",
            f"name a column with --question: {', '.join(table.names[:NAMED_COLUMNS])}",
        )
    # A column that most rows leave empty is a remark beside the text, such as an optional title.
    texts = [column for column in texts if column.filled >= table.rows / 2] or texts
    # An address or a name of one word is seldom what a model is asked about.
    wordy = [c for c in texts if c.words > 1.5 * c.seen or c.asking > c.seen / 2]
    texts = [c for c in texts if c in wordy or not wordy or named_like_a_task(c.name)]
    if found := _by_name([column.name for column in texts], _ASKED):
        return found, _plain(found) in _ASKED or len(texts) == 1
    asking = [column for column in texts if column.asking > column.seen / 2]
    unlike = [c for c in texts if not _by_name([c.name], (*_REFERENCES, *_CATEGORIES))] or texts
    best = max(asking or unlike, key=lambda column: column.mean_length)
    return best.name, len(texts) == 1 or len(asking) == 1


def named_like_a_task(name: str) -> str:
    """The name where it says that the column has questions or instructions; else empty."""
    return _by_name([name], _ASKED[: _ASKED.index("text")])


def with_answers(table: Table, roles: Roles, named: str = "") -> Roles:
    """The roles with the column of answers that are to be judged; ``named`` if the user said it.

    Raises:
        ConfigError: There is no such column, or none is called like that.
    """
    if named:
        table.column(named)
    elif roles.given:
        return roles
    found = named or _answers_in(table, roles)
    if not found:
        listed = ", ".join(words.clean(each, 40) for each in table.names[:NAMED_COLUMNS])
        raise ConfigError(
            "no column is named like answers that a model gave",
            f"name it with --answers COLUMN; the columns are {listed}",
        )
    reference = "" if roles.reference == found else roles.reference
    return replace(roles, given=(found,), reference=reference)


def has_answers(table: Table, roles: Roles) -> bool:
    """Whether a column is named like answers that a model gave, and is not the right answer."""
    return _answers_in(table, roles) not in ("", roles.reference)


def _answers_in(table: Table, roles: Roles) -> str:
    texts = [column.name for column in table.columns if column.is_text]
    others = [name for name in texts if name != roles.asked]
    return _by_name(others, _GIVEN) or next(filter(_says_who_answered, others), "")


def _says_who_answered(name: str) -> bool:
    said = _words_of(name)
    return bool(said & _WHO_ANSWERED and said & _WHAT_WAS_SAID)


def _given(rest: dict[str, Column], reference: str | None, task: str | None) -> tuple[str, ...]:
    """Columns with answers that were made before."""
    texts = [name for name, column in rest.items() if column.is_text]
    if task == "compare":
        for first in texts:
            ends = _PAIR.fullmatch(first)
            if ends and ends[2].lower() in "a1":
                other = "b" if ends[2].lower() == "a" else "2"
                for second in texts:
                    same = _PAIR.fullmatch(second)
                    if same and same[1] == ends[1] and same[2].lower() == other:
                        return first, second
        return ()
    named = [name for name in texts if _plain(name) in _GIVEN and name != reference]
    told = [name for name in texts if _says_who_answered(name) and name != reference]
    found = _by_name(named, _GIVEN) or next(iter(told), "")
    others = [name for name in rest if name != found]
    # A response alone may be the one to hold answers against.
    surely = (
        found in told or _plain(found) in _GIVEN[: _GIVEN.index("response")] if found else False
    )
    return (found,) if found and (surely or reference or _by_name(others, _REFERENCES)) else ()
