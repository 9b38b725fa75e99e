"""Sound: where it stands on the file's clock, how it is cut, and what is said of broken tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.media_fixtures import H264, ffmpeg, write_click
from hypothesis import given, settings
from hypothesis import strategies as st

from affcli.media.audio import SoundPieces, open_sound
from affcli.media.ffmpeg import MediaError
from affcli.media.sound_placing import Placed, SoundPiece, cut
from affcli.media.video import open_video

RATE = 16000
AAC = ("-c:a", "aac")
CONTAINERS = {
    "a.mp4": (*H264, *AAC),
    "b-frames.mp4": (*H264, "-preset", "medium", "-bf", "3", *AAC),
    "pcm.mov": (*H264, "-c:a", "pcm_s16le"),
    "aac.mov": (*H264, *AAC),
    "opus.mkv": (*H264, "-c:a", "libopus"),
    "mp3.mkv": (*H264, "-c:a", "libmp3lame"),
    "aac.flv": (*H264, *AAC),
    "mp3.flv": ("-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"),
    "web.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-c:a", "libopus"),
    "transport.ts": (*H264, *AAC),
    "program.mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "fragmented.mp4": (*H264, *AAC, "-movflags", "+frag_keyframe+empty_moov"),
}


def read_all(path: Path, rate: int = RATE) -> tuple[list[SoundPiece], SoundPieces]:
    with open_sound(path, sample_rate_hz=rate) as sound:
        return list(sound), sound


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def flash_s(path: Path) -> float:
    with open_video(path) as frames:
        return max(frames, key=lambda frame: float(frame.pixels.mean())).time_s


def click_s(path: Path) -> float:
    (piece,), _ = read_all(path)
    return piece.start_s + int(np.abs(piece.samples).argmax()) / RATE


@pytest.mark.parametrize("late_s", [0, 2.4])
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_click_lands_on_the_frame_shown_at_that_moment(name: str, late_s: float, tmp_path: Path) -> None:
    path = write_click(tmp_path / name, *CONTAINERS[name], at_s=3, late_s=late_s)
    assert click_s(path) == pytest.approx(flash_s(path), abs=1 / 50)


@pytest.mark.parametrize("name", ["a.mp4", "opus.mkv", "transport.ts"])
def test_a_clock_that_does_not_begin_at_zero(name: str, tmp_path: Path) -> None:
    options = (*CONTAINERS[name], "-output_ts_offset", "7.3")
    path = write_click(tmp_path / name, *options, at_s=3, late_s=1.0)
    assert click_s(path) == pytest.approx(flash_s(path), abs=1 / 50)
    assert click_s(path) == pytest.approx(3, abs=0.1)


def test_late_sound_begins_late_and_is_not_filled_with_silence(tmp_path: Path) -> None:
    path = write_click(tmp_path / "late.mkv", *CONTAINERS["mp3.mkv"], at_s=3, late_s=2.4)
    (piece,), sound = read_all(path)
    assert piece.start_s == pytest.approx(2.4, abs=0.03)
    assert len(piece.samples) == pytest.approx(2.6 * RATE, abs=0.05 * RATE)
    assert sound.end_s == pytest.approx(5, abs=0.05)


def test_sound_that_ends_early_ends_there(tmp_path: Path) -> None:
    path = write_click(tmp_path / "early.mp4", *CONTAINERS["a.mp4"], at_s=1, sound_end_s=2)
    _, sound = read_all(path)
    assert sound.end_s == pytest.approx(2, abs=0.05)
    assert sound.problem is None


def test_a_gap_in_the_track_does_not_move_what_follows(tmp_path: Path) -> None:
    tone = "aevalsrc='0.5*sin(2*PI*440*t)+0.5*between(t,6,6.005)':s=16000:d=8"
    hole = ("-af", "aselect='not(between(t,2,5))'", "-c:a", "pcm_s16le")
    ffmpeg("-f", "lavfi", "-i", tone, *hole, tmp_path / "hole.mkv")
    (piece,), _ = read_all(tmp_path / "hole.mkv")
    assert np.abs(piece.samples).argmax() / RATE == pytest.approx(6, abs=0.02)
    assert not piece.samples[int(2.2 * RATE) : int(4.8 * RATE)].any()
    assert len(piece.samples) == pytest.approx(8 * RATE, abs=0.1 * RATE)


def test_samples_are_those_of_the_file(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 5 * RATE).astype(np.float32)
    (piece,), sound = read_all(write_wav(tmp_path / "a.wav", samples))
    np.testing.assert_array_equal(piece.samples, samples)
    assert (piece.start_s, piece.keep_from, piece.keep_to) == (0, 0, 5 * RATE)
    assert sound.end_s == 5
    assert sound.problem is None


def test_resampling_keeps_a_tone(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44100 * 3) / 44100)
    (piece,), _ = read_all(write_wav(tmp_path / "a.wav", tone, 44100))
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(piece.samples)) / RATE)
    assert len(piece.samples) == 3 * RATE
    assert np.abs(piece.samples - expected)[100:-100].max() < 1e-3


@pytest.mark.parametrize("suffix", ["wav", "flac", "m4a", "mp3"])
def test_mono_is_the_mean_of_the_channels_in_every_format(suffix: str, tmp_path: Path) -> None:
    tone = "0.6*sin(2*PI*300*t)"
    source = ("-f", "lavfi", "-i", f"aevalsrc='{tone}|{tone}':s=48000:d=2")
    ffmpeg(*source, "-b:a", "256k", tmp_path / f"a.{suffix}")
    (piece,), _ = read_all(tmp_path / f"a.{suffix}")
    assert np.abs(piece.samples[RATE // 2 : RATE]).max() == pytest.approx(0.6, abs=0.03)


def test_samples_beyond_full_scale_are_clipped_and_nan_is_silence(tmp_path: Path) -> None:
    samples = np.array([3, -3, np.nan, 0.25] * RATE, dtype=np.float32)
    (piece,), _ = read_all(write_wav(tmp_path / "a.wav", samples))
    assert piece.samples[:4].tolist() == [1, -1, 0, 0.25]


@pytest.mark.parametrize("seconds", [0.01, 30, 30.001, 32, 61.5])
def test_pieces_are_cut_on_a_fixed_grid_with_their_neighbours(seconds: float, tmp_path: Path) -> None:
    rate = 1000
    samples = np.random.default_rng(1).uniform(-1, 1, round(seconds * rate)).astype(np.float32)
    pieces, _ = read_all(write_wav(tmp_path / "a.wav", samples, rate), rate)
    kept = [piece.samples[piece.keep_from : piece.keep_to] for piece in pieces]
    np.testing.assert_array_equal(np.concatenate(kept), samples)
    for index, piece in enumerate(pieces):
        begin = max(0, index * 30 - 2)
        assert piece.start_s == begin
        assert piece.keep_from == index * 30 * rate - begin * rate
        np.testing.assert_array_equal(piece.samples, samples[begin * rate : (index * 30 + 32) * rate])
    assert len(pieces) == max(1, -(-len(samples) // (30 * rate)))


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.lists(st.tuples(st.integers(1, 90), st.sampled_from([0, 0, 0, 1, 25, 400, -5])), min_size=1, max_size=12)
)
def test_pieces_do_not_depend_on_how_the_samples_arrive(blocks: list[tuple[int, int]]) -> None:
    from fractions import Fraction

    rate, piece, context = 100, 60, 10  # a gap counts from 2 samples on
    track: dict[int, float] = {}
    stamped, clock, value = [], 0, 0.0
    for count, gap in blocks:
        clock += gap
        samples = np.arange(value + 1, value + count + 1, dtype=np.float32)
        value += count
        stamped.append((Fraction(clock, rate), samples))
        clock += count
    # The oracle: every sample at its own place, the first to come has it, jitter within 2 samples moves nothing.
    position = 0
    first = stamped[0][0]
    for time_s, samples in stamped:
        place = round((time_s - first) * rate)
        start = place if abs(place - position) > 2 else position
        for offset, sample in enumerate(samples):
            if start + offset >= position:
                track[start + offset] = float(sample)
        position = max(position, start + len(samples))
    whole = np.array([track.get(index, 0.0) for index in range(position)], dtype=np.float32)

    runs = Placed(rate).runs(iter(stamped))
    pieces = list(cut(runs, first, rate, piece, context))
    begins = [round((p.start_s - float(first)) * rate) + p.keep_from for p in pieces]
    expected = [b for b in range(0, position, piece) if any(index in track for index in range(b, b + piece))]
    assert begins == expected
    for begin, found in zip(begins, pieces, strict=True):
        np.testing.assert_array_equal(found.samples, whole[max(0, begin - context) : begin + piece + context])
        assert found.keep_to - found.keep_from == min(piece, position - begin)


def test_silence_is_sound(tmp_path: Path) -> None:
    pieces, sound = read_all(write_wav(tmp_path / "a.wav", np.zeros(RATE)))
    assert sound.has_sound
    assert len(pieces) == 1


def test_no_sound_track_is_no_error(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=d=1", *H264, tmp_path / "silent.mp4")
    pieces, sound = read_all(tmp_path / "silent.mp4")
    assert (pieces, sound.has_sound, sound.problem, sound.end_s) == ([], False, None, 0)


@pytest.mark.parametrize("content", [b"", b"no sound at all\n" * 99])
def test_what_is_no_media_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(MediaError):
        open_sound(path, sample_rate_hz=RATE)


def test_a_truncated_track_keeps_its_sound_and_says_so(tmp_path: Path) -> None:
    path = write_click(tmp_path / "cut.mkv", *CONTAINERS["opus.mkv"], at_s=1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    pieces, sound = read_all(path)
    assert 0.5 < len(pieces[0].samples) / RATE < 4.5
    assert sound.problem


def test_a_clock_that_leaps_is_said(tmp_path: Path) -> None:
    one = write_click(tmp_path / "one.ts", *CONTAINERS["transport.ts"], at_s=1, sound_end_s=2, seconds=2)
    (tmp_path / "joined.ts").write_bytes(2 * one.read_bytes())
    _, sound = read_all(tmp_path / "joined.ts")
    assert sound.problem is not None
    assert sound.problem.startswith("its clock leaps from 2.")


def test_sound_that_an_avi_starts_late_is_late(tmp_path: Path) -> None:
    """An AVI's header says with which sample a stream starts (ffmpeg writes 0 there, and so loses a late start)."""
    data = bytearray(write_click(tmp_path / "a.avi", "-c:v", "mpeg4", "-c:a", "pcm_s16le", at_s=3).read_bytes())
    assert click_s(tmp_path / "a.avi") == pytest.approx(3, abs=0.001)
    start = data.index(b"auds") + 28
    data[start : start + 4] = (48000 * 3 // 2).to_bytes(4, "little")
    (tmp_path / "a.avi").write_bytes(data)
    assert click_s(tmp_path / "a.avi") == pytest.approx(4.5, abs=0.001)


def test_leaving_early_ends_ffmpeg(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", np.zeros(RATE * 200))
    with open_sound(path, sample_rate_hz=RATE) as sound:
        next(sound)
        process = sound._track.source.decoder._process
    assert process.returncode is not None
    assert next(sound, None) is None
