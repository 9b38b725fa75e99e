"""Anyone's logits, video by video: the one way in which `vote`, `smooth` and `score` read prediction tables."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from affcli.errors import ClassMismatchError, ColumnError, RepeatedFrameError, SpaceError, counted, listed
from affcli.predictions.choose_logits import classes_of
from affcli.predictions.columns import ColumnNames, in_order, is_number
from affcli.predictions.logit_part import Part, parts_of
from affcli.predictions.space import (
    LOGITS,
    PERCENT,
    PROBABILITIES,
)
from affcli.predictions.video_rows import VideoRows, joined, sorted_by_frame, spread_over_frames
from affcli.schema import STARTS, all_starts, starts_of
from affcli.tables.given import Source
from affcli.tables.reader import called, plain_type

log = logging.getLogger(__name__)


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
            parts = [part for source in sources for part in parts_of(source, names, carry, self._files, labels_suffice)]
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
        rows = pieces[0] if len(pieces) == 1 else joined(video, pieces)
        if rows.missing:
            self._missing[video] = rows.missing
        if spread and rows.end is not None and not self.has_logits:
            rows = spread_over_frames(rows, self.name)
        return sorted_by_frame(rows) if ordered else rows

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


def _common_space(parts: Sequence[Part]) -> str:
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


def _note_space(name: str, parts: Sequence[Part]) -> None:
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


def _alike(parts: Sequence[Part]) -> Sequence[Part]:
    first = parts[0]
    for part in parts[1:]:
        if set(part.layout.classes) != set(first.layout.classes):
            ours, theirs = listed(first.layout.classes), listed(part.layout.classes)
            raise ClassMismatchError(f"{part.name} has the classes {theirs}, but {first.name} has {ours}.")
        if len(part.layout.frames) != len(first.layout.frames):
            raise ColumnError(f"{part.name} and {first.name}: only one of them has spans (start, end).")
    return parts


def _carried_schema(parts: Sequence[Part]) -> pa.Schema:
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
