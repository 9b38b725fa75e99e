"""Random changes to grey face pictures: what separates 48 × 48 stills from faces in compressed colour video.

A picture is cut out once, from its own pixels, by one affine transform: aligned as `extract-visual` aligns faces, or as
loose as the face set has it, or between the two, then turned, zoomed, stretched, moved and mirrored. Sharpness, light,
contrast, blur, resolution, noise and compression follow, each with a probability of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Random = np.random.Generator
Transform = NDArray[np.float64]  # [2, 3], from a picture's pixels to those of a crop of 112 × 112

TEMPLATE: Final = 112  # edge of the crop that transforms lead to
_TURN, _ZOOM, _STRETCH, _SHIFT, _SHEAR = math.radians(14), 0.16, 0.05, 0.05, 0.12
_BORDERS: Final = (cv2.BORDER_REPLICATE, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101, cv2.BORDER_CONSTANT)


@dataclass(frozen=True)
class Amount:
    """How much is changed."""

    strength: float  # scales the probabilities, and the widest movements and exposures
    loose: float  # share of pictures that are shown whole; one in ten is between whole and aligned


def changed(
    picture: NDArray[np.uint8], base: Transform, loose: Transform, size: int, amount: Amount, random: Random
) -> Grey:
    """A training picture, float32 [size, size] with values from 0 to 255; `base` aligns it, `loose` shows all of it."""
    strength = amount.strength
    framing = _moved(_framing(base, loose, amount.loose, random), strength, random)
    values = _cut_out(picture, _scaled(framing, size), size, random)
    if random.random() < 0.9 * strength:
        values = _exposed(values, strength, random)
    for probability, change in _CHANGES:
        if random.random() < probability * strength:
            values = change(values, random)
    return np.clip(values, 0, 255)


def plain(picture: NDArray[np.uint8], base: Transform, size: int) -> NDArray[np.uint8]:
    """The crop without changes, edges repeated."""
    matrix = _scaled(base, size)
    return np.asarray(cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE))


def _scaled(transform: Transform, size: int) -> Transform:
    scale = size / TEMPLATE
    made = transform * scale
    made[:, 2] += (scale - 1) / 2  # pixel centres stand at whole numbers
    return made


def _framing(base: Transform, loose: Transform, whole: float, random: Random) -> Transform:
    draw = random.random()
    if draw < whole:
        return loose
    share = random.random() if draw < whole + 0.1 else 0.0
    return share * loose + (1 - share) * base


def _cut_out(picture: NDArray[np.uint8], matrix: Transform, size: int, random: Random) -> Grey:
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if scale < 0.6:  # averaged down first, so that no pixel is skipped
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 / scale)
    filtering = cv2.INTER_CUBIC if random.random() < 0.5 else cv2.INTER_LINEAR
    border = _BORDERS[random.integers(len(_BORDERS))]
    filling = int(random.integers(256)) if random.random() < 0.3 else 0
    cut = cv2.warpAffine(picture, matrix, (size, size), flags=filtering, borderMode=border, borderValue=filling)
    return cut.astype(np.float32)


def _moved(framing: Transform, strength: float, random: Random) -> Transform:
    """Turned, zoomed, stretched and mirrored about the middle of the crop, and shifted."""
    turn, zoom, stretch, across, down, shear = random.uniform(-strength, strength, 6)
    angle = _TURN * turn
    linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = linear @ np.diag(np.exp([_ZOOM * zoom + _STRETCH * stretch, _ZOOM * zoom - _STRETCH * stretch]))
    if random.random() < 0.5:
        linear = linear @ np.diag([-1, 1])
    if random.random() < 0.15:
        linear = linear @ np.array([[1, _SHEAR * shear], [0, 1]])
    middle = np.full(2, (TEMPLATE - 1) / 2)
    shift = middle - linear @ middle + TEMPLATE * _SHIFT * np.array([across, down])
    return np.column_stack([linear @ framing[:, :2], linear @ framing[:, 2] + shift])


def _sharpened(values: Grey, random: Random) -> Grey:
    """Crops of video are sharper than FERPlus's pictures."""
    blurred = cv2.GaussianBlur(values, (0, 0), random.uniform(0.8, 2) * len(values) / 96)
    return values + random.uniform(0.5, 2) * (values - blurred)


def _lit_from_a_side(values: Grey, random: Random) -> Grey:
    angle, line = random.uniform(0, 2 * math.pi), np.linspace(-1, 1, len(values), dtype=np.float32)
    ramp = math.cos(angle) * line[None] + math.sin(angle) * line[:, None]
    return values * np.exp(random.uniform(0.1, 0.6) * ramp)


def _exposed(values: Grey, strength: float, random: Random) -> Grey:
    contrast, brightness, offset = random.uniform(-strength, strength, 3).tolist()
    mean = values.mean()
    return (values - mean) * math.exp(0.5 * contrast) + mean * math.exp(0.4 * brightness) + 20 * offset


def _gamma(values: Grey, random: Random) -> Grey:
    return 255 * (np.clip(values, 0, 255) / 255) ** math.exp(random.uniform(-0.5, 0.5))


def _blurred(values: Grey, random: Random) -> Grey:
    return cv2.GaussianBlur(values, (0, 0), random.uniform(0.5, 1.8) * len(values) / 96)


def _moving(values: Grey, random: Random) -> Grey:
    """Motion blur along a line."""
    edge = 2 * int(random.integers(2, 5) if len(values) >= 96 else random.integers(1, 3)) + 1
    angle, middle = random.uniform(0, math.pi), (edge - 1) / 2
    reach = np.array([math.cos(angle), math.sin(angle)]) * middle
    kernel = np.zeros((edge, edge), np.float32)
    start, end = (tuple(round(float(at)) for at in middle + sign * reach) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(values, -1, kernel / kernel.sum())


def _reduced(values: Grey, random: Random) -> Grey:
    """As if the face had been smaller."""
    size = len(values)
    small = max(20, int(size / random.uniform(1.3, 3)))
    return cv2.resize(cv2.resize(values, (small, small), interpolation=cv2.INTER_AREA), (size, size))


def _noisy(values: Grey, random: Random) -> Grey:
    return values + random.normal(0, random.uniform(2, 12), values.shape).astype(np.float32)


def _compressed(values: Grey, random: Random) -> Grey:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(12, 60))]
    _, written = cv2.imencode(".jpg", np.clip(values, 0, 255).astype(np.uint8), quality)
    return cv2.imdecode(written, cv2.IMREAD_GRAYSCALE).astype(np.float32)


def _erased(values: Grey, random: Random) -> Grey:
    """One rectangle filled with one grey."""
    size = len(values)
    width, height = (int(size * random.uniform(0.1, 0.4)) for _ in range(2))
    left, top = int(random.integers(size - width + 1)), int(random.integers(size - height + 1))
    values[top : top + height, left : left + width] = random.integers(256)
    return values


# With their probabilities at strength 1, in this order.
_CHANGES: Final[tuple[tuple[float, Callable[[Grey, Random], Grey]], ...]] = (
    (0.25, _sharpened),
    (0.3, _lit_from_a_side),
    (0.3, _gamma),
    (0.15, _blurred),
    (0.1, _moving),
    (0.2, _reduced),
    (0.2, _noisy),
    (0.25, _compressed),
    (0.25, _erased),
)
