"""Short sound files that need no decoder: PCM in a WAV file.

A start of ffmpeg costs more than the encoding of a short sound. The samples are those that ffmpeg gives, to the bit:
only mono and stereo at the very rate that is asked for are taken. Whatever is not plainly that (another layout, a
header and a content that do not agree, a file that was cut off, channels that may cancel each other, more than half a
minute) is left to ffmpeg, so that what is said of a file does not depend on this shortcut.

FLAC is left to ffmpeg too: nothing in libsndfile tells whether something follows the samples that the header promises,
such as a second file, which ffmpeg decodes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affcli.media.ffmpeg import check_file
from affcli.media.ffmpeg_log import Description, Track
from affcli.media.sound_source import ANTIPHASE, SILENT, Block, Samples

Floats = NDArray[np.float32] | NDArray[np.float64]

LONGEST_S: Final = 30  # longer sound is decoded while it is encoded, and is not held

_RIFF, _CHUNK, _FORMAT = Struct("<4s4x4s"), Struct("<4sI"), Struct("<HHIIHH")
_MOST_CHUNKS: Final = 64
_EXTENSIBLE: Final = 0xFFFE
_EXTENSION: Final = Struct("<HHIH14s")  # its size, valid bits, mask of the channels, format; the rest of the GUID
_GUID: Final = bytes.fromhex("000000001000800000aa00389b71")
_MASKS: Final = {1: 4, 2: 3}  # centre; left and right
_INTEGERS, _FLOATS = 1, 3
_CODECS: Final = {  # by format and bits: ffmpeg's name, and what full scale is
    (_INTEGERS, 8): ("pcm_u8", 2.0**7),
    (_INTEGERS, 16): ("pcm_s16le", 2.0**15),
    (_INTEGERS, 24): ("pcm_s24le", 2.0**23),
    (_INTEGERS, 32): ("pcm_s32le", 2.0**31),
    (_FLOATS, 32): ("pcm_f32le", 1.0),
    (_FLOATS, 64): ("pcm_f64le", 1.0),
}
# ffmpeg reads these, and may find more in them than a sound, or a fault; others it passes over.
_LEFT_TO_FFMPEG: Final = frozenset((b"XMA2", b"SMV0", b"ID3 ", b"id3 "))
_READ_BY_FFMPEG: Final = frozenset((b"fmt ", b"fact", b"data", b"bext", b"LIST", b"list", b"cue ", b"slnt"))
_LEAST_BYTES: Final = {b"LIST": 4, b"bext": 602}
# Of S/PDIF and of DTS, which discs and receivers carry as if they were 16-bit samples.
_HIDDEN: Final = tuple(map(bytes.fromhex, ("72f81f4e", "f8724e1f", "7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8")))


class PlainSound:
    """A SoundSource whose samples have been read already."""

    def __init__(self, path: Path, samples: Samples, rate_hz: int, codec: str) -> None:
        self.path, self._blocks = path, iter([(Fraction(0), samples)])
        self.errors: list[str] = []
        tracks = (Track(0, "Audio", codec),)
        self.description = Description("wav", duration_s=Fraction(len(samples), rate_hz), tracks=tracks)

    @classmethod
    def of(cls, path: Path, rate_hz: int) -> PlainSound | None:
        """The sound of a file at a rate; None where it is not plainly what this module knows.

        Raises MediaError for what is no readable, regular file.
        """
        before = check_file(path)
        try:
            with path.open("rb") as file:
                layout = _layout_of(file)
                if layout is None or layout.rate_hz != rate_hz or layout.length > LONGEST_S * rate_hz:
                    return None
                channels = _channels(file, layout)
        except OSError:
            return None
        samples = None if channels is None or check_file(path) != before else _mixed(channels, rate_hz)
        return None if samples is None else cls(path, samples, rate_hz, _CODECS[layout.kind][0])

    def blocks(self) -> Iterator[Block]:
        """All samples at once, from the file's beginning; none after that."""
        return self._blocks

    def side_energy(self, seconds: int) -> float:
        """0: where the difference of left and right could matter, ffmpeg is asked."""
        return 0.0

    def finish(self) -> str | None:
        """Nothing went wrong."""
        return None

    def missing(self, decoded_s: Fraction, end_s: Fraction) -> str | None:
        """Nothing is missing."""
        return None

    def close(self) -> None:
        """Nothing is open."""


class _Layout(NamedTuple):
    """Of a WAV file: format and bits, channels, rate; where its samples begin, and how many there are of a channel."""

    kind: tuple[int, int]
    channels: int
    rate_hz: int
    begin: int
    length: int


def is_plain_wav(path: Path) -> bool:
    """Whether a file is PCM in a WAV file, whole and of any length, so that there is nothing but sound in it."""
    try:
        with path.open("rb") as file:
            return _layout_of(file) is not None
    except OSError:
        return False


def _channels(file: BinaryIO, layout: _Layout) -> Floats | None:
    """[n, channels], full scale 1; None where they may be something else."""
    file.seek(layout.begin)
    data = file.read(layout.length * layout.channels * layout.kind[1] // 8)
    if layout.kind == (_INTEGERS, 16) and any(word in data for word in _HIDDEN):
        return None
    numbers = _numbers(data, layout.kind)
    if len(numbers) != layout.length * layout.channels:
        return None
    if numbers.dtype != np.float64:
        numbers = numbers.astype(np.float32) / np.float32(_CODECS[layout.kind][1])
    return numbers.reshape(-1, layout.channels)


def _numbers(data: bytes, kind: tuple[int, int]) -> NDArray[Any]:
    """The samples as they are stored, all channels, without an offset."""
    match kind:
        case (1, 8):
            return np.frombuffer(data, np.uint8).astype(np.int16) - 128
        case (1, 24):
            parts = np.frombuffer(data, np.uint8).reshape(-1, 3)
            whole = np.zeros((len(parts), 4), np.uint8)
            whole[:, 1:] = parts
            return whole.view("<i4")[:, 0] >> 8
        case (format_, bits):
            return np.frombuffer(data, f"<{'f' if format_ == _FLOATS else 'i'}{bits // 8}")


def _mixed(channels: Floats, rate_hz: int) -> Samples | None:
    """The mean of the channels; None where they may cancel each other, by a measure that is on the safe side.

    (heard_track.py has only what the difference holds below 2 kHz.)
    """
    with np.errstate(over="ignore", invalid="ignore"):  # as in ffmpeg, what is too large is infinite
        if channels.shape[1] == 1:
            return channels[:, 0].astype(np.float32)
        half = channels * channels.dtype.type(0.5)
        mean, side = (half[:, 0] + half[:, 1]).astype(np.float32), half[:, 0] - half[:, 1]
        judged = max(1, len(mean) // rate_hz) * rate_hz
        different, common = (float(np.square(one[:judged], dtype=np.float64).sum()) for one in (side, mean))
    return mean if 2 * different <= max(ANTIPHASE * common, SILENT**2 * judged) else None


def _layout_of(file: BinaryIO) -> _Layout | None:
    """None for what is no WAV file, holds more than samples, or does not agree in itself."""
    size = os.fstat(file.fileno()).st_size
    chunks = _chunks(file, size)
    if chunks is None or len(chunks.get(b"fmt ", ())) != 1 or len(chunks.get(b"data", ())) != 1:
        return None
    [(at, length)], [(begin, bytes_)] = chunks[b"fmt "], chunks[b"data"]
    format_ = _format(file, at, length)
    if format_ is None or at > begin:
        return None
    kind, channels, rate_hz = format_
    count, odd = divmod(bytes_, channels * kind[1] // 8)
    if odd or not count:
        return None
    for at, length in chunks.get(b"fact", ()):
        file.seek(at)
        if length < 4 or int.from_bytes(file.read(4), "little") != count:
            return None
    return _Layout(kind, channels, rate_hz, begin, count)


def _chunks(file: BinaryIO, size: int) -> dict[bytes, list[tuple[int, int]]] | None:
    """Where the content of each chunk begins, and how long it is, by name; None where a chunk that counts is not whole.

    Players and ffmpeg do not believe the length of the whole in the header, and neither is it looked at here.
    """
    head = file.read(_RIFF.size)
    if len(head) < _RIFF.size or _RIFF.unpack(head) != (b"RIFF", b"WAVE"):
        return None
    found: dict[bytes, list[tuple[int, int]]] = {}
    at = _RIFF.size
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        if len(head := file.read(_CHUNK.size)) < _CHUNK.size:
            return found
        name, length = _CHUNK.unpack(head)
        at += _CHUNK.size
        if name in _LEFT_TO_FFMPEG or length < _LEAST_BYTES.get(name, 0):
            return None
        if at + length > size:  # what follows the samples may be anything
            return None if name in _READ_BY_FFMPEG or b"data" not in found else found
        found.setdefault(name, []).append((at, length))
        at += length + length % 2
    return None


def _format(file: BinaryIO, at: int, length: int) -> tuple[tuple[int, int], int, int] | None:
    """Format and bits, channels, rate."""
    file.seek(at)
    content = file.read(min(length, _FORMAT.size + _EXTENSION.size))
    if len(content) < _FORMAT.size:
        return None
    tag, channels, rate_hz, bytes_per_s, frame_bytes, bits = _FORMAT.unpack_from(content)
    more = content[_FORMAT.size :]
    if tag == _EXTENSIBLE:
        if length != _FORMAT.size + _EXTENSION.size:
            return None
        extra, valid_bits, mask, tag, guid = _EXTENSION.unpack(more)
        if (extra, valid_bits, mask, guid) != (22, bits, _MASKS.get(channels), _GUID):
            return None
    elif more not in (b"", b"\0\0"):
        return None
    agrees = frame_bytes == channels * bits // 8 and bytes_per_s == rate_hz * frame_bytes and rate_hz
    return ((tag, bits), channels, rate_hz) if agrees and channels in _MASKS and (tag, bits) in _CODECS else None
