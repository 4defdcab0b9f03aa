"""``llmb init``: a commented config that runs as it is, for the demo or for one's own data."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from llm_batch.chain.config import Config
    from llm_batch.cli.columns import Roles, Table

_DATA = "Your own data"


class Choice(NamedTuple):
    """Models for those who have a key.

    Attributes:
        variable: The environment variable with the key.
        model: Cheap and quick.
        judge: Better than that, since a judge has to know more than who answers.
    """

    variable: str
    model: str
    judge: str


#: The first whose key is there is taken.
CHOICES = (
    Choice("OPENAI_API_KEY", "openai/gpt-4o-mini", "openai/gpt-4.1"),
    Choice("ANTHROPIC_API_KEY", "anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-4-6"),
    Choice("GEMINI_API_KEY", "gemini/gemini-2.5-flash-lite", "gemini/gemini-2.5-flash"),
    Choice("MISTRAL_API_KEY", "mistral/mistral-small-latest", "mistral/mistral-large-latest"),
    Choice("OPENROUTER_API_KEY", "openrouter/openai/gpt-4o-mini", "openrouter/openai/gpt-4.1"),
)
LOCAL = "local/smollm2-135m-instruct"
#: Of so few, nobody tries some first.
_FEW_ROWS = 5


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("llmb.toml"),
    data: Annotated[
        str | None,
        typer.Option(
            "--data", rich_help_panel=_DATA,
            help="Your file: .csv .jsonl .json .parquet .xlsx …; the config is written for it.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", rich_help_panel=_DATA,
            help="grade (answers), judge (answers that are there), compare (two answers), classify "
            "or extract (from texts).",
        ),
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(
            "--question", rich_help_panel=_DATA, metavar="COLUMN",
            help="The column that the model gets. Otherwise, llmb guesses.",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", rich_help_panel=_DATA, metavar="COLUMN",
            help="The column with the right answer or label; '' for none. Otherwise, llmb guesses.",
        ),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            "--answers", rich_help_panel=_DATA, metavar="COLUMN",
            help="The column with answers to judge; --task judge is meant then.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", rich_help_panel=_DATA,
            help="Model for every step. Without it: one whose API key you have set.",
        ),
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", rich_help_panel=_DATA, help="Model for the judge.")
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            "--delimiter", rich_help_panel=_DATA,
            help="What separates the cells of the CSV, if llmb guesses wrong.",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding", rich_help_panel=_DATA,
            help="Encoding of the file, if llmb guesses wrong: windows-1252.",
        ),
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(
            "--sheet", rich_help_panel=_DATA,
            help="Sheet of the workbook, by name or number. By default: the first.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing; check the config at PATH and its data.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:  # fmt: skip
    """Write a config file with comments, ready to run.

    With --data, llmb reads your file and writes the config for its columns.
    """
    from llm_batch.chain.config import DEMO_CONFIG
    from llm_batch.chain.overrides import command, expanded
    from llm_batch.cli.console import put, say
    from llm_batch.errors import ConfigError

    path = Path(expanded(path))
    about_data = {
        "--task": task, "--question": question, "--reference": reference, "--answers": answers,
        "--model": model, "--judge": judge, "--delimiter": delimiter, "--encoding": encoding,
        "--sheet": sheet,
    }  # fmt: skip
    given = [flag for flag, value in about_data.items() if value is not None]
    if check:
        if data is not None or given:
            raise ConfigError(
                f"{'--data' if data is not None else given[0]} does not go with --check",
                command("init", "--check", path),
            )
        _check(path)
        return
    if data is None and given:
        raise ConfigError(f"{given[0]} needs your data file", f"add --data FILE to {given[0]}")
    if path.exists() and not force:
        raise ConfigError(
            f"{path} exists already",
            f"to overwrite it: {command('init', '--force', path)}"
            if data is None
            else "add --force to overwrite it, or use another name: llmb init other.toml --data …",
        )
    if data is None:
        _write(path, DEMO_CONFIG.read_bytes())
        following = _next(path, "results.jsonl", ())
        shown = ", ".join(following[verb] for verb in ("estimate", "run", "report"))
        say(f"wrote {path}; edit it, then: {shown}")
        put(str(path))
        return
    from llm_batch.cli.columns import JUDGE, TASKS, look, rule_for, with_answers
    from llm_batch.cli.starter import Writer

    if task is not None and task not in (*TASKS, JUDGE):
        raise ConfigError(
            f"--task {task!r} is not known", f"tasks are {', '.join((*TASKS, JUDGE))}"
        )
    if answers and task not in (None, JUDGE):
        raise ConfigError(f"--answers does not go with --task {task}", f"leave out --task {task}")
    task = JUDGE if answers else task
    if data == "-":
        raise ConfigError(
            "standard input can be read only once", "save it to a file and use --data FILE"
        )
    table = look(Path(expanded(data)), _settings(delimiter, encoding, sheet))
    if answers:
        table.column(answers)
    others = replace(table, columns=tuple(c for c in table.columns if c.name != answers))
    roles = _roles(others, "grade" if task == JUDGE else task, question, reference)
    if task == JUDGE:
        roles = with_answers(table, roles, answers or "")
    # Who names a judge wants one, also where a rule would do.
    rule = rule_for(table, roles) if judge is None else ("", "")
    judged = roles.task != "classify" and not rule[0]
    steps, judges, why = _models(model, judge, easy=not judged)
    # Two configs in one folder have two results.
    output = "results.jsonl" if path.name == "llmb.toml" else f"{path.stem}-results.jsonl"
    commands = _next(path, output, _of_report(roles, judged))
    own = "" if model else why
    writer = Writer(table, roles, steps, judges, own, output, rule, task == JUDGE)
    text = writer.text(
        path.parent,
        [
            (commands["estimate"], "cost and time, before anything is sent"),
            (commands["run"], "run it; the same command resumes"),
            (commands["report"], "the results"),
        ],
    )
    _tell(table, roles)
    if not roles.given or judged:
        answering = steps if not roles.given else judges
        judging = f", judge: {judges}" if judges != answering and judged else ""
        say(f"  model: {answering}{judging} ({why})")
    if rule[0]:
        say(f"  scored by the rule {rule[0]!r}, without a judge, because the right answers "
            f"{rule[1]}   (or --judge MODEL)")  # fmt: skip
    _write(path, text.encode())
    if roles.task in ("grade", "compare") and not roles.given and not writer.asks:
        say(f"  edit the prompt in {path}: it sends the column alone, without saying what to do",
            style="yellow")  # fmt: skip
    _look_over(path, table, roles)
    say(f"wrote {path}; next: {commands['estimate']}")
    if table.rows > _FEW_ROWS:
        say(f"  then: {commands['try']}   (3 items first; {commands['run']} does the rest)")
    else:
        say(f"  then: {commands['run']}")
    say(f"  then: {commands['report']}")
    put(str(path))


def _settings(
    delimiter: str | None, encoding: str | None, sheet: str | None
) -> list[tuple[str, str]]:
    from llm_batch.cli.report import delimiter_of

    said = (("delimiter", delimiter_of(delimiter)), ("encoding", encoding), ("sheet", sheet))
    return [(name, value) for name, value in said if value]


def _next(config: Path, results: str, by: Sequence[str]) -> dict[str, str]:
    """What to type with a config, by what it does."""
    from llm_batch.chain.overrides import Typed, command

    typed = Typed(str(config))
    return {
        "estimate": typed.command("estimate"),
        "run": typed.command("run"),
        "try": typed.command("run", sample=3),
        "report": command("report", *((results,) if results != "results.jsonl" or by else ()), *by),
    }


def _of_report(roles: Roles, judged: bool) -> list[str]:
    """The flags by which a report shows all that the columns allow."""
    from llm_batch.reporting.reference import REFERENCE_NAMES

    flags = ["--by", roles.category] if roles.category else []
    if judged and roles.task == "grade" and roles.reference not in ("", *REFERENCE_NAMES):
        flags += ["--reference", roles.reference]
    return flags


def _write(path: Path, text: bytes) -> None:
    """Write a config, and beside it what editors check it by.

    Raises:
        ConfigError: It cannot be written.
    """
    from llm_batch.chain.schema import SCHEMA_FILE, TITLE
    from llm_batch.errors import ConfigError
    from llm_batch.record.files import deliver

    beside = path.with_name(SCHEMA_FILE.name)
    try:
        deliver(path, text, "llmb init")
        if path.suffix == ".toml" and (not beside.exists() or TITLE in _start_of(beside)):
            deliver(beside, SCHEMA_FILE.read_bytes(), "llmb init")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _start_of(path: Path) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(1000)


def _models(model: str | None, judge: str | None, easy: bool) -> tuple[str, str, str]:
    """The model of the steps, that of the judge, and why."""
    from llm_batch.sending.providers.embedded import is_installed

    if model is not None:
        return model, judge or model, "from --model"
    for choice in CHOICES:
        if os.environ.get(choice.variable, "").strip():
            better = choice.model if easy else choice.judge
            return choice.model, judge or better, f"because {choice.variable} is set"
    why = "runs on this machine, because no provider's API key is set"
    if not is_installed(LOCAL.partition("/")[2]):
        why = "no provider's API key is set, and this local model is not installed yet"
    return LOCAL, judge or LOCAL, why


# -------------------------------------------------------------------------------- the questions


def _roles(table: Table, task: str | None, question: str | None, reference: str | None) -> Roles:
    """Which column is what; what is not certain is asked where somebody can answer."""
    from llm_batch.cli.columns import guess

    roles = guess(table, task, question or "", reference)
    if not roles.unsure or not _on_terminal():
        return roles
    columns = [column for column in table.columns if column.filled and not column.nested]
    if "asked" in roles.unsure:
        shown = [column.name for column in columns if column.name != roles.id]
        question = _asked("Which column should the model get?", shown, roles.asked)
        roles = guess(table, task, question, reference)
    if "reference" in roles.unsure:
        shown = [column.name for column in columns if column.name not in (roles.asked, roles.id)]
        what = "label" if roles.task == "classify" else "answer"
        reference = _asked(f"Which column holds the right {what}?", shown, roles.reference, True)
        roles = guess(table, task, question or roles.asked, reference)
    return roles


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def _asked(sentence: str, names: Sequence[str], best: str, none: bool = False) -> str:
    """One of the names, by its number or as it is; empty for none.

    Raises:
        Interrupted: Nobody wants to answer.
    """
    from llm_batch.cli.console import printable, say
    from llm_batch.errors import Interrupted

    say(sentence)
    for number, name in enumerate(names, 1):
        say(f"  {number}  {name}")
    if none:
        say("  0  none")
    default = str(names.index(best) + 1) if best in names else "0" if none else "1"
    while True:
        try:
            said = typer.prompt("Number", default=default, err=True).strip()
        except typer.Abort:
            raise Interrupted("stopped at the question; nothing was written") from None
        if said == "0" and none:
            return ""
        if said.isdecimal() and 0 < int(said) <= len(names):
            return names[int(said) - 1]
        if said in names:
            return str(said)
        say(printable(f"type a number from {0 if none else 1} to {len(names)}"))


def _tell(table: Table, roles: Roles) -> None:
    """What was found and chosen, and how to choose otherwise."""
    from llm_batch.chain.overrides import command
    from llm_batch.cli.columns import JUDGE, TASKS, has_answers
    from llm_batch.cli.console import say
    from llm_batch.paper import words

    def shown(name: str) -> str:
        return words.clean(name, 60)

    rows = words.counted(table.rows, "row")
    say(f"{table.path}: {rows}; columns {', '.join(map(shown, table.names[:20]))}")
    for note in table.notes:
        say(f"  {note}")
    also = [JUDGE] if not roles.given and has_answers(table, roles) else []
    task = JUDGE if roles.given and roles.task == "grade" else roles.task
    others = ", ".join([*also, *(name for name in TASKS if name != task)])
    say(f"  task: {task}   (or --task {others})")
    what = "question" if roles.given else "the model gets"
    if table.column(roles.asked).is_request:
        say(f"  {what}: the messages in {shown(roles.asked)}, without its model and settings")
    else:
        say(f"  {what}: {shown(roles.asked)}   (or --question COLUMN)")
    if roles.given:
        other = "" if roles.task == "compare" else "   (or --answers COLUMN)"
        say(f"  answers to judge: {', '.join(map(shown, roles.given))}{other}")
    if roles.pictures:
        say(f"  pictures: {shown(roles.pictures)}")
    if roles.task != "extract":
        what = "right label" if roles.task == "classify" else "right answer"
        guessed = roles.reference and "reference" in roles.unsure
        said, none = (", a guess", ", or '' for none") if guessed else ("", "")
        say(f"  {what}: {shown(roles.reference) or 'none'}{said}   (or --reference COLUMN{none})")
    if roles.id or roles.category:
        named = [f"ids: {shown(roles.id)}"] if roles.id else []
        named += [f"categories: {shown(roles.category)}"] if roles.category else []
        say(f"  {'; '.join(named)}")
    if roles.task == "grade" and not roles.given and not roles.reference:
        sorted_by = [c for c in table.columns if c.labels and c.name not in (roles.asked, roles.id)]
        if len(sorted_by) == 1:
            label = sorted_by[0].name
            flags = ("--data", table.path, "--task", "classify", "--reference", label, "--force")
            say(f"  if {shown(label)} is the right answer: {command('init', *flags)}")
    if table.bad_rows:
        count = words.counted(len(table.bad_rows), "row")
        say(f"{count} cannot be read and will be skipped: {words.clean(table.bad_rows[0], 160)}",
            style="yellow")  # fmt: skip
    for column in table.columns:
        if column.unique or column.name == roles.id:
            continue
        say(f"  {shown(column.name)} is not used as the id: two rows have the same value")


def _tell_empty(table: Table, roles: Roles) -> None:
    """The cells without anything in them that a run would meet."""
    from llm_batch.cli.console import say
    from llm_batch.paper import words

    rows = words.counted(table.rows, "row")
    for name in dict.fromkeys([roles.asked, roles.reference, *roles.given]):
        empty = table.rows - table.column(name).filled if name else 0
        if empty:
            say(f"{empty:,} of {rows} have nothing in {words.clean(name, 60)}", style="yellow")


# --------------------------------------------------------------------------------------- --check


def checked(config: Config) -> tuple[int, int, Sequence[str], Sequence[str]]:
    """Look at a config and its data as a run does before it sends anything.

    Returns:
        Items that would be played, rows there are, how they were read, and what else may be a
        mistake.

    Raises:
        LlmbError: It could not run.
    """
    from llm_batch.dataset import draw
    from llm_batch.sending.checks import (
        check_before_spending,
        empty_prompts,
        long_prompts,
        risks,
    )

    chain, sample = config.chain(), config.sample
    with draw(
        config.data,
        config.data_path(),
        size=sample.size,
        seed=sample.seed,
        stratify=sample.stratify,
        used=config.fields_used(),
    ) as drawn:
        check_before_spending(config, chain, next(iter(drawn.items())))
        config.engine.check(config, True)
        odd = [
            *risks(config),
            *empty_prompts(chain, drawn.items),
            *long_prompts(config, drawn.items),
        ]
        return drawn.size, drawn.population, drawn.notes, odd


def _check(path: Path) -> None:
    """``--check``: say what would stop a run, or that nothing would."""
    from llm_batch.chain.config import load_config
    from llm_batch.cli.console import say
    from llm_batch.paper import words
    from llm_batch.sending.trust import not_agreed

    config = load_config(path)
    played, rows, notes, odd = checked(config)
    asked = [
        f"a run will ask you first, because this {each.sentence}" for each in not_agreed(config)
    ]
    for note in [*notes, *odd, *asked]:
        say(f"note: {note}")
    models = ", ".join(dict.fromkeys(step.model for step in config.asking))
    data = "the bundled demo questions" if config.data.path is None else config.data.path
    say(
        f"{path} is valid: {words.counted(len(config.steps), 'step')} with {models}, "
        f"{played:,} of {words.counted(rows, 'row')} in {data}; nothing was sent"
    )


def _look_over(path: Path, table: Table, roles: Roles) -> None:
    """Check what was written: what is still in the way is said, with what to do."""
    from llm_batch.chain.config import load_config
    from llm_batch.cli.console import say
    from llm_batch.errors import LlmbError

    try:
        *_, odd = checked(load_config(path))
    except LlmbError as error:
        _tell_empty(table, roles)  # else told with what it means
        say(f"before it can run: {error.message}", style="yellow")
        if error.hint:
            say(f"  try: {error.hint}")
        return
    for note in odd:
        say(f"note: {note}")
