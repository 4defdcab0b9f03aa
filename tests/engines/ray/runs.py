"""Runs on a cluster, and the processes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.scale import session_of
from llm_batch.chain.config import Config
from llm_batch.running.progress import RunSummary
from llm_batch.running.run import run
from tests.fire.runs import load


def on_ray(config: Config, actors: int = 2) -> Config:
    options = config.run.model_copy(update={"engine": "ray", "ray_actors": actors})
    return config.model_copy(update={"run": options})


def play(folder: Path, actors: int = 2, **more: Any) -> RunSummary:
    """A run; what it says beside the cluster's name goes to ``say``."""
    if (say := more.get("say")) is not None:
        more["say"] = lambda sentence: sentence.startswith("on ") or say(sentence)
    return run(on_ray(load(folder), actors), **more)


def questions(count: int) -> list[str]:
    return [f"What is {number}?" for number in range(count)]


def processes(name: str) -> set[int]:
    """Processes of the cluster, by Ray's name for them: ``Worker``, ``Ledger``.

    Those that this process has not started, or not by its nodes, are somebody else's.
    """
    named = {pid for called, pid in session_of(os.getsid(0)) if called == f"ray::{name}"}
    return {pid for pid in named if _is_ours(pid)}


def parent(pid: int) -> int:
    """0 when there is no such process any more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def _is_ours(pid: int) -> bool:
    while pid > 1 and pid != os.getpid():
        pid = parent(pid)
    return pid == os.getpid()
