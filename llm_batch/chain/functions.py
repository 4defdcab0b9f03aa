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
from decimal import Decimal
from hashlib import blake2b
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

from llm_batch.chain.credentials import without_own_keys, without_shapes
from llm_batch.chain.outputs import Wrong
from llm_batch.chain.rules import RuleError

Verdict = bool | float | str
Function = Callable[[str, str | None, Mapping[str, Any]], Verdict]

_LONGEST_TRACE = 10_000
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


def code_hash(folder: Path, written: str) -> str:
    """A hash of the module's text, and of what it imports from beside it; nothing is executed."""
    found: dict[Path, bytes] = {}
    open_ = [file_of(folder, written)]
    while open_:
        path = open_.pop()
        if path in found:
            continue
        try:
            found[path] = path.read_bytes()
            open_ += _imported(folder, path, ast.parse(found[path]))
        except (OSError, SyntaxError, ValueError):
            continue  # loading it will say so
    made = blake2b(digest_size=8)
    for path in sorted(found):
        made.update(b"%d %b" % (len(found[path]), found[path]))
    return made.hexdigest()


def _imported(folder: Path, path: Path, tree: ast.Module) -> list[Path]:
    """The files of the modules that a module imports, where they lie beside the config."""
    names: list[tuple[Path, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(folder, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = path.parents[node.level - 1] if node.level else folder
            module = node.module or ""
            names += [(start, module), *((start, f"{module}.{each.name}") for each in node.names)]
    files: list[Path] = []
    for start, name in names:
        if parts := [part for part in name.split(".") if part]:
            place = start.joinpath(*parts)
            files += place.with_suffix(".py"), place / "__init__.py"
    return [file for file in files if file.is_file()]


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
        raise RuleError(f"{path} cannot be loaded", status="code")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with redirect_stdout(sys.stderr):  # stdout is for the path of the results
            spec.loader.exec_module(module)
        function: Function = getattr(module, name)
    except (Exception, SystemExit) as error:
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
    except (Exception, SystemExit) as error:
        raise _told(error, path, "it raised") from error
    if type(said).__module__ == "numpy" and getattr(said, "shape", None) == ():
        said = said.item()  # type: ignore[union-attr]
    if isinstance(said, bool | str):
        return said
    try:
        if isinstance(said, Real | Decimal) and isfinite(said):
            return float(said)
    except (OverflowError, ValueError):  # beyond what a float can be, or a signalling NaN
        pass
    said = f"{path.name} gave {said!r:.80}, and a bool, a number or a text is a verdict"
    raise RuleError(said, status="code")


def _told(error: BaseException, path: Path, what: str) -> RuleError:
    """The error in short, with the last line of the user's own file that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f"{path.name}, line {own[-1]}" if own else path.name
    said = f"{where}: {what}: {type(error).__name__}: {error}"[:500]
    ours = error.__traceback__
    theirs = ours.tb_next if ours is not None and ours.tb_next is not None else ours
    trace = "".join(traceback.format_exception(type(error), error, theirs))[-_LONGEST_TRACE:]
    return RuleError(said, without_shapes(without_own_keys(trace)), status="code")
