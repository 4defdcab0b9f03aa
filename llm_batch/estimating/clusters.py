"""Which items of a dataset belong together, by the values of a field."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from llm_batch.chain.config import Data
from llm_batch.errors import ConfigError, DataError
from llm_batch.estimating.claims import Claim, Clusters
from llm_batch.estimating.spread import Scored, text_of
from llm_batch.stats.design import cluster_size_of, intraclass_correlation

_NAMED = 20
#: Scores beyond the first of their cluster; fewer say nothing of how alike they are.
_FEWEST_MATES = 10


def value_counts(data: Data, path: Path | Literal["-"], field: str) -> dict[str, int]:
    """How many rows have each value of a field. Reads the dataset once.

    Args:
        data: How it is read.
        path: The file; standard input cannot be read twice.
        field: The field.

    Raises:
        DataError: The dataset cannot be read, or a row lacks the field.
    """
    from llm_batch.dataset.source import Source

    if path == "-":
        raise DataError(
            f"the clusters by {field!r} need a second look at the data, and standard input has one",
            "name a file with --data",
        )
    counts: dict[str, int] = {}
    with Source(
        path,
        data.format,
        delimiter=data.delimiter,
        encoding=data.encoding,
        sheet=data.sheet,
    ) as source:
        for number, fields, _, _ in source.rows():
            problem = ""
            if isinstance(fields, str):
                problem = fields
            elif (value := text_of(fields.get(field))) is not None:
                counts[value] = counts.get(value, 0) + 1
            else:
                known = ", ".join(list(fields)[:_NAMED])
                problem = f"no field {field!r} with a value, it has {known or 'none'}"
            if problem and data.on_bad_row == "error":
                raise DataError(
                    f"{source.name}, {source.reader.place} {number}: {problem}",
                    "name one of its fields with --cluster",
                )
    if not counts:
        raise DataError(f"no row of {path} has the field {field!r}", "name another with --cluster")
    return counts


def clusters_by(
    field: str, data: Data, path: Path | Literal["-"], claim: Claim, scored: Scored | None
) -> Clusters:
    """The clusters that a field makes, and how alike their items are: as given, or as measured.

    Raises:
        DataError: The dataset cannot be read, or a row lacks the field.
        ConfigError: Nobody said how alike they are, and no scores tell.
    """
    counts = value_counts(data, path, field)
    icc, source = claim.icc, ""
    if icc is None and scored is not None:
        groups = scored.by(field, passes=claim.is_of_rates).values()
        mates = sum(len(scores) - 1 for scores in groups)
        measured = intraclass_correlation(groups)
        if measured is not None and mates >= _FEWEST_MATES:
            # Below 0 is chance: items of one cluster are not less alike than others.
            icc, source = min(1.0, max(0.0, measured)), scored.source
    if icc is None:
        raise ConfigError(
            f"how alike the items of one {field!r} are is not known",
            "--icc 0.1 (0: not at all, 1: one answer for all), or --from a run whose scores tell",
        )
    sizes = counts.values()
    return Clusters(
        field=field,
        count=len(counts),
        mean_size=sum(sizes) / len(counts),
        size=cluster_size_of(sizes),
        icc=icc,
        icc_from=source,
    )
