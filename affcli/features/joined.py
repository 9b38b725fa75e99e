"""The join of a visual and an audio feature table: both streams of each video, frame by frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError, UnmatchedVideosError, counted, listed
from affcli.features.side_by_side import SideBySide
from affcli.features.stream import FeatureTable, FeatureTables, Stream, StreamFeatures, no_features
from affcli.schema import STARTS, all_starts, base_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoFeatures:
    """Both streams of one video, of equal length."""

    video: str
    visual: StreamFeatures
    audio: StreamFeatures

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.visual.frames

    @property
    def time_s(self) -> NDArray[np.float64]:
        """The picture's times, and the sound table's where the picture has none."""
        return np.where(np.isnan(self.visual.time_s), self.audio.time_s, self.visual.time_s)


class JoinedFeatures:
    """A visual and an audio table (or one of them) as one collection of videos.

    The join is full and outer; a visual `X_left`, `X_right` or `X#n` without sound of its own takes the sound of `X`,
    which then makes no rows of its own unless it has pictures.
    """

    def __init__(self, visual: Stream | None, audio: Stream | None, *, sizes: tuple[int, int]) -> None:
        """`sizes` (visual, audio) are the feature sizes of a stream that has no table."""
        self._visual, self._audio = visual, audio
        self.sizes = (visual.size if visual else sizes[0], audio.size if audio else sizes[1])
        pictured = visual.videos if visual else []
        self._sound_of = {video: self._find_sound(video) for video in pictured}
        taken = set(self._sound_of.values())
        heard = [video for video in (audio.videos if audio else []) if video not in taken]
        self._unheard = [video for video in pictured if self._sound_of[video] is None] if audio else []
        self._unseen = heard if visual else []
        self._sound_of.update({video: video for video in heard})
        self.videos = sorted(self._sound_of)

    @property
    def encoders(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each stream's encoder; only the feature size of tables made elsewhere."""
        tables = {"visual": self._visual, "audio": self._audio}
        sizes = dict(zip(tables, self.sizes, strict=True))
        return {name: (table and table.encoder) or {"size": sizes[name]} for name, table in tables.items()}

    @property
    def alignment(self) -> Mapping[str, Any] | None:
        """Template and size of the face crops behind the visual features, where the table says it."""
        return self._visual.metadata.get("alignment") if self._visual else None

    @property
    def starts(self) -> dict[str, Any]:
        """What the metadata of a table made from these says of its videos' starts: nothing where all are 0."""
        streams = [stream.metadata for stream in (self._audio, self._visual) if stream is not None]
        found = all_starts(streams)
        return {STARTS: found} if found else {}

    def _find_sound(self, video: str) -> str | None:
        if self._audio is None:
            return None
        return next((name for name in (video, *base_names(video)) if name in self._audio), None)

    def check_matches(self, *, allow_unmatched: bool) -> None:
        """Says which videos stand in one of two tables only: work on the other may be unfinished.

        Raises UnmatchedVideosError where the two have no video in common, unless they need not: such tables are of
        different recordings, or name them differently.
        """
        for stream in (self._visual, self._audio):
            if isinstance(stream, SideBySide):
                stream.note_differences()
        if self._visual is None or self._audio is None:
            return
        if self._visual.videos and self._audio.videos and len(self._unheard) == len(self._visual.videos):
            names = [listed(table.videos, limit=3) for table in (self._visual, self._audio)]
            if not allow_unmatched:
                raise UnmatchedVideosError(
                    f"{self._visual.name} and {self._audio.name} have no video in common (visual: {names[0]}; audio: "
                    f"{names[1]}). Names must match; where that is intended, add --allow-unmatched."
                )
        if self._unheard:
            log.warning("%s: %s", self._audio.name, _lacks(self._unheard, self._visual.name))
        if self._unseen:
            log.warning("%s: %s", self._visual.name, _lacks(self._unseen, self._audio.name))

    def note_incomplete(self) -> None:
        """Says how many frames read so far have a feature that is not all numbers, where there are any."""
        streams = [self._visual, self._audio]
        tables = [one for stream in streams for one in (stream.tables if isinstance(stream, SideBySide) else [stream])]
        for table in tables:
            if isinstance(table, FeatureTable | FeatureTables) and table.incomplete[0]:
                broken, frames = table.incomplete
                log.warning(
                    "%s: %s of %s have a feature that holds a null, NaN or infinity; they count as missing",
                    table.name, f"{broken:,}", counted(frames, "frame"),
                )  # fmt: skip

    def frames(self, video: str) -> int:
        """How many frames a video has in the join."""
        if self._visual is not None and video in self._visual:
            sound = self._sound_of[video]
            own = self._audio.frames(video) if self._audio is not None and sound == video else 0
            return max(self._visual.frames(video), own)
        assert self._audio is not None
        return self._audio.frames(video)

    def read(self, video: str) -> VideoFeatures:
        """Both streams; a borrowed sound track is cut to the pictures' length, one of the video's own is not."""
        frames = self.frames(video)
        visual = no_features(frames, self.sizes[0])
        audio = no_features(frames, self.sizes[1])
        if self._visual is not None and video in self._visual:
            visual = self._visual.read(video).padded(frames)
        sound = self._sound_of[video]
        if self._audio is not None and sound is not None:
            found = self._audio.read(sound).padded(frames)
            audio = StreamFeatures(found.features[:frames], found.valid[:frames], found.time_s[:frames])
        return VideoFeatures(video, visual, audio)

    def __iter__(self) -> Iterator[VideoFeatures]:
        return map(self.read, self.videos)

    def close(self) -> None:
        """Closes both tables."""
        for table in (self._visual, self._audio):
            if table is not None:
                table.close()

    def __enter__(self) -> JoinedFeatures:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _lacks(videos: list[str], other: str) -> str:
    return f"has no rows of {counted(len(videos), 'video')} that {other} has: {listed(videos, limit=5)}"


def note_other_alignment(joined: JoinedFeatures, trained_with: Mapping[str, Any] | None) -> None:
    """Says so where faces were cut otherwise than the model has seen them in training."""
    note_alignment(joined.alignment, trained_with)


def note_alignment(here: Mapping[str, Any] | None, trained_with: Mapping[str, Any] | None) -> None:
    """The same of what is known of the two: template, size, scales."""
    if here and trained_with and here != trained_with:
        log.warning("faces are aligned as %s here, but the model was trained on %s.", dict(here), dict(trained_with))


def no_common_videos(joined: JoinedFeatures, labels: list[str]) -> AffcliError:
    """The error for features and labels that share no video."""
    return AffcliError(
        f"no video has both features and labels (features: {listed(joined.videos, limit=3)}; "
        f"labels: {listed(labels, limit=3)}). Names must match."
    )
