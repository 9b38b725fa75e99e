"""The small BEiT that comes with affcli as `mini`: what its training begins with, what ships, and how good that is.

    python examples/mini_visual.py start FERPLUS_DIR OUT_DIR     the design, with the weights that training begins with
    python examples/mini_visual.py pack TRAINED_DIR OUT_DIR      the trained network in half precision, as it ships
    python examples/mini_visual.py judge MODEL_DIR FERPLUS_DIR   figures on FERPlus's validation part

`examples/mini-visual.sh` runs all three with the training between them.

A transformer that begins at random needs many epochs on 28,000 pictures before it looks at neighbouring patches at all.
This one begins with what is known about pictures, and nothing about faces' expressions (no label is read):

- each patch is seen through the whitened principal components of patches of the training pictures;
- the table of relative positions lets all but one head of each layer look at one neighbour each (d'Ascoli et al. 2021).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, BeitConfig, BeitForImageClassification

from affcli.facesets.pictures import Pictures
from affcli.facesets.static import static_faces
from affcli.schema import CLASSES
from affcli.scoring import metrics

EDGE, PATCH, WIDTH, LAYERS, HEADS = 48, 8, 192, 6, 6
PICTURES = 4000  # that the components are taken from
LEAST_VARIANCE = 0.002  # added to a component's, so that noise is not made as loud as faces
REACH = 6.0  # the bias of a head falls with the squared distance from its neighbour, and ends here
NEIGHBOURS = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]  # rows, columns; one a head, the last head sees everything


def network() -> BeitForImageClassification:
    torch.manual_seed(0)
    config = BeitConfig(
        image_size=EDGE,
        patch_size=PATCH,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        use_absolute_position_embeddings=True,
        use_relative_position_bias=True,
        use_mean_pooling=True,
        layer_scale_init_value=0.0,
        num_labels=8,
    )
    return BeitForImageClassification(config)


def whitening(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [k, 3, PATCH, PATCH] and biases [k] that give the principal components of a patch, each of variance 1."""
    files = sorted(folder.rglob("FER2013Train/*.png"))[:PICTURES]
    if not files:
        sys.exit(f"{folder}: no FER2013Train/*.png in it")
    pictures = np.stack([np.asarray(Image.open(file).convert("L").resize((EDGE, EDGE))) for file in files])
    side = EDGE // PATCH
    patches = (pictures / 127.5 - 1).reshape(-1, side, PATCH, side, PATCH).swapaxes(2, 3).reshape(-1, PATCH * PATCH)
    mean = patches.mean(axis=0)
    variances, components = np.linalg.eigh(np.cov(patches, rowvar=False))
    whitened = (components / np.sqrt(variances + LEAST_VARIANCE)).T[::-1] / 2
    both = np.concatenate([whitened, -whitened])[:WIDTH]
    weights = torch.tensor(both, dtype=torch.float32).view(-1, 1, PATCH, PATCH)
    return weights.expand(-1, 3, -1, -1) / 3, -torch.tensor(both @ mean, dtype=torch.float32)


def neighbourly_biases() -> torch.Tensor:
    """The table of relative positions [(2 · side − 1)² + 3, HEADS] of every layer."""
    reach = torch.arange(-(EDGE // PATCH - 1), EDGE // PATCH)
    down, across = torch.meshgrid(reach, reach, indexing="ij")
    table = torch.zeros(down.numel() + 3, HEADS)
    for head, (row, column) in enumerate(NEIGHBOURS):
        distance = ((down + row) ** 2 + (across + column) ** 2).float()
        table[:-3, head] = -distance.clamp(max=REACH).flatten()
        table[-3:, head] = -REACH  # from and to the class token
    return table


def start(ferplus: Path, out: Path) -> None:
    beit = network()
    weights, biases = whitening(ferplus)
    with torch.no_grad():
        projection = beit.beit.embeddings.patch_embeddings.projection
        projection.weight[: len(weights)], projection.bias[: len(biases)] = weights, biases
        for name, parameter in beit.named_parameters():
            if name.endswith("relative_position_bias_table"):
                parameter.copy_(neighbourly_biases())
    beit.save_pretrained(out)
    half = [0.5, 0.5, 0.5]
    size = {"height": EDGE, "width": EDGE}
    facts = {"image_processor_type": "BeitImageProcessor", "do_resize": True, "size": size, "resample": 2}
    facts |= {"do_center_crop": False, "do_rescale": True, "rescale_factor": 1 / 255}
    facts |= {"do_normalize": True, "image_mean": half, "image_std": half}
    (out / "preprocessor_config.json").write_text(json.dumps(facts, indent=2) + "\n")


def pack(trained: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half().contiguous() for name, tensor in load_file(trained / "model.safetensors").items()}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "preprocessor_config.json", "affcli.json"):
        shutil.copy(trained / name, out / name)
    (out / "model.safetensors").chmod(0o644)
    count = sum(tensor.numel() for tensor in tensors.values())
    print(f"{count:,} parameters, {(out / 'model.safetensors').stat().st_size / 1e6:.1f} MB")


def judge(model: Path, ferplus: Path) -> None:
    """Most probable label against the most voted of the eight classes."""
    beit = AutoModelForImageClassification.from_pretrained(model, dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as cache:
        data = static_faces([("ferplus", ferplus)], size=EDGE, align=True, cache=Path(cache))
        for name, pictures in (("aligned, as extract-visual does", data.held_out), ("as they are", data.held_out_raw)):
            assert pictures is not None
            confusion = metrics.confusion(pictures.labels, _guessed(beit, pictures))
            right, all_ = np.diag(confusion), confusion.sum(1)
            figures = f"accuracy {metrics.accuracy(confusion):.1%}, macro F1 {metrics.macro_f1(confusion):.3f}"
            print(f"{name}: {figures}, {all_.sum():,} pictures")
            for label, hits, count in zip(CLASSES, right, all_, strict=True):
                print(f"  {label:10} {hits / count:6.1%} of {count:5,}")


def _guessed(beit: torch.nn.Module, pictures: Pictures) -> np.ndarray:
    parts = []
    for at in range(0, len(pictures), 256):
        values = torch.from_numpy(pictures.pixels[at : at + 256]).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.inference_mode():
            parts.append(beit(pixel_values=values).logits.argmax(1).numpy())
    return np.concatenate(parts)


if __name__ == "__main__":
    known = {"start": start, "pack": pack, "judge": judge}
    if len(sys.argv) != 4 or sys.argv[1] not in known:
        sys.exit(__doc__)
    known[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
