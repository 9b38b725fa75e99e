"""What the columns of a prediction table mean: ours, or anyone's with the user's help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from affcli.class_words import class_of
from affcli.errors import AffcliError, ColumnError, UsageError, closest, listed
from affcli.labels.reader import LabelOptions
from affcli.predictions.choose_logits import Chosen, by_guess, by_words, classes_of, is_number, numeric
from affcli.schema import AUDIO, CLASSES, VISUAL
from affcli.tables.reader import AS_FOUND, Reading

__all__ = ["ColumnNames", "Layout", "is_list", "is_number", "layout_of", "without_logits"]


@dataclass(frozen=True)
class ColumnNames:
    """What the user said about a table's columns.

    `classes`: the columns that hold the logits; `renamed`: column (or label) → class; `logits`: one list column
    instead, whose items `classes` names; `frame_offset`: added to each frame number; `label`: the column of labels,
    never of logits, and `label_named` whether the user named it; `person`: the column that tells people in one video
    apart; `space`: one of space.INPUT_SPACES, what the numbers are, in place of what the table says or looks like;
    `words`: those of `renamed` that were found in labels, so that a table need not have them; `reading`: how its text
    and its ids are written.
    """

    video: str = "video"
    frame: str = "frame"
    classes: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    logits: str | None = None
    frame_offset: int = 0
    label: str = "label"
    label_named: bool = False
    person: str | None = None
    space: str | None = None
    words: frozenset[str] = frozenset()
    reading: Reading = AS_FOUND


def label_options(names: ColumnNames, frame_offset: int) -> LabelOptions:
    """How labels are read beside predictions: with the same words for classes and the same column of people."""
    return LabelOptions(frame_offset, names.renamed, names.person, names.reading)


@dataclass(frozen=True)
class Layout:
    """What the columns of one table mean.

    `frames` is one column of frame numbers, or two (first and last frame of a span). `scores` are the columns of
    numbers, or the items of the list column `list_column`; `class_of[i]` is the class of number i, and where two
    numbers share a class the larger counts. `notes` say what the user should know of how they were chosen.
    """

    video: str
    frames: tuple[str, ...]
    scores: tuple[str, ...]
    list_column: str | None
    class_of: tuple[str, ...]
    classes: tuple[str, ...]
    carried: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def score_columns(self) -> tuple[str, ...]:
        """The columns of the table that hold the numbers."""
        return self.scores if self.list_column is None else (self.list_column,)


def layout_of(name: str, schema: pa.Schema, metadata: Mapping[str, Any], names: ColumnNames) -> Layout:
    """Reads a table's columns as design.md's "Anyone's logits" says; `name` is for the error messages.

    A table with labels and no logits has no classes here. Raises ColumnError where a column is missing or of a wrong
    type, and AmbiguousColumnsError where several groups of columns could hold the logits.
    """
    columns = [column for column in schema.names if not column.startswith("__index_level_")]
    _refuse_twins(name, columns)
    if names.video not in columns:
        raise missing_column(name, names.video, columns, "--video-column")
    frames = _frame_columns(name, columns, names)
    if names.person is not None and names.person not in columns:
        raise missing_column(name, names.person, columns, "--person-column")
    keys = {names.video, *frames, *([names.person] if names.person else [])}
    list_column = names.logits
    if list_column is not None:
        items = _list_items(name, schema, names)
        chosen = Chosen(items, classes_of(items, names.renamed))
    else:
        rest = {column: schema.field(column).type for column in columns if column not in keys}
        chosen = _choose(name, rest, metadata, names, spans=len(frames) == 2)
    used = {names.video, *frames, *([list_column] if list_column else chosen.columns)}
    classes = in_order(chosen.class_of)
    # What would stand twice in the output: a class that was renamed to, or `video` where another column is the video.
    taken = {"video", "frame", *classes}
    carried = tuple(column for column in columns if column not in used | taken)
    return Layout(names.video, frames, chosen.columns, list_column, chosen.class_of, classes, carried, chosen.notes)


def without_logits(layout: Layout) -> Layout:
    """The layout of the same table, read for its labels only."""
    return replace(layout, scores=(), list_column=None, class_of=(), classes=(), notes=())


def in_order(classes: Sequence[str]) -> tuple[str, ...]:
    """Each class once: in Aff-Wild2's order where all are among its eight, else as they come."""
    once = tuple(dict.fromkeys(classes))
    return tuple(name for name in CLASSES if name in once) if set(once) <= set(CLASSES) else once


def missing_column(name: str, column: str, columns: Sequence[str], option: str) -> ColumnError:
    """The error for a column that a table lacks; it shows the likeliest of the others first."""
    return ColumnError(
        f"{name} has no column '{column}' (columns: {listed(closest(column, columns))}). Name it with {option}."
    )


def _refuse_twins(name: str, columns: Sequence[str]) -> None:
    twins = sorted({column for column in columns if columns.count(column) > 1})
    if twins:
        raise ColumnError(f"{name} has more than one column '{twins[0]}'. Rename or drop one.")


def _frame_columns(name: str, columns: Sequence[str], names: ColumnNames) -> tuple[str, ...]:
    if names.frame in columns:
        return (names.frame,)
    if names.frame == "frame" and "start" in columns and "end" in columns:
        return ("start", "end")
    raise missing_column(name, names.frame, columns, "--frame-column")


def _list_items(name: str, schema: pa.Schema, names: ColumnNames) -> tuple[str, ...]:
    assert names.logits is not None
    if names.logits not in schema.names:
        raise missing_column(name, names.logits, schema.names, "--logits")
    kind = schema.field(names.logits).type
    if not is_list(kind) or not is_number(kind.value_type):
        raise ColumnError(f"{name}: column '{names.logits}' holds {kind}, not lists of numbers.")
    if names.classes is None:
        raise UsageError(f"--logits {names.logits} needs --classes A,B,…: the classes of its items, in their order.")
    if pa.types.is_fixed_size_list(kind) and kind.list_size != len(names.classes):
        sizes = f"{kind.list_size} numbers a row, and --classes names {len(names.classes)}"
        raise ColumnError(f"{name}: column '{names.logits}' holds {sizes}.")
    return names.classes


def _choose(
    name: str, types: Mapping[str, pa.DataType], metadata: Mapping[str, Any], names: ColumnNames, *, spans: bool
) -> Chosen:
    """The columns of numbers: those that were named, our own, those named by class words, or all that can be meant."""
    if names.classes is not None:
        columns = numeric(name, types, _named(name, types, names.classes, names.renamed))
        return Chosen(columns, classes_of(columns, names.renamed))
    _check_renamed(name, types, names)
    own = metadata.get("classes")
    if isinstance(own, list) and own and all(column in types for column in own):
        columns = numeric(name, types, own)
        return Chosen(columns, classes_of(columns, names.renamed))
    others = {column: kind for column, kind in types.items() if column != names.label}
    words = by_words(name, others, names.renamed)
    if words is not None:
        numeric(name, types, words.columns)
        return words
    if spans and names.label in types:
        return Chosen()  # segments: their other numbers are times and confidences
    labelled = names.label in types
    guessed = by_guess(name, others, names.renamed, doubtful=labelled and names.label_named)
    if guessed.columns or labelled:
        return guessed
    raise _no_logits(name, types, metadata)


def _named(
    name: str, types: Mapping[str, pa.DataType], classes: Sequence[str], renamed: Mapping[str, str]
) -> list[str]:
    """The columns that --classes names: by their own names, by those that --map gives them, or by class words."""
    found: list[str] = []
    for wanted in classes:
        columns = [column for column in types if column == wanted or renamed.get(column) == wanted]
        columns = columns or [column for column in types if column.lower() == wanted.lower()]
        meant = class_of(wanted)
        columns = columns or [column for column in types if meant is not None and class_of(column) == meant][:1]
        if not columns:
            shown = listed(closest(wanted, list(types)))
            raise ColumnError(f"{name} has no column '{wanted}' (columns: {shown}). Correct --classes.")
        found += columns
    return list(dict.fromkeys(found))


def _check_renamed(name: str, types: Mapping[str, pa.DataType], names: ColumnNames) -> None:
    # In an ensemble one table may have Contempt and another Other already: --map Contempt=Other suits both.
    for column, target in names.renamed.items():
        if column in types or target in types or column in names.words:
            continue
        if names.label in types and class_of(target) is not None:
            continue  # it may rename a label
        shown = listed(closest(column, list(types)))
        raise ColumnError(f"{name} has no column '{column}' (columns: {shown}). Correct --map {column}={target}.")


def _no_logits(name: str, types: Mapping[str, pa.DataType], metadata: Mapping[str, Any]) -> AffcliError:
    if metadata.get("kind") in (VISUAL, AUDIO):
        return ColumnError(f"{name} holds {metadata['kind']}, not logits. Run `affcli predict` on it first.")
    lists = [column for column, kind in types.items() if is_list(kind)]
    shown = listed(closest("label", list(types)))
    if not lists and not any(map(is_number, types.values())):
        return ColumnError(
            f"{name} has no columns of logits: none of its other columns ({shown}) holds numbers, which --classes "
            "could name. Labels are read from a column called 'label'; score and export take another by --label-column."
        )
    hint = f"--logits {lists[0]} --classes A,B,…" if lists else "--classes A,B,…"
    return ColumnError(f"{name} has no columns of logits (columns: {shown}). Name them with {hint}.")


def is_list(kind: pa.DataType) -> bool:
    """Lists of any layout that pyarrow flattens."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
