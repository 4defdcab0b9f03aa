"""Results that stand: a run that goes on leaves them alone, and works out what it must."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_batch.chain.chain import Chain
from llm_batch.errors import ProviderError, Rejected
from llm_batch.record import results_file
from llm_batch.records import Call, Item, Request
from llm_batch.running.earlier import Finished
from llm_batch.running.run import Earlier
from tests.builders import reply_to
from tests.project import Project

FILES = ("results.jsonl", "results.calls.jsonl", "results.calls.index")


def lines(project: Project) -> dict[str, bytes]:
    return {json.loads(line)["id"]: line for line in project.results.read_bytes().splitlines()}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of items whose requests were worked out by a run, checks before it left out."""
    seen: list[str] = []
    whole = Chain.result

    def result(self: Chain, item: Item, calls: list[Call], *more: str) -> object:
        seen.append(item.id)
        return whole(self, item, calls, *more)

    monkeypatch.setattr(Chain, "result", result)
    return seen


def test_what_is_finished_is_not_worked_out_or_written_again(
    project: Project, played: list[str]
) -> None:
    project.run()
    played.clear()
    before = os.stat(project.results)
    summary = project.run()
    after = os.stat(project.results)
    assert played == []
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (summary.progress.done, summary.progress.reused) == (12, 24)
    assert summary.progress.scored == summary.progress.judged == 12


def test_what_is_left_is_played_and_comes_behind_the_lines_that_stand(
    project: Project, played: list[str]
) -> None:
    def half(request: Request) -> str | ProviderError:
        return Rejected("no") if request.item_id in ("q1", "q5") else reply_to(request)

    project.answers = half
    project.run()
    standing = [
        line for line in project.results.read_bytes().splitlines() if b"rejected" not in line
    ]
    inode = os.stat(project.results).st_ino
    played.clear()
    project.answers = reply_to
    summary = project.run()
    assert sorted(played) == ["q1", "q5"]
    assert project.results.read_bytes().splitlines()[:10] == standing
    assert set(project.statuses().values()) == {"ok"} and len(project.statuses()) == 12
    assert os.stat(project.results).st_ino == inode
    assert summary.progress.done == 12
    manifest = project.manifest()["totals"]
    assert manifest["items"] == {"ok": 12}
    project.run()  # the stamp of the file is right: it is not taken for an edited one
    assert not list(project.folder.glob("results.edited*"))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens: a line or two of results looked at (``look``), a request sent (its item)."""
    events: list[str] = []
    look = Finished.look

    def looked(self: Finished) -> None:
        events.append("look")
        look(self)

    monkeypatch.setattr(results_file, "_BLOCK", 500)
    monkeypatch.setattr(Finished, "look", looked)
    return events


@pytest.mark.parametrize(
    ("change", "looks", "calls"),
    [("nothing", False, 0), ("the journal", True, 0), ("the sample", True, 0), ("retry", True, 2),
     ("the time", True, 0)],
)  # fmt: skip
def test_no_line_is_looked_at_where_all_is_as_the_last_run_left_it(
    project: Project, small_blocks: list[str], change: str, looks: bool, calls: int
) -> None:
    project.answers = lambda request: (
        "no score" if (request.item_id, request.step) == ("q3", "judge") else reply_to(request)
    )
    first = project.run()
    small_blocks.clear()
    if change == "the journal":  # without its last call, so the line has another one
        for name, end in ((FILES[1], b"\n"), (FILES[2], b"")):
            whole = (project.folder / name).read_bytes()
            cut = whole[:-1].rfind(end) + 1 if end else len(whole) - 40
            (project.folder / name).write_bytes(whole[:cut])
    elif change == "the time":
        os.utime(project.results)
    again = project.run(
        project.config(sample=12 if change == "the sample" else 0),
        earlier=Earlier(retry_failed=change == "retry"),
    )
    assert ("look" in small_blocks, len(project.model.requests)) == (looks, calls)
    assert again.progress.statuses == first.progress.statuses
    assert again.progress.score_sum == first.progress.score_sum > 0
    assert len(project.statuses()) == 12


@pytest.mark.parametrize("damage", [False, True], ids=["whole", "damaged behind"])
@pytest.mark.parametrize("engine", ["threads", "serial"])
def test_new_calls_are_sent_while_finished_items_are_still_looked_at(
    project: Project, small_blocks: list[str], engine: str, damage: bool
) -> None:
    project.data(40)
    project.run(project.config(workers=1))
    order = [line["id"] for line in project.lines()]  # by one worker, so the seeded one
    for path in project.folder.glob("results*"):
        path.unlink()
    project.run(project.config(workers=1, sample=20))
    if damage:  # and the time is as it was, so that nobody takes it for an edited file
        times = os.stat(project.results)
        project.results.write_bytes(project.results.read_bytes()[:-2] + b"{\n")
        os.utime(project.results, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = project.results.read_bytes()

    def answered(request: Request) -> str:
        if request.step == "generate":
            small_blocks.append(request.item_id)
        return reply_to(request)

    project.answers = answered
    small_blocks.clear()
    summary = project.run(project.config(workers=1, engine=engine))
    last = max(n for n, event in enumerate(small_blocks) if event == "look")
    assert small_blocks.index(order[20]) < last
    assert [event for event in small_blocks if event != "look"] == order[20:]
    assert sorted(project.statuses()) == sorted(order)
    assert len(project.journal()) == 80
    assert project.results.read_bytes().startswith(before) is not damage
    assert (summary.progress.done, summary.progress.reused) == (40, 40)
    assert project.manifest()["totals"]["items"] == {"ok": 40}
    project.run()
    assert not project.model.requests and not list(project.folder.glob("results.edited*"))


def test_items_that_no_call_was_made_for_stand_and_come_once(
    project: Project, small_blocks: list[str]
) -> None:
    rows = [{"id": f"q{n}"} | ({"question": "Why?"} if n % 3 != 1 else {}) for n in range(40)]
    (project.folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.run(project.config(workers=1, sample=20))
    before = project.results.read_bytes()
    summary = project.run(project.config(workers=1))
    assert project.results.read_bytes().startswith(before)
    assert sorted(project.statuses().values()) == ["ok"] * 27 + ["prompt"] * 13
    assert summary.progress.statuses == {"ok": 27, "prompt": 13}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"judge": "Is {{ generate }} right? {{ question }}"}, 12),
        ({"sample": 7}, 0),
        ({"retry": True}, 0),
        ({"keep": True}, 12),
        ({"workers": 1}, 0),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_a_change_touches_is_worked_out_again(
    project: Project, played: list[str], change: dict[str, object], count: int
) -> None:
    project.run()
    played.clear()
    retry, keep = change.pop("retry", False), change.pop("keep", False)
    config = project.config(**change)  # type: ignore[arg-type]
    if keep:
        data = config.data.model_copy(update={"keep": ()})
        config = config.model_copy(update={"data": data})
    project.run(config, earlier=Earlier(retry_failed=bool(retry)))
    assert len(set(played)) == count
    assert len(lines(project)) == change.get("sample", 12)
    if keep:
        assert all(json.loads(line)["fields"] == {} for line in lines(project).values())


@pytest.mark.parametrize("name", FILES[:2])
def test_a_line_that_somebody_changed_is_worked_out_again(
    project: Project, played: list[str], name: str
) -> None:
    project.run()
    path = project.folder / name
    path.write_bytes(path.read_bytes().replace(b'"q3"', b'"q9"'))
    played.clear()
    project.run()
    assert len(set(played)) == 12
    assert set(project.statuses()) == {f"q{n}" for n in range(12)}


@pytest.mark.parametrize("change", ["nothing", "a line twice", "a line", "a failure"])
def test_results_are_written_again_only_where_something_in_them_changes(
    project: Project, played: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Without its index all of the journal is played again."""
    if change == "a failure":
        project.answers = lambda request: (
            Rejected("no") if request.item_id == "q5" else reply_to(request)
        )
    project.run()
    (project.folder / FILES[2]).unlink()
    manifest = project.manifest()
    manifest["totals"] = {"status": "running", "seconds": 1.0}
    (project.folder / "results.manifest.json").write_text(json.dumps(manifest))
    before, wanted = project.results.read_bytes(), lines(project)
    if change == "a line twice":
        project.results.write_bytes(before + before.splitlines(keepends=True)[3])
    elif change == "a line":
        project.results.write_bytes(before.replace(b'"score":5', b'"score":1', 1))
    whole = change in ("nothing", "a line twice")
    if whole:
        monkeypatch.setattr(results_file, "open_beside", None)
    inode = os.stat(project.results).st_ino
    played.clear()
    project.answers = reply_to
    project.run()
    assert len(set(played)) == 12
    assert (os.stat(project.results).st_ino == inode) is whole
    if whole:
        assert project.results.read_bytes() == before
    again = lines(project)
    assert {name for name in wanted if again[name] != wanted[name]} == (
        {"q5"} if change == "a failure" else set()
    )
    assert set(project.statuses().values()) == {"ok"} and len(again) == 12
    assert not list(project.folder.glob(".*.tmp"))
    played.clear()
    project.run()  # and what was written is a run's own
    assert not played and not list(project.folder.glob("results.edited*"))


def test_without_its_journal_everything_is_asked_again(project: Project) -> None:
    project.run()
    (project.folder / "results.calls.jsonl").unlink()
    project.model.requests.clear()
    project.run()
    assert len(project.model.sent()) == 24


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.tuples(*[st.sampled_from([0, 1000]) | st.integers(0, 1000)] * 3))
def test_files_cut_anywhere_resume_to_the_same_results(
    project: Project, small_blocks: list[str], cuts: tuple[int, ...]
) -> None:
    """As a kill leaves them: the index behind the journal, the last line of any of them torn."""
    for path in project.folder.glob("results*"):
        path.unlink()
    project.run()
    wanted = lines(project)
    for name, share in zip(FILES, cuts, strict=True):
        whole = (project.folder / name).read_bytes()
        (project.folder / name).write_bytes(whole[: len(whole) * share // 1000])
    kept = (project.folder / FILES[1]).read_bytes().count(b"\n")
    manifest = project.folder / "results.manifest.json"
    written = json.loads(manifest.read_bytes())
    written["totals"] = {"status": "running", "seconds": 1.0}
    manifest.write_text(json.dumps(written))
    project.model.requests.clear()
    project.run()
    assert len(project.model.requests) <= 24 - kept
    again = lines(project)
    assert set(again) == set(wanted)
    for name, line in again.items():
        now, then = json.loads(line), json.loads(wanted[name])
        assert {**now, "latency_seconds": 0} == {**then, "latency_seconds": 0}
    assert _is_whole(project.results)


def _is_whole(path: Path) -> bool:
    text = path.read_bytes()
    return text.endswith(b"\n") and len(text.splitlines()) == 12
