"""Face sets as folders, one a class: named by class (`--data folder=`), or by a set's own numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from affcli.errors import AffcliError, listed
from affcli.facesets.listing import OTHER, TRAIN, Origin, Shelf
from affcli.facesets.readers import searching
from affcli.schema import CLASSES

# How face sets and people spell the eight classes.
_SPELLINGS: Final = {
    **{name.lower(): number for number, name in enumerate(CLASSES)},
    **dict.fromkeys(("angry",), CLASSES.index("Anger")),
    **dict.fromkeys(("disgusted",), CLASSES.index("Disgust")),
    **dict.fromkeys(("fearful", "afraid"), CLASSES.index("Fear")),
    **dict.fromkeys(("happy",), CLASSES.index("Happiness")),
    **dict.fromkeys(("sad",), CLASSES.index("Sadness")),
    **dict.fromkeys(("surprised",), CLASSES.index("Surprise")),
    **dict.fromkeys(("contempt",), OTHER),
}


def read(folder: Path, name: str) -> Shelf:
    """One sub-folder a class, named by class in any case; these may stand in `train`, `val` and `test` folders.

    Raises AffcliError for a folder whose name is no class, and where there are no pictures.
    """
    shelf = Shelf(name)
    for part, inside in searching.parts_of(_top(folder)).items():
        names = searching.entries(inside)[0]
        unknown = [one for one in names if one.lower() not in _SPELLINGS]
        if unknown or not names:
            looked_for = f"one folder a class, named {listed(CLASSES)}"
            raise AffcliError(f"--data folder={inside}: looked for {looked_for}; found {listed(unknown) or 'none'}.")
        add_classes(shelf, part, inside, {one: _SPELLINGS[one.lower()] for one in names})
    return shelf


def add_classes(shelf: Shelf, part: str, folder: Path, classes: Mapping[str, int | None]) -> None:
    """All pictures of the sub-folders that `classes` names; those with None are left out."""
    for name, number in classes.items():
        for path in searching.pictures_in(folder / name) if (folder / name).is_dir() else ():
            if number is None:
                shelf.leave_out(f"of class {name}")
            else:
                shelf.add(part, Origin(path), number)


def find_numbered(folder: Path, needed: Collection[str], known: Collection[str]) -> Path | None:
    """The folder nearest to the top that has sub-folders with all `needed` names, itself or in its `train` folder.

    Raises AffcliError where these have other numbers beside them than the `known`: they are of another set, whose
    numbers mean other classes.
    """
    for one in searching.folders_from(folder, 2):
        inside = searching.parts_of(one)[TRAIN]
        names = set(searching.entries(inside)[0])
        if set(needed) <= names:
            if others := sorted(name for name in names - set(known) if name.isdecimal()):
                looked_for = f"folders {min(known, key=int)} to {max(known, key=int)}"
                raise AffcliError(f"{inside}: looked for {looked_for} only; found {listed(others)} too: another set?")
            return one
    return None


def _top(folder: Path) -> Path:
    """The folder itself, or the only one in it where that holds the classes."""
    names = searching.entries(folder)[0]
    return folder / names[0] if len(names) == 1 and names[0].lower() not in _SPELLINGS else folder
