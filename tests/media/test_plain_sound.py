"""WAV files that are read without ffmpeg: the samples are ffmpeg's, and what is not plain is left to it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers.media_fixtures import write_pattern
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affcli.media.audio import open_sound
from affcli.media.ffmpeg import MediaError
from affcli.media.picture_track import NO_PICTURE
from affcli.media.plain_sound import PlainSound
from affcli.media.track_choice import TrackChoice
from affcli.media.video import open_video

RATE = 16000
SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
REUSED_FOLDER = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.1, 1.1, (samples, channels))


def wav(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", format_: str = "WAV") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype, format=format_)
    return path


def heard(path: Path) -> tuple[Any, ...]:
    """All that comes of a file's sound, or why nothing does."""
    try:
        with open_sound(path, sample_rate_hz=RATE) as sound:
            pieces = [(one.start_s, one.keep_from, one.keep_to, one.samples.tobytes()) for one in sound]
            return pieces, sound.problem, sound.end_s, sound.has_picture, sound.starts_s
    except MediaError as error:
        return (str(error),)


def heard_by_ffmpeg(path: Path) -> tuple[Any, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainSound, "of", lambda *asked: None)
        return heard(path)


def is_plain(path: Path) -> bool:
    return PlainSound.of(path, RATE) is not None


@pytest.fixture
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*command: object, **options: object) -> None:
        raise AssertionError(f"started {command}")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("format_", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_samples_are_ffmpegs_to_the_bit(subtype: str, format_: str, channels: int, tmp_path: Path) -> None:
    samples = noise(3000, channels)
    samples[:, -1] = 0.9 * samples[:, 0] + 0.1 * samples[:, -1]  # of two channels, one that is nearly the other
    if subtype in ("FLOAT", "DOUBLE"):
        samples[:5] = [[np.nan], [np.inf], [-np.inf], [1e-41], [3e38 if subtype == "FLOAT" else 1e39]]
    if subtype in ("FLOAT", "DOUBLE") and channels == 2:
        samples[:5] = 1e-41  # the difference of infinite ones is no number, which ffmpeg is to judge
    path = wav(tmp_path / "a.wav", samples, subtype=subtype, format_=format_)
    assert is_plain(path)
    assert heard(path) == heard_by_ffmpeg(path)


@settings(max_examples=15, **REUSED_FOLDER)
@given(
    subtype=st.sampled_from(SUBTYPES),
    channels=st.integers(1, 2),
    length=st.sampled_from([1, 2, 3, 399, 1023, 1024, 1025, 4097, 40000]),
    gain=st.sampled_from([1e-5, 1e-3, 1.0, 40.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_sound_is_heard_as_ffmpeg_hears_it(
    subtype: str, channels: int, length: int, gain: float, seed: int, tmp_path: Path
) -> None:
    path = wav(tmp_path / "a.wav", gain * noise(length, channels, seed), subtype=subtype)
    assert heard(path) == heard_by_ffmpeg(path)


def test_half_a_minute_is_one_piece_as_ffmpegs(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", noise(30 * RATE))
    assert is_plain(path)
    assert heard(path) == heard_by_ffmpeg(path)


CHUNK = st.tuples(
    st.sampled_from(
        [b"LIST", b"fact", b"data", b"fmt ", b"bext", b"JUNK", b"cue ", b"abcd", b"ID3 ", b"SMV0", b"ds64"]
    ),
    st.binary(max_size=24),
)


@settings(max_examples=120, **REUSED_FOLDER)
@given(
    subtype=st.sampled_from(SUBTYPES),
    flips=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 7)), max_size=2),
    chunk=st.none() | CHUNK,
    at=st.sampled_from([12, 36, None]),
    cut=st.integers(0, 40),
    junk=st.binary(max_size=20),
)
def test_a_damaged_file_is_treated_as_ffmpeg_treats_it(
    subtype: str,
    flips: list[tuple[int, int]],
    chunk: tuple[bytes, bytes] | None,
    at: int | None,
    cut: int,
    junk: bytes,
    tmp_path: Path,
) -> None:
    content = bytearray(wav(tmp_path / "a.wav", noise(200), subtype=subtype).read_bytes())
    for place, bit in flips:
        content[place] ^= 1 << bit
    if chunk is not None:
        name, body = chunk
        content[at:at] = name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)
    path = tmp_path / "damaged.wav"
    path.write_bytes(bytes(content[: len(content) - cut] if cut % 3 == 0 else content) + junk)
    if is_plain(path):  # else it is ffmpeg that reads it
        assert heard(path) == heard_by_ffmpeg(path)


def with_length(path: Path, length: int) -> Path:
    """Another length in the header of its samples."""
    content = bytearray(path.read_bytes())
    content[40:44] = length.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def appended(path: Path, more: bytes) -> Path:
    path.write_bytes(path.read_bytes() + more)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def opposite_first() -> np.ndarray:
    """Half of what is judged, a second, cancels; the louder rest does not."""
    quiet, loud = 0.1 * noise(RATE), noise(RATE - 1)
    return np.concatenate([np.hstack([quiet, -quiet]), np.hstack([loud, loud])])


@pytest.mark.parametrize(
    "write",
    [
        lambda path: wav(path, noise(999), rate=22050),
        lambda path: wav(path, noise(999), rate=RATE + 1),
        lambda path: wav(path, noise(999, 6), format_="WAVEX"),
        lambda path: wav(path, noise(999, 3)),
        lambda path: wav(path, noise(999), subtype="ULAW"),
        lambda path: wav(path, noise(999), format_="RF64"),
        lambda path: wav(path, noise(999), format_="FLAC"),
        lambda path: wav(path, noise(30 * RATE + 1)),
        lambda path: wav(path, np.hstack([noise(999), -noise(999)])),
        lambda path: wav(path, opposite_first()),
        lambda path: half(wav(path, noise(999))),
        lambda path: with_length(wav(path, noise(999)), 0),
        lambda path: with_length(wav(path, noise(999)), 0xFFFFFFFF),
        lambda path: with_length(wav(path, noise(999)), 0xFFFFFF00),
        lambda path: with_length(wav(path, noise(999)), 777),
        lambda path: appended(wav(path, noise(999)), b"data\4\0\0\0abcd"),
        lambda path: appended(wav(path, noise(999)), b"ID3 \4\0\0\0abcd"),
        lambda path: appended(wav(path, noise(999)), b"fact\4\0\0\0\0\0\1\0"),
        lambda path: wav(path, np.frombuffer(b"\xff\x1f\x00\xe8" * 500, "<i2").reshape(-1, 2)),
        lambda path: written(path, b"RIFF\4\0\0\0WAVE" + 100 * b"JUNK\0\0\0\0"),
        lambda path: written(path, b""),
    ],
    ids=[
        "another rate", "an odd rate", "5.1", "3 channels", "mu-law", "RF64", "FLAC", "longer than half a minute",
        "antiphase", "antiphase where it is judged", "cut off", "length 0", "length unknown", "length too large",
        "odd length", "two data", "ID3", "another number of samples", "DTS", "many chunks", "empty",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_ffmpeg(write: Any, tmp_path: Path) -> None:
    assert not is_plain(write(tmp_path / "a.wav"))


def test_a_short_sound_starts_no_ffmpeg(no_ffmpeg: None, tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", noise(1600))
    for choice in (TrackChoice(), TrackChoice(audio="loudest"), TrackChoice(audio=1)):
        with open_sound(path, sample_rate_hz=RATE, choice=choice) as sound:
            assert [one.keep_to for one in sound] == [1600]
    with pytest.raises(MediaError, match=NO_PICTURE[:20]):
        open_video(path)


def test_a_track_that_is_not_there_is_told_of_plain_sound_too(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", noise(1600))
    with pytest.raises(MediaError, match="the file has 1 sound tracks"):
        open_sound(path, sample_rate_hz=RATE, choice=TrackChoice(audio=2))


def test_long_and_damaged_sounds_have_no_picture_as_before(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no video stream"):
        open_video(wav(tmp_path / "a.wav", noise(40 * RATE)))
    (tmp_path / "b.wav").touch()
    with pytest.raises(MediaError, match="empty"):
        open_video(tmp_path / "b.wav")
    video = write_pattern(tmp_path / "c.mp4")
    video.rename(tmp_path / "c.wav")  # the name does not count
    with open_video(tmp_path / "c.wav") as frames:
        assert sum(1 for _ in frames) == 25


def test_a_file_that_changes_while_it_is_read_is_left_to_ffmpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affcli.media import plain_sound

    path = wav(tmp_path / "a.wav", noise(1600))
    states = iter([(1, 2, 3), (1, 2, 4)])
    monkeypatch.setattr(plain_sound, "check_file", lambda path: next(states))
    assert not is_plain(path)
