"""The ABAW challenge's submission text: `<video>/00001.jpg,<class number>` for every frame, below a header line that
names the classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from affcli.class_words import class_of
from affcli.errors import LabelError
from affcli.schema import CLASSES, NOT_ANNOTATED

HEADER: Final = "image_location," + ",".join(CLASSES)

_LOCATION: Final = r"^(?P<video>.*[^/])/+(?P<frame>[0-9]{1,9})(?:\.[A-Za-z0-9]+)?$"


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
    """The rows as a table `video` string, `frame` int32, `label` string (a class name, null for −1), in file order.

    The header says which class each number is; it may name some of the eight, in any order. Raises LabelError, naming
    the line, for what is no submission.
    """
    classes = _classes_of_header(path, name)
    location, number = _fields(path, name)
    video, frame = _split(location, name)
    return pa.table({"video": video, "frame": frame, "label": _class_names(number, classes, name)})


def _classes_of_header(path: Path, name: str) -> tuple[str, ...]:
    """The class of each number, as the first line names them; the eight where it names none."""
    with path.open("rb") as stream:
        header = stream.readline(1 << 12).removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    words = [field.strip(" \t\r\n\"'") for field in header.split(",")[1:]]
    words = [word for word in words if word]
    found = [class_of(word) for word in words]
    if len(words) < 2:
        return CLASSES
    known = tuple(one for one in found if one is not None)
    if len(known) < len(words) or len(set(known)) < len(words):
        odd = next((word for word, one in zip(words, found, strict=True) if one is None), "two names for one class")
        raise LabelError(f"{name}: the first line names '{odd}', not classes of '{HEADER}'.")
    return known


def read_locations(path: Path) -> Locations:
    """The frames that an official sample list names, in its order; whatever follows them on their lines is ignored."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{path}: not a sample list in UTF-8: byte {error.start:,} is {path.read_bytes()[error.start]:#04x}."
        ) from error
    if not lines or not is_submission(lines[0].encode()):
        found = lines[0][:60] if lines else ""
        raise LabelError(f"{path}: not a sample list: the first line is '{found}', not '{HEADER}'.")
    fields = (line.partition(",")[0].strip(' "') for line in lines[1:])
    text = pa.array([field for field in fields if field], pa.string())
    if not len(text):
        raise LabelError(f"{path}: a sample list with a header and no frames.")
    video, frame = _split(pa.chunked_array([text]), str(path))
    return Locations(text, video.combine_chunks(), frame.to_numpy().astype(np.int64))


def _split(location: pa.ChunkedArray, name: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Video names and frame numbers of `<video>/00001.jpg`; the suffix may be missing, `\\` stand for `/`, and
    `cropped_aligned/` in front."""
    plain = pc.utf8_trim_whitespace(pc.replace_substring(location, "\\", "/"))
    plain = pc.replace_substring_regex(plain, r"^(\./)*(.*/)?cropped_aligned/", "")
    parts = pc.extract_regex(plain, _LOCATION)
    if parts.null_count:
        line = pc.index(pc.is_null(parts), True).as_py()
        raise LabelError(f"{name}, line {line + 2}: '{location[line].as_py()}' is not '<video>/00001.jpg'.")
    return pc.struct_field(parts, "video"), pc.struct_field(parts, "frame").cast(pa.int32())


def _fields(path: Path, name: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The two fields of every line after the header, which names more columns, so that it cannot be read as one."""
    read = pacsv.ReadOptions(column_names=["location", "label"], skip_rows=1)
    convert = pacsv.ConvertOptions(column_types={"location": pa.string(), "label": pa.string()}, null_values=[])
    with path.open("rb") as stream:
        if not stream.read(1 << 16).partition(b"\n")[2].strip():
            raise LabelError(f"{name}: a submission text with a header and no frames.")
    table = pacsv.read_csv(path, read_options=read, convert_options=convert)
    return table["location"], table["label"]


def _class_names(number: pa.ChunkedArray, classes: tuple[str, ...], name: str) -> pa.ChunkedArray:
    known = pa.array([str(i) for i in range(NOT_ANNOTATED, len(classes))])
    index = pc.index_in(pc.utf8_trim_whitespace(number), value_set=known)
    if index.null_count:
        line = pc.index(pc.is_null(index), True).as_py()
        found = number[line].as_py()
        raise LabelError(f"{name}, line {line + 2}: '{found}' is not a class number from -1 to {len(classes) - 1}.")
    return pa.chunked_array([pa.array([None, *classes]).take(chunk) for chunk in index.chunks], pa.string())
