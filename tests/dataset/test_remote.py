"""Data at an address: a web server, a store like S3 and a hub, all on this machine."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from llm_batch.chain.addresses import is_address
from llm_batch.chain.config import load_config
from llm_batch.chain.options import Data
from llm_batch.dataset import draw
from llm_batch.dataset.shards import opened
from llm_batch.errors import ConfigError, DataError
from llm_batch.record.manifest import config_record
from llm_batch.sending.trust import concerns
from tests.dataset.stores import DATASET, Files, served
from tests.dataset.test_shards import ROWS, as_parquet, jsonl, save_to_disk

SHARDS = {f"data/train-{n}.parquet": as_parquet(ROWS[n * 10 : n * 10 + 10]) for n in range(3)}
FILES = {**SHARDS, "q.jsonl": jsonl(ROWS), "q.jsonl.gz": gzip.compress(jsonl(ROWS)),
         "q.parquet": as_parquet(ROWS), "README.md": b"about"}  # fmt: skip


def ids(address: str, used: set[str] | None = None) -> list[str]:
    with draw(Data(id="id"), address, used=used) as drawn:
        return [item.id for item in drawn.items()]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Callable[[str, bytes], None]]:
    """A store like S3, with a bucket; puts a file there. Found through the environment, as ever."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    pytest.importorskip("s3fs")
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret-0123456789")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="data")
        yield lambda name, data: client.put_object(Bucket="data", Key=name, Body=data)
        client.close()
    server.stop()


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where `FILES` are, by its scheme."""
    if request.param == "s3":
        put = request.getfixturevalue("bucket")
        for name, data in FILES.items():
            put(name, data)
        yield "s3://data"
        return
    with served(Files(FILES, ranges=request.param != "http without parts")) as web:
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        yield f"hf://datasets/{DATASET}" if request.param == "hf" else web.url


@pytest.mark.parametrize("place", ["http", "http without parts", "s3", "hf"], indirect=True)
def test_an_address_gives_the_items_of_the_same_file_here(place: str, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(FILES["q.jsonl"])
    here = ids(tmp_path / "q.jsonl")  # type: ignore[arg-type]
    for name in ("q.jsonl", "q.jsonl.gz", "q.parquet"):
        assert ids(f"{place}/{name}", used={"id", "question"}) == here
    if not place.startswith("http"):
        for many in ("data", "data/train-*.parquet", "**/train-?.parquet"):
            assert ids(f"{place}/{many}") == here
        with pytest.raises(DataError, match="several kinds: 4 like data/train-0.parquet"):
            ids(place)
    with pytest.raises(DataError, match="there is no such file"):
        ids(f"{place}/nothing.jsonl")


def test_a_store_may_have_objects_for_folders_and_names_like_patterns(
    bucket: Callable[[str, bytes], None],
) -> None:
    for name in ("odd [1]", "odd 1"):
        bucket(f"{name}/", b"")
        bucket(f"{name}/ü 100%.jsonl", jsonl([{"id": name}]))
    for end in ("", "/ü 100%.jsonl", "/*.jsonl"):
        assert ids(f"s3://data/odd [1]{end}") == ["odd [1]"] if "*" not in end else ["odd 1"]
    with draw(Data(id="id"), "s3://data/odd [1]") as drawn:
        assert not drawn.notes


def test_a_dataset_saved_in_a_store_is_read_as_one_on_disk(
    bucket: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    for file in save_to_disk(tmp_path / "saved").iterdir():
        bucket(f"saved/{file.name}", file.read_bytes())
    assert ids("s3://data/saved") == ids(tmp_path / "saved")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["http", "s3", "hf"], indirect=True)
def test_a_set_at_an_address_is_known_again(place: str) -> None:
    def sha256(name: str) -> str:
        with draw(Data(), f"{place}/{name}") as drawn:
            return drawn.sha256

    assert sha256("q.parquet") == sha256("q.parquet") != sha256("data/train-1.parquet")
    assert sha256("q.jsonl") == sha256("q.jsonl") != sha256("q.jsonl.gz")


def test_of_columns_at_an_address_only_those_in_use_are_fetched() -> None:
    numbers = range(3000)
    table = {"id": [f"q{n}" for n in numbers], "picture": [f"{n * 7919:02000}" for n in numbers]}
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(table), sink, compression="none", use_dictionary=False)
    with served(Files({"big.parquet": bytes(sink.getvalue())})) as web:
        assert len(ids(f"{web.url}/big.parquet", used={"id"})) == 3000
        assert web.sent < len(web.files["big.parquet"]) / 2


@pytest.mark.parametrize("name", ["big.parquet", "big.jsonl", "big"])
def test_a_large_file_of_a_server_without_parts_is_read_whole(name: str, tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "text": os.urandom(1500).hex()} for n in range(1600)]
    data = (as_parquet if name != "big.jsonl" else jsonl)(rows)
    assert len(data) > 4 << 20  # more than is asked for at once
    (tmp_path / name).write_bytes(data)
    with served(Files({name: data}, ranges=False)) as web:
        assert ids(f"{web.url}/{name}") == ids(tmp_path / name)  # type: ignore[arg-type]


def test_what_changes_at_an_address_while_it_is_read_is_refused() -> None:
    with served(Files(FILES)) as web, opened(Data(), f"{web.url}/q.jsonl") as source:
        rows = source.rows()
        next(rows)
        web.files["q.jsonl"] += b"{}\n"
        with pytest.raises(DataError, match="has changed since"):
            list(rows)


SIGNED = "https://store.example/q.jsonl?X-Amz-Signature=0123456789abcdef0123456789abcdef"


def config_with(path: str, folder: Path) -> Path:
    file = folder / "llmb.toml"
    file.write_text(
        f'[data]\npath = "{path}"\n[[steps]]\nname = "a"\nmodel = "strange/x"\nprompt = "x"\n'
        '[models."strange/x"]\napi_base = "https://strange.example/v1"\n'
    )
    return file


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        (SIGNED, "holds a key, a signature or a password", "env:DATA_URL"),
        ("https://me:pw@store.example/q.jsonl", "holds a key", "env:DATA_URL"),
        ("http://store.example/q.jsonl", "anybody on the way", "https://"),
        ("ftp://store.example/q.jsonl", "ftp:, which is read by nothing here", "s3://"),
        ("gcs://bucket/q.jsonl", "gcs:, which is read by nothing here", "write gs://"),
        ("env:", "must name a variable", "env:DATA_URL"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_and_not_shown(
    path: str, message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"llmb\.toml, line 2: ") as caught:
        load_config(config_with(path, tmp_path))
    assert message in caught.value.message and hint in (caught.value.hint or "")
    assert "Signature" not in caught.value.message and "pw" not in caught.value.message
    with pytest.raises(ConfigError, match="--data"):
        load_config(config_with("q.jsonl", tmp_path), data=path)


def test_a_signed_address_comes_from_the_environment_and_goes_into_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(config_with("env:DATA_URL", tmp_path))
    with pytest.raises(DataError, match="DATA_URL is not set"):
        ids(config.data_path())  # type: ignore[arg-type]
    with served(Files(FILES)) as web:
        monkeypatch.setenv("DATA_URL", f"{web.url}/q.parquet?X-Amz-Signature=abc")
        with draw(config.data, config.data_path()) as drawn:
            shown = [drawn.path, *drawn.notes, json.dumps(config_record(config))]
        monkeypatch.setenv("DATA_URL", f"{web.url}/none.jsonl?X-Amz-Signature=abc")
        with pytest.raises(DataError) as caught:
            ids("env:DATA_URL")
    assert drawn.population == 30 and drawn.path == "env:DATA_URL"
    assert "Signature" not in " ".join([*shown, caught.value.message])


def test_a_strangers_config_does_not_read_with_your_keys_unasked(tmp_path: Path) -> None:
    config = load_config(config_with("s3://yours/secret.jsonl", tmp_path))
    assert any("s3://yours/secret.jsonl to" in str(each) for each in concerns(config))


@pytest.mark.parametrize(
    ("address", "module", "package"),
    [
        ("s3://data/q.jsonl", "s3fs", "s3fs"),
        ("gs://data/q.jsonl", "gcsfs", "gcsfs"),
        ("az://data/q.jsonl", "adlfs", "adlfs"),
        ("hf://datasets/a/b", "huggingface_hub", "huggingface-hub"),
    ],
)
def test_a_package_that_is_not_there_is_named_with_its_extra(
    address: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.registry import _registry

    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(_registry, address.partition(":")[0], raising=False)
    with pytest.raises(DataError, match=f"the package {package}, which is not") as caught:
        ids(address)
    assert caught.value.hint == "pip install 'llmb[cloud]'"


def test_a_path_of_windows_is_no_address() -> None:
    assert not any(map(is_address, ["C:/data/q.jsonl", "C:\\q.jsonl", "./s3", "-", "a:b.jsonl"]))


def test_a_pattern_in_a_store_means_what_it_does_on_disk(
    bucket: Callable[[str, bytes], None],
) -> None:
    bucket("spark/part-0.jsonl", jsonl(ROWS))
    for name in ("_SUCCESS", ".part-0.jsonl.crc", ".hidden.jsonl"):
        bucket(f"spark/{name}", b"no row")
    assert len(ids("s3://data/spark/*")) == len(ids("s3://data/spark/*.jsonl*")) == 30


@pytest.mark.parametrize(
    ("path", "said", "hint"),
    [
        ("none.jsonl", "there is no such file", "open in a browser"),
        ("data/*.parquet", "there is no such file", "has no patterns"),
        ("page", "it is a web page", "/raw/ on GitHub"),
        (":9/q.jsonl", "the server cannot be reached", "open in a browser"),
    ],
)
def test_what_is_wrong_with_a_web_address_is_said(path: str, said: str, hint: str) -> None:
    with served(Files({"page": b"<!DOCTYPE html><html><body>q.csv</body></html>"})) as held:
        address = f"http://127.0.0.1{path}" if path.startswith(":") else f"{held.url}/{path}"
        with pytest.raises(DataError, match=said) as caught:
            ids(address)
    assert hint in caught.value.hint
