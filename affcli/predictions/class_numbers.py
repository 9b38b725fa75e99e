"""The columns of numbers of a table as an array, one row a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affcli.errors import ColumnError
from affcli.predictions.columns import Layout, is_list


def numbers_of(name: str, table: pa.Table, layout: Layout) -> np.ndarray:
    """The numbers [columns, n] of a table, each column's adjacent in memory."""
    return _listed_numbers(name, table, layout) if layout.list_column else _column_numbers(table, layout)


def by_class(raw: np.ndarray, layout: Layout, classes: Sequence[str]) -> np.ndarray:
    """Numbers [columns, n] as [n, C] in order of `classes`, each class's adjacent in memory."""
    if layout.class_of == tuple(classes):
        return np.transpose(raw)
    merged = np.full((len(classes), raw.shape[1]), np.nan, raw.dtype)
    for row, class_name in zip(raw, layout.class_of, strict=True):
        at = classes.index(class_name)
        np.fmax(merged[at], row, out=merged[at])  # two columns of one class: the larger; a missing one does not count
    return np.transpose(merged)


def _column_numbers(table: pa.Table, layout: Layout) -> np.ndarray:
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


_LARGEST: Final = float(np.finfo(np.float32).max)


def refuse_too_large(name: str, video: str, values: np.ndarray) -> None:
    """Raises ColumnError for a finite number that the float32 of our tables cannot hold: it would become infinite."""
    if values.dtype == np.float32 or not values.size:
        return
    if not (values.max() <= _LARGEST and values.min() >= -_LARGEST):  # also where any is NaN
        large = np.abs(values)[np.isfinite(values)].max(initial=0.0)
        if large > _LARGEST:
            raise ColumnError(f"{name}: video '{video}' has the number {large:.3g}, too large for float32.")


def missing_in(logits: np.ndarray) -> int:
    """How many are NaN; the quick minimum, which is NaN if any is, spares most tables the count."""
    return int(np.isnan(logits).sum()) if logits.size and np.isnan(logits.min()) else 0
