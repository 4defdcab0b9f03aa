"""A run from the config to the files, with models whose every answer is in the test's hands."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from llm_batch.chain.config import Config
from llm_batch.chain.options import Model
from llm_batch.dataset import stores
from llm_batch.engines import ENGINES, Kind, Supplies
from llm_batch.engines.local import ThreadsEngine
from llm_batch.errors import (
    ConfigError,
    Incomplete,
    OutputError,
    ProviderError,
    Refused,
    Rejected,
    Timeout,
    Unavailable,
)
from llm_batch.estimating import Estimate
from llm_batch.models import tokens
from llm_batch.record.journal import Journal
from llm_batch.record.manifest import Manifest
from llm_batch.record.results_file import ResultsFile
from llm_batch.records import Completion, Request, Usage
from llm_batch.running.run import Overrun, Progress, Stop, run
from llm_batch.running.stopping import Until
from llm_batch.sending.limits import Limiter
from llm_batch.sending.providers import PROVIDERS
from tests.builders import reply_to
from tests.project import USAGE, Project


def everything(count: int, steps: Sequence[str] = ("generate", "judge")) -> list[str]:
    return sorted(f"q{number}.{step}" for number in range(count) for step in steps)


# --- a run that goes well


@pytest.mark.parametrize("engine", ["serial", "threads"])
def test_every_item_gets_one_line_with_its_outputs_score_and_cost(
    project: Project, engine: str
) -> None:
    summary = project.run(project.config(engine=engine))
    assert (summary.status, summary.exit_code, summary.message) == ("done", 0, "")
    assert summary.path == project.results
    assert project.statuses() == {f"q{number}": "ok" for number in range(12)}
    assert project.model.sent() == everything(12)
    line = next(line for line in project.lines() if line["id"] == "q3")
    assert line["outputs"]["generate"].startswith("answer to What is 3?")
    assert line["score"] == line["outputs"]["judge"]["score"]
    assert line["passed"] == (line["score"] >= 3)
    assert line["cost"]["total"] == pytest.approx(2 * (100 * 1.0 + 10 * 4.0) / 1e6)
    assert line["simulated"] is True


def test_the_manifest_says_what_the_run_came_to(project: Project) -> None:
    summary = project.run()
    manifest = project.manifest()
    totals = manifest["totals"]
    assert totals["status"] == "done"
    assert totals["items"] == {"ok": 12}
    assert totals["calls"] == 24
    assert totals["cost"] == pytest.approx(24 * 140 / 1e6)
    assert totals["worst_case_calls"] == 0
    assert totals["simulated"] is True
    assert totals["seconds"] == pytest.approx(summary.progress.seconds)
    assert manifest["sample"] == {"size": 12, "seed": 42, "stratify": None}
    assert manifest["dataset"]["n"] == 12
    assert manifest["prices"]["fake/a"]["output"] == 4.0
    assert manifest["estimate"]["calls"] == 24


@pytest.mark.parametrize("until", [None, Until(margin=0.1)], ids=["whole", "by a rule"])
def test_the_type_of_the_manifest_knows_every_key_that_a_run_writes(
    project: Project, until: Until | None
) -> None:
    project.run(until=until)
    path = project.folder / "results.manifest.json"
    found = Manifest.read(path)
    assert found is not None and found.encoded() == path.read_bytes()


@pytest.mark.parametrize("written", ['{"dataset": 3}', '{"config": {"steps": [{}]}}', "{", "[]"])
def test_a_damaged_manifest_ends_a_run_in_a_sentence_before_anything_is_sent(
    project: Project, written: str
) -> None:
    (project.folder / "results.manifest.json").write_text(written)
    with pytest.raises(OutputError, match="cannot read .*manifest"):
        project.run()
    assert not project.results.exists() and not project.model.requests


def test_progress_is_told_after_every_event_and_ends_at_the_total(project: Project) -> None:
    seen: list[tuple[int, int, int]] = []

    def watch(state: Progress) -> None:
        seen.append((state.calls, state.done, state.in_flight))

    state = project.run(progress=watch).progress
    assert seen == sorted(seen, key=lambda each: each[:2])
    assert seen[-1] == (24, 12, 0)
    assert len(seen) >= 36
    assert (state.planned, state.scored, state.budget, state.priced) == (12, 12, None, True)
    assert state.spent == pytest.approx(24 * 140 / 1e6)


def test_costs_without_a_price_are_unknown_everywhere(project: Project) -> None:
    PROVIDERS["direct"], direct = project._provider, PROVIDERS["direct"]  # type: ignore[index]
    try:
        config = project.config(prices=None)
        steps = tuple(s.model_copy(update={"model": "openai/unheard-of"}) for s in config.steps)
        models = {"openai/unheard-of": Model(api_base="http://127.0.0.1:9/v1")}
        summary = project.run(config.model_copy(update={"steps": steps, "models": models}))
    finally:
        PROVIDERS["direct"] = direct  # type: ignore[index]
    assert summary.exit_code == 0
    assert not summary.progress.priced
    assert project.manifest()["totals"]["cost"] is None
    assert {line["cost"]["total"] for line in project.lines()} == {None}


# --- resuming


def test_the_same_command_again_sends_nothing_and_writes_the_same_results(
    project: Project,
) -> None:
    project.run()
    before = sorted(project.results.read_bytes().splitlines())
    summary = project.run()
    assert project.model.requests == []
    assert summary.exit_code == 0
    assert (summary.progress.calls, summary.progress.reused) == (0, 24)
    assert sorted(project.results.read_bytes().splitlines()) == before
    assert project.manifest()["totals"]["calls"] == 24
    assert any("24 answers" in sentence for sentence in project.said)


def test_an_edited_judge_prompt_runs_the_judge_again_and_nothing_else(project: Project) -> None:
    project.run()
    summary = project.run(project.config(judge="Is {{ generate }} right? {{ question }}"))
    assert project.model.sent() == everything(12, ["judge"])
    assert summary.progress.reused == 12
    assert "since the last run: step 'judge' changed: prompt" in project.said


def test_a_larger_sample_plays_the_new_items_only_and_keeps_the_others(project: Project) -> None:
    project.run(project.config(sample=5))
    first = {line["id"]: line for line in project.lines()}
    assert len(first) == 5
    project.run(project.config(sample=9))
    assert len(project.model.requests) == 2 * 4
    assert not {request.item_id for request in project.model.requests} & set(first)
    second = {line["id"]: line for line in project.lines()}
    assert len(second) == 9
    assert {key: second[key] for key in first} == first


def test_a_changed_score_rule_sends_nothing(project: Project) -> None:
    project.run()
    config = project.config()
    assert config.score is not None
    stricter = config.score.model_copy(update={"pass_at": 5})
    project.run(config.model_copy(update={"score": stricter}))
    assert project.model.requests == []
    assert all(line["passed"] == (line["score"] >= 5) for line in project.lines())


def test_changed_data_plays_only_what_changed_and_says_so(project: Project) -> None:
    project.run()
    path = project.folder / "q.jsonl"
    path.write_text(path.read_text().replace("What is 7?", "What was 7?"))
    project.run()
    assert project.model.sent() == ["q7.generate", "q7.judge"]
    assert any("the data changed" in sentence for sentence in project.said)


def test_seconds_add_up_over_sessions(project: Project) -> None:
    first = project.run(project.config(sample=5)).progress.seconds
    second = project.run().progress.seconds
    assert project.manifest()["totals"]["seconds"] == pytest.approx(first + second)


# --- failures


def test_failed_items_are_exit_code_4_and_the_next_run_tries_them_again(project: Project) -> None:
    def half(request: Request) -> str | ProviderError:
        if request.item_id in ("q1", "q2") and request.step == "judge":
            return Rejected("not this one", status_code=400)
        return reply_to(request)

    project.answers = half
    summary = project.run()
    assert (summary.status, summary.exit_code) == ("done", 4)
    assert Counter(project.statuses().values()) == {"ok": 10, "rejected": 2}
    project.answers = reply_to
    summary = project.run()
    assert project.model.sent() == ["q1.judge", "q2.judge"]
    assert summary.exit_code == 0
    assert set(project.statuses().values()) == {"ok"}
    assert len(project.statuses()) == 12


def test_a_transient_fault_costs_a_retry_and_no_item(project: Project) -> None:
    seen: set[str] = set()

    def once(request: Request) -> str | ProviderError:
        if request.item_id == "q4" and request.key not in seen:
            seen.add(request.key)
            return Unavailable("busy", retry_after_seconds=0.001)
        return reply_to(request)

    project.answers = once
    summary = project.run()
    assert summary.exit_code == 0
    assert summary.progress.retries == 2
    assert {len(line["attempts"]) for line in project.journal() if line["item"] == "q4"} == {2}


class Together:
    """Holds the first four requests until all of them are there; tells which came first."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(4)
        self._lock = threading.Lock()
        self._seen = 0

    def place(self) -> int:
        """From 1 in the order of arrival."""
        with self._lock:
            self._seen += 1
            place = self._seen
        if place <= 4:
            self._barrier.wait(60)
        return place


def test_a_refusal_is_exit_code_3_and_everything_in_flight_is_kept(project: Project) -> None:
    """One worker is refused while three others are in the middle of an answer."""
    together, refused = Together(), threading.Event()

    def answers(request: Request) -> str | ProviderError:
        if together.place() == 1:
            return Refused("your credit is used up", kind="quota", hint="add credit")
        assert refused.wait(60)
        return reply_to(request)

    project.answers = answers
    summary = project.run(progress=lambda state: refused.set())
    assert (summary.status, summary.exit_code) == ("refused", 3)
    assert summary.message == "your credit is used up (add credit)"
    written = project.journal()
    assert len(written) == len(project.model.requests)
    paid = {f"{line['item']}.{line['step']}" for line in written if line["ok"]}
    assert len(paid) >= 3
    assert project.lines() == []
    assert project.manifest()["totals"]["status"] == "refused"

    project.answers = reply_to
    summary = project.run()
    assert summary.exit_code == 0
    assert project.model.sent() == sorted(set(everything(12)) - paid)


def test_a_server_that_is_not_there_is_exit_code_3(project: Project) -> None:
    project.answers = lambda request: Unavailable("cannot connect", kind="unreachable")
    summary = project.run(project.config(max_attempts=1))
    assert (summary.status, summary.exit_code) == ("refused", 3)
    assert project.lines() == []


def test_a_run_in_which_most_fails_is_stopped_with_advice(project: Project) -> None:
    project.data(200)
    project.answers = lambda request: Completion("cut", "m", "length", USAGE)
    summary = project.run()
    assert (summary.status, summary.exit_code) == ("circuit", 4)
    assert "raise the step's max_tokens" in summary.message
    assert len(project.lines()) < 40
    assert set(project.statuses().values()) == {"truncated"}


def test_what_stopped_one_session_does_not_stop_the_next_before_it_has_tried(
    project: Project,
) -> None:
    """The replies that were cut are known; they count as failed and are no reason to stop again."""
    project.data(100)
    project.answers = lambda request: Completion("cut", "m", "length", USAGE)
    assert project.run().status == "circuit"
    cut = len(project.lines())
    project.answers = reply_to
    summary = project.run()
    assert (summary.status, summary.exit_code) == ("done", 4)
    assert Counter(project.statuses().values()) == {"truncated": cut, "ok": 100 - cut}


# --- the budget


def worst_and_real(project: Project) -> tuple[float, float]:
    """What an item costs at worst, as a budget sees it, and in fact; in USD."""
    config = project.config(sample=1)
    low = next(
        cents / 1e6
        for cents in range(100, 5000, 5)
        if project_would_begin(project, config, cents / 1e6)
    )
    return low, 2 * 140 / 1e6


def project_would_begin(project: Project, config: Config, budget: float) -> bool:
    from llm_batch.chain.chain import Chain
    from llm_batch.records import Item
    from llm_batch.running.stopping import Purse
    from llm_batch.sending.client import Budget
    from llm_batch.sending.clock import FakeClock
    from llm_batch.sending.fleet import Fleet

    chain: Chain = config.chain()
    cap = Budget(budget)
    fields = json.loads((project.folder / "q.jsonl").read_text().splitlines()[-1])
    one = Item(fields["id"], fields)
    request = chain.next_request(one, [])
    assert request is not None
    with Fleet(config, cap, FakeClock()) as fleet:
        return Purse(chain, cap, fleet, Stop()).admit(one, request, [])


@pytest.mark.parametrize("engine", ["serial", "threads"])
def test_a_budget_buys_whole_judged_items_and_is_exit_code_4(project: Project, engine: str) -> None:
    project.data(60)
    worst, real = worst_and_real(project)
    budget = 20 * real
    summary = project.run(project.config(budget=f"{budget:.7f}", engine=engine))
    assert (summary.status, summary.exit_code) == ("budget", 4)
    assert f"${budget:.6g}" in summary.message
    spent = project.manifest()["totals"]["cost"]
    assert spent <= budget
    # The last items do not fit with their worst case; no more than that is left unused.
    assert spent >= budget - worst
    statuses = project.statuses()
    assert set(statuses.values()) == {"ok"}
    assert len(project.journal()) == 2 * len(statuses)


def test_a_larger_budget_goes_on_where_the_smaller_ended(project: Project) -> None:
    worst, real = worst_and_real(project)
    project.run(project.config(budget=f"{worst + 3 * real:.7f}"))
    paid = project.model.sent()
    assert 0 < len(paid) < 24
    summary = project.run(project.config(budget=1.0))
    assert summary.exit_code == 0
    assert sorted(paid + project.model.sent()) == everything(12)


def test_a_budget_counts_what_earlier_sessions_spent(project: Project) -> None:
    project.run(project.config(sample=6))
    spent = project.manifest()["totals"]["cost"]
    summary = project.run(project.config(budget=f"{spent:.7f}"))
    assert project.model.requests == []
    assert (summary.status, summary.exit_code) == ("budget", 4)
    assert summary.progress.spent == pytest.approx(spent)


def test_a_budget_that_admits_nothing_leaves_the_results_there_were(project: Project) -> None:
    """An early item failed, those after it are answered: they keep their lines."""

    def all_but_one(request: Request) -> str | ProviderError:
        return Rejected("no") if request.item_id == "q7" else reply_to(request)

    project.answers = all_but_one
    project.run()
    assert len(project.statuses()) == 12
    summary = project.run(project.config(budget=0.000001))
    assert (summary.status, summary.exit_code) == ("budget", 4)
    assert project.model.requests == []
    assert project.statuses() == {f"q{number}": "ok" for number in range(12) if number != 7}


@pytest.mark.parametrize("engine", ["serial", "threads"])
def test_a_budget_below_one_item_says_what_one_may_cost_and_nothing_is_sent(
    project: Project, engine: str
) -> None:
    worst, _ = worst_and_real(project)
    for path in project.folder.glob("results*"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"less than one item may cost: up to \$") as refusal:
        project.run(project.config(budget=f"{worst * 0.9:.9f}", engine=engine))
    assert refusal.value.exit_code == 2
    assert project.model.requests == [] and not project.results.exists()
    # What it says is enough is enough, and little more.
    said = float(refusal.value.hint.split()[2])
    assert worst <= said < worst * 1.1
    summary = project.run(project.config(budget=f"{said:.9f}", engine=engine, sample=1))
    assert summary.exit_code == 0


def test_an_attempt_the_budget_has_no_room_for_leaves_the_item_for_later(project: Project) -> None:
    """The first attempt may have been billed, and there is no second worst case to hold."""
    worst, _ = worst_and_real(project)
    project.answers = lambda request: Timeout("no answer", maybe_billed=True)
    summary = project.run(project.config(sample=1, budget=f"{worst:.7f}"))
    assert (summary.status, summary.exit_code) == ("budget", 4)
    assert len(project.model.requests) == 1
    assert project.lines() == []
    [line] = project.journal()
    assert line["failure"]["kind"] == "budget"
    assert 0 < line["cost"] <= worst
    project.answers = reply_to
    assert project.run(project.config(sample=1, budget=1.0)).exit_code == 0


def test_a_budget_without_prices_is_refused_before_anything_is_sent(project: Project) -> None:
    config = project.config(budget=5.0)
    steps = tuple(s.model_copy(update={"model": "openai/unheard-of"}) for s in config.steps)
    models = {"openai/unheard-of": Model(api_base="http://127.0.0.1:9/v1")}
    with pytest.raises(ConfigError, match="a budget needs prices"):
        project.run(config.model_copy(update={"steps": steps, "models": models}))
    assert not project.results.exists()


def test_calls_made_without_a_price_are_said_to_be_outside_the_budget(project: Project) -> None:
    project.run()
    path = project.folder / "results.calls.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"cost":0.00014', b'"cost":null', 3))
    project.run(project.config(budget=1.0))
    assert any(sentence.startswith("3 of its calls were made") for sentence in project.said)


# --- stopping


def test_a_stop_from_another_thread_is_exit_code_130_and_the_run_resumes(project: Project) -> None:
    project.data(50)
    stop = Stop()
    stopped = threading.Event()

    def answers(request: Request) -> str:
        if len(project.model.requests) == 20:
            thread = threading.Thread(target=lambda: (stop(), stopped.set()))
            thread.start()
            thread.join()
        elif len(project.model.requests) > 20:
            stopped.wait(60)
        return reply_to(request)

    project.answers = answers
    summary = project.run(stop=stop)
    assert (summary.status, summary.exit_code) == ("interrupted", 130)
    sent = project.model.sent()
    assert 20 <= len(sent) <= 24  # what was in flight was finished, nothing new was sent
    assert len(project.journal()) == len(sent)
    assert set(project.statuses().values()) <= {"ok"}

    project.answers = reply_to
    summary = project.run()
    assert summary.exit_code == 0
    assert sorted(sent + project.model.sent()) == everything(50)
    assert len(project.statuses()) == 50


def test_a_stop_ends_waits_for_another_attempt_and_keeps_the_item_for_later(
    project: Project,
) -> None:
    stop = Stop()

    def answers(request: Request) -> ProviderError:
        stop()
        return Unavailable("busy", retry_after_seconds=500.0)

    project.answers = answers
    summary = project.run(stop=stop)
    assert (summary.status, summary.exit_code) == ("interrupted", 130)
    assert {line["failure"]["kind"] for line in project.journal()} == {"cancelled"}
    assert project.lines() == []


def test_a_stop_before_the_first_request_sends_nothing_and_keeps_old_results(
    project: Project,
) -> None:
    project.run(project.config(sample=6))
    before = {line["id"] for line in project.lines()}
    stop = Stop()
    stop()
    summary = project.run(stop=stop)
    assert (summary.status, summary.exit_code) == ("interrupted", 130)
    assert project.model.requests == []
    assert set(project.statuses()) == before


def test_a_stop_when_everything_was_done_is_no_interruption(project: Project) -> None:
    stop = Stop()

    def watch(state: Progress) -> None:
        if state.done == state.planned:
            stop()

    summary = project.run(stop=stop, progress=watch)
    assert (summary.status, summary.exit_code) == ("done", 0)


def test_only_the_first_reason_to_stop_counts() -> None:
    stop = Stop()
    stop("refused", "no credit")
    stop("interrupted")
    assert (stop.reason, stop.message) == ("refused", "no credit")


# --- errors in the middle


def test_a_bug_comes_through_and_no_paid_call_is_lost(project: Project) -> None:
    together = Together()

    def answers(request: Request) -> str:
        if together.place() == 1:
            raise ZeroDivisionError
        return reply_to(request)

    project.answers = answers
    with pytest.raises(ZeroDivisionError):
        project.run()
    kept = [f"{line['item']}.{line['step']}" for line in project.journal()]
    assert len(kept) == len(project.model.requests) - 1 >= 3
    project.answers = reply_to
    assert project.run().exit_code == 0
    assert project.model.sent() == sorted(set(everything(12)) - set(kept))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_in_the_callers_own_display_loses_no_paid_call(
    project: Project, error: type[BaseException]
) -> None:
    """As when a notebook is interrupted, which raises wherever the main thread is."""

    def watch(state: Progress) -> None:
        if state.calls == 3:
            raise error

    with pytest.raises(error):
        project.run(progress=watch)
    assert len(project.journal()) == len(project.model.requests) >= 3
    paid = project.model.sent()
    assert project.run().exit_code == 0
    assert sorted(paid + project.model.sent()) == everything(12)


def test_a_full_disk_is_exit_code_4_and_what_was_written_is_not_paid_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Journal._write, []

    def filling(journal: Journal, lines: bytes) -> int:
        if len(written) + lines.count(b"\n") > 7:
            raise OutputError("cannot write: No space left on device", "free some space")
        written.extend(lines.splitlines())
        return write(journal, lines)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_write", filling)
        with pytest.raises(Incomplete, match="No space left") as caught:
            project.run()
    assert caught.value.exit_code == 4
    assert caught.value.hint == "free some space"
    kept = [f"{line['item']}.{line['step']}" for line in project.journal()]
    assert len(kept) == 7
    assert project.run().exit_code == 0
    assert project.model.sent() == sorted(set(everything(12)) - set(kept))


def test_results_that_cannot_be_written_cost_no_paid_call(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(results: ResultsFile, result: object) -> None:
        raise OutputError("cannot write results.jsonl: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ResultsFile, "write", failing)
        with pytest.raises(Incomplete):
            project.run()
    paid = project.model.sent()
    assert len(project.journal()) == len(paid) < 24
    project.run()
    assert sorted(paid + project.model.sent()) == everything(12)


def test_large_data_that_changes_during_the_run_ends_it_and_no_paid_call_is_lost(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "HELD_BYTES", 1000)
    project.data(300)

    def answers(request: Request) -> str:
        if len(project.model.requests) == 9:
            with open(project.folder / "q.jsonl", "a") as file:
                file.write('{"id": "new", "question": "?", "answer": "!"}\n')
        return reply_to(request)

    project.answers = answers
    with pytest.raises(Incomplete, match="changed"):
        project.run()
    assert len(project.journal()) == len(project.model.requests)


# --- files


def test_two_runs_at_once_on_one_output_are_refused(project: Project) -> None:
    refused: list[str] = []

    def watch(state: Progress) -> None:
        if not refused:
            with pytest.raises(OutputError) as caught:
                run(project.config())
            refused.append(caught.value.message)

    assert project.run(progress=watch).exit_code == 0
    assert "another run is writing" in refused[0]
    assert len(project.statuses()) == 12


def test_a_results_file_that_was_edited_is_kept_aside(project: Project) -> None:
    project.run()
    edited = project.results.read_text() + "my notes\n"
    project.results.write_text(edited)
    project.run()
    assert (project.folder / "results.edited-1.jsonl").read_text() == edited
    assert len(project.statuses()) == 12
    assert any("was edited" in sentence for sentence in project.said)


@pytest.mark.parametrize("manifest", [True, False], ids=["with manifest", "without"])
def test_deleted_results_come_back_from_the_journal(project: Project, manifest: bool) -> None:
    project.run()
    before = sorted(project.results.read_bytes().splitlines())
    os.unlink(project.results)
    if not manifest:
        os.unlink(project.folder / "results.manifest.json")
    project.run()
    assert project.model.requests == []
    assert sorted(project.results.read_bytes().splitlines()) == before


def test_a_run_that_cannot_begin_leaves_results_and_manifest_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run(project.config(sample=3))
    results, manifest = project.results.read_bytes(), project.manifest()

    def no_key(model: str, settings: Model, workers: int) -> Any:
        raise ConfigError("no key")

    monkeypatch.setitem(PROVIDERS, "fake", no_key)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no key"):
        project.run()
    assert project.results.read_bytes() == results
    assert project.manifest() == manifest


# --- being asked


class Asked:
    """Answers the question, and remembers what was expected."""

    def __init__(self, agrees: bool = True) -> None:
        self.agrees = agrees
        self.estimates: list[Estimate] = []

    def __call__(self, estimate: Estimate) -> bool:
        self.estimates.append(estimate)
        return self.agrees


DEAR = (10_000.0, 40_000.0)


def test_a_dear_run_is_asked_about_and_not_made_when_the_answer_is_no(project: Project) -> None:
    asked = Asked(agrees=False)
    with pytest.raises(ConfigError, match="not agreed to"):
        project.run(project.config(prices=DEAR), confirm=asked)
    assert len(asked.estimates) == 1
    assert project.model.requests == []
    assert not project.results.exists()


def test_a_dear_run_is_made_when_the_answer_is_yes(project: Project) -> None:
    asked = Asked()
    assert project.run(project.config(prices=DEAR), confirm=asked).exit_code == 0
    assert asked.estimates[0].calls.value == 24


@pytest.mark.parametrize(
    ("prices", "limits"),
    [((1.0, 4.0), {}), (DEAR, {"budget": 500.0}), ((0.0, 0.0), {})],
    ids=["cheap", "budget", "free"],
)
def test_a_run_that_is_cheap_or_has_a_budget_is_not_asked_about(
    project: Project, prices: tuple[float, float], limits: dict[str, float]
) -> None:
    asked = Asked(agrees=False)
    assert project.run(project.config(prices=prices, **limits), confirm=asked).exit_code == 0
    assert asked.estimates == []


def test_a_run_with_nothing_left_to_send_is_not_asked_about(project: Project) -> None:
    project.run(project.config(prices=DEAR))
    asked = Asked(agrees=False)
    assert project.run(project.config(prices=DEAR), confirm=asked).exit_code == 0
    assert asked.estimates == []


def test_what_is_asked_about_is_the_rest_however_much_of_the_beginning_is_done(
    project: Project,
) -> None:
    """Two thirds are answered, all of them at the start of the order: the rest is still dear."""
    project.data(450)
    project.run(project.config(sample=300, prices=DEAR))
    asked = Asked(agrees=False)
    with pytest.raises(ConfigError, match="not agreed to"):
        project.run(project.config(sample=450, prices=DEAR), confirm=asked)
    assert asked.estimates[0].calls.value == 300
    assert asked.estimates[0].reused == 300


# --- answers far longer than was asked for


def _many(word: str, count: int) -> Completion:
    return Completion(word * count, "scripted", "stop", USAGE)


@pytest.mark.parametrize("budget", [None, 50.0], ids=["no-budget", "budget"])
@pytest.mark.parametrize(
    ("word", "count"),
    [("word ", 200_000), ("字", 20_000), ("{\n", 100_000), ("é" * 7 + "\n", 50_000)],
    ids=["english", "chinese", "braces", "accents"],
)
def test_an_answer_far_above_max_tokens_is_not_sent_on(
    project: Project, budget: float | None, word: str, count: int
) -> None:
    project.data(5)
    project.answers = lambda request: (
        _many(word, count) if request.step == "generate" else reply_to(request)
    )
    limits = {} if budget is None else {"budget": budget}
    summary = project.run(project.config(max_tokens=50, max_failure_share=1.0, **limits))
    assert project.model.sent() == everything(5, ["generate"])
    assert set(project.statuses().values()) == {"oversized"}
    assert summary.exit_code == 4
    error = project.lines()[0]["error"]
    assert error.startswith(f"generate: the answer has {len(word) * count:,} characters")
    assert "raise max_tokens of generate" in error
    # The same on the next day: nothing is sent, since the answers are there.
    project.run(project.config(max_tokens=50, max_failure_share=1.0, **limits))
    assert project.model.sent() == []
    assert set(project.statuses().values()) == {"oversized"}


@pytest.mark.parametrize(
    ("answer", "judge"),
    [
        ("word " * 3_900, "{{ generate }}"),
        ("<think>" + "hm " * 300_000 + "</think>\n\nfour", "{{ generate }}"),
        ("word " * 200_000, "{{ generate[:2000] }}"),
        ("word " * 200_000, "{{ question }}"),
        (" " * 60_000 + "four", "{{ generate }}"),
    ],
    ids=["some-more", "thoughts", "shortened", "not-used", "spaces"],
)
def test_answers_that_make_no_large_prompt_go_on(project: Project, answer: str, judge: str) -> None:
    project.data(2)
    project.answers = lambda request: answer if request.step == "generate" else reply_to(request)
    project.run(project.config(max_tokens=50, judge=judge))
    assert set(project.statuses().values()) == {"ok"}


def test_an_unreadable_verdict_of_a_megabyte_is_not_sent_back_to_be_mended(
    project: Project,
) -> None:
    project.data(2)
    project.answers = lambda request: (
        "four" if request.step == "generate" else _many("no verdict ", 100_000)
    )
    project.run(project.config(max_tokens=50))
    assert project.model.sent() == everything(2)
    assert set(project.statuses().values()) == {"oversized"}
    assert "raise max_tokens of judge" in project.lines()[0]["error"]


def test_an_answer_that_was_too_long_is_sent_on_once_more_is_allowed(project: Project) -> None:
    project.data(2)
    project.answers = lambda request: (
        "word " * 9_000 if request.step == "generate" else reply_to(request)
    )
    project.run(project.config(max_tokens=50))
    assert set(project.statuses().values()) == {"oversized"}
    project.run(project.config(max_tokens=5_000))
    assert set(project.statuses().values()) == {"ok"}


def test_a_verdict_on_a_long_answer_that_is_journalled_is_used(project: Project) -> None:
    project.data(2)
    project.answers = lambda request: (
        "word " * 9_000 if request.step == "generate" else reply_to(request)
    )
    with pytest.MonkeyPatch.context() as patch:  # as versions did that sent everything
        patch.setattr("llm_batch.running.play.oversized", lambda request, calls: "")
        project.run(project.config(max_tokens=50))
    project.run(project.config(max_tokens=50))
    assert project.model.sent() == []
    assert set(project.statuses().values()) == {"ok"}


# --- a run that costs more than its estimate


def _dear(input_tokens: int) -> Any:
    def answer(request: Request) -> Completion:
        return Completion(reply_to(request), "scripted", "stop", Usage(input_tokens, 10))

    return answer


class AskedAgain:
    """Someone who answers the question of the way, and remembers it."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.questions: list[Overrun] = []

    def __call__(self, overrun: Overrun) -> bool:
        self.questions.append(overrun)
        return self.answer


@pytest.mark.parametrize("budget", [None, 100.0], ids=["no-budget", "budget"])
def test_a_run_that_leaves_its_estimate_is_asked_about_once(
    project: Project, budget: float | None
) -> None:
    project.answers = _dear(1_000_000)  # a dollar a call, of an estimate of a cent
    limits = {} if budget is None else {"budget": budget}
    asked = AskedAgain(True)
    summary = project.run(project.config(**limits), confirm_overrun=asked)
    assert (summary.status, summary.exit_code) == ("done", 0)
    assert len(asked.questions) == 1
    question = asked.questions[0]
    assert 1.0 < question.spent <= 12.0 and question.expected < 0.1
    assert question.budget == budget
    assert f"this run has cost ${question.spent:,.2f}" in str(question)


def test_a_no_on_the_way_stops_the_run_and_the_same_command_goes_on(project: Project) -> None:
    project.answers = _dear(1_000_000)
    summary = project.run(project.config(engine="serial"), confirm_overrun=AskedAgain(False))
    assert (summary.status, summary.exit_code) == ("overrun", 4)
    assert "the estimate said" in summary.message
    assert len(project.model.requests) == 1  # a serial engine has nothing else in flight
    summary = project.run(project.config(engine="serial"), confirm_overrun=AskedAgain(True))
    assert (summary.status, summary.exit_code) == ("done", 0)
    assert len(project.model.requests) == 23
    assert summary.progress.spent == pytest.approx(24, rel=0.01)


@pytest.mark.parametrize("answer", [True, False], ids=["yes", "no"])
def test_nothing_is_admitted_while_the_question_stands(
    project: Project, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    limiters: list[Limiter] = []
    told: list[bool] = []

    class Elsewhere(ThreadsEngine):
        def hold(self, on: bool) -> None:
            told.append(on)

    def engine(supplies: Supplies) -> ThreadsEngine:
        limiters.extend(supplies.fleet.limiters.values())
        return Elsewhere(supplies.fleet.call, supplies.config.limits.workers)

    answered = threading.Event()

    def one_at_first(request: Request) -> Completion:
        if request.item_id != project.model.requests[0].item_id:
            assert answered.wait(60)
        return Completion(reply_to(request), "scripted", "stop", Usage(2_000_000, 10))

    def confirm(_: Overrun) -> bool:
        assert all(isinstance(limiter.try_acquire(), float) for limiter in limiters)
        assert told == [True]
        answered.set()
        return answer

    monkeypatch.setitem(ENGINES, "threads", Kind("threads", "", engine))
    project.answers = one_at_first
    summary = project.run(project.config(workers=8), confirm_overrun=confirm)
    assert summary.status == ("done" if answer else "overrun")
    assert told == [True, False] and len(limiters) == 1
    assert len(project.model.requests) == 24 if answer else len(project.model.requests) <= 9


def test_a_run_that_is_on_its_way_above_its_estimate_is_asked_about_before_it_is_there(
    project: Project,
) -> None:
    project.data(400)
    project.answers = _dear(10_000)  # a cent a call: 8 dollars in all
    asked = AskedAgain(False)
    summary = project.run(project.config(), confirm_overrun=asked)
    assert summary.status == "overrun"
    (question,) = asked.questions
    assert question.spent < 1.0
    assert question.coming == pytest.approx(8.0, rel=0.05)


@pytest.mark.parametrize(
    ("tokens", "prices"), [(40_000, (1.0, 4.0)), (1_000_000, (0.0, 0.0))], ids=["cents", "free"]
)
def test_a_run_within_a_dollar_is_not_asked_about(
    project: Project, tokens: int, prices: tuple[float, float]
) -> None:
    project.answers = _dear(tokens)
    asked = AskedAgain(False)
    summary = project.run(project.config(prices=prices), confirm_overrun=asked)
    assert (summary.status, asked.questions) == ("done", [])


def test_who_agreed_to_any_cost_is_told_once_that_it_is_more(project: Project) -> None:
    project.answers = _dear(1_000_000)
    assert project.run().status == "done"
    told = [sentence for sentence in project.said if "the estimate said" in sentence]
    assert len(told) == 1 and told[0].endswith("it goes on, as was agreed")


def test_what_an_earlier_session_cost_is_not_counted_against_this_one(project: Project) -> None:
    project.data(6)
    project.answers = _dear(1_000_000)
    project.run(project.config(sample=3))
    project.answers = _dear(100)
    asked = AskedAgain(False)
    assert project.run(project.config(), confirm_overrun=asked).status == "done"
    assert asked.questions == []


def test_what_cannot_be_priced_is_said_where_nobody_is_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run()
    assert not any("is not known" in said for said in project.said)
    for place in ("running.earlier", "estimating.steps"):
        monkeypatch.setattr(f"llm_batch.{place}.tariff_of", lambda *args, **more: None)
    project.run()
    assert any("the price of fake/a is not known" in said for said in project.said)
    asked: list[Estimate] = []
    project.data(14)
    project.run(confirm=lambda estimate: not asked.append(estimate))
    assert asked and not any("is not known" in said for said in project.said)


@pytest.mark.parametrize("limits", [{}, {"budget": 5.0}], ids=["free", "budget"])
def test_nothing_is_counted_before_the_first_request(
    project: Project, monkeypatch: pytest.MonkeyPatch, limits: dict[str, float]
) -> None:
    sent_before: list[int] = []
    loaded = tokens._counter_of

    def noted(encoding: str) -> Any:
        sent_before.append(len(project.model.requests))
        return loaded(encoding)

    monkeypatch.setattr(tokens, "_counter_of", noted)
    assert project.run(project.config(engine="serial", **limits)).status == "done"
    assert min(sent_before) == 1
    assert project.manifest()["estimate"]["cost"]
    sent_before.clear()
    project.data(14)
    project.run(project.config(engine="serial"), confirm=lambda estimate: True)
    assert min(sent_before) == 0
