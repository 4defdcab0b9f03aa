"""Flags that several commands share: the same name means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_WHAT = "What to run"
_LIMITS = "Limits"
_OUTPUT = "Output"

ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="LLMB_CONFIG", show_envvar=True, rich_help_panel=_WHAT,
        help="Config file; llmb.toml in the working directory by default.",
    ),
]  # fmt: skip
DataPath = Annotated[
    str | None,
    typer.Option(
        "--data", rich_help_panel=_WHAT,
        help="Dataset: .jsonl .json .csv .parquet .xlsx (or .gz, .zst …), or - for stdin.",
    ),
]  # fmt: skip
SampleSize = Annotated[
    int | None,
    typer.Option("--sample", min=0, rich_help_panel=_WHAT, help="Items to draw; 0 means all."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", rich_help_panel=_WHAT, help="Seed of the random order.")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        rich_help_panel=_WHAT,
        help="Model of every step but the judges: openai/gpt-4o-mini.",
    ),
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge", rich_help_panel=_WHAT,
        help="Model of the judges: the step the score comes from, and the others of a panel "
        "(named judge_…, with the same field, or read by that step).",
    ),
]  # fmt: skip
ApiBase = Annotated[
    str | None,
    typer.Option(
        "--api-base", rich_help_panel=_WHAT,
        help="URL of an OpenAI-compatible server: http://127.0.0.1:8000/v1.",
    ),
]  # fmt: skip
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, rich_help_panel=_LIMITS, help="Calls at once. [default: 5]"),
]
Rpm = Annotated[
    float | None,
    typer.Option("--rpm", rich_help_panel=_LIMITS, help="Requests a minute, per model."),
]
Tpm = Annotated[
    float | None,
    typer.Option("--tpm", rich_help_panel=_LIMITS, help="Tokens a minute, per model."),
]
Tier = Annotated[
    str | None,
    typer.Option(
        "--tier", rich_help_panel=_LIMITS,
        help="Your provider's usage tier, for limits not set otherwise: openai-1,anthropic-2.",
    ),
]  # fmt: skip
BudgetUsd = Annotated[
    float | None,
    typer.Option(
        "--budget",
        min=0,
        rich_help_panel=_LIMITS,
        help="USD that the run may cost in all; never exceeded.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", rich_help_panel=_OUTPUT, help="File to write; - for stdout."),
]
Full = Annotated[
    bool,
    typer.Option(
        "--full", rich_help_panel=_OUTPUT, help="Show everything, not only what fits a screen."
    ),
]
