"""Pictures and PDFs that a prompt names: what they are, and their bytes when they are sent.

A file is looked at for its size or its pages, which say what it costs, and for a hash, by which the
journal knows the answer again. The address of a picture is sent as it is, and nobody looks at it.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from llm_batch.chain.templates import PromptError
from llm_batch.errors import Rejected
from llm_batch.models.table import model_info
from llm_batch.models.tokens import Size, image_tokens, pdf_tokens
from llm_batch.records import PDF, Image

_KINDS = "PNG, JPEG, GIF or WebP"
_AS_PICTURES = "make a picture of each page: pdftoppm -png -r 100 file.pdf page"
# OpenAI takes 50 MB a request; Anthropic 5 MB a picture, and says so itself.
_MOST_BYTES = 50 << 20


class _Looked(NamedTuple):
    """``sizes`` are that of a picture, or those that the ``pages`` of a PDF have, in points."""

    digest: str
    media_type: str
    sizes: tuple[tuple[float, float], ...]
    pages: int = 0

    def tokens(self, model: str) -> int:
        if self.pages:
            return pdf_tokens(model, self.pages, self.sizes).tokens
        ((width, height),) = self.sizes
        return image_tokens(model, (int(width), int(height))).tokens


class _NoImageError(Exception):
    pass


def look_at(source: str, folders: Sequence[Path], model: str, where: str) -> Image:
    """The picture or PDF that a text names: an address, a ``data:`` URL, or a file in a folder.

    Raises:
        PromptError: There is none, or it is of a kind that no vendor or not this model takes.
    """
    source = source.strip()
    if not source:
        raise PromptError(f"{where} is empty: the item names no picture")
    lower = source[:8].lower()
    if lower.startswith(("http://", "https://")):
        if source.lower().partition("?")[0].endswith(".pdf"):
            raise PromptError(
                f"{where}: {source[:100]!r} is the address of a PDF, whose pages cannot be counted "
                "from here; get it and give the path of the file"
            )
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
    if looked.media_type == PDF and (info := model_info(model)) and not info.supports_pdf:
        raise PromptError(
            f"{where}: {shown} is a PDF, and {model} takes none, as litellm's table has it; "
            f"{_AS_PICTURES}"
        )
    return Image(source, looked.digest, looked.media_type, looked.tokens(model))


def address_of(image: Image) -> str:
    """What is sent: the address of a picture as it is, a file as a ``data:`` URL.

    Raises:
        Rejected: The file is gone, or is another one than was looked at.
    """
    if not image.media_type:
        return image.source
    if image.source[:5].lower() == "data:":
        own = image.source if image.media_type != PDF else ""
        return own or f"data:{PDF};base64,{image.source.partition(',')[2]}"
    kind = "PDF" if image.media_type == PDF else "picture"
    try:
        content = Path(image.source).read_bytes()
    except OSError as error:
        raise Rejected(f"cannot read the {kind} {image.source}: {error.strerror}") from error
    if sha256(content).hexdigest() != image.digest:
        raise Rejected(f"the {kind} {image.source} was changed while the run went on")
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
    if b"%PDF-" in content[:1024]:
        pages, sizes = _pages(content)
        return _Looked(sha256(content).hexdigest(), PDF, sizes, pages)
    try:
        media_type, size = _kind(content)
    except (struct.error, IndexError) as error:
        raise _NoImageError("is cut off, or no picture") from error
    if min(size) < 1:
        raise _NoImageError("is a picture of no size")
    return _Looked(sha256(content).hexdigest(), media_type, (size,))


_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_BOX = re.compile(rb"/MediaBox\s*\[\s*" + rb"\s+".join([rb"(-?[\d.]{1,12})"] * 4) + rb"\s*\]")
_LETTER = (612.0, 792.0)
#: An object stream that unfolds to more than this is no list of pages.
_MOST_UNFOLDED = 32 << 20


def _pages(content: bytes) -> tuple[int, tuple[tuple[float, float], ...]]:
    """How many pages a PDF has, at most, and the sizes they have, in points.

    Pages are counted where they are declared, also in compressed objects; one that was written over
    by a later edit counts again.
    """
    texts = [content, *_unfolded(content)]
    pages = sum(len(_PAGE.findall(text)) for text in texts)
    if not pages:
        raise _NoImageError(
            f"is a PDF whose pages cannot be counted: damaged, or locked; {_AS_PICTURES}"
        )
    sizes = set()
    for left, bottom, right, top in (found.groups() for t in texts for found in _BOX.finditer(t)):
        try:
            sides = abs(float(right) - float(left)), abs(float(top) - float(bottom))
        except ValueError:
            continue
        if min(sides) > 0:
            sizes.add(sides)
    return pages, tuple(sorted(sizes)) or (_LETTER,)


def _unfolded(content: bytes) -> Iterator[bytes]:
    """The objects that a PDF keeps in compressed streams (ISO 32000-1, 7.5.7)."""
    at, view = 0, memoryview(content)
    while (at := content.find(b"/ObjStm", at)) >= 0:
        start = content.find(b"stream", at) + len(b"stream")
        at += 1
        if start < len(b"stream"):
            return
        start += 2 if content[start : start + 2] == b"\r\n" else 1
        with suppress(zlib.error):
            yield zlib.decompressobj().decompress(view[start:], _MOST_UNFOLDED)


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
    raise _NoImageError(f"is no {_KINDS} picture and no PDF")


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
