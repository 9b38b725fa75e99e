"""Tables as they are, for CSV: the rows of one table or a folder of tables, all of them or video by video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import pyarrow as pa

from affcli.errors import AffcliError, listed
from affcli.tables.by_video import RowsByVideo
from affcli.tables.delimited import csv_header, csv_lines
from affcli.tables.reader import AS_FOUND, Reading, TableReader, tables_in


class CopiedRows:
    """All columns of a table, or of the tables in a folder, which have the same; a context manager.

    Raises ColumnError where a table lacks a column that the first one has, AffcliError where it has another.
    """

    def __init__(self, source: str, video_column: str, reading: Reading = AS_FOUND) -> None:
        self._files, self._video = ExitStack(), video_column
        try:
            self._tables = [
                self._files.enter_context(TableReader(file, text=(video_column,), reading=reading))
                for file in tables_in(source)
            ]
            first = self._tables[0]
            self.columns = first.columns
            self.schema = first.schema_of(self.columns)
            for table in self._tables[1:]:
                table.require(*self.columns)
                if others := [name for name in table.columns if name not in self.columns]:
                    raise AffcliError(f"{table.name}: has columns that {first.name} lacks: {listed(others)}.")
        except BaseException:
            self._files.close()
            raise

    def pieces(self) -> Iterator[pa.Table]:
        """The rows in their order, some at a time."""
        for table in self._tables:
            for index in range(len(table.row_groups)):
                yield table.read_group(index, self.columns).cast(self.schema)

    def videos(self) -> Iterator[tuple[str, pa.Table]]:
        """Each video, in codepoint order, and its rows."""
        for table in self._tables:
            table.require(self._video)
        groups = [RowsByVideo(table, self._video, self.columns) for table in self._tables]
        for video in sorted({video for group in groups for video in group.ids}):
            found = [group.rows(video).cast(self.schema) for group in groups if video in group]
            yield video, pa.concat_tables(found)

    def __enter__(self) -> CopiedRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._files.close()


def csv_text(rows: pa.Table) -> bytes:
    """A whole CSV file."""
    return csv_header(rows.column_names, ",") + csv_lines(rows, ",")
