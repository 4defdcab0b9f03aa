"""What is said when a Ray cluster cannot be had, before anything is spent or set aside."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from llm_batch.engines.ray import cluster
from llm_batch.errors import ConfigError
from llm_batch.running.run import Earlier, run
from tests.fire.processes import llmb_run, started, until
from tests.fire.runs import load, write_project
from tests.server import serve

pytest.importorskip("ray", reason="Ray is not installed: pip install 'llmb[ray]'")

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


@pytest.fixture(autouse=True)
def not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests have connected this process to."""
    if (ray := sys.modules.get("ray")) is not None:
        monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def test_what_listens_and_is_no_ray_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWER_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"no Ray cluster at {address}: .* no answer in 2 s"):
            cluster.connected(address)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://127.0.0.1:10001", "client server, which is not used here"),
        ("http://127.0.0.1:8265", "of the dashboard, which takes jobs"),
        ("localhost", "no Ray cluster at localhost: Invalid address format"),
        ("127.0.0.1:port", "no Ray cluster at 127.0.0.1:port: "),
    ],
)
def test_an_address_of_another_kind_is_refused(address: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        cluster.connected(address)
    assert refused.value.hint


def test_a_cluster_that_wants_a_token_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken"
    monkeypatch.setattr(cluster, "_QUESTION", f"raise SystemExit({said!r})")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConfigError, match="wants a token") as refused:
            cluster.connected(address)
    assert "RAY_AUTH_MODE=token" in refused.value.hint and "auth_token" in refused.value.hint


def test_a_cluster_of_its_own_lets_nobody_in_and_no_key_is_in_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-recognisable-0123456789abcdef"
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Names of sockets are short.
    with tempfile.TemporaryDirectory(dir="/tmp") as sessions, serve(key=key) as server:
        monkeypatch.setenv("RAY_TMPDIR", sessions)
        path = write_project(tmp_path, server, [f"{n}?" for n in range(500)])
        # So long a config is no part of Ray's messages.
        path.write_text(
            path.read_text().replace("{{ question }}", f"{'x' * 150_000}{{{{ question }}}}")
        )
        server.control(latency=0.5)
        with started(tmp_path, "--engine", "ray", "--workers", "4", "--quiet", key=key) as driver:
            until(lambda: server.stats()["successes"] > 0 or driver.poll() is not None)
            assert driver.poll() is None, driver.communicate()
            lines, environments = proc("cmdline", sessions), proc("environ", sessions)
            (token,) = set(re.findall(rb"RAY_AUTH_TOKEN=(\w+)", environments))
            (address,) = set(re.findall(rb"--gcs-address=(\S+?)\0", lines))
            for known, code in ((b"", 1), (b"a guess of somebody's", 1), (token, 0)):
                given = (
                    {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": known.decode()} if known else {}
                )
                asked = subprocess.run(
                    [sys.executable, "-c", cluster._QUESTION, address.decode()],
                    env={**os.environ, **given},
                    capture_output=True,
                    timeout=60,
                )
                assert asked.returncode == code, asked.stderr
                assert code == 0 or b"AuthenticationError" in asked.stderr
            for secret in (key.encode(), token):
                assert len(secret) >= 32 and secret not in lines
                for file in Path(sessions).rglob("*"):
                    if file.is_file():
                        assert secret not in file.read_bytes(), file
    assert not (tmp_path / "home").exists()


def proc(what: str, mentioned: str) -> bytes:
    """Of all processes that this user may look into and that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mentioned.encode() in (process / "environ").read_bytes():
                found.append((process / what).read_bytes())
    return b"".join(found)


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
