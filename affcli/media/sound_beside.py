"""The sound of tiny clips, decoded along with their pictures: a second start of ffmpeg costs more than they do.

Only clips are taken whose header is plain (an MP4 file of one picture and one sound track, of a few megabytes when
decoded), and what comes is used only where all of it came and ffmpeg had nothing to complain of. Of any other file
pictures and sound are decoded by themselves, so that what is made of it does not depend on this shortcut.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from affcli.media.decoder import Decoder, framecrc_lines
from affcli.media.ffmpeg import check_file
from affcli.media.ffmpeg_log import Description
from affcli.media.mp4_boxes import Clip, plain_clip
from affcli.media.sound_source import SIDE_RATE_HZ, Block, second_energies
from affcli.media.sound_track import Hearing, sound_outputs
from affcli.media.track_choice import TrackChoice

_LONGEST_S: Final = 30
_MOST_BYTES: Final = 1 << 26  # of all that is kept
MOST_PICTURE_BYTES: Final = 1 << 24  # of a clip; they are held until all is known to be well
_PRIMING: Final = 2112  # samples that a track may announce and not give: what an AAC encoder begins with
_MOST_PRIMING_S: Final = 0.3
HEARING: Final = Hearing("0:a:0")


class SoundsBeside:
    """What was decoded beside pictures and has not been heard yet, by file; at most 64 MB, the oldest goes first."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        (pcm, side), stamps = sound_outputs(HEARING, rate_hz)
        self._outputs: tuple[Sequence[str], ...] = pcm, [*stamps, "-f", "framecrc"], side
        self._announced: dict[Path, Clip] = {}  # of the clips that are being decoded
        self._kept: dict[Path, tuple[tuple[int, int, int], SoundBeside]] = {}
        self._lock = threading.Lock()

    def outputs(self, path: Path, choice: TrackChoice) -> tuple[Sequence[str], ...]:
        """What ffmpeg shall give beside the pictures of a file; nothing where its sound is to be decoded by itself."""
        is_usual = choice.video is None and choice.audio in ("first", "loudest", 1)
        with suppress(OSError):
            clip = plain_clip(path) if is_usual else None
            if clip and 0 < clip.picture_bytes <= MOST_PICTURE_BYTES and 0 < clip.sound_s <= _LONGEST_S:
                self._announced[path] = clip
                return self._outputs
        return ()

    def keep(self, decoder: Decoder) -> bool:
        """Takes what a decoder with these outputs has given, after its end; False where something is wrong with it."""
        collected, clip = decoder.beside(), self._announced.pop(decoder.path)
        sound = None if collected is None else SoundBeside.of(decoder.path, decoder.description, *collected)
        if sound is None:
            return False
        least_s = clip.sound_s - min(_PRIMING * clip.tick_s, _MOST_PRIMING_S)
        if sound.bytes < least_s * self._rate_hz * 4:
            return False
        with self._lock:
            self._kept[decoder.path] = decoder.identity, sound
            while sum(one.bytes for _, one in self._kept.values()) > _MOST_BYTES:
                del self._kept[next(iter(self._kept))]
        return True

    def take(self, path: Path, rate_hz: int) -> SoundBeside | None:
        """The sound of a file that has not changed since; it is given once."""
        with self._lock:
            identity, sound = self._kept.pop(path, (None, None))
        return sound if rate_hz == self._rate_hz and sound is not None and identity == check_file(path) else None


class SoundBeside:
    """A SoundSource: one that is whole."""

    def __init__(self, path: Path, found: Description, samples: bytes, stamps: list[tuple[Fraction, int]], side: bytes):
        """`stamps` are the times of the blocks, and how many bytes each has."""
        self.path, self.description, self.bytes = path, found, len(samples)
        self.errors: list[str] = []
        self._energies = np.cumsum([0.0, *second_energies(side)])
        self._blocks = self._produce(samples, stamps)

    @classmethod
    def of(cls, path: Path, found: Description, samples: bytes, told: bytes, side: bytes) -> SoundBeside | None:
        """From what ffmpeg has given; None for what is not as a whole, plain sound track is."""
        tick_s, lines = framecrc_lines(told.decode("ascii", "replace").splitlines())
        stamps = [(ticks * tick_s - found.start_s, size) for ticks, size in lines]
        tracks = found.of_kind("Audio")
        plain = len(tracks) == 1 and len(found.pictures) == 1 == len(found.tracks) - 1 and not tracks[0].is_ambisonic
        whole = bool(stamps) and sum(size for _, size in stamps) == len(samples)
        if not (plain and whole) or stamps[-1][0] - stamps[0][0] > 2 * _LONGEST_S:
            return None
        return cls(path, found, samples, stamps, side)

    @staticmethod
    def _produce(samples: bytes, stamps: list[tuple[Fraction, int]]) -> Iterator[Block]:
        at = 0
        for time_s, size in stamps:
            yield time_s, np.frombuffer(samples, "<f4", size // 4, at)
            at += size

    def blocks(self) -> Iterator[Block]:
        """The blocks that have not come yet."""
        return self._blocks

    def side_energy(self, seconds: int) -> float:
        """Of half the difference of left and right in the first seconds."""
        return float(self._energies[min(seconds, len(self._energies) - 1)]) / SIDE_RATE_HZ

    def finish(self) -> str | None:
        """Nothing went wrong."""
        return None

    def missing(self, decoded_s: Fraction, end_s: Fraction) -> str | None:
        """Nothing is missing, where nobody complains and there is a picture: it may go on after the sound."""
        return None

    def close(self) -> None:
        """Nothing is open."""
