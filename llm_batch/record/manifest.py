"""The manifest of a run: what must be known to repeat it, and what it came to.

`Manifest` is written and read here alone; its fields are the keys of ``results.manifest.json``, in
the order of the file.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import platform
import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from llm_batch import __version__
from llm_batch.chain.addresses import is_address
from llm_batch.chain.functions import code_hash
from llm_batch.chain.overrides import Overrides, Typed
from llm_batch.chain.score_rules import MAIN
from llm_batch.chain.steps import member, written
from llm_batch.chain.templates import inserted
from llm_batch.errors import LlmbError, OutputError
from llm_batch.record.files import (
    PRIVATE,
    TABLE_ENDS,
    Writing,
    real_path,
    replace,
    run_paths,
    table_of,
)
from llm_batch.record.lines import SCHEMA, UNREADABLE, Amount, Count, newer, too_deep
from llm_batch.records import Price, without_mark

if TYPE_CHECKING:
    from llm_batch.chain.chain import Chain
    from llm_batch.chain.config import Config

#: No run writes as long a manifest, but for one with very many strata; a report keeps none longer.
_LONGEST = 16 << 20
RUNNING = "running"

_HERE = re.compile(r"https?://(?:localhost|127\.[0-9.]+|\[::1\])(?::[0-9]+)?(?:/|$)")

_encoder = msgspec.json.Encoder(order="deterministic")


class ScoreRule(msgspec.Struct, frozen=True):
    """``[score]``; see `llm_batch.chain.score_rules.ScoreRule`."""

    field: str | list[str] = ""
    pass_at: float | None = None
    min: float | None = None
    max: float | None = None
    labels: Any = None
    audit: str | None = None
    weights: Any = None

    @property
    def fields(self) -> list[str]:
        return [self.field] if isinstance(self.field, str) else self.field

    @property
    def named(self) -> str:
        return ", ".join(self.fields)


class Turn(msgspec.Struct, frozen=True):
    """One of a step's messages; see `llm_batch.chain.steps.Turn`."""

    role: str
    content: str


class Step(msgspec.Struct, frozen=True):
    """A step of the chain as far as others than a run ask for it.

    ``temperature`` and ``max_tokens`` are ``None`` for the provider's own.
    """

    name: str
    model: str = ""
    prompt: str = ""
    system: str | None = None
    output: dict[str, Any] | None = None
    params: dict[str, Any] = {}
    max_tokens: Count | None = None
    temperature: Amount | None = None
    rule: str = ""
    models: list[str] = []
    repeat: Count | None = None
    combine: str = ""
    min_votes: Count | None = None
    when: str = ""
    share: float | None = None
    provided: str = ""
    pair: list[str] = []
    messages: list[Turn] = []
    conversation: str = ""
    images: list[str] = []

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Role and template of each message; a conversation of the data has a role of its own."""
        own = [(turn.role, turn.content) for turn in self.messages]
        if not own:
            both = (("system", self.system), ("user", self.prompt))
            own = [(role, text) for role, text in both if text]
        if self.conversation:
            lead = 1 if own and own[0][0] == "system" else 0
            own.insert(lead, ("conversation", inserted(self.conversation)))
        own += [("image", source) for source in self.images]
        return own

    @property
    def asks(self) -> bool:
        return not self.rule and not self.provided


class _Pace(msgspec.Struct, frozen=True):
    rpm: Amount | None = None
    tpm: Amount | None = None


class _Model(_Pace, frozen=True):
    api_base: str | None = None
    endpoints: list[_Pace] = []


class _Limits(_Pace, frozen=True):
    tier: str | None = None


class _Config(msgspec.Struct, frozen=True):
    steps: list[Step] = []
    score: ScoreRule | None = None
    main: ScoreRule | None = None  # as it was written, where another one stands for it
    scores: dict[str, ScoreRule] = {}
    models: dict[str, _Model] = {}
    limits: _Limits = _Limits()


class ListPrice(msgspec.Struct, frozen=True):
    """A model's price as the run knew it, in USD per million tokens."""

    input: Amount
    output: Amount
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    source: str = ""
    as_of: str = ""

    @classmethod
    def of(cls, price: Price | None) -> Self | None:
        if price is None:
            return None
        return cls(
            float(price.input),
            float(price.output),
            None if price.cache_read is None else float(price.cache_read),
            None if price.cache_write is None else float(price.cache_write),
            price.source,
            price.as_of,
        )


class Dataset(msgspec.Struct, frozen=True):
    path: str | None = None
    sha256: str | None = None
    n: Count | None = None
    skipped: Count | None = None
    strata: dict[str, Count] | None = None


class Sample(msgspec.Struct, frozen=True):
    size: Count | None = None
    seed: int | None = None
    stratify: str | None = None


class Range(msgspec.Struct, frozen=True):
    low: Amount | None = None
    expected: Amount | None = None
    high: Amount | None = None


class Figures(msgspec.Struct, frozen=True):
    calls: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cost: Range | None = None


class Estimated(Figures, frozen=True):
    seconds: Range | None = None
    steps: dict[str, Figures] = {}


class Totals(msgspec.Struct, frozen=True):
    """What a run came to. While it goes on there are only ``status`` and ``seconds``.

    Attributes:
        status: As of `RunSummary`, or `RUNNING`.
        items: By status.
        calls: In the journal, those of earlier sessions included.
        cost: USD of them; ``None`` when a price is unknown.
        worst_case_calls: Those whose cost is an upper bound.
        seconds: Of all sessions.
        results_file: `ResultsFile.stamp`, the ``chain`` of the lines and ``counts`` of their
            scores; of older versions a list, or without the latter two.
    """

    status: str = ""
    items: dict[str, Count] = {}
    calls: Count | None = None
    cost: Amount | None = None
    worst_case_calls: Count | None = None
    seconds: Amount | None = None
    simulated: bool = False
    results_file: Any = None


class Stopping(msgspec.Struct, frozen=True):
    """The rule by which a run was to end early, and what it saw; see `running.stopping`."""

    margin: Amount | None = None
    decided: Amount | None = None
    level: Amount = 0.95
    n: Count = 0
    passed: Count = 0
    low: Amount | None = None
    high: Amount | None = None
    method: str | None = None


class Manifest(msgspec.Struct, kw_only=True, frozen=True, dict=True):
    """``results.manifest.json``. Nothing in it is required, since older runs wrote less.

    Attributes:
        created_at: When the first session of the run began, UTC.
        versions: What answers and prices depend on.
        config: All that the user wrote, with defaults and prompts from files; no keys. As plain
            values, since that of another version has other keys; `steps` and `score` read it.
        code: Of each rule in Python a hash of its text, by step.
        prices: Of each model; ``None`` where none is known.
        limits: Those of the config once more.
        made: The config's file and the flags that made the run; paths as they lead from the
            folder of the results.
    """

    schema: int = SCHEMA
    run_id: str = ""
    created_at: str = ""
    updated_at: str = ""
    versions: dict[str, str] = {}
    config: dict[str, Any] = {}
    config_hash: str = ""
    code: dict[str, str] = {}
    dataset: Dataset = Dataset()
    sample: Sample = Sample()
    prices: dict[str, ListPrice | None] = {}
    engine: str = ""
    limits: dict[str, Any] = {}
    estimate: Estimated | None = None
    totals: Totals = Totals()
    stopping: Stopping | None = None
    made: dict[str, Any] = {}

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The strict door: that of the run before; ``None`` when there is none.

        `OutputError` when it is damaged, or written by a newer version.
        """
        try:
            return cls._decoded(path.read_bytes(), path)
        except FileNotFoundError:
            return None
        except (OSError, *UNREADABLE) as error:
            raise OutputError(
                f"cannot read {path}: {error}",
                "delete it: the journal beside it keeps every call, and only settings are lost",
            ) from error

    @classmethod
    def beside(cls, results: str | Path) -> tuple[Self | None, str]:
        """The tolerant door: that of a results file, or why there is none, as a sentence.

        `OutputError` when a newer version wrote it.
        """
        if str(results) == "-":
            return None, "Results from standard input have no manifest"
        path = run_paths(results).manifest
        try:
            with open(path, "rb") as file:
                raw = file.read(_LONGEST + 1)
            if len(raw) > _LONGEST:
                raise OSError(errno.EFBIG, f"it is longer than {_LONGEST >> 20} MB")
            return cls._decoded(raw, path), ""
        except FileNotFoundError:
            return None, f"There is no {path.name} beside the results"
        except (OSError, *UNREADABLE) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            return None, f"{path.name} cannot be read ({reason or error})"

    @classmethod
    def _decoded(cls, raw: bytes, path: Path) -> Self:
        values = msgspec.json.decode(without_mark(raw), type=dict[str, Any])
        schema = values.get("schema", 0)
        # Before anything else is looked at: there it may mean something else.
        if not isinstance(schema, int):
            raise msgspec.ValidationError("its schema is no number")
        if schema > SCHEMA:
            raise newer(path)
        if too_deep(values):
            raise RecursionError("it is nested too deeply")
        return cls.of(values)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """One of plain values; what is null is not known.

        `msgspec.ValidationError` for a value that could not stand there.
        """
        made = msgspec.convert(_known(values), cls)
        _ = made._config  # what cannot be read of it is said here, and not where it is asked for
        return made

    def typed(self, results: str | Path) -> Typed | None:
        """What was typed to make the run, for a command that plays it from here.

        Args:
            results: The results file, as it is found from here.

        Returns:
            ``None`` where nothing says so: older versions did not write it.
        """
        try:
            flags = msgspec.convert(self.made, Overrides)
        except msgspec.ValidationError:
            return None
        config = self.made.get("config")
        # Flags are taken for the user's own words, and a stranger's file must not say with them
        # where a key goes.
        elsewhere = flags.api_base is not None and not _HERE.match(flags.api_base)
        if not isinstance(config, str) or elsewhere:
            return None
        typed = Typed(config, flags).moved(Path(results).parent, Path())
        # Without the flag the config says where results go, as seen from here.
        run = self.config.get("run")
        own = run.get("output") if isinstance(run, dict) and flags.output is None else None
        mine = os.path.abspath(run_paths(results).results)
        output: str | None = str(results)
        if isinstance(own, str) and os.path.abspath(run_paths(own).results) == mine:
            output = None
        elif flags.output is not None and table_of(flags.output):
            output = str(Path(results).with_suffix(TABLE_ENDS))
        return Typed(typed.config, dataclasses.replace(typed.flags, output=output))

    def write(self, path: Path, mode: int = PRIVATE) -> None:
        """Replace the file; a crash leaves the old one or the new one."""
        with Writing(path):
            replace(real_path(path), self.encoded(), mode)  # where a link leads: it stays one

    def encoded(self) -> bytes:
        values = msgspec.structs.asdict(self)
        if not self.made:
            del values["made"]
        if self.totals.status == RUNNING:
            del values["stopping"]
            values["totals"] = {"status": RUNNING, "seconds": self.totals.seconds}
        return msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n"

    @cached_property
    def _config(self) -> _Config:
        return msgspec.convert(_known(self.config), _Config)

    @property
    def steps(self) -> list[Step]:
        return self._config.steps

    @property
    def score(self) -> ScoreRule | None:
        return self._config.score

    @property
    def scores(self) -> dict[str, ScoreRule]:
        """Further scores, by name."""
        return self._config.scores

    def scored_by(self, name: str) -> Self | None:
        """The same with another of its scores as the main one; ``None`` where it has none such."""
        if self.score is None or name in (MAIN, self.score.named):
            return self if self.score is not None else None
        rules = self.config.get("scores") or {}
        if name not in rules:
            return None
        return self._with(rules[name])

    def with_rule(self, rule: ScoreRule) -> Self:
        """The same with this as its main score."""
        return self._with(msgspec.to_builtins(rule))

    def _with(self, rule: Any) -> Self:
        main = self.config.get("main") or self.config.get("score")
        return msgspec.structs.replace(self, config={**self.config, "main": main, "score": rule})

    @property
    def models(self) -> dict[str, str]:
        """By step, or by member of a jury."""
        return {
            member(step.name, model) if step.models else step.name: model
            for step in self.steps
            if step.asks
            for model in step.models or [step.model]
        }

    @property
    def apart(self) -> Step | None:
        """The step whose repeated answers stay apart, so that all that follows is played for each;
        ``None`` without one.
        """
        return next((step for step in self.steps if step.repeat and not step.combine), None)

    @property
    def times(self) -> dict[str, int]:
        """How often each of `models` is asked for an item, at most and without re-asks."""
        found, width = {}, 1
        for step in self.steps:
            if step is self.apart:
                width = step.repeat or 1
            own = 2 if step.pair else 1 if step is self.apart else step.repeat or 1
            for row in self.models:
                if written(row) == step.name:
                    found[row] = own * width
        return found

    @property
    def servers(self) -> dict[str, str]:
        """The address that each step's model is served from, where the config names one."""
        models = self._config.models
        named = {name: models[model].api_base for name, model in self.models.items()
                 if model in models}  # fmt: skip
        return {name: url for name, url in named.items() if url}

    @property
    def judge(self) -> str:
        """The name of the step the score comes from; empty without a score, or where a rule gives
        it.
        """
        return "" if self.rule else self.scoring_step

    @property
    def rule(self) -> str:
        """The rule that gives the score; empty without one."""
        named = self.score.fields if self.score else []
        rules = {step.name: step.rule for step in self.steps}
        return rules.get(named[0], "") if len(named) == 1 else ""

    @property
    def scoring_step(self) -> str:
        """The name of the step the score comes from, a judge or a rule; empty without a score."""
        return self.score.fields[-1].partition(".")[0] if self.score else ""

    @property
    def scale(self) -> tuple[float, float] | None:
        """The least and the greatest main score there can be, as `scale_of` has it."""
        return self.scale_of(self.score)

    def scale_of(self, rule: ScoreRule | None) -> tuple[float, float] | None:
        """The least and the greatest score there can be; ``None`` where nothing says so.

        What stands under ``[score]`` wins, then its labels, then the field of the step's output.
        """
        if rule is None:
            return None
        if rule.weights:
            return self._scale_of_sum(rule.weights)
        if rule.min is not None and rule.max is not None:
            return rule.min, rule.max
        if isinstance(rule.labels, dict) and rule.labels:
            return _ends(rule.labels.values())
        steps = {step.name: step.rule for step in self.steps}
        if len(rule.fields) == 1 and steps.get(rule.fields[0]):
            # A function of the user's own gives numbers on any scale.
            return None if steps[rule.fields[0]] == "python" else (0.0, 1.0)
        name, _, inner = rule.fields[-1].partition(".")
        if not inner and any(step.name == name and step.pair for step in self.steps):
            return 0.0, 1.0
        outputs = (step.output for step in self.steps if step.name == name)
        field = (next(outputs, None) or {}).get(inner)
        kind = field.get("type") if isinstance(field, dict) else field
        if kind == "boolean":
            return 0.0, 1.0
        return _ends((field.get("min"), field.get("max"))) if isinstance(field, dict) else None

    def _scale_of_sum(self, weights: Mapping[str, float]) -> tuple[float, float] | None:
        low = high = 0.0
        for name, weight in weights.items():
            main = self._config.main or self.score
            ends = self.scale_of(main if name == MAIN else self.scores.get(name))
            if ends is None:
                return None
            parts = sorted(weight * end for end in ends)
            low, high = low + parts[0], high + parts[1]
        return low, high

    @property
    def answer_step(self) -> str:
        """The last step before the score's whose output is text; empty without one."""
        names = [step.name for step in self.steps]
        before = names.index(self.scoring_step) if self.scoring_step in names else 0
        texts = [step.name for step in self.steps[:before] if step.output is None and not step.rule]
        return texts[-1] if texts else ""

    def pace(self, model: str) -> tuple[float | None, float | None]:
        """Requests and tokens a minute that were set for a model, all its endpoints together.

        What stands under ``[models]`` wins, then ``[limits]``, then the tier; ``None`` where none
        of them says anything.
        """
        from llm_batch.models.table import limits_of

        own, common = self._config.models.get(model, _Model()), self._config.limits
        tier = common.tier if own.api_base is None else None
        rpm, tpm, _ = limits_of(tier, model, own.rpm or common.rpm, own.tpm or common.tpm)
        if not own.endpoints:
            return rpm, tpm
        return (
            _sum([each.rpm or rpm for each in own.endpoints]),
            _sum([each.tpm or tpm for each in own.endpoints]),
        )


def new_run_id() -> str:
    """The UTC time and a few random letters; sorts by time."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


def utc(seconds: float | None = None) -> str:
    """A time as ISO 8601 in UTC; now by default."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def versions() -> dict[str, str]:
    from llm_batch.models.table import table_version

    return {
        "llm_batch": __version__,
        "python": platform.python_version(),
        "prices": table_version(),
    }


def config_record(config: Config) -> dict[str, Any]:
    """The whole config as plain values, prompts from files included. It holds no keys."""
    return config.model_dump(mode="json")


def code_record(config: Config) -> dict[str, str]:
    """Of each rule in Python a hash of its text."""
    return {
        step.name: code_hash(config.folder, step.python) for step in config.steps if step.python
    }


def hash_of(value: Any) -> str:
    return blake2b(_encoder.encode(value), digest_size=8).hexdigest()


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _ends(numbers: Collection[Any]) -> tuple[float, float] | None:
    if not all(isinstance(number, int | float) and isfinite(number) for number in numbers):
        return None
    return float(min(numbers)), float(max(numbers))


def chain_of(manifest: Manifest, images: Sequence[Path] | None = None) -> Chain | None:
    """The chain of a run, with ``images`` as of a `Chain`; ``None`` where it cannot be made."""
    from llm_batch.chain.chain import Chain
    from llm_batch.chain.score_rules import ScoreRule as Rule
    from llm_batch.chain.steps import Step as ConfigStep

    config = manifest.config
    try:
        steps = [ConfigStep.model_validate(step) for step in config.get("steps") or ()]
        main, further = config.get("score"), config.get("scores") or {}
        score = Rule.model_validate(main) if main else None
        scores = {name: Rule.model_validate(rule) for name, rule in further.items()}
        seed = manifest.sample.seed or 0
        return Chain(steps, score, scores, seed, images=images) if steps else None
    except (ValueError, LlmbError):
        return None


def folders_of(manifest: Manifest, results: str | Path) -> tuple[Path, ...]:
    """Where the pictures of a run are looked for: beside its data, its config and its results."""
    beside = Path(results).parent
    config, data = manifest.made.get("config"), manifest.dataset.path
    own = (beside / config).parent if isinstance(config, str) else beside
    there = [(own / data).parent] if data and not is_address(data) else []
    return tuple(dict.fromkeys([*there, own, beside]))
