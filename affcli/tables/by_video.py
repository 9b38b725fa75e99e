"""Reads a table video by video, whatever the order of its rows, without holding more of it than needed."""

from __future__ import annotations

import functools
import logging
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from affcli.errors import TableError
from affcli.files.free_memory import free_memory
from affcli.tables.keys import id_names, refuse_as_ids, refuse_nulls
from affcli.tables.reader import TableReader

log = logging.getLogger(__name__)

# A table is read piecewise where that takes no more than this many passes over it and no more than so many pieces for
# each video and row group, else it is sorted in memory.
MOST_PASSES = 3
MOST_PIECES = 8
MOST_HELD = 32  # tables of which a row group is held at a time,
MOST_HELD_BYTES = 64 << 20  # or more, while they are small
AHEAD = 2  # row groups that are read while one is worked on

FEW_BYTES = 256 << 20  # what takes less is not compared with the memory that is free
_WORKED_ON = 3  # so many times the size of its rows takes what is done with a video, at least


class RowsByVideo:
    """A table's rows, one video at a time.

    `ids` are the videos in codepoint order. Where each video's rows lie together, as in tables of ours, memory is
    bounded by the largest video and three row groups; rows in another order are sorted in memory, the whole table.
    """

    def __init__(self, reader: TableReader, video_column: str, columns: Sequence[str]) -> None:
        self._reader, self._columns = reader, list(columns)
        self._starts = np.concatenate([[0], np.cumsum(reader.row_groups, dtype=np.int64)])
        self._sorted: pa.Table | None = None
        self._group: tuple[int, pa.Table] | None = None
        self._ahead: dict[int, Future[pa.Table]] = {}
        self._runs = _runs_of(reader, video_column)
        self.ids = self._runs.ids
        self._rank = {video: rank for rank, video in enumerate(self.ids)}
        groups = max(1, len(reader.row_groups))
        pieces = len(self._runs.start)
        if self._loads() > MOST_PASSES * groups or pieces > MOST_PIECES * (len(self.ids) + groups):
            log.info("%s: rows are not ordered by video; the whole table is sorted in memory", reader.name)
            self._sort_in_memory()

    def __contains__(self, video: str) -> bool:
        return video in self._rank

    def rows(self, video: str) -> pa.Table:
        """The chosen columns of the rows of one of `ids`, in the order of the file.

        Raises TableError where they would take more than the memory that is free.
        """
        runs = self._runs.of(self._rank[video])
        self._refuse_too_many(sum(stop - start for start, stop in runs), f"video '{video}'")
        return pa.concat_tables([self._range(start, stop) for start, stop in runs])

    def _range(self, start: int, stop: int) -> pa.Table:
        if self._sorted is not None:
            return self._sorted.slice(start, stop - start)
        first, last = self._groups_of(np.array([start, stop - 1]))
        pieces = []
        for index in range(int(first), int(last) + 1):
            offset = int(self._starts[index])
            begin, end = max(start - offset, 0), min(stop, int(self._starts[index + 1])) - offset
            pieces.append(self._load(index).slice(begin, end - begin))
        return pa.concat_tables(pieces)

    def _load(self, index: int) -> pa.Table:
        if self._group is not None and self._group[0] == index:
            return self._group[1]
        in_sequence = self._group is not None and self._group[0] == index - 1
        self._group = None  # let go of the old one before reading
        reading = self._ahead.pop(index, None)
        table = reading.result() if reading else self._reader.read_group(index, self._columns)
        self._group = (index, table)
        _note_use(self, table)
        following = range(index + 1, min(index + 1 + AHEAD, len(self._reader.row_groups)) if in_sequence else 0)
        self._ahead = {number: self._ahead.get(number) or self._read_ahead(number) for number in following}
        return table

    def let_go(self) -> None:
        """Forgets what was read and may be read again."""
        self._group, self._ahead = None, {}

    def _read_ahead(self, index: int) -> Future[pa.Table]:
        return _reading_threads().submit(self._reader.read_group, index, self._columns)

    def _groups_of(self, rows: np.ndarray) -> np.ndarray:
        groups: np.ndarray = np.searchsorted(self._starts, rows, side="right") - 1
        return groups

    def _loads(self) -> int:
        """How many row groups a pass in order of `ids` reads, counting repeats."""
        first, last = self._groups_of(self._runs.start), self._groups_of(self._runs.stop - 1)
        held = np.concatenate([[-1], last])[:-1]
        return int((last - first + (first != held)).sum())

    def _refuse_too_many(self, rows: int, whose: str) -> None:
        needed = rows * _WORKED_ON * sum(_width(self._reader.schema.field(name).type) for name in self._columns)
        if needed > FEW_BYTES and needed > (free := free_memory()):
            raise TableError(
                f"{self._reader.name}: {whose} has {rows:,} rows, which take about {needed / 1e9:.1f} GB of memory; "
                f"{free / 1e9:.1f} GB are free."
            )

    def _sort_in_memory(self) -> None:
        runs = self._runs
        self._refuse_too_many(self._reader.num_rows, "the table, which is not sorted by video,")
        lengths = runs.stop - runs.start
        ends = np.cumsum(lengths)
        order = np.arange(lengths.sum()) + np.repeat(runs.start - (ends - lengths), lengths)
        self._sorted = self._reader.read(self._columns).take(pa.array(order))
        last = np.searchsorted(runs.video, np.arange(len(self.ids)), side="right") - 1
        stop = ends[last]
        self._runs = _Runs(self.ids, np.arange(len(self.ids)), np.concatenate([[0], stop])[:-1], stop)


@dataclass(frozen=True)
class _Runs:
    """Runs of neighbouring rows of one video: rows `start` to `stop` are of `ids[video]`; ordered by video and row."""

    ids: tuple[str, ...]
    video: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def of(self, rank: int) -> list[tuple[int, int]]:
        first, last = np.searchsorted(self.video, [rank, rank + 1])
        return list(zip(self.start[first:last].tolist(), self.stop[first:last].tolist(), strict=True))


# Tables that hold a row group, and its bytes; the last used at the end.
_in_use: OrderedDict[int, tuple[weakref.ref[RowsByVideo], int]] = OrderedDict()


def _note_use(rows: RowsByVideo, group: pa.Table) -> None:
    """Keeps few tables with a row group in memory: of a folder of thousands, only the last ones used."""
    _in_use[id(rows)] = weakref.ref(rows), group.nbytes
    _in_use.move_to_end(id(rows))
    if len(_in_use) <= MOST_HELD:
        return
    held = sum(size for _, size in _in_use.values())
    while len(_in_use) > MOST_HELD and (held > MOST_HELD_BYTES or len(_in_use) > 8 * MOST_HELD):
        oldest, size = _in_use.popitem(last=False)[1]
        held -= size
        if (one := oldest()) is not None:
            one.let_go()


@functools.cache
def _reading_threads() -> ThreadPoolExecutor:
    """Read the next row groups of a table while this one is worked on."""
    return ThreadPoolExecutor(AHEAD, "affcli-read")


def _width(kind: pa.DataType) -> int:
    """Bytes that a value takes, of text and lists at least."""
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 8


def _runs_of(reader: TableReader, video_column: str) -> _Runs:
    refuse_as_ids(reader.name, video_column, reader.schema.field(video_column).type)
    numbers: dict[str, int] = {}  # of the videos, as they come
    starts, videos = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    row = 0
    for chunk in reader.dictionary_chunks(video_column):
        refuse_nulls(reader.name, video_column, chunk)
        names = id_names(reader.name, video_column, chunk.dictionary)
        number = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
        code = chunk.indices.to_numpy(zero_copy_only=False)
        borders = np.flatnonzero(np.concatenate([np.ones(min(len(code), 1), bool), code[1:] != code[:-1]]))
        starts.append(borders + row)
        videos.append(number[code[borders]])
        row += len(code)
    ids = tuple(sorted(numbers))
    rank = np.argsort([numbers[name] for name in ids]).astype(np.int64)  # of each number, among the sorted ids
    start, video = np.concatenate(starts), rank[np.concatenate(videos)]
    first = np.diff(video, prepend=-1) != 0  # a run may go on in the next chunk
    start, video = start[first], video[first]
    stop = np.append(start[1:], row)[: len(start)]
    order = np.argsort(video, kind="stable")
    return _Runs(ids, video[order], start[order], stop[order])
