"""Prompts counted once per encoding, so that comparing many models costs little more than one.

How many tokens a prompt has depends on the encoding alone, so it is enough to know how many
prompts of each step have which count. Prices, limits and answers of a model are applied to that:
a few hundred different counts, however many prompts there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from llm_batch.chain import Chain, PromptError
from llm_batch.config import Config
from llm_batch.estimate.groups import Group, StepFacts, input_of
from llm_batch.estimate.prefix import LOOKED_AT, shared_prefixes
from llm_batch.estimate.sample import forecast_of
from llm_batch.forecast import Forecast
from llm_batch.records import Item
from llm_batch.tokens import TokenCounter, counter

#: A count, and how often the prompt contains the answer of each earlier step.
_Prompt = tuple[int, tuple[tuple[str, int], ...]]


class Recount:
    """How many prompts have how many tokens, by step and encoding."""

    def __init__(self) -> None:
        self._prompts: dict[tuple[str, str], Counter[_Prompt]] = {}
        self.items = 0

    def note(self, coming: Sequence[Forecast]) -> None:
        """Take in the requests of one item, counted for the models of their steps."""
        self.items += 1
        for each in coming:
            self._add(each, counter(each.step.model).encoding)

    def fill(
        self, config: Config, others: Iterable[Config], items: Callable[[], Iterable[Item]]
    ) -> None:
        """Count in the encodings that other models need, each once.

        Args:
            config: The chain that was counted already.
            others: The same chain with other models.
            items: Gives the items again, in the same order.
        """
        missing: dict[str, set[str]] = {}
        for other in others:
            for step in other.steps:
                encoding = counter(step.model).encoding
                if (step.name, encoding) not in self._prompts:
                    missing.setdefault(encoding, set()).add(step.name)
        for encoding, names in missing.items():
            self._count(config, encoding, names, items)

    def group(self, facts: Mapping[str, StepFacts]) -> Group:
        """The sums that a pass over the items would have come to with these facts."""
        group = Group(sampled=self.items)
        for name, fact in facts.items():
            for (tokens, contains), times in self._prompts[
                name, counter(fact.step.model).encoding
            ].items():
                answers = [facts[earlier].answer.text.times(often) for earlier, often in contains]
                group.add(fact, input_of(fact, tokens, answers), times)
        return group

    def _count(
        self,
        config: Config,
        encoding: str,
        names: set[str],
        items: Callable[[], Iterable[Item]],
    ) -> None:
        wanted = TokenCounter(encoding, exact=True, upper_factor=1.0)
        # Each step under its own name, so that the counter is told which step it counts for.
        steps = [step.model_copy(update={"model": step.name}) for step in config.steps]
        chain = Chain(tuple(steps), config.score)
        for name in names:
            self._prompts[name, encoding] = Counter()

        def chosen(model: str) -> TokenCounter:
            return wanted if model in names else _UNCOUNTED

        left = self.items
        for item in items():
            if not left:
                break
            try:
                coming = forecast_of(chain, item, counters=chosen)
            except PromptError:
                continue
            left -= 1
            for each in coming:
                if each.step.name in names:
                    self._add(each, encoding)

    def _add(self, each: Forecast, encoding: str) -> None:
        prompts = self._prompts.setdefault((each.step.name, encoding), Counter())
        prompts[each.input_tokens, tuple(each.contains.items())] += 1


def prefixes_of(config: Config, items: Callable[[], Iterable[Item]]) -> dict[str, int]:
    """The beginnings that prompts share, counted for the models of ``config``."""
    return shared_prefixes(config.chain(), islice(items(), LOOKED_AT))


class _Uncounted(TokenCounter):
    """For steps that are counted already."""

    __slots__ = ()

    def count(self, text: str) -> int:
        return 0


_UNCOUNTED = _Uncounted("", exact=True, upper_factor=1.0)
