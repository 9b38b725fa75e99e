"""Parquet, Arrow and memory as pieces to be read by themselves, in any order, and checked before they are used."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from affcli.schema import METADATA_KEY
from affcli.tables.writer import ROWS_PER_GROUP


class Pieces(Protocol):
    """A table in pieces: `schema` its columns, `row_groups` how many rows each piece has."""

    schema: pa.Schema
    row_groups: list[int]

    def read(self, index: int, columns: list[str]) -> pa.Table:
        """Some columns of a piece."""
        ...


class ParquetPieces:
    """The row groups of a Parquet file."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self.schema: pa.Schema = file.schema_arrow
        self.row_groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]

    def read(self, index: int, columns: list[str]) -> pa.Table:
        """Some columns of a row group; text is checked, which Parquet's reader takes as it comes.

        Pages of tables of ours have checksums, which the reader verifies; but not the pages' headers, which may say
        that a dictionary is shorter than it is.
        """
        table = self._file.read_row_group(index, columns=columns)
        if table.num_rows != self.row_groups[index]:
            raise pa.ArrowInvalid(f"{table.num_rows} rows where {self.row_groups[index]} are told of")
        ours = METADATA_KEY in (self.schema.metadata or {})
        for name in columns:
            kind = table.schema.field(name).type
            if pa.types.is_dictionary(kind) or (_is_text(kind) and not ours):
                table[name].validate(full=True)
        return table.select(columns)


def parquet_pieces(path: Path, about: pq.FileMetaData, text: Collection[str]) -> pq.ParquetFile:
    """A Parquet file, opened to be read row group by row group; ids (the columns `text`) come as dictionaries."""
    paths = {about.schema.column(i).path for i in range(about.num_columns)}
    # Ids repeat: ten times faster to read as dictionaries, as Parquet keeps them.
    ids = [name for name in text if name in paths]
    # Row groups are read ahead by threads of our own; a second buffer only doubles the memory that is touched.
    return pq.ParquetFile(path, metadata=about, read_dictionary=ids, pre_buffer=False, page_checksum_verification=True)


class ArrowPieces:
    """The record batches of an Arrow file.

    Those of a file that somebody else wrote are checked as a whole (offsets, indices, UTF-8) before anything works on
    them: what pyarrow does with damaged ones is undefined. `schema` says otherwise than the file where its columns
    are to be of other types, dictionaries for plain text.
    """

    def __init__(self, file: pa.NativeFile, *, trusted: bool = False, schema: pa.Schema | None = None) -> None:
        self._file, self._trusted = file, trusted
        whole = ipc.open_file(file)
        self._stored: pa.Schema = whole.schema
        self.schema: pa.Schema = schema or whole.schema
        first = self._reader([0]) if self._stored.names else whole
        self.row_groups = [first.get_batch(i).num_rows for i in range(whole.num_record_batches)]

    def _reader(self, columns: list[int]) -> ipc.RecordBatchFileReader:
        return ipc.open_file(self._file, options=ipc.IpcReadOptions(included_fields=columns))

    def read(self, index: int, columns: list[str]) -> pa.Table:
        """Some columns of a batch."""
        places = [self._stored.get_field_index(column) for column in columns]
        batch = self._reader(places).get_batch(index)
        if not self._trusted:
            batch.validate(full=True)
        table = pa.Table.from_batches([batch]).select(columns)
        wanted = pa.schema([self.schema.field(name) for name in columns])
        return table if table.schema.equals(wanted) else table.cast(wanted)


class MemoryPieces:
    """A table in memory, in slices of the length that tables are written in."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.schema: pa.Schema = table.schema
        starts = range(0, table.num_rows, ROWS_PER_GROUP)
        self.row_groups = [min(ROWS_PER_GROUP, table.num_rows - start) for start in starts]

    def read(self, index: int, columns: list[str]) -> pa.Table:
        """Some columns of a slice."""
        return self._table.select(columns).slice(index * ROWS_PER_GROUP, self.row_groups[index])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries and views, which not every format and reader knows."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
