"""Which columns of a prediction table mean what: ours, or anyone's with the user's help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from affcli.errors import AffcliError, UsageError, listed
from affcli.schema import AUDIO, CLASSES, VISUAL

# Floating-point columns that other tools write beside their logits.
_NEVER_LOGITS = frozenset({"time_s", "timestamp", "score", "confidence", "speech", "valence", "arousal", "label"})


@dataclass(frozen=True)
class ColumnNames:
    """What the user said about a table's columns.

    `classes`: the columns that hold the logits; `renamed`: column → class; `logits`: one list column instead, whose
    items `classes` names; `frame_offset`: added to each frame number; `label`: the column of labels, never of logits.
    """

    video: str = "video"
    frame: str = "frame"
    classes: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    logits: str | None = None
    frame_offset: int = 0
    label: str = "label"


@dataclass(frozen=True)
class Layout:
    """What the columns of one table mean.

    `frames` is one column of frame numbers, or two (first and last frame of a span). `scores` are the columns of
    numbers, or the items of the list column `list_column`; `class_of[i]` is the class of number i, and where two
    numbers share a class the larger counts. `chosen` is true where the user or a guess picked the columns.
    """

    video: str
    frames: tuple[str, ...]
    scores: tuple[str, ...]
    list_column: str | None
    class_of: tuple[str, ...]
    classes: tuple[str, ...]
    carried: tuple[str, ...]
    guessed: bool

    @property
    def score_columns(self) -> tuple[str, ...]:
        return self.scores if self.list_column is None else (self.list_column,)


def layout_of(name: str, schema: pa.Schema, metadata: Mapping[str, Any], names: ColumnNames) -> Layout:
    """Reads a table's columns as design.md's "Anyone's logits" says; `name` is for the error messages.

    A table with labels and no logits has no classes here. Raises AffcliError where a column is missing or of a wrong
    type.
    """
    columns = [column for column in schema.names if not column.startswith("__index_level_")]
    _refuse_twins(name, columns)
    if names.video not in columns:
        raise _missing(name, names.video, columns, "--video-column")
    frames = _frame_columns(name, columns, names)
    keys = {names.video, *frames}
    if names.logits is not None:
        scores, list_column, guessed = _list_items(name, schema, names), names.logits, False
    else:
        rest = {column: schema.field(column).type for column in columns if column not in keys}
        scores, guessed = _score_columns(name, rest, metadata, names)
        list_column = None
    class_of = tuple(names.renamed.get(score, score) for score in scores)
    used = keys | ({list_column} if list_column else set(scores))
    classes = in_order(class_of)
    # What would stand twice in the output: a class that was renamed to, or `video` where another column is the video.
    taken = {"video", "frame", *classes}
    carried = tuple(column for column in columns if column not in used | taken)
    return Layout(names.video, frames, scores, list_column, class_of, classes, carried, guessed)


def without_logits(layout: Layout) -> Layout:
    """The layout of the same table, read for its labels only."""
    return replace(layout, scores=(), list_column=None, class_of=(), classes=(), guessed=False)


def in_order(classes: Sequence[str]) -> tuple[str, ...]:
    """Each class once: in Aff-Wild2's order where they are its eight, else as they come."""
    once = tuple(dict.fromkeys(classes))
    return CLASSES if set(once) == set(CLASSES) else once


def _refuse_twins(name: str, columns: Sequence[str]) -> None:
    twins = sorted({column for column in columns if columns.count(column) > 1})
    if twins:
        raise AffcliError(f"{name} has more than one column '{twins[0]}'. Rename or drop one.")


def _missing(name: str, column: str, columns: Sequence[str], option: str) -> AffcliError:
    return AffcliError(f"{name} has no column '{column}' (columns: {listed(columns)}). Name it with {option}.")


def _frame_columns(name: str, columns: Sequence[str], names: ColumnNames) -> tuple[str, ...]:
    if names.frame in columns:
        return (names.frame,)
    if names.frame == "frame" and "start" in columns and "end" in columns:
        return ("start", "end")
    raise _missing(name, names.frame, columns, "--frame-column")


def _list_items(name: str, schema: pa.Schema, names: ColumnNames) -> tuple[str, ...]:
    assert names.logits is not None
    if names.logits not in schema.names:
        raise _missing(name, names.logits, schema.names, "--logits")
    kind = schema.field(names.logits).type
    if not is_list(kind) or not is_number(kind.value_type):
        raise AffcliError(f"{name}: column '{names.logits}' holds {kind}, not lists of numbers.")
    if names.classes is None:
        raise UsageError(f"--logits {names.logits} needs --classes A,B,…: the classes of its items, in their order.")
    if pa.types.is_fixed_size_list(kind) and kind.list_size != len(names.classes):
        sizes = f"{kind.list_size} numbers a row, and --classes names {len(names.classes)}"
        raise AffcliError(f"{name}: column '{names.logits}' holds {sizes}.")
    return names.classes


def _score_columns(
    name: str, types: Mapping[str, pa.DataType], metadata: Mapping[str, Any], names: ColumnNames
) -> tuple[tuple[str, ...], bool]:
    """The columns of numbers, and whether they had to be guessed."""
    if names.classes is not None:
        return _named(name, types, names.classes, names.renamed), False
    _check_renamed(name, types, names.renamed)
    own = metadata.get("classes")
    if isinstance(own, list) and own and all(column in types for column in own):
        return _numeric(name, types, own), False
    eight = [column for column in types if names.renamed.get(column, column) in CLASSES]
    if {names.renamed.get(column, column) for column in eight} == set(CLASSES):
        return _numeric(name, types, eight), False
    floats = [column for column, kind in types.items() if column != names.label and _may_be_logits(column, kind)]
    renamed = [column for column in names.renamed if column in types and column not in floats]
    if len(floats) + len(renamed) > 1:
        return _numeric(name, types, [column for column in types if column in {*floats, *renamed}]), True
    if names.label in types:
        return (), False
    raise _no_logits(name, types, metadata)


def _named(
    name: str, types: Mapping[str, pa.DataType], classes: Sequence[str], renamed: Mapping[str, str]
) -> tuple[str, ...]:
    """The columns that --classes names, by their own names or by those that --map gives them."""
    found: list[str] = []
    for wanted in classes:
        columns = [column for column in types if column == wanted or renamed.get(column) == wanted]
        if not columns:
            raise AffcliError(f"{name} has no column '{wanted}' (columns: {listed(list(types))}). Correct --classes.")
        found += columns
    return _numeric(name, types, list(dict.fromkeys(found)))


def _check_renamed(name: str, types: Mapping[str, pa.DataType], renamed: Mapping[str, str]) -> None:
    # In an ensemble one table may have Contempt and another Other already: --map Contempt=Other suits both.
    for column, target in renamed.items():
        if column not in types and target not in types:
            raise AffcliError(
                f"{name} has no column '{column}' (columns: {listed(list(types))}). Correct --map {column}={target}."
            )


def _numeric(name: str, types: Mapping[str, pa.DataType], columns: Sequence[str]) -> tuple[str, ...]:
    for column in columns:
        if not is_number(types[column]):
            held = "text" if pa.types.is_string(types[column]) else types[column]
            raise AffcliError(f"{name}: column '{column}' holds {held}, not numbers.")
    return tuple(columns)


def _may_be_logits(column: str, kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) and column not in _NEVER_LOGITS and not column.startswith("box_")


def _no_logits(name: str, types: Mapping[str, pa.DataType], metadata: Mapping[str, Any]) -> AffcliError:
    if metadata.get("kind") in (VISUAL, AUDIO):
        return AffcliError(f"{name} holds {metadata['kind']}, not logits. Run `affcli predict` on it first.")
    lists = [column for column, kind in types.items() if is_list(kind)]
    hint = f"--logits {lists[0]} --classes A,B,…" if lists else "--classes A,B,…"
    return AffcliError(f"{name} has no columns of logits (columns: {listed(list(types))}). Name them with {hint}.")


def is_list(kind: pa.DataType) -> bool:
    """Lists of any layout that pyarrow flattens."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_number(kind: pa.DataType) -> bool:
    """Numbers, and columns that hold nothing but nulls."""
    types = pa.types
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind) or types.is_null(kind))
