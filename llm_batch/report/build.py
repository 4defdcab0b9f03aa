"""From a results file and its manifest to a `Report`."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from llm_batch.errors import ConfigError
from llm_batch.flags import expanded
from llm_batch.report.assemble import assemble
from llm_batch.report.calibration.model import LabelSource
from llm_batch.report.calibration.tally import JudgesTally, LabelTally
from llm_batch.report.calls import read_calls
from llm_batch.report.caveats import caveats
from llm_batch.report.clusters import ClusterTally
from llm_batch.report.counted import Asked, Counted
from llm_batch.report.foreign import ForeignFile
from llm_batch.report.halves import count_halves
from llm_batch.report.manifest import Manifest, read_manifest
from llm_batch.report.model import Columns, Report
from llm_batch.report.read import Head, ResultsFile
from llm_batch.report.reference import REFERENCE_NAMES
from llm_batch.report.sentences import for_paper, headline, next_steps
from llm_batch.report.tallies import Wanted, count_lines
from llm_batch.report.words import clean

_CATEGORY = "category"
_CATEGORY_VALUES = 50
_GROUP_LIMIT = 1000


def build_report(
    path: str | Path,
    by: str | None = None,
    level: float = 0.95,
    reference: str | None = None,
    columns: Columns | None = None,
    labels: LabelSource | None = None,
    judges: Sequence[str] = (),
    calls: bool | None = None,
    cluster: str | None = None,
    exact: bool = False,
    mean: Literal["auto", "t", "bca"] = "auto",
) -> Report:
    """Read a results file, once and from start to end, and say what it shows.

    The manifest is read too when it is there: the size of the dataset, the plan, the models and
    the estimate are known from it alone.

    Args:
        path: What ``llmb run`` wrote, or ``-`` for standard input.
        by: Field of the items to group by. Without it: the field of the stratification, or one
            named ``category`` with 2 to 50 values.
        level: Confidence level of all intervals, between 0 and 1.
        reference: Field with the reference answer. Without it: ``answer``, ``reference``,
            ``target`` or ``expected``, whichever there is.
        columns: How to read a file that llmb did not write.
        labels: Where people's labels are, to hold the judge against.
        calls: Whether to read the journal too, which tells of retries and the pace over time; by
            default where it is small.
        judges: Outputs of several judges to hold against each other: ``step.field``.
        cluster: Field of the items that says which belong together; intervals are then by
            clusters.
        exact: Give rates exact intervals (Clopper-Pearson, hypergeometric) in place of Wilson's.
        mean: How the mean's interval is made; ``auto`` takes the bootstrap for skewed scores.

    Raises:
        OutputError: The file is missing, is no results file, or a line of it cannot be read.
        ConfigError: No item has the field asked for, or it has too many values, or ``level`` is
            not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, not {level:g}", "95 % is --level 0.95")
    results: ForeignFile | ResultsFile
    if columns is None:
        path = expanded(path)
        results = ResultsFile(path)
    else:
        results = ForeignFile(path, columns)
        cluster = cluster or results.cluster or None
    by = by or (columns.category or None if columns else None)
    try:
        manifest, problem = (None, "") if columns else read_manifest(path)
        labelled = LabelTally(labels, _pass_at(manifest, columns)) if labels else None
        with _no_garbage_collection():
            counted = _count(
                results,
                manifest or Manifest(),
                by,
                reference,
                labelled,
                judges,
                ClusterTally(cluster) if cluster else None,
            )
    finally:
        results.close()
    made, unread = (None, "") if columns else read_calls(path, calls)
    counted = replace(counted, calls=made)
    report = assemble(
        str(path), manifest or Manifest(), counted, Asked(level=level, exact=exact, mean=mean)
    )
    report = replace(report, columns=columns)
    report = replace(
        report, headline=headline(report), paper=for_paper(report, manifest or Manifest())
    )
    tally = counted.tally
    warnings = caveats(
        report,
        manifest,
        results.note if isinstance(results, ForeignFile) else problem,
        torn=results.torn,
        first_duplicate=tally.first_duplicate,
        simulated=tally.simulated,
        calls=made,
    )
    notes = results.notes if isinstance(results, ForeignFile) else ()
    warnings = (*warnings, *notes, *(labelled.notes if labelled else ()))
    following = next_steps(report) if columns is None else ()
    if unread:
        following = (*following, unread)
    return replace(report, warnings=warnings, next_steps=following)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Leave objects to their reference counts: lines hold no cycles, and looking for some in
    millions of them takes longer than counting them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _pass_at(manifest: Manifest | None, columns: Columns | None) -> float | None:
    """The least score that passes."""
    if columns is not None:
        return columns.pass_at
    return manifest.config.score.pass_at if manifest and manifest.config.score else None


def _count(
    results: ResultsFile | ForeignFile,
    manifest: Manifest,
    by: str | None,
    reference: str | None,
    labels: LabelTally | None,
    judges: Sequence[str],
    clusters: ClusterTally | None,
) -> Counted:
    head = results.head()
    several = JudgesTally(judges, head, isinstance(results, ForeignFile)) if judges else None
    checks = [check for check in (labels, several, clusters) if check is not None]
    known = dict.fromkeys(name for line in head for name in line.fields)
    judge, answer_step = _roles(head, manifest)
    match = reference or next((name for name in REFERENCE_NAMES if name in known), "")
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
    )
    counted = None
    if isinstance(results, ResultsFile) and results.path and not checks:
        counted = count_halves(results.path, wanted)
    if counted is None:
        counted = count_lines(results, wanted, checks)
    else:
        results.torn = counted.torn
    tally, groups, references = counted.lines, counted.groups, counted.references
    tally.finish()
    if by and groups is not None and not groups.found and tally.read:
        raise _no_field("--by", by, known)
    if reference and reference not in known and not references.seen and tally.read:
        raise _no_field("--reference", reference, known)
    if clusters is not None and tally.read:
        clusters.check()
    scoring = manifest.config.score is not None or bool(len(tally.scores) or tally.excluded)
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
    )


def _no_field(flag: str, name: str, known: Iterable[str]) -> ConfigError:
    names = ", ".join(clean(name, 40) for name in known)
    return ConfigError(
        f"{flag} {name}: no item in the results has this field",
        f"they have: {names}" if names else "name fields to copy under [data] keep, and run again",
    )


def _roles(head: list[Head], manifest: Manifest) -> tuple[str, str]:
    """The step that scores and the one whose text it scores; empty where there is none."""
    if manifest.config.steps:
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
