"""Sound → rows of an audio feature table: the mean of the encoder's steps around each frame's centre.

Works through a sound track piece by piece; what is held does not grow with its length.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import AffcliError, counted
from affcli.files.inputs import MediaInput
from affcli.jobs.job import Ended
from affcli.jobs.parts import Parts
from affcli.jobs.progress import Progress
from affcli.jobs.stream_part import PartWriter
from affcli.media.hearing import Closed, Floats, Frames, Hear, Heard, MoreFrames, Opened, Source
from affcli.media.sightings import in_background
from affcli.media.sound_beside import SoundsBeside
from affcli.media.sound_placing import SoundPiece
from affcli.media.speech import SpeechDetector, centres_s
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.loading import EncoderCard
from affcli.models.extract.event_loop import EventLoop
from affcli.schema import audio_schema

Features = NDArray[np.float32]

NEAREST_S: Final = 0.02  # where no step lies inside the context, the nearest one may be this far away
_TOLERANCE_S: Final = 1e-9  # a step exactly at the context's edge is inside, whatever the rounding
_FLOAT16_MAX: Final = float(np.finfo(np.float16).max)
_ROWS_AT_ONCE: Final = 4096
SPEECH_CONTEXT_S: Final = 0.5  # speech is averaged over this much either side of a frame's centre
_AHEAD: Final = 4  # pieces decoded before they are encoded
_CONTEXT: Final = re.compile(r"hidden layers, mean of ±([\d.e+-]+) s")
_NUMBERS_AT_ONCE: Final = 4096 * 1024  # of features; longer ones are made into rows fewer at a time


def named_with_context(card: EncoderCard, context_s: float) -> dict[str, Any]:
    """The encoder's card for a table of frames: the context is a part of what the feature is."""
    return {**card.as_json(), "feature": f"{card.feature}, mean of ±{context_s:g} s"}


def context_of_card(card: Mapping[str, Any]) -> float | None:
    """How many seconds either side the features of a card are the mean of; None where it does not tell."""
    found = _CONTEXT.search(str(card.get("feature")))
    return None if found is None else float(found[1])


class StepMeans:
    """For each frame, in order, the mean of the encoder's steps within ±context of its centre.

    Where there is none, the nearest step within 20 ms; else the frame has no sound.
    """

    def __init__(self, size: int, context_s: float) -> None:
        self._context_s = context_s
        self.reach_s = max(context_s, NEAREST_S) + _TOLERANCE_S
        self._times_s: Floats = np.empty(0)
        self._steps: Features = np.empty((0, size), np.float32)

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return int(self._steps.shape[1])

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
    source: Source,
    items: Iterable[MediaInput],
    parts: Parts,
    *,
    stream: str,
    context_s: float,
    progress: Progress,
    detector: SpeechDetector | None = None,
    choice: TrackChoice = FILES_OWN,
    beside: SoundsBeside | None = None,
) -> Generator[Ended]:
    """Encodes the sound of each input, leaves a row for every frame in its parts, and tells of it as it ends.

    With a `detector` of speech, which takes the encoder's sampling rate, rows have a column `speech`.
    """
    hear = Hear(source, encoder.steps.sample_rate_hz, choice, encoder.piece_s, beside)
    schema = audio_schema(encoder.card.size, encoder.classes, speech=detector is not None)
    loop = EventLoop(
        parts, "audio", stream, schema, lambda opened, part: _Track(opened, part, encoder, context_s, detector)
    )
    events = in_background(lambda: loop.open_all(items, lambda item, states: hear(item, _known(states))), ahead=_AHEAD)
    try:
        yield from loop.make_rows(((event, None) for event in events), progress)
    finally:
        events.close()


def _known(states: Sequence[Any]) -> MoreFrames:
    """The frames that were known when the work was left."""
    times_s = [time_s for state in states for time_s in state["times_s"]]
    return MoreFrames(np.array(times_s, np.float64), complete=bool(states and states[-1]["complete"]))


class _Track:
    """The sound of one input, encoded piece by piece, and the rows of its frames. `row` is how many there are."""

    def __init__(
        self,
        opened: Opened,
        part: PartWriter,
        encoder: AudioEncoder,
        context_s: float,
        detector: SpeechDetector | None,
    ) -> None:
        self._item, self._frames, self._part, self._encoder = opened.item, opened.frames, part, encoder
        self._schema = audio_schema(encoder.card.size, encoder.classes, speech=detector is not None)
        self._means = StepMeans(encoder.card.size + len(encoder.classes), context_s)
        self._detector = detector
        self._speech = None if detector is None else StepMeans(1, SPEECH_CONTEXT_S)
        self._reach_s = max(means.reach_s for means in (self._means, self._speech) if means is not None)
        self.row = part.states[-1]["rows"] if part.states else 0
        self._unkept: list[float] = []  # times of frames that became known since rows were kept
        self._needed_from_s = self._reached_from_s()
        self._end_s = 0.0

    def add(self, heard: Heard, encoded: None) -> int:
        """Encodes a piece; how many rows could be made then."""
        self._know(heard.more)
        # Steps that no row to come reaches back to were encoded when their rows were made.
        if heard.end_s + self._encoder.steps.field / self._encoder.steps.sample_rate_hz < self._needed_from_s:
            return 0
        self._means.add(*_proper_steps(self._encoder, heard.piece))
        known_until_s = self._means.known_until_s
        if self._detector is not None and self._speech is not None:
            self._speech.add(*_speech_steps(self._detector, heard.piece, self._encoder.steps.sample_rate_hz))
            known_until_s = min(known_until_s, self._speech.known_until_s)
        made = self._write(max(self.row, self._frames.before(known_until_s - self._reach_s)))
        for means in filter(None, (self._means, self._speech)):
            means.forget_before(self._reached_from_s())
        if self._part.due:
            self._keep(complete=heard.more.complete)
        return made

    def finish(self, closed: Closed) -> int:
        """The rows of all frames that are left; how many. Raises AffcliError for sound without a single frame."""
        self._know(closed.more)
        made = self._write(self._frames.total(closed.end_s))
        self._end_s = closed.end_s
        if self.row == 0:
            raise AffcliError(f"{self._item.path}: has not a single frame of sound.")
        return made

    def told(self) -> str:
        """Until when there is sound, and how many frames have rows."""
        return f"{self._end_s:.1f} s, {counted(self.row, 'frame')}"

    def _know(self, more: MoreFrames) -> None:
        self._frames.add(more)
        self._unkept.extend(more.times_s.tolist())

    def _write(self, stop: int) -> int:
        """Writes the rows up to frame `stop`."""
        made_of = (self._schema, self._frames, self._means, self._speech)
        for rows in _tables(self._item.video, *made_of, self.row, stop):
            self._part.write(self._item.video, rows)
        made, self.row = stop - self.row, stop
        return made

    def _keep(self, *, complete: bool) -> None:
        self._part.keep({"rows": self.row, "times_s": self._unkept, "complete": complete})
        self._unkept = []

    def _reached_from_s(self) -> float:
        """The earliest time that the next row or a later one depends on."""
        return self._frames.centre_from_s(self.row) - self._reach_s


def _proper_steps(encoder: AudioEncoder, piece: SoundPiece) -> tuple[Floats, Features]:
    """Times and vectors of the steps that begin in the piece proper; those of its context are dropped."""
    steps = encoder.encode(piece.samples)
    begins = np.arange(len(steps)) * encoder.steps.hop
    kept = (begins >= piece.keep_from) & (begins < piece.keep_to)
    return piece.start_s + encoder.steps.centres_s(len(steps))[kept], steps[kept]


def _speech_steps(detector: SpeechDetector, piece: SoundPiece, rate_hz: int) -> tuple[Floats, Features]:
    """Times and probabilities [n, 1] of the detector's steps whose middle lies in the piece proper."""
    probabilities = detector.probabilities(piece.samples)
    middles_s = centres_s(len(probabilities))
    kept = (middles_s >= piece.keep_from / rate_hz) & (middles_s < piece.keep_to / rate_hz)
    return piece.start_s + middles_s[kept], probabilities[kept, None]


def _tables(
    video: str, schema: pa.Schema, frames: Frames, means: StepMeans, speech: StepMeans | None, start: int, stop: int
) -> Iterator[pa.Table]:
    """The rows of frames `start` to `stop`, a few thousand at a time."""
    size = schema.field("feature").type.list_size
    at_once = max(1, min(_ROWS_AT_ONCE, _NUMBERS_AT_ONCE // means.size))
    for first in range(start, stop, at_once):
        last = min(first + at_once, stop)
        centres = frames.centres_s(first, last)
        found, heard = means.means(centres)
        half = found[:, :size].clip(-_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
        columns = [
            pa.repeat(pa.scalar(video, pa.string()), last - first),
            pa.array(np.arange(first + 1, last + 1, dtype=np.int32)),
            pa.array(frames.times_s(first, last)),
            pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), size, mask=pa.array(~heard)),
            *(pa.array(np.ascontiguousarray(logits), mask=~heard) for logits in found[:, size:].T),
        ]
        if speech is not None:
            columns.append(pa.array(speech.means(centres)[0][:, 0], mask=~heard))
        yield pa.Table.from_arrays(columns, schema=schema)
