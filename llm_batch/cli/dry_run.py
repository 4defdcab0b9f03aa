"""``llmb run --dry-run``: the first request of each step and the estimate; nothing is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_batch.config import Config


def dry_run(config: Config) -> str:
    """What a run would send first and what it is expected to cost, as text for a terminal.

    Nothing is written and nothing is sent; what would stop the run before it spends is raised.

    Raises:
        LlmbError: The config or the data is wrong.
    """
    from llm_batch.checks import check_before_spending, risks
    from llm_batch.dataset import draw
    from llm_batch.estimate import FORMATS
    from llm_batch.estimate import estimate as estimate_run
    from llm_batch.forecast import rendered
    from llm_batch.providers import where
    from llm_batch.trust import not_agreed

    chain = config.chain()
    lines = [f"note: {sentence}" for sentence in risks(config)]
    lines += [f"note: a run asks first, since this sends {each}" for each in not_agreed(config)]
    sample = config.sample
    with draw(
        config.data,
        config.data_path(),
        size=sample.size,
        seed=sample.seed,
        stratify=sample.stratify,
    ) as drawn:
        item = next(iter(drawn.items()))
        check_before_spending(config, chain, item)
        if config.run.engine == "ray":
            from llm_batch.cluster.connect import check_reachable

            check_reachable(config.run.ray_address)
        for request in rendered(chain, item):
            url = where(request.model, config.model(request.model))
            lines.append(f"── {request.step}: {request.model} at {url}, item {item.id!r}")
            for message in request.messages:
                lines.append(f"[{message.role}]\n{message.content}")
            if request.params:
                params = json.dumps(dict(request.params), ensure_ascii=False, indent=2)
                lines.append(f"[parameters]\n{params}")
            lines.append("")
    lines.append(FORMATS["text"](estimate_run(config)))
    return "\n".join(lines)
