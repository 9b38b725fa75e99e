"""The small BEiT that `mini` is trained from: its design, and the weights that its training begins with.

    python examples/mini_visual_start.py FERPLUS_DIR OUT_DIR

A transformer that begins at random needs many epochs on 28,000 pictures before it looks at neighbouring patches at all.
This one begins with what is known about pictures, and nothing about faces' expressions:

- each patch is seen through the whitened principal components of patches of the training pictures;
- the table of relative positions lets all but one head of each layer look at one neighbour each (d'Ascoli et al. 2021).

What it writes is a Hugging Face folder for `affcli train-visual --model`. No label is read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BeitConfig, BeitForImageClassification

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


def main(ferplus: Path, out: Path) -> None:
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


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
