"""CSV and TSV: read with types that hold for the whole file, written as pandas, R and spreadsheets expect it."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from affcli.errors import AffcliError

BLOCK_BYTES = 1 << 22

# How numbers that are missing are spelled by pandas, R, SQL and people. Text is null only where it is empty.
_NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


def read_csv(path: Path, name: str, text: Collection[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema of a CSV file and its rows in pieces; the columns in `text` stay as they are written.

    Read twice, first for the types: what is a whole number in the first thousand rows may not be one in the next.
    """
    parse = pacsv.ParseOptions(delimiter=_delimiter(path, name))
    schema = _schema(path, parse, text)
    return schema, _typed(path, parse, schema)


def _delimiter(path: Path, name: str) -> str:
    with path.open("rb") as stream:
        header = stream.readline(1 << 16)
    if b"\0" in header:
        raise AffcliError(f"{name}: not a table: neither Parquet, Arrow nor text.")
    return max(",\t;", key=lambda delimiter: header.count(delimiter.encode()))


def _open(path: Path, parse: pacsv.ParseOptions, types: Mapping[str, pa.DataType]) -> pacsv.CSVStreamingReader:
    convert = pacsv.ConvertOptions(column_types=types, null_values=list(_NULLS), strings_can_be_null=False)
    return pacsv.open_csv(path, pacsv.ReadOptions(block_size=BLOCK_BYTES), parse, convert)


def _schema(path: Path, parse: pacsv.ParseOptions, text: Collection[str]) -> pa.Schema:
    with _open(path, parse, {}) as reader:
        names = reader.schema.names
    types = {name: pa.string() if name in text else pa.null() for name in names}
    with _open(path, parse, dict.fromkeys(names, pa.string())) as reader:
        for batch in reader:
            types = {name: _widened(types[name], batch[name]) for name in names}
    return pa.schema([pa.field(name, types[name]) for name in names])


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


def _typed(path: Path, parse: pacsv.ParseOptions, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    # Empty columns are read as text: as nulls, pyarrow would refuse our spellings of null in them.
    types = {field.name: pa.string() if pa.types.is_null(field.type) else field.type for field in schema}
    with _open(path, parse, types) as reader:
        for batch in reader:
            columns = [_without_empty(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
            yield pa.record_batch(columns, schema=schema)


def _without_empty(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(column))
    return pc.if_else(pc.equal(column, ""), None, column) if pa.types.is_string(kind) else column


def csv_header(names: Sequence[str], delimiter: str) -> bytes:
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
