"""What a network is trained on and judged by: frames of labelled videos, and their windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli.errors import AffcliError
from affcli.features.joined import JoinedFeatures, no_common_videos
from affcli.labels.matching import matching_rows
from affcli.labels.reader import VideoLabels
from affcli.models.fusion.feature_storage import MEMORY, Storage
from affcli.models.fusion.inference import voted
from affcli.models.fusion.network import FusionNetwork
from affcli.models.fusion.windows import Frames, Windows
from affcli.models.runtime.devices import Runtime
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.scoring import metrics
from affcli.scoring.tally import TRAILING_LABELS

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # visual, its mask, audio, its mask, labels


@dataclass(frozen=True, eq=False)
class LabelledFrames:
    """Frames and their class numbers; -1 where nobody judged."""

    frames: Frames
    labels: Tensor  # [N] int64
    weights: Tensor | None = None  # [N] float32, of the frames in the loss; None: all count the same

    @classmethod
    def load(
        cls, joined: JoinedFeatures, labels: Mapping[str, VideoLabels], videos: Sequence[str], storage: Storage
    ) -> LabelledFrames:
        """Features and labels of some videos."""
        frames = Frames.load(joined, videos, storage)
        numbers = torch.full((len(frames.visual_valid),), NOT_ANNOTATED, dtype=torch.int64)
        weighted = any(labels[video].weights is not None for video in videos)
        weights = torch.ones(len(numbers)) if weighted else None
        for video, start, stop in zip(videos, frames.offsets[:-1], frames.offsets[1:], strict=True):
            # Label files may run a line or two past the last frame: nothing to learn from. (See ValidationSet.)
            known = labels[video].labels[: stop - start]
            numbers[start : start + len(known)] = torch.from_numpy(known.astype(np.int64))
            if weights is not None and (own := labels[video].weights) is not None:
                weights[start : start + len(known)] = torch.from_numpy(own[: len(known)])
        return cls(frames, numbers, weights)

    def to(self, device: torch.device) -> LabelledFrames:
        """The same on a device."""
        weights = None if self.weights is None else self.weights.to(device)
        return LabelledFrames(self.frames.to(device), self.labels.to(device), weights)

    def digest(self) -> str:
        """A fingerprint of names, features and labels."""
        labels = blake2b(np.ascontiguousarray(self.labels.cpu().numpy()).data, digest_size=16)
        if self.weights is not None:
            labels.update(self.weights.cpu().numpy().tobytes())
        return self.frames.digest() + labels.hexdigest()


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Labelled frames and the windows over them that teach something. Windows are gathered by index, batch by batch."""

    labelled: LabelledFrames
    windows: Windows

    @classmethod
    def load(
        cls,
        joined: JoinedFeatures,
        labels: Mapping[str, VideoLabels],
        *,
        window: int,
        stride: int,
        without: Sequence[str] = (),
        storage: Storage = MEMORY,
    ) -> TrainingSet:
        """Every video that has features and labels, but for those `without`."""
        videos = [video for video in joined.videos if video in labels and video not in without]
        if not videos:
            raise no_common_videos(joined, sorted(labels))
        labelled = LabelledFrames.load(joined, labels, videos, storage)
        windows = Windows.over(labelled.frames.offsets, length=window, stride=stride)
        kept = _teaching(labelled, windows)
        if not kept.any():
            raise AffcliError("no window holds a labelled frame with a face or sound: there is nothing to learn from.")
        return cls(labelled, windows[kept])

    @property
    def videos(self) -> int:
        """Number of videos."""
        return len(self.labelled.frames.videos)

    def fitted(self, device: torch.device) -> TrainingSet:
        """The set in the device's memory, where it fits into half of what is free there; else where it is."""
        if device.type != "cuda" or self.labelled.frames.bytes > torch.cuda.mem_get_info(device)[0] / 2:
            return self
        return TrainingSet(self.labelled.to(device), self.windows.to(device))

    def class_counts(self) -> NDArray[np.int64]:
        """Labelled frames of each class."""
        labels = self.labelled.labels
        return np.bincount(labels[labels >= 0].cpu().numpy(), minlength=len(CLASSES))

    def batch(self, chosen: Tensor) -> Batch:
        """Features [B, T, D] float32, masks and labels [B, T] of some windows; labels that cannot teach are -1."""
        frames = self.labelled.frames
        rows, exists = self.windows[chosen.to(self.windows.starts.device)].rows()
        visual_valid, audio_valid = frames.visual_valid[rows] & exists, frames.audio_valid[rows] & exists
        # A window with neither stream has constant logits whatever is learnt: its frames are left out of the loss.
        teaches = exists & (visual_valid | audio_valid).any(dim=1, keepdim=True)
        labels = torch.where(teaches, self.labelled.labels[rows], NOT_ANNOTATED)
        visual, audio = frames.gather(rows)
        return visual, visual_valid, audio, audio_valid, labels

    def frame_weights(self, chosen: Tensor, device: torch.device) -> Tensor | None:
        """Weights [B, T] of the frames of some windows; None where all count the same."""
        weights = self.labelled.weights
        if weights is None:
            return None
        rows, _ = self.windows[chosen.to(self.windows.starts.device)].rows()
        return weights[rows].to(device, non_blocking=True)


def _teaching(labelled: LabelledFrames, windows: Windows) -> Tensor:
    """[W]: the window holds a labelled frame, and in some stream a valid one."""
    rows, exists = windows.rows()
    valid = (labelled.frames.visual_valid | labelled.frames.audio_valid)[rows] & exists
    return ((labelled.labels[rows] >= 0) & exists).any(dim=1) & valid.any(dim=1)


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """Judges a network the way it is used: windows, soft voting, F1 over the frames of all videos."""

    frames: Frames
    row: NDArray[np.int64]  # [m]: the frame whose prediction each of `truth` is compared to
    truth: NDArray[np.int8]  # [m]: class numbers

    @classmethod
    def load(
        cls, joined: JoinedFeatures, labels: Mapping[str, VideoLabels], storage: Storage = MEMORY
    ) -> ValidationSet:
        """The videos that have both features and labels. Raises AffcliError where there are none."""
        videos = [video for video in joined.videos if video in labels]
        if not videos:
            raise no_common_videos(joined, sorted(labels))
        frames = Frames.load(joined, videos, storage)
        return cls(frames, *_judged_rows(frames, labels))

    def confusion(self, network: FusionNetwork, run: Runtime, *, stride: int, batch_size: int) -> NDArray[np.int64]:
        """Labelled frames by true and predicted class, [8, 8]."""
        network.eval()
        window = network.config.window
        logits = voted(network, self.frames, run, window=window, stride=stride, batch_size=batch_size)
        return metrics.confusion(self.truth, logits[self.row].argmax(axis=1))

    def digest(self) -> str:
        """A fingerprint of names, features and labels."""
        judged = blake2b(self.row.tobytes() + self.truth.tobytes(), digest_size=16)
        return self.frames.digest() + judged.hexdigest()


def _judged_rows(frames: Frames, labels: Mapping[str, VideoLabels]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Rows and classes of all labelled frames, joined as `affcli score` does: lines past the last frame borrow its
    prediction.
    """
    rows, classes = [], []
    for video, start, stop in zip(frames.videos, frames.offsets[:-1], frames.offsets[1:], strict=True):
        own = labels[video].labels
        wanted = np.flatnonzero(own != NOT_ANNOTATED) + 1
        row = matching_rows(wanted, np.arange(1, stop - start + 1), trailing=TRAILING_LABELS)
        rows.append(row[row >= 0] + start)
        classes.append(own[wanted[row >= 0] - 1])
    return np.concatenate(rows), np.concatenate(classes)
