"""All that is counted over the lines of a file, or of a part of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from llm_batch.report.calibration.tally import JudgesTally, LabelTally
from llm_batch.report.clusters import ClusterTally
from llm_batch.report.foreign import ForeignFile
from llm_batch.report.group_tally import GroupTally
from llm_batch.report.read import Line, ResultsFile
from llm_batch.report.reference import ReferenceTally
from llm_batch.report.tally import Tally

_MOST_STRATA = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to count besides the sums of everything, as the start of a file and its reader say.

    Attributes:
        field: Field to group by; empty for no groups.
        in_stratum: Whether its values are in the lines' ``stratum``.
        strata: Whether to count by the lines' ``stratum`` too.
        most_groups: More different values than this are no groups.
        asked_for: Whether the user named the field.
        reference: Field with the reference answer; may be empty.
        answer_step: Step whose text is held against it; may be empty.
    """

    field: str
    in_stratum: bool
    strata: bool
    most_groups: int
    asked_for: bool
    reference: str
    answer_step: str


@dataclass(slots=True)
class Tallies:
    """What came out of counting.

    Attributes:
        lines: Sums of everything.
        groups: By the field to group by; ``None`` without one.
        strata: By the stratum that items were drawn from; ``None`` where it is not asked for.
        references: Verdicts by whether the reference was found.
        torn: Whether the last line was cut off and left out.
    """

    lines: Tally
    groups: GroupTally | None
    strata: GroupTally | None
    references: ReferenceTally
    torn: bool = False

    def merge(self, after: Tallies) -> bool:
        """Add what was counted over the part of the file that comes after this one.

        Returns:
            Whether that gives what one pass over both would have given; if not, what is here is
            of no more use.

        Raises:
            ConfigError: The field to group by was asked for and has too many values.
        """
        if not self.lines.merge(after.lines) or not self.references.merge(after.references):
            return False
        if self.groups is not None and after.groups is not None:
            self.groups.merge(after.groups)
        if self.strata is not None and after.strata is not None:
            self.strata.merge(after.strata)
        self.torn = after.torn
        return True


def count_lines(
    results: ResultsFile | ForeignFile,
    wanted: Wanted,
    checks: Sequence[LabelTally | JudgesTally | ClusterTally] = (),
) -> Tallies:
    """Count all lines of a file or of a part of it.

    Args:
        results: The file.
        wanted: What to count.
        checks: More tallies that the lines are given to.

    Raises:
        OutputError: A line cannot be read.
        ConfigError: The field to group by was asked for and has too many values.
    """
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
    strata = GroupTally("stratum", _stratum, _MOST_STRATA, False) if wanted.strata else None
    references = ReferenceTally(wanted.reference, wanted.answer_step, fields[1], outputs[0])
    tally = Tally()
    for batch in batches:
        lines = tally.add(batch)
        if groups is not None:
            groups.add(lines)
        if strata is not None:
            strata.add(lines)
        if wanted.reference and wanted.answer_step:
            references.add(lines)
        for check in checks:
            check.add(lines)
    return Tallies(tally, groups, strata, references, results.torn)


def _stratum(line: Line) -> str:
    return line.stratum
