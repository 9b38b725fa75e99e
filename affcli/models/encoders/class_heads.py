"""Heads of emotion classes on pretrained encoders: what their outputs mean, and folders that hold such a network."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import torch

from affcli import __version__
from affcli.class_words import class_of, counted_as_other
from affcli.errors import AffcliError, listed
from affcli.files.encoder_card import ENCODER_CARD
from affcli.files.outputs import write_bytes
from affcli.models.encoders.find_checkpoint import CONFIG, PREPROCESSOR, Checkpoint
from affcli.models.encoders.loading import SAFELY, refuse_larger
from affcli.models.runtime.hash_weights import hash_weights
from affcli.schema import CLASSES

log = logging.getLogger(__name__)

LEAST_CLASSES: Final = len(CLASSES) - 1  # of the eight one may be missing, as in most public models of faces
_FOR_TRAINING: Final = "masked_spec_embed"  # SpecAugment's: no output depends on it


def names_of(config: Any) -> dict[int, str]:
    """What a config calls the outputs of its head."""
    return {int(number): str(name) for number, name in (getattr(config, "id2label", None) or {}).items()}


def head_outputs(config: Any, *, least: int = LEAST_CLASSES) -> dict[str, list[int]] | None:
    """Class → the outputs of the head that are of it, in the order of `CLASSES`; None where it is another head.

    Outputs may be named by any word of `class_words`; each must be a class, and `least` of the eight must be there.
    """
    found: dict[str, list[int]] = {name: [] for name in CLASSES}
    for number, name in names_of(config).items():
        if (known := class_of(name)) is None:
            return None
        found[known].append(number)
    present = {name: numbers for name, numbers in found.items() if numbers}
    return present if len(present) >= least else None


def outputs_for_logits(
    checkpoint: Checkpoint, config: Any, *, wanted: str, way_on: str, least: int = LEAST_CLASSES
) -> dict[str, list[int]]:
    """`head_outputs`; raises AffcliError where there is no head that `--logits` can use, and notes what is Other."""
    outputs = head_outputs(config, least=least) if checkpoint.weights else None
    if outputs is None:
        raise AffcliError(f"--logits: {checkpoint.name} has no head of {wanted}{_its_head(config)}. {way_on}")
    if others := counted_as_other(list(names_of(config).values())):
        log.warning("%s: the output %s of its head counts as Other.", checkpoint.name, listed(others))
    return outputs


def by_class(logits: torch.Tensor, outputs: list[list[int]]) -> torch.Tensor:
    """float32 [..., C] of a head's logits; where several of its outputs are of one class, the largest counts."""
    return torch.stack([logits[..., places].float().amax(-1) for places in outputs], dim=-1)


def _its_head(config: Any) -> str:
    named = [name for name in names_of(config).values() if not name.startswith("LABEL_")]
    return f" (its outputs are named {listed(named, limit=8)})" if named else ""


def is_own_head(config: Any) -> bool:
    """Whether a config's head has exactly the eight classes, in their order."""
    return list(names_of(config).items()) == list(enumerate(CLASSES))


def give_head(config: Any) -> None:
    """Makes the config ask for a head of the eight classes."""
    config.num_labels = len(CLASSES)
    config.id2label = dict(enumerate(CLASSES))
    config.label2id = {name: number for number, name in enumerate(CLASSES)}


def whole(automatic: Any, checkpoint: Checkpoint, config: Any, *, may_begin_at_random: bool) -> Any:
    """The network that transformers makes of a checkpoint.

    What it lacks above the encoder may begin at random; else, and below, AffcliError is raised where it lacks anything.
    """
    refuse_larger(automatic, checkpoint, config)
    network, about = automatic.from_pretrained(
        checkpoint.folder,
        config=config,
        **SAFELY,
        ignore_mismatched_sizes=True,
    )
    missing = [name for name in about["missing_keys"] if name.rpartition(".")[2] != _FOR_TRAINING]
    changed = [*missing, *(names[0] for names in about["mismatched_keys"])]
    below_head = f"{network.base_model_prefix}."
    fresh = [name for name in changed if not name.startswith(below_head) or "pooler" in name.split(".")]
    if wrong := sorted(set(changed) - set(fresh)) if may_begin_at_random else changed:
        what = "the checkpoint lacks weights its config asks for"
        raise AffcliError(f"--model {checkpoint.name}: {what}: {listed(wrong)}.")
    return network


def fingerprint(network: Any, checkpoint: Checkpoint) -> str:
    """Of preprocessing, configuration and every weight as they are now."""
    digest = blake2b(digest_size=16)
    config = {key: value for key, value in network.config.to_dict().items() if not key.startswith("_")}
    digest.update(json.dumps([config, checkpoint.preprocessing()], sort_keys=True, default=str).encode())
    hash_weights(digest, network.state_dict())
    return digest.hexdigest()


def save(
    network: Any,
    checkpoint: Checkpoint,
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    card: Mapping[str, Any],
    *,
    kind: str,
) -> None:
    """Writes config, weights, preprocessing and a card into a folder that exists; the same bytes every time."""
    network.config._name_or_path = ""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    network.save_pretrained(folder, state_dict=stored)
    for file in folder.glob("*.safetensors"):  # made readable for their owner only
        file.chmod((folder / CONFIG).stat().st_mode)
    write_bytes(folder / PREPROCESSOR, _json(checkpoint.preprocessing()))
    write_bytes(folder / ENCODER_CARD, _json({"kind": kind, "version": __version__, "classes": CLASSES, **card}))


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()
