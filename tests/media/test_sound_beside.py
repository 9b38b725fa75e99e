"""The sound of tiny clips comes with their pictures: the same as by itself, and only where nothing is wrong."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.media_fixtures import H264, ffmpeg, write_click

from affcli.media import sound_beside
from affcli.media.audio import open_sound
from affcli.media.ffmpeg import MediaError
from affcli.media.mp4_boxes import plain_clip
from affcli.media.sound_beside import SoundsBeside
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.media.video import open_video

RATE = 16000
AAC = ("-c:a", "aac")


def clip(
    path: Path, *options: str, sound: str = "sine=d=1.3:r=44100", picture_s: float = 1, size: str = "64x48"
) -> Path:
    """A test pattern with sound."""
    picture = f"testsrc2=s={size}:r=25:d={picture_s}"
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *(options or (*H264, *AAC)), f"file:{path}")
    return path


def seen(path: Path, beside: SoundsBeside | None = None, choice: TrackChoice = FILES_OWN) -> tuple[Any, ...]:
    try:
        with open_video(path, reduced_to=40, beside=beside, choice=choice) as frames:
            rows = [(one.number, one.time_s, one.pixels.tobytes(), one.reduced.tobytes()) for one in frames]
            return rows, frames.problem, frames.expected, frames.starts_s, frames.clock
    except MediaError as error:
        return (str(error),)


def heard(path: Path, beside: SoundsBeside | None = None, choice: TrackChoice = FILES_OWN) -> tuple[Any, ...]:
    try:
        with open_sound(path, sample_rate_hz=RATE, beside=beside, choice=choice) as sound:
            pieces = [(one.start_s, one.keep_from, one.keep_to, one.samples.tobytes()) for one in sound]
            return pieces, sound.problem, sound.end_s, sound.starts_s, sound.has_picture, sound.stated_s
    except MediaError as error:
        return (str(error),)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """The starts of ffmpeg."""
    found: list[object] = []
    start = subprocess.Popen

    def counted(*command: Any, **options: Any) -> Any:
        found.append(command)
        return start(*command, **options)

    monkeypatch.setattr(subprocess, "Popen", counted)
    return found


SOUNDS = {
    "mono": "sine=d=1.3:r=44100",
    "stereo": "aevalsrc='sin(2000*t)|0.5*sin(3000*t)':d=1:s=48000",
    "antiphase": "aevalsrc='sin(2000*t)|-sin(2000*t)':d=1:s=16000",
    "5.1": "aevalsrc='sin(2000*t)|0|0|0.1*sin(999*t)|0|0':c=5.1:d=1:s=48000",
    "silent": "anullsrc=r=16000:d=1",
    "shorter than the picture": "sine=d=0.2:r=16000",
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_sound_beside_the_picture_is_the_sound_by_itself(kind: str, starts: list[object], tmp_path: Path) -> None:
    path, beside = clip(tmp_path / "a.mp4", sound=SOUNDS[kind]), SoundsBeside(RATE)
    starts.clear()
    pictures, sound = seen(path, beside), heard(path, beside)
    assert len(starts) == (2 if kind == "antiphase" else 1)  # one channel alone is another sound
    assert pictures == seen(path)
    assert sound == heard(path)
    assert heard(path, beside) == sound  # it is given once


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("late_s", [0.1, 2.4])
def test_late_sound_stays_late(name: str, late_s: float, tmp_path: Path) -> None:
    path = write_click(tmp_path / name, *H264, *AAC, at_s=3, late_s=late_s)
    beside = SoundsBeside(RATE)
    assert seen(path, beside) == seen(path)
    assert beside._kept
    assert heard(path, beside) == heard(path)


@pytest.mark.parametrize(
    "choice", [TrackChoice(video=1), TrackChoice(audio=2), TrackChoice(audio="loudest"), TrackChoice(audio=1)]
)
def test_a_choice_of_tracks_counts(choice: TrackChoice, tmp_path: Path) -> None:
    path, beside = clip(tmp_path / "a.mp4"), SoundsBeside(RATE)
    assert seen(path, beside, choice) == seen(path, choice=choice)
    assert heard(path, beside, choice) == heard(path, choice=choice)


@pytest.mark.parametrize("damage", ["cut", "cut early", "sound", "picture", "everything", "no sound", "index"])
def test_damaged_clips_are_told_of_as_before(damage: str, tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", *H264, *AAC, "-movflags", "+faststart", picture_s=2, sound="sine=d=2:r=44100")
    content = bytearray(path.read_bytes())
    begin = content.find(b"mdat") + 4
    if damage.startswith("cut"):
        content = content[: begin + (len(content) - begin) // (2 if damage == "cut" else 50)]
    elif damage == "no sound":  # its header announces a sound that ffmpeg does not find
        content = content.replace(b"mp4a", b"mp4x")
    elif damage == "index":
        place = content.find(b"stsz") + 12
        content[place : place + 8] = b"\xff" * 8
    else:
        every = {"sound": 211, "picture": 503, "everything": 37}[damage]
        for place in range(begin + 64, len(content), every):
            content[place] ^= 0x55
    path.write_bytes(content)
    beside = SoundsBeside(RATE)
    assert told(seen(path, beside)) == told(seen(path))
    assert told(heard(path, beside)) == told(heard(path))


def told(outcome: tuple[Any, ...]) -> list[str]:
    """Without pixels, samples, numbers of damaged frames and ffmpeg's words, which differ from time to time."""
    rows, *others = outcome
    times = [row[:2] for row in rows] if isinstance(rows, list) else rows
    return [re.sub(r"\d+ of | \(.*\)", "", str(one)) for one in (times, *others)]


def test_sound_of_a_file_that_was_replaced_is_not_used(tmp_path: Path) -> None:
    path, beside = clip(tmp_path / "a.mp4"), SoundsBeside(RATE)
    seen(path, beside)
    clip(tmp_path / "b.mp4", sound="sine=d=0.4:f=99:r=16000").replace(path)
    assert heard(path, beside) == heard(path)


def test_sound_at_another_rate_is_decoded(tmp_path: Path) -> None:
    path, beside = clip(tmp_path / "a.mp4"), SoundsBeside(8000)
    seen(path, beside)
    assert heard(path, beside) == heard(path)


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [clip(tmp_path / f"{number}.mp4") for number in range(4)]
    monkeypatch.setattr(sound_beside, "_MOST_BYTES", 2 * 4 * RATE * 1.4)
    beside = SoundsBeside(RATE)
    for path in paths:
        seen(path, beside)
    assert list(beside._kept) == paths[2:]


def test_only_plain_tiny_clips_are_taken(tmp_path: Path) -> None:
    plain = clip(tmp_path / "plain.mp4")
    mapped = ("-map", "0", "-map", "1", "-map", "1")
    other = [
        clip(tmp_path / "a.mkv"),
        clip(tmp_path / "two.mp4", *mapped, *H264, *AAC),
        clip(tmp_path / "alone.mp4", *H264, "-an"),
        clip(tmp_path / "sound.mp4", "-vn", *AAC),
        clip(tmp_path / "fragments.mp4", *H264, *AAC, "-movflags", "+frag_keyframe+empty_moov"),
        tmp_path / "empty.mp4",
    ]
    other[-1].touch()
    header = plain_clip(plain)
    assert header is not None
    assert header.picture_bytes == 25 * 64 * 48 * 3
    assert header.sound_s == pytest.approx(1.3, abs=0.05)
    assert not any(plain_clip(path) for path in other)
    large = clip(tmp_path / "large.mp4", size="1920x1080")
    beside = SoundsBeside(RATE)
    assert beside.outputs(plain, FILES_OWN)
    for path in (*other, large, tmp_path / "nowhere.mp4"):
        assert beside.outputs(path, FILES_OWN) == ()


def test_more_pictures_than_the_header_announces_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from affcli.media import video

    path, beside = clip(tmp_path / "a.mp4"), SoundsBeside(RATE)
    monkeypatch.setattr(video, "MOST_PICTURE_BYTES", 10 * 64 * 48 * 3)
    assert seen(path, beside) == seen(path)
    assert not beside._kept


def test_less_sound_than_the_header_announces_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, beside = clip(tmp_path / "a.mp4"), SoundsBeside(RATE)
    header = plain_clip(path)
    monkeypatch.setattr(sound_beside, "plain_clip", lambda path: header._replace(sound_s=1.4))
    seen(path, beside)
    assert not beside._kept
