"""From several results files to a `Comparison`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.chain.overrides import Typed, command, expanded
from llm_batch.errors import ConfigError
from llm_batch.paper import Formats, Readable, later
from llm_batch.paper.words import clean, listed
from llm_batch.record.baseline import Baseline, is_baseline, read_baseline
from llm_batch.record.files import results_of, table_of
from llm_batch.record.manifest import Manifest
from llm_batch.reporting.build import report_and_rows
from llm_batch.reporting.comparison import (
    COMPARISON_SCHEMA,
    Against,
    Comparison,
    NamedDifference,
    Setting,
)
from llm_batch.reporting.comparison.pair import against
from llm_batch.reporting.comparison.sentences import cautions, for_paper, headline, next_steps
from llm_batch.reporting.comparison.sides import (
    MAIN,
    SetUp,
    Side,
    data_differs,
    judged_differently,
    set_up,
    shared_fields,
    side_of,
    side_of_baseline,
    spelt_alike,
)
from llm_batch.reporting.foreign import Columns, ForeignFile
from llm_batch.reporting.items import manifest_of
from llm_batch.reporting.model import Report
from llm_batch.reporting.rows import NO_VERDICT, Content, Rows
from llm_batch.stats.compare import holm

_SHOWN = 60


def written_by_llmb(paths: Sequence[str | Path]) -> bool:
    """Whether one of these files is a baseline or has the manifest of a run beside it."""
    return any(
        is_baseline(path) or Manifest.beside(path)[0] is not None
        for path in map(results_of, paths)
        if table_of(path) is None  # a table without its lines is as good as a stranger's
    )


def typed_of(path: str | Path) -> Typed | None:
    """What was typed to make a run; ``None`` where nothing says so."""
    manifest, _ = Manifest.beside(path)
    return manifest.typed(path) if manifest else None


def differing(made: Sequence[SetUp]) -> tuple[Setting, ...]:
    """The settings on which the runs with a manifest do not agree, the judge's last."""
    names = dict.fromkeys(name for each in made for name in each.values)
    found = []
    for name in names:
        values = [each.values.get(name) for each in made]
        known = [value for value, each in zip(values, made, strict=True) if each.known]
        if any(value != known[0] for value in known):
            shown = tuple(
                _shown(value, values) if each.known else "unknown"
                for value, each in zip(values, made, strict=True)
            )
            found.append(Setting(name, shown))
    return tuple(found)


def _shown(value: Any, all_values: Sequence[Any]) -> str:
    """A value for a table cell; of long texts the part where they begin to differ."""
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    others = [other for other in all_values if isinstance(other, str)]
    if isinstance(value, str) and len(text) > _SHOWN and len(others) > 1:
        start = next(
            (i for i, chars in enumerate(zip(*others, strict=False)) if len(set(chars)) > 1),
            min(map(len, others)),
        )
        start = max(0, start - _SHOWN // 3)
        return clean(f"{'…' if start else ''}{text[start:]}", _SHOWN)
    return clean(text, _SHOWN)


@dataclass(frozen=True, slots=True)
class Compared(Readable):
    """A comparison, and the runs it was made from, the baseline first."""

    comparison: Comparison
    sides: tuple[Side, ...]

    @property
    def rows(self) -> tuple[Rows, ...]:
        """The items of each run."""
        return tuple(side.rows for side in self.sides)

    def _formats(self) -> Mapping[str, Callable[[Any], str]]:
        return COMPARISON_FORMATS


def compare_reports(
    paths: Sequence[str | Path],
    by: str | None = None,
    level: float = 0.95,
    columns: Columns | None = None,
    anyway: bool = False,
    cluster: str | None = None,
    gate: bool = False,
    score: str = "",
) -> Compared:
    """Compare runs with the first of them, item by item where they share items.

    Args:
        paths: Two results files or more, the first of which is the baseline; it may be what
            ``llmb baseline set`` wrote.
        by: Field of the items to compare by; without it as for a report of one run.
        level: Confidence level of all intervals, between 0 and 1.
        columns: How to read files that llmb did not write.
        anyway: Compare runs of other items or of other judges too.
        cluster: Field of the items that says which belong together; differences are then bounded
            and tested by clusters.
        gate: Refuse whatever a gate cannot stand on: other data too.
        score: Which score of the runs to compare, by its name; the main one by default.

    Raises:
        OutputError: A file is missing, is no results file, or a line of it cannot be read.
        ConfigError: Fewer than two files, the same file twice, or other items or judges without
            ``anyway``.
    """
    paths = [expanded(path) if columns else results_of(path) for path in paths]
    _check_paths(paths)
    kept = columns is None and _baseline_stands_first(paths)
    notes = _notes(paths, columns) if columns else []
    names = _names([str(path) for path in paths])
    kept_run = read_baseline(paths[0]) if kept else None
    # What another tool wrote has outputs among its fields, and these may differ.
    fields = set() if columns else shared_fields(paths[kept:])
    if kept_run is not None:
        # Hashes can be held against those of the same fields only.
        fields = set(kept_run.fields) if fields.issuperset(kept_run.fields) else set()
    content = Content(tuple(sorted(fields)), lasting=kept)
    read = [report_and_rows(path, by, level, content, columns, cluster) for path in paths[kept:]]
    reports = [report for report, _ in read]
    for report in reports:
        if not report.items.read:
            raise ConfigError(f"{report.path} holds no items", "run it first: llmb run")
    score = _chosen_score(score, reports, kept_run, paths)
    sides: list[Side] = []
    if kept_run is not None:
        side = side_of_baseline(kept_run, paths[0], score)
        sides.append(side if fields else side.without_content())
    sides += [
        side_of(name, report, rows, score)
        for name, (report, rows) in zip(names[kept:], read, strict=True)
    ]
    made = [s.set_up.brief if kept and s.report else s.set_up for s in sides]
    if not anyway:
        _check_judges(sides, made, gate)
    if gate:
        _check_data(sides, made)
    for other in sides[1:]:
        spelt_alike(sides[0].rows, other.rows)
    differences = tuple(
        against(name, sides[0], side, level, anyway)
        for name, side in zip(names[1:], sides[1:], strict=True)
    )
    if not (kept or score or columns):
        differences = _by_score(sides, differences, level)
    comparison = Comparison(
        schema=COMPARISON_SCHEMA,
        headline="",
        level=level,
        baseline=names[0],
        group_field=sides[kept].group_field,
        runs=tuple(replace(s.figures, name=n) for n, s in zip(names, sides, strict=True)),
        settings=differing(made),
        against=_adjusted(differences),
        warnings=(),
        next_steps=(),
        score=score,
    )
    judges = [judged_differently(made[0], other) for other in made[1:]]
    comparison = replace(
        comparison,
        headline=headline(comparison),
        paper=tuple(for_paper(comparison)),
        warnings=(
            *cautions(comparison, sides, [each.known for each in made], judges),
            *dict.fromkeys(notes),
        ),
        next_steps=tuple(
            next_steps(
                comparison,
                sides[0].population,
                [None if columns or side.report is None else typed_of(side.path) for side in sides],
                _flags(by, level, columns, anyway, cluster),
            )
        ),
    )
    return Compared(comparison, tuple(sides))


def _baseline_stands_first(paths: Sequence[str | Path]) -> bool:
    """Whether the first file is a baseline; `ConfigError` where another one is, or none at all."""
    for place, path in enumerate(paths):
        found = is_baseline(path)
        if found and place:
            raise ConfigError(
                f"{path} is a baseline, which stands first", command("compare", path, paths[0])
            )
        if not found and Path(path).suffix == ".json" and Path(path).is_file():
            raise ConfigError(
                f"{path} is no baseline, nor results of a run",
                "llmb baseline set results.jsonl writes one; results of another program need "
                "--score FIELD",
            )
    return is_baseline(paths[0])


def _flags(
    by: str | None, level: float, columns: Columns | None, anyway: bool, cluster: str | None
) -> list[str]:
    """What was typed beside the files."""
    flags: list[str] = []
    for flag, value in (("--by", by), ("--cluster", cluster), *(columns.flags if columns else ())):
        flags += [flag, value] if value else []
    flags += ["--confidence", f"{level:g}"] if level != 0.95 else []
    return [*flags, "--anyway"] if anyway else flags


def _notes(paths: Sequence[str | Path], columns: Columns) -> list[str]:
    notes: list[str] = []
    for path in paths:
        results = ForeignFile(path, columns)
        if results.cluster:
            raise ConfigError(
                f"{path} has several rows of one {results.cluster}: {results.notes[-1]}",
                "a comparison takes one row of each item: choose it with --where FIELD=VALUE",
            )
        notes += results.notes
    return notes


def _check_paths(paths: Sequence[str | Path]) -> None:
    if len(paths) < 2:
        raise ConfigError(
            "comparing takes two results files or more", "llmb compare base.jsonl new.jsonl"
        )
    if "-" in map(str, paths):
        raise ConfigError(
            "a comparison reads its files twice, which standard input does not allow",
            "write the results to a file and name it",
        )
    seen = Counter(Path(path).resolve() for path in paths)
    twice = next((path for path in paths if seen[Path(path).resolve()] > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice} is named twice", "name two files of different runs")


def _chosen_score(
    score: str, reports: Sequence[Report], kept: Baseline | None, paths: Sequence[str | Path]
) -> str:
    """The name of a further score that all runs have; empty for the main one, by whatever name."""
    if not score:
        return ""
    known = [list(kept.scores)] if kept is not None else []
    for report in reports:
        manifest = manifest_of(report)
        rule = manifest.score if manifest else None
        if rule and score == rule.field:
            score = MAIN
        known.append([MAIN, *manifest.scores] if manifest else [MAIN])
    for path, names in zip(paths, known, strict=True):
        if score not in names:
            raise ConfigError(f"{path} has no score called {score}", f"it has {listed(names)}")
    return "" if score == MAIN else score


def _check_data(sides: Sequence[Side], made: Sequence[SetUp]) -> None:
    """Refuse runs of another data set: what a gate says is of the items as well then."""
    for side, other in zip(sides[1:], made[1:], strict=True):
        if data_differs(made[0], other):
            raise ConfigError(
                f"{side.path} and {sides[0].path} were played on different data "
                f"({made[0].values.get('dataset')} has changed, or is another file), and no gate "
                "can stand on that",
                f"play both on the same data; or begin anew from {side.path}: "
                f"{_anew(side, sides[0])}",
            )


def _judged_alike(side: Side, baseline: Side) -> str:
    anew = f"begin anew: {_anew(side, baseline)}"
    if baseline.report is None:
        return f"name the results it was made from, and add --rejudge; or {anew}"
    return f"add --rejudge, which says the price first; or {anew}"


def _anew(side: Side, baseline: Side) -> str:
    kept = baseline.path if baseline.report is None else "baseline.json"
    return command("baseline", "set", side.path, "-o", kept)


def _check_judges(sides: Sequence[Side], made: Sequence[SetUp], gate: bool) -> None:
    """Refuse runs that another judge scored: their scores have different meanings."""
    for side, other in zip(sides[1:], made[1:], strict=True):
        found = judged_differently(made[0], other)
        if found:
            name = found[0]
            told = ""
            if name.startswith("model of"):
                told = f" ({made[0].values.get(name)} and {other.values.get(name)})"
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise ConfigError(
                f"{side.path} was not judged as {sides[0].path} was: {name} differs{told}{more}",
                _judged_alike(side, sides[0])
                if gate
                else "judge both in the same way, or compare them all the same with --anyway",
            )


def _adjusted(differences: tuple[Against, ...]) -> tuple[Against, ...]:
    """The same with p-values corrected over the runs that are compared with one baseline."""
    tested = [(i, a.rates.p_value) for i, a in enumerate(differences) if a.rates]
    rates = _holm_by_place(tested)
    scores = _holm_by_place([(i, a.scores.p_value) for i, a in enumerate(differences) if a.scores])
    return tuple(
        replace(
            each,
            rates=replace(each.rates, p_adjusted=rates.get(i)) if each.rates else None,
            scores=replace(each.scores, p_adjusted=scores.get(i)) if each.scores else None,
        )
        for i, each in enumerate(differences)
    )


#: Further scores that are compared at most.
_MOST_SCORES = 10


def _by_score(
    sides: Sequence[Side], differences: tuple[Against, ...], level: float
) -> tuple[Against, ...]:
    """The same with the differences in every score that all runs have, where there are several.

    A score that other steps or settings made in one of the runs is left out.
    """
    found = [[NamedDifference(MAIN, each.rates, each.scores, None)] for each in differences]
    read = [(side.report, side.rows) for side in sides if side.report is not None]
    manifests = [manifest_of(report) for report, _ in read]
    names = list(manifests[0].scores) if manifests[0] else []
    shared = [name for name in names if all(each and name in each.scores for each in manifests)]
    for name in shared[:_MOST_SCORES]:
        made = [set_up(report, name) for report, _ in read]
        if any(judged_differently(made[0], other) for other in made[1:]):
            continue
        first, *others = (
            side_of(report.path, report, rows, name).without_content() for report, rows in read
        )
        for place, side in enumerate(others):
            own = against(name, first, side, level, anyway=True)
            if own.rates is not None or own.scores is not None:
                found[place].append(NamedDifference(name, own.rates, own.scores, None))
    return tuple(
        replace(each, by_score=_adjusted_by_score(rows)) if len(rows) > 1 else each
        for each, rows in zip(differences, found, strict=True)
    )


def _adjusted_by_score(rows: Sequence[NamedDifference]) -> tuple[NamedDifference, ...]:
    tested = [(i, test.p_value) for i, row in enumerate(rows) if (test := row.rates or row.scores)]
    adjusted = _holm_by_place(tested)
    return tuple(replace(row, p_adjusted=adjusted.get(i)) for i, row in enumerate(rows))


def _holm_by_place(tested: list[tuple[int, float | None]]) -> dict[int, float]:
    known = [(place, p_value) for place, p_value in tested if p_value is not None]
    adjusted = holm([p_value for _, p_value in known])
    return {place: p_value for (place, _), p_value in zip(known, adjusted, strict=True)}


def _names(paths: list[str]) -> list[str]:
    """The shortest ends of the paths that tell them apart: ``a`` and ``b``, or ``x/r``, ``y/r``."""
    parts = [Path(path).with_suffix("").parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return paths


#: Formats by the name a user gives, as `llm_batch.reporting.FORMATS` has them for one run.
COMPARISON_FORMATS: Formats[Compared] = Formats(
    later("llm_batch.reporting.comparison.document", "document"),
    lambda compared: compared.comparison,
    screen=later("llm_batch.reporting.comparison.document", "screen"),
    rows=lambda compared: table(compared),
    publication=later("llm_batch.reporting.comparison.sentences", "publication"),
    page=later("llm_batch.reporting.comparison.document", "page"),
)


def table(compared: Compared) -> Iterator[Iterable[Any]]:
    """The cells of all items, the header first: the baseline's in its order, then the others'.

    ``change.RUN`` is ``gained``, ``lost``, ``higher``, ``lower``, ``same``, or empty where one of
    the two has neither verdict nor score.
    """
    names = [run.name for run in compared.comparison.runs]
    header = ["id", "category"]
    for name in names:
        header += [f"score.{name}", f"passed.{name}"]
    yield header + [f"change.{name}" for name in names[1:]]
    ids = dict.fromkeys(id for rows in compared.rows for id in rows.ids)
    categories = [list(rows.names) for rows in compared.rows]
    first = compared.sides[0].report is None and len(compared.sides) > 1
    for id in ids:
        yield _cells(id, compared.rows, categories, int(first))


def _cells(
    id: str, runs: tuple[Rows, ...], categories: list[list[str]], first: int
) -> Iterator[Any]:
    """Those of one item; the ``first`` run that knows categories says its own."""
    places = [rows.index.get(id) for rows in runs]
    known = next((i for i, p in enumerate(places) if p is not None and i >= first), 0)
    yield id
    yield categories[known][runs[known].categories[places[known] or 0]]
    values = [_score_and_verdict(rows, place) for rows, place in zip(runs, places, strict=True)]
    for score, passed in values:
        yield score
        yield passed
    for value in values[1:]:
        yield _change(values[0], value)


def _score_and_verdict(rows: Rows, place: int | None) -> tuple[float | None, bool | None]:
    if place is None:
        return None, None
    score, passed = rows.scores[place], rows.passed[place]
    return None if isnan(score) else score, None if passed == NO_VERDICT else bool(passed)


def _change(
    before: tuple[float | None, bool | None], after: tuple[float | None, bool | None]
) -> str | None:
    if before[1] is not None and after[1] is not None:
        return "same" if before[1] == after[1] else "gained" if after[1] else "lost"
    if before[0] is not None and after[0] is not None:
        return "same" if before[0] == after[0] else "higher" if after[0] > before[0] else "lower"
    return None
