"""Tables and columns that a caller hands over in memory, whichever library made them.

They are taken by protocol, not by the name of a library: Arrow's C stream (`__arrow_c_stream__`: Arrow, pandas, polars,
DuckDB) or C array, the data frame interchange (`__dataframe__`), and for single columns whatever numpy makes an array
of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import ColumnError, TableError
from affcli.tables.pandas_kept_out import keep_pandas_out

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, eq=False)
class GivenTable:
    """A table in memory; `name` is what errors call it."""

    name: str
    table: pa.Table


Source: TypeAlias = str | GivenTable  # a file, a folder, `-`; or a table in memory


def source_of(given: object, name: str) -> Source | None:
    """A path as text, or a table; None for what is neither, as an array. `name` is for errors.

    Raises TableError for what says it is a table and cannot be read as one.
    """
    if isinstance(given, str | os.PathLike):
        path = os.fsdecode(os.fspath(given))
        return "./-" if path == "-" else path  # standard input is the commands' affair
    with _named_errors(name):
        table = _table(given)
        if table is None:
            return None
        table.validate(full=True)  # what pyarrow does with damaged data is undefined
    return GivenTable(name, table)


def table_source(given: object, name: str) -> Source:
    """As `source_of`; raises TableError for what is neither path nor table."""
    source = source_of(given, name)
    if source is None:
        raise TableError(
            f"{name}: {_kind(given)}{_how_collected(given)} is no table. Give a path, a dict of columns, or a table "
            "that speaks Arrow's protocol (__arrow_c_stream__), such as those of pandas, polars and pyarrow."
        )
    return source


def _table(given: Any) -> pa.Table | None:
    if isinstance(given, Mapping):
        return pa.table({str(name): column_of(values, f"column '{name}'") for name, values in given.items()})
    if hasattr(given, "__arrow_c_stream__"):
        try:
            return pa.RecordBatchReader.from_stream(given).read_all()
        except pa.ArrowInvalid as error:
            if "non-struct" in str(error):  # a stream of one column
                return None
            raise
    if hasattr(given, "__arrow_c_array__") and pa.types.is_struct((array := pa.array(given)).type):
        return pa.Table.from_struct_array(array)
    if hasattr(given, "__dataframe__"):  # older pandas
        from pyarrow.interchange import from_dataframe

        return from_dataframe(given)
    return None


def column_of(given: Any, name: str) -> pa.ChunkedArray:
    """One column [n] of any type, NaN and None as null. Raises ColumnError for what is none."""
    with _named_errors(name):
        if hasattr(given, "__arrow_c_stream__"):
            return pa.chunked_array(given)
        if hasattr(given, "__arrow_c_array__"):
            return pa.chunked_array([pa.array(given)])
        array = np.asarray(given)
        if array.ndim != 1:
            raise ColumnError(f"{name}: {_shaped(given, array)} where one value for each row should stand.")
        hidden = np.ma.getmaskarray(given) if isinstance(given, np.ma.MaskedArray) else None
        return pa.chunked_array([pa.array(array, mask=hidden, from_pandas=True)])


def array_of(given: Any, name: str) -> NDArray[Any]:
    """An array [n] or [n, C], nulls as NaN, at the precision it came in. Raises ColumnError for what is none."""
    with _named_errors(name):
        if hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__"):
            array = np.asarray(column_of(given, name).to_numpy())
        else:
            array = _unmasked(given) if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    if array.ndim not in (1, 2):
        raise ColumnError(f"{name}: {_shaped(given, array)} where [frames] or [frames, classes] should stand.")
    return array


def _unmasked(given: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """What numpy's masked array hides is missing: NaN, or None where it holds no numbers."""
    if not np.ma.is_masked(given):
        return given.data
    numbers = given.dtype.kind in "biuf"
    kind = np.result_type(given.dtype, np.float32) if numbers else np.dtype(object)
    values = given.data.astype(kind)
    values[np.ma.getmaskarray(given)] = np.nan if numbers else None
    return values


def _kind(given: object) -> str:
    kind = type(given).__qualname__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def _shaped(given: object, array: NDArray[Any]) -> str:
    if array.ndim:
        return f"{_kind(given)} of shape {list(array.shape)}"
    return f"{_kind(given)}{_how_collected(given)}"


def _how_collected(given: object) -> str:
    """What turns a query that was not run yet (polars' LazyFrame) into a table."""
    return " (give what its collect() returns)" if callable(getattr(given, "collect", None)) else ""


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """What libraries raise about data that Arrow or numpy cannot hold."""
    keep_pandas_out()
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        reason = (str(error).splitlines() or [""])[0].partition(" Detail: Python exception:")[0]
        raise TableError(f"{name}: cannot be read: {reason}") from error
