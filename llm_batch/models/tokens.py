"""Count the tokens of a request before it is sent, without network.

OpenAI's models are counted with tiktoken's encodings, whose files come with the litellm package.
Other vendors do not publish theirs, or ship files too large to carry: their models are counted with
``o200k_base`` and marked as approximate. Against it, Claude takes 1.0 times the tokens for English,
1.4 for Chinese and 2 for Russian, and its newest models about 1.3 times those of older ones for
English, hence the factor of 2 for worst cases.

Not counted: tools and JSON schemas sent beside the messages. Where a request carries one, add
``count`` of its text. Pictures and PDFs are counted by the rules that vendors document.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import ceil, floor, sqrt
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from llm_batch.errors import LlmbError
from llm_batch.models.table import litellm_folder
from llm_batch.records import Message, images_of

#: The files litellm ships, by encoding: tiktoken names a file by the SHA-1 of its address.
_FILES = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "p50k_base": "ec7223a39ce59f226a68acc30dc1af2788490e15",
}
_DEFAULT_ENCODING = "o200k_base"
_APPROXIMATE_FACTOR = 2.0

#: Parts of a model string that say OpenAI's own model answers.
_OPENAI = frozenset({"openai", "azure", "azure_text", "text-completion-openai"})

# Each message is framed by 3 tokens and its role, which is 1 for every role there is; the reply
# begins with 3 more (OpenAI cookbook, "How to count tokens with tiktoken"). Reasoning models take
# a token or two less, other vendors frame differently; the factor for worst cases covers that.
_PER_MESSAGE = 4
_REPLY = 3

# tiktoken 0.14 takes 0.02 s for 100,000 characters of whatever kind, also for one character
# repeated. From 1,000,000 spaces or tabs on it does not return but panics: the backtracking of its
# regular expression has that limit. Older releases are quadratic in the length of a run.
_CHUNK_CHARACTERS = 100_000
#: Never inside a token: pieces have their space in front, none has one at the end.
_CUT = re.compile(r"\S(?= \S)")
_CUT_WITHIN = 1_000


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Counts tokens as one model does. Its encoding is loaded with the first count (0.1-0.3 s).

    Attributes:
        encoding: tiktoken's name of the encoding.
        exact: False when another vendor's encoding stands in for the model's own.
        upper_factor: What to multiply a count with for a worst case; 1 when exact.
    """

    encoding: str
    exact: bool
    upper_factor: float

    def count(self, text: str) -> int:
        """Tokens of one text; markers such as ``<|endoftext|>`` in it are plain text."""
        count = _counter_of(self.encoding)
        if len(text) <= _CHUNK_CHARACTERS:
            return count(text)
        return sum(map(count, _chunks(text)))

    def count_messages(self, messages: Sequence[Message]) -> int:
        """Input tokens of a chat request: the texts, their frames and the start of the reply."""
        texts = sum(self.count(message.content) for message in messages)
        pictures = sum(image.tokens for message in messages for image in images_of(message))
        return texts + pictures + _PER_MESSAGE * len(messages) + _REPLY

    def at_most(self) -> TokenCounter:
        """Never counts fewer and has nothing to load: of bytes, as no token has less than one."""
        return _Bytes(self.encoding, self.exact, self.upper_factor)

    def count_many(self, texts: Iterable[str]) -> list[int]:
        """Tokens of each text.

        One after the other: tiktoken's ``encode_ordinary_batch`` was 1.4 times faster at best on
        two cores (200 words and more), for 1.6 times the CPU, and 4 times slower on short texts.
        """
        return [self.count(text) for text in texts]


class _Bytes(TokenCounter):
    __slots__ = ()

    def count(self, text: str) -> int:
        return len(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=64)
def counter(model: str) -> TokenCounter:
    """The counter for a model string, whatever provider it names (``openai/gpt-4o``)."""
    encoding = _encoding_of(model)
    if encoding is None:
        return TokenCounter(_DEFAULT_ENCODING, exact=False, upper_factor=_APPROXIMATE_FACTOR)
    return TokenCounter(encoding, exact=True, upper_factor=1.0)


def _encoding_of(model: str) -> str | None:
    """The encoding of an OpenAI model; ``None`` for all others."""
    from tiktoken.model import encoding_name_for_model

    *served_by, name = model.split("/")
    if served_by and _OPENAI.isdisjoint(served_by):
        return None
    # tiktoken takes ft:gpt-4.1 for a gpt-4, so it is asked for the base model.
    base = name.removeprefix("ft:").partition(":")[0]
    try:
        encoding = encoding_name_for_model(base)
    except KeyError:
        return None
    # Open weights (gpt-oss) and models from before chat have encodings that are not shipped.
    return encoding if encoding in _FILES else None


def _chunks(text: str) -> Iterator[str]:
    """The text in parts of bounded length, cut between words where there are words."""
    start = 0
    while len(text) - start > _CHUNK_CHARACTERS:
        end = start + _CHUNK_CHARACTERS
        for match in _CUT.finditer(text, end - _CUT_WITHIN, end):
            end = match.end()
        yield text[start:end]
        start = end
    yield text[start:]


_loading = Lock()


@cache
def _counter_of(encoding: str) -> Callable[[str], int]:
    """Counts what tiktoken makes of a text, with the encoding read from litellm's folder.

    It remembers a few texts: a prompt is counted when its item is forecast, and to be sent.

    A ``TIKTOKEN_CACHE_DIR`` of the user's that holds the file is used instead. Only when neither
    has it does tiktoken download it.

    Raises:
        LlmbError: The file is nowhere and cannot be downloaded.
    """
    import tiktoken

    folder = litellm_folder()
    bundled = folder / "litellm_core_utils" / "tokenizers" if folder else None
    file = _FILES[encoding]
    # tiktoken knows no other way to be told the folder than the environment.
    with _loading:
        own = os.environ.get("TIKTOKEN_CACHE_DIR")
        if bundled and (bundled / file).is_file() and not (own and Path(own, file).is_file()):
            os.environ["TIKTOKEN_CACHE_DIR"] = str(bundled)
        try:
            encode = tiktoken.get_encoding(encoding).encode_ordinary
            return lru_cache(maxsize=16)(lambda text: len(encode(text)))
        except OSError as error:
            raise LlmbError(
                f"the token table {encoding} is not in the litellm package and cannot be "
                f"downloaded: {error}",
                "reinstall litellm, or set TIKTOKEN_CACHE_DIR to a folder that holds the table",
            ) from error
        finally:
            if own is None:
                os.environ.pop("TIKTOKEN_CACHE_DIR", None)
            else:
                os.environ["TIKTOKEN_CACHE_DIR"] = own


#: Width and height in pixels.
Size = tuple[int, int]


class ImageTokens(NamedTuple):
    """``known`` is false where no rule of the model is, and ``tokens`` are an upper bound."""

    tokens: int
    known: bool


# The most that open models make of a picture as they come: Qwen2.5-VL 16,384 (28 pixels square
# each), Llama 3.2 four tiles of 1,601 whatever its size; the finest have 16 pixels square.
MOST_IMAGE_TOKENS = 16_384
_LEAST_PICTURE = 6_404
_PATCH = 16
# As large as any vendor keeps a picture; the most tokens are of one of these.
_LARGEST_PICTURES: tuple[Size, ...] = (
    (8192, 8192),
    (2048, 768),
    (2048, 1024),
    (4096, 1024),
    (1152, 1152),
)


def image_tokens(model: str, size: Size | None) -> ImageTokens:
    """Input tokens of one picture; of one whose ``size`` is not known, the most."""
    rule = _picture_rule(model)
    if rule is None:
        if size is None:
            return ImageTokens(MOST_IMAGE_TOKENS, known=False)
        patches = ceil(size[0] / _PATCH) * ceil(size[1] / _PATCH)
        return ImageTokens(max(_LEAST_PICTURE, min(MOST_IMAGE_TOKENS, patches)), known=False)
    sizes = _LARGEST_PICTURES if size is None else (size,)
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
    if _picture_rule(model) is _gemini_2:
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


_PICTURE_RULES: tuple[tuple[str, Callable[[int, int], int]], ...] = (
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


def _picture_rule(model: str) -> Callable[[int, int], int] | None:
    # A vendor in front of the name, and one of Bedrock's: us.anthropic.claude-…
    name = re.sub(r"^(?:\w+\.)*anthropic\.", "", model.rpartition("/")[2])
    vendor = model.partition("/")[0] if "/" in model else ""
    if vendor in ("fake", "local"):
        return None
    return next(
        (rule for pattern, rule in _PICTURE_RULES if re.fullmatch(f"(?:{pattern}){_DATED}", name)),
        None,
    )
