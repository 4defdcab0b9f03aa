"""The scan of a results file: all that is counted over its lines, in one or in several processes.

Of a large file each process counts a part, and its sums are added to those of the parts before.
They are those of one pass; sums of fractions may differ in their last digits. Where that cannot be
had (a line that cannot be read), the answer is ``None``, and one pass over the whole file says what
there is to say. So does another one where an id may come twice: ids are compared by their hashes,
eight bytes each, and kept themselves only in that pass.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, cast

from llm_batch.errors import ConfigError, LlmbError
from llm_batch.paper.words import listed
from llm_batch.record.manifest import Manifest
from llm_batch.record.parts import each_part, parts_of
from llm_batch.record.reading import (
    Head,
    Line,
    ResultsReader,
    ScoreOf,
    SeveralLine,
    asked,
    contents,
    scored_by,
)
from llm_batch.reporting.calls import CallsTally
from llm_batch.reporting.foreign import ForeignFile
from llm_batch.reporting.judging.labels import LabelTally
from llm_batch.reporting.judging.reliability import JudgesTally
from llm_batch.reporting.reference import REFERENCE_NAMES, ReferenceTally
from llm_batch.reporting.rows import Content, Rows
from llm_batch.reporting.rules import RuleTally
from llm_batch.reporting.several.tally import Design, SeveralTally
from llm_batch.reporting.tally import ClusterTally, GroupTally, Tally


@dataclass(frozen=True, slots=True)
class Asked:
    """How intervals are to be made: rates ``exact`` in place of Wilson's, means by BCa where
    ``auto`` finds the scores skewed.
    """

    level: float = 0.95
    exact: bool = False
    mean: Literal["auto", "t", "bca"] = "auto"


@dataclass(frozen=True, slots=True)
class Counted:
    """All that came out of reading the lines.

    ``judge`` is the step that scores; ``scoring`` says whether items were to be scored at all.
    """

    tally: Tally
    groups: GroupTally | None
    strata: GroupTally | None
    references: ReferenceTally | None
    judge: str
    scoring: bool
    labels: LabelTally | None = None
    judges: JudgesTally | None = None
    calls: CallsTally | None = None
    clusters: ClusterTally | None = None
    rules: RuleTally | None = None
    several: SeveralTally | None = None
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to count besides the sums of everything, as the start of a file and its reader say.

    The field to group by may be empty, and its values in the lines' ``stratum``; more different
    values than ``most_groups`` are no groups. The reference is a field, and the step that whose
    text is held against it; both may be empty. Where ``content`` is given, items are kept as
    `Rows` too, by the further ``scores`` as well.
    """

    field: str
    in_stratum: bool
    strata: bool
    most_groups: int
    asked_for: bool
    reference: str
    answer_step: str
    rule: str
    design: Design | None = None
    score: str = ""
    content: Content | None = None
    scores: tuple[str, ...] = ()


@dataclass(slots=True)
class Tallies:
    """What came out of counting: ``torn`` where the last line was cut off and left out."""

    lines: Tally
    groups: GroupTally | None
    strata: GroupTally | None
    references: ReferenceTally
    rules: RuleTally | None = None
    several: SeveralTally | None = None
    rows: Rows | None = None
    torn: bool = False

    def merge(self, after: Tallies) -> bool:
        """Add what was counted over the part of the file that comes after this one.

        False where that does not give what one pass over both would have given; what is here is
        then of no more use.

        Raises:
            ConfigError: The field to group by was asked for and has too many values.
        """
        if not self.lines.merge(after.lines) or not self.references.merge(after.references):
            return False
        if self.groups is not None and after.groups is not None:
            self.groups.merge(after.groups)
        if self.strata is not None and after.strata is not None:
            self.strata.merge(after.strata)
        if self.rules is not None and after.rules is not None:
            self.rules.merge(after.rules)
        if self.several is not None and after.several is not None:
            self.several.merge(after.several)
        if self.rows is not None and after.rows is not None:
            self.rows.extend(after.rows)
        self.torn = after.torn
        return True


def count_lines(
    results: ResultsReader | ForeignFile,
    wanted: Wanted,
    checks: Sequence[LabelTally | JudgesTally | ClusterTally] = (),
    *,
    exact: bool = True,
) -> Tallies:
    """Count all lines of a file or of a part of it, and give them to ``checks`` too.

    Raises:
        OutputError: A line cannot be read.
        ConfigError: The field to group by was asked for and has too many values.
    """
    if isinstance(results, ResultsReader):
        results.several = wanted.design is not None or bool(wanted.score or wanted.scores)
        results.content = wanted.content.fields if wanted.content else ()
    batches, fields, outputs = results.batches(
        [wanted.field, wanted.reference, *(name for check in checks for name in check.fields)],
        [wanted.answer_step, *(name for check in checks for name in check.outputs)],
    )
    more_fields, more_outputs = iter(fields[2:]), iter(outputs[1:])
    for check in checks:
        check.bind(
            list(islice(more_fields, len(check.fields))),
            list(islice(more_outputs, len(check.outputs))),
        )
    groups = None
    if wanted.field:
        value = _stratum if wanted.in_stratum else fields[0]
        groups = GroupTally(wanted.field, value, wanted.most_groups, wanted.asked_for)
    strata = GroupTally.of_strata() if wanted.strata else None
    references = ReferenceTally(wanted.reference, wanted.answer_step, fields[1], outputs[0])
    rules = RuleTally(wanted.rule) if wanted.rule else None
    several = None
    clusters = next((each for each in checks if isinstance(each, ClusterTally)), None)
    if wanted.design is not None:
        several = SeveralTally(wanted.design, strata=wanted.strata, clusters=clusters)
    rows = Rows() if wanted.content is not None else None
    timed = isinstance(results, ResultsReader)  # what another tool wrote says no times
    tally = Tally(exact)
    for batch in batches:
        if wanted.score:
            for line in batch:
                scored_by(cast("SeveralLine", line), wanted.score)
        lines = found = tally.add(batch)
        if wanted.score:
            found = [each for each in lines if asked(cast("SeveralLine", each), wanted.score)]
            tally.unasked += len(lines) - len(found)
        names = groups.add(found) if groups is not None else [""] * len(found)
        if rows is not None and wanted.content is not None:
            content = wanted.content
            rows.add(
                [line.id for line in lines],
                lines,
                [line.cost.total for line in lines],
                [line.latency_seconds.total if timed else None for line in lines],
                names,
                content.hashes(contents(lines, content.fields))
                if content.fields
                else [0] * len(lines),
                clusters.names(lines) if clusters is not None else (),
                {
                    name: [cast("SeveralLine", each).scores.get(name, _NONE) for each in lines]
                    for name in wanted.scores
                },
            )
        if strata is not None:
            strata.add(found)
            if len(found) < len(lines):
                strata.leave_out(
                    each for each in lines if not asked(cast("SeveralLine", each), wanted.score)
                )
        if wanted.reference and wanted.answer_step:
            references.add(lines)
        if rules is not None:
            rules.add(lines)
        if several is not None:
            several.add(lines)
        for check in checks:
            check.add(found if isinstance(check, ClusterTally) else lines)
    return Tallies(tally, groups, strata, references, rules, several, rows, results.torn)


_NONE = ScoreOf()


def _stratum(line: Line) -> str:
    return line.stratum


def count_parts(path: Path, wanted: Wanted) -> Tallies | None:
    """Count the parts of a file, each in a process of its own; ``None`` where one pass is needed.

    Raises:
        ConfigError: The field to group by was asked for and has too many values.
    """

    def count(start: int, end: int) -> Tallies | None:
        try:
            return _count(path, start, end, wanted)
        except LlmbError:
            return None  # one pass over the file meets it again, and knows the line

    whole: Tallies | None = None
    parts = parts_of(path, ahead=0 if "scipy.special" in sys.modules else _LOADED_BYTES)
    for part in each_part(count, parts):
        if part is None or (whole is not None and not whole.merge(part)):
            return None
        if whole is None:
            whole = part
            _load(wanted)  # while the other processes still read
    if whole is not None and whole.rows is not None:
        whole.rows.read = parts
    return whole


#: What is read while `_load` takes its time.
_LOADED_BYTES = 80 << 20


def _load(wanted: Wanted) -> None:
    """Import what the figures of a long file take."""
    import numpy  # noqa: F401

    if wanted.reference:  # whose rates have Jeffreys' interval
        import scipy.special  # noqa: F401


def _count(path: Path, start: int, end: int | None, wanted: Wanted) -> Tallies:
    results = ResultsReader(path, start, end)
    try:
        return count_lines(results, wanted, exact=False)
    finally:
        results.close()


_CATEGORY = "category"
_CATEGORY_VALUES = 50
_GROUP_LIMIT = 1000


def scan(
    results: ResultsReader | ForeignFile,
    manifest: Manifest,
    by: str | None,
    reference: str | None,
    labels: LabelTally | None,
    judges: Sequence[str],
    clusters: ClusterTally | None,
    design: Design | None = None,
    score: str = "",
    content: Content | None = None,
) -> Counted:
    """Count all lines of a file, whose manifest is that of the ``score`` that was chosen, if any.

    Where ``content`` is given, items are kept as `Rows`.

    Raises:
        OutputError: A line cannot be read.
        ConfigError: No item has a field that was asked for, or it has too many values.
    """
    head = results.head()
    several = JudgesTally(judges, head, isinstance(results, ForeignFile)) if judges else None
    checks = [check for check in (labels, several, clusters) if check is not None]
    known = dict.fromkeys(name for line in head for name in line.fields)
    judge, answer_step = _roles(head, manifest)
    match = reference or next((name for name in REFERENCE_NAMES if name in known), "")
    if manifest.rule:
        match = ""  # there is no judge to hold against it
    field, in_stratum = _grouping(head, manifest, by)
    if clusters is not None and field:
        clusters.group_by(field, in_stratum)
    wanted = Wanted(
        field=field,
        in_stratum=in_stratum,
        strata=bool(manifest.dataset.strata),
        most_groups=_GROUP_LIMIT if by or in_stratum else _CATEGORY_VALUES,
        asked_for=by is not None,
        reference=match,
        answer_step=answer_step,
        rule=manifest.rule,
        design=design,
        score=score,
        content=content,
        scores=tuple(manifest.scores) if content is not None else (),
    )
    counted = None
    path = results.path if isinstance(results, ResultsReader) else None
    if path and path.is_file() and not checks:  # a pipe can be read only once
        counted = count_parts(path, wanted) or _count(path, 0, None, wanted)
        if counted.lines.twice():
            counted = None
    if counted is None:
        counted = count_lines(results, wanted, checks)
    else:
        results.torn = counted.torn
    tally, groups, references = counted.lines, counted.groups, counted.references
    rows = counted.rows
    if rows is not None and not rows.read and path and path.is_file() and not tally.duplicates:
        rows.read = [(0, path.stat().st_size)]
    tally.finish()
    if by and groups is not None and not groups.found and tally.read:
        raise _no_field("--by", by, known)
    if match and reference and reference not in known and not references.seen and tally.read:
        raise _no_field("--reference", reference, known)
    if clusters is not None and tally.read:
        clusters.check()
    scoring = manifest.score is not None or bool(len(tally.scores) or tally.excluded)
    return Counted(
        tally,
        groups,
        counted.strata,
        references,
        judge if scoring else "",
        scoring,
        labels,
        several,
        clusters=clusters,
        rules=counted.rules,
        several=counted.several,
        rows=rows,
    )


def _no_field(flag: str, name: str, known: Iterable[str]) -> ConfigError:
    names = listed(known)
    return ConfigError(
        f"{flag} {name}: no item in the results has this field",
        f"they have: {names}" if names else "name fields to copy under [data] keep, and run again",
    )


def _roles(head: list[Head], manifest: Manifest) -> tuple[str, str]:
    """The step that scores and the one whose text it scores; empty where there is none."""
    if manifest.steps:
        return manifest.judge, manifest.answer_step
    # Outputs stand in the order of the chain, and the score nearly always ends it.
    names = next((list(line.outputs) for line in head if line.passed is not None), [])
    texts = [
        name for name in names[:-1] if any(isinstance(line.outputs.get(name), str) for line in head)
    ]
    return (names[-1] if names else ""), (texts[-1] if texts else "")


def _grouping(head: list[Head], manifest: Manifest, by: str | None) -> tuple[str, bool]:
    """The field to group by, and whether its values are in the lines' ``stratum``."""
    stratified = any(line.stratum for line in head)
    stratify = manifest.sample.stratify or ""
    if by is not None:
        return by, stratified and by in (stratify, "stratum")
    if stratified:
        return stratify or "stratum", True
    return (_CATEGORY if any(_CATEGORY in line.fields for line in head) else ""), False
