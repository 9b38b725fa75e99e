"""Columns of true and false, in whatever way they are written."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.errors import ColumnError

_TRUE: Final = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0", "0.0", ""})


def true_or_false(name: str, column: pa.ChunkedArray, title: str) -> NDArray[np.bool_]:
    """A column of true and false as bool [n]: booleans, 0 and 1, or words (yes, no, true, false); null is false.

    `name` and `title` (table and column) are for the ColumnError that other values raise.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        return np.asarray(pc.fill_null(column, False).to_numpy())
    if not column.null_count and not len(column):
        return np.empty(0, np.bool_)
    encoded = column.combine_chunks()
    try:
        distinct = pc.unique(encoded).drop_null()
        truths = pa.array([_truth(value) for value in distinct.to_pylist()], pa.bool_())
        if truths.null_count:
            odd = distinct.filter(pc.is_null(truths))[0].as_py()
            raise ColumnError(f"{name}: column '{title}' holds '{str(odd)[:40]}', not true or false.")
        places = pc.index_in(encoded, value_set=distinct)
        return np.asarray(pc.fill_null(truths.take(places), False).to_numpy(zero_copy_only=False))
    except pa.ArrowException as error:
        raise ColumnError(f"{name}: column '{title}' holds {column.type}, not true or false.") from error


def _truth(value: object) -> bool | None:
    word = str(value).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None
