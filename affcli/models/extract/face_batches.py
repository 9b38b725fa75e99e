"""Sightings → what an encoder makes of them, in batches of one shape that run across the borders of videos.

On a GPU a batch is encoded while the next one is gathered. A sighting that is shown again, since the picture has not
changed, is encoded once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from affcli.media.showing import Event
from affcli.media.sightings import SeenFrame, Sighting
from affcli.models.encoders.visual_encoder import Encoded, EncodedFaces, VisualEncoder

_MOST_WAITING: Final = 4096  # frames held back while a batch fills; then it is encoded as it is


def encoded(events: Iterator[Event], encoder: VisualEncoder) -> Generator[tuple[Event, dict[int, Encoded]]]:
    """The events in their order, each frame with its sightings encoded, by person."""
    batches = _Batches(encoder)
    waiting: deque[tuple[Event, Mapping[int, _Face]]] = deque()
    shown: Mapping[int, _Face] = {}
    for event in events:
        faces: Mapping[int, _Face] = {}
        if isinstance(event, SeenFrame):
            faces = {person: _again(shown, sighting) or batches.add(sighting) for person, sighting in _sorted(event)}
            shown = faces if event.looked else shown
        waiting.append((event, faces))
        if len(waiting) >= _MOST_WAITING:
            batches.finish()
        while waiting and all(face.encoded is not None for face in waiting[0][1].values()):
            yield _done(*waiting.popleft())
    batches.finish()
    for event, faces in waiting:
        yield _done(event, faces)


def _sorted(event: SeenFrame) -> list[tuple[int, Sighting]]:
    return sorted(event.sightings.items())


def _done(event: Event, faces: Mapping[int, _Face]) -> tuple[Event, dict[int, Encoded]]:
    return event, {person: face.encoded for person, face in faces.items() if face.encoded is not None}


def _again(shown: Mapping[int, _Face], sighting: Sighting) -> _Face | None:
    """The face of the frame looked at before that is this very sighting."""
    return next((face for face in shown.values() if face.sighting is sighting), None)


@dataclass(eq=False)
class _Face:
    """A sighting on its way through the encoder."""

    sighting: Sighting
    encoded: Encoded | None = None


@dataclass
class _Batches:
    """Fills batches and hands them to the encoder, which may still be at work on some of them."""

    encoder: VisualEncoder
    _filling: list[_Face] = field(default_factory=list)
    _running: deque[tuple[list[_Face], EncodedFaces]] = field(default_factory=deque)

    def add(self, sighting: Sighting) -> _Face:
        face = _Face(sighting)
        self._filling.append(face)
        if len(self._filling) == self.encoder.batch_size:
            self._start()
            self._collect(but=self.encoder.overlap)
        return face

    def finish(self) -> None:
        """All faces added so far are encoded."""
        if self._filling:
            self._start()
        self._collect(but=0)

    def _start(self) -> None:
        crops = [face.sighting.crops for face in self._filling]
        self._running.append((self._filling, self.encoder.start(crops)))
        self._filling = []

    def _collect(self, *, but: int) -> None:
        while len(self._running) > but:
            faces, running = self._running.popleft()
            for face, made in zip(faces, running.faces(), strict=True):
                face.encoded = made
