"""Trains the face network that comes with affcli as `mini`: one command, resumable.

    python examples/mini/faces.py OUT [--data DATA] [--yes]

OUT holds everything that is made; OUT/visual is what ships in affcli/models/mini/visual. Data that is not in DATA (by
default OUT/data) is downloaded after asking; face_data.py lists it with its terms. If interrupted, the same command
continues after the last finished step or epoch. It uses one CPU core with bf16 for about 75 minutes; a second core
changes nothing.

1. affcli's detector finds the landmarks of all faces (ten minutes).
2. Stage `small`: FaceRes, a MobileNetV1 trained on identity, age and gender of faces, learns FERPlus's votes at 64 px.
3. Its predictions are averaged with the labels of the extra pictures, which have one label each.
4. Stages `large` and `final`: training continues at 96 px on both, in the end with milder changes.
5. The averaged weights are written in half precision.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from face_changes import Amount, changed
from face_data import Faces, backbone, extra, ferplus, fetch
from face_network import GreyMobileNet, save
from numpy.typing import NDArray
from torch import Tensor

from affcli import __version__
from affcli.schema import CLASSES
from affcli.scoring import metrics

EXTRA_POWER: Final = 0.5  # class power of the extra pictures
TEACHER: Final = 0.5  # share of the small network's answers in the extra pictures' targets


@dataclass(frozen=True)
class Stage:
    name: str
    size: int  # pixels
    epochs: int  # of as many draws as FERPlus has training pictures
    lr: float
    final_lr: float  # fraction of `lr`
    extra_share: float  # of each batch
    class_power: float  # a class of share p is drawn as p to this power; 1 draws every picture equally
    changes: Amount
    mixup: float  # of the pictures
    batch: int = 96
    warmup: float = 0.04  # of all steps
    weight_decay: float = 0.03
    ema: float = 0.998
    label_smoothing: float = 0.02


SMALL: Final = Stage("small", 64, 8, 1e-3, 0.3, 0.0, 0.65, Amount(0.85, 0.3), mixup=0.5)
LARGE: Final = Stage("large", 96, 6, 6e-4, 0.0, 0.2, 0.65, Amount(0.85, 0.3), mixup=0.5)
# Milder changes and draws nearer to the set's own shares in the end (Touvron et al. 2019 do so for resolution).
FINAL: Final = Stage("final", 96, 2, 2.5e-4, 0.0, 0.15, 0.85, Amount(0.4, 0.15), mixup=0.0)


@dataclass(frozen=True)
class Drawn:
    """Face sets with the probability of each of their pictures."""

    faces: Faces
    weights: NDArray[np.float64]

    @classmethod
    def by_class(cls, faces: Faces, power: float) -> Drawn:
        prior = faces.targets.mean(0)
        weights = faces.targets.astype(np.float64) @ np.where(prior > 0, np.maximum(prior, 1e-9) ** (power - 1), 0)
        return cls(faces, weights / weights.sum())

    def prior(self) -> NDArray[np.float64]:
        """[8] of the draws."""
        return np.asarray(self.weights @ self.faces.targets)

    def rows(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Draws at even distances along a random order: each picture as often as its weight says, within one."""
        order = random.permutation(len(self.faces))
        ends = np.cumsum(self.weights[order])
        places = (np.arange(count) + random.random()) / count * ends[-1]
        return random.permutation(order[np.minimum(np.searchsorted(ends, places), len(order) - 1)])


class Average:
    """Exponential moving average of a network's weights."""

    def __init__(self, network: GreyMobileNet, decay: float) -> None:
        self.weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        self.steps, self._decay = 0, decay

    @torch.no_grad()
    def add(self, network: GreyMobileNet) -> None:
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - decay)
            else:
                self.weights[name].copy_(tensor)

    def network(self) -> GreyMobileNet:
        made = GreyMobileNet()
        made.load_state_dict(self.weights)
        return made.eval()


class Training:
    """One stage; its state after each epoch lies in OUT/NAME.pt."""

    def __init__(self, stage: Stage, network: GreyMobileNet, sets: list[Drawn], file: Path) -> None:
        self.stage, self.network, self.sets, self.file = stage, network, sets, file
        self.random = np.random.default_rng(0)
        self.average = Average(network, stage.ema)
        self.optimizer = torch.optim.AdamW(_groups(network, stage), lr=stage.lr, betas=(0.9, 0.98), fused=True)
        self.epoch = 0
        if file.exists():
            self._load(torch.load(file, weights_only=False))

    def _load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.weights, self.average.steps = state["average"], state["steps"]
        self.random.bit_generator.state, self.epoch = state["random"], state["epoch"]

    def _save(self) -> None:
        partial = self.file.with_suffix(".part")
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}
        state |= {"average": self.average.weights, "steps": self.average.steps}
        torch.save(state | {"random": self.random.bit_generator.state}, partial)
        partial.replace(self.file)

    def run(self, held_out: Faces) -> GreyMobileNet:
        """Trains all epochs that are still to come; the averaged network."""
        while self.epoch < self.stage.epochs:
            start, loss = time.time(), self._train_epoch()
            self.epoch += 1
            self._save()
            facts = {"stage": self.stage.name, "epoch": self.epoch, "loss": round(loss, 4)}
            logits = answers(self.average.network(), held_out.plain(self.stage.size))
            print(json.dumps(facts | figures(logits, held_out) | {"s": round(time.time() - start)}), flush=True)
        return self.average.network()

    def _train_epoch(self) -> float:
        steps, losses = len(self.sets[0].faces) // self.stage.batch, []
        counts = [self.stage.batch - self._extra, self._extra][: len(self.sets)]
        rows = [drawn.rows(steps * count, self.random) for drawn, count in zip(self.sets, counts, strict=True)]
        self.network.train()
        for step in range(steps):
            chosen = [part[step * count : (step + 1) * count] for part, count in zip(rows, counts, strict=True)]
            self._set_rate((self.epoch + step / steps) / self.stage.epochs)
            losses.append(self._step(*self._batch(chosen)))
        return float(np.mean(losses))

    @property
    def _extra(self) -> int:
        return int(self.stage.extra_share * self.stage.batch) if len(self.sets) > 1 else 0

    def _batch(self, chosen: list[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
        """Pictures [n, 1, S, S] and targets [n, 8], some mixed with another of the batch (mixup, Zhang et al. 2018)."""
        pairs = [(drawn.faces, row) for drawn, rows in zip(self.sets, chosen, strict=True) for row in rows]
        size, amount, random = self.stage.size, self.stage.changes, self.random
        made = [changed(one.pictures[row], one.bases[row], one.loose, size, amount, random) for one, row in pairs]
        values = torch.from_numpy(np.stack(made)[:, None])
        targets = torch.from_numpy(np.stack([faces.targets[row] for faces, row in pairs]))
        share = np.where(random.random(len(pairs)) < self.stage.mixup, random.beta(0.3, 0.3, len(pairs)), 0)
        share = 0.3 * np.minimum(share, 1 - share)  # of the other; never more than 0.15
        other, part = torch.from_numpy(random.permutation(len(pairs))), torch.from_numpy(share.astype(np.float32))
        values = values + part.view(-1, 1, 1, 1) * (values[other] - values)
        return values, targets + part[:, None] * (targets[other] - targets)

    def _set_rate(self, done: float) -> None:
        stage = self.stage
        falling = 1 - max(0.0, done - stage.warmup) / (1 - stage.warmup)
        rate = min(1.0, done / stage.warmup) * (stage.final_lr + (1 - stage.final_lr) * falling)
        for group in self.optimizer.param_groups:
            group["lr"] = stage.lr * group["factor"] * rate

    def _step(self, values: Tensor, targets: Tensor) -> float:
        logits = self.network(values.bfloat16())
        loss = F.cross_entropy(logits, targets, label_smoothing=self.stage.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimizer.step()
        self.average.add(self.network)
        return loss.item()


def _groups(network: GreyMobileNet, stage: Stage) -> list[dict[str, Any]]:
    """The head learns twice as fast; scales and shifts do not decay."""
    head = [tensor for name, tensor in network.named_parameters() if name.startswith("classifier")]
    below = [tensor for name, tensor in network.named_parameters() if not name.startswith("classifier")]
    return [
        {"params": [tensor for tensor in below if tensor.ndim > 1], "weight_decay": stage.weight_decay, "factor": 1},
        {"params": [tensor for tensor in below if tensor.ndim == 1], "weight_decay": 0.0, "factor": 1},
        {"params": head, "weight_decay": stage.weight_decay, "factor": 2},
    ]


def answers(network: GreyMobileNet, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits [n, 8] for pictures [n, S, S]."""
    network.eval()
    with torch.inference_mode():
        parts = torch.from_numpy(pictures)[:, None].split(256)
        return torch.cat([network(part.bfloat16()) for part in parts]).numpy()


def figures(logits: NDArray[np.floating], faces: Faces) -> dict[str, float]:
    """Most probable class against the one with most votes."""
    confusion = metrics.confusion(faces.targets.argmax(1), logits.argmax(1))
    return {
        "accuracy": round(float(metrics.accuracy(confusion)), 4),
        "macro_f1": round(float(metrics.macro_f1(confusion)), 4),
    }


def kept(file: Path, make: Any) -> list[Faces]:
    """Faces from files FILE-0.npz, FILE-1.npz, …, made where they are not there."""
    files = sorted(file.parent.glob(f"{file.name}-?.npz"))
    if not files:
        for number, faces in enumerate(make()):
            faces.save(file.parent / f"{file.name}-{number}.npz")
        files = sorted(file.parent.glob(f"{file.name}-?.npz"))
    return [Faces.load(one) for one in files]


def trained_small(out: Path, data: Path, train: Faces, held_out: Faces) -> GreyMobileNet:
    network = GreyMobileNet()
    sets = [Drawn.by_class(train, SMALL.class_power)]
    if not (out / "small.pt").exists():
        network.begin_with(backbone(data, out))
        random = np.random.default_rng(0)
        rows = random.integers(0, len(train), 256)
        size, amount = SMALL.size, SMALL.changes
        seen = [changed(train.pictures[row], train.bases[row], train.loose, size, amount, random) for row in rows]
        network.calibrate(torch.from_numpy(np.stack(seen)[:, None]))
    return Training(SMALL, network, sets, out / "small.pt").run(held_out)


def with_teacher(faces: Faces, teacher: GreyMobileNet) -> Faces:
    """The labels of `faces`, mixed with the teacher's probabilities."""
    guessed = torch.from_numpy(answers(teacher, faces.plain(SMALL.size))).softmax(1).numpy()
    return Faces(faces.pictures, faces.landmarks, (1 - TEACHER) * faces.targets + TEACHER * guessed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="a folder that has some or all of the data")
    parser.add_argument("--yes", action="store_true", help="download without asking")
    options = parser.parse_args()
    out, data = options.out, options.data or options.out / "data"
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    fetch(data, yes=options.yes)
    train, held_out = kept(out / "ferplus", lambda: ferplus(data / "ferplus"))
    small = trained_small(out, data, train, held_out)
    (more,) = kept(out / "extra", lambda: [extra(data)])
    more, network = with_teacher(more, small), small
    for stage in (LARGE, FINAL):
        sets = [Drawn.by_class(train, stage.class_power), Drawn.by_class(more, EXTRA_POWER)]
        network = Training(stage, network, sets, out / f"{stage.name}.pt").run(held_out)
    pack(network, out / "visual")


def pack(network: GreyMobileNet, folder: Path) -> None:
    """Writes what ships, with affcli's card of an encoder."""
    save(network.state_dict(), folder, size=FINAL.size)
    facts = {"kind": "visual encoder", "version": __version__, "classes": CLASSES, "model": "FaceRes (MobileNetV1)"}
    facts |= {"sources": ["ferplus", "facial_expressions", "ffhq"]}
    facts |= {"alignment": {"template": "arcface-112", "size": FINAL.size}}
    facts |= {"training": {stage.name: asdict(stage) for stage in (SMALL, LARGE, FINAL)}}
    (folder / "affcli.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
