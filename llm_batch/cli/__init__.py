"""The ``llmb`` command: words, flags and exit codes; everything else is called."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from llm_batch import __version__
from llm_batch.chain.overrides import as_word
from llm_batch.cli.batches import batches
from llm_batch.cli.compare import baseline, compare
from llm_batch.cli.doctor import doctor
from llm_batch.cli.estimate import estimate
from llm_batch.cli.init import init
from llm_batch.cli.items import export, failures, show
from llm_batch.cli.label import label
from llm_batch.cli.merge import merge
from llm_batch.cli.models import models
from llm_batch.cli.report import report
from llm_batch.cli.run import run
from llm_batch.cli.view import view
from llm_batch.errors import EXIT_INTERRUPTED, ConfigError, LlmbError

_COMMANDS = {
    command.__name__: command
    for command in (
        *(init, estimate, run, batches, merge, view, report, compare),
        *(show, failures, export, label, models, doctor),
    )
}

_HELP = ["-h", "--help"]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmb {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run LLM prompts over a dataset, score the answers, and report what you can rely on."""


def _without_flags(command: Callable[..., None]) -> Callable[[], None]:
    def listed() -> None: ...

    listed.__name__, listed.__doc__ = command.__name__, command.__doc__
    return listed


def _resolved(files: Sequence[str]) -> ConfigError:
    """What to say where a shell has put the files that fit a pattern in its place."""
    above, end = (os.path.dirname(files[0]), os.path.splitext(files[0])[1])  # noqa: PTH120, PTH122
    pattern = as_word(os.path.join(above, f"*{end}"))  # noqa: PTH118
    return ConfigError(
        f"--data takes one word, and {len(files)} follow: the shell has resolved a pattern",
        f"put the pattern in quotes: --data {shlex.quote(pattern)}",
    )


class _Command(TyperCommand):
    """A command in whose help square brackets are words: typer takes them for markup."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for each in self.params:
            if said := getattr(each, "help", None):
                each.help = said.replace("[", "\\[")  # type: ignore[attr-defined]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            after = given[given.index("--data") + 1 :] if "--data" in given else []
            files = list(itertools.takewhile(lambda word: not word.startswith("-"), after))
            if len(files) > 1 and "unexpected extra argument" in str(error):
                raise _resolved(files) from None
            raise


def app_of(words: Sequence[str] = ()) -> typer.Typer:
    """All commands, or what these words need: typer looks at the flags of all for 50 ms."""
    called = words[0] if words else ""
    commands: Iterable[Callable[..., None]] = _COMMANDS.values()
    if called in _COMMANDS:
        commands = [_COMMANDS[called]]
    elif called in _HELP:
        commands = map(_without_flags, commands)
    made = typer.Typer(
        name="llmb",
        help="Run LLM prompts over a dataset, score the answers, and report what you can rely on.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": _HELP},
        epilog="Exit codes: 0 done; 1 a bug in llmb; 2 the command, config or data is wrong, and "
        "nothing was spent; 3 the provider refused the run; 4 incomplete; 5 a gate failed; 6 a "
        "gate is undecided; 130 interrupted. After 4 or 130, repeat the command to resume.",
        callback=root,
    )
    for command in commands:
        made.command(cls=_Command)(command)
    if called not in _COMMANDS:
        made.add_typer(baseline, name="baseline")
    return made


app = app_of()


#: What typer imports with its help, and never draws here: help is no Markdown, and a traceback is
#: Python's own. The two take a third of the time of ``--help``.
_NOT_DRAWN = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}


def _prepare_help() -> None:
    """Import what typer draws help with, without `_NOT_DRAWN`."""
    missing = [name for name in _NOT_DRAWN if name not in sys.modules]
    for name in missing:
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], _NOT_DRAWN[name], None)
    try:
        import typer.rich_utils  # noqa: F401
    finally:
        for name in missing:
            del sys.modules[name]


def main() -> None:
    """Entry point: errors a user can meet become one sentence and an exit code."""
    from llm_batch.cli.console import guard_streams

    # Plugins of pydantic are looked for in all packages that are installed; none is of use here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    guard_streams()
    if len(sys.argv) == 1 or set(_HELP).intersection(sys.argv):
        _prepare_help()
    try:
        try:
            app_of(sys.argv[1:])()
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
