"""ExpW, the Expression in-the-Wild set (Zhang, Luo, Loy and Tang, IJCV 2018)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from affcli.errors import FaceSetError
from affcli.facesets.listing import TRAIN, Origin, Shelf
from affcli.facesets.readers import searching
from affcli.schema import CLASSES

_LIST: Final = ("label.lst",)
# Labels 0 to 6, from the set's own readme.
_ORDER: Final = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")
_CLASS_OF: Final = {str(number): CLASSES.index(name) for number, name in enumerate(_ORDER)}
_FIELDS: Final = 8  # name, face's number, top, left, right, bottom, confidence, label
_LOOKED_FOR: Final = "label/label.lst, with the pictures in image/origin/"


def read(folder: Path, name: str) -> Shelf:
    """The faces of `label.lst`, each a box in a picture that may hold several.

    Raises FaceSetError where the list or every picture is missing, and for a line of another kind.
    """
    labels = searching.find_file(folder, _LIST)
    if labels is None:
        raise searching.not_found("expw", folder, _LOOKED_FOR)
    shelf, top = Shelf(name), None
    for number, line in enumerate(labels.read_text(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        picture, box, label = _parsed(line, f"{labels}, line {number}")
        top = top or _folder_of(picture, folder)
        path = (top or folder) / picture
        if top is None or not os.path.isfile(path):  # noqa: PTH113 - for speed
            shelf.leave_out_absent(path)
        else:
            shelf.add(TRAIN, Origin(str(path), box), label)
    return shelf


def _parsed(line: str, where: str) -> tuple[str, tuple[int, int, int, int], int]:
    """The picture's name, the face in it (x, y, width, height), the class."""
    fields = line.split()
    try:
        top, left, right, bottom = (round(float(field)) for field in fields[2:6])
        label = _CLASS_OF[fields[7]]
    except (IndexError, KeyError, ValueError, OverflowError) as error:
        expected = "a name, a number, top, left, right, bottom, a confidence and a label from 0 to 6"
        raise FaceSetError(f"{where}: '{line.strip()[:80]}' is not {expected}.") from error
    if len(fields) != _FIELDS or right <= left or bottom <= top:
        raise FaceSetError(f"{where}: '{line.strip()[:80]}' holds no face with a label.")
    return fields[0], (left, top, right - left, bottom - top), label


def _folder_of(picture: str, folder: Path) -> Path | None:
    return next((top for top in searching.folders_from(folder) if (top / picture).is_file()), None)
