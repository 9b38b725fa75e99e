"""Opens tables: Parquet, CSV/TSV and Arrow, from files, pipes and standard input. No other module does.

Whatever its format, an open table is read in pieces, so that its size does not matter: CSV and Arrow streams are
first turned into a temporary Arrow file. (Writing is in `writer.py`, and offered here too.)
"""

from __future__ import annotations

import functools
import importlib.abc
import shutil
import stat
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from affcli.errors import AffcliError, UsageError, listed
from affcli.files.outputs import STANDARD_STREAM
from affcli.schema import SUMMARY, SUMMARY_CSV, SUMMARY_TABLE, metadata_of
from affcli.tables.abaw_submission import is_submission, read_submission
from affcli.tables.delimited import read_csv
from affcli.tables.writer import FORMAT_OF_SUFFIX, ROWS_PER_GROUP

PARQUET_READERS = 2  # of one file at once: row groups of a wide table take longer to unpack than to work on


class TableReader:
    """An open table of any format, read in pieces.

    `name` is what the user calls it; `schema` its columns; `metadata` what it says of itself under the key `affcli`;
    `row_groups` the numbers of rows in the pieces that `read_group` can read by themselves.
    """

    def __init__(self, source: str, *, text: Collection[str] = ()) -> None:
        """Opens a file name, or `-` for standard input (spooled to a temporary file: Parquet's index is at its end).

        Columns named in `text` hold ids: in CSV, 007 stays as it is written; in Parquet they may come as dictionaries.
        """
        _keep_pandas_out()
        self.name = "standard input" if source == STANDARD_STREAM else source
        self._files = ExitStack()
        self._idle: LifoQueue[_Pieces | None] = LifoQueue()  # one for each thread that may read; None when closed
        try:
            with self._named_errors():
                path = self._seekable(source)
                if path.stat().st_size == 0:
                    raise AffcliError(f"{self.name}: is empty (0 bytes), not a table.")
                opened: list[_Pieces] = self._opened(path, text)
        except BaseException:
            self._files.close()
            raise
        for pieces in opened:
            self._idle.put(pieces)
        self._readers = len(opened)
        self.schema: pa.Schema = opened[0].schema
        self.row_groups: list[int] = opened[0].row_groups
        self.num_rows = sum(self.row_groups)
        self.metadata: Mapping[str, Any] = metadata_of(self.schema)

    def _seekable(self, source: str) -> Path:
        if source == STANDARD_STREAM:
            if sys.stdin is None or sys.stdin.isatty():
                raise UsageError("no input: name a table, or pipe one in.")
            return self._spooled(sys.stdin.buffer)
        path = Path(source)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise AffcliError(f"{source}: is a folder, not a table.")
        if stat.S_ISREG(mode):
            return path
        with path.open("rb") as stream:  # a named pipe, or <(…) of the shell
            return self._spooled(stream)

    def _temporary(self) -> IO[bytes]:
        """A file that lives as long as the reader."""
        return self._files.enter_context(tempfile.NamedTemporaryFile(prefix="affcli-"))

    def _spooled(self, stream: IO[bytes]) -> Path:
        spool = self._temporary()
        with _temporary_errors():
            shutil.copyfileobj(stream, spool, 1 << 20)
            spool.flush()
        return Path(spool.name)

    def _opened(self, path: Path, text: Collection[str]) -> list[_Pieces]:
        """The table as often as it can be read at the same time."""
        found = _format_of_content(path, self.name)
        if found == "parquet":
            about = pq.read_metadata(path)
            readers = min(PARQUET_READERS, max(1, about.num_row_groups))
            return [_Parquet(self._files.enter_context(_parquet(path, about, text))) for _ in range(readers)]
        if found == "arrow":
            return [_Arrow(self._files.enter_context(pa.OSFile(str(path))))]
        schema, batches = _streamed(path, self.name, text, found)
        return [_Arrow(self._files.enter_context(self._converted(schema, batches)))]

    def _converted(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.NativeFile:
        """The rows in a temporary Arrow file, which can be read from anywhere."""
        plain = pa.schema([field.with_type(plain_type(field.type)) for field in schema], schema.metadata)
        spool = self._temporary()
        with ipc.new_file(spool.name, plain) as writer:
            for batch in batches:
                writer.write_table(pa.table(batch).cast(plain), ROWS_PER_GROUP)
        return pa.OSFile(spool.name)

    @property
    def columns(self) -> list[str]:
        """Column names, without the index that pandas may have stored as a column."""
        return [name for name in self.schema.names if not name.startswith("__index_level_")]

    def require(self, *names: str) -> None:
        """Raises an error that names the first missing column and the columns there are."""
        for name in names:
            if name not in self.schema.names:
                raise AffcliError(f"{self.name} has no column '{name}' (columns: {listed(self.columns)}).")

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """The schema of some of the columns."""
        return pa.schema([self.schema.field(name) for name in columns])

    def read_group(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One of the pieces of the table, all columns or some. Threads wait for a reader of the file that is idle."""
        pieces = self._idle.get()
        try:
            if pieces is None:
                raise AffcliError(f"{self.name}: is closed.")
            with self._named_errors():
                return pieces.read(index, list(self.columns if columns is None else columns))
        finally:
            self._idle.put(pieces)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in file order, at most 65,536 at a time."""
        for index in range(len(self.row_groups)):
            yield from self.read_group(index, columns).to_batches(ROWS_PER_GROUP)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table, or some of its columns."""
        wanted = list(self.columns if columns is None else columns)
        groups = [self.read_group(index, wanted) for index in range(len(self.row_groups))]
        return pa.concat_tables(groups) if groups else self.schema_of(wanted).empty_table()

    def dictionary_chunks(self, column: str) -> Iterator[pa.DictionaryArray]:
        """One column in file order, piece by piece, dictionary-encoded."""
        for index in range(len(self.row_groups)):
            for chunk in self.read_group(index, [column])[column].chunks:
                yield chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Says which table could not be read, and why."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:  # pyarrow reports damaged pages so, too
            raise AffcliError(f"{self.name}: {error.strerror or 'damaged: ' + _first_line(error)}.") from error
        except (pa.ArrowException, UnicodeDecodeError) as error:
            hint = " Did the command before it in the pipe fail?" if self.name == "standard input" else ""
            raise AffcliError(f"{self.name}: not a table that can be read: {_first_line(error)}.{hint}") from error

    def close(self) -> None:
        for _ in range(self._readers):
            self._idle.get()  # waits for what is being read
        self._readers = 1
        self._idle.put(None)
        self._files.close()

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


@functools.cache
def _keep_pandas_out() -> None:
    """Makes pyarrow look for pandas now and not find it.

    Where pandas is installed, pyarrow imports it at its first array, which takes longer than all of a small `vote`;
    nothing here hands pandas anything. Anyone else in the process can still import it.
    """

    class Refused(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "pandas":
                raise ImportError(name)

    refused = Refused()
    sys.meta_path.insert(0, refused)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(refused)


def tables_in(source: str) -> list[str]:
    """The tables in a folder, by name, but for what sums up the others; any other source by itself."""
    path = Path(source)
    if source == STANDARD_STREAM or not path.is_dir():
        return [source]
    suffixes = sorted(FORMAT_OF_SUFFIX.keys() - {".txt"})
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and file.name[0] != ".")
    if metadata_in(path / SUMMARY_TABLE).get("kind") == SUMMARY:
        files = [file for file in files if file.name not in (SUMMARY_TABLE, SUMMARY_CSV)]
    if not files:
        raise AffcliError(f"{source}: no tables in this folder ({', '.join(suffixes)}).")
    return [str(file) for file in files]


def metadata_in(path: Path) -> Mapping[str, Any]:
    """What a Parquet file says of itself under the key `affcli`; empty for any other file, and where there is none."""
    if not path.is_file():
        return {}
    try:
        return metadata_of(pq.read_schema(path))
    except (OSError, pa.ArrowException):
        return {}


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries and views, which not every format and reader knows."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


# --- formats ---------------------------------------------------------------------------------------------------------


class _Pieces(Protocol):
    """A table in pieces that can be read by themselves, in any order."""

    schema: pa.Schema
    row_groups: list[int]

    def read(self, index: int, columns: list[str]) -> pa.Table: ...


class _Parquet:
    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self.schema = file.schema_arrow
        self.row_groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]

    def read(self, index: int, columns: list[str]) -> pa.Table:
        return self._file.read_row_group(index, columns=columns)


def _parquet(path: Path, about: pq.FileMetaData, text: Collection[str]) -> pq.ParquetFile:
    paths = {about.schema.column(i).path for i in range(about.num_columns)}
    # Ids repeat: ten times faster to read as dictionaries, as Parquet keeps them.
    ids = [name for name in text if name in paths]
    # Row groups are read ahead by threads of our own; a second buffer only doubles the memory that is touched.
    return pq.ParquetFile(path, metadata=about, read_dictionary=ids, pre_buffer=False)


class _Arrow:
    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        whole = ipc.open_file(file)
        self.schema = whole.schema
        first = self._reader([0]) if self.schema.names else whole
        self.row_groups = [first.get_batch(i).num_rows for i in range(whole.num_record_batches)]

    def _reader(self, columns: list[int]) -> ipc.RecordBatchFileReader:
        return ipc.open_file(self._file, options=ipc.IpcReadOptions(included_fields=columns))

    def read(self, index: int, columns: list[str]) -> pa.Table:
        places = [self.schema.get_field_index(column) for column in columns]
        return pa.table(self._reader(places).get_batch(index)).select(columns)


def _format_of_content(path: Path, name: str) -> str:
    """parquet, arrow (a file), stream (Arrow's), feather1, submission (ABAW's text) or csv."""
    with path.open("rb") as stream:
        head = stream.read(64)
    for magic, found in (
        (b"PAR1", "parquet"),
        (b"ARROW1", "arrow"),
        (b"\xff\xff\xff\xff", "stream"),
        (b"FEA1", "feather1"),
    ):
        if head.startswith(magic):
            return found
    suffix = FORMAT_OF_SUFFIX.get(path.suffix.lower(), "csv")
    if suffix != "csv":
        raise AffcliError(f"{name}: is not {suffix.capitalize()}, whatever its name says.")
    return "submission" if is_submission(head) else "csv"


def _streamed(path: Path, name: str, text: Collection[str], found: str) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    if found == "csv":
        return read_csv(path, name, text)
    if found == "stream":
        reader = ipc.open_stream(pa.OSFile(str(path)))
        return reader.schema, reader
    if found == "submission":
        table = read_submission(path, name)
        return table.schema, table.to_batches()
    from pyarrow.feather import read_table

    table = read_table(path)
    return table.schema, table.to_batches()


@contextmanager
def _temporary_errors() -> Iterator[None]:
    """Says where there was no room for a temporary file."""
    try:
        yield
    except OSError as error:
        folder = tempfile.gettempdir()
        raise AffcliError(
            f"{folder}: no temporary file: {error.strerror}. Set TMPDIR to a folder with room."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
