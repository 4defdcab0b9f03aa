"""What a report reads from the manifest that stands beside a results file.

Nothing in it is required: without a manifest, or with one that cannot be read, the report says
less and says so.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.errors import OutputError
from llm_batch.records import SCHEMA, without_mark
from llm_batch.reporting.lines import UNREADABLE, Amount, Count
from llm_batch.reporting.model import Estimate, Range

#: No run writes as long a manifest; what is in one is kept in memory.
_LONGEST = 16 << 20


class _Step(msgspec.Struct):
    name: str = ""
    model: str = ""
    output: dict[str, Any] | None = None


class _ScoreRule(msgspec.Struct):
    field: str = ""
    pass_at: float | None = None
    min: float | None = None
    max: float | None = None


class _Endpoint(msgspec.Struct):
    rpm: Amount | None = None
    tpm: Amount | None = None


class _Model(msgspec.Struct):
    rpm: Amount | None = None
    tpm: Amount | None = None
    api_base: str | None = None
    endpoints: list[_Endpoint] = []


class _Limits(msgspec.Struct):
    rpm: Amount | None = None
    tpm: Amount | None = None
    tier: str | None = None


class _Config(msgspec.Struct):
    steps: list[_Step] = []
    score: _ScoreRule | None = None
    models: dict[str, _Model] = {}
    limits: _Limits = msgspec.field(default_factory=_Limits)


class ListPrice(msgspec.Struct):
    """A model's price as the run knew it, in USD per million tokens."""

    input: Amount
    output: Amount
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    source: str = ""


class _Dataset(msgspec.Struct):
    n: Count | None = None
    skipped: Count | None = None
    strata: dict[str, Count] | None = None


class _Sample(msgspec.Struct):
    size: Count | None = None
    seed: int | None = None
    stratify: str | None = None


class _Range(msgspec.Struct):
    low: Amount | None = None
    expected: Amount | None = None
    high: Amount | None = None

    @property
    def known(self) -> Range | None:
        """The range, where all of it is known."""
        if self.low is None or self.expected is None or self.high is None:
            return None
        return Range(self.low, self.expected, self.high)


class _Estimate(msgspec.Struct):
    calls: Amount | None = None
    input_tokens: Amount | None = None
    output_tokens: Amount | None = None
    cost: _Range | None = None
    seconds: _Range | None = None
    steps: dict[str, _Estimate] = {}

    @property
    def figures(self) -> Estimate:
        """Its figures, without those of the steps."""
        return Estimate(
            calls=_whole(self.calls),
            input_tokens=_whole(self.input_tokens),
            output_tokens=_whole(self.output_tokens),
            cost=self.cost.known if self.cost else None,
        )

    @property
    def wall_time(self) -> Range | None:
        """Seconds from start to end."""
        return self.seconds.known if self.seconds else None

    def of_step(self, name: str) -> Estimate | None:
        """The figures of one step."""
        step = self.steps.get(name)
        return step.figures if step else None


class _Totals(msgspec.Struct):
    status: str = ""
    items: dict[str, Count] = {}
    calls: Count | None = None
    seconds: Amount | None = None
    simulated: bool = False


class Stopping(msgspec.Struct):
    """The rule by which a run was to end early, and what it saw; keys as in `running.stopping`."""

    margin: Amount | None = None
    decided: Amount | None = None
    level: Amount = 0.95
    n: Count = 0
    low: Amount | None = None
    high: Amount | None = None
    method: str | None = None


class Manifest(msgspec.Struct):
    """The parts of ``results.manifest.json`` that a report uses."""

    schema: int = SCHEMA
    run_id: str = ""
    created_at: str = ""
    engine: str = ""
    versions: dict[str, str] = {}
    prices: dict[str, ListPrice | None] = {}
    config: _Config = msgspec.field(default_factory=_Config)
    dataset: _Dataset = msgspec.field(default_factory=_Dataset)
    sample: _Sample = msgspec.field(default_factory=_Sample)
    estimate: _Estimate | None = None
    totals: _Totals = msgspec.field(default_factory=_Totals)
    stopping: Stopping | None = None

    @property
    def models(self) -> dict[str, str]:
        """The model of each step, in the order of the chain."""
        return {step.name: step.model for step in self.config.steps}

    @property
    def judge(self) -> str:
        """The name of the step the score comes from; empty without a score."""
        return self.config.score.field.partition(".")[0] if self.config.score else ""

    @property
    def answer_step(self) -> str:
        """The last step before the judge whose output is text; empty without one."""
        names = [step.name for step in self.config.steps]
        before = names.index(self.judge) if self.judge in names else 0
        texts = [step.name for step in self.config.steps[:before] if step.output is None]
        return texts[-1] if texts else ""

    def limits(self, model: str) -> tuple[float | None, float | None]:
        """Requests and tokens a minute that were set for a model, all its endpoints together.

        What stands under ``[models]`` wins, then ``[limits]``, then the tier; ``None`` where none
        of them says anything.
        """
        from llm_batch.models.tiers import limits_of

        own, common = self.config.models.get(model, _Model()), self.config.limits
        tier = common.tier if own.api_base is None else None
        rpm, tpm, _ = limits_of(tier, model, own.rpm or common.rpm, own.tpm or common.tpm)
        if not own.endpoints:
            return rpm, tpm
        return (
            _sum([each.rpm or rpm for each in own.endpoints]),
            _sum([each.tpm or tpm for each in own.endpoints]),
        )


def manifest_path(results: str | Path) -> Path:
    """Where the manifest of a results file is: ``results.jsonl`` -> ``results.manifest.json``."""
    return Path(results).with_suffix(".manifest.json")


def manifest_bytes(results: str | Path) -> bytes:
    """What the manifest beside a results file holds.

    Raises:
        OSError: It cannot be read, or is longer than any that a run writes.
    """
    with open(manifest_path(results), "rb") as file:
        raw = file.read(_LONGEST + 1)
    if len(raw) > _LONGEST:
        raise OSError(errno.EFBIG, f"it is longer than {_LONGEST >> 20} MB")
    return without_mark(raw)


def read_manifest(results: str | Path) -> tuple[Manifest | None, str]:
    """The manifest beside a results file, or why there is none.

    Returns:
        The manifest and an empty text, or ``None`` and a sentence.

    Raises:
        OutputError: It was written by a newer version.
    """
    if str(results) == "-":
        return None, "Results from standard input have no manifest"
    path = manifest_path(results)
    try:
        raw = manifest_bytes(results)
    except FileNotFoundError:
        return None, f"There is no {path.name} beside the results"
    except OSError as error:
        return None, f"{path.name} cannot be read ({error.strerror or error})"
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except UNREADABLE as error:
        return None, f"{path.name} cannot be read ({error})"
    if manifest.schema > SCHEMA:
        raise OutputError(
            f"{path} was written by a newer llm_batch: this one reads schema {SCHEMA}",
            "upgrade llm_batch and report again",
        )
    return manifest, ""


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
