"""From a results file and its manifest to a `Report`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Literal

from llm_batch.chain.score_rules import MAIN
from llm_batch.chain.templates import RESERVED
from llm_batch.chain.votes import FIRST, SECOND
from llm_batch.engines import ENGINES
from llm_batch.errors import ConfigError, OutputError
from llm_batch.paper.words import clean, listed
from llm_batch.record import manifest as manifests
from llm_batch.record.files import results_of, run_paths
from llm_batch.record.manifest import Figures, Manifest
from llm_batch.record.parts import no_garbage_collection
from llm_batch.record.reading import ResultsReader
from llm_batch.records import Interval, Usage
from llm_batch.reporting.calls import read_calls
from llm_batch.reporting.foreign import Columns, ForeignFile
from llm_batch.reporting.judging.calibration import calibration
from llm_batch.reporting.judging.labels import LabelSource, LabelTally
from llm_batch.reporting.judging.reliability import judges_reliability
from llm_batch.reporting.model import (
    REPORT_SCHEMA,
    Estimate,
    Items,
    Money,
    Range,
    Report,
    Run,
    Spending,
    StatusCount,
)
from llm_batch.reporting.publication import for_paper
from llm_batch.reporting.rates import groups, in_order, pass_rate, scores
from llm_batch.reporting.rows import Content, Rows
from llm_batch.reporting.scan import Asked, Counted, scan
from llm_batch.reporting.sentences import caveats, headline, next_steps
from llm_batch.reporting.several.figures import several
from llm_batch.reporting.several.tally import Design, SeveralTally
from llm_batch.reporting.spending import cost_breakdown
from llm_batch.reporting.tally import ClusterTally, StepTally, Tally
from llm_batch.reporting.timeline import timeline
from llm_batch.stats.means import mean_t, median_interval, quantile, quantile_interval, with_width

#: A template's field, by its name or as ``item['its name']``.
_INSERTED = re.compile(r"\{\{-?\s?(?:item\[['\"]([^'\"\n]{1,200})['\"]\]|(\w{1,200}))\s?-?\}\}")


def assemble(path: str, manifest: Manifest, counted: Counted, asked: Asked) -> Report:
    """All figures of a report; its sentences are left empty."""
    level = asked.level
    tally, totals = counted.tally, manifest.totals
    # A population smaller than what was read is not the one these results were drawn from.
    population = manifest.dataset.n
    if population is not None and population < tally.read:
        population = None
    estimate, kind = manifest.estimate, ENGINES.get(manifest.engine)
    models = {name: model for name, model in manifest.models.items() if name}
    order = [*models, *(name for name in tally.steps if name not in models)]
    steps = tuple(
        _spending(
            name,
            tally.steps.get(name, StepTally()),
            estimate.steps.get(name) if estimate else None,
            level,
        )
        for name in order
    )
    rate = pass_rate(manifest, counted, population, asked)
    mean = scores(manifest, counted, population, asked)
    return Report(
        schema=REPORT_SCHEMA,
        path=path,
        headline="",
        level=level,
        run=Run(
            id=manifest.run_id,
            created_at=manifest.created_at,
            status=totals.status,
            engine=manifest.engine,
            models=models,
            judge=counted.judge,
            rule=manifest.rule,
            calls=totals.calls,
            seconds=totals.seconds,
            expected_seconds=_range(estimate.seconds) if estimate else None,
            simulated=totals.simulated or tally.simulated > 0,
        ),
        items=_items(manifest, counted, population),
        statuses=_statuses(tally),
        pass_rate=rate,
        scores=mean,
        groups=groups(manifest, counted, asked),
        steps=steps,
        total=_spending("total", tally.total, estimate, level),
        money=_money(tally, population, level),
        judge_check=counted.references.check(level) if counted.references else None,
        warnings=(),
        next_steps=(),
        breakdown=cost_breakdown(tally, manifest, counted.calls),
        timeline=timeline(counted.calls, manifest.pace)
        if counted.calls and not (kind and kind.by_batch)  # a batch API has no pace
        else None,
        calibration=calibration(
            counted.labels,
            (tally.passed, tally.verdicts),
            tally.scores,
            level,
            clustered=counted.clusters is not None,
            scale=(manifest.score.min, manifest.score.max) if manifest.score else (None, None),
        )
        if counted.labels
        else None,
        judges=judges_reliability(counted.judges, level) if counted.judges else None,
        rule_check=counted.rules.check(level) if counted.rules else None,
        several=several(
            counted.several,
            tally,
            manifest,
            (rate.rate, mean.mean),
            _others(counted.several, manifest, population, asked),
            level,
            clustered=counted.clusters is not None,
        )
        if counted.several
        else None,
    )


def _others(
    several: SeveralTally, manifest: Manifest, population: int | None, asked: Asked
) -> dict[str, tuple[Interval, Interval]]:
    """Pass rate and mean of the scores beside the main one, made as those of that are."""
    found = {}
    for name, other in several.others.items():
        own = manifest.with_rule(several.design.scores[name])
        counted = Counted(other.tally, None, other.strata, None, "", True, clusters=other.clusters)
        rate = pass_rate(own, counted, population, asked)
        found[name] = rate.rate, scores(own, counted, population, asked).mean
    return found


def _items(manifest: Manifest, counted: Counted, population: int | None) -> Items:
    tally = counted.tally
    planned = manifest.sample.size
    scored, ok = len(tally.scores), tally.statuses["ok"]
    done = scored if counted.scoring else ok
    whole = planned or tally.read
    return Items(
        population=population,
        planned=planned,
        read=tally.read,
        ok=ok,
        scored=scored,
        coverage=done / whole if whole else None,
        duplicates=tally.duplicates,
        unasked=tally.unasked,
    )


def _statuses(tally: Tally) -> tuple[StatusCount, ...]:
    ordered = sorted(tally.statuses.items(), key=lambda kind: (kind[0] != "ok", -kind[1], kind[0]))
    return tuple(StatusCount(kind, n, *tally.examples.get(kind, ("", ""))) for kind, n in ordered)


def _spending(name: str, tally: StepTally, estimate: Figures | None, level: float) -> Spending:
    latencies = in_order(tally.latencies)
    return Spending(
        step=name,
        items=tally.items,
        attempts=tally.attempts,
        usage=Usage(**tally.tokens),
        cost=tally.cost,
        known_cost=tally.known_cost,
        unpriced=tally.unpriced,
        latency_p50=quantile(latencies, 0.5),
        latency_p95=quantile(latencies, 0.95),
        latency_p99=quantile(latencies, 0.99),
        latency_tails=(
            with_width(quantile_interval(latencies, 0.95, level)),
            with_width(quantile_interval(latencies, 0.99, level)),
        ),
        latency_median=with_width(median_interval(latencies, level)),
        estimate=Estimate(
            calls=estimate.calls,
            input_tokens=estimate.input_tokens,
            output_tokens=estimate.output_tokens,
            cost=_range(estimate.cost),
        )
        if estimate is not None
        else None,
    )


def _range(found: manifests.Range | None) -> Range | None:
    """A range of the manifest, where all of it is known."""
    if found is None or found.low is None or found.expected is None or found.high is None:
        return None
    return Range(found.low, found.expected, found.high)


def _money(tally: Tally, population: int | None, level: float) -> Money:
    cost = tally.total.cost if tally.read else None
    whole = None
    if cost is not None and population is not None and population > tally.read > 1:
        mean = mean_t(tally.costs, level, population)
        if mean.value is not None:
            whole = with_width(
                replace(
                    mean,
                    value=mean.value * population,
                    # What is spent already is sure.
                    low=None if mean.low is None else max(mean.low * population, cost),
                    high=None if mean.high is None else mean.high * population,
                )
            )
    return Money(
        per_item=cost / tally.read if cost is not None else None,
        per_passed=cost / tally.passed if cost is not None and tally.passed else None,
        whole_dataset=whole,
        worst_case_items=tally.worst_case,
        reported=tally.reported,
        listed=None if tally.reported is None else tally.listed.cost,
    )


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
    score: str = "",
) -> Report:
    """Read a results file, once and from start to end, and say what it shows.

    The manifest is read too when it is there: the size of the dataset, the plan, the models and the
    estimate are known from it alone.

    Args:
        path: What ``llmb run`` wrote, or ``-`` for standard input.
        by: Field of the items to group by. Without it: the field of the stratification, or one
            named ``category`` with 2 to 50 values.
        level: Confidence level of all intervals, between 0 and 1.
        reference: Field with the reference answer. Without it: ``answer``, ``reference``,
            ``target`` or ``expected``, whichever there is.
        columns: How to read a file that llmb did not write.
        labels: Where people's labels are, to hold the judge against.
        judges: Outputs of several judges to hold against each other: ``step.field``.
        calls: Whether to read the journal too, for retries and the pace over time; by default where
            it is small.
        cluster: Field of the items that says which belong together; intervals are then by clusters.
        exact: Give rates exact intervals (Clopper-Pearson, hypergeometric) in place of Wilson's.
        mean: How the mean's interval is made; ``auto`` takes the bootstrap for skewed scores.
        score: Which of a run's scores the figures are of, by its name; by default the main one.

    Raises:
        OutputError: The file is missing, is no results file, or a line of it cannot be read.
        ConfigError: No item has the field asked for, or it has too many values, or ``level`` is not
            between 0 and 1, or the run has no such score.
    """
    asked = Asked(level=level, exact=exact, mean=mean)
    return _read(path, by, reference, columns, labels, judges, calls, cluster, asked, score)[0]


def report_and_rows(
    path: str | Path,
    by: str | None,
    level: float,
    content: Content,
    columns: Columns | None = None,
    cluster: str | None = None,
) -> tuple[Report, Rows]:
    """The report of a run without its journal, and its items as numbers, by all scores of the run;
    the file is read once for both. Raises as `build_report` does.
    """
    report, rows = _read(
        path, by, None, columns, None, (), False, cluster, Asked(level=level), "", content
    )
    assert rows is not None
    if report.groups is None:
        rows.ungroup()
    return report, rows


def _read(
    path: str | Path,
    by: str | None,
    reference: str | None,
    columns: Columns | None,
    labels: LabelSource | None,
    judges: Sequence[str],
    calls: bool | None,
    cluster: str | None,
    asked: Asked,
    score: str,
    content: Content | None = None,
) -> tuple[Report, Rows | None]:
    level = asked.level
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, not {level:g}", "95 % is --level 0.95")
    results: ForeignFile | ResultsReader
    if columns is None:
        path = results_of(path)
        results = ResultsReader(path)
    else:
        results = ForeignFile(path, columns)
        cluster = cluster or results.cluster or None
    by = by or (columns.category or None if columns else None)
    try:
        manifest, problem = (None, "") if columns else Manifest.beside(path)
        scored = _scored_by(manifest, score, path) if score else manifest
        score = "" if scored is manifest else score
        design = Design.of(manifest, score) if manifest else None
        manifest = scored
        labelled = LabelTally(labels, _pass_at(manifest, columns)) if labels else None
        with no_garbage_collection():
            counted = scan(
                results,
                manifest or Manifest(),
                by,
                reference,
                labelled,
                judges,
                ClusterTally(cluster) if cluster else None,
                design,
                score,
                content,
            )
    finally:
        results.close()
    made, unread = (None, "") if columns else read_calls(path, calls)
    counted = replace(counted, calls=made)
    report = assemble(str(path), manifest or Manifest(), counted, asked)
    report = replace(report, columns=columns, score=score)
    report = replace(
        report, headline=headline(report), paper=for_paper(report, manifest or Manifest())
    )
    tally, waiting = counted.tally, "" if columns else _waiting(path)
    said = caveats(
        report,
        manifest,
        results.note if isinstance(results, ForeignFile) else problem,
        torn=results.torn,
        first_duplicate=tally.first_duplicate,
        simulated=tally.simulated,
        calls=made,
        waiting=waiting,
    )
    notes = results.notes if isinstance(results, ForeignFile) else ()
    warnings = (*said, *notes, *(labelled.notes if labelled else ()))
    typed = manifest.typed(path) if manifest else None
    reference = _likely_reference(manifest) if manifest else ""
    following = next_steps(report, typed, waiting, reference) if columns is None else ()
    if unread:
        following = (*following, unread)
    return replace(report, warnings=warnings, next_steps=following), counted.rows


def _waiting(path: str | Path) -> str:
    """The batch jobs of a run that are open, in words; empty without any."""
    jobs = run_paths(path).jobs
    if str(path) == "-" or not jobs.exists():
        return ""
    from llm_batch.engines.batch.job_log import JobLog, waited_for

    try:
        return waited_for([(job, None) for job in JobLog(jobs).open.values()], time())
    except OutputError as error:
        return f"batch jobs that cannot be named: {error.message}"


def _likely_reference(manifest: Manifest) -> str:
    """The only field that the judge is shown and no step before it; empty for none or several.

    Templates are looked at as texts: a manifest may be a stranger's, and they are never run.
    """
    shown = {
        step.name: {
            quoted or name for _, text in step.sources for quoted, name in _INSERTED.findall(text)
        }
        for step in manifest.steps
        if step.asks
    }
    judged = shown.pop(manifest.judge, set())
    names = {FIRST, SECOND, *RESERVED, *(step.name for step in manifest.steps)}
    new = judged - names - set[str]().union(*shown.values()) if shown else set()
    return next(iter(new)) if len(new) == 1 else ""


def _scored_by(manifest: Manifest | None, score: str, path: str | Path) -> Manifest:
    """The manifest of another score; `ConfigError` where there is none of that name."""
    found = manifest.scored_by(score) if manifest else None
    if found is not None:
        return found
    names = [MAIN, *manifest.scores] if manifest and manifest.score else []
    raise ConfigError(
        f"{path} has no score called {clean(score, 60)}",
        f"it has {listed(names)}" if names else "its run had no [score]",
    )


def _pass_at(manifest: Manifest | None, columns: Columns | None) -> float | None:
    if columns is not None:
        return columns.pass_at
    return manifest.score.pass_at if manifest and manifest.score else None
