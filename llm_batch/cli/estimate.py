"""``llmb estimate``: what a run will cost, take and prove."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_batch.cli import complete, options
from llm_batch.errors import ConfigError

if TYPE_CHECKING:
    from llm_batch.chain.config import Config
    from llm_batch.chain.overrides import Overrides
    from llm_batch.estimating import Measured
    from llm_batch.estimating.scores import Scored


_how = partial(typer.Option, rich_help_panel="How to estimate")
#: More combinations of models than this fill no table that anyone reads.
_MOST = 24


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
    n: Annotated[int | None, options.what(
        "--n", min=1, help="Items in the whole dataset, if you have no file yet.",
    )] = None,
    config: options.ConfigPath = None,
    data: options.DataPath = None,
    sample: options.SampleSize = None,
    seed: options.Seed = None,
    model: Annotated[str | None, options.what(
        "--model", autocompletion=complete.models,
        help="Model for every step except the judge; several, separated by commas, are compared.",
    )] = None,
    judge: Annotated[str | None, options.what(
        "--judge", autocompletion=complete.models,
        help="Model for the judge; several, separated by commas, are compared: gpt-4,gpt-4o.",
    )] = None,
    api_base: options.ApiBase = None,
    exact: Annotated[bool, _how(
        "--exact", help="Count the tokens of every prompt, not of a sample of 2,000.",
    )] = False,
    pilot: Annotated[int | None, _how(
        "--pilot", min=1,
        help="Really run the first N items and extrapolate their cost and time; llmb run does not "
        "pay for them again.",
    )] = None,
    earlier: Annotated[str | None, _how(
        "--from", metavar="RESULTS.jsonl",
        help="Use what an earlier run measured instead of assumptions; sends nothing.",
    )] = None,
    margin: options.Margin = None,
    confidence: options.Confidence = 0.95,
    expected_rate: options.ExpectedRate = None,
    mean_sd: options.MeanSd = None,
    detect: options.Detect = None,
    paired: options.Paired = False,
    discordance: options.Discordance = None,
    power: options.Power = 0.8,
    zero_failures: options.ZeroFailures = None,
    cluster: options.Cluster = None,
    cluster_size: options.ClusterSize = None,
    icc: options.Icc = None,
    judge_sensitivity: options.Sensitivity = None,
    judge_specificity: options.Specificity = None,
    stratify: options.Stratify = None,
    workers: options.Workers = None,
    rpm: options.Rpm = None,
    tpm: options.Tpm = None,
    tier: options.Tier = None,
    budget: Annotated[float | None, options.limit(
        "--budget", min=0, help="The most USD the run may cost; shows how many items that buys.",
    )] = None,
    engine: options.Engine = None,
    output: options.Output = None,
    format: Annotated[str, options.output(
        "--format", autocompletion=complete.formats, help="text, json or md.",
    )] = "text",
    full: options.Full = False,
    yes: Annotated[bool, options.output(
        "--yes", "-y",
        help="Do not ask before the pilot spends money, or about where the config sends data.",
    )] = False,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Show what a run will cost, how long it will take and how precise the result will be.

    Sends nothing, except with --pilot.
    """
    from llm_batch.chain.overrides import Overrides
    from llm_batch.cli.console import chosen, present
    from llm_batch.errors import ConfigError
    from llm_batch.estimating import FORMATS
    from llm_batch.estimating import estimate as estimate_run
    from llm_batch.estimating.sample_size import Claim, check
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
            engine=engine,
        )
        for generator, judge_ in combinations(model, judge)
    ]  # fmt: skip
    if pilot is not None and earlier is not None:
        raise ConfigError("--pilot and --from were both given", "choose one of them")
    settings, *others = (_settings(config, flags, earlier) for flags in compared)
    if stratify is not None:
        settings, *others = (_sampled(each, stratify=stratify) for each in (settings, *others))
    if n is None and earlier is None and not quiet:
        from llm_batch.cli.run import say_what_runs

        say_what_runs(settings)
    measured: Measured | None = None
    scored: Scored | None = None
    if pilot is not None:
        if n is not None and settings.data.path is None:
            raise ConfigError("a pilot needs data to play", "name it with --data questions.jsonl")
        if n is not None and sample is None:  # then the sample is the dataset
            settings = _sampled(settings, size=0)
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


def _settings(path: os.PathLike[str] | None, flags: Overrides, earlier: str | None) -> Config:
    from llm_batch.chain.config import load_config
    from llm_batch.estimating import config_of_run

    settings = load_config(path, flags)
    if settings.source is None and earlier is not None:
        # Nothing else says what is to be estimated.
        return config_of_run(earlier, flags) or settings
    return settings


def _sampled(settings: Config, **changes: Any) -> Config:
    sample = settings.sample.model_copy(update=changes)
    return settings.model_copy(update={"sample": sample})


def _played(settings: Config, n: int, yes: bool, quiet: bool) -> Measured:
    """The pilot, with the question, the progress and the signals of a run."""
    import signal

    from llm_batch.cli.progress import make_progress
    from llm_batch.cli.run import _confirm, agree, confirm_overrun, stop_on_signals
    from llm_batch.running.pilot import pilot
    from llm_batch.sending.clock import STOP_SIGNALS, Stop

    agree(settings, yes)
    stop = Stop()
    before = {name: signal.getsignal(name) for name in STOP_SIGNALS}
    try:
        with make_progress(quiet) as progress:
            stop_on_signals(stop, settings.engine)
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
