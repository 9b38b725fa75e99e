"""Encoders of speech (WavLM and its kind), one code path for every checkpoint.

An encoder's output never depends on what else it is given: sounds go through one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parametrize

from affcli.errors import AffcliError
from affcli.models.encoders import find_checkpoint
from affcli.models.encoders.loading import card_of, load, refuse_lacking
from affcli.models.encoders.preprocessing import SoundPreprocessing
from affcli.models.runtime import devices, host_to_device

_SAMPLE_STEPS = 50  # of noise, to see what an encoder of speech makes of it
_NOT_OF_THE_FAMILY = "is no speech encoder of the wav2vec2 family"


class AudioEncoder:
    """Mono samples [n] float32 in [−1, 1] → features [steps, size] float32, the mean of the last hidden layers."""

    def __init__(self, model: str, run: devices.Runtime, *, layers: int = 4) -> None:
        self._run, self._layers = run, layers
        checkpoint = find_checkpoint.find(model, mini="audio")
        self.preprocessing = SoundPreprocessing.of(checkpoint)
        self._model, lacking = load(checkpoint, run.device)
        config = self._model.config
        if not hasattr(config, "conv_stride"):
            raise AffcliError(f"--model {model}: a {config.model_type} model {_NOT_OF_THE_FAMILY}.")
        masked = [name for name in lacking if name == "masked_spec_embed"]  # SpecAugment's, used in training only
        refuse_lacking(checkpoint, lacking, but=masked)
        if not 1 <= layers <= config.num_hidden_layers:
            raise AffcliError(f"--layers {layers}: {checkpoint.name} has {config.num_hidden_layers} hidden layers.")
        self.steps = StepGrid.of(config.conv_kernel, config.conv_stride, self.preprocessing.sample_rate_hz)
        size, what = self._probe(model), f"mean of last {layers} hidden layers"
        self.card = card_of(checkpoint, self._model, but=masked, size=size, feature=what)
        _fold_weight_norms(self._model)
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, _SAMPLE_STEPS * self.steps.hop).astype(np.float32)
        self._run.prepare(self._model, lambda: self._features(noise))

    def _probe(self, model: str) -> int:
        """How long a feature is; raises where the steps are not where the front end takes them (SEW squeezes them)."""
        kind, steps = self._model.config.model_type, 8
        try:
            found = self._features(np.zeros(self.steps.field + (steps - 1) * self.steps.hop, np.float32))
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise AffcliError(f"--model {model}: a {kind} model {_NOT_OF_THE_FAMILY}.") from error
        if len(found) != steps:
            raise AffcliError(
                f"--model {model}: this {kind} model's hidden layers have {len(found)} steps for {steps}."
            )
        return found.shape[1]

    def _features(self, samples: NDArray[np.float32]) -> torch.Tensor:
        values = host_to_device.on_device(self.preprocessing.normalised(samples)[None], self._run.device)
        with self._run.inference():
            hidden = self._model(values, output_hidden_states=True).hidden_states
            return torch.stack([layer.float() for layer in hidden[-self._layers :]]).mean(0)[0]

    def encode(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """One vector for each step; no step, no vectors, for sound shorter than the encoder's receptive field."""
        if self.steps.count(len(samples)) == 0:
            return np.empty((0, self.card.size), np.float32)
        return np.asarray(self._features(samples).cpu().numpy(), np.float32)


def _fold_weight_norms(model: torch.nn.Module) -> None:
    """Computes normed weights (of the convolution that encodes positions) now, once and in one thread.

    Else it is done in every pass, and its sum over a few million numbers depends, in the last bit, on how many threads
    share it: the only thing in these models that does.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for module in list(model.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")
    finally:
        torch.set_num_threads(threads)


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
