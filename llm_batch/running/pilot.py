"""The pilot: the first items of a run, played before the rest is paid for.

It is the run itself, ended early: the same order, files, budget, limits and question. What it
answered is in the journal, so the run that follows finds it there and pays for the rest only.
"""

from __future__ import annotations

from collections.abc import Callable

from llm_batch.chain.config import Config
from llm_batch.dataset import draw
from llm_batch.errors import ConfigError, Incomplete, Interrupted, LlmbError, Refused
from llm_batch.estimating import Estimate, Measured, measured_in
from llm_batch.record.files import run_paths
from llm_batch.record.manifest import Manifest
from llm_batch.running.run import Overrun, Progress, RunSummary, Stop, run
from llm_batch.stats.strata import allocate

__all__ = ["pilot"]


def pilot(
    config: Config,
    n: int,
    *,
    trusted: bool = False,
    confirm: Callable[[Estimate], bool] | None = None,
    confirm_overrun: Callable[[Overrun], bool] | None = None,
    progress: Callable[[Progress], None] = lambda state: None,
    say: Callable[[str], None] = lambda sentence: None,
    stop: Stop | None = None,
) -> Measured:
    """Play the first ``n`` items of the run that ``config`` describes, and measure them.

    Items an earlier run of the same output has finished are not played again. When it has
    finished as many as are asked for, nothing is sent at all.

    Args:
        config: What is to be run.
        n: Items to play.
        trusted: As in `run`.
        confirm: As in `run`: asked when these items are expected to cost more than a dollar and
            there is no budget; ``None`` means yes.
        confirm_overrun: As in `run`.
        progress: As in `run`.
        say: As in `run`.
        stop: Call it to end the pilot early.

    Raises:
        LlmbError: The config, data or output is wrong, or the answer to ``confirm`` was no.
        Refused: The provider refused every request.
        Interrupted: It was stopped before the first item was finished.
        Incomplete: Nothing could be finished within the budget.
    """
    results = run_paths(config.run.output).results
    n = _within(config, n)
    done = _finished_before(config, n)
    if done is not None:
        say(f"{results} holds {sum(done.statuses.values()):,} items already; nothing was sent")
        return done
    first = config.model_copy(
        update={"sample": config.sample.model_copy(update={"size": n})}, deep=False
    )
    summary = run(
        first,
        trusted=trusted,
        confirm=confirm,
        confirm_overrun=confirm_overrun,
        progress=progress,
        say=say,
        stop=stop,
    )
    if not summary.progress.done:
        raise _nothing_played(summary)
    if summary.status != "done":
        say(f"the pilot ended early: {summary.message or summary.status}")
    return measured_in(results, config, f"the pilot ({results})")


def _within(config: Config, n: int) -> int:
    """The size of a pilot whose items are all items of the run, ``n`` where that is possible.

    Without strata the first n of the order always are. With strata a larger sample may give one
    of them an item less (see `llm_batch.stats.strata.allocate`); another size nearby does not.
    """
    whole, stratify = config.sample.size, config.sample.stratify
    n = min(n, whole) if whole else n
    if stratify is None or config.data_path() == "-":
        return n
    with draw(
        config.data,
        config.data_path(),
        size=whole,
        seed=config.sample.seed,
        stratify=stratify,
    ) as drawn:
        strata, shares = drawn.strata or {}, drawn.sizes_by_stratum or {}
        near = sorted(range(1, drawn.size + 1), key=lambda size: (abs(size - n), -size))
    return next(
        size
        for size in near
        if all(share <= shares[name] for name, share in allocate(strata, size).items())
    )


def _finished_before(config: Config, n: int) -> Measured | None:
    """What an earlier run of this output tells, when it finished enough; ``None`` if not.

    Raises:
        ConfigError: It holds more items than the pilot would leave in its results file, and they
            are of another chain.
    """
    paths = run_paths(config.run.output)
    results, before = paths.results, Manifest.read(paths.manifest) or Manifest()
    size = before.sample.size or 0
    if not results.is_file() or size < n:
        return None
    measured = measured_in(results, config, f"the earlier run ({results})")
    if measured.finished >= n:
        return measured
    held = sum(measured.statuses.values())
    if held > n:
        raise ConfigError(
            f"{results} holds {held:,} items of another chain, which a pilot of {n:,} would "
            "replace",
            config.command("estimate", "--from", str(results))
            + ", or set another output under [run] for the pilot",
        )
    return None


def _nothing_played(summary: RunSummary) -> LlmbError:
    """Why there is nothing to measure, with the exit code of the run."""
    said = f"the pilot finished no item: {summary.message or summary.status}"
    hint = "nothing that was paid for is lost; the same command goes on from here"
    if summary.status == "refused":
        return Refused(said, hint="correct what the provider refuses, then run it again")
    if summary.status == "interrupted":
        return Interrupted(said, hint)
    return Incomplete(said, hint)
