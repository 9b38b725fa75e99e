"""The whole chain in one process: both encoders and the fusion network, loaded once, and what they make of an input.

One video's features are held while it is named, in half precision: for two hours at 30 frames/s 216,000 · 768 · 2
bytes, 330 MB a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.features.joined import JoinedFeatures, note_alignment
from affcli.files.inputs import MediaInput
from affcli.jobs.job import Ended
from affcli.jobs.labelling import AUDIO_STREAM, DEFAULT_FPS, VISUAL_STREAM, Features, streams_of
from affcli.jobs.parts import Parts
from affcli.jobs.progress import Progress, Silent
from affcli.media.hearing import GivenFrames, RegularFrames, ShownFrames
from affcli.media.person_tracking import Rule
from affcli.media.showing import PictureTimes, Show
from affcli.media.sound_beside import SoundsBeside
from affcli.media.speech import SpeechDetector
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.extract import audio_features, visual_features
from affcli.models.fusion.model_file import ModelCard, find_model, fingerprint_of, load_model
from affcli.models.label import senses
from affcli.models.label.frame_namer import CARRIED, FACE_COLUMNS, FrameNamer
from affcli.models.runtime import devices
from affcli.predictions.frame_table import frame_schema
from affcli.predictions.naming import MIN_SPEECH, Naming
from affcli.predictions.smooth import Filter


@dataclass(frozen=True)
class ChainOptions:
    """What the user chose. Encoders that are not named, and window, stride and confidence that are None, are those of
    the model's card.
    """

    model: str
    visual_model: Sequence[str] = ()
    audio_model: Sequence[str] = ()
    face: Rule = "largest"
    every: int = 1
    fps: float | None = None
    window: int | None = None
    stride: int | None = None
    smoothing: Filter = field(default_factory=lambda: Filter(method="median"))
    min_confidence: float | None = None
    any_sound: bool = False
    device: str = "auto"
    precision: str = "auto"
    batch_size: int = 32
    tracks: TrackChoice = FILES_OWN


class Chain:
    """Sees, hears and names: a `Labeller`. Raises AffcliError where an encoder is not one the model was trained with.

    The encoders, their layers, the seconds of context and the views of a face are those of the model's card.
    """

    def __init__(self, chosen: ChainOptions) -> None:
        path = find_model(chosen.model)
        network, self._card = load_model(path)
        sliding = self._card.sliding(chosen.window, chosen.stride)
        run, network_run = (devices.choose(chosen.device, chosen.precision, small=small) for small in (False, True))
        self._chosen = chosen
        self._eyes = senses.eyes(self._wanted("visual"), run, chosen.batch_size, self._shower(run))
        self._ears = senses.ears(self._wanted("audio"), run)
        self._beside: SoundsBeside | None = None
        if len(self._ears) == 1:  # several would each take it
            self._beside = SoundsBeside(self._ears[0].encoder.steps.sample_rate_hz)
            self._eyes[0] = replace(self._eyes[0], show=replace(self._eyes[0].show, beside=self._beside))
        self._speech = SpeechDetector(self._ears[0].encoder.steps.sample_rate_hz)
        self._naming = _naming(chosen, self._card)
        cards = {
            "visual": senses.card_of_all([eye.card for eye in self._eyes]),
            "audio": senses.card_of_all([ear.card for ear in self._ears]),
        }
        self.visual_sizes = [eye.encoder.card.size for eye in self._eyes]
        self.audio_sizes = [ear.encoder.card.size for ear in self._ears]
        precision = {"encoders": run.precision, "network": network_run.precision}
        made_by = {"encoders": cards, "model": fingerprint_of(path), "precision": precision}
        self.settings = {"classes": list(self._card.classes), **sliding, **made_by, **self._facts()}
        schema = frame_schema(CARRIED, self._card.classes, self.settings)
        self._namer = FrameNamer(
            network.to(network_run.device), network_run, sliding, chosen.smoothing, self._naming, schema
        )

    def _wanted(self, stream: str) -> senses.Wanted:
        chosen = self._chosen
        named = chosen.visual_model if stream == "visual" else chosen.audio_model
        return senses.Wanted.by(self._card, chosen.model, stream, named)

    def _shower(self, run: devices.Runtime) -> Callable[[VisualEncoder, Mapping[str, Any]], Show]:
        chosen, times, on_gpu = self._chosen, PictureTimes(self._chosen.fps), run.device.type == "cuda"

        def shown(encoder: VisualEncoder, card: Mapping[str, Any]) -> Show:
            alignment = card.get("alignment") or self._card.alignment or {}
            views = tuple(alignment.get("crop_scales", (1.0,))), bool(alignment.get("mirrored"))
            how = (encoder.preprocessing.fitted, encoder.preprocessing.input_size, chosen.face, chosen.every, times)
            return Show(*how, *views, choice=chosen.tracks, on_gpu=on_gpu)

        return shown

    def _facts(self) -> dict[str, Any]:
        """What of the user's choice stands in a table's metadata (no path)."""
        chosen = self._chosen
        return {
            "face": chosen.face,
            "every": chosen.every,
            "crop_scales": list(self._eyes[0].show.scales),
            **({"mirrored": True} if self._eyes[0].show.mirrored else {}),
            "fps": chosen.fps,
            **chosen.tracks.facts,
            "space": "shares" if chosen.smoothing.method == "mode" else "logits",
            "smoothed": [chosen.smoothing.facts],
            **self._naming.facts,
        }

    def note_alignment(self, inputs: Sequence[MediaInput]) -> None:
        """Says so where faces are cut otherwise than the model has seen them in training."""
        note_alignment(self._eyes[0].show.alignment(inputs), self._card.alignment)

    def see(self, items: Iterable[MediaInput], parts: Parts, progress: Progress) -> Generator[Ended]:
        """Leaves visual features of the inputs in the parts, and tells of each as it ends."""
        tracks, count = self._chosen.face == "all", len(self._eyes)
        works = [
            visual_features.extract(eye.encoder, eye.show, own, parts, stream=stream, tracks=tracks, progress=counted)
            for eye, own, stream, counted in zip(
                self._eyes, senses.each(items, count), streams_of(VISUAL_STREAM, count), _once(progress), strict=False
            )
        ]
        return senses.in_step(works)

    def hear(self, item: MediaInput, parts: Parts, times_s: NDArray[np.float64] | None, progress: Progress) -> Ended:
        """Leaves audio features of one input, for frames at these times [n]; at a fixed rate where times are None."""
        at_a_rate = RegularFrames(self._chosen.fps or DEFAULT_FPS)
        frames = GivenFrames(at_a_rate if times_s is None else ShownFrames(times_s))
        works = [
            audio_features.extract(
                ear.encoder,
                frames,
                [item],
                parts,
                stream=stream,
                context_s=ear.context_s,
                progress=counted,
                detector=detector,
                choice=self._chosen.tracks,
                beside=self._beside,
            )
            for ear, stream, counted, detector in zip(
                self._ears,
                streams_of(AUDIO_STREAM, len(self._ears)),
                _once(progress),
                chain([self._speech], repeat(None)),
                strict=False,
            )
        ]
        [ended] = senses.in_step(works)
        return ended

    def name(self, visual: Features, audio: Features) -> Iterator[tuple[str, pa.Table]]:
        """Frame tables by video, of one input."""
        sizes = sum(self.visual_sizes), sum(self.audio_sizes)
        with JoinedFeatures(senses.side_by_side(visual), senses.side_by_side(audio), sizes=sizes) as joined:
            for features in joined:
                faces = visual[0].read_columns(features.video, FACE_COLUMNS) if visual else None
                speech = audio[0].read_columns(audio[0].videos[0], ["speech"]) if audio else None
                yield features.video, self._namer.frames_of(features, faces, speech)


def _once(progress: Progress) -> Iterator[Progress]:
    """For several encoders of one stream: the frames of the first are counted."""
    return chain([progress], repeat(Silent()))


def _naming(chosen: ChainOptions, card: ModelCard) -> Naming:
    """Which frames are named. With --any-sound, sound without speech counts as much as speech."""
    least = card.min_confidence if chosen.min_confidence is None else chosen.min_confidence
    return Naming(least, 0.0 if chosen.any_sound else MIN_SPEECH)
