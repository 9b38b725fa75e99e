"""Figures of an image encoder with a head of affcli's classes on FERPlus, by affcli's own preparation of pictures.

    python examples/mini/face_figures.py MODEL FERPLUS [test]

MODEL is `mini`, a folder or a hub name; FERPLUS is a folder with fer2013new.csv and the pictures. Judged is the
validation part, with `test` the test part: the most probable class against the one with most votes, with 95 % Wilson
intervals.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from judge import wilson
from numpy.typing import NDArray

from affcli.facesets.listing import Labelled
from affcli.facesets.preparing import Preparation, Preparer
from affcli.facesets.static import list_static
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices
from affcli.schema import CLASSES
from affcli.scoring import metrics


def predicted(encoder: VisualEncoder, part: Labelled, *, align: bool) -> NDArray[np.int64]:
    """The class number of each picture, [n]."""
    preparer = Preparer(Preparation(encoder.preprocessing.input_size, align, encoder.preprocessing.resample))
    crops = [preparer.prepare(origin)[0] for origin in part.origins]
    step = encoder.batch_size
    batches = [
        np.stack([crop for crop in crops[at : at + step] if crop is not None]) for at in range(0, len(crops), step)
    ]
    return np.array([face.logits.argmax() for batch in batches for face in encoder.start(batch).faces()])


def tell(name: str, labels: NDArray[np.int64], guesses: NDArray[np.int64]) -> None:
    confusion = metrics.confusion(labels, guesses)
    right, support = np.diag(confusion), confusion.sum(1)
    low, high = wilson(int(right.sum()), len(labels))
    accuracy = f"accuracy {right.sum() / len(labels):.1%} (95 % {low:.1%} to {high:.1%})"
    print(f"{name}: {accuracy}, macro F1 {metrics.macro_f1(confusion):.3f}, {len(labels):,} pictures")
    for label, hits, count in zip(CLASSES, right, support, strict=True):
        low, high = wilson(int(hits), int(count))
        print(f"  {label:10} {hits / count:6.1%} of {count:5,} (95 % {low:.0%} to {high:.0%})")


def main(model: str, ferplus: str, part: str = "validation") -> None:
    torch.set_num_threads(1)
    encoder = VisualEncoder(model, devices.choose("cpu", "fp32"), batch_size=64, logits=True)
    listing = list_static([("ferplus", Path(ferplus))])
    pictures = listing.unused if part == "test" else listing.held_out
    tell("aligned, as extract-visual does", pictures.labels, predicted(encoder, pictures, align=True))
    tell("as they are", pictures.labels, predicted(encoder, pictures, align=False))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
