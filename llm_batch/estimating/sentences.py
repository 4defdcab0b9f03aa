"""How an estimate reads: claims and sizes, and what is taken for granted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from llm_batch.estimating.estimates import Option
from llm_batch.estimating.pilot import Measured
from llm_batch.estimating.plan import Counted, Plan
from llm_batch.estimating.ranges import LEVEL, LEVEL_OF_COUNTS, Span
from llm_batch.estimating.sample_size import Needed
from llm_batch.estimating.steps import (
    HIGH_OUTPUT,
    LOCAL_AT_ONCE,
    LOW_APPROXIMATE,
    Facts,
    Serving,
    assumed_inputs,
    thinking_of,
)
from llm_batch.models.tokens import counter
from llm_batch.paper import words

#: Heads of the column that says what a size shows, by kind of claim.
HEADS = {
    "rate": "points",
    "mean": "mean",
    "paired_rates": "finds points",
    "two_rates": "finds points",
    "paired_scores": "finds",
    "two_scores": "finds",
    "zero_failures": "rules out",
}


def cell(needed: Needed, value: float | None) -> str:
    """What a size shows, in a table under its head."""
    if value is None:
        return "nothing"
    if needed.kind == "rate":
        return words.margin(value)
    if needed.kind == "zero_failures":
        return f"{100 * value:.2f} %"
    if needed.claim.is_of_rates:
        return f"{100 * value:.2f}"
    return f"±{value:.2g}" if needed.kind == "mean" else f"{value:.2g}"


def shows(needed: Needed, value: float | None) -> str:
    """The same in a sentence, after "it"."""
    if value is None:
        return "shows nothing"
    level = f"{100 * needed.claim.level:g} %"
    amount = _amount(needed, value)
    if needed.kind in ("rate", "mean"):
        if not value:
            return "leaves no sampling error"
        return f"holds ±{amount} at {level}"
    if needed.kind == "zero_failures":
        return f"rules out failures in {100 * value:.2g} % of the items when none is seen ({level})"
    return f"finds a difference of {amount} with a power of {100 * needed.claim.power:g} %"


def sentences(needed: Needed) -> Iterator[str]:
    """Yield how many items the claim needs, then what that rests on."""
    yield _first(needed)
    yield from _factors(needed)
    claim = needed.claim
    if claim.detect is not None:
        yield "Cost and time are those of one model's run; the comparison needs one of each."
    if needed.kind == "paired_rates" and needed.discordance_is_assumed:
        yield (
            f"No --discordance was given: {100 * (claim.discordance or 0):.3g} % is that of two "
            "models whose answers have nothing in common. A pilot of both tells the real one."
        )
    if needed.groups == 2:
        yield (
            "These are items of its own for each model; the same items for both (--paired) need "
            "fewer."
        )
    if needed.kind == "zero_failures" and (claim.sensitivity or 1) < 1:
        yield (
            "A judge that fails good answers shows failures where there are none: have a person "
            "look at each."
        )


def verdict(needed: Needed, options: Sequence[Option]) -> str:
    """Which size to take, and what the rest of the money would buy, in one sentence.

    The size to take and the whole are among the options.
    """
    by_size = {option.n: option for option in options}
    take = by_size.get(needed.take)
    if take is None:
        return ""
    most = by_size.get((needed.population or 0) // needed.groups)
    if most is None or most.n < take.n:
        most = max(options, key=lambda option: option.n)
    each = " for each model" if needed.groups == 2 else ""
    said = f"Take {_all(take, most)}{each}: it {shows(needed, take.margin)}{_price(take)}"
    if take.n == most.n:
        return f"{said}; no smaller number shows what is asked for."
    more = most.n - take.n
    return (
        f"{said}; {more:,} more calls per step {gain(needed, take, most)} and "
        f"{_difference(take, most)}."
    )


def short_of(needed: Needed, plan: Option) -> str:
    """A sentence where the plan shows less than is claimed; empty where it does not."""
    if needed.n is None or plan.n >= needed.n:
        return ""
    return (
        f"This plan's {words.counted(plan.n, 'item')} are fewer than the {needed.n:,} needed: it "
        f"{shows(needed, plan.margin)}."
    )


def _amount(needed: Needed, value: float) -> str:
    if not needed.claim.is_of_rates:
        return f"{value:.2g}"
    return f"{100 * value:.1f} points" if value else "0"


def _all(take: Option, most: Option) -> str:
    return f"all {take.n:,}" if take.n == most.n and most.label.startswith("all") else f"{take.n:,}"


def _price(option: Option) -> str:
    time = words.about_duration(option.seconds.value)
    if option.cost is None:
        return f" at an unknown cost, in {time}"
    return (
        f" for {words.about_usd(option.cost.value)} in {time}"
        if option.cost.high
        else f" in {time}"
    )


def gain(needed: Needed, take: Option, most: Option) -> str:
    """What the items of a larger size add, as a verb with its objects."""
    if take.margin is None or most.margin is None:
        return "would not change that"
    before, after = (_amount(needed, margin) for margin in (take.margin, most.margin))
    if needed.kind in ("rate", "mean"):
        return f"narrow ±{before} to {'0' if most.margin == 0 else '±' + after}"
    if needed.kind == "zero_failures":
        return "would leave no failure unseen"
    return f"would find {after}"


def _difference(take: Option, most: Option) -> str:
    if take.cost is None or most.cost is None:
        return "cost an unknown amount"
    if most.cost.high:
        return f"cost {words.about_usd((most.cost.value or 0) - (take.cost.value or 0))}"
    longer = (most.seconds.value or 0) - (take.seconds.value or 0)
    return f"take {words.about_duration(longer)}"


def _first(needed: Needed) -> str:
    claim, kind = needed.claim, needed.kind
    level = f"{100 * claim.level:g} %"
    if needed.n is None:
        return _too_few(needed)
    if kind in ("rate", "mean"):
        least = f"{needed.n_min:,} of very many"
        if needed.population is not None:
            least = f"{needed.n:,} of {needed.population:,}"
        if kind == "mean":
            return f"{least} ({level}, ±{claim.margin:g} at a standard deviation of {claim.sd:g})"
        rate = "" if claim.rate is None else f", expected rate {claim.rate:g}"
        known = needed.design_effect * needed.judge_factor > 1
        book = "" if known else f"; textbook figure {needed.n_classic:,}"
        return f"{least} ({level}, ±{100 * (claim.margin or 0):g} points{rate}){book}"
    if kind == "zero_failures":
        return (
            f"{needed.n:,} items without a failure show that fewer than "
            f"{100 * (claim.zero_failures or 0):g} % fail ({level})."
        )
    who = "items answered by both models" if needed.groups == 1 else "items for each model"
    return (
        f"{needed.n:,} {who} find a difference of {_asked(needed)} with a power of "
        f"{100 * claim.power:g} % ({level}{_given(needed)})."
    )


def _too_few(needed: Needed) -> str:
    whole = needed.population or 0
    what = {
        "rate": f"±{100 * (needed.claim.margin or 0):g} points",
        "zero_failures": f"that fewer than {100 * (needed.claim.zero_failures or 0):g} % fail",
    }.get(needed.kind, f"a difference of {_asked(needed)}" if needed.claim.detect else "the margin")
    needs = needed.n_min * needed.groups
    return (
        f"{words.counted(whole, 'item')} are too few for {what}, which needs {needs:,}: "
        f"with all of them it {shows(needed, needed.proves_all)}."
    )


def _asked(needed: Needed) -> str:
    difference = abs(needed.claim.detect or 0.0)
    return f"{100 * difference:g} points" if needed.claim.is_of_rates else f"{difference:g}"


def _given(needed: Needed) -> str:
    claim = needed.claim
    if needed.kind == "paired_rates":
        return f", discordance {100 * (claim.discordance or 0):.3g} %"
    if claim.sd is not None:
        of = " of the differences" if needed.kind == "paired_scores" else ""
        return f", standard deviation{of} {claim.sd:g}"
    return f", from a rate of {claim.rate:g}" if claim.rate is not None else ", about one half"


def _factors(needed: Needed) -> Iterator[str]:
    clusters, claim = needed.clusters, needed.claim
    if clusters is not None:
        named = f" by {words.clean(clusters.field, 40)}" if clusters.field else ""
        how_many = f"{clusters.count:,} clusters" if clusters.count is not None else "clusters"
        counts = ""
        if abs(clusters.size - clusters.mean_size) > 0.05:
            counts = f", which counts as {clusters.size:.3g} because their sizes differ"
        source = f" (measured on {clusters.icc_from})" if clusters.icc_from else ""
        yield (
            f"Items come in {how_many}{named} of {clusters.mean_size:.3g}{counts}: at a "
            f"correlation of {clusters.icc:.2g}{source} whole clusters multiply the size by "
            f"{needed.design_effect:.3g}."
        )
        if needed.n_drawn is not None and needed.n == needed.n_drawn:
            yield (
                "Items are drawn one by one, as run does, so few share a cluster: that multiplies "
                f"it by {needed.effect_of(needed.n):.3g}."
            )
    if needed.judge_factor > 1:
        yield (
            f"A judge of sensitivity {claim.sensitivity:g} and specificity {claim.specificity:g} "
            f"multiplies the size by {needed.judge_factor:.3g}; the labelled items that tell these "
            "two come on top."
        )


def assumptions(plan: Plan) -> Iterator[str]:
    facts, n, counted, measured = plan.facts, plan.n, plan.counted, plan.measured
    if measured is not None:
        yield from _measured(facts, measured, n)
    assumed = {name: fact for name, fact in facts.items() if fact.measure is None}
    if counted is None:
        yield from _inputs(plan, assumed)
    else:
        yield from _prompts(counted, n)
        yield from _encodings(facts)
    if assumed:
        yield from _outputs(assumed)
        yield from _times({fact.model: fact.serving for fact in assumed.values()})
    yield from _limits(plan.servings)
    if rules := [f"{step.name} ({step.rule})" for step in plan.config.steps if step.rule]:
        yield f"Rules ask no model and cost nothing: {words.listed(rules)}."
    if assumed:
        yield (
            "Prices are list prices; cache and batch discounts, retries and second requests for "
            "answers that cannot be read are not in the cost."
        )
    else:
        yield (
            "Prices are list prices; the batch discount is not in the cost, a cache discount "
            "only as far as it was measured, and never both."
        )


def _measured(facts: Facts, measured: Measured, n: int) -> Iterator[str]:
    done = words.counted(sum(measured.statuses.values()), "item")
    failed = sum(measured.statuses.values()) - measured.statuses.get("ok", 0)
    fake = " Its answers are simulated: real ones have other lengths." if measured.simulated else ""
    ended = f", of which {failed:,} failed" if failed else ""
    yield f"Measured on {done} of {measured.source}{ended}.{fake}"
    yield from measured.notes
    for name, fact in facts.items():
        measure = fact.measure
        if measure is None:
            yield (f"Step {name} was not measured with {fact.model}: its figures are assumed.")
            continue
        thought = f", {_span(measure.reasoning)} of it thinking" if measure.reasoning.value else ""
        cached = f", {100 * measure.cached_share:.0f} % of the input cached"
        yield (
            f"{name}: {_span(measure.output)} output tokens an item{thought}"
            f"{cached if measure.cached_share else ''}, {_seconds(measure.seconds)} a call, "
            f"{measure.attempts.value:.2f} sends an item."
        )
    if any(fact.measure for fact in facts.values()):
        yield (
            f"Ranges hold the mean of the other items with {100 * LEVEL:g} % confidence: the wider "
            "of Student's t and the modified Cox interval for skewed lengths, with the finite "
            f"population of {n:,}. What is too rare to occur among "
            f"{words.counted(len(measured.items), 'item')} is not in them."
        )


def _inputs(plan: Plan, assumed: Facts) -> Iterator[str]:
    if not assumed:
        return
    answers = {name: fact.answer for name, fact in plan.facts.items()}
    inputs = assumed_inputs(plan.config, answers)
    sizes = ", ".join(f"{name} {_span(inputs[name])}" for name in assumed)
    yield f"No data was read. Input tokens a call, assumed: {sizes}."


def _prompts(counted: Counted, n: int) -> Iterator[str]:
    if counted.sampled >= n:
        yield f"Input tokens: the prompts of all {words.counted(n, 'item')} were counted."
        return
    yield (
        f"Input tokens: the prompts of {counted.sampled:,} of {words.counted(n, 'item')} were "
        f"counted; ranges include the {100 * LEVEL_OF_COUNTS:g} % sampling error. "
        "--exact counts all."
    )


def _encodings(facts: Facts) -> Iterator[str]:
    guessed: dict[str, float] = {}
    for fact in facts.values():
        counts = counter(fact.model)
        calibrated = fact.measure is not None and fact.measure.input_ratio is not None
        if not counts.exact and not calibrated:
            guessed[fact.model] = counts.upper_factor
    if guessed:
        yield (
            f"Input tokens of {_listed(list(guessed))} are approximate, counted in OpenAI's "
            f"encoding: {LOW_APPROXIMATE:g} to {max(guessed.values()):g} times as many are "
            "allowed for."
        )


def _outputs(facts: Facts) -> Iterator[str]:
    sizes = ", ".join(f"{name} {_span(fact.answer.tokens)}" for name, fact in facts.items())
    yield (
        f"Output tokens a call, assumed: {sizes}. The high case is max_tokens in every answer, "
        f"or {HIGH_OUTPUT:g} times what is expected where there is none."
    )
    thinking: dict[Span, list[str]] = {}
    for name, fact in facts.items():
        if fact.answer.thinks:
            thinking.setdefault(thinking_of(fact.step), []).append(name)
    for thought, names in thinking.items():
        yield (
            f"The model of {_listed(names)} thinks before it answers, which is billed as "
            f"output: {_span(thought)} tokens a call, as far as max_tokens allows. That differs "
            "widely between tasks; --pilot 20 measures it."
        )


def _times(servings: Mapping[str, Serving]) -> Iterator[str]:
    times: dict[Span, list[str]] = {}
    for model, serving in servings.items():
        if serving.speed is not None:
            each = (serving.speed.input_seconds, serving.speed.output_seconds)
            read, written = (f"{1000 * seconds:.2g} ms" for seconds in each)
            yield (
                f"{model} was just measured on this machine: {read} for a token of a prompt, "
                f"{written} for one of an answer, with nothing else to compute; "
                f"{serving.speed.at_once} calls at once share it."
            )
            continue
        times.setdefault(serving.latency, []).append(model)
    for latency, models in times.items():
        named = f" of {_listed(models)}" if len(models) < len(servings) else ""
        at_once = ""
        if any(servings[model].embedded for model in models):
            at_once = f", {LOCAL_AT_ONCE} calls at once on this machine"
        yield f"A call{named} takes {_seconds(latency)}{at_once}."


def _limits(servings: Sequence[Serving]) -> Iterator[str]:
    assumed = [serving for serving in servings if serving.rpm_is_assumed]
    if assumed:
        each = " each" if len(assumed) > 1 else ""
        yield (
            f"No limit is set for {_listed([serving.model for serving in assumed])}: "
            f"{assumed[0].rpm:,.0f} requests a minute{each}, until the provider's answers say more."
        )
    for serving in servings:
        if serving.limits_from:
            allowed = ", ".join(
                f"{limit:,.0f} {what}"
                for limit, what in (
                    (serving.rpm, "requests a minute"),
                    (serving.tpm, "tokens a minute"),
                    (serving.otpm, "tokens of answers a minute"),
                    (serving.rpd, "requests a day"),
                )
                if limit is not None
            )
            yield f"Limits of {serving.model}: {allowed} ({serving.limits_from})."


def _span(span: Span) -> str:
    if span.low == span.high:
        return f"{span.value:,.0f}"
    return f"{span.value:,.0f} ({span.low:,.0f} to {span.high:,.0f})"


def _seconds(latency: Span) -> str:
    low, value, high = (f"{each:.3g}" for each in latency)
    return f"{value} s" if low == high else f"{value} s ({low} to {high} s)"


def _listed(names: list[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
