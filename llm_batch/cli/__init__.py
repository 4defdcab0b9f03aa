"""The ``llmb`` command: words, flags and exit codes; everything else is called."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from llm_batch import __version__
from llm_batch.cli.batches import batches
from llm_batch.cli.doctor import doctor
from llm_batch.cli.estimate import estimate
from llm_batch.cli.failures import failures
from llm_batch.cli.init import init
from llm_batch.cli.label import label
from llm_batch.cli.merge import merge
from llm_batch.cli.models import models
from llm_batch.cli.report import report
from llm_batch.cli.run import run
from llm_batch.cli.show import show
from llm_batch.cli.view import view
from llm_batch.errors import EXIT_INTERRUPTED, LlmbError

app = typer.Typer(
    name="llmb",
    help="Run a chain of LLM calls over a dataset: safe, cheap, fast and statistically honest.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 a bug; 2 command, config or data is wrong, nothing was spent; "
    "3 the provider refused the run; 4 incomplete; 130 interrupted. "
    "After 4 and 130 the same command resumes.",
)
for command in (
    init,
    estimate,
    run,
    batches,
    merge,
    view,
    report,
    show,
    failures,
    label,
    models,
    doctor,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmb {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run a chain of LLM calls over a dataset: safe, cheap, fast and statistically honest."""


def main() -> None:
    """Entry point: errors a user can meet become one sentence and an exit code."""
    from llm_batch.cli.console import guard_streams

    guard_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except LlmbError as error:
        from llm_batch.cli.console import say

        say(f"error: {error.message}", style="red")
        if error.hint:
            say(f"  try: {error.hint}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
