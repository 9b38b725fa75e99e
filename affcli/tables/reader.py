"""Opens tables: Parquet, CSV and its kin, Arrow and JSON, from files, pipes, standard input and memory. No other module
does.

Whatever its format, an open table is read in pieces, so that its size does not matter: text and Arrow streams are
first turned into a temporary Arrow file. (Writing is in `writer.py`.)
"""

from __future__ import annotations

import csv
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from affcli.errors import AffcliError, ColumnError, TableError, UsageError, closest, listed
from affcli.files.outputs import STANDARD_STREAM, naming_temporary
from affcli.tables.abaw_submission import is_submission, read_submission
from affcli.tables.content import decompress, format_of_content, head_of, is_compressed
from affcli.tables.delimited import read_csv
from affcli.tables.derived import Derived, derived_columns, with_derived
from affcli.tables.encoding import utf16_of, write_as_utf8
from affcli.tables.folders import tables_in
from affcli.tables.given import GivenTable, Source
from affcli.tables.open_files import PiecesPool
from affcli.tables.pandas_kept_out import keep_pandas_out
from affcli.tables.pieces import ArrowPieces, MemoryPieces, ParquetPieces, Pieces, parquet_pieces, plain_type
from affcli.tables.self_description import checked_metadata
from affcli.tables.writer import FORMAT_OF_SUFFIX, ROWS_PER_GROUP

__all__ = ["AS_FOUND", "Reading", "TableReader", "called", "plain_type", "tables_in"]

PARQUET_READERS: Final = 2  # of one file at once: row groups of a wide table take longer to unpack than to work on
_HEAD_OF_SUBMISSION: Final = 1 << 12


@dataclass(frozen=True)
class Reading:
    """How the user says that tables are written.

    `delimiter` is what stands between the fields of a text, in place of what its first lines tell; `video_stem`: ids of
    videos are paths or file names, of which only the stem counts (`clips/a1.mp4` is `a1`).
    """

    delimiter: str | None = None
    video_stem: bool = False


AS_FOUND: Final = Reading()


def called(source: Source) -> str:
    """What errors call a table."""
    if isinstance(source, GivenTable):
        return source.name
    return "standard input" if source == STANDARD_STREAM else source


class TableReader:
    """An open table of any format, read in pieces.

    `name` is what the user calls it; `schema` its columns; `metadata` what it says of itself under the key `affcli`;
    `row_groups` the numbers of rows in the pieces that `read_group` can read by themselves.

    Of many open tables only the last ones used hold files open; the others open theirs again when they are read.
    """

    def __init__(self, source: Source, *, text: Collection[str] = (), reading: Reading = AS_FOUND) -> None:
        """Opens a file name, `-` for standard input (spooled to a temporary file: Parquet's index is at its end), or a
        table in memory.

        Columns named in `text` hold ids, those of videos first: in CSV, 007 stays as it is written; in Parquet they may
        come as dictionaries; and where the table has no such column, the ids may be told by where it lies (`derived`).
        Raises TableError for what is no table or damaged.
        """
        keep_pandas_out()
        self.name = called(source)
        self._how, self._text = reading, text
        self._files = ExitStack()  # temporary files
        try:
            with self.named_errors():
                self._pool = PiecesPool(self.name, self._opener(source))
                _refuse_twins(self.name, self._pool.schema.names)
        except BaseException:
            self._files.close()
            raise
        stored = self._pool.schema
        self.row_groups: list[int] = self._pool.row_groups
        self.num_rows = sum(self.row_groups)
        self.metadata: Mapping[str, Any] = checked_metadata(self.name, stored)
        video = next(iter(text), None)
        place = STANDARD_STREAM if isinstance(source, GivenTable) else source
        self._derived = {one.name: one for one in derived_columns(place, stored, video, stems=self._how.video_stem)}
        self.schema = _with_fields(stored, self._derived)

    def _seekable(self, source: str) -> Path:
        if source == STANDARD_STREAM:
            if sys.stdin is None or sys.stdin.isatty():
                raise UsageError("no input: name a table, or pipe one in.")
            return self._spooled(sys.stdin.buffer)
        path = Path(source)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise TableError(f"{source}: is a folder, not a table.")
        if stat.S_ISREG(mode):
            return path if _is_unicode(path) else self._renamed(path)
        with path.open("rb") as stream:  # a named pipe, or <(…) of the shell
            return self._spooled(stream)

    def _renamed(self, path: Path) -> Path:
        """A link to a file whose name is no UTF-8, which Arrow cannot open."""
        with naming_temporary():
            folder = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="affcli-")))
            (folder / "table").symlink_to(path.resolve())
        return folder / "table"

    def _temporary(self) -> IO[bytes]:
        """A new file, which is there until the table is closed."""
        with naming_temporary():
            spool = tempfile.NamedTemporaryFile(prefix="affcli-", delete=False)  # noqa: SIM115 - its user closes it
        self._files.callback(Path(spool.name).unlink, missing_ok=True)
        return spool

    def _spooled(self, stream: IO[bytes]) -> Path:
        with self._temporary() as spool, naming_temporary():
            shutil.copyfileobj(stream, spool, 1 << 20)
        return _path_of(spool)

    def _opener(self, source: Source) -> Callable[[ExitStack], list[Pieces]]:
        """What opens the table as often as it can be read at the same time."""
        if isinstance(source, GivenTable):
            return lambda files: [MemoryPieces(source.table)]
        path = self._seekable(source)
        if path.stat().st_size == 0:
            raise TableError(f"{self.name}: is empty (0 bytes), not a table.")
        path = self._decoded(path)
        found = format_of_content(path, self.name)
        _refuse_other_name(self.name, found)
        if found == "parquet":
            return lambda files: _open_parquet(path, self._text, files)
        if found == "feather1":
            from affcli.tables.feather_v1 import convert

            with self._temporary() as copy:
                path, found = convert(path, copy, self.name), "arrow"
        if found == "arrow":
            return lambda files: [ArrowPieces(files.enter_context(pa.OSFile(str(path))))]
        schema, batches = self._streamed(path, found)
        spool = self._converted(schema, batches)
        kept = schema if _kept_types(schema) else None
        return lambda files: [ArrowPieces(files.enter_context(pa.OSFile(spool)), trusted=True, schema=kept)]

    def _decoded(self, path: Path) -> Path:
        """The file without compression around it, and UTF-16 text as UTF-8."""
        head = head_of(path)
        for _ in range(2):  # a compressed file may have been compressed again on its way
            if not is_compressed(head):
                break
            with self._temporary() as spool, naming_temporary():
                decompress(path, spool, self.name)
            path = _path_of(spool)
            head = head_of(path)
            if not head:
                raise TableError(f"{self.name}: is empty, not a table.")
        if (encoding := utf16_of(head)) is not None:
            with self._temporary() as spool, naming_temporary():
                write_as_utf8(path, encoding, spool, self.name)
            path = _path_of(spool)
        return path

    def _streamed(self, path: Path, found: str) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
        if found == "text" and not _is_submission(path):
            delimiter, temporary = self._how.delimiter, self._temporary
            return read_csv(path, self.name, self._text, delimiter=delimiter, temporary=temporary)
        if found == "stream":
            reader = ipc.open_stream(pa.OSFile(str(path)))
            return reader.schema, _checked(reader)
        if found == "json":
            from affcli.tables.json_rows import read_json

            return read_json(path, self.name)
        table = read_submission(path, self.name)
        return table.schema, table.to_batches()

    def _converted(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
        """The name of a temporary Arrow file with the rows, which can be read from anywhere."""
        plain = pa.schema([field.with_type(plain_type(field.type)) for field in schema], schema.metadata)
        with self._temporary() as spool, ipc.new_file(spool, plain) as writer:
            for batch in batches:
                with naming_temporary():
                    writer.write_table(pa.Table.from_batches([batch]).cast(plain), ROWS_PER_GROUP)
        return str(_path_of(spool))

    @property
    def columns(self) -> list[str]:
        """Column names, without the index that pandas may have stored as a column."""
        return [name for name in self.schema.names if not name.startswith("__index_level_")]

    def require(self, *names: str) -> None:
        """Raises an error that names the first missing column and the columns there are."""
        for name in names:
            if name not in self.schema.names:
                likely = listed(closest(name, self.columns))
                raise ColumnError(f"{self.name} has no column '{name}' (columns: {likely}).")

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """The schema of some of the columns."""
        return pa.schema([self.schema.field(name) for name in columns])

    def read_group(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One of the pieces of the table, all columns or some. Threads wait for a reader of the file that is idle."""
        wanted = list(self.columns if columns is None else columns)
        with self._pool.borrowed() as pieces, self.named_errors():
            if not self._derived:
                return pieces.read(index, wanted)
            sources = [one.source for name in wanted if (one := self._derived.get(name)) and one.source]
            stored = [name for name in wanted if name not in self._derived]
            # Without a column of the table itself nothing would tell how many rows there are.
            needed = list(dict.fromkeys([*stored, *sources])) or self._pool.schema.names[:1]
            return with_derived(pieces.read(index, needed), list(self._derived.values()), wanted)

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
    def named_errors(self) -> Iterator[None]:
        """Says which table could not be read, and why."""
        try:
            yield
        except BrokenPipeError:
            raise
        except AffcliError:
            raise
        except OSError as error:  # pyarrow reports damaged pages so, too
            raise TableError(f"{self.name}: {error.strerror or 'damaged: ' + _first_line(error)}.") from error
        except (pa.ArrowException, csv.Error, UnicodeDecodeError, OverflowError) as error:
            hint = " Did the command before it in the pipe fail?" if self.name == "standard input" else ""
            raise TableError(f"{self.name}: not a table that can be read: {_first_line(error)}.{hint}") from error

    def close(self) -> None:
        """Closes the table and removes its temporary files."""
        self._pool.close()
        self._files.close()

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _with_fields(stored: pa.Schema, derived: Mapping[str, Derived]) -> pa.Schema:
    """The columns that a table has once those that are derived are added to it, or replace others."""
    if not derived:
        return stored
    added = [pa.field(one.name, one.kind) for one in derived.values()]
    kept = [field for field in stored if field.name not in derived]
    return pa.schema([*added, *kept], stored.metadata)


def _refuse_twins(name: str, columns: Sequence[str]) -> None:
    if twins := sorted({column for column in columns if columns.count(column) > 1}):
        raise TableError(f"{name}: has more than one column '{twins[0]}'. Rename or drop one.")


def _refuse_other_name(name: str, found: str) -> None:
    """Raises TableError for text under a name that says Parquet or Arrow."""
    suffix = FORMAT_OF_SUFFIX.get(Path(name).suffix.lower(), "csv")
    if suffix != "csv" and found in ("text", "json"):
        raise TableError(f"{name}: is not {suffix.capitalize()}, whatever its name says.")


def _open_parquet(path: Path, text: Collection[str], files: ExitStack) -> list[Pieces]:
    about = pq.read_metadata(path)
    found = sum(about.row_group(index).num_rows for index in range(about.num_row_groups))
    if found != about.num_rows:  # else rows that a damaged row group does not tell of would be lost without a word
        raise pa.ArrowInvalid(f"{about.num_rows} rows, but {found} in its row groups")
    readers = min(PARQUET_READERS, max(1, about.num_row_groups))
    return [ParquetPieces(files.enter_context(parquet_pieces(path, about, text))) for _ in range(readers)]


def _kept_types(schema: pa.Schema) -> bool:
    return any(pa.types.is_dictionary(field.type) for field in schema)


def _checked(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches of somebody else's file, checked as a whole: see ArrowPieces."""
    for batch in batches:
        batch.validate(full=True)
        yield batch


def _is_submission(path: Path) -> bool:
    """Whether a text is an ABAW submission: its header names nine columns, and its rows have two fields."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_OF_SUBMISSION)
    rows = [line for line in head.splitlines()[1:3] if line.strip()]
    return is_submission(head) and all(row.count(b",") == 1 for row in rows[:1])


def _is_unicode(path: Path) -> bool:
    return os.fsencode(path).decode("utf-8", "ignore") == str(path)


def _path_of(stream: IO[bytes]) -> Path:
    return Path(str(stream.name))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
