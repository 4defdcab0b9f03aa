"""Flags that several commands share: the same name means the same everywhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

#: An option under a heading of ``--help``.
what = partial(typer.Option, rich_help_panel="What to run")
limit = partial(typer.Option, rich_help_panel="Limits")
output = partial(typer.Option, rich_help_panel="Output")

ConfigPath = Annotated[Path | None, what(
    "--config", "-c", envvar="LLMB_CONFIG", show_envvar=True,
    help="Config file; llmb.toml in the working directory by default.",
)]  # fmt: skip
DataPath = Annotated[str | None, what(
    "--data", help="Dataset: .jsonl .json .csv .parquet .xlsx (or .gz, .zst …), or - for stdin.",
)]  # fmt: skip
SampleSize = Annotated[int | None, what(
    "--sample", min=0, help="Items to draw; 0 means all.",
)]  # fmt: skip
Seed = Annotated[int | None, what("--seed", help="Seed of the random order.")]
ModelName = Annotated[str | None, what(
    "--model", help="Model of every step but the judges: openai/gpt-4o-mini.",
)]  # fmt: skip
JudgeName = Annotated[str | None, what(
    "--judge",
    help="Model of the judges: the step the score comes from, and the others of a panel "
    "(named judge_…, with the same field, or read by that step).",
)]  # fmt: skip
ApiBase = Annotated[str | None, what(
    "--api-base", help="URL of an OpenAI-compatible server: http://127.0.0.1:8000/v1.",
)]  # fmt: skip
Workers = Annotated[int | None, limit(
    "--workers", min=1, help="Calls at once. [default: 5]",
)]  # fmt: skip
Rpm = Annotated[float | None, limit("--rpm", help="Requests a minute, per model.")]
Tpm = Annotated[float | None, limit("--tpm", help="Tokens a minute, per model.")]
Tier = Annotated[str | None, limit(
    "--tier",
    help="Your provider's usage tier, for limits not set otherwise: openai-1,anthropic-2.",
)]  # fmt: skip
BudgetUsd = Annotated[float | None, limit(
    "--budget", min=0, help="USD that the run may cost in all; never exceeded.",
)]  # fmt: skip
Output = Annotated[str | None, output(
    "--output", "-o", help="File to write; - for stdout.",
)]  # fmt: skip
