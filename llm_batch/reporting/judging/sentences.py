"""What labels say of the judge, in sentences: findings, cautions, what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.chain.overrides import command
from llm_batch.paper import words
from llm_batch.records import Interval
from llm_batch.reporting.judging.calibration import Calibration, Main, ScoreCheck

#: Fewer labels than this say little, whatever the interval looks like.
FEW_LABELS = 50
#: Below this the correction more than doubles every error.
WEAK_JUDGE = 0.5
_NAMES: dict[Main, str] = {
    "ppi": "PPI++",
    "rogan_gladen": "Rogan-Gladen",
    "verdict": "weighted by verdict",
    "labels": "the labels' own",
}


def basis(check: Calibration) -> str:
    """How many labels there are, how their items were chosen and what was left out."""
    chosen = {
        "random": "said to be a random subset of this run",
        "all": "which is every item with a verdict",
        "verdict": _by_verdict(check),
        "separate": "none of them part of this run",
        "unknown": "and nothing says how they were chosen",
    }[check.drawn]
    if check.drawn == "random" and check.seed is not None:
        chosen = f"drawn at random from this run by llmb label (seed {check.seed})"
    if check.audit:
        if check.drawn == "random":
            chosen = "drawn at random from this run"
        return f"{words.items(check.labelled)} judged by {check.source} too, {chosen}."
    text = f"{words.items(check.labelled)} labelled in {check.source}, {chosen}."
    if check.separate and check.drawn != "separate":
        text += f" {check.separate:,} of them are not part of this run."
    return text


def _by_verdict(check: Calibration) -> str:
    """How items drawn within each verdict came to be known as such."""
    counts = (
        f"{check.both_pass + check.only_judge:,} the judge passed, "
        f"{check.only_label + check.both_fail:,} it failed"
    )
    if check.noted == "verdict":
        return f"drawn within each verdict by llmb label (seed {check.seed}): {counts}"
    return f"{counts}, which is not how the run's verdicts are spread (p {_p(check.alike)})"


def _p(value: float | None) -> str:
    return "< 0.001" if value is None or value < 0.001 else f"= {value:.3f}"


def finding(check: Calibration) -> str:
    """Which rate to report and why, in a sentence or two; empty when there is none."""
    corrected, raw = check.corrected, check.uncorrected
    if corrected is None or corrected.value is None or raw.value is None:
        return ""
    figure = words.percent(corrected.value)
    points = 100 * (corrected.value - raw.value)
    shift = "the same as the judge's own"
    if abs(points) >= 0.05:
        side = "above" if points > 0 else "below"
        shift = f"{abs(points):.1f} points {side} the judge's own"
    if check.audit:
        why = {
            "ppi": "The audited items are a random subset of this run, so PPI++ is valid and "
            "assumes nothing about the cheap judge",
            "labels": "Every item is audited, so the audit's own rate needs no correction",
        }.get(check.main, "The audited items are no random subset of this run")
        return (
            f"{why}. Report {figure} ({words.interval(corrected, words.percent_range)}): {shift}."
        )
    why = {
        "ppi": "The labels are a random subset of this run, so PPI++ is valid and assumes "
        "nothing about the judge",
        "rogan_gladen": "Without a random subset of this run, Rogan-Gladen is valid if the judge "
        "errs here as it does on the labelled items",
        "verdict": "Passes and fails are not labelled in the proportions of the run, so the labels "
        "of each are weighted by its share of the run (Begg and Greenes 1983); right if they were "
        "drawn blindly within each verdict",
        "labels": "Every item has a label, so the labels' own rate needs no correction",
        "": "",
    }[check.main]
    return f"{why}. Report {figure} ({words.interval(corrected, words.percent_range)}): {shift}."


def mean_finding(check: ScoreCheck, audit: bool = False) -> str:
    """Which mean score to report and why, or why none is corrected."""
    corrected = check.corrected
    if corrected is None or corrected.value is None:
        return f"No corrected mean is shown: {check.why_not or 'too few labels'}."
    if audit:
        why = (
            "Every item is audited, so the audit's own mean needs no correction"
            if check.drawn == "all"
            else "The audited items are a random subset of this run, so PPI++ is valid for the "
            "mean too"
        )
        bounds = words.interval(corrected, words.mean_range)
        return f"{why}. Report a mean of {words.mean(corrected.value)} ({bounds})."
    why = (
        "Every item has a label, so the labels' own mean needs no correction"
        if check.drawn == "all"
        else "The labels are a random subset of this run, so PPI++ is valid for the mean too"
    )
    bounds = words.interval(corrected, words.mean_range)
    return f"{why}. Report a mean of {words.mean(corrected.value)} ({bounds})."


def labels_of(check: Calibration) -> str:
    """What figures were corrected by, with its number."""
    if check.audit:
        return f"an audit of {words.items(check.labelled)}"
    return f"{check.labelled:,} labels"


def mean_headline_part(check: Calibration, methods: bool = True) -> str:
    """The corrected mean for the headline; empty when there is none."""
    corrected, scores = check.corrected_mean, check.score_check
    if corrected is None or corrected.value is None or scores is None:
        return ""
    bounds = words.interval(corrected, words.mean_range)
    how = "PPI++" if scores.drawn != "all" else "its own" if check.audit else "the labels' own"
    return (
        f"Mean score {words.mean(corrected.value)} ({bounds}), corrected by "
        f"{labels_of(check)}{f' ({how})' if methods else ''}"
    )


def headline_part(check: Calibration, methods: bool = True) -> str:
    """The corrected rate for the headline; empty when there is none."""
    corrected = check.corrected
    if corrected is None or corrected.value is None or check.main == "":
        return ""
    bounds = words.interval(corrected, words.percent_range)
    name = "its own" if check.audit and check.main == "labels" else _NAMES[check.main]
    return (
        f"Pass rate {words.percent(corrected.value)} ({bounds}), corrected by "
        f"{labels_of(check)}{f' ({name})' if methods else ''}"
    )


def methods(check: Calibration) -> Iterator[str]:
    """What a paper says of the judge and the correction, a sentence each."""
    rates = [
        f"{name} {words.percent(rate.value)} [{words.percent_range(rate)}]"
        for name, rate in (
            ("agreement", check.agreement),
            ("sensitivity", check.sensitivity),
            ("specificity", check.specificity),
        )
        if rate.value is not None
    ]
    if check.kappa.value is not None:
        rates.append(f"Cohen's kappa {words.number(check.kappa.value, 2)}")
    if rates:
        at_random = " a random subset of" if check.drawn == "random" else ""
        if check.drawn == "verdict":
            at_random = ", drawn within each verdict, of"
        yield (
            f"The judge was checked against people's labels of{at_random} "
            f"{words.items(check.labelled)}: {', '.join(rates)}."
        )
    if check.score_check is not None and (told := _of_scores(check.score_check)):
        yield told
    corrected = check.corrected
    if corrected is not None and corrected.value is not None and corrected.low is not None:
        how = {
            "ppi": "by prediction-powered inference (PPI++)",
            "rogan_gladen": "for sensitivity and specificity (Rogan-Gladen, interval of Lee et "
            "al. 2025)",
            "verdict": "by labels drawn within each verdict (Begg and Greenes 1983)",
            "labels": "by labels of all items",
            "": "",
        }[check.main]
        yield (
            f"Corrected {how}, the pass rate is {words.percent(corrected.value)} "
            f"[{words.percent_range(corrected)}]."
        )


def _of_scores(check: ScoreCheck) -> str:
    told = [
        f"{name} {words.number(found.value, 2)}"
        + ("" if found.low is None else f" [{words.coefficient_range(found)}]")
        for name, found in (("Spearman's rho", check.spearman), ("Kendall's tau-b", check.kendall))
        if found.value is not None
    ]
    if check.bias.value is not None:
        told.append(
            f"mean bias (judge minus label) {words.signed(check.bias.value)}"
            + (f" [{words.mean_range(check.bias)}]" if check.bias.low is not None else "")
        )
    text = f"Against people's scores of {words.items(check.labelled)}: {', '.join(told)}."
    corrected = check.corrected
    if told and corrected is not None and corrected.value is not None:
        how = "by labels of all items" if check.drawn == "all" else "by PPI++"
        bounds = f" [{words.mean_range(corrected)}]" if corrected.low is not None else ""
        text += f" Corrected {how}, the mean score is {words.mean(corrected.value)}{bounds}."
    return text if told else ""


def _cautions_of_scores(check: ScoreCheck) -> Iterator[str]:
    if not check.same_scale:
        (low, high), (least, most) = check.labels, check.judged
        yield (
            f"Labels reach from {words.number(low)} to {words.number(high)} and the judge's "
            f"scores from {words.number(least)} to {words.number(most)}: the scales differ, so no "
            "bias and no corrected mean are shown. Put labels on the judge's scale."
        )
    if check.noted_random and check.alike is not None and check.drawn == "unknown":
        yield (
            "The labels should be a random subset of this run, but the judge scored these "
            f"items unlike the others (rank-sum test, p {_p(check.alike)})."
        )
    bias = check.bias
    if bias.low is not None and bias.high is not None and not bias.low <= 0 <= bias.high:
        more = "higher" if (bias.value or 0) > 0 else "lower"
        yield (
            f"The judge scores {more} than people: by {words.mean(abs(bias.value or 0))} on "
            "average."
        )
    if check.spearman.value is None:
        yield (
            "Labels or scores are all the same, so there is no correlation to compute: it says "
            "how far both rank items alike."
        )


def cautions(check: Calibration) -> Iterator[str]:
    """What to keep in mind of the labels and the judge, most serious first."""
    if check.score_check is not None:
        yield from _cautions_of_scores(check.score_check)
    yield from _of_the_judge(check)
    if not check.agreement.n and check.score_check is None and check.labelled:
        yield (
            "The labels are verdicts and nothing says which of the judge's scores pass, so the "
            "two cannot be compared: set pass_at, or label with scores on the judge's scale."
        )
    if check.drawn == "unknown":
        yield (
            f"Nothing says how the items labelled in {check.source} were chosen. If they are a "
            "random subset of this run, say so with --labels-random: then PPI++ is valid. If they "
            "were picked (hard ones, say), it is not."
        )
    if check.labelled < FEW_LABELS:
        yield f"Only {words.items(check.labelled)} labelled{_gain(check)}."
    yield from _left_out(check)


def _of_the_judge(check: Calibration) -> Iterator[str]:
    judge = check.youden
    if check.drawn == "verdict" and check.noted == "random":
        yield (
            "The labels do not look like a random subset of this run: the judge passed "
            f"{words.percent(check.sample_share)} of them and "
            f"{words.percent(check.uncorrected.value)} of the run (Fisher's exact test, "
            f"p {_p(check.alike)}). PPI++ would be wrong; each verdict is weighted instead."
        )
    if check.clustered:
        yield (
            "With --cluster no corrected rate is shown: corrections by labels ignore clusters, and "
            "their intervals would be too narrow (84 % instead of 95 %, simulated). Leave "
            "--cluster out to see them."
        )
    if check.swapped:
        yield (
            f"Labels and verdicts say the opposite: they agree on "
            f"{words.percent(check.agreement.value)}, far less than chance would give. One of the "
            "two may be swapped (1 for fail, or a score where less is better). Nothing is "
            "corrected until that is put right."
        )
        return
    alone = _one_verdict(check)
    if alone:
        yield alone
        return
    if judge is None:
        if check.agreement.n:
            side = "passes" if check.both_pass + check.only_label else "fails"
            unknown = "specificity" if side == "passes" else "sensitivity"
            yield (
                f"All labels are {side}, so the judge's {unknown} is unknown and its rate cannot "
                "be corrected by Rogan-Gladen."
            )
    elif judge <= 0:
        yield (
            f"{'On these few labels the' if check.labelled < FEW_LABELS else 'The'} judge does no "
            f"better than guessing (0 is guessing, 1 is perfect: {words.number(judge, 2)}). No "
            "correction helps: trust the labels alone, or change the judge or its prompt."
        )
    elif judge < WEAK_JUDGE:
        yield (
            f"The judge is weak (0 is guessing, 1 is perfect: {words.number(judge, 2)}): "
            f"correcting by its error rates multiplies every error by {words.number(1 / judge, 2)}."
        )
    if check.rogan_gladen_clipped or (check.ppi_clipped and check.main == "ppi"):
        yield (
            "A corrected rate came out below 0 or above 100 % and was cut off there: the judge's "
            "errors on the labelled items do not fit how many items of this run it passes. It may "
            "judge these items differently."
        )
    if check.main == "ppi" and check.ppi_weight == 0 and judge is not None:
        yield (
            "The judge's verdicts do not predict the labels, so the corrected rate is that of the "
            "labels alone."
        )


def _one_verdict(check: Calibration) -> str:
    """What labels on one verdict alone can say; empty where both were labelled."""
    passes, fails = check.both_pass + check.only_judge, check.only_label + check.both_fail
    share = check.uncorrected.value
    if check.drawn != "verdict" or share is None or (passes and fails):
        return ""
    right, n, kind = (
        (check.both_pass, passes, "passes") if passes else (check.both_fail, fails, "fails")
    )
    least = share * right / n if passes else 0.0
    most = least + 1 - share if passes else share + (1 - share) * (1 - right / n)
    other = "fails" if passes else "passes"
    return (
        f"Only items that the judge {'passed' if passes else 'failed'} are labelled: {right:,} of "
        f"{n:,} {kind} are right, and nothing is known of its {other}. The true rate may be "
        f"anything from {words.percent(least)} to {words.percent(most)}; `llmb label --by-verdict` "
        "draws both."
    )


def _gain(check: Calibration) -> str:
    """What more labels would give, as the end of a sentence; empty when it cannot be said."""
    target = next((step for step in check.plan if step.labels == check.worth), None)
    margin = half_width(check.corrected)
    if target is None or target.labels <= check.labelled or margin is None:
        return ": intervals are wide and approximate"
    more = target.labels - check.labelled
    return (
        f", so the corrected rate is only known to ±{words.number(100 * margin, 2)} points; "
        f"{more:,} more would give about ±{words.number(100 * target.margin, 2)}"
    )


def _left_out(check: Calibration) -> Iterator[str]:
    if check.unmatched:
        named = ", ".join(repr(words.clean(item, 40)) for item in check.unmatched_ids)
        rest = ", …" if check.unmatched > len(check.unmatched_ids) else ""
        yield (
            f"{check.unmatched:,} labelled {_ids(check.unmatched)} not in the results and left "
            f"out: {named}{rest}."
        )
    if check.unjudged:
        yield (
            f"{words.items(check.unjudged)} labelled without a verdict of the judge, and left out."
        )
    if check.skipped:
        yield (
            f"{words.items(check.skipped)} without a label, because it was skipped"
            f"{' or people were split evenly' if check.raters else ''}: the corrected rate speaks "
            "for items that people can decide."
        )
    if check.repeated:
        yield f"{check.repeated:,} rows of the labels repeat one given before."
    if check.unreadable:
        yield f"{words.items(check.unreadable)} left out: what the field holds is no label."


def _ids(n: int) -> str:
    return "id is" if n == 1 else "ids are"


def half_width(interval: Interval | None) -> float | None:
    """Half the width of an interval; ``None`` without bounds."""
    if interval is None or interval.low is None or interval.high is None:
        return None
    return (interval.high - interval.low) / 2


def labels_to_make(check: Calibration, results: str) -> str:
    """The labels to make next, as a sentence with a command; empty when enough are there."""
    target = next((step for step in check.plan if step.labels == check.worth), None)
    margin = half_width(check.corrected)
    if target is None or margin is None or check.drawn in ("all", "separate"):
        return ""
    if target.labels <= check.labelled or target.margin > 0.8 * margin:
        return ""
    return (
        f"Label {target.labels - check.labelled:,} more to know the corrected rate to "
        f"±{words.number(100 * target.margin, 2)} points (now "
        f"±{words.number(100 * margin, 2)}): "
        f"`{command('label', results, '--n', str(target.labels))}`."
    )
