"""Files at an address: https, the stores of three clouds, and datasets of the Hugging Face hub.

All go through fsspec. Keys are those that each library finds for itself: in the environment, in
its own files, or from the machine. What they raise differs from one to the next and may show an
address with a signature; here it becomes one short `OSError`.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import NOT_FOUND
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from llm_batch.chain.addresses import resolved, scheme_of
from llm_batch.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: The package that reads each scheme.
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "hf": "huggingface-hub"}
# Bytes of one request: of a file that is read from its beginning to its end, and of one that is
# read here and there, of which so many pieces are kept as fsspec does, 32.
_FORWARD = 4 << 20
_PIECE = 1 << 20
_CONNECT_SECONDS, _READ_SECONDS = 30.0, 120.0
_QUERY = re.compile(r"\?[^\s'\")]+")
_LONGEST = 200
_PATTERN = re.compile(r"[*?[]")
_KEYS = {
    "s3": "the keys are those of the AWS tools: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "AWS_PROFILE, or the machine's",
    "gs": "the keys are those of the Google tools: GOOGLE_APPLICATION_CREDENTIALS, "
    "or gcloud auth application-default login",
    "az": "the keys are AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or "
    "AZURE_STORAGE_CONNECTION_STRING",
    "hf": "the token is HF_TOKEN; is the name datasets/OWNER/NAME/FILE?",
}


class Remote:
    """One file at an address.

    Attributes:
        name: What messages call it; never with what is behind a ``?``.
        path: As its store names it; its end tells what it is.
    """

    def __init__(self, name: str, store: Any, path: str) -> None:
        self.name = name
        self._store = store
        self._path = path
        plain = urlsplit(path).path if scheme_of(path) in ("http", "https") else path
        self.path = PurePosixPath(unquote(plain))

    def open(self, here_and_there: bool = False) -> io.RawIOBase:
        """The bytes; `OSError` where there are none to be had.

        ``here_and_there`` says how they will be read; what is returned is not seekable where the
        server cannot send a part.
        """
        with plain_errors(self.name):
            forward = 0 if scheme_of(self._path) in ("http", "https") else _FORWARD
            if here_and_there:
                file = self._store.open(
                    self._path, "rb", block_size=_PIECE, cache_type="blockcache"
                )
                if _sends_parts(file):
                    return _Reading(file, self.name)
                file.close()
            # Of a web server 0 makes it one request: many send a whole file whatever is asked.
            file = self._store.open(self._path, "rb", block_size=forward, cache_type="readahead")
        return _Reading(file, self.name)

    @property
    def hint(self) -> str:
        """What to do where it cannot be opened."""
        scheme = scheme_of(self._path)
        if scheme in ("http", "https") and _PATTERN.search(self._path.partition("?")[0]):
            return (
                f"name one file: {scheme}:// has no patterns, as s3://, gs://, az:// and hf:// do"
            )
        return _KEYS.get(scheme, "does it open in a browser?")

    def state(self) -> tuple[str, ...] | None:
        """What changes when the file does; ``None`` where its store does not tell."""
        with plain_errors(self.name):
            self._store.invalidate_cache()
            info = self._store.info(self._path)
        told = (info.get(key) for key in ("size", *_MARKS))
        size, *marks = ("" if each is None else str(each) for each in told)
        return (size, *marks) if any(marks) else None


# What stores call the mark of a version of a file, or when it was written.
_MARKS = ("ETag", "etag", "blob_id", "md5Hash", "content_md5", "Last-Modified", "LastModified")


def found_at(address: str) -> tuple[str, list[str], Callable[[str], Remote]] | Remote:
    """What an address names: a file, or a folder or pattern with the files in it by their names.

    Raises:
        DataError: It cannot be read, there is nothing, or a package is missing.
    """
    url = resolved(address)
    scheme = scheme_of(url)
    try:
        with plain_errors(address):
            store, path = _store(scheme, url)
            if scheme in ("http", "https"):
                return Remote(address, store, path)
            return _listed(address, store, path)
    except OSError as error:
        raise DataError(
            f"cannot read {address}: {error}", _KEYS.get(scheme, "does it open in a browser?")
        ) from error


def _listed(
    address: str, store: Any, path: str
) -> tuple[str, list[str], Callable[[str], Remote]] | Remote:
    if _PATTERN.search(path) and not ("[" in path and store.exists(path)):
        found = store.glob(path, detail=True)
        above = path[: _PATTERN.search(path).start()].rpartition("/")[0]  # type: ignore[union-attr]
    elif store.info(path)["type"] != "directory":
        return Remote(address, store, path)
    else:
        found, above = store.find(path, detail=True), path
    above = above.rstrip("/") + "/"
    # An empty object whose name ends in / stands for a folder.
    names = {
        each.removeprefix(above): each
        for each, info in found.items()
        if info["type"] == "file" and not each.endswith("/")
    }
    if not names:
        raise FileNotFoundError
    root = address.rstrip("/")
    return (
        root,
        list(names),
        lambda name: Remote(f"{root}, {name}", store, names[name]),
    )


def _store(scheme: str, url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        more: dict[str, Any] = {}
        if scheme in ("http", "https"):
            from aiohttp import ClientTimeout

            times = ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
            more["client_kwargs"] = {"timeout": times}
        if scheme == "hf" and (hub := os.environ.get("HF_ENDPOINT")):
            more["endpoint"] = hub
        store, path = url_to_fs(url, **more)
    except ImportError as error:
        package = _PACKAGES.get(scheme, "aiohttp")
        raise DataError(
            f"{scheme}:// is read with the package {package}, which is not installed",
            "pip install 'llmb[cloud]'",
        ) from error
    return store, str(path)


def _sends_parts(file: Any) -> bool:
    """Whether the end of a file can be read before the rest; the end is kept for its reader.

    A web server that cannot says so only by what it sends.
    """
    try:
        if not file.size:
            return False
        file.seek(file.size - 1)
        return len(file.read(1)) == 1
    except ValueError:
        return False
    finally:
        with suppress(ValueError):
            file.seek(0)


@contextmanager
def plain_errors(name: str) -> Iterator[None]:
    """What any of the libraries raises as an `OSError` with one short sentence."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise OSError(_unseen(error.__cause__)) from error
    except PermissionError as error:
        raise OSError("access is denied") from error
    except Exception as error:
        if "NotFound" in type(error).__name__:
            raise OSError(_unseen(None)) from None
        # Each library has its own kinds; a bug of theirs reads better so, too.
        lines = str(error).strip().splitlines() or [""]
        said = _QUERY.sub("?…", lines[0])[:_LONGEST]
        raise OSError(f"{type(error).__name__}: {said}" if said else type(error).__name__) from None


def _unseen(cause: BaseException | None) -> str:
    """Why there is no file to see. To fsspec a web server out of reach is no file either."""
    status = getattr(cause, "status", None)
    if status == NOT_FOUND or not type(cause).__module__.startswith("aiohttp"):
        return "there is no such file, or no right to see it"
    return f"the server answers {status}" if status else "the server cannot be reached"


class _Reading(io.RawIOBase):
    def __init__(self, file: Any, name: str) -> None:
        self._file = file
        self._name = name
        try:
            file.seek(1)
            file.seek(0)
            self._seekable = True
        except (ValueError, OSError):
            self._seekable = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, target: WriteableBuffer) -> int:
        view = memoryview(target).cast("B")
        with plain_errors(self._name):
            data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
