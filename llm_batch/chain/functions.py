"""Rules in Python: a function of the user's own, in a file beside the config.

It is code with all that a program may do, so it is looked at when a config is read and executed
only where its caller says that the user has agreed to that.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from math import isfinite
from pathlib import Path
from typing import Any

from llm_batch.chain.outputs import Wrong
from llm_batch.chain.rules import RuleError

Verdict = bool | float | str
Function = Callable[[str, str | None, Mapping[str, Any]], Verdict]

_WRITTEN = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_EXAMPLE = 'write python = "scoring:exact", for the function exact in scoring.py beside the config'


def parts_of(written: str) -> tuple[str, str]:
    """Module and function of ``module:function``; `Wrong` where it is none."""
    found = _WRITTEN.fullmatch(written)
    if found is None:
        raise Wrong(("python",), f"is not module:function: {written!r}", _EXAMPLE)
    return found[1], found[2]


def file_of(folder: Path, written: str) -> Path:
    """Where the module is."""
    return folder.joinpath(*parts_of(written)[0].split(".")).with_suffix(".py")


def check_function(folder: Path, written: str) -> None:
    """Raise `Wrong` where there is no such file or function; nothing of it is executed."""
    path, name = file_of(folder, written), parts_of(written)[1]
    try:
        tree = ast.parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        said = f"names a file that cannot be read: {path} ({error.strerror})"
        raise Wrong(("python",), said, _EXAMPLE) from error
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise Wrong(("python",), f"names no Python: {path}{where}: {error}") from error
    known = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if name not in known:
        listed = f"it has {', '.join(known)}" if known else "it has none"
        raise Wrong(("python",), f"names a function that {path} does not have: {name!r}", listed)


def load(folder: Path, written: str) -> Function:
    """Execute the module, and give its function.

    Raises:
        RuleError: It cannot be loaded; the message says where.
    """
    path, (module_name, name) = file_of(folder, written), parts_of(written)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # for what it imports from beside it; never before our own
    spec = importlib.util.spec_from_file_location(f"llmb_rules_{module_name}", path)
    if spec is None or spec.loader is None:
        raise RuleError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with redirect_stdout(sys.stderr):  # stdout is for the path of the results
            spec.loader.exec_module(module)
        function: Function = getattr(module, name)
    except Exception as error:
        raise _told(error, path, "loading it failed") from error
    return function


def verdict(
    function: Function, path: Path, value: str, expected: str | None, fields: Mapping[str, Any]
) -> Verdict:
    """What the function says of an item.

    Raises:
        RuleError: It raised, or gave what is no verdict. ``trace`` has the traceback.
    """
    try:
        with redirect_stdout(sys.stderr):
            said = function(value, expected, dict(fields))
    except Exception as error:
        raise _told(error, path, "it raised") from error
    if isinstance(said, bool | str):
        return said
    if isinstance(said, int | float) and isfinite(said):
        return float(said)
    raise RuleError(f"{path.name} gave {said!r:.80}, and a bool, a number or a text is a verdict")


def _told(error: Exception, path: Path, what: str) -> RuleError:
    """The error in short, with the last line of the user's own file that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f"{path.name}, line {own[-1]}" if own else path.name
    told = RuleError(f"{where}: {what}: {type(error).__name__}: {error}"[:500])
    told.trace = "".join(traceback.format_exception(error))
    return told
