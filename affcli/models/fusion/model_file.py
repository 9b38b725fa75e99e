"""model.safetensors: the network's weights, and a card that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from affcli import __version__
from affcli.errors import AffcliError, UsageError, listed
from affcli.files.outputs import write_bytes
from affcli.models.encoders.find_checkpoint import MINI
from affcli.models.fusion.network import JOINS, FusionConfig, FusionNetwork, Tables
from affcli.models.training.stated import stated
from affcli.schema import CLASSES, METADATA_KEY

KIND = "fusion model"
STREAMS = ("visual", "audio")
# Beyond these no network was ever trained; a card that asks for more would take the memory before it is found wrong.
LARGEST = {
    "visual_size": 262_144,  # several tables of all layers of large encoders
    "audio_size": 262_144,
    "classes": 1_000,
    "window": 16_384,
    "dim": 8_192,
    "layers": 100,
    "heads": 1_024,
}
_MOST_TABLES = 100


@dataclass(frozen=True)
class ModelCard:
    """What a model knows of itself; no path, date or thread count, so the same training gives the same bytes."""

    config: FusionConfig
    stride: int
    # "visual" and "audio" → encoder card; {"size": D} for foreign features; {"size": D, "tables": cards} for several
    encoders: Mapping[str, Mapping[str, Any]]
    alignment: Mapping[str, Any] | None = None  # of the face crops behind the visual features
    training: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] | None = None
    classes: tuple[str, ...] = CLASSES
    min_confidence: float = 0.0  # of `affcli label`: frames whose likeliest class is less probable are not named

    def as_json(self) -> str:
        """The card as JSON text."""
        facts = {**asdict(self), "config": stated(self.config)}
        return json.dumps({"kind": KIND, "version": __version__, **facts}, ensure_ascii=False)

    def sliding(self, window: int | None = None, stride: int | None = None) -> dict[str, int]:
        """Frames in a window and from window to window: as asked for, else the model's. Raises UsageError.

        Positions are computed, not learnt, so a window may be longer than those of training.
        """
        window = window or self.config.window
        if window > LARGEST["window"]:
            raise UsageError(f"--window {window}: a window has at most {LARGEST['window']:,} frames.")
        stride = stride or min(self.stride, window)
        if stride > window:
            left_out = "frames would be left out"
            raise UsageError(f"--stride {stride} is larger than the windows of {window} frames: {left_out}.")
        return {"window": window, "stride": stride}

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that `as_json` wrote; raises ValueError where it holds anything that no training writes."""
        facts = json.loads(text)
        if not isinstance(facts, dict) or facts.pop("kind", None) != KIND:
            raise ValueError("its card is not that of a fusion model")
        facts.pop("version", None)
        if unknown := sorted(set(facts) - {one.name for one in fields(cls)}):
            raise ValueError(f"its card has the unknown field '{unknown[0]}'")
        config = _checked_config(facts.get("config"))
        classes, stride = facts.get("classes"), facts.get("stride")
        if not isinstance(classes, list) or len(classes) != config.classes or not all(map(_is_text, classes)):
            raise ValueError(f"its card does not name {config.classes} classes")
        if not _is_count(stride) or stride > config.window:
            raise ValueError(f"its card's stride is {stride!r}, not a number from 1 to {config.window}")
        encoders = facts.get("encoders")
        if not isinstance(encoders, dict):
            raise ValueError("its card does not describe both encoders")
        for stream in STREAMS:
            _check_encoder(stream, encoders.get(stream), getattr(config, f"{stream}_size"))
        least = facts.get("min_confidence", 0.0)
        if not isinstance(least, int | float) or isinstance(least, bool) or not 0 <= least <= 1:
            raise ValueError(f"its card's min_confidence is {least!r:.100}, not a number from 0 to 1")
        for name in ("alignment", "training", "validation"):
            if not isinstance(facts.get(name, {}), dict | None):
                raise ValueError(f"its card's '{name}' is no object")
        return cls(**{**facts, "config": config, "classes": tuple(classes)})


def _checked_config(found: object) -> FusionConfig:
    """The network's sizes, each within what a trained network can have; raises ValueError for others."""
    if not isinstance(found, dict):
        raise ValueError("its card says nothing of the network")
    kinds = {one.name: type(one.default) for one in fields(FusionConfig) if one.default is not MISSING}
    for name, value in found.items():
        kind = kinds.get(name, int)
        least = 0 if name == "layers" else 1  # without layers, a branch is its projection
        if name in LARGEST and not (_is_count(value, least) and value <= LARGEST[name]):
            raise ValueError(f"its card's {name} is {value!r}, not a number from {least} to {LARGEST[name]:,}")
        if kind is bool and not isinstance(value, bool):
            raise ValueError(f"its card's {name} is {value!r}, not true or false")
        if kind is tuple:
            found = {**found, name: _checked_tables(name, value)}
        if name == "join" and value not in JOINS:
            raise ValueError(f"its card's join is {value!r}, not one of {listed(list(JOINS))}")
        if kind is float and not (isinstance(value, int | float) and 0 <= value < 1):
            raise ValueError(f"its card's {name} is {value!r}, not a rate from 0 to 1")
    config = FusionConfig(**found)
    for stream in STREAMS:
        tables, size = getattr(config, f"{stream}_tables"), getattr(config, f"{stream}_size")
        if tables and sum(layers * numbers for layers, numbers in tables) != size:
            raise ValueError(f"its card's {stream}_tables do not make {size} numbers")
    if config.dim % config.heads:
        raise ValueError(f"its card's dim {config.dim} is no multiple of its {config.heads} heads")
    return config


def _check_encoder(stream: str, card: object, size: int) -> None:
    """Raises ValueError for what is no card of the encoder, or of the several, whose features have `size` numbers."""
    if not isinstance(card, dict):
        raise ValueError("its card does not describe both encoders")
    if card.get("size") != size or not _is_count(card["size"]):
        found = f"{card.get('size')!r:.100} numbers, and its network takes {size}"
        raise ValueError(f"its card's {stream} encoder gives {found}")
    for name in ("name", "fingerprint", "feature"):
        if not isinstance(card.get(name, ""), str | None):
            raise ValueError(f"its card's {stream} encoder has the {name} {card[name]!r:.100}, which is no text")
    tables = card.get("tables", [])
    if not isinstance(tables, list) or len(tables) > _MOST_TABLES or not all(isinstance(one, dict) for one in tables):
        raise ValueError(f"its card's {stream} encoders are not a list of cards")
    for one in tables:
        _check_encoder(stream, one, one.get("size"))
    if tables and sum(one["size"] for one in tables) != size:
        raise ValueError(f"its card's {stream} encoders do not give {size} numbers")


def _checked_tables(name: str, value: object) -> Tables:
    """The shapes of a stream's tables; raises ValueError for anything else."""
    if not isinstance(value, list | tuple) or len(value) > _MOST_TABLES:
        raise ValueError(f"its card's {name} is {value!r}, not a list of tables")
    for one in value:
        if not (isinstance(one, list | tuple) and len(one) == 2 and all(map(_is_count, one))):
            raise ValueError(f"its card's {name} holds {one!r}, not layers and numbers per layer")
    return tuple((one[0], one[1]) for one in value)


def _is_count(value: object, least: int = 1) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_text(value: object) -> bool:
    return isinstance(value, str)


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
    """The network in eval mode on the CPU, and its card.

    The shapes in the file's header are compared with those that the card asks for before anything of their size is
    allocated. Raises AffcliError where the file is not a fusion model.
    """
    if not Path(path).is_file():
        raise AffcliError(f"{path}: no such model file. Make one with affcli train.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY.decode())
            if text is None:
                raise AffcliError(f"{path}: holds no affcli card; it is not a model made by affcli train.")
            card = ModelCard.from_json(text)
            _compare_shapes(card.config, {name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        with torch.random.fork_rng(devices=[]):
            network = FusionNetwork(card.config)
        network.load_state_dict(weights)
    except (SafetensorError, OSError) as error:
        raise AffcliError(f"{path}: is not a safetensors file ({error}).") from error
    except (KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AffcliError(f"{path}: is not a fusion model that this affcli ({__version__}) reads: {reason}") from error
    return network.eval(), card


def _compare_shapes(config: FusionConfig, stored: Mapping[str, Sequence[int]]) -> None:
    """Raises ValueError where the file lacks a weight, has another one, or one of another shape."""
    with torch.device("meta"):
        wanted = {name: list(tensor.shape) for name, tensor in FusionNetwork(config).state_dict().items()}
    if absent := sorted(set(wanted) - set(stored)):
        raise ValueError(f"it lacks the weights {listed(absent, limit=3)}")
    if foreign := sorted(set(stored) - set(wanted)):
        raise ValueError(f"it has the unknown weights {listed(foreign, limit=3)}")
    for name, shape in wanted.items():
        if list(stored[name]) != shape:
            raise ValueError(f"its card asks for {name} as {shape}, the file holds {list(stored[name])}")
