"""Reads a table video by video, whatever the order of its rows, without holding more of it than needed."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affcli.errors import AffcliError
from affcli.tables import TableReader

log = logging.getLogger(__name__)

# A table is read piecewise where that takes no more than this many passes over it, else it is sorted in memory.
MOST_PASSES = 3

Run = tuple[int, int]  # rows start to stop of the file, all of one video


class RowsByVideo:
    """A table's rows, one video at a time.

    `ids` are the videos in codepoint order. Where each video's rows lie together, as in tables of ours, memory is
    bounded by the largest video and one row group; rows in another order are sorted in memory, the whole table.
    """

    def __init__(self, reader: TableReader, video_column: str, columns: Sequence[str]) -> None:
        self._reader, self._columns = reader, list(columns)
        self._starts = np.concatenate([[0], np.cumsum(reader.row_groups, dtype=np.int64)])
        self._sorted: pa.Table | None = None
        self._group: tuple[int, pa.Table] | None = None
        self._next: tuple[int, Future[pa.Table]] | None = None
        self._runs = _runs_of(reader, video_column)
        self.ids = tuple(sorted(self._runs))
        if self._loads() > MOST_PASSES * max(1, len(reader.row_groups)):
            log.info("%s: rows are not ordered by video; the whole table is sorted in memory", reader.name)
            self._sort_in_memory()

    def __contains__(self, video: str) -> bool:
        return video in self._runs

    def rows(self, video: str) -> pa.Table:
        """The chosen columns of one video's rows, in the order of the file; no rows for an unknown video."""
        pieces = [self._range(start, stop) for start, stop in self._runs.get(video, [])]
        return pa.concat_tables(pieces) if pieces else self._reader.schema_of(self._columns).empty_table()

    def _range(self, start: int, stop: int) -> pa.Table:
        if self._sorted is not None:
            return self._sorted.slice(start, stop - start)
        first, last = self._groups_of((start, stop))
        pieces = []
        for index in range(first, last + 1):
            offset = int(self._starts[index])
            begin, end = max(start - offset, 0), min(stop, int(self._starts[index + 1])) - offset
            pieces.append(self._load(index).slice(begin, end - begin))
        return pa.concat_tables(pieces)

    def _load(self, index: int) -> pa.Table:
        if self._group is not None and self._group[0] == index:
            return self._group[1]
        in_sequence = self._group is not None and self._group[0] == index - 1
        self._group = None  # let go of the old one before reading
        table = self._read_ahead(index)
        if table is None:
            table = self._reader.read_group(index, self._columns)
        self._group = (index, table)
        if in_sequence and index + 1 < len(self._reader.row_groups):
            self._next = (index + 1, _reading_thread().submit(self._reader.read_group, index + 1, self._columns))
        return table

    def _read_ahead(self, index: int) -> pa.Table | None:
        """The row group, if it is the one that was read ahead."""
        if self._next is None:
            return None
        (found, reading), self._next = self._next, None
        wait([reading])
        return reading.result() if found == index else None

    def close(self) -> None:
        """Waits for what is being read ahead; the file may be closed then."""
        if self._next is not None:
            wait([self._next[1]])

    def _groups_of(self, run: Run) -> tuple[int, int]:
        first, last = np.searchsorted(self._starts, [run[0], run[1] - 1], side="right") - 1
        return int(first), int(last)

    def _loads(self) -> int:
        """How many row groups a pass in order of `ids` reads, counting repeats."""
        loads, held = 0, -1
        for video in self.ids:
            for run in self._runs[video]:
                first, last = self._groups_of(run)
                loads += last - first + (first != held)
                held = last
        return loads

    def _sort_in_memory(self) -> None:
        table = self._reader.read(self._columns)
        order = np.concatenate([np.arange(*run) for video in self.ids for run in self._runs[video]])
        self._sorted = table.take(pa.array(order))
        sizes = [sum(stop - start for start, stop in self._runs[video]) for video in self.ids]
        ends = np.cumsum(sizes).tolist()
        self._runs = {video: [(end - size, end)] for video, size, end in zip(self.ids, sizes, ends, strict=True)}


@functools.cache
def _reading_thread() -> ThreadPoolExecutor:
    """Reads the next row group while this one is worked on; a table is never read by two threads at once."""
    return ThreadPoolExecutor(1, "affcli-read")


def _runs_of(reader: TableReader, video_column: str) -> dict[str, list[Run]]:
    """Each video's runs of neighbouring rows."""
    runs: dict[str, list[Run]] = {}
    row = 0
    for chunk in reader.dictionary_chunks(video_column):
        codes = chunk.indices.to_numpy(zero_copy_only=False)
        names = _names(reader.name, video_column, chunk)
        borders = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
        for start, stop in itertools.pairwise(borders):
            _extend(runs.setdefault(names[codes[start]], []), row + start, row + stop)
        row += len(codes)
    return runs


def _names(table: str, column: str, chunk: pa.DictionaryArray) -> list[str]:
    if chunk.null_count or chunk.dictionary.null_count:
        raise AffcliError(f"{table}: column '{column}' is empty in some rows.")
    try:
        names: list[str] = pc.cast(chunk.dictionary, pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise AffcliError(f"{table}: column '{column}' holds {chunk.type.value_type}, not names of videos.") from error
    return names


def _extend(runs: list[Run], start: int, stop: int) -> None:
    if runs and runs[-1][1] == start:
        runs[-1] = (runs[-1][0], stop)
    else:
        runs.append((start, stop))
