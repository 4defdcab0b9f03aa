"""From several results files to a `Comparison`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.chain.overrides import Typed, expanded
from llm_batch.errors import ConfigError
from llm_batch.paper import Formats, Readable, later
from llm_batch.paper.words import clean
from llm_batch.record.manifest import Manifest, ScoreRule, steps_of
from llm_batch.reporting.build import build_report
from llm_batch.reporting.comparison import (
    COMPARISON_SCHEMA,
    Against,
    Comparison,
    RunFigures,
    Setting,
)
from llm_batch.reporting.comparison.pair import (
    NO_VERDICT,
    Rows,
    against,
    read_rows,
    shared_fields,
    spelt_alike,
)
from llm_batch.reporting.comparison.sentences import cautions, for_paper, headline, next_steps
from llm_batch.reporting.foreign import Columns, ForeignFile
from llm_batch.reporting.items import manifest_of
from llm_batch.reporting.model import Report
from llm_batch.stats.compare import holm

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class SetUp:
    """How a run was set up, flat: ``model of generate`` -> ``openai/gpt-4o-mini`` and so on.

    ``known`` says whether there is a manifest; ``judging`` are the names that belong to the judge.
    """

    known: bool
    values: dict[str, Any]
    judging: frozenset[str]


def set_up(report: Report) -> SetUp:
    """The settings of a run; empty where its manifest cannot be read."""
    manifest = manifest_of(report)
    if manifest is None:
        return SetUp(False, {}, frozenset())
    values = dict(_values(manifest))
    judge = manifest.scoring_step if report.run.rule else report.run.judge
    judging = {name for name in values if name.endswith(f" of {judge}")} if judge else set()
    return SetUp(True, values, frozenset(judging | {"score field", "pass at", "score labels"}))


def _values(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    dataset, sample, score = manifest.dataset, manifest.sample, manifest.score or ScoreRule()
    yield "dataset", dataset.path
    yield "dataset sha256", dataset.sha256
    yield "items in the dataset", dataset.n
    yield "sample size", sample.size
    yield "sample seed", sample.seed
    yield "stratified by", sample.stratify
    for step in steps_of(manifest):
        name = step.get("name")
        for key, value in step.items():
            if key == "params":
                for param, each in value.items():
                    yield f"{param} of {name}", each
            elif key != "name":
                yield f"{key} of {name}", value
    yield "score field", score.field or None
    yield "pass at", score.pass_at
    yield "least score", score.min
    yield "greatest score", score.max
    yield "score labels", score.labels
    yield "engine", manifest.engine or None
    for name, version in manifest.versions.items():
        yield f"version of {name}", version


def _typed(path: str | Path) -> Typed | None:
    manifest, _ = Manifest.beside(path)
    return manifest.typed(path) if manifest else None


def differing(reports: Sequence[Report], made: Sequence[SetUp]) -> tuple[Setting, ...]:
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


def judged_differently(one: SetUp, two: SetUp) -> list[str]:
    """The judge's settings on which two runs do not agree; empty where one has no manifest."""
    if not (one.known and two.known):
        return []
    names = [name for name in one.values | two.values if name in one.judging | two.judging]
    return [name for name in names if one.values.get(name) != two.values.get(name)]


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
    """A comparison, and the reports and items it was made from, the baseline's first."""

    comparison: Comparison
    reports: tuple[Report, ...]
    rows: tuple[Rows, ...]

    def _formats(self) -> Mapping[str, Callable[[Any], str]]:
        return COMPARISON_FORMATS


def compare_reports(
    paths: Sequence[str | Path],
    by: str | None = None,
    level: float = 0.95,
    columns: Columns | None = None,
    anyway: bool = False,
    cluster: str | None = None,
) -> Compared:
    """Compare runs with the first of them, item by item where they share items.

    Args:
        paths: Two results files or more; the first is the baseline.
        by: Field of the items to compare by; without it as for a report of one run.
        level: Confidence level of all intervals, between 0 and 1.
        columns: How to read files that llmb did not write.
        anyway: Compare runs of other items or of other judges too.
        cluster: Field of the items that says which belong together; differences are then bounded
            and tested by clusters.

    Raises:
        OutputError: A file is missing, is no results file, or a line of it cannot be read.
        ConfigError: Fewer than two files, the same file twice, or other items or judges without
            ``anyway``.
    """
    paths = [expanded(path) for path in paths]
    _check_paths(paths)
    notes = _notes(paths, columns) if columns else []
    reports = tuple(
        build_report(path, by=by, level=level, columns=columns, calls=False, cluster=cluster)
        for path in paths
    )
    for report in reports:
        if not report.items.read:
            raise ConfigError(f"{report.path} holds no items", "run it first: llmb run")
    made = [set_up(report) for report in reports]
    if not anyway:
        _check_judges(reports, made)
    # What another tool wrote has outputs among its fields, and these may differ.
    fields = set() if columns else shared_fields(reports)
    rows = tuple(read_rows(report, fields, cluster) for report in reports)
    for other in rows[1:]:
        spelt_alike(rows[0], other)
    names = _names([str(path) for path in paths])
    differences = tuple(
        against(name, reports[0], report, rows[0], each, level, anyway)
        for name, report, each in zip(names[1:], reports[1:], rows[1:], strict=True)
    )
    groups = reports[0].groups
    comparison = Comparison(
        schema=COMPARISON_SCHEMA,
        headline="",
        level=level,
        baseline=names[0],
        group_field=groups.field if groups else "",
        runs=tuple(_figures(name, report) for name, report in zip(names, reports, strict=True)),
        settings=differing(reports, made),
        against=_adjusted(differences),
        warnings=(),
        next_steps=(),
    )
    judges = [judged_differently(made[0], other) for other in made[1:]]
    comparison = replace(
        comparison,
        headline=headline(comparison),
        paper=tuple(for_paper(comparison)),
        warnings=(
            *cautions(comparison, reports, [each.known for each in made], judges),
            *dict.fromkeys(notes),
        ),
        next_steps=tuple(
            next_steps(
                comparison,
                reports[0].items.population,
                [None if columns else _typed(path) for path in paths],
                _flags(by, level, columns, anyway, cluster),
            )
        ),
    )
    return Compared(comparison, reports, rows)


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
        raise ConfigError("comparing takes two results files or more")
    if "-" in map(str, paths):
        raise ConfigError(
            "a comparison reads its files twice, which standard input does not allow",
            "write the results to a file and name it",
        )
    seen = Counter(Path(path).resolve() for path in paths)
    twice = next((path for path in paths if seen[Path(path).resolve()] > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice} is named twice", "name two files of different runs")


def _check_judges(reports: Sequence[Report], made: Sequence[SetUp]) -> None:
    """Refuse runs that another judge scored: their scores have different meanings."""
    for report, other in zip(reports[1:], made[1:], strict=True):
        found = judged_differently(made[0], other)
        if found:
            name = found[0]
            told = ""
            if name.startswith("model of"):
                told = f" ({made[0].values.get(name)} and {other.values.get(name)})"
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise ConfigError(
                f"{report.path} was not judged as {reports[0].path} was: {name} differs{told}"
                f"{more}",
                "judge both in the same way, or compare them all the same with --anyway",
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


def _holm_by_place(tested: list[tuple[int, float | None]]) -> dict[int, float]:
    known = [(place, p_value) for place, p_value in tested if p_value is not None]
    adjusted = holm([p_value for _, p_value in known])
    return {place: p_value for (place, _), p_value in zip(known, adjusted, strict=True)}


def _figures(name: str, report: Report) -> RunFigures:
    total, passed, own = report.total, report.pass_rate, report.items
    rate = passed.rate
    return RunFigures(
        name=name,
        path=report.path,
        run_id=report.run.id,
        created_at=report.run.created_at,
        models=" + ".join(report.run.models.values()),
        read=own.read,
        scored=own.scored,
        failed=own.read - own.ok,
        pass_rate=rate,
        mean_score=report.scores.mean,
        cost=total.cost if report.steps else None,
        cost_per_item=report.money.per_item,
        cost_per_passed=report.money.per_passed,
        input_tokens=total.usage.input_tokens,
        output_tokens=total.usage.output_tokens,
        latency_p50=total.latency_p50,
        latency_p95=total.latency_p95,
        seconds=report.run.seconds,
        simulated=report.run.simulated,
    )


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
    ids = dict.fromkeys(id for rows in compared.rows for id in rows.index)
    categories = [list(rows.names) for rows in compared.rows]
    for id in ids:
        yield _cells(id, compared.rows, categories)


def _cells(id: str, runs: tuple[Rows, ...], categories: list[list[str]]) -> Iterator[Any]:
    places = [rows.index.get(id) for rows in runs]
    known = next(i for i, place in enumerate(places) if place is not None)
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
