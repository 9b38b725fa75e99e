"""Encoders of pictures (BEiT and its kind) and of speech (WavLM and its kind), one code path for every checkpoint.

An encoder's output never depends on what else it is given: pictures go through in batches of one fixed shape, the last
one padded, and sounds go through one by one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from affcli.errors import AffcliError, listed
from affcli.models import checkpoints, runtime
from affcli.models.checkpoints import CONFIG, PREPROCESSOR, Checkpoint
from affcli.models.preprocessing import PicturePreprocessing, SoundPreprocessing

DEFAULT_VISUAL = "microsoft/beit-base-patch16-224-pt22k-ft22k"
DEFAULT_AUDIO = "microsoft/wavlm-base-plus"
MINI_SEED = 0
_MINI_WEIGHTS = f"random, seed {MINI_SEED}"
_FLOAT16_MAX = float(np.finfo(np.float16).max)  # 65504

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderCard:
    """What a feature table and a model's card know of an encoder."""

    name: str
    fingerprint: str  # of configuration, preprocessing and weights: the same encoder under another name has the same
    size: int  # numbers in a feature
    feature: str  # which vector it is, such as "pooled" or "mean of last 4 hidden layers"
    weights: str  # "pretrained", or "random, seed 0" for mini

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


class VisualEncoder:
    """Pictures [N, S, S, 3] uint8 → features [N, size] float16."""

    def __init__(self, model: str, run: runtime.Runtime, *, batch_size: int = 32) -> None:
        self._run, self.batch_size = run, batch_size
        checkpoint = checkpoints.find(model, mini="visual")
        self.preprocessing = PicturePreprocessing.of(checkpoint.read(PREPROCESSOR), source=checkpoint.name)
        self._model, missing = _load(checkpoint, run.device)
        # A pooler whose weights the checkpoint lacks would be random: the class token is taken instead.
        self._pooler_is_random = any(name.startswith("pooler") for name in missing)
        _refuse_missing(checkpoint, [name for name in missing if not name.startswith("pooler")])
        size, feature = self._probe(model)
        self.card = _card(checkpoint, self._model, size=size, feature=feature)

    def _probe(self, model: str) -> tuple[int, str]:
        """One grey picture through the model says how long a feature is and which vector it is."""
        edge = self.preprocessing.input_size
        try:
            with torch.inference_mode():
                output = self._model(pixel_values=torch.zeros(1, 3, edge, edge, device=self._run.device))
                vector, feature = self._vector(output)
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            kind = self._model.config.model_type
            raise AffcliError(f"--model {model}: its {kind} model does not encode {edge}×{edge} pictures.") from error
        return vector.shape[-1], feature

    def _vector(self, output: Any) -> tuple[torch.Tensor, str]:
        pooled = None if self._pooler_is_random else getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled, "pooled"
        return output.last_hidden_state[:, 0], "class token"

    def encode(self, pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Features of at most `batch_size` pictures, each of the encoder's own input size."""
        count = len(pictures)
        # A short batch is filled up: the same kernels run on the same shape whatever the rest of the batch is.
        batch = np.zeros((self.batch_size, *pictures.shape[1:]), np.uint8)
        batch[:count] = pictures
        with self._run.inference():
            pixels = torch.from_numpy(batch).to(self._run.device, non_blocking=True)
            output = self._model(pixel_values=self.preprocessing.normalised(pixels))
            return _float16(self._vector(output)[0][:count])


class AudioEncoder:
    """Mono samples [n] float32 in [−1, 1] → features [steps, size] float32, the mean of the last hidden layers."""

    def __init__(self, model: str, run: runtime.Runtime, *, layers: int = 4) -> None:
        self._run, self._layers = run, layers
        checkpoint = checkpoints.find(model, mini="audio")
        self.preprocessing = SoundPreprocessing.of(checkpoint.read(PREPROCESSOR), source=checkpoint.name)
        self._model, missing = _load(checkpoint, run.device)
        config = self._model.config
        if not hasattr(config, "conv_stride"):
            raise AffcliError(
                f"--model {model}: a {config.model_type} model is no speech encoder of the wav2vec2 family."
            )
        # SpecAugment's mask vector is used in training only.
        _refuse_missing(checkpoint, [name for name in missing if name != "masked_spec_embed"])
        if not 1 <= layers <= config.num_hidden_layers:
            raise AffcliError(f"--layers {layers}: {checkpoint.name} has {config.num_hidden_layers} hidden layers.")
        self.steps = StepGrid.of(config.conv_kernel, config.conv_stride, self.preprocessing.sample_rate_hz)
        what = f"mean of last {layers} hidden layers"
        self.card = _card(checkpoint, self._model, size=int(config.hidden_size), feature=what)

    def encode(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """One vector for each step; no step, no vectors, for sound shorter than the encoder's receptive field."""
        if self.steps.count(len(samples)) == 0:
            return np.empty((0, self.card.size), np.float32)
        with self._run.inference():
            values = torch.from_numpy(self.preprocessing.normalised(samples))[None].to(self._run.device)
            hidden = self._model(values, output_hidden_states=True).hidden_states
            mean = torch.stack([layer.float() for layer in hidden[-self._layers :]]).mean(0)
        return np.asarray(mean[0].cpu().numpy(), np.float32)


@dataclass(frozen=True)
class StepGrid:
    """Where a convolutional front end takes its steps: step j sees samples [j·hop, j·hop + field)."""

    hop: int  # samples between steps: the product of the strides (WavLM: 320)
    field: int  # samples one step sees (WavLM: 400)
    sample_rate_hz: int

    @classmethod
    def of(cls, kernels: Sequence[int], strides: Sequence[int], sample_rate_hz: int) -> StepGrid:
        hop, field = 1, 1
        for kernel, stride in zip(kernels, strides, strict=True):
            field += (kernel - 1) * hop
            hop *= stride
        return cls(hop, field, sample_rate_hz)

    def count(self, samples: int) -> int:
        """⌊(n − field) / hop⌋ + 1 steps for n samples, none for n < field."""
        return max(0, (samples - self.field) // self.hop + 1)

    def centres_s(self, steps: int) -> NDArray[np.float64]:
        """Seconds from the first sample to the middle of what each step sees: (field/2 + hop·j) / rate."""
        return (self.field / 2 + self.hop * np.arange(steps)) / self.sample_rate_hz


def _load(checkpoint: Checkpoint, device: torch.device) -> tuple[Any, list[str]]:
    """The model in eval mode, and the names of its parameters that the checkpoint lacks."""
    library = runtime.transformers()
    try:
        if checkpoint.weights:
            model, about = library.AutoModel.from_pretrained(
                checkpoint.folder,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            missing = sorted(about["missing_keys"])
        else:
            model, missing = _random_mini(library, checkpoint), []
    except Exception as error:  # whatever a damaged or foreign checkpoint makes the loaders raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AffcliError(f"--model {checkpoint.name}: transformers cannot load it: {reason}") from error
    return model.eval().to(device), missing


def _random_mini(library: Any, checkpoint: Checkpoint) -> Any:
    log.warning("the mini encoder has random weights for now: it proves the plumbing, its features know nothing.")
    config = library.AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(MINI_SEED)
        return library.AutoModel.from_config(config)


def _refuse_missing(checkpoint: Checkpoint, missing: Sequence[str]) -> None:
    if missing:
        raise AffcliError(
            f"--model {checkpoint.name}: the checkpoint lacks weights its config asks for: {listed(missing)}."
        )


def _card(checkpoint: Checkpoint, model: Any, *, size: int, feature: str) -> EncoderCard:
    weights = "pretrained" if checkpoint.weights else _MINI_WEIGHTS
    return EncoderCard(checkpoint.name, _fingerprint(checkpoint, model), size, feature, weights)


def _fingerprint(checkpoint: Checkpoint, model: Any) -> str:
    """16 hex digits over configuration, preprocessing and every weight, whatever the files are called."""
    digest = hashlib.blake2b(digest_size=8)
    for file in (CONFIG, PREPROCESSOR):
        facts = {
            key: value for key, value in checkpoint.read(file).items() if not key.startswith(("_", "transformers"))
        }
        digest.update(json.dumps(facts, sort_keys=True).encode())
    if not checkpoint.weights:
        # Drawn from the seed; processors may draw them with another rounding, and it is the same encoder still.
        digest.update(_MINI_WEIGHTS.encode())
        return digest.hexdigest()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _float16(features: torch.Tensor) -> NDArray[np.float16]:
    return np.asarray(features.float().clamp(-_FLOAT16_MAX, _FLOAT16_MAX).cpu().numpy(), np.float16)
