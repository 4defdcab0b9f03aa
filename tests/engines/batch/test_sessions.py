"""Sessions that differ from the one before: other engines, flags, prompts, addresses, deadlines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_batch.dataset import draw
from llm_batch.engines.batch.engine import cancel_jobs
from llm_batch.engines.batch.job_log import JobLog
from llm_batch.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, ConfigError, OutputError
from llm_batch.running.earlier import Earlier
from llm_batch.running.stopping import Until
from tests.batch_server import BatchServer
from tests.engines.batch.runs import Session, billed, journal, leave, load, results, write_project

CLAUDE = "anthropic/claude-sonnet-4-5"


def open_jobs(folder: Path) -> int:
    return len(JobLog(folder / "results.batches.jsonl").open)


def spent(folder: Path) -> float:
    return sum(line["cost"] for line in journal(folder))


@pytest.mark.parametrize("engine", ["threads", "serial"])
def test_another_engine_does_not_pay_for_what_is_in_a_job(
    tmp_path: Path, server: BatchServer, engine: str
) -> None:
    write_project(tmp_path, server, judge=None)
    leave(tmp_path, server)
    with pytest.raises(ConfigError, match="pay for the same answers again") as refusal:
        Session(tmp_path).play(engine=engine)
    assert "--engine batch" in refusal.value.hint and "--cancel" in refusal.value.hint
    assert not server.requests["POST", "completions"]
    cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str)
    assert Session(tmp_path).play(engine=engine).exit_code == EXIT_OK
    assert server.paid_twice == 0 and spent(tmp_path) == pytest.approx(billed(server))


def test_a_job_whose_answers_are_all_here_is_written_off_by_a_run_that_has_nothing_to_do(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    Session(tmp_path).play()
    log = tmp_path / "results.batches.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(True)[:-1]))  # killed before ``ended``
    assert open_jobs(tmp_path) == 1
    again = Session(tmp_path)
    assert again.play().exit_code == EXIT_OK
    assert open_jobs(tmp_path) == 0 and len(journal(tmp_path)) == 6
    assert "taken up again" not in again.talk


def test_answers_are_collected_although_the_run_has_seen_enough(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 60, batch="job_requests = 20")
    kept = server.created

    def slow_at_the_end(job: object, headers: dict[str, str]) -> None:
        kept(job, headers)  # type: ignore[arg-type]
        if len(server.jobs) == 6:
            job.looks = -(10**6)  # type: ignore[attr-defined]

    server.created = slow_at_the_end  # type: ignore[method-assign]
    from llm_batch.running.run import run

    def play() -> int:
        session = Session(tmp_path)
        summary = run(load(tmp_path), stop=session.stop, say=session.said.append,
                      until=Until(0.2, None))  # fmt: skip
        return summary.exit_code

    assert play() == EXIT_OK and open_jobs(tmp_path) == 1
    for job in server.jobs.values():
        job.looks = 10
        job.look(server)
    assert play() == EXIT_OK
    assert open_jobs(tmp_path) == 0
    assert len(journal(tmp_path)) == 120 and spent(tmp_path) == pytest.approx(billed(server))


def test_collecting_what_is_paid_needs_no_budget(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, judge=None)
    leave(tmp_path, server)
    (job,) = server.jobs.values()
    job.looks = 10**7
    server.polls = 1
    job.look(server)
    assert Session(tmp_path).play(budget=1e-6).exit_code == EXIT_INCOMPLETE
    assert len(journal(tmp_path)) == 6 and open_jobs(tmp_path) == 0


def test_asking_again_is_taken_up_again(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, 4, judge=None)
    server.line_faults.extend(["length"] * 4)
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    leave(tmp_path, server, earlier=Earlier(retry_failed=True))
    server.polls = 1
    again = Session(tmp_path)
    assert again.play(earlier=Earlier(retry_failed=True)).exit_code == EXIT_OK
    assert "with 4 requests" in again.talk
    assert [len(job.lines) for job in server.jobs.values()] == [4, 4]
    assert len(journal(tmp_path)) == 8 and spent(tmp_path) == pytest.approx(billed(server))


def test_cancelling_what_was_asked_again_keeps_what_it_had_finished(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 4, judge=None)
    server.line_faults.extend(["length"] * 4)
    Session(tmp_path).play()
    leave(tmp_path, server, earlier=Earlier(retry_failed=True))
    before = spent(tmp_path)
    ending = cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str)
    assert (ending.kept, ending.dropped) == (2, 2)
    assert ending.cost == pytest.approx(spent(tmp_path) - before)
    assert spent(tmp_path) == pytest.approx(billed(server))


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "llmb.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_money_for_a_job_stays_held_when_its_prompt_has_changed(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    budget = 7.5e-4  # the worst case of eight requests, and not of twelve
    leave(tmp_path, server, budget=budget)
    edit(tmp_path, 'prompt = "{{ question }}"', 'prompt = "Now: {{ question }}"')
    leave(tmp_path, server, budget=budget)
    entries = [
        entry for job in JobLog(tmp_path / "results.batches.jsonl").open.values()
        for entry in job.entries
    ]  # fmt: skip
    assert 6 < len(entries) < 9
    assert sum(entry.most or 0.0 for entry in entries) <= budget


def test_a_model_that_is_in_no_step_any_more_has_its_jobs_collected(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    leave(tmp_path, server)
    with_both = (tmp_path / "llmb.toml").read_text()
    section = with_both[with_both.index("[models.") : with_both.index("[[steps]]")]
    other = section.replace("openai/writer", "openai/other")
    (tmp_path / "llmb.toml").write_text(
        with_both.replace(section, section + other).replace(
            'model = "openai/writer"', 'model = "openai/other"'
        )
    )
    server.polls = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert open_jobs(tmp_path) == 0 and len(journal(tmp_path)) == 12
    assert spent(tmp_path) == pytest.approx(billed(server))


def test_another_address_is_refused_before_anything_is_looked_for(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    server.lose_creates = 1
    leave(tmp_path, server)
    edit(tmp_path, server.url, "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="is at http://127") as refusal:
        Session(tmp_path).play()
    assert "api_base" in refusal.value.hint and "--forget-job" in refusal.value.hint
    edit(tmp_path, "http://127.0.0.1:9", server.url)
    server.polls = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1


def test_a_damaged_line_of_the_journal_of_jobs_is_said_and_nothing_is_submitted(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    leave(tmp_path, server)
    log = tmp_path / "results.batches.jsonl"
    log.write_bytes(b"#" + log.read_bytes())
    with pytest.raises(OutputError, match="line 1 is damaged"):
        Session(tmp_path).play()
    assert len(server.jobs) == 1


@pytest.mark.parametrize("flags", [{}, {"deadline": "900h"}])
def test_a_run_that_was_killed_while_it_cancelled_goes_on(
    tmp_path: Path, server: BatchServer, flags: dict[str, str]
) -> None:
    write_project(tmp_path, server, judge=None)
    leave(tmp_path, server)
    (job,) = server.jobs.values()
    session = Session(tmp_path)

    def stop_when_cancelled(number: int, after: bool) -> None:
        if job.cancelling and not session.stop.reason:
            server.broken["GET", "/batches/"] = 1  # it has not ended when the session does
            session.stop("interrupted")

    server.watch = stop_when_cancelled
    assert session.play(deadline="1s").exit_code == EXIT_INTERRUPTED
    assert job.cancelling and job.end is None
    server.polls = 1
    assert Session(tmp_path).play(**flags).exit_code == EXIT_OK
    assert len(results(tmp_path)) == 6 and server.paid_twice == 0


def test_ctrl_c_while_cancelling_is_gone_on_from_by_a_run(
    tmp_path: Path, server: BatchServer
) -> None:
    from llm_batch.errors import Interrupted

    write_project(tmp_path, server, judge=None)
    leave(tmp_path, server)
    session = Session(tmp_path)
    session.stop.clock.sleep = lambda seconds: session.stop.clock.check()  # type: ignore[method-assign]
    server.watch = lambda number, after: session.stop("interrupted")
    server.broken["GET", "/batches/"] = 1
    with pytest.raises(Interrupted):
        cancel_jobs(load(tmp_path), session.stop.clock, str)
    server.watch = lambda number, after: None
    server.polls = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.paid_twice == 0


def test_what_goes_live_after_the_deadline_holds_its_money_once(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    edit(tmp_path, "max_tokens = 40", "max_tokens = 4000")
    server.polls = 10**6
    # Of one live worst case, or two by batch; an answer costs a hundredth of one.
    budget = 1.3 * 4000 * 4.0 / 1e6
    Session(tmp_path).play(budget=budget, deadline="9s")
    assert len(results(tmp_path)) >= 4
    assert Session(tmp_path).play(budget=budget, deadline="9s").exit_code == EXIT_OK
    assert billed(server) < budget / 10 and server.paid_twice == 0


@pytest.mark.parametrize("room", [4, 6])
def test_answers_of_full_length_never_exceed_the_budget_after_the_deadline(
    tmp_path: Path, server: BatchServer, room: int
) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 40, "total_tokens": 70}
    long = [f"[[server: {json.dumps({'usage': usage})}]] {n}?" for n in range(6)]
    write_project(tmp_path, server, long, judge=None)
    server.polls = 10**6
    budget = (room + 0.3) * 40 * 2.0 / 1e6
    Session(tmp_path).play(budget=budget, deadline="9s")
    assert 0.5 * budget < billed(server) <= budget


def test_with_one_attempt_what_the_deadline_cancels_goes_live(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None, max_attempts=1)
    server.polls = 10**6
    assert Session(tmp_path).play(deadline="9s").exit_code == EXIT_OK
    assert len(results(tmp_path)) == 6 and server.requests["POST", "completions"] == 3


def test_a_stop_while_requests_are_prepared_submits_nothing(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm_batch.sending.providers.direct import DirectProvider

    write_project(tmp_path, server, judge=None)
    session, kept = Session(tmp_path), DirectProvider.prepared
    seen: list[str] = []

    def prepared(self: DirectProvider, request: object) -> object:
        seen.append("")
        if len(seen) == 4:
            session.stop("interrupted")
        return kept(self, request)  # type: ignore[arg-type]

    monkeypatch.setattr(DirectProvider, "prepared", prepared)
    assert session.play().exit_code == EXIT_INTERRUPTED
    assert not server.jobs and not server.files


@pytest.mark.litellm
@pytest.mark.parametrize("by", ["cancel", "deadline"])
def test_a_batch_that_may_be_somebody_elses_is_not_cancelled(
    tmp_path: Path, server: BatchServer, by: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    write_project(own, server, model=CLAUDE, judge=None)
    server.break_creates = 1
    leave(own, server)  # written down, and never created
    assert open_jobs(own) == 1
    others = tmp_path / "others"
    others.mkdir()
    write_project(others, server, model=CLAUDE, judge=None)
    leave(others, server)
    (theirs,) = server.jobs.values()
    if by == "cancel":
        ending = cancel_jobs(load(own), Session(own).stop.clock, str)
        assert (ending.jobs, ending.left) == (0, 1)
    else:
        session = Session(own)
        session.stop.clock.sleep = lambda seconds: session.stop("interrupted")  # type: ignore[method-assign]
        session.play(deadline="1s")
    assert not theirs.cancelling and open_jobs(own) == 1


def test_a_cancel_of_an_output_that_never_was_makes_no_file(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server)
    before = sorted(tmp_path.iterdir())
    assert cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str).jobs == 0
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.litellm
def test_azure_takes_a_file_in_before_a_job_is_made_of_it_and_writes_statuses_as_it_likes(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    write_project(tmp_path, server, model="azure/writer", judge=None)
    server.taking_in, server.old_azure, server.lose_creates = 4, True, 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and len(results(tmp_path)) == 6


def test_a_request_that_is_in_a_second_job_is_the_second_jobs(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None)
    leave(tmp_path, server)
    first = next(iter(server.jobs.values()))
    server.line_faults.append("500")  # of the first line, which is q0 or another
    log, calls = tmp_path / "results.batches.jsonl", tmp_path / "results.calls.jsonl"
    # The smaller sample asks for some, so that answers nobody asks for keep the first job open.
    server.polls = 1
    first.look(server)
    session = Session(tmp_path)

    def stop_in_second(number: int, after: bool) -> None:
        if len(server.jobs) == 2 and not session.stop.reason:
            server.polls = 10**6
            session.stop("interrupted")
            kept.update({path: path.read_bytes() for path in (log, calls) if path.exists()})

    kept: dict[Path, bytes] = {}
    server.watch = stop_in_second
    session.play()
    server.watch = lambda number, after: None
    if not kept:
        pytest.skip("the line that failed was asked for by nobody")
    for path, content in kept.items():
        path.write_bytes(content)  # as a kill at that moment leaves them
    server.polls = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.paid_twice == 0 and spent(tmp_path) == pytest.approx(billed(server))
    assert open_jobs(tmp_path) == 0


def test_a_lost_answer_is_booked_before_it_is_asked_for_again(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 4, judge=None)
    bad = [True]

    def spoil(content: bytes) -> bytes:
        if bad and bad.pop():
            return content.replace(b'"choices"', b'"chance"', 1).replace(b'"usage"', b'"use"', 1)
        return content

    server.spoil = spoil
    session = Session(tmp_path)

    def stop_in_second(number: int, after: bool) -> None:
        if len(server.jobs) == 2:
            server.polls = 10**6
            session.stop("interrupted")

    server.watch = stop_in_second
    assert session.play().exit_code == EXIT_INTERRUPTED
    assert spent(tmp_path) >= billed(server)
    assert [line["worst_case"] for line in journal(tmp_path) if not line["ok"]] == [True]


def test_cancelling_books_an_answer_that_cannot_be_read(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, 4, judge=None)
    leave(tmp_path, server)
    server.spoil = lambda content: content.replace(b'"choices"', b'"chance"', 1).replace(
        b'"usage"', b'"use"', 1
    )
    ending = cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str)
    assert (ending.kept, ending.dropped) == (1, 3)
    assert ending.cost == pytest.approx(spent(tmp_path)) and spent(tmp_path) >= billed(server)


def test_a_job_of_a_larger_sample_that_was_cancelled_is_no_refusal(
    tmp_path: Path, server: BatchServer
) -> None:
    write_project(tmp_path, server, judge=None, batch="job_requests = 3")
    leave(tmp_path, server)
    first, second = server.jobs.values()
    first.looks = 10**7
    second.cancelling = True
    server.polls = 1
    again = Session(tmp_path)
    assert again.play(sample=3).exit_code == EXIT_OK
    assert "was cancelled at the provider" in again.talk


def test_a_journal_of_jobs_that_is_taken_away_meanwhile_is_said(
    tmp_path: Path, server: BatchServer
) -> None:
    from llm_batch.errors import Incomplete

    write_project(tmp_path, server, judge=None)

    def take_away(number: int, after: bool) -> None:
        if server.jobs:
            (tmp_path / "results.batches.jsonl").unlink(missing_ok=True)

    server.watch = take_away
    with pytest.raises(Incomplete, match="changed by somebody else"):
        Session(tmp_path).play()
    log = tmp_path / "results.batches.jsonl"
    assert not log.exists() or b"\0" not in log.read_bytes()


@pytest.mark.parametrize("name", ["generate", "write"])
def test_a_job_that_an_older_version_began_is_collected_whatever_its_step_is_called_now(
    tmp_path: Path, server: BatchServer, name: str
) -> None:
    """In schema 1 keys had the step's name in them."""
    path = write_project(tmp_path, server, judge=None)
    leave(tmp_path, server)
    config = load(tmp_path)
    with draw(config.data, config.data_path(), size=0, seed=42) as drawn:
        firsts = [config.chain().next_request(item, ()) for item in drawn.items()]
    asked = {one.key: one.key_before("generate") for one in firsts if one is not None}
    assert len(asked) == 6
    log = tmp_path / "results.batches.jsonl"
    text = log.read_text().replace('"schema":2', '"schema":1')
    for key, before in asked.items():
        text = text.replace(key, before)
    log.write_text(text)
    path.write_text(path.read_text().replace('"generate"', f'"{name}"'))
    server.polls = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.paid_twice == 0 and len(journal(tmp_path)) == 6
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.paid_twice == 0 and len(server.jobs) == 1


@pytest.mark.parametrize("jump", [30 * 86_400.0, -30 * 86_400.0])
def test_a_clock_that_is_put_right_makes_no_deadline_come_early(
    tmp_path: Path, server: BatchServer, jump: float
) -> None:
    write_project(tmp_path, server, judge=None)
    session = Session(tmp_path)
    clock, begun = session.stop.clock, []

    def time() -> float:
        begun.append(0)
        return 1_795_470_050.0 + (jump if server.jobs else 0.0)

    clock.time = time  # type: ignore[method-assign]
    assert session.play(deadline="6h").exit_code == EXIT_OK
    assert begun and not server.requests["POST", "completions"]
    assert len(server.jobs) == 1
