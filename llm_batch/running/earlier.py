"""What a run finds of earlier ones, and says of itself to later ones: answers, and its manifest."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import compress
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from llm_batch.chain.config import Config
from llm_batch.chain.overrides import Typed, expanded
from llm_batch.dataset import Drawn
from llm_batch.errors import STATUSES, ConfigError, OutputError
from llm_batch.models.prices import tariff_of
from llm_batch.paper import words
from llm_batch.record.changes import changes
from llm_batch.record.files import files_of, run_paths
from llm_batch.record.journal import Journal, Lookup, Replay, head_of
from llm_batch.record.lines import SCHEMA
from llm_batch.record.manifest import (
    RUNNING,
    Dataset,
    ListPrice,
    Manifest,
    Sample,
    Step,
    Stopping,
    Totals,
    code_record,
    config_record,
    hash_of,
    new_run_id,
    utc,
    versions,
)
from llm_batch.record.results import DoneLine
from llm_batch.record.results_file import ResultsFile, Standing, is_edited, standing
from llm_batch.records import Call, Item, Request
from llm_batch.running.progress import Progress, RunSummary
from llm_batch.sending.checks import unused_id
from llm_batch.sending.providers import goes_by_batch

if TYPE_CHECKING:
    from llm_batch.estimating import Estimate


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a run does with the calls of earlier ones.

    Attributes:
        retry_failed: Ask again also for answers that came and cannot be used: cut off, not to be
            read, empty, filtered. (Calls that failed are always tried again.)
        reuse: Journals of other outputs whose answers are taken over where the same request is
            to be made.
    """

    retry_failed: bool = False
    overwrite: bool = False
    reuse: Sequence[str | os.PathLike[str]] = ()


def set_aside(output: str | os.PathLike[str]) -> Path | None:
    """Rename the files of an earlier run, so that a new one begins with nothing.

    They are not deleted: what is in the journal was paid for. Returned is the journal's new name;
    ``None`` without an earlier run. `OutputError` while a run is writing them.
    """
    files = files_of(output)
    if not any(path.exists() for path in files):
        return None
    with closing(Journal(run_paths(output).journal)):  # nobody else may be writing it
        numbered = (_numbered(Path(output), number) for number in itertools.count(1))
        names = next(free for free in numbered if not any(path.exists() for path in free))
        try:
            for path, name in zip(files, names, strict=True):
                if path.exists():
                    _rename(path, name)
        except OSError as error:
            raise OutputError(
                f"cannot rename {error.filename}: {error.strerror}", "choose another --output"
            ) from error
    return run_paths(names[0]).journal


def _rename(path: Path, name: Path) -> None:
    if not path.is_symlink():
        path.rename(name)
        return
    real = Path(os.path.realpath(path))
    names = (real.with_name(f"{real.stem}.{n}{real.suffix}") for n in itertools.count(1))
    aside = next(free for free in names if not free.exists())
    real.rename(aside)
    name.symlink_to(aside)


def _numbered(output: Path, number: int) -> list[Path]:
    return files_of(output.with_name(f"{output.stem}.{number}{output.suffix}"))


class Answers:
    """What was answered before, in this run's journal and in those of other outputs.

    An answer of another journal is recorded in this run's own when it is used, so that the
    results follow from that one alone; at a cost of 0, since this run does not pay for it.
    `ConfigError` where one of the others is no journal.
    """

    def __init__(self, journal: Journal, others: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._journal = journal
        self._own = Replay(journal)
        self._others = [_Index(Path(expanded(path))) for path in others]
        self._finished: Finished | None = None
        self.taken = 0

    @property
    def used(self) -> int:
        """Answers that were asked for, and so not paid again."""
        return self._own.used + self.taken

    @property
    def unused(self) -> int:
        """Answers that may still be asked for; too many where journals overlap.

        To tell, what finished items have is counted first.
        """
        if self._finished is not None:
            self._finished.complete()
        return self._own.unused + sum(index.answers for index in self._others) - self.taken

    def answered(self, request: Request) -> Call | None:
        """The call that answered this request before; ``None`` if none did."""
        call = self._own.answered(request)
        if call is None and (call := self._elsewhere(request)) is not None:
            call = replace(call, cost=0.0, worst_case=False)
            self._journal.append(call)
            self.taken += 1
        return call

    def leave_out(self, finished: Finished) -> None:
        """Nobody will ask for the answers that finished items have."""
        self._finished = finished

    def count(self, finished: Finished) -> None:
        """Count the answers as used that finished items have, now that these are known."""
        self._own.count(finished.used)

    def look_up(self, request: Request) -> Call | None:
        return self._journal.answered(request) or self._elsewhere(request)

    def close(self) -> None:
        for index in self._others:
            index.close()

    def _elsewhere(self, request: Request) -> Call | None:
        found = (index.answered(request) for index in self._others)
        return next((call for call in found if call is not None), None)


class Finished:
    """Items of the sample whose results stand, as an earlier run of the same chain wrote them.

    They are found some lines at a time (`look`), so that new calls need not wait for all of
    them. What the journal has no answer of is left for certain, whatever the results say.

    Attributes:
        known: Whether all lines have been looked at. What follows is right from then on.
        done: A 1 for each of them, by its position in the order of the sample.
        lines: What of the results file stays; ``None`` where all of it must be written again.
        state: A `Progress` that counts them.
        used: Answers of the journal that they have.
        on_known: Called once that is known.
        again: Asked for an item that was played meanwhile and has a line too, with the status of
            that: whether its new result is the same, and dropped.
    """

    def __init__(
        self, drawn: Drawn, journal: Journal, path: Path, chain: str, retry_failed: bool
    ) -> None:
        import numpy

        self.known = False
        self.done = bytearray(drawn.size)
        self.state = Progress()
        self.lines: Standing | None = None
        self.used = 0
        self.on_known: Callable[[], None] = lambda: None
        self.again: Callable[[str, str], bool] = lambda item_id, status: False
        self._drawn = drawn
        self._chain = chain
        self._statuses = {"ok"} if retry_failed else _SETTLED
        self._of_run = False
        self._positions = drawn.positions()
        places = self._positions.of(journal.answered_items())
        self._places = places[places >= 0]
        self._answered = bytearray(drawn.size)
        numpy.frombuffer(self._answered, numpy.uint8)[self._places] = 1
        # Not given out while not all is known; and those that were given out then.
        self._passed = bytearray(self._answered)
        self._given = bytearray(drawn.size)
        self._looking = standing(path, self._stay)

    @classmethod
    def of(
        cls,
        drawn: Drawn,
        journal: Journal,
        path: Path,
        chain: str,
        retry_failed: bool,
        counted: Progress | None = None,
    ) -> Self | None:
        """What is finished, known up to the first; ``None`` where all must be looked at again.

        That is where the journal may be another one than the results were made from, where the
        lines are not of this chain, or where the file is none that a run has left. No line is
        looked at where they are ``counted`` and are all that can be (`counted_before`).
        """
        if not journal.intact:
            return None
        found = cls(drawn, journal, path, chain, retry_failed)
        if not found._positions.distinct:
            return None
        if counted is not None and found._is_all(counted):
            found.known, found.state, found.used = True, counted, len(found._places)
            found.done = bytearray(b"\1") * drawn.size
            found.lines = Standing(path.stat().st_size)
            return found
        found.look()
        while found._of_run and not (found.known or found.state.done):
            found.look()
        return found if found._of_run and (found.lines is not None or not found.known) else None

    @property
    def left(self) -> int:
        return len(self.done) - self.state.done

    def look(self) -> None:
        """Look at some more lines."""
        try:
            next(self._looking)
        except StopIteration as end:
            self._end(end.value)

    def complete(self) -> None:
        while not self.known:
            self.look()

    def items(self) -> Iterator[Item]:
        """Those that are left, in their order.

        While not all is known, those without an answer alone: the others follow in theirs.
        """
        import numpy

        if not self.known:
            places = compress(range(len(self.done)), map(not_, self._passed))
            for place, item in zip(places, self._drawn.items(self._passed), strict=True):
                self._given[place] = 1
                yield item
                if self.known:
                    break
            self.complete()
        done, given = (numpy.frombuffer(each, numpy.uint8) for each in (self.done, self._given))
        yield from self._drawn.items(bytearray(numpy.maximum(done, given)))

    def _is_all(self, counted: Progress) -> bool:
        """Whether these are results of all items, and each of them stands."""
        statuses = counted.statuses
        free = sum(count for kind, count in statuses.items() if kind not in _WITH_ANSWERS)
        return (
            counted.done == len(self.done)
            and statuses.keys() <= self._statuses
            and self._answered.count(0) <= free
        )

    def _end(self, lines: Standing | None) -> None:
        import numpy

        self.known = True
        if lines is not None and self.state.done:
            self.lines = lines
            self.used = int(numpy.frombuffer(self.done, numpy.uint8)[self._places].sum())
        else:
            self.done, self.state = bytearray(len(self.done)), Progress()
        self.on_known()

    def _stay(self, lines: list[DoneLine]) -> list[bool]:
        numbers = self._drawn.numbers(line.id for line in lines)
        chains = {line.chain for line in lines}
        self._of_run |= self._chain in chains
        of_run = chains == {self._chain} and {line.status for line in lines} <= self._statuses
        stay, count = [], []
        for place, line in zip(self._positions.of(numbers).tolist(), lines, strict=True):
            # One that comes twice stays once, and none that is not in the sample now.
            stays = (
                place >= 0
                and not self.done[place]
                and (of_run or (line.chain == self._chain and line.status in self._statuses))
                and (self._answered[place] > 0 or line.status not in _WITH_ANSWERS)
            )
            counts = stays and not self._given[place]
            stay.append(counts or (stays and self.again(line.id, line.status)))
            count.append(counts)
            if counts:
                self.done[place] = self._passed[place] = 1
        self.state.count_lines(list(compress(lines, count)))
        return stay


#: What a later run of the same chain makes of an item again, without a call.
_WITH_ANSWERS = {kind for kind, status in STATUSES.items() if status.kept}
_SETTLED = _WITH_ANSWERS | {"prompt", "rule", "oversized"}  # code may also fail by chance


class _Counts(msgspec.Struct):
    """What the manifest has of the lines of the results, beside their statuses."""

    scored: int
    judged: int
    passed: int
    score_sum: float
    score_squares: float


def counted_before(
    before: Manifest | None, manifest: Manifest, journal: Journal, path: Path, chain: str
) -> Progress | None:
    """The results as the last run counted them; ``None`` unless all is as that run left it.

    That is the sample, the chain, the journal, and by size and time the file.
    """
    totals = before.totals if before else Totals()
    stamp = totals.results_file
    if before is None or not isinstance(stamp, dict) or totals.calls != journal.calls:
        return None
    same = before.sample == manifest.sample and all(
        before.config.get(key) == manifest.config.get(key) for key in ("data", "sample", "run")
    )
    try:
        found = path.stat()
        counts = msgspec.convert(stamp.get("counts"), _Counts)
    except (OSError, msgspec.ValidationError):
        return None
    touched = (found.st_size, found.st_mtime_ns) != (stamp.get("size"), stamp.get("mtime_ns"))
    if touched or not same or stamp.get("chain") != chain:
        return None
    return Progress(
        done=sum(totals.items.values()),
        statuses=Counter(totals.items),
        simulated=totals.simulated,
        **msgspec.structs.asdict(counts),
    )


def chain_hash(manifest: Manifest) -> str:
    """A hash of all that results follow from besides calls: chain, data, and this program.

    Where requests go, at what pace and price, is not in it: it is in the calls, or nowhere.
    """
    config = manifest.config
    kept = {"data": {k: v for k, v in config["data"].items() if k != "path"}}
    kept |= {key: config[key] for key in config if key not in _NO_MATTER}
    kept["stratify"] = config["sample"]["stratify"]
    kept["max_reply"] = config["limits"].get("max_reply")
    if manifest.code:
        kept["code"] = manifest.code
    return hash_of([kept, manifest.dataset.sha256, manifest.versions["llm_batch"], SCHEMA])


_NO_MATTER = ("data", "sample", "limits", "models", "run")


class _Index:
    def __init__(self, path: Path) -> None:
        self._where = Lookup()
        lines = 0
        try:
            self._file = open(path, "rb", buffering=1 << 20)  # noqa: SIM115  (kept for reading)
            offset = 0
            for line in self._file:
                head = head_of(line)
                if head is not None:
                    lines += 1
                    if head.ok:
                        self._where.read(head, offset)
                offset += len(line)
        except OSError as error:
            raise ConfigError(
                f"--reuse: cannot read {path}: {error.strerror}",
                "name the journal of another run: its file ends in .calls.jsonl",
            ) from error
        if offset and not lines:
            self._file.close()
            raise ConfigError(
                f"--reuse: {path} is not a journal",
                "name the file of another run that ends in .calls.jsonl",
            )

    @property
    def answers(self) -> int:
        return len(self._where)

    def answered(self, request: Request) -> Call | None:
        return self._where.answer(request, self._line_at)

    def _line_at(self, offset: int) -> bytes:
        self._file.seek(offset)
        return self._file.readline()

    def close(self) -> None:
        self._file.close()


def new_manifest(config: Config, drawn: Drawn, before: Manifest | None) -> Manifest:
    """Of a run that begins; its estimate is that of the run before until there is another."""
    record = config_record(config)
    prices = {}
    for step in config.asking:
        own = config.model(step.model)
        tariff = tariff_of(
            step.model,
            own.input_price,
            own.output_price,
            own.cache_read_price,
            batch_input_price=own.batch_input_price,
            batch_output_price=own.batch_output_price,
        )
        if tariff is not None and goes_by_batch(step.model, config):
            tariff = tariff.at_batch()
        prices[step.model] = ListPrice.of(tariff.price if tariff else None)
    before = before or Manifest()
    return Manifest(
        run_id=before.run_id or new_run_id(),
        created_at=before.created_at or utc(),
        updated_at=utc(),
        versions=versions(),
        config=record,
        config_hash=hash_of(record),
        code=code_record(config),
        dataset=Dataset(
            str(drawn.path), drawn.sha256, drawn.population, drawn.skipped, drawn.strata
        ),
        sample=Sample(drawn.size, config.sample.seed, config.sample.stratify),
        prices=prices,
        engine=config.engine.name,
        limits=record["limits"],
        estimate=before.estimate,
        totals=Totals(RUNNING, seconds=before.totals.seconds or 0.0),
        made=_made(config),
    )


def _made(config: Config) -> dict[str, Any]:
    """The config's file and the flags, with paths from the folder of the results."""
    folder = run_paths(config.run.output).results.parent
    typed = Typed(str(config.source or ""), config.flags).moved(Path(), folder)
    flags = {name: value for name, value in asdict(typed.flags).items() if value is not None}
    return {"config": typed.config, **flags}


def with_estimate(manifest: Manifest, estimate: Estimate) -> Manifest:
    from llm_batch.estimating import estimate_record

    return msgspec.structs.replace(manifest, estimate=estimate_record(estimate))


def with_seconds(manifest: Manifest, seconds: float) -> Manifest:
    totals = Totals(RUNNING, seconds=(manifest.totals.seconds or 0.0) + seconds)
    return msgspec.structs.replace(manifest, updated_at=utc(), totals=totals)


def with_totals(
    manifest: Manifest,
    summary: RunSummary,
    journal: Journal,
    results: ResultsFile,
    stopping: Stopping | None,
    chain: str,
) -> Manifest:
    state = summary.progress
    counts = _Counts(*(getattr(state, name) for name in _Counts.__struct_fields__))
    totals = Totals(
        status=summary.status,
        items=dict(state.statuses),
        calls=journal.calls,
        cost=None if journal.unpriced else journal.spent,
        worst_case_calls=journal.worst_case,
        seconds=(manifest.totals.seconds or 0.0) + state.seconds,
        simulated=state.simulated,
        results_file=results.stamp() | {"chain": chain, "counts": msgspec.structs.asdict(counts)},
    )
    return msgspec.structs.replace(manifest, updated_at=utc(), totals=totals, stopping=stopping)


def what_is_odd(
    config: Config, drawn: Drawn, journal: Journal, before: Manifest | None, manifest: Manifest
) -> list[str]:
    notes = [*journal.notes, *drawn.notes]
    if not journal.calls:
        return [*notes, *unused_id(config, drawn.fields)]
    if before is not None:
        notes += [f"since the last run: {each}" for each in changes(before, manifest)]
    spent = f" ({words.usd(journal.spent)})" if journal.spent else ""
    answers = words.counted(journal.answers, "answer")
    notes.append(
        f"{journal.path.name} holds {answers}{spent}; what still applies is not paid for again"
    )
    if journal.unpriced and config.limits.budget is not None:
        notes.append(
            f"{journal.unpriced:,} of its calls were made without a known price, so the budget "
            "does not count them"
        )
    return notes


def edited_since(before: Manifest | None, path: Path) -> bool:
    written = before.totals.results_file if before else None
    return written is not None and is_edited(path, written)


def replaced_by(before: Manifest | None, manifest: Manifest, path: Path) -> tuple[str, bool]:
    """What is lost of the last run's results once this run has some; nothing for an edit of it.

    Changed prompts over the same data are an edit, and so is the same chain over data that grew:
    the new results stand for the old ones. Other data and other steps do not. Returned is what the
    results are of, empty for an edit; and whether data and steps are both others.
    """
    if before is None or not path.exists() or not path.stat().st_size:
        return "", False
    then, now = before.dataset, manifest.dataset
    other_data = then.sha256 != now.sha256 and not _same_place(then, now)
    shared = {_own_prompt(each) for each in before.steps if not each.rule} & {
        _own_prompt(each) for each in manifest.steps if not each.rule
    }
    names = [step.name for step in before.steps]
    same_names = not {step.name for step in manifest.steps}.isdisjoint(names)
    if not names or not (other_data or not (shared or same_names)):
        return "", False
    items = sum(before.totals.items.values())
    counted = f"{words.items(items) if items else 'items'} of "
    said = f"{counted}another run ({then.path}; steps {', '.join(names)})"
    return said, other_data and not shared


def _own_prompt(step: Step) -> str | tuple[tuple[str, str], ...]:
    return tuple(step.sources) if step.messages or step.conversation else step.prompt


def _same_place(then: Dataset, now: Dataset) -> bool:
    return os.path.realpath(str(then.path)) == os.path.realpath(str(now.path))
