"""Writes tables: Parquet, CSV/TSV and Arrow, to files, pipes and standard output.

An output appears under its name only when it is complete (a temporary name beside it, then a rename).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from affcli.errors import AffcliError, UnknownFormatError, UsageError
from affcli.files.outputs import STANDARD_OUTPUT, create_temporary, refuse_existing
from affcli.tables.delimited import csv_header, csv_lines
from affcli.tables.sink import Sink

ROWS_PER_GROUP = 65_536
_FEW_ROWS, _SMALL_ONES = 1_000, 256  # tables of few rows are gathered, so many at a time
_BYTES_OF_LISTS = 4 << 20

FORMAT_OF_SUFFIX = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


def format_of(output: str, table_format: str | None = None) -> str:
    """`table_format` (parquet, csv or arrow), else what the suffix says; Parquet for a name without one.

    Raises UnknownFormatError for a suffix that says nothing.
    """
    suffix = Path(output).suffix.lower()
    if table_format is not None or not suffix:
        return table_format or "parquet"
    if suffix not in FORMAT_OF_SUFFIX:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise UnknownFormatError(f"{output}: '{suffix}' is not a table format affcli knows ({known}).")
    return FORMAT_OF_SUFFIX[suffix]


class TableWriter:
    """Writes one table in row groups of 65,536 rows, fewer where rows are long; `format_of` says in which format.

    The output appears when the `with` block ends without an error; on a pipe nothing before the first row group.
    """

    def __init__(self, output: str, schema: pa.Schema, *, table_format: str | None = None, force: bool = False) -> None:
        refuse_existing(output, force=force)
        self._output, self._schema = output, schema
        self._to_stdout = output in STANDARD_OUTPUT
        self._format = format_of(output, table_format)
        self._rows_per_group = rows_per_group(schema)
        self._waiting: list[pa.Table] = []
        self._small: list[pa.Table] = []
        self._rows_waiting = 0
        self._thread = ThreadPoolExecutor(1, "affcli-write")
        self._writing: Future[None] | None = None
        self.rows = 0
        if self._to_stdout and self._format != "csv" and sys.stdout.isatty():
            raise UsageError("binary tables are not written to a terminal: use -o FILE, --format csv, or a pipe.")
        nested = [field.name for field in schema if pa.types.is_nested(field.type)]
        if self._format == "csv" and nested:
            raise UsageError(f"{output}: CSV cannot hold the list column '{nested[0]}': write Parquet or Arrow.")

    def __enter__(self) -> TableWriter:
        with self._named_errors():
            self._temporary, self._stream = self._open()
        self._sink = _Sink(self._stream)
        return self

    def _open(self) -> tuple[Path | None, IO[bytes]]:
        """The temporary name where there is one (a pipe or a device has none), and the stream to write."""
        if self._to_stdout:
            return None, sys.stdout.buffer
        path = Path(self._output)
        if path.exists() and not path.is_file():
            return None, path.open("wb")
        return create_temporary(path.resolve())  # a link stays a link; what it leads to is replaced

    def write(self, rows: pa.Table) -> None:
        """Takes some rows; the borders of the calls leave no trace in the file."""
        cast = rows.select(self._schema.names).cast(self._schema)
        if rows.num_rows <= _FEW_ROWS:
            self._small.append(cast)
        if len(self._small) >= _SMALL_ONES or rows.num_rows > _FEW_ROWS:
            self._gather_small()
        if rows.num_rows > _FEW_ROWS:
            self._waiting.append(cast)
        self._rows_waiting += rows.num_rows
        self.rows += rows.num_rows
        if self._rows_waiting >= self._rows_per_group:
            self._write_groups(whole_only=True)

    def _gather_small(self) -> None:
        """Few rows of many videos, as one table: each table takes kilobytes beside its rows."""
        if self._small:
            self._waiting.append(pa.concat_tables(self._small).combine_chunks())
            self._small = []

    def _write_groups(self, *, whole_only: bool) -> None:
        self._gather_small()
        table = pa.concat_tables(self._waiting)
        size = self._rows_per_group
        end = table.num_rows - table.num_rows % size if whole_only else table.num_rows
        for start in range(0, end, size):
            self._write_group(table.slice(start, min(size, end - start)))
        rest = table.slice(end)
        self._waiting, self._rows_waiting = ([rest] if rest.num_rows else []), rest.num_rows

    def _write_group(self, group: pa.Table) -> None:
        """Writes a row group: to a file while the caller goes on, in a thread that is at most one group behind."""
        self._wait()
        if self._temporary is None:  # a pipe may block for long; only the main thread can be interrupted then
            self._encode(group)
        else:
            self._writing = self._thread.submit(self._encode, group)

    def _encode(self, group: pa.Table) -> None:
        with self._named_errors():
            self._writer.write_table(group.combine_chunks())

    @functools.cached_property
    def _writer(self) -> Any:
        """Made when first used, since it begins to write: a command that fails before leaves nothing on a pipe."""
        return _writer(self._format, self._sink, self._schema, self._output)

    def _wait(self) -> None:
        """Waits for the thread; raises what went wrong in it."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            if self._rows_waiting:
                self._write_groups(whole_only=False)
            self._wait()
            with self._named_errors():
                self._finish()
        except BaseException:
            self._abandon()
            raise

    def _finish(self) -> None:
        self._thread.shutdown()
        self._writer.close()
        self._stream.flush()
        if self._temporary is not None:
            os.fsync(self._stream.fileno())
            self._temporary.replace(Path(self._output).resolve())  # while it is open, and so locked
        if not self._to_stdout:
            self._stream.close()

    def _abandon(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._sink.deaf = True  # the Parquet writer would still write its footer when it is collected
        if not self._to_stdout:
            with suppress(OSError):  # what waits in the buffer cannot be written where the disk is full
                self._stream.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Says which output could not be written, and why."""
        name = "standard output" if self._to_stdout else self._output
        try:
            yield
        except BrokenPipeError:  # the reader has enough: no error
            raise
        except OSError as error:
            raise AffcliError(f"{name}: cannot be written: {error.strerror or error}.") from error
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise AffcliError(f"{name}: {self._format} cannot hold this table: {str(error).splitlines()[0]}") from error


def rows_per_group(schema: pa.Schema) -> int:
    """65,536 rows, halved until the lists of numbers in them (features) take at most 4 MiB.

    Several row groups are held while one is written, with four times its size beside it; a reader holds up to three.
    """
    lists = [field.type for field in schema if pa.types.is_fixed_size_list(field.type)]
    row_bytes = sum(kind.list_size * kind.value_type.bit_width // 8 for kind in lists)
    rows = ROWS_PER_GROUP
    while rows * row_bytes > _BYTES_OF_LISTS and rows > 1:
        rows //= 2
    return rows


class _Sink(Sink):
    """A sink that can be made deaf: what is written then goes nowhere."""

    deaf = False

    def write(self, data: bytes) -> int:
        return self.counted(data) if self.deaf else super().write(data)

    def flush(self) -> None:
        if not self.deaf:
            super().flush()


def _writer(table_format: str, sink: _Sink, schema: pa.Schema, output: str) -> Any:
    if table_format == "parquet":
        return _parquet_writer(sink, schema)
    if table_format == "arrow":
        return _ArrowWriter(sink, schema)
    return _CsvWriter(sink, schema, delimiter="\t" if output.lower().endswith(".tsv") else ",")


def _parquet_writer(sink: _Sink, schema: pa.Schema) -> pq.ParquetWriter:
    types = pa.types
    text = [
        field.name
        for field in schema
        if types.is_string(field.type) or types.is_large_string(field.type) or types.is_dictionary(field.type)
    ]
    # Frame numbers count up: as differences they take next to nothing. Dictionaries only help the text columns.
    counting = {field.name: "DELTA_BINARY_PACKED" for field in schema if types.is_integer(field.type)}
    return pq.ParquetWriter(
        sink,
        schema,
        use_dictionary=text,
        column_encoding=counting,
        compression="snappy",
        write_page_checksum=True,  # a flipped bit is then an error, not another number
    )


class _ArrowWriter:
    """An Arrow file. Its dictionaries grow from group to group, since a file can only add to them."""

    def __init__(self, sink: _Sink, schema: pa.Schema) -> None:
        self._writer = ipc.new_file(sink, schema, options=ipc.IpcWriteOptions(emit_dictionary_deltas=True))
        self._schema = schema
        self._known = {
            field.name: pa.array([], field.type.value_type) for field in schema if pa.types.is_dictionary(field.type)
        }

    def write_table(self, table: pa.Table) -> None:
        for name in self._known:
            at = table.schema.get_field_index(name)
            table = table.set_column(at, self._schema.field(name), self._grown(name, table[name]))
        self._writer.write_table(table)

    def _grown(self, name: str, column: pa.ChunkedArray) -> pa.Array:
        """The column by indices into all values that have come so far."""
        kind, known = self._schema.field(name).type, self._known[name]
        values = column.cast(kind.value_type).combine_chunks()
        new = pc.unique(values.filter(pc.invert(pc.is_in(values, known)))).drop_null()
        self._known[name] = known = pa.concat_arrays([known, new])
        indices = pc.index_in(values, known).cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, known, ordered=kind.ordered)

    def close(self) -> None:
        self._writer.close()


class _CsvWriter:
    """A CSV file, its header written at once."""

    def __init__(self, sink: _Sink, schema: pa.Schema, *, delimiter: str) -> None:
        self._sink, self._delimiter = sink, delimiter
        sink.write(csv_header(schema.names, delimiter))

    def write_table(self, table: pa.Table) -> None:
        self._sink.write(csv_lines(table, self._delimiter))

    def close(self) -> None:
        self._sink.flush()
