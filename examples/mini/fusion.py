"""The fusion network that comes with affcli as `mini`: how it was trained, and how good it is.

    python examples/mini/fusion.py train OUT --corpora DATA --faces FACES --visual DIR --audio DIR --folds A,B,C
    python examples/mini/fusion.py judge OUT CLIPS

DATA holds CREMA-D and its votes, as `speech.py` fetches them; FACES is the folder in which `faces.py` left FERPlus
(ferplus-0.npz, ferplus-1.npz). --visual and --audio are the encoders it is made for; --folds are speech encoders that
were trained like that one, each without a part of the speakers (`speech.py train --fold K`): fold K has not heard the
actors whose number is K modulo the number of folds. `train` takes about 20 minutes of one processor core. Each of its steps
leaves a file in OUT; ended at any moment, the same command goes on with the next.

1. sound-*.npz, faces-*.npz: features (see fusion_data.py).
2. network.safetensors: trained on windows that are made up as it goes (see fusion_moments.py); the loss is the cross-entropy
   to the shares of votes. The running mean of the weights is kept.
3. OUT/mini/model.safetensors: in half precision, with a temperature folded into the last layer, fitted on the moments
   of CREMA-D's actors 1011 to 1020 and pictures of FERPlus's validation part, and the least confidence for a label.

Actors 1001 to 1010 take no part. `judge` prints what `affcli label` makes of the clips of CLIPS/clips.csv (video,class).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from face_data import Faces
from fusion_data import CHOICE, TEST, Looks, Voices, chosen_pictures, hear, look, other_sounds, votes
from fusion_moments import FRAMES, Stage, Window
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.extract.audio_features import named_with_context
from affcli.models.fusion.model_file import ModelCard, load_model, save_model
from affcli.models.fusion.network import FusionConfig, FusionNetwork, hide_streams
from affcli.models.runtime import devices
from affcli.schema import CLASSES

Tensor = torch.Tensor
Batch = tuple[Tensor, ...]

STEPS, BATCH = 900, 48
RATE, WEIGHT_DECAY, WARM_UP, EMA = 1e-3, 0.05, 0.05, 0.99
HIDE_FACE, HIDE_VOICE = 0.15, 0.15  # share of the windows
OTHER_SOUNDS: Final = 60
STRIDE: Final = 32
CREMA: Final = "crema-d/speech-emotion-recognition-en/Crema"
SEED: Final = 0


# --- features --------------------------------------------------------------------------------------------------------


def features(given: argparse.Namespace) -> None:
    """What sounds and pictures become; one file each."""
    run = devices.choose("cpu", "fp32")
    audio, visual = None, None
    said = votes(given.votes)
    files = sorted(file for kind in ("wav", "flac") for file in given.crema.glob(f"*.{kind}"))
    groups = {
        "train": [file for file in files if int(file.stem[:4]) not in {*TEST, *CHOICE}],
        "choice": [file for file in files if int(file.stem[:4]) in CHOICE],
    }
    for name, own in groups.items():
        for changed in (False, True):
            target = given.out / f"sound-{name}-{'changed' if changed else 'clean'}.npz"
            if not target.exists():
                folders = given.folds if name == "train" else [given.audio]
                encoders = [AudioEncoder(folder, run, layers=1) for folder in folders]
                random = np.random.default_rng([SEED, changed]) if changed else None
                hear(own, said, encoders, random).save(target)
                print(target, flush=True)
    if not (target := given.out / "other.safetensors").exists():
        audio = AudioEncoder(given.audio, run, layers=1)
        found = other_sounds(audio, np.random.default_rng(SEED), OTHER_SOUNDS)
        save_file({"other": torch.from_numpy(found)}, target)
    for number, name in enumerate(("train", "choice")):
        if not (target := given.out / f"faces-{name}.npz").exists():
            visual = visual or VisualEncoder(given.visual, run, batch_size=32)
            random = np.random.default_rng([SEED, number])
            faces = Faces.load(given.faces / f"ferplus-{number}.npz")
            rows = chosen_pictures(random, faces.targets)
            some = Faces(faces.pictures[rows], faces.landmarks[rows], faces.targets[rows])
            look(random, visual, some.plain(visual.preprocessing.input_size), some.targets).save(target)
            print(target, flush=True)


def stage(out: Path, name: str) -> Stage:
    recordings = tuple(Voices.load(out / f"sound-{name}-{how}.npz") for how in ("clean", "changed"))
    other = load_file(out / "other.safetensors")["other"].numpy()
    return Stage.of(recordings, np.ones(len(recordings[0].actor), bool), Looks.load(out / f"faces-{name}.npz"), other)


# --- training --------------------------------------------------------------------------------------------------------


def batch(windows: Sequence[Window]) -> Batch:
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*windows, strict=True))


def learn(given: argparse.Namespace) -> None:
    """Trains; every hundred steps all that is needed to go on is kept."""
    target, kept = given.out / "network.safetensors", given.out / "unfinished.pt"
    if target.exists():
        return
    actors = stage(given.out, "train")
    sizes = actors.looks.features.shape[-1], actors.recordings[0].features.shape[-1]
    torch.manual_seed(SEED)
    network = FusionNetwork(FusionConfig(*sizes, window=FRAMES, dim=128, layers=2, heads=4, dropout=0.2))
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    mean = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        first, mean = state["step"], state["mean"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    began, losses = time.time(), []
    for step in range(first, given.steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * _schedule(step / given.steps)
        losses.append(_step(network, optimizer, actors, step))
        share = min(EMA, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            mean[name].lerp_(tensor, 1 - share)
        if (step + 1) % 100 == 0:
            state = {"step": step + 1, "mean": mean, "network": network.state_dict()}
            torch.save({**state, "optimizer": optimizer.state_dict()}, kept.with_suffix(".part"))
            kept.with_suffix(".part").replace(kept)
            print(f"step {step + 1}: loss {np.mean(losses[-100:]):.4f}, {time.time() - began:.0f} s", flush=True)
    save_file(mean, target)
    kept.unlink(missing_ok=True)


def _schedule(share: float) -> float:
    return min(1.0, share / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))


def _step(network: FusionNetwork, optimizer: torch.optim.Optimizer, actors: Stage, step: int) -> float:
    random = np.random.default_rng([SEED, 1, step])
    visual, seen, audio, heard, target = batch([actors.window(random) for _ in range(BATCH)])
    torch.manual_seed(step)
    draw = torch.rand(BATCH)
    seen, heard = hide_streams(seen, heard, draw, visual_rate=HIDE_FACE, audio_rate=HIDE_VOICE)
    network.train()
    logits = network(visual.float(), seen, audio.float(), heard)
    loss = _cross_entropy(logits, target, seen | heard)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _cross_entropy(logits: Tensor, target: Tensor, there: Tensor) -> Tensor:
    """Mean over the frames that have a face or speech."""
    each = -(target * F.log_softmax(logits, -1)).sum(-1)
    return each[there].mean()


def train(given: argparse.Namespace) -> None:
    """All three steps."""
    given.out.mkdir(parents=True, exist_ok=True)
    features(given)
    learn(given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    training = commands.add_parser("train", help="all that ships")
    training.set_defaults(command=train)
    training.add_argument("out", type=Path, metavar="OUT")
    training.add_argument("--crema", type=Path, required=True, help="folder of CREMA-D's sounds")
    training.add_argument("--votes", type=Path, required=True, help="its tabulatedVotes.csv")
    training.add_argument("--faces", type=Path, required=True, help="folder in which faces.py left FERPlus")
    training.add_argument("--visual", required=True, help="image encoder")
    training.add_argument("--audio", required=True, help="speech encoder")
    training.add_argument("--folds", type=lambda text: text.split(","), required=True, help="speech encoders, A,B,C")
    training.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.command(given)


if __name__ == "__main__":
    main()


def train(given: argparse.Namespace) -> None:
    """All three steps."""
    given.out.mkdir(parents=True, exist_ok=True)
    features(given)
    learn(given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    training = commands.add_parser("train", help="all that ships")
    training.set_defaults(command=train)
    training.add_argument("out", type=Path, metavar="OUT")
    training.add_argument("--crema", type=Path, required=True, help="folder of CREMA-D's sounds")
    training.add_argument("--votes", type=Path, required=True, help="its tabulatedVotes.csv")
    training.add_argument("--faces", type=Path, required=True, help="folder in which faces.py left FERPlus")
    training.add_argument("--visual", required=True, help="image encoder")
    training.add_argument("--audio", required=True, help="speech encoder")
    training.add_argument("--folds", type=lambda text: text.split(","), required=True, help="speech encoders, A,B,C")
    training.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.command(given)


if __name__ == "__main__":
    main()
