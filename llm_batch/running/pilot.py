"""What is seen of a run before it is paid for: its first requests, or the pilot.

The pilot plays the first items. It is the run itself, ended early: the same order, files, budget,
limits and question. What it answered is in the journal, so the run that follows finds it there and
pays for the rest only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config
from llm_batch.chain.forecast import compared, rendered
from llm_batch.chain.steps import written
from llm_batch.errors import ConfigError, Incomplete, Interrupted, LlmbError, Refused
from llm_batch.estimating import Measured, estimate, measured_in
from llm_batch.estimating.document import screen
from llm_batch.paper.document import Document, Quote, Section
from llm_batch.record.files import run_paths
from llm_batch.record.manifest import Manifest
from llm_batch.records import PDF, Item, Request, images_of
from llm_batch.running.progress import RunSummary
from llm_batch.running.run import drawn_for, run
from llm_batch.sending.checks import check_before_spending, risks
from llm_batch.sending.providers import where
from llm_batch.sending.trust import not_agreed
from llm_batch.stats.strata import allocate

__all__ = ["dry_run", "pilot"]


def pilot(
    config: Config, n: int, *, say: Callable[[str], None] = lambda sentence: None, **as_of_run: Any
) -> Measured:
    """Play the first ``n`` items of the run that ``config`` describes, and measure them.

    Items an earlier run of the same output has finished are not played again. When it has
    finished as many as are asked for, nothing is sent at all. The rest is as in `run`; the
    question is about these items.

    Raises:
        LlmbError: The config, data or output is wrong, or the answer to ``confirm`` was no.
        Refused: The provider refused every request.
        Interrupted: It was stopped before the first item was finished.
        Incomplete: Nothing could be finished within the budget.
    """
    results = run_paths(config.run.output).results
    n = _within(config, n)
    done = _finished_before(config, n)
    if done is not None:
        say(f"{results} holds {sum(done.statuses.values()):,} items already; nothing was sent")
        return done
    first = config.model_copy(
        update={"sample": config.sample.model_copy(update={"size": n})}, deep=False
    )
    summary = run(first, say=say, **as_of_run)
    if not summary.progress.done:
        raise _nothing_played(summary)
    if summary.status != "done":
        say(f"the pilot ended early: {summary.message or summary.status}")
    return measured_in(results, config, f"the pilot ({results})")


def dry_run(config: Config) -> Document:
    """What a run would send first of each step, and what it is expected to cost.

    Nothing is written and nothing is sent; what would stop the run before it spends is raised.
    """
    chain = config.chain()
    notes = [f"note: {sentence}" for sentence in risks(config)]
    notes += [f"note: a run asks first, since this {each.sentence}" for each in not_agreed(config)]
    with drawn_for(config) as drawn:
        if (item := next(iter(drawn.items()), None)) is None:
            raise ConfigError(
                f"shard {config.run.shard} has no items, so there is no request to show",
                "leave out --shard to see those of the whole run",
            )
        check_before_spending(config, chain, item)
        config.engine.check(config, True)
        sections = list(_path(config, chain, item))
    expected = screen(estimate(config))
    return replace(
        expected,
        origin=(*notes, *expected.origin),
        sections=(*sections, *expected.sections),
        closing=f"The whole estimate: `{config.command('estimate', '--full')}`",
    )


def _path(config: Config, chain: Chain, item: Item) -> Iterator[Section]:
    """What is done for an item, step after step."""
    requests = {request.step: request for request in rendered(chain, item)}
    rules = {step.name: texts for step, texts in compared(chain, item)}
    for step in config.steps:
        if why := chain.left_out(step, item):
            yield Section(f"{step.name}: skipped, {why}", ())
            continue
        waits: tuple[Quote, ...] = ()
        if chain.undecided(step.name):
            waits = (Quote("", f"[only when]\n{step.when}"),)
        if step.rule is not None:
            texts = [f"[{key}]\n{text}" for key, text in rules.get(step.name, {}).items()]
            said = (*waits, *(Quote("", text) for text in texts))
            yield Section(f"{step.name}: the rule {step.rule}, no call", said)
        elif step.provided is not None:
            yield Section(f"{step.name}: the field {step.provided!r} of the data, no call", waits)
        elif asked := [requests[row.name] for row in step.rows if row.name in requests]:
            texts = []
            for message in asked[0].messages:
                texts.append(f"[{message.role}]\n{message.content}")
                for image in images_of(message):
                    kind = "PDF" if image.media_type == PDF else "image"
                    texts.append(f"[{kind}, {image.tokens:,} tokens at most]\n{image.source[:200]}")
            if asked[0].params:
                given = asked[0].params.items()
                lines = (
                    f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in given
                )
                texts.append("\n".join(["[parameters]", *lines]))
            yield Section(
                f"{step.name}: {_who(config, chain, asked)}, item {item.id!r}",
                (*waits, *(Quote("", text) for text in texts)),
            )


def _who(config: Config, chain: Chain, asked: Sequence[Request]) -> str:
    """The models that are asked, where they are, and how often."""
    by_place: dict[str, list[str]] = {}
    for request in asked:
        url = where(request.model, config.model(request.model))
        by_place.setdefault(url, []).append(request.model)
    said = " and ".join(f"{', '.join(models)} at {url}" for url, models in by_place.items())
    times = chain.times[asked[0].step]
    return (
        f"{said}, {'up to ' * chain.undecided(written(asked[0].step))}{times} times"
        if times > 1
        else said
    )


def _within(config: Config, n: int) -> int:
    """The size of a pilot whose items are all items of the run, ``n`` where that is possible.

    Without strata the first n of the order always are. With strata a larger sample may give one
    of them an item less (see `llm_batch.stats.strata.allocate`); another size nearby does not.
    """
    whole, stratify = config.sample.size, config.sample.stratify
    n = min(n, whole) if whole else n
    if stratify is None or config.data_path() == "-":
        return n
    with drawn_for(config) as drawn:
        strata, shares = drawn.strata or {}, drawn.sizes_by_stratum or {}
        near = sorted(range(1, drawn.size + 1), key=lambda size: (abs(size - n), -size))
    return next(
        size
        for size in near
        if all(share <= shares[name] for name, share in allocate(strata, size).items())
    )


def _finished_before(config: Config, n: int) -> Measured | None:
    """What an earlier run of this output tells, when it finished enough; ``None`` if not.

    `ConfigError` where it holds more items than the pilot would leave in its results file, and they
    are of another chain.
    """
    paths = run_paths(config.run.output)
    results, before = paths.results, Manifest.read(paths.manifest) or Manifest()
    size = before.sample.size or 0
    if not results.is_file() or size < n:
        return None
    measured = measured_in(results, config, f"the earlier run ({results})")
    if measured.finished >= n:
        return measured
    held = sum(measured.statuses.values())
    if held > n:
        raise ConfigError(
            f"{results} holds {held:,} items of another chain, which a pilot of {n:,} would "
            "replace",
            config.command("estimate", "--from", str(results))
            + ", or set another output under [run] for the pilot",
        )
    return None


def _nothing_played(summary: RunSummary) -> LlmbError:
    said = f"the pilot finished no item: {summary.message or summary.status}"
    hint = "everything paid for is kept; the same command resumes"
    if summary.status == "refused":
        return Refused(said, hint="correct what the provider refuses, then run it again")
    if summary.status == "interrupted":
        return Interrupted(said, hint)
    return Incomplete(said, hint)
