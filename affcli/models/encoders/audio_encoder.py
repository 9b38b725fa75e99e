"""Encoders of speech (WavLM, Whisper, w2v-BERT, AST and their kinds), one code path for every checkpoint.

An encoder's output never depends on what else it is given: sounds go through one by one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parametrize

from affcli.errors import AffcliError
from affcli.files.encoder_card import layers_of
from affcli.media.audio import CONTEXT_S, PIECE_S
from affcli.models.encoders import find_checkpoint
from affcli.models.encoders.audio_classifier import StepHead
from affcli.models.encoders.front_ends import Hidden, front_end_of
from affcli.models.encoders.layer_choice import Layers, chosen_layers, refuse_too_many
from affcli.models.encoders.loading import card_of, refuse_lacking, tell
from affcli.models.runtime import devices, host_to_device

_LAYERS: Final = 4  # whose mean is the feature, unless the user or the encoder's card says otherwise
_SAMPLE_STEPS: Final = 50  # of noise, to see what an encoder of speech makes of it


class AudioEncoder:
    """Mono samples [n] float32 in [−1, 1] → features [steps, size] float32, the mean of the last hidden layers; or all
    hidden layers one after the other, the embeddings first.

    With `logits`, those of the checkpoint's own head follow each feature: [steps, size + C], C the number of `classes`.
    """

    def __init__(self, model: str, run: devices.Runtime, *, layers: Layers = None, logits: bool = False) -> None:
        """`layers` None: as many as the encoder's card asks for, else 4, or all of an encoder that has fewer."""
        self._run = run
        checkpoint = find_checkpoint.find(model, mini="audio")
        self._front = front_end_of(checkpoint, run.device)
        refuse_lacking(checkpoint, self._front.lacking, but=())
        self.steps = self._front.steps
        self._layers = _chosen(layers, checkpoint, self._front.model.config.num_hidden_layers)
        self.piece_s = _piece_s(checkpoint, self._front.longest, self.steps.sample_rate_hz)
        self._head: StepHead | None = None
        size, kept = self._probe(model), self._front.model.config.num_hidden_layers + 1
        what = f"all {kept} hidden layers" if self._layers == "all" else f"mean of last {self._layers} hidden layers"
        card = card_of(checkpoint, self._front.model, but=self._front.unused, size=size, feature=what)
        card = replace(card, layers=kept) if self._layers == "all" else card
        self.card = card if self.piece_s == PIECE_S else replace(card, piece_s=self.piece_s)
        tell("speech encoder", self.card, run)
        _fold_weight_norms(self._front.model)  # after the card, whose fingerprint is of the weights as they are stored
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, _SAMPLE_STEPS * self.steps.hop).astype(np.float32)
        self._run.prepare(self._front.model, lambda: self._features(noise))
        self._head = StepHead(checkpoint, self._front) if logits else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the logits; none where they were not asked for."""
        return self._head.classes if self._head else ()

    def _probe(self, model: str) -> int:
        """How long a feature is; raises where the steps are not where the front end takes them (SEW squeezes them)."""
        kind, steps = self._front.model.config.model_type, 8
        least = self.steps.least or self.steps.field
        try:
            found = self._features(np.zeros(least + (steps - 1) * self.steps.hop, np.float32))
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise AffcliError(f"--model {model}: a {kind} model is no speech encoder that affcli knows.") from error
        if len(found) != steps:
            raise AffcliError(
                f"--model {model}: this {kind} model's hidden layers have {len(found)} steps for {steps}."
            )
        return found.shape[1]

    def _features(self, samples: NDArray[np.float32]) -> torch.Tensor:
        values = host_to_device.on_device(self._front.prepared(samples)[None], self._run.device)
        with self._run.inference():
            hidden: Hidden = self._front.hidden(values)
            features = chosen_layers(hidden, self._layers)[0]
            return features if self._head is None else torch.cat([features, self._head(hidden)[0]], dim=1)

    def encode(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """One vector for each step; no step, no vectors, for sound shorter than the encoder's receptive field."""
        if self.steps.count(len(samples)) == 0:
            return np.empty((0, self.card.size + len(self.classes)), np.float32)
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


def _chosen(layers: Layers, checkpoint: find_checkpoint.Checkpoint, there: int) -> int | Literal["all"]:
    refuse_too_many(layers, there, checkpoint.name)
    return layers or layers_of(checkpoint.folder) or min(_LAYERS, there)


def _piece_s(checkpoint: find_checkpoint.Checkpoint, longest: int | None, rate: int) -> int:
    """Whole seconds of sound in a piece, so that the piece with its context fits the encoder; 30 without a limit."""
    if longest is None:
        return PIECE_S
    piece_s = longest // rate - 2 * CONTEXT_S
    if piece_s < 1:
        raise AffcliError(
            f"--model {checkpoint.name}: takes {longest / rate:g} s of sound at most; affcli needs "
            f"{2 * CONTEXT_S + 1} s, 1 s with {CONTEXT_S} s either side."
        )
    return min(PIECE_S, piece_s)
