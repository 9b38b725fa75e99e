"""The fusion network that comes with affcli as `mini`: how it was trained, and how good it is.

    python examples/mini/fusion.py train OUT --crema DIR --votes FILE --faces DIR --visual DIR --audio DIR --folds A,B,C

--crema is the folder of CREMA-D's sounds and --votes its tabulatedVotes.csv, as `speech.py` fetches them; --faces the
folder in which `faces.py` left FERPlus (ferplus-0.npz, ferplus-1.npz). --visual and --audio are the encoders that it is
made for. --folds are speech encoders that have not heard some of the actors: the first comes from `speech.py train
--fold 0`, the second from `--fold 1`, the third from `--fold 2`. With fewer than three, the clips of the other actors
are not used. It takes about 15 minutes of one processor core. Each step leaves a file in OUT; ended at any moment, the
same command goes on with what is left.

1. sound-*.npz, faces-*.npz, other.safetensors: features (see fusion_data.py).
2. network.safetensors: trained on windows that are made up as it goes (see fusion_moments.py). The loss is the
   cross-entropy to the shares of votes; what is kept is the running mean of the weights.
3. mini/model.safetensors: in half precision, with a temperature and an offset of Neutral folded into the last layer,
   and the least confidence of a label. They are fitted on moments that no part of the training has seen: CREMA-D's
   actors 1011 to 1020 with pictures of FERPlus's validation part. Figures on them are printed.

Actors 1001 to 1010 take no part at all. `judge.py` asks the networks about real clips.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from face_data import Faces
from fusion_data import CHOICE, CONTEXT_S, Looks, Voices, chosen_pictures, hear, look, other_sounds, votes
from fusion_moments import FRAMES, Stage, Window
from safetensors.torch import load_file, save_file

from affcli.media.faces import TEMPLATE_SIZE
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.find_checkpoint import MINI
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.extract.audio_features import named_with_context
from affcli.models.fusion.model_file import ModelCard, save_model
from affcli.models.fusion.network import FusionConfig, FusionNetwork, hide_streams
from affcli.models.runtime import devices
from affcli.schema import CLASSES

Tensor = torch.Tensor
Batch = tuple[Tensor, ...]

STEPS, BATCH = 600, 48
RATE, WEIGHT_DECAY, WARM_UP, EMA = 1e-3, 0.05, 0.05, 0.99
HIDE_FACE, HIDE_VOICE = 0.15, 0.15  # share of the windows
FOLDS: Final = 3  # as in speech.py
OTHER_SOUNDS: Final = 45
STRIDE: Final = 32
CHOICE_WINDOWS: Final = 480  # of each kind
RIGHT: Final = 0.85  # share of the named frames of all kinds that shall be right; strangers' videos are harder
MAJORITY: Final = 0.75  # of what confidence is fitted to; chosen on the same moments, so that all kinds are calibrated
NEUTRAL_OFFSET: Final = -0.3  # people in videos show less than they mean; chosen on the same moments and the dev clips
SEED: Final = 0


# --- features --------------------------------------------------------------------------------------------------------


def features(given: argparse.Namespace) -> None:
    """What sounds and pictures become; one file each."""
    run = _run()
    said = votes(given.votes)
    files = sorted(file for kind in ("wav", "flac") for file in given.crema.glob(f"*.{kind}"))
    unheard = [actor for actor in range(1021, 1092) if actor % FOLDS < len(given.folds)]
    groups = [(f"train-{fold}", own, [actor for actor in unheard if actor % FOLDS == fold])
              for fold, own in enumerate(given.folds)]  # fmt: skip
    for number, (name, encoder, actors) in enumerate([*groups, ("choice", given.audio, CHOICE)]):
        if not (target := given.out / f"sound-{name}.npz").exists():
            own = [file for file in files if int(file.stem[:4]) in actors]
            random = np.random.default_rng([SEED, 2, number])
            hear(own, said, AudioEncoder(encoder, run, layers=1), random).save(target)
            print(target, flush=True)
    if not (target := given.out / "other.safetensors").exists():
        found = other_sounds(AudioEncoder(given.folds[0], run, layers=1), np.random.default_rng(SEED), OTHER_SOUNDS)
        save_file({"other": torch.from_numpy(found)}, target)
    for number, name in enumerate(("train", "choice")):
        if not (target := given.out / f"faces-{name}.npz").exists():
            visual = VisualEncoder(given.visual, run, batch_size=96)
            random = np.random.default_rng([SEED, number])
            faces = Faces.load(given.faces / f"ferplus-{number}.npz")
            rows = chosen_pictures(random, faces.targets)
            some = Faces(faces.pictures[rows], faces.landmarks[rows], faces.targets[rows])
            look(random, visual, some.plain(visual.preprocessing.input_size), some.targets).save(target)
            print(target, flush=True)

    if not (target := given.out / "encoders.json").exists():
        audio = AudioEncoder(given.audio, run, layers=1)
        visual = VisualEncoder(given.visual, run)
        cards = {"visual": visual.card.as_json(), "audio": named_with_context(audio.card, CONTEXT_S)}
        target.write_text(json.dumps({stream: {**card, "name": MINI} for stream, card in cards.items()}))


def _run() -> devices.Runtime:
    return devices.choose("cpu", "auto")


def stage(out: Path, name: str) -> Stage:
    other = load_file(out / "other.safetensors")["other"].numpy()
    return Stage.of(Voices.load(*sorted(out.glob(f"sound-{name}*.npz"))), Looks.load(out / f"faces-{name}.npz"), other)


# --- training --------------------------------------------------------------------------------------------------------


def _config(actors: Stage) -> FusionConfig:
    sizes = actors.looks.features.shape[-1], actors.voices.features.shape[-1]
    return FusionConfig(*sizes, window=FRAMES, dim=128, layers=2, heads=4, dropout=0.2)


def batch(windows: Sequence[Window]) -> Batch:
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*windows, strict=True))


def learn(given: argparse.Namespace) -> None:
    """Trains; every hundred steps all that is needed to go on is kept."""
    target, kept = given.out / "network.safetensors", given.out / "unfinished.pt"
    if target.exists():
        return
    actors = stage(given.out, "train")
    torch.manual_seed(SEED)
    network = FusionNetwork(_config(actors))
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


# --- what ships ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Answers:
    """Logits [n, 8] of frames that have a face or speech, and the shares of votes for them [n, 8]."""

    logits: Tensor
    votes: Tensor

    @property
    def label(self) -> Tensor:
        """The class with the most votes."""
        return self.votes.argmax(1)

    def scaled(self, temperature: float) -> Answers:
        """With the offset of Neutral, and divided by a temperature."""
        return Answers((self.logits + offsets()) / temperature, self.votes)

    def accuracy(self) -> float:
        return float((self.logits.argmax(1) == self.label).float().mean())

    def mean_recall(self) -> float:
        right = self.logits.argmax(1) == self.label
        return float(torch.stack([right[self.label == number].float().mean() for number in self.label.unique()]).mean())

    def calibration_error(self, bins: int = 15) -> float:
        """Expected calibration error: the gap of confidence and accuracy in bins of confidence, weighted by size."""
        sure, said = self.logits.softmax(1).max(1)
        right = (said == self.label).float()
        place = (sure * bins).long().clamp(max=bins - 1)
        gaps = [((sure - right)[place == number].sum().abs()) for number in range(bins)]
        return float(torch.stack(gaps).sum() / len(sure))

    def named(self, confidence: float) -> tuple[float, float]:
        """The share of the frames that reach a confidence, and the accuracy among them."""
        sure, said = self.logits.softmax(1).max(1)
        kept = sure >= confidence
        return float(kept.float().mean()), float((said == self.label)[kept].float().mean())


def answers(network: FusionNetwork, actors: Stage, kind: str, windows: int, hidden: str = "") -> Answers:
    """What the network makes of windows of one kind; `hidden` is a stream that it does not get."""
    random = np.random.default_rng([SEED, 2])
    logits, targets = [], []
    network.eval()
    for _ in range(0, windows, BATCH):
        visual, seen, audio, heard, target = batch([actors.window(random, kind) for _ in range(BATCH)])
        seen, heard = seen & (hidden != "face"), heard & (hidden != "voice")
        with torch.inference_mode():
            found = network(visual.float(), seen, audio.float(), heard)
        there = seen | heard
        logits.append(found[there])
        targets.append(target[there])
    return Answers(torch.cat(logits), torch.cat(targets))


def temperature_of(own: Answers) -> float:
    """The temperature at which the cross-entropy is least (Guo et al. 2017): to what most people say, and with less
    weight to what each of them says, which alone makes confidence the share of the people who agree: that is less than
    the share of the frames that are right.
    """
    wanted = MAJORITY * F.one_hot(own.label, own.votes.shape[1]) + (1 - MAJORITY) * own.votes
    tried = torch.arange(0.3, 4, 0.02)
    losses = [-(wanted * F.log_softmax(own.scaled(float(one)).logits, 1)).sum(1).mean() for one in tried]
    return float(tried[int(torch.stack(losses).argmin())])


def offsets() -> Tensor:
    """[8], added to the logits."""
    found = torch.zeros(len(CLASSES))
    found[CLASSES.index("Neutral")] = NEUTRAL_OFFSET
    return found


def finish(given: argparse.Namespace) -> None:
    """Folds the temperature in, packs, and prints the figures."""
    actors = stage(given.out, "choice")
    weights = load_file(given.out / "network.safetensors")
    network = FusionNetwork(_config(actors))
    network.load_state_dict(weights)
    fitted = {kind: answers(network, actors, kind, CHOICE_WINDOWS) for kind in ("clip", "face", "voice")}
    for hidden in ("voice", "face"):
        fitted[f"clip without its {hidden}"] = answers(network, actors, "clip", CHOICE_WINDOWS, hidden)
    every = Answers(*(torch.cat([getattr(one, part) for one in fitted.values()]) for part in ("logits", "votes")))
    temperature = temperature_of(every)
    every = every.scaled(temperature)
    least = next((step / 100 for step in range(25, 96) if every.named(step / 100)[1] >= RIGHT), 0.95)
    weights["classify.3.bias"] += offsets()
    for part in ("weight", "bias"):
        weights[f"classify.3.{part}"] /= temperature
    card = ModelCard(
        network.config,
        STRIDE,
        json.loads((given.out / "encoders.json").read_text()),
        alignment={
            "template": f"arcface-{TEMPLATE_SIZE}",
            "size": VisualEncoder(given.visual, _run()).preprocessing.input_size,
        },
        training={
            "recipe": "examples/mini/fusion.py",
            "steps": given.steps,
            "temperature": round(temperature, 2),
            "neutral_offset": NEUTRAL_OFFSET,
        },
        min_confidence=least,
    )
    (given.out / "mini").mkdir(exist_ok=True)
    halves = {name: tensor.half() for name, tensor in weights.items()}
    save_model(str(given.out / "mini" / "model.safetensors"), halves, card)
    print(f"temperature {temperature:.2f}, least confidence {least}")
    for kind, one in fitted.items():
        tell(kind, one.scaled(temperature), least)


def tell(name: str, own: Answers, least: float) -> None:
    share, right = own.named(least)
    print(
        f"{name}: accuracy {own.accuracy():.1%}, mean recall {own.mean_recall():.1%}, "
        f"calibration error {own.calibration_error():.3f}, named {share:.0%}, of these right {right:.0%}"
    )


def train(given: argparse.Namespace) -> None:
    """All three steps."""
    given.out.mkdir(parents=True, exist_ok=True)
    features(given)
    learn(given)
    finish(given)


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
