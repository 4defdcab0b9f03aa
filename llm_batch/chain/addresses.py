"""Addresses of data: what follows ``--data`` where it names no file of this machine.

An address is shown and recorded, so it must hold no key. One that does is named by a variable of
the environment, ``env:DATA_URL``, and nothing but that name is ever shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from llm_batch.errors import DataError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|(?:duckdb|sqlite|postgres|env):")
#: Where files lie that are read over a network.
REMOTE = ("https", "http", "s3", "gs", "az", "hf")
#: Databases that are asked by SQL.
DATABASES = ("duckdb", "sqlite", "postgres")
#: What to do where a file that is written has an address.
COPY = "write a file here, and copy it there afterwards, for example by aws s3 cp"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OTHER_NAMES = {"gcs": "gs", "abfs": "az", "abfss": "az", "s3a": "s3", "postgresql": "postgres"}


class WrongAddress(Exception):
    """What is wrong with an address, without the address; and what to write."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


def is_address(text: str) -> bool:
    """Whether it names no file of this machine, as far as its beginning tells."""
    return bool(_ADDRESS.match(text))


def scheme_of(address: str) -> str:
    return address.partition(":")[0]


def check_address(address: str) -> None:
    """Refuse an address that cannot be read, or whose place is not in a file or on a screen.

    Raises:
        WrongAddress: There is no such scheme, or it holds a key or a password.
    """
    from llm_batch.chain.credentials import hides_key, query_is_secret

    scheme = scheme_of(address)
    if scheme == "env":
        if not re.fullmatch(r"env:[A-Za-z_]\w*", address):
            raise WrongAddress(
                "must name a variable of the environment after env:", "write env:DATA_URL"
            )
        return
    if scheme not in (*REMOTE, *DATABASES):
        meant = _OTHER_NAMES.get(scheme)
        known = ", ".join([*(f"{each}://" for each in REMOTE if each != "http"), "duckdb:"])
        raise WrongAddress(
            f"begins with {scheme}:, which is read by nothing here",
            f"write {meant}:" + "//" * (meant in REMOTE) if meant else f"there are {known}",
        )
    if scheme in DATABASES:
        _check_query(*database_of(address))
        return
    try:
        parts = urlsplit(address)
        query = parse_qsl(parts.query, keep_blank_values=True)
        host = parts.hostname or ""
    except ValueError:
        raise WrongAddress("is no URL", "write https://HOST/FILE") from None
    if scheme == "http" and host not in _LOOPBACK:
        raise WrongAddress(
            "is http://, by which anybody on the way could change the data", "write https://"
        )
    secret = any(query_is_secret(name, value) for name, value in query)
    if parts.username or parts.password or secret or hides_key(address):
        raise WrongAddress(
            "holds a key, a signature or a password",
            "export DATA_URL='…' in the shell, and write env:DATA_URL in its place",
        )


def database_of(address: str) -> tuple[str, str, str]:
    """The scheme, the database and the query of an address: ``duckdb:file.db?SELECT …``."""
    scheme, _, rest = address.partition(":")
    place, _, query = rest.partition("?")
    return scheme, place, query.strip()


def with_place(address: str, moved: Callable[[str], str]) -> str:
    """The address with the file of its database somewhere else; any other as it is."""
    scheme, place, query = database_of(address)
    if scheme not in ("duckdb", "sqlite"):
        return address
    return f"{scheme}:{moved(place)}" + (f"?{query}" if query else "")


def _check_query(scheme: str, place: str, query: str) -> None:
    if scheme == "postgres" and (
        re.search("passw", place, re.IGNORECASE) or re.search("//[^/]*:[^/]*@", place)
    ):
        raise WrongAddress(
            "holds a password", "leave it out: export PGPASSWORD='…', or write it into ~/.pgpass"
        )
    # What stands in quotes or brackets is no matter: a part of a query may have an order.
    bare = query
    while (shorter := re.sub(r"'[^']*'|\"[^\"]*\"|\([^()'\"]*\)|--[^\n]*", " ", bare)) != bare:
        bare = shorter
    if re.search(r"\blimit\b", bare, re.IGNORECASE) and not re.search(
        r"\border\s+by\b", bare, re.IGNORECASE
    ):
        raise WrongAddress(
            "has LIMIT without ORDER BY, which gives other rows each time",
            "add ORDER BY, or leave LIMIT out: --sample draws by a seed",
        )
    if re.search(r"\b(?:random\s*\(|using\s+sample\b|tablesample\b)", query, re.IGNORECASE):
        raise WrongAddress(
            "draws by chance, other rows each time", "leave it out: --sample draws by a seed"
        )


def resolved(address: str) -> str:
    """The address that a variable of the environment holds; any other as it is.

    Raises:
        DataError: There is no such variable, or what it holds is no address.
    """
    if scheme_of(address) != "env":
        return address
    held = os.environ.get(address.partition(":")[2], "").strip()
    name = address.partition(":")[2]
    if not held:
        raise DataError(
            f"the data is {address}, and {name} is not set in the environment",
            f"export {name}='https://…'",
        )
    scheme = scheme_of(held)
    plain_http = scheme == "http" and urlsplit(held).hostname not in _LOOPBACK
    if scheme not in REMOTE or plain_http:
        raise DataError(
            f"the data is {address}, and what {name} holds is no address that is read here",
            f"export {name}='https://…', or with s3://, gs://, az:// or hf://",
        )
    return held
