"""model.safetensors: the network's weights, and a card that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from affcli import __version__
from affcli.errors import AffcliError, UsageError
from affcli.files.outputs import write_bytes
from affcli.models.encoders.find_checkpoint import MINI
from affcli.models.fusion.network import FusionConfig, FusionNetwork
from affcli.schema import CLASSES, METADATA_KEY

KIND = "fusion model"


@dataclass(frozen=True)
class ModelCard:
    """What a model knows of itself; no path, date or thread count, so the same training gives the same bytes."""

    config: FusionConfig
    stride: int
    encoders: Mapping[str, Mapping[str, Any]]  # "visual" and "audio" → encoder card; {"size": D} for foreign features
    alignment: Mapping[str, Any] | None = None  # of the face crops behind the visual features
    training: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] | None = None
    classes: tuple[str, ...] = CLASSES
    min_confidence: float = 0.0  # of `affcli label`: frames whose likeliest class is less probable are not named

    def as_json(self) -> str:
        return json.dumps({"kind": KIND, "version": __version__, **asdict(self)}, ensure_ascii=False)

    def sliding(self, window: int | None = None, stride: int | None = None) -> dict[str, int]:
        """Frames in a window and from window to window: as asked for, else the model's. Raises UsageError."""
        window = window or self.config.window
        if window > self.config.window:
            raise UsageError(f"--window {window}: the model was trained with windows of {self.config.window} frames.")
        stride = stride or min(self.stride, window)
        if stride > window:
            left_out = "frames would be left out"
            raise UsageError(f"--stride {stride} is larger than the windows of {window} frames: {left_out}.")
        return {"window": window, "stride": stride}

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        facts = json.loads(text)
        facts.pop("version")
        if facts.pop("kind") != KIND:
            raise KeyError("kind")
        facts["config"] = FusionConfig(**facts["config"])
        facts["classes"] = tuple(facts["classes"])
        return cls(**facts)


def save_model(path: str, weights: Mapping[str, torch.Tensor], card: ModelCard) -> None:
    """Writes the network's `state_dict` and the card under the model's name when the file is complete."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_bytes(path, save(stored, metadata={METADATA_KEY.decode(): card.as_json()}))


def find_model(name: str) -> str:
    """The file that `--model` names; `mini` is the trained network that comes inside the package."""
    if name != MINI:
        return name
    return str(Path(__file__).parents[1] / "mini" / "fusion" / "model.safetensors")


def fingerprint_of(path: str) -> str:
    """16 hex digits over the bytes of a model file: weights and card."""
    try:
        return blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
    except OSError as error:
        raise AffcliError(f"{path}: {error.strerror}") from error


def load_model(path: str) -> tuple[FusionNetwork, ModelCard]:
    """The network in eval mode on the CPU, and its card."""
    if not Path(path).is_file():
        raise AffcliError(f"{path}: no such model file. Make one with affcli train.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY.decode())
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise AffcliError(f"{path}: is not a safetensors file ({error}).") from error
    if text is None:
        raise AffcliError(f"{path}: holds no affcli card; it is not a model made by affcli train.")
    try:
        card = ModelCard.from_json(text)
        with torch.random.fork_rng(devices=[]):
            network = FusionNetwork(card.config)
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise AffcliError(f"{path}: is not a fusion model that this affcli ({__version__}) reads: {reason}") from error
    return network.eval(), card
