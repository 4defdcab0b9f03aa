"""One item, and what failed: the prompts that were sent, to the letter, and nobody's escapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.config import load_config
from llm_batch.errors import OutputError
from llm_batch.record.files import run_paths
from llm_batch.reporting.export import export
from llm_batch.reporting.failures import FAILURE_FORMATS, read_failures
from llm_batch.reporting.item import ITEM_FORMATS, ShownItem, read_item
from llm_batch.running.run import run
from tests.reporting.made import full_manifest, result, write

CONFIG = """
[data]
path = "q.jsonl"
id = "id"
{keep}
[sample]
size = 0
[run]
engine = "serial"
[models."fake/judge"]
script = "replies.jsonl"
[[steps]]
name = "generate"
model = "fake/writer"
system = "Be brief."
prompt = "{{{{ question }}}}"
max_tokens = 30
[[steps]]
name = "judge"
model = "fake/judge"
prompt = "{{{{ question }}}} {{{{ answer }}}} {{{{ generate }}}}"
[steps.output]
score = {{ type = "integer", min = 1, max = 5 }}
[score]
field = "judge.score"
pass_at = 3
"""
HOSTILE = "red \x1b[31m \x1b]0;owned\x07 \u202eback"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(folder: Path, replies: list[str], keep: str = "", n: int = 1) -> Path:
    rows = [{"id": f"q-{i}", "question": f"What is {i}?\n{HOSTILE}", "answer": i} for i in range(n)]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "replies.jsonl").write_text("".join(json.dumps(text) + "\n" for text in replies))
    (folder / "llmb.toml").write_text(CONFIG.format(keep=keep))
    return run(load_config(folder / "llmb.toml")).path


def _prompts(item: ShownItem) -> list[list[str] | None]:
    return [
        None if call.messages is None else [message.content for message in call.messages]
        for call in item.calls
    ]


def test_an_item_is_shown_from_its_prompt_to_its_score(folder: Path) -> None:
    item = read_item(_run(folder, ['{"score": 4}']), "q-0")
    writer, judge = item.calls
    first, second = _prompts(item)
    assert first == ["Be brief.", f"What is 0?\n{HOSTILE}"]
    assert second is not None and second[0].startswith(f"What is 0?\n{HOSTILE} 0 {writer.reply}")
    assert (judge.reply, item.score, item.passed) == ('{"score": 4}', 4.0, True)
    assert (item.cost, [len(call.attempts) for call in item.calls], item.notes) == (0, [1, 1], ())


def test_a_second_question_shows_what_it_adds_to_the_first(folder: Path) -> None:
    item = read_item(_run(folder, ["four", '{"score": 4}']), "q-0")
    *_, asked, again = _prompts(item)
    assert asked is not None and again is not None
    assert again[0] == "four" and "That reply cannot be used" in again[1]
    assert "judge, asked again" in ITEM_FORMATS["text"](item)


def test_answers_to_other_prompts_of_the_same_journal_are_not_shown(folder: Path) -> None:
    path = _run(folder, ['{"score": 4}'])
    text = (folder / "llmb.toml").read_text()
    (folder / "llmb.toml").write_text(text.replace("{{ answer }}", "({{ answer }})"))
    (folder / "replies.jsonl").write_text('"{\\"score\\": 1}"\n')
    run(load_config(folder / "llmb.toml"))
    item = read_item(path, "q-0")
    assert [call.step for call in item.calls] == ["generate", "judge"]
    assert (item.calls[1].reply, item.score) == ('{"score": 1}', 1.0)


IMAGES = """
[data]
path = "data/q.jsonl"
id = "id"
[sample]
size = 0
[[steps]]
name = "read"
model = "fake/reader"
prompt = "{{ question }}"
images = ["{{ file }}"]
"""


def test_the_files_of_a_prompt_are_named_and_go_into_exports(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "a.pdf").write_bytes(b"%PDF-1.4 <</Type /Page>>")
    (folder / "data" / "q.jsonl").write_text('{"id": "q-0", "question": "Sum?", "file": "a.pdf"}')
    (folder / "llmb.toml").write_text(IMAGES)
    path = folder / run(load_config(folder / "llmb.toml")).path
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    item = read_item(path, "q-0")
    text = " ".join(ITEM_FORMATS["text"](item).split())
    assert item.notes == () and "user: Sum?" in text
    assert "PDF:" in text and "a.pdf (15,672 tokens at most)" in text
    assert export(path, folder / "b.jsonl", layout="batch").items == 1
    sent = json.loads((folder / "b.jsonl").read_text())["body"]["messages"][0]["content"]
    assert [part["type"] for part in sent] == ["text", "file"]
    assert sent[1]["file"]["file_data"].startswith("data:application/pdf;base64,")
    (folder / "data" / "a.pdf").unlink()
    item = read_item(path, "q-0")
    assert _prompts(item) == [["Sum?"]] and "cannot be checked" in item.notes[0]
    assert "PDF: a.pdf" in " ".join(ITEM_FORMATS["text"](item).split())
    with pytest.raises(OutputError, match="'a.pdf' is no file"):
        export(path, folder / "b.jsonl", layout="batch")


def _without_manifest(path: Path) -> None:
    run_paths(path).manifest.unlink()


def _damaged_manifest(path: Path) -> None:
    run_paths(path).manifest.write_text('{"config": {"steps": [[[')


def _other_prompt(path: Path) -> None:
    manifest = json.loads(run_paths(path).manifest.read_bytes())
    manifest["config"]["steps"][0]["prompt"] = "Another: {{ question }}"
    run_paths(path).manifest.write_text(json.dumps(manifest))


@pytest.mark.parametrize("spoil", [_without_manifest, _damaged_manifest, _other_prompt])
def test_prompts_that_are_not_certain_are_not_shown(spoil: Any, folder: Path) -> None:
    path = _run(folder, ['{"score": 4}'])
    spoil(path)
    item = read_item(path, "q-0")
    assert _prompts(item) == [None, None] and item.calls[1].reply == '{"score": 4}'
    assert any("prompts cannot be rebuilt" in note for note in item.notes)


def test_fields_that_results_do_not_keep_leave_the_replies(folder: Path) -> None:
    item = read_item(_run(folder, ['{"score": 4}'], keep='keep = ["answer"]'), "q-0")
    assert _prompts(item) == [None, None] and item.fields == {"answer": 0}


def test_damaged_lines_of_a_journal_are_left_out_and_said(folder: Path) -> None:
    path = _run(folder, ['{"score": 4}'])
    with open(run_paths(path).journal, "ab") as file:
        file.write(b'{"item": "q-0", "step": 5}\n' + b"[" * 5000 + b'\n{"half')
    item = read_item(path, "q-0")
    assert len(item.calls) == 2 and item.notes == (
        "3 damaged lines in results.calls.jsonl ignored.",
    )


def test_an_item_whose_run_was_cut_off_shows_its_calls(folder: Path) -> None:
    path = _run(folder, ['{"score": 4}'])
    path.unlink()
    item = read_item(path, "q-0")
    assert len(item.calls) == 2 and (item.status, item.score) == ("", None)
    assert "not finished" in ITEM_FORMATS["text"](item)


@pytest.mark.parametrize(
    ("id", "hint"),
    [
        ("q-1", "did you mean q-1"),
        ("Q-01", "did you mean q-"),
        ("zzz", "ids look like these: q-"),
        ("", "ids look like these: q-"),
    ],
)
def test_an_unknown_id_names_the_nearest(id: str, hint: str, folder: Path) -> None:
    path = _run(folder, ['{"score": 4}'], n=30 if id != "q-1" else 1)
    if id == "q-1":
        path.write_text(path.read_text().replace("q-0", "q-10"))
    with pytest.raises(OutputError) as error:
        read_item(path, id)
    assert error.value.hint.startswith(hint)


@pytest.mark.parametrize("format", ["text", "md"])
def test_no_escape_of_data_or_model_reaches_the_reader(format: str, folder: Path) -> None:
    path = _run(folder, [HOSTILE, HOSTILE])
    for text in (
        ITEM_FORMATS[format](read_item(path, "q-0")),
        FAILURE_FORMATS[format](read_failures(path)),
    ):
        assert "owned" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_a_reply_that_ends_a_fence_stays_within_its_own(folder: Path) -> None:
    text = ITEM_FORMATS["md"](read_item(_run(folder, ["```\n# Owned", "```\n# Owned"]), "q-0"))
    before, _, _ = text.partition("# Owned")
    assert "\n````\n" in before and "````" not in before[before.rindex("\n````\n") + 6 :]


def test_a_megabyte_of_one_word_is_cut_and_said(folder: Path) -> None:
    item = read_item(_run(folder, ["x" * 1_000_000, "y" * 1_000_000]), "q-0")
    text = ITEM_FORMATS["text"](item)
    assert "980,000 characters more" in text and len(text) < 200_000


def test_failures_of_one_kind_stand_together_with_what_was_said(folder: Path) -> None:
    path = _run(folder, [f"I cannot say {n}" for n in range(10)] * 3, n=12)
    made = read_failures(path)
    assert made.failed == made.items
    (group,) = made.groups
    assert (group.status, group.step) == ("unparsed", "judge")
    assert len(group.ids) == made.failed and len(group.examples) == 3
    assert all((each.reply or "").startswith("I cannot say") for each in group.examples)
    text = FAILURE_FORMATS["text"](made)
    assert "make the prompt clearer" in text.replace("\n  ", " ")
    assert f"llmb show {group.ids[0]} {path}" in text


def test_damaged_results_are_left_out_of_the_failures_and_said(folder: Path) -> None:
    path = _run(folder, ['{"score": 4}'], n=3)
    with open(path, "ab") as file:
        file.write(b'{"id": "q-9", "status": 5}\n{"id": "q-8", "status": "ok", "fields": [[\n{"ha')
    made = read_failures(path)
    assert (made.items, made.failed) == (3, 0)
    assert made.notes == ("1 damaged line in results.jsonl ignored.",)


def test_the_advice_on_a_server_of_ones_own_names_it(folder: Path) -> None:
    manifest = full_manifest(planned=1)
    manifest["config"]["models"] = {"openai/my-model": {"api_base": "http://gpu:8000/v1"}}
    lost = [result(n, None, status="unreachable", error="generate: no host") for n in range(2)]
    path = write(folder, lost, manifest)
    (group,) = read_failures(path).groups
    assert "curl http://gpu:8000/v1/models" in group.advice


def test_nothing_failed_is_said(folder: Path) -> None:
    made = read_failures(_run(folder, ['{"score": 4}'], n=3))
    assert (made.failed, made.groups) == (0, ())
    assert FAILURE_FORMATS["text"](made).startswith("None of 3 items failed.")


def test_a_file_that_is_no_results_file_is_refused(folder: Path) -> None:
    (folder / "x.jsonl").write_text('{"question": 1}\n')
    for read in (lambda: read_item("x.jsonl", "q"), lambda: read_failures("x.jsonl")):
        with pytest.raises(OutputError, match="not a results file"):
            read()


def test_repeats_a_jury_and_what_was_skipped_are_shown_with_their_reasons(folder: Path) -> None:
    (folder / "q.jsonl").write_text('{"id": "q-0", "question": "why?"}\n')
    (folder / "llmb.toml").write_text(JURY)
    shown = read_item(run(load_config(folder / "llmb.toml")).path, "q-0")
    assert [(call.step, call.part) for call in shown.calls] == [
        ("generate", 0), ("generate", 1), ("judge", 0), ("judge", 0), ("judge", 1), ("judge", 1),
    ]  # fmt: skip
    # The same prompt is shown once, to all who were asked it.
    assert [bool(call.messages) for call in shown.calls] == [True, False, True, False, True, False]
    assert len(shown.repeats) == 2
    assert [set(lane) for lane in shown.votes["judge"]] == [{"fake/a", "fake/b"}] * 2
    assert shown.skipped == {"audit": "when = '{{ not judge }}' was not so, 2 of 2 times"}
    text = ITEM_FORMATS["text"](shown)
    assert "#" not in text
    assert "audit was skipped: when" in text and "mean of 2 repeats" in text


JURY = """
[data]
path = "q.jsonl"
id = "id"
[[steps]]
name = "generate"
model = "fake/writer"
prompt = "{{ question }}"
repeat = 2
[[steps]]
name = "judge"
models = ["fake/a", "fake/b"]
combine = "mean"
prompt = "{{ generate }}"
[steps.output]
score = { type = "integer", min = 1, max = 5 }
[[steps]]
name = "audit"
model = "fake/o"
when = "{{ not judge }}"
prompt = "{{ generate }}"
[score]
field = "judge.score"
pass_at = 3
"""


def test_an_item_whose_id_is_a_hash_is_told_by_its_row(folder: Path) -> None:
    texts = {"8017fcfa46002cfa": "Who wrote Faust?", "8017fcfa46002cfb-2": "Who wrote Hamlet?"}
    lines = [
        result(n, None, status="truncated", id=id, fields={"no": n, "question": text})
        for n, (id, text) in enumerate(texts.items())
    ]
    path = write(folder, lines, full_manifest())
    said = FAILURE_FORMATS["text"](read_failures(path))
    assert '8017fcfa46002cfa, the row "0; Who wrote Faust?":' in said
    for asked, found in [("FAUST", 0), ("Who wrote Hamlet?", 1), ("1", 1), ("8017fcfa46002cfb", 1)]:
        assert read_item(path, asked).id == list(texts)[found]
    with pytest.raises(OutputError, match="2 items have it in their data") as refused:
        read_item(path, "wrote")
    assert 'the row "1; Who wrote Hamlet?"' in str(refused.value.hint)
    with pytest.raises(OutputError) as refused:
        read_item(path, "Macbeth")
    assert "a text that only one row has" in str(refused.value.hint)
