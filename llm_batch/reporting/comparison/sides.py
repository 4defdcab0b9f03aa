"""The runs that are compared: each with its figures, how it was set up, and its items as numbers.

A side is the results of a run, a file of another tool, or a baseline, which has no texts. The
items are read with the report; texts are read again for the few items that are shown.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, takewhile
from math import isnan
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.errors import ConfigError, OutputError
from llm_batch.record.baseline import (
    Baseline,
    BaselineItem,
    BaselineScore,
    brief,
)
from llm_batch.record.changes import steps_of
from llm_batch.record.files import results_of
from llm_batch.record.lines import UNREADABLE
from llm_batch.record.manifest import Manifest, ScoreRule
from llm_batch.record.parts import each_part
from llm_batch.record.results import FurtherScore, ItemLine, item_lines, items_among
from llm_batch.records import Interval
from llm_batch.reporting.build import report_and_rows
from llm_batch.reporting.comparison import RunFigures
from llm_batch.reporting.items import manifest_of, read_items
from llm_batch.reporting.model import PassRate, Report
from llm_batch.reporting.rows import NO_VERDICT, Content, Rows, Scored
from llm_batch.reporting.tally import swapped_spelling
from llm_batch.stats.interval import wilson
from llm_batch.stats.means import mean_t, with_width

_FEW = 1000
#: The name of the main score, beside those of further ones.
MAIN = "score"
_DATA = "dataset sha256"


@dataclass(frozen=True, slots=True)
class SetUp:
    """How a run was set up, flat: ``model of generate`` -> ``openai/gpt-4o-mini`` and so on.

    ``known`` says whether there is a manifest; ``judging`` are the names that belong to the judge.
    """

    known: bool
    values: dict[str, Any]
    judging: frozenset[str]

    @property
    def brief(self) -> SetUp:
        """The same as a baseline keeps it, to be held against one."""
        return replace(
            self, values={name: brief(name, value) for name, value in self.values.items()}
        )


def set_up(report: Report, score: str = "") -> SetUp:
    """The settings of a run, with those of a further score; empty where there is no manifest."""
    manifest = manifest_of(report)
    if manifest is None:
        return SetUp(False, {}, frozenset())
    rule = rule_of(manifest, score)
    values = dict(_values(manifest, rule or ScoreRule()))
    ends = tuple(f" of {step}" for step in scoring_steps(manifest, rule))
    judging = {name for name in values if ends and name.endswith(ends)}
    return SetUp(True, values, frozenset(judging | _SCORING))


_SCORING = {"score field", "pass at", "score labels", "score weights"}


def rule_of(manifest: Manifest, score: str) -> ScoreRule | None:
    """The rule of a further score by its name, or of the main one without a name."""
    return manifest.scores.get(score) if score else manifest.score


def scoring_steps(manifest: Manifest, rule: ScoreRule | None) -> set[str]:
    """The steps that a score comes from, by way of other scores too."""
    if rule is None:
        return set()
    others = (manifest.score if name == MAIN else manifest.scores.get(name)
              for name in rule.weights or ())  # fmt: skip
    fields = [*rule.fields, *(field for other in others if other for field in other.fields)]
    return {field.partition(".")[0] for field in fields if field}


def _values(manifest: Manifest, score: ScoreRule) -> Iterator[tuple[str, Any]]:
    dataset, sample = manifest.dataset, manifest.sample
    yield "dataset", dataset.path
    yield _DATA, dataset.sha256
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
        if name in manifest.code:
            yield f"code of {name}", manifest.code[name]
    yield "score field", score.field or None
    yield "pass at", score.pass_at
    yield "least score", score.min
    yield "greatest score", score.max
    yield "score labels", score.labels
    if score.weights:
        yield "score weights", score.weights
    yield "engine", manifest.engine or None
    for name, version in manifest.versions.items():
        yield f"version of {name}", version


def judged_differently(one: SetUp, two: SetUp) -> list[str]:
    """The judge's settings on which two runs do not agree; empty where one has no manifest.

    A key that an older version did not write was not changed by anyone; but a rule has the keys
    that were written and no others, and so have params. A prompt is what its file holds, wherever
    that lies.
    """
    if not (one.known and two.known):
        return []
    from llm_batch.chain.steps import Step

    judging = one.judging | two.judging
    by_rule = any(name.startswith("rule of ") for name in judging)

    def differs(name: str) -> bool:
        key = name.partition(" of ")[0]
        unknown = name not in one.values or name not in two.values
        if key == "prompt_file" or (unknown and not by_rule and key in Step.model_fields):
            return False
        return bool(one.values.get(name) != two.values.get(name))

    return [name for name in one.values | two.values if name in judging and differs(name)]


def data_differs(one: SetUp, two: SetUp) -> bool:
    """Whether two runs are known to be of other data."""
    first, second = one.values.get(_DATA), two.values.get(_DATA)
    return bool(first and second and first != second)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the runs that are compared.

    Attributes:
        path: Its file, as it was typed.
        report: ``None`` for a baseline.
        pass_rate: Of its own items.
        planned: Items that it was to have; ``population`` those of its dataset.
        scale: The ends of the scores, where they are known.
        score: The name of the further score that is compared; empty for the main one.
        scoring: The steps that it comes from.
    """

    path: str
    report: Report | None
    set_up: SetUp
    figures: RunFigures
    pass_rate: PassRate
    planned: int | None
    population: int | None
    duplicates: int
    scale: tuple[float, float] | None
    rows: Rows
    score: str = ""
    scoring: frozenset[str] = frozenset()

    def without_content(self) -> Side:
        """The same where the content of items is not looked at."""
        same = array("Q", bytes(8 * len(self.rows.content)))
        return replace(self, rows=replace(self.rows, content=same))

    @property
    def group_field(self) -> str:
        groups = self.report.groups if self.report is not None else None
        return groups.field if groups is not None else ""

    def texts(
        self, ids: Collection[str], places: Collection[int] | None = None
    ) -> dict[str, ItemLine]:
        """The items with these ids, whole; none of a baseline. Those that are at known ``places``
        in the rows are found in less time.

        Raises:
            OutputError: The file cannot be read a second time.
        """
        if self.report is None:
            return {}
        report, rows = self.report, self.rows
        spelt = {id: id for id in ids}
        if rows.respelt:
            spelt |= {
                other: id for id in ids if (other := swapped_spelling(id)) and other not in ids
            }

        if not rows.read:
            return {spelt[item.id]: item for item in read_items(report) if item.id in spelt}
        if places is None:
            places = [place for id in ids if (place := rows.index.get(id)) is not None]
        places = sorted(places)
        firsts = [bisect_left(places, part) for part in rows.parts]
        wanted = {
            part: end - first
            for part, first, end in zip(rows.read, firsts, [*firsts[1:], len(places)], strict=True)
            if end > first
        }

        def among(start: int, end: int) -> list[ItemLine]:
            return list(
                islice(items_among(report.path, spelt, start, end), wanted[start, end])
            )  # all after the last of them is left alone

        items = chain.from_iterable(each_part(among, list(wanted)))
        return {spelt[item.id]: item for item in items}

    def answer(self, item: ItemLine | None) -> str:
        """What was scored: the last output before that of the judge or rule."""
        if item is None or self.report is None:
            return ""
        scoring = self.scoring or {self.report.run.judge}
        until = takewhile(lambda each: each[0] not in scoring, item.outputs.items())
        before = [output for _, output in until if output is not None]
        return as_text(before[-1]) if before else ""

    def reason(self, item: ItemLine | None) -> str:
        """Why it was scored so."""
        if item is None:
            return ""
        found = item.scores.get(self.score) if self.score else item
        return found.reason if found else ""


def side_of(name: str, report: Report, rows: Rows, score: str = "") -> Side:
    """A run by its report and its items, by one of its scores."""
    manifest, items = manifest_of(report), report.items
    rule = rule_of(manifest, score) if manifest else None
    figures, pass_rate = _figures(name, report), report.pass_rate
    if score:
        rows = rows.scored_by(score)
        figures = _of_score(figures, rows, report.level)
        pass_rate = _plain(figures.pass_rate)
    return Side(
        path=report.path,
        report=report,
        set_up=set_up(report, score),
        figures=figures,
        pass_rate=pass_rate,
        planned=items.planned,
        population=items.population,
        duplicates=items.duplicates,
        scale=manifest.scale_of(rule) if manifest else None,
        rows=rows,
        score=score,
        scoring=frozenset(scoring_steps(manifest, rule)) if manifest else frozenset(),
    )


def _of_score(figures: RunFigures, rows: Rows, level: float) -> RunFigures:
    """The figures of a run with those of one of its further scores."""
    scores = [score for score in rows.scores if not isnan(score)]
    passed = rows.passed.count(1)
    rate = wilson(passed, passed + rows.passed.count(0), level)
    return replace(
        figures,
        scored=len(scores),
        pass_rate=rate,
        mean_score=with_width(mean_t(scores, level)),
        cost_per_passed=figures.cost / passed if figures.cost is not None and passed else None,
    )


def _plain(rate: Interval) -> PassRate:
    passed = round((rate.value or 0.0) * rate.n)
    return PassRate(None, passed, rate, "", None, None, 0, None, None)


def side_of_baseline(found: Baseline, path: str | Path, score: str = "") -> Side:
    """A run by its baseline.

    Raises:
        OutputError: It is not whole.
    """
    kept = found.scores[score or MAIN]
    try:
        figures = msgspec.convert({**kept.figures, "path": str(path)}, RunFigures)
    except UNREADABLE as error:
        raise OutputError(
            f"{path} is not a whole baseline: {error}",
            f"write it anew from the results: llmb baseline set results.jsonl -o {path}",
        ) from error
    rows, items = Rows(), found.items
    scored: Sequence[Scored] = items
    if score:
        scored = [FurtherScore(*item.scores.get(score, (None, None))) for item in items]
    rows.add(
        [item.id for item in items],
        scored,
        [item.cost for item in items],
        [item.seconds for item in items],
        [""] * len(items),
        [int(item.content or "0", 16) for item in items],
    )
    return Side(
        path=str(path),
        report=None,
        set_up=SetUp(found.known, found.settings | kept.settings, frozenset(kept.judging)),
        figures=figures,
        pass_rate=_plain(figures.pass_rate),
        planned=found.planned,
        population=found.population,
        duplicates=0,
        scale=kept.scale,
        rows=rows,
        score=score,
    )


def baseline_of(path: str | Path) -> Baseline:
    """What a comparison with this run needs, to be kept.

    Raises:
        OutputError: The results cannot be read, or only once.
        ConfigError: They have no scores.
    """
    if str(path) == "-":
        raise OutputError(
            "a baseline is made of a file that is read twice, and standard input is read once",
            "write the results to a file and name it",
        )
    path = results_of(path)
    fields = sorted(shared_fields([path]))
    report, rows = report_and_rows(path, None, 0.95, Content(tuple(fields), lasting=True))
    if not report.items.scored:
        raise ConfigError(f"{path} has no scored items", "run it first: llmb run")
    name = Path(report.path).stem
    main, *others = (side_of(name, report, rows, score) for score in ("", *rows.further))
    common = main.set_up.brief.values
    return Baseline(
        results=Path(report.path).name,
        run_id=report.run.id,
        created_at=report.run.created_at,
        settings=common,
        known=main.set_up.known,
        planned=main.planned,
        population=main.population,
        scores={side.score or MAIN: _kept_score(side, common) for side in (main, *others)},
        fields=fields,
        items=list(_baseline_items(main.rows, {side.score: side.rows for side in others})),
    )


def _kept_score(side: Side, common: Mapping[str, Any]) -> BaselineScore:
    made, figures = side.set_up.brief, msgspec.to_builtins(side.figures)
    del figures["path"]
    own = {name: value for name, value in made.values.items() if common.get(name) != value}
    return BaselineScore(own, sorted(made.judging), side.scale, figures)


def _baseline_items(rows: Rows, others: Mapping[str, Rows]) -> Iterator[BaselineItem]:
    for place, id in enumerate(rows.ids):
        cost, seconds = _known(rows.costs[place]), _known(rows.seconds[place])
        yield BaselineItem(
            id,
            *_value(rows, place),
            None if cost is None else float(f"{cost:.6g}"),
            None if seconds is None else round(seconds, 3),
            f"{rows.content[place]:x}",
            {name: _value(each, place) for name, each in others.items()},
        )


def _value(rows: Rows, place: int) -> tuple[float | None, bool | None]:
    passed = rows.passed[place]
    return _known(rows.scores[place]), None if passed == NO_VERDICT else bool(passed)


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def shared_fields(paths: Iterable[str | Path]) -> set[str]:
    """The fields that the first items of every run have; none where one cannot be read."""
    shared: set[str] | None = None
    for path in paths:
        try:
            first = next(item_lines(path), None)
        except OutputError:
            return set()  # reading all of it says what is wrong
        names = set(first.fields) if first else set()
        shared = names if shared is None else shared & names
    return shared or set()


def spelt_alike(first: Rows, second: Rows) -> None:
    """Give the items of the second run the ids of the first, where a spreadsheet changed them.

    It makes 1.0 of 1 in a column with a gap; that is looked at where no id fits as it is.
    """
    if not set(second.hashes[:_FEW]).isdisjoint(first.hashes):
        return  # most runs have one of these in common, which is soon found
    known = set(first.hashes)
    if known.isdisjoint(second.hashes):
        spelt = [swapped_spelling(id) or id for id in second.ids]
        if not known.isdisjoint(map(hash, spelt)):
            second.respell(spelt)


def question_of(item: ItemLine) -> str:
    """The first field that is a text of several words; empty without one."""
    texts = (value for value in item.fields.values() if isinstance(value, str))
    return next((text for text in texts if text != item.id and " " in text), "")


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


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
