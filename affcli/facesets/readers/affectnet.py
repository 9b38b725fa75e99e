"""AffectNet (Mollahosseini, Hasani and Mahoor, IEEE TAC 2019), in the three forms it is handed round in."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from affcli.errors import FaceSetError, listed
from affcli.facesets.listing import HELD_OUT, OTHER, TRAIN, Origin, Shelf
from affcli.facesets.readers import class_folders, searching
from affcli.schema import CLASSES

# Expressions 0 to 6, from the set's own readme; 7 is Contempt; 8 to 10 are none, uncertain and no face.
_ORDER: Final = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger")
_CLASS_OF: Final[Mapping[str, int | None]] = {
    **{str(number): CLASSES.index(name) for number, name in enumerate(_ORDER)},
    "7": OTHER,
    **dict.fromkeys(("8", "9", "10"), None),
}
_LISTS: Final = {TRAIN: ("training.csv", "train.csv"), HELD_OUT: ("validation.csv", "val.csv", "valid.csv")}
_PATH, _EXPRESSION = "subdirectory_filepath", "expression"
# The columns of the set's own lists; its validation.csv comes without a header.
_COLUMNS: Final = (_PATH, "face_x", "face_y", "face_width", "face_height", "facial_landmarks", _EXPRESSION)
_PATHS: Final = (_PATH, "filepath", "file_path", "path", "image", "filename", "file")
_BOX: Final = ("face_x", "face_y", "face_width", "face_height")
_TRIED: Final = 100  # pictures of a list that are looked for to find the folder they are named from
_LOOKED_FOR: Final = "training.csv, or folders images/ and annotations/, or folders 0 to 7 (each also in train/, val/)"


def read(folder: Path, name: str) -> Shelf:
    """As `training.csv` and `validation.csv`, as `images/` beside `annotations/`, or as folders 0 to 7.

    Raises FaceSetError where none of these is there, or a label is no number from 0 to 10.
    """
    shelf = Shelf(name)
    lists = {part: path for part, names in _LISTS.items() if (path := searching.find_file(folder, names))}
    if lists:
        for part, path in lists.items():
            _add_listed(shelf, part, path, folder)
    elif annotated := _annotated(folder):
        for part, inside in annotated.items():
            _add_annotated(shelf, part, inside)
    elif top := class_folders.find_numbered(folder, [str(number) for number in range(7)], _CLASS_OF):
        for part, inside in searching.parts_of(top).items():
            class_folders.add_classes(shelf, part, inside, _CLASS_OF)
    else:
        raise searching.not_found("affectnet", folder, _LOOKED_FOR)
    return shelf


# --- training.csv and validation.csv ---------------------------------------------------------------------------------


def _add_listed(shelf: Shelf, part: str, path: Path, folder: Path) -> None:
    top = _top(path, folder)
    for number, row in _rows(path):
        expression = row[_EXPRESSION].strip()
        if expression not in _CLASS_OF:
            raise FaceSetError(f"{path}, row {number}: expression '{expression}', not a number from 0 to 10.")
        target = _CLASS_OF[expression]
        picture = top / row[_PATH]
        if target is None:
            shelf.leave_out(f"of class {expression}")
        elif not os.path.isfile(picture):  # noqa: PTH113 - for speed
            shelf.leave_out_absent(picture)
        else:
            shelf.add(part, Origin(str(picture), _box(row)), target)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of each row in the file, and its fields by the set's own names of the columns."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        reader = csv.reader(stream)
        first = next(reader, [])
        header = [name.strip().lower() for name in first]
        if _EXPRESSION in header:
            named = next((name for name in _PATHS if name in header), None)
            if named is None:
                raise FaceSetError(f"{path}: no column holds the pictures' paths ({_PATH}; columns: {listed(header)}).")
            header[header.index(named)] = _PATH
        elif len(first) >= len(_COLUMNS) and first[_COLUMNS.index(_EXPRESSION)].strip() in _CLASS_OF:
            header = list(_COLUMNS)
            yield 1, dict(zip(header, first, strict=False))
        else:
            raise FaceSetError(f"{path}: has no column 'expression' (columns: {listed(header)}).")
        for number, fields in enumerate(reader, start=2):
            if fields:
                yield number, {_EXPRESSION: "", _PATH: "", **dict(zip(header, fields, strict=False))}


def _top(path: Path, folder: Path) -> Path:
    """The folder that a list's paths begin in: any of those in the given one that has one of the list's pictures."""
    names = [row[_PATH] for _, row in islice(_rows(path), _TRIED)]
    for top in searching.folders_from(folder, 2):
        if any(name and (top / name).is_file() for name in names):
            return top
    raise FaceSetError(
        f"{path}: looked for {names[0] if names else 'pictures'} in every folder of {folder}: not there."
    )


def _box(row: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    """The face in the picture, where the list says it."""
    try:
        x, y, width, height = (round(float(row[name])) for name in _BOX)
    except (KeyError, ValueError, OverflowError):
        return None
    return (x, y, width, height) if width > 0 and height > 0 else None


# --- images/ID.jpg and annotations/ID_exp.npy ------------------------------------------------------------------------


def _annotated(folder: Path) -> dict[str, Path]:
    """The folder of each part that holds `images` and `annotations`."""
    for top in searching.folders_from(folder, 2):
        parts = {part: one for part, one in searching.parts_of(top).items() if (one / "annotations").is_dir()}
        if TRAIN in parts:
            return parts
    return {}


def _add_annotated(shelf: Shelf, part: str, folder: Path) -> None:
    pictures = {Path(path).stem: path for path in searching.pictures_in(folder / "images")}
    for name in searching.entries(folder / "annotations")[1]:
        if not name.endswith("_exp.npy"):
            continue
        expression = _expression(folder / "annotations" / name)
        target, picture = _CLASS_OF[expression], pictures.get(name.removesuffix("_exp.npy"))
        if target is None:
            shelf.leave_out(f"of class {expression}")
        elif picture is None:
            shelf.leave_out_absent(folder / "images" / f"{name.removesuffix('_exp.npy')}.jpg")
        else:
            shelf.add(part, Origin(picture), target)


def _expression(path: Path) -> str:
    """The number in the file, which is a text or a number with no dimensions."""
    try:
        expression = str(np.load(path, allow_pickle=False).item())
    except (OSError, ValueError, EOFError) as error:
        raise FaceSetError(f"{path}: not an annotation of one expression ({error}).") from error
    if expression not in _CLASS_OF:
        raise FaceSetError(f"{path}: expression '{expression}', not a number from 0 to 10.")
    return expression
