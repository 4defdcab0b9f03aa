"""A document as LaTeX: booktabs tables, the finding and the methods, ready for a paper.

It needs ``\\usepackage{booktabs}``. Texts from the data are escaped: no character of theirs reaches
TeX as a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_batch.paper import words
from llm_batch.paper.document import Document, Quote, Section, Table

_NOTE = 500
_LONGEST = 100_000
#: What a column of figures holds besides words: numbers, bounds, and p below a value.
_FIGURE = re.compile(r"[\d.,<\[\] -]+")
_NEGATIVE = re.compile(r"-[\d.]+")
_THOUSANDS = re.compile(r",(?=\d)")
_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",  # at the start of a row it would be an argument of the row before
        "]": "{]}",
        "|": r"\textbar{}",
        '"': r"\symbol{34}",
        "`": r"\textasciigrave{}",
    }
)


def format(document: Document) -> str:
    """What the document says of itself as comments, tables, the finding, what it rests on."""
    lines = list(_comments(document))
    for section in document.sections:
        for part in section.parts:
            if isinstance(part, Table):
                lines += [*_table(section, part), ""]
            else:
                lines += [_told(part.text if isinstance(part, Quote) else part), ""]
    if document.headline:
        lines += ["% The finding, for the text:", _told(document.headline), ""]
    lines.append(" ".join(map(_told, document.assumptions)))
    return "\n".join(lines) + "\n"


def escaped(text: str, limit: int = _LONGEST) -> str:
    """Foreign text on one line, with nothing in it that TeX gives a meaning."""
    return words.clean(text, limit).translate(_ESCAPES).replace("--", "-{}-")


def _told(sentence: str) -> str:
    return escaped(sentence).replace(r" \%", r"\,\%")


def _comments(document: Document) -> Iterator[str]:
    # clean() leaves no line break, so a comment cannot end early.
    for line in document.origin:
        yield f"% {words.clean(line, _LONGEST)}"
    yield r"% In the preamble: \usepackage{booktabs,textcomp} and \usepackage[T1]{fontenc}"
    tables = [part for each in document.sections for part in each.parts if isinstance(part, Table)]
    if any(char > "\u024f" for table in tables for row in table.rows for char in row[0]):
        yield "% Some names have letters beyond Latin: use LuaLaTeX or XeLaTeX with a font for them"
    for warning, _ in document.warnings:
        yield f"% Note: {words.clean(warning, _NOTE)}"


def _table(section: Section, table: Table) -> Iterator[str]:
    yield r"\begin{table}[t]"
    yield r"  \centering"
    yield rf"  \caption{{{_told(section.title)}}}"
    yield rf"  \label{{{section.label}}}"
    yield rf"  \begin{{tabular}}{{{''.join('r' if right else 'l' for right in table.right)}}}"
    yield r"    \toprule"
    # A single letter is a symbol.
    yield _row(f"${cell}$" if len(cell) == 1 else escaped(cell) for cell in table.header)
    yield r"    \midrule"
    for place, row in enumerate(table.rows):
        if table.sums and place == table.sums:
            yield r"    \midrule"
        cells = zip(row, table.right, strict=True)
        yield _row(_figure(cell) if right else escaped(cell) for cell, right in cells)
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    yield r"\end{table}"


def _row(cells: Iterator[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _figure(cell: str) -> str:
    if not _FIGURE.fullmatch(cell):
        return escaped(cell)
    if cell == words.NONE:
        return "--"
    if cell.startswith("<"):
        return f"${cell.replace(' ', '')}$"
    return _NEGATIVE.sub(r"$\g<0>$", _THOUSANDS.sub("{,}", cell))
