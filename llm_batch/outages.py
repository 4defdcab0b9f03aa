"""What a user should hear of endpoints: left out, back again, or taking less than was sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from llm_batch.config import Config
from llm_batch.pool import Notice

# An endpoint that comes and goes all night must not fill the screen.
_SAID_AT_MOST = 3


class Outages:
    """Turns the notices of a run's pools into sentences, each said once however many notice it.

    Args:
        config: Which model has which endpoints.
    """

    def __init__(self, config: Config) -> None:
        models = dict.fromkeys(step.model for step in config.steps)
        self._endpoints = {
            name: [each.api_base for each in config.model(name).endpoints] for name in models
        }
        self._out: set[str] = set()
        self._said: set[str] = set()
        self._times: Counter[str] = Counter()

    def sentences(self, notices: Iterable[Notice | str]) -> Iterator[str]:
        """What is new in some notices; those that are sentences are said once."""
        for notice in notices:
            if isinstance(notice, str):
                if notice not in self._said:
                    self._said.add(notice)
                    yield notice
                continue
            if notice.well != (notice.url in self._out):
                continue  # another pool, or another process, has said so already
            if notice.well:
                self._out.discard(notice.url)
                if self._times[notice.url] <= _SAID_AT_MOST:
                    yield f"{notice.url} answers again, and is used again"
                continue
            self._out.add(notice.url)
            self._times[notice.url] += 1
            if self._times[notice.url] > _SAID_AT_MOST:
                continue
            last = self._times[notice.url] == _SAID_AT_MOST
            yield (
                f"{notice.url} is left out until it answers again: {notice.why}"
                + ("; when it fails once more, nothing is said" if last else "")
            )
            for model, urls in self._endpoints.items():
                if notice.url in urls and self._out.issuperset(urls):
                    yield (
                        f"no endpoint of {model} answers; the run waits for one, and asks "
                        "after 2 s to 5 min. Ctrl-C ends the run, and nothing is lost"
                    )
