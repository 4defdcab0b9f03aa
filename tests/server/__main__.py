"""``python -m tests.server``: run the server until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from typing import Any

from tests import server
from tests.server.app import App
from tests.server.delivery import Connection
from tests.server.faults import FAULTS
from tests.server.limits import EVERY_KIND
from tests.server.settings import Settings, make_settings


def _pair(text: str) -> tuple[str, float]:
    """``NAME=NUMBER``."""
    name, _, number = text.rpartition("=")
    return name, float(number)


def _burst(text: str) -> dict[str, Any]:
    """``FAULT:START:END``."""
    fault, start, end = text.split(":")
    return {"fault": fault, "start": float(start), "end": float(end)}


def _model(text: str) -> tuple[str, dict[str, float]]:
    """``NAME`` or ``NAME:rpm=1,tpm=2,input=3,output=4``; the name may contain colons."""
    name, colon, rest = text.rpartition(":")
    if not colon or "=" not in rest:
        return text, {}
    return name, dict(_pair(part) for part in rest.split(","))


def _parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {name:20} {fault.about}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.server",
        description=server.__doc__,
        epilog=f"faults:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    add("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    add(
        "--exit-with-stdin",
        action="store_true",
        default=False,
        help="end when stdin closes, so that the server never outlives who started it",
    )
    add("--key", help="require this API key")
    add(
        "--model",
        dest="models",
        action="append",
        type=_model,
        metavar="NAME:rpm=R,tpm=T,input=I,output=O",
        help="limits, and prices in USD per million tokens, of one model (repeatable)",
    )
    add("--only-models", action="store_true", help="404 for models without a --model")
    add(
        "--allow",
        action="append",
        metavar="PARAMETER",
        help="take this parameter too, and ignore it (repeatable; OpenRouter's: usage)",
    )
    add(
        "--refuse",
        dest="refuses",
        action="append",
        metavar="WHAT",
        help="400 for this parameter, or for: system (the role), json_schema, minimum (in a "
        "schema), grammar (500 for any response_format) (repeatable; OpenAI's format)",
    )
    add("--rpm", type=float, help="requests per minute, for each model by itself")
    add("--tpm", type=float, help="tokens per minute, for each model by itself")
    add("--limiter", choices=EVERY_KIND, help="how the limits count (sliding)")
    add("--at-once", type=int, metavar="N", help="requests that may be under way (no limit)")
    add("--minute", type=float, metavar="SECONDS", help="how long a minute lasts (60)")
    add("--count-rejected", action="store_true", help="a refused request counts as a request too")
    add(
        "--retry-after",
        choices=["right", "none", "wrong", "past", "ms", "date", "huge"],
        help="what a 429 tells: whole seconds (right, the default), nothing, nonsense, a date in "
        "the past, retry-after-ms, a date, or a day",
    )
    add("--headers", action="store_true", help="send x-ratelimit-* headers")
    add("--latency", type=float, metavar="SECONDS", help="seconds until an answer (0)")
    add("--hold", action="store_true", help="answer only once /control says hold is false")
    add("--jitter", type=float, metavar="FRACTION", help="latency varies by this part of it (0)")
    add("--words", type=int, help="words in an answer (12)")
    add("--input-price", type=float, metavar="USD", help="per million input tokens (0)")
    add("--output-price", type=float, metavar="USD", help="per million output tokens (0)")
    add(
        "--fault",
        dest="faults",
        action="append",
        type=_pair,
        metavar="NAME=PROBABILITY",
        help="part of the requests that meets a fault (repeatable; names below)",
    )
    add(
        "--burst",
        dest="bursts",
        action="append",
        type=_burst,
        metavar="FAULT:START:END",
        help="all requests between two seconds of the server's life meet a fault (repeatable)",
    )
    add(
        "--list-fault",
        metavar="NAME",
        help="the list of models (GET .../models, /api/tags), which is free, meets this fault",
    )
    add(
        "--fault-retry-after",
        type=float,
        metavar="SECONDS",
        help="Retry-After of the faults 429, 503 and 529 (none)",
    )
    add("--drip-seconds", type=float, metavar="SECONDS", help="between two dripped bytes (0.05)")
    add("--seed", type=int, help="of faults and jitter (0)")
    add("--keep-alive", type=float, metavar="SECONDS", help="close idle connections (0: never)")
    add("--trace", action="store_true", help="list every arrival in /stats")
    add("--log", type=int, metavar="N", help="requests to keep for /log (200)")
    return parser


async def _run(host: str, port: int, exit_with_stdin: bool, settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if exit_with_stdin:
        stdin = sys.stdin.fileno()
        loop.add_reader(stdin, lambda: None if os.read(stdin, 4096) else stop.set())
    app = App(settings)
    listener = await loop.create_server(lambda: Connection(app), host, port, backlog=1024)
    # A collection walks everything ever made: freeze what stays, and do it rarely.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    port = listener.sockets[0].getsockname()[1]
    print(f"listening on http://{host}:{port}", flush=True)
    await stop.wait()
    listener.close()
    for connection in list(app.connections):
        connection.transport.abort()


def main() -> None:
    """Read the flags and serve."""
    parser = _parser()
    values = vars(parser.parse_args())
    host, port = values.pop("host"), values.pop("port")
    exit_with_stdin = values.pop("exit_with_stdin")
    for name in ("models", "faults"):
        if name in values:
            values[name] = dict(values[name])
    try:
        settings = make_settings(values)
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_run(host, port, exit_with_stdin, settings))


if __name__ == "__main__":
    main()
