"""Arrays in place of tables: rows in the order of frames, videos told apart by a second array, if there are several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import ColumnError, UsageError, counted, listed
from affcli.predictions.columns import ColumnNames
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.smooth import Filter, Smooth, filtered
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.tables.given import GivenTable, array_of, column_of

_ONE_VIDEO: Final = "0"


def smoothed_array(given: object, chosen: Filter, groups: object = None, columns: ColumnNames | None = None) -> Any:
    """Numbers [n] or [n, C], or labels [n] (texts or whole numbers), filtered: an array of the same shape and type.

    `groups` [n] tells whose rows they are: none is mixed with those of another. Whole numbers become float64 where the
    filter is none of labels. Raises ColumnError where the shapes do not fit.
    """
    array = array_of(given, "logits")
    if not array.size:
        return array.copy()
    if array.ndim == 1 and array.dtype.kind not in "fc" and chosen.method == "mode":
        return _smoothed_labels(column_of(given, "labels"), array, chosen, groups)
    if array.dtype.kind not in "biuf":
        hint = " Labels take the method 'mode'." if array.ndim == 1 else ""
        raise ColumnError(f"logits: an array of {array.dtype}, not of numbers.{hint}")
    return _smoothed_numbers(array, chosen, groups, columns or ColumnNames())


def _smoothed_numbers(array: NDArray[Any], chosen: Filter, groups: object, columns: ColumnNames) -> NDArray[Any]:
    if array.ndim == 1:
        if chosen.method == "mode":
            raise UsageError("logits: 'mode' counts labels: give [frames, classes], texts or whole numbers.")
        columns = replace(columns, space="logits")  # there are no others that it could sum to 1 with
    kind = min(np.result_type(array.dtype, np.float32), np.dtype(np.float64), key=lambda one: one.itemsize)
    values = array.astype(kind, copy=False).reshape(len(array), -1)  # Arrow has no longer floats than float64
    names = columns.classes or tuple(map(str, range(values.shape[1])))
    if len(names) != values.shape[1]:
        raise ColumnError(f"logits: {counted(values.shape[1], 'column')} for the classes {listed(names)}.")
    table, order = keyed({name: pa.array(column) for name, column in zip(names, values.T, strict=True)}, groups)
    result = np.empty(values.shape, array.dtype if array.dtype.kind == "f" else np.float64)
    with LogitTable(GivenTable("logits", table), columns=replace(columns, classes=names)) as logits:
        start = 0
        for rows in logits.videos():
            smoothed, _ = filtered(rows, chosen, logits.name, space=logits.space)
            result[order[start : start + len(smoothed)]] = smoothed
            start += len(smoothed)
    return result.reshape(array.shape)


def _smoothed_labels(labels: pa.ChunkedArray, array: NDArray[Any], chosen: Filter, groups: object) -> NDArray[Any]:
    table, order = keyed({"label": labels}, groups)
    with LogitTable(GivenTable("labels", table)) as opened:
        found = pa.concat_tables(list(Smooth(opened, chosen).frames()))["label"]
    if array.dtype.kind in "biu":
        found = found.fill_null(NOT_ANNOTATED)
    smoothed = found.to_numpy()
    result = np.empty(len(array), array.dtype if not found.null_count else object)
    result[order] = smoothed
    return result


def keyed(columns: dict[str, pa.ChunkedArray | pa.Array], groups: object = None) -> tuple[pa.Table, NDArray[np.intp]]:
    """The columns as a table with `video` and `frame`, sorted by both; row i of it is row `order[i]` of the columns."""
    rows = len(next(iter(columns.values())))
    video, code = _videos(groups, rows)
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(len(video)))
    frame = np.arange(rows) - starts[code[order]] + 1
    table = pa.table(columns) if (np.diff(order) == 1).all() else pa.table(columns).take(pa.array(order))
    names = pa.DictionaryArray.from_arrays(pa.array(code[order].astype(np.int32)), video)
    return table.add_column(0, "video", names).add_column(1, "frame", pa.array(frame.astype(np.int32))), order


def _videos(groups: object, rows: int) -> tuple[pa.Array, NDArray[np.int64]]:
    """The videos in codepoint order, and the number among them of each row [n]."""
    if groups is None:
        return pa.array([_ONE_VIDEO]), np.zeros(rows, np.int64)
    column = column_of(groups, "groups")
    if len(column) != rows:
        raise ColumnError(f"groups: {counted(len(column), 'value')} for {counted(rows, 'row')}.")
    if column.null_count:
        raise ColumnError(f"groups: {counted(column.null_count, 'row')} without a group.")
    try:
        encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ColumnError(f"groups: {column.type} where ids should stand: texts or whole numbers.") from error
    names = encoded.dictionary.to_pylist()
    ordered = sorted(names)
    rank = {name: number for number, name in enumerate(ordered)}
    return pa.array(ordered), np.array([rank[name] for name in names], np.int64)[encoded.indices.to_numpy()]


def scored_tables(labels: object, predictions: object, groups: object = None) -> tuple[GivenTable, GivenTable]:
    """Labels [n] and predictions, labels [n] or logits [n, 8], row by row of the same frames, as two tables."""
    truth, guess = column_of(labels, "labels"), array_of(predictions, "predictions")
    if len(truth) != len(guess):
        raise ColumnError(f"labels: {counted(len(truth), 'row')}; predictions: {counted(len(guess), 'row')}.")
    if guess.ndim == 2 and guess.shape[1] != len(CLASSES):
        found = counted(guess.shape[1], "column")
        raise ColumnError(f"predictions: {found}, not one for each of the eight classes ({listed(CLASSES)}).")
    guesses = {"label": guess} if guess.ndim == 1 else dict(zip(CLASSES, guess.T, strict=True))
    columns = {name: column_of(column, "predictions") for name, column in guesses.items()}
    tables = (keyed({"label": truth}, groups)[0], keyed(columns, groups)[0])
    return GivenTable("labels", tables[0]), GivenTable("predictions", tables[1])
