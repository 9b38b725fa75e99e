"""Who is who from frame to frame, and whose face is taken. Online: a frame's answer needs no later frame.

Faces are joined to the persons seen before by the smallest total cost: distance from where a person is expected (the
last place moved on by the last velocity), change of size, change of look. A person is waited for while covered or
turned away, for `WAIT_S` seconds; whoever comes after that is somebody new, since no one is recognised by identity.
When everyone visible is gone at once and others stand there instead, the scene was cut, and nobody is waited for.
"""

from __future__ import annotations

import base64
import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from affcli.media.faces import Face, overlap

Rule = Literal["largest", "left", "right", "all"]

WAIT_S: Final = 2.0
_HOLD_S: Final = 0.5  # how long the leftmost person stays leftmost unseen
_SETTLED: Final = 3  # sights after which a person is no flicker of the detector

# The cost of joining a face to a person. Distances are in widths of the face. Looks are mean absolute differences of
# colour: up to 0.07 from frame to frame of one person with a lively face, from 0.2 between people (seen on real clips).
_REACH: Final = 0.7
_REACH_PER_S: Final = 2.0  # more for each second since the person was seen
_LARGEST_RATIO: Final = 2.0  # of sizes
_LOOK_WEIGHT: Final = 5.0
_SAME_LOOK: Final = 0.1  # this like, and free, a face is the person wherever it appears
_OTHER_LOOK: Final = 0.3
# A new face that overlaps one just seen is a mixture of two people, seen by the detector where they cross.
_MIXED: Final = 0.2
_NEVER: Final = 1e6

_LOOK_MEMORY: Final = 0.9
_VELOCITY_MEMORY: Final = 0.7
_COASTING_S: Final = 0.5  # how long an unseen person is taken to move on as before


@dataclass(eq=False)
class Person:
    """Somebody followed: the face last seen and when, velocity [2] in pixels/s, the look on average.

    `number` is 0 until the person counts under the rule `all`.
    """

    face: Face
    seen_s: float
    number: int = 0
    sights: int = 1
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def __post_init__(self) -> None:
        self.look = self.face.look

    def see(self, face: Face, time_s: float) -> None:
        """Takes `face` for this person's at `time_s`."""
        elapsed_s = time_s - self.seen_s
        if elapsed_s > 0:
            moved = (_centre(face) - _centre(self.face)) / elapsed_s
            self.velocity = _VELOCITY_MEMORY * self.velocity + (1 - _VELOCITY_MEMORY) * moved
        self.look = np.float32(_LOOK_MEMORY) * self.look + np.float32(1 - _LOOK_MEMORY) * face.look
        self.face, self.seen_s, self.sights = face, time_s, self.sights + 1

    def cost(self, face: Face, time_s: float) -> float:
        """How unlikely it is that `face` is this person's at `time_s`; `_NEVER` if it cannot be."""
        size, other_size = _size(self.face), _size(face)
        ratio = max(size, other_size) / min(size, other_size)
        elapsed_s = max(0.0, time_s - self.seen_s)
        expected = _centre(self.face) + self.velocity * min(elapsed_s, _COASTING_S)
        distance = float(np.linalg.norm(_centre(face) - expected)) / ((size + other_size) / 2)
        look = _difference(self.look, face.look)
        if distance > _REACH + _REACH_PER_S * elapsed_s or ratio > _LARGEST_RATIO or look > _OTHER_LOOK:
            return _NEVER
        return distance + math.log(ratio) + _LOOK_WEIGHT * look

    def as_json(self) -> dict[str, Any]:
        """The person as plain JSON values."""
        face = self.face
        return {
            "seen_s": self.seen_s,
            "number": self.number,
            "sights": self.sights,
            "velocity": self.velocity.tolist(),
            "mean_look": _packed(self.look),
            "score": float(face.score),
            "box": list(face.box),
            "landmarks": face.landmarks.tolist(),
            "look": _packed(face.look),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Person:
        """The person that `as_json` gave."""
        landmarks = np.array(stored["landmarks"], np.float32)
        face = Face(stored["score"], tuple(stored["box"]), landmarks, _unpacked(stored["look"]))
        person = cls(face, stored["seen_s"], stored["number"], stored["sights"], np.array(stored["velocity"]))
        person.look = _unpacked(stored["mean_look"])
        return person


@dataclass(frozen=True)
class Memory:
    """A follower's state: its persons, the indices of those in sight and of the one chosen, the numbers given."""

    persons: tuple[Person, ...]
    visible: tuple[int, ...]
    count: int
    chosen: int | None

    def as_json(self) -> dict[str, Any]:
        """Exact: every number of JSON is read back as the number that it was."""
        return {**vars(self), "persons": [person.as_json() for person in self.persons]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Memory:
        """The memory that `as_json` gave."""
        persons = tuple(map(Person.from_json, stored["persons"]))
        return cls(persons, tuple(stored["visible"]), stored["count"], stored["chosen"])


class Follower:
    """Follows the persons of one video by one of the rules.

    `largest` starts with the largest face and stays with that person; `left` and `right` take the person furthest to
    that side of the picture, also while that person is missed for a moment; `all` takes everybody.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._persons: list[Person] = []
        self._visible: list[Person] = []
        self._count = 0
        self._chosen: Person | None = None

    def memory(self) -> Memory:
        """All that the next frames' answers depend on, as it is now; what is followed later does not change it."""
        visible = tuple(self._persons.index(person) for person in self._visible)
        chosen = self._persons.index(self._chosen) if self._chosen in self._persons else None
        return Memory(tuple(map(copy.copy, self._persons)), visible, self._count, chosen)

    @classmethod
    def remembering(cls, rule: Rule, memory: Memory) -> Follower:
        """A follower that goes on exactly as the one whose `memory()` it is."""
        follower = cls(rule)
        follower._persons = list(map(copy.copy, memory.persons))
        follower._visible = [follower._persons[index] for index in memory.visible]
        follower._count = memory.count
        follower._chosen = None if memory.chosen is None else follower._persons[memory.chosen]
        return follower

    def follow(self, faces: Sequence[Face], time_s: float) -> dict[int, Face]:
        """The faces to take from the next frame, by number of the person: {1: face} or {} unless the rule is `all`.

        Under `all`, persons are numbered 1, 2, … by appearance, larger faces first within a frame. Whoever joins those
        who are there already counts from the third sight on, so that a flicker of the detector is nobody.
        """
        self._persons = [person for person in self._persons if time_s - person.seen_s <= WAIT_S]
        self._visible = self._join(faces, time_s)
        if self._rule == "all":
            return {person.number: person.face for person in self._numbered()}
        self._chosen = self._stay() if self._rule == "largest" else self._outermost(time_s)
        return {1: self._chosen.face} if self._chosen and self._chosen in self._visible else {}

    def _join(self, faces: Sequence[Face], time_s: float) -> list[Person]:
        """The persons seen in this frame, the known ones first; unknown faces become new persons."""
        unknown = dict(enumerate(faces))
        seen: list[Person] = []
        for person, index in self._pairs(faces, time_s):
            person.see(unknown.pop(index), time_s)
            seen.append(person)
        is_cut = bool(faces) and bool(self._visible) and not any(person in seen for person in self._visible)
        for face in sorted(unknown.values(), key=_size, reverse=True):
            if not any(overlap(face.box, person.face.box) > _MIXED for person in seen):
                seen.append(self._returned(face, time_s, seen) or self._new(face, time_s))
        if is_cut:
            self._persons = list(seen)
        return seen

    def _numbered(self) -> list[Person]:
        """The persons in sight that count, each with its number."""
        nobody_before = all(person.number == 0 for person in self._persons)
        for person in self._visible:
            if person.number == 0 and (nobody_before or person.sights >= _SETTLED):
                self._count += 1
                person.number = self._count
        return sorted((person for person in self._visible if person.number), key=lambda person: person.number)

    def _pairs(self, faces: Sequence[Face], time_s: float) -> list[tuple[Person, int]]:
        """Persons and the indices of their faces, by the assignment of the smallest total cost."""
        if not faces or not self._persons:
            return []
        from scipy.optimize import linear_sum_assignment

        costs = np.array([[person.cost(face, time_s) for face in faces] for person in self._persons])
        rows, columns = linear_sum_assignment(costs)
        return [
            (self._persons[row], int(column))
            for row, column in zip(rows, columns, strict=True)
            if costs[row, column] < _NEVER
        ]

    def _returned(self, face: Face, time_s: float, seen: Sequence[Person]) -> Person | None:
        """Someone waited for who looks like this face, wherever it is."""
        missing = [person for person in self._persons if person not in seen]
        person = min(missing, key=lambda person: _difference(person.look, face.look), default=None)
        if person is None or _difference(person.look, face.look) > _SAME_LOOK:
            return None
        person.see(face, time_s)
        person.velocity = np.zeros(2)  # it did not move there in sight
        return person

    def _new(self, face: Face, time_s: float) -> Person:
        self._persons.append(Person(face, time_s))
        return self._persons[-1]

    def _stay(self) -> Person | None:
        """The person chosen before, while waited for; else the largest in sight."""
        chosen = self._chosen
        if chosen and chosen in self._persons and (chosen in self._visible or chosen.sights >= _SETTLED):
            return chosen
        return max(self._visible, key=lambda person: _size(person.face), default=None)

    def _outermost(self, time_s: float) -> Person | None:
        recent = [person for person in self._persons if time_s - person.seen_s <= _HOLD_S]
        settled = [person for person in recent if person.sights >= _SETTLED] or recent
        side = 1 if self._rule == "right" else -1
        return max(settled, key=lambda person: side * _centre(person.face)[0], default=None)


def _packed(values: NDArray[np.float32]) -> str:
    """For JSON: a look is hundreds of numbers."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


def _centre(face: Face) -> NDArray[np.float64]:
    x, y, width, height = face.box
    return np.array([x + width / 2, y + height / 2])


def _size(face: Face) -> float:
    return math.sqrt(max(1.0, face.box[2] * face.box[3]))


def _difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).mean())
