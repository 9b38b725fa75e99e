"""Encoders of pictures (BEiT and its kind), one code path for every checkpoint.

An encoder's output never depends on what else it is given: pictures go through in batches of one fixed shape, the last
one padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.models.encoders import find_checkpoint
from affcli.models.encoders.classifier import ClassHead
from affcli.models.encoders.layer_choice import Layers, chosen_layers, refuse_too_many
from affcli.models.encoders.loading import card_of, load, of_pooler, refuse_lacking, tell
from affcli.models.encoders.preprocessing import PicturePreprocessing
from affcli.models.runtime import devices, host_to_device

_FLOAT16_MAX = float(np.finfo(np.float16).max)  # 65504
_POOLED, _CLASS_TOKEN, _PATCH_MEAN = "pooled", "class token", "mean of patch tokens"
_CLASS_TOKEN_NAMES = {"cls_token", "class_embedding", "class_token"}  # of the parameter, whatever the architecture


class Encoded(NamedTuple):
    """One face: `feature` [size], and `logits` [C] of the encoder's own head, [0] where they were not asked for."""

    feature: NDArray[np.float16]
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class EncodedFaces:
    """A batch that is encoded or still being encoded, which is waited for when it is read."""

    count: int
    _features: host_to_device.Pending
    _logits: host_to_device.Pending

    @property
    def features(self) -> NDArray[np.float16]:
        """[count, size]; the rows that filled the batch up are left out."""
        return self._features.result()[: self.count]

    def faces(self) -> list[Encoded]:
        """Feature and logits of each face; waits for them."""
        return [Encoded(*face) for face in zip(self.features, self._logits.result()[: self.count], strict=True)]


class VisualEncoder:
    """Pictures of faces → features: of the pooled vector, else the class token, else the mean of the patch tokens."""

    def __init__(
        self, model: str, run: devices.Runtime, *, batch_size: int = 32, logits: bool = False, layers: Layers = None
    ) -> None:
        """Loads the encoder; with `logits` also its head of the eight classes, which the checkpoint must have.

        With `layers`, the feature is made of hidden layers: of the class token of each, or of the mean of its patch
        tokens in encoders that have none or pool by that mean.
        """
        self._run, self.batch_size, self._layers = run, batch_size, layers
        checkpoint = find_checkpoint.find(model, mini="visual")
        self.preprocessing = PicturePreprocessing.of(checkpoint)
        self._model, lacking = load(checkpoint, run.device)
        # A pooler whose weights the checkpoint lacks would be random: another vector is taken instead.
        random_pooler = [name for name in lacking if of_pooler(name)]
        refuse_lacking(checkpoint, lacking, but=random_pooler)
        self._vector = _POOLED
        size = self._probe(model, random_pooler=bool(random_pooler))
        self.card = card_of(checkpoint, self._model, but=random_pooler, size=size, feature=self._vector)
        if layers is not None:
            what = f"all {self._kept} hidden layers" if layers == "all" else f"mean of last {layers} hidden layers"
            feature, kept = f"{self._vector}, {what}", self._kept if layers == "all" else None
            self.card = replace(self.card, feature=feature, layers=kept)
        tell("image encoder", self.card, run)
        self._run.prepare(self._model, lambda: self._model(pixel_values=self._sample()).last_hidden_state)
        self._head = ClassHead(checkpoint, self._model) if logits else None

    def _sample(self) -> torch.Tensor:
        """One picture of noise, float32 [1, 3, S, S]."""
        edge, random = self.preprocessing.input_size, torch.Generator().manual_seed(0)
        return torch.rand(1, 3, edge, edge, generator=random).to(self._run.device)

    def _probe(self, model: str, *, random_pooler: bool) -> int:
        """Chooses the vector to take, and says how long it is."""
        edge, kind = self.preprocessing.input_size, self._model.config.model_type
        pictures = self._sample()
        try:
            # BEiT keeps an index that its first pass makes, for all BEiTs of the process; one that inference mode has
            # made could not be trained with later.
            with torch.no_grad():
                outputs = [self._model(pixel_values=pictures, **self._asked) for _ in range(2)]
                if self._layers is not None:
                    self._check_layers(model, outputs[0].hidden_states or ())
                self._vector = _best_vector(
                    self._model, outputs[0], random_pooler=random_pooler, of_layers=self._layers is not None
                )
                one, again = map(self._features, outputs)
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise AffcliError(f"--model {model}: its {kind} model does not encode {edge}×{edge} pictures.") from error
        if not torch.allclose(one, again, rtol=1e-3, atol=1e-3):  # masked autoencoders hide patches at random
            raise AffcliError(f"--model {model}: its {kind} model gives one picture another feature each time.")
        return one.shape[-1]

    @property
    def _asked(self) -> dict[str, bool]:
        """What the encoder is asked for beside its last hidden layer."""
        return {} if self._layers is None else {"output_hidden_states": True}

    def _check_layers(self, model: str, hidden: Sequence[torch.Tensor]) -> None:
        """Raises AffcliError for an encoder that has not as many hidden layers, or none of the same shape."""
        kind = self._model.config.model_type
        if len({layer.shape for layer in hidden}) != 1 or hidden[0].ndim != 3:
            raise AffcliError(f"--layers: {model} is a {kind} model, whose hidden layers are not of one shape.")
        refuse_too_many(self._layers, len(hidden) - 1, model)
        self._kept = len(hidden)

    def _of_layers(self, hidden: Sequence[torch.Tensor], layers: int | Literal["all"]) -> torch.Tensor:
        """float32 [N, size] or [N, layers · size]: a vector of each layer's tokens [N, tokens, size]."""
        if self._vector == _CLASS_TOKEN:
            return chosen_layers([tokens[:, 0] for tokens in hidden], layers)
        first = int(_has_class_token(self._model))
        return chosen_layers([tokens[:, first:].float().mean(1) for tokens in hidden], layers)

    def _features(self, output: Any) -> torch.Tensor:
        """float32 [N, size] of a model's output."""
        if self._layers is not None:
            return self._of_layers(output.hidden_states, self._layers)
        if self._vector == _POOLED:
            pooled: torch.Tensor = output.pooler_output
            return pooled.float().flatten(1)  # convolutional networks pool to [N, size, 1, 1]
        tokens: torch.Tensor = output.last_hidden_state.float()
        if self._vector == _CLASS_TOKEN:
            return tokens[:, 0]
        return tokens.mean(1) if tokens.ndim == 3 else tokens.mean((2, 3))  # [N, tokens, size] or [N, size, h, w]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the logits; none where they were not asked for."""
        return self._head.classes if self._head else ()

    @property
    def overlap(self) -> int:
        """How many batches to let run while the next is made ready. A processor has only itself to run them."""
        return int(self._run.device.type == "cuda")

    def encode(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float16]:
        """Features [N, size] of at most `batch_size` faces: uint8 [N, S, S, 3], S the encoder's input size.

        With several views of each face, [N, views, S, S, 3], a feature is the mean over them, taken in float32.
        """
        return self.start(pictures).features

    def start(self, pictures: Sequence[NDArray[np.uint8]]) -> EncodedFaces:
        """Begins to encode faces as `encode` takes them; on a GPU that goes on by itself. Views count in logits too."""
        with self._run.inference():
            # A short batch is filled up: the same kernels run on the same shape whatever the rest of the batch is.
            pixels = host_to_device.stacked(pictures, self.batch_size, self._run.device)
            views = pixels.shape[1] if pixels.ndim == 5 else 1
            values = self.preprocessing.normalised(pixels.view(-1, *pixels.shape[-3:]))
            if self._head is None:
                output, logits = self._model(pixel_values=values, **self._asked), values.new_empty(len(values), 0)
            else:
                output, logits = self._head(values)
            features, logits = (
                part.view(self.batch_size, views, part.shape[1]).mean(1) for part in (self._features(output), logits)
            )
            features = features.clamp(-_FLOAT16_MAX, _FLOAT16_MAX).half()
            return EncodedFaces(len(pictures), host_to_device.Pending(features), host_to_device.Pending(logits.float()))


def _best_vector(model: Any, output: Any, *, random_pooler: bool, of_layers: bool) -> str:
    """The pooled vector, else the class token, else the mean of the patch tokens.

    Hidden layers are not pooled: the mean stands for it where the encoder pools by one, else the class token.
    """
    if of_layers:
        pools_by_mean = getattr(model.config, "use_mean_pooling", False)
        return _CLASS_TOKEN if _has_class_token(model) and not pools_by_mean else _PATCH_MEAN
    if not random_pooler and getattr(output, "pooler_output", None) is not None:
        return _POOLED
    return _CLASS_TOKEN if output.last_hidden_state.ndim == 3 and _has_class_token(model) else _PATCH_MEAN


def _has_class_token(model: Any) -> bool:
    return any(name.rpartition(".")[2] in _CLASS_TOKEN_NAMES for name, _ in model.named_parameters())
