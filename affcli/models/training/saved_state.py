"""Unfinished training, kept beside its output after every epoch, in one safetensors file (no pickle)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from affcli.errors import AffcliError
from affcli.files.json_objects import json_object
from affcli.files.outputs import write_bytes
from affcli.models.runtime.hash_weights import hash_weights
from affcli.schema import METADATA_KEY

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class EpochReport:
    """One line of `--log`; validation figures are None without validation data."""

    epoch: int
    loss: float
    lr: float
    examples: int
    seconds: float
    unit: str  # what is learnt from: windows, pictures
    val_macro_f1: float | None = None
    val_accuracy: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)  # figures of further validation data, by name

    def as_json(self) -> dict[str, Any]:
        """The line of `--log` as plain JSON values."""
        done = {"epoch": self.epoch, "loss": self.loss, "lr": self.lr, self.unit: self.examples}
        judged = {"val_macro_f1": self.val_macro_f1, "val_accuracy": self.val_accuracy}
        return {**done, "seconds": self.seconds, **judged, **self.more}


@dataclass(frozen=True)
class State:
    """Everything that the epochs to come depend on. `kept` is the epoch whose weights are `best`."""

    reports: tuple[EpochReport, ...]
    kept: int
    network: Tensors
    best: Tensors
    optimizer: Mapping[int, Tensors]
    average: Tensors = field(default_factory=dict)  # of the weights over the steps, where one is kept


class Progress:
    """The file of one unfinished training; `made_from` fingerprints its data and settings."""

    def __init__(self, output: str, made_from: str) -> None:
        self._path, self._made_from = Path(f"{output}.unfinished"), made_from

    def load(self) -> State | None:
        """What an interrupted run has reached; None where there is nothing, or it was made otherwise (with a note)."""
        if not self._path.is_file():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                facts = json_object((file.metadata() or {})[METADATA_KEY.decode()], self._path)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            if facts.get("made_from") == self._made_from and facts["digest"] != _digest(tensors, facts):
                raise ValueError
        except (SafetensorError, OSError, KeyError, ValueError, AffcliError):
            log.warning("%s is damaged; training starts afresh.", self._path)
            return None
        if facts.get("made_from") != self._made_from:
            log.warning("%s was made with other settings or data; training starts afresh.", self._path)
            return None
        reports = tuple(EpochReport(**report) for report in facts["reports"])
        network, best, average = (_named(tensors, part) for part in ("network", "best", "average"))
        return State(reports, facts["kept"], network, best, _numbered(tensors), average)

    def save(self, state: State) -> None:
        """Replaces what was kept."""
        parts = {"network": state.network, "best": state.best, "average": state.average}
        parts |= {f"optimizer.{index}": moments for index, moments in state.optimizer.items()}
        tensors = {
            f"{part}.{name}": tensor.detach().cpu().clone()
            for part, all_ in parts.items()
            for name, tensor in all_.items()
        }
        reports = [asdict(report) for report in state.reports]
        facts = {"made_from": self._made_from, "reports": reports, "kept": state.kept}
        facts["digest"] = _digest(tensors, facts)
        write_bytes(self._path, save(tensors, metadata={METADATA_KEY.decode(): json.dumps(facts)}))

    def remove(self) -> None:
        """Removes the file; harmless where there is none."""
        self._path.unlink(missing_ok=True)


def _digest(tensors: Tensors, facts: Mapping[str, Any]) -> str:
    """Of all that is kept, so that nothing goes on from weights that have changed on the disk."""
    known = {name: fact for name, fact in facts.items() if name != "digest"}
    digest = blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=8)
    hash_weights(digest, tensors)
    return digest.hexdigest()


def _named(tensors: Tensors, part: str) -> Tensors:
    return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}


def _numbered(tensors: Tensors) -> dict[int, Tensors]:
    found: dict[int, Tensors] = {}
    for name, tensor in _named(tensors, "optimizer").items():
        index, moment = name.split(".")
        found.setdefault(int(index), {})[moment] = tensor
    return found


def fingerprint(*facts: Any) -> str:
    """A short name for data and settings."""
    return blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()
