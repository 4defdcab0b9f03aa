"""Items in: a dataset file becomes items in a seeded order (`draw`)."""

from llm_batch.dataset.drawn import Drawn, draw

__all__ = ["Drawn", "draw"]
