"""Which sound track of a file is heard, and how its channels become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from affcli.media.decoder import Decoder, Outputs
from affcli.media.ffmpeg import MediaError, check_file
from affcli.media.ffmpeg_log import Track
from affcli.media.picture_track import note, reading_options, refuse_encrypted
from affcli.media.plain_sound import PlainSound
from affcli.media.sound_source import SIDE_RATE_HZ, SILENT, DecodedSound, SoundSource
from affcli.media.track_choice import TrackChoice

# `rematrix_maxval`: mono is the mean of the channels, for every sample format (else ffmpeg mixes float decoders' sound,
# AAC and MP3, 3 dB louder than PCM).
_MEAN: Final = "aresample=rematrix_maxval=1"
_FIRST_CHANNEL: Final = "pan=mono|c0=c0"  # of ambisonic sound the one that hears all directions alike
_SIDE: Final = "aformat=channel_layouts=stereo,pan=mono|c0=0.5*c0-0.5*c1"


@dataclass(frozen=True)
class Hearing:
    """How a sound track is read: the track as ffmpeg maps it, and how its channels are mixed."""

    track: str
    mix: str = _MEAN

    @property
    def takes_one_channel(self) -> bool:
        """Whether only the first channel is heard."""
        return self.mix == _FIRST_CHANNEL

    def with_one_channel(self) -> Hearing:
        """The same, with only the first channel."""
        return replace(self, mix=_FIRST_CHANNEL)


def open_track(
    path: Path, choice: TrackChoice, rate: int, hearing: Hearing | None = None
) -> tuple[SoundSource, Hearing]:
    """The sound track that was chosen, opened. Raises MediaError where it is not there."""
    check_file(path)
    if hearing is None and choice.audio in ("first", "loudest", 1) and (plain := PlainSound.of(path, rate)):
        return plain, Hearing("0:a:0")
    hearing = hearing or Hearing(_first_guess(path, choice))
    data, stamps = sound_outputs(hearing, rate)
    decoder = Decoder(path, Outputs(data, (stamps,), reading_options(path, choice), counted=hearing.track))
    try:
        refuse_encrypted(path, decoder.description)
        tracks = decoder.description.of_kind("Audio")
        if isinstance(choice.audio, int) and choice.audio > len(tracks) > 0:
            raise MediaError(path, f"--audio-track {choice.audio}: the file has {len(tracks)} sound tracks")
    except BaseException:
        decoder.close()
        raise
    heard = track_of(hearing, tracks)
    if heard is None or not heard.is_ambisonic or hearing.takes_one_channel:
        return DecodedSound(decoder), hearing
    decoder.close()
    return open_track(path, choice, rate, hearing.with_one_channel())


def track_of(hearing: Hearing, tracks: Sequence[Track]) -> Track | None:
    """The track's description."""
    number = int(hearing.track.rpartition(":")[2])
    return tracks[number] if number < len(tracks) else None


def _first_guess(path: Path, choice: TrackChoice) -> str:
    if choice.audio == "loudest":
        return f"0:a:{_loudest(path)}"
    return f"0:a:{choice.audio - 1}" if isinstance(choice.audio, int) else "0:a:0"


def sound_outputs(hearing: Hearing, rate: int) -> tuple[tuple[Sequence[str], Sequence[str]], Sequence[str]]:
    """ffmpeg's options for the samples and for half the difference of left and right; and for the stamps of the same
    blocks of samples."""
    pcm = ["-map", hearing.track, "-af", hearing.mix, "-ac", "1", "-ar", str(rate), "-c:a", "pcm_f32le"]
    side = ["-map", hearing.track, "-af", _SIDE, "-ar", str(SIDE_RATE_HZ), "-c:a", "pcm_s16le", "-f", "s16le"]
    return ([*pcm, "-f", "f32le"], side), pcm


def _loudest(path: Path) -> int:
    """The number, from 0, of the sound track with the largest mean energy."""
    energies: list[float] = []
    while (found := _energy(path, len(energies))) is not None:
        energies.append(found)
    if not energies:
        return 0
    best = int(np.argmax(energies))
    if len(energies) > 1:
        note(path, f"{len(energies)} sound tracks; the loudest is number {best + 1}.")
    return best


def is_silent(path: Path, number: int) -> bool:
    """Whether a sound track is nowhere louder than −80 dB, or cannot be decoded."""
    return (_energy(path, number, until_heard=True) or 0.0) == 0.0


def _energy(path: Path, number: int, *, until_heard: bool = False) -> float | None:
    """A sound track's mean square over all its channels, 0 where it is silent; None where there is no such track."""
    pcm = ["-map", f"0:a:{number}", "-ar", "8000", "-c:a", "pcm_f32le"]
    decoder = Decoder(path, Outputs(([*pcm, "-f", "f32le"],), (pcm,)))
    total, count, heard = 0.0, 0, False
    try:
        for stamp in decoder.stamps():
            samples = np.nan_to_num(np.frombuffer(decoder.data[0].read(stamp.size), "<f4")).astype(np.float64)
            heard |= bool(samples.size and np.abs(samples).max() > SILENT)
            total, count = total + float(np.square(samples).sum()), count + samples.size
            if heard and until_heard:
                break
        there = number < len(decoder.description.of_kind("Audio"))
    finally:
        decoder.close()
    if not there:
        return None
    return total / max(count, 1) if heard else 0.0
