"""Image encoders with a head of the eight classes: made from any checkpoint, saved as a Hugging Face folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from affcli import __version__
from affcli.class_words import class_of, counted_as_other
from affcli.errors import AffcliError, listed
from affcli.files.encoder_card import ENCODER_CARD, VISUAL_ENCODER
from affcli.files.outputs import write_bytes
from affcli.models.encoders import find_checkpoint
from affcli.models.encoders.find_checkpoint import CONFIG, PREPROCESSOR, Checkpoint
from affcli.models.encoders.loading import SAFELY, config_of, refuse_larger
from affcli.models.encoders.preprocessing import PicturePreprocessing
from affcli.models.runtime import devices
from affcli.models.runtime.hash_weights import hash_weights
from affcli.schema import CLASSES

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
        digest = blake2b(digest_size=16)
        config = {key: value for key, value in self.network.config.to_dict().items() if not key.startswith("_")}
        digest.update(json.dumps([config, self.checkpoint.preprocessing()], sort_keys=True, default=str).encode())
        hash_weights(digest, self.network.state_dict())
        return digest.hexdigest()

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], card: Mapping[str, Any]) -> None:
        """Writes config, weights, preprocessing and a card into a folder that exists; the same bytes every time."""
        config = self.network.config
        if self.drop_path is not None:
            config.drop_path_rate = self.drop_path
        config._name_or_path = ""
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        self.network.save_pretrained(folder, state_dict=stored)
        for file in folder.glob("*.safetensors"):  # made readable for their owner only
            file.chmod((folder / CONFIG).stat().st_mode)
        write_bytes(folder / PREPROCESSOR, _json(self.checkpoint.preprocessing()))
        facts = {"kind": VISUAL_ENCODER, "version": __version__, "classes": CLASSES}
        write_bytes(folder / ENCODER_CARD, _json({**facts, **card}))


class ClassHead:
    """A head of emotion classes above an encoder that is loaded already; one pass gives what both make of pictures.

    `classes` are those of the eight that it knows, in the order of `CLASSES`: seven at least. Raises AffcliError where
    the checkpoint has no such head.
    """

    def __init__(self, checkpoint: Checkpoint, encoder: Any) -> None:
        library = devices.transformers()
        config = config_of(checkpoint)
        outputs = head_outputs(config) if checkpoint.weights else None
        if outputs is None:
            raise AffcliError(
                f"--logits: {checkpoint.name} has no head of the eight classes{_its_head(config)}. {_WAY_ON}"
            )
        _note_others(checkpoint.name, config)
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
        logits = self._network(pixel_values=values).logits.float()
        logits = torch.stack([logits[:, places].amax(1) for places in self._outputs], dim=1)
        output = self._output if self._shared else self._encoder(pixel_values=values)
        self._output = None
        return output, logits


def _its_head(config: Any) -> str:
    named = [name for name in _names(config).values() if not name.startswith("LABEL_")]
    return f" (its outputs are named {listed(named, limit=8)})" if named else ""


def _names(config: Any) -> dict[int, str]:
    """What a config calls the outputs of its head."""
    return {int(number): str(name) for number, name in (getattr(config, "id2label", None) or {}).items()}


def head_outputs(config: Any) -> dict[str, list[int]] | None:
    """Class → the outputs of the head that are of it, in the order of `CLASSES`; None where it is another head.

    Outputs may be named by any word of `class_words`; each must be a class, and of the eight one may be missing, as in
    most public models.
    """
    found: dict[str, list[int]] = {name: [] for name in CLASSES}
    for number, name in _names(config).items():
        if (known := class_of(name)) is None:
            return None
        found[known].append(number)
    present = {name: numbers for name, numbers in found.items() if numbers}
    return present if len(present) >= len(CLASSES) - 1 else None


def _note_others(name: str, config: Any) -> None:
    """Says which outputs of the head count as Other."""
    if others := counted_as_other(list(_names(config).values())):
        log.warning("%s: the output %s of its head counts as Other.", name, listed(others))


def is_own_head(config: Any) -> bool:
    """Whether a config's head has exactly the eight classes, in their order."""
    return list(_names(config).items()) == list(enumerate(CLASSES))


def _give_head(config: Any, drop_path: float) -> None:
    config.num_labels = len(CLASSES)
    config.id2label = dict(enumerate(CLASSES))
    config.label2id = {name: number for number, name in enumerate(CLASSES)}
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
    refuse_larger(automatic, checkpoint, config)
    network, about = automatic.from_pretrained(
        checkpoint.folder,
        config=config,
        **SAFELY,
        ignore_mismatched_sizes=True,
    )
    changed = [*about["missing_keys"], *(names[0] for names in about["mismatched_keys"])]
    below_head = f"{network.base_model_prefix}."
    fresh = [name for name in changed if not name.startswith(below_head) or "pooler" in name.split(".")]
    if wrong := changed if whole else sorted(set(changed) - set(fresh)):
        what = "the checkpoint lacks weights its config asks for"
        raise AffcliError(f"--model {checkpoint.name}: {what}: {listed(wrong)}.")
    return network


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()
