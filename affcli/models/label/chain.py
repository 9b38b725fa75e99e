"""The whole chain in one process: both encoders and the fusion network, loaded once, and what they make of an input.

One video's features are held while it is named, in half precision: for two hours at 30 frames/s 216,000 · 768 · 2
bytes, 330 MB a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import AffcliError, InstallationError
from affcli.features.joined import JoinedFeatures, note_alignment
from affcli.features.stream import is_encoder
from affcli.files.inputs import MediaInput
from affcli.jobs.job import CountFrames, Ended
from affcli.jobs.labelling import AUDIO_STREAM, DEFAULT_FPS, VISUAL_STREAM
from affcli.jobs.parts import Parts
from affcli.jobs.stream_features import PartFeatures
from affcli.media.hearing import GivenFrames, RegularFrames, ShownFrames
from affcli.media.person_tracking import Rule
from affcli.media.showing import PictureTimes, Show
from affcli.media.speech import SpeechDetector
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.models.encoders import find_checkpoint
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.extract import audio_features, visual_features
from affcli.models.fusion.model_file import ModelCard, find_model, fingerprint_of, load_model
from affcli.models.label.frame_namer import CARRIED, FACE_COLUMNS, FrameNamer
from affcli.models.runtime import devices
from affcli.predictions.frame_table import frame_schema
from affcli.predictions.naming import MIN_SPEECH, Naming
from affcli.predictions.smooth import Filter

Encoder = TypeVar("Encoder", VisualEncoder, AudioEncoder)

# The defaults of extract-audio, for models whose card does not tell: as many layers as the encoder asks for.
_LAYERS_AND_CONTEXT: Final = (None, 0.5)


@dataclass(frozen=True)
class ChainOptions:
    """What the user chose. Encoders, window, stride and confidence that are None are those of the model's card."""

    model: str
    visual_model: str | None = None
    audio_model: str | None = None
    face: Rule = "largest"
    every: int = 1
    fps: float | None = None
    window: int | None = None
    stride: int | None = None
    smoothing: Filter = field(default_factory=Filter)
    min_confidence: float | None = None
    any_sound: bool = False
    device: str = "auto"
    precision: str = "auto"
    batch_size: int = 32
    tracks: TrackChoice = FILES_OWN


class Chain:
    """Sees, hears and names: a `Labeller`. Raises AffcliError where an encoder is not one the model was trained with.

    The number of layers, the seconds of context and the scales of the crops are those of the model's card.
    """

    def __init__(self, chosen: ChainOptions) -> None:
        path = find_model(chosen.model)
        network, self._card = load_model(path)
        sliding = self._card.sliding(chosen.window, chosen.stride)
        run, network_run = (devices.choose(chosen.device, chosen.precision, small=small) for small in (False, True))
        self._chosen = chosen
        layers, self._context_s = _layers_and_context(self._card)
        self._eye = _loaded(
            chosen, self._card, "visual", lambda name: VisualEncoder(name, run, batch_size=chosen.batch_size)
        )
        self._ear = _loaded(chosen, self._card, "audio", lambda name: AudioEncoder(name, run, layers=layers))
        self._speech = SpeechDetector(self._ear.steps.sample_rate_hz)
        self._naming = _naming(chosen, self._card)
        cards = {
            "visual": self._eye.card.as_json(),
            "audio": audio_features.named_with_context(self._ear.card, self._context_s),
        }
        for stream, card in cards.items():
            _refuse_other(chosen, stream, card, self._card.encoders[stream])
        self._show = self._shower(on_gpu=run.device.type == "cuda")
        self.visual_size, self.audio_size = self._eye.card.size, self._ear.card.size
        precision = {"encoders": run.precision, "network": network_run.precision}
        made_by = {"encoders": cards, "model": fingerprint_of(path), "precision": precision}
        self.settings = {"classes": list(self._card.classes), **sliding, **made_by, **self._facts()}
        schema = frame_schema(CARRIED, self._card.classes, self.settings)
        self._namer = FrameNamer(
            network.to(network_run.device), network_run, sliding, chosen.smoothing, self._naming, schema
        )

    def _shower(self, *, on_gpu: bool) -> Show:
        shown, chosen = self._eye.preprocessing, self._chosen
        scales = tuple((self._card.alignment or {}).get("crop_scales", (1.0,)))
        times = PictureTimes(chosen.fps)
        how = (shown.fitted, shown.input_size, chosen.face, chosen.every, times)
        return Show(*how, scales=scales, choice=chosen.tracks, on_gpu=on_gpu)

    def _facts(self) -> dict[str, Any]:
        """What of the user's choice stands in a table's metadata (no path)."""
        chosen = self._chosen
        return {
            "face": chosen.face,
            "every": chosen.every,
            "crop_scales": list(self._show.scales),
            "fps": chosen.fps,
            **chosen.tracks.facts,
            "space": "shares" if chosen.smoothing.method == "mode" else "logits",
            "smoothed": [chosen.smoothing.facts],
            **self._naming.facts,
        }

    def note_alignment(self, inputs: Sequence[MediaInput]) -> None:
        """Says so where faces are cut otherwise than the model has seen them in training."""
        note_alignment(self._show.alignment(inputs), self._card.alignment)

    def see(self, items: Iterable[MediaInput], parts: Parts, advance: CountFrames) -> Generator[Ended]:
        """Leaves visual features of the inputs in the parts, and tells of each as it ends."""
        tracks = self._chosen.face == "all"
        return visual_features.extract(
            self._eye, self._show, items, parts, stream=VISUAL_STREAM, tracks=tracks, advance=advance
        )

    def hear(self, item: MediaInput, parts: Parts, times_s: NDArray[np.float64] | None, advance: CountFrames) -> Ended:
        """Leaves audio features of one input, for frames at these times [n]; at a fixed rate where times are None."""
        at_a_rate = RegularFrames(self._chosen.fps or DEFAULT_FPS)
        frames = GivenFrames(at_a_rate if times_s is None else ShownFrames(times_s))
        [ended] = audio_features.extract(
            self._ear,
            frames,
            [item],
            parts,
            stream=AUDIO_STREAM,
            context_s=self._context_s,
            advance=advance,
            detector=self._speech,
            choice=self._chosen.tracks,
        )
        return ended

    def name(self, visual: PartFeatures | None, audio: PartFeatures | None) -> Iterator[tuple[str, pa.Table]]:
        """Frame tables by video, of one input."""
        with JoinedFeatures(visual, audio, sizes=(self.visual_size, self.audio_size)) as joined:
            for features in joined:
                faces = None if visual is None else visual.read_columns(features.video, FACE_COLUMNS)
                speech = None if audio is None else audio.read_columns(audio.videos[0], ["speech"])
                yield features.video, self._namer.frames_of(features, faces, speech)


def _layers_and_context(card: ModelCard) -> tuple[int | None, float]:
    feature = str(card.encoders["audio"].get("feature"))
    return audio_features.layers_and_context(feature) or _LAYERS_AND_CONTEXT


def _naming(chosen: ChainOptions, card: ModelCard) -> Naming:
    """Which frames are named. With --any-sound, sound without speech counts as much as speech."""
    least = card.min_confidence if chosen.min_confidence is None else chosen.min_confidence
    return Naming(least, 0.0 if chosen.any_sound else MIN_SPEECH)


def _loaded(chosen: ChainOptions, card: ModelCard, stream: str, load: Callable[[str], Encoder]) -> Encoder:
    """The encoder of a stream that the user names, else the one that the model's card names, else `mini`."""
    option = _option_of(chosen, stream)
    name = option or card.encoders[stream].get("name") or find_checkpoint.MINI
    try:
        return load(name)
    except InstallationError:
        raise
    except AffcliError as error:
        text = str(error).replace("--model", f"--{stream}-model")
        if option is None:
            text = (
                f"{chosen.model} was trained with the {stream} encoder {name}, which is not found by that name. {text}"
            )
        raise AffcliError(text) from error


def _refuse_other(chosen: ChainOptions, stream: str, card: Mapping[str, Any], trained_with: Mapping[str, Any]) -> None:
    """Raises where an encoder is not the one whose features the model was trained with."""
    wanted = trained_with.get("name")
    if card["size"] != trained_with["size"]:
        raise AffcliError(
            f"--{stream}-model {card['name']}: its features have {card['size']} numbers; {chosen.model} was trained "
            f"with {wanted or 'features'} of {trained_with['size']}."
        )
    if wanted and not is_encoder(card, trained_with):
        ours, theirs = (f"{c['name']} ({c['fingerprint']}, {c['feature']})" for c in (card, trained_with))
        raise AffcliError(f"{chosen.model} was trained with {theirs}, not {ours}. Name that one with --{stream}-model.")


def _option_of(chosen: ChainOptions, stream: str) -> str | None:
    return chosen.visual_model if stream == "visual" else chosen.audio_model
