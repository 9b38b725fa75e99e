"""`affcli overlay`: the source's frames, size, times and sound, with what was found drawn in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.media_fixtures import H264, LOSSLESS, ffmpeg, showinfo_times, write_frames, write_pattern
from helpers.runners import Affcli
from PIL import Image

from affcli.media.ffmpeg import executable
from affcli.media.video import open_video, read_frame_times
from affcli.palette import PALETTE, channels
from affcli.schema import CLASSES
from affcli.views.overlay.painter import Found, Painter

NOISE = ("-f", "lavfi", "-i", "anoisesrc=seed=1:duration=2:sample_rate=44100:amplitude=0.3")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2")
AAC, H264_AAC = ("-c:a", "aac"), (*H264, "-c:a", "aac")
# Frames 0 to 20 of 50 at 25 a second, then every third, each up to 11 ms late: on no grid.
LATE = "settb=1/90000,setpts='PTS+mod(N,3)*500'"
VARIABLE = ("-vf", f"select='lt(n,20)+not(mod(n,3))',{LATE}", "-fps_mode", "passthrough", "-enc_time_base", "1:90000")


def clip(path: Path, *options: str) -> Path:
    ffmpeg(*PICTURE, *NOISE, *options, f"file:{path}")
    return path


def table(path: Path, video: str, frames: int, label: str = "Happiness", **columns: object) -> Path:
    rows = pd.DataFrame({"video": video, "frame": range(1, frames + 1)})
    for name in CLASSES:
        rows[name] = 2.0 if name == label else 0.0
    rows.assign(**columns).to_parquet(path)
    return path


def packets(path: Path) -> str:
    """A digest of the sound's packets as they stand in the file."""
    command = [executable(), "-v", "error", "-i", f"file:{path}", "-map", "0:a", "-c", "copy", "-f", "md5", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def sound(path: Path) -> np.ndarray:
    """Its samples on the file's own clock, silence before them."""
    align = ("-af", "aresample=async=1:first_pts=0")
    data = ffmpeg("-i", f"file:{path}", "-map", "0:a", *align, "-f", "f32le", "-ac", "1", "-")
    return np.frombuffer(data, np.float32)


def described(path: Path) -> str:
    return subprocess.run([executable(), "-hide_banner", "-i", f"file:{path}"], capture_output=True, text=True).stderr


def pictures(path: Path) -> list[np.ndarray]:
    with open_video(path) as frames:
        return [frame.pixels for frame in frames if frame.pixels is not None]


SOURCES = {
    "constant.mp4": H264_AAC,
    "b-frames.mp4": ("-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p", *AAC),
    "variable.mp4": (*VARIABLE, *H264_AAC),
    "variable.mkv": (*VARIABLE, *H264_AAC),
    "late sound.mkv": ("-af", "asetpts=PTS+0.4/TB", *H264_AAC),
    "transport.ts": H264_AAC,
    "flash.flv": ("-c:v", "flv1", "-c:a", "mp3", "-ar", "44100"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_frames_times_size_and_sound_are_the_source_s(affcli: Affcli, tmp_path: Path, name: str) -> None:
    source = clip(tmp_path / name, *SOURCES[name])
    times_s = read_frame_times(source)
    table(tmp_path / "F.parquet", source.stem, len(times_s))
    affcli("overlay", source, "F.parquet", "-o", "out.mp4")
    out = tmp_path / "out.mp4"
    assert read_frame_times(out).tolist() == pytest.approx(times_s.tolist(), abs=1e-5)
    assert pictures(out)[0].shape == (120, 160, 3)
    own, theirs = sound(out), sound(source)
    assert abs(len(own) - len(theirs)) <= 1152  # a packet of padding
    shifts = range(-600, 601, 10)  # 13.6 ms either way
    errors = {k: np.abs(own[5000 + k : 35000 + k] - theirs[5000:35000]).mean() for k in shifts}
    assert abs(min(errors, key=errors.__getitem__)) <= 44  # a millisecond, to which Matroska rounds


def test_the_sound_is_copied_packet_by_packet(affcli: Affcli, tmp_path: Path) -> None:
    source = clip(tmp_path / "clip.mp4", *H264_AAC)
    table(tmp_path / "F.parquet", "clip", 50)
    for suffix in ("mp4", "mkv", "mov"):
        affcli("overlay", source, "F.parquet", "-o", f"out.{suffix}")
        assert packets(tmp_path / f"out.{suffix}") == packets(source)


def test_the_times_are_those_that_ffmpeg_shows(affcli: Affcli, tmp_path: Path) -> None:
    source = clip(tmp_path / "clip.mp4", *VARIABLE, *H264_AAC)
    table(tmp_path / "F.parquet", "clip", 30)
    affcli("overlay", source, "F.parquet", "-o", "out.mp4")
    assert showinfo_times(tmp_path / "out.mp4") == pytest.approx(showinfo_times(source), abs=1e-5)
    assert len(set(np.diff(showinfo_times(source)).round(3))) > 1


def test_a_video_without_sound_odd_in_size_with_oblong_pixels(affcli: Affcli, tmp_path: Path) -> None:
    grey = [np.full((121, 161, 3), 8 * number, np.uint8) for number in range(25)]
    source = write_frames(tmp_path / "clip.mkv", grey, codec=("-vf", "setsar=16/15", *LOSSLESS))
    table(tmp_path / "F.parquet", "clip", 25)
    affcli("overlay", source, "F.parquet", "-o", "out.mp4")
    assert [one.shape for one in pictures(tmp_path / "out.mp4")] == [(121, 161, 3)] * 25
    assert re.search(r"161x121.*SAR 16:15", described(tmp_path / "out.mp4"))


def test_the_untouched_part_of_the_picture_keeps_its_colours(affcli: Affcli, tmp_path: Path) -> None:
    source = write_pattern(tmp_path / "clip.mkv", "-c:v", "ffv1", "-pix_fmt", "bgr0", size="320x240")
    table(tmp_path / "F.parquet", "clip", 25)
    affcli("overlay", source, "F.parquet", "-o", "out.mp4")
    corner = (slice(130, 230), slice(20, 120))
    for own, theirs in zip(pictures(tmp_path / "out.mp4")[::8], pictures(source)[::8], strict=True):
        assert np.abs(own[corner].astype(int) - theirs[corner]).mean() < 6


# --- what is drawn ---------------------------------------------------------------------------------------------------


def has(pixels: np.ndarray, colour: str, within: tuple[slice, slice] = (slice(None), slice(None))) -> bool:
    """Whether many pixels have nearly this colour, as they do after encoding."""
    difference = np.abs(pixels[within].astype(int) - channels(colour)).max(axis=-1)
    return int((difference < 24).sum()) > 40


def test_box_and_label_follow_the_table(affcli: Affcli, tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=c=black:s=320x240:r=25:d=1", "-c:v", "ffv1", f"file:{source}")
    boxes = {"box_x": [100.0] * 10 + [None] * 15, "box_y": 60.0, "box_w": 120.0, "box_h": 90.0}
    table(tmp_path / "F.parquet", "clip", 25, "Surprise", face=[True] * 10 + [False] * 15, **boxes)
    affcli("overlay", source, "F.parquet", "-o", "out.mp4")
    drawn = pictures(tmp_path / "out.mp4")
    around = (slice(56, 156), slice(96, 226))
    assert has(drawn[2], PALETTE["Surprise"], around)
    assert not has(drawn[20], PALETTE["Surprise"], around)
    assert has(drawn[20], PALETTE["Surprise"], (slice(0, 30), slice(160, 320)))  # its label stands in the corner


def test_boxes_come_from_a_feature_table_too(affcli: Affcli, tmp_path: Path) -> None:
    source = write_pattern(tmp_path / "clip.mkv", "-c:v", "ffv1", size="320x240")
    table(tmp_path / "F.parquet", "clip", 25, "Anger")
    boxes = dict(zip(("box_x", "box_y", "box_w", "box_h"), (100.0, 60.0, 120.0, 90.0), strict=True))
    pd.DataFrame({"video": "clip", "frame": [1, 2, 5], **boxes}).to_parquet(tmp_path / "V.parquet")
    affcli("overlay", source, "F.parquet", "--faces", "V.parquet", "-o", "out.mkv")
    affcli("overlay", source, "F.parquet", "-o", "without.mkv")
    bottom = (slice(145, 153), slice(105, 215))
    same = [
        np.abs(a[bottom].astype(int) - b[bottom]).mean() < 8
        for a, b in zip(pictures(tmp_path / "out.mkv")[:6], pictures(tmp_path / "without.mkv")[:6], strict=True)
    ]
    assert same == [False, False, True, True, False, True]


def test_all_people_of_a_video_are_drawn(affcli: Affcli, tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=c=black:s=640x480:r=25:d=0.4", "-c:v", "ffv1", f"file:{source}")
    for number, (label, x) in enumerate((("Happiness", 100.0), ("Surprise", 400.0)), start=1):
        boxes = {"box_x": x, "box_y": 60.0, "box_w": 120.0, "box_h": 90.0}
        table(tmp_path / f"F{number}.parquet", f"clip#{number}", 10, label, **boxes)
    both = pd.concat([pd.read_parquet(tmp_path / f"F{number}.parquet") for number in (1, 2)])
    both.to_parquet(tmp_path / "F.parquet")
    affcli("overlay", source, "F.parquet", "-o", "out.mp4")
    drawn = pictures(tmp_path / "out.mp4")[3]
    assert has(drawn, PALETTE["Happiness"], (slice(0, 200), slice(60, 260)))
    assert has(drawn, PALETTE["Surprise"], (slice(0, 200), slice(360, 560)))


def black(height: int = 240, width: int = 320) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_a_bar_is_as_long_as_its_probability() -> None:
    lengths = []
    for probability in (0.25, 0.5, 1.0):
        pixels = black()
        Painter(("A", "B"), (240, 320)).paint(pixels, [Found("", -1, np.array([probability, 0]), None, None)])
        from affcli.palette import colours_of

        rows = (pixels == channels(colours_of(("A", "B"))[0])).all(axis=-1).sum(axis=1)
        lengths.append(int(rows.max()))
    assert lengths == pytest.approx([lengths[2] / 4, lengths[2] / 2, lengths[2]], abs=2)
    assert lengths[2] > 40


@pytest.mark.parametrize("size", [(16, 16), (120, 160), (2160, 3840)])
@pytest.mark.parametrize("box", [None, (-50.0, -50.0, 20.0, 20.0), (5.0, 5.0, 9999.0, 9999.0), (1e4, 1e4, 3.0, 3.0)])
def test_whatever_lies_outside_the_frame_is_cut_off(size: tuple[int, int], box: tuple[float, ...] | None) -> None:
    classes = ("a very long name of a class " * 4, "ελπίδα <b>", "")
    found = Found("#12", 0, np.array([np.nan, 0.5, 0.5]), box, False)  # type: ignore[arg-type]
    Painter(classes, size).paint(black(*size), [found] * 3)


def test_a_frame_without_a_row_is_left_as_it_is(affcli: Affcli, tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=c=black:s=320x240:r=25:d=1", "-c:v", "ffv1", f"file:{source}")
    table(tmp_path / "F.parquet", "clip", 10)
    said = affcli("overlay", source, "F.parquet", "-o", "out.mp4").stderr
    assert "clip.mkv has 25 frames, and the table goes to frame 10" in said
    drawn = pictures(tmp_path / "out.mp4")
    assert len(drawn) == 25
    assert drawn[9].max() > 200
    assert drawn[20].max() < 20


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_tracks_that_a_container_cannot_hold_are_named_and_the_others_kept(affcli: Affcli, tmp_path: Path) -> None:
    source = clip(
        tmp_path / "clip.mkv", "-map", "0", "-map", "1", "-map", "1", *H264, "-c:a:0", "wmav2", "-c:a:1", "aac"
    )
    table(tmp_path / "F.parquet", "clip", 50)
    said = affcli("overlay", source, "F.parquet", "-o", "out.mp4").stderr
    left_out = "clip.mkv: left out of the new .mp4 file (.mkv holds more kinds): sound track 2 (wmav2)."
    assert left_out in said
    assert re.findall(r"Audio: (\w+)", described(tmp_path / "out.mp4")) == ["aac"]
    assert "left out" not in affcli("overlay", source, "F.parquet", "-o", "out.mkv").stderr
    assert re.findall(r"Audio: (\w+)", described(tmp_path / "out.mkv")) == ["wmav2", "aac"]


def test_a_late_start_of_the_source_is_kept(affcli: Affcli, tmp_path: Path) -> None:
    """So captions made for the source fit the drawn video in a player."""
    source = clip(tmp_path / "clip.mkv", *H264_AAC, "-output_ts_offset", "3")
    table(tmp_path / "F.parquet", "clip", 50)
    for name in ("out.mp4", "out.mkv"):
        affcli("overlay", source, "F.parquet", "-o", name)
        with open_video(tmp_path / name) as drawn, open_video(source) as own:
            assert drawn.starts_s == pytest.approx(own.starts_s, abs=0.03)
            shift_s = drawn.starts_s - own.starts_s
            times_s = [frame.time_s + shift_s for frame in drawn]
            assert times_s == pytest.approx([frame.time_s for frame in own], abs=0.002)
        assert np.abs(len(sound(tmp_path / name)) - len(sound(source))) <= 3000


def test_a_frame_of_another_shape_is_drawn_in_its_own_and_fitted(affcli: Affcli, tmp_path: Path) -> None:
    for name, size in (("wide.ts", "320x240"), ("tall.ts", "240x320")):
        ffmpeg("-f", "lavfi", "-i", f"color=c=gray:s={size}:r=25:d=0.4", *H264, tmp_path / name)
    (tmp_path / "clip.ts").write_bytes((tmp_path / "wide.ts").read_bytes() + (tmp_path / "tall.ts").read_bytes())
    box = {"box_x": 100.0, "box_y": [100.0] * 10 + [250.0] * 10, "box_w": 60.0, "box_h": 60.0}
    table(tmp_path / "F.parquet", "clip", 20, "Surprise", face=True, **box)
    affcli("overlay", "clip.ts", "F.parquet", "-o", "out.mkv")
    drawn = pictures(tmp_path / "out.mkv")
    assert {one.shape for one in drawn} == {(240, 320, 3)}
    assert drawn[15][:, :60].max() < 30  # black at its sides
    yellow = PALETTE["Surprise"]
    assert has(drawn[15], yellow, (slice(185, 240), slice(130, 190)))  # 3/4 of (250, 100), moved by 70


def test_a_folder_of_tables_is_drawn_video_by_video(affcli: Affcli, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("a", "b"):
        write_pattern(tmp_path / "videos" / f"{name}.mp4", *H264, seconds=0.2)
    (tmp_path / "videos" / "c.mp4").write_bytes(b"no video")
    table(tmp_path / "out" / "a.parquet", "a", 5)
    for person in (1, 2):
        table(tmp_path / "out" / f"b#{person}.parquet", f"b#{person}", 5)
    table(tmp_path / "out" / "c.parquet", "c", 5)
    table(tmp_path / "out" / "gone.parquet", "gone", 5)
    said = affcli("overlay", "out", "--videos", "videos", "-o", "drawn", status=3).stderr
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.mp4", "b.mp4"]
    assert "c.mp4: not a video" in said
    assert "gone: no file of this name" in said
    before = (tmp_path / "drawn" / "a.mp4").stat().st_mtime_ns
    assert (
        "drawn already, and kept: a.mp4, b.mp4"
        in affcli("overlay", "out", "--videos", "videos", "-o", "drawn", status=1).stderr
    )
    assert (tmp_path / "drawn" / "a.mp4").stat().st_mtime_ns == before
    assert "with --videos DIR" in affcli("overlay", "out", "-o", "drawn", status=2).stderr


def test_wrong_names_are_a_line_each(affcli: Affcli, tmp_path: Path) -> None:
    source = write_pattern(tmp_path / "other.mp4", *H264)
    table(tmp_path / "F.parquet", "clip", 25)
    (tmp_path / "exists.mp4").write_text("mine")
    for arguments, status, words in (
        ((source, "F.parquet", "-o", "out.mp4"), 1, "has no video 'other' (videos: clip). Name one with --video."),
        (("missing.mp4", "F.parquet", "--video", "clip", "-o", "out.mp4"), 1, "missing.mp4: No such file"),
        ((source, "F.parquet", "-o", "out.avi"), 2, "out.avi: write one of .mp4"),
        ((source, "F.parquet", "--video", "clip", "-o", "exists.mp4"), 1, "exists already"),
        (("F.parquet", "F.parquet", "--video", "clip", "-o", "out.mp4"), 1, "F.parquet: not a video"),
    ):
        said = affcli("overlay", *arguments, status=status).stderr
        assert (said.count("\n"), words in said) == (1, True), said
    assert not (tmp_path / "out.mp4").exists()


def test_a_truncated_source_gives_what_there_is_and_says_so(affcli: Affcli, tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mkv", *H264_AAC)
    data = whole.read_bytes()
    (tmp_path / "clip.mkv").write_bytes(data[: len(data) * 6 // 10])
    frames = len(read_frame_times(tmp_path / "clip.mkv"))
    table(tmp_path / "F.parquet", "clip", 50)
    affcli("overlay", "clip.mkv", "F.parquet", "-o", "out.mkv", status=3)
    assert len(pictures(tmp_path / "out.mkv")) == frames < 50


def test_hostile_names_are_files_and_text(affcli: Affcli, tmp_path: Path) -> None:
    name = "-i %d;[0]drawtext=text='x':y=0"
    source = write_pattern(tmp_path / "plain.mp4", *H264)
    (tmp_path / f"{name}.mp4").write_bytes(source.read_bytes())
    table(tmp_path / "F.parquet", name, 25)
    affcli("overlay", tmp_path / f"{name}.mp4", "F.parquet", "-o", f"out {name}.mp4")
    assert len(pictures(tmp_path / f"out {name}.mp4")) == 25


def test_a_label_that_is_no_text_for_the_font_is_drawn_all_the_same(tmp_path: Path) -> None:
    pixels = black()
    Painter(("喜び\n", "B"), (240, 320)).paint(pixels, [Found("", 0, np.array([0.5, 0.5]), (50, 50, 90, 90), True)])
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert pixels.max() > 0
