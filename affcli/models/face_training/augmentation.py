"""Random changes to face pictures for training, a batch at a time: how videos show faces, and more.

Each picture has parameters of its own, drawn for a whole batch at once on the processor, so they are
the same on every device and whichever process takes a picture. No picture is touched by itself: geometry is one
`grid_sample`, everything that softens is one matrix from either side, everything about colour one 3 × 3 matrix, in
which the encoder's normalisation is contained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_LUMINANCE: Final = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
_SIGMAS: Final = (0.006, 0.010, 0.014, 0.018)  # of Gaussian blur, of the picture's edge
_REDUCTIONS: Final = (1.5, 2.0, 2.5, 3.0, 4.0)  # a face in a video is often so much smaller than the encoder's input
_AT_ONCE: Final = 16  # pictures: what stays in a processor's cache between one change and the next
_DRAWS: Final = 23  # numbers that decide what happens to a picture

# The widest changes, at strength 1.
_MIRRORED: Final = 0.5  # probability
_TURN: Final = math.radians(15)
_ZOOM: Final = math.log(1.25)
_STRETCH: Final = math.log(1.1)  # wider or higher
_SHIFT: Final = 0.06  # of the edge
_BRIGHTNESS, _CONTRAST, _SATURATION, _CAST = (math.log(factor) for factor in (1.4, 1.4, 1.6, 1.1))
_GREY, _BLURRED, _REDUCED, _ERASED = 0.15, 0.15, 0.25, 0.25  # probabilities
_ERASED_AREA: Final = (0.02, 0.2)  # of the picture
_ERASED_RATIO: Final = math.log(3)  # of the sides


@dataclass(frozen=True)
class Changes:
    """What happens to each of n pictures."""

    mirrored: Tensor  # bool [n]
    turn: Tensor  # [n] radians
    zoom: Tensor  # [n, 2]: factors across and down
    shift: Tensor  # [n, 2] of the edge
    soft: Tensor  # int64 [n]: which of `softenings`; 0 none
    grey: Tensor  # bool [n]
    saturation: Tensor  # [n] factor, as are the next three
    cast: Tensor  # [n, 3]: of red, green, blue
    brightness: Tensor  # [n]
    contrast: Tensor  # [n]
    erased: Tensor  # [n, 4]: left, top, right, bottom in 0 … 1; right = left where nothing is erased
    filling: Tensor  # [n, 3] in 0 … 1

    @classmethod
    def draw(cls, count: int, strength: float, random: np.random.Generator) -> Changes:
        """Independent draws for `count` pictures; `strength` scales every range and probability but mirroring's."""
        uniform = torch.from_numpy(random.random((count, _DRAWS), np.float32)).unbind(1)
        even = [2 * strength * (column - 0.5) for column in uniform]  # in −strength … strength
        zoom, stretch = _ZOOM * even[2], _STRETCH * even[3]
        saturation = torch.exp(_SATURATION * even[8])
        return cls(
            mirrored=uniform[0] < _MIRRORED,
            turn=_TURN * even[1],
            zoom=torch.exp(torch.stack([zoom + stretch / 2, zoom - stretch / 2], 1)),
            shift=_SHIFT * torch.stack(even[4:6], 1),
            soft=_soft(uniform[6], uniform[7], strength),
            grey=uniform[9] < strength * _GREY,
            saturation=saturation,
            cast=torch.exp(_CAST * torch.stack(even[10:13], 1)),
            brightness=torch.exp(_BRIGHTNESS * even[13]),
            contrast=torch.exp(_CONTRAST * even[14]),
            erased=_rectangles(uniform[15] < strength * _ERASED, *uniform[16:20]),
            filling=torch.stack(uniform[20:23], 1),
        )

    def of(self, chosen: Tensor | slice, device: torch.device) -> Changes:
        """The changes of some of the pictures."""
        some = {field.name: getattr(self, field.name)[chosen].to(device) for field in fields(self)}
        return Changes(**some)


def _soft(blurred: Tensor, reduced: Tensor, strength: float) -> Tensor:
    """Numbers of `softenings`: one of the blurs with probability `_BLURRED`, and one of the reductions."""
    blur, reduction = (
        torch.where(draw < chance, 1 + (draw / chance * kinds).long().clamp(max=kinds - 1), 0)
        for draw, chance, kinds in (
            (blurred, max(strength * _BLURRED, 1e-9), len(_SIGMAS)),
            (reduced, max(strength * _REDUCED, 1e-9), len(_REDUCTIONS)),
        )
    )
    return reduction * (len(_SIGMAS) + 1) + blur


def _rectangles(erased: Tensor, area: Tensor, ratio: Tensor, across: Tensor, down: Tensor) -> Tensor:
    low, high = _ERASED_AREA
    area = erased * (low + (high - low) * area)
    sides = torch.exp(_ERASED_RATIO * (ratio - 0.5))
    width, height = (area * sides).sqrt(), (area / sides).sqrt()
    left, top = across * (1 - width), down * (1 - height)
    return torch.stack([left, top, left + width, top + height], 1)


def softenings(size: int) -> Tensor:
    """[k, size, size]: matrices M that soften a picture of this size as M · picture · Mᵀ; the first is the identity.

    Every pair of a reduction, to a smaller picture (antialiased) and back (bilinear), and a Gaussian blur before it.
    """
    blurs = [torch.eye(size), *(_gaussian(size, sigma * size) for sigma in _SIGMAS)]
    reductions = [torch.eye(size), *(_reduction(size, max(1, round(size / factor))) for factor in _REDUCTIONS)]
    return torch.stack([reduction @ blur for reduction in reductions for blur in blurs])


def _gaussian(size: int, sigma: float) -> Tensor:
    """Blurs along one axis, edges repeated; the kernel ends at 3 σ."""
    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    columns = (torch.arange(size)[:, None] + offsets).clamp(0, size - 1)
    return torch.zeros(size, size).scatter_add(1, columns, (kernel / kernel.sum()).expand(size, -1))


def _reduction(size: int, reduced: int) -> Tensor:
    """Reduces along one axis to `reduced` pixels and enlarges again. Column by column, this is what it does to I."""
    identity = torch.eye(size)[None, None]
    small = F.interpolate(identity, size=(reduced, size), mode="bilinear", antialias=True)
    back: Tensor = F.interpolate(small, size=(size, size), mode="bilinear")[0, 0]
    return back


class Augmenter:
    """Makes an encoder's input, changed at random, from pictures."""

    def __init__(
        self, size: int, *, rescale: float, mean: tuple[float, ...], std: tuple[float, ...], flip: bool = False
    ) -> None:
        """Pictures are `size` × `size`; a value v becomes (v · rescale − mean) / std in the end.

        With `flip` the channels come out as blue, green, red; mean and std are of that order.
        """
        self._flip = flip
        self._gain, self._offset = rescale / torch.tensor(std), -torch.tensor(mean) / torch.tensor(std)
        self._softenings = softenings(size)

    def __call__(self, pixels: Tensor, changes: Changes) -> Tensor:
        """uint8 [n, S, S, 3] → float32 [n, 3, S, S], on the pixels' device."""
        device, size = pixels.device, pixels.shape[1]
        if self._softenings.device != device:
            self._gain, self._offset, self._softenings = (
                tensor.to(device) for tensor in (self._gain, self._offset, self._softenings)
            )
        made = torch.empty(len(pixels), 3, size, size, device=device)
        at_once = _AT_ONCE if device.type == "cpu" else len(pixels)
        for start in range(0, len(pixels), at_once):
            some = slice(start, start + at_once)
            self._make(pixels[some], changes.of(some, device), made[some])
        return made

    def _make(self, pixels: Tensor, changes: Changes, out: Tensor) -> None:
        values = warped(pixels.permute(0, 3, 1, 2).float(), changes)
        soften(values, self._softenings, changes.soft)
        matrix, bias = recolouring(changes, values.mean((2, 3)))
        if self._flip:
            matrix, bias = matrix.flip(1), bias.flip(1)
        # The normalisation comes last, and is linear too.
        matrix, bias = self._gain[:, None] * matrix, self._gain * bias + self._offset
        torch.baddbmm(bias[..., None], matrix, values.flatten(2), out=out.flatten(2))
        white = 255 * self._gain + self._offset
        out.clamp_(self._offset.view(1, 3, 1, 1), white.view(1, 3, 1, 1))
        erase(out, changes.erased, self._offset + changes.filling * (white - self._offset))


def samples(pixels: NDArray[np.uint8], *, strength: float, seed: int) -> NDArray[np.uint8]:
    """Pictures [n, S, S, 3] as training sees them, but for the normalisation."""
    augmenter = Augmenter(pixels.shape[1], rescale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    changes = Changes.draw(len(pixels), strength, np.random.default_rng(seed))
    return augmenter(torch.from_numpy(pixels), changes).round().byte().permute(0, 2, 3, 1).numpy()


def warped(pictures: Tensor, changes: Changes) -> Tensor:
    """Mirrors, turns about the centre, zooms and shifts [n, 3, S, S], in this order; edges are reflected."""
    size = pictures.shape[-1]
    cosine, sine = torch.cos(changes.turn), torch.sin(changes.turn)
    # A picture's point p is seen at q = zoom · R · mirror · p + shift, with the centre at 0 and the edge from −1 to 1;
    # what is seen at q is taken from p = mirror · Rᵀ · (q − shift) / zoom.
    rows = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    rows = torch.where(changes.mirrored[:, None, None], rows * rows.new_tensor([[-1.0], [1.0]]), rows)
    rows = rows / changes.zoom[:, None]
    start = -(rows @ (2 * changes.shift)[..., None])[..., 0]
    centres = (2 * torch.arange(size, device=pictures.device) + 1) / size - 1
    across = centres.view(1, 1, -1, 1) * rows[:, None, None, :, 0]
    down = centres.view(1, -1, 1, 1) * rows[:, None, None, :, 1] + start[:, None, None]
    return F.grid_sample(pictures, across + down, mode="bilinear", padding_mode="reflection", align_corners=False)


def soften(pictures: Tensor, matrices: Tensor, which: Tensor) -> None:
    """Softens some of [n, 3, S, S] in place: M · picture · Mᵀ with the `which`th matrix; 0 leaves a picture alone."""
    chosen = which.nonzero()[:, 0]
    if len(chosen):
        matrix = matrices[which[chosen]][:, None]
        pictures[chosen] = matrix @ pictures[chosen] @ matrix.mT


def recolouring(changes: Changes, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix [n, 3, 3] and bias [n, 3] that take a colour to saturation, cast, brightness and contrast, in this order.

    Contrast is about the picture's mean colour's luminance after the others; `mean` [n, 3] is that colour before.
    """
    weights = mean.new_tensor(_LUMINANCE)
    saturation = torch.where(changes.grey, 0.0, changes.saturation)[:, None, None]
    matrix = saturation * torch.eye(3, device=mean.device) + (1 - saturation) * weights.expand(3, 3)
    cast = torch.where(changes.grey[:, None], 1.0, changes.cast)
    matrix = (changes.brightness[:, None] * cast)[..., None] * matrix
    middle = (matrix @ mean[..., None])[..., 0] @ weights
    contrast = changes.contrast[:, None]
    return contrast[..., None] * matrix, ((1 - contrast) * middle[:, None]).expand(-1, 3)


def erase(pictures: Tensor, rectangles: Tensor, filling: Tensor) -> None:
    """Fills a rectangle of each of [n, 3, S, S] with one colour [n, 3], in place."""
    chosen = (rectangles[:, 2] > rectangles[:, 0]).nonzero()[:, 0]
    if not len(chosen):
        return
    left, top, right, bottom = rectangles[chosen, :, None].unbind(1)
    size = pictures.shape[-1]
    centres = (torch.arange(size, device=pictures.device) + 0.5) / size
    across, down = (left <= centres) & (centres < right), (top <= centres) & (centres < bottom)
    inside = down[:, None, :, None] & across[:, None, None, :]
    pictures[chosen] = torch.where(inside, filling[chosen][..., None, None], pictures[chosen])


def mix(values: Tensor, share: Tensor) -> None:
    """Mixup of neighbours, in place: rows 2k and 2k + 1 become share · own + (1 − share) · other; `share` is [⌊n/2⌋].

    A last row without a neighbour stays. (Zhang et al. 2018, with the partner next to a picture in the random order.)
    """
    first, second = values[: 2 * len(share)].view(len(share), 2, *values.shape[1:]).unbind(1)
    moved = (first - second).mul_((1 - share).view(-1, *[1] * (first.ndim - 1)).to(values.dtype))
    first.sub_(moved)
    second.add_(moved)
