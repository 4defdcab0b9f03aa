"""What is said when a Ray cluster cannot be had, before anything is spent or set aside."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from llm_batch.cluster import connect
from llm_batch.errors import ConfigError
from llm_batch.run import Earlier, run
from tests.fire.processes import llmb_run
from tests.fire.runs import load

pytest.importorskip("ray", reason="Ray is not installed: pip install 'llm_batch[ray]'")

FAKE = """
[sample]
size = 3
[[steps]]
name = "generate"
model = "fake/writer"
prompt = "{{ question }}"
[run]
"""


def project(folder: Path, address: str) -> Path:
    (folder / "llmb.toml").write_text(f'{FAKE}engine = "ray"\nray_address = "{address}"\n')
    return folder


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def test_what_listens_and_is_no_ray_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_ANSWER_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"no Ray cluster at {address}: .* no answer in 2 s"):
            connect.connected(address)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://127.0.0.1:10001", "client server, which is not used here"),
        ("localhost", "no Ray cluster at localhost: Invalid address format"),
        ("127.0.0.1:port", "no Ray cluster at 127.0.0.1:port: "),
    ],
)
def test_an_address_of_another_kind_is_refused(address: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        connect.connected(address)
    assert refused.value.hint


def test_a_cluster_that_wants_a_token_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken"
    monkeypatch.setattr(connect, "_QUESTION", f"raise SystemExit({said!r})")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConfigError, match="wants a token") as refused:
            connect.connected(address)
    assert "RAY_AUTH_MODE=token" in refused.value.hint and "auth_token" in refused.value.hint


def test_without_the_cluster_nothing_is_set_aside_or_asked(tmp_path: Path, nobody: str) -> None:
    config = load(project(tmp_path, nobody))
    for name in ("results.jsonl", "results.calls.jsonl"):
        (tmp_path / name).write_text("")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ConfigError, match="Connection refused"):
        run(config, confirm=lambda estimate: pytest.fail("asked"), earlier=Earlier(overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_rehearsal_sees_whether_the_cluster_is_there(tmp_path: Path, nobody: str) -> None:
    code, said = llmb_run(project(tmp_path, nobody), "--dry-run")
    assert code == 2 and f"there is no Ray cluster at {nobody}: Connection refused" in said
