"""What people read of scores, juries, repeats, pairs and audits: sections, rows and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm_batch.chain.score_rules import MAIN
from llm_batch.errors import status_of
from llm_batch.paper import words
from llm_batch.paper.document import Section, Table
from llm_batch.records import Interval
from llm_batch.reporting.judging.reliability import strength
from llm_batch.reporting.several.model import (
    AuditFigures,
    Consistency,
    JuryFigures,
    PairFigures,
    RepeatFigures,
    ScorePair,
    Several,
)
from llm_batch.stats.audit import LEAST_AUDITED
from llm_batch.stats.repeats import Plan

_NAME = 30
_Row = tuple[str, str, str, str]


def sections(found: Several, level: float) -> Iterator[Section]:
    """The sections that have something to say; that of the audit stands elsewhere."""
    for pair in found.pairs:
        yield _pair(pair, level)
    if found.ranking:
        yield _ranking(found, level)
    if found.scores:
        yield _scores(found, level)
    if found.repeats is not None:
        yield _repeats(found.repeats, level)
    if found.consistency:
        yield Section("Asked again", tuple(map(consistent, found.consistency)))
    for jury in found.juries:
        yield _jury(jury, level)
    if found.skipped or found.lost:
        yield Section("Skipped steps and lost votes", tuple(left_out(found)))


def rows(found: Several, chosen: str = "") -> Iterator[_Row]:
    """What a screen has of it, a row each: name, value, interval, remark.

    The score that is ``chosen``, the main one by default, has its row elsewhere.
    """
    for pair in found.pairs:
        if pair is not found.headline_pair:
            wins = pair.rates.win_rate
            yield (
                f"{_named(pair.first)} wins against {_named(pair.second)}",
                words.percent(wins.value),
                words.percent_range(wins),
                words.items(wins.n),
            )
        bias = pair.rates.position_bias
        if bias.value is not None:
            yield (
                "Position bias (points)",
                words.points(bias.value),
                words.points_range(bias),
                "how much more the first shown wins",
            )
    if (several := found.repeats) is not None and several.at_least_one:
        last = several.at_least_one[-1]
        for k, each in (1, several.at_least_one[0]), (several.times, last):
            yield f"pass@{k}", words.percent(each.value), words.percent_range(each), ""
    for score in found.scores:
        if score.name == (chosen or MAIN):
            continue
        rate, mean = score.rate, score.mean
        figures = (words.mean(mean.value), words.mean_range(mean), "mean")
        if rate is not None:
            figures = (
                words.percent(rate.value),
                words.percent_range(rate),
                f"of {words.items(rate.n)}",
            )
        yield (f"Score {_named(score.name)}", *figures)
    for jury in found.juries:
        if jury.alpha.value is not None:
            yield (
                f"Jury {_named(jury.step)} agrees (alpha)",
                words.number(jury.alpha.value, 2),
                words.coefficient_range(jury.alpha),
                f"{len(jury.members)} members",
            )


def pair_headline(pair: PairFigures, methods: bool) -> str:
    """Which output wins, in one sentence; empty where that is not known."""
    wins = pair.rates.win_rate
    if wins.value is None:
        return ""
    how = ", order taken out" if methods else ""
    bounds = f"{words.level(wins.level)} interval {words.percent_range(wins)}{how}"
    between = f" ({bounds})" if wins.low is not None else ""
    return (
        f"{_named(pair.first)} wins {words.percent(wins.value)}{between} against "
        f"{_named(pair.second)}, {words.items(wins.n)}"
    )


def repeats_headline(found: RepeatFigures) -> str:
    """What the verdict of an item is, and what one answer alone gives; empty without verdicts."""
    if not found.at_least_one:
        return ""
    one = found.at_least_one[0]
    return f"majority of {found.times} repeats; pass@1 {words.percent(one.value)}"


def left_out(found: Several) -> Iterator[str]:
    """Steps that were not played for all items, and answers that are missing among several."""
    for each in found.skipped:
        of = f"{each.n:,} of {words.items(each.of)}"
        why = "not drawn" if each.drawn else "not needed"
        again = "some or all repeats of " if each.repeated and not each.drawn else ""
        yield f"{_named(each.step)}: {why} for {again}{of}."
    if found.lost:
        told = ", ".join(
            f"{each.n:,} {words.clean(status_of(each.kind).name, 30)} by {_voter(each.row)}"
            for each in found.lost
        )
        n = sum(each.n for each in found.lost)
        yield f"{words.counted(n, 'vote')} lost: {told}."


def _voter(row: str) -> str:
    """Who lost a vote, as people call it: a model, or a repeat of a step."""
    step, _, who = row.partition("#")
    return words.clean(f"{step}, repeat {who}" if who.isdecimal() else who or step, 60)


def _named(name: str) -> str:
    return words.named(name, _NAME)


def _bounded(found: Interval) -> str:
    """A share in percent with its bounds."""
    if found.value is None:
        return words.NONE
    bounds = "" if found.low is None else f" ({words.percent_range(found)})"
    return f"{words.percent(found.value)}{bounds}"


def _scores(found: Several, level: float) -> Section:
    passing = any(each.rate is not None for each in found.scores)
    interval = f"{words.level(level)} interval"
    header = ["score", "items", *(["pass rate", interval] if passing else []), "mean", interval]
    nothing = (words.NONE, words.NONE)
    table = []
    for each in found.scores:
        rate = nothing if each.rate is None else _share(each.rate)
        mean = words.mean(each.mean.value), words.mean_range(each.mean)
        shown = rate if passing else ()
        table.append((_named(each.name), words.count(each.n), *shown, *mean))
        better = each.corrected
        if better is not None:
            rate, mean = _share(better), nothing
            if each.rate is None:
                rate, mean = nothing, (words.mean(better.value), words.mean_range(better))
            shown = rate if passing else ()
            table.append(("  by the audit", words.count(better.n), *shown, *mean))
    made = [f"{_named(each.name)} is {words.clean(each.source, 80)}" for each in found.scores]
    parts: list[Table | str] = [Table.of(header, table), f"{'; '.join(made)}."]
    if found.correlations:
        parts += _correlated(found.correlations, level)
    return Section("Several scores", tuple(parts))


def _correlated(pairs: Sequence[ScorePair], level: float) -> list[Table | str]:
    rows = [
        (
            f"{_named(each.one)}, {_named(each.other)}",
            words.count(each.spearman.n),
            words.number(each.spearman.value, 2),
            words.coefficient_range(each.spearman),
        )
        for each in pairs
    ]
    told = (
        "How far two scores put items in the same order: 1 is the same, 0 is no relation. Scores "
        "near 1 say the same twice."
    )
    header = ("", "items", "Spearman", f"{words.level(level)} interval")
    return [Table.of(header, rows), told]


def _jury(jury: JuryFigures, level: float) -> Section:
    compared = (
        f"Votes are compared by whether they pass ({words.number(jury.pass_at)} or more)."
        if jury.pass_at is not None
        else "Votes are compared as they are."
    )
    field = f" by {jury.field!r}" if jury.field else ""
    first = f" of up to {jury.answers} answers, which count as one" if jury.answers > 1 else ""
    parts: list[Table | str] = [
        f"{len(jury.members)} members vote{field}, combined by {jury.combine}, on "
        f"{words.items(jury.items)}{first}. {compared} {_agree(jury)}"
    ]
    parts += [_members(jury), _without(jury, level)]
    parts.append(
        "A vote is decisive where the others alone would have said something else, or nothing."
    )
    kappas = [
        f"{_who(each.one)} and {_who(each.other)} {words.number(each.kappa.value, 2)}"
        + (f" ({words.coefficient_range(each.kappa)})" if each.kappa.low is not None else "")
        for each in jury.kappas
        if each.kappa.value is not None
    ]
    if kappas:
        parts.append(f"Cohen's kappa, with {words.level(level)} intervals: {'; '.join(kappas)}.")
    if jury.ties or jury.too_few:
        undecided = [f"{jury.ties:,} by a tie"] if jury.ties else []
        undecided += [f"{jury.too_few:,} by too few votes"] if jury.too_few else []
        parts.append(f"Without a verdict: {' and '.join(undecided)}.")
    return Section(f"Jury: {_named(jury.step)}", tuple(parts))


def _agree(jury: JuryFigures) -> str:
    told = f"All say the same on {_bounded(jury.unanimous)}."
    alpha = jury.alpha
    if alpha.value is None:
        return f"{told} Krippendorff's alpha is undefined: all votes are the same."
    bounds = f" ({words.coefficient_range(alpha)})" if alpha.low is not None else ""
    return (
        f"{told} Krippendorff's alpha {words.number(alpha.value, 2)}{bounds}: "
        f"{strength(alpha.value)}."
    )


def _passing(jury: JuryFigures) -> bool:
    """Whether votes are verdicts of yes and no, so that they have a rate."""
    return jury.verdict.method == "wilson"


def _who(name: str) -> str:
    """A member without its provider, which takes room."""
    return _named(name.rpartition("/")[2])


def _members(jury: JuryFigures) -> Table:
    shown = words.percent if _passing(jury) else words.mean
    header = ("member", "votes", "lost", "passes" if _passing(jury) else "mean", "agrees",
              "decisive", "cost")  # fmt: skip
    rows = [
        (
            _who(each.name),
            words.count(each.votes),
            words.count(each.lost),
            shown(each.own.value),
            words.percent(each.agrees.value),
            words.percent(each.decisive.value),
            words.usd(each.cost),
        )
        for each in jury.members
    ]
    return Table.of(header, rows)


def _without(jury: JuryFigures, level: float) -> Table:
    """What the jury would have said without each member, and saved."""
    shown = words.percent if _passing(jury) else words.mean
    header = ("jury without", "other verdicts", f"{words.level(level)} interval",
              "passes" if _passing(jury) else "mean", "saves")  # fmt: skip
    rows = [
        (
            _who(each.name),
            words.percent(each.decisive.value),
            words.percent_range(each.decisive),
            shown(each.without.value),
            words.usd(each.cost),
        )
        for each in jury.members
    ]
    return Table.of(header, rows)


def consistent(found: Consistency) -> str:
    """How often a step says the same again."""
    return (
        f"{_named(found.step)}, asked {found.times} times on {words.items(found.flips.n)}: two of "
        f"its answers differ in {_bounded(found.flips)} of pairs (flip rate), so they agree in "
        f"{words.percent(found.alike.value)} (self-consistency). This is not corrected for chance: "
        "who always says the same is consistent."
    )


def _repeats(found: RepeatFigures, level: float) -> Section:
    parts: list[Table | str] = []
    if found.at_least_one:
        interval = f"{words.level(level)} interval"
        table = [
            (
                str(k),
                words.percent(one.value),
                words.percent_range(one),
                words.percent(every.value),
                words.percent_range(every),
            )
            for k, (one, every) in enumerate(
                zip(found.at_least_one, found.all_pass, strict=True), 1
            )
        ]
        parts.append(Table.of(("k", "pass@k", interval, "pass^k", interval), table))
        parts.append(
            "Of k answers to an item, pass@k says how often at least one passes (unbiased, Chen "
            "et al. 2021), and pass^k how often all do."
        )
        if found.majority is not None:
            ties = f"; {words.items(found.ties)} tied, which do not pass" if found.ties else ""
            parts.append(
                f"An item passes where most of its answers do: {_bounded(found.majority)}{ties}."
            )
    parts += [text for text in (_variance(found), _best_use(found)) if text]
    return Section(f"Repeats: {_named(found.step)}, {found.times} times", tuple(parts))


def _variance(found: RepeatFigures) -> str:
    if found.between is None or found.within is None or not found.between + found.within:
        return ""
    share = found.within / (found.between + found.within)
    what = "verdicts" if found.at_least_one else "scores"
    return (
        f"Variance of {what}: {words.number(found.between)} between items and "
        f"{words.number(found.within)} within, among answers to one item: {words.percent(share)} "
        "of it is what repeats can average out (Miller 2024)."
    )


#: Another design is worth a word where it leaves at most this share of an error.
_BETTER = 0.95


def _best_use(found: RepeatFigures) -> str:
    """What the same money would have given with other numbers of repeats."""
    best = found.best
    now = next((plan for plan in found.plans if plan.repeats == found.times), None)
    if best is None or now is None:
        return ""
    unit = 100 if found.at_least_one else 1
    name, points = ("pass@1", " points") if found.at_least_one else ("the mean", "")

    def told(plan: Plan) -> str:
        error = words.number(unit * plan.standard_error, 2)
        answers = words.counted(plan.repeats, "answer")
        return (
            f"{words.items(plan.items)} with {answers} each give {name} a standard error of "
            f"{error}{points}"
        )

    begin = f"For the same {words.usd(now.cost)}, {told(now)}"
    if best.standard_error > _BETTER * now.standard_error:
        return f"{begin}; no other number of repeats gives clearly less."
    return (
        f"{begin}, and {told(best)}: for {name} alone, repeat = {best.repeats} with "
        f"--sample {best.items} is the better use of it."
    )


def _pair(pair: PairFigures, level: float) -> Section:
    rates, first, second = pair.rates, _named(pair.first), _named(pair.second)
    bias = rates.position_bias
    table = [
        (f"{first} wins, a tie as half", *_share(rates.win_rate)),
        (f"{first} wins", *_share(rates.wins)),
        ("tie", *_share(rates.ties)),
        (f"{second} wins", *_share(rates.losses)),
        ("position bias (points)", words.points(bias.value), words.points_range(bias)),
    ]
    if rates.twice:
        table.append(("both orders differ", *_share(rates.inconsistent)))
    parts: list[Table | str] = [
        Table.of(("", "value", f"{words.level(level)} interval"), table),
        f"Judged once: {words.items(rates.once)}; in both orders: {words.items(rates.twice)}. The "
        "rates are for both orders alike, so what the order decides is taken out of them.",
    ]
    if rates.win_rate.value is None:
        parts.append("Rates need three items or more, and both orders among them.")
    if told := _order(pair):
        parts.append(told)
    return Section(f"Pairs: {_named(pair.step)}", tuple(parts))


def _share(found: Interval) -> tuple[str, str]:
    return words.percent(found.value), words.percent_range(found)


def _order(pair: PairFigures) -> str:
    """Whether the judge favours a place, and whether the correction for that holds."""
    rates, told = pair.rates, []
    bias = rates.position_bias
    if bias.low is not None and bias.high is not None and bias.value is not None:
        place = "first" if bias.value > 0 else "second"
        points = words.number(abs(100 * bias.value))
        told.append(
            f"The judge favours what it sees {place}, by {points} points."
            if not bias.low <= 0 <= bias.high
            else "No position bias is seen."
        )
    if rates.for_first + rates.for_second:
        told.append(
            f"Where the two orders differ, {rates.for_first:,} times the first came off better "
            f"and {rates.for_second:,} times the second."
        )
    if rates.constant_p is not None:
        held = "nothing speaks against it" if rates.constant_p >= 0.05 else "this does not hold"
        told.append(
            "The correction assumes that the bias is the same for items judged once and twice: "
            f"{held} (p {_p(rates.constant_p)})."
        )
        if rates.constant_p < 0.05:
            told.append("Judge all items in both orders: swap = 1.")
    return " ".join(told)


def _p(value: float) -> str:
    shown = words.p_value(value)
    return shown if shown.startswith("<") else f"= {shown}"


def _ranking(found: Several, level: float) -> Section:
    interval = f"{words.level(level)} interval"
    table = [
        (
            _named(each.name),
            words.signed(each.strength.value),
            words.signed_range(each.strength),
        )
        for each in found.ranking
    ]
    chances = [
        (f"{_named(each.one)} against {_named(each.other)}", *_share(each.wins))
        for each in found.chances
    ]
    return Section(
        "Ranking",
        (
            Table.of(("", "strength", interval), table),
            Table.of(("", "wins", interval), chances),
            "Bradley and Terry's model of all pairs together: one unit of strength more wins 73 %. "
            "A tie counts as half a win.",
        ),
    )


def audit_told(audit: AuditFigures) -> Iterator[str]:
    """What the audit cost and gave, what else the money could have bought, and what to do next."""
    costs, spent = audit.costs, audit.spent
    if costs is None or spent is None or audit.dear_for_all is None:
        yield "What it saved is not known: a model has no known price, or cost nothing."
        return
    saved = audit.dear_for_all - spent
    more = "less" if saved > 0 else "more"
    yield (
        f"{_named(audit.step)} alone for all items would have made the run cost "
        f"{words.usd(audit.dear_for_all)}; it cost {words.usd(spent)}, "
        f"{words.usd(abs(saved))} {more}."
    )
    unit, points = (100, " points") if audit.check.corrected is not None else (1, "")

    def margin(value: float) -> str:
        return f"±{words.number(unit * value, 2)}{points}"

    if audit.alone is not None and audit.margin is not None:
        yield (
            f"For the same money {_named(audit.step)} alone gives {margin(audit.alone.margin)} "
            f"with {words.items(audit.alone.items)}; this run gives {margin(audit.margin)}."
        )
    best = audit.best
    if best is None:
        return
    if audit.alone is not None and audit.alone.margin <= best.margin:
        yield (
            f"The judge says too little of what {_named(audit.step)} says to be worth its money: "
            f"score by {_named(audit.step)} alone."
        )
        return
    if audit.margin is not None and best.margin > _BETTER * audit.margin:
        yield "No other share gives clearly more for the same money."
        return
    yield (
        f"Best for the next run: share = {words.number(best.share, 2)} under the step "
        f"{_named(audit.step)} and --sample {best.items}: {words.items(best.audited)} audited, "
        f"about {margin(best.margin)} for {words.usd(best.cost)}."
    )


def audit_cautions(audit: AuditFigures) -> Iterator[str]:
    """What to keep in mind of an audit, most serious first."""
    check, step = audit.check, _named(audit.step)
    yield (
        f"{step} is a model too: nobody has checked either judge against people's labels, and the "
        "interval leaves the errors of both out."
        if check.drawn == "all"
        else f"{step} is a model too: nobody has checked it against people's labels, and the "
        "interval leaves its errors out."
    )
    if check.swapped:
        yield (
            f"{step} and the judge say the opposite: they agree on "
            f"{words.percent(check.agreement.value)}, far less than chance would give. Nothing is "
            "corrected until that is put right."
        )
    elif check.clustered:
        yield "With --cluster no corrected rate is shown: corrections by an audit ignore clusters."
    if check.drawn == "unknown":
        yield (
            f"{step} has a condition, so the audited items are no random subset of this run: "
            "give it a share alone."
        )
    elif check.drawn == "verdict":
        yield (
            "The judge passed the audited items more or less often than the others, which a draw "
            "at random hardly gives: each verdict is weighted instead."
        )
    if check.labelled < LEAST_AUDITED:
        yield (
            f"Only {words.items(check.labelled)} audited: with fewer than {LEAST_AUDITED}, the "
            "corrected figures are wide and approximate."
        )
