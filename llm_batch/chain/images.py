"""Pictures that a prompt names: what they are, and their bytes when they are sent.

A file is looked at for its size, which says what it costs, and for a hash, by which the journal
knows the answer again. An address is sent as it is, and nobody looks at it here.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from llm_batch.chain.templates import PromptError
from llm_batch.errors import Rejected
from llm_batch.models.images import Size, image_tokens
from llm_batch.records import Image

_KINDS = "PNG, JPEG, GIF or WebP"
_PDF = (
    "is a PDF, which is not sent; make a picture of each page: pdftoppm -png -r 100 file.pdf page"
)
# OpenAI takes 50 MB a request; Anthropic 5 MB a picture, and says so itself.
_MOST_BYTES = 50 << 20


class _Looked(NamedTuple):
    digest: str
    media_type: str
    size: Size


class _NoImageError(Exception):
    pass


def look_at(source: str, folders: Sequence[Path], model: str, where: str) -> Image:
    """The picture that a text names: an address, a ``data:`` URL, or a file in one of ``folders``.

    Raises:
        PromptError: There is none, or it is of a kind that no vendor takes.
    """
    source = source.strip()
    if not source:
        raise PromptError(f"{where} is empty: the item names no picture")
    lower = source[:8].lower()
    if lower.startswith(("http://", "https://")):
        if source.lower().partition("?")[0].endswith(".pdf"):
            raise PromptError(f"{where}: {source[:100]!r} {_PDF}")
        return Image(source, source, "", image_tokens(model, None).tokens)
    try:
        if lower.startswith("data:"):
            shown, looked = "the data: URL", _looked(_decoded(source))
        else:
            path = _found(source, folders)
            shown, source = repr(source[:100]), str(path)
            stat = path.stat()
            looked = _looked_at_file(source, stat.st_mtime_ns, stat.st_size)
    except _NoImageError as error:
        raise PromptError(f"{where}: {source[:100]!r} {error}") from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise PromptError(f"{where}: cannot read {source[:100]!r}: {said}") from error
    if min(looked.size) < 1:
        raise PromptError(f"{where}: {shown} is a picture of no size")
    return Image(source, looked.digest, looked.media_type, image_tokens(model, looked.size).tokens)


def address_of(image: Image) -> str:
    """What is sent: an address as it is, a file as a ``data:`` URL.

    Raises:
        Rejected: The file is gone, or is another one than was looked at.
    """
    if not image.media_type or image.source[:5].lower() == "data:":
        return image.source
    try:
        content = Path(image.source).read_bytes()
    except OSError as error:
        raise Rejected(f"cannot read the picture {image.source}: {error.strerror}") from error
    if sha256(content).hexdigest() != image.digest:
        raise Rejected(f"the picture {image.source} was changed while the run went on")
    return f"data:{image.media_type};base64,{base64.b64encode(content).decode()}"


def _found(source: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        path = folder / Path(source).expanduser()
        if path.is_file():
            return path
    beside = " or ".join(dict.fromkeys(str(folder) for folder in folders))
    raise _NoImageError(f"is no file in {beside}, and no http:// or https:// address")


def _decoded(source: str) -> bytes:
    head, comma, text = source.partition(",")
    try:
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _NoImageError("is a data: URL, but not in base64") from error


@lru_cache(maxsize=4096)
def _looked_at_file(path: str, changed_ns: int, length: int) -> _Looked:
    """``changed_ns`` and ``length`` tell one content of a file from another."""
    if length > _MOST_BYTES:
        raise _NoImageError(f"has {length >> 20} MB; no vendor takes more than 50")
    return _looked(Path(path).read_bytes())


def _looked(content: bytes) -> _Looked:
    if content.startswith(b"%PDF"):
        raise _NoImageError(_PDF)
    try:
        media_type, size = _kind(content)
    except (struct.error, IndexError) as error:
        raise _NoImageError("is cut off, or no picture") from error
    return _Looked(sha256(content).hexdigest(), media_type, size)


def _kind(content: bytes) -> tuple[str, Size]:
    """Media type, width and height in pixels, from the first bytes of a picture."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png", struct.unpack(">II", content[16:24])
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif", struct.unpack("<HH", content[6:10])
    if content.startswith(b"\xff\xd8"):
        return "image/jpeg", _jpeg_size(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp", _webp_size(content)
    raise _NoImageError(f"is no {_KINDS} picture")


def _jpeg_size(content: bytes) -> Size:
    at = 2
    while True:
        while content[at] != 0xFF:
            at += 1
        while content[at] == 0xFF:
            at += 1
        marker = content[at]
        # Start of frame, but for the tables that have their numbers among them.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[at + 4 : at + 8])
            return width, height
        at += 1
        if not (marker == 0x01 or 0xD0 <= marker <= 0xD8):  # these have no length
            at += max(2, struct.unpack(">H", content[at : at + 2])[0])


def _webp_size(content: bytes) -> Size:
    form = content[12:16]
    if form == b"VP8X":
        width = int.from_bytes(content[24:27], "little")
        return width + 1, int.from_bytes(content[27:30], "little") + 1
    if form == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", content[26:30])
    return width & 0x3FFF, height & 0x3FFF
