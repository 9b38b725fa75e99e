"""What of a sound track is heard: which track, which channels, at what scale."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.media_fixtures import ffmpeg

from affcli.media import picture_track
from affcli.media.audio import open_sound
from affcli.media.ffmpeg import MediaError
from affcli.media.track_choice import AudioTrack, TrackChoice

RATE = 8000
VOICE = 0.3 * np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE) * (1 + np.sin(np.arange(2 * RATE) / 700))
SILENCE = ("-f", "lavfi", "-i", f"anullsrc=r={RATE}:cl=mono:d=2")
TONES = [("-f", "lavfi", "-i", f"aevalsrc={level}*sin(2*PI*400*t):s={RATE}:d=2") for level in (0.05, 0.5)]


@pytest.fixture(autouse=True)
def every_note_again() -> None:
    picture_track.note.cache_clear()


def heard(path: Path, track: AudioTrack = "first") -> np.ndarray:
    with open_sound(path, sample_rate_hz=RATE, choice=TrackChoice(audio=track)) as sound:
        samples = np.concatenate([piece.samples for piece in sound])
        assert sound.problem is None
        return samples


def tracks(path: Path, *sources: tuple[str, ...]) -> Path:
    maps = [word for index in range(len(sources)) for word in ("-map", str(index))]
    ffmpeg(*(word for source in sources for word in source), *maps, "-c:a", "pcm_s16le", path)
    return path


def test_a_silent_first_track_is_named_with_one_that_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tracks(tmp_path / "a.mkv", SILENCE, SILENCE, TONES[0])
    with caplog.at_level(logging.WARNING):
        assert not heard(path).any()
    assert "its sound (track 1) is silent throughout; track 3 is not. Choose it with --audio-track 3." in caplog.text
    assert heard(path, 3).max() == pytest.approx(0.05, abs=0.002)


def test_the_loudest_track_is_found(tmp_path: Path) -> None:
    path = tracks(tmp_path / "a.mkv", SILENCE, TONES[0], TONES[1], TONES[0])
    assert heard(path, "loudest").max() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(MediaError, match="--audio-track 9: the file has 4 sound tracks"):
        heard(path, 9)


def test_channels_that_cancel_each_other_are_heard_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([VOICE, -VOICE], axis=1), RATE)
    with caplog.at_level(logging.WARNING):
        assert np.corrcoef(heard(tmp_path / "a.wav"), VOICE)[0, 1] > 0.99
    assert "antiphase" in caplog.text


def test_ordinary_stereo_is_still_the_mean(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (2 * RATE, 2))
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    np.testing.assert_allclose(heard(tmp_path / "a.wav"), noise.mean(axis=1), atol=1e-6)
    soundfile.write(tmp_path / "one side.wav", np.stack([VOICE, 0 * VOICE], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(heard(tmp_path / "one side.wav"), VOICE / 2, atol=1e-6)
    assert "antiphase" not in caplog.text


@pytest.mark.parametrize(("scale", "bits"), [(2.0**15, 16), (2.0**31, 32)])
def test_floats_at_the_scale_of_integers_are_scaled(
    scale: float, bits: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "a.wav", VOICE * scale, RATE, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(heard(tmp_path / "a.wav"), VOICE, atol=1e-6)
    assert f"at the scale of {bits}-bit integers" in caplog.text


def test_floats_a_little_beyond_full_scale_and_clipped_sound_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "over.wav", VOICE * 4, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "clipped.wav", np.clip(VOICE * 4, -1, 1), RATE)
    with caplog.at_level(logging.WARNING):
        assert np.abs(heard(tmp_path / "over.wav")).max() == 1
        assert np.abs(heard(tmp_path / "clipped.wav")).max() == pytest.approx(1, abs=1e-4)
    assert "over.wav" in caplog.text
    assert "beyond full scale (up to 2.4) and are cut off" in caplog.text
    assert "clipped.wav: its sound is clipped" in caplog.text


@pytest.mark.parametrize("name", ["sphere.sph", "half header.wav", "24.wav", "8.wav"])
def test_recorders_headers(name: str, tmp_path: Path) -> None:
    """NIST SPHERE; a WAV whose sizes were never filled in; 24 and 8 bits."""
    path = tmp_path / name
    if name.endswith(".sph"):
        words = f"NIST_1A\n   1024\nchannel_count -i 1\nsample_count -i {len(VOICE)}\nsample_rate -i {RATE}\n"
        words += "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_coding -s3 pcm\nend_head\n"
        path.write_bytes(words.encode().ljust(1024) + np.round(VOICE * 32767).astype("<i2").tobytes())
    else:
        soundfile.write(path, VOICE, RATE, subtype={"24.wav": "PCM_24", "8.wav": "PCM_U8"}.get(name, "PCM_16"))
    if name.startswith("half"):
        data = bytearray(path.read_bytes())
        data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
        path.write_bytes(bytes(data))
    np.testing.assert_allclose(heard(path), VOICE, atol=1 / 127)


def test_sound_of_an_avi_follows_its_order_not_stamps_that_count_bytes(tmp_path: Path) -> None:
    """Some recorders write a block size of one byte for MP3, so that a second of sound takes 12 ms of their clock."""
    picture = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", "-c:v", "mpeg4")
    ffmpeg(
        "-f", "lavfi", "-i", "sine=d=2:r=44100", *picture[:4], "-c:a", "libmp3lame", "-c:v", "mpeg4", tmp_path / "a.avi"
    )
    data = bytearray((tmp_path / "a.avi").read_bytes())
    header = data.index(b"auds") + 44  # dwSampleSize of the stream's header
    data[header : header + 4] = (1).to_bytes(4, "little")
    (tmp_path / "a.avi").write_bytes(bytes(data))
    assert len(heard(tmp_path / "a.avi")) == pytest.approx(2 * RATE, abs=0.1 * RATE)
