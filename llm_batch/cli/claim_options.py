"""Flags of ``llmb estimate`` that say what the run is to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated

import typer

from llm_batch.errors import ConfigError

_SHOW = "What to show"
#: More combinations of models than this fill no table that anyone reads.
_MOST = 24

Margin = Annotated[
    float | None,
    typer.Option(
        "--margin", rich_help_panel=_SHOW,
        help="Half width of the interval: 0.05 is 5 points; in the score's unit with --mean-sd.",
    ),
]  # fmt: skip
Confidence = Annotated[
    float, typer.Option("--confidence", rich_help_panel=_SHOW, help="Confidence level.")
]
ExpectedRate = Annotated[
    float | None,
    typer.Option(
        "--expected-rate", rich_help_panel=_SHOW,
        help="Share of passes expected; 0.5, the worst case, without it.",
    ),
]  # fmt: skip
MeanSd = Annotated[
    float | None,
    typer.Option(
        "--mean-sd", rich_help_panel=_SHOW,
        help="Claim a mean score: its standard deviation; with --margin or --detect.",
    ),
]  # fmt: skip
Detect = Annotated[
    float | None,
    typer.Option(
        "--detect", rich_help_panel=_SHOW,
        help="Find a difference of two models: 0.03 is 3 points.",
    ),
]  # fmt: skip
Paired = Annotated[
    bool,
    typer.Option("--paired", rich_help_panel=_SHOW, help="Both models answer the same items."),
]
Discordance = Annotated[
    float | None,
    typer.Option(
        "--discordance", rich_help_panel=_SHOW,
        help="Share of items that one model passes and the other fails.",
    ),
]  # fmt: skip
Power = Annotated[
    float,
    typer.Option(
        "--power", min=0.5, max=0.9999, rich_help_panel=_SHOW,
        help="Probability of finding the difference.",
    ),
]  # fmt: skip
ZeroFailures = Annotated[
    float | None,
    typer.Option(
        "--zero-failures", rich_help_panel=_SHOW,
        help="Rule out failures in this share of the items by seeing none: 0.01.",
    ),
]  # fmt: skip
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", rich_help_panel=_SHOW, metavar="FIELD",
        help="Items with one value of this field belong together, as questions on one document.",
    ),
]  # fmt: skip
ClusterSize = Annotated[
    float | None,
    typer.Option(
        "--cluster-size", min=1, rich_help_panel=_SHOW,
        help="Items in a cluster, where there is no data to count them in.",
    ),
]  # fmt: skip
Icc = Annotated[
    float | None,
    typer.Option(
        "--icc", min=0, max=1, rich_help_panel=_SHOW,
        help="Correlation of two scores of one cluster; measured with --pilot or --from.",
    ),
]  # fmt: skip
Sensitivity = Annotated[
    float | None,
    typer.Option(
        "--judge-sensitivity", min=0, max=1, rich_help_panel=_SHOW,
        help="Share of good answers the judge passes.",
    ),
]  # fmt: skip
Specificity = Annotated[
    float | None,
    typer.Option(
        "--judge-specificity", min=0, max=1, rich_help_panel=_SHOW,
        help="Share of bad answers the judge fails.",
    ),
]  # fmt: skip
Stratify = Annotated[
    str | None,
    typer.Option(
        "--stratify", rich_help_panel=_SHOW, metavar="FIELD",
        help="Share the sample among the values of this field, as stratify under [sample] does.",
    ),
]  # fmt: skip


def combinations(model: str | None, judge: str | None) -> Iterator[tuple[str | None, str | None]]:
    """Yield every pair of a model and a judge from two lists with commas.

    Raises:
        ConfigError: A name is missing in a list, or there are too many pairs.
    """
    pairs = list(product(_names("--model", model), _names("--judge", judge)))
    if len(pairs) > _MOST:
        raise ConfigError(
            f"--model and --judge make {len(pairs)} combinations, more than {_MOST}",
            "compare fewer models at a time",
        )
    yield from pairs


def _names(flag: str, value: str | None) -> Sequence[str | None]:
    if value is None:
        return (None,)
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise ConfigError(
            f"{flag} {value!r} has an empty name in its list", f"{flag} gpt-4o,gpt-4o-mini"
        )
    return list(dict.fromkeys(names))
