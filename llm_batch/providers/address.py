"""What a URL says before anything is sent to it: where it leads, and by which proxy."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from llm_batch.errors import Refused

# What OpenSSL says of an answer in plain text, by its versions.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")


def is_loopback(url: str) -> bool:
    """Whether a URL points at this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False  # a name, such as 127.0.0.1.example.com
    return address.is_loopback or address.is_unspecified


def how_to_look(url: str) -> str:
    """What to type to see whether the server behind an address is up."""
    base = _base(url)
    if is_loopback(url):
        return f"is the server on this machine up? see with: curl {base}/models"
    return f"check api_base and the network; see with: curl {base}/models"


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL; ``None`` to go straight there.

    Read from ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in either case, as
    other tools do. This machine is never reached by a proxy.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _base(url: str) -> str:
    return shown(url).removesuffix("/chat/completions").rstrip("/")


def plain_http(where: str, said: str) -> Refused | None:
    """The refusal where https met a port without TLS; ``None`` where words tell of anything else.

    Args:
        where: The address.
        said: Why there was no connection.
    """
    if not where.startswith("https://") or not any(sign in said for sign in _NO_TLS):
        return None
    return not_that_scheme(where)


def not_that_scheme(where: str) -> Refused:
    """The refusal where a host speaks the other one of http and https."""
    where = _base(where)
    scheme, _, rest = where.partition("://")
    other, speaks = ("http", "plain http") if scheme == "https" else ("https", "https (TLS)")
    return Refused(
        f"{where} speaks {speaks}, not {scheme}", kind="setting", hint=f"write {other}://{rest}"
    )
