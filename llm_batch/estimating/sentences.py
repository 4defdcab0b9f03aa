"""How an estimate reads: claims and sizes, and what is taken for granted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from llm_batch.chain.steps import shown, written
from llm_batch.estimating.estimates import Option
from llm_batch.estimating.pilot import Measured
from llm_batch.estimating.plan import Counted, Plan
from llm_batch.estimating.ranges import LEVEL, LEVEL_OF_COUNTS, Span
from llm_batch.estimating.sample_size import Needed, proof
from llm_batch.estimating.steps import (
    LOCAL_AT_ONCE,
    LOW_APPROXIMATE,
    MOST_OBJECT_OUTPUT,
    MOST_TEXT_OUTPUT,
    Facts,
    Serving,
    assumed_inputs,
    thinking_of,
)
from llm_batch.models.tokens import counter
from llm_batch.paper import words
from llm_batch.stats.sizes import FINITE_SHARE

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
    verb = {"rate": "gives ", "mean": "gives ", "zero_failures": "shows that "}
    return (verb.get(needed.kind, "") if value else "") + _shown(needed, value)


def _shown(needed: Needed, value: float | None) -> str:
    level = f"{100 * needed.claim.level:g} %"
    if value is None:
        return "shows nothing"
    if not value:
        return "leaves no sampling error"
    if needed.kind in ("rate", "mean"):
        return f"±{_amount(needed, value)} ({level})"
    if needed.kind == "zero_failures":
        return f"if none fails, at most {100 * value:.2g} % of all do ({level})"
    chance = f"with a chance of {100 * needed.claim.power:g} %"
    return f"finds a difference of {_amount(needed, value)} {chance}"


def sentences(needed: Needed) -> Iterator[str]:
    """Yield how many items the claim needs, then what that rests on."""
    yield _first(needed)
    yield from _factors(needed)
    claim = needed.claim
    if claim.detect is not None:
        yield "Cost and time are those of one model's run; the comparison needs one of each."
    if needed.kind == "paired_rates" and needed.discordance_is_assumed:
        yield (
            f"No --discordance was given: {100 * (claim.discordance or 0):.3g} % is the figure for "
            "two models whose answers have nothing to do with each other. A pilot of both measures "
            "the real one."
        )
    if needed.groups == 2:
        yield (
            "Each model gets different items here; the same items for both (--paired) need fewer."
        )
    if needed.kind == "zero_failures" and (claim.sensitivity or 1) < 1:
        yield ("This judge fails some good answers: have a person look at each failure it reports.")


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
    comma = "," if needed.kind == "zero_failures" else ""
    shown = _shown(needed, take.margin)
    alike = _of_items_like_these(needed)
    if alike and take.margin:
        shown += f" on these {words.items(needed.population or 0)}"
    said = f"Take {_all(take, most)}{each}: {shown}{comma}{_price(take)}"
    if take.n == most.n:
        if not take.margin and needed.kind in ("rate", "mean"):
            all_of_them = f"Take {_all(take, most)}{each}{_price(take)}"
            return f"{all_of_them}: a smaller sample is not precise enough.{alike}"
        return f"{said}; a smaller sample does not show what you ask.{alike}"
    return f"{said}. {_the_rest(needed, take, most)}{alike}"


def _of_items_like_these(needed: Needed) -> str:
    """What the report's first interval takes, as a sentence after others.

    It is about items like these, which no dataset has all of. Empty where that is nearly the same.
    """
    whole, take = needed.population, needed.take
    # Of clusters everything is about items like these.
    if needed.kind not in ("rate", "mean") or whole is None or needed.clusters is not None:
        return ""
    if take <= FINITE_SHARE * whole:
        return ""
    wider = replace(needed, population=None)
    textbook = needed.kind == "rate" and needed.judge_factor == 1
    n = needed.n_classic if textbook else needed.n_min
    if n > whole:
        shown = _shown(wider, proof(wider, whole))
        return f" Of items like these, which report speaks of first, all {whole:,} show {shown}."
    margin = _amount(needed, needed.claim.margin or 0.0)
    return f" For ±{margin} on items like these, which report speaks of first, take {n:,}."


def _the_rest(needed: Needed, take: Option, most: Option) -> str:
    """What all the other items would cost and add, as a sentence."""
    more = most.n - take.n
    costs = _difference(take, most)
    only = "only " if more > take.n and needed.kind in ("rate", "mean") else ""
    and_ = f"{costs} and " if costs else ""
    rest = f"the other {words.items(more)}" if more > 1 else "the last item"
    return f"Playing {rest} {and_}{only}{_gain(needed, take, most)}."


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
    return f"{round(100 * value, 1):g} points" if value else "0"


def _all(take: Option, most: Option) -> str:
    return f"all {take.n:,}" if take.n == most.n and most.label.startswith("all") else f"{take.n:,}"


def _price(option: Option) -> str:
    time = words.about_duration(option.seconds.value)
    if option.cost is None:
        return f" in {time}, at an unknown cost"
    return (
        f" for {words.about_usd(option.cost.value)} in {time}"
        if option.cost.high
        else f" in {time}"
    )


def _gain(needed: Needed, take: Option, most: Option) -> str:
    """What the items of a larger size add, as a verb with its objects."""
    if take.margin is None or most.margin is None:
        return "does not change that"
    before, after = (
        _amount(needed, margin).removesuffix(" points") for margin in (take.margin, most.margin)
    )
    if needed.kind in ("rate", "mean"):
        return f"narrows that ±{before} to ±{after}" if most.margin else f"removes that ±{before}"
    if needed.kind == "zero_failures":
        return "leaves no failure unseen"
    unit = " points" if needed.claim.is_of_rates else ""
    return f"finds differences down to {after}{unit}"


def _difference(take: Option, most: Option) -> str:
    """What they cost, or the time where they are free; empty where neither is worth a word."""
    if take.cost is None or most.cost is None:
        return ""
    if most.cost.high:
        return f"costs {words.about_usd((most.cost.value or 0) - (take.cost.value or 0))} more"
    longer = (most.seconds.value or 0) - (take.seconds.value or 0)
    return f"takes {words.about_duration(longer)} more" if longer >= 1 else ""


def _first(needed: Needed) -> str:
    claim, kind = needed.claim, needed.kind
    level = f"{100 * claim.level:g} %"
    if needed.n is None:
        return _too_few(needed)
    if kind in ("rate", "mean"):
        least = f"{needed.n_min:,} of very many items give"
        if needed.population is not None:
            least = f"{needed.n:,} of the {words.items(needed.population)} give"
            if needed.n == needed.population:
                least = f"All {words.items(needed.n)} together give"
        if kind == "mean":
            spread = f"if scores have a standard deviation of {claim.sd:g}"
            return f"{least} ±{claim.margin:g} at {level}, {spread}."
        rate = "" if claim.rate is None else f" for an expected rate of {100 * claim.rate:g} %"
        book = ""
        if needed.design_effect * needed.judge_factor <= 1:
            ignores = ", which ignores the dataset's size" if needed.population is not None else ""
            book = f" ({needed.n_classic:,} by the textbook formula{ignores})"
        return f"{least} ±{100 * (claim.margin or 0):g} points at {level}{rate}{book}."
    if kind == "zero_failures":
        return (
            f"{needed.n:,} items without a failure show that fewer than "
            f"{100 * (claim.zero_failures or 0):g} % fail ({level})."
        )
    who = "items answered by both models" if needed.groups == 1 else "items for each model"
    return (
        f"{needed.n:,} {who} find a difference of {_asked(needed)} with a chance of "
        f"{100 * claim.power:g} % (its power; {level} confidence){_given(needed)}."
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
        return (
            f", if one passes and the other fails on {100 * (claim.discordance or 0):.3g} % of them"
        )
    if claim.sd is not None:
        of = "their differences" if needed.kind == "paired_scores" else "scores"
        return f", if {of} have a standard deviation of {claim.sd:g}"
    return f", starting from a pass rate of {100 * (0.5 if claim.rate is None else claim.rate):g} %"


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
            f"correlation of {clusters.icc:.2g}{source} a sample of whole clusters must be "
            f"{needed.design_effect:.3g} times as large."
        )
        if needed.n_drawn is not None and needed.n == needed.n_drawn:
            yield (
                "Run draws items one by one, so few share a cluster: "
                f"{needed.effect_of(needed.n):.3g} times as large is enough."
            )
    if needed.judge_factor > 1:
        yield (
            f"A judge of sensitivity {claim.sensitivity:g} and specificity {claim.specificity:g} "
            f"takes {needed.judge_factor:.3g} times as many items; the labels that measure these "
            "two come on top."
        )


def assumptions(plan: Plan) -> Iterator[str]:
    facts, n, counted, measured = plan.facts, plan.n, plan.counted, plan.measured
    if measured is not None:
        yield from _measured(facts, measured, n, plan.config.chain().times)
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
            "List prices. The cost leaves out cache and batch discounts, retries, and second "
            "requests for answers that cannot be read."
        )
    else:
        yield (
            "List prices. The cost leaves out the batch discount; a cache discount is in it only "
            "as far as it was measured."
        )


def _measured(facts: Facts, measured: Measured, n: int, times: Mapping[str, int]) -> Iterator[str]:
    done = words.counted(sum(measured.statuses.values()), "item")
    failed = sum(measured.statuses.values()) - measured.statuses.get("ok", 0)
    fake = " Its answers are simulated: real ones have other lengths." if measured.simulated else ""
    ended = f", of which {failed:,} failed" if failed else ""
    yield f"Measured on {done} of {measured.source}{ended}.{fake}"
    yield from measured.notes
    for name, fact in facts.items():
        measure = fact.measure
        if measure is None:
            unlike = f"Step {written(name)} was not measured with {fact.model}"
            yield f"{unlike}: its figures are assumed."
            continue
        each = "an item" if times.get(name, 1) == 1 else f"for each of its {times[name]} answers"
        thought = f", {_span(measure.reasoning)} of it thinking" if measure.reasoning.value else ""
        cached = f", {100 * measure.cached_share:.0f} % of the input cached"
        yield (
            f"{shown(name)}: {_span(measure.output)} output tokens {each}{thought}"
            f"{cached if measure.cached_share else ''}, {_seconds(measure.seconds)} a call, "
            f"{measure.attempts.value:.2f} requests {each}."
        )
    if any(fact.measure for fact in facts.values()):
        yield (
            f"Ranges are {100 * LEVEL:g} % intervals for the mean of the other items: the wider "
            "of Student's t and the modified Cox interval for skewed lengths, with the finite "
            f"population of {n:,}. They leave out what is too rare to occur among "
            f"{words.counted(len(measured.items), 'item')}."
        )


def _inputs(plan: Plan, assumed: Facts) -> Iterator[str]:
    if not assumed:
        return
    answers = {name: fact.answer for name, fact in plan.facts.items()}
    inputs = assumed_inputs(plan.config, answers)
    sizes = _by_step({name: inputs[name] for name in assumed})
    yield f"No data was read. Assumed input tokens per call: {sizes}."


def _prompts(counted: Counted, n: int) -> Iterator[str]:
    if counted.sampled >= n:
        yield f"Input tokens: counted in the prompts of all {words.counted(n, 'item')}."
        return
    yield (
        f"Input tokens: counted in the prompts of {counted.sampled:,} of "
        f"{words.counted(n, 'item')}; ranges include the {100 * LEVEL_OF_COUNTS:g} % sampling "
        "error. --exact counts all."
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
            f"Token counts of {_listed(list(guessed))} use OpenAI's tokenizer; the true count may "
            f"be {LOW_APPROXIMATE:g} to {max(guessed.values()):g} times that."
        )


def _outputs(facts: Facts) -> Iterator[str]:
    sizes = _by_step({name: fact.answer.tokens for name, fact in facts.items()})
    yield (
        f"Assumed output tokens per call: {sizes}. The high end is max_tokens in every answer, "
        f"or {MOST_TEXT_OUTPUT:g} tokens ({MOST_OBJECT_OUTPUT:g} of an object) where there is none."
    )
    thinking: dict[Span, list[str]] = {}
    for name, fact in facts.items():
        if fact.answer.thinks:
            thinking.setdefault(thinking_of(fact.step), []).append(shown(name))
    for thought, names in thinking.items():
        yield (
            f"The model of {_listed(names)} thinks before it answers, which is billed as "
            f"output: {_span(thought)} tokens per call assumed, at most max_tokens. This varies "
            "widely between tasks; --pilot 20 measures it."
        )


def _times(servings: Mapping[str, Serving]) -> Iterator[str]:
    times: dict[Span, list[str]] = {}
    for model, serving in servings.items():
        if serving.speed is not None:
            each = (serving.speed.input_seconds, serving.speed.output_seconds)
            read, written = (f"{1000 * seconds:.2g} ms" for seconds in each)
            yield (
                f"{model} was just measured on this machine: {read} per token read, {written} per "
                f"token written while nothing else runs; {serving.speed.at_once} calls at a time "
                "share it."
            )
            continue
        times.setdefault(serving.latency, []).append(model)
    for latency, models in times.items():
        named = f" of {_listed(models)}" if len(models) < len(servings) else ""
        at_once = ""
        if any(servings[model].embedded for model in models):
            at_once = f", with {LOCAL_AT_ONCE} calls at a time on this machine"
        yield f"A call{named} takes {_seconds(latency)}{at_once}."


def _limits(servings: Sequence[Serving]) -> Iterator[str]:
    assumed = [serving for serving in servings if serving.rpm_is_assumed]
    if assumed:
        each = " each" if len(assumed) > 1 else ""
        yield (
            f"No rate limit set for {_listed([serving.model for serving in assumed])}; assumed "
            f"{assumed[0].rpm:,.0f} requests a minute{each} until the provider reports one."
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


def _by_step(spans: Mapping[str, Span]) -> str:
    """A figure of each step, and of each member of a jury where they differ."""
    steps: dict[str, set[Span]] = {}
    for name, span in spans.items():
        steps.setdefault(written(name), set()).add(span)
    said = (
        f"{written(name) if len(steps[written(name)]) == 1 else shown(name)} {_span(span)}"
        for name, span in spans.items()
    )
    return ", ".join(dict.fromkeys(said))


def _span(span: Span) -> str:
    if span.low == span.high:
        return f"{span.value:,.0f}"
    return f"{span.value:,.0f} ({span.low:,.0f} to {span.high:,.0f})"


def _seconds(latency: Span) -> str:
    low, value, high = (f"{each:.3g}" for each in latency)
    return f"{value} s" if low == high else f"{value} s ({low} to {high} s)"


def _listed(names: list[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
