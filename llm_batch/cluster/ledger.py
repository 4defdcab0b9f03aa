"""The driver's side of the ledger: where it runs, what it says, and that it is always there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llm_batch.cluster.actor import reason
from llm_batch.cluster.leases import Ledger, Pace
from llm_batch.errors import ConfigError, Incomplete

# How often it is asked what the limits are by now.
_RATES_SECONDS = 1.0


def took_over() -> bool:
    """Whether the actor this is called in was started again by Ray after its process was lost."""
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


class LedgerActor:
    """One ledger for all actors of a run; when its process is lost Ray starts another.

    Args:
        ray: Connected.
        paces: What it begins with.
        actors: How many will ask it.
    """

    def __init__(self, ray: Any, paces: Mapping[str, Pace], actors: int) -> None:
        self._ray = ray
        # It is beside the driver: without the driver there is no run anyway.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        # Each actor may wait for each place, and those of actors that are gone may still do.
        waiting = 2 * actors * len(paces)
        made = ray.remote(Ledger).options(
            num_cpus=0, max_concurrency=waiting + 8, max_restarts=-1, scheduling_strategy=here
        )
        #: For actors, to ask it.
        self.handle = made.remote(paces, took_over)
        self._asked: Any = None
        self._heard = float("-inf")
        self._started = False

    def rates(self) -> dict[str, float | None]:
        """Requests a minute now in force, by place; empty when there is nothing new.

        Raises:
            ConfigError: It could not be started.
            Incomplete: It is gone for good.
        """
        exceptions, now = self._ray.exceptions, time.monotonic()
        if self._asked is None:
            if now - self._heard >= _RATES_SECONDS:
                self._heard, self._asked = now, self.handle.rpm.remote()
            return {}
        if not self._ray.wait([self._asked], timeout=0)[0]:
            return {}
        asked, self._asked = self._asked, None
        try:
            rates: dict[str, float | None] = self._ray.get(asked)
            self._started = True
            return rates
        except exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except exceptions.ActorDiedError as error:
            if not self._started:
                raise ConfigError(
                    "no process that keeps the limits starts on the Ray cluster's node of this "
                    f"machine: {reason(error)}",
                    "start the node with the Python that has the same llm_batch as this one",
                ) from error
            raise Incomplete(
                "the process of the Ray cluster that keeps the limits is gone and is not started "
                "again",
                "look at: ray status; then run the same command again",
            ) from error
        except exceptions.RayError:
            return {}  # it is being started again

    def close(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self.handle)
