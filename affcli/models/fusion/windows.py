"""Frames of many videos in one place, and the sliding windows over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli.features.joined import JoinedFeatures, VideoFeatures
from affcli.models.fusion.feature_storage import Rows, Storage

_ROWS_AT_ONCE = 2_048  # read together by the fingerprint


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
    stored: tuple[Rows, ...] = ()  # where the features lie

    @classmethod
    def load(cls, joined: JoinedFeatures, videos: Sequence[str], storage: Storage) -> Frames:
        """Reads the videos, one at a time, into room that is taken once."""
        offsets = np.concatenate([[0], np.cumsum([joined.frames(video) for video in videos])]).astype(np.int64)
        total = int(offsets[-1])
        stored = storage.room(total, joined.sizes)
        valid = torch.zeros(2, total, dtype=torch.bool)
        for video, start in zip(videos, offsets[:-1].tolist(), strict=True):
            found = joined.read(video)
            for rows, mask, stream in zip(stored, valid, (found.visual, found.audio), strict=True):
                rows.put(start, stream.features)
                mask[start : start + stream.frames] = torch.from_numpy(stream.valid)
        for rows in stored:
            rows.finish()
        visual, audio = (rows.tensor for rows in stored)
        return cls(tuple(videos), offsets, visual, valid[0], audio, valid[1], stored)

    @classmethod
    def of(cls, video: VideoFeatures) -> Frames:
        """The frames of one video, without a copy."""
        visual, audio = video.visual, video.audio
        features, valid = map(torch.from_numpy, (visual.features, visual.valid))
        sound, heard = map(torch.from_numpy, (audio.features, audio.valid))
        return cls((video.video,), np.array([0, video.frames]), features, valid, sound, heard)

    def parts(self, most: int) -> Iterator[Frames]:
        """Consecutive videos with at most `most` frames together, or one that has more; views, no copies."""
        first = 0
        while first < len(self.videos):
            fitting = int(np.searchsorted(self.offsets, self.offsets[first] + most, side="right")) - 1
            last = max(fitting, first + 1)
            yield self._part(first, last)
            first = last

    def _part(self, first: int, last: int) -> Frames:
        offsets = self.offsets[first : last + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        visual, audio = self.visual[rows], self.audio[rows]
        valid = self.visual_valid[rows], self.audio_valid[rows]
        return Frames(self.videos[first:last], offsets - offsets[0], visual, valid[0], audio, valid[1], self.stored)

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams' features of some rows, in full precision: [*rows, Dv] and [*rows, Da]."""
        found = self.visual[rows].float(), self.audio[rows].float()
        self.release()
        return found

    def release(self) -> None:
        """Lets go of features that have been read from disk."""
        for rows in self.stored:
            rows.release()

    def to(self, device: torch.device) -> Frames:
        """The same on a device; what was held here is released."""
        visual, visual_valid, audio, audio_valid = (tensor.to(device) for tensor in self._tensors)
        self.release()
        return Frames(self.videos, self.offsets, visual, visual_valid, audio, audio_valid)

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        return self.visual, self.visual_valid, self.audio, self.audio_valid

    @property
    def bytes(self) -> int:
        """Size of features and masks, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors)

    def digest(self) -> str:
        """A fingerprint of names and content."""
        state = blake2b(digest_size=16)
        state.update("\0".join(self.videos).encode())
        state.update(self.offsets.tobytes())
        for tensor in self._tensors:
            for part in torch.split(tensor, _ROWS_AT_ONCE):
                state.update(np.ascontiguousarray(part.cpu().numpy()).data)
                self.release()
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
        """The same on a device."""
        return Windows(self.length, self.starts.to(device), self.stops.to(device))

    def rows(self) -> tuple[Tensor, Tensor]:
        """Row numbers [W, length] and which of them exist; padding repeats the video's last row."""
        rows = self.starts[:, None] + torch.arange(self.length, device=self.starts.device)
        last = self.stops[:, None] - 1
        return torch.minimum(rows, last), rows <= last
