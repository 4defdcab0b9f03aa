"""Pages of the site that lie outside of ``docs/``, and links that lead there and back.

A file of the repository has one address in the site: files of ``docs/`` lose that folder, all
others keep their path, and the README is the first page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "LICENSE",
    "examples/gsm8k/README.md",
)


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them; they are written as the repository has them."""
    source = page.file.src_uri
    here = posixpath.dirname(source if source in OUTSIDE else f"docs/{source}")
    there = posixpath.dirname(source)

    def moved(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(here, target))
        path = path if path in OUTSIDE else path.removeprefix("docs/")
        return f"]({posixpath.relpath(path, there or '.')}{anchor})"

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", moved, markdown)
