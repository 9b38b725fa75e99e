"""Opens and writes tables: Parquet, CSV/TSV and Arrow, as files, pipes and standard streams. No other module does.

An output appears under its name only when it is complete (a temporary name beside it, then a rename).
"""

from __future__ import annotations

import csv
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from affcli.errors import AffcliError, UsageError, listed
from affcli.schema import metadata_of
from affcli.submissions import is_submission, read_submission

ROWS_PER_GROUP = 65_536
STANDARD_STREAM = "-"

_FORMAT_OF_SUFFIX = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


# --- reading ---------------------------------------------------------------------------------------------------------


class TableReader:
    """An open table of any format, read in pieces.

    `name` is what the user calls it; `schema` its columns; `metadata` what it says of itself under the key `affcli`.
    """

    def __init__(self, source: str, *, text: Collection[str] = ()) -> None:
        """Opens a file name, or `-` for standard input (spooled to a temporary file: Parquet's index is at its end).

        Columns named in `text` stay text where a CSV file has numbers in them.
        """
        self._text = text
        self.name = "standard input" if source == STANDARD_STREAM else source
        self._spool: IO[bytes] | None = None
        path = self._seekable(source)
        try:
            self._format = _format_of_content(path)
            self._open(path)
        except (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
            raise AffcliError(f"{self.name}: not a table that can be read: {_first_line(error)}") from error
        self.metadata: Mapping[str, Any] = metadata_of(self.schema)

    def _seekable(self, source: str) -> Path:
        if source == STANDARD_STREAM:
            if sys.stdin.isatty():
                raise UsageError("no input: name a table, or pipe one in.")
            return self._spooled(sys.stdin.buffer)
        path = Path(source)
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise AffcliError(f"{source}: {error.strerror}.") from error
        if stat.S_ISDIR(mode):
            raise AffcliError(f"{source}: is a folder, not a table.")
        if stat.S_ISREG(mode):
            return path
        with path.open("rb") as stream:  # a named pipe, or <(…) of the shell
            return self._spooled(stream)

    def _spooled(self, stream: IO[bytes]) -> Path:
        self._spool = tempfile.NamedTemporaryFile(prefix="affcli-")  # noqa: SIM115 - lives as long as the reader
        shutil.copyfileobj(stream, self._spool, 1 << 20)
        self._spool.flush()
        return Path(self._spool.name)

    def _open(self, path: Path) -> None:
        if path.stat().st_size == 0:
            raise AffcliError(f"{self.name}: is empty (0 bytes), not a table.")
        self._parquet: pq.ParquetFile | None = None
        self._table: pa.Table | None = None
        if self._format == "parquet":
            self._parquet = pq.ParquetFile(path, memory_map=True)
            self.schema = self._parquet.schema_arrow
            self.num_rows = self._parquet.metadata.num_rows
            return
        self._table = _read_arrow(path) if self._format == "arrow" else _read_csv(path, self.name, self._text)
        self.schema, self.num_rows = self._table.schema, self._table.num_rows

    @property
    def columns(self) -> list[str]:
        """Column names, without the index that pandas may have stored as a column."""
        return [name for name in self.schema.names if not name.startswith("__index_level_")]

    def require(self, *names: str) -> None:
        """Raises an error that names the first missing column and the columns there are."""
        for name in names:
            if name not in self.schema.names:
                raise AffcliError(f"{self.name} has no column '{name}' (columns: {listed(self.columns)}).")

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in file order, at most 65,536 at a time."""
        wanted = self.columns if columns is None else list(columns)
        if self._parquet is not None:
            yield from self._parquet.iter_batches(ROWS_PER_GROUP, columns=wanted)
        else:
            assert self._table is not None
            yield from self._table.select(wanted).to_batches(ROWS_PER_GROUP)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table, or some of its columns."""
        wanted = self.columns if columns is None else list(columns)
        if self._parquet is not None:
            return self._parquet.read(columns=wanted)
        assert self._table is not None
        return self._table.select(wanted)

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """The schema of some of the columns."""
        return pa.schema([self.schema.field(name) for name in columns])

    def dictionary_chunks(self, column: str) -> Iterator[pa.DictionaryArray]:
        """One column in file order, piece by piece, dictionary-encoded."""
        for index in range(len(self.row_groups)):
            for chunk in self.read_group(index, [column])[column].chunks:
                yield chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()

    @property
    def row_groups(self) -> list[int]:
        """Rows in each piece that `read_group` can read by itself."""
        if self._parquet is None:
            return [self.num_rows]
        about = self._parquet.metadata
        return [about.row_group(i).num_rows for i in range(about.num_row_groups)]

    def read_group(self, index: int, columns: Sequence[str]) -> pa.Table:
        """One row group (Parquet), or the whole table."""
        if self._parquet is None:
            return self.read(columns)
        return self._parquet.read_row_group(index, columns=list(columns))

    def close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
        if self._spool is not None:
            self._spool.close()

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def tables_in(source: str) -> list[str]:
    """The tables in a folder, by name; any other source by itself."""
    path = Path(source)
    if source == STANDARD_STREAM or not path.is_dir():
        return [source]
    suffixes = {suffix for suffix in _FORMAT_OF_SUFFIX if suffix != ".txt"}
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and file.name[0] != ".")
    if not files:
        raise AffcliError(f"{source}: no tables in this folder ({', '.join(sorted(suffixes))}).")
    return [str(file) for file in files]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries and views, which not every format and reader knows."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def _format_of_content(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(8)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff", b"FEA1")):
        return "arrow"
    suffix = _FORMAT_OF_SUFFIX.get(path.suffix.lower(), "csv")
    if suffix != "csv" and head:
        raise AffcliError(f"{path}: is not {suffix.capitalize()}, whatever its name says.")
    return "csv"


def _read_arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        try:
            return ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return ipc.open_stream(source).read_all()


def _read_csv(path: Path, name: str, text: Collection[str]) -> pa.Table:
    with path.open("rb") as stream:
        header = stream.readline(1 << 16)
    if b"\0" in header:
        raise AffcliError(f"{name}: not a table: neither Parquet, Arrow nor text.")
    delimiter = "\t" if header.count(b"\t") > header.count(b",") else ","
    if is_submission(header):
        return read_submission(path, name)
    nulls = ["", "NA", "NaN", "nan", "null", "NULL", "None"]
    convert = pacsv.ConvertOptions(
        null_values=nulls, strings_can_be_null=False, column_types=dict.fromkeys(text, pa.string())
    )
    return pacsv.read_csv(path, parse_options=pacsv.ParseOptions(delimiter=delimiter), convert_options=convert)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


# --- writing ---------------------------------------------------------------------------------------------------------


def refuse_existing(output: str, *, force: bool) -> None:
    """Raises where an output cannot be written or may not be replaced, before any work is done."""
    if output == STANDARD_STREAM:
        return
    path = Path(output)
    if path.is_dir():
        raise AffcliError(f"{output}: is a folder; name a file.")
    if not path.parent.is_dir():
        raise AffcliError(f"{output}: the folder {path.parent} does not exist.")
    if path.is_file() and not force:
        raise AffcliError(f"{output}: exists already. Replace it with --force.")


class TableWriter:
    """Writes one table in row groups of 65,536 rows; the output appears when the `with` block ends without an error."""

    def __init__(self, output: str, schema: pa.Schema, *, table_format: str | None = None, force: bool = False) -> None:
        refuse_existing(output, force=force)
        self._output, self._schema = output, schema
        self._format = table_format or _format_for(output)
        self._waiting: list[pa.Table] = []
        self._rows_waiting = 0
        self.rows = 0
        if output == STANDARD_STREAM and self._format != "csv" and sys.stdout.isatty():
            raise UsageError("binary tables are not written to a terminal: use -o FILE, --format csv, or a pipe.")
        if self._format == "csv":
            nested = [field.name for field in schema if pa.types.is_nested(field.type)]
            if nested:
                raise UsageError(f"CSV cannot hold the list column '{nested[0]}': write Parquet or Arrow.")

    def __enter__(self) -> TableWriter:
        self._temporary, stream = _open_output(self._output)
        self._stream = stream
        self._sink = _Sink(stream)
        self._writer = _writer(self._format, self._sink, self._schema, tabs=self._output.lower().endswith(".tsv"))
        return self

    def write(self, rows: pa.Table) -> None:
        """Takes some rows; the borders of the calls leave no trace in the file."""
        self._waiting.append(rows.select(self._schema.names).cast(self._schema))
        self._rows_waiting += rows.num_rows
        self.rows += rows.num_rows
        if self._rows_waiting >= ROWS_PER_GROUP:
            self._write_groups(whole_only=True)

    def _write_groups(self, *, whole_only: bool) -> None:
        table = pa.concat_tables(self._waiting)
        end = table.num_rows - table.num_rows % ROWS_PER_GROUP if whole_only else table.num_rows
        for start in range(0, end, ROWS_PER_GROUP):
            group = table.slice(start, min(ROWS_PER_GROUP, end - start)).combine_chunks()
            self._writer.write_table(group)
        rest = table.slice(end)
        self._waiting, self._rows_waiting = ([rest] if rest.num_rows else []), rest.num_rows

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                if self._waiting:
                    self._write_groups(whole_only=False)
                self._writer.close()
                self._stream.flush()
                if self._temporary is not None:
                    os.fsync(self._stream.fileno())
        except BaseException:
            self._abandon()
            raise
        if kind is not None:
            self._abandon()
            return
        if self._output != STANDARD_STREAM:
            self._stream.close()
        if self._temporary is not None:
            self._temporary.replace(self._output)

    def _abandon(self) -> None:
        self._sink.deaf = True  # the Parquet writer would still write its footer when it is collected
        if self._output != STANDARD_STREAM:
            self._stream.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


class _Sink:
    """A file for pyarrow that needs no seeking: a pipe cannot tell its position, so the bytes are counted."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._position = stream, 0
        self.deaf = False
        self.closed = False

    def write(self, data: bytes) -> int:
        if not self.deaf:
            self._stream.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        if not self.deaf:
            self._stream.flush()

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _open_output(output: str) -> tuple[Path | None, IO[bytes]]:
    """The stream to write, and its temporary name where it has one (a pipe or a device has none)."""
    if output == STANDARD_STREAM:
        return None, sys.stdout.buffer
    path = Path(output)
    if path.exists() and not path.is_file():
        return None, path.open("wb")
    temporary = temporary_name(path)
    return temporary, temporary.open("wb")


def temporary_name(path: Path) -> Path:
    """A name beside `path` for what is not complete yet."""
    return path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")


def _format_for(output: str) -> str:
    return _FORMAT_OF_SUFFIX.get(Path(output).suffix.lower(), "parquet") if output != STANDARD_STREAM else "parquet"


def _writer(table_format: str, sink: _Sink, schema: pa.Schema, *, tabs: bool) -> Any:
    if table_format == "parquet":
        return _parquet_writer(sink, schema)
    if table_format == "arrow":
        return ipc.new_file(sink, schema)
    return _CsvWriter(sink, schema, delimiter="\t" if tabs else ",")


def _parquet_writer(sink: _Sink, schema: pa.Schema) -> pq.ParquetWriter:
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    # Frame numbers count up: as differences they take next to nothing. Dictionaries only help the text columns.
    counting = {field.name: "DELTA_BINARY_PACKED" for field in schema if pa.types.is_integer(field.type)}
    return pq.ParquetWriter(sink, schema, use_dictionary=text, column_encoding=counting, compression="snappy")


class _CsvWriter:
    """CSV as pandas, R and spreadsheets read it: text quoted only where needed, nulls empty."""

    def __init__(self, sink: _Sink, schema: pa.Schema, *, delimiter: str) -> None:
        self._sink = sink
        self._options = pacsv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="needed")
        header = _Text()
        csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(schema.names)
        sink.write(header.text.encode())

    def write_table(self, table: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pacsv.write_csv(table, buffer, self._options)
        self._sink.write(buffer.getvalue().to_pybytes())

    def close(self) -> None:
        self._sink.flush()


class _Text:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text
