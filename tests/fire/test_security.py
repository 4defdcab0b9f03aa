"""What data, providers and crashes must never do: run, escape, or show a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_batch.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_REFUSED
from tests.fire.processes import KEY, llmb_run
from tests.fire.runs import play, results, script, write_project
from tests.server import Server

HOSTILE_IDS = (
    "../../../tmp/escaped",
    "/tmp/escaped",
    "..\\..\\escaped",
    "two\nlines",
    'quote","id":"q1',
    "red \x1b[31m title \x1b]0;owned\x07 clear \x1b[2J",
    "csi \x9b2J",
    "back\x08space\rreturn",
    "right to left \u202e",
    "a null \x00 byte",
    "{{ 7 * 7 }}",
    "[bold red]markup[/]",
    "\U0001f600",
)

TEMPLATES = (
    "{{ 7 * 7 }}",
    "{% for x in range(9) %}x{% endfor %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% include '/etc/passwd' %}",
    "{{ self.__init__.__globals__ }}",
    "{# gone #}",
)


def shown_raw(text: str) -> list[str]:
    """Characters that would steer a terminal."""
    return [each for each in text if (ord(each) < 32 and each != "\n") or 127 <= ord(each) < 160]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_an_item_id_never_becomes_a_path_and_reads_back_as_it_was(
    tmp_path: Path, server: Server
) -> None:
    place = tmp_path / "deep" / "deeper"
    place.mkdir(parents=True)
    write_project(place, server, dict.fromkeys(HOSTILE_IDS, "one?"))
    before = files(tmp_path)
    assert play(place).exit_code == EXIT_OK
    made = {Path(name).name for name in files(tmp_path) - before}
    ends = ("jsonl", "calls.jsonl", "calls.index", "manifest.json")
    assert made == {f"results.{end}" for end in ends}
    assert set(results(place)) == set(HOSTILE_IDS)
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize("how", ["prompt", "duplicate", "field", "provider", "output"])
def test_nothing_from_data_or_provider_steers_the_terminal(
    tmp_path: Path, server: Server, how: str
) -> None:
    evil = "evil \x1b[2J\x1b]0;owned\x07 \x9b2J \r"
    path = write_project(tmp_path, server, {evil: "one?"})
    words: tuple[str, ...] = ()
    if how == "prompt":
        path.write_text(path.read_text().replace("{{ question }}", "{{ question.missing }}"))
    elif how == "duplicate":
        row = json.dumps({"id": evil, "question": "one?"})
        (tmp_path / "q.jsonl").write_text(f"{row}\n{row}\n")
    elif how == "field":
        row = json.dumps({"id": "q1", evil: "one?"})
        (tmp_path / "q.jsonl").write_text(f"{row}\n")
    elif how == "provider":
        # The server quotes the model's name in its refusal.
        server.control(only_models=True)
        path.write_text(path.read_text().replace("openai/writer", "openai/w\\u001b[2J"))
    else:
        words = ("-o", f"{evil}.jsonl")
        server.control(faults={"401": 1.0})
    code, said = llmb_run(tmp_path, *words)
    assert code != EXIT_OK and said
    assert shown_raw(said) == []


def test_data_is_never_a_template(tmp_path: Path, server: Server) -> None:
    write_project(tmp_path, server, TEMPLATES, models=("writer", "writer"))
    path = tmp_path / "llmb.toml"
    path.write_text(path.read_text().replace("{{ item.id }}", "{{ item.id }} {{ question }}"))
    play(tmp_path)
    sent = [entry["body"]["messages"][0]["content"] for entry in server.log()]
    for template in TEMPLATES:
        assert template in sent  # the generator's whole prompt, letter by letter
        assert any(text.startswith("q") and template in text for text in sent)


def test_an_answer_is_never_a_template_either(tmp_path: Path, server: Server) -> None:
    asked = [f"{n}? " + script(reply=template) for n, template in enumerate(TEMPLATES)]
    write_project(tmp_path, server, asked)
    play(tmp_path)
    judged = [
        entry["body"]["messages"][0]["content"]
        for entry in server.log()
        if entry["body"]["model"] == "judge"
    ]
    for n, template in enumerate(TEMPLATES):
        assert any(text.startswith(f"q{n}: {template}") for text in judged)


@pytest.mark.parametrize("fault", ["401", "html", "", "bug"])
def test_a_key_is_in_no_file_no_log_and_no_traceback(
    tmp_path: Path, server: Server, fault: str
) -> None:
    path = write_project(tmp_path, server, ["one?", "two?"], max_attempts=1)
    more: tuple[str, ...] = ("--log-file", str(tmp_path / "run.log"))
    if fault == "bug":
        # The API base is wrong in a way that names the key itself.
        path.write_text(path.read_text().replace("://127", f"://user:{KEY}@127"))
    elif fault:
        server.control(faults={fault: 1.0})
    code, said = llmb_run(tmp_path, *more)
    assert code in (EXIT_OK, EXIT_INCOMPLETE, EXIT_REFUSED, 2)
    assert (code == EXIT_OK) is (not fault)
    wrote = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if fault == "bug":
        del wrote["llmb.toml"]
    else:
        assert {"results.jsonl", "results.calls.jsonl", "run.log"} <= set(wrote)
        sent = [entry["headers"].get("authorization") for entry in server.log()]
        assert set(sent) == {f"Bearer {KEY}"}  # the test is looking for the right thing
    for name, content in wrote.items():
        assert KEY.encode() not in content, name
    assert KEY not in said
