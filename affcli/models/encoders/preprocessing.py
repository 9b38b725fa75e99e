"""What a checkpoint's preprocessor_config.json asks for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from affcli.errors import AffcliError
from affcli.models.encoders.find_checkpoint import CONFIG, Checkpoint
from affcli.models.runtime import devices


@dataclass(frozen=True)
class PicturePreprocessing:
    """Resize, crop, rescale and normalise, as the checkpoint's own processor does.

    Resizing and cropping are transformers' processor itself, by Pillow, with its defaults for what the file leaves out.
    Rescaling and normalising are done here, so that they can run in batches where the encoder runs.
    """

    input_size: int  # edge in pixels of the square picture that the encoder sees; face crops are made at this size
    rescale: float
    mean: tuple[float, ...]  # of the channels red, green, blue
    std: tuple[float, ...]
    processor: Any  # picture → {"pixel_values": [1, 3, height, width]}

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> PicturePreprocessing:
        """Raises AffcliError where the checkpoint has no image processor, or one that does something else."""
        processor = _image_processor(checkpoint)
        preprocessing = cls(
            input_size=_input_size(checkpoint, processor),
            rescale=processor.rescale_factor if processor.do_rescale else 1.0,
            mean=_channels(processor.image_mean) if processor.do_normalize else (0.0, 0.0, 0.0),
            std=_channels(processor.image_std) if processor.do_normalize else (1.0, 1.0, 1.0),
            processor=processor,
        )
        ours = preprocessing.normalised(torch.from_numpy(preprocessing.fitted(_sample()))[None]).numpy()
        if not np.allclose(ours, processor(_sample(), return_tensors="np")["pixel_values"], atol=1e-4):
            what = f"its {type(processor).__name__} does more than resize, crop, rescale and normalise"
            raise AffcliError(f"--model {checkpoint.name}: {what}; that is not supported.")
        return preprocessing

    def fitted(self, picture: Image.Image) -> NDArray[np.uint8]:
        """A picture of any size → uint8 [input_size, input_size, 3] RGB."""
        fitted, edge = _fitted(self.processor, picture), self.input_size
        if fitted.shape[:2] != (edge, edge):
            size = f"{picture.width}×{picture.height}"
            raise AffcliError(f"a picture of {size} pixels does not fit the encoder, which takes {edge}×{edge}.")
        return fitted

    @property
    def resample(self) -> int:
        """Pillow's number of the filter that pictures are resized with."""
        return int(self.processor.resample)

    @property
    def input_facts(self) -> dict[str, Any]:
        """How pixels become an encoder's input: size, rescale, mean, std."""
        return {"size": self.input_size, "rescale": self.rescale, "mean": self.mean, "std": self.std}

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [N, S, S, 3] → float32 [N, 3, S, S]: (value · rescale − mean) / std, on the pixels' device."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return (pixels.permute(0, 3, 1, 2).float() * self.rescale - mean) / std


def _image_processor(checkpoint: Checkpoint) -> Any:
    """transformers' processor for the checkpoint, of the kind that computes with Pillow and needs no torchvision."""
    facts, model_type = checkpoint.preprocessing(), checkpoint.read(CONFIG).get("model_type")
    kind = _pillow_processor(facts, model_type)
    try:
        if kind is not None:
            return kind.from_dict(facts)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AffcliError(f"--model {checkpoint.name}: preprocessor_config.json cannot be used: {reason}") from error
    what = "its preprocessor_config.json is none of a picture encoder that transformers knows an image processor for"
    raise AffcliError(f"--model {checkpoint.name}: {what}.")


def _pillow_processor(facts: Mapping[str, Any], model_type: str | None) -> Any:
    """The class that the file names, else that of the model's type, as transformers' AutoImageProcessor chooses it."""
    devices.transformers()
    # AutoImageProcessor itself, and this module by any other way, ask for torchvision in transformers before 5.17.
    known = importlib.import_module("transformers.models.auto.image_processing_auto")
    older = str(facts.get("feature_extractor_type", "")).replace("FeatureExtractor", "ImageProcessor")
    of_type = known.IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, {}).get("pil")
    for name in (facts.get("image_processor_type") or older, of_type):
        base = str(name or "").removesuffix("Pil").removesuffix("Fast")
        if base and (kind := known.get_image_processor_class_from_name(f"{base}Pil")) is not None:
            return kind
    # Some (DINOv3's) are for torchvision only; where the file says all that it takes, the plain one reads it.
    if facts.keys() >= {"size", "image_mean", "image_std"}:
        return known.get_image_processor_class_from_name("ViTImageProcessorPil")
    return None


def _input_size(checkpoint: Checkpoint, processor: Any) -> int:
    """Found by trying: the files say it in many ways (`size`, `crop_size`, `shortest_edge`, `crop_pct`)."""
    try:
        height, width = _fitted(processor, _sample()).shape[:2]
    except Exception as error:  # processors of other kinds of pictures make other things of it
        what = f"its {type(processor).__name__} makes no picture of a picture"
        raise AffcliError(f"--model {checkpoint.name}: {what}; that is not supported.") from error
    if height != width:
        raise AffcliError(
            f"--model {checkpoint.name}: takes pictures of {width}×{height}; only square ones can be used."
        )
    return int(height)


def _fitted(processor: Any, picture: Image.Image) -> NDArray[np.uint8]:
    made = processor(picture.convert("RGB"), do_rescale=False, do_normalize=False, return_tensors="np")
    (planes,) = made["pixel_values"]
    return np.ascontiguousarray(planes.transpose(1, 2, 0), np.uint8)


def _sample() -> Image.Image:
    """A picture as `cropped_aligned` has them, 112 × 112, of noise."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (112, 112, 3)).astype(np.uint8))


def _channels(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.broadcast_to(values, 3))


@dataclass(frozen=True)
class SoundPreprocessing:
    """Sampling rate and loudness, as transformers' Wav2Vec2FeatureExtractor does."""

    sample_rate_hz: int
    normalise: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> SoundPreprocessing:
        config = checkpoint.preprocessing()
        if "sampling_rate" not in config:
            what = "its preprocessor_config.json is none of a speech encoder (no sampling_rate)"
            raise AffcliError(f"--model {checkpoint.name}: {what}.")
        return cls(int(config["sampling_rate"]), bool(config.get("do_normalize", True)))

    def normalised(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Zero mean and unit variance where the checkpoint asks for it: (x − mean)/√(var + 1e-7) over all samples."""
        if not self.normalise:
            return np.ascontiguousarray(samples, np.float32)
        centred = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return np.ascontiguousarray(centred, np.float32)
