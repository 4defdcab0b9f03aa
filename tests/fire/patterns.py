"""Every regular expression of the package, found in its source, and what it is attacked with."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import llm_batch

_WAYS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
#: What any pattern may be made to run over again and again.
GENERIC = (
    *(" ", "\n", "\r\n", "\t", "\x00", "\ufeff", "\xa0", '"', "'", "\\", '\\"', "`", "*", "_"),
    *("{", "}", "[", "]", "<", ">", "(", ")", "{ ", "[ ", "<a ", "</", "<|", "{{", "{%", "```"),
    *("0", "9", "0.", "1e", "-", ".", ",", ":", "/", "=", "&", "?", "%", "@", "#", "|"),
    *("a", "A", "z ", "a.", "a-", "a_", "aA1", "é", "字", "ſ", "İ", "😀", "\u2028"),
    *("sk-", "sk-a", "key ", "Bearer ", "eyJ", "eyJa.", "AKIA", "Score", "Score ", "rating: "),
    *('{"', '{"a":', '{"a":"\\"', "//", "http://", "a=b&", "1/", "1 of ", "out of "),
)
_PIECE = re.compile(r"[A-Za-z]{2,}|[^\w\s\\]")


@dataclass(frozen=True, slots=True)
class Used:
    """A pattern and a way it is used."""

    where: str
    pattern: re.Pattern[Any]
    way: str

    def run(self, text: str) -> None:
        """Use it on a text, to the end."""
        subject: Any = text
        if isinstance(self.pattern.pattern, bytes):
            subject = text.encode("utf-8", "surrogatepass")
        if self.way in ("sub", "subn"):
            self.pattern.sub(subject[:0], subject)
        elif self.way == "finditer":
            for _ in self.pattern.finditer(subject):
                pass
        else:
            getattr(self.pattern, self.way)(subject)

    def pieces(self) -> list[str]:
        """Fragments that it looks for itself."""
        source = self.pattern.pattern
        text = source.decode("latin-1") if isinstance(source, bytes) else str(source)
        return list(dict.fromkeys(_PIECE.findall(text)))[:15]

    def attacks(self) -> Iterator[tuple[str, str]]:
        """Pairs of what begins and what is repeated."""
        pieces = self.pieces()
        for piece in dict.fromkeys((*GENERIC, *pieces)):
            yield "", piece
        for piece in pieces:
            for filler in (" ", "a", "\n"):
                yield piece, filler
            yield "", f"{piece} "


def modules() -> Iterator[ModuleType]:
    """All modules of the package."""
    for found in pkgutil.walk_packages(llm_batch.__path__, "llm_batch."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def used() -> list[Used]:
    """Every pattern in every way it is used; by the source, so that none is forgotten."""
    trees = {module: _tree(module) for module in modules()}
    ways: dict[str, set[str]] = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in _WAYS:
                name = node.value
                if isinstance(name, ast.Name) and name.id != "re":
                    ways.setdefault(name.id, set()).add(node.attr)
    found: dict[tuple[str, str, str], Used] = {}
    for module, tree in trees.items():
        for name, pattern in _compiled(vars(module)):
            own = ways.get(name.partition("[")[0]) or {"match", "search"}
            for way in sorted(own):  # the same order in every process that collects the tests
                one = Used(f"{module.__name__}.{name}", pattern, way)
                found.setdefault((str(pattern.pattern), str(pattern.flags), way), one)
        for node, way in _inline(tree):
            try:
                source = eval(compile(ast.Expression(node), "", "eval"), vars(module))  # noqa: S307
            except NameError:
                continue  # made of a run's own words; see LOCAL
            one = Used(f"{module.__name__}:{node.lineno}", re.compile(source), way)
            found.setdefault((str(source), "", way), one)
    return list(found.values())


def local() -> list[str]:
    """Where patterns are made of what a function knows."""
    places = []
    for module in modules():
        for node, _ in _inline(_tree(module), also_compiled=True):
            try:
                eval(compile(ast.Expression(node), "", "eval"), vars(module))  # noqa: S307
            except NameError:
                places.append(f"{module.__name__}: {ast.unparse(node)}")
    return sorted(places)


def _tree(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    with open(module.__file__, encoding="utf-8") as file:
        return ast.parse(file.read())


def _inline(tree: ast.Module, also_compiled: bool = False) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        called = node.func
        if not isinstance(called.value, ast.Name) or called.value.id != "re" or not node.args:
            continue
        if called.attr in _WAYS or (also_compiled and called.attr == "compile"):
            yield node.args[0], called.attr


def _compiled(names: Mapping[str, Any]) -> Iterator[tuple[str, re.Pattern[Any]]]:
    for name, value in names.items():
        if isinstance(value, re.Pattern):
            yield name, value
        elif isinstance(value, tuple | list | dict) and not name.startswith("__"):
            for number, each in enumerate(value.values() if isinstance(value, dict) else value):
                parts = each if isinstance(each, tuple) else (each,)
                for part in parts:
                    if isinstance(part, re.Pattern):
                        yield f"{name}[{number}]", part


class TooLong(Exception):
    """It took longer than it may."""


def timed(run: Callable[[str], object], text: str, most: float) -> float:
    """CPU seconds of a run, at least ``most`` where that was too long.

    Python's matcher looks for signals on its way, so that even an endless one ends.
    """

    def ring(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, most)
    began = time.process_time()
    try:
        run(text)
    except TooLong:
        return most
    except RecursionError:
        return most
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return time.process_time() - began


def attack(begin: str, piece: str, end: str, size: int) -> str:
    """A text of ``size`` characters."""
    return begin + piece * max(1, size // len(piece)) + end


def worst(one: Used, size: int, most: float) -> tuple[float, tuple[str, str, str]]:
    """The longest time over all attacks, and which that was."""
    found = (0.0, ("", " ", ""))
    for begin, piece in one.attacks():
        for end in ("", "x") if not begin else ("x",):
            took = timed(one.run, attack(begin, piece, end, size), most)
            if took > found[0]:
                found = took, (begin, piece, end)
        if found[0] >= most:
            break
    return found
