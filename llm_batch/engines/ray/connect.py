"""To a Ray cluster that is there, or to one of this machine's own that lives as long as the run."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llm_batch.errors import ConfigError
from llm_batch.sending.clock import STOP_SIGNALS

# Ray itself tries an address for minutes at which nobody listens, or something else does.
_REACH_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
# What answers is asked by another process: such a question cannot be taken back in this one.
_QUESTION = """
import sys
from ray._private.services import canonicalize_bootstrap_address_or_die as found
from ray._raylet import GcsClient
GcsClient(address=found(sys.argv[1]))
"""
_START_ONE = "start one with: ray start --head, or leave ray_address out for one of its own"


def connected(address: str | None) -> Any:
    """Ray, connected.

    Signals are handled by whoever did before: Ray would end the process at SIGTERM.

    Args:
        address: As ``ray_address`` in the config; ``None`` starts a cluster of this machine,
            which ends with this process however that ends.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    imported_before = "ray" in sys.modules
    with _signals_as_before():
        if not (imported_before and sys.modules["ray"].is_initialized()):
            check_reachable(address)
        ray = _imported()
        if ray.is_initialized():
            return ray
        if address is None:
            _want_a_token()
        if not imported_before:
            # Stderr is for what the run has to say, and stdout for its results; a program with
            # Ray of its own decides itself.
            logging.getLogger("ray").setLevel(logging.ERROR)
            ray._private.worker._worker_logs_enabled = False
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                include_dashboard=False if address is None else None,
                configure_logging=False,
            )
        except ray.exceptions.AuthenticationError as error:
            raise _not_let_in(address) from error
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise _no_cluster(address, _words(error)) from error
    return ray


def check_reachable(address: str | None) -> None:
    """See whether a Ray cluster answers at an address; ``None`` needs Ray alone.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers there, or lets nobody in.
    """
    if address is None:
        _imported()
        return
    if address.startswith("ray://"):
        raise ConfigError(
            f"ray_address {address!r} is that of Ray's client server, which is not used here",
            'run this on a machine of the cluster, with ray_address = "auto" or "host:6379"',
        )
    try:
        _reach(address)
    except (OSError, ValueError) as error:
        raise _no_cluster(address, _words(error)) from error
    # A session of its own: Ctrl-C is for the run to hear.
    with subprocess.Popen(
        [sys.executable, "-c", _QUESTION, address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as asking:
        try:
            _imported()  # meanwhile
            _, said = asking.communicate(timeout=_ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            why = f"what is there gave no answer in {_ANSWER_SECONDS:.0f} s"
            raise _no_cluster(address, why) from None
        finally:
            asking.kill()
    if asking.returncode:
        if "authentication" in said.lower():
            raise _not_let_in(address)
        last = said.strip().splitlines()[-1:] or ["it cannot be asked"]
        raise _no_cluster(address, last[0].partition(": ")[2] or last[0])


def _imported() -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise ConfigError("Ray is not installed", "pip install 'llmb[ray]'") from error
    return ray


def _want_a_token() -> None:
    """Let nobody into the cluster of this machine who has not its token.

    Its ports are open to every user of the machine, and often to its network. Ray would keep a
    token of its own in the home folder, for good; this one is in the memory of the cluster alone.
    A user who set either of the two has decided himself.
    """
    if os.environ.setdefault("RAY_AUTH_MODE", "token").lower() != "token":
        return
    theirs = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if not any(map(os.environ.get, theirs)) and not Path("~/.ray/auth_token").expanduser().exists():
        os.environ["RAY_AUTH_TOKEN"] = _token()
    from ray._raylet import Config  # type: ignore[attr-defined]  # of Cython

    Config.initialize("")  # it has read the mode when it was imported


@cache
def _token() -> str:
    """Of every cluster that this process starts: Ray reads it once."""
    return secrets.token_hex(32)


def _reach(address: str) -> None:
    """See whether somebody listens at an address with a port.

    Raises:
        OSError: Nobody does.
        ValueError: The port is none.
    """
    if ":" not in address:
        return
    parts = urlsplit(f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), _REACH_SECONDS).close()


def _no_cluster(address: str | None, why: str) -> ConfigError:
    return ConfigError(f"there is no Ray cluster at {address or 'this machine'}: {why}", _START_ONE)


def _not_let_in(address: str | None) -> ConfigError:
    return ConfigError(
        f"the Ray cluster at {address or 'this machine'} wants a token, and not the one of here",
        "export RAY_AUTH_MODE=token, and copy ~/.ray/auth_token from a node of the cluster",
    )


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _signals_as_before() -> Iterator[None]:
    """Put back the handlers that are replaced within it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nobody can replace them here
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set by something other than Python
                signal.signal(number, handler)
