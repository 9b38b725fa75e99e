"""Frames: numbers, times and pixels of real containers, and what is said of broken ones."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.media_fixtures import H264, astronaut, ffmpeg, shared_clip, showinfo_times, write_frames, write_pattern
from PIL import Image

from affcli.errors import AffcliError
from affcli.media.ffmpeg import MediaError
from affcli.media.video import Frame, frame_centres, open_pictures, open_video, read_frame_times

B_FRAMES = (*H264, "-preset", "medium", "-bf", "3")
# Frames 1, 2, 4, 8, … of the pattern, at their own times: a variable frame rate.
VARIABLE = ("-vf", "select='not(mod(n,2))+eq(n,1)+gt(n,30)'", "-fps_mode", "vfr", "-enc_time_base", "demux")
LATE = ("-output_ts_offset", "7.3")
CONTAINERS = {
    "plain.mp4": H264,
    "b-frames.mp4": B_FRAMES,
    "variable.mkv": (*H264, *VARIABLE),
    "variable.mp4": (*B_FRAMES, *VARIABLE),
    "late.mkv": (*H264, *LATE),
    "transport.ts": (*B_FRAMES, *LATE),
    "flash.flv": ("-c:v", "flv"),
    "program.mpg": ("-c:v", "mpeg2video", "-bf", "2"),
    "windows.avi": ("-c:v", "mpeg4", "-bf", "2"),
    "web.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8"),
    "fragmented.mp4": (*B_FRAMES, "-movflags", "+frag_keyframe+empty_moov"),
    "cut-by-edit-list.mp4": (*B_FRAMES, "-ss", "0.5"),
}


def read_all(path: Path) -> list[Frame]:
    with open_video(path) as frames:
        found = list(frames)
    assert frames.problem is None
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pattern(tmp_path_factory.mktemp("clip") / "clip.mp4", *B_FRAMES, seconds=2)


@pytest.mark.parametrize("name", CONTAINERS)
def test_times_are_those_that_showinfo_prints(name: str, tmp_path: Path) -> None:
    path = write_pattern(tmp_path / name, *CONTAINERS[name], seconds=2)
    frames = read_all(path)
    expected = showinfo_times(path)
    assert [frame.number for frame in frames] == list(range(1, len(expected) + 1))
    np.testing.assert_allclose([frame.time_s for frame in frames], expected, atol=2e-6)
    np.testing.assert_array_equal(read_frame_times(path), [frame.time_s for frame in frames])


def test_a_first_frame_a_little_before_the_stated_start_has_the_time_0_without_a_sign(tmp_path: Path) -> None:
    """A start of 1001/30000 s is stated as 0.033367."""
    path = write_pattern(tmp_path / "a.mp4", *H264, "-r", "30000/1001", "-output_ts_offset", "0.033367")
    first = next(iter(read_all(path))).time_s
    assert first == 0
    assert math.copysign(1, first) == 1


@pytest.mark.parametrize("name", ["1001_DFA_ANG_XX.flv", "WolfgangLanger_Pexels.mp4", "single_face.mp4"])
def test_times_of_real_clips(name: str) -> None:
    path = shared_clip(name)
    np.testing.assert_allclose([frame.time_s for frame in read_all(path)], showinfo_times(path), atol=2e-6)


def test_frames_before_an_edit_lists_start_are_not_shown(tmp_path: Path) -> None:
    """A cut without encoding keeps frames from the key frame before; the edit list says where the picture begins."""
    write_pattern(tmp_path / "whole.mp4", *B_FRAMES, "-g", "100", seconds=4)
    ffmpeg("-ss", "1.1", "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "cut.mp4")
    frames = read_all(tmp_path / "cut.mp4")
    np.testing.assert_allclose([frame.time_s for frame in frames], showinfo_times(tmp_path / "cut.mp4"), atol=2e-6)
    assert len(frames) < 80


def test_variable_rate_is_seen_in_the_times(tmp_path: Path) -> None:
    path = write_pattern(tmp_path / "v.mkv", *CONTAINERS["variable.mkv"], seconds=2)
    assert len({round(step, 3) for step in np.diff(read_frame_times(path))}) > 1


def test_exact_to_the_stamp_not_to_the_millisecond(tmp_path: Path) -> None:
    path = write_pattern(tmp_path / "ntsc.mp4", *H264, "-r", "30000/1001", fps=30)
    np.testing.assert_allclose(read_frame_times(path), np.arange(30) * 1001 / 30000, atol=1e-6)


def test_time_counts_from_the_containers_start_where_the_sound_begins_first(tmp_path: Path) -> None:
    sound = ("-f", "lavfi", "-i", "sine=d=2", "-itsoffset", "0.5")
    picture = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=1")
    for name in ("late-picture.ts", "late-picture.mkv"):
        ffmpeg(*sound, *picture, "-map", "0", "-map", "1", *H264, tmp_path / name)
        assert read_frame_times(tmp_path / name)[0] == pytest.approx(0.5, abs=0.04)  # the sound codec begins early


def test_pixels_equal_a_plain_dump(clip: Path) -> None:
    dump = np.frombuffer(ffmpeg("-i", clip, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"), np.uint8)
    pixels = np.stack([frame.pixels for frame in read_all(clip)])
    np.testing.assert_array_equal(pixels, dump.reshape(-1, 120, 160, 3))


def test_every_frame_is_there_once_and_in_order(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (0, 0, 9, 9, 200, 7)]
    path = write_frames(tmp_path / "levels.mkv", frames)
    assert [int(frame.pixels[0, 0, 0]) for frame in read_all(path)] == [0, 0, 9, 9, 200, 7]


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotated_video_is_upright(degrees: int, turns: int, tmp_path: Path) -> None:
    write_pattern(tmp_path / "lying.mp4", *H264)
    ffmpeg("-display_rotation", str(degrees), "-i", tmp_path / "lying.mp4", "-c", "copy", tmp_path / "phone.mp4")
    lying, upright = read_all(tmp_path / "lying.mp4")[3], read_all(tmp_path / "phone.mp4")[3]
    assert upright.pixels.shape[:2] == ((160, 120) if turns % 2 else (120, 160))
    difference = np.abs(np.rot90(lying.pixels, turns).astype(int) - upright.pixels)
    assert difference.mean() < 5  # chroma is interpolated before or after the turn


def test_every_frame_comes_in_its_own_size(tmp_path: Path) -> None:
    """As of a phone that is turned while it records; stamps that leap back between the parts hold nothing up."""
    for name, size in (("wide.ts", "160x120"), ("tall.ts", "120x160")):
        write_pattern(tmp_path / name, *H264, size=size)
    (tmp_path / "both.ts").write_bytes((tmp_path / "wide.ts").read_bytes() + (tmp_path / "tall.ts").read_bytes())
    tall = [frame.pixels for frame in read_all(tmp_path / "tall.ts")]
    with open_video(tmp_path / "both.ts", reduced_to=80) as frames:
        found = list(frames)
    assert [frame.pixels.shape[:2] for frame in found] == [(120, 160)] * 25 + [(160, 120)] * 25
    assert [frame.reduced.shape[:2] for frame in found] == [(60, 80)] * 25 + [(80, 60)] * 25
    assert all(np.array_equal(frame.pixels, own) for frame, own in zip(found[25:], tall, strict=True))


@pytest.mark.parametrize(
    ("options", "aspect", "reduced"),
    [
        (("-c", "copy"), 2, (120, 320)),
        (("-c", "copy", "-aspect", "2:3"), 1 / 2, (240, 160)),  # the container says another than the stream
        (("-c", "copy"), 1 / 2, (320, 120)),  # turned by a quarter
    ],
)
def test_the_shape_of_a_pixel_is_that_of_the_upright_picture(
    options: tuple[str, ...], aspect: float, reduced: tuple[int, int], tmp_path: Path
) -> None:
    write_pattern(tmp_path / "a.mp4", *H264, "-vf", "setsar=2")
    turned = ("-display_rotation", "90") if reduced[0] == 320 else ()
    ffmpeg(*turned, "-i", tmp_path / "a.mp4", *options, tmp_path / "b.mp4")
    with open_video(tmp_path / "b.mp4", reduced_to=640) as frames:
        first = next(frames)
        assert frames.clock is not None
        assert float(frames.clock.pixel_aspect) == first.pixel_aspect == aspect
    assert first.reduced is not None
    assert first.reduced.shape[:2] == reduced
    assert first.pixels is not None
    assert sorted(first.pixels.shape[:2]) == [120, 160]


def test_two_frames_and_one_frame(tmp_path: Path) -> None:
    for count in (1, 2):
        path = write_pattern(tmp_path / f"{count}.mp4", *H264, seconds=count / 25)
        assert len(read_all(path)) == count


@pytest.mark.parametrize(
    "name", ["a b.mp4", "a:b.mp4", "50%d.mp4", "-y.mp4", "line\nbreak.mp4", "é漢😀.mp4", "'\"$.mp4"]
)
def test_names_are_only_names(name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(read_all(Path(name))) == 50


def test_a_name_that_is_no_unicode(clip: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.mp4"))
    path.write_bytes(clip.read_bytes())
    assert len(read_all(path)) == 50


def playlist(kind: str, clip: Path) -> str:
    return {
        "concat": f"ffconcat version 1.0\nfile '{clip}'\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{clip}\n#EXT-X-ENDLIST\n",
        "text": "no video at all\n",
    }[kind]


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".txt"])
@pytest.mark.parametrize(("kind", "reason"), [("concat", "playlist"), ("hls", "playlist"), ("text", "not a video")])
def test_a_playlist_opens_no_other_file(kind: str, reason: str, suffix: str, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / f"list{suffix}"
    path.write_text(playlist(kind, clip))
    with pytest.raises(MediaError, match=reason):
        open_video(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_a_picture_named_as_a_video_is_refused(kind: str, tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "clip.mp4", kind)
    with pytest.raises(MediaError, match="this is a picture"):
        open_video(tmp_path / "clip.mp4")


def test_a_crash_of_ffmpeg_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    (tmp_path / "clip.mp4").write_bytes(b"something")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "ffmpeg"))
    with pytest.raises(MediaError, match="ffmpeg itself was ended by signal 11"):
        open_video(tmp_path / "clip.mp4")


def test_a_missing_ffmpeg_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"something")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(AffcliError, match="IMAGEIO_FFMPEG_EXE"):
        open_video(tmp_path / "clip.mp4")


def test_a_picture_is_no_video_and_a_pattern_is_not_expanded(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "%d.jpg"):
        Image.fromarray(astronaut()).save(tmp_path / name)
    with pytest.raises(MediaError, match="this is a picture"):
        open_video(tmp_path / "%d.jpg")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", r"empty \(0 bytes\)"), (b"\0" * 5000, "not a video"), (b"RIFF....AVI ", "not a video")],
)
def test_what_is_no_media_is_refused_in_one_line(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for read in (open_video, read_frame_times):
        with pytest.raises(MediaError, match=reason) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value).replace(str(path), "")


def test_sound_alone_has_no_frames(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "sound.mp4")
    with pytest.raises(MediaError, match="no video stream"):
        open_video(tmp_path / "sound.mp4")


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "cover.jpg")
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "plain.mp3")
    cover = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic")
    ffmpeg("-i", tmp_path / "plain.mp3", "-i", tmp_path / "cover.jpg", *cover, tmp_path / "covered.mp3")
    with pytest.raises(MediaError, match="no video stream"):
        open_video(tmp_path / "covered.mp3")


def test_missing_unreadable_and_special_files(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="No such file"):
        open_video(tmp_path / "none.mp4")
    with pytest.raises(MediaError, match="a folder"):
        open_video(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(MediaError, match="a pipe"):
        open_video(tmp_path / "pipe.mp4")


@pytest.mark.parametrize("name", ["cut.mkv", "cut.flv", "cut.avi", "fast.mp4"])
def test_a_truncated_file_keeps_its_frames_and_says_so(name: str, tmp_path: Path) -> None:
    options = {"cut.flv": ("-c:v", "flv"), "cut.avi": ("-c:v", "mpeg4"), "fast.mp4": (*H264, "-movflags", "+faststart")}
    path = write_pattern(tmp_path / name, *options.get(name, H264), seconds=2)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with open_video(path) as frames:
        count = sum(1 for _ in frames)
    assert 20 < count < 50
    assert frames.problem is not None
    assert "\n" not in frames.problem
    assert len(read_frame_times(path)) == count


def test_a_cut_flv_says_so_by_its_last_tag(tmp_path: Path) -> None:
    path = write_pattern(tmp_path / "cut.flv", "-c:v", "flv")
    path.write_bytes(path.read_bytes()[:-1])
    with open_video(path) as frames:
        list(frames)
    assert frames.problem == "the file ends within a tag: it was cut off"


@pytest.mark.parametrize(("begin", "leap"), [("0", "1.96 to 0.00 s"), ("100", "1.96 to 9534")])
def test_a_clock_that_leaps_is_said_and_every_frame_is_there(begin: str, leap: str, tmp_path: Path) -> None:
    """As far back as from 100 s, ffmpeg takes it for a clock that has reached its end and begins again."""
    for name, offset in (("one", begin), ("two", "0")):
        write_pattern(tmp_path / f"{name}.ts", *H264, "-output_ts_offset", offset, seconds=2)
    (tmp_path / "joined.ts").write_bytes((tmp_path / "one.ts").read_bytes() + (tmp_path / "two.ts").read_bytes())
    with open_video(tmp_path / "joined.ts") as frames:
        assert sum(1 for _ in frames) == 100
    assert frames.problem is not None
    assert frames.problem.startswith(f"its clock leaps from {leap}")
    ffmpeg("-i", tmp_path / "joined.ts", "-c", "copy", tmp_path / "new.mkv")  # what is recommended
    assert np.diff([frame.time_s for frame in read_all(tmp_path / "new.mkv")]) == pytest.approx([0.04] * 99, abs=0.002)


def test_frames_at_one_and_the_same_time_are_all_there(tmp_path: Path) -> None:
    path = write_pattern(tmp_path / "fast.flv", "-c:v", "flv", fps=3000, seconds=0.02, size="32x32")
    frames = read_all(path)
    assert len(frames) == 60
    assert len({frame.time_s for frame in frames}) < 30  # the container counts milliseconds


def test_an_mp4_without_its_index_is_refused(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:10_000])
    with pytest.raises(MediaError, match="index is missing"):
        open_video(tmp_path / "cut.mp4")


def test_a_file_that_changes_while_it_is_read_is_named(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "growing.mp4"
    path.write_bytes(clip.read_bytes())
    with open_video(path) as frames:
        next(frames)
        with path.open("ab") as file:
            file.write(b"\0")
        list(frames)
    assert frames.problem == "the file changed while it was read"


def test_a_file_that_goes_while_it_is_read_keeps_its_frames(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "going.mp4"
    path.write_bytes(clip.read_bytes())
    with open_video(path) as frames:
        path.unlink()
        assert sum(1 for _ in frames) == 50
    assert frames.problem == "the file changed while it was read"


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_leaving_early_ends_ffmpeg_and_frees_every_pipe(tmp_path: Path) -> None:
    long = write_pattern(tmp_path / "long.mp4", *H264, seconds=60, size="320x240")
    before = open_descriptors()
    for _ in range(3):
        with open_video(long) as frames:
            next(frames)
            process = frames._decoder._process
        assert process.returncode is not None
        assert next(frames, None) is None
    with pytest.raises(ZeroDivisionError), open_video(long) as frames:
        1 // 0  # noqa: B018
    for bad in (tmp_path / "none.mp4", Path(__file__)):
        with pytest.raises(MediaError):
            open_video(bad)
    assert open_descriptors() == before


def test_many_messages_do_not_stop_the_decoder(tmp_path: Path) -> None:
    path = write_pattern(tmp_path / "noisy.avi", "-c:v", "mpeg4", "-g", "5", seconds=20)
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(1)  # by chance, damage to the container may hide most frames
    for position in range(6000, len(data) - 6000, 700):
        data[position : position + 4] = random.bytes(4)
    path.write_bytes(bytes(data))
    with open_video(path) as frames:
        assert sum(1 for _ in frames) > 400
    assert frames.problem


def test_ffmpeg_ends_with_a_killed_parent(tmp_path: Path) -> None:
    long = write_pattern(tmp_path / "long.mp4", *H264, seconds=60, size="320x240")
    code = (
        "import sys, time; from pathlib import Path; from affcli.media.video import open_video\n"
        "frames = open_video(Path(sys.argv[1])); next(frames)\n"
        "print(frames._decoder._process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(long)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(600):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").exists() and " Z " in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.1)
    pytest.fail("ffmpeg still runs")


def test_numbered_pictures_with_gaps(tmp_path: Path) -> None:
    for number in (3, 5, 10):
        Image.new("RGB", (112, 112), (number, 0, 0)).save(tmp_path / f"{number:05d}.png")
    (tmp_path / ".DS_Store").write_bytes(b"junk")
    (tmp_path / "._00004.jpg").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("junk")
    with open_pictures(tmp_path, fps=25) as frames:
        found = list(frames)
    assert [frame.number for frame in found] == list(range(1, 11))
    assert [frame.number for frame in found if frame.pixels is not None] == [3, 5, 10]
    assert found[4].pixels[0, 0, 0] == 5
    assert found[4].time_s == pytest.approx(4 / 25)
    assert frames.problem is None


def test_pictures_without_a_rate_have_no_times(tmp_path: Path) -> None:
    Image.new("L", (112, 112), 7).save(tmp_path / "1.jpg")
    with open_pictures(tmp_path) as frames:
        (frame,) = frames
    assert frame.time_s is None
    assert frame.pixels.shape == (112, 112, 3)  # grey pictures too


def test_a_broken_picture_is_a_frame_without_pixels_and_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (112, 112)).save(tmp_path / "00001.jpg")
    (tmp_path / "00002.jpg").write_bytes(b"no jpeg")
    (tmp_path / "00003.jpg").write_bytes((tmp_path / "00001.jpg").read_bytes()[:300])
    with open_pictures(tmp_path) as frames:
        found = list(frames)
    assert [frame.pixels is None for frame in found] == [False, True, True]
    assert frames.problem is not None
    assert frames.problem.startswith("not readable as pictures: 00002.jpg (")


def test_a_folder_without_numbered_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(b"")
    with pytest.raises(AffcliError, match="no numbered pictures"):
        open_pictures(tmp_path)


def test_centres_lie_half_an_interval_on() -> None:
    assert frame_centres(np.array([0.0, 0.1, 0.3])).tolist() == pytest.approx([0.05, 0.2, 0.4])
    assert frame_centres(np.array([2.0])).tolist() == [2.0]
    assert frame_centres(np.array([])).tolist() == []


@pytest.mark.parametrize("kind", ["b.mp4", "cut.mp4", "varying.mkv", "clip.ts"])
def test_frames_after_a_number_are_the_same_frames(kind: str, tmp_path: Path) -> None:
    """After any, also the last, with B-frames, an edit list, a varying rate, a late start."""
    whole = write_pattern(tmp_path / "b.mp4", "-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p", seconds=1)
    ffmpeg("-ss", "0.3", "-i", whole, "-c", "copy", tmp_path / "cut.mp4")
    ffmpeg("-i", whole, "-vf", "select='not(mod(n,4))+gt(n,15)'", "-fps_mode", "vfr", tmp_path / "varying.mkv")
    ffmpeg("-i", whole, "-c:v", "mpeg2video", tmp_path / "clip.ts")
    with open_video(tmp_path / kind) as shown:
        frames = list(shown)
    for after in (1, 7, len(frames) - 1, len(frames)):
        with open_video(tmp_path / kind, after=after) as shown:
            later = list(shown)
        assert [(f.number, f.time_s) for f in later] == [(f.number, f.time_s) for f in frames[after:]]
        assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(later, frames[after:], strict=True))
        assert shown.problem is None


@pytest.mark.parametrize(("size", "reduced"), [((854, 480), (640, 360)), ((480, 854), (360, 640)), ((640, 90), None)])
def test_frames_come_reduced_too_where_that_is_asked_for(
    size: tuple[int, int], reduced: tuple[int, int] | None, tmp_path: Path
) -> None:
    """Each beside its own picture, also after a number; the box average of what Pillow makes of it is no other."""
    frames = [np.roll(astronaut(), 40 * index, axis=1) for index in range(5)]
    path = write_frames(tmp_path / "a.mkv", [np.array(Image.fromarray(frame).resize(size)) for frame in frames])
    for after in (0, 3):
        with open_video(path, after=after, reduced_to=640) as shown:
            found = list(shown)
        assert [frame.number for frame in found] == list(range(after + 1, 6))
        assert shown.problem is None
        for frame in found:
            assert frame.pixels is not None
            assert frame.reduced is not None
            assert frame.pixels.shape[1::-1] == size
            own = Image.fromarray(frame.pixels).resize(reduced or size, Image.Resampling.BOX)
            assert frame.reduced.shape == np.array(own).shape
            assert np.abs(frame.reduced.astype(int) - np.array(own)).mean() < 2
