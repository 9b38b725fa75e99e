"""JSON of rows: a line for each (JSON lines), an array of records, or pandas' other layouts (columns, split, table)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from affcli.errors import TableError

_ROWS: Final = 65_536
_BLOCK: Final = 1 << 20  # characters
_BLANKS: Final = " \t\r\n"


def read_json(path: Path, name: str) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """The rows of a JSON file: its columns are the keys of the records, those of objects in them included.

    A key in an object (`emotion: {happy: 1.5}`) is a column of its own name (`happy`), or `emotion.happy` where another
    column is called so. Raises TableError for text that is no JSON, and where a column holds both text and numbers.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            records = _records(stream, name)
            tables = [_table(rows, name) for rows in iter(lambda: list(islice(records, _ROWS)), [])]
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise TableError(f"{name}: not JSON that can be read: {reason}.") from error
    if not tables:
        raise TableError(f"{name}: JSON without a row.")
    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise TableError(f"{name}: a column changes its type on the way: {_line(error)}.") from error
    return whole.schema, whole.to_batches(_ROWS)


def _records(stream: IO[str], name: str) -> Iterator[dict[str, Any]]:
    """The records one after the other; arrays and lines are read piece by piece."""
    for value in _values(stream):
        if isinstance(value, list):
            yield from (_flat(record, name) for record in value)
        elif isinstance(value, dict) and (rows := _rows_of_layout(value)) is not None:
            yield from (_flat(record, name) for record in rows)
        else:
            yield _flat(value, name)


def _values(stream: IO[str]) -> Iterator[Any]:
    """The values of a text: those of its one array, or as many as stand in it one after the other."""
    decoder, text = json.JSONDecoder(), stream.read(_BLOCK).lstrip(_BLANKS)
    inside = text.startswith("[")
    text, ended = text[int(inside) :], False
    while True:
        text = text.lstrip(_BLANKS + "," if inside else _BLANKS)
        if inside and text.startswith("]"):
            return
        if not text and ended:
            if inside:
                raise ValueError("the array does not end")
            return
        try:
            value, end = decoder.raw_decode(text)
            if end < len(text) or ended:  # a number at the end of a block might go on
                text = text[end:]
                yield value
                continue
        except ValueError:
            if ended:
                raise
        more = stream.read(max(_BLOCK, len(text)))
        text, ended = text + more, not more


def _rows_of_layout(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The records of an object that holds a whole table; None for an object that is a record itself.

    pandas' `split` (columns, data), `table` (schema, data), and columns as lists or as index → value.
    """
    data, columns = value.get("data"), value.get("columns")
    if isinstance(data, list) and isinstance(columns, list):
        return [dict(zip(map(str, columns), row, strict=False)) for row in data]
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        return data
    parts = list(value.values())
    if len(parts) > 1 and all(isinstance(part, list) for part in parts):
        if len({len(part) for part in parts}) > 1:
            raise ValueError("its columns differ in length")
        return [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)]
    if len(parts) > 1 and all(isinstance(part, dict) and part.keys() == parts[0].keys() for part in parts):
        return [{name: part[index] for name, part in value.items()} for index in parts[0]]
    return None


def _flat(record: Any, name: str) -> dict[str, Any]:
    """A record with the keys of objects in it as its own."""
    if not isinstance(record, dict):
        shown = json.dumps(record)[:60]
        raise TableError(f"{name}: is JSON, but its rows are not objects: {shown}. Write records, or JSON lines.")
    if not any(isinstance(value, dict) for value in record.values()):
        return record
    inner = [key for value in record.values() if isinstance(value, dict) for key in value]
    taken = {key for key, value in record.items() if not isinstance(value, dict)}
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if not isinstance(value, dict):
            flat[key] = value
            continue
        for part, item in value.items():
            flat[part if part not in taken and inner.count(part) == 1 else f"{key}.{part}"] = item
    return flat if not any(isinstance(value, dict) for value in flat.values()) else _flat(flat, name)


def _table(rows: Sequence[Mapping[str, Any]], name: str) -> pa.Table:
    columns: dict[str, list[Any]] = {key: [] for row in rows for key in row}
    for row in rows:
        for key, values in columns.items():
            values.append(row.get(key))
    arrays = {}
    for key, values in columns.items():
        try:
            arrays[key] = pa.array(values, from_pandas=True)
        except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
            raise TableError(f"{name}: column '{key}' holds values of several types ({_line(error)}).") from error
    return pa.table(arrays)


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
