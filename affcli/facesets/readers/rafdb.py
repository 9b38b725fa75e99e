"""RAF-DB's basic emotions (Li, Deng and Du, CVPR 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from affcli.errors import FaceSetError
from affcli.facesets.listing import TEST, TRAIN, Origin, Shelf
from affcli.facesets.readers import class_folders, searching
from affcli.schema import CLASSES

# Labels 1 to 7, from the set's own readme.
_ORDER: Final = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
_CLASS_OF: Final = {str(label): CLASSES.index(name) for label, name in enumerate(_ORDER, start=1)}
_LISTS: Final = ("list_patition_label.txt", "list_partition_label.txt")  # the first is the set's own spelling
_LOOKED_FOR: Final = "EmoLabel/list_patition_label.txt beside Image/aligned/, or folders 1 to 7 (also in train/, test/)"


def read(folder: Path, name: str) -> Shelf:
    """As a list beside the pictures (`basic/EmoLabel`, `basic/Image`), or as folders 1 to 7.

    Without folders for train and test, the beginning of a picture's name (`train_`, `test_`) tells its part.
    Raises FaceSetError where neither is there, or the list says something else than labels 1 to 7.
    """
    shelf = Shelf(name)
    labels = searching.find_file(folder, _LISTS)
    if labels is not None:
        _add_listed(shelf, labels)
        return shelf
    top = class_folders.find_numbered(folder, _CLASS_OF, _CLASS_OF)
    if top is None:
        raise searching.not_found("rafdb", folder, _LOOKED_FOR)
    parts = searching.parts_of(top)
    for part, inside in parts.items():
        if len(parts) > 1:
            class_folders.add_classes(shelf, part, inside, _CLASS_OF)
        else:
            _add_by_name(shelf, inside)
    return shelf


def _add_listed(shelf: Shelf, labels: Path) -> None:
    folders = [top / name for top in (labels.parent.parent / "Image", labels.parent.parent) for name in _FOLDERS]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        raise FaceSetError(
            f"{labels}: looked for the pictures in {labels.parent.parent / 'Image' / 'aligned'}: not there."
        )
    for number, line in enumerate(labels.read_text(errors="replace").splitlines(), start=1):
        name, _, label = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if label not in _CLASS_OF or not name:
            raise FaceSetError(f"{labels}, line {number}: '{line.strip()[:80]}', not a name and a label from 1 to 7.")
        path = _picture(folders, Path(name.strip()))
        if path is None:
            shelf.leave_out_absent(folders[0] / f"{Path(name).stem}_aligned{Path(name).suffix}")
        else:
            shelf.add(_part(name), Origin(str(path)), _CLASS_OF[label])


_FOLDERS: Final = ("aligned", "original")  # faces upright, 100 × 100; else pictures as they were found


def _picture(folders: list[Path], name: Path) -> Path | None:
    names = (f"{name.stem}_aligned{name.suffix}", name.name)
    return next((path for folder in folders for one in names if (path := folder / one).is_file()), None)


def _add_by_name(shelf: Shelf, folder: Path) -> None:
    for label, number in _CLASS_OF.items():
        for path in searching.pictures_in(folder / label):
            shelf.add(_part(Path(path).name), Origin(path), number)


def _part(name: str) -> str:
    return TEST if name.lower().startswith("test") else TRAIN
