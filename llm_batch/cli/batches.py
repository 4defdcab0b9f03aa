"""``llmb batches``: the batch jobs of a run at its providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llm_batch.cli import options

if TYPE_CHECKING:
    from llm_batch.chain.config import Config


def batches(
    results: Annotated[str | None, typer.Argument(
        help="Results file of the run; without it, that of the config."
    )] = None,
    config: options.ConfigPath = None,
    cancel: Annotated[bool, typer.Option(
        "--cancel", help="End those that are open, and keep what they finished.",
    )] = False,
    forget_job: Annotated[str | None, typer.Option(
        "--forget-job", metavar="ID",
        help="Give one up: its answers are not collected, its requests made again.",
    )] = None,
    yes: Annotated[bool, typer.Option(
        "--yes", "-y", help="Do not ask about what the config sends where.",
    )] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:  # fmt: skip
    """Show the batch jobs of a run: how far they are, how old, and what they cost so far."""
    from llm_batch.chain.config import load_config
    from llm_batch.chain.overrides import Overrides, Typed
    from llm_batch.cli.console import deliver
    from llm_batch.cli.run import agree
    from llm_batch.engines.batch.listing import document, list_jobs
    from llm_batch.paper import json as as_json
    from llm_batch.paper import text
    from llm_batch.sending.clock import SystemClock

    settings = load_config(config, Overrides(output=results))
    if forget_job is not None:
        forget(settings, forget_job)
        return
    agree(settings, yes, jobs=True)
    if cancel:
        end_jobs(settings)
        return
    listing = list_jobs(settings, SystemClock())
    if json:
        deliver(as_json.format(listing), None)
        return
    typed = Typed(str(config or ""), Overrides(output=results))
    collecting = typed.command("run", "--collect", engine="batch")
    ending = typed.command("run", "--cancel")
    deliver(text.format(document(listing, collecting, ending)), None)


def end_jobs(settings: Config) -> None:
    """Cancel the jobs of an output at their providers, and say what was kept."""
    from llm_batch.cli.console import say
    from llm_batch.cli.run import stop_on_signals
    from llm_batch.engines import ENGINES
    from llm_batch.engines.batch.engine import cancel_jobs
    from llm_batch.paper import words
    from llm_batch.sending.clock import Stop

    stop = Stop()
    stop_on_signals(stop, ENGINES["batch"])
    ending = cancel_jobs(settings, stop.clock, say, trusted=True)
    if ending.left:
        say(f"{ending.left:,} left running; llmb run --engine batch collects those of this run")
    if not ending.jobs:
        if not ending.left:
            say("this output has no batch jobs at a provider")
        return
    cost = "" if ending.cost is None else f" ({words.usd(ending.cost)})"
    say(
        f"{words.counted(ending.jobs, 'batch job')} ended: {ending.kept:,} answers kept{cost}, "
        f"{ending.dropped:,} requests not finished; llmb run goes on from there"
    )


def forget(settings: Config, job: str) -> None:
    """Give a job up, by its id at the provider or ours."""
    from llm_batch.cli.console import say
    from llm_batch.engines.batch.job_log import forget_job

    count = forget_job(settings, job)
    say(f"gave up {job}, with {count:,} requests; llmb run sends them again")
