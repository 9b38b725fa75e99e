"""Where a sound track's samples come from: ffmpeg, or a file that needs no decoder (plain_sound.py)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from affcli.media.completeness import missing_sound
from affcli.media.decoder import Decoder
from affcli.media.ffmpeg_log import Description

SIDE_RATE_HZ: Final = 4000  # most of a voice's energy is below half of it
_SECOND_BYTES: Final = 2 * SIDE_RATE_HZ
SILENT: Final = 1e-4  # of full scale, −80 dB: what is nowhere louder was not recorded
ANTIPHASE: Final = 10  # 10 dB; of two independent channels both energies are equal

Samples = NDArray[np.float32]
Block = tuple[Fraction, Samples]  # the time of the first sample, and the samples


class SoundSource(Protocol):
    """One sound track of a file, opened: mono at the rate asked for, as it is in the file."""

    path: Path

    @property
    def description(self) -> Description:
        """What the file says it holds."""

    @property
    def errors(self) -> list[str]:
        """What the decoder complained of so far."""

    def blocks(self) -> Iterator[Block]:
        """The samples, block by block, on the file's own clock."""

    def side_energy(self, seconds: int) -> float:
        """The energy of half the difference of left and right in the first seconds, per sample of a second: the sum of
        squares by the sampling rate."""

    def finish(self) -> str | None:
        """After the last block: what went wrong with the file, in one line, or None."""

    def missing(self, decoded_s: Fraction, end_s: Fraction) -> str | None:
        """After `finish`: how much of the track is missing, in one line; None where nothing is."""

    def close(self) -> None:
        """Ends what still runs; harmless when repeated."""


class DecodedSound:
    """What an ffmpeg gives whose outputs are the samples, their stamps and half the difference of left and right."""

    def __init__(self, decoder: Decoder) -> None:
        self.path, self.decoder = decoder.path, decoder
        self._side = _Side(decoder.data[1])

    @property
    def description(self) -> Description:
        """What the file says it holds."""
        return self.decoder.description

    @property
    def errors(self) -> list[str]:
        """What ffmpeg complained of so far."""
        return self.decoder.errors

    def blocks(self) -> Iterator[Block]:
        """The samples, block by block, on the file's own clock."""
        for stamp in self.decoder.stamps():
            data = self.decoder.data[0].read(stamp.size)
            if len(data) < stamp.size:
                break
            yield stamp.time_s, np.frombuffer(data, dtype="<f4")

    def side_energy(self, seconds: int) -> float:
        """Of half the difference of left and right in the first seconds."""
        return self._side.energy(seconds) / SIDE_RATE_HZ

    def finish(self) -> str | None:
        """After the last block: what went wrong with the file."""
        self._side.close()  # before its pipe is
        return self.decoder.finish()

    def missing(self, decoded_s: Fraction, end_s: Fraction) -> str | None:
        """After `finish`: how much of the track is missing."""
        return missing_sound(self.path, self.decoder, decoded_s, end_s)

    def close(self) -> None:
        """Ends ffmpeg if it still runs."""
        self.decoder.stop()
        self._side.close()
        self.decoder.close()


def second_energies(data: bytes) -> list[float]:
    """The sum of squares of each second of 16-bit samples at `SIDE_RATE_HZ`; the last may be shorter."""
    samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float64) / 32768
    return [float(np.square(samples[at : at + SIDE_RATE_HZ]).sum()) for at in range(0, len(data) // 2, SIDE_RATE_HZ)]


class _Side:
    """The energy of half the difference between left and right, read in a thread so that ffmpeg never waits for it."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe, self._sums, self._ended = pipe, [0.0], False
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="affcli-side", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := self._pipe.read(_SECOND_BYTES):
            energy = sum(second_energies(data))
            with self._more:
                self._sums.append(self._sums[-1] + energy)
                self._more.notify()
        with self._more:
            self._ended = True
            self._more.notify()

    def energy(self, seconds: int) -> float:
        """The sum of squares of the first seconds, as of samples at `SIDE_RATE_HZ`; waits until they are read."""
        with self._more:
            self._more.wait_for(lambda: self._ended or len(self._sums) > seconds)
            return self._sums[min(seconds, len(self._sums) - 1)]

    def close(self) -> None:
        """ffmpeg has ended."""
        self._thread.join()
