"""However a journal was cut, resuming gives the same results and pays only for what is missing."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_batch.record.journal import Journal, Replay
from llm_batch.record.results import encode_result
from llm_batch.records import Call, Item, Request, Result
from llm_batch.running.play import play
from tests import builders
from tests.builders import answer, chain, failure, items, reply_to

# Some replies cannot be read at first, so that there are re-asks; some texts need care in a file.
ITEMS: list[Item] = items(7)


def serve(request: Request) -> Call:
    if request.step == "judge" and request.item_id in ("q2", "q5") and len(request.messages) == 1:
        return answer(request, "let me think…\n")
    if request.step == "generate" and request.item_id == "q3":
        return answer(request, "naïve \u2028 „line“ \x00 " * 300)
    return answer(request, reply_to(request))


def played(path: Path, serve: object, engine: str = "serial") -> tuple[dict[str, bytes], list[str]]:
    """Results by item as they would be written, and the keys of what was sent."""
    journal = Journal(path)
    sent: list[str] = []

    def serving(request: Request) -> Call:
        sent.append(request.key)
        return serve(request)  # type: ignore[operator,no-any-return]

    made = builders.engine(engine, serving, 3)
    try:
        events = list(
            play(ITEMS, chain(), made, lambda calls: journal.append(*calls), Replay(journal))
        )
    finally:
        made.close()
        journal.close()
    results = [event for event in events if isinstance(event, Result)]
    assert len({result.item.id for result in results}) == len(results)
    return {result.item.id: encode_result(result) for result in results}, sent


@lru_cache(maxsize=1)
def reference() -> tuple[dict[str, bytes], bytes, list[str]]:
    """Results, journal and requests of a run that nothing disturbed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.jsonl")
        results, sent = played(path, serve)
        return results, path.read_bytes(), sent


@settings(max_examples=150, deadline=None)
@given(data=st.data(), engine=st.sampled_from(["serial", "threads"]))
def test_a_journal_cut_at_any_byte_resumes_to_the_same_results(
    data: st.DataObject, engine: str
) -> None:
    results, whole, sent = reference()
    cut = data.draw(st.integers(0, len(whole)), label="cut")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.jsonl")
        path.write_bytes(whole[:cut])
        resumed, sent_now = played(path, serve, engine)
        assert resumed == results
        # A line that lacks only its newline still counts.
        kept = sum(end <= cut + 1 for end in _line_ends(whole))
        assert sorted(sent_now) == sorted(sent[kept:])
        again, sent_again = played(path, serve)
        assert again == results
        assert sent_again == []


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    kinds=st.lists(
        st.sampled_from(["timeout", "rejected", "cancelled", ""]), min_size=7, max_size=7
    ),
)
def test_failures_and_repeated_cuts_end_in_the_same_results(
    data: st.DataObject, kinds: list[str]
) -> None:
    """Sessions that fail here and there and are cut anywhere, then one in which all goes well."""
    results, _, _ = reference()

    def failing(request: Request) -> Call:
        kind = kinds[int(request.item_id[1:])]
        return failure(request, kind) if kind else serve(request)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.jsonl")
        for session in range(2):
            played(path, failing)
            cut = data.draw(st.integers(0, path.stat().st_size), label=f"cut {session}")
            with open(path, "r+b") as file:
                file.truncate(cut)
        final, _ = played(path, serve)
        assert final == results


def _line_ends(whole: bytes) -> list[int]:
    ends, position = [], 0
    for line in whole.split(b"\n")[:-1]:
        position += len(line) + 1
        ends.append(position)
    return ends
