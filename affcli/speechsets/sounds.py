"""Decodes listed utterances once, in all cores' threads, into one file of samples that numpy maps into memory."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from math import gcd
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from affcli.errors import AffcliError, JsonError, counted, listed
from affcli.facesets.decoding import workers
from affcli.facesets.inventory import stat
from affcli.facesets.listing import Labelled
from affcli.files.json_objects import read_json_object
from affcli.files.outputs import write_bytes
from affcli.media.audio import open_sound
from affcli.media.ffmpeg import MediaError

Samples = NDArray[np.float32]

SHORTEST_S: Final = 0.2  # of an utterance
VERSION: Final = 1  # of how sounds are made; a new one makes them anew
_SCALE: Final = 32767
_BLOCK: Final = 256  # utterances that are decoded at once
_SILENT: Final = 1e-4
_FATES: Final = {"u": "cannot be read", "s": f"are silent or shorter than {SHORTEST_S:g} s"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sounds:
    """Utterance i is `samples[begins[i]:begins[i + 1]]`, int16, mono; `digest` tells the content of all."""

    samples: NDArray[np.int16]
    begins: NDArray[np.int64]
    digest: str

    def __len__(self) -> int:
        return len(self.begins) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[n] samples."""
        return np.diff(self.begins)

    def read(self, number: int, start: int = 0, length: int | None = None) -> Samples:
        """The samples of an utterance, or `length` of them from `start` on, in [−1, 1]."""
        first = int(self.begins[number]) + start
        stop = int(self.begins[number + 1]) if length is None else first + length
        return np.asarray(self.samples[first:stop].astype(np.float32) / _SCALE, np.float32)


def decoded(
    name: str,
    listed_: Labelled,
    rate_hz: int,
    *,
    cache: Path,
    advance: Callable[[int], None] = lambda utterances: None,
) -> tuple[Sounds, NDArray[np.int64]]:
    """The sounds of all usable utterances of a list, and their rows in it; a file `NAME-….pcm` in the folder `cache`.

    The file is used again for the same files (by path, size and time of change) and the same rate. Raises AffcliError
    where not one of them can be used, and where the folder cannot be written.
    """
    path = cache / f"{name}-{_fingerprint(listed_, rate_hz)}.pcm"
    if (made := _kept(path)) is None:
        _write(path, listed_, rate_hz, advance)
        made = read_json_object(path.with_suffix(".json"))
    else:
        advance(len(listed_))
    fates, lengths = made["fates"], made["lengths"]
    _tell(name, fates)
    if not lengths:
        raise AffcliError(f"{listed_.origins[0].path}: none of {counted(len(listed_), 'utterance')} can be used.")
    samples = np.memmap(path, np.int16, mode="r")
    rows = np.flatnonzero(np.array(list(fates)) == "k")
    return Sounds(samples, np.cumsum([0, *lengths]), made["digest"]), rows


def _kept(path: Path) -> dict[str, Any] | None:
    """The facts of a file that is whole; one that has changed since it was made is none, with a note."""
    facts = path.with_suffix(".json")
    if not facts.is_file():
        return None
    with suppress(AffcliError, OSError):
        made = read_json_object(facts)
        digest = blake2b(digest_size=16)
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        lengths = made.get("lengths")
        if not isinstance(lengths, list) or not all(type(one) is int for one in lengths):
            raise JsonError(f"{facts}: its lengths are no list of numbers.")
        is_told = isinstance(made.get("fates"), str) and 2 * sum(lengths) == path.stat().st_size
        if is_told and made.get("digest") == digest.hexdigest():
            return made
    log.warning("%s: damaged; its audio is decoded again.", path)
    return None


def _write(path: Path, listed_: Labelled, rate_hz: int, advance: Callable[[int], None]) -> None:
    """Its facts are written last: without them the file is made anew."""
    fates, lengths, digest = "", list[int](), blake2b(digest_size=16)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream, ThreadPoolExecutor(workers()) as pool:
            for start in range(0, len(listed_), _BLOCK):
                some = [Path(origin.path) for origin in listed_.origins[start : start + _BLOCK]]
                for sound in pool.map(lambda one: _sound(one, rate_hz), some):
                    fates += sound if isinstance(sound, str) else "k"
                    if not isinstance(sound, str):
                        stream.write(sound.data)
                        digest.update(sound.data)
                        lengths.append(len(sound))
                advance(len(some))
        told = {"fates": fates, "lengths": lengths, "digest": digest.hexdigest()}
        write_bytes(path.with_suffix(".json"), json.dumps(told).encode())
    except OSError as error:
        raise AffcliError(f"{path.parent}: decoded speech cannot be kept here: {error.strerror or error}.") from error


def _sound(path: Path, rate_hz: int) -> NDArray[np.int16] | str:
    """Its samples, or the letter of why it cannot be used."""
    try:
        samples = read_sound(path, rate_hz)
    except MediaError as error:
        log.info("%s", error)
        return "u"
    if len(samples) < SHORTEST_S * rate_hz or np.abs(samples).max() <= _SILENT:
        return "s"
    return np.round(samples.clip(-1, 1) * _SCALE).astype(np.int16)


def read_sound(path: Path, rate_hz: int) -> Samples:
    """Mono samples at a rate: by libsndfile what it can read, which is fast, else by ffmpeg. Raises MediaError."""
    try:
        samples, found_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        with open_sound(path, sample_rate_hz=rate_hz) as pieces:
            parts = [piece.samples[piece.keep_from : piece.keep_to] for piece in pieces]
        return np.concatenate([*parts, np.empty(0, np.float32)])
    factor = gcd(found_hz, rate_hz)
    mono = np.nan_to_num(samples.mean(axis=1))
    return np.asarray(resample_poly(mono, rate_hz // factor, found_hz // factor), np.float32)


def _tell(name: str, fates: str) -> None:
    counts = Counter(fates)
    if reasons := [f"{counts[letter]:,} {what}" for letter, what in _FATES.items() if counts[letter]]:
        log.warning("%s: of %s, %s; they are left out.", name, counted(len(fates), "utterance"), listed(reasons))


def _fingerprint(listed_: Labelled, rate_hz: int) -> str:
    state = blake2b(repr((VERSION, rate_hz)).encode(), digest_size=8)
    for origin in listed_.origins:
        status = stat(origin.path)
        facts = (str(Path(origin.path).absolute()), status.st_size, status.st_mtime_ns)
        state.update(repr(facts).encode("utf-8", "surrogateescape"))
    return state.hexdigest()
