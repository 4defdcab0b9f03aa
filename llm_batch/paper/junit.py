"""Checks as JUnit XML, which CI servers show beside tests.

The format is that of Jenkins' xunit plug-in, which GitLab, Azure and others read: a ``testsuite``
of ``testcase`` elements, each with ``failure``, ``error`` or ``skipped`` beneath it, or with
none of them where it passed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

# What XML 1.0 cannot hold.
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """One check.

    Attributes:
        outcome: ``error`` where nothing could be decided.
        message: What was found.
        text: Examples and whatever else helps.
    """

    group: str
    name: str
    outcome: Literal["passed", "failure", "error", "skipped"]
    message: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """All checks, and what they are of."""

    name: str
    properties: Sequence[tuple[str, str]]
    cases: Sequence[Case]


def format(suite: Suite) -> str:
    """The suite as a whole XML file."""
    outcomes = [case.outcome for case in suite.cases]
    counts = {
        "tests": len(outcomes),
        "failures": outcomes.count("failure"),
        "errors": outcomes.count("error"),
        "skipped": outcomes.count("skipped"),
    }
    attributes = {name: str(count) for name, count in counts.items()}
    root = ElementTree.Element("testsuites", attributes)
    top = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite.name), **attributes})
    properties = ElementTree.SubElement(top, "properties")
    for name, value in suite.properties:
        ElementTree.SubElement(properties, "property", name=name, value=_clean(value))
    for case in suite.cases:
        made = ElementTree.SubElement(
            top, "testcase", classname=_clean(case.group), name=_clean(case.name), time="0"
        )
        if case.outcome != "passed":
            found = ElementTree.SubElement(made, case.outcome, message=_clean(case.message))
            if case.outcome != "skipped":
                found.set("type", "undecided" if case.outcome == "error" else "failed")
            found.text = _clean(case.text)
        else:
            ElementTree.SubElement(made, "system-out").text = _clean(case.message)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
