"""From where a picture is to the pixels that a network sees: read, cut out, aligned or resized."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from affcli.facesets.listing import Origin
from affcli.facesets.parquet_pictures import picture_in
from affcli.media.faces import Face, FaceDetector, align
from affcli.media.pictures import read_picture

Pixels = NDArray[np.uint8]

BILINEAR: Final = int(Image.Resampling.BILINEAR)  # as `resample` stands in preprocessor_config.json

# What became of a picture, one letter each.
AS_IT_WAS, ALIGNED, NO_FACE, UNREADABLE, THINNED = ".", "a", "n", "x", "t"
KEPT: Final = frozenset((AS_IT_WAS, ALIGNED, NO_FACE))

# Enlarged fourfold, 99 % of FERPlus's pictures of 48 × 48 pixels have a face for the detector; a border around them, or
# another size, finds no more, nor nearer to the landmarks in video frames that such pictures were cut from.
_SMALLEST: Final = 192  # pixels, longer side; smaller pictures are enlarged
_LONG_SIDE: Final = 256  # larger ones are reduced for detection: the face is most of the picture
_MIN_SCORE: Final = 0.5  # lower than in video: these pictures show a face by their nature
_BOX_MARGIN: Final = 0.4  # of the box's sides, added on every side for detection


@dataclass(frozen=True)
class Preparation:
    """How pictures are made: S × S pixels (`size`), aligned or whole, resized by Pillow's filter number `resample`."""

    size: int
    align: bool
    resample: int = BILINEAR


class Preparer:
    """Makes pictures, also from several threads at once."""

    def __init__(self, how: Preparation) -> None:
        self._how = how
        self._detector = None
        if how.align:
            self._detector = FaceDetector(threads=1, min_score=_MIN_SCORE, long_side=_LONG_SIDE)

    def prepare(self, origin: Origin) -> tuple[Pixels | None, str]:
        """uint8 [S, S, 3], or None for what is not readable as a picture; and what became of it, a letter.

        Where a face is looked for and none is found, the picture is resized as it is.
        """
        pixels = _read(origin)
        if pixels is None:
            return None, UNREADABLE
        if self._detector is None:
            return self._resized(_cut(pixels, origin.box, 0)), AS_IT_WAS
        aligned = self._aligned(_cut(pixels, origin.box, _BOX_MARGIN))
        if aligned is None:
            return self._resized(_cut(pixels, origin.box, 0)), NO_FACE
        return aligned, ALIGNED

    def _aligned(self, pixels: Pixels) -> Pixels | None:
        """The face as an upright crop. What lies outside the picture repeats its edge: sets cut their pictures closer
        than the crop, and nearly all would have black edges, which videos hardly ever have."""
        assert self._detector is not None
        ratio = _SMALLEST / max(pixels.shape[:2])
        if ratio > 1:
            height, width = (max(1, round(side * ratio)) for side in pixels.shape[:2])
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
        faces = self._detector.detect(pixels)
        if not faces:
            return None
        return align(pixels, _meant(faces, pixels).landmarks, self._how.size, outside="edge")

    def _resized(self, pixels: Pixels) -> Pixels:
        size = (self._how.size, self._how.size)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling(self._how.resample)))


def _read(origin: Origin) -> Pixels | None:
    if origin.cell is not None:
        return picture_in(origin.path, *origin.cell)
    if origin.span is None:
        pixels = read_picture(Path(origin.path))
        return pixels if pixels is None or min(pixels.shape) else None
    start, length = origin.span
    with open(origin.path, "rb") as stream:  # noqa: PTH123 - for speed
        stream.seek(start)
        text = stream.read(length)
    try:
        values = np.array(text.strip(b' "').split(), np.uint8)
    except (ValueError, OverflowError):
        return None
    side = math.isqrt(len(values))
    if not side or side * side != len(values):
        return None
    return np.repeat(values.reshape(side, side, 1), 3, axis=2)


def _cut(pixels: Pixels, box: tuple[int, int, int, int] | None, margin: float) -> Pixels:
    """The part in the box, made larger by `margin` of its sides on every side; all where there is no such part."""
    if box is None:
        return pixels
    x, y, width, height = box
    left, right = x - margin * width, x + (1 + margin) * width
    top, bottom = y - margin * height, y + (1 + margin) * height
    part = pixels[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))]
    return np.ascontiguousarray(part) if part.size else pixels


def _meant(faces: list[Face], pixels: Pixels) -> Face:
    """The face that the picture is of: the largest of those that hold its middle, else the largest."""
    y, x = (side / 2 for side in pixels.shape[:2])
    central = [face for face in faces if _holds(face.box, x, y)]
    return max(central or faces, key=lambda face: face.box[2] * face.box[3])


def _holds(box: tuple[float, float, float, float], x: float, y: float) -> bool:
    return box[0] <= x <= box[0] + box[2] and box[1] <= y <= box[1] + box[3]
