"""Which column of a table is the prediction, and its class number for each row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.class_words import class_of
from affcli.errors import ColumnError, LabelError, UnknownClassError, closest, listed
from affcli.labels.reader import class_numbers, note_counted_as_other
from affcli.predictions.frame_table import largest
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.naming import Naming
from affcli.predictions.video_rows import VideoRows
from affcli.schema import CLASSES, NOT_ANNOTATED

NO_PREDICTION: Final = NOT_ANNOTATED

_log = logging.getLogger(__name__)

Numbers = NDArray[np.int8]
Predictor = Callable[[VideoRows], Numbers]


def predictor(table: LogitTable, label_column: str | None) -> Predictor:
    """What gives the predicted class number of each of a video's rows, -1 where there is none.

    A column that was named counts; in tables of ours `label`; elsewhere the logits, since a `label` there is often the
    truth, unless it never contradicts them: then it only says which of equal logits was chosen, as in a table of ours
    that went through CSV. A table without logits has only its `label`.
    Raises UnknownClassError where the classes are not among the eight, ColumnError where a column is missing.
    """
    column = chosen_label_column(table, label_column)
    if column is not None:
        if table.ours and label_column is None:
            _refuse_foreign(table, table.known_classes)
        _note_unknown_to(table)
        return _by_label(column, table)
    if "label" in table.carried_schema.names:
        if _labels_agree(table):
            _note_unknown_to(table)
            return _by_label("label", table)
        _log.warning("%s: using the logits; pass --label-column label to use that column instead", table.name)
    return by_logits(table)


def guesser(table: LogitTable, label_column: str | None) -> Predictor:
    """As `predictor`, but a row whose label is null for want of confidence gets the class with the largest logit."""
    named = predictor(table, label_column)
    if label_column is not None or not states_confidence(table):
        return named
    guess = by_logits(table)

    def predict(rows: VideoRows) -> Numbers:
        own = named(rows)
        return np.where(own == NO_PREDICTION, guess(rows), own)

    return predict


def states_confidence(table: LogitTable) -> bool:
    """Whether the table is one of ours whose labels are null where they are unsure."""
    has_both = table.has_logits and "label" in table.carried_schema.names
    return table.ours and has_both and Naming.of(table.metadata) is not None


def chosen_label_column(table: LogitTable, named: str | None) -> str | None:
    """The column of labels that counts without a look at the logits; None where the logits may."""
    table.refuse_spans()
    others = table.carried_schema.names
    if named is not None and named not in others:
        shown = listed(closest(named, others)) or "none"
        raise ColumnError(
            f"{table.name} has no column '{named}' beside its logits (others: {shown}). Correct --label-column."
        )
    if named is not None:
        return named
    return "label" if "label" in others and (table.ours or not table.has_logits) else None


def eight_of(classes: Sequence[str]) -> tuple[str, ...]:
    """The classes as those of the eight: eight names of which none is a word for a class stand for them in order."""
    if len(classes) == len(CLASSES) and not any(map(class_of, classes)):
        return CLASSES
    return tuple(classes)


def by_logits(table: LogitTable) -> Predictor:
    """The class with the largest logit, the first of equals. Raises UnknownClassError for one not among the eight."""
    number = _eight(table)
    _note_unknown_to(table)

    def predict(rows: VideoRows) -> Numbers:
        table.refuse_repeats(rows)
        winners, present = largest(rows.logits)
        return np.where(present, number[winners], NO_PREDICTION).astype(np.int8)

    return predict


def class_numbers_of(table: LogitTable) -> NDArray[np.intp]:
    """The number among the eight of each of a table's classes [C]; raises UnknownClassError where one has none."""
    return _eight(table)


def _eight(table: LogitTable) -> NDArray[np.intp]:
    if not table.has_logits:
        raise ColumnError(f"{table.name} has labels but no logits. {_where_logits_may_be(table)}")
    _refuse_foreign(table, table.classes)
    classes = eight_of(table.classes)
    return np.array([CLASSES.index(class_of(name) or name) for name in classes], np.intp)


def _refuse_foreign(table: LogitTable, classes: Sequence[str]) -> None:
    """Raises UnknownClassError for a class that is none of the eight, unless the user named all eight in order."""
    foreign = [name for name in classes if class_of(name) is None]
    in_order = len(foreign) == len(classes) == len(CLASSES)
    if not foreign or (in_order and table.names.classes is not None):
        return
    named = table.names.classes is not None
    if in_order:
        hint = (
            "If they are the eight in the order of Aff-Wild2 (Neutral, Anger, …), name them in that order: "
            f"--classes {','.join(classes)}"
        )
    else:
        hint = f"Say which class each is: {' '.join(f'--map {name}=CLASS' for name in foreign[:12])}"
    others = [] if named else table.other_numbers
    if others:
        hint += f"; or name the right columns with --classes (other columns of numbers: {listed(others)})"
    taken = listed(classes, limit=12)
    raise UnknownClassError(
        f"{table.name} has columns that are none of the classes {listed(CLASSES)}: {listed(foreign, limit=12)} "
        f"(columns taken as logits: {taken}). {hint}."
    )


def _where_logits_may_be(table: LogitTable) -> str:
    others = table.other_numbers
    if not others:
        return "No column of it holds numbers that could be logits."
    return f"Name the columns of logits with --classes (columns of numbers: {listed(others)})."


def _note_unknown_to(table: LogitTable) -> None:
    """Says which of the eight classes the table's model does not know."""
    known = eight_of(table.known_classes)
    lacking = [name for name in CLASSES if name not in known]
    if known and lacking:
        _log.warning("%s has no class %s: it counts as never predicted.", table.name, listed(lacking))


def _labels_agree(table: LogitTable) -> bool:
    """Whether the label is among the largest logits of its row in all rows of all videos; reads the table once."""
    number = _eight(table)
    return all(_agrees(rows, number, table) for rows in table.videos())


def _agrees(rows: VideoRows, number: NDArray[np.intp], table: LogitTable) -> bool:
    """Whether each row's label is one of its largest logits, and null where there are none."""
    try:
        label = class_numbers(rows.carried["label"], "label", words=table.names.renamed)
    except LabelError:  # something else than classes, which the logits do without
        return False
    place = np.full(len(CLASSES) + 1, -1)
    place[number] = np.arange(len(number))
    column = place[label]  # -1, the last of `place`, is not annotated
    if ((column < 0) & (label != NO_PREDICTION)).any():
        return False
    _, present = largest(rows.logits)
    own = np.take_along_axis(rows.logits, np.maximum(column, 0)[:, None].astype(np.intp), axis=1)[:, 0]
    named = np.where(label == NO_PREDICTION, np.nan, own)
    return np.array_equal(named, np.where(present, np.fmax.reduce(rows.logits, axis=1), np.nan), equal_nan=True)


def _by_label(column: str, table: LogitTable) -> Predictor:
    where = f"{table.name}: column '{column}'"
    words = dict(table.names.renamed)
    if table.names.classes is not None and eight_of(table.known_classes) != table.known_classes:
        words = {**dict(zip(table.known_classes, CLASSES, strict=True)), **words}
    told: set[str] = set()

    def predict(rows: VideoRows) -> Numbers:
        table.refuse_repeats(rows)
        heard: set[str] = set()
        numbers = class_numbers(rows.carried[column], where, words=words, heard=heard)
        note_counted_as_other(table.name, heard - told - {word.strip().lower() for word in words})
        told.update(heard)
        return numbers

    return predict
