"""Data in several files, and the rows and fields of it that are used."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import feather, ipc, parquet

from llm_batch.chain.config import load_config
from llm_batch.chain.options import Data
from llm_batch.dataset import draw
from llm_batch.errors import ConfigError, DataError

ROWS: list[dict[str, Any]] = [
    {"id": f"q{n}", "question": f"What is {n}?", "lang": "de" if n % 3 else "en", "n": n}
    for n in range(30)
]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def csv_of(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def as_feather(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    feather.write_feather(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def as_stream(rows: list[dict[str, Any]]) -> bytes:
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


KINDS = {
    "jsonl": jsonl,
    "jsonl.gz": lambda rows: gzip.compress(jsonl(rows)),
    "jsonl.xz": lambda rows: lzma.compress(jsonl(rows)),
    "csv.bz2": lambda rows: bz2.compress(csv_of(rows)),
    "csv.zst": lambda rows: zstandard.compress(csv_of(rows)),
    "parquet": as_parquet,
    "feather": as_feather,
    "arrow": as_stream,
}


def shards(folder: Path, kind: str, parts: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    for part in range(parts):
        rows = ROWS[part * 10 : part * 10 + 10]
        (folder / f"part-{part}.{kind}").write_bytes(KINDS[kind](rows))
    return folder


def items(path: Path, used: set[str] | None = None, **data: Any) -> dict[str, dict[str, Any]]:
    with draw(Data(id="id", **data), path, used=used) as drawn:
        return {item.id: dict(item.fields) for item in drawn.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_shards_is_the_same_sample_as_one_file(kind: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{kind}"
    whole.write_bytes(KINDS[kind](ROWS))
    folder = shards(tmp_path / "data", kind)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.crc").write_bytes(b"x")
    assert list(items(folder).items()) == list(items(whole).items())
    assert set(items(folder / f"part-[12].{kind}")) == {row["id"] for row in ROWS[10:]}


def test_a_set_is_known_again_by_its_hash(tmp_path: Path) -> None:
    def sha256(**data: Any) -> str:
        with draw(Data(**data), folder) as drawn:
            return drawn.sha256

    folder = shards(tmp_path / "data", "jsonl")
    before, first = sha256(), sha256(limit=5)
    assert sha256() == before != first
    changed = jsonl([{**row, "n": -1} for row in ROWS[20:]])
    (folder / "part-2.jsonl").write_bytes(changed)
    assert sha256() != before and sha256(limit=5) == first
    (folder / "part-0.jsonl").write_bytes(jsonl(ROWS[:10])[:-1])
    assert sha256(limit=5) != first  # its last row is beyond the limit, and the file another


def test_folders_named_after_a_value_give_it_as_a_field(tmp_path: Path) -> None:
    shards(tmp_path / "year=2026", "parquet")
    got = items(tmp_path, used={"id", "year"})
    assert got["q7"] == {"id": "q7", "year": "2026"}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_where_and_limit_say_what_is_an_item(kind: str, tmp_path: Path) -> None:
    folder = shards(tmp_path / "data", kind)
    got = items(folder, columns=("id", "n"), where='{{ lang == "de" and n|int > 4 }}', limit=9)
    wanted = [row for row in ROWS if row["lang"] == "de" and row["n"] > 4][:9]
    assert {name: int(row.pop("n")) for name, row in got.items()} == {
        row["id"]: row["n"] for row in wanted
    }
    assert all(list(row) == ["id"] for row in got.values())


def test_a_column_that_nothing_uses_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "llmb.toml").write_text(
        '[data]\npath = "q.parquet"\nid = "id"\nkeep = ["lang"]\n'
        '[[steps]]\nname = "answer"\nmodel = "fake/x"\nprompt = "{{ question }}"\n'
    )
    (tmp_path / "q.parquet").write_bytes(as_parquet(ROWS))
    config = load_config(tmp_path / "llmb.toml")
    used = config.fields_used()
    assert used == {"id", "lang", "question"}
    assert list(items(tmp_path / "q.parquet", used=set(used))["q3"]) == ["id", "question", "lang"]
    # A field that is not there: the whole row, so that a message can say what is.
    assert len(items(tmp_path / "q.parquet", used={"id", "answer"})["q3"]) == len(ROWS[0])


def save_to_disk(folder: Path, **more: Any) -> Path:
    """As `Dataset.save_to_disk` of Hugging Face's ``datasets`` lays it out."""
    folder.mkdir(parents=True)
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for name, rows in zip(names, (ROWS[:10], ROWS[10:]), strict=True):
        (folder / name).write_bytes(as_stream(rows))
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train", **more}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_dataset_saved_on_disk_is_read_without_its_package(tmp_path: Path) -> None:
    assert len(items(save_to_disk(tmp_path / "one"))) == 30
    save_to_disk(tmp_path / "dict" / "train")
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert len(items(tmp_path / "dict")) == 30


def two_kinds(folder: Path) -> Path:
    shards(folder, "csv.zst", 2)
    return shards(folder, "jsonl.gz")


def packed_and_plain(folder: Path) -> Path:
    """Of two kinds, in folders; no simple pattern fits all that are alike."""
    shards(folder, "csv.zst", 1)
    shards(folder, "jsonl", 1)
    shards(folder / "more", "jsonl.gz", 2)
    (folder / "more" / "v1.2.jsonl").write_bytes(jsonl(ROWS))
    return folder


def two_splits(folder: Path) -> Path:
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}-00000-of-00001.parquet").write_bytes(as_parquet(ROWS))
    return folder


def saved_splits(folder: Path) -> Path:
    folder.mkdir()
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return folder


def no_rows(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text("nothing here")
    return folder


def one_bad_row(folder: Path) -> Path:
    (shards(folder, "jsonl") / "part-1.jsonl").write_bytes(jsonl(ROWS[10:13]) + b"[]\n")
    return folder


def one_id_twice(folder: Path) -> Path:
    (shards(folder, "jsonl") / "part-2.jsonl").write_bytes(jsonl(ROWS[3:5]))
    return folder


@pytest.mark.parametrize(
    ("make", "data", "message", "hint"),
    [
        (two_kinds, {}, "several kinds: 3 like part-0.jsonl.gz, 2 like part-0.csv.zst", "/*.jsonl"),
        (packed_and_plain, {}, "several kinds: 4 like more/part-0", "data/**/*.jsonl*'"),
        (lambda folder: folder / "*.{a,b}", {}, "no file fits the pattern", "without braces"),
        (two_splits, {}, "holds several splits: test, train", "data/**/test*"),
        (saved_splits, {}, "several splits: train, test", "data/train"),
        (no_rows, {}, "holds no files with rows", "data/*.jsonl"),
        (lambda folder: folder / "*.csv", {}, "no file fits the pattern", "ls "),
        (one_bad_row, {}, "part-1.jsonl, line 4: not a JSON object", "on_bad_row"),
        (one_id_twice, {}, "part-0.jsonl, line 4 and part-2.jsonl, line 1: both", "id of its own"),
        (
            lambda folder: save_to_disk(folder, _indices_data_files=[{"filename": "i.arrow"}]),
            {},
            "rows chosen by an old version",
            "flatten_indices",
        ),
        (
            lambda folder: shards(folder, "parquet"),
            {"columns": ("id", "answer")},
            "part-0.parquet, row 1: no field 'answer', which columns under [data] names",
            "it has id, question, lang, n",
        ),
        (
            lambda folder: shards(folder, "jsonl"),
            {"where": "{{ language == 'de' }}"},
            "part-0.jsonl, line 1: data.where: 'language' is undefined",
            "correct where",
        ),
        (
            lambda folder: shards(folder, "csv.zst"),
            {"where": "{{ n == 3 }}"},
            "none of the 30 rows of",
            "a cell of a CSV is a text",
        ),
    ],
)
def test_what_cannot_be_a_dataset_is_one_clear_error(
    make: Any, data: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        items(path, **data)
    assert message in caught.value.message and hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("where = 'lang'", "where is not one expression in double braces"),
        ("where = '{{ lang = 1 }}'", "where is not a valid expression"),
        ("limit = 0", "limit"),
        ("columns = []", "columns"),
    ],
)
def test_a_config_with_a_wrong_choice_of_rows_is_refused(
    line: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "llmb.toml"
    path.write_text(f'[data]\n{line}\n[[steps]]\nname = "a"\nmodel = "fake/x"\nprompt = "x"\n')
    with pytest.raises(ConfigError, match=r"llmb\.toml, line 2: ") as caught:
        load_config(path)
    assert message in caught.value.message


def test_other_files_of_a_folder_are_said_and_so_is_a_column_that_one_lacks(
    tmp_path: Path,
) -> None:
    folder = shards(tmp_path / "data", "parquet")
    (folder / "README.md").write_text("about")
    fewer = [{key: row[key] for key in ("id", "question")} for row in ROWS[20:]]
    (folder / "part-2.parquet").write_bytes(as_parquet(fewer))
    with draw(Data(id="id"), folder) as drawn:
        notes = " | ".join(drawn.notes)
    assert "part-2.parquet" in notes and "has no column 'lang'" in notes
    assert "1 file of" in notes and "README.md" in notes


def test_what_clusters_write_is_read_as_they_mean_it(tmp_path: Path) -> None:
    """Parts without rows or without a suffix, and folders whose names hold escapes or brackets."""
    for name, rows in {
        "lang=a%2Fb": ROWS[:2],
        "lang=__HIVE_DEFAULT_PARTITION__": ROWS[2:4],
    }.items():
        (folder := tmp_path / "runs [1]" / name).mkdir(parents=True)
        plain = [{key: row[key] for key in ("id", "question")} for row in rows]
        (folder / "part-0.jsonl").write_bytes(jsonl(plain))
        (folder / "part-1.jsonl.gz").write_bytes(gzip.compress(b""))
        (folder / "part-2.jsonl").write_bytes(b"")
    for path in (tmp_path / "runs [1]", tmp_path / "runs [1]" / "*" / "*.jsonl*"):
        with draw(Data(id="id"), path) as drawn:
            langs = {item.id: item.fields["lang"] for item in drawn.items()}
            assert drawn.notes == (f"4 files of {path} are empty",)
        assert langs == {"q0": "a/b", "q1": "a/b", "q2": None, "q3": None}
    (bare := tmp_path / "bare").mkdir()
    (bare / "part-00000").write_bytes(as_parquet(ROWS))
    (bare / "_SUCCESS").write_bytes(b"")
    assert items(bare, format="parquet") == items(bare / "*") == items(bare / "part-*")
    (bare / "part-00001").write_bytes(b"")
    with pytest.raises(DataError, match="part-00001' is empty|part-00001 is empty"):
        items(bare, format="parquet")


def test_a_pattern_leaves_out_what_a_shell_and_a_cluster_would(tmp_path: Path) -> None:
    folder = shards(tmp_path / "data", "jsonl")
    (tmp_path / "data" / "_more.jsonl").write_bytes(jsonl([{"id": "own", "question": "?"}]))
    for name in ("_SUCCESS", ".part-0.jsonl.crc", ".hidden.jsonl", "_temporary/0/part-0.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no row")
    for pattern in ("*", "*.jsonl", "**/*.jsonl", "**"):
        assert len(items(folder / pattern)) == 31


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_in_a_folder_is_not_waited_for_and_a_dead_link_is_named(tmp_path: Path) -> None:
    folder = shards(tmp_path / "data", "jsonl")
    os.mkfifo(folder / "pipe.jsonl")
    assert len(items(folder)) == 30
    (folder / "gone.jsonl").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        items(folder)
