"""Flags of the commands, by their headings: the same name means the same everywhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from llm_batch.cli import complete

#: An option under a heading of ``--help``.
what = partial(typer.Option, rich_help_panel="What to run")
limit = partial(typer.Option, rich_help_panel="Limits")
output = partial(typer.Option, rich_help_panel="Output")
_show = partial(typer.Option, rich_help_panel="What to show")
_judging = partial(typer.Option, rich_help_panel="Is the judge right?")

ConfigPath = Annotated[Path | None, what(
    "--config", "-c", envvar="LLMB_CONFIG", show_envvar=True,
    help="Config file; llmb.toml in the working directory by default.",
)]  # fmt: skip
DataPath = Annotated[str | None, what(
    "--data",
    help="Dataset: .jsonl .json .csv .parquet .xlsx (or .gz, .zst …), a folder or a pattern of "
    "them, an address (s3://, gs://, az://, hf://, https://), or - for stdin.",
)]  # fmt: skip
SampleSize = Annotated[int | None, what(
    "--sample", min=0, help="Items to draw; 0 means all.",
)]  # fmt: skip
Seed = Annotated[int | None, what("--seed", help="Seed of the random order.")]
ModelName = Annotated[str | None, what(
    "--model", autocompletion=complete.models,
    help="Model of every step but the judges: openai/gpt-4o-mini.",
)]  # fmt: skip
JudgeName = Annotated[str | None, what(
    "--judge", autocompletion=complete.models,
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
    "--tier", autocompletion=complete.tiers,
    help="Your provider's usage tier, for limits not set otherwise: openai-1,anthropic-2.",
)]  # fmt: skip
BudgetUsd = Annotated[float | None, limit(
    "--budget", min=0, help="USD that the run may cost in all; never exceeded.",
)]  # fmt: skip
Output = Annotated[str | None, output(
    "--output", "-o", help="File to write; - for stdout.",
)]  # fmt: skip
Quiet = Annotated[bool, output("--quiet", "-q", help="No progress.")]

Margin = Annotated[float | None, _show(
    "--margin",
    help="Half width of the interval: 0.05 is 5 points; in the score's unit with --mean-sd.",
)]  # fmt: skip
Confidence = Annotated[float, _show("--confidence", help="Confidence level.")]
ExpectedRate = Annotated[float | None, _show(
    "--expected-rate", help="Share of passes expected; 0.5, the worst case, without it.",
)]  # fmt: skip
MeanSd = Annotated[float | None, _show(
    "--mean-sd", help="Claim a mean score: its standard deviation; with --margin or --detect.",
)]  # fmt: skip
Detect = Annotated[float | None, _show(
    "--detect", help="Find a difference of two models: 0.03 is 3 points.",
)]  # fmt: skip
Paired = Annotated[bool, _show("--paired", help="Both models answer the same items.")]
Discordance = Annotated[float | None, _show(
    "--discordance", help="Share of items that one model passes and the other fails.",
)]  # fmt: skip
Power = Annotated[float, _show(
    "--power", min=0.5, max=0.9999, help="Probability of finding the difference.",
)]  # fmt: skip
ZeroFailures = Annotated[float | None, _show(
    "--zero-failures", help="Rule out failures in this share of the items by seeing none: 0.01.",
)]  # fmt: skip
Cluster = Annotated[str | None, _show(
    "--cluster", metavar="FIELD", autocompletion=complete.fields,
    help="Items with one value of this field belong together, as questions on one document.",
)]  # fmt: skip
ClusterSize = Annotated[float | None, _show(
    "--cluster-size", min=1, help="Items in a cluster, where there is no data to count them in.",
)]  # fmt: skip
Icc = Annotated[float | None, _show(
    "--icc", min=0, max=1,
    help="Correlation of two scores of one cluster; measured with --pilot or --from.",
)]  # fmt: skip
Sensitivity = Annotated[float | None, _show(
    "--judge-sensitivity", min=0, max=1, help="Share of good answers the judge passes.",
)]  # fmt: skip
Specificity = Annotated[float | None, _show(
    "--judge-specificity", min=0, max=1, help="Share of bad answers the judge fails.",
)]  # fmt: skip
Stratify = Annotated[str | None, _show(
    "--stratify", metavar="FIELD", autocompletion=complete.fields,
    help="Share the sample among the values of this field, as stratify under [sample] does.",
)]  # fmt: skip

_gate = partial(typer.Option, rich_help_panel="Gate: what must hold, with an exit code")
FailIf = Annotated[str | None, _gate(
    "--fail-if", metavar="worse|not-better",
    help="worse: fail if the run is worse than the baseline; not-better: if it is not better.",
)]  # fmt: skip
Tolerance = Annotated[float, _gate(
    "--tolerance",
    help="Differences up to this count as none: 0.02 is 2 points; of mean scores in their unit.",
)]  # fmt: skip
MaxCostRatio = Annotated[float | None, _gate(
    "--max-cost-ratio", help="Most that an item may cost, by the baseline's: 1.2 is 20 % more.",
)]  # fmt: skip
MaxLatencyRatio = Annotated[float | None, _gate(
    "--max-latency-ratio", help="The same for the latency that 95 % of the items stay below.",
)]  # fmt: skip
AtLeast = Annotated[float | None, _gate(
    "--at-least", help="Pass rate that must be reached for certain: 0.9; else a mean score.",
)]  # fmt: skip
UndecidedPasses = Annotated[bool, _gate(
    "--undecided-passes", help="End in 0 and not in 6 where the items do not decide the gate.",
)]  # fmt: skip
Also = Annotated[list[str] | None, output(
    "--also", metavar="FORMAT=FILE",
    help="Write another format as well: junit=gate.xml, md=comment.md. May be repeated.",
)]  # fmt: skip
StepSummary = Annotated[bool, output(
    "--step-summary", help="Append the Markdown to the file that GitHub shows with the job.",
)]  # fmt: skip

Full = Annotated[bool, output("--full", help="Show everything, not only what fits a screen.")]

LabelsPath = Annotated[str | None, _judging(
    "--labels",
    help="File with labels made by people: columns id and label. llmb label writes one.",
)]  # fmt: skip
LabelColumns = Annotated[str | None, _judging(
    "--label-field", help="Its column with the label, or several with commas, one for each person.",
)]  # fmt: skip
LabelsFrom = Annotated[str | None, _judging(
    "--labels-from", autocompletion=complete.fields,
    help="Field of the items that holds the label, in place of a file.",
)]  # fmt: skip
LabelsRun = Annotated[str | None, _judging(
    "--labels-run", help="Results in which the same judge scored the labelled items, if not these.",
)]  # fmt: skip
NoLabels = Annotated[bool, _judging(
    "--no-labels", help="Leave out labels.csv, which is used where it lies beside the results.",
)]  # fmt: skip
LabelsRandom = Annotated[bool | None, _judging(
    "--labels-random/--labels-chosen",
    help="Whether the labelled items are a random subset of this run; known for llmb label.",
)]  # fmt: skip
Judges = Annotated[str | None, _judging(
    "--judges", autocompletion=complete.outputs,
    help="Outputs of several judges to compare: judge.score,second.score.",
)]  # fmt: skip
