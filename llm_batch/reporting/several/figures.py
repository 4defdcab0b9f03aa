"""Figures of chains that ask several times, from what was counted and what the steps cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import isfinite, isnan, sqrt
from typing import Any, cast

from llm_batch.chain.steps import member, written
from llm_batch.chain.votes import combined
from llm_batch.record.manifest import Manifest, Step
from llm_batch.records import Interval
from llm_batch.reporting.judging.calibration import Calibration, calibration
from llm_batch.reporting.judging.labels import Labelled, Labels, Pair, are_scores
from llm_batch.reporting.judging.sentences import half_width
from llm_batch.reporting.several.model import (
    Agreement,
    AuditFigures,
    Chance,
    Consistency,
    JuryFigures,
    JuryMember,
    Lost,
    PairFigures,
    Ranked,
    RepeatFigures,
    ScoreFigures,
    ScorePair,
    Several,
    Skipped,
)
from llm_batch.reporting.several.tally import Panel, SeveralTally, Vote
from llm_batch.reporting.tally import StepTally, Tally
from llm_batch.stats.agreement import Scale
from llm_batch.stats.audit import LEAST_AUDITED, Costs, best_audit, dear_alone, phi
from llm_batch.stats.jury import OwnRule, Rule, jury
from llm_batch.stats.means import mean_and_sd
from llm_batch.stats.pairs import bradley_terry, pair_rates
from llm_batch.stats.repeats import (
    Plan,
    flip_rate,
    majority_rate,
    over_draws,
    parts_of_variance,
    pass_at_k,
    pass_hat_k,
    plans,
    repeated_mean,
)
from llm_batch.stats.several import correlations, pearson


def several(
    counted: SeveralTally,
    tally: Tally,
    manifest: Manifest,
    main: tuple[Interval, Interval],
    others: Mapping[str, tuple[Interval, Interval]],
    level: float,
    clustered: bool,
) -> Several:
    """All figures.

    Args:
        main: Pass rate and mean of the main score, as the report has them; ``others`` those of
            the other scores.
        clustered: Whether items come in clusters, for which nothing is corrected.
    """
    design = counted.design
    audit = _audit(counted, tally, manifest, level, clustered) if counted.audits else None
    pairs = tuple(
        PairFigures(
            step.name,
            step.pair[0],
            step.pair[1],
            over_draws([pair_rates(draw, level) for draw in counted.pairs[step.name]]),
        )
        for step in design.pairs
        if counted.pairs[step.name][0]
    )
    ranking, chances = _ranking(counted, pairs, level)
    scores = _scores(counted, main, others, audit)
    lost = sorted(counted.lost.items(), key=lambda each: (-each[1], each[0]))
    return Several(
        scores=scores,
        correlations=_correlations(counted, level),
        juries=tuple(
            _jury(panel, counted, tally, level)
            for panel in design.panels
            if panel.models and counted.votes[panel.name][0] and not _texts(panel, counted)
        ),
        consistency=tuple(_consistency(counted, manifest, level)),
        repeats=_repeats(counted, tally, manifest, level),
        pairs=pairs,
        ranking=ranking,
        chances=chances,
        audit=audit,
        skipped=tuple(
            Skipped(
                step.name,
                counted.skipped[step.name],
                counted.read,
                drawn=not step.when,
                repeated=step.name in design.later,
            )
            for step in design.partly
            if counted.skipped[step.name]
        ),
        lost=tuple(Lost(row, kind, n) for (row, kind), n in lost),
        headline_pair=next(
            (each for each in pairs if each.step == manifest.scoring_step),
            pairs[0] if len(pairs) == 1 and manifest.score is None else None,
        ),
    )


def _scores(
    counted: SeveralTally,
    main: tuple[Interval, Interval],
    others: Mapping[str, tuple[Interval, Interval]],
    audit: AuditFigures | None,
) -> tuple[ScoreFigures, ...]:
    found = []
    for name, rule in counted.design.scores.items():
        rate, mean = others.get(name, main)
        corrected = None
        if name == counted.design.main and audit is not None:
            corrected = audit.check.corrected if rate.n else audit.check.corrected_mean
        source = rule.named
        if isinstance(rule.weights, dict) and rule.weights:
            source = " + ".join(f"{weight:g} {each}" for each, weight in rule.weights.items())
        there = sum(not isnan(value) for value in _values(counted, name))
        found.append(
            ScoreFigures(
                name, source, there, rule.pass_at, rate if rate.n else None, mean, corrected
            )
        )
    return tuple(found)


def _values(counted: SeveralTally, name: str) -> Sequence[float]:
    other = counted.others.get(name)
    return counted.values if other is None else other.values


#: More scores than this make more pairs than anybody reads.
_MOST_SCORES = 6


def _correlations(counted: SeveralTally, level: float) -> tuple[ScorePair, ...]:
    names = counted.design.scores
    if not 2 <= len(names) <= _MOST_SCORES:
        return ()
    columns = {
        name: [None if isnan(value) else value for value in _values(counted, name)]
        for name in names
    }
    found = correlations(columns, level).items()
    return tuple(ScorePair(*names, each.spearman, each.pearson) for names, each in found)


def _texts(panel: Panel, counted: SeveralTally) -> bool:
    """Whether the votes are texts and no labels, so that they are alike only within one item."""
    return panel.rule is None and not panel.member and bool(_labels(counted.votes[panel.name][0]))


def _labels(ballots: Iterable[tuple[Vote, ...]]) -> dict[str, float]:
    """A number for each text among the votes."""
    texts = sorted({vote for ballot in ballots for vote in ballot if isinstance(vote, str)})
    return {text: float(number) for number, text in enumerate(texts)}


def _numbered(
    ballots: Mapping[tuple[Vote, ...], int], labels: Mapping[str, float]
) -> Counter[tuple[float | None, ...]]:
    """Ballots as numbers."""
    found: Counter[tuple[float | None, ...]] = Counter()
    for ballot, n in ballots.items():
        found[tuple(labels[vote] if isinstance(vote, str) else vote for vote in ballot)] += n
    return found


def _jury(panel: Panel, counted: SeveralTally, tally: Tally, level: float) -> JuryFigures:
    draws = counted.votes[panel.name]
    labels_of = _labels([ballot for draw in draws for ballot in draw])
    each, in_words = [_numbered(draw, labels_of) for draw in draws], bool(labels_of)
    pass_at = panel.rule.pass_at if panel.rule is not None and not in_words else None
    # Of an object the chain combines the words; of a text it reads the number of its label first.
    labels = panel.rule.labels if panel.rule is not None and panel.member else None
    in_words = in_words or bool(labels)

    def as_the_chain(votes: Sequence[float]) -> float | None:
        return cast("float | None", combined(votes, panel.combine))

    rule: Rule | OwnRule = panel.combine if in_words else as_the_chain
    values = {vote for ballots in each for ballot in ballots for vote in ballot if vote is not None}
    scale: Scale = "nominal"
    if not in_words and pass_at is None and len(values) > 2:
        scale = "ordinal"
    found = over_draws(
        [jury(ballots, rule, panel.min_votes, pass_at, scale, level) for ballots in each]
    )
    lost: Counter[str] = Counter()
    for (row, _), n in counted.lost.items():
        lost[row] += n
    return JuryFigures(
        step=panel.name,
        field=panel.member,
        combine=panel.combine,
        pass_at=pass_at,
        items=sum(each[0].values()),
        verdict=found.verdict,
        ties=found.ties,
        too_few=found.too_few,
        unanimous=found.unanimous,
        alpha=found.alpha,
        kappas=tuple(
            Agreement(panel.votes[i], panel.votes[j], found.kappas[i, j])
            for i, j in combinations(range(len(panel.votes)), 2)
        ),
        members=tuple(
            JuryMember(
                name=name,
                votes=counted.cast[panel.name, name],
                lost=lost[member(panel.name, name)],
                own=of_one.own,
                agrees=of_one.agrees,
                decisive=of_one.decisive,
                without=of_one.without,
                change=of_one.change,
                cost=_cost(tally, [row], panel.rows.count(row)),
            )
            for name, row, of_one in zip(panel.votes, panel.rows, found.members, strict=True)
        ),
        answers=counted.design.draws(panel.name),
    )


def _cost(tally: Tally, rows: Sequence[str], parts: int = 1) -> float | None:
    costs = [tally.steps.get(row, StepTally()).cost for row in rows]
    return None if None in costs else sum(cost or 0.0 for cost in costs) / parts


def _rows(manifest: Manifest, names: Sequence[str] | frozenset[str]) -> list[str]:
    """The rows of steps, as costs are called."""
    return [row for row in manifest.models if written(row) in names]


def _consistency(counted: SeveralTally, manifest: Manifest, level: float) -> list[Consistency]:
    found = []
    for panel in counted.design.panels:
        draws = counted.votes[panel.name]
        if not panel.models and draws[0]:
            each_draw = [
                _consistent(panel.name, len(panel.votes), _numbered(draw, _labels(draw)), level)
                for draw in draws
            ]
            found.append(over_draws(each_draw))
    apart = counted.design.apart
    if apart is not None and _judges(apart, manifest) and counted.repeats:
        own: Counter[tuple[float | None, ...]] = Counter()
        for each, n in counted.repeats.items():
            own[tuple(score if ok is None else float(ok) for score, ok in each)] += n
        found.append(_consistent(apart.name, apart.repeat or 1, own, level))
    return found


def _consistent(
    step: str, times: int, ballots: Mapping[tuple[float | None, ...], int], level: float
) -> Consistency:
    flips = flip_rate(ballots, level)
    value, low, high = (
        None if part is None else 1 - part for part in (flips.value, flips.high, flips.low)
    )
    return Consistency(step, times, flips, Interval(value, low, high, level, flips.n, flips.method))


def _judges(step: Step, manifest: Manifest) -> bool:
    """Whether the score comes from the step, so that its repeats judge one answer again."""
    fields = manifest.score.fields if manifest.score else []
    return any(named.partition(".")[0] == step.name for named in fields)


def _repeats(
    counted: SeveralTally, tally: Tally, manifest: Manifest, level: float
) -> RepeatFigures | None:
    apart = counted.design.apart
    if apart is None or not counted.repeats:
        return None
    by_item = [each for each, n in counted.repeats.items() for _ in range(n)]
    verdicts = [[ok for _, ok in each if ok is not None] for each in by_item]
    passes = [(len(each), sum(each)) for each in verdicts if each]
    scores = [[score for score, _ in each] for each in by_item]
    rows = [[float(ok) for ok in each] for each in verdicts] if passes else scores
    times = apart.repeat or 1
    majority, ties = majority_rate(passes, level) if passes else (None, 0)
    parts = parts_of_variance(rows)
    whole = tally.total.cost
    later = _cost(tally, _rows(manifest, counted.design.later))
    item_cost = repeat_cost = None
    made: tuple[Plan, ...] = ()
    if whole and later is not None and tally.read:
        answers = sum(map(len, by_item))
        item_cost, repeat_cost = max(whole - later, 0.0) / tally.read, later / answers
        if parts is not None and item_cost + repeat_cost > 0:
            made = plans(parts, item_cost, repeat_cost, whole, manifest.dataset.n)
    return RepeatFigures(
        step=apart.name,
        times=times,
        items=len(by_item),
        at_least_one=tuple(pass_at_k(passes, k + 1, level) for k in range(times if passes else 0)),
        all_pass=tuple(pass_hat_k(passes, k + 1, level) for k in range(times if passes else 0)),
        majority=majority,
        ties=ties,
        mean=repeated_mean(scores, level),
        between=parts.between if parts else None,
        within=parts.within if parts else None,
        item_cost=item_cost,
        repeat_cost=repeat_cost,
        plans=made,
    )


def _ranking(
    counted: SeveralTally, pairs: Sequence[PairFigures], level: float
) -> tuple[tuple[Ranked, ...], tuple[Chance, ...]]:
    """Strengths of three or more outputs that met each other; nothing where they did not."""
    names = list(dict.fromkeys(name for each in pairs for name in (each.first, each.second)))
    if len(names) < 3:
        return (), ()
    place = {each.step: (names.index(each.first), names.index(each.second)) for each in pairs}
    draws = [
        [
            {place[step]: share for step, share in contests}
            for contests, n in draw.items()
            for _ in range(n)
        ]
        for draw in counted.contests
    ]
    try:
        found = over_draws([bradley_terry(items, len(names), level) for items in draws])
    except ValueError:  # some never met the others
        return (), ()
    ranked = [Ranked(name, each) for name, each in zip(names, found.strengths, strict=True)]
    ranked.sort(key=lambda each: -(each.strength.value or 0.0))
    order = [names.index(each.name) for each in ranked]
    chances = (Chance(names[i], names[j], found.chances[i, j]) for i, j in combinations(order, 2))
    return tuple(ranked), tuple(chances)


class _Auditor:
    """The audit's verdicts as labels."""

    def __init__(self, step: Step, found: Sequence[Pair], pass_at: float | None) -> None:
        self._step, self._found, self.pass_at = step, found, pass_at
        # A condition chooses items, and what chooses items may choose hard ones.
        self.random = True if not step.when else None

    def finish(self) -> Labelled:
        """All of them."""
        # Verdicts of 1 and 0 are scores as well where the judge's are.
        scores = self.pass_at is None or are_scores(
            value for pair in self._found for value in (pair.label, pair.score or 0.0)
        )
        return Labelled(Labels(f"step {self._step.name!r}", {}, scores=scores), [*self._found])


def _audit(
    counted: SeveralTally, tally: Tally, manifest: Manifest, level: float, clustered: bool
) -> AuditFigures:
    step, rule = counted.design.audit, manifest.score
    assert step is not None and rule is not None  # nothing is counted without
    check = calibration(
        _Auditor(step, counted.audits, rule.pass_at),
        (tally.passed, tally.verdicts),
        tally.scores,
        level,
        clustered=clustered,
        scale=manifest.scale or (None, None),
        audit=step.name,
    )
    corrected = check.corrected if check.agreement.n else check.corrected_mean
    costs = _costs(step, tally, manifest)
    sd, correlation = _spread(check, counted.audits)
    spent, population = tally.total.cost, manifest.dataset.n
    alone = best = None
    if costs is not None and spent is not None and sd is not None:
        alone = dear_alone(spent, sd, costs, population, level)
        if correlation is not None and check.labelled >= LEAST_AUDITED:
            best = best_audit(spent, sd, correlation, costs, population, level)
    if alone is not None and not isfinite(alone.margin):
        alone = None
    return AuditFigures(
        step=step.name,
        judge=manifest.scoring_step,
        share=step.share,
        check=check,
        costs=costs,
        spent=spent,
        dear_for_all=None if costs is None else tally.read * (costs.answer + costs.dear),
        margin=half_width(corrected),
        alone=alone,
        best=best,
        correlation=correlation,
    )


def _costs(step: Step, tally: Tally, manifest: Manifest) -> Costs | None:
    """What an item costs; ``None`` when a price is unknown, or the audit was free."""
    judges = [
        named.partition(".")[0] for named in (manifest.score.fields if manifest.score else ())
    ]
    dear, cheap = (_cost(tally, _rows(manifest, names)) for names in ([step.name], judges))
    audited = tally.steps.get(step.name, StepTally()).items
    whole = tally.total.cost
    if not dear or cheap is None or whole is None or not audited:
        return None
    answer = max(whole - dear - cheap, 0.0)
    return Costs(answer / tally.read, cheap / tally.read, dear / audited)


def _spread(check: Calibration, audits: Sequence[Pair]) -> tuple[float | None, float | None]:
    """The spread of the dear judge over items, and how far it goes with the cheap one."""
    if check.agreement.n:
        table: Any = check.table
        rate = (table.both_yes + table.only_reference) / table.n
        return (sqrt(rate * (1 - rate)) or None), phi(table)
    both = [(pair.label, pair.score) for pair in audits if pair.score is not None]
    labels, judged = [label for label, _ in both], [score for _, score in both]
    return mean_and_sd(labels)[1] or None, pearson(labels, judged).value
