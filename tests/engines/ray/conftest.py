"""A Ray cluster of several nodes on this machine, and the strict server its actors call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.server import Server, serve

KEY = "sk-cluster-0123456789"


@pytest.fixture(scope="package")
def cluster() -> Iterator[Any]:
    """A head without room for actors, so that tests may take nodes away.

    Its nodes have no key in their environment: keys must come from the driver.
    """
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'llmb[ray]'")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = os.environ.pop("OPENAI_API_KEY", None)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, configure_logging=False)
    os.environ["OPENAI_API_KEY"] = KEY
    try:
        yield made
    finally:
        del os.environ["OPENAI_API_KEY"]
        if before is not None:
            os.environ["OPENAI_API_KEY"] = before
        ray.shutdown()
        made.shutdown()


@contextmanager
def one_more_node(cluster: Any, **environment: str) -> Iterator[Any]:
    """A node besides, with no key in its environment; gone at the end if not before."""
    before = {name: os.environ.get(name) for name in (*environment, "OPENAI_API_KEY")}
    os.environ.update(environment)
    del os.environ["OPENAI_API_KEY"]
    try:
        node = cluster.add_node(num_cpus=1)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    try:
        yield node
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


@pytest.fixture(scope="package")
def one_server() -> Iterator[Server]:
    with serve(log=20_000, key=KEY, input_price=1.0, output_price=4.0) as server:
        yield server


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.control(
        rpm=None,
        latency=0.0,
        hold=False,
        faults={},
        limiter="sliding",
        headers=False,
        trace=False,
        words=12,
    )
    one_server.reset()
    return one_server
