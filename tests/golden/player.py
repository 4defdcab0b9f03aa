"""Plays ``llmb`` commands in children of one process, which keeps the modules they need.

``python -m tests.golden.player`` reads a JSON object a line (``words``, ``cwd``, ``stdin``) and
answers with ``[exit code, stdout, stderr]``. Every command runs on the same day, in a child of its
own, so signals, caches and streams are as in a fresh process, without its second of imports.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import IO, Any, Self


class _Day(datetime.date):
    """Dates of a world in which it is always the same day: some warnings count days."""

    @classmethod
    def today(cls) -> Self:
        return cls(2026, 1, 1)


def _play(words: list[str], cwd: str, stdin: str) -> tuple[int, str, str]:
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(4)]
        files[0].write(stdin.encode())
        files[0].seek(0)
        child = os.fork()
        if not child:
            for number, file in enumerate(files[:3]):
                os.dup2(file.fileno(), number)
            _become_llmb(words, cwd, files[3])
        _, status = os.waitpid(child, 0)
        for file in files:
            file.seek(0)
        out, err, names = [file.read().decode() for file in files[1:]]
    for name in names.split():
        with suppress(Exception):
            importlib.import_module(name)
    return os.waitstatus_to_exitcode(status), out, err


def _become_llmb(words: list[str], cwd: str, imported: IO[bytes]) -> None:
    """Be the command; at the end, name the modules that the next one should find in memory."""
    code: Any = 1
    before = set(sys.modules)
    try:
        os.chdir(cwd)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        sys.argv = ["llmb", *words]
        sys.modules["__main__"].__package__ = None  # else the usage says python -m
        from llm_batch.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        new = [name for name in sys.modules if name not in before and "litellm" not in name]
        imported.write(" ".join(new).encode())
        imported.flush()
        os._exit(code if isinstance(code, int) else 1)


def main() -> None:
    """Play until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    datetime.date = _Day  # type: ignore[misc]
    for line in sys.stdin:
        asked: Mapping[str, Any] = json.loads(line)
        print(json.dumps(_play(**asked)), file=answers, flush=True)


if __name__ == "__main__":
    main()
