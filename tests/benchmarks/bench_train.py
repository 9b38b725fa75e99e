"""Training and prediction with the paper's network (d 256, 3 layers, windows of 64) against plain loops over it.

python tests/benchmarks/bench_train.py

Training: windows/s of a whole epoch against forward, loss, backward and step on one batch of random tensors that is
ready; target at least 0.9. Prediction: frames/s of `windowed_logits` against one window at a time in fp32, nothing
shared; target at least 3 where the precision chosen is bf16, else 1.2. Last, what each option of training costs: the
time of an epoch beside that of the defaults, all taking turns; no target.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch
from measure import medians, verdict

from affcli.features.joined import VideoFeatures
from affcli.features.stream import StreamFeatures
from affcli.models.fusion.dataset import LabelledFrames, TrainingSet
from affcli.models.fusion.inference import windowed_logits
from affcli.models.fusion.network import FusionConfig, FusionNetwork
from affcli.models.fusion.trainer import Trainer, TrainingOptions
from affcli.models.fusion.windows import Frames, Windows
from affcli.models.runtime import devices
from affcli.models.training.losses import focal_loss

CONFIG = FusionConfig(visual_size=768, audio_size=768)
FRAMES, BATCH = 2_048, 32
OPTIONS = TrainingOptions(
    modality_dropout=0.1,
    audio_dropout=0.0,
    gamma=2.0,
    class_weights="none",
    stride=8,
    epochs=100,
    patience=0,
    lr=1e-4,
    weight_decay=0.01,
    batch_size=BATCH,
    seed=0,
)


def stream(random: np.random.Generator) -> StreamFeatures:
    features = random.standard_normal((FRAMES, 768)).astype(np.float16)
    return StreamFeatures(features, random.random(FRAMES) > 0.05, np.arange(FRAMES) / 30)


def training(video: VideoFeatures, run: devices.Runtime) -> bool:
    frames = Frames.of(video)
    labels = torch.randint(-1, 8, (FRAMES,))
    data = TrainingSet(LabelledFrames(frames, labels), Windows.over(frames.offsets, length=64, stride=8))
    trainer = Trainer(CONFIG, OPTIONS, data, None, run)
    network = FusionNetwork(CONFIG)
    optimizer = torch.optim.AdamW(network.parameters())
    batch = data.batch(torch.arange(BATCH))

    def bare() -> None:
        for _ in range(-(-len(data.windows) // BATCH)):
            optimizer.zero_grad(set_to_none=True)
            with run.autocast():
                logits = network(*batch[:4])
            focal_loss(logits, batch[4]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

    bare_s, ours_s = medians(bare, lambda: trainer.epoch(1))
    speeds = (len(data.windows) / seconds for seconds in (ours_s, bare_s))
    what = "train {:.1f} windows/s / bare loop {:.1f}".format(*speeds) + f" ({run.precision})"
    return verdict(what, bare_s / ours_s, least=0.9)


def prediction(video: VideoFeatures, run: devices.Runtime) -> bool:
    network = FusionNetwork(CONFIG).eval()
    frames = Frames.of(video)
    windows = Windows.over(frames.offsets, length=64, stride=8)

    def one_at_a_time() -> None:
        with torch.no_grad():
            for index in range(len(windows)):
                rows, exists = windows[index : index + 1].rows()
                visual, audio = frames.visual[rows].float(), frames.audio[rows].float()
                network(visual, frames.visual_valid[rows] & exists, audio, frames.audio_valid[rows] & exists)

    def ours() -> None:
        windowed_logits(network, video, run, window=64, stride=8, batch_size=64)

    plain_s, ours_s = medians(one_at_a_time, ours)
    what = f"predict {FRAMES / ours_s:.0f} frames/s ({run.precision}) / one window at a time {FRAMES / plain_s:.0f}"
    return verdict(what, plain_s / ours_s, least=3 if run.precision == "bf16" else 1.2)


def options_cost(random: np.random.Generator, run: devices.Runtime) -> None:
    """Prints how long an epoch takes with each option, as a multiple of the defaults'."""
    two, layers = ((1, 768), (1, 768)), ((13, 768),)
    wide = {"visual_size": 1536, "visual_tables": two}
    variants = {
        "defaults": (CONFIG, OPTIONS, False),
        "two visual tables, --join concat": (replace(CONFIG, **wide), OPTIONS, False),
        "two visual tables, --join gate": (replace(CONFIG, **wide, join="gate"), OPTIONS, False),
        "audio of 13 hidden layers": (replace(CONFIG, audio_size=13 * 768, audio_tables=layers), OPTIONS, False),
        "--loss logit-adjusted": (CONFIG, replace(OPTIONS, loss="logit-adjusted"), False),
        "--label-smoothing 0.1": (CONFIG, replace(OPTIONS, label_smoothing=0.1), False),
        "--ema 0.99": (CONFIG, replace(OPTIONS, ema=0.99), False),
        "--frame-weights": (CONFIG, OPTIONS, True),
    }
    trainers = [_trainer(random, run, *variant) for variant in variants.values()]
    times = medians(*(lambda trainer=trainer: trainer.epoch(1) for trainer in trainers))
    for name, seconds in zip(variants, times, strict=True):
        print(f"train, {name}: {seconds / times[0]:.2f} times the defaults' epoch")


def _trainer(
    random: np.random.Generator, run: devices.Runtime, config: FusionConfig, options: TrainingOptions, weighed: bool
) -> Trainer:
    streams = [
        StreamFeatures(random.standard_normal((512, size)).astype(np.float16), random.random(512) > 0.05, np.zeros(512))
        for size in (config.visual_size, config.audio_size)
    ]
    frames = Frames.of(VideoFeatures("v", *streams))
    labels, weights = torch.randint(-1, 8, (512,)), torch.rand(512) if weighed else None
    data = TrainingSet(LabelledFrames(frames, labels, weights), Windows.over(frames.offsets, length=64, stride=8))
    return Trainer(config, options, data, None, run)


def main() -> bool:
    """Prints the ratios; true where all targets are met."""
    random = np.random.default_rng(0)
    video = VideoFeatures("v", stream(random), stream(random))
    met = [training(video, devices.choose("cpu", small=True))]
    met += [prediction(video, devices.choose("cpu", precision)) for precision in ("fp32", "bf16")]
    options_cost(random, devices.choose("cpu", small=True))
    return all(met)


if __name__ == "__main__":
    sys.exit(not main())
