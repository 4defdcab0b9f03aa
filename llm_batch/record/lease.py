"""Who writes a run: a file with a host and a heartbeat, beside the lock that the system has.

A lock keeps others of this machine out. On a folder that machines share (NFS) it may be each
machine's own, or none. So whoever opens a journal writes down where it is and counts up every few
seconds; another host looks whether that goes on before it takes the place. No clocks are compared,
and the file is opened anew for each look, since that is what a client of NFS does not answer from
its memory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.errors import OutputError
from llm_batch.record.files import PRIVATE, open_beside
from llm_batch.record.lines import SCHEMA

BEAT_SECONDS = 5.0
#: So many beats may be missed: the disk may be slow.
_BEATS = 4


class _Written(msgspec.Struct):
    host: str
    pid: int
    token: str
    beat: int
    schema: int = SCHEMA


class Lease:
    """The right to write a run, kept until it is closed.

    Attributes:
        note: What was found of another host that is no more; may be empty.

    Raises:
        OutputError: Another host goes on writing it.
    """

    def __init__(self, path: Path, *, host: str = "", sleep: Any = time.sleep) -> None:
        self.path, self._host = path, host or socket.gethostname()
        self._token, self._beat = secrets.token_hex(8), 0
        self._taken_by = ""
        self._over = threading.Event()
        self.note = ""
        before = _read(path)
        if before is not None and before.host != self._host:
            for _ in range(_BEATS):
                sleep(BEAT_SECONDS)
                now = _read(path)
                if now is not None and (now.token, now.beat) != (before.token, before.beat):
                    raise OutputError(
                        f"a run on {now.host} (process {now.pid}) is writing here: {path}",
                        "wait for it, stop it there, or choose another --output",
                    )
                if now is None:
                    break
            else:
                self.note = (
                    f"the run on {before.host} (process {before.pid}) that wrote here does not go "
                    "on; this one takes its place"
                )
        self._write()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="llmb-lease")
        self._thread.start()

    def check(self) -> None:
        """`OutputError` where another host has taken the place."""
        if self._taken_by:
            raise OutputError(
                f"a run on {self._taken_by} took the place of this one, which was not heard of",
                "let that one go on, or stop it and run the same command again",
            )

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        if not self._is_taken():
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            if self._is_taken():
                return
            self._beat += 1
            # A disk that is full or away is found by those who write the run.
            with contextlib.suppress(OSError):
                self._write()

    def _is_taken(self) -> bool:
        found = _read(self.path)
        if found is not None and found.token != self._token:
            self._taken_by = found.host
        return bool(self._taken_by)

    def _write(self) -> None:
        made = _Written(self._host, os.getpid(), self._token, self._beat)
        beside, file = open_beside(self.path, PRIVATE)
        with file:  # not forced to disk: after a crash of the machine nobody needs it
            file.write(msgspec.json.encode(made) + b"\n")
        os.replace(beside, self.path)


def _read(path: Path) -> _Written | None:
    """What it says; ``None`` for no file, and for one that is not whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Written)
    except (OSError, ValueError):
        return None
