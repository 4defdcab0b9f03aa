"""What calls that were made tell of those to come: from a pilot or an earlier run.

Everything is measured per item, not per call: what re-asks, failures and retries added to an
item's tokens and money is in its figures, and an item that failed before a step has 0 there. So
nothing has to be assumed about how often that happens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain as one_after_another
from math import inf, sqrt
from pathlib import Path
from typing import IO

import msgspec

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config
from llm_batch.chain.options import Model
from llm_batch.chain.overrides import Overrides, expanded, with_flags
from llm_batch.chain.steps import Step, written
from llm_batch.errors import OutputError, status_of
from llm_batch.estimating.ranges import (
    FEWEST,
    Span,
    exactly,
    mean_of_unseen,
    quantile_for,
    share_unseen,
)
from llm_batch.models.prices import Tariff
from llm_batch.record.changes import changed_steps
from llm_batch.record.files import results_of, run_paths
from llm_batch.record.journal import CallLine, call_lines
from llm_batch.record.lines import SCHEMA, UNREADABLE, bounded_lines, newer
from llm_batch.record.manifest import Manifest, chain_of, config_record
from llm_batch.record.results import SpentLine
from llm_batch.records import Usage

#: Items that are measured; the order is random, so the first of very many are enough.
MEASURED = 20_000


@dataclass(frozen=True, slots=True)
class StepSeen:
    """What one step of one item took: USD as booked, seconds of attempts that answered, sends."""

    usage: Usage
    cost: float | None
    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class ItemSeen:
    """One item that was played; in the ``worst_case`` a cost in it is an upper bound.

    ``planned``: how many requests of a step, or of a member of a jury, were for it whatever was
    answered; one where nothing is said. ``skipped``: steps that its results call so.
    """

    id: str
    status: str
    steps: Mapping[str, StepSeen]
    worst_case: bool = False
    planned: Mapping[str, int] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()

    def parts(self, step: str) -> int:
        return self.planned.get(step, 1)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was played before.

    Attributes:
        source: Where it comes from, as the words of a sentence: ``the pilot``.
        items: The first of them, at most `MEASURED`.
        finished: Items of this very run that need no further call; 0 when it was another run.
        spent: USD of all of them; ``None`` when a price was unknown.
        statuses: Items by status, all of them: ``ok``, or the kind of failure.
        models: The model of each step then; steps whose model is another now are not measured.
        dataset: SHA-256 of the data it was played on; empty when unknown.
        notes: What the user should know, as sentences.
    """

    source: str
    items: tuple[ItemSeen, ...]
    finished: int
    spent: float | None
    statuses: Mapping[str, int]
    models: Mapping[str, str] = field(default_factory=dict)
    dataset: str = ""
    simulated: bool = False
    notes: tuple[str, ...] = ()

    def of_data(self, sha256: str) -> Measured:
        """With other data nothing is finished, whatever the run's files say; nor with unknown."""
        return self if sha256 and self.dataset == sha256 else replace(self, finished=0)


def read_measured(path: str | os.PathLike[str], source: str, *, steps: Iterable[str]) -> Measured:
    """Read a results file, or a journal where there is no results file beside it.

    ``source``: what to call it. ``steps``: names of the steps that are estimated.

    Raises:
        OutputError: It cannot be read, is no such file, or holds no call of these steps.
    """
    given = Path(results_of(path))
    journal = run_paths(given).journal
    tally = _Tally(source)
    if given != journal and given.is_file():
        for line in _lines(given):
            tally.add(_item(line), line.simulated)
    elif journal.is_file():
        _read_journal(journal, tally)
    else:
        raise OutputError(f"there is no {given}", "name the results file of a run: --from FILE")
    if not tally.items:
        raise OutputError(f"{given} holds no items yet", "let the run finish a few items first")
    if not any(name in item.steps for item in tally.items for name in steps):
        known = sorted({name for item in tally.items for name in item.steps})
        raise OutputError(
            f"{given} has no calls of the steps {', '.join(steps)}",
            f"its steps are {', '.join(known) or 'none'}: estimate with the config it was run with",
        )
    return tally.measured()


class _Tally:
    def __init__(self, source: str) -> None:
        self._source = source
        self.items: list[ItemSeen] = []
        self.statuses: dict[str, int] = {}
        self.spent: float | None = 0.0
        self.simulated = False

    def add(self, item: ItemSeen, simulated: bool) -> None:
        if len(self.items) < MEASURED:
            self.items.append(item)
        self.statuses[item.status] = self.statuses.get(item.status, 0) + 1
        self.simulated |= simulated
        for seen in item.steps.values():
            if self.spent is None or seen.cost is None:
                self.spent = None
            else:
                self.spent += seen.cost

    def measured(self) -> Measured:
        return Measured(
            source=self._source,
            items=tuple(self.items),
            finished=0,
            spent=self.spent,
            statuses=self.statuses,
            simulated=self.simulated,
        )


def _item(line: SpentLine) -> ItemSeen:
    steps = {
        name: StepSeen(
            usage,
            line.cost.steps.get(name),
            line.latency_seconds.steps.get(name, 0.0),
            round(line.attempts.steps.get(name, 1)),
        )
        for name, usage in line.usage.steps.items()
    }
    skipped = frozenset(line.skipped)
    return ItemSeen(line.id, line.status, steps, line.worst_case, skipped=skipped)


def _read_journal(path: Path, tally: _Tally) -> None:
    """Items from calls: the last call of a step decides, what came before it cost as well."""
    steps: dict[str, dict[str, StepSeen]] = {}
    failed: dict[str, bool] = {}
    worst: set[str] = set()
    for call in _calls(path):
        usage = Usage()
        if call.completion and call.completion.usage:
            usage = Usage(*msgspec.structs.astuple(call.completion.usage))
        seconds = call.attempts[-1].seconds if call.attempts else 0.0
        own = steps.setdefault(call.item, {})
        before = own.get(call.step)
        seen = StepSeen(usage, call.cost, seconds, len(call.attempts))
        own[call.step] = _both(before, seen) if before else seen
        failed[call.item] = call.completion is None
        tally.simulated |= call.simulated
        if call.worst_case:
            worst.add(call.item)
    for item_id, own in steps.items():
        status = "failed" if failed[item_id] else "ok"
        tally.add(ItemSeen(item_id, status, own, item_id in worst), False)


def _both(a: StepSeen, b: StepSeen) -> StepSeen:
    cost = None if a.cost is None or b.cost is None else a.cost + b.cost
    return StepSeen(a.usage + b.usage, cost, a.seconds + b.seconds, a.attempts + b.attempts)


def _lines(path: Path) -> Iterator[SpentLine]:
    decoder = msgspec.json.Decoder(SpentLine)
    with _opened(path) as file:
        for number, line in enumerate(bounded_lines(file), 1):
            if not line.strip():
                continue
            try:
                found = decoder.decode(line)
            except UNREADABLE as error:
                if not line.endswith(b"\n"):
                    continue  # cut off by a crash, or being written just now
                raise OutputError(
                    f"{path}, line {number}: no line of a run: {error}",
                    "name the results file of a run: --from results.jsonl",
                ) from error
            if found.schema > SCHEMA:
                raise newer(path)
            yield found


def _calls(path: Path) -> Iterator[CallLine]:
    with _opened(path) as file:
        for call in one_after_another.from_iterable(call_lines(file, damaged=lambda line: None)):
            if call.schema > SCHEMA:
                raise newer(path)
            yield call


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error


def measured_in(path: str | os.PathLike[str], config: Config, source: str = "") -> Measured:
    """What an earlier run tells of the chain in ``config``: by its results file, or its journal.

    Its items count as done when it is the run that ``config`` would go on with: the same output,
    seed and steps, and, once the data was read, the same data. ``source``: what to call it; its
    path by default.

    Raises:
        OutputError: There is no such run, or it has no call of these steps.
    """
    paths, own = run_paths(expanded(path)), run_paths(config.run.output)
    steps = [step.name for step in config.asking]
    measured = read_measured(path, source or os.fspath(path), steps=steps)
    manifest = Manifest.read(paths.manifest) or Manifest()
    notes = []
    found = changed_steps(manifest.config, config_record(config))
    changed = [name for name in found if name in set(map(written, steps))]
    if changed:
        notes.append(
            f"Since it was run, step {', '.join(changed)} has changed; the figures are those of "
            "then."
        )
    same = (
        bool(manifest.config)
        and not changed
        and os.path.realpath(paths.manifest) == os.path.realpath(own.manifest)
        and manifest.sample.seed == config.sample.seed
    )
    then = chain_of(manifest) or config.chain()
    items = (replace(item, planned=_planned(then, item)) for item in measured.items)
    return replace(
        measured,
        items=tuple(items),
        models=manifest.models,
        finished=sum(n for kind, n in measured.statuses.items() if status_of(kind).kept)
        if same
        else 0,
        dataset=manifest.dataset.sha256 or "",
        notes=tuple(notes),
    )


def _planned(chain: Chain, item: ItemSeen) -> dict[str, int]:
    """The requests that were for an item whatever was answered, by row."""
    planned = {}
    for row in chain.asking:
        name = written(row.name)
        out = not chain.draws(row, item.id)
        if row.when is not None and not chain.undecided(name):
            out = out or name in item.skipped
        planned[row.name] = 0 if out else chain.times[row.name]
    return planned


def config_of_run(path: str | os.PathLike[str], flags: Overrides) -> Config | None:
    """The config an earlier run was made with, under the flags; ``None`` when that is not known.

    Raises:
        OutputError: Its manifest is damaged.
        ConfigError: A flag has nothing to apply to.
    """
    manifest = Manifest.read(run_paths(expanded(path)).manifest)
    if manifest is None or not manifest.config:
        return None
    then = manifest.config
    # The record has every key; what was not written down is left out, as in a file.
    defaults = {key: field.default for key, field in Model.model_fields.items()}
    models = {
        name: {key: value for key, value in own.items() if value != defaults.get(key)}
        for name, own in (then.get("models") or {}).items()
    }
    raw, _ = with_flags({**then, "models": models}, flags, built_in=False)
    try:
        config = Config.model_validate(raw)
    except ValueError:
        return None  # a version of the config that this program does not know
    data = config.data_path()
    if isinstance(data, Path) and not data.exists():
        return config.model_copy(update={"data": config.data.model_copy(update={"path": None})})
    return config


_NOTHING = StepSeen(Usage(), 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class StepMeasure:
    """What one step takes, per request that was for an item: those that failed before it and those
    that its condition skipped included. A step that is not repeated has one an item.

    Attributes:
        attempts: Sends: 1 when nothing failed, was sent again or asked again.
        text: The part of the output that is not reasoning, which later prompts may contain.
        cached_share: Share of the input that came from the provider's cache.
        seconds: Of one call.
        input_ratio: Input tokens counted by the provider for each that was counted here, re-asks
            and items that were not asked included; ``None`` before prompts were counted.
        surcharge: What attempts that may have been billed added, as a factor on the cost.
        longest: Most output tokens of one item; the mean of its answers where it has several.
        played: Share of the requests that were made at all, where a condition decides.
    """

    n: int
    attempts: Span
    input: Span
    output: Span
    text: Span
    reasoning: Span
    cached_share: float
    seconds: Span
    surcharge: float
    longest: int
    input_ratio: Span | None = None
    played: Span = field(default_factory=lambda: exactly(1.0))


def measures_of(
    measured: Measured, steps: Sequence[Step], tariffs: Mapping[str, Tariff | None], unseen: float
) -> dict[str, StepMeasure]:
    found = {}
    for step in steps:
        if measured.models.get(step.name, step.model) != step.model:
            continue
        items = [item for item in measured.items if item.parts(step.name)]
        if any(step.name in item.steps for item in items):
            found[step.name] = _measure(items, step, tariffs[step.name], unseen)
    return found


def _measure(
    items: Sequence[ItemSeen],
    step: Step,
    tariff: Tariff | None,
    unseen: float,
) -> StepMeasure:
    seen = [item.steps.get(step.name, _NOTHING) for item in items]
    parts = [item.parts(step.name) for item in items]
    attempts = [each.attempts / times for each, times in zip(seen, parts, strict=True)]
    cap = step.max_tokens or inf
    # A re-ask may answer at full length again.
    most = cap * max(1.0, max(attempts))

    def mean(of: Callable[[Usage], int], bound: float = inf) -> Span:
        values = [of(each.usage) / times for each, times in zip(seen, parts, strict=True)]
        return mean_of_unseen(values, unseen, most=bound, cap=min(cap, bound))

    inputs = sum(each.usage.input_tokens for each in seen)
    cached = sum(each.usage.cache_read_tokens for each in seen)
    called = [(each, times) for each, times in zip(seen, parts, strict=True) if each.attempts]
    conditional = step.when is not None and min(attempts) < 1
    return StepMeasure(
        n=len(seen),
        attempts=_at_least_some_retries(
            mean_of_unseen(attempts, unseen), len(seen), even=min(attempts) == max(attempts)
        ),
        input=mean(lambda usage: usage.input_tokens),
        output=mean(lambda usage: usage.output_tokens, most),
        text=mean(lambda usage: max(0, usage.output_tokens - usage.reasoning_tokens), most),
        reasoning=mean(lambda usage: usage.reasoning_tokens, most),
        cached_share=cached / inputs if inputs else 0.0,
        seconds=mean_of_unseen(
            [each.seconds / min(times, each.attempts) for each, times in called], unseen
        ),
        surcharge=_surcharge(items, step.name, tariff),
        longest=max(
            round(each.usage.output_tokens / min(times, each.attempts)) for each, times in called
        ),
        played=mean_of_unseen([min(1.0, each) for each in attempts], unseen, most=1.0)
        if conditional
        else exactly(1.0),
    )


def _at_least_some_retries(attempts: Span, n: int, even: bool) -> Span:
    """That none of n items needed another attempt does not mean that none ever will.

    And where all needed one and the same number, none is expected to need fewer.
    """
    low = attempts.value if even else attempts.low
    return attempts._replace(low=low, high=max(attempts.high, attempts.value + share_unseen(n)))


def _surcharge(items: Sequence[ItemSeen], step: str, tariff: Tariff | None) -> float:
    """What was booked over what the usage alone costs, where an attempt may have been billed."""
    booked = priced = 0.0
    for item in items:
        seen = item.steps.get(step)
        if seen is None or tariff is None:
            continue
        cost = tariff.cost(seen.usage)
        priced += cost
        booked += max(cost, seen.cost or 0.0) if item.worst_case else cost
    return booked / priced if priced else 1.0


def with_input_ratio(
    measure: StepMeasure, actual: Sequence[float], counted: Sequence[float], unseen: float
) -> StepMeasure:
    """The measure with its ratio of tokens counted by the provider to tokens counted here.

    A ratio estimator (Cochran 1977, section 6.3): its error comes from how far single items are
    off the common ratio. ``actual`` and ``counted`` are per item, 0 where the provider was not
    asked; ``unseen``: how many items are to come.
    """
    n, whole = len(counted), sum(counted)
    if not whole:
        return measure
    ratio = sum(actual) / whole
    if n < FEWEST:
        return replace(measure, input_ratio=exactly(ratio))
    off = [a - ratio * c for a, c in zip(actual, counted, strict=True)]
    error = sqrt(sum(each * each for each in off) / (n - 1) / n * (1 + n / unseen))
    half = quantile_for(n) * error * n / whole
    return replace(measure, input_ratio=Span(max(0.0, ratio - half), ratio, ratio + half))
