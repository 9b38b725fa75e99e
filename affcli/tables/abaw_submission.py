"""The ABAW challenge's submission text: `<video>/00001.jpg,<class number>` for every frame, under one header line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.schema import CLASSES, NOT_ANNOTATED

HEADER: Final = "image_location," + ",".join(CLASSES)

_LETTERS_OF_SUFFIXES = "." + "abcdefghijklmnopqrstuvwxyz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def is_submission(head: bytes) -> bool:
    """Whether a file that begins so is a submission text; real ones have the header quoted, bare, or behind a BOM."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(b'" ').startswith(b"image_location")


@dataclass(frozen=True, eq=False)
class Locations:
    """Frames as a submission names them: `text` as written (`clip/00001.jpg`), `video`, and `frame` int64 [n]."""

    text: pa.Array
    video: pa.Array
    frame: NDArray[np.int64]


def read_submission(path: Path, name: str) -> pa.Table:
    """The rows as a table `video` string, `frame` int32, `label` string (a class name, null for −1), in file order."""
    location, number = _fields(path, name)
    video, frame = _split(location, name)
    return pa.table({"video": video, "frame": frame, "label": _class_names(number, name)})


def read_locations(path: Path) -> Locations:
    """The frames that an official sample list names, in its order; whatever follows them on their lines is ignored."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if not lines or not is_submission(lines[0].encode()):
        found = lines[0][:60] if lines else ""
        raise AffcliError(f"{path}: not a sample list: the first line is '{found}', not '{HEADER}'.")
    fields = (line.partition(",")[0].strip(' "') for line in lines[1:])
    text = pa.array([field for field in fields if field], pa.string())
    video, frame = _split(pa.chunked_array([text]), str(path))
    return Locations(text, video.combine_chunks(), frame.to_numpy().astype(np.int64))


def _split(location: pa.ChunkedArray, name: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Video names and frame numbers of `<video>/00001.jpg`."""
    try:
        parts = pc.split_pattern(location, "/", max_splits=1, reverse=True)
        video, picture = pc.list_element(parts, 0), pc.list_element(parts, 1)
        return video, pc.utf8_rtrim(picture, characters=_LETTERS_OF_SUFFIXES).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise AffcliError(f"{name}, {_odd_location(location)}") from error


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
