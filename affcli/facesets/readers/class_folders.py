"""Face sets as folders, one a class: named by class (`--data folder=`), or by a set's own numbers."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from affcli.class_words import CLASS_OF_WORD, class_of, counted_as_other, number_of
from affcli.errors import FaceSetError, listed
from affcli.facesets.listing import TRAIN, Origin, Shelf
from affcli.facesets.readers import searching
from affcli.schema import CLASSES

log = logging.getLogger(__name__)

# What stands before or after the word in names of folders: `1_Surprise`, `surprise-2`, `05. Happy`.
_NUMBER: Final = re.compile(r"^\d+[\s._-]*(?=\D)|(?<=\D)[\s._-]*\d+$")


def read(folder: Path, name: str) -> Shelf:
    """One sub-folder for each class, named by any of its words (`class_words`), with or without a number.

    These may stand in `train`, `val` and `test` folders. Raises FaceSetError for a folder whose name is no class, and
    where there are no pictures.
    """
    shelf = Shelf(name)
    for part, inside in searching.parts_of(_top(folder)).items():
        names = searching.entries(inside)[0]
        unknown = [one for one in names if class_number(one) is None]
        if unknown or not names:
            looked_for = f"one folder for each class, named {listed(CLASSES)}"
            found = listed([f"{one}{_likely(one)}" for one in unknown]) or "none"
            raise FaceSetError(f"--data folder={inside}: looked for {looked_for}; found {found}.")
        if others := [one for one in names if counted_as_other([_word(one)])]:
            log.warning("%s: the folder %s counts as Other.", inside, listed(others))
        add_classes(shelf, part, inside, {one: class_number(one) for one in names})
    return shelf


def class_number(folder: str) -> int | None:
    """The number of the class that a folder's name means, or None."""
    return number_of(_word(folder))


def _word(folder: str) -> str:
    """The name without a number before or after it, if that leaves anything."""
    return folder if class_of(folder) else _NUMBER.sub("", folder).strip(" ._-").replace("_", " ")


def _likely(folder: str) -> str:
    """What a name that is no class may be meant as."""
    words = get_close_matches(_word(folder).lower(), CLASS_OF_WORD, n=1, cutoff=0.75)
    return f" (for {CLASS_OF_WORD[words[0]]}?)" if words else ""


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

    Raises FaceSetError where these have other numbers beside them than the `known`: they are of another set, whose
    numbers mean other classes.
    """
    for one in searching.folders_from(folder, 2):
        inside = searching.parts_of(one)[TRAIN]
        names = set(searching.entries(inside)[0])
        if set(needed) <= names:
            if others := sorted(name for name in names - set(known) if name.isdecimal()):
                looked_for = f"folders {min(known, key=int)} to {max(known, key=int)}"
                raise FaceSetError(f"{inside}: looked for {looked_for} only; found {listed(others)} too: another set?")
            return one
    return None


def _top(folder: Path) -> Path:
    """The folder itself, or the only one in it where that holds the classes."""
    names = searching.entries(folder)[0]
    return folder / names[0] if len(names) == 1 and class_number(names[0]) is None else folder
