"""To a Ray cluster that is there, or to one of this machine's own that lives as long as the run."""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

from llm_batch.errors import ConfigError

# Ray itself tries an address for minutes at which nobody listens.
_REACH_SECONDS = 5.0


def connected(address: str | None) -> Any:
    """Ray, connected.

    Args:
        address: As ``ray_address`` in the config; ``None`` starts a cluster of this machine,
            which ends with this process however that ends.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    imported_before = "ray" in sys.modules
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise ConfigError("Ray is not installed", "pip install 'llm_batch[ray]'") from error
    if ray.is_initialized():
        return ray
    if not imported_before:
        # Stderr is for what the run has to say; a program with Ray of its own decides itself.
        logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        _reach(address)
        ray.init(
            address=address or "local",
            log_to_driver=False,
            include_dashboard=False if address is None else None,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        shown = address or "this machine"
        raise ConfigError(
            f"there is no Ray cluster at {shown}: {_words(error)}",
            "start one with: ray start --head, or leave ray_address out for one of its own",
        ) from error
    return ray


def _reach(address: str | None) -> None:
    """See whether somebody listens at an address with a port.

    Raises:
        OSError: Nobody does.
        ValueError: The port is none.
    """
    if address is None or ":" not in address:
        return
    parts = urlsplit(address if "//" in address else f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), _REACH_SECONDS).close()


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0]
