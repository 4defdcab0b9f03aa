"""Flags of ``llmb report`` about the judge: labels made by people, other judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llm_batch.report.calibration.model import LabelSource

_PANEL = "Is the judge right?"

LabelsPath = Annotated[
    str | None,
    typer.Option(
        "--labels", rich_help_panel=_PANEL,
        help="File with labels made by people: columns id and label. llmb label writes one.",
    ),
]  # fmt: skip
LabelColumns = Annotated[
    str | None,
    typer.Option(
        "--label-field", rich_help_panel=_PANEL,
        help="Its column with the label, or several with commas, one for each person.",
    ),
]  # fmt: skip
LabelsFrom = Annotated[
    str | None,
    typer.Option(
        "--labels-from", rich_help_panel=_PANEL,
        help="Field of the items that holds the label, in place of a file.",
    ),
]  # fmt: skip
LabelsRun = Annotated[
    str | None,
    typer.Option(
        "--labels-run", rich_help_panel=_PANEL,
        help="Results in which the same judge scored the labelled items, if not these.",
    ),
]  # fmt: skip
LabelsRandom = Annotated[
    bool | None,
    typer.Option(
        "--labels-random/--labels-chosen", rich_help_panel=_PANEL,
        help="Whether the labelled items are a random subset of this run; known for llmb label.",
    ),
]  # fmt: skip
Judges = Annotated[
    str | None,
    typer.Option(
        "--judges", rich_help_panel=_PANEL,
        help="Outputs of several judges to compare: judge.score,second.score.",
    ),
]  # fmt: skip


def label_source(
    labels: str | None,
    label_field: str | None,
    labels_from: str | None,
    labels_run: str | None,
    random: bool | None,
) -> LabelSource | None:
    """Where the labels are; ``None`` without any.

    Raises:
        ConfigError: A flag that is about labels stands without them, or they are named twice.
    """
    from llm_batch.errors import ConfigError
    from llm_batch.report.calibration.model import LabelSource

    if labels and labels_from:
        raise ConfigError("--labels and --labels-from both name labels", "leave one of them out")
    if not labels and (label_field or labels_run):
        raise ConfigError(
            "--label-field and --labels-run are about a file of labels", "add --labels labels.csv"
        )
    if not labels and not labels_from:
        if random is not None:
            raise ConfigError("there are no labels", "add --labels labels.csv")
        return None
    return LabelSource(
        path=labels or "",
        columns=names(label_field),
        field=labels_from or "",
        judged=labels_run or "",
        random=random,
    )


def names(text: str | None) -> tuple[str, ...]:
    """The names or words in a list with commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
