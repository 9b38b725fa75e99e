"""From a checkpoint's folder to a model in eval mode, and the card that says which encoder it is."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from affcli.errors import AffcliError, listed
from affcli.models.encoders.find_checkpoint import CONFIG, Checkpoint
from affcli.models.runtime import devices
from affcli.models.runtime.hash_weights import hash_weights

log = logging.getLogger(__name__)

# How every checkpoint is loaded: from this machine, running no code of its own; what was lacking is told.
SAFELY: Final[dict[str, Any]] = {
    "local_files_only": True,
    "trust_remote_code": False,
    "weights_only": True,
    "dtype": torch.float32,
    "output_loading_info": True,
}


# Whole numbers of a configuration, by their names, and the most that any network has.
_LARGEST: Final = {
    re.compile(r"layers?$|^depths?$|^num_.*(blocks|stages)$"): 1_000,
    re.compile(r"size|dim|hidden|width|channel|heads|positions"): 1_000_000,
}
_LARGEST_NUMBER: Final = 2**31 - 1
_HEAD_NUMBERS: Final = 50_000_000


@dataclass(frozen=True)
class EncoderCard:
    """What a feature table and a model's card know of an encoder."""

    name: str
    fingerprint: str  # of configuration, preprocessing and weights: the same encoder under another name has the same
    size: int  # numbers in a feature
    feature: str  # which vector it is, such as "pooled" or "mean of last 4 hidden layers"

    layers: int | None = None  # hidden layers that a feature holds one after the other; None: a single vector
    piece_s: int | None = None  # seconds of sound that are encoded at a time, for encoders that take less than 30 s

    def as_json(self) -> dict[str, Any]:
        """The card as plain JSON values, without what is unknown."""
        return {name: value for name, value in vars(self).items() if value is not None}


def load(checkpoint: Checkpoint, device: torch.device, *, kind: Any = None, **loading: Any) -> tuple[Any, list[str]]:
    """The model in eval mode, and the names of its parameters that the checkpoint lacks.

    Of a fine-tuned checkpoint that is the model below its head, of one for pictures and text its vision tower. `kind`
    is the class of transformers to load, else AutoModel; `loading` is what else its `from_pretrained` is given.
    """
    library = devices.transformers()
    try:
        config = config_of(checkpoint)
        config = getattr(config, "vision_config", None) or config
        refuse_larger(kind or library.AutoModel, checkpoint, config)
        model, lacking = _pretrained(kind or library.AutoModel, checkpoint, config, **loading)
    except AffcliError:
        raise
    except Exception as error:  # whatever a damaged or foreign checkpoint makes the loaders raise
        if unreadable := [file.name for file in checkpoint.folder.iterdir() if not os.access(file, os.R_OK)]:
            raise AffcliError(f"--model {checkpoint.name}: {unreadable[0]}: Permission denied") from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AffcliError(f"--model {checkpoint.name}: transformers cannot load it: {reason}") from error
    return model.eval().to(device), lacking


def config_of(checkpoint: Checkpoint) -> Any:
    """The checkpoint's configuration, checked before anything is built from it: sizes that no network has are refused.

    Attention is computed by torch: a kernel that a configuration names would be fetched from a hub and run.
    """
    _refuse_sizes(checkpoint, checkpoint.read(CONFIG))
    library = devices.transformers()
    config = library.AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    config._attn_implementation = None  # also of the configurations in it: each class's own choice
    config._experts_implementation = None
    return config


def _refuse_sizes(checkpoint: Checkpoint, facts: Mapping[str, Any]) -> None:
    for name, value in _numbers_in(facts):
        most = next((most for names, most in _LARGEST.items() if names.search(name)), _LARGEST_NUMBER)
        if abs(value) > most:
            raise AffcliError(
                f"--model {checkpoint.name}: {CONFIG} states {name} {value:,}; no encoder has over {most:,}."
            )


def _numbers_in(facts: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Names and values of all whole numbers, those of lists and of configurations inside too."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _numbers_in(value)
        else:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, int):
                    yield name, one


def refuse_larger(kind: Any, checkpoint: Checkpoint, config: Any) -> None:
    """Raises AffcliError where a configuration asks for a network that the checkpoint's files cannot fill.

    Nothing of its size is allocated for that. What a checkpoint may lack is a head or a pooler.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        wanted = sum(tensor.numel() for tensor in getattr(kind, "from_config", kind)(config).parameters())
    stored = sum(file.stat().st_size for file in checkpoint.weight_files()) // 2  # of two bytes each, at most so many
    if wanted > 2 * stored + _HEAD_NUMBERS:
        raise AffcliError(
            f"--model {checkpoint.name}: {CONFIG} asks for {wanted:,} numbers, its files hold {stored:,} at most."
        )


def _pretrained(kind: Any, checkpoint: Checkpoint, config: Any, **building: Any) -> tuple[Any, list[str]]:
    model, about = kind.from_pretrained(
        checkpoint.folder,
        config=config,
        **SAFELY,
        **building,
    )
    # Data2Vec's vision model has a pooler only where it is asked for.
    optional = "add_pooling_layer" in inspect.signature(type(model).__init__).parameters
    if optional and not building and any(map(of_pooler, about["unexpected_keys"])):
        return _pretrained(kind, checkpoint, config, add_pooling_layer=True)
    return model, sorted(about["missing_keys"])


def tell(what: str, card: EncoderCard, run: devices.Runtime) -> None:
    """Says, with -v, which encoder was loaded, and how it runs."""
    log.info("%s %s: %s, %d numbers; %s on %s", what, card.name, card.feature, card.size, run.precision, run.device)


def of_pooler(name: str) -> bool:
    """Whether a parameter, by its name, belongs to a pooler."""
    return "pooler" in name.split(".")


def refuse_lacking(checkpoint: Checkpoint, lacking: Sequence[str], *, but: Sequence[str]) -> None:
    """Raises AffcliError where the checkpoint lacks weights, except those in `but`."""
    if missing := [name for name in lacking if name not in but]:
        raise AffcliError(
            f"--model {checkpoint.name}: the checkpoint lacks weights its config asks for: {listed(missing)}."
        )


def card_of(checkpoint: Checkpoint, model: Any, *, but: Sequence[str], size: int, feature: str) -> EncoderCard:
    """The encoder's card; `but` names weights that the checkpoint lacks and no feature depends on."""
    return EncoderCard(checkpoint.name, _fingerprint(checkpoint, model, but=but), size, feature)


def _fingerprint(checkpoint: Checkpoint, model: Any, *, but: Sequence[str]) -> str:
    """16 hex digits over configuration, preprocessing and every weight, whatever the files are called.

    `but` are parameters that the checkpoint lacks and no feature depends on: random, and others at each start.
    """
    digest = hashlib.blake2b(digest_size=8)
    for facts in (checkpoint.read(CONFIG), checkpoint.preprocessing()):
        lasting = {key: value for key, value in facts.items() if not key.startswith(("_", "transformers"))}
        digest.update(json.dumps(lasting, sort_keys=True).encode())
    hash_weights(digest, {name: tensor for name, tensor in model.state_dict().items() if name not in but})
    return digest.hexdigest()
