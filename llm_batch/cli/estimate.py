"""``llmb estimate``: what a run will cost, take and prove."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_batch.cli import estimate as claim_options
from llm_batch.cli import options
from llm_batch.errors import ConfigError

if TYPE_CHECKING:
    from llm_batch.chain.config import Config, Overrides
    from llm_batch.estimating import Measured
    from llm_batch.estimating.scores import Scored


_SHOW = "What to show"
#: More combinations of models than this fill no table that anyone reads.
_MOST = 24

Margin = Annotated[
    float | None,
    typer.Option(
        "--margin", rich_help_panel=_SHOW,
        help="Half width of the interval: 0.05 is 5 points; in the score's unit with --mean-sd.",
    ),
]  # fmt: skip
Confidence = Annotated[
    float, typer.Option("--confidence", rich_help_panel=_SHOW, help="Confidence level.")
]
ExpectedRate = Annotated[
    float | None,
    typer.Option(
        "--expected-rate", rich_help_panel=_SHOW,
        help="Share of passes expected; 0.5, the worst case, without it.",
    ),
]  # fmt: skip
MeanSd = Annotated[
    float | None,
    typer.Option(
        "--mean-sd", rich_help_panel=_SHOW,
        help="Claim a mean score: its standard deviation; with --margin or --detect.",
    ),
]  # fmt: skip
Detect = Annotated[
    float | None,
    typer.Option(
        "--detect", rich_help_panel=_SHOW,
        help="Find a difference of two models: 0.03 is 3 points.",
    ),
]  # fmt: skip
Paired = Annotated[
    bool,
    typer.Option("--paired", rich_help_panel=_SHOW, help="Both models answer the same items."),
]
Discordance = Annotated[
    float | None,
    typer.Option(
        "--discordance", rich_help_panel=_SHOW,
        help="Share of items that one model passes and the other fails.",
    ),
]  # fmt: skip
Power = Annotated[
    float,
    typer.Option(
        "--power", min=0.5, max=0.9999, rich_help_panel=_SHOW,
        help="Probability of finding the difference.",
    ),
]  # fmt: skip
ZeroFailures = Annotated[
    float | None,
    typer.Option(
        "--zero-failures", rich_help_panel=_SHOW,
        help="Rule out failures in this share of the items by seeing none: 0.01.",
    ),
]  # fmt: skip
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", rich_help_panel=_SHOW, metavar="FIELD",
        help="Items with one value of this field belong together, as questions on one document.",
    ),
]  # fmt: skip
ClusterSize = Annotated[
    float | None,
    typer.Option(
        "--cluster-size", min=1, rich_help_panel=_SHOW,
        help="Items in a cluster, where there is no data to count them in.",
    ),
]  # fmt: skip
Icc = Annotated[
    float | None,
    typer.Option(
        "--icc", min=0, max=1, rich_help_panel=_SHOW,
        help="Correlation of two scores of one cluster; measured with --pilot or --from.",
    ),
]  # fmt: skip
Sensitivity = Annotated[
    float | None,
    typer.Option(
        "--judge-sensitivity", min=0, max=1, rich_help_panel=_SHOW,
        help="Share of good answers the judge passes.",
    ),
]  # fmt: skip
Specificity = Annotated[
    float | None,
    typer.Option(
        "--judge-specificity", min=0, max=1, rich_help_panel=_SHOW,
        help="Share of bad answers the judge fails.",
    ),
]  # fmt: skip
Stratify = Annotated[
    str | None,
    typer.Option(
        "--stratify", rich_help_panel=_SHOW, metavar="FIELD",
        help="Share the sample among the values of this field, as stratify under [sample] does.",
    ),
]  # fmt: skip


def combinations(model: str | None, judge: str | None) -> Iterator[tuple[str | None, str | None]]:
    """Yield every pair of a model and a judge from two lists with commas.

    Raises:
        ConfigError: A name is missing in a list, or there are too many pairs.
    """
    pairs = list(product(_names("--model", model), _names("--judge", judge)))
    if len(pairs) > _MOST:
        raise ConfigError(
            f"--model and --judge make {len(pairs)} combinations, more than {_MOST}",
            "compare fewer models at a time",
        )
    yield from pairs


def _names(flag: str, value: str | None) -> Sequence[str | None]:
    if value is None:
        return (None,)
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise ConfigError(
            f"{flag} {value!r} has an empty name in its list", f"{flag} gpt-4o,gpt-4o-mini"
        )
    return list(dict.fromkeys(names))


def estimate(
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=1, rich_help_panel="What to run", help="Size of the whole dataset."
        ),
    ] = None,
    config: options.ConfigPath = None,
    data: options.DataPath = None,
    sample: options.SampleSize = None,
    seed: options.Seed = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", rich_help_panel="What to run",
            help="Model of every step but the judge; several with commas are compared.",
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge", rich_help_panel="What to run",
            help="Model of the judge; several with commas are compared: gpt-4,gpt-4o.",
        ),
    ] = None,
    api_base: options.ApiBase = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", rich_help_panel="How to estimate",
            help="Count every prompt, not a sample of 2,000.",
        ),
    ] = False,
    pilot: Annotated[
        int | None,
        typer.Option(
            "--pilot", min=1, rich_help_panel="How to estimate",
            help="Play the first so many items of the run and measure them; run does not pay for "
            "them again.",
        ),
    ] = None,
    earlier: Annotated[
        str | None,
        typer.Option(
            "--from", rich_help_panel="How to estimate", metavar="RESULTS.jsonl",
            help="Measure an earlier run instead of assuming; sends nothing.",
        ),
    ] = None,
    margin: claim_options.Margin = None,
    confidence: claim_options.Confidence = 0.95,
    expected_rate: claim_options.ExpectedRate = None,
    mean_sd: claim_options.MeanSd = None,
    detect: claim_options.Detect = None,
    paired: claim_options.Paired = False,
    discordance: claim_options.Discordance = None,
    power: claim_options.Power = 0.8,
    zero_failures: claim_options.ZeroFailures = None,
    cluster: claim_options.Cluster = None,
    cluster_size: claim_options.ClusterSize = None,
    icc: claim_options.Icc = None,
    judge_sensitivity: claim_options.Sensitivity = None,
    judge_specificity: claim_options.Specificity = None,
    stratify: claim_options.Stratify = None,
    workers: options.Workers = None,
    rpm: options.Rpm = None,
    tpm: options.Tpm = None,
    tier: options.Tier = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", min=0, rich_help_panel="Limits",
            help="USD that the run may cost in all; says how many items that buys.",
        ),
    ] = None,
    output: options.Output = None,
    format: Annotated[
        str, typer.Option("--format", rich_help_panel="Output", help="text, json or md.")
    ] = "text",
    full: options.Full = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", rich_help_panel="Output",
            help="Do not ask about the pilot's cost, nor about what the config sends where.",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel="Output", help="No progress.")
    ] = False,
) -> None:  # fmt: skip
    """Say what a run will cost, take and prove, before anything is sent.

    Only --pilot sends something.
    """
    from llm_batch.chain.config import Overrides
    from llm_batch.cli.console import chosen, present
    from llm_batch.errors import ConfigError
    from llm_batch.estimating import FORMATS
    from llm_batch.estimating import estimate as estimate_run
    from llm_batch.estimating.claims import Claim, check
    from llm_batch.estimating.scores import read_scored

    chosen(FORMATS, format)
    claim = Claim(
        margin=margin, level=confidence, rate=expected_rate, sd=mean_sd, detect=detect,
        paired=paired, discordance=discordance, power=power, zero_failures=zero_failures,
        cluster_size=cluster_size, icc=icc, sensitivity=judge_sensitivity,
        specificity=judge_specificity,
    )  # fmt: skip
    check(claim)  # before a pilot is paid for
    compared = [
        Overrides(
            data=data, sample=sample, seed=seed, model=generator, judge=judge_, api_base=api_base,
            workers=workers, rpm=rpm, tpm=tpm, tier=tier, budget=budget,
        )
        for generator, judge_ in claim_options.combinations(model, judge)
    ]  # fmt: skip
    if pilot is not None and earlier is not None:
        raise ConfigError("--pilot and --from were both given", "choose one of them")
    settings, *others = (
        _stratified(_settings(config, flags, n, earlier), stratify) for flags in compared
    )
    measured: Measured | None = None
    scored: Scored | None = None
    if pilot is not None:
        if n is not None and settings.data.path is None:
            raise ConfigError("a pilot needs data to play", "name it with --data questions.jsonl")
        measured = _played(settings, pilot, yes, quiet)
        scored = read_scored(settings.run.output, "the pilot")
    elif earlier is not None:
        from llm_batch.estimating import measured_in

        measured = measured_in(earlier, settings)
        scored = read_scored(earlier)
    with ExitStack() as stack:
        bar = stack.enter_context(_Bar()) if exact and not quiet and sys.stderr.isatty() else None
        made = estimate_run(
            settings,
            n,
            sample=sample,
            exact=exact,
            measured=measured,
            progress=bar.update if bar else _silent,
            claim=claim,
            cluster=cluster,
            scored=scored,
            others=others,
        )
    present(FORMATS, format, made, output, full=full)


def _settings(
    path: os.PathLike[str] | None, flags: Overrides, n: int | None, earlier: str | None
) -> Config:
    from dataclasses import replace

    from llm_batch.chain.config import load_config
    from llm_batch.estimating import DEFAULT_MODEL, config_of_run

    settings = load_config(path, flags)
    if settings.source is None and earlier is not None:
        # Nothing else says what is to be estimated.
        return config_of_run(earlier, flags) or settings
    if settings.source is None and n is not None and flags.data is None and flags.model is None:
        # Nobody chose the embedded model for a dataset that is only a number.
        return load_config(path, replace(flags, model=DEFAULT_MODEL))
    return settings


def _stratified(settings: Config, field: str | None) -> Config:
    if field is None:
        return settings
    sample = settings.sample.model_copy(update={"stratify": field})
    return settings.model_copy(update={"sample": sample})


def _played(settings: Config, n: int, yes: bool, quiet: bool) -> Measured:
    """The pilot, with the question, the progress and the signals of a run."""
    import signal

    from llm_batch.cli.progress import make_progress
    from llm_batch.cli.run import _confirm, _stop_on_signals, agree, confirm_overrun
    from llm_batch.running.pilot import pilot
    from llm_batch.running.run import Stop
    from llm_batch.sending.clock import STOP_SIGNALS

    agree(settings, yes)
    stop = Stop()
    before = {name: signal.getsignal(name) for name in STOP_SIGNALS}
    try:
        with make_progress(quiet) as progress:
            _stop_on_signals(stop, settings.engine)
            return pilot(
                settings,
                n,
                trusted=True,
                confirm=None if yes else progress.aside(_confirm),
                confirm_overrun=None if yes else progress.aside(confirm_overrun),
                progress=progress.update,
                say=progress.say,
                stop=stop,
            )
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


class _Bar:
    """How many prompts were counted, on a terminal."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from llm_batch.cli.console import talk

        self._progress = Progress(
            TextColumn("counted {task.completed:,.0f} of {task.total:,.0f}"),
            BarColumn(bar_width=20),
            TimeRemainingColumn(),
            console=talk(),
            transient=True,
        )
        self._task: Any = None

    def update(self, counted: int, whole: int) -> None:
        if self._task is None:
            self._task = self._progress.add_task("", total=whole)
        self._progress.update(self._task, completed=counted)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _silent(counted: int, whole: int) -> None:
    """Nothing is shown."""
