"""Frames of videos → logits of their windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli.features.joined import VideoFeatures
from affcli.models.fusion.network import FusionNetwork
from affcli.models.fusion.windows import Frames, Windows
from affcli.models.runtime.devices import Runtime
from affcli.predictions.frame_sums import FrameSums

_FRAMES_AT_ONCE = 16_384  # projected together


@dataclass(frozen=True)
class WindowedLogits:
    """Logits of every frame of every window, padding left out; a row for each, in order of window, then frame."""

    window: NDArray[np.int32]  # [n]: first frame (1-based) of the row's window
    frame: NDArray[np.int32]  # [n], 1-based
    logits: NDArray[np.float32]  # [n, classes]


def windowed_logits(
    network: FusionNetwork, video: VideoFeatures, run: Runtime, *, window: int, stride: int, batch_size: int
) -> WindowedLogits:
    """Runs the network, which is on the runtime's device and in eval mode, over all windows of one video."""
    frames = Frames.of(video)
    window = _enough(network, window, video.frames)
    windows = Windows.over(frames.offsets, length=window, stride=stride)
    parts = list(run_windows(network, frames, windows, run, batch_size=batch_size))
    rows, exists = (part.numpy() for part in windows.rows())
    logits = torch.cat([part for _, part in parts]).numpy()
    first = np.broadcast_to(windows.starts.numpy()[:, None], rows.shape)
    return WindowedLogits((first[exists] + 1).astype(np.int32), (rows[exists] + 1).astype(np.int32), logits[exists])


def _enough(network: FusionNetwork, window: int, longest: int) -> int:
    """The window length, but no more padding than training knows where videos are shorter."""
    return min(window, max(longest, network.config.window))


def run_windows(
    network: FusionNetwork, frames: Frames, windows: Windows, run: Runtime, *, batch_size: int
) -> Iterator[tuple[Windows, Tensor]]:
    """Batches of windows and their logits [B, T, classes] float32, on the CPU. A frame is projected once for all."""
    visual_valid, audio_valid = frames.visual_valid.to(run.device), frames.audio_valid.to(run.device)
    with run.inference():
        visual = _projected(network.visual.project.frames, frames.visual, visual_valid)
        audio = _projected(network.audio.project.frames, frames.audio, audio_valid)
    frames.release()
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        rows, exists = batch.to(run.device).rows()
        with run.inference():
            logits = network.fuse(visual[rows], visual_valid[rows] & exists, audio[rows], audio_valid[rows] & exists)
        yield batch, logits.cpu()


def voted(
    network: FusionNetwork, frames: Frames, run: Runtime, *, window: int, stride: int, batch_size: int
) -> NDArray[np.float64]:
    """The mean of the logits of all windows that cover a frame, [frames, classes]: predict and vote in one.

    Some thousand frames at a time: what is held beside the result does not grow with their number.
    """
    how = {"window": window, "stride": stride, "batch_size": batch_size}
    return np.concatenate([_voted(network, part, run, **how) for part in frames.parts(_FRAMES_AT_ONCE)])


def _voted(
    network: FusionNetwork, frames: Frames, run: Runtime, *, window: int, stride: int, batch_size: int
) -> NDArray[np.float64]:
    window = _enough(network, window, int(np.diff(frames.offsets).max()))
    windows = Windows.over(frames.offsets, length=window, stride=stride)
    sums = FrameSums(network.config.classes, len(frames.visual_valid))
    for batch, logits in run_windows(network, frames, windows, run, batch_size=batch_size):
        rows, exists = batch.rows()
        sums.add(rows[exists].numpy(), logits[exists].numpy(), complete=True)
    return sums.mean()


def _projected(project: object, features: Tensor, valid: Tensor) -> Tensor:
    """All frames [N, d], some thousands at a time: what is held in full precision stays small."""
    assert callable(project)
    parts = [
        project(features[first : first + _FRAMES_AT_ONCE].to(valid.device), valid[first : first + _FRAMES_AT_ONCE])
        for first in range(0, len(valid), _FRAMES_AT_ONCE)
    ]
    return torch.cat(parts)
