"""``llmb doctor``: whether a run would go, before anything is spent."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from llm_batch.cli import options


def doctor(
    config: options.ConfigPath = None,
    data: options.DataPath = None,
    model: options.ModelName = None,
    judge: options.JudgeName = None,
    api_base: options.ApiBase = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Also send one tiny call to each model; tells its price first."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check config, data, keys, endpoints, models and disk. Spends nothing. Exit code 0 or 2."""
    from llm_batch.chain.overrides import Overrides
    from llm_batch.cli.console import deliver, say
    from llm_batch.errors import EXIT_USAGE
    from llm_batch.running.doctor import DIAGNOSIS_FORMATS, examine

    flags = Overrides(data=data, model=model, judge=judge, api_base=api_base)
    given = {
        "--config": config, "--data": data, "--model": model, "--judge": judge,
        "--api-base": api_base,
    }  # fmt: skip
    same = [word for flag, value in given.items() if value for word in (flag, str(value))]
    again = shlex.join(["llmb", "estimate", *same])
    made = examine(config, flags, probe=probe, say=say, again=again)
    deliver(DIAGNOSIS_FORMATS["json" if json else "text"](made), None)
    if not made.ok:
        raise typer.Exit(EXIT_USAGE)
