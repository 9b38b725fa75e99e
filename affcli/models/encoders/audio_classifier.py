"""Encoders of speech with a head of emotion classes: logits of every step, and checkpoints to train."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from affcli.errors import AffcliError
from affcli.files.encoder_card import AUDIO_ENCODER
from affcli.models.encoders import class_heads, find_checkpoint
from affcli.models.encoders.class_heads import by_class, give_head, is_own_head, outputs_for_logits
from affcli.models.encoders.find_checkpoint import Checkpoint
from affcli.models.encoders.front_ends import FrontEnd, Hidden, SpectrogramTransformerFrontEnd, front_end_of
from affcli.models.encoders.loading import config_of, refuse_lacking
from affcli.models.runtime import devices

LEAST_CLASSES: Final = 4  # of speech: neutral, happy, angry and sad is what most public models know
_WAY_ON: Final = "Make one with affcli train-audio, or leave --logits out."
_CPU: Final = torch.device("cpu")
_POSITIONS: Final = ("embed_positions", "position_embeddings")

log = logging.getLogger(__name__)


class StepHead:
    """A head of emotion classes over an encoder's hidden states.

    transformers' own heads project each step, take the mean over the steps and classify it; both are affine, so the
    mean of the logits of all steps is what they make of a sound. `classes` are those that the head knows, in the order
    of `CLASSES`. Raises AffcliError where the checkpoint has no such head.
    """

    def __init__(self, checkpoint: Checkpoint, front: FrontEnd) -> None:
        if isinstance(front, SpectrogramTransformerFrontEnd):
            raise AffcliError(
                f"--logits: {checkpoint.name} judges a sound as a whole, so it has no logits for single frames. Leave "
                "--logits out, or take an encoder of the wav2vec2 family or Whisper."
            )
        library = devices.transformers()
        config = config_of(checkpoint)
        outputs = outputs_for_logits(checkpoint, config, wanted="emotion classes", way_on=_WAY_ON, least=LEAST_CLASSES)
        self.classes, self._outputs = tuple(outputs), list(outputs.values())
        try:
            network = class_heads.whole(
                library.AutoModelForAudioClassification, checkpoint, config, may_begin_at_random=False
            )
        except (ValueError, KeyError) as error:
            raise AffcliError(f"--logits: transformers knows no head for {checkpoint.name}: {error}") from error
        self._network = _without_encoder(network).eval().to(front.model.device)

    def __call__(self, hidden: Hidden) -> Tensor:
        """float32 [n, steps, C] for the hidden states of all layers."""
        return by_class(_step_logits(self._network, hidden), self._outputs)


def _without_encoder(network: Any) -> Any:
    setattr(network, _encoder_name(network), nn.Identity())
    return network


def _encoder_name(network: Any) -> str:
    """Of the part below the head (Whisper's calls the prefix of another class its own)."""
    return "encoder" if network.config.model_type == "whisper" else str(network.base_model_prefix)


def _step_logits(network: Any, hidden: Hidden) -> Tensor:
    """[n, steps, outputs] of a network's head, as its own forward pass would take it, before the mean over steps."""
    if network.config.use_weighted_layer_sum:
        weights = network.layer_weights.softmax(-1)
        states = (torch.stack(list(hidden), dim=1) * weights.view(-1, 1, 1)).sum(1)
    else:
        states = hidden[-1]
    return network.classifier(network.projector(states))  # type: ignore[no-any-return]


class SpeechNetwork(nn.Module):
    """A network of transformers with a head of the eight classes: prepared sounds of one length → logits of steps.

    An AST, whose head judges a sound as a whole, has one step.
    """

    def __init__(self, network: Any, front: FrontEnd) -> None:
        super().__init__()
        self.network, self._front = network, front

    def forward(self, values: Tensor) -> Tensor:
        """[n, steps, 8]."""
        if isinstance(self._front, SpectrogramTransformerFrontEnd):
            with self._front.cropped(values):
                return self.network(values).logits[:, None]  # type: ignore[no-any-return]
        return _step_logits(self.network, self._front.hidden(values))


@dataclass(frozen=True)
class SpeechClassifier:
    """A network to be trained, what prepares its input, and the checkpoint it begins with."""

    network: SpeechNetwork
    front: FrontEnd
    checkpoint: Checkpoint

    @classmethod
    def load(cls, model: str, *, seed: int) -> SpeechClassifier:
        """From a hub name, a folder or `mini`; what the checkpoint lacks (a head, or everything) is drawn by the seed.

        A folder without weights is a recipe: its encoder begins at random. Tables of positions are not trained, since
        sounds are shorter than they are. Raises AffcliError for what cannot be used.
        """
        checkpoint = find_checkpoint.find(model, mini="audio", bare=True)
        try:
            network = _network(checkpoint, seed)
            front = front_end_of(checkpoint, _CPU, getattr(network, _encoder_name(network)))
        except AffcliError:
            raise
        except Exception as error:  # whatever a damaged or foreign checkpoint makes the loaders raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise AffcliError(f"--model {model}: transformers makes no speech classifier of it: {reason}") from error
        for name, parameter in network.named_parameters():
            if any(part in _POSITIONS for part in name.split(".")):
                parameter.requires_grad_(False)
        network.config.apply_spec_augment = False  # pieces may be shorter than its masks
        return cls(SpeechNetwork(network, front), front, checkpoint)

    def fingerprint(self) -> str:
        """Of preprocessing, configuration and every weight as they are now."""
        return class_heads.fingerprint(self.network.network, self.checkpoint)

    def save(self, folder: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
        """Writes config, weights, preprocessing and a card into a folder that exists; the same bytes every time."""
        own = {name.removeprefix("network."): tensor for name, tensor in weights.items()}
        class_heads.save(self.network.network, self.checkpoint, folder, own, card, kind=AUDIO_ENCODER)


def _network(checkpoint: Checkpoint, seed: int) -> Any:
    library = devices.transformers()
    config = config_of(checkpoint)
    keeps_head = is_own_head(config)
    give_head(config)
    torch.manual_seed(seed)
    automatic = library.AutoModelForAudioClassification
    if type(config) not in automatic._model_mapping:
        raise AffcliError(f"--model {checkpoint.name}: transformers has no {config.model_type} with a head of classes.")
    if checkpoint.weights and keeps_head:
        return class_heads.whole(automatic, checkpoint, config, may_begin_at_random=False)
    network = automatic.from_config(config)
    if checkpoint.weights:
        front = front_end_of(checkpoint, _CPU)
        refuse_lacking(checkpoint, front.lacking, but=())
        front.model.config = config
        setattr(network, _encoder_name(network), front.model)
        log.info("%s has no head of the eight classes; its head begins at random.", checkpoint.name)
    return network
