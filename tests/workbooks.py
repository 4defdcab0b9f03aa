"""Workbooks as Excel and LibreOffice write them, made by hand for the tests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_ODS = "urn:oasis:names:tc:opendocument:xmlns:"


class Day(float):
    """Days since 1899-12-31, as Excel counts, shown as a date."""


class Wrong(str):
    """An error such as ``#N/A``."""


def xlsx(sheets: Mapping[str, Sequence[Sequence[Any]]], first_row: int = 1) -> bytes:
    """A workbook; a row without cells and ``None`` are left empty."""
    titles = enumerate(sheets, 1)
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/'
        'content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
        + "".join(
            f'<sheet name={quoteattr(title)} sheetId="{n}" r:id="rId{n}"/>' for n, title in titles
        )
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">'
        + "".join(
            f'<Relationship Id="rId{n}" Type="{_OFFICE}/worksheet" '
            f'Target="worksheets/sheet{n}.xml"/>'
            for n in range(1, len(sheets) + 1)
        )
        + f'<Relationship Id="rId0" Type="{_OFFICE}/styles" Target="styles.xml"/>'
        "</Relationships>",
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><cellXfs count="2"><xf numFmtId="0"/>'
        '<xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>',
    }
    for n, rows in enumerate(sheets.values(), 1):
        body = "".join(
            f'<row r="{number}">'
            + "".join(_cell(f"{chr(65 + place)}{number}", value) for place, value in enumerate(row))
            + "</row>"
            for number, row in enumerate(rows, first_row)
            if row
        )
        parts[f"xl/worksheets/sheet{n}.xml"] = (
            f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>'
        )
    return zipped(parts)


def ods(rows: Sequence[Sequence[str | float]], locked: bool = False) -> bytes:
    """A workbook of OpenDocument with one sheet."""
    body = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(value)}</text:p>'
            "</table:table-cell>"
            if isinstance(value, str)
            else f'<table:table-cell office:value-type="float" office:value="{value}"/>'
            for value in row
        )
        + "</table:table-row>"
        for row in rows
    )
    lock = "<manifest:encryption-data/>" if locked else ""
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{_ODS}manifest:1.0">'
            f"{lock}</manifest:manifest>",
            "content.xml": f'<office:document-content xmlns:office="{_ODS}office:1.0" '
            f'xmlns:table="{_ODS}table:1.0" xmlns:text="{_ODS}text:1.0"><office:body>'
            f'<office:spreadsheet><table:table table:name="Blatt">{body}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        }
    )


def zipped(parts: Mapping[str, str]) -> bytes:
    """An archive of texts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Day):
        return f'<c r="{name}" s="1"><v>{float(value)}</v></c>'
    if isinstance(value, Wrong):
        return f'<c r="{name}" t="e"><v>{value}</v></c>'
    if isinstance(value, bool):
        return f'<c r="{name}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{name}"><v>{value}</v></c>'
    return f'<c r="{name}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
