"""Labels made by a person: a random subset of a run's items, blind to the judge, in a file.

Items stand in a seeded order of their own, as a sample does in a dataset: the first n are a
random subset of the run, and a larger n extends it. So the labels are what the prediction-powered
estimate of a report needs, wherever the person stops.
"""

from __future__ import annotations

from llm_batch.errors import OutputError
from llm_batch.label.file import FAIL, PASS, LabelFile
from llm_batch.label.subset import Card, Subset
from llm_batch.report.calibration.labels import SKIP

__all__ = ["FAIL", "PASS", "SKIP", "Card", "LabelFile", "Session", "Subset"]


class Session:
    """One sitting: which item is next, and what was said of it.

    Args:
        subset: The items to label.
        file: Where labels go.

    Raises:
        OutputError: The file's labels are all for items of other results.
    """

    def __init__(self, subset: Subset, file: LabelFile) -> None:
        self._subset = subset
        self._file = file
        if file.labels and subset.known.isdisjoint(file.labels):
            raise OutputError(
                f"none of the items labelled in {file.path} is in these results",
                "write another file: --output other.csv",
            )

    @property
    def total(self) -> int:
        """Items to label in all."""
        return len(self._subset.ids)

    @property
    def done(self) -> int:
        """Items labelled or skipped."""
        labels = self._file.labels
        return sum(item in labels for item in self._subset.ids)

    def card(self) -> Card | None:
        """The next item, or ``None`` when all are done."""
        labels = self._file.labels
        item = next((item for item in self._subset.ids if item not in labels), None)
        return None if item is None else self._subset.card(item)
