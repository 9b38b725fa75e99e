"""One file of a prediction table, of whoever made it, or a folder of label texts: its columns, space and rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from affcli.errors import ColumnError, SpaceError
from affcli.predictions.class_numbers import by_class, missing_in, numbers_of, refuse_too_large
from affcli.predictions.columns import ColumnNames, layout_of, without_logits
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
from affcli.predictions.video_rows import VideoRows
from affcli.schema import FRAMES, WINDOWED
from affcli.tables.by_video import RowsByVideo
from affcli.tables.given import GivenTable, Source
from affcli.tables.keys import NEAR_SPANS, frame_numbers, refuse_far_frames
from affcli.tables.label_tables import note_unfinished
from affcli.tables.people import PersonTable, person_columns, plain_column
from affcli.tables.reader import TableReader, tables_in

LAST_FRAME: Final = np.iinfo(np.int32).max


def parts_of(
    source: Source, names: ColumnNames, carry: Collection[str] | None, files: ExitStack, labels_suffice: bool
) -> Iterator[Part]:
    """The parts of one source: its label texts as one, or each of its tables."""
    if not isinstance(source, GivenTable) and (texts := label_text_files(source)):
        yield Part.of_texts(source, LabelTexts(texts), names, carry)
        return
    if not isinstance(source, GivenTable):
        note_unfinished(source)
    for file in [source] if isinstance(source, GivenTable) else tables_in(source):
        yield Part.of_table(file, names, carry, files, labels_suffice=labels_suffice)


class _Rows(Protocol):
    """Rows by video: RowsByVideo, or LabelTexts."""

    ids: tuple[str, ...]

    def __contains__(self, video: str) -> bool: ...

    def rows(self, video: str) -> pa.Table:
        """The rows of one of `ids`."""


class Part:
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
    def of_texts(cls, name: str, texts: LabelTexts, names: ColumnNames, carry: Collection[str] | None) -> Part:
        """Label texts as a table of labels, whose columns need no names."""
        plain = ColumnNames(label=names.label, renamed=names.renamed, frame_offset=names.frame_offset)
        part = cls(name, LABEL_TEXT_COLUMNS, {}, plain, carry, labels_suffice=False)
        part.groups = texts
        return part

    @classmethod
    def of_table(
        cls, file: Source, names: ColumnNames, carry: Collection[str] | None, files: ExitStack, *, labels_suffice: bool
    ) -> Part:
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
            values = np.transpose(numbers_of(self.name, rows, self.layout))
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
        return VideoRows(video, frames[0], logits, _fitted(table, carried), end, missing_in(logits))

    def _numbers(
        self, table: pa.Table, video: str, frame: np.ndarray, classes: Sequence[str], space: str
    ) -> np.ndarray:
        raw = numbers_of(self.name, table, self.layout)
        refuse_too_large(self.name, video, raw)
        if self.space is None and (found := recognise(np.transpose(raw))) is not None:
            self.space = found.space
        if self.space is None or self.space == LOGITS:
            return by_class(raw, self.layout, classes)
        if space == LABELS or (self.ours and self.space == space):
            return by_class(raw, self.layout, classes)
        own = self.space or space
        if self._checked and (odd := contradiction(np.transpose(raw), own)) is not None:
            raise self._contradicted(own, f"video '{video}', frame {frame[odd]}", raw[:, odd])
        read = as_read(np.transpose(raw), own)
        merged = by_class(np.transpose(read), self.layout, classes)
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
