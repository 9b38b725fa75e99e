"""Data sets of pictures in Parquet, as the Hugging Face hub has them: a column of pictures, and one of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from affcli.class_words import class_of
from affcli.errors import FaceSetError, listed
from affcli.facesets.listing import HELD_OUT, TEST, TRAIN, Origin, Shelf
from affcli.facesets.readers import searching
from affcli.schema import CLASSES

_LABELS: Final = ("label", "labels", "emotion", "expression", "class")
_PARTS: Final = {
    "train": TRAIN,
    "val": HELD_OUT,
    "valid": HELD_OUT,
    "validation": HELD_OUT,
    "dev": HELD_OUT,
    "test": TEST,
}
_LOOKED_FOR: Final = "Parquet files with a column of pictures and a column 'label'"


def read(place: Path, name: str) -> Shelf:
    """The pictures of all Parquet files in a folder, or of one file; `train-…`, `validation-…`, `test-…` tell the part.

    Labels are words, or numbers whose names the file's own description lists. Raises FaceSetError where a file has no
    such columns, and for a label that is no class.
    """
    files = [place] if place.is_file() else list(_files(place))
    if not files:
        raise searching.not_found("parquet", place, _LOOKED_FOR)
    shelf = Shelf(name)
    for file in files:
        _add(shelf, file)
    return shelf


def _files(folder: Path) -> Iterator[Path]:
    for one in searching.folders_from(folder):
        yield from (one / name for name in searching.entries(one)[1] if name.lower().endswith((".parquet", ".pq")))


def _add(shelf: Shelf, file: Path) -> None:
    try:
        opened = pq.ParquetFile(file)
        picture_column(file, opened.schema_arrow)
        column = _label_column(file, opened.schema_arrow)
        names, part = _class_names(opened.schema_arrow, column), _part(file)
        for group in range(opened.num_row_groups):
            labels = opened.read_row_group(group, columns=[column]).column(column).to_pylist()
            for row, label in enumerate(labels):
                if label is None or label == -1:
                    shelf.leave_out("without a label")
                else:
                    number = _class_number(file, column, label, names)
                    shelf.add(part, Origin(str(file), cell=(group, row)), number)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FaceSetError(f"{file}: cannot be read as a Parquet file of pictures: {reason}") from error


def picture_column(file: Path, schema: pa.Schema) -> str:
    """The column of encoded pictures: bytes, or an object with the key `bytes`. Raises FaceSetError without one."""
    for field in schema:
        if _is_binary(field.type) or (_holds_bytes(field.type)):
            return str(field.name)
    raise FaceSetError(f"{file}: no column holds pictures (columns: {listed(schema.names)}).")


def _holds_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and any(field.name == "bytes" and _is_binary(field.type) for field in kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _label_column(file: Path, schema: pa.Schema) -> str:
    for name in _LABELS:
        for column in schema.names:
            if column.lower() == name:
                return str(column)
    raise FaceSetError(f"{file}: no column is called {listed(_LABELS)} (columns: {listed(schema.names)}).")


def _class_names(schema: pa.Schema, column: str) -> Sequence[str] | None:
    """The names of label numbers, which the library `datasets` writes into the file's metadata."""
    try:
        facts: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = facts["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if isinstance(names, Mapping):
        names = [names[key] for key in sorted(names, key=int)]
    return [str(name) for name in names] if isinstance(names, list) else None


def _class_number(file: Path, column: str, label: Any, names: Sequence[str] | None) -> int:
    if isinstance(label, int) and not isinstance(label, bool):
        if names is None:
            raise FaceSetError(
                f"{file}: column '{column}' holds numbers, and the file does not say what they mean. "
                "Write the names of the classes into it."
            )
        if not 0 <= label < len(names):
            raise FaceSetError(f"{file}: column '{column}' holds {label}; it has names for 0 to {len(names) - 1}.")
        label = names[label]
    if (known := class_of(str(label))) is None:
        raise FaceSetError(f"{file}: label '{str(label)[:40]}' is none of the classes {listed(CLASSES)}.")
    return CLASSES.index(known)


def _part(file: Path) -> str:
    """Told by the first word of the file's name (`train-00000-of-00002.parquet`), else by its folder's name."""
    words = (re.split(r"[-_.]", file.name.lower())[0], file.parent.name.lower())
    return next((_PARTS[word] for word in words if word in _PARTS), TRAIN)
