"""Tokens of pictures and PDFs, by the rules that vendors document."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from math import ceil, floor, sqrt
from typing import NamedTuple

#: Width and height in pixels.
Size = tuple[int, int]


class ImageTokens(NamedTuple):
    """``known`` is false where no rule of the model is, and ``tokens`` are an upper bound."""

    tokens: int
    known: bool


# The most that open models make of a picture as they come: Qwen2.5-VL 16,384 (28 pixels square
# each), Llama 3.2 four tiles of 1,601 whatever its size; the finest have 16 pixels square.
MOST_TOKENS = 16_384
_LEAST_BOUND = 6_404
_PATCH = 16
# As large as any vendor keeps a picture; the most tokens are of one of these.
_LARGEST: tuple[Size, ...] = ((8192, 8192), (2048, 768), (2048, 1024), (4096, 1024), (1152, 1152))


def image_tokens(model: str, size: Size | None) -> ImageTokens:
    """Input tokens of one picture; of one whose ``size`` is not known, the most."""
    rule = _rule_of(model)
    if rule is None:
        if size is None:
            return ImageTokens(MOST_TOKENS, known=False)
        patches = ceil(size[0] / _PATCH) * ceil(size[1] / _PATCH)
        return ImageTokens(max(_LEAST_BOUND, min(MOST_TOKENS, patches)), known=False)
    sizes = _LARGEST if size is None else (size,)
    return ImageTokens(max(rule(*each) for each in sizes), known=True)


#: Tokens of the text of a page, at most (Anthropic, PDF support: 1,500 to 3,000).
_PAGE_TEXT = 3_000
#: Pixels of a page's longer side, at most: vendors do not say how they draw it, and their rules
#: make no more of what is larger.
_PAGE_SIDE = 2_048


def pdf_tokens(model: str, pages: int, sizes: Collection[tuple[float, float]]) -> ImageTokens:
    """Input tokens of a PDF at most; ``sizes`` are those that its pages have, in any unit.

    OpenAI (File inputs) and Anthropic (PDF support) put the text of each page into the prompt, and
    a picture of it. Google (Document understanding) counts 258 a page, and no text.
    """
    if _rule_of(model) is _gemini_2:
        return ImageTokens(258 * pages, known=True)
    shapes = {
        (max(1, round(width * scale)), max(1, round(height * scale)))
        for width, height in sizes
        if (scale := _PAGE_SIDE / max(width, height))
    }
    dearest = max((image_tokens(model, size) for size in shapes), default=image_tokens(model, None))
    return ImageTokens(pages * (_PAGE_TEXT + dearest.tokens), dearest.known)


def _tiles(base: int, tile: int) -> Callable[[int, int], int]:
    """OpenAI, Images and vision: into 2,048 square, the short side to 768, tiles of 512."""

    def rule(width: int, height: int) -> int:
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (min(width, height) * scale))
        across, down = ceil(width * scale / 512), ceil(height * scale / 512)
        return base + tile * max(1, across) * max(1, down)

    return rule


def _patches(factor: float) -> Callable[[int, int], int]:
    """OpenAI, Images and vision: patches of 32, 1,536 at most, times a factor of the model."""

    def rule(width: int, height: int) -> int:
        patches = ceil(width / 32) * ceil(height / 32)
        if patches > 1536:
            shrink = sqrt(32 * 32 * 1536 / (width * height))
            across, down = width * shrink / 32, height * shrink / 32
            # So that at least one side is of whole patches.
            shrink *= min(floor(across) / across or 1, floor(down) / down or 1)
            patches = ceil(width * shrink / 32) * ceil(height * shrink / 32)
        return ceil(min(1536, patches) * factor)

    return rule


def _anthropic(most: int) -> Callable[[int, int], int]:
    """Anthropic, Vision: width times height over 750, of a picture made no larger than ``most``."""
    return lambda width, height: min(most, ceil(width * height / 750))


def _gemini_2(width: int, height: int) -> int:
    """Google, Image understanding: 258 a tile; the tile is the short side over 1.5."""
    if max(width, height) <= 384:
        return 258
    unit = min(768, max(256, floor(min(width, height) / 1.5)))
    return 258 * ceil(width / unit) * ceil(height / unit)


_RULES: tuple[tuple[str, Callable[[int, int], int]], ...] = (
    (r"gpt-4o-mini", _tiles(2833, 5667)),
    (r"gpt-4\.1-mini|gpt-5-mini", _patches(1.62)),
    (r"gpt-4\.1-nano|gpt-5-nano", _patches(2.46)),
    (r"o4-mini", _patches(1.72)),
    (r"(?:chatgpt-)?gpt-4o|gpt-4\.1|gpt-4\.5|gpt-4-turbo", _tiles(85, 170)),
    (r"o1|o1-pro|o3|o3-pro", _tiles(75, 150)),
    (r"gpt-5(?:-chat)?", _tiles(70, 140)),
    (r"claude-(?:3|(?:opus|sonnet|haiku)-4(?:-[0156])?(?=-\d{6}|@|$|-v)).*", _anthropic(1600)),
    # These keep up to 2,576 pixels.
    (r"claude-opus-4-[78].*", _anthropic(4784)),
    (r"gemini-(?:1\.5|2\.[05]|flash-latest).*", _gemini_2),
)
_DATED = r"(?:-\d{4}-\d{2}-\d{2}|-latest)?"


def _rule_of(model: str) -> Callable[[int, int], int] | None:
    # A vendor in front of the name, and one of Bedrock's: us.anthropic.claude-…
    name = re.sub(r"^(?:\w+\.)*anthropic\.", "", model.rpartition("/")[2])
    vendor = model.partition("/")[0] if "/" in model else ""
    if vendor in ("fake", "local"):
        return None
    return next(
        (rule for pattern, rule in _RULES if re.fullmatch(f"(?:{pattern}){_DATED}", name)), None
    )
