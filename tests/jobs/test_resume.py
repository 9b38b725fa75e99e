"""Work that is ended at any moment goes on from there, and the table has the same bytes as without the interruption."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from helpers.extracting import BLANK, SMALL, column
from helpers.media_fixtures import H264, ffmpeg, write_frames, write_pattern
from helpers.runners import Extract
from helpers.warm import Warm
from PIL import Image

from affcli.errors import BusyError
from affcli.files.inputs import MediaInput
from affcli.jobs import stream_part
from affcli.jobs.about import About
from affcli.jobs.chunks import ChunkWriter, chunks_in
from affcli.jobs.fingerprints import Fingerprints
from affcli.jobs.parts import Parts
from affcli.jobs.stream_part import PartWriter
from affcli.media.hearing import FrameReader, MoreFrames
from affcli.models.encoders.audio_encoder import AudioEncoder

SCHEMA = pa.schema([pa.field("video", pa.string()), pa.field("frame", pa.int32())])
# Runs affcli with chunks kept every so many seconds, in a process that can be killed.
KEEPS = """
import sys
from affcli import cli
from affcli.jobs import stream_part
stream_part.KEEP_EVERY_S = float(sys.argv[1])
cli.main(sys.argv[2:])
"""
# The same, and kills itself where a file would get the name NAME.
DIES = f"""
import os
from pathlib import Path
replace = Path.replace
Path.replace = lambda one, other: os.kill(os.getpid(), 9) if Path(other).name == "NAME" else replace(one, other)
{KEEPS}
"""

Interrupt = Callable[[int], None]
Take = Callable[[FrameReader, float], MoreFrames]


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """From now on every chunk that can be kept is; the given one is interrupted half-written."""
    keep = PartWriter.keep

    def arm(number: int) -> None:
        count = 0

        def counted(part: PartWriter, state: object) -> None:
            nonlocal count
            count += 1
            if count == number:
                raise KeyboardInterrupt
            keep(part, state)

        monkeypatch.setattr(stream_part, "KEEP_EVERY_S", 0)
        monkeypatch.setattr(PartWriter, "keep", counted)

    return arm


def same(folder: Path, one: str, other: str) -> bool:
    return (folder / one).read_bytes() == (folder / other).read_bytes()


def two_people(count: int) -> list[np.ndarray]:
    """One person who is hidden now and then, and a second one who comes later and moves."""
    frames = []
    for index in range(count):
        one = BLANK if index % 9 in (6, 7) else np.roll(SMALL, index, axis=1)
        other = np.roll(SMALL[:, ::-1], 2 * index, axis=0) if index > count // 3 else BLANK
        frames.append(np.hstack([one, other]))
    return frames


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [(), ("--every", "3"), ("--face", "all", "--every", "2"), ("--face", "right"), ("--logits", "--every=2")],
)
def test_a_long_video_goes_on_from_its_last_chunk(
    tmp_path: Path, visual: Extract, headed_beit: Path, interrupt_at: Interrupt, options: tuple[str, ...]
) -> None:
    options = (*options, "--model", str(headed_beit))
    write_frames(tmp_path / "x.mp4", two_people(26), codec=("-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p"))
    write_frames(tmp_path / "y.mkv", [SMALL, BLANK, SMALL])
    visual("x.mp4", "y.mkv", *options, output="whole.parquet")
    for chunk in (1, 5, 3):  # in one after the other
        interrupt_at(chunk)
        visual("x.mp4", "y.mkv", *options, status=130)
    assert len(list((tmp_path / "V.parquet.parts").glob("*/*.parquet"))) == 6
    interrupt_at(-1)
    assert "going on with unfinished work" in visual("x.mp4", "y.mkv", *options)
    assert same(tmp_path, "V.parquet", "whole.parquet")
    assert not (tmp_path / "V.parquet.parts").exists()


def test_frames_that_are_done_are_not_encoded_again(
    tmp_path: Path, visual: Extract, interrupt_at: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affcli.media import faces

    write_frames(tmp_path / "x.mkv", two_people(20))
    interrupt_at(11)
    visual("x.mkv", status=130)
    interrupt_at(-1)
    seen = 0
    align = faces.align

    def counted(*arguments: object, **more: object) -> np.ndarray:
        nonlocal seen
        seen += arguments[2] == 32  # the encoder's size, not the glance at a face
        return align(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("affcli.media.sightings.align", counted)
    visual("x.mkv")
    assert 0 < seen <= 10
    assert column(tmp_path / "V.parquet", "frame") == list(range(1, 21))


def test_a_folder_of_pictures_goes_on_and_still_names_its_bad_ones(
    tmp_path: Path, visual: Extract, interrupt_at: Interrupt
) -> None:
    (tmp_path / "x").mkdir()
    for number in (1, 2, 4, 5, 8):
        Image.fromarray(SMALL).save(tmp_path / "x" / f"{number:05}.jpg")
    (tmp_path / "x" / "00003.jpg").write_text("no picture")
    visual("x", output="whole.parquet", status=3)
    interrupt_at(4)
    visual("x", status=130)
    interrupt_at(-1)
    assert "not readable as pictures: 00003.jpg" in visual("x", status=3)
    assert same(tmp_path, "V.parquet", "whole.parquet")


def test_a_video_that_was_kept_to_its_last_frame_is_only_finished(
    tmp_path: Path, visual: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "x.mkv", [SMALL] * 4)
    visual("x.mkv", output="whole.parquet")
    monkeypatch.setattr(stream_part, "KEEP_EVERY_S", 0)
    finish = PartWriter.finish
    monkeypatch.setattr(PartWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    visual("x.mkv", status=130)
    monkeypatch.setattr(PartWriter, "finish", finish)
    visual("x.mkv")
    assert same(tmp_path, "V.parquet", "whole.parquet")


# --- sound -----------------------------------------------------------------------------------------------------------


def at_once(take: Take) -> Take:
    """The decoder is quicker than the encoder: all frames are known with the first piece."""
    return lambda reader, past_s: take(reader, np.inf)


def barely(take: Take) -> Take:
    """The encoder waits for the decoder: no more frames are known than are needed."""

    def taken(reader: FrameReader, past_s: float) -> MoreFrames:
        more = take(reader, past_s)
        count = int(np.searchsorted(more.times_s, past_s, side="right")) + 1
        reader._taken -= max(0, len(more.times_s) - count)
        return MoreFrames(more.times_s[:count], more.complete and count >= len(more.times_s))

    return taken


@pytest.mark.parametrize("known", [at_once, barely])
def test_long_sound_goes_on_from_its_last_piece(
    known: Callable[[Take], Take],
    tmp_path: Path,
    audio: Extract,
    interrupt_at: Interrupt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = ("-f", "lavfi", "-i", "anoisesrc=d=125:r=16000:seed=1:a=0.3")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=5:d=125", *noise, *H264, "-c:a", "pcm_s16le", tmp_path / "x.mkv")
    audio("x.mkv", output="whole.parquet")
    monkeypatch.setattr(FrameReader, "take", known(FrameReader.take))
    interrupt_at(3)  # two pieces are kept, and not the third
    audio("x.mkv", status=130)
    interrupt_at(-1)
    if known is at_once:  # they need not be read again
        monkeypatch.setattr("affcli.media.hearing.open_frame_times", None)
    lengths = []
    encode = AudioEncoder.encode

    def listed(encoder: AudioEncoder, samples: np.ndarray) -> np.ndarray:
        lengths.append(len(samples) // 16_000)
        return encode(encoder, samples)

    monkeypatch.setattr(AudioEncoder, "encode", listed)
    audio("x.mkv")
    assert lengths == [34, 34, 34, 7]  # the second of five again, for the frames at its end
    assert same(tmp_path, "A.parquet", "whole.parquet")


# --- killed, in real processes ---------------------------------------------------------------------------------------


@pytest.fixture
def long_clip(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "long.mkv", two_people(60))


def test_killed_before_any_file_gets_its_name_and_at_any_other_time(
    tmp_path: Path, tiny_beit: Path, visual: Extract, long_clip: Path
) -> None:
    visual("long.mkv", output="whole.parquet")
    command = ("extract-visual", "--model", tiny_beit, "--precision", "fp32", "--batch-size", 4, "-o", "V.parquet")
    process = Warm(tmp_path, 0, *command, "long.mkv", code=KEEPS)
    process.wait_for(lambda: list(tmp_path.glob("V.parquet.parts/*/features.2.parquet")))
    process.signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    for name in ("features.7.parquet", "features.end.json", "V.parquet"):
        process = Warm(tmp_path, 0, *command, "long.mkv", code=DIES.replace("NAME", name))
        assert process.wait() == -signal.SIGKILL, process.said
    visual("long.mkv")
    assert same(tmp_path, "V.parquet", "whole.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["V.parquet", "long.mkv", "whole.parquet"]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_one_line_and_keeps_what_is_done(tmp_path: Path, tiny_beit: Path, which: int) -> None:
    write_frames(tmp_path / "long.mkv", two_people(240))  # so long that it is not done before the signal comes
    command = ("extract-visual", "--model", tiny_beit, "--batch-size", 4, "-o", "V.parquet")
    process = Warm(tmp_path, 0, *command, "long.mkv", code=KEEPS)
    process.wait_for(lambda: list((tmp_path / "V.parquet.parts").glob("*/features.2.parquet")))
    process.signal(which)
    time.sleep(0.05)
    process.signal(which)  # the same keypress, as a process in a group gets it
    # The second one may find the process all but gone: that is the same status for a shell.
    assert process.wait() in (128 + which, -which)
    how = "interrupted" if which == signal.SIGINT else "ended by a signal"
    [said] = process.said.splitlines()
    assert said.startswith(f"affcli extract-visual: {how}; 0 of 1 input are done. That is kept, ")
    assert said.endswith("; the same command goes on from there.")
    assert not list(tmp_path.glob("V.parquet")) + list(tmp_path.glob(".V.parquet*"))
    assert list(tmp_path.glob("V.parquet.parts/*/features.2.parquet"))


def test_what_a_killed_process_left_beside_the_output_goes(tmp_path: Path, visual: Extract) -> None:
    write_frames(tmp_path / "a.mkv", [SMALL])
    mine, digits = [".V.parquet.4711.tmp", ".affcli-0123456789abcdef.tmp"], "0123456789abcdef"
    for name in (*mine, f".V.parquet.affcli-{digits}.tmp", f".W.csv.affcli-{digits}.tmp"):
        (tmp_path / name).write_text("x")
    (tmp_path / "held").write_text("x")
    (tmp_path / f".L.affcli-{digits}.tmp").symlink_to(tmp_path / "held")
    with (tmp_path / f".X.affcli-{digits}.tmp").open("wb") as live:
        fcntl.flock(live, fcntl.LOCK_EX)
        visual("a.mkv")
    kept = [*mine, f".L.affcli-{digits}.tmp", f".X.affcli-{digits}.tmp"]
    assert sorted(p.name for p in tmp_path.glob(".*")) == sorted(kept)
    assert (tmp_path / "held").read_text() == "x"


# --- what is not reused ----------------------------------------------------------------------------------------------


def test_unfinished_work_of_other_settings_is_dropped(tmp_path: Path, visual: Extract, interrupt_at: Interrupt) -> None:
    write_frames(tmp_path / "a.mkv", [SMALL] * 8)
    visual("a.mkv", "--every", 2, output="whole.parquet")
    interrupt_at(3)
    visual("a.mkv", status=130)
    interrupt_at(-1)
    assert "other settings; starting afresh" in visual("a.mkv", "--every", 2)
    assert same(tmp_path, "V.parquet", "whole.parquet")


def test_unfinished_work_on_a_file_that_has_changed_is_not_used(
    tmp_path: Path, visual: Extract, interrupt_at: Interrupt
) -> None:
    write_frames(tmp_path / "a.mkv", [SMALL] * 8)
    interrupt_at(6)
    visual("a.mkv", status=130)
    interrupt_at(-1)
    write_frames(tmp_path / "a.mkv", [BLANK] * 6)
    visual("a.mkv")
    assert column(tmp_path / "V.parquet", "face") == [False] * 6


@pytest.mark.parametrize("grow", [True, False])
def test_a_file_that_changes_while_it_is_read_has_failed(
    tmp_path: Path, visual: Extract, monkeypatch: pytest.MonkeyPatch, grow: bool
) -> None:
    for name in ("a.mkv", "b.mkv"):
        write_frames(tmp_path / name, [SMALL] * 4)
    has_changed = Parts.has_changed

    def late(opened: Parts, item: MediaInput) -> bool:
        if item.video == "a":
            with item.path.open("ab") as file:
                file.write(b"x" * grow)
            os.utime(item.path)
        return has_changed(opened, item)

    monkeypatch.setattr(Parts, "has_changed", late)
    said = visual("a.mkv", "b.mkv", status=3)
    assert said.splitlines()[0] == "affcli extract-visual: a.mkv: the file changed while it was read"
    assert column(tmp_path / "V.parquet", "video") == ["b"] * 4
    monkeypatch.setattr(Parts, "has_changed", has_changed)
    visual("a.mkv", "b.mkv", "--update")
    assert column(tmp_path / "V.parquet", "video") == ["a"] * 4 + ["b"] * 4


def test_a_damaged_chunk_and_those_after_it_are_not_used(tmp_path: Path) -> None:
    after = ""
    for number in (1, 2, 3):
        writer = ChunkWriter(tmp_path, "x", number, SCHEMA)
        writer.write("a", pa.table([["a"], [number]], schema=SCHEMA))
        after = writer.finish({"row": number}, after=after).digest
    found, damaged = chunks_in(tmp_path, "x")
    assert ([chunk.state for chunk in found], damaged) == ([{"row": 1}, {"row": 2}, {"row": 3}], False)
    whole = (tmp_path / "x.2.parquet").read_bytes()
    (tmp_path / "x.2.parquet").write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    (tmp_path / ".x.4.parquet.0123456789abcdef.tmp").write_text("half-written")
    found, damaged = chunks_in(tmp_path, "x")
    assert ([chunk.state for chunk in found], damaged) == ([{"row": 1}], True)
    assert PartWriter(tmp_path, "x", SCHEMA).states == [{"row": 1}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.1.json", "x.1.parquet"]


# --- processes that meet ---------------------------------------------------------------------------------------------


def test_two_processes_do_not_make_one_table(tmp_path: Path, visual: Extract) -> None:
    write_frames(tmp_path / "a.mkv", [SMALL])
    code = """
import sys, time
from pathlib import Path
from affcli.jobs.fingerprints import Fingerprints
from affcli.jobs.about import About
from affcli.jobs.parts import Parts
parts = Parts(Path(sys.argv[1]), Fingerprints())
with parts.alone():
    parts.join()
    parts.agree_on(About({"kind": "x"}, "these", False))
print("here", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "V.parquet.parts")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    assert "another process is at work here with other settings" in visual("a.mkv", status=1)
    with Parts(tmp_path / "V.parquet.parts", Fingerprints()) as opened, opened.alone():
        opened.join()
        assert not opened.first
        with pytest.raises(BusyError, match="on other inputs"):
            opened.agree_on(About({"kind": "x"}, "those", False))
        opened.agree_on(About({"kind": "x"}, "these", False))
    process.kill()
    process.wait()
    visual("a.mkv")
    process.stdout.close()


# --- no room ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("largest", "done"), [(3_000, 0), (30_000, 8)])  # no room for a part; only for the parts
def test_a_full_disk_is_one_line_and_the_work_goes_on_later(
    tmp_path: Path, tiny_wavlm: Path, audio: Extract, largest: int, done: int
) -> None:
    (tmp_path / "clips").mkdir()
    for index in range(8):
        noise = ("-f", "lavfi", "-i", f"anoisesrc=d=4:r=16000:seed={index}:a=0.3")
        ffmpeg(*noise, tmp_path / "clips" / f"{index}.wav")
    audio("clips", "--fps", 50, output="whole.parquet")
    assert (tmp_path / "whole.parquet").stat().st_size > 40_000
    arguments = ("--model", tiny_wavlm, "--layers", 2, "--precision", "fp32", "--fps", 50, "-o", "A.parquet", "clips")
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, resource.RLIM_INFINITY))"
    process = Warm(tmp_path, 30, "extract-audio", *arguments, code=f"{limit}\n{KEEPS}")
    assert process.wait() == 1
    [said] = [line for line in process.said.splitlines() if ": done, " not in line]
    assert said.startswith("affcli extract-audio: A.parquet")
    assert "File too large" in said
    assert not (tmp_path / "A.parquet").exists()
    assert len(list(tmp_path.glob("A.parquet.parts/*/features.end.json"))) == done
    audio("clips", "--fps", 50)
    assert same(tmp_path, "A.parquet", "whole.parquet")


def test_an_output_folder_that_may_not_be_written_is_one_line(
    tmp_path: Path, visual: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pattern(tmp_path / "a.mkv", *H264, seconds=0.2)
    (tmp_path / "V.parquet.parts").write_text("a file where the folder would be")
    assert "V.parquet.parts: unfinished work cannot be kept here: File exists" in visual("a.mkv", status=1)


def test_the_clock_says_when_a_chunk_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(monotonic=lambda: clock_s)
    monkeypatch.setattr(stream_part, "time", now)
    clock_s = 100.0
    part = PartWriter(tmp_path, "x", SCHEMA)
    clock_s = 129.9
    assert not part.due
    clock_s = 130.0
    assert part.due
    part.keep({})
    assert not part.due
