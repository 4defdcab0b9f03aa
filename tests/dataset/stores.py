"""Servers on this machine that data is read from: files over http, and a small Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

DATASET = "team/questions"
_COMMIT = "c" * 40


class Files:
    """What a server holds and was asked for; ``ranges`` says whether it sends parts."""

    def __init__(self, files: Mapping[str, bytes], ranges: bool = True) -> None:
        self.files = dict(files)
        self.ranges = ranges
        self.asked: list[str] = []
        self.sent = 0
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    held: Files
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = {each["path"]: each for each in self._tree("")}
        self._json([known[path] for path in asked["paths"] if path in known])

    def _answer(self, body: bool = True) -> None:
        path = unquote(urlsplit(self.path).path)
        self.held.asked.append(self.path)
        if path.startswith(f"/api/datasets/{DATASET}/tree/"):
            tree = self._tree(under := path.split("/tree/")[1].partition("/")[2])
            if "recursive=true" not in self.path.lower():
                depth = under.count("/") + 1 if under else 0
                tree = [each for each in tree if each["path"].count("/") == depth]
            self._json(tree)
        elif path.startswith(f"/api/datasets/{DATASET}"):
            self._json({"id": DATASET, "sha": _COMMIT})
        else:
            name = path.split(f"/datasets/{DATASET}/resolve/")[-1]
            name = name.partition("/")[2] if name != path else path.removeprefix("/")
            self._file(name, body)

    def _tree(self, under: str) -> list[dict[str, Any]]:
        tree: dict[str, dict[str, Any]] = {}
        for name, data in self.held.files.items():
            if not name.startswith(f"{under}/" if under else ""):
                continue
            oid = hashlib.sha1(data).hexdigest()
            parts = name.split("/")[:-1]
            for folder in ("/".join(parts[: n + 1]) for n in range(len(parts))):
                tree[folder] = {"type": "directory", "path": folder, "oid": "d"}
            tree[name] = {"type": "file", "path": name, "size": len(data), "oid": oid}
        return list(tree.values())

    def _file(self, name: str, body: bool) -> None:
        data = self.held.files.get(name)
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag, part, wanted = hashlib.sha1(data).hexdigest(), data, self.headers.get("Range")
        if wanted and self.held.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            self.send_response(206)
            end = int(first) + len(part) - 1
            self.send_header("Content-Range", f"bytes {first}-{end}/{len(data)}")
        else:
            self.send_response(200)
        if self.held.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(part)
            self.held.sent += len(part)

    def _json(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(held: Files) -> Iterator[Files]:
    """The files at ``http://127.0.0.1:PORT/NAME``, and as those of ``DATASET`` on a hub there."""
    handler = type("Handler", (_Handler,), {"held": held})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
