"""The file that labels are written to."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from llm_batch.errors import ConfigError, OutputError
from llm_batch.files import replace, typed_path
from llm_batch.report.calibration.labels import BY_VERDICT, DRAWN_COLUMN, LABEL_COLUMNS, SKIP
from llm_batch.report.csv import guarded, unguarded

PASS, FAIL = "1", "0"
_SEED = re.compile(r"-?[0-9]{1,40}")


class LabelFile:
    """The labels made so far; every change is on disk before the next item is shown.

    Args:
        path: The file; it need not exist.
        seed: The seed asked for, or ``None`` to go on with that of the file.
        default_seed: The seed of a new file when none is asked for.
        now: The time, UTC.
        by_verdict: Whether a new file's items are drawn within each verdict of the judge.

    Attributes:
        seed: Of the order that its items were drawn in.
        by_verdict: Whether they are drawn within each verdict.

    Raises:
        OutputError: The file cannot be read, or ``llmb label`` did not write it.
        ConfigError: It was drawn with another seed, or in another way, than was asked for.
    """

    def __init__(
        self,
        path: Path,
        seed: int | None,
        default_seed: int = 42,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        by_verdict: bool = False,
    ) -> None:
        self.path = path
        self.by_verdict = by_verdict
        self._now = now
        self._rows: dict[str, tuple[str, str]] = {}
        self._bytes = self._on_disk()
        seeds = self._parse() if self._bytes is not None else set()
        if seeds and seed is not None and seeds != {str(seed)}:
            raise ConfigError(
                f"{path} holds labels drawn with seed {min(seeds)}, not {seed}",
                f"go on with --seed {min(seeds)}, or write another file: --output other.csv",
            )
        if seeds and by_verdict and not self.by_verdict:
            raise ConfigError(
                f"{path} holds labels drawn from all items, not within each verdict",
                "go on without --by-verdict, or write another file: --output other.csv",
            )
        drawn = int(min(seeds)) if seeds else default_seed
        self.seed = drawn if seed is None else seed

    @property
    def labels(self) -> Mapping[str, str]:
        """The label of each item, skipped ones included, oldest first."""
        return {item: label for item, (label, _) in self._rows.items()}

    def add(self, item: str, label: str) -> None:
        """Write a label.

        Raises:
            OutputError: The file cannot be written, or was changed by another program.
        """
        at = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._write({**self._rows, item: (label, at)})

    def undo(self) -> str | None:
        """Take the newest label back; its item, or ``None`` where there is none.

        Raises:
            OutputError: As for `add`.
        """
        if not self._rows:
            return None
        last = next(reversed(self._rows))
        self._write({item: row for item, row in self._rows.items() if item != last})
        return last

    def _parse(self) -> set[str]:
        """Take the rows of the file over; returns the seeds they name."""
        assert self._bytes is not None  # its caller asked
        try:
            rows = list(csv.reader(io.StringIO(self._bytes.decode("utf-8-sig"), newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise self._foreign() from error
        if not rows:
            return set()
        header = tuple(rows[0])
        noted = header[len(LABEL_COLUMNS) :]
        if header[: len(LABEL_COLUMNS)] != LABEL_COLUMNS or noted not in ((), (DRAWN_COLUMN,)):
            raise self._foreign()
        if any(len(row) != len(header) or row[4:] not in ([], [BY_VERDICT]) for row in rows[1:]):
            raise self._foreign()
        self.by_verdict = bool(noted)
        rows = [row[: len(LABEL_COLUMNS)] for row in rows]
        if any(label not in (PASS, FAIL, SKIP) for _, label, *_ in rows[1:]):
            raise self._foreign()
        self._rows = {unguarded(item): (label, at) for item, label, at, _ in rows[1:]}
        seeds = {seed for *_, seed in rows[1:]}
        if len(seeds) > 1 or not all(map(_SEED.fullmatch, seeds)):
            raise self._foreign()
        return seeds

    def _foreign(self) -> OutputError:
        return OutputError(
            f"{self.path} is not a file that llmb label wrote, or was changed since",
            "report on it with --labels, or write another file: --output other.csv",
        )

    def _write(self, rows: dict[str, tuple[str, str]]) -> None:
        """Replace the file, whole or not at all."""
        if self._on_disk() != self._bytes:
            raise OutputError(
                f"{self.path} was changed by another program while you labelled; it is left as "
                "it is now",
                "run the same command again: it goes on from what the file holds",
            )
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        drawn = [BY_VERDICT] if self.by_verdict else []
        writer.writerow([*LABEL_COLUMNS, *([DRAWN_COLUMN] if drawn else [])])
        writer.writerows(
            [guarded(item), label, at, self.seed, *drawn] for item, (label, at) in rows.items()
        )
        content = text.getvalue().encode()
        try:
            replace(typed_path(self.path, "--output"), content)  # a link stays one
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error
        self._rows, self._bytes = rows, content

    def _on_disk(self) -> bytes | None:
        typed_path(self.path, "--output")
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"cannot read {self.path}: {error.strerror or error}") from error
