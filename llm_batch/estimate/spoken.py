"""The assumptions of an estimate, as sentences with their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llm_batch.config import Config
from llm_batch.estimate import assume, words
from llm_batch.estimate.moments import LEVEL
from llm_batch.estimate.sample import Counted, StepFacts
from llm_batch.estimate.serving import Serving
from llm_batch.estimate.span import Span
from llm_batch.tokens import counter


def assumptions(
    config: Config,
    facts: Mapping[str, StepFacts],
    servings: Mapping[str, Serving],
    n: int,
    counted: Counted | None,
) -> Iterator[str]:
    """Yield what the figures rest on, one sentence or two each."""
    if counted is None:
        yield from _inputs(config, facts)
    else:
        yield from _prompts(counted, n)
        yield from _encodings(servings)
    yield from _outputs(facts)
    yield from _times(servings)
    yield from _limits(servings)
    yield (
        "Prices are list prices; cache and batch discounts, retries and second requests for "
        "answers that cannot be read are not counted."
    )


def _inputs(config: Config, facts: Mapping[str, StepFacts]) -> Iterator[str]:
    inputs = assume.assumed_inputs(config, {name: fact.answer for name, fact in facts.items()})
    sizes = ", ".join(f"{name} {_span(span)}" for name, span in inputs.items())
    yield f"No data was read. Input tokens a call, assumed: {sizes}."


def _prompts(counted: Counted, n: int) -> Iterator[str]:
    if counted.sampled >= n:
        yield f"Input tokens: the prompts of all {words.counted(n, 'item')} were counted."
        return
    yield (
        f"Input tokens: the prompts of {counted.sampled:,} of {words.counted(n, 'item')} were "
        f"counted; ranges include the {100 * LEVEL:g} % sampling error."
    )


def _encodings(servings: Mapping[str, Serving]) -> Iterator[str]:
    counters = {model: counter(model) for model in servings}
    guessed = [model for model, counts in counters.items() if not counts.exact]
    if guessed:
        upper = max(counters[model].upper_factor for model in guessed)
        yield (
            f"Input tokens of {_listed(guessed)} are approximate, counted in OpenAI's encoding: "
            f"{assume.LOW_APPROXIMATE:g} to {upper:g} times as many are allowed for."
        )


def _outputs(facts: Mapping[str, StepFacts]) -> Iterator[str]:
    sizes = ", ".join(f"{name} {_span(fact.answer.tokens)}" for name, fact in facts.items())
    yield (
        f"Output tokens a call, assumed: {sizes}. The high case is max_tokens in every answer, "
        f"or {assume.HIGH_OUTPUT:g} times what is expected where there is none."
    )
    thinking = [name for name, fact in facts.items() if fact.answer.thinks]
    if thinking:
        yield (
            f"The model of {_listed(thinking)} thinks before it answers, which is billed as "
            f"output: {_span(assume.THINKING)} tokens a call, as far as max_tokens allows."
        )


def _times(servings: Mapping[str, Serving]) -> Iterator[str]:
    times: dict[Span, list[str]] = {}
    for model, serving in servings.items():
        times.setdefault(serving.latency, []).append(model)
    for latency, models in times.items():
        named = f" of {_listed(models)}" if len(times) > 1 else ""
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


def _span(span: Span) -> str:
    if span.low == span.high:
        return f"{span.value:,.0f}"
    return f"{span.value:,.0f} ({span.low:,.0f} to {span.high:,.0f})"


def _seconds(latency: Span) -> str:
    if latency.low == latency.high:
        return f"{latency.value:g} s"
    return f"{latency.value:g} s ({latency.low:g} to {latency.high:g} s)"


def _listed(names: list[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
