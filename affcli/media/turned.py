"""Faces at any roll: a phone held sideways whose file does not say so, somebody who lies down.

The detector finds faces up to about 40° from upright, and from there on places their landmarks wrongly: of faces turned
by 90° it finds a third, half an eye distance off. So where it finds nothing, or a face that seems to lie, the picture
is searched again, turned by multiples of 45°, and the turn that showed a face is tried first in the next frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affcli.media.faces import ARCFACE_TEMPLATE, TEMPLATE_SIZE, Face, FaceDetector, Pixels, overlap, similarity

TURNS: Final = (90, 270, 180, 45, 315, 135, 225)  # degrees, counterclockwise; phones are held at quarter turns
_LYING: Final = 40.0  # degrees of roll beyond which landmarks are not believed
_UPRIGHT: Final = 25.0  # degrees of roll up to which a face in a turned picture confirms the turn
_MISFIT: Final = 0.06  # of a crop's side: landmarks that fit the template worse confirm nothing; 0.02 is usual
_SAME: Final = 0.2  # overlap of the boxes of one face, found upright and turned
_LONGEST_REST: Final = 64  # frames without a face between two searches of the turned picture


@dataclass(frozen=True)
class Search:
    """Where the search for turned faces stands: the turn that the last lying face was found at, and whether somebody
    upright was there too; while none is found, before which frame the turned picture is not searched again, and how
    long that pause is."""

    turn: int = 0
    mixed: bool = False
    rests_until: int = 0
    rest: int = 0

    def as_json(self) -> dict[str, Any]:
        """The search as plain JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Search:
        """The search that `as_json` gave."""
        return cls(stored["turn"], stored["mixed"], stored["rests_until"], stored["rest"])


NOT_SEARCHED: Final = Search()


@dataclass(frozen=True)
class Found:
    """The faces of a frame, in its own pixels; `turn` is how far the picture was turned for that, `doubtful` whether
    faces were left out because they seem to lie and no turn shows them upright."""

    faces: Sequence[Face]
    search: Search
    turn: int = 0
    doubtful: bool = False


def find_faces(detector: FaceDetector, pixels: Pixels, reduced: Pixels | None, number: int, search: Search) -> Found:
    """The faces in frame `number`. The picture as it stands comes first, or the turn at which all faces were last."""
    confirm = partial(_confirmed, detector, pixels, reduced)
    if search.turn and not search.mixed and (faces := confirm(search.turn, ())):
        return Found(faces, search, search.turn)
    upright = detector.detect(pixels, reduced)
    believed = [face for face in upright if abs(roll_of(face)) <= _LYING]
    doubtful = len(believed) < len(upright)
    if search.mixed and (faces := confirm(search.turn, believed)):
        return Found([*believed, *faces], replace(search, mixed=bool(believed)), search.turn)
    if believed and not doubtful:
        return Found(believed, NOT_SEARCHED)
    if number < search.rests_until:
        return Found(believed, search, doubtful=doubtful)
    # All turns, since a face that is upside down may look upright to the detector: the surest counts.
    turned = [(turn, faces) for turn in TURNS if (faces := confirm(turn, believed))]
    if turned:
        turn, faces = max(turned, key=lambda one: max(face.score for face in one[1]))
        return Found([*believed, *faces], Search(turn, mixed=bool(believed)), turn)
    rest = min(_LONGEST_REST, 2 * search.rest or 1)
    return Found(believed, Search(rests_until=number + rest, rest=rest), doubtful=doubtful)


def _confirmed(
    detector: FaceDetector, pixels: Pixels, reduced: Pixels | None, turn: int, known: Sequence[Face]
) -> list[Face]:
    """The faces that stand upright in the turned picture, but those that are known."""
    faces = detector.detect(pixels, reduced, turn=turn)
    standing = [face for face in faces if abs(_less(roll_of(face), turn)) <= _UPRIGHT and misfit_of(face) <= _MISFIT]
    return [face for face in standing if not any(overlap(face.box, one.box) > _SAME for one in known)]


def roll_of(face: Face) -> float:
    """How far a face is turned in its frame, in degrees from −180 to 180, clockwise: 0 is upright."""
    (cosine, *_), (sine, *_) = similarity(face.landmarks, ARCFACE_TEMPLATE)
    return float(-np.degrees(np.arctan2(sine, cosine)))


def misfit_of(face: Face) -> float:
    """How badly its landmarks fit the template: root mean square distance, as a share of the crop's side."""
    matrix = similarity(face.landmarks, ARCFACE_TEMPLATE)
    placed: NDArray[np.float64] = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return float(np.sqrt(np.square(placed - ARCFACE_TEMPLATE).sum(axis=1).mean())) / TEMPLATE_SIZE


def _less(roll: float, turn: int) -> float:
    """The roll that is left in a picture turned counterclockwise, from −180 to 180."""
    return (roll - turn + 180) % 360 - 180
