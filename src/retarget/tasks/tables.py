"""Tables from files: CSV, TSV, JSON lines and Parquet, with what is wrong in them named."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retarget.core.errors import DataError
from retarget.core.text import count, listed, printable
from retarget.tasks.encodings import Decoded, decode, encoding_problems, wide_codec
from retarget.tasks.task import Problem
from retarget.tasks.texts import MOST_CHARACTERS

_DELIMITERS = (",", ";", "\t")
_MOST_SHOWN = 3
_PEEKED = 1 << 20
# A cell may hold a text that is left out for its length; a table can only be refused as a whole.
_LONGEST_CELL = 4 * MOST_CHARACTERS


@dataclass(frozen=True)
class Table:
    """Columns of equal length. `places` says where each row stands: `line 17`, `row 17`.

    `read_as` says how the bytes of a table of text became characters; its own text is left out.
    """

    columns: Mapping[str, Sequence[Any]]
    places: Sequence[str]
    problems: tuple[Problem, ...] = ()
    repeated: frozenset[str] = frozenset()
    read_as: Decoded | None = None


def read_table(path: Path, encoding: str | None = None) -> Table:
    """Return a file as a table, text in the encoding stated or as `decode` finds it.

    Raises `DataError` where it can't be read as one. A row that doesn't fit the header, or a line
    that is no JSON object, is left out and named.
    """
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    decoded = read_lines(path, encoding)
    table = FORMATS[path.suffix.lower()](decoded.text, path)
    problems = (*encoding_problems(path.name, decoded), *table.problems)
    return replace(table, problems=problems, read_as=replace(decoded, text=""))


def read_lines(path: Path, encoding: str | None = None) -> Decoded:
    """Return a file as text, in the encoding stated or as `decode` finds it.

    Raises `DataError` where it can't be read, or is no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{_shown(path)} can't be read ({error.strerror}).") from error
    return _decoded(data, path, encoding)


def peek_columns(path: Path, encoding: str | None = None) -> tuple[str, ...]:
    """Return the names of a table's columns from its beginning, () where it can't be read."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet

            return tuple(pyarrow.parquet.read_schema(path).names)
        with path.open("rb") as stream:
            head = stream.read(_PEEKED)
            while len(head) % _PEEKED == 0 and b"\n" not in head and (more := stream.read(_PEEKED)):
                head += more
        # The last line may be cut anywhere; the first one, or a whole line, is all it takes.
        lines = _decoded(head, path, encoding, cut=True).text.split("\n")
        if path.suffix.lower() in (".csv", ".tsv"):
            return tuple(_header(next(line for line in lines if line.strip()), path)[0])
        return next(tuple(record) for line in lines if (record := _record(line)) is not None)
    except Exception:
        # Only asked whether to open the file; opening it says what is wrong.
        return ()


def _decoded(data: bytes, path: Path, encoding: str | None, *, cut: bool = False) -> Decoded:
    head = data[:1024]
    # A NUL here and there spoils a row; one in twenty bytes or more is another kind of file.
    if encoding is None and wide_codec(data) is None and head.count(b"\0") * 20 > len(head):
        raise DataError(
            f"{_shown(path)} is not text: it holds NUL bytes. Save the table as CSV in UTF-8."
        )
    decoded = decode(data, encoding, cut=cut)
    return replace(decoded, text=lines_apart(decoded.text))


def lines_apart(text: str) -> str:
    """Return text with lines that end with "\\n", also where none did, and without the marks that
    files leave inside when they are put together."""
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return text.replace("\n\ufeff", "\n")


def _csv(text: str, path: Path) -> Table:
    header, delimiter = _header(text, path)
    width = len(header)
    columns: list[list[str]] = [[] for _ in header]
    places: list[str] = []
    bad: list[str] = []
    holed: list[str] = []
    swallowed = ""
    rows = _csv_rows(text, delimiter, path)
    next(rows)
    for first, line, cells in rows:
        if not any(cells):
            continue
        # Spreadsheets leave empty cells behind the last column.
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) != width:
            if first < line:
                swallowed = " Look for a quotation mark that is not closed."
            bad.append(f"line {line}" if first == line else f"lines {first} to {line}")
            continue
        if any("\0" in cell for cell in cells):
            holed.append(f"line {line}")
            continue
        places.append(f"line {line}")
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    repeated = frozenset(name for name in header if header.count(name) > 1)
    problems = (
        *_bad_rows(path, bad, f"without the {count(width, 'cell')} of the header", swallowed),
        *_bad_rows(path, holed, "with NUL bytes"),
    )
    return Table(dict(zip(header, columns, strict=True)), places, problems, repeated)


def _header(text: str, path: Path) -> tuple[list[str], str]:
    """Return the names of the columns and the delimiter that separates most of them."""
    if not text.strip():
        raise DataError(
            f"{_shown(path)} is empty. It needs a header with a column named image or text."
        )
    tried = ("\t",) if path.suffix.lower() == ".tsv" else _DELIMITERS
    headers = [(next(_csv_rows(text, delimiter, path))[2], delimiter) for delimiter in tried]
    names, delimiter = max(headers, key=lambda found: len(found[0]))
    return [name.strip() for name in names], delimiter


def _csv_rows(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """Give (line where a row begins, where it ends, cells). The first row is the header."""
    # The limit is the process's, so it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    ended = 0
    try:
        for cells in rows:
            begun, ended = ended + 1, rows.line_num
            if cells:
                yield begun, ended, cells
    except csv.Error as error:
        if "field limit" in str(error):
            raise DataError(
                f"{_shown(path)} has a cell that is too long, of more than"
                f" {csv.field_size_limit():,} characters, in the row that begins at line"
                f" {ended + 1:,}. Shorten it; or, where the cell should have ended before, look for"
                " a quotation mark that is not closed."
            ) from error
        raise DataError(
            f"{_shown(path)} can't be read near line {rows.line_num:,} ({error}). Look for a"
            " quotation mark that is not closed."
        ) from error


def _json_lines(text: str, path: Path) -> Table:
    records: list[dict[str, Any]] = []
    places: list[str] = []
    bad: list[str] = []
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        record = _record(written)
        if record is not None:
            records.append({str(name).strip(): value for name, value in record.items()})
            places.append(f"line {line}")
        else:
            bad.append(f"line {line}")
    if not records:
        raise DataError(_no_records(text, path))
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names}
    return Table(columns, places, _bad_rows(path, bad, "that hold no JSON object"))


def _no_records(text: str, path: Path) -> str:
    """Return what is wrong with a file of which no line is a JSON object."""
    wanted = 'Every line is one example, such as {"text": "…", "label": "…"}'
    if not text.strip():
        return f"{_shown(path)} is empty. {wanted}."
    if text.lstrip()[0] == "[":
        return f"{_shown(path)} holds a JSON list. {wanted}: write its objects one a line."
    return f"No line of {_shown(path)} is a JSON object that can be read. {wanted}."


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        names = list(table.column_names)
        columns = {
            name.strip(): column.to_pylist()
            for name, column in zip(names, table.columns, strict=True)
        }
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise DataError(f"{_shown(path)} can't be read as Parquet ({reason}).") from error
    repeated = frozenset(name for name in names if names.count(name) > 1)
    return Table(columns, [f"row {i}" for i in range(table.num_rows)], (), repeated)


def _bad_rows(path: Path, bad: Sequence[str], what: str, advice: str = "") -> tuple[Problem, ...]:
    if not bad:
        return ()
    first = listed(bad, _MOST_SHOWN)
    sentence = f"{count(len(bad), 'line')} of {_shown(path)} {what} ({first}), left out.{advice}"
    return (Problem("bad-row", tuple(bad), sentence, left_out=True),)


def _shown(path: Path) -> str:
    return printable(path.name)


FORMATS: dict[str, Callable[[str, Path], Table]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
TABLE_SUFFIXES = (*FORMATS, ".parquet")
