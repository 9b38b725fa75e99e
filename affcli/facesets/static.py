"""Static face sets, mixed: RAF-DB, FERPlus, FER2013, AffectNet, ExpW, Parquet of pictures, folders named by class."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import FaceSetError, UsageError, listed
from affcli.facesets.listing import HELD_OUT, HOLDOUT, NOTHING, TEST, TRAIN, Labelled, Listing, Shelf, joined
from affcli.facesets.loading import load
from affcli.facesets.mixing import CLASS_POWER
from affcli.facesets.pictures import FaceData
from affcli.facesets.preparing import BILINEAR, Preparation
from affcli.facesets.readers import (
    affectnet,
    class_folders,
    expw,
    fer2013,
    ferplus,
    parquet_images,
    rafdb,
    searching,
)

log = logging.getLogger(__name__)

READERS: Final[dict[str, Callable[[Path, str], Shelf]]] = {
    "rafdb": rafdb.read,
    "ferplus": ferplus.read,
    "affectnet": affectnet.read,
    "fer2013": fer2013.read,
    "expw": expw.read,
    "parquet": parquet_images.read,
    "folder": class_folders.read,
}
_ALSO_FILES: Final = frozenset({"fer2013", "parquet"})  # kinds that may be a file


def static_faces(
    specs: Sequence[tuple[str, Path]],
    *,
    size: int,
    align: bool,
    cache: Path,
    holdout: float = HOLDOUT,
    seed: int = 0,
    class_power: float = CLASS_POWER,
    resample: int = BILINEAR,
    advance: Callable[[int], None] = lambda pictures: None,
) -> FaceData:
    """The sets that `list_static` finds, at S = `size`, decoded once into the folder `cache`.

    With `align` the training pictures and `held_out` are aligned as `extract-visual` does it (where no face is found,
    pictures stay as they are), and `held_out_raw` holds the held-out pictures without. How often each is drawn:
    `mixing.drawing_weights`. `advance(n)` tells of n more pictures, of `loading.pictures_to_decode` in all.
    """
    listing, how = list_static(specs, holdout=holdout, seed=seed), Preparation(size, align, resample)
    return load(listing, how, cache=cache, class_power=class_power, raw_too=align, advance=advance)


def list_static(specs: Sequence[tuple[str, Path]], *, holdout: float = HOLDOUT, seed: int = 0) -> Listing:
    """What is in the sets `(kind, folder)`; no picture is decoded.

    A set's own validation part is held out; without one its test part is; without either, a fraction `holdout` of its
    training pictures, the same of every class, chosen by `seed`. A test part beside a validation part is not used.
    Raises UsageError for an unknown kind, FaceSetError where a folder does not hold what its kind says.
    """
    shelves = [_read(kind, Path(folder), name) for (kind, folder), name in zip(specs, _names(specs), strict=True)]
    parts = [_parts(shelf, number, holdout, seed) for number, shelf in enumerate(shelves)]
    trains, held_out, unused = (joined([NOTHING, *column]) for column in zip(*parts, strict=True))
    if not len(trains):
        raise FaceSetError(f"no pictures to train on in {listed([folder for _, folder in specs])}.")
    return Listing(tuple(shelf.name for shelf in shelves), trains, held_out, unused)


def _read(kind: str, folder: Path, name: str) -> Shelf:
    if kind not in READERS:
        raise UsageError(f"--data {kind}={folder}: '{kind}' is no kind of face set; known are {listed(list(READERS))}.")
    shelf = READERS[kind](searching.checked_folder(kind, folder, files=kind in _ALSO_FILES), name)
    if shelf.note:
        log.warning("%s", shelf.note)
    if shelf.empty:
        looked_for = f"{shelf.absent} and others that have labels" if shelf.absent else "pictures of its classes"
        raise FaceSetError(f"--data {kind}={folder}: looked for {looked_for}; found none.")
    return shelf


def _names(specs: Sequence[tuple[str, Path]]) -> list[str]:
    """What sets are called: their kind; a second one of a kind with its number."""
    kinds = [kind for kind, _ in specs]
    counts = [kinds[: index + 1].count(kind) for index, kind in enumerate(kinds)]
    return [kind if count == 1 else f"{kind}-{count}" for kind, count in zip(kinds, counts, strict=True)]


def _parts(shelf: Shelf, number: int, holdout: float, seed: int) -> tuple[Labelled, Labelled, Labelled]:
    """To train on, held out, not used."""
    train, held_out, test = (shelf.part(part, number) for part in (TRAIN, HELD_OUT, TEST))
    if not len(held_out):
        held_out, test = test, NOTHING
    if not len(held_out) and holdout > 0:
        chosen = held_out_rows(train.labels, holdout, seed=seed)
        return train.take(np.flatnonzero(~chosen)), train.take(np.flatnonzero(chosen)), NOTHING
    return train, held_out, test


def held_out_rows(labels: NDArray[np.integer], fraction: float, *, seed: int) -> NDArray[np.bool_]:
    """[n]: the same fraction of every class, rounded, but at least one picture, and never the only or the last one."""
    chosen = np.zeros(len(labels), bool)
    random = np.random.default_rng(seed)
    for number in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == number))
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        chosen[rows[:count]] = True
    return chosen
