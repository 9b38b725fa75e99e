"""Anyone's logits, video by video: the one way in which `vote`, `smooth` and `score` read prediction tables."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affcli.errors import AffcliError, ClassMismatchError, ColumnError, RepeatedFrameError, SpaceError, counted, listed
from affcli.predictions.choose_logits import classes_of
from affcli.predictions.columns import ColumnNames, Layout, in_order, is_list, is_number, layout_of, without_logits
from affcli.predictions.label_texts import COLUMNS as LABEL_TEXT_COLUMNS
from affcli.predictions.label_texts import LabelTexts, label_text_files
from affcli.predictions.space import (
    LABELS,
    LOGITS,
    PERCENT,
    PROBABILITIES,
    SHARES,
    Recognised,
    as_read,
    contradiction,
    recognise,
    whole,
)
from affcli.schema import FRAMES, STARTS, WINDOWED, all_starts, starts_of
from affcli.tables.by_video import RowsByVideo
from affcli.tables.given import GivenTable, Source
from affcli.tables.keys import NEAR_SPANS, frame_numbers, refuse_far_frames
from affcli.tables.label_tables import note_unfinished
from affcli.tables.people import PersonTable, person_columns, plain_column
from affcli.tables.reader import TableReader, called, plain_type, tables_in

__all__ = ["ColumnNames", "LogitTable", "VideoRows"]

log = logging.getLogger(__name__)

LAST_FRAME: Final = np.iinfo(np.int32).max
LONGEST_SPREAD: Final = 100_000_000  # frames of one video: 38 days at 30 fps


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
    """One table of logits (or only labels), from a file, `-`, a folder of tables, memory, or several seen as one.

    `name` is what the user calls it; `classes` its classes in order; `metadata` what it says of itself; `ours`
    whether affcli made it; `space` what its numbers are (see predictions.space; LABELS where it has only labels);
    `has_logits` is false where it has only a `label` column. `ids` are its videos in codepoint order, `carried_schema`
    its other columns, or those of them that `carry` names. `labels_suffice` says that only each row's class is wanted:
    the logits of tables of ours whose frames all have a label are not read then, as if they had none, which takes a
    third of the time, and nobody needs to hear what the numbers are. Per-video label texts are tables of labels too.

    A table whose rows are ordered by video is read with one video in memory at a time; otherwise it is sorted in
    memory. Raises ColumnError for what cannot be read so, naming the column and the option that helps, and SpaceError
    where the numbers of its parts are in different spaces, or in another one than its first rows show.
    """

    def __init__(
        self,
        *sources: Source,
        columns: ColumnNames | None = None,
        carry: Collection[str] | None = None,
        labels_suffice: bool = False,
    ) -> None:
        names = columns or ColumnNames()
        self.names = names
        self._files = ExitStack()
        try:
            parts = [part for source in sources for part in _parts(source, names, carry, self._files, labels_suffice)]
            self._parts = _alike(parts)
            self.space = _common_space(parts)
        except BaseException:
            self._files.close()
            raise
        first = parts[0]
        self.name = ", ".join(map(called, sources))
        self.classes, self.metadata = first.layout.classes, first.metadata
        self.ours = all(part.ours for part in parts)
        self.has_logits, self.spans = bool(self.classes), len(first.layout.frames) == 2
        self._missing: dict[str, int] = {}  # by video, so that one that is read twice counts once
        self.carried_schema = _carried_schema(parts)
        self.ids = tuple(sorted({video for part in parts for video in part.groups.ids}))
        for note in first.layout.notes:
            log.warning("%s: %s", self.name, note)
        if not labels_suffice:
            _note_space(self.name, parts)

    def __contains__(self, video: str) -> bool:
        return any(video in part.groups for part in self._parts)

    @property
    def known_classes(self) -> tuple[str, ...]:
        """The classes that its model knows, also where its logits are not read; empty where nothing tells."""
        own = self.metadata.get("classes") if self.ours else None
        return self.classes or (in_order(classes_of(own, self.names.renamed)) if isinstance(own, list) else ())

    def rows(self, video: str, *, ordered: bool = True, spread: bool = True) -> VideoRows:
        """The rows of one of `ids`, cheapest in the order of `ids`; as they stand in the file if not `ordered`.

        Spans with only labels are spread over their frames, one row for each, unless `spread` is false.
        """
        pieces = [
            part.rows(video, self.classes, self.carried_schema, self.space)
            for part in self._parts
            if video in part.groups
        ]
        rows = pieces[0] if len(pieces) == 1 else _joined(video, pieces)
        if rows.missing:
            self._missing[video] = rows.missing
        if spread and rows.end is not None and not self.has_logits:
            rows = _spread(rows, self.name)
        return _by_frame(rows) if ordered else rows

    def starts_s(self, video: str) -> float:
        """When players show what has `time_s` 0, as the table that has the video says."""
        return next((starts_of(part.metadata, video) for part in self._parts if video in part.groups), 0.0)

    @property
    def other_numbers(self) -> list[str]:
        """Columns of numbers that were not taken for logits, in the first of its files."""
        first = self._parts[0]
        return [name for name in first.layout.carried if is_number(plain_type(first.schema.field(name).type))]

    @property
    def starts(self) -> dict[str, Any]:
        """What the metadata of a table made from this one says of its videos' starts: nothing where all are 0."""
        found = all_starts(part.metadata for part in self._parts)
        return {STARTS: found} if found else {}

    def videos(self) -> Iterator[VideoRows]:
        """Each video's rows, in codepoint order of their ids."""
        return (self.rows(video) for video in self.ids)

    def refuse_spans(self) -> None:
        """Raises RepeatedFrameError for a table of spans with logits, which only a vote brings to frames."""
        if self.spans and self.has_logits:
            raise RepeatedFrameError(
                f"{self.name} has one row for each span (start, end), not for each frame. Run affcli vote first."
            )

    def refuse_repeats(self, rows: VideoRows) -> None:
        """Raises RepeatedFrameError where a frame of a video has several rows (ascending by frame).

        The message names the column that tells people apart, where the rows differ in one.
        """
        at = np.flatnonzero(rows.frame[1:] == rows.frame[:-1])
        if not at.size:
            return
        frame = int(rows.frame[at[0]])
        where = f"{self.name} has several rows for video '{rows.video}', frame {frame}"
        column = self._person_column(rows.video, frame)
        if column is not None:
            raise RepeatedFrameError(
                f"{where}, which differ in column '{column}'. If these are several people, keep them apart with "
                f"--person-column {column}."
            )
        raise RepeatedFrameError(f"{where}: run `affcli vote` first, which averages them.")

    def refuse_people(self, rows: VideoRows) -> None:
        """Raises RepeatedFrameError where rows of one frame differ in a column that is named as person ids are: their
        average would be of different people. Rows may come in any order.
        """
        columns = sorted({column for part in self._parts for column in part.person_columns})
        for column in columns:
            frame = self._frame_of_two(rows.video, column)
            if frame is not None:
                raise RepeatedFrameError(
                    f"{self.name}: video '{rows.video}', frame {frame}: rows differ in column '{column}', so they are "
                    f"of several people. Keep them apart with --person-column {column}, or drop the column to average "
                    "them."
                )

    def _frame_of_two(self, video: str, column: str) -> int | None:
        """The first frame of a video with two values in a column, or None."""
        for part in self._parts:
            if column in part.person_columns and video in part.groups:
                frame = part.frame_of_two(video, column)
                if frame is not None:
                    return frame
        return None

    def _person_column(self, video: str, frame: int) -> str | None:
        columns = sorted({column for part in self._parts for column in part.person_columns})
        return next((column for column in columns if self._frame_of_two(video, column) is not None), None)

    @property
    def missing_logits(self) -> int:
        """How many logits of the videos read so far were null or NaN."""
        return sum(self._missing.values())

    def note_missing(self) -> None:
        """Says how many logits of the videos read so far were null or NaN, if any were."""
        if self.missing_logits:
            # Rows of probabilities that are 0 throughout count as missing, in tables made elsewhere.
            what = "null or NaN" if self.ours or self.space == LOGITS else "null, NaN, or 0 in the whole row"
            log.warning("%s: left out %s (%s)", self.name, counted(self.missing_logits, "missing logit"), what)

    def close(self) -> None:
        """Closes the files."""
        self._files.close()

    def __enter__(self) -> LogitTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _parts(
    source: Source, names: ColumnNames, carry: Collection[str] | None, files: ExitStack, labels_suffice: bool
) -> Iterator[_Part]:
    """The parts of one source: its label texts as one, or each of its tables."""
    if not isinstance(source, GivenTable) and (texts := label_text_files(source)):
        yield _Part.of_texts(source, LabelTexts(texts), names, carry)
        return
    if not isinstance(source, GivenTable):
        note_unfinished(source)
    for file in [source] if isinstance(source, GivenTable) else tables_in(source):
        yield _Part.of_table(file, names, carry, files, labels_suffice=labels_suffice)


class _Rows(Protocol):
    """Rows by video: RowsByVideo, or LabelTexts."""

    ids: tuple[str, ...]

    def __contains__(self, video: str) -> bool: ...

    def rows(self, video: str) -> pa.Table: ...


class _Part:
    """One file of a table, or a folder of label texts."""

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        metadata: Mapping[str, Any],
        names: ColumnNames,
        carry: Collection[str] | None,
        *,
        labels_suffice: bool,
    ) -> None:
        self.name, self.schema, self.metadata = name, schema, metadata
        self.layout = layout_of(name, schema, metadata, names)
        named = self.ours and "min_confidence" not in metadata  # else labels may be null, see Naming
        if labels_suffice and named and names.label in self.layout.carried:
            self.layout = without_logits(self.layout)
        needed = set() if self.layout.classes else {names.label}
        self.carried = [c for c in self.layout.carried if carry is None or c in carry or c in needed]
        self._offset = names.frame_offset
        self.groups: _Rows
        self.found: Recognised | None = None
        self.space: str | None = LABELS
        self._checked = False
        self.person_columns: list[str] = []

    @classmethod
    def of_texts(cls, name: str, texts: LabelTexts, names: ColumnNames, carry: Collection[str] | None) -> _Part:
        """Label texts as a table of labels, whose columns need no names."""
        plain = ColumnNames(label=names.label, renamed=names.renamed, frame_offset=names.frame_offset)
        part = cls(name, LABEL_TEXT_COLUMNS, {}, plain, carry, labels_suffice=False)
        part.groups = texts
        return part

    @classmethod
    def of_table(
        cls, file: Source, names: ColumnNames, carry: Collection[str] | None, files: ExitStack, *, labels_suffice: bool
    ) -> _Part:
        """A table of any format."""
        if names.person is None:
            # Labels that are only to be told apart are read as ids are: in Parquet, ten times faster.
            text = (names.video, names.label) if labels_suffice else (names.video,)
            reader = files.enter_context(TableReader(file, text=text, reading=names.reading))
        else:
            opened = PersonTable(file, video=names.video, person=names.person, reading=names.reading)
            reader = files.enter_context(opened)
        part = cls(reader.name, reader.schema, reader.metadata, names, carry, labels_suffice=labels_suffice)
        wanted = [*part.layout.frames, *part.layout.score_columns, *part.carried]
        if not part.ours and names.person is None:
            part.person_columns = person_columns(reader.schema, {names.video, *wanted} - set(part.carried))
        extra = [column for column in part.person_columns if column not in wanted]
        part.groups = RowsByVideo(reader, part.layout.video, [*wanted, *extra])
        part._find_space(reader, names.space, strict=not labels_suffice and not part.ours)
        return part

    @property
    def ours(self) -> bool:
        """Whether affcli made it."""
        return self.metadata.get("kind") in (WINDOWED, FRAMES)

    def _find_space(self, reader: TableReader, given: str | None, *, strict: bool) -> None:
        """What the numbers are: what the user says, else the table itself, else what its first rows look like.

        A windowed table of ours without the word is of logits. Frame tables of affcli 0.1.0 may lack it too, and are
        looked at as others are. Rows that contradict the others are an error only if `strict`: not in tables of ours,
        and not where only each row's class is wanted.
        """
        if not self.layout.classes:
            return
        said = self.metadata.get("space") if self.ours else None
        if given is not None or said in (LOGITS, PROBABILITIES, SHARES):
            self.space = given or str(said)
        elif self.metadata.get("kind") == WINDOWED:
            self.space = LOGITS
        elif not strict and not self.ours:
            self.space = None  # told by the first video: only rows of zeros are read differently
        else:
            self.found = self._recognised(reader, strict=strict)
            self.space = None if self.found is None else self.found.space
            self._checked = strict and self.space in (PROBABILITIES, PERCENT)

    def _recognised(self, reader: TableReader, *, strict: bool) -> Recognised | None:
        """The space of the first row group whose rows tell."""
        keys = [self.layout.video, *self.layout.frames]
        for index in range(len(reader.row_groups)):
            rows = reader.read_group(index, [*keys, *self.layout.score_columns])
            values = np.transpose(_raw(self.name, rows, self.layout))
            found = recognise(values)
            if found is not None and found.odd_row is not None and strict:
                where = ", ".join(f"{key} {rows[key][found.odd_row].as_py()}" for key in keys)
                raise self._contradicted(found.space, where, values[found.odd_row])
            if found is not None:
                return found
        return None

    def _contradicted(self, space: str, where: str, row: np.ndarray) -> SpaceError:
        whole = "100 (per cent)" if space == PERCENT else "1"
        numbers = f"sum to {np.nansum(row):.6g}" if np.nanmin(row) >= 0 else f"hold {np.nanmin(row):.6g}"
        return SpaceError(
            f"{self.name}: most rows hold probabilities that sum to {whole}, but those of {where} {numbers}. "
            "Say what the numbers are with --input-space."
        )

    def rows(self, video: str, classes: Sequence[str], carried: pa.Schema, space: str) -> VideoRows:
        """One video's rows; the numbers in order of `classes`, per cent as probabilities."""
        table = self.groups.rows(video)
        frames = [self._frames(table, column) for column in self.layout.frames]
        if len(frames) == 2 and (frames[1] < frames[0]).any():
            row = int(np.flatnonzero(frames[1] < frames[0])[0])
            span = f"start {frames[0][row]}, end {frames[1][row]}"
            raise ColumnError(f"{self.name}: video '{video}' has a span that ends before it starts ({span}).")
        logits = self._numbers(table, video, frames[0], classes, space)
        if len(frames) == 2 and len(frames[0]):  # a row for every frame in a span takes memory
            refuse_far_frames(self.name, video, len(frames[0]), int(frames[1].max()), near=NEAR_SPANS)
        end = frames[1] if len(frames) == 2 else None
        return VideoRows(video, frames[0], logits, _fitted(table, carried), end, _missing(logits))

    def _numbers(
        self, table: pa.Table, video: str, frame: np.ndarray, classes: Sequence[str], space: str
    ) -> np.ndarray:
        raw = _raw(self.name, table, self.layout)
        if self.space is None and (found := recognise(np.transpose(raw))) is not None:
            self.space = found.space
        if self.space is None or self.space == LOGITS:
            return _merged(raw, self.layout, classes)
        if space == LABELS or (self.ours and self.space == space):
            return _merged(raw, self.layout, classes)
        own = self.space or space
        if self._checked and (odd := contradiction(np.transpose(raw), own)) is not None:
            raise self._contradicted(own, f"video '{video}', frame {frame[odd]}", raw[:, odd])
        read = as_read(np.transpose(raw), own)
        merged = _merged(np.transpose(read), self.layout, classes)
        return merged if len(self.layout.class_of) == len(classes) else whole(merged)

    def frame_of_two(self, video: str, column: str) -> int | None:
        """The first frame of a video whose rows differ in a column, or None."""
        table = self.groups.rows(video)
        frame = self._frames(table, self.layout.frames[0])
        code = plain_column(table[column]).dictionary_encode(null_encoding="encode").combine_chunks().indices.to_numpy()
        order = np.lexsort((code, frame))
        frame, code = frame[order], code[order]
        two = np.flatnonzero((frame[1:] == frame[:-1]) & (code[1:] != code[:-1]))
        return int(frame[two[0]]) if two.size else None

    def _frames(self, table: pa.Table, column: str) -> np.ndarray:
        frames: np.ndarray = frame_numbers(self.name, table[column], column) + self._offset
        if frames.size and frames.min() < 1:
            least = int(frames.min())
            hint = "Add 1 to each with --frame-offset 1." if least == 0 else "Correct them with --frame-offset N."
            raise ColumnError(f"{self.name}: column '{column}' holds {least}; frames are 1-based. {hint}")
        if frames.size and frames.max() > LAST_FRAME:
            raise ColumnError(f"{self.name}: column '{column}' holds {frames.max()}, too large for a frame.")
        return frames


def _common_space(parts: Sequence[_Part]) -> str:
    """The space of all parts, per cent counted as probabilities; those of which no row tells take that of the others.

    Raises SpaceError where two differ.
    """
    known = [part for part in parts if part.space is not None]
    if not known:
        return LOGITS
    for part in known[1:]:
        if _written(part.space) != _written(known[0].space):
            raise SpaceError(
                f"{part.name} holds {_written(part.space)}, but {known[0].name} holds {_written(known[0].space)}. "
                "Say what all of them hold with --input-space."
            )
    return _written(known[0].space)


def _written(space: str | None) -> str:
    """The space that numbers are in once they are read."""
    return PROBABILITIES if space == PERCENT else space or LOGITS


def _note_space(name: str, parts: Sequence[_Part]) -> None:
    """Says what was recognised of tables made elsewhere, once for all parts."""
    found = [part.found for part in parts if part.found is not None and not part.ours]
    if any(one.space == PERCENT for one in found):
        log.warning("%s: rows sum to 100: read as probabilities in per cent (--input-space says otherwise)", name)
    elif any(one.space == PROBABILITIES for one in found):
        log.warning("%s: rows sum to 1: read as probabilities (--input-space logits if they are not)", name)
    elif found and all(one.bounded for one in found):
        log.info(
            "%s: numbers from 0 to 1 whose rows do not sum to 1: read as logits (--input-space probabilities if they "
            "are not)",
            name,
        )


def _alike(parts: Sequence[_Part]) -> Sequence[_Part]:
    first = parts[0]
    for part in parts[1:]:
        if set(part.layout.classes) != set(first.layout.classes):
            ours, theirs = listed(first.layout.classes), listed(part.layout.classes)
            raise ClassMismatchError(f"{part.name} has the classes {theirs}, but {first.name} has {ours}.")
        if len(part.layout.frames) != len(first.layout.frames):
            raise ColumnError(f"{part.name} and {first.name}: only one of them has spans (start, end).")
    return parts


def _carried_schema(parts: Sequence[_Part]) -> pa.Schema:
    """The other columns of all files; dictionaries are kept where all have them, views are plain columns."""
    schemas = [pa.schema([_lasting(part.schema.field(name)) for name in part.carried]) for part in parts]
    if any(not schema.equals(schemas[0]) for schema in schemas):
        schemas = [pa.schema([field.with_type(plain_type(field.type)) for field in schema]) for schema in schemas]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        names = f"{parts[0].name} and the tables beside it"
        found = str(error).splitlines()[0]
        raise ColumnError(f"{names}: their columns are of different types: {found}") from error


def _lasting(field: pa.Field) -> pa.Field:
    """The column without views, a dictionary with room for the values of other row groups and files."""
    kind = field.type
    if pa.types.is_dictionary(kind):
        return pa.field(field.name, pa.dictionary(pa.int32(), plain_type(kind.value_type), ordered=kind.ordered))
    return pa.field(field.name, plain_type(kind))


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table's columns under the schema; those it lacks are null."""
    columns = [
        _cast(table[field.name], field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema) if columns else table.select([])


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == kind else column.cast(kind)


def _raw(name: str, table: pa.Table, layout: Layout) -> np.ndarray:
    """The numbers [columns, n] of a table, each column's adjacent in memory."""
    return _listed_numbers(name, table, layout) if layout.list_column else _numbers(table, layout)


def _merged(raw: np.ndarray, layout: Layout, classes: Sequence[str]) -> np.ndarray:
    """Numbers [columns, n] as [n, C] in order of `classes`, each class's adjacent in memory."""
    if layout.class_of == tuple(classes):
        return np.transpose(raw)
    merged = np.full((len(classes), raw.shape[1]), np.nan, raw.dtype)
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
            raise ColumnError(f"{name}: column '{layout.list_column}' holds {found}.")
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


def _spread(rows: VideoRows, source: str) -> VideoRows:
    """Spans without logits as one row for each of their frames; raises RepeatedFrameError where two overlap."""
    assert rows.end is not None
    order = np.argsort(rows.frame, kind="stable")
    start, end = rows.frame[order], rows.end[order]
    overlap = np.flatnonzero(start[1:] <= end[:-1])
    if overlap.size:
        at = int(overlap[0]) + 1
        raise RepeatedFrameError(
            f"{source}: video '{rows.video}' has spans that overlap at frame {start[at]}. Run affcli vote first."
        )
    lengths = end - start + 1
    if lengths.sum() > LONGEST_SPREAD:
        raise AffcliError(
            f"{source}: video '{rows.video}' has spans over {lengths.sum():,} frames, too many for a video."
        )
    row = np.repeat(np.arange(len(start)), lengths)
    frame = start[row] + np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    carried = rows.carried.take(pa.array(order)).take(pa.array(row))
    return VideoRows(rows.video, frame, np.empty((len(row), 0), np.float32), carried)


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
