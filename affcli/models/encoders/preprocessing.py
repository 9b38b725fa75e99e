"""What a checkpoint's preprocessor_config.json asks for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from affcli.errors import PreprocessingError
from affcli.models.encoders.find_checkpoint import CONFIG, Checkpoint
from affcli.models.runtime import devices

SAMPLING_RATES_HZ: Final = (1_000, 768_000)


@dataclass(frozen=True)
class PicturePreprocessing:
    """Resize, crop, rescale, flip and normalise, as the checkpoint's own processor does.

    Resizing and cropping are transformers' processor itself, by Pillow, with its defaults for what the file leaves out.
    Rescaling, flipping the order of the channels and normalising are done here, so that they can run in batches where
    the encoder runs, and alike for pictures and for crops of faces, which need no fitting.
    """

    input_size: int  # edge in pixels of the square picture that the encoder sees; face crops are made at this size
    rescale: float
    mean: tuple[float, ...]  # of the channels in the order that the encoder takes
    std: tuple[float, ...]
    flip: bool  # the encoder takes blue, green, red
    processor: Any  # picture → {"pixel_values": [1, 3, height, width]}

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> PicturePreprocessing:
        """Raises PreprocessingError where the checkpoint has no image processor, or one that does something else."""
        processor = _image_processor(checkpoint)
        preprocessing = cls(
            input_size=_input_size(checkpoint, processor),
            rescale=processor.rescale_factor if processor.do_rescale else 1.0,
            mean=_channels(processor.image_mean) if _normalises(processor) else (0.0, 0.0, 0.0),
            std=_channels(processor.image_std) if _normalises(processor) else (1.0, 1.0, 1.0),
            flip=_flips(processor),
            processor=processor,
        )
        preprocessing._refuse_more(checkpoint.name)
        return preprocessing

    def _refuse_more(self, name: str) -> None:
        """Raises PreprocessingError where the processor does what is not done here.

        Tried on noise, which shows what becomes of every pixel, and on one colour, which no resizing or cropping
        changes: whatever it comes out as, crops of faces must come out alike.
        """
        for picture in (_sample(), _one_colour()):
            whole = self.processor(picture, return_tensors="np")["pixel_values"]
            ours = self.normalised(torch.from_numpy(self.fitted(picture))[None]).numpy()
            if not np.allclose(ours, whole, atol=1e-4):
                raise _unsupported(name, self.processor)
        size = (self.input_size, self.input_size, 3)
        crop = np.broadcast_to(np.asarray(_one_colour())[0, 0], size).copy()
        if not np.allclose(self.normalised(torch.from_numpy(crop)[None]).numpy(), whole, atol=1e-4):
            raise _unsupported(name, self.processor)

    def fitted(self, picture: Image.Image) -> NDArray[np.uint8]:
        """A picture of any size → uint8 [input_size, input_size, 3] RGB."""
        fitted, edge = _fitted(self.processor, picture), self.input_size
        if fitted.shape[:2] != (edge, edge):
            size = f"{picture.width}×{picture.height}"
            raise PreprocessingError(f"a picture of {size} pixels does not fit the encoder, which takes {edge}×{edge}.")
        return fitted

    @property
    def resample(self) -> int:
        """Pillow's number of the filter that pictures are resized with."""
        return int(self.processor.resample)

    @property
    def input_facts(self) -> dict[str, Any]:
        """How pixels become an encoder's input: size, rescale, mean, std, flip."""
        facts = {"size": self.input_size, "rescale": self.rescale, "mean": self.mean, "std": self.std}
        return {**facts, "flip": self.flip}

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 RGB [N, S, S, 3] → float32 [N, 3, S, S]: (value · rescale − mean) / std, on the pixels' device.

        The channels are red, green, blue, or with `flip` blue, green, red.
        """
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        planes = pixels.permute(0, 3, 1, 2).float()
        return ((planes.flip(1) if self.flip else planes) * self.rescale - mean) / std


def _image_processor(checkpoint: Checkpoint) -> Any:
    """transformers' processor for the checkpoint, of the kind that computes with Pillow and needs no torchvision."""
    facts, model_type = checkpoint.preprocessing(), checkpoint.read(CONFIG).get("model_type")
    kind = _pillow_processor(facts, model_type)
    if kind is None:
        what = "its preprocessor_config.json does not name an image processor that transformers knows"
        raise PreprocessingError(f"--model {checkpoint.name}: {what}.")
    try:
        processor = kind.from_dict(_plain(facts))
    except Exception as error:  # whatever a damaged file makes the processor raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PreprocessingError(
            f"--model {checkpoint.name}: preprocessor_config.json cannot be used: {reason}."
        ) from error
    _refuse_odd_numbers(checkpoint.name, processor)
    return processor


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says in the way that processors take it: a filter by its number, a mean for each channel.

    Raises ValueError for a filter that Pillow does not have.
    """
    plain = dict(facts)
    resample = facts.get("resample")
    if isinstance(resample, str):
        name = resample.rpartition(".")[2].upper()
        if name not in Image.Resampling.__members__:
            known = ", ".join(one.lower() for one in Image.Resampling.__members__)
            raise ValueError(f"resample '{resample}' is no filter of Pillow ({known})")
        plain["resample"] = int(Image.Resampling[name])
    for key in ("image_mean", "image_std"):
        if isinstance(facts.get(key), int | float):
            plain[key] = [float(facts[key])] * 3
    return plain


def _refuse_odd_numbers(name: str, processor: Any) -> None:
    """Raises PreprocessingError where normalising would give no numbers."""
    if not _normalises(processor):
        return
    for key in ("image_mean", "image_std"):
        try:
            values = np.array(_channels(getattr(processor, key)))
        except (TypeError, ValueError) as error:
            found = getattr(processor, key)
            raise PreprocessingError(f"--model {name}: preprocessor_config.json: {key} is {found!r}.") from error
        if not np.isfinite(values).all() or (key == "image_std" and (values <= 0).any()):
            wanted = "greater than 0" if key == "image_std" else "finite"
            raise PreprocessingError(
                f"--model {name}: preprocessor_config.json: {key} is {values.tolist()}; it must be {wanted}."
            )


def _normalises(processor: Any) -> bool:
    return bool(getattr(processor, "do_normalize", False))


def _flips(processor: Any) -> bool:
    """Whether the processor turns red, green, blue around; one that knows no such option does not, whatever is said."""
    knows = hasattr(type(processor), "do_flip_channel_order")
    return knows and bool(processor.do_flip_channel_order)


def _pillow_processor(facts: Mapping[str, Any], model_type: str | None) -> Any:
    """The class that the file names, else that of the model's type, as transformers' AutoImageProcessor chooses it."""
    devices.transformers()
    # AutoImageProcessor itself, and this module by any other way, ask for torchvision in transformers before 5.17.
    known = importlib.import_module("transformers.models.auto.image_processing_auto")
    older = str(facts.get("feature_extractor_type", "")).replace("FeatureExtractor", "ImageProcessor")
    of_type = known.IMAGE_PROCESSOR_MAPPING_NAMES.get(str(model_type), {}).get("pil")
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
        raise PreprocessingError(f"--model {checkpoint.name}: {what}; that is not supported.") from error
    if height != width:
        raise PreprocessingError(
            f"--model {checkpoint.name}: takes pictures of {width}×{height}; only square ones can be used."
        )
    return int(height)


def _fitted(processor: Any, picture: Image.Image) -> NDArray[np.uint8]:
    options = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
    if _flips(processor):  # done later, for crops of faces too
        options["do_flip_channel_order"] = False
    made = processor(picture.convert("RGB"), **options)
    (planes,) = made["pixel_values"]
    return np.ascontiguousarray(planes.transpose(1, 2, 0), np.uint8)


def _sample() -> Image.Image:
    """A picture as `cropped_aligned` has them, 112 × 112, of noise."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (112, 112, 3)).astype(np.uint8))


def _one_colour() -> Image.Image:
    """A picture of the same size, in a colour whose channels differ."""
    return Image.new("RGB", (112, 112), (200, 120, 40))


def _unsupported(name: str, processor: Any) -> PreprocessingError:
    what = f"its {type(processor).__name__} does more than resize, crop, rescale, flip channels and normalise"
    return PreprocessingError(f"--model {name}: {what}; that is not supported.")


def _channels(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.broadcast_to(values, 3))


def sampling_rate_hz(checkpoint: Checkpoint) -> int:
    """Of the sound that a speech encoder takes. Raises PreprocessingError where its file says no such thing."""
    found = checkpoint.preprocessing().get("sampling_rate")
    if (
        isinstance(found, bool)
        or not isinstance(found, int | float)
        or not (SAMPLING_RATES_HZ[0] <= found <= SAMPLING_RATES_HZ[1])
        or found % 1
    ):
        low, high = SAMPLING_RATES_HZ
        raise PreprocessingError(
            f"{_file_of(checkpoint)}: sampling_rate is {found!r:.100}; it must be a whole number from {low} to {high}."
        )
    return int(found)


def _file_of(checkpoint: Checkpoint) -> str:
    return f"--model {checkpoint.name}: preprocessor_config.json"


@dataclass(frozen=True)
class SoundPreprocessing:
    """Sampling rate and loudness, as transformers' Wav2Vec2FeatureExtractor does."""

    sample_rate_hz: int
    normalise: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> SoundPreprocessing:
        """What the checkpoint asks for. Raises AffcliError where it is not a speech encoder's."""
        config = checkpoint.preprocessing()
        if "sampling_rate" not in config:
            what = "its preprocessor_config.json is none of a speech encoder (no sampling_rate)"
            raise PreprocessingError(f"--model {checkpoint.name}: {what}.")
        normalise = config.get("do_normalize", True)
        if not isinstance(normalise, bool | None):
            raise PreprocessingError(
                f"{_file_of(checkpoint)}: do_normalize is {normalise!r:.100}; it must be true or false."
            )
        return cls(sampling_rate_hz(checkpoint), bool(normalise))

    def normalised(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Zero mean and unit variance where the checkpoint asks for it: (x − mean)/√(var + 1e-7) over all samples."""
        if not self.normalise:
            return np.ascontiguousarray(samples, np.float32)
        centred = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return np.ascontiguousarray(centred, np.float32)
