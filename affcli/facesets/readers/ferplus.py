"""FERPlus: ten people's votes (Barsoum et al., ICMI 2016) on the pictures of FER2013."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import FaceSetError, listed
from affcli.facesets.listing import HELD_OUT, OTHER, TEST, TRAIN, Origin, Shelf
from affcli.facesets.readers import searching
from affcli.facesets.readers.pixel_text import pixel_rows
from affcli.schema import CLASSES

_VOTES, _PIXELS = "fer2013new.csv", "fer2013.csv"
_CLASS_OF: Final = {
    "neutral": CLASSES.index("Neutral"),
    "happiness": CLASSES.index("Happiness"),
    "surprise": CLASSES.index("Surprise"),
    "sadness": CLASSES.index("Sadness"),
    "anger": CLASSES.index("Anger"),
    "disgust": CLASSES.index("Disgust"),
    "fear": CLASSES.index("Fear"),
    "contempt": OTHER,
}
_NO_CLASS: Final = ("unknown", "nf")  # nobody can tell; not a face
# What FERPlus calls FER2013's Training, PublicTest and PrivateTest.
_PARTS: Final = {
    "training": (TRAIN, "FER2013Train"),
    "publictest": (HELD_OUT, "FER2013Valid"),
    "privatetest": (TEST, "FER2013Test"),
}
_LOOKED_FOR: Final = "fer2013new.csv, with the folders FER2013Train, FER2013Valid or with fer2013.csv"


def read(folder: Path, name: str) -> Shelf:
    """The votes of `fer2013new.csv`, and the pictures as files, or as numbers in FER2013's own `fer2013.csv`.

    Raises FaceSetError where these are not there, or do not belong together.
    """
    votes = searching.find_file(folder, [_VOTES])
    if votes is None:
        raise searching.not_found("ferplus", folder, _LOOKED_FOR)
    rows = list(_rows(votes))
    pictures = _picture_folders(folder)
    pixels = searching.find_file(folder, [_PIXELS])
    # FERPlus's own repository comes with these folders, without the pictures.
    if pictures and (pixels is None or any(map(searching.pictures_in, pictures.values()))):
        return _with_files(Shelf(name), rows, pictures)
    if pixels is None:
        raise searching.not_found("ferplus", folder, _LOOKED_FOR)
    return _with_text(Shelf(name), rows, pixels, votes)


def soft_label(votes: Mapping[str, int]) -> NDArray[np.float32] | None:
    """Each class's share [8] in the votes for a class; None where 'unknown' or 'not a face' wins, or nobody voted.

    They win with more votes than every class; on a tie the picture stays. Their own votes are left out of the shares.
    Where classes tie, each has its share, and counts of pictures go by the first of the eight.
    """
    shares = np.zeros(len(CLASSES), np.float32)
    for name, number in _CLASS_OF.items():
        shares[number] += votes[name]
    if not shares.any() or max(votes[name] for name in _NO_CLASS) > shares.max():
        return None
    return np.asarray(shares / shares.sum())


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows by the names of the columns in small letters."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        reader = csv.reader(stream)
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [one for one in ("usage", "image name", *_CLASS_OF, *_NO_CLASS) if one not in header]
        if missing:
            raise FaceSetError(f"{path}: has no column {listed(missing)} (columns: {listed(header, limit=12)}).")
        for fields in filter(None, reader):
            yield dict(zip(header, fields, strict=False))


def _picture_folders(folder: Path) -> dict[str, Path]:
    names = {name.lower(): name for _, name in _PARTS.values()}
    found = (one for one in searching.folders_from(folder) if one.name.lower() in names)
    return {names[one.name.lower()]: one for one in found}


def _with_files(shelf: Shelf, rows: list[dict[str, str]], folders: Mapping[str, Path]) -> Shelf:
    there = {name: set(searching.entries(folder)[1]) for name, folder in folders.items()}
    for number, row in enumerate(rows, start=2):
        part, target = _judged(shelf, row, number)
        folder = _PARTS[row["usage"].strip().lower()][1]
        if target is None:
            continue
        if (name := row["image name"].strip()) in there.get(folder, ()):
            shelf.add(part, Origin(str(folders[folder] / name)), target)
        else:
            shelf.leave_out_absent(folders.get(folder, Path(folder)) / name)
    return shelf


def _with_text(shelf: Shelf, rows: list[dict[str, str]], pixels: Path, votes: Path) -> Shelf:
    spans = [(row.usage, row.span) for row in pixel_rows(pixels)]
    if len(spans) != len(rows):
        ours = f"{votes} has {len(rows):,} rows, {pixels} {len(spans):,}"
        raise FaceSetError(f"{ours}: they must be of the same pictures, row by row.")
    for number, (row, (usage, span)) in enumerate(zip(rows, spans, strict=True), start=2):
        if usage != row["usage"].strip().lower():
            raise FaceSetError(
                f"{pixels}, row {number}: is '{usage}', but '{row['usage']}' in {votes}: not the same rows."
            )
        part, target = _judged(shelf, row, number)
        if target is not None:
            shelf.add(part, Origin(str(pixels), span=span), target)
    return shelf


def _judged(shelf: Shelf, row: Mapping[str, str], number: int) -> tuple[str, NDArray[np.float32] | None]:
    """The part of a row, and its soft label unless it is left out."""
    usage = row["usage"].strip().lower()
    try:
        part, votes = _PARTS[usage][0], {name: int(row[name]) for name in (*_CLASS_OF, *_NO_CLASS)}
    except (KeyError, ValueError) as error:
        what = "a usage (Training, PublicTest, PrivateTest) and ten counts of votes"
        raise FaceSetError(f"{_VOTES}, row {number}: does not hold {what} ({error}).") from error
    if not row["image name"].strip():
        shelf.leave_out("without a name")
        return part, None
    target = soft_label(votes)
    if target is None:
        shelf.leave_out("where unknown or not-a-face has the most votes")
    return part, target
