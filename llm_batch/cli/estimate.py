"""``llmb estimate``: what a run will cost, take and prove."""

from __future__ import annotations

from typing import Annotated

import typer

from llm_batch.cli import options


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
    model: options.ModelName = None,
    judge: options.JudgeName = None,
    api_base: options.ApiBase = None,
    workers: options.Workers = None,
    rpm: options.Rpm = None,
    tpm: options.Tpm = None,
    budget: options.BudgetUsd = None,
    output: options.Output = None,
    format: Annotated[
        str, typer.Option("--format", rich_help_panel="Output", help="text, json or md.")
    ] = "text",
) -> None:
    """Say what a run will cost, take and prove, before anything is sent."""
    from llm_batch.cli.formats import chosen, deliver
    from llm_batch.config import Overrides, load_config
    from llm_batch.estimate import DEFAULT_MODEL, FORMATS
    from llm_batch.estimate import estimate as estimate_run

    write = chosen(FORMATS, format)
    flags = Overrides(
        data=data, sample=sample, seed=seed, model=model, judge=judge, api_base=api_base,
        workers=workers, rpm=rpm, tpm=tpm, budget=budget,
    )  # fmt: skip
    settings = load_config(config, flags)
    if settings.source is None and n is not None and data is None and model is None:
        # Nobody chose the embedded model for a dataset that is only a number.
        from dataclasses import replace

        settings = load_config(config, replace(flags, model=DEFAULT_MODEL))
    deliver(write(estimate_run(settings, n, sample=sample)), output)
