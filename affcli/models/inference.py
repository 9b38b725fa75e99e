"""Features of a video → logits of its windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from affcli.features import VideoFeatures
from affcli.models.fusion import FusionNetwork
from affcli.models.runtime import Runtime
from affcli.models.windows import window_rows, window_starts


@dataclass(frozen=True)
class WindowedLogits:
    """Logits of every frame of every window, padding left out; a row for each, in order of window, then frame."""

    window: NDArray[np.int32]  # [n]: first frame (1-based) of the row's window
    frame: NDArray[np.int32]  # [n], 1-based
    logits: NDArray[np.float32]  # [n, classes]

    def voted(self, frames: int) -> NDArray[np.float64]:
        """The mean over the windows that cover each frame: [frames, classes] (soft voting)."""
        rows = self.frame - 1
        votes = np.bincount(rows, minlength=frames)[:, None]
        sums = [np.bincount(rows, weights=column, minlength=frames) for column in self.logits.T]
        return np.stack(sums, axis=1) / votes


def windowed_logits(
    network: FusionNetwork, video: VideoFeatures, run: Runtime, *, window: int, stride: int, batch_size: int
) -> WindowedLogits:
    """Runs the network, which is on the runtime's device and in eval mode, over all windows of one video."""
    starts = window_starts(video.frames, window, stride)
    rows, exists = window_rows(starts, window, video.frames)
    streams = [torch.from_numpy(stream).to(run.device) for stream in (video.visual.features, video.audio.features)]
    masks = [torch.from_numpy(stream.valid).to(run.device) for stream in (video.visual, video.audio)]
    logits = np.empty((*rows.shape, network.config.classes), np.float32)
    with run.inference():
        for first in range(0, len(rows), batch_size):
            batch = slice(first, first + batch_size)
            at = torch.from_numpy(rows[batch]).to(run.device)
            there = torch.from_numpy(exists[batch]).to(run.device)
            visual, audio = (stream[at].float() for stream in streams)
            visual_valid, audio_valid = (mask[at] & there for mask in masks)
            logits[batch] = network(visual, visual_valid, audio, audio_valid).cpu().numpy()
    first_frames = np.repeat(starts + 1, exists.sum(axis=1)).astype(np.int32)
    return WindowedLogits(first_frames, (rows[exists] + 1).astype(np.int32), logits[exists])
