"""``llmb run``: play the chain, or go on where it stopped."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_batch.cli import options

if TYPE_CHECKING:
    from llm_batch.chain.config import Config
    from llm_batch.engines import Kind
    from llm_batch.estimating import Estimate
    from llm_batch.running.progress import Overrun
    from llm_batch.sending.clock import Stop

_earlier = partial(typer.Option, rich_help_panel="Earlier calls")
_early = partial(typer.Option, rich_help_panel="Stopping early")
_leaving = partial(typer.Option, rich_help_panel="With --engine batch")
#: Seconds in which a run that was left at the end of its grace writes its last lines.
_BEYOND_GRACE = 4.0
#: How often Python looks for garbage as a rule: errors may keep large requests in it.
_USUAL = gc.get_threshold()


def run(
    config: options.ConfigPath = None,
    data: options.DataPath = None,
    sample: options.SampleSize = None,
    seed: options.Seed = None,
    model: options.ModelName = None,
    judge: options.JudgeName = None,
    api_base: options.ApiBase = None,
    workers: options.Workers = None,
    rpm: options.Rpm = None,
    tpm: options.Tpm = None,
    tier: options.Tier = None,
    budget: options.BudgetUsd = None,
    engine: options.Engine = None,
    deadline: Annotated[str | None, options.limit(
        "--deadline",
        help="With --engine batch: send what is not finished by then as ordinary calls. 6h, 90m.",
    )] = None,
    live_tail: Annotated[str | None, options.limit(
        "--live-tail",
        help="With --engine batch: where no more than this share of the items is left over of a "
        "step, it goes live at once. 2%.",
    )] = None,
    ray_address: Annotated[str | None, options.limit(
        "--ray-address", metavar="HOST:PORT",
        help="With --engine ray: a cluster that is there, or auto; local for one of its own. "
        "[default: RAY_ADDRESS]",
    )] = None,
    submit: Annotated[bool, _leaving(
        "--submit", help="Submit what can be, and leave; --collect goes on from there.",
    )] = False,
    collect: Annotated[bool, _leaving(
        "--collect",
        help="Take what has been answered, submit the next step, and leave. Exit code 4 while "
        "jobs are open, so fit for cron.",
    )] = False,
    cancel: Annotated[bool, _earlier(
        "--cancel",
        help="Cancel this output's batch jobs at the provider and keep what they finished.",
    )] = False,
    forget_job: Annotated[str | None, _earlier(
        "--forget-job", metavar="ID",
        help="Give up one batch job: do not collect its answers, and send its requests again.",
    )] = None,
    shard: Annotated[str | None, options.what(
        "--shard", metavar="K/N",
        help="Play one of N parts of the sample, 3/16; llmb merge puts them together.",
    )] = None,
    output: Annotated[str | None, options.output(
        "--output", "-o",
        help="Results file, .jsonl or .parquet; journal and manifest are written next to it. "
        "[default: results.jsonl]",
    )] = None,
    dry_run: Annotated[bool, options.what(
        "--dry-run", help="Show the first request of each step and the estimate; send nothing.",
    )] = False,
    retry_failed: Annotated[bool, _earlier(
        "--retry-failed",
        help="Ask again where the answer cannot be used: cut off, empty, filtered or unreadable. "
        "(Failed calls are always tried again.)",
    )] = False,
    overwrite: Annotated[bool, _earlier(
        "--overwrite", help="Start over; the earlier run's files are renamed, not deleted.",
    )] = False,
    reuse: Annotated[list[str] | None, _earlier(
        "--reuse", metavar="OTHER.calls.jsonl",
        help="Use answers from another run's journal; may be given several times.",
    )] = None,
    until_margin: Annotated[float | None, _early(
        "--until-margin", min=0.001, max=0.5,
        help="Stop when the pass rate is this precise: 0.03 is ±3 points.",
    )] = None,
    until_decided: Annotated[float | None, _early(
        "--until-decided", min=0.0, max=1.0,
        help="Stop when the pass rate is clearly above or below this (5 % error in all). Exit code "
        "0 above, 5 below, 6 undecided.",
    )] = None,
    grace: Annotated[str | None, options.limit(
        "--grace",
        help="When stopped, wait no longer than this for what is in flight. 25s, below the 30 of "
        "Kubernetes.",
    )] = None,
    undecided_passes: Annotated[bool, _early(
        "--undecided-passes", help="With --until-decided: end in 0 and not in 6 where it is open.",
    )] = False,
    log_file: Annotated[str | None, options.output(
        "--log-file",
        help="Append a log to this file, one JSON object per line, without API keys.",
    )] = None,
    yes: Annotated[bool, options.output(
        "--yes", "-y", help="Do not ask about the cost, or about where the config sends data.",
    )] = False,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Run the prompts over a sample of the data. The same command resumes; nothing is paid twice.

    Prints the path of the results file.
    """
    from llm_batch.chain.config import load_config
    from llm_batch.chain.overrides import Overrides, as_word
    from llm_batch.cli.console import printable, put, say
    from llm_batch.cli.progress import make_progress
    from llm_batch.errors import ConfigError, Incomplete, OutputError
    from llm_batch.paper.text import said
    from llm_batch.running.earlier import Earlier
    from llm_batch.running.progress import concluded
    from llm_batch.running.run import run as run_chain
    from llm_batch.running.stopping import Until
    from llm_batch.sending.clock import Stop

    gc.freeze()
    gc.set_threshold(*_USUAL)
    flags = Overrides(
        data=data, sample=sample, seed=seed, model=model, judge=judge, api_base=api_base,
        workers=workers, rpm=rpm, tpm=tpm, tier=tier, budget=budget, engine=engine, output=output,
        deadline=deadline, live_tail=live_tail, shard=shard, ray_address=ray_address,
    )  # fmt: skip
    settings = load_config(config, flags)
    if cancel:
        from llm_batch.cli.batches import end_jobs

        agree(settings, yes, jobs=True)
        end_jobs(settings)
        return
    if forget_job is not None:
        from llm_batch.cli.batches import forget

        forget(settings, forget_job)
        return
    leaving = {"--deadline": deadline, "--live-tail": live_tail, "--submit": submit,
               "--collect": collect}  # fmt: skip
    if (flag := next((name for name, value in leaving.items() if value), "")) and not (
        settings.engine.by_batch
    ):
        raise ConfigError(
            f"{flag} is for batches, and this run uses the engine {settings.engine.name}",
            "add --engine batch",
        )
    if collect and (submit or overwrite):
        other = "--submit" if submit else "--overwrite"
        raise ConfigError(
            f"--collect goes on with a run, and {other} begins one", "use one of them"
        )
    if ray_address is not None and settings.engine.name != "ray":
        raise ConfigError(
            f"--ray-address is for a Ray cluster, and this run goes by {settings.engine.name}",
            "add --engine ray",
        )
    agreed = (collect and _is_submitted(settings)) or yes
    if until_margin is not None or until_decided is not None:
        _check_verdicts(settings)
    if undecided_passes and until_decided is None:
        raise ConfigError("--undecided-passes is for a gate", "add --until-decided 0.9")
    say_what_runs(settings)
    if dry_run:
        from llm_batch.paper import text
        from llm_batch.running.pilot import dry_run as shown

        put(printable(text.format(shown(settings))))
        return
    agree(settings, yes)
    stop = Stop(_grace(grace))
    with make_progress(quiet) as progress:
        stop_on_signals(stop, settings.engine)
        summary = run_chain(
            settings,
            trusted=True,
            confirm=None if agreed else progress.aside(_confirm),
            confirm_overrun=None if yes else progress.aside(confirm_overrun),
            progress=progress.update,
            say=progress.say,
            stop=stop,
            earlier=Earlier(retry_failed, overwrite, reuse or ()),
            log_file=log_file,
            until=Until(until_margin, until_decided, undecided_passes=undecided_passes),
            leave="submitted" if submit else "pending" if collect else "",
        )
    for sentence, warns in said(concluded(summary)):
        say(sentence, style="yellow" if warns else "")
    try:
        put(as_word(summary.path))
    except OutputError as error:  # much was spent, and all of it is kept
        raise Incomplete(error.message, f"the results are in {summary.path}") from error
    if stop.is_overdue:
        # Threads that wait for a reply would keep the process; all that came is on disk.
        sys.stdout.flush()
        os._exit(summary.exit_code)
    raise typer.Exit(summary.exit_code)


def _grace(text: str | None) -> float | None:
    from llm_batch.chain.options import duration_seconds
    from llm_batch.errors import ConfigError

    if text is None:
        return None
    if (seconds := duration_seconds(text)) is None:
        raise ConfigError(f"--grace is no duration: {text!r}", "write 25s or 2m")
    return seconds


def _check_verdicts(settings: Any) -> None:
    from llm_batch.errors import ConfigError

    if settings.score is None or settings.score.pass_at is None:
        raise ConfigError(
            "--until-margin and --until-decided need a pass rate, and this config has none",
            "set field and pass_at under [score]; llmb init shows how",
        )


def _is_submitted(settings: Config) -> bool:
    """Whether exactly this run was begun before, and so agreed to.

    Raises:
        ConfigError: No run of this output was.
    """
    from llm_batch.errors import ConfigError
    from llm_batch.record.files import run_paths
    from llm_batch.record.manifest import Manifest, config_record, hash_of

    paths = run_paths(settings.run.output)
    before = Manifest.read(paths.manifest)
    if before is None:
        raise ConfigError(
            f"there is no run of {paths.results} to collect answers for",
            "begin it with --submit in place of --collect",
        )
    return before.config_hash == hash_of(config_record(settings))


def say_what_runs(settings: Any) -> None:
    from llm_batch.cli.console import say

    if settings.source is not None:
        if settings.data.path is None:
            say("the config names no data: bundled demo questions are taken; --data names yours")
        return
    models = ", ".join(dict.fromkeys(step.model for step in settings.asking))
    data = "the bundled demo questions" if settings.data.path is None else settings.data.path
    say(f"no llmb.toml here: built-in prompts, {models} over {data} (llmb init writes a config)")


def _confirm(estimate: Estimate) -> bool:
    from llm_batch.cli.console import say
    from llm_batch.errors import ConfigError
    from llm_batch.paper import words

    if estimate.cost is None:
        models = (step.model for step in estimate.steps if step.cost is None)
        unpriced = ", ".join(dict.fromkeys(models))
        shown = f"has an unknown cost, because {unpriced} has no price"
    else:
        cost = estimate.cost
        shown = f"is expected to cost {words.about_usd(cost.value)} ({words.about_usd_range(cost)})"
    if not sys.stdin.isatty():
        raise ConfigError(
            f"this run {shown}, and there is no terminal to ask at",
            "add --yes to agree, or --budget USD to cap it",
        )
    say(f"This run makes {estimate.calls.value:,.0f} calls and {shown}.")
    return _goes_on()


def confirm_overrun(overrun: Overrun) -> bool:
    """Ask whether a run goes on that has left its estimate; nobody asked is a no.

    Where nobody can be asked, a budget is what was agreed to.
    """
    from llm_batch.cli.console import say
    from llm_batch.errors import Interrupted
    from llm_batch.paper import words

    if sys.stdin.isatty():
        say(f"{overrun}; calls already sent will finish, and no new one starts until you answer",
            style="yellow")  # fmt: skip
        try:
            return _goes_on()
        except Interrupted:
            return False
    if overrun.budget is not None:
        say(f"{overrun}; it continues, up to its budget of {words.usd(overrun.budget)}")
    return overrun.budget is not None


def agree(settings: Config, yes: bool, jobs: bool = False) -> None:
    """Name what the config's file sends where, and ask whether that is meant, if it is strange.

    A yes at the terminal is remembered; ``yes`` holds for this command. Where nobody agrees it is a
    `ConfigError`.
    """
    from llm_batch.cli.console import say
    from llm_batch.errors import ConfigError
    from llm_batch.sending.trust import author, not_agreed, refusal, remember

    found = not_agreed(settings, jobs)
    if not found:
        return
    if not yes and not sys.stdin.isatty():
        raise refusal(settings, found, "add --yes to agree")
    for concern in found:
        say(f"{author(settings)} {concern.sentence}", style="yellow")
    if yes:
        return
    if any(concern.does == "sends" for concern in found):
        say("Whoever wrote this file may be able to read that. Continue only if you trust them.")
    else:
        say("Somebody else may have made this link. Continue only if you made it yourself.")
    if not _goes_on():
        raise ConfigError("not run: you did not agree to what the config does; nothing was sent")
    if (path := remember(settings, found)) is not None:
        say(f"remembered for this folder in {path}")


def _goes_on() -> bool:
    from llm_batch.errors import Interrupted

    # Nothing is in flight yet: Ctrl-C here means no.
    stopping = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm("Continue?", default=False, err=True)
    except typer.Abort:
        raise Interrupted("not run: stopped at the question, and nothing was sent") from None
    finally:
        signal.signal(signal.SIGINT, stopping)


def stop_on_signals(stop: Stop, engine: Kind) -> None:
    """The first Ctrl-C, SIGTERM or closed terminal finishes what is in flight.

    The second stops now, but never that of a terminal: shells pass it on, so it comes twice.
    """
    from llm_batch.cli.console import say
    from llm_batch.errors import EXIT_INTERRUPTED
    from llm_batch.sending.clock import HANG_UP, STOP_SIGNALS

    heard: list[int] = []

    def handle(number: int, frame: object) -> None:
        first = not heard
        heard.append(number)
        if len(heard) - heard.count(HANG_UP) > 1:
            # Every finished call is in the journal; threads in the middle of one would keep
            # a plain exit waiting for them.
            os._exit(EXIT_INTERRUPTED)
        if not first:
            return
        stop("interrupted")
        say(f"stopping: {engine.on_stop}; press Ctrl-C again to stop now")
        if stop.grace is not None:
            # Where the main thread itself waits for a reply, nobody looks at the clock.
            last = threading.Timer(stop.grace + _BEYOND_GRACE, os._exit, (EXIT_INTERRUPTED,))
            last.daemon = True
            last.start()

    for signum in STOP_SIGNALS:
        if signum != HANG_UP or signal.getsignal(signum) is not signal.SIG_IGN:  # nohup
            signal.signal(signum, handle)
