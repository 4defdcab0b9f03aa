"""A folder from a colleague: its manifest, results, journal and labels are a stranger's text.

Each attack runs in a process of its own with a limit on its memory and time, so that one that
comes through fails a test and not the machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fire.processes import bounded
from tests.report.made import full_manifest, result, write

TEMPLATES = {
    "loop": "{% for i in range(10**9) %}x{% endfor %}",
    "power": "{{ 9**9**9 }}",
    "repeat": "{{ 'a' * 10**9 }}",
    "folded": "{{ ('a' * 10**8) ~ ('b' * 10**8) }}",
    "center": "{{ question.center(10**9) }}",
    "center filter": "{{ question | center(10**9) }}",
    "format": "{{ '%1000000000d' | format(1) }}",
    "indent": "{{ question | indent(10**9, true) }}",
    "nested loops": "{% for a in range(9999) %}" * 6 + "x" + "{% endfor %}" * 6,
    "macros": "{% macro m(n) %}{{ m(n - 1) * 2 if n }}x{% endmacro %}{{ m(900) }}",
    "doubling": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}x{% endmacro %}"
    "{{ m(40) }}",
    "recursive loop": "{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}",
    "set": "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s * 2 %}"
    "{% endfor %}{{ ns.s }}",
    "deep": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "deep blocks": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "opened": "{{" * 1_000_000,
    "spaces": "{{" + " " * 1_000_000 + "x",
    "a million names": "{{ question }}" * 1_000_000,
    "a long path": "{{ question" + "[0]" * 500_000 + " }}",
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_a_template_of_a_manifest_is_never_executed(tmp_path: Path, template: str) -> None:
    manifest = full_manifest()
    manifest["config"]["steps"][0] |= {"prompt": template, "system": "Be brief."}
    write(tmp_path, [result(n, fields={"question": "Why?" * 50}) for n in range(50)], manifest)
    ended = bounded(tmp_path, "report", "--format", "html", "-o", "page.html")
    assert ended.code == 0, ended.said
    assert (tmp_path / "page.html").stat().st_size < 100_000_000
