"""Which picture track is read, and what bare streams and protected files are taken for."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from helpers.media_fixtures import H264, astronaut, ffmpeg, write_pattern
from PIL import Image

from affcli.media import picture_track
from affcli.media.audio import open_sound
from affcli.media.ffmpeg import MediaError
from affcli.media.picture_track import NO_PICTURE
from affcli.media.track_choice import TrackChoice
from affcli.media.video import open_video, read_frame_times

SHORT = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4")
LONG = ("-f", "lavfi", "-i", "testsrc2=s=96x48:r=25:d=0.8")
TONE = ("-f", "lavfi", "-i", "sine=d=2")
BOTH = ("-map", "0", "-map", "1", *H264)


@pytest.fixture(autouse=True)
def every_note_again() -> None:
    picture_track.note.cache_clear()


def widths(path: Path, choice: TrackChoice = TrackChoice()) -> list[int]:  # noqa: B008 - it is frozen
    with open_video(path, choice=choice) as frames:
        return [frame.pixels.shape[1] for frame in frames if frame.pixels is not None]


@pytest.fixture
def still(tmp_path: Path) -> Path:
    Image.fromarray(astronaut()).resize((32, 32)).save(tmp_path / "still.jpg")
    return tmp_path / "still.jpg"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("-disposition:v:0", "default", "-disposition:v:1", "0"), [64] * 10),  # the flagged one, though shorter
        (("-disposition:v:0", "0", "-disposition:v:1", "default"), [96] * 20),
        (("-disposition:v:0", "default", "-disposition:v:1", "default"), [96] * 20),  # the longest of two
        (("-disposition:v:0", "0", "-disposition:v:1", "0"), [96] * 20),
    ],
)
def test_the_default_flag_decides_else_the_length(
    flags: tuple[str, ...], expected: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ffmpeg(*SHORT, *LONG, *BOTH, *flags, tmp_path / "two.mkv")
    with caplog.at_level(logging.WARNING):
        assert widths(tmp_path / "two.mkv") == expected
        assert len(read_frame_times(tmp_path / "two.mkv")) == len(expected)
    number = 1 if expected[0] == 64 else 2
    assert f"2 picture tracks; number {number} is read (h264 (" in caplog.text
    assert caplog.text.count("picture tracks") == 1


def test_a_chosen_track_is_read_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    ffmpeg(*SHORT, *LONG, *BOTH, tmp_path / "two.mkv")
    assert widths(tmp_path / "two.mkv", TrackChoice(video=1)) == [64] * 10
    assert widths(tmp_path / "two.mkv", TrackChoice(video=2)) == [96] * 20
    with pytest.raises(MediaError, match="--video-track 3: the file has 2 picture tracks"):
        open_video(tmp_path / "two.mkv", choice=TrackChoice(video=3))


def test_a_lone_still_without_its_mark_is_a_cover(still: Path, tmp_path: Path) -> None:
    ffmpeg(
        "-i", still, *LONG, "-map", "0", "-map", "1", "-c:v:0", "copy", "-c:v:1", "libx264", tmp_path / "covered.mkv"
    )
    assert widths(tmp_path / "covered.mkv") == [96] * 20


@pytest.mark.parametrize("read", [open_video, read_frame_times])
def test_a_still_beside_sound_is_sound_without_a_picture(read, still: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ffmpeg("-i", still, *TONE, "-map", "0", "-map", "1", "-c:v", "copy", "-c:a", "aac", tmp_path / "song.mkv")
    with pytest.raises(MediaError) as caught:
        read(tmp_path / "song.mkv")
    assert caught.value.reason == NO_PICTURE
    with open_sound(tmp_path / "song.mkv", sample_rate_hz=8000) as sound:
        assert len(next(sound).samples) == pytest.approx(16_000, abs=800)


@pytest.mark.parametrize("name", ["song.mp3", "song.m4a", "song.flac"])
def test_a_cover_of_a_sound_file_is_none(name: str, still: Path, tmp_path: Path) -> None:
    cover = ("-map", "1", "-map", "0", "-c:v", "copy", "-disposition:v", "attached_pic")
    ffmpeg("-i", still, *TONE, *cover, tmp_path / name)
    with pytest.raises(MediaError, match="no video stream"):
        open_video(tmp_path / name)


def test_animations_are_videos_and_pictures_are_none(tmp_path: Path) -> None:
    for name, options in (("a.apng", ("-f", "apng")), ("a.gif", ()), ("named.png", ("-f", "apng"))):
        ffmpeg(*SHORT, *options, tmp_path / name)
        assert len(widths(tmp_path / name)) == 10
    pictures = [Image.fromarray(np.full((24, 24, 3), level, np.uint8)) for level in (10, 200, 90)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=[40, 80, 40])
    with open_video(tmp_path / "a.webp") as frames:
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.12])
    pictures[0].save(tmp_path / "one.webp")
    with pytest.raises(MediaError, match="this is a picture"):
        open_video(tmp_path / "one.webp")


BARE = {
    "a.mjpeg": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "a.h264": ("-c:v", "libopenh264", "-pix_fmt", "yuv420p"),  # writes no rate into its headers, as cameras do
    "a.hevc": ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "no-vui-timing-info=1:log-level=0"),
}


@pytest.mark.parametrize("name", BARE)
def test_a_bare_stream_has_the_rate_that_is_given_else_25_is_assumed(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_pattern(tmp_path / name, *BARE[name], seconds=0.5, fps=60)
    with open_video(path, choice=TrackChoice(fps=50)) as frames:
        assert [frame.time_s for frame in frames] == pytest.approx(np.arange(30) / 50)
    assert not caplog.text
    with caplog.at_level(logging.WARNING), open_video(path) as frames:
        assert [frame.time_s for frame in frames] == pytest.approx(np.arange(30) / 25)
    assert "25 frames/s are assumed. Give its rate with --fps." in caplog.text


def test_a_bare_stream_whose_headers_hold_a_rate_keeps_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_pattern(tmp_path / "a.h264", *H264, seconds=0.5, fps=60)
    for choice in (TrackChoice(), TrackChoice(fps=50)):
        with open_video(path, choice=choice) as frames:
            assert [frame.time_s for frame in frames] == pytest.approx(np.arange(30) / 60, abs=1e-6)
    assert not caplog.text


def test_a_picture_with_a_thumbnail_is_no_film(tmp_path: Path) -> None:
    first = Image.fromarray(astronaut())
    first.save(tmp_path / "camera.mpo", "MPO", save_all=True, append_images=[first])
    with pytest.raises(MediaError, match="this is a picture"):
        open_video(tmp_path / "camera.mpo")


def test_encrypted_media_are_named_as_such(tmp_path: Path) -> None:
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0" * 32, "-encryption_kid", "1" * 32)
    ffmpeg(*SHORT, *TONE, *H264, "-c:a", "aac", *key, tmp_path / "locked.mp4")
    with pytest.raises(MediaError, match="encrypted"):
        open_video(tmp_path / "locked.mp4")
    with pytest.raises(MediaError, match="encrypted"):
        open_sound(tmp_path / "locked.mp4", sample_rate_hz=8000)


def test_a_frame_beyond_the_limit_of_pixels_is_refused(tmp_path: Path) -> None:
    Image.new("P", (9000, 9000)).save(tmp_path / "bomb.gif")
    with pytest.raises(MediaError):
        open_video(tmp_path / "bomb.gif")
