"""The verb: from a config to an estimate, with the data read where there is some."""

from __future__ import annotations

from llm_batch.config import Config
from llm_batch.estimate.build import estimate_from_items, estimate_from_nothing
from llm_batch.estimate.model import Estimate


def estimate(config: Config, n: int | None = None, *, sample: int | None = None) -> Estimate:
    """Say what a run will cost, take and prove, before anything is sent.

    Args:
        config: What is to be run; see `load_config`.
        n: Items in the whole dataset. With it and without data in the config, sizes of prompts
            are assumed; with data, the items there stand for all ``n``.
        sample: Items to play, 0 for all. By default all ``n`` of them, or, without ``n``, what
            the config says.

    Raises:
        LlmbError: The config or the data is wrong.
    """
    if n is not None and config.data.path is None:
        return estimate_from_nothing(config, min(sample or n, n), population=n)
    from llm_batch.dataset import draw

    size = config.sample.size if sample is None else sample
    if n is not None and sample is None:
        size = 0
    with draw(
        config.data,
        config.data_path(),
        size=size,
        seed=config.sample.seed,
        stratify=config.sample.stratify,
    ) as drawn:
        if n is None:
            return estimate_from_items(config, drawn.items(), drawn.size, drawn.population)
        population = max(n, drawn.population)
        return estimate_from_items(
            config, drawn.items(), min(sample or population, population), population
        )
