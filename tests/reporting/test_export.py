"""Results in the layout of other programs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

import llm_batch
from llm_batch.chain.options import Data
from llm_batch.dataset import draw
from llm_batch.errors import LlmbError
from llm_batch.reporting.export import Which, export

CONFIG = """
[data]
id = "id"
[[steps]]
name = "answer"
model = "fake/answers"
system = "Be short."
prompt = "{{ question }}"
max_tokens = 50
[[steps]]
name = "judge"
model = "fake/judge"
prompt = "{{ question }} {{ answer }}"
output = { score = "integer" }
[score]
field = "judge.score"
pass_at = 3
[models."fake/answers"]
script = "answers.jsonl"
[models."fake/judge"]
script = "judge.jsonl"
"""
ROWS = [
    {"id": f"q{n}", "question": f"What is {n}?", "topic": "ab"[n % 2], "n": n, "tags": ["x"],
     "mixed": n if n % 2 else "=1+1"}
    for n in range(4)
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of four items with the scores 0 to 3; the last has no readable score."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "llmb.toml").write_text(CONFIG.replace('script = "', f'script = "{folder}/'))
    with draw(Data(id="id"), "-", given=ROWS) as drawn:  # in the order of the calls
        numbers = [item.fields["n"] for item in drawn.items()]
    said = [f"It is {n}." for n in numbers]
    verdicts = [[json.dumps({"score": n})] if n < 3 else ["no idea"] * 2 for n in numbers]
    for name, texts in (("answers", said), ("judge", sum(verdicts, []))):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, texts)))
    config = llm_batch.load_config(
        folder / "llmb.toml", output=str(folder / "results.jsonl"), engine="serial"
    )
    return llm_batch.run(config, data=ROWS, trusted=True).path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(parquet.read_table(path).to_pylist())
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("name", ["r.parquet", "r.csv", "r.jsonl", "r.jsonl.gz"])
def test_rows_hold_every_item_with_its_fields_and_outputs(
    name: str, run: Path, tmp_path: Path
) -> None:
    assert export(run, tmp_path / name).items == 4
    rows = {row["id"]: row for row in read(tmp_path / name)}
    one, last = rows["q1"], rows["q3"]
    assert (one["field.topic"], one["output.answer"], int(one["field.n"])) == ("b", "It is 1.", 1)
    assert float(one["score"]) == int(one["output.judge.score"]) == 1
    assert last["status"] == "unparsed" and last.get("score") in (None, "")


def test_parquet_has_the_types_of_the_values_and_is_packed(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "r.parquet", which=Which(("unparsed",)))
    file = parquet.ParquetFile(tmp_path / "r.parquet")
    types = {field.name: str(field.type) for field in file.schema_arrow}
    # Of the item that is left there is no score: a column that is empty has its type all the same.
    assert (types["score"], types["passed"], types["field.n"]) == ("double", "bool", "int64")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    export(run, tmp_path / "all.parquet")
    rows = {row["id"]: row for row in read(tmp_path / "all.parquet")}
    assert rows["q1"]["field.mixed"] == "1" and rows["q0"]["field.mixed"] == "=1+1"
    assert json.loads(rows["q0"]["field.tags"]) == ["x"]


@pytest.mark.parametrize(
    ("which", "ids"),
    [
        (Which(("ok",)), {"q0", "q1", "q2"}),
        (Which(("ok", "unparsed")), {"q0", "q1", "q2", "q3"}),
        (Which(min_score=1), {"q1", "q2"}),
        (Which(max_score=1), {"q0", "q1"}),
        (Which(where='{{ topic == "b" }}'), {"q1", "q3"}),
        (Which(("ok",), 1, where="{{ topic == 'a' and answer.endswith('2.') }}"), {"q2"}),
    ],
)
def test_items_are_taken_by_status_score_and_what_they_hold(
    which: Which, ids: set[str], run: Path, tmp_path: Path
) -> None:
    made = export(run, tmp_path / "r.jsonl", which=which)
    assert {row["id"] for row in read(tmp_path / "r.jsonl")} == ids and made.items == len(ids)


def test_fine_tuning_has_what_was_asked_and_answered(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "f.jsonl", layout="fine-tuning", which=Which(min_score=2))
    assert read(tmp_path / "f.jsonl") == [
        {"messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "What is 2?"},
            {"role": "assistant", "content": "It is 2."},
        ]}
    ]  # fmt: skip
    made = export(run, tmp_path / "j.jsonl", layout="fine-tuning", step="judge")
    assert made == type(made)(items=3, left_out=1)  # one has no verdict to learn from
    (said,) = [each["messages"] for each in read(tmp_path / "j.jsonl")
               if "It is 2." in each["messages"][0]["content"]]  # fmt: skip
    assert json.loads(said[-1]["content"]) == {"score": 2}


def test_a_batch_file_is_what_openai_takes_and_is_read_as_data_too(
    run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "b.jsonl"
    assert export(run, path, layout="batch").items == 4
    one = next(each for each in read(path) if each["custom_id"] == "q2")
    messages = [{"role": "system", "content": "Be short."},
                {"role": "user", "content": "What is 2?"}]  # fmt: skip
    assert one == {
        "custom_id": "q2", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "fake/answers", "messages": messages, "max_tokens": 50},
    }  # fmt: skip
    with draw(Data(id="custom_id"), path) as drawn:
        asked = {item.id: item.fields["body"]["messages"][-1]["content"] for item in drawn.items()}
    assert asked == {f"q{n}": f"What is {n}?" for n in range(4)}


@pytest.mark.parametrize(
    ("name", "more", "message", "hint"),
    [
        ("r.xlsx", {}, "cannot tell from its name", ".parquet"),
        ("r.csv.gz", {}, "cannot tell from its name", ".jsonl.gz"),
        ("r.csv", {"layout": "batch"}, "--as batch is JSON Lines", "-o batch.jsonl"),
        ("r.jsonl", {"layout": "table"}, "there is no layout 'table'", "fine-tuning"),
        ("r.jsonl", {"step": "answer"}, "--step is about prompts", ""),
        ("r.jsonl", {"layout": "batch", "step": "x"}, "no step 'x' asks", "answer or judge"),
        ("r.jsonl", {"which": Which(("okay",))}, "there is no status 'okay'", "ok, "),
        ("r.jsonl", {"which": Which(where="topic")}, "--where is not one expression", "{{"),
        (
            "r.jsonl",
            {"which": Which(where="{{ tropic }}")},
            "'tropic' is undefined",
            "it knows id, status",
        ),
        ("r.jsonl", {"which": Which(min_score=9)}, "no item of", "3 ok, 1 unparsed"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_writes_nothing(
    name: str, more: dict[str, Any], message: str, hint: str, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(LlmbError) as caught:
        export(run, tmp_path / name, **more)
    assert message in caught.value.message and hint in (caught.value.hint or "")
    assert not os.listdir(tmp_path)


def test_the_files_of_a_run_are_never_written_over(run: Path) -> None:
    for name in ("results.jsonl", "results.calls.jsonl"):
        with pytest.raises(LlmbError, match="a file of the run itself"):
            export(run, run.with_name(name))
