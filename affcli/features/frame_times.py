"""Which frames of a video get a row of sound: of a feature table, of the picture beside the sound, or of a rate."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.features.stream import Stream, open_features
from affcli.files.inputs import MediaInput
from affcli.media.ffmpeg import MediaError
from affcli.media.hearing import FrameReader, Frames, MoreFrames, RegularFrames, ShownFrames
from affcli.media.picture_track import NO_PICTURE
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.schema import base_names

Floats = NDArray[np.float64]


class FrameSource:
    """A Source: finds frames in a feature table, in the picture beside the sound, or at a frame rate."""

    def __init__(self, *, fps: float | None, table: str | None, choice: TrackChoice = FILES_OWN) -> None:
        self._fps, self._choice = fps, choice
        self._table = open_features(table) if table else None

    @property
    def facts(self) -> dict[str, Any]:
        """What a table's metadata says of it (no path)."""
        return {"fps": self._fps, "frames_from": "a table" if self._table else "the files"}

    def beside(self, item: MediaInput) -> bytes:
        """What the item's rows depend on besides its own content: the times that the table lists."""
        return self._listed_times(item.video, self._table).tobytes() if self._table else b""

    def open(
        self, item: MediaInput, known: MoreFrames, *, has_picture: bool = True
    ) -> tuple[Frames, AbstractContextManager[FrameReader | None]]:
        """The frames of an input, and a context in which those still unknown are read.

        Where it is known that there is no picture, none is looked for: that saves a start of ffmpeg for each input.
        """
        if self._table is not None:
            return ShownFrames(self._listed_times(item.video, self._table)), nullcontext()
        frames = ShownFrames(known.times_s, complete=known.complete)
        if known.complete and len(known.times_s):  # none are known where they follow from a rate
            return frames, nullcontext()
        try:
            if not has_picture and self._choice.video is None:
                raise MediaError(item.path, NO_PICTURE)
            return frames, FrameReader(item, len(known.times_s), self._choice)
        except MediaError as error:
            if self._fps is not None:
                return RegularFrames(self._fps), nullcontext()
            raise AffcliError(f"{error}; for sound without a picture give --fps F or --frames-from TABLE.") from error

    def _listed_times(self, video: str, table: Stream) -> Floats:
        """Times of the video, or of the longest of its parts (`X_left`, `X_right`, `X#1`)."""
        names = [video] if video in table else [name for name in table.videos if video in base_names(name)]
        if not names:
            raise AffcliError(f"{table.name} (--frames-from) has no video '{video}'.")
        times_s = table.read_times(max(names, key=table.frames))
        if np.isnan(times_s).any():
            raise AffcliError(f"{table.name} (--frames-from) has no times for '{video}': leave --frames-from away.")
        return times_s
