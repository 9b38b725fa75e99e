"""Broken, odd and empty inputs among good ones: every good video is in the table, each bad one is one clear line."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.extracting import BLANK, SMALL, column
from helpers.media_fixtures import H264, ffmpeg, write_click, write_frames, write_pattern
from helpers.runners import Extract
from PIL import Image

ENCODERS = {"visual": "beit", "audio": "wavlm"}
MP4 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")


def fill(folder: Path) -> dict[str, str]:
    """Bad files of many kinds; what is said of each."""
    whole = write_pattern(folder / "whole.mp4", *MP4, seconds=1).read_bytes()
    (folder / "whole.mp4").unlink()
    picture, playlist = folder / "picture.mp4", "#EXTM3U\n#EXTINF:1,\ngood.mkv\n"
    Image.fromarray(SMALL).save(picture, format="PNG")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.avi").write_text("this is no video\n")
    (folder / "playlist.mp4").write_text(playlist)
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile good.mkv\n")
    (folder / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    return {
        "picture.mp4": "this is a picture",
        "empty.mp4": "the file is empty (0 bytes)",
        "cut.mp4": "its index is missing",
        "text.avi": "not a video or sound file",
        "playlist.mp4": "this is a playlist",
        "concat.mp4": "this is a playlist",
        "noise.mkv": "not a video or sound file",
        "gone.mp4": "No such file",
        "pipe.mp4": "not a regular file",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    write_frames(folder / "good.mkv", [SMALL, BLANK, SMALL])
    write_frames(folder / "wrong.txt.avi", [SMALL]).rename(folder / "wrong suffix.flv")
    return folder


def test_each_bad_video_is_one_line_and_the_good_ones_are_written(
    tmp_path: Path, visual: Extract, folder: Path
) -> None:
    expected = fill(folder)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", folder / "sound only.mp4")
    expected["sound only.mp4"] = "no video stream"
    said = [line for line in visual("in", status=3).splitlines() if ": done, " not in line]
    assert len(said) == len(expected) + 2, said
    for name, reason in expected.items():
        [line] = [line for line in said if f"in/{name}: " in line]
        assert reason in line
    assert said[-1].endswith(f"{len(expected)} of {len(expected) + 2} inputs failed or are incomplete.")
    assert column(tmp_path / "V.parquet", "video") == ["good"] * 3 + ["wrong suffix"]
    assert column(tmp_path / "V.parquet", "face") == [True, False, True, True]


def test_each_bad_sound_is_one_line_and_the_good_ones_are_written(tmp_path: Path, audio: Extract, folder: Path) -> None:
    expected = fill(folder)
    sound = ("-f", "lavfi", "-i", "sine=d=0.5")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.5", *sound, *MP4, folder / "both.mp4")
    ffmpeg(*sound, "-c:a", "pcm_s16le", folder / "wave.wav")
    (folder / "half.wav").write_bytes((folder / "wave.wav").read_bytes()[:60])
    said = audio("in", "--fps", 25, status=3).splitlines()
    for name, reason in expected.items():
        [line] = [line for line in said if f"in/{name}: " in line]
        assert reason in line
    videos = column(tmp_path / "A.parquet", "video")
    # Videos without a sound track have their rows, without sound.
    assert {video: videos.count(video) for video in videos if video != "half"} == {
        "both": 13,
        "good": 3,
        "wave": 12,
        "wrong suffix": 1,
    }
    assert column(tmp_path / "A.parquet", "feature", "good") == [None] * 3


def test_a_name_in_a_list_that_does_not_exist_is_one_bad_input(tmp_path: Path, visual: Extract, folder: Path) -> None:
    (tmp_path / "list.txt").write_text("in/good.mkv\nin/gone.mkv\n")
    said = visual("--from-file", "list.txt", status=3).splitlines()
    assert "affcli extract-visual: in/gone.mkv: No such file or directory" in said
    assert set(column(tmp_path / "V.parquet", "video")) == {"good"}
    assert "nothing to do" in visual("--from-file", "list.txt", status=3)
    (folder / "good.mkv").rename(folder / "gone.mkv")
    said = visual("--from-file", "list.txt", "--update", status=3)
    assert "in/good.mkv: No such file or directory; what was made of it before stays" in said
    assert set(column(tmp_path / "V.parquet", "video")) == {"good", "gone"}


def test_nothing_but_bad_inputs_is_exit_1(tmp_path: Path, visual: Extract, folder: Path) -> None:
    fill(folder)
    for name in ("good.mkv", "wrong suffix.flv"):
        (folder / name).unlink()
    assert "none of the inputs could be used; nothing is written" in visual("in", status=1).splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "in") == []


def test_one_frame_two_frames_and_no_face_are_videos(tmp_path: Path, visual: Extract, audio: Extract) -> None:
    write_frames(tmp_path / "one.mkv", [SMALL])
    write_frames(tmp_path / "two.mkv", [BLANK, SMALL])
    write_frames(tmp_path / "none.mkv", [BLANK] * 3)
    names = ["one.mkv", "two.mkv", "none.mkv"]
    visual(*names)
    assert column(tmp_path / "V.parquet", "video") == ["none"] * 3 + ["one"] + ["two"] * 2
    assert column(tmp_path / "V.parquet", "face") == [False] * 3 + [True] + [False, True]
    visual(*names, "--every", 7, "--face", "all", output="all.parquet")
    assert column(tmp_path / "all.parquet", "video") == ["none#1"] * 3 + ["one#1"] + ["two#1"] * 2
    assert column(tmp_path / "all.parquet", "face") == [False] * 3 + [True] + [False, True]
    audio(*names)
    assert column(tmp_path / "A.parquet", "feature") == [None] * 6


def test_numbered_pictures_with_gaps_and_junk(tmp_path: Path, visual: Extract) -> None:
    folder = tmp_path / "in" / "x"
    (folder / "__MACOSX").mkdir(parents=True)
    for name in ("00002.jpg", "5.png", "00007.JPG"):
        Image.fromarray(SMALL).convert("RGB").save(folder / name)
    Image.fromarray(SMALL).save(folder / "cover.png")
    for name in ("Thumbs.db", ".DS_Store", "._00003.jpg", "notes.txt", "__MACOSX/00001.jpg"):
        (folder / name).write_text("junk")
    (folder / "00004.jpg").write_bytes(b"")
    (folder / "00006.jpg").mkdir()
    said = visual("in", "--fps", 25, status=3)
    assert "in/x: not readable as pictures: 00004.jpg" in said
    assert column(tmp_path / "V.parquet", "face") == [False, True, False, False, True, False, True]


def test_a_picture_given_by_itself_says_what_to_give(tmp_path: Path, visual: Extract) -> None:
    Image.fromarray(SMALL).save(tmp_path / "me.jpg")
    assert "this is a picture; give videos, or a folder of numbered pictures" in visual("me.jpg", status=1)


def test_names_that_a_shell_or_ffmpeg_could_misread_are_only_names(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ["-dash.mkv", "a:b.mkv", "50%d.mkv", "two  spaces.mkv", "new\nline.mkv", "größe.mkv"]
    for name in names:
        write_frames(folder / name, [SMALL])
    visual("odd")
    assert sorted(column(tmp_path / "V.parquet", "video")) == sorted(name.removesuffix(".mkv") for name in names)


_READING_EVERYTHING = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root read what is closed


@contextmanager
def as_a_user() -> Iterator[None]:
    """What follows may read no more than a user may, also where the tests run as root (who stays the owner)."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3, of this thread
    assert libc.capget(header, sets) == 0
    effective = sets[0]
    sets[0] = effective & ~_READING_EVERYTHING
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may use (pytest's own are closed to others)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize("locked", ["file", "its folder", "a folder in a folder"])
@pytest.mark.parametrize("command", ["visual", "audio"])
def test_what_may_not_be_read_is_named_in_one_line(
    command: str, locked: str, public: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Extract = request.getfixturevalue(command)
    checkpoint = public / "encoder"
    shutil.copytree(request.getfixturevalue(f"tiny_{ENCODERS[command]}"), checkpoint, copy_function=shutil.copyfile)
    monkeypatch.chdir(public)
    write_click(public / "open.mkv", *H264, at_s=0.3, seconds=1, sound_end_s=1)
    (public / "closed").mkdir()
    inside, folder = Path(shutil.copy("open.mkv", "closed/bad.mkv")), Path("closed")
    (inside if locked == "file" else folder).chmod(0)
    bad, given = (folder, Path()) if locked == "a folder in a folder" else (inside, inside)
    with as_a_user():
        said = run(given, "open.mkv", "--model", checkpoint, output="some.parquet", status=3)
        alone = run(bad, "--model", checkpoint, output="none.parquet", status=1)
    folder.chmod(0o755)  # so that it can be removed
    line = f"affcli extract-{command}: {bad}: Permission denied"
    assert [found for found in said.splitlines() if "closed" in found] == [line]
    assert line in alone.splitlines()
    assert "Traceback" not in said + alone
    assert set(column(public / "some.parquet", "video")) == {"open"}
    assert not (public / "none.parquet").exists()
