"""The rows of a workbook: of Excel, old and new, or of OpenDocument (``.ods``)."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, time, timedelta
from typing import Any, BinaryIO

from llm_batch.dataset.shape import Row, Shape, column_names
from llm_batch.errors import DataError

# The part of an Office file that has a password, as its directory writes it.
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
#: Bytes that a workbook may unpack to: it is read whole, and cells take more than their text.
_UNZIPPED_LIMIT = 1 << 30
#: Cells from the first of a sheet to its last.
_MOST_CELLS = 60_000_000
_CHUNK = 1 << 20
_cell_name = re.compile(rb' r="([A-Z]{1,3})([0-9]{1,7})"')
_LONGEST_NAME = len(' r="XFD1048576"') - 1


def read_workbook(stream: BinaryIO, name: str, shape: Shape) -> Iterator[Row]:
    """Rows of a sheet of an Excel or OpenDocument workbook, under its first row with any text.

    Numbers without decimals are whole, dates and times ISO 8601 text, empty cells and errors
    (``#N/A``) empty text; of formulas there is what they gave when the file was saved. A row is
    known by its number in the sheet.

    Raises:
        DataError: It is protected, damaged or no workbook.
    """
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    _check_archive(stream, name)
    try:
        with CalamineWorkbook.from_filelike(stream) as book:
            yield from _cells_undercolumn_names(_sheet(book, name, shape).iter_rows(), name, shape)
    except PasswordError as error:
        raise _protected(name) from error
    except (CalamineError, OSError, ValueError) as error:
        raise _no_workbook(name, "it is damaged, of another kind or has a password") from error
    except BaseException as error:
        # A file made to break the library ends in this, which is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise _no_workbook(name, "it is damaged") from error


def _check_archive(stream: BinaryIO, name: str) -> None:
    """Make sure that a ZIP archive is a workbook, and not one that fills the memory."""
    stream.seek(0)
    if not stream.read(2).startswith(b"PK"):
        stream.seek(0)
        if _ENCRYPTED in stream.read():
            raise _protected(name)
        stream.seek(0)
        return
    try:
        with zipfile.ZipFile(stream) as archive:
            names = {entry.filename: entry.file_size for entry in archive.infolist()}
            kind = archive.read("mimetype")[:99] if names.get("mimetype", 99) < 99 else b""
            marked = archive.read("META-INF/manifest.xml") if b"spreadsheet" in kind else b""
            if sum(names.values()) <= _UNZIPPED_LIMIT:
                _check_size(archive, name)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, RuntimeError, zlib.error) as error:
        raise _no_workbook(name, "it is cut off or damaged") from error
    finally:
        stream.seek(0)
    if b"encryption-data" in marked:
        raise _protected(name)
    if b"spreadsheet" not in kind and not any(each.startswith("xl/workbook.") for each in names):
        listed = ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")
        raise DataError(
            f"{name} is a ZIP archive and no workbook; in it are {listed or 'no files'}",
            f"unpack it and name the file: unzip {name}",
        )
    if sum(names.values()) > _UNZIPPED_LIMIT:
        raise DataError(
            f"{name} unpacks to more than {_UNZIPPED_LIMIT >> 30} GB",
            "save its sheet as CSV (in Excel: File, Save As, CSV UTF-8)",
        )


def _check_size(archive: zipfile.ZipFile, name: str) -> None:
    """Make sure that its sheets end where their rows do: the library keeps every cell between."""
    for entry in archive.namelist():
        if not entry.startswith("xl/worksheets/") or not entry.endswith(".xml"):
            continue
        columns: set[bytes] = set()
        row, before = 0, b""
        with archive.open(entry) as sheet:
            while piece := sheet.read(_CHUNK):
                text = before + piece
                found = _cell_name.findall(text)
                columns.update(letters for letters, _ in found)
                row = max(row, max((int(number) for _, number in found), default=0))
                before = text[-_LONGEST_NAME:]
        column = max(columns, key=lambda letters: (len(letters), letters), default=b"A")
        width = sum((letter - 64) * 26**power for power, letter in enumerate(reversed(column)))
        if row * width > _MOST_CELLS:
            raise DataError(
                f"{name} has a sheet that goes to the cell {column.decode()}{row}, too far to read",
                "delete what stands far from the rest, or save the rows as CSV",
            )


def _sheet(book: Any, name: str, shape: Shape) -> Any:
    titles = [sheet.name for sheet in book.sheets_metadata if str(sheet.typ).endswith("WorkSheet")]
    if not titles:
        raise DataError(f"{name} has no sheet with cells", "save the rows in one")
    wanted = shape.sheet.strip()
    found = [each for each in titles if each.strip().casefold() == wanted.casefold()][:1]
    if not found and wanted.isdecimal() and 0 < int(wanted[:9]) <= len(titles):
        found = [titles[int(wanted) - 1]]
    if wanted and not found:
        raise DataError(
            f"{name} has no sheet {wanted!r}",
            f"it has {', '.join(titles[:20])}; a number counts them from 1",
        )
    filled = (each for each in titles if book.get_sheet_by_name(each).start is not None)
    title = found[0] if found else next(filled, titles[0])
    sheet = book.get_sheet_by_name(title)
    shape.sheet = title
    shape.other_sheets = tuple(each for each in titles if each != title)
    return sheet


def _cells_undercolumn_names(rows: Iterator[list[Any]], name: str, shape: Shape) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        if not any(cell != "" and str(cell).strip() for cell in row):
            shape.empty_rows += bool(shape.columns)
            continue
        cells = [_cell(value) for value in row]
        if shape.columns:
            yield number, shape.fields(cells), b"", 0
        else:
            shape.columns = tuple(column_names([str(cell).strip() for cell in cells], name))


def _cell(value: Any) -> Any:
    """What a cell holds, as JSON can: a workbook knows no whole numbers and no dates alone."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, timedelta):
        return str(value)
    return value.isoformat() if isinstance(value, date | time) else value


def _protected(name: str) -> DataError:
    return DataError(
        f"{name} is protected with a password",
        "save it without one (in Excel: File, Info, Protect Workbook), or its sheet as CSV",
    )


def _no_workbook(name: str, problem: str) -> DataError:
    return DataError(
        f"{name} cannot be read as a workbook: {problem}",
        "open it and save it anew, or save its sheet as CSV (in Excel: File, Save As, CSV UTF-8)",
    )
