"""Frames of many videos in one place, and the sliding windows over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli.joins import JoinedFeatures, VideoFeatures


def window_starts(frames: int, window: int, stride: int) -> NDArray[np.int64]:
    """Row at which each window starts: every `stride` rows, the last one flush with the end so that all are covered.

    A video no longer than one window has one, which begins at its first row and is padded.
    """
    last = max(0, frames - window)
    starts = np.arange(0, last + 1, stride)
    return starts if starts[-1] == last else np.append(starts, last)


@dataclass(frozen=True, eq=False)
class Frames:
    """All frames of some videos, one after the other, each feature once and in half precision.

    Video i has the rows `offsets[i]` to `offsets[i + 1]`.
    """

    videos: tuple[str, ...]
    offsets: NDArray[np.int64]  # [videos + 1]
    visual: Tensor  # [N, Dv] float16
    visual_valid: Tensor  # [N] bool
    audio: Tensor  # [N, Da] float16
    audio_valid: Tensor  # [N] bool

    @classmethod
    def load(cls, joined: JoinedFeatures, videos: Sequence[str]) -> Frames:
        """Reads the videos, one at a time, into memory that is taken once."""
        offsets = np.concatenate([[0], np.cumsum([joined.frames(video) for video in videos])]).astype(np.int64)
        total, (visual_size, audio_size) = int(offsets[-1]), joined.sizes
        frames = cls(
            tuple(videos),
            offsets,
            torch.zeros(total, visual_size, dtype=torch.float16),
            torch.zeros(total, dtype=torch.bool),
            torch.zeros(total, audio_size, dtype=torch.float16),
            torch.zeros(total, dtype=torch.bool),
        )
        for video, start in zip(videos, offsets[:-1].tolist(), strict=True):
            frames._put(start, joined.read(video))
        return frames

    @classmethod
    def of(cls, video: VideoFeatures) -> Frames:
        """The frames of one video, without a copy."""
        streams = (part for s in (video.visual, video.audio) for part in (s.features, s.valid))
        tensors = map(torch.from_numpy, streams)
        return cls((video.video,), np.array([0, video.frames]), *tensors)

    def _put(self, start: int, video: VideoFeatures) -> None:
        rows = slice(start, start + video.frames)
        self.visual[rows] = torch.from_numpy(video.visual.features)
        self.visual_valid[rows] = torch.from_numpy(video.visual.valid)
        self.audio[rows] = torch.from_numpy(video.audio.features)
        self.audio_valid[rows] = torch.from_numpy(video.audio.valid)

    def to(self, device: torch.device) -> Frames:
        tensors = (self.visual, self.visual_valid, self.audio, self.audio_valid)
        return Frames(self.videos, self.offsets, *(tensor.to(device) for tensor in tensors))

    @property
    def bytes(self) -> int:
        tensors = (self.visual, self.visual_valid, self.audio, self.audio_valid)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def digest(self) -> str:
        """A fingerprint of names and content."""
        state = blake2b(digest_size=16)
        state.update("\0".join(self.videos).encode())
        state.update(self.offsets.tobytes())
        for tensor in (self.visual, self.visual_valid, self.audio, self.audio_valid):
            state.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        return state.hexdigest()


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows over `Frames`: window i has the rows `starts[i]` to `starts[i] + length`, cut at `stops[i]`."""

    length: int
    starts: Tensor  # [W] int64
    stops: Tensor  # [W] int64: the end of the window's video; rows from there on are padding

    @classmethod
    def over(cls, offsets: NDArray[np.int64], *, length: int, stride: int) -> Windows:
        """All windows of all videos; none crosses from one video into the next."""
        starts, stops = [], []
        for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            own = window_starts(end - begin, length, stride) + begin
            starts.append(own)
            stops.append(np.full(len(own), end))
        return cls(length, torch.from_numpy(np.concatenate(starts)), torch.from_numpy(np.concatenate(stops)))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, chosen: Tensor | slice) -> Windows:
        return Windows(self.length, self.starts[chosen], self.stops[chosen])

    def to(self, device: torch.device) -> Windows:
        return Windows(self.length, self.starts.to(device), self.stops.to(device))

    def rows(self) -> tuple[Tensor, Tensor]:
        """Row numbers [W, length] and which of them exist; padding repeats the video's last row."""
        rows = self.starts[:, None] + torch.arange(self.length, device=self.starts.device)
        last = self.stops[:, None] - 1
        return torch.minimum(rows, last), rows <= last
