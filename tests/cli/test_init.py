"""``llmb init --data``: somebody's own file, and a config for it that runs as it is."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llm_batch.chain.config import Config, load_config
from llm_batch.cli import app
from llm_batch.cli.columns import TASKS, guess, look, rule_for, with_answers
from llm_batch.cli.init import CHOICES, LOCAL, checked
from llm_batch.cli.starter import Writer
from llm_batch.dataset import draw
from llm_batch.errors import ConfigError, DataError, LlmbError
from llm_batch.models.prices import tariff_of
from llm_batch.models.table import model_info
from llm_batch.records import Item, Request
from llm_batch.sending.providers import check_servable
from tests.builders import answer
from tests.chain.test_images import png
from tests.project import Project
from tests.workbooks import xlsx

#: Names of columns that a template, TOML, a shell or Python would take for something else.
NAMES = [
    'question "x" {{y}}', "{{", "}}", "{%", "{% raw %}", "{#", "#", "x # y", "{{ none }}", "in",
    "if", "not", "set", "none", "None", "true", "self", "loop", "caller", "super", "range", "dict",
    "_", "__class__", "items", "keys", "item", "generate", "judge", "classify", "extract",
    "answer_a", "1st", "a.b", "a b", "it's", '"', "'", "'''", '"""', "a'b\"c", "ends with '",
    "\\", "\\n", "two\nlines", "a\ttab", "é", "e\u0301", "ﬁ", "问题", "\u200b", "x\u2028y",
    "$HOME", "~", "-", "A",
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, without a key in the environment."""
    for choice in CHOICES:
        monkeypatch.delenv(choice.variable, raising=False)
    monkeypatch.delenv("LLMB_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str, typed: str | None = None) -> tuple[int, str]:
    """Exit code and what was said; an error as `main` says it."""
    done = CliRunner().invoke(app, ["init", *words], input=typed)
    if isinstance(done.exception, LlmbError):
        return done.exception.exit_code, f"{done.exception.message} → {done.exception.hint}"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def rows(size: int = 6, /, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [{name: make(n) for name, make in columns.items()} for n in range(size)]


def jsonl(path: Path, items: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def csv(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


# The columns


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_column_is_asked_and_held_against(
    name: str, task: str, tmp_path: Path
) -> None:
    items = rows(**{name: lambda n: f"text number {n}?", "gold": lambda n: "AB"[n % 2]})
    table = look(jsonl(tmp_path / "own.jsonl", items))
    for asked, reference in ((name, "gold"), ("gold", name)):
        roles = guess(table, task, asked, None if task == "extract" else reference)
        text = Writer(table, roles, "fake/a", "fake/b", "why").text(tmp_path, [("llmb run", "it")])
        (tmp_path / "llmb.toml").write_text(text, encoding="utf-8")
        config = load_config(tmp_path / "llmb.toml")
        checked(config)
        assert items_in_prompts(config, asked) == len(items)


def items_in_prompts(config: Config, field: str) -> int:
    """In how many items' first prompts the value of a field stands."""
    chain = config.chain()
    with draw(config.data, config.data_path()) as drawn:
        found = 0
        for item in drawn.items():
            request = chain.next_request(item, [])
            assert isinstance(request, Request)
            found += item.fields[field] in request.messages[-1].content
        return found


def test_a_column_called_item_that_hides_another_is_told(tmp_path: Path) -> None:
    table = look(jsonl(tmp_path / "own.jsonl", rows(item=str, **{"the question": str})))
    roles = guess(table, "grade", "the question", "")
    with pytest.raises(DataError, match="one column is called 'item'"):
        Writer(table, roles, "fake/a", "fake/a", "").text(tmp_path, [("llmb run", "")])


SHAPES: dict[str, tuple[list[dict[str, Any]], tuple[str, str, str, str, str]]] = {
    "question and answer": (
        rows(id=str, question=lambda n: f"Is {n}?", answer=lambda n: f"it is the word number {n}",
             topic=lambda n: "ab"[n % 2]),
        ("grade", "question", "answer", "id", "topic"),
    ),
    "an id that repeats": (
        rows(id=lambda n: n // 2, prompt=lambda n: f"Say {n}", expected=lambda n: f"{n} it is"),
        ("grade", "prompt", "expected", "", ""),
    ),
    "text and label": (
        rows(text=lambda n: f"Some words {n}", label=lambda n: ["good", "bad"][n % 2]),
        ("classify", "text", "label", "", ""),
    ),
    "camel case": (
        rows(itemId=str, userQuestion=lambda n: f"Why {n}?", goldAnswer=lambda n: f"so {n}"),
        ("grade", "userQuestion", "goldAnswer", "itemId", ""),
    ),
    "one column": (rows(anything=lambda n: f"tell me of {n}"), ("grade", "anything", "", "", "")),
    "tickets": (
        rows(**{"Ticket-Nr.": str, "Beschreibung": lambda n: f"Es geht nicht {n}",
             "Kategorie": lambda n: "ab"[n % 2], "Status": lambda n: "xy"[n % 2]}),
        ("classify", "Beschreibung", "Kategorie", "Ticket-Nr.", ""),
    ),
    "a survey": (
        rows(**{"What should we improve?": lambda n: f"the search {n}",
             "Email Address": lambda n: f"someone.with.a.long.name{n}@example.com"}),
        ("grade", "What should we improve?", "", "", ""),
    ),
    "a translation": (
        rows(source_en=lambda n: f"Press {n} twice.", human_de=lambda n: f"Zweimal {n} druecken.",
             mt_de=lambda n: f"Druecke {n} zwei Mal, bitte.", domain=lambda n: "ab"[n % 2]),
        ("grade", "source_en", "human_de", "", "domain"),
    ),
    "a classification in Japanese": (
        rows(本文=lambda n: f"映画は {n} 番目", **{'正解 "ラベル"': lambda n: "良悪"[n % 2]}),
        ("classify", "本文", '正解 "ラベル"', "", ""),
    ),
    "answers in German": (
        rows(**{"Nr.": lambda n: n // 2, 'Frage (auf "Deutsch")': lambda n: f"Wie viel ist {n}?",
                "Lösung [Zahl]": lambda n: f"{n},5"}),
        ("grade", 'Frage (auf "Deutsch")', "Lösung [Zahl]", "", ""),
    ),
    "conversations": (
        rows(chat_id=lambda n: n // 2, expected=str, turns=lambda n: [
            {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": f"What is {n}?"}]),
        ("grade", "turns", "expected", "", ""),
    ),
    "names that say nothing": (
        rows(a=lambda n: f"What may {n} be?", b=lambda n: f"thing {n}"),
        ("grade", "a", "", "", ""),
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_columns_are_told_by_names_and_values(shape: str, tmp_path: Path) -> None:
    items, expected = SHAPES[shape]
    roles = guess(look(jsonl(tmp_path / "own.jsonl", items)))
    assert (roles.task, roles.asked, roles.reference, roles.id, roles.category) == expected


def test_answers_that_are_there_are_graded_and_compared(tmp_path: Path) -> None:
    one = rows(question=str, answer=lambda n: f"w {n}", model_answer=lambda n: f"m {n}")
    one = [{**item, "question": "Why?"} for item in one]
    assert guess(look(jsonl(tmp_path / "a.jsonl", one))).given == ("model_answer",)
    two = rows(
        prompt=lambda n: f"Say {n}", answer_a=lambda n: f"a {n}", answer_b=lambda n: f"b {n}"
    )
    assert guess(look(jsonl(tmp_path / "b.jsonl", two)), "compare").given == (
        "answer_a", "answer_b"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("id;frage;antwort\n1;Wie groß ist sie?;klein\n2;Wer?;Müller\n", "windows-1252"),
        ("id\tquestion\tanswer\n1\tWhy?\tso\n2\tWho?\tme\n", "utf-8"),
        ("id,question,answer\r\n1,Why?,so\r\n2,Who?,me\r\n", "utf-8-sig"),
        ("sep=;\nid;question;answer\n1;Why?;so\n2;Who?;me\n", "utf-16"),
        (",question,answer\n0,Why?,so\n1,Who?,me\n", "utf-8"),
        ("question,answer\nWhy?,\nWho?,me\n", "utf-8"),
        ("question\nWhy?\nWho?\n", "utf-8"),
    ],
    ids=["excel", "tabs", "bom", "utf-16", "index", "empty cell", "one column"],
)
def test_odd_tables_get_a_config_that_is_sound(text: str, encoding: str, here: Path) -> None:
    csv(here / "own.csv", text, encoding)
    code, said = init("--data", "own.csv", "--model", "fake/a")
    assert code == 0, said
    _, rows_there, _, _ = checked(load_config("llmb.toml"))
    assert rows_there == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("17,What is it?,a cat\n18,Who is it?,a dog\n", "own.csv has no column names"),
        ("question,question\na,b\n", "two columns of the header are named 'question'"),
        ("Export,,\nid,question,answer\n1,Why?,so\n", "looks like a title: only 'Export' stands"),
        ("Export\nid,question,answer\n1,Why?,so\n", "if the first line is a title, delete it"),
        ("question,answer\n", "own.csv has no rows"),
        ("", "own.csv is empty"),
    ],
    ids=["no header", "a name twice", "title and commas", "title", "no rows", "empty"],
)
def test_what_cannot_be_used_is_refused_with_what_to_do(text: str, said: str, here: Path) -> None:
    csv(here / "own.csv", text)
    code, output = init("--data", "own.csv")
    assert code == 2 and said in output
    assert output.rpartition(" → ")[2]
    assert not (here / "llmb.toml").exists()


@pytest.mark.parametrize(
    ("header", "first"),
    [
        ("0,1,2", "fine thanks"),
        ("country,2019,2020", "fine thanks"),
        ("How are you today?,age", "fine thanks"),
        ("Which colour?,answer", "What colour is it?"),
    ],
)
def test_numbers_and_sentences_may_be_names(header: str, first: str, tmp_path: Path) -> None:
    cells = ",".join([first, "1", "2"][: header.count(",") + 1])
    assert look(csv(tmp_path / "own.csv", f"{header}\n{cells}\n{cells} \n")).rows == 2


def test_a_table_read_as_one_column_says_how_to_part_it(here: Path) -> None:
    csv(here / "own.csv", "a;b\nwhy\nwho;me;you\n")
    code, said = init("--data", "own.csv", "--model", "fake/a")
    assert code == 0 and "if a semicolon separates its cells, add --delimiter ';'" in said


def test_what_is_odd_in_the_data_is_told(here: Path) -> None:
    csv(
        here / "own.csv", "id,question,,answer\n1,Why?,x,so\n1,Who?,y,\n3,a,b,c,d,e\n4,Is it?,,no\n"
    )
    code, said = init("--data", "own.csv", "--model", "fake/a")
    assert code == 0
    assert "id is not used as the id: two rows have the same value" in said
    assert said.count("nothing in") == 1 and "nothing in 'answer'" in said
    assert "1 column of own.csv left out: the first row gives no name" in said
    assert "1 row cannot be read and will be skipped: line 4" in said
    config = load_config("llmb.toml")
    assert (config.data.id, config.data.on_bad_row) == (None, "skip")


def batch(*roles: str) -> list[dict[str, Any]]:
    return [
        {
            "custom_id": f"r{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "gpt-4o-mini",
                "messages": [{"role": role, "content": f"{role} says {n}"} for role in roles],
            },
        }
        for n in range(6)
    ]


@pytest.mark.parametrize("roles", [("user",), ("system", "user")])
@pytest.mark.parametrize("task", [*TASKS])
def test_the_requests_of_a_batch_are_asked_as_they_are(
    roles: tuple[str, ...], task: str, here: Path
) -> None:
    jsonl(here / "requests.jsonl", batch(*roles))
    code, said = init("--data", "requests.jsonl", "--model", "fake/a", "--task", task)
    assert code == 0 and "the messages in body, without its model and settings" in said
    config = load_config("llmb.toml")
    assert config.data.id == "custom_id"
    chain = config.chain()
    with draw(config.data, config.data_path(), used=config.fields_used()) as drawn:
        item = next(iter(drawn.items()))
    request = chain.next_request(item, ())
    assert request is not None
    asked = [(each.role, each.content) for each in request.messages]
    last = f"user says {item.id.removeprefix('r')}"
    assert last in asked[-1][1]
    if task == "grade":
        assert asked == [(role, f"{role} says {item.id.removeprefix('r')}") for role in roles]


def test_requests_of_a_batch_that_no_prompt_can_be_made_of_are_refused(here: Path) -> None:
    jsonl(here / "turns.jsonl", batch("user", "assistant", "user"))
    code, said = init("--data", "turns.jsonl")
    assert code == 2 and "several turns" in said and ".body.messages" in said
    jsonl(here / "other.jsonl", [row | {"body": {"input": "x"}} for row in batch("user")])
    code, said = init("--data", "other.jsonl")
    assert code == 2 and "not all have messages of text in body" in said


# What is asked and chosen


def test_where_nobody_can_be_asked_nothing_is_asked_and_the_choice_is_said(here: Path) -> None:
    jsonl(here / "own.jsonl", SHAPES["names that say nothing"][0])
    code, said = init("--data", "own.jsonl", "--model", "fake/a", typed="2\n")
    assert code == 0
    assert "the model gets: a   (or --question COLUMN)" in said
    assert "Which column" not in said


def test_a_column_that_is_mostly_empty_is_not_put_to_the_model(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    titles = ["a fine thing to have", "", "", "", "", ""]
    rows = [f"{title},it broke on day {n} of use" for n, title in enumerate(titles)]
    path.write_text("\n".join(["Title,What people say", *rows]))
    assert guess(look(path)).asked == "What people say"


def test_ages_are_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "survey.csv"
    rows = [f"the food in it is cold {n},{20 + n % 9},{'fm'[n % 2]}" for n in range(40)]
    path.write_text("\n".join(["text,age,sex", *rows]))
    roles = guess(look(path), "classify")
    assert roles.reference == "sex"
    assert "reference" in roles.unsure


def test_the_report_that_is_suggested_names_the_reference_and_the_category(here: Path) -> None:
    csv(
        here / "own.csv",
        "Frage;Die Antwort;topic\n"
        + "Wer?;ich bin es wohl nicht;a\nWas?;nichts von all dem;b\n" * 3,
    )
    _, said = init("--data", "own.csv", "--model", "fake/a")
    assert "llmb report results.jsonl --by topic --reference 'Die Antwort'" in said


def test_on_a_terminal_two_questions_at_most_are_asked(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl(here / "own.jsonl", rows(a=lambda n: f"word {n}", b=lambda n: f"other {n}", c=str))
    module = sys.modules["llm_batch.cli.init"]  # the package has the function under that name
    monkeypatch.setattr(module, "_on_terminal", lambda: True)
    code, said = init("--data", "own.jsonl", "--model", "fake/a", typed="9\nb\n1\n")
    assert code == 0
    assert said.count("Which column") == 2
    assert "the model gets: b" in said and "right answer: a" in said
    jsonl(here / "sure.jsonl", SHAPES["question and answer"][0])
    _, said = init("sure.toml", "--data", "sure.jsonl", "--model", "fake/a")
    assert "Which column" not in said
    code, said = init("left.toml", "--data", "own.jsonl", "--model", "fake/a", typed="")
    assert code == 130 and not (here / "left.toml").exists()


@pytest.mark.parametrize("choice", CHOICES, ids=[choice.variable for choice in CHOICES])
def test_the_model_is_one_whose_key_is_there(
    choice: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(choice.variable, "sk-there")
    jsonl(here / "own.jsonl", SHAPES["question and answer"][0])
    code, said = init("--data", "own.jsonl")
    assert code == 0 and "before it can run" not in said, said
    assert f"because {choice.variable} is set" in said and "sk-there" not in said
    config = load_config("llmb.toml")
    assert [step.model for step in config.steps] == [choice.model, choice.judge]
    for model in (choice.model, choice.judge):
        check_servable(model, config.model(model))
        info = model_info(model)
        assert tariff_of(model) is not None
        assert info is not None and info.deprecation_date is None
    assert "sk-there" not in (here / "llmb.toml").read_text()


def test_without_a_key_the_embedded_model_is_taken_and_flags_win(here: Path) -> None:
    jsonl(here / "own.jsonl", SHAPES["question and answer"][0])
    init("--data", "own.jsonl")
    assert {step.model for step in load_config("llmb.toml").steps} == {LOCAL}
    init("b.toml", "--data", "own.jsonl", "--model", "fake/a", "--judge", "fake/b")
    assert [step.model for step in load_config("b.toml").steps] == ["fake/a", "fake/b"]
    assert load_config("b.toml").run.output == "b-results.jsonl"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--data", "own.jsonl", "--task", "rate"],
            "tasks are grade, compare, classify, extract, judge",
        ),
        (["--data", "own.jsonl", "--question", "Question"], "did you mean 'question'?"),
        (["--data", "own.jsonl", "--reference", "nobody"], "its columns are id, question"),
        (["--data", "none.csv"], "no data file 'none.csv'"),
        (["--data", "-"], "standard input can be read only once"),
        (["--task", "grade"], "add --data FILE"),
        (["--check", "--data", "own.jsonl"], "llmb init --check llmb.toml"),
        (["--check", "none.toml"], "no config file 'none.toml'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_refused_with_what_is_right(
    words: list[str], said: str, here: Path
) -> None:
    jsonl(here / "own.jsonl", SHAPES["question and answer"][0])
    code, output = init(*words)
    assert code == 2 and said in output
    assert not (here / "llmb.toml").exists()


def test_a_file_that_is_there_is_not_overwritten(here: Path) -> None:
    jsonl(here / "own.jsonl", SHAPES["question and answer"][0])
    (here / "llmb.toml").write_text("mine")
    (here / "llmb.schema.json").write_text("mine too")
    code, said = init("--data", "own.jsonl")
    assert code == 2 and "--force" in said
    assert (here / "llmb.toml").read_text() == "mine"
    assert init("--data", "own.jsonl", "--force")[0] == 0
    assert (here / "llmb.schema.json").read_text() == "mine too"


# What comes out


@pytest.mark.parametrize("task", TASKS)
def test_each_task_plays_and_scores(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path, monkeypatch)
    items = rows(text=lambda n: f"Words {n}", label=lambda n: ["good", "bad"][n % 2])
    table = look(jsonl(tmp_path / "own.jsonl", items))
    text = Writer(table, guess(table, task), "fake/a", "fake/a", "").text(tmp_path, [("x", "y")])
    (tmp_path / "llmb.toml").write_text(text)

    def reply(request: Request) -> str:
        replies = {
            "classify": '{"label": "good"}',
            "extract": '{"label": "good"}',
            "judge": '{"reason": "so", "score": 4, "better": "B"}',
        }
        return replies.get(request.step, "an answer")

    project.answers = reply
    config = load_config(tmp_path / "llmb.toml")
    config = config.model_copy(
        update={"run": config.run.model_copy(update={"output": str(project.results)})}
    )
    summary = project.run(config)
    assert summary.exit_code == 0, summary.message
    passed = [line["passed"] for line in project.lines()]
    # All are called good, and half of them are.
    assert sum(passed) == (3 if task == "classify" else 6)


RULES: dict[str, tuple[list[str], list[str], str]] = {
    "numbers": (["42", "1,234", "$5"], ["It is 42", "so: 1234.", "about 4"], "number"),
    "solutions": (["2 + 2 = 4\n#### 4", "#### 1,080"], ["#### 4", "9\n#### 1079"], "number"),
    "short": (["Canberra", "Au", "Ada Lovelace"], ["canberra!", "Australia", "By Ada Lovelace."],
              "contains"),
    "letters": (["A", "B", "A", "B"], ["(A)", "The answer is B", "B", "A or B"], "choice"),
    "yes and no": (["yes", "no", "yes", "no"], ["Yes.", "yes", "No", "No"], "choice"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RULES)
def test_short_right_answers_are_compared_by_a_rule(kind: str, here: Path) -> None:
    right, replies, rule = RULES[kind]
    items = [{"id": str(n), "question": f"What? {n}", "answer": a} for n, a in enumerate(right)]
    jsonl(here / "own.jsonl", items)
    code, said = init("--data", "own.jsonl", "--model", "fake/a")
    assert code == 0 and f"scored by the rule {rule!r}, without a judge, because" in said
    chain = load_config("llmb.toml").chain()
    passed = []
    for fields, reply in zip(items, replies, strict=True):
        asked = chain.next_request(item := Item(fields["id"], fields), [])
        assert isinstance(asked, Request)
        passed.append(chain.result(item, [answer(asked, reply)]).passed)
    wrong = {"numbers": 2, "solutions": 1, "short": 1, "letters": 2, "yes and no": 1}[kind]
    assert [n for n, good in enumerate(passed) if not good][:1] == [wrong]
    init("judged.toml", "--data", "own.jsonl", "--model", "fake/a", "--judge", "fake/b")
    assert [step.model for step in load_config("judged.toml").steps] == ["fake/a", "fake/b"]


def test_right_answers_that_are_sentences_are_left_to_a_judge(tmp_path: Path) -> None:
    long = rows(question=lambda n: f"Why {n}?", answer=lambda n: f"because it is more than {n}")
    table = look(jsonl(tmp_path / "own.jsonl", long))
    assert rule_for(table, guess(table)) == ("", "")


@pytest.mark.embedded
def test_a_classification_by_the_embedded_model_is_scored_by_a_rule(tmp_path: Path) -> None:
    from llm_batch.sending.providers.embedded import EmbeddedProvider

    items = rows(text=lambda n: f"Words {n}", sentiment=lambda n: ["pos", "neg"][n % 2])
    table = look(jsonl(tmp_path / "own.jsonl", items))
    text = Writer(table, guess(table), LOCAL, LOCAL, "").text(tmp_path, [("x", "y")])
    (tmp_path / "llmb.toml").write_text(text)
    chain = load_config(tmp_path / "llmb.toml").chain()
    provider = EmbeddedProvider(LOCAL.partition("/")[2], 1)
    try:
        for number, fields in enumerate(items):
            item = Item(str(number), fields)
            asked = chain.next_request(item, [])
            assert asked is not None
            calls = [answer(asked, provider.complete(asked, 60).completion.text)]
            assert chain.next_request(item, calls) is None
            result = chain.result(item, calls)
            said = result.outputs["classify"]["label"]
            assert result.passed is (said == fields["sentiment"])
            assert result.outputs["exact"] is result.passed
    finally:
        provider.close()


def test_labels_of_the_file_are_the_choices_whatever_their_case(tmp_path: Path) -> None:
    labels = ["Good", "good", "GOOD", "bad", "so\nso", 'a "b"']
    items = rows(24, text=lambda n: f"Words {n}", label=lambda n: labels[n % 6])
    table = look(jsonl(tmp_path / "own.jsonl", items))
    text = Writer(table, guess(table), "fake/a", "fake/a", "").text(tmp_path, [("x", "y")])
    (tmp_path / "llmb.toml").write_text(text)
    output = load_config(tmp_path / "llmb.toml").steps[0].output
    assert output is not None
    assert set(output["label"].choices or ()) == {"Good", "bad", "so\nso", 'a "b"'}


def test_the_fields_of_an_extraction_have_the_types_of_their_columns(tmp_path: Path) -> None:
    items = rows(
        80, text=lambda n: f"Words {n}", count=lambda n: str(n), price=lambda n: f"{n}.5",
        paid=lambda n: n % 2 == 0, kind=lambda n: "ab"[n % 2], name=lambda n: f"name {n}",
        seldom=lambda n: str(n) if n else "",
    )  # fmt: skip
    table = look(jsonl(tmp_path / "own.jsonl", items))
    roles = guess(table, "extract")
    (tmp_path / "llmb.toml").write_text(
        Writer(table, roles, "fake/a", "fake/a", "").text(tmp_path, [("x", "y")])
    )
    output = load_config(tmp_path / "llmb.toml").steps[0].output or {}
    assert {name: field.type for name, field in output.items()} == {
        "count": "integer", "price": "number", "paid": "boolean", "kind": "string",
        "name": "string", "seldom": "string",
    }  # fmt: skip
    assert output["kind"].choices == ("a", "b")


def test_the_data_is_named_from_the_folder_of_the_config(here: Path) -> None:
    (here / "deep er").mkdir()
    (here / "conf").mkdir()
    jsonl(here / "deep er" / "own.jsonl", SHAPES["question and answer"][0])
    assert init("conf/a.toml", "--data", "deep er/own.jsonl", "--model", "fake/a")[0] == 0
    assert load_config("conf/a.toml").data.path == "../deep er/own.jsonl"
    assert (here / "conf" / "llmb.schema.json").exists()
    for name in ("~own.jsonl", "$HOME.jsonl"):
        jsonl(here / name, SHAPES["question and answer"][0])
    assert init("t.toml", "--data", "./~own.jsonl", "--model", "fake/a")[0] == 0
    assert checked(load_config("t.toml"))[1] == 6
    code, said = init("h.toml", "--data", "$HOME.jsonl", "--model", "fake/a")
    assert code == 2 and os.environ["HOME"] in said


def test_check_says_what_would_stop_a_run_and_sends_nothing(here: Path) -> None:
    jsonl(here / "own.jsonl", SHAPES["question and answer"][0])
    init("--data", "own.jsonl", "--model", "fake/a")
    code, said = init("--check")
    assert code == 0 and "llmb.toml is valid: 2 steps with fake/a, 6 of 6 rows" in said
    text = (here / "llmb.toml").read_text()
    (here / "llmb.toml").write_text(text.replace("{{ question }}", "{{ qestion }}", 1))
    code, said = init("--check")
    assert code == 2 and "did you mean {{ question }}?" in said
    (here / "own.jsonl").unlink()
    code, said = init("--check")
    assert code == 2 and "no data file" in said
    assert not list(here.glob("results*"))


def test_a_workbook_is_read_by_the_sheet_that_is_said(here: Path) -> None:
    (here / "own.xlsx").write_bytes(
        xlsx({"notes": [["x"], ["y"]], "data": [["question", "answer"], ["Why?", "so"]]})
    )
    code, said = init("--data", "own.xlsx", "--sheet", "data", "--model", "fake/a")
    assert code == 0, said
    config = load_config("llmb.toml")
    assert config.data.sheet == "data"
    assert checked(config)[1] == 1


def test_of_a_large_file_all_rows_are_looked_at(tmp_path: Path) -> None:
    text = "id,question,label\n" + "".join(f"{n},Is it {n}?,{n % 3}\n" for n in range(50_000))
    table = look(csv(tmp_path / "own.csv", text + "0,Once more?,1\n"))
    assert table.rows == 50_001
    assert not table.column("id").unique
    assert sorted(table.column("label").labels) == ["0", "1", "2"]


def test_errors_name_columns_that_there_are(tmp_path: Path) -> None:
    table = look(jsonl(tmp_path / "own.jsonl", [{"nested": [1]}, {"nested": {"a": 2}}]))
    with pytest.raises(ConfigError, match="has text for the model"):
        guess(table)


def test_answers_that_are_there_are_judged_and_no_other_model_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path, monkeypatch)
    own = [{"question": f"Why {n}?", "response": f"So {n}."} for n in range(3)]
    table = look(jsonl(tmp_path / "own.jsonl", own))
    roles = with_answers(table, guess(table, "grade"))
    text = Writer(table, roles, "fake/a", "fake/a", "", provided=True).text(tmp_path, [("x", "y")])
    (tmp_path / "llmb.toml").write_text(text)
    project.answers = lambda request: '{"reason": "so", "score": 4}'
    config = load_config(tmp_path / "llmb.toml", judge="fake/b", output=str(project.results))
    assert [(step.name, step.model) for step in config.asking] == [("judge", "fake/b")]
    summary = project.run(config)
    assert (summary.exit_code, summary.progress.calls) == (0, 3), summary.message
    with pytest.raises(ConfigError, match="no column is named like answers") as refused:
        with_answers(replace(table, columns=table.columns[:1]), guess(table, "extract"))
    assert "--answers COLUMN" in str(refused.value.hint)


def test_answers_are_found_by_an_odd_name_and_by_the_flag(here: Path) -> None:
    said = {"Model's answer (v2) [raw]": "The capital is Lima.", "other": "Lima, of course."}
    items = [{"prompt": f"Capital no. {n}?", "gold": f"Lima {n}", **said} for n in range(3)]
    jsonl(here / "own.jsonl", items)
    _, told = init("--data", "own.jsonl")
    assert "task: judge" in told and "answers to judge: Model's answer (v2) [raw]" in told
    code, told = init("two.toml", "--data", "own.jsonl", "--answers", "other")
    assert code == 0 and "answers to judge: other" in told
    assert load_config("two.toml").steps[0].provided == "other"
    assert init("no.toml", "--data", "own.jsonl", "--answers", "Other")[1].endswith("mean 'other'?")
    assert init("no.toml", "--data", "own.jsonl", "--answers", "other", "--task", "grade")[0] == 2


@pytest.mark.parametrize("task", TASKS)
def test_conversations_and_pictures_go_to_the_model_as_such(task: str, here: Path) -> None:
    (here / "dot.png").write_bytes(png(1, 1))
    talk = [{"from": "human", "value": "Hello"}]
    own = [{"talk": talk, "file": "dot.png", "label": "ab"[n % 2]} for n in range(4)]
    jsonl(here / "talks.jsonl", own)
    jsonl(here / "files.jsonl", [{"file": row["file"], "label": row["label"]} for row in own])
    for name, conversation in (("talks", "talk"), ("files", None)):
        code, said = init(f"{name}.toml", "--data", f"{name}.jsonl", "--task", task,
                          "--model", "fake/a")  # fmt: skip
        assert code == 0 and "before it can run" not in said, said
        step = load_config(f"{name}.toml").steps[0]
        assert step.images == ("{{ file }}",)
        assert step.conversation == (conversation if task in ("grade", "compare") else None)


def test_conversations_that_the_assistant_ends_are_refused_with_what_to_do(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    with pytest.raises(ConfigError, match="'turns' end with the assistant's answer"):
        guess(look(jsonl(tmp_path / "own.jsonl", [{"turns": turns}] * 3)))


def test_a_column_that_may_be_the_right_answer_is_named_with_the_command_for_it(here: Path) -> None:
    teams = ("IT", "HR", "Sales")
    rows = [f"Ticket {i},My printer number {i} stands still,{teams[i % 3]}" for i in range(12)]
    csv(here / "own.csv", "subject,body,department\n" + "\n".join(rows) + "\n")
    _, said = init("--data", "own.csv", "--model", "fake/a")
    (line,) = [line for line in said.splitlines() if "if department is the right answer: " in line]
    again = shlex.split(line.partition(": llmb init ")[2])
    _, said = init(*again, "--model", "fake/a")
    assert "right label: department" in said
