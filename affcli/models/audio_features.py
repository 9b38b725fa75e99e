"""Sound → rows of an audio feature table: the mean of the encoder's steps around each frame's centre.

Works through a sound track piece by piece; what is held does not grow with its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.extraction import Recording
from affcli.features import Stream, open_features
from affcli.inputs import MediaInput
from affcli.media.audio import SoundPiece, open_sound
from affcli.media.ffmpeg import MediaError
from affcli.media.video import frame_centres, read_frame_times
from affcli.models.encoders import AudioEncoder, EncoderCard
from affcli.resume import PartWriter, StorageError
from affcli.schema import audio_schema, base_names

Floats = NDArray[np.float64]
Features = NDArray[np.float32]

NEAREST_S: Final = 0.02  # where no step lies inside the context, the nearest one may be this far away
_TOLERANCE_S: Final = 1e-9  # a step exactly at the context's edge is inside, whatever the rounding
_FLOAT16_MAX: Final = float(np.finfo(np.float16).max)
_ROWS_AT_ONCE: Final = 4096
_NAME: Final = re.compile(r"mean of last (\d+) hidden layers, mean of ±([\d.e+-]+) s")


def named_with_context(card: EncoderCard, context_s: float) -> dict[str, Any]:
    """The encoder's card for a table of frames: the context is a part of what the feature is."""
    return {**card.as_json(), "feature": f"{card.feature}, mean of ±{context_s:g} s"}


def layers_and_context(feature: str) -> tuple[int, float] | None:
    """How many layers, and how many seconds either side, a feature so named is the mean of; None for other names."""
    found = _NAME.fullmatch(feature)
    return None if found is None else (int(found[1]), float(found[2]))


class Frames(Protocol):
    """The frames of one video that get a row, counted from 0."""

    def times_s(self, start: int, stop: int) -> Floats: ...

    def centres_s(self, start: int, stop: int) -> Floats: ...

    def before(self, time_s: float) -> int:
        """How many frames have their centre before a time up to which there is sound."""
        ...

    def total(self, sound_end_s: float) -> int: ...

    @property
    def known_s(self) -> list[float] | None:
        """All the frames' times, where they were looked up."""
        ...


class ShownFrames:
    """The frames of a picture, by their presentation times [n]; sound before and after them has no rows."""

    def __init__(self, times_s: Floats) -> None:
        self._times_s, self._centres_s = times_s, frame_centres(times_s)

    def times_s(self, start: int, stop: int) -> Floats:
        return self._times_s[start:stop]

    def centres_s(self, start: int, stop: int) -> Floats:
        return self._centres_s[start:stop]

    def before(self, time_s: float) -> int:
        return int(np.searchsorted(self._centres_s, time_s))

    def total(self, sound_end_s: float) -> int:
        return len(self._times_s)

    @property
    def known_s(self) -> list[float]:
        return [float(time_s) for time_s in self._times_s]


@dataclass(frozen=True)
class RegularFrames:
    """Frames of sound without a picture: round(duration · fps) of them, centres at (frame − ½) / fps."""

    fps: float

    def times_s(self, start: int, stop: int) -> Floats:
        return np.arange(start, stop, dtype=np.float64) / self.fps

    def centres_s(self, start: int, stop: int) -> Floats:
        return (np.arange(start, stop, dtype=np.float64) + 0.5) / self.fps

    def before(self, time_s: float) -> int:
        return max(0, int(np.ceil(time_s * self.fps - 0.5)))

    def total(self, sound_end_s: float) -> int:
        return round(sound_end_s * self.fps)

    @property
    def known_s(self) -> None:
        return None


class FrameSource:
    """Finds the frames of each input: in a feature table, in the picture beside the sound, or at a frame rate."""

    def __init__(self, *, fps: float | None, table: str | None) -> None:
        self._fps = fps
        self._table = open_features(table) if table else None

    @property
    def facts(self) -> dict[str, Any]:
        """What a table's metadata says of it (no path)."""
        return {"fps": self._fps, "frames_from": "a table" if self._table else "the files"}

    def beside(self, item: MediaInput) -> bytes:
        """What the item's rows depend on besides its own content: the times that the table lists."""
        return self._listed_times(item.video, self._table).tobytes() if self._table else b""

    def __call__(self, item: MediaInput) -> Frames:
        if self._table is not None:
            return ShownFrames(self._listed_times(item.video, self._table))
        try:
            return ShownFrames(read_frame_times(item.path))
        except MediaError as error:
            if self._fps is not None:
                return RegularFrames(self._fps)
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


class StepMeans:
    """For each frame, in order, the mean of the encoder's steps within ±context of its centre.

    Where there is none, the nearest step within 20 ms; else the frame has no sound.
    """

    def __init__(self, size: int, context_s: float) -> None:
        self._context_s = context_s
        self.reach_s = max(context_s, NEAREST_S) + _TOLERANCE_S
        self._times_s: Floats = np.empty(0)
        self._steps: Features = np.empty((0, size), np.float32)

    def add(self, times_s: Floats, steps: Features) -> None:
        """Appends steps [k, size] at their times [k], later than all before."""
        self._times_s = np.concatenate([self._times_s, times_s])
        self._steps = np.concatenate([self._steps, steps])

    def forget_before(self, time_s: float) -> None:
        """No frame that is still to come reaches back further than this."""
        first = int(np.searchsorted(self._times_s, time_s))
        self._times_s, self._steps = self._times_s[first:], self._steps[first:]

    @property
    def known_until_s(self) -> float:
        """The last step's time; frames that reach no further can be decided."""
        return float(self._times_s[-1]) if len(self._times_s) else -np.inf

    def means(self, centres_s: Floats) -> tuple[Features, NDArray[np.bool_]]:
        """Features [n, size] and which of them there are [n], for centres in ascending order."""
        if not len(self._times_s):
            return np.zeros((len(centres_s), self._steps.shape[1]), np.float32), np.zeros(len(centres_s), np.bool_)
        first = np.searchsorted(self._times_s, centres_s - self._context_s - _TOLERANCE_S)
        past = np.searchsorted(self._times_s, centres_s + self._context_s + _TOLERANCE_S, side="right")
        nearest = self._nearest(centres_s)
        alone = (past <= first) & (np.abs(self._times_s[nearest] - centres_s) <= NEAREST_S + _TOLERANCE_S)
        first, past = np.where(alone, nearest, first), np.where(alone, nearest + 1, past)
        heard = past > first
        sums = np.concatenate([np.zeros((1, self._steps.shape[1])), np.cumsum(self._steps, axis=0, dtype=np.float64)])
        means = (sums[past] - sums[first]) / np.maximum(past - first, 1)[:, None]
        return np.where(heard[:, None], means, 0).astype(np.float32), heard

    def _nearest(self, centres_s: Floats) -> NDArray[np.int64]:
        right = np.searchsorted(self._times_s, centres_s).clip(0, len(self._times_s) - 1)
        left = (right - 1).clip(0)
        closer = np.abs(self._times_s[left] - centres_s) <= np.abs(self._times_s[right] - centres_s)
        return np.where(closer, left, right)


def extract(
    encoder: AudioEncoder,
    frames_of: Callable[[MediaInput], Frames],
    items: Sequence[MediaInput],
    recorder: Recording,
    *,
    context_s: float,
    advance: Callable[[int, int], None],
) -> None:
    """Encodes the sound of each input and leaves a row for every frame with the recorder; `advance(inputs, frames)`."""
    if items:
        encoder.card.note_random_weights()
    for item in items:
        extract_one(encoder, frames_of, item, recorder, context_s=context_s, advance=advance)
        advance(1, 0)


def extract_one(
    encoder: AudioEncoder,
    frames_of: Callable[[MediaInput], Frames],
    item: MediaInput,
    recorder: Recording,
    *,
    context_s: float,
    advance: Callable[[int, int], None],
) -> None:
    """The same for one input, which is not counted."""
    try:
        _extract_one(encoder, frames_of, item, recorder, context_s=context_s, advance=advance)
    except StorageError:  # no fault of the input's
        raise
    except (AffcliError, OSError) as error:
        recorder.fail(item, str(error))


def _extract_one(
    encoder: AudioEncoder,
    frames_of: Callable[[MediaInput], Frames],
    item: MediaInput,
    recorder: Recording,
    *,
    context_s: float,
    advance: Callable[[int, int], None],
) -> None:
    part = recorder.begin(item)
    with open_sound(item.path, sample_rate_hz=encoder.preprocessing.sample_rate_hz) as sound:
        frames, row = _begun(item, frames_of, part)
        means = StepMeans(encoder.card.size, context_s)
        needed_from_s = _reached_from_s(frames, row, means)
        for piece in sound:
            # Steps that no row to come reaches back to were encoded when their rows were made.
            if sound.end_s + encoder.steps.field / encoder.steps.sample_rate_hz < needed_from_s:
                continue
            means.add(*_proper_steps(encoder, piece))
            ready = max(row, frames.before(means.known_until_s - means.reach_s))
            for rows in _tables(item.video, frames, means, row, ready):
                part.write(item.video, rows)
            advance(0, ready - row)
            row = ready
            means.forget_before(_reached_from_s(frames, row, means))
            if part.due:
                _keep(part, frames, row)
        total = frames.total(sound.end_s)
        for rows in _tables(item.video, frames, means, row, total):
            part.write(item.video, rows)
        advance(0, total - row)
        if total == 0:
            raise AffcliError(f"{item.path}: has not a single frame of sound.")
        recorder.finish(item, sound.problem)


def _begun(item: MediaInput, frames_of: Callable[[MediaInput], Frames], part: PartWriter) -> tuple[Frames, int]:
    """The item's frames, and how many of them have their row already."""
    if part.states:
        times_s = part.states[0]["times_s"]
        return frames_of(item) if times_s is None else ShownFrames(np.array(times_s)), part.states[-1]["rows"]
    frames = frames_of(item)
    if part.due:  # to know the frames of a long video, its whole picture was decoded
        _keep(part, frames, 0)
    return frames, 0


def _keep(part: PartWriter, frames: Frames, row: int) -> None:
    part.keep({"rows": row, "times_s": None if part.states else frames.known_s})


def _reached_from_s(frames: Frames, row: int, means: StepMeans) -> float:
    """The earliest time that frame `row` or a later one depends on."""
    return float(frames.centres_s(row, row + 1).min(initial=np.inf)) - means.reach_s


def _proper_steps(encoder: AudioEncoder, piece: SoundPiece) -> tuple[Floats, Features]:
    """Times and vectors of the steps that begin in the piece proper; those of its context are dropped."""
    steps = encoder.encode(piece.samples)
    begins = np.arange(len(steps)) * encoder.steps.hop
    kept = (begins >= piece.keep_from) & (begins < piece.keep_to)
    return piece.start_s + encoder.steps.centres_s(len(steps))[kept], steps[kept]


def _tables(video: str, frames: Frames, means: StepMeans, start: int, stop: int) -> Iterator[pa.Table]:
    """The rows of frames `start` to `stop`, a few thousand at a time."""
    for first in range(start, stop, _ROWS_AT_ONCE):
        last = min(first + _ROWS_AT_ONCE, stop)
        features, heard = means.means(frames.centres_s(first, last))
        half = features.clip(-_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
        size = half.shape[1]
        columns = [
            pa.repeat(pa.scalar(video, pa.string()), last - first),
            pa.array(np.arange(first + 1, last + 1, dtype=np.int32)),
            pa.array(frames.times_s(first, last)),
            pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), size, mask=pa.array(~heard)),
        ]
        yield pa.Table.from_arrays(columns, schema=audio_schema(size))
