"""Play the chain for real: journal, limits, budget, results. The same call resumes."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config
from llm_batch.chain.options import merging
from llm_batch.dataset import Drawn, draw
from llm_batch.engines import ENGINES, Engine, Supplies
from llm_batch.errors import (
    ENDINGS,
    EXIT_INCOMPLETE,
    EXIT_OK,
    VERDICTS,
    ConfigError,
    DataError,
    Incomplete,
    OutputError,
)
from llm_batch.paper import words
from llm_batch.record.files import run_paths, table_of
from llm_batch.record.journal import Journal
from llm_batch.record.manifest import Manifest
from llm_batch.record.results_file import ResultsFile
from llm_batch.records import Attempt, Call, Failure, Item, Result
from llm_batch.running.earlier import (
    Answers,
    Earlier,
    Finished,
    chain_hash,
    counted_before,
    edited_since,
    new_manifest,
    replaced_by,
    set_aside,
    what_is_odd,
    with_estimate,
    with_seconds,
    with_totals,
)
from llm_batch.running.play import Event, Tick, play
from llm_batch.running.progress import LogFile, Overrun, Progress, RunSummary
from llm_batch.running.stopping import Circuit, Purse, Until, Watch
from llm_batch.sending.checks import (
    check_before_spending,
    empty_prompts,
    long_prompts,
    risks,
    with_list_prices,
)
from llm_batch.sending.client import Budget
from llm_batch.sending.clock import Stop
from llm_batch.sending.fleet import Fleet
from llm_batch.sending.pool import Outages
from llm_batch.sending.providers import own_server
from llm_batch.sending.trust import require_trust

if TYPE_CHECKING:
    from llm_batch.estimating import Estimate

__all__ = ["ASK_ABOVE_USD", "Earlier", "Overrun", "Progress", "RunSummary", "Stop", "Until", "run"]

#: A run that is expected to cost more than this, and has no budget, is asked about.
ASK_ABOVE_USD = 1.00
# How far above the high end of its estimate a run is asked about once more.
_LEAVES_ESTIMATE = 1.5
# Items that tell what the others will cost.
_PROJECTED_FROM = 20
# Enough prompts to know the mean length to a few percent, counted in a moment.
_ESTIMATE_ITEMS = 100
# How long the run took is written this often: a killed one cannot say it at the end.
_CHECKPOINT_SECONDS = 30.0
# Blocks of earlier results that are looked at while nothing else is to be done.
_LOOKS = 16
# Items of which a table is written for more than a few seconds.
_TAKES_A_MOMENT = 100_000
# The limits in force are looked at this often: at every event that took a tenth of a run's time.
_PACE_SECONDS = 0.1


def run(
    config: Config,
    *,
    data: Any = None,
    trusted: bool = False,
    confirm: Callable[[Estimate], bool] | None = None,
    confirm_overrun: Callable[[Overrun], bool] | None = None,
    progress: Callable[[Progress], None] = lambda state: None,
    say: Callable[[str], None] = lambda sentence: None,
    stop: Stop | None = None,
    earlier: Earlier = Earlier(),  # noqa: B008  (frozen)
    log_file: str | os.PathLike[str] | None = None,
    until: Until = Until(),  # noqa: B008  (frozen)
    leave: str = "",
    ask_above: float = ASK_ABOVE_USD,
) -> RunSummary:
    """Run the chain over the sample, or go on where an earlier run of the same output ended.

    Args:
        data: Rows in place of what the config names: a list or an iterator of dicts, a frame of
            pandas or Polars, a table of pyarrow, a Dataset of Hugging Face. Gone through once.
        trusted: Whether the user knows which keys and files the config's file sends where. Without
            it a file that sends a key to a stranger's host is refused; see `sending.trust`.
        confirm: Asked when the rest of the run is expected to cost more than ``ask_above`` USD
            and there is no budget; ``None`` means yes.
        confirm_overrun: Asked once on the way when the run costs far more than its estimate and
            than a dollar, with a budget or without; nothing new is sent meanwhile, and a no stops
            the run. ``None`` means yes, and it is said.
        progress: Called after every event with the state so far.
        say: Called with sentences a user should read (what changed, what was odd).
        stop: Call it to end the run early.
        log_file: Where to write what happens as JSON lines, see `running.progress.LogFile`.
        leave: Do not wait for jobs at a provider: collect and submit what can be now, and end as
            ``"submitted"`` or ``"pending"``. The same call goes on from there.

    Returns:
        How it ended; failures of items are in the results, not raised.

    Raises:
        LlmbError: The config, data or output is wrong, or the answer to ``confirm`` was no;
            nothing was spent.
        Incomplete: The disk or the data failed on the way. What was answered until then is in
            the journal, and the same call goes on from there.
    """
    if data is not None:
        config = config.of_program()
    if not trusted:
        require_trust(config)
    chain = config.chain(code=True)
    stop = stop or Stop()
    paths = run_paths(config.run.output)
    with ExitStack() as stack:
        drawn = stack.enter_context(drawn_for(config, data))
        check_before_spending(config, chain, next(iter(drawn.items()), None))
        config.engine.check(config, False)  # before anything is set aside, asked or written
        mode = config.run.file_mode
        log = stack.enter_context(LogFile(log_file or None, mode))
        say = log.noting(say)
        odd = [*empty_prompts(chain, drawn.items), *long_prompts(config, drawn.items)]
        for sentence in [*risks(config), *odd, *own_shares(config, drawn.size)]:
            say(sentence)
        for kind in ENGINES.values():
            if earlier.overwrite or kind is not config.engine:
                kind.refuse_open(config.run.output, earlier.overwrite)
        if earlier.overwrite and (aside := set_aside(config.run.output)) is not None:
            say(f"the earlier run was set aside; its calls are in {aside}")
        if (table := table_of(config.run.output)) is not None:
            from llm_batch.reporting.table import check_table

            check_table(table, Manifest.read(paths.manifest))
        journal = stack.enter_context(
            closing(
                Journal(
                    paths.journal,
                    find_new=config.engine.by_batch,
                    mode=mode,
                    index=paths.call_index,
                    number=drawn.number,
                    seed=config.sample.seed,
                )
            )
        )
        answers = stack.enter_context(closing(Answers(journal, earlier.reuse)))
        before = Manifest.read(paths.manifest)
        asks = confirm is not None and config.limits.budget is None and bool(drawn.size)
        # Where nobody is asked, the first requests need not wait for it.
        estimate = (
            _estimate(config, drawn) if asks or (config.engine.by_batch and drawn.size) else None
        )
        manifest = new_manifest(config, drawn, before)
        other, refused = replaced_by(before, manifest, paths.results)
        if refused:
            raise ConfigError(
                f"{paths.results} holds {other}, which this run would replace",
                "write elsewhere: --output other.jsonl; or add --overwrite: the earlier files are "
                "renamed, not deleted",
            )
        for sentence in what_is_odd(config, drawn, journal, before, manifest):
            say(sentence)
        edited = edited_since(before, paths.results)
        hashed = chain_hash(manifest)
        finished = counted = None
        # A picture may be another one under its name, so such items are looked at again.
        seen = any(step.images for step in config.asking)
        if not (edited or other or until or seen):
            counted = counted_before(before, manifest, journal, paths.results, hashed)
            finished = Finished.of(
                drawn, journal, paths.results, hashed, earlier.retry_failed, counted
            )
        if finished is not None:
            answers.leave_out(finished)
            if asks or config.engine.by_batch:
                finished.complete()
        if asks and confirm is not None and estimate is not None:
            _ask(config, drawn, finished, answers, estimate, confirm, say, ask_above)
        unpriced = [name for name, price in manifest.prices.items() if price is None]
        if confirm is None and unpriced:
            say(
                f"the price of {', '.join(unpriced)} is not known, so what this run costs is not "
                "counted; set input_price and output_price under [models]"
            )
        budget = Budget(config.limits.budget, journal.spent)
        fleet = stack.enter_context(Fleet(config, budget, stop.clock, resumed=journal.answers > 0))
        results = ResultsFile(
            paths.results,
            config.data.keep,
            edited or bool(other),
            mode,
            hashed,
            undecided=finished is not None,
        )
        if results.kept and other and not edited:
            say(f"{paths.results} holds {other}; it is kept as {results.kept}")
        elif results.kept:
            say(
                f"{paths.results} holds what a run did not write (another file, or one that was "
                f"edited since); it is kept as {results.kept}"
            )
        session = _Session(
            config, chain, budget, fleet, journal, answers, results, stop, log, progress, say
        )
        session.confirm_overrun = confirm_overrun
        session.leave = leave
        session.state.planned = drawn.size
        if finished is not None:
            session.leave_out(finished, before)

        def look_ahead() -> None:
            nonlocal manifest
            made = estimate or _estimate(config, drawn)
            manifest = with_estimate(manifest, made)
            session.expect(made)

        if estimate is not None:
            look_ahead()
        elif drawn.size:
            session.look_ahead = look_ahead
        log.start(config, manifest, drawn.size)
        with results:
            session.checkpoint = lambda: with_seconds(manifest, session.state.seconds).write(
                paths.manifest, mode
            )
            session.watch = Watch(until, drawn.population) if until else None
            session.play(
                finished.items() if finished else drawn.items(), ask_again=earlier.retry_failed
            )
            if finished is not None:
                finished.complete()
            if session.state.calls or counted is None:
                session.look_once()  # else that of the last run holds
        for place, slowed in fleet.slowed.items():
            say(f"{place}: {slowed.words}; with {slowed.advice} the next run begins there")
        summary = _summary(config, session.state, stop, results)
        if session.watch:
            summary = gated(summary, session.watch.verdict, until.undecided_passes)
        journal.sync()
        stopping = session.watch.record() if session.watch else None
        manifest = with_totals(manifest, summary, journal, results, stopping, hashed)
        manifest.write(paths.manifest, mode)
        log.end(summary)
        if table is None:
            return summary
        if stop.grace is not None and summary.status == "interrupted":
            say(f"{table} is not written in the time of a grace; the same command writes it")
            return summary
        from llm_batch.reporting.table import write_table

        if session.state.done > _TAKES_A_MOMENT:
            say(f"writing {table}")
        try:
            write_table(table, paths.results, manifest, mode)
        except OutputError as error:  # much was spent, and all of it is kept
            raise Incomplete(error.message, error.hint) from error
        return replace(summary, path=table)


def drawn_for(config: Config, given: Any = None) -> Drawn:
    sample = config.sample
    return draw(
        config.data,
        config.data_path(),
        size=sample.size,
        seed=sample.seed,
        stratify=sample.stratify,
        shard=config.run.part,
        used=config.fields_used(),
        given=given,
    )


def own_shares(config: Config, items: int) -> list[str]:
    """What to know of a run that is one shard of several: its limits, and what comes after."""
    part, limits = config.run.part, config.limits
    if part is None or part[1] == 1:
        return []
    own = {"budget": limits.budget, "rpm": limits.rpm, "tpm": limits.tpm, "tier": limits.tier}
    named = words.listed(name for name, value in own.items() if value is not None)
    said = f"shard {part[0]} of {part[1]}: each has its own {named or 'pace, and no budget'}"
    said += f"; all together may come to {part[1]} times as much" if named else ""
    if not items:
        said = f"shard {part[0]} of {part[1]} has no items: a hash of their ids deals them out"
    return [said, f"when all are done: {merging(os.fspath(config.run.output))}"]


class _Session:
    def __init__(
        self,
        config: Config,
        chain: Chain,
        budget: Budget,
        fleet: Fleet,
        journal: Journal,
        answers: Answers,
        results: ResultsFile,
        stop: Stop,
        log: LogFile,
        progress: Callable[[Progress], None],
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._config = config
        self._chain = chain
        self._budget = budget
        self._fleet = fleet
        self._journal = journal
        self._results = results
        self._stop = stop
        self._progress = progress
        self._answers = answers
        self._log = log
        self.checkpoint: Callable[[], None] = lambda: None
        self.watch: Watch | None = None
        self.confirm_overrun: Callable[[Overrun], bool] | None = None
        #: USD that this session may cost by its estimate, where that is watched.
        self.expected: float | None = None
        self.leave = ""
        self._finished: Finished | None = None
        #: Makes the estimate, if it is still to be made.
        self.look_ahead: Callable[[], None] | None = None
        self._spent_before = budget.spent
        self._finished_cost = 0.0
        self._outages = Outages(config)
        servers = {s.name: own_server(s.model, config.model(s.model)) for s in config.asking}
        self._pace_at = 0.0
        self._circuit = Circuit(config.limits.max_failure_share, servers)
        # USD of this session, of the items that have a call of it and no result yet.
        self._asked: dict[str, float] = {}
        self._engine: Engine  # opened by play()
        self.state = Progress(
            spent=journal.spent, priced=not journal.unpriced, budget=config.limits.budget
        )

    def leave_out(self, finished: Finished, before: Manifest | None) -> None:
        """Count what is finished and leave its results alone, as soon as all of it is known."""
        stamp = before.totals.results_file if before else None

        def known() -> None:
            if finished.lines is not None and isinstance(stamp, dict):
                finished.lines.hash = stamp.get("hash")
            self._answers.count(finished)
            self.state.add(finished.state)
            self.state.reused = self._answers.used
            self._results.decide(finished.lines)

        self._finished = finished
        finished.again, finished.on_known = self._results.withdraw, known
        if finished.known:
            known()

    def play(self, items: Iterable[Item], ask_again: bool) -> None:
        kind = self._config.engine
        engine = self._engine = kind.open(
            Supplies(
                self._config, self._fleet, self._budget, self._journal, self._stop, self._say,
                self.state.planned, self.leave,
            )
        )  # fmt: skip
        if self.watch is not None and kind.early:
            self._say(kind.early)
        purse = Purse(self._chain, self._budget, self._fleet, self._stop, engine.held_already)
        purse.counts = self.look_ahead is None
        started = time.monotonic()
        checkpoint_at = _CHECKPOINT_SECONDS
        left = False
        self.checkpoint()
        try:
            events = play(
                self.watch.numbered(items) if self.watch else items,
                self._chain,
                engine,
                self._record,
                self._answers,
                purse,
                ask_again=ask_again,
            )
            for event in events:
                self.look_once()
                purse.counts = True
                self._take_in(event)
                self._look_on(_LOOKS if isinstance(event, Tick) else 1)
                for sentence in self._outages.sentences(self._fleet.heard()):
                    self._say(sentence)
                self.state.in_flight = engine.held
                self.state.jobs = engine.note
                self.state.seconds = time.monotonic() - started
                self._progress(self.state)
                self._log.progress(self.state)
                if self._stop.is_overdue and engine.held:
                    self._leave()
                    left = True
                    break
                if self.state.seconds >= checkpoint_at:
                    checkpoint_at += _CHECKPOINT_SECONDS
                    self.checkpoint()
        except (OutputError, DataError) as error:
            self._save_what_is_in_flight()
            raise Incomplete(error.message, error.hint) from error
        except BaseException:
            self._save_what_is_in_flight()
            raise
        finally:
            if not left:  # its end would be waited for
                engine.close()
            self.state.spent = self._budget.spent  # its last look may have found more
        if purse.refused and not self._stop.reason and not self._journal.calls:
            _check_budget(self._budget.cap or 0.0, *purse.refused)

    def _look_on(self, times: int) -> None:
        """Look at more of what is finished, while requests are under way."""
        for _ in range(times):
            if self._finished is None or self._finished.known:
                return
            self._finished.look()

    def look_once(self) -> None:
        """Make the estimate, if it is still to be made: it loads what the first requests do not
        need, and so is made while they are under way.
        """
        if self.look_ahead is not None:
            self.look_ahead()
            self.look_ahead = None

    def expect(self, estimate: Estimate) -> None:
        state, cost = self.state, estimate.cost
        if cost is not None:
            self.expected = cost.high or cost.value or 0.0
        if sum(self._chain.times.values()) > sum(step.asks for step in self._config.steps):
            state.expected_calls = round(estimate.calls.value or 0)
        state.expected = (estimate.seconds, cost)
        state.expected_cost = cost.value if cost else None

    def _record(self, calls: Sequence[Call]) -> None:
        self._journal.append(*calls)
        for call in calls:
            self._engine.recorded(call)

    def _take_in(self, event: Event) -> None:
        state = self.state
        if isinstance(event, Call):
            item_id, cost = event.request.item_id, event.cost or 0.0
            self._asked[item_id] = self._asked.get(item_id, 0.0) + cost
            self._budget.charge(item_id, cost)
            self._results.publish()
            state.count_call(event)
            self._log.call(event)
            if event.failure is not None and event.failure.kind == "refused":
                self._stop("refused", event.failure.message)
        elif isinstance(event, Result):
            # Written before its share of the budget is given back to others.
            self._results.write(event)
            self._budget.release(event.item.id)
            state.count_result(event)
            self._log.result(event)
            if self.watch is not None and (said := self.watch.note(event)):
                self._stop("enough", said)
            if event.item.id in self._asked:
                # What an earlier session stopped at must not stop every later one.
                self._finished_cost += self._asked.pop(event.item.id)
                state.fresh += 1
                if trouble := self._circuit.note(event):
                    self._stop("circuit", trouble)
        else:
            self._results.flush()
        self._journal.sync_if_due()
        state.reused = self._answers.used
        state.spent = self._budget.spent
        now = time.monotonic()
        if now >= self._pace_at:
            self._pace_at = now + _PACE_SECONDS
            state.rpm = self._fleet.rpm
            state.slowed = "; ".join(dict.fromkeys(s.words for s in self._fleet.slowed.values()))
        self._watch_cost()

    def _watch_cost(self) -> None:
        """Ask once more about a run whose cost has left its estimate."""
        state, expected = self.state, self.expected
        if expected is None or self._stop.reason or state.done == state.planned:
            return
        spent, coming = state.spent - self._spent_before, None
        known = self._finished is None or self._finished.known
        if state.fresh >= _PROJECTED_FROM and known:
            left = state.planned - state.done
            coming = spent + left * self._finished_cost / state.fresh
        if max(spent, coming or 0.0) <= max(ASK_ABOVE_USD, _LEAVES_ESTIMATE * expected):
            return
        self.expected = None  # asked once
        overrun = Overrun(spent, coming, expected, self._budget.cap)
        if self.confirm_overrun is None:
            self._say(f"{overrun}; it goes on, as was agreed")
            return
        # What waits for a worker or for its turn would be sent while the question stands.
        for sending in (self._fleet, self._engine):
            sending.hold(True)
        if not self.confirm_overrun(overrun):
            self._stop("overrun", str(overrun))
        for sending in (self._fleet, self._engine):
            sending.hold(False)

    def _leave(self) -> None:
        """The grace of a stop is over: what is in flight is nobody's any more, and is booked."""
        if calls := self._engine.wait(0.0):
            self._record(calls)
        for call in calls:
            self._take_in(call)
        if not (flying := self._engine.in_flight()):
            return
        booked = 0.0
        for request, at in flying:
            model = self._fleet.models[request.model]
            cost = model.most(request) if model.tariff is not None else None
            call = Call(
                request,
                (Attempt(1, at, max(0.0, time.time() - at), "cancelled", maybe_billed=True),),
                failure=Failure("cancelled", "the run ended before its reply came"),
                cost=cost,
                worst_case=True,
            )
            self._record([call])
            self._take_in(call)
            booked += cost or 0.0
        worst = f", so they are booked at their worst case ({words.usd(booked)})" if booked else ""
        self._say(
            f"{self._stop.grace:g} s of grace are over, "
            f"{words.counted(len(flying), 'request')} in flight left: the provider may bill "
            f"them{worst}; the same command asks again"
        )

    def _save_what_is_in_flight(self) -> None:
        """After an error: send nothing more, and keep the answers that are paid for already."""
        engine = self._engine
        self._stop("failed")
        engine.give_back()
        while engine.held:
            # Another bug, or a disk that is still full: the first error is the one to show.
            with suppress(Exception):
                for call in engine.wait(1.0):
                    with suppress(OutputError):
                        self._record([call])


def _estimate(config: Config, drawn: Drawn) -> Estimate:
    from llm_batch.estimating import estimate_from_items

    first = itertools.islice(drawn.items(), _ESTIMATE_ITEMS)
    return estimate_from_items(config, first, drawn.size, drawn.population)


def _check_budget(budget: float, item_id: str, most: float) -> None:
    """Refuse a budget that not even the first item fits into, of which nothing was sent."""
    if most <= budget:
        return
    digits = max(2, 2 - math.floor(math.log10(most)))
    enough = math.ceil(most * 10**digits) / 10**digits
    raise ConfigError(
        f"the budget of {words.exact_usd(budget)} is less than one item may cost: up to "
        f"{words.exact_usd(most)} for item {item_id!r}; nothing was sent",
        f"use --budget {enough:.{digits}f} or more, or a lower max_tokens",
    )


def _ask(
    config: Config,
    drawn: Drawn,
    finished: Finished | None,
    answers: Answers,
    estimate: Estimate,
    confirm: Callable[[Estimate], bool],
    say: Callable[[str], None],
    ask_above: float,
) -> None:
    """Ask whether to spend what the rest of the run costs, if that is more than so many USD.

    A price of one's own that is below the vendor's does not count here: it may be a mistake, or
    a stranger's.
    """
    from llm_batch.estimating import estimate_from_items

    if finished is not None and not finished.left:
        return
    priced = with_list_prices(config)
    if answers.unused or finished is not None or priced is not config:
        estimate = estimate_from_items(
            priced,
            drawn.items(finished.done if finished else None),
            finished.left if finished else drawn.size,
            drawn.population,
            answers.look_up,
            most=_ESTIMATE_ITEMS,
        )
        estimate = replace(
            estimate, reused=estimate.reused + (finished.state.done if finished else 0)
        )
    if not estimate.calls.value:
        return
    if estimate.cost is not None and (estimate.cost.value or 0.0) <= ask_above:
        return
    if priced is not config:
        say("the config's prices are below the vendor's; the question counts the vendor's")
    if not confirm(estimate):
        raise ConfigError("not run: the cost was not agreed to", "set a cap with --budget USD")


def _summary(config: Config, state: Progress, stop: Stop, results: ResultsFile) -> RunSummary:
    status, message = stop.reason, stop.message
    if status == "interrupted" and state.done == state.planned:
        status = ""  # it was asked to stop when nothing was left to do
    if not status and state.done < state.planned:
        budget = config.limits.budget
        assert budget is not None  # nothing else leaves items out without a word
        status = "budget"
        message = f"the next call may cost more than is left of {words.exact_usd(budget)}"
    status = status or "done"
    code = ENDINGS.get(status, ENDINGS["interrupted"]).exit_code
    if code == EXIT_OK and state.done > state.statuses["ok"]:
        code = EXIT_INCOMPLETE
    return RunSummary(results.path, status, message, state, code)


def gated(summary: RunSummary, verdict: str, undecided_passes: bool) -> RunSummary:
    """The same of a run that is a gate, whose items have all been played or have decided it.

    What is decided is decided, and failed items may yet decide what is not.
    """
    if not verdict or summary.status not in ("done", "enough"):
        return summary
    code = VERDICTS[verdict].code(undecided_passes)
    if summary.exit_code != EXIT_OK and verdict != "failed":
        code = summary.exit_code
    return replace(summary, exit_code=code, verdict=verdict)
