"""Anyone's logits, video by video: the one way in which `vote`, `smooth` and `score` read prediction tables."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affcli.errors import AffcliError, counted, listed
from affcli.predictions.columns import ColumnNames, Layout, is_list, layout_of, without_logits
from affcli.schema import FRAMES, WINDOWED
from affcli.tables.by_video import RowsByVideo
from affcli.tables.reader import TableReader, plain_type, tables_in

__all__ = ["ColumnNames", "LogitTable", "VideoRows"]

log = logging.getLogger(__name__)

LAST_FRAME = np.iinfo(np.int32).max


@dataclass(frozen=True)
class VideoRows:
    """One video's rows, ascending by frame; rows of one frame keep the order of the file.

    `frame` int64 [n], 1-based, may repeat (windowed logits); `logits` float32 or float64 [n, C], NaN where missing;
    `carried` the other columns [n]; `end` int64 [n], the last frame of each span, or None for rows of single frames;
    `missing` how many logits are NaN.
    """

    video: str
    frame: np.ndarray
    logits: np.ndarray
    carried: pa.Table
    end: np.ndarray | None = None
    missing: int = 0


class LogitTable:
    """One table of logits (or only labels), from a file, `-`, a folder of tables, or several files seen as one.

    `name` is what the user calls it; `classes` its classes in order; `metadata` what it says of itself; `ours`
    whether affcli made it; `has_logits` is false where it has only a `label` column. `ids` are its videos in
    codepoint order, `carried_schema` its other columns, or those of them that `carry` names. Where `labels_suffice`,
    the logits of tables of ours whose frames all have a label are not read, as if they had none: a third of the time.

    A table whose rows are ordered by video is read with one video in memory at a time; otherwise it is sorted in
    memory. Raises AffcliError for what cannot be read so, naming the column and the option that helps.
    """

    def __init__(
        self,
        *sources: str,
        columns: ColumnNames | None = None,
        carry: Collection[str] | None = None,
        labels_suffice: bool = False,
    ) -> None:
        names = columns or ColumnNames()
        self._files = ExitStack()
        try:
            files = [file for source in sources for file in tables_in(source)]
            parts = [_Part(file, names, carry, self._files, labels_suffice=labels_suffice) for file in files]
            self._parts = _alike(parts)
        except BaseException:
            self._files.close()
            raise
        first = parts[0]
        self.name = "standard input" if sources[0] == "-" else ", ".join(sources)
        self.classes, self.metadata = first.layout.classes, first.reader.metadata
        self.ours = all(part.ours for part in parts)
        self.has_logits, self.spans = bool(self.classes), len(first.layout.frames) == 2
        self._missing: dict[str, int] = {}  # by video, so that one that is read twice counts once
        self.carried_schema = _carried_schema(parts)
        self.ids = tuple(sorted({video for part in parts for video in part.groups.ids}))
        if first.layout.guessed:
            log.warning("%s: logits taken from the columns %s", self.name, listed(first.layout.scores, limit=40))

    def __contains__(self, video: str) -> bool:
        return any(video in part.groups for part in self._parts)

    def rows(self, video: str, *, ordered: bool = True) -> VideoRows:
        """The rows of one of `ids`, cheapest in the order of `ids`; as they stand in the file if not `ordered`."""
        pieces = [part.rows(video, self.classes, self.carried_schema) for part in self._parts if video in part.groups]
        rows = pieces[0] if len(pieces) == 1 else _joined(video, pieces)
        if rows.missing:
            self._missing[video] = rows.missing
        return _by_frame(rows) if ordered else rows

    def videos(self) -> Iterator[VideoRows]:
        """Each video's rows, in codepoint order of their ids."""
        return (self.rows(video) for video in self.ids)

    @property
    def missing_logits(self) -> int:
        """How many logits of the videos read so far were null or NaN."""
        return sum(self._missing.values())

    def note_missing(self) -> None:
        """Says how many logits of the videos read so far were null or NaN, if any were."""
        if self.missing_logits:
            log.warning("%s: left out %s (null or NaN)", self.name, counted(self.missing_logits, "missing logit"))

    def close(self) -> None:
        self._files.close()

    def __enter__(self) -> LogitTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Part:
    """One file of a table."""

    def __init__(
        self, file: str, names: ColumnNames, carry: Collection[str] | None, files: ExitStack, *, labels_suffice: bool
    ) -> None:
        self.reader = files.enter_context(TableReader(file, text=(names.video,)))
        self.layout = layout_of(self.reader.name, self.reader.schema, self.reader.metadata, names)
        named = self.ours and "min_confidence" not in self.reader.metadata  # else labels may be null, see Naming
        if labels_suffice and named and names.label in self.layout.carried:
            self.layout = without_logits(self.layout)
        self.carried = [name for name in self.layout.carried if carry is None or name in carry]
        self._offset = names.frame_offset
        wanted = [*self.layout.frames, *self.layout.score_columns, *self.carried]
        self.groups = RowsByVideo(self.reader, self.layout.video, wanted)

    @property
    def ours(self) -> bool:
        return self.reader.metadata.get("kind") in (WINDOWED, FRAMES)

    def rows(self, video: str, classes: Sequence[str], carried: pa.Schema) -> VideoRows:
        table = self.groups.rows(video)
        frames = [self._frames(table, column) for column in self.layout.frames]
        if len(frames) == 2 and (frames[1] < frames[0]).any():
            row = int(np.flatnonzero(frames[1] < frames[0])[0])
            span = f"start {frames[0][row]}, end {frames[1][row]}"
            raise AffcliError(f"{self.reader.name}: video '{video}' has a span that ends before it starts ({span}).")
        logits = _logits(self.reader.name, table, self.layout, classes)
        end = frames[1] if len(frames) == 2 else None
        return VideoRows(video, frames[0], logits, _fitted(table, carried), end, _missing(logits))

    def _frames(self, table: pa.Table, column: str) -> np.ndarray:
        frames: np.ndarray = _whole_numbers(self.reader.name, table[column], column) + self._offset
        if frames.size and frames.min() < 1:
            least = int(frames.min())
            hint = "Add 1 to each with --frame-offset 1." if least == 0 else "Correct them with --frame-offset N."
            raise AffcliError(f"{self.reader.name}: column '{column}' holds {least}; frames are 1-based. {hint}")
        if frames.size and frames.max() > LAST_FRAME:
            raise AffcliError(f"{self.reader.name}: column '{column}' holds {frames.max()}, too large for a frame.")
        return frames


def _alike(parts: Sequence[_Part]) -> Sequence[_Part]:
    first = parts[0]
    for part in parts[1:]:
        if set(part.layout.classes) != set(first.layout.classes):
            ours, theirs = listed(first.layout.classes), listed(part.layout.classes)
            raise AffcliError(f"{part.reader.name} has the classes {theirs}, but {first.reader.name} has {ours}.")
        if len(part.layout.frames) != len(first.layout.frames):
            raise AffcliError(f"{part.reader.name} and {first.reader.name}: only one of them has spans (start, end).")
    return parts


def _carried_schema(parts: Sequence[_Part]) -> pa.Schema:
    """The other columns of all files, with dictionaries and views as plain columns."""
    schemas = [pa.schema([_plain(part.reader.schema.field(name)) for name in part.carried]) for part in parts]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        names = f"{parts[0].reader.name} and the tables beside it"
        raise AffcliError(f"{names}: their columns are of different types: {str(error).splitlines()[0]}") from error


def _plain(field: pa.Field) -> pa.Field:
    return pa.field(field.name, plain_type(field.type))


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table's columns under the schema; those it lacks are null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema) if columns else table.select([])


def _whole_numbers(name: str, column: pa.ChunkedArray, title: str) -> np.ndarray:
    if column.null_count:
        raise AffcliError(f"{name}: column '{title}' is empty in {counted(column.null_count, 'row')}.")
    try:
        numbers = pc.cast(column, pa.int64())  # whole floats too: pandas makes them of integers with gaps
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise AffcliError(f"{name}: column '{title}' holds {column.type}, not whole numbers.") from error
    whole: np.ndarray = numbers.to_numpy()
    return whole


def _logits(name: str, table: pa.Table, layout: Layout, classes: Sequence[str]) -> np.ndarray:
    """The logits [n, C] in order of `classes`, each class's numbers adjacent in memory."""
    raw: np.ndarray = _listed_numbers(name, table, layout) if layout.list_column else _numbers(table, layout)
    if layout.class_of == tuple(classes):
        return np.transpose(raw)
    merged = np.full((len(classes), table.num_rows), np.nan, raw.dtype)
    for row, class_name in zip(raw, layout.class_of, strict=True):
        at = classes.index(class_name)
        np.fmax(merged[at], row, out=merged[at])  # two columns of one class: the larger; a missing one does not count
    return np.transpose(merged)


def _numbers(table: pa.Table, layout: Layout) -> np.ndarray:
    types = [table.schema.field(column).type for column in layout.scores]
    raw = np.empty((len(layout.scores), table.num_rows), _float_type(types))
    for row, column in zip(raw, layout.scores, strict=True):
        start = 0
        for chunk in table[column].chunks:
            row[start : start + len(chunk)] = _floats(chunk)
            start += len(chunk)
    return raw


def _listed_numbers(name: str, table: pa.Table, layout: Layout) -> np.ndarray:
    column = table[layout.list_column]
    size = len(layout.scores)
    raw = np.full((size, table.num_rows), np.nan, _float_type([column.type.value_type]))
    start = 0
    for chunk in column.chunks:
        assert is_list(chunk.type)
        lengths = pc.unique(pc.drop_null(pc.list_value_length(chunk))).to_pylist()
        if lengths not in ([], [size]):
            odd = next(length for length in lengths if length != size)
            found = f"a list of {odd} numbers, and --classes names {size}"
            raise AffcliError(f"{name}: column '{layout.list_column}' holds {found}.")
        present = chunk.is_valid().to_numpy(zero_copy_only=False)
        raw[:, start : start + len(chunk)][:, present] = _floats(chunk.flatten()).reshape(-1, size).T
        start += len(chunk)
    return raw


def _float_type(types: Sequence[pa.DataType]) -> type[np.floating[Any]]:
    """float32 where that holds all of them exactly."""
    small = all(pa.types.is_float16(kind) or pa.types.is_float32(kind) for kind in types)
    return np.float32 if small else np.float64


def _floats(chunk: pa.Array) -> np.ndarray:
    """Numbers with NaN for null."""
    if not pa.types.is_floating(chunk.type):
        chunk = chunk.cast(pa.float64(), safe=False)
    floats: np.ndarray = chunk.to_numpy(zero_copy_only=False)
    return floats


def _missing(logits: np.ndarray) -> int:
    """How many are NaN; the quick minimum, which is NaN if any is, spares most tables the count."""
    return int(np.isnan(logits).sum()) if logits.size and np.isnan(logits.min()) else 0


def _by_frame(rows: VideoRows) -> VideoRows:
    """The rows in ascending order of frames."""
    if (np.diff(rows.frame) >= 0).all():
        return rows
    order = np.argsort(rows.frame, kind="stable")
    end = None if rows.end is None else rows.end[order]
    carried = rows.carried.take(pa.array(order))
    return replace(rows, frame=rows.frame[order], logits=rows.logits[order], carried=carried, end=end)


def _joined(video: str, pieces: Sequence[VideoRows]) -> VideoRows:
    """One video's rows from several files, in the order of the files."""
    frame = np.concatenate([piece.frame for piece in pieces])
    logits = np.concatenate([piece.logits for piece in pieces])
    carried = pa.concat_tables([piece.carried for piece in pieces])
    ends = [piece.end for piece in pieces if piece.end is not None]
    missing = sum(piece.missing for piece in pieces)
    return VideoRows(video, frame, logits, carried, np.concatenate(ends) if ends else None, missing)
