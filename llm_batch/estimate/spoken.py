"""The assumptions of an estimate, as sentences with their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llm_batch.config import Config
from llm_batch.estimate import assume, words
from llm_batch.estimate.groups import StepFacts
from llm_batch.estimate.measured import Measured
from llm_batch.estimate.moments import LEVEL as LEVEL_OF_COUNTS
from llm_batch.estimate.sample import Counted
from llm_batch.estimate.serving import Serving
from llm_batch.estimate.skewed import LEVEL
from llm_batch.estimate.span import Span
from llm_batch.tokens import counter


def assumptions(
    config: Config,
    facts: Mapping[str, StepFacts],
    servings: Mapping[str, Serving],
    n: int,
    counted: Counted | None,
    measured: Measured | None,
) -> Iterator[str]:
    """Yield what the figures rest on, one sentence or two each."""
    if measured is not None:
        yield from _measured(facts, measured, n)
    assumed = {name: fact for name, fact in facts.items() if fact.measure is None}
    if counted is None:
        yield from _inputs(config, facts, assumed)
    else:
        yield from _prompts(counted, n)
        yield from _encodings(facts)
    if assumed:
        yield from _outputs(assumed)
        yield from _times({fact.step.model: servings[fact.step.model] for fact in assumed.values()})
    yield from _limits(servings)
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


def _measured(facts: Mapping[str, StepFacts], measured: Measured, n: int) -> Iterator[str]:
    done = words.counted(sum(measured.statuses.values()), "item")
    failed = sum(measured.statuses.values()) - measured.statuses.get("ok", 0)
    fake = " Its answers are simulated: real ones have other lengths." if measured.simulated else ""
    ended = f", of which {failed:,} failed" if failed else ""
    yield f"Measured on {done} of {measured.source}{ended}.{fake}"
    yield from measured.notes
    for name, fact in facts.items():
        measure = fact.measure
        if measure is None:
            yield (f"Step {name} was not measured with {fact.step.model}: its figures are assumed.")
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


def _inputs(
    config: Config, facts: Mapping[str, StepFacts], assumed: Mapping[str, StepFacts]
) -> Iterator[str]:
    if not assumed:
        return
    inputs = assume.assumed_inputs(config, {name: fact.answer for name, fact in facts.items()})
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


def _encodings(facts: Mapping[str, StepFacts]) -> Iterator[str]:
    guessed: dict[str, float] = {}
    for fact in facts.values():
        counts = counter(fact.step.model)
        calibrated = fact.measure is not None and fact.measure.input_ratio is not None
        if not counts.exact and not calibrated:
            guessed[fact.step.model] = counts.upper_factor
    if guessed:
        yield (
            f"Input tokens of {_listed(list(guessed))} are approximate, counted in OpenAI's "
            f"encoding: {assume.LOW_APPROXIMATE:g} to {max(guessed.values()):g} times as many are "
            "allowed for."
        )


def _outputs(facts: Mapping[str, StepFacts]) -> Iterator[str]:
    sizes = ", ".join(f"{name} {_span(fact.answer.tokens)}" for name, fact in facts.items())
    yield (
        f"Output tokens a call, assumed: {sizes}. The high case is max_tokens in every answer, "
        f"or {assume.HIGH_OUTPUT:g} times what is expected where there is none."
    )
    thinking: dict[Span, list[str]] = {}
    for name, fact in facts.items():
        if fact.answer.thinks:
            thinking.setdefault(assume.thinking_of(fact.step), []).append(name)
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
            at_once = f", {assume.LOCAL_AT_ONCE} calls at once on this machine"
        yield f"A call{named} takes {_seconds(latency)}{at_once}."


def _limits(servings: Mapping[str, Serving]) -> Iterator[str]:
    assumed = [serving for serving in servings.values() if serving.rpm_is_assumed]
    if assumed:
        each = " each" if len(assumed) > 1 else ""
        yield (
            f"No limit is set for {_listed([serving.model for serving in assumed])}: "
            f"{assumed[0].rpm:,.0f} requests a minute{each}, until the provider's answers say more."
        )
    for serving in servings.values():
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
