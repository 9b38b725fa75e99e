"""The columns that say which rows belong together: ids of videos and frame numbers, in whatever type they come."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.errors import ColumnError, counted
from affcli.video_ids import one_spelling

# A video with frame numbers far beyond its rows takes memory for all frames in between: 38 days at 30 frames a second
# are a time stamp in the wrong column.
LAST_FRAME: Final = 100_000_000
LONGEST_ID: Final = 4096  # characters, as of a path: files are named after videos
NEAR: Final = 1_000_000  # what goes further must have a row for one frame in so many, at least
NEAR_SPANS: Final = 10_000_000  # the same where a row is for a span of frames
_SPARSEST: Final = 1_000


def refuse_as_ids(name: str, column: str, kind: pa.DataType) -> None:
    """Raises ColumnError for a type whose values are no ids of videos: only text and whole numbers are."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (_is_text(plain) or pa.types.is_integer(plain) or pa.types.is_null(plain)):
        raise ColumnError(f"{name}: column '{column}' holds {kind}; ids of videos must be text or whole numbers.")


def refuse_nulls(name: str, column: str, chunk: pa.Array) -> None:
    """Raises ColumnError where a row has no id."""
    if chunk.null_count:
        raise ColumnError(f"{name}: column '{column}' is empty in some rows.")


def id_names(name: str, column: str, values: pa.Array) -> list[str]:
    """Ids of videos as text, in one spelling.

    Raises ColumnError for other types, for nulls, for bytes that are no UTF-8, and for what is too long.
    """
    refuse_as_ids(name, column, values.type)
    refuse_nulls(name, column, values)
    try:
        names: list[str] = pc.cast(values, pa.string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ColumnError(f"{name}: column '{column}' holds {values.type} that is no text.") from error
    if (longest := max(map(len, names), default=0)) > LONGEST_ID:
        raise ColumnError(f"{name}: column '{column}' holds {longest:,} characters, too many for the id of a video.")
    return list(map(one_spelling, names))


def frame_numbers(name: str, column: pa.ChunkedArray, title: str) -> NDArray[np.int64]:
    """Frame numbers int64 [n] of whole numbers of any kind: integers, floats and decimals without a fraction, digits
    as text (`00012`).

    Raises ColumnError for other types and values, and for nulls.
    """
    kind = column.type
    if column.null_count:
        raise ColumnError(f"{name}: column '{title}' is empty in {counted(column.null_count, 'row')}.")
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        return np.empty(0, np.int64)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or _is_text(kind)):
        raise ColumnError(f"{name}: column '{title}' holds {kind}, not whole numbers.")
    try:
        numbers = _as_int64(column, kind)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ColumnError(f"{name}: column '{title}' holds {kind}, not whole numbers.{_example(column)}") from error
    return np.asarray(numbers.to_numpy(), np.int64)


def refuse_far_frames(name: str, video: str, rows: int, last: int, *, near: int = NEAR) -> None:
    """Raises ColumnError where a video's last frame is so far beyond its rows that the number cannot be a frame's.

    Frames up to `near` are taken whatever the number of rows.
    """
    if last > LAST_FRAME or (last > near and last > _SPARSEST * rows):
        raise ColumnError(
            f"{name}: video '{video}' has {counted(rows, 'row')} and a frame {last}, too large for a frame number. "
            "Is it a time stamp?"
        )


def _as_int64(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not _is_text(kind):
        return pc.cast(column, pa.int64())  # raises for a fraction
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    digits = pc.replace_substring_regex(trimmed, r"^([+-]?)0*(\d+)(\.0*)?$", r"\1\2")
    return pc.cast(pc.replace_substring_regex(digits, r"^\+", ""), pa.int64())


def _example(column: pa.ChunkedArray) -> str:
    """One of the values that are no whole numbers, where it can be shown."""
    for value in column.slice(0, 10_000).to_pylist():
        text = str(value).strip()
        if not (text.lstrip("+-").split(".0")[0].isdigit()):
            return f" ('{text[:40]}')"
    return ""


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
    )
