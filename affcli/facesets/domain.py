"""Frames of the target videos with their labels: Aff-Wild2's `cropped_aligned` and label files (stage two)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from affcli.errors import FaceSetError, UsageError, counted, listed
from affcli.facesets.listing import HOLDOUT, NOTHING, Labelled, Listing, Origin, joined
from affcli.facesets.loading import load
from affcli.facesets.mixing import CLASS_POWER
from affcli.facesets.pictures import FaceData
from affcli.facesets.preparing import BILINEAR, Preparation
from affcli.files.inputs import MediaInput, find_inputs, numbered_pictures
from affcli.labels.folds import Fold
from affcli.labels.reader import VideoLabels, read_labels
from affcli.schema import CLASSES, NOT_ANNOTATED, recording_of

log = logging.getLogger(__name__)

# Grey values of 255. At 30 frames a second it leaves 39 % of the frames of a man who pulls many faces, 14 % to 27 % of
# those of people who speak.
THIN: Final = 4.0
_SOURCE: Final = "frames"


def domain_faces(
    frames: Path,
    labels: Path,
    val_frames: Path | None = None,
    val_labels: Path | None = None,
    *,
    size: int,
    cache: Path,
    holdout: float = HOLDOUT,
    seed: int = 0,
    class_power: float = CLASS_POWER,
    thin: float = THIN,
    resample: int = BILINEAR,
    advance: Callable[[int], None] = lambda pictures: None,
) -> FaceData:
    """The frames that `list_domain` finds, at S = `size`, decoded once into the folder `cache`.

    They are aligned already. Frames that hardly differ from the last one kept of their video are left out, also of
    those held out: `thinning.Thinner` with the threshold `thin`. A video is drawn in proportion to the root of its
    frames: `mixing.drawing_weights`. `advance(n)` tells of n more pictures, of `loading.pictures_to_decode` in all.
    """
    listing = list_domain(frames, labels, val_frames, val_labels, holdout=holdout, seed=seed)
    how = Preparation(size, align=False, resample=resample)
    return load(listing, how, cache=cache, class_power=class_power, thin=thin, advance=advance)


def list_domain(
    frames: Path,
    labels: Path,
    val_frames: Path | None = None,
    val_labels: Path | None = None,
    *,
    holdout: float = HOLDOUT,
    seed: int = 0,
) -> Listing:
    """The annotated frames of the videos that have both pictures and labels; no picture is decoded.

    Held out are the validation videos (in `val_frames`, else in `frames` too), or without `val_labels` a fraction
    `holdout` of the videos, whole recordings, with its share of every class. Raises FaceSetError where frames and
    labels have no video in common.
    """
    if val_frames is not None and val_labels is None:
        raise UsageError("--val-frames needs --val-labels.")
    folders, known = _folders(frames), read_labels(str(labels))
    if val_labels is None:
        judged = _held_out({video: known[video] for video in folders if video in known}, holdout, seed)
        known = {video: known[video] for video in known if video not in judged}
    else:
        judged = read_labels(str(val_labels))
    if both := sorted(known.keys() & judged.keys()):
        raise FaceSetError(f"{labels} and {val_labels}: {listed(both)} stand in both; a video is for one of the two.")
    if others := sorted(folders.keys() - known.keys() - judged.keys()):
        log.warning("%s: %s without labels: %s.", frames, counted(len(others), "video"), listed(others))
    train = _annotated(frames, folders, known)
    if val_frames is not None:
        frames, folders = val_frames, _folders(val_frames)
    held_out = _annotated(frames, folders, judged) if judged else NOTHING
    return Listing((_SOURCE,), train, held_out, title="Annotated frames, before near-identical ones are left out")


def _folders(frames: Path) -> dict[str, MediaInput]:
    """The folder of each video."""
    return {item.video: item for item in find_inputs([frames], suffixes=())}


def _held_out(labels: Mapping[str, VideoLabels], fraction: float, seed: int) -> dict[str, VideoLabels]:
    """About this fraction of the videos."""
    if not (fraction and labels):
        return {}
    recordings = len({recording_of(video) for video in labels})
    if recordings < 2:
        raise FaceSetError(
            "labels and pictures of one recording only: none can be held out. Name others: --val-labels."
        )
    parts = min(recordings, max(2, round(1 / fraction)))
    return {video: labels[video] for video in Fold(1, parts).held_out(labels, seed=seed)}


def _annotated(frames: Path, folders: Mapping[str, MediaInput], labels: Mapping[str, VideoLabels]) -> Labelled:
    """The annotated frames of the videos that have a folder, video by video."""
    videos = [video for video in folders if video in labels]
    if not videos:
        names = [listed(sorted(ids), limit=3) for ids in (folders, labels)]
        raise FaceSetError(f"{frames}: no video has labels: the folders are called {names[0]}, the labels {names[1]}.")
    if missing := sorted(labels.keys() - folders.keys()):
        log.warning("%s: no pictures of %s with labels: %s.", frames, counted(len(missing), "video"), listed(missing))
    frames_of = [_frames(folders[video], labels[video], group) for group, video in enumerate(videos)]
    if not any(map(len, frames_of)):
        raise FaceSetError(f"{frames}: none of the pictures is annotated: {listed(videos, limit=3)}.")
    return joined(frames_of)


def _frames(item: MediaInput, labels: VideoLabels, group: int) -> Labelled:
    """The annotated frames of one video, in their order. Line i of the labels is frame i; either may end first."""
    numbers = labels.labels
    chosen = [
        (str(path), int(numbers[frame - 1]))
        for frame, path in numbered_pictures(item.path).items()
        if frame <= len(numbers) and numbers[frame - 1] != NOT_ANNOTATED
    ]
    return _labelled(chosen, group)


def _labelled(chosen: Sequence[tuple[str, int]], group: int) -> Labelled:
    targets = np.eye(len(CLASSES), dtype=np.float32)[[label for _, label in chosen]].reshape(-1, len(CLASSES))
    origins = tuple(Origin(path) for path, _ in chosen)
    return Labelled(origins, targets, np.zeros(len(chosen), np.int16), np.full(len(chosen), group, np.int32))
