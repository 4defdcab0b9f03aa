"""Where keys stand in a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from llm_batch.chain.config import load_config
from llm_batch.chain.config_errors import key_lines, not_toml
from llm_batch.errors import ConfigError

TEXT = '''\
top = 1
[a]
x = 1   # y = 2
"quoted key" = 2
dotted.key = 3
text = """
y = 3
[b]
"""
more = """one line"""
inline = { p = 1, "q r" = 2 }
[[steps]]
name = "a"
raw = \'\'\'
z = 1\'\'\'
[steps.output]
score = { type = "integer" }
[[ steps ]]
name = "b"
[steps.output]
score = "integer"
[models."openai/x.y"]
rpm = 5
'''


def test_every_key_is_found_on_its_line_and_texts_hold_none() -> None:
    assert key_lines(TEXT) == {
        ("top",): 1,
        ("a",): 2,
        ("a", "x"): 3,
        ("a", "quoted key"): 4,
        ("a", "dotted", "key"): 5,
        ("a", "text"): 6,
        ("a", "more"): 10,
        ("a", "inline"): 11,
        ("a", "inline", "p"): 11,
        ("a", "inline", "q r"): 11,
        ("steps",): 12,
        ("steps", 0): 12,
        ("steps", 0, "name"): 13,
        ("steps", 0, "raw"): 14,
        ("steps", 0, "output"): 16,
        ("steps", 0, "output", "score"): 17,
        ("steps", 0, "output", "score", "type"): 17,
        ("steps", 1): 18,
        ("steps", 1, "name"): 19,
        ("steps", 1, "output"): 20,
        ("steps", 1, "output", "score"): 21,
        ("models", "openai/x.y"): 22,
        ("models", "openai/x.y", "rpm"): 23,
    }


@pytest.mark.parametrize(
    ("text", "line", "said", "hint"),
    [
        ('a = 1\nb = "x\n', 2, "does not end on its line", "close it with"),
        (
            "[run]\noutput = results.jsonl",
            2,
            "neither a number nor text",
            'output = "results.jsonl"',
        ),
        ("path = “q.csv”", 1, "the quotes are curly", 'path = "q.csv"'),
        ("path = ‘q.csv’", 1, "the quotes are curly", "path = 'q.csv'"),
        ("p = 'it's'", 1, "its own quotes", """p = "it's\""""),
        ('p = "say "hi" now"', 1, "its own quotes", "p = 'say \"hi\" now'"),
        ('p = "C:\\Users\\me"', 1, "a backslash begins an escape", "p = 'C:\\Users\\me'"),
        ('p = "Use \\d+: {{ q }}"', 1, "a backslash begins", "p = 'Use \\d+: {{ q }}'"),
        ('p = "it\'s \\d"', 1, "a backslash begins", "p = '''it's \\d'''"),
        ('p = "C:\\dir\\"', 1, "a backslash begins", "p = 'C:\\dir\\'"),
        ('p = """\nUse \\d"""', 2, "a backslash begins", "'''…'''"),
        (
            '[data]\npath = "q"\npath = "r"',
            3,
            "path stands twice under [data], first in line 2",
            "one",
        ),
        ("[data]\na = 1\n[run]\nb = 1\n[data]\nc = 1", 5, "first in line 1", "[data] of line 1"),
        ('[[steps]]\nname = "x"\n[steps]\nb = 1', 3, "a list of tables", "[[steps]]"),
        ("a = True", 1, "True is no value", "a = true"),
        ("a = no", 1, "no is no value", "a = false"),
        ("a = None", 1, "None is no value", "leave a out"),
        ("a = 0,5", 1, "decimal comma", "a = 0.5"),
        ("a = 01", 1, "begins with 0", "a = 1"),
        ("a: 1", 1, "a has a colon", "a = 1"),
        ("two words = 1", 1, "'two words' is no key", '"two words" = 1'),
        ("a = 5 b = 6", 1, "two keys", "one key a line"),
        ("a =", 1, "a has no value", "leave the key out"),
        ("= 1", 1, "no key", 'key = "value"'),
        ("// x", 1, "no comment", "#"),
        ("a = [1,\n2", 1, "the list of a", "["),
        ("a = {b = 1,\nc = 2}", 1, "the table of a", "[a]"),
        ("[models.openai/x]\nrpm = 5", 1, "not in quotes", '[models."openai/x"]'),
        ("[data\na = 1", 1, "no header", "[data]"),
        ('a = 1\nb = """x\ny\n', 2, "does not end as it begins", 'close it with """'),
    ],
)
def test_the_hint_fits_the_mistake(text: str, line: int, said: str, hint: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as raised:
        tomllib.loads(text)
    error = not_toml("llmb.toml", text, str(raised.value))
    assert said in error.message and error.message.endswith(f"(line {line})")
    assert hint in error.hint


_STEP = '[[steps]]\nname = "a"\nmodel = "fake/x"\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f'{_STEP}prompt = "Simplify \\frac{{a}}{{b}} {{{{ q }}}}"', 4, r"a form feed, which \f"),
        (f'{_STEP}prompt = "\\\\alpha \\times \\\\x {{{{ q }}}}"', 4, r"double quotes: \times"),
        (f'{_STEP}prompt = "\\beta {{{{ q }}}}"', 4, "a backspace"),
        (f'{_STEP}prompt = "\\rho {{{{ q }}}}"', 4, "a carriage return"),
        (f'{_STEP}prompt = "\\nabla {{{{ q }}}}"', 4, "a line end"),
        (f'{_STEP}prompt = "{{{{ q }}}}"\nsystem = "\\textbf"', 5, "a tab"),
        (f'[data]\npath = "data\\test.csv"\n{_STEP}prompt = "x"', 2, r"double quotes: \test.csv"),
        (f'[data]\npath = "data\\new.csv"\n{_STEP}prompt = "x"', 2, "a line end"),
        (f'{_STEP}prompt_file = "a\\readme.txt"', 4, "a carriage return"),
        (f'[run]\noutput = "\\ball.jsonl"\n{_STEP}prompt = "x"', 2, "a backspace"),
    ],
)
def test_what_a_backslash_made_of_a_path_or_prompt_is_refused(
    text: str, line: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "llmb.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"llmb.toml, line {line}: " in caught.value.message and said in caught.value.message
    assert "use single quotes" in caught.value.hint


@pytest.mark.parametrize(
    "prompt", [r'"a\tb\nNext {{ q }}"', "'''a\tb\nc {{ q }}'''", r"'\frac{a}{b} \times {{ q }}'"]
)
def test_tabs_line_ends_and_single_quotes_are_fine(prompt: str, tmp_path: Path) -> None:
    path = tmp_path / "llmb.toml"
    path.write_text(f"{_STEP}prompt = {prompt}")
    assert load_config(path).steps[0].prompt


@pytest.mark.parametrize("name", ["item", "self", "none", "loop"])
def test_a_step_cannot_be_called_by_a_word_of_templates(name: str, tmp_path: Path) -> None:
    path = tmp_path / "llmb.toml"
    path.write_text(_STEP.replace('"a"', f'"{name}"') + 'prompt = "{{ q }}"')
    with pytest.raises(ConfigError, match="is a word of templates"):
        load_config(path)
