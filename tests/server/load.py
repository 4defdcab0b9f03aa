"""``python -m tests.server.load URL``: how many requests per second a server answers.

Every connection sends its next request as soon as a reply is complete. Server and load are two
processes; with 2 cores neither takes from the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from urllib.parse import urlsplit


class _Client(asyncio.Protocol):
    """One kept connection; counts replies and the seconds they took."""

    def __init__(self, load: _Load, number: int) -> None:
        self._load = load
        self._number = number
        self._sent = 0
        self._at = 0.0
        self._buffer = b""
        self._need = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent += 1
        self._transport.write(self._load.request(f"{self._number:06d}{self._sent:06d}"))
        self._at = self._load.loop.time()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._need:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            start = self._buffer.index(b"content-length: ") + 16
            self._need = end + 4 + int(self._buffer[start : self._buffer.index(b"\r", start)])
        if len(self._buffer) < self._need:
            return
        self._load.seconds.append(self._load.loop.time() - self._at)
        self._load.failed += not self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer, self._need = b"", 0
        self._send()


class _Load:
    """The shared part: the bytes of a request, and what came back."""

    def __init__(self, host: str, path: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.seconds: list[float] = []
        self.failed = 0
        prompt = "What is the capital of the country with number @@@@@@@@@@@@? " * 5
        body = {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "You answer briefly."},
                {"role": "user", "content": prompt},
            ],
            "max_tokens": 256,
            "temperature": 0.0,
        }
        text = json.dumps(body)
        # The headers of a usual client: they are parsed too.
        self._request = (
            f"POST {path}/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
            "Accept: application/json\r\nAccept-Encoding: gzip\r\nUser-Agent: load\r\n"
            "Authorization: Bearer sk-none\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\n\r\n{text}"
        )

    def request(self, mark: str) -> bytes:
        """The bytes of a request that differs from all others."""
        return self._request.replace("@@@@@@@@@@@@", mark).encode()


async def _measure(url: str, connections: int, seconds: float) -> dict[str, float]:
    parts = urlsplit(url)
    load = _Load(parts.netloc, parts.path)
    for number in range(connections):
        await load.loop.create_connection(
            lambda number=number: _Client(load, number),  # type: ignore[misc]
            parts.hostname or "127.0.0.1",
            parts.port or 80,
        )
    # What happened while connections were still being made is not counted.
    load.seconds.clear()
    await asyncio.sleep(seconds)
    took = sorted(load.seconds)
    return {
        "requests_per_second": round(len(took) / seconds),
        "failed": load.failed,
        "p50_ms": round(1000 * took[len(took) // 2], 2),
        "p99_ms": round(1000 * took[len(took) * 99 // 100], 2),
    }


def main() -> None:
    """Read the flags, measure, print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.server.load", description=__doc__)
    parser.add_argument("url", help="as printed by the server")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(_measure(args.url, args.connections, args.seconds))))


if __name__ == "__main__":
    main()
