"""Counting while the results are read: labels beside verdicts, and several judges' scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_batch.errors import ConfigError
from llm_batch.paper.words import clean
from llm_batch.record.reading import Getter, Head, Line
from llm_batch.reporting.foreign import found
from llm_batch.reporting.judging.labels import (
    Labels,
    are_scores,
    judged_elsewhere,
    no_label,
    rating_of,
    read_labels,
    words_of_labels,
)
from llm_batch.reporting.judging.model import LabelSource
from llm_batch.reporting.tally import swapped_spelling

#: Items whose several scores are kept; the order of items is random, so these stand for all.
JUDGED_LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A label, and the judge's score and verdict of the same item."""

    label: float
    score: float | None
    passed: bool | None


@dataclass(slots=True)
class Labelled:
    """All that is known of the labelled items once the results were read.

    Attributes:
        labels: As they were given.
        inside: Items of this run.
        outside: Items of which only the verdict is known.
        unmatched: Ids that nothing is known of.
        unreadable: Values of the labels' field that are no labels.
    """

    labels: Labels
    inside: list[Pair] = field(default_factory=list)
    outside: list[Pair] = field(default_factory=list)
    unmatched: tuple[str, ...] = ()
    unreadable: int = 0


class LabelTally:
    """Labels beside what the judge said.

    Args:
        source: Where the labels are; a file is read at once.
        pass_at: The least score that passes, for labels that are scores.

    Attributes:
        fields: The items' fields that are needed.
        pass_at: The same.

    Raises:
        OutputError: A file cannot be read.
        ConfigError: It holds no labels, or contradicting ones.
    """

    outputs: Sequence[str] = ()

    def __init__(self, source: LabelSource, pass_at: float | None) -> None:
        self._source = source
        self.pass_at = pass_at
        self.fields = (source.field,) if source.field else ()
        self._labels = None if source.field else read_labels(source)
        self._missing = set(self._labels.by_id) if self._labels else set()
        self._inside: list[Pair] = []
        #: Labels of a field as they stand, with score and verdict: what words mean shows later.
        self._raw: list[tuple[Any, float | None, bool | None]] = []
        self._other_spellings = _other_spellings(self._missing)
        self._get: Getter | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about the file, a sentence each."""
        return self._labels.notes if self._labels else ()

    @property
    def random(self) -> bool | None:
        """Whether the user says that the items were drawn at random."""
        return self._source.random

    def bind(self, fields: Sequence[Getter], outputs: Sequence[Getter]) -> None:
        """Take the getters of the fields asked for."""
        self._get = fields[0] if self.fields else None

    def add(self, lines: Sequence[Line]) -> None:
        """Look at some lines."""
        if self._labels is not None:
            labels = self._labels.by_id
            for line in lines:
                item = line.id if line.id in labels else self._other_spellings.get(line.id)
                if item is not None:
                    self._missing.discard(item)
                    self._inside.append(Pair(labels[item], line.score, line.passed))
            return
        assert self._get is not None  # bound before lines are read
        for line in lines:
            value = self._get(line)
            if not no_label(value):
                self._raw.append((value, line.score, line.passed))

    def finish(self) -> Labelled:
        """What was found.

        Raises:
            ConfigError: No item has a label.
            OutputError: The results in which other items were judged cannot be read.
        """
        if self._labels is None:
            return self._of_field()
        outside: list[Pair] = []
        elsewhere = self._elsewhere(self._labels)
        for item in [item for item in self._labels.by_id if item in self._missing & set(elsewhere)]:
            self._missing.discard(item)
            outside.append(Pair(self._labels.by_id[item], *elsewhere[item]))
        unmatched = tuple(item for item in self._labels.by_id if item in self._missing)
        if not self._inside and not outside:
            first = ", ".join(clean(item, 40) for item in unmatched[:3])
            raise ConfigError(
                f"none of the items labelled in {self._labels.source} is in the results "
                f"(the first are {first})",
                "give the judge's verdict of each in a column judge, or name the results in which "
                "it judged them: --labels-run other.jsonl",
            )
        return Labelled(self._labels, self._inside, outside, unmatched)

    def _of_field(self) -> Labelled:
        name = clean(self._source.field, 40)
        words = words_of_labels((value for value, *_ in self._raw), self._source.pass_words)
        self._inside = [
            Pair(label, score, passed)
            for value, score, passed in self._raw
            if (label := words.score(value)) is not None
        ]
        if sum(words.unknown.values()) > len(self._inside):
            raise ConfigError(
                f"--labels-from {name}: nothing says which labels pass: {words.listed}",
                "name the words that pass, all others fail: --pass-words WORD",
            )
        if not self._inside:
            raise ConfigError(
                f"--labels-from {name}: no item in the results has a label there",
                "a label is pass or fail, 1 or 0, or a score on the judge's scale",
            )
        scores = are_scores(pair.label for pair in self._inside)
        labels = Labels(source=f"the field {name!r}", by_id={}, scores=scores)
        return Labelled(labels, self._inside, unreadable=len(self._raw) - len(self._inside))

    def _elsewhere(self, labels: Labels) -> Mapping[str, tuple[float | None, bool | None]]:
        """What the judge said of items that are not in the results."""
        pass_at = self.pass_at
        judged: dict[str, tuple[float | None, bool | None]] = {}
        verdicts = not are_scores(labels.judged.values())
        for item, value in labels.judged.items():
            if verdicts:
                judged[item] = None, value == 1
            else:
                judged[item] = value, None if pass_at is None else value >= pass_at
        if self._source.judged and self._missing:
            judged |= judged_elsewhere(self._source.judged, self._missing)
        return judged


def _other_spellings(ids: Collection[str]) -> dict[str, str]:
    """Ids by how a spreadsheet writes the same number: ``1`` becomes ``1.0``, and back."""
    swapped = ((item, swapped_spelling(item)) for item in ids)
    return {other: item for item, other in swapped if other and other not in ids}


class JudgesTally:
    """What several judges, or one asked several times, said of the same items.

    Args:
        names: Where each has its score: ``step.field``, ``step``, or a field of a file that
            llmb did not write.
        head: The first lines of the results.
        foreign: Whether llmb did not write them.

    Attributes:
        names: The same.
        fields: Fields of the items that are needed.
        outputs: Steps whose outputs are needed.
        items: How many items have each combination of ratings.
        words: Whether any rating is a word and no number.

    Raises:
        ConfigError: Fewer than two are named, or no item has one of them.
    """

    def __init__(self, names: Sequence[str], head: Sequence[Head], foreign: bool) -> None:
        self.names = tuple(name.strip() for name in names if name.strip())
        if len(set(self.names)) < 2:
            raise ConfigError(
                "--judges needs two fields or more to compare",
                "name them with commas: --judges judge.score,second.score",
            )
        paths = [(name, "") if foreign else _parted(name) for name in self.names]
        self._within = [rest for _, rest in paths]
        self.fields = tuple(name for name, _ in paths) if foreign else ()
        self.outputs = () if foreign else tuple(step for step, _ in paths)
        self.items: Counter[tuple[float | None, ...]] = Counter()
        self.words = False
        self._codes: dict[str, float] = {}
        self._get: Sequence[Getter] = ()
        for name, (step, rest) in zip(self.names, paths, strict=True):
            lines = [line.fields if foreign else line.outputs for line in head]
            if lines and all(_inside(found(line, step, None), rest) is None for line in lines):
                known = list(dict.fromkeys(path for line in lines for path in _paths(line)))
                raise ConfigError(
                    f"--judges {clean(name, 40)}: no item in the results has it",
                    f"they have: {', '.join(clean(path, 40) for path in known[:20])}",
                )

    def bind(self, fields: Sequence[Getter], outputs: Sequence[Getter]) -> None:
        """Take the getters of what was asked for."""
        self._get = fields or outputs

    def add(self, lines: Sequence[Line]) -> None:
        """Count some lines."""
        if self.items.total() >= JUDGED_LIMIT:
            return
        readers = list(zip(self._get, self._within, strict=True))
        self.items.update(
            tuple(self._rating(_inside(get(line), rest)) for get, rest in readers) for line in lines
        )

    def _rating(self, value: Any) -> float | None:
        if value is None or value == "":
            return None
        number = rating_of(value)
        if number is None:
            self.words = True
            return self._codes.setdefault(str(value).strip().casefold(), len(self._codes) + 0.5)
        return number


def _parted(name: str) -> tuple[str, str]:
    step, _, rest = name.partition(".")
    return step, rest


def _inside(value: Any, rest: str) -> Any:
    """What stands in a step's output under a name; the output itself without one."""
    if not rest:
        return None if isinstance(value, dict | list) else value
    return found(value, rest, None) if isinstance(value, dict) else None


def _paths(line: Mapping[str, Any]) -> list[str]:
    paths = []
    for name, value in line.items():
        paths += [f"{name}.{inner}" for inner in value] if isinstance(value, dict) else [name]
    return paths
