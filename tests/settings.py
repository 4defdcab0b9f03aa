"""Parts of the configs that tests and benchmarks write, and their data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

#: All of ``q.jsonl``, by the ids in it.
DATA = """
[data]
path = "q.jsonl"
id = "id"
[sample]
size = 0
"""

#: An answer, and a score of it from 0 to 100, of the fake provider.
SCORED = """
[[steps]]
name = "generate"
model = "fake/writer"
prompt = "{{ question }}"
[[steps]]
name = "judge"
model = "fake/judge"
prompt = "Score {{ generate }}"
output = {score = {type = "number", min = 0, max = 100}}
[score]
field = "judge.score"
pass_at = 50
"""


def write_questions(folder: Path, questions: Mapping[str, str] | Iterable[str]) -> None:
    """Write ``q.jsonl``: questions by their ids, or with the ids q0, q1 and so on."""
    if not isinstance(questions, Mapping):
        questions = {f"q{number}": text for number, text in enumerate(questions)}
    rows = (json.dumps({"id": name, "question": text}) for name, text in questions.items())
    (folder / "q.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def steps(
    writer: str,
    judge: str = "",
    *,
    asks: str = "{{ item.id }}: {{ generate }}",
    max_tokens: int = 40,
    judge_tokens: int = 40,
    scale: tuple[int, int] = (1, 5),
) -> str:
    """A step that answers, and one that judges where a model for it is named."""
    text = f"""
[[steps]]
name = "generate"
model = "{writer}"
prompt = "{{{{ question }}}}"
max_tokens = {max_tokens}
"""
    if not judge:
        return text
    return f"""{text}
[[steps]]
name = "judge"
model = "{judge}"
prompt = "{asks}"
max_tokens = {judge_tokens}
output = {{ score = {{ type = "integer", min = {scale[0]}, max = {scale[1]} }} }}
[score]
field = "judge.score"
pass_at = 3
"""
