"""How fast requests went out, beside the limits they had to keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from llm_batch.report import words
from llm_batch.report.sections.parts import Paragraph, Section, Table
from llm_batch.report.timeline_model import ModelTimeline, Pace, Timeline

_MINUTE = 60.0
_MOST_KINDS = 4


def pace(timeline: Timeline) -> Section:
    """Requests and tokens of each model per minute, refusals, and pauses."""
    rows = []
    for model in timeline.models:
        name = words.clean(model.model, 24)
        rows.append((name, "requests", words.count(model.sent), *_figures(model.requests)))
        tokens = sum(model.bin_tokens)
        rows.append(("", "tokens", words.count(tokens), *_figures(model.tokens)))
    header = ("", "", "in all", "a minute", "busiest", "limit", "of limit")
    table = Table(header, (False, False, True, True, True, True, True), tuple(rows))
    return Section("Pace", (table, Paragraph(" ".join(_sentences(timeline)))))


def _figures(pace: Pace) -> tuple[str, ...]:
    return (
        words.count(pace.mean),
        words.count(pace.busiest),
        words.count(pace.limit) if pace.limit is not None else "none set",
        words.percent(pace.use),
    )


def _sentences(timeline: Timeline) -> Iterator[str]:
    if timeline.seconds > _MINUTE:
        yield "Busiest: the most in any 60 seconds, and its share of the limit."
    else:
        yield "The run was shorter than a minute, so its busiest minute is all of it."
    if any(model.tokens.limit is not None for model in timeline.models):
        yield (
            "Tokens are those of the answers; many providers count max_tokens instead, so their "
            "limit may be used up earlier."
        )
    refused = sum(model.refused for model in timeline.models)
    if refused:
        paused = "; ".join(_paused(model) for model in timeline.models if model.refused)
        times = "once" if refused == 1 else f"{refused:,} times"
        yield f"Refused for a rate limit {times} ({paused})."
    errors: Counter[str] = Counter()
    for model in timeline.models:
        errors.update(model.errors)
    if errors:
        kinds = ", ".join(
            f"{n:,} {words.clean(kind, 30)}" for kind, n in errors.most_common(_MOST_KINDS)
        )
        yield f"Failed attempts: {kinds}."
    if timeline.sessions > 1:
        yield (
            f"{timeline.sessions:,} sessions; the {words.duration(timeline.idle_seconds)} between "
            "them are left out."
        )


def _paused(model: ModelTimeline) -> str:
    return (
        f"{words.clean(model.model, 24)} {model.refused:,}, "
        f"waiting {words.duration(model.paused_seconds)}"
    )
