"""``python -m tests.batch_server``: the server by hand, until Ctrl-C."""

from __future__ import annotations

import argparse
import threading

from tests.batch_server import BatchServer
from tests.batch_server.shapes import SHAPES


def main() -> None:
    parser = argparse.ArgumentParser(description="A local server of the batch APIs.")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--polls", type=int, default=3, help="looks at a job before it ends")
    parser.add_argument("--shape", choices=SHAPES, help="how jobs are shown")
    parser.add_argument(
        "--refuse", action="append", default=[], help="what requests may not have; may be repeated"
    )
    flags = parser.parse_args()
    with BatchServer(flags.port) as server:
        server.polls = flags.polls
        server.refuses = flags.refuse
        server.shape = SHAPES.get(flags.shape, server.shape)
        print(f"listening on {server.url}; the key is {server.key}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
