"""Where keys stand in a TOML file."""

from __future__ import annotations

from llm_batch.config_errors import key_lines

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
