"""The ABAW challenge's submission text: `<video>/00001.jpg,<class number>` for every frame, under one header line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from affcli.errors import AffcliError
from affcli.schema import CLASSES, NOT_ANNOTATED

HEADER: Final = "image_location," + ",".join(CLASSES)

_LETTERS_OF_SUFFIXES = "." + "abcdefghijklmnopqrstuvwxyz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def is_submission(head: bytes) -> bool:
    """Whether a file that begins so is a submission text; real ones have the header quoted, bare, or behind a BOM."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(b'" ').startswith(b"image_location")


def read_submission(path: Path, name: str) -> pa.Table:
    """The rows as a table `video` string, `frame` int32, `label` string (a class name, null for −1), in file order."""
    location, number = _fields(path, name)
    try:
        parts = pc.split_pattern(location, "/", max_splits=1, reverse=True)
        video, picture = pc.list_element(parts, 0), pc.list_element(parts, 1)
        frame = pc.utf8_rtrim(picture, characters=_LETTERS_OF_SUFFIXES).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise AffcliError(f"{name}, {_odd_location(location)}") from error
    return pa.table({"video": video, "frame": frame, "label": _class_names(number, name)})


def _fields(path: Path, name: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The two fields of every line after the header (which names nine columns, so it cannot be read as one)."""
    read = pacsv.ReadOptions(column_names=["location", "label"], skip_rows=1)
    convert = pacsv.ConvertOptions(column_types={"location": pa.string(), "label": pa.string()}, null_values=[])
    with path.open("rb") as stream:
        if not stream.read(1 << 16).partition(b"\n")[2].strip():
            raise AffcliError(f"{name}: a submission text with a header and no frames.")
    table = pacsv.read_csv(path, read_options=read, convert_options=convert)
    return table["location"], table["label"]


def _class_names(number: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    known = pa.array([str(i) for i in range(NOT_ANNOTATED, len(CLASSES))])
    index = pc.index_in(pc.utf8_trim_whitespace(number), value_set=known)
    if index.null_count:
        line = pc.index(pc.is_null(index), True).as_py()
        found = number[line].as_py()
        raise AffcliError(f"{name}, line {line + 2}: '{found}' is not a class number from -1 to {len(CLASSES) - 1}.")
    return pa.chunked_array([pa.array([None, *CLASSES]).take(chunk) for chunk in index.chunks], pa.string())


def _odd_location(location: pa.ChunkedArray) -> str:
    line = pc.index(pc.match_substring_regex(location, r"^.+/\d{1,9}(\.[a-zA-Z]+)?$"), False).as_py()
    return f"line {line + 2}: '{location[line].as_py()}' is not '<video>/00001.jpg'."
