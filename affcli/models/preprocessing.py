"""What a checkpoint's preprocessor_config.json asks for. (transformers' own processors would need torchvision.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from affcli.errors import AffcliError


@dataclass(frozen=True)
class PicturePreprocessing:
    """Resize, centre crop, rescale and normalise, as transformers' Pillow processors do."""

    resize: tuple[int, int] | int | None  # (height, width), the shortest edge, or as it is
    crop: tuple[int, int] | None  # (height, width) cut from the middle
    resample: int  # Pillow's number: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic
    rescale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any], *, source: str) -> PicturePreprocessing:
        """From a preprocessor_config.json, old (`"size": 224`) or new (`"size": {"height": …}`)."""
        if "image_mean" not in config:
            raise AffcliError(
                f"--model {source}: its preprocessor_config.json is none of a picture encoder (no image_mean)."
            )
        return cls(
            resize=_resize(config.get("size")) if config.get("do_resize", True) else None,
            crop=_edges(config.get("crop_size", config.get("size"))) if config.get("do_center_crop", False) else None,
            resample=int(config.get("resample", Image.Resampling.BILINEAR)),
            rescale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
            mean=tuple(config["image_mean"]) if config.get("do_normalize", True) else (0.0, 0.0, 0.0),
            std=tuple(config["image_std"]) if config.get("do_normalize", True) else (1.0, 1.0, 1.0),
        )

    @property
    def input_size(self) -> int:
        """The edge in pixels of the square picture that the encoder sees; face crops are made at this size."""
        edges = self.crop or self.resize
        if isinstance(edges, int):
            return edges
        if edges is None or edges[0] != edges[1]:
            raise AffcliError(f"the encoder takes pictures of {edges} pixels; only square ones can be used.")
        return edges[0]

    def fitted(self, picture: Image.Image) -> NDArray[np.uint8]:
        """A picture of any size → uint8 [input_size, input_size, 3] RGB."""
        picture = picture.convert("RGB")
        if self.resize is not None:
            width, height = self._resized(picture.size)
            if (width, height) != picture.size:
                picture = picture.resize((width, height), Image.Resampling(self.resample))
        if self.crop is not None:
            # transformers' center_crop: the top-left corner is rounded down
            height, width = self.crop
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            picture = picture.crop((left, top, left + width, top + height))
        return np.array(picture, np.uint8)

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after the resize; the shortest edge keeps the picture's shape."""
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        assert self.resize is not None
        width, height = size
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [N, S, S, 3] → float32 [N, 3, S, S]: (value · rescale − mean) / std, on the pixels' device."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return (pixels.permute(0, 3, 1, 2).float() * self.rescale - mean) / std


@dataclass(frozen=True)
class SoundPreprocessing:
    """Sampling rate and loudness, as transformers' Wav2Vec2FeatureExtractor does."""

    sample_rate_hz: int
    normalise: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], *, source: str) -> SoundPreprocessing:
        if "sampling_rate" not in config:
            raise AffcliError(
                f"--model {source}: its preprocessor_config.json is none of a speech encoder (no sampling_rate)."
            )
        return cls(int(config["sampling_rate"]), bool(config.get("do_normalize", True)))

    def normalised(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Zero mean and unit variance where the checkpoint asks for it: (x − mean)/√(var + 1e-7) over all samples."""
        if not self.normalise:
            return np.ascontiguousarray(samples, np.float32)
        centred = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return np.ascontiguousarray(centred, np.float32)


def _resize(size: Any) -> tuple[int, int] | int | None:
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"])
    return _edges(size)


def _edges(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    if isinstance(size, Mapping):
        return (int(size["height"]), int(size["width"])) if "height" in size else (int(size["shortest_edge"]),) * 2
    if isinstance(size, (list, tuple)):
        return int(size[0]), int(size[1])
    return int(size), int(size)
