"""Joined features of one video → its frame table: what `predict`, `vote` and `smooth` do one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.features.joined import VideoFeatures
from affcli.models.fusion.inference import windowed_logits
from affcli.models.fusion.network import FusionNetwork
from affcli.models.runtime.devices import Runtime
from affcli.predictions.naming import Naming
from affcli.predictions.smooth import Filter, smooth_logits
from affcli.predictions.video_rows import VideoRows
from affcli.predictions.vote import means_of
from affcli.schema import BOX_COLUMNS

FACE_COLUMNS: Final = ("score", *BOX_COLUMNS)
# What a frame's row holds beside its key, its logits and its label.
CARRIED: Final = (
    *(pa.field(name, pa.bool_()) for name in ("face", "audio")),
    pa.field("speech", pa.float32()),
    pa.field("votes", pa.int32()),
    *(pa.field(name, pa.float32()) for name in FACE_COLUMNS),
)
_WINDOWS_AT_ONCE: Final = 64


@dataclass(frozen=True)
class FrameNamer:
    """A network on its device, windows, a filter; `schema` is that of the frame tables, its own columns CARRIED."""

    network: FusionNetwork
    run: Runtime
    sliding: Mapping[str, int]  # window and stride
    smoothing: Filter
    naming: Naming
    schema: pa.Schema

    def frames_of(self, features: VideoFeatures, faces: pa.Table | None, speech: pa.Table | None) -> pa.Table:
        """A row a frame; `faces` holds FACE_COLUMNS for the frames of the picture, `speech` that column of the sound's.

        Sound in which nobody speaks is none for the network.
        """
        spoken = _speech_of(features, speech)
        heard = replace(features, audio=replace(features.audio, valid=spoken >= self.naming.min_speech))
        found = windowed_logits(self.network, heard, self.run, **self.sliding, batch_size=_WINDOWS_AT_ONCE)
        missing = int(np.isnan(found.logits).sum())
        windowed = VideoRows(features.video, found.frame.astype(np.int64), found.logits, pa.table({}), missing=missing)
        means = means_of(windowed, features.video)
        mean = means.mean.astype(np.float32)  # as vote writes it
        rows = VideoRows(features.video, means.frame, mean, _carried(features, faces, spoken, means.votes))
        return smooth_logits(rows, self.smoothing, self.schema, features.video)


def _speech_of(features: VideoFeatures, speech: pa.Table | None) -> NDArray[np.float32]:
    """The probability of speech in each frame, NaN where there is no sound; the sound may end before the picture."""
    found = np.full(features.frames, np.nan, np.float32)
    if speech is not None:
        own = speech["speech"].to_numpy()[: features.frames]
        found[: len(own)] = own
    return np.where(features.audio.valid, found, np.float32(np.nan))


def _carried(
    features: VideoFeatures, faces: pa.Table | None, spoken: NDArray[np.float32], votes: NDArray[np.int64]
) -> pa.Table:
    """The columns CARRIED and the times, of all frames: each stands in some window, so each has a row."""
    time_s = features.time_s
    columns = {
        "time_s": pa.array(time_s, mask=np.isnan(time_s)),
        "face": pa.array(features.visual.valid),
        "audio": pa.array(features.audio.valid),
        "speech": pa.array(spoken, from_pandas=True),
        "votes": pa.array(votes.astype(np.int32)),
    }
    for name in FACE_COLUMNS:
        known = [] if faces is None else faces[name].chunks
        beyond = features.frames - (0 if faces is None else faces.num_rows)  # frames of sound after the picture's end
        columns[name] = pa.chunked_array([*known, pa.nulls(beyond, pa.float32())])
    return pa.table(columns)
