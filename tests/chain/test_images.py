"""Pictures in prompts: found, counted by the vendor's rule, known by content, sent as parts."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import load_config
from llm_batch.chain.forecast import forecast
from llm_batch.chain.images import address_of
from llm_batch.chain.steps import Step
from llm_batch.chain.templates import PromptError
from llm_batch.errors import ConfigError, Rejected
from llm_batch.models.tokens import MOST_IMAGE_TOKENS, counter, image_tokens
from llm_batch.records import Item, Request, images_of
from llm_batch.sending.checks import check_before_spending
from tests.builders import item

HEAD = """\
[[steps]]
name = "ask"
max_tokens = 5
prompt = "{{ question }}"
images = ["{{ pic }}"]
"""


def png(width: int, height: int, more: bytes = b"") -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02" + more


def jpeg(width: int, height: int) -> bytes:
    table = b"\xff\xc4" + struct.pack(">H", 6) + b"\xff\xc0\xff\xff"
    frame = b"\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width)
    return b"\xff\xd8\xff\xe0" + struct.pack(">H", 4) + b"JF" + table + frame


def webp(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + sizes


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def asked(folder: Path, pic: Any, model: str = "openai/gpt-4o") -> Request:
    step = Step(name="ask", model=model, prompt="{{ question }}", images=["{{ pic }}"])
    request = Chain([step], images=[folder]).next_request(item(pic=pic), [])
    assert request is not None
    return request


# High detail on https://platform.openai.com/docs/guides/images-vision: 1024 square is 765 tokens,
# 2048 by 4096 is 1105, 4096 by 8192 as a square thirds of it. With patches: 1024 square is 1024,
# 1800 by 2400 is 1452.
@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("openai/gpt-4o", (1024, 1024), 765),
        ("azure/gpt-4o-2024-08-06", (2048, 4096), 1105),
        ("openai/gpt-4o", (100, 100), 255),
        ("openai/gpt-4o-mini", (1024, 1024), 2833 + 4 * 5667),
        ("openai/o3", (1024, 1024), 75 + 4 * 150),
        ("openai/gpt-4.1-mini", (1024, 1024), 1659),
        ("openai/gpt-4.1-mini", (1800, 2400), 2353),
        ("anthropic/claude-sonnet-4-5", (1092, 1092), 1590),
        ("anthropic/claude-sonnet-4-5-20250929", (4000, 3000), 1600),
        ("bedrock/us.anthropic.claude-3-5-sonnet-20241022-v2:0", (200, 200), 54),
        ("anthropic/claude-opus-4-7", (4000, 3000), 4784),
        ("gemini/gemini-2.5-flash", (384, 384), 258),
        ("gemini/gemini-2.5-flash", (960, 540), 6 * 258),
        ("openai/my-model", (64, 64), 6404),
        ("openai/my-model", (9000, 9000), MOST_IMAGE_TOKENS),
    ],
)
def test_tokens_are_those_of_the_vendors_documents(
    model: str, size: tuple[int, int], tokens: int
) -> None:
    assert image_tokens(model, size).tokens == tokens
    assert image_tokens(model, size).known == (model != "openai/my-model")
    assert image_tokens(model, None).tokens >= tokens


@pytest.mark.parametrize("make", [png, jpeg, webp, gif], ids=["png", "jpeg", "webp", "gif"])
def test_a_file_is_measured_counted_and_sent_as_it_is(make: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(make(2048, 4096))
    request = asked(tmp_path, "a")
    (picture,) = images_of(request.messages[-1])
    assert picture.tokens == 1105
    head, _, body = address_of(picture).partition(";base64,")
    assert head == f"data:image/{make.__name__}"
    assert base64.b64decode(body) == make(2048, 4096)
    data = asked(tmp_path, f"{head};base64,{body}")
    assert images_of(data.messages[-1])[0].tokens == 1105
    assert data.key == request.key


def test_the_key_follows_the_content_and_a_change_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(png(9, 9))
    (tmp_path / "b").write_bytes(png(9, 9))
    first = asked(tmp_path, "a")
    assert asked(tmp_path, "b").key == first.key
    (tmp_path / "a").write_bytes(png(9, 9, b"other"))
    assert asked(tmp_path, "a").key != first.key
    (picture,) = images_of(first.messages[-1])
    with pytest.raises(Rejected, match="was changed while the run went on"):
        address_of(picture)
    (tmp_path / "a").unlink()
    with pytest.raises(Rejected, match="cannot read the picture"):
        address_of(picture)


def test_an_address_is_sent_as_it_is_and_counted_at_most(tmp_path: Path) -> None:
    (picture,) = images_of(asked(tmp_path, "https://h/a.png?x=1").messages[-1])
    assert address_of(picture) == "https://h/a.png?x=1"
    assert picture.tokens == 85 + 8 * 170


@pytest.mark.parametrize(
    ("pic", "content", "said"),
    [
        ("", b"", "is empty: the item names no picture"),
        ("none.png", b"", "'none.png' is no file in"),
        ("file", b"hello", "file' is no PNG, JPEG, GIF or WebP picture and no PDF"),
        ("file", b"\x89PNG\r\n\x1a\n", "is cut off, or no picture"),
        ("file", b"\xff\xd8\xff\xe0", "is cut off, or no picture"),
        ("file", png(0, 9), "is a picture of no size"),
        ("file", b"%PDF-1.7", "is a PDF whose pages cannot be counted"),
        ("https://h/a.pdf", b"", "get it and give the path of the file"),
        ("data:image/png,x", b"", "not in base64"),
    ],
)
def test_what_is_no_picture_fails_its_item(
    pic: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(PromptError) as raised:
        asked(tmp_path, pic)
    assert str(raised.value).startswith("steps.ask.images[1]")
    assert said in str(raised.value)


def pdf(pages: int, *, folded: bool = False) -> bytes:
    """One of US Letter, with its pages as they are or in a compressed object stream."""
    page = b"<</Type /Page /MediaBox [0 0 612 792] /Parent 1 0 R>>\n"
    own = b"<</Type /Pages /Count %d>>\n" % pages + page * pages
    if folded:
        packed = zlib.compress(own)
        own = b"<</Type/ObjStm/Length %d>>stream\r\n%s\nendstream" % (len(packed), packed)
    return b"%PDF-1.5\n1 0 obj\n" + own + b"\nendobj\n%%EOF"


# A page is its text, 3,000 tokens at most, and its picture: of US Letter, four tiles or 1,600; or
# 258 in all (the vendors' pages on PDFs).
@pytest.mark.parametrize("folded", [False, True], ids=["plain", "folded"])
@pytest.mark.parametrize(
    ("model", "page"),
    [
        ("openai/gpt-4o", 3000 + 85 + 4 * 170),
        ("anthropic/claude-sonnet-4-5", 3000 + 1600),
        ("gemini/gemini-2.5-flash", 258),
        ("openai/my-model", 3000 + 12_672),
    ],
)
def test_a_pdf_is_counted_by_its_pages_and_sent_whole(
    model: str, page: int, folded: bool, tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(content := pdf(3, folded=folded))
    request = asked(tmp_path, "a.pdf", model)
    (document,) = images_of(request.messages[-1])
    assert (document.tokens, document.media_type) == (3 * page, "application/pdf")
    body = base64.b64encode(content).decode()
    assert address_of(document) == f"data:application/pdf;base64,{body}"
    data = asked(tmp_path, f"data:;base64,{body}", model)
    assert data.key == request.key
    assert address_of(images_of(data.messages[-1])[0]) == address_of(document)


def test_a_model_that_takes_no_pdf_is_named_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "k")
    (tmp_path / "a.pdf").write_bytes(pdf(1))
    (tmp_path / "llmb.toml").write_text(f'{HEAD}model = "mistral/mistral-large-latest"\n')
    config = load_config(tmp_path / "llmb.toml")
    with pytest.raises(ConfigError) as raised:
        check_before_spending(config, config.chain(), Item("q1", {"question": "", "pic": "a.pdf"}))
    assert "line 5: item 'q1': steps.ask.images[1]: 'a.pdf' is a PDF, and mistral" in str(
        raised.value.message
    )


def test_pictures_are_counted_and_found_beside_the_data(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(png(1024, 1024))
    (tmp_path / "llmb.toml").write_text(
        f'[data]\npath = "data/q.jsonl"\n{HEAD}model = "openai/gpt-4o"\n', encoding="utf-8"
    )
    chain = load_config(tmp_path / "llmb.toml").chain()
    (with_picture,) = forecast(chain, item(pic="a.png"), counter)
    plain = counter("openai/gpt-4o").count_messages(
        Chain([Step(name="ask", model="openai/gpt-4o", prompt="{{ question }}")])
        .next_requests(item(), [])[0]
        .messages
    )
    assert with_picture.input_tokens == plain + 765


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("openai/gpt-3.5-turbo", "", "openai/gpt-3.5-turbo reads no images"),
        ("local/smollm2-135m-instruct", "", "the embedded models read text alone"),
        ("openai/gpt-4o", '[run]\nengine = "ray"\n', "--engine ray sends from others"),
        ("openai/gpt-4o", "", ""),
    ],
)
def test_who_cannot_see_is_refused_before_anything_is_sent(
    model: str, more: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(png(9, 9))
    config_file = tmp_path / "llmb.toml"
    config_file.write_text(f'{HEAD}model = "{model}"\n{more}', encoding="utf-8")
    config = load_config(config_file)
    first = Item("q1", {"question": "What?", "pic": str(tmp_path / "a.png")})
    if not said:
        check_before_spending(config, config.chain(), first)
        return
    with pytest.raises(ConfigError) as raised:
        check_before_spending(config, config.chain(), first)
    assert said in raised.value.message
    assert "line 5: " in raised.value.message
