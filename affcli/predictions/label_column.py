"""A table's column of labels as class numbers, whatever its classes are called."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.class_words import class_of
from affcli.errors import LabelError, listed
from affcli.labels.reader import class_numbers, says_none
from affcli.predictions.logit_table import LogitTable
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.tables.reader import plain_type


def classes_of_labels(table: LogitTable, column: str, words: Mapping[str, str]) -> tuple[str, ...]:
    """The classes of a column of labels: the eight where all its labels mean one of them, else its labels, sorted.

    Reads the column of the whole table. `words` are further words for the eight: word → class.
    """
    if not _is_text(plain_type(table.carried_schema.field(column).type)):
        return CLASSES
    pieces = (table.rows(video, ordered=False, spread=False) for video in table.ids)
    found = {name for rows in pieces for name in pc.unique(rows.carried[column]).to_pylist()} - {None, ""}
    lower = {word.lower() for word in words}
    if all(_means_one(name, lower) for name in found):
        return CLASSES
    return tuple(sorted(name for name in found if not says_none(name)))


def label_numbers(
    column: pa.ChunkedArray, classes: tuple[str, ...], where: str, words: Mapping[str, str]
) -> NDArray[np.int64]:
    """Indices [n] into `classes`, -1 for null; class numbers are taken as they are where `classes` are the eight.

    `where` names file and column in errors; raises LabelError for a label that is none of the classes.
    """
    if set(classes) <= set(CLASSES) or not _is_text(plain_type(column.type)):
        numbers = class_numbers(column, where, words=words).astype(np.int64)
        return numbers if classes == CLASSES else _among(numbers, classes, where)
    encoded = pc.unique(column).to_pylist()
    nothing = [text for text in encoded if text is not None and says_none(text)]
    column = pc.if_else(pc.is_in(column, pa.array(nothing, column.type)), None, column) if nothing else column
    found = pc.index_in(column, value_set=pa.array(classes, column.type))
    unknown = pc.unique(column.filter(pc.and_(pc.is_null(found), pc.is_valid(column)))).to_pylist()
    if [name for name in unknown if name]:
        raise LabelError(f"{where} holds '{unknown[0]}', none of the classes {listed(classes)}.")
    places: NDArray[np.int64] = pc.fill_null(found, NOT_ANNOTATED).to_numpy().astype(np.int64)
    return places


def _among(numbers: NDArray[np.int64], classes: tuple[str, ...], where: str) -> NDArray[np.int64]:
    """Numbers of the eight as indices into some of them."""
    place = np.array([*(classes.index(name) if name in classes else -2 for name in CLASSES), NOT_ANNOTATED])
    found = place[numbers]
    if (found == -2).any():
        name = CLASSES[numbers[np.argmax(found == -2)]]
        raise LabelError(f"{where} holds '{name}', none of the classes {listed(classes)}.")
    return np.asarray(found, np.int64)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _means_one(label: str, words: set[str]) -> bool:
    """Whether a label is a word for one of the eight, or a class number, or says that there is none."""
    text = label.strip().lower()
    if class_of(text) or text in words or says_none(text):
        return True
    try:
        return float(text) in range(NOT_ANNOTATED, len(CLASSES))
    except ValueError:
        return False
