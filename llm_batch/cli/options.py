"""Flags of the commands, by their headings: the same name means the same everywhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from llm_batch.cli import complete
from llm_batch.engines import ENGINES

#: An option under a heading of ``--help``.
what = partial(typer.Option, rich_help_panel="What to run")
limit = partial(typer.Option, rich_help_panel="Limits")
output = partial(typer.Option, rich_help_panel="Output")
_show = partial(typer.Option, rich_help_panel="What to show")
_judging = partial(typer.Option, rich_help_panel="Is the judge right?")

ConfigPath = Annotated[Path | None, what(
    "--config", "-c", envvar="LLMB_CONFIG", show_envvar=True,
    help="Config file. [default: llmb.toml]",
)]  # fmt: skip
DataPath = Annotated[str | None, what(
    "--data",
    help="Dataset: .jsonl .json .csv .parquet .xlsx (also .gz, .zst …), a folder or a pattern of "
    "files, an address (s3://, gs://, az://, hf://, https://), or - for stdin.",
)]  # fmt: skip
SampleSize = Annotated[int | None, what(
    "--sample", min=0, help="How many items to draw at random; 0 means all.",
)]  # fmt: skip
Seed = Annotated[
    int | None, what("--seed", help="Random seed: the same seed draws the same items.")
]
ModelName = Annotated[str | None, what(
    "--model", autocompletion=complete.models,
    help="Model for every step except the judges, for example openai/gpt-4o-mini.",
)]  # fmt: skip
JudgeName = Annotated[str | None, what(
    "--judge", autocompletion=complete.models,
    help="Model for the judges: the step that gives the score, and the other members of a panel "
    "(steps named judge_…, with the same field, or used by that step).",
)]  # fmt: skip
ApiBase = Annotated[str | None, what(
    "--api-base", help="URL of an OpenAI-compatible server, for example http://127.0.0.1:8000/v1.",
)]  # fmt: skip
Workers = Annotated[int | None, limit(
    "--workers", min=1, help="Calls at the same time. [default: 5]",
)]  # fmt: skip
Rpm = Annotated[float | None, limit("--rpm", help="Requests per minute, for each model.")]
Tpm = Annotated[float | None, limit("--tpm", help="Tokens per minute, for each model.")]
Tier = Annotated[str | None, limit(
    "--tier", autocompletion=complete.tiers,
    help="Your usage tier at the provider, which sets limits you leave out: openai-1,anthropic-2.",
)]  # fmt: skip
BudgetUsd = Annotated[float | None, limit(
    "--budget", min=0, help="The most USD the whole run may cost; never exceeded.",
)]  # fmt: skip
_ENGINES = [kind.about for kind in ENGINES.values()]
Engine = Annotated[str | None, limit(
    "--engine", autocompletion=complete.engines,
    help=f"{', '.join(_ENGINES[:-1])}, or {_ENGINES[-1]}.",
)]  # fmt: skip
Output = Annotated[str | None, output(
    "--output", "-o", help="File to write, or - for stdout.",
)]  # fmt: skip
Quiet = Annotated[bool, output("--quiet", "-q", help="Show no progress.")]

Margin = Annotated[float | None, _show(
    "--margin",
    help="How precise the result must be: 0.05 is ±5 points; with --mean-sd, ± in score units.",
)]  # fmt: skip
Confidence = Annotated[float, _show("--confidence", help="Confidence level.")]
ExpectedRate = Annotated[float | None, _show(
    "--expected-rate", help="The pass rate you expect. Without it: 0.5, the worst case.",
)]  # fmt: skip
MeanSd = Annotated[float | None, _show(
    "--mean-sd",
    help="Plan for a mean score: its standard deviation. Needs --margin or --detect.",
)]  # fmt: skip
Detect = Annotated[float | None, _show(
    "--detect", help="The difference between two models you want to find: 0.03 is 3 points.",
)]  # fmt: skip
Paired = Annotated[bool, _show("--paired", help="Both models answer the same items.")]
Discordance = Annotated[float | None, _show(
    "--discordance", help="With --paired: share of items that only one model passes.",
)]  # fmt: skip
Power = Annotated[float, _show(
    "--power", min=0.5, max=0.9999, help="Probability of finding the difference.",
)]  # fmt: skip
ZeroFailures = Annotated[float | None, _show(
    "--zero-failures",
    help="How many items must pass without one failure to show that fewer than this share fail: "
    "0.01.",
)]  # fmt: skip
Cluster = Annotated[str | None, _show(
    "--cluster", metavar="FIELD", autocompletion=complete.fields,
    help="Items with the same value here belong together, such as questions about one document.",
)]  # fmt: skip
ClusterSize = Annotated[float | None, _show(
    "--cluster-size", min=1, help="Items per cluster, when there is no data to count them.",
)]  # fmt: skip
Icc = Annotated[float | None, _show(
    "--icc", min=0, max=1,
    help="How alike two scores of one cluster are (correlation); --pilot and --from measure it.",
)]  # fmt: skip
Sensitivity = Annotated[float | None, _show(
    "--judge-sensitivity", min=0, max=1, help="Share of good answers that the judge passes.",
)]  # fmt: skip
Specificity = Annotated[float | None, _show(
    "--judge-specificity", min=0, max=1, help="Share of bad answers that the judge fails.",
)]  # fmt: skip
Stratify = Annotated[str | None, _show(
    "--stratify", metavar="FIELD", autocompletion=complete.fields,
    help="Draw from each value of this field in proportion, as stratify under [sample] does.",
)]  # fmt: skip

_foreign = partial(
    typer.Option,
    rich_help_panel="Results of another program (JSONL, JSON, CSV, Parquet, Excel)",
)
ScoreField = Annotated[str | None, _foreign(
    "--score", help="Field with the score; a.b reads a field inside an object. Of a run: which of "
    "its scores, by its name.",
)]  # fmt: skip
Id = Annotated[str | None, _foreign("--id", help="Field with the id.")]  # fmt: skip
Category = Annotated[str | None, _foreign(
    "--category", help="Field with the category.",
)]  # fmt: skip
PassAt = Annotated[float | None, _foreign(
    "--pass-at", help="Lowest score that passes.",
)]  # fmt: skip
PassWords = Annotated[str | None, _foreign(
    "--pass-words",
    help="Words that mean a pass, separated by commas; all others fail: A,correct. Also for "
    "labels.",
)]  # fmt: skip
Where = Annotated[list[str] | None, _foreign(
    "--where", metavar="FIELD=VALUE",
    help="Read only the rows with this value: metric=accuracy. May be given several times.",
)]  # fmt: skip
Delimiter = Annotated[str | None, _foreign(
    "--delimiter",
    help="What separates the cells of the CSV, if llmb guesses wrong. Without --score: of the "
    "file of labels.",
)]  # fmt: skip
Encoding = Annotated[str | None, _foreign(
    "--encoding",
    help="Encoding of the file, if llmb guesses wrong: windows-1252. Without --score: of the "
    "file of labels.",
)]  # fmt: skip
Sheet = Annotated[str | None, _foreign(
    "--sheet",
    help="Sheet of the workbook, by name or number; by default the first. Without --score: of "
    "the file of labels.",
)]  # fmt: skip

_gate = partial(typer.Option, rich_help_panel="Gate: what must hold, with an exit code")
FailIf = Annotated[str | None, _gate(
    "--fail-if", metavar="worse|not-better",
    help="worse: fail if the run is worse than the baseline; not-better: if it is not better.",
)]  # fmt: skip
Tolerance = Annotated[float, _gate(
    "--tolerance",
    help="Differences up to this do not count: 0.02 is 2 points; in score units for mean scores.",
)]  # fmt: skip
MaxCostRatio = Annotated[float | None, _gate(
    "--max-cost-ratio",
    help="How many times the baseline's cost an item may cost: 1.2 is 20 % more.",
)]  # fmt: skip
MaxLatencyRatio = Annotated[float | None, _gate(
    "--max-latency-ratio", help="The same for latency, at its 95 % quantile (p95).",
)]  # fmt: skip
AtLeast = Annotated[float | None, _gate(
    "--at-least",
    help="The pass rate the run must reach for certain, for example 0.9; without pass_at, the "
    "mean score.",
)]  # fmt: skip
UndecidedPasses = Annotated[bool, _gate(
    "--undecided-passes", help="Exit code 0 instead of 6 when there are too few items to decide.",
)]  # fmt: skip
Also = Annotated[list[str] | None, output(
    "--also", metavar="FORMAT=FILE",
    help="Also write this format to this file: junit=gate.xml, md=comment.md. May be given several "
    "times.",
)]  # fmt: skip
StepSummary = Annotated[bool, output(
    "--step-summary", help="Also append the Markdown to the summary of a GitHub job.",
)]  # fmt: skip

Full = Annotated[bool, output("--full", help="Show everything, not just one screen.")]

LabelsPath = Annotated[str | None, _judging(
    "--labels",
    help="File with labels given by people, with the columns id and label. llmb label writes one.",
)]  # fmt: skip
LabelColumns = Annotated[str | None, _judging(
    "--label-field",
    help="The column with the labels; for several people, a column each, separated by commas.",
)]  # fmt: skip
LabelsFrom = Annotated[str | None, _judging(
    "--labels-from", autocompletion=complete.fields,
    help="Field of your data that holds the label, instead of a file.",
)]  # fmt: skip
LabelsRun = Annotated[str | None, _judging(
    "--labels-run", help="Other results in which the same judge scored the labelled items.",
)]  # fmt: skip
NoLabels = Annotated[bool, _judging(
    "--no-labels", help="Ignore the labels.csv next to the results.",
)]  # fmt: skip
LabelsRandom = Annotated[bool | None, _judging(
    "--labels-random/--labels-chosen",
    help="Whether the labelled items were drawn at random from this run; llmb label knows.",
)]  # fmt: skip
Judges = Annotated[str | None, _judging(
    "--judges", autocompletion=complete.outputs,
    help="Outputs of several judges to compare: judge.score,second.score.",
)]  # fmt: skip
