"""Finds a face set in the folder that the user gave: the set's own folder, or one that holds it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from affcli.errors import FaceSetError, listed
from affcli.facesets.listing import HELD_OUT, TEST, TRAIN
from affcli.files.inputs import PICTURE_SUFFIXES

_DEPTH: Final = 3  # folders below the given one that are searched: `RAF-DB/basic/EmoLabel/`
_JUNK: Final = frozenset({"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"})
_PARTS: Final = {
    **dict.fromkeys(("train", "training", "train_set"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "val_set", "validation_set"), HELD_OUT),
    **dict.fromkeys(("test", "testing", "test_set"), TEST),
}


def checked_folder(kind: str, folder: Path, *, files: bool = False) -> Path:
    """The folder, or with `files` the file; FaceSetError where there is none."""
    if folder.is_dir() or (files and folder.is_file()):
        return folder
    what = "is a file; unpack it and name the folder" if folder.exists() else "no such folder"
    raise FaceSetError(f"--data {kind}={folder}: {what}.")


def not_found(kind: str, folder: Path, looked_for: str) -> FaceSetError:
    """Says what was looked for and what there is."""
    folders, files = entries(folder)
    found = listed([*(f"{name}/" for name in folders), *files], limit=6) or "nothing"
    return FaceSetError(f"--data {kind}={folder}: looked for {looked_for}; found {found}.")


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders and of the files in a folder, sorted, without what systems leave behind."""
    names: tuple[list[str], list[str]] = [], []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if not (entry.name.startswith(".") or entry.name in _JUNK):
                    names[0 if entry.is_dir() else 1].append(entry.name)
    except OSError as error:
        raise FaceSetError(f"{folder}: {error.strerror}") from error
    return sorted(names[0]), sorted(names[1])


def folders_from(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """The folder, then those in it, then those in these, …, as far down as `depth`."""
    level = [folder]
    for down in range(depth + 1):
        yield from level
        level = [one / name for one in level for name in entries(one)[0]] if down < depth else []


def find_file(folder: Path, names: Collection[str]) -> Path | None:
    """The file with one of these names (in any case) that is nearest to the top."""
    wanted = {name.lower() for name in names}
    for one in folders_from(folder):
        for name in entries(one)[1]:
            if name.lower() in wanted:
                return one / name
    return None


def parts_of(folder: Path) -> dict[str, Path]:
    """Its sub-folders named as parts of a set (`train`, `val`, `test`, …), else the folder itself as TRAIN."""
    named = {_PARTS[name.lower()]: folder / name for name in entries(folder)[0] if name.lower() in _PARTS}
    return named if TRAIN in named else {TRAIN: folder}


def pictures_in(folder: Path) -> list[str]:
    """The paths of the pictures in a folder and in those below, sorted."""
    found: list[str] = []
    folders, files = entries(folder)
    found += [str(folder / name) for name in files if Path(name).suffix.lower() in PICTURE_SUFFIXES]
    for name in folders:
        found += pictures_in(folder / name)
    return found
