"""Image encoders with a head of the eight classes: made from any checkpoint, saved as a Hugging Face folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from affcli.errors import AffcliError
from affcli.files.encoder_card import VISUAL_ENCODER
from affcli.models.encoders import class_heads, find_checkpoint
from affcli.models.encoders.class_heads import by_class, give_head, is_own_head, outputs_for_logits
from affcli.models.encoders.find_checkpoint import Checkpoint
from affcli.models.encoders.loading import config_of
from affcli.models.encoders.preprocessing import PicturePreprocessing
from affcli.models.runtime import devices

_WAY_ON = "Make one with affcli train-visual, or leave --logits out."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classifier:
    """A network `pixel_values` [n, 3, S, S] → `.logits` [n, 8], and what its checkpoint says of its input."""

    network: Any
    checkpoint: Checkpoint
    preprocessing: PicturePreprocessing
    drop_path: float | None  # that the checkpoint's own config names; None where the architecture has none

    @classmethod
    def load(cls, model: str, *, drop_path: float, seed: int) -> Classifier:
        """From a hub name, a folder or `mini`; what the checkpoint lacks (a head, or everything) is drawn by the seed.

        A folder without weights is a recipe: its encoder begins at random. Raises AffcliError for what cannot be used.
        """
        checkpoint = find_checkpoint.find(model, mini="visual", bare=True)
        preprocessing = PicturePreprocessing.of(checkpoint)
        library = devices.transformers()
        try:
            config = config_of(checkpoint)
            own_drop_path = getattr(config, "drop_path_rate", None)
            keeps_head = is_own_head(config)
            _give_head(config, drop_path)
            torch.manual_seed(seed)
            network = _built(library, checkpoint, config)
        except AffcliError:
            raise
        except Exception as error:  # whatever a damaged or foreign checkpoint makes the loaders raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise AffcliError(f"--model {model}: transformers makes no image classifier of it: {reason}") from error
        if own_drop_path is None and drop_path:
            log.warning("a %s model has no drop path; --drop-path does nothing.", config.model_type)
        if checkpoint.weights and not keeps_head:
            log.info("%s has no head of the eight classes; its head begins at random.", checkpoint.name)
        return cls(network, checkpoint, preprocessing, own_drop_path)

    def fingerprint(self) -> str:
        """Of preprocessing, configuration and every weight as they are now."""
        return class_heads.fingerprint(self.network, self.checkpoint)

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], card: Mapping[str, Any]) -> None:
        """Writes config, weights, preprocessing and a card into a folder that exists; the same bytes every time."""
        if self.drop_path is not None:
            self.network.config.drop_path_rate = self.drop_path
        class_heads.save(self.network, self.checkpoint, folder, weights, card, kind=VISUAL_ENCODER)


class ClassHead:
    """A head of emotion classes above an encoder that is loaded already; one pass gives what both make of pictures.

    `classes` are those of the eight that it knows, in the order of `CLASSES`: seven at least. Raises AffcliError where
    the checkpoint has no such head.
    """

    def __init__(self, checkpoint: Checkpoint, encoder: Any) -> None:
        library = devices.transformers()
        config = config_of(checkpoint)
        outputs = outputs_for_logits(checkpoint, config, wanted="the eight classes", way_on=_WAY_ON)
        self.classes, self._outputs, self._encoder = tuple(outputs), list(outputs.values()), encoder
        self._network = _built(library, checkpoint, config, whole=True).eval().to(encoder.device)
        self._output: Any = None
        below = self._network.base_model_prefix
        # The encoder takes the place of the same network below the head, so that it runs once.
        self._shared = type(getattr(self._network, below, None)) is type(encoder)
        if self._shared:
            setattr(self._network, below, encoder)
            encoder.register_forward_hook(self._keep)

    def _keep(self, encoder: Any, inputs: Any, output: Any) -> None:
        self._output = output

    def __call__(self, values: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """The encoder's output, and float32 logits [n, C] in the order of `classes`, for pictures [n, 3, S, S].

        Where two outputs of the head are of one class, the larger counts.
        """
        logits = by_class(self._network(pixel_values=values).logits, self._outputs)
        output = self._output if self._shared else self._encoder(pixel_values=values)
        self._output = None
        return output, logits


def _give_head(config: Any, drop_path: float) -> None:
    give_head(config)
    if hasattr(config, "drop_path_rate"):
        config.drop_path_rate = drop_path
    # transformers' MobileNets call TensorFlow's keep probability (0.999, 0.8) `classifier_dropout_prob`.
    if (kept := getattr(config, "classifier_dropout_prob", None) or 0.0) > 0.5:
        config.classifier_dropout_prob = 1 - kept


def _built(library: Any, checkpoint: Checkpoint, config: Any, *, whole: bool = False) -> Any:
    """The network; what the checkpoint lacks above the encoder begins at random, unless it is to be `whole`."""
    automatic = library.AutoModelForImageClassification
    if not checkpoint.weights:
        return automatic.from_config(config)
    return class_heads.whole(automatic, checkpoint, config, may_begin_at_random=not whole)
