"""``llmb init``: a commented config that runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("llmb.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented config file that runs as it is."""
    from llm_batch.chain.config import DEMO_CONFIG
    from llm_batch.chain.overrides import expanded
    from llm_batch.cli.console import put, say
    from llm_batch.errors import ConfigError
    from llm_batch.record.files import deliver

    path = Path(expanded(path))
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already", f"llmb init --force {path}   overwrites it")
    try:
        deliver(path, DEMO_CONFIG.read_bytes(), "llmb init")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    say(f"wrote {path}; edit it, then: llmb estimate, llmb run, llmb report")
    put(str(path))
