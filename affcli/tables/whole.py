"""A table as a whole, in memory: a file, or all tables of a folder as one."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from affcli.errors import ColumnError
from affcli.schema import METADATA_KEY, STARTS, all_starts, metadata_of
from affcli.tables.given import Source
from affcli.tables.reader import TableReader, called, plain_type, tables_in


def read_whole(source: Source) -> pa.Table:
    """The rows in file order, those of a folder's tables one after the other by file name.

    Ids and labels are text, also where all look like numbers; no column is a dictionary or a view. Of the tables of a
    folder a column that one lacks is null there, and the metadata are what all of them say. Raises TableError for what
    is no table, ColumnError where columns of one name cannot be brought together.
    """
    files = tables_in(source) if isinstance(source, str) else [source]
    tables = [_read(file) for file in files]
    if len(tables) == 1:
        return tables[0]
    try:
        together = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        found = str(error).splitlines()[0]
        raise ColumnError(f"{called(source)}: its tables have columns of different types: {found}") from error
    return together.replace_schema_metadata(_common_metadata(tables))


def _read(file: Source) -> pa.Table:
    with TableReader(file, text=("video", "label")) as reader:
        fields = [reader.schema.field(name) for name in reader.columns]
        plain = pa.schema([field.with_type(plain_type(field.type)) for field in fields], reader.schema.metadata)
        return reader.read().cast(plain)


def _common_metadata(tables: Sequence[pa.Table]) -> dict[bytes, bytes] | None:
    """What all tables say of themselves under the key `affcli`; the starts of videos are put together."""
    facts = [metadata_of(table.schema) for table in tables]
    common = {key: value for key, value in facts[0].items() if all(one.get(key) == value for one in facts)}
    if starts := all_starts(facts):
        common[STARTS] = starts
    return {METADATA_KEY: json.dumps(common, ensure_ascii=False).encode()} if "kind" in common else None
