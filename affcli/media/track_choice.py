"""Which of a media file's tracks are read, where it has several, and how fast a bare stream is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

AudioTrack = int | Literal["first", "loudest"]

ASSUMED_FPS: Final = 25.0  # of streams that carry no times, as ffmpeg assumes for raw pictures


@dataclass(frozen=True)
class TrackChoice:
    """What the user chose; the defaults leave it to the file.

    `video` counts the picture tracks from 1, cover pictures included; None takes the one flagged as default, else the
    longest. `audio` counts the sound tracks from 1. `fps` is the frame rate of streams without time stamps (raw H.264,
    H.265 and MJPEG); None assumes 25.
    """

    video: int | None = None
    audio: AudioTrack = "first"
    fps: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a table's metadata says of it; nothing where nothing was chosen."""
        video = {} if self.video is None else {"video_track": self.video}
        return video if self.audio == "first" else {**video, "audio_track": self.audio}


FILES_OWN: Final = TrackChoice()
