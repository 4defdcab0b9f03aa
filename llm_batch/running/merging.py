"""The shards of a run become one run: the same results, journal and manifest as without shards."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from llm_batch.chain.options import shard_of
from llm_batch.dataset.selection import order_key
from llm_batch.engines.batch.job_log import JobLog
from llm_batch.errors import ConfigError
from llm_batch.paper import words
from llm_batch.record import files
from llm_batch.record.files import PRIVATE, Paths, Writing, run_paths
from llm_batch.record.journal import Journal
from llm_batch.record.lines import UNREADABLE
from llm_batch.record.manifest import (
    RUNNING,
    Estimated,
    Figures,
    Manifest,
    Range,
    Totals,
    hash_of,
    new_run_id,
)
from llm_batch.record.results_file import text_hash
from llm_batch.records import without_mark
from llm_batch.reporting.table import write_table

_OWN = ("shard", "output")  # what is each shard's own under [run]


class Merged(NamedTuple):
    """How many shards were put together, and how many items have a line."""

    shards: int
    items: int


def merge_shards(
    shards: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]
) -> Merged:
    """Write the results, the journal and the manifest of shards as those of one run.

    The shards stay as they are. Results come in the seeded order.

    Raises:
        ConfigError: They are not all shards of one run, one is missing or goes on, or the output
            is there already. Nothing is written then.
        OutputError: A file cannot be read or written.
    """
    paths = sorted({run_paths(shard) for shard in shards}, key=lambda each: str(each.results))
    files.refuse_address(output)
    into = run_paths(output)
    if there := next((path for path in files.files_of(output) if path.exists()), None):
        raise ConfigError(
            f"{there} is there already",
            "choose another place with --output, or move it away with its journal and manifest",
        )
    with ExitStack() as stack:
        # Nobody else may be writing them, and what a crash cut off is mended.
        for each in paths:
            if each.journal.exists():
                stack.enter_context(closing(Journal(each.journal)))
        found = [_checked(each) for each in paths]
        _check_whole(found, paths)
        _check_alike(found, paths)
        with Writing(into.results):
            into.results.parent.mkdir(parents=True, exist_ok=True)
            _write(into.journal, _parts(each.journal for each in paths))
            items, stamp = _write_results(into.results, paths, found[0].sample.seed or 0)
    manifest = _merged(found, paths[0], into, output, stamp)
    manifest.write(into.manifest)
    if (table := files.table_of(output)) is not None:
        write_table(table, into.results, manifest, PRIVATE)
    return Merged(len(paths), items)


def _checked(paths: Paths) -> Manifest:
    manifest = Manifest.read(paths.manifest)
    if manifest is None or not paths.results.exists():
        what = paths.manifest if manifest is None else paths.results
        raise ConfigError(
            f"{paths.results} is not the results file of a shard: there is no {what.name}",
            "name the results files that llmb run --shard wrote",
        )
    if manifest.totals.status == RUNNING:
        raise ConfigError(
            f"{paths.results} is not finished: its run goes on, or was killed",
            f"{_again(manifest, paths)}, then merge",
        )
    if count := len(JobLog(paths.jobs).open):
        raise ConfigError(
            f"{paths.results} has {words.counted(count, 'open batch job')}",
            f"{_again(manifest, paths)}, then merge",
        )
    return manifest


def _again(manifest: Manifest, paths: Paths) -> str:
    typed = manifest.typed(paths.results)
    return typed.command("run") if typed else "run its command again"


def _shard(manifest: Manifest) -> tuple[int, int] | None:
    run = manifest.config.get("run")
    return shard_of(str(run.get("shard") or "")) if isinstance(run, Mapping) else None


def _check_whole(found: Sequence[Manifest], paths: Sequence[Paths]) -> None:
    parts: dict[tuple[int, int], Path] = {}
    for manifest, own in zip(found, paths, strict=True):
        if (part := _shard(manifest)) is None:
            raise ConfigError(f"{own.results} is of a whole run, not of a shard", "leave it out")
        if part in parts:
            raise ConfigError(
                f"{parts[part]} and {own.results} are both shard {part[0]} of {part[1]}",
                "leave one of them out",
            )
        parts[part] = own.results
    counts = {count for _, count in parts}
    if len(counts) > 1:
        raise ConfigError(
            f"these are shards of different splits: of {words.listed(map(str, sorted(counts)))}",
            "name the shards of one split",
        )
    (count,) = counts
    missing = [str(number) for number in range(1, count + 1) if (number, count) not in parts]
    if missing:
        raise ConfigError(
            f"of {count} shards {len(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: {words.listed(missing, 8)}",
            f"run it first: {_other(found[0], paths[0], missing[0], count)}",
        )


def _other(manifest: Manifest, paths: Paths, number: str, count: int) -> str:
    typed = manifest.typed(paths.results)
    shard = f"{number}/{count}"
    if typed is None:
        return f"llmb run --shard {shard}"
    output = manifest.made.get("output")
    named = str(paths.results.with_name(Path(output).name)) if isinstance(output, str) else None
    return typed.command("run", shard=shard, output=named)


def _check_alike(found: Sequence[Manifest], paths: Sequence[Paths]) -> None:
    first = _common(found[0])
    for manifest, own in zip(found[1:], paths[1:], strict=True):
        for name, value in _common(manifest).items():
            if value != first[name]:
                raise ConfigError(
                    f"{paths[0].results} and {own.results} are not of one run: "
                    f"they have another {name}",
                    f"run the shards with one config over the same data: {_again(manifest, own)}",
                )


def _common(manifest: Manifest) -> dict[str, Any]:
    """What the shards of a run have in common, by the words for it."""
    return {
        "dataset": manifest.dataset.sha256,
        "seed": manifest.sample.seed,
        "config": _config(manifest),
        "code of a rule": manifest.code,
    }


def _config(manifest: Manifest, **own: Any) -> dict[str, Any]:
    run = {key: value for key, value in manifest.config["run"].items() if key not in _OWN}
    return {**manifest.config, "run": {**run, **own}}


def _parts(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        if path.exists():
            with open(path, "rb") as file:
                while part := file.read(1 << 20):
                    yield part


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with files.in_place_of(path) as file:
        file.writelines(parts)


def _write_results(path: Path, paths: Sequence[Paths], seed: int) -> tuple[int, dict[str, Any]]:
    """Write the lines in the order of their items; how many, and what `ResultsFile.stamp` says."""
    made = text_hash(None)
    with ExitStack() as stack:
        shards = [stack.enter_context(own.results.open("rb")) for own in paths]
        order = [
            (order_key(seed, item), number, offset)
            for number, file in enumerate(shards)
            for item, offset in _placed(file)
        ]
        order.sort()

        def lines() -> Iterator[bytes]:
            for _, number, offset in order:
                shards[number].seek(offset)
                line = shards[number].readline().rstrip(b"\r\n") + b"\n"
                made.update(line)
                yield line

        _write(path, lines())
    found = os.stat(path)
    stamp = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "hash": made.hexdigest()}
    return len(order), stamp


class _Id(msgspec.Struct):
    id: str


def _placed(file: IO[bytes]) -> Iterator[tuple[str, int]]:
    """The items of a results file, each once, and where their lines begin."""
    decode = msgspec.json.Decoder(_Id).decode
    seen: set[str] = set()
    offset = 0
    for line in file:
        with suppress(*UNREADABLE):  # cut off by a crash
            item = decode(without_mark(line)).id
            if item not in seen:
                seen.add(item)
                yield item, offset
        offset += len(line)


def _merged(
    found: Sequence[Manifest],
    paths: Paths,
    into: Paths,
    output: str | os.PathLike[str],
    stamp: dict[str, Any],
) -> Manifest:
    first = found[0]
    config = _config(first, shard=None, output=os.fspath(output))
    sizes = [manifest.sample.size for manifest in found]
    made: dict[str, Any] = {}
    if (typed := first.typed(paths.results)) is not None:
        flags = replace(typed.flags, shard=None, output=os.fspath(output))
        typed = replace(typed, flags=flags).moved(Path(), into.results.parent)
        given = {name: value for name, value in asdict(typed.flags).items() if value is not None}
        made = {"config": typed.config, **given}
    return msgspec.structs.replace(
        first,
        run_id=new_run_id(),
        created_at=min(manifest.created_at for manifest in found),
        updated_at=max(manifest.updated_at for manifest in found),
        config=config,
        config_hash=hash_of(config),
        sample=msgspec.structs.replace(first.sample, size=_total(sizes)),
        estimate=_estimate([each.estimate for each in found if each.sample.size != 0]),
        totals=_totals([manifest.totals for manifest in found], stamp),
        made=made,
    )


def _totals(found: Sequence[Totals], stamp: dict[str, Any]) -> Totals:
    """Sums; the seconds are those of the longest shard, and how one ended that did not get done."""
    ended = next((each.status for each in found if each.status != "done"), "done")
    items: Counter[str] = Counter()
    for each in found:
        items.update(each.items)
    return Totals(
        status=ended,
        items=dict(items),
        calls=_total(each.calls for each in found),
        cost=_total(each.cost for each in found),
        worst_case_calls=_total(each.worst_case_calls for each in found),
        seconds=_most(each.seconds for each in found),
        simulated=any(each.simulated for each in found),
        results_file=stamp,
    )


def _estimate(found: Sequence[Estimated | None]) -> Estimated | None:
    known = [each for each in found if each is not None]
    if len(known) < len(found) or not known:
        return None
    figures = _figures(known)
    steps = {
        name: _figures([each.steps.get(name, Figures()) for each in known])
        for name in known[0].steps
    }
    seconds = _range((each.seconds for each in known), _most)
    return Estimated(**msgspec.structs.asdict(figures), seconds=seconds, steps=steps)


def _figures(found: Sequence[Figures]) -> Figures:
    return Figures(
        calls=_total(each.calls for each in found),
        input_tokens=_total(each.input_tokens for each in found),
        output_tokens=_total(each.output_tokens for each in found),
        cost=_range((each.cost for each in found), _total),
    )


def _range(
    found: Iterable[Range | None], of: Callable[[Iterable[float | None]], Any]
) -> Range | None:
    known = [each or Range() for each in found]
    low, expected, high = (
        of(getattr(each, name) for each in known) for name in ("low", "expected", "high")
    )
    return None if expected is None and high is None else Range(low, expected, high)


def _total(values: Iterable[Any]) -> Any:
    """The sum; ``None`` where one is not known."""
    known = list(values)
    return None if None in known else sum(known)


def _most(values: Iterable[Any]) -> Any:
    known = list(values)
    return None if None in known else max(known)
