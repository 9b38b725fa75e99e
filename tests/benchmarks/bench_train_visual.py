"""Training of an image encoder, augmentation and all, against a bare loop over the same network.

python tests/benchmarks/bench_train_visual.py

Pictures/s of a whole epoch over 1024 pictures in a file, against forward, loss, backward, clipping and step on one
batch of random tensors that is ready; both at the precision that `auto` chooses; target at least 0.9. The network is a
BEiT of width 192 on 112 × 112 pixels. Beside it, without a target: the bare loop in fp32 and bf16.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import medians, verdict
from transformers import BeitConfig

from affcli.facesets.pictures import FaceData, Pictures
from affcli.models.encoders.classifier import Classifier
from affcli.models.face_training.trainer import PictureOptions, PictureTrainer
from affcli.models.runtime import devices
from affcli.models.training.losses import soft_focal_loss

PICTURES, BATCH, SIZE = 1024, 128, 112
OPTIONS = PictureOptions(
    optimizer="adamw",
    epochs=100,
    patience=0,
    lr=5e-4,
    warmup=0.1,
    weight_decay=0.05,
    layer_decay=1.0,
    drop_path=0.1,
    gamma=0.0,
    label_smoothing=0.1,
    mixup=0.2,
    augment=1.0,
    ema=0.999,
    batch_size=BATCH,
    seed=0,
)


def recipe(folder: Path) -> Path:
    """A BEiT without weights: 2.8 million parameters, 50 tokens."""
    sizes = {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 3, "intermediate_size": 768}
    BeitConfig(image_size=SIZE, patch_size=16, use_relative_position_bias=True, **sizes).save_pretrained(folder)
    facts = {"image_processor_type": "BeitImageProcessor", "size": {"height": SIZE, "width": SIZE}, "resample": 2}
    facts |= {"do_center_crop": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


def faces(folder: Path) -> FaceData:
    random = np.random.default_rng(0)
    np.save(folder / "pixels.npy", random.integers(0, 256, (PICTURES, SIZE, SIZE, 3)).astype(np.uint8))
    targets = random.dirichlet([0.3] * 8, PICTURES).astype(np.float32)
    even, zeros = np.full(PICTURES, 1 / PICTURES), np.zeros(PICTURES, np.int16)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    return FaceData(Pictures(pixels, targets, even, ("random",), zeros), None, None, "")


def bare(model: str, run: devices.Runtime) -> Callable[[], None]:
    """As many steps as an epoch has, all on the same batch."""
    network = Classifier.load(model, drop_path=OPTIONS.drop_path, seed=0).network.to(run.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    pictures, targets = torch.randn(BATCH, 3, SIZE, SIZE), torch.rand(BATCH, 8).softmax(1)
    pictures, targets = pictures.to(run.device), targets.to(run.device)

    def epoch() -> None:
        for _ in range(PICTURES // BATCH):
            optimizer.zero_grad(set_to_none=True)
            with run.autocast():
                logits = network(pixel_values=pictures).logits
            loss = soft_focal_loss(logits, targets, gamma=0.0, count=BATCH)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        loss.item()

    return epoch


def main() -> bool:
    """Prints the ratios; true where the target is met."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, run = str(recipe(folder)), devices.choose_for_training(small=False)
        classifier = Classifier.load(model, drop_path=OPTIONS.drop_path, seed=0)
        trainer = PictureTrainer(classifier, OPTIONS, faces(folder), run)
        others = [devices.Runtime(run.device, precision) for precision in ("fp32", "bf16")]
        works = [bare(model, one) for one in (run, *others)]
        bare_s, fp32_s, bf16_s, ours_s = medians(*works, lambda: trainer.epoch(1))
    print(f"     bare loop: fp32 {PICTURES / fp32_s:.1f} pictures/s, bf16 {PICTURES / bf16_s:.1f} ({run.device.type})")
    what = f"train {PICTURES / ours_s:.1f} pictures/s / bare loop {PICTURES / bare_s:.1f} ({run.precision})"
    return verdict(what, bare_s / ours_s, least=0.9)


if __name__ == "__main__":
    sys.exit(not main())
