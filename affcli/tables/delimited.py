"""CSV, TSV and their kin: read with types that hold for the whole file, written as pandas and spreadsheets expect it.

How a text is written (delimiter, decimal mark, header) is told by `dialect.py`.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from affcli.errors import TableError
from affcli.tables.dialect import SAMPLE_BYTES, Dialect, find_dialect
from affcli.tables.encoding import decoded_head

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 22
_LARGEST_BLOCK: Final = 1 << 30  # for a text in quotation marks that is longer than a block
_STRADDLES: Final = "straddling object straddles"

# How numbers that are missing are spelled by pandas, R, SQL and people. Text is null only where it is empty.
_NULLS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "null", "NULL", "None")


def read_csv(
    path: Path,
    name: str,
    text: Collection[str],
    *,
    delimiter: str | None = None,
    temporary: Callable[[], IO[bytes]],
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema of a text of rows (UTF-8) and its rows in pieces; the columns in `text` stay as they are written.

    Read twice, first for the types: what is a whole number in the first thousand rows may not be one in the next.
    `temporary` gives a file for a text that must be rewritten first. `name` is for errors and notes. Raises TableError
    for a column name that stands twice.
    """
    dialect = find_dialect(decoded_head(path, name, SAMPLE_BYTES), delimiter)
    _refuse_twins(name, dialect)
    for note in dialect.notes:
        log.warning("%s: %s", name, note)
    if not dialect.plain:
        path, dialect = _rewritten(path, dialect, temporary())
    table = _Text(path, dialect, quoted=_holds(path, b'"'))
    try:
        schema, block_bytes = _schema(table, text)
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise TableError(
                f"{name}: is not UTF-8 text. Convert it: iconv -f WINDOWS-1252 -t UTF-8 '{path}' > utf8.csv"
            ) from error
        raise
    return schema, _typed(table, schema, block_bytes)


def _refuse_twins(name: str, dialect: Dialect) -> None:
    names = [column for column in dialect.names if column is not None]
    if twins := [column for at, column in enumerate(names) if column in names[:at]]:
        raise TableError(f"{name}: has more than one column '{twins[0]}'. Rename or drop one.")
    if not names:
        raise TableError(f"{name}: has no columns.")


@dataclass(frozen=True)
class _Text:
    """A text of rows; `quoted`: there are quotation marks in it, so a field may hold line ends."""

    path: Path
    dialect: Dialect
    quoted: bool

    @property
    def columns(self) -> dict[str, str]:
        """Column name → what it is called while it is read: its place."""
        return {name: str(at) for at, name in enumerate(self.dialect.names) if name is not None}

    def batches(self, types: Mapping[str, pa.DataType], block_bytes: int) -> Iterator[pa.RecordBatch]:
        """The rows in pieces, the columns in the order of the file; none for a header without rows."""
        try:
            reader = self._open(types, block_bytes)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return
            raise
        with reader:
            yield from reader

    def _open(self, types: Mapping[str, pa.DataType], block_bytes: int) -> pacsv.CSVStreamingReader:
        columns = self.columns
        convert = pacsv.ConvertOptions(
            column_types={columns[name]: kind for name, kind in types.items()},
            include_columns=list(columns.values()),
            null_values=list(_NULLS),
            strings_can_be_null=False,
        )
        read = pacsv.ReadOptions(
            block_size=block_bytes,
            skip_rows=self.dialect.skipped_lines,
            column_names=[str(at) for at in range(len(self.dialect.names))],
        )
        parse = pacsv.ParseOptions(delimiter=self.dialect.delimiter, newlines_in_values=self.quoted)
        return pacsv.open_csv(self.path, read, parse, convert)


def _holds(path: Path, byte: bytes) -> bool:
    with path.open("rb") as stream:
        return any(byte in block for block in iter(lambda: stream.read(1 << 20), b""))


def _rewritten(path: Path, dialect: Dialect, into: IO[bytes]) -> tuple[Path, Dialect]:
    """The same rows in a temporary file, with commas and quotation marks as they should be."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for _ in range(dialect.skipped_lines):
            stream.readline()
        out = io.TextIOWrapper(into, "utf-8", newline="", write_through=True)
        writer = csv.writer(out, lineterminator="\n")
        if dialect.delimiter == " ":
            writer.writerows(line.split() for line in stream)
        else:
            writer.writerows(csv.reader(stream, delimiter=dialect.delimiter, skipinitialspace=True))
        out.flush()
        out.detach()
    into.flush()
    return Path(into.name), Dialect(",", dialect.names, 0, dialect.decimal, blanks=dialect.blanks)


# --- types -----------------------------------------------------------------------------------------------------------


def _schema(table: _Text, text: Collection[str]) -> tuple[pa.Schema, int]:
    """The types of the columns, and the size of blocks in which the text can be read."""
    block_bytes = BLOCK_BYTES
    while True:
        try:
            return _schema_by(table, text, block_bytes), block_bytes
        except pa.ArrowInvalid as error:
            if _STRADDLES not in str(error) or block_bytes >= _LARGEST_BLOCK:
                raise
            block_bytes *= 16


def _schema_by(table: _Text, text: Collection[str], block_bytes: int) -> pa.Schema:
    names, tidy = list(table.columns), _tidied(table.dialect)
    types = {name: pa.string() if name in text else pa.null() for name in names}
    for batch in table.batches(dict.fromkeys(names, pa.string()), block_bytes):
        for name, column in zip(names, batch.columns, strict=True):
            if types[name] != pa.string():
                types[name] = _widened(types[name], tidy(column))
    return pa.schema([pa.field(name, types[name]) for name in names])


def _tidied(dialect: Dialect) -> Callable[[pa.Array], pa.Array]:
    """Makes numbers in a column of texts look as they should: no blanks around them, a decimal point."""
    trimmed = _trimmed if dialect.blanks else _as_it_is
    return (lambda column: _pointed(_trimmed(column))) if dialect.decimal == "," else trimmed


def _as_it_is(column: pa.Array) -> pa.Array:
    return column


def _trimmed(column: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(column)


def _pointed(column: pa.Array) -> pa.Array:
    """The decimal commas of the numbers in a column of texts as points."""
    return pc.replace_substring_regex(column, r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$", r"\1.\2")


def _widened(kind: pa.DataType, column: pa.Array) -> pa.DataType:
    """The narrowest type, from `kind` on, that holds the column's texts without a loss."""
    if kind == pa.string():
        return kind
    filled = column.filter(pc.invert(pc.is_in(column, pa.array(_NULLS))))
    if not len(filled):
        return kind
    if kind in (pa.null(), pa.bool_()) and pc.all(pc.match_substring_regex(filled, "^(?i:true|false)$")).as_py():
        return pa.bool_()
    # Text such as 007 is a name, not a number.
    if kind in (pa.null(), pa.int64()) and pc.all(pc.match_substring_regex(filled, r"^[+-]?(0|[1-9]\d*)$")).as_py():
        return pa.int64() if _converts(filled, pa.int64()) else pa.float64()
    numeric = kind in (pa.null(), pa.int64(), pa.float64()) and _converts(filled, pa.float64())
    return (
        pa.float64() if numeric and not pc.any(pc.match_substring_regex(filled, r"^[+-]?0\d")).as_py() else pa.string()
    )


def _converts(column: pa.Array, kind: pa.DataType) -> bool:
    try:
        column.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _typed(table: _Text, schema: pa.Schema, block_bytes: int) -> Iterator[pa.RecordBatch]:
    tidy, trimmed = _tidied(table.dialect), _trimmed if table.dialect.blanks else _as_it_is
    # Empty columns are read as text: as nulls, pyarrow would refuse our spellings of null in them. So are numbers with
    # decimal commas, which are made numbers here.
    as_text = {field.name for field in schema if pa.types.is_null(field.type)}
    if table.dialect.decimal == ",":
        as_text |= {field.name for field in schema if pa.types.is_floating(field.type)}
    types = {field.name: pa.string() if field.name in as_text else field.type for field in schema}
    for batch in table.batches(types, block_bytes):
        columns = [
            _finished((tidy if field.name in as_text else trimmed)(column), field.type)
            if pa.types.is_string(column.type)
            else column
            for column, field in zip(batch.columns, schema, strict=True)
        ]
        yield pa.record_batch(columns, schema=schema)


def _finished(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of texts as its type: empty texts are null."""
    if pa.types.is_null(kind):
        return pa.nulls(len(column))
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_in(column, pa.array(_NULLS)), None, column).cast(kind)
    return pc.if_else(pc.equal(column, ""), None, column)


# --- writing ---------------------------------------------------------------------------------------------------------


def csv_header(names: Sequence[str], delimiter: str) -> bytes:
    """The first line of a CSV file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(names)
    return text.getvalue().encode()


def csv_lines(table: pa.Table, delimiter: str) -> bytes:
    """The rows as lines: text is quoted only where it must be, nulls are empty, an empty text is `""`."""
    if not table.num_rows:
        return b""
    cells = [_cells(column.combine_chunks(), delimiter) for column in table.columns]
    lines = pc.binary_join_element_wise(*cells, delimiter, null_handling="replace", null_replacement="")
    whole = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "\n")
    return str(whole[0]).encode() + b"\n"


def _cells(column: pa.Array, delimiter: str) -> pa.Array:
    text = column.cast(pa.string())
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return text
    special = pc.or_(pc.equal(text, ""), pc.match_substring_regex(text, f'["\r\n{delimiter}]'))
    if not pc.any(special).as_py():
        return text
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
    return pc.if_else(special, quoted, text)
