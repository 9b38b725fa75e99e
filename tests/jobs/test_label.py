"""affcli label: the tables of the separate commands, from one process that can be ended at any moment."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from helpers.extracting import BLANK, SMALL
from helpers.feature_tables import write_labels
from helpers.media_fixtures import ffmpeg, write_frames
from helpers.runners import Affcli
from helpers.warm import Warm
from hypothesis import given
from hypothesis import strategies as st

from affcli.jobs import stream_part
from affcli.jobs.label_folder import LabelFolder
from affcli.jobs.stream_part import PartWriter
from affcli.media.showing import Show
from affcli.schema import BOX_COLUMNS, CLASSES, metadata_of
from affcli.tables.label_tables import table_name
from affcli.views.labelled_video import LabelledVideo
from affcli.views.summary import summary_row

Label = Callable[..., str]

PERSON, OTHER = SMALL, SMALL[:, ::-1]
FLAGS = ("--precision", "fp32", "--batch-size", 4)
# Runs affcli in a process that kills itself where a file would get the name NAME.
DIES = """
import os, sys
from pathlib import Path
from affcli import cli
from affcli.jobs import stream_part
stream_part.KEEP_EVERY_S = 0
replace = Path.replace
Path.replace = lambda one, other: os.kill(os.getpid(), 9) if Path(other).name == "NAME" else replace(one, other)
cli.main(sys.argv[1:])
"""


def write_clip(path: Path, frames: list[np.ndarray], *, fps: int = 10) -> Path:
    """Frames with a tone beside them."""
    silent = write_frames(path.with_name(f"silent-{path.name}"), frames, fps=fps)
    tone = ("-f", "lavfi", "-i", f"sine=frequency={100 + 30 * len(frames)}:d={len(frames) / fps}")
    ffmpeg("-i", silent, *tone, "-c:v", "copy", "-c:a", "pcm_s16le", path)
    silent.unlink()
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_beit: Path, tiny_wavlm: Path) -> Path:
    """A folder with clips, the checkpoints by their names, and a network trained on their features."""
    from affcli import cli

    folder = tmp_path_factory.mktemp("made")
    clips = folder / "clips"
    clips.mkdir()
    write_clip(clips / "both.mkv", [np.roll(PERSON, 3 * i, axis=1) for i in range(9)] + [BLANK] * 3)
    write_clip(clips / "two.mkv", [np.hstack([PERSON, OTHER if i > 3 else BLANK]) for i in range(8)])
    write_frames(clips / "quiet.mkv", [PERSON, BLANK, np.roll(PERSON, 9, axis=0), PERSON], fps=10)
    write_clip(clips / "nobody.mkv", [BLANK] * 6)
    write_clip(clips / "pair.mkv", [PERSON] * 2)
    (folder / "tiny-beit").symlink_to(tiny_beit)
    (folder / "tiny-wavlm").symlink_to(tiny_wavlm)
    labels = {"both": [4] * 9 + [0] * 3, "two": [1] * 8, "quiet": [4] * 4, "nobody": [0] * 6, "pair": [5] * 2}
    write_labels(folder / "labels", labels)
    at = Path.cwd()
    os.chdir(folder)
    try:
        extract(folder, "--face", "largest")
        streams = ("train", "--visual", "V.parquet", "--audio", "A.parquet", "--labels", "labels", "-q")
        network = ("--dim", 16, "--layers", 1, "--heads", 2, "--window", 8, "--stride", 2, "--epochs", 4, "--lr", 1e-2)
        assert cli.run(list(map(str, (*streams, *network, "-o", "model.safetensors")))) == 0
    finally:
        os.chdir(at)
    return folder


def extract(folder: Path, *options: object) -> None:
    """The feature tables V.parquet and A.parquet of the clips, by the separate commands."""
    from affcli import cli

    visual = ("extract-visual", "clips", "--model", "tiny-beit", *FLAGS, *options, "-o", "V.parquet", "-f", "-q")
    audio = ("extract-audio", "clips", "--model", "tiny-wavlm", "--layers", 2, "--context", 0.2, "--precision", "fp32")
    assert cli.run(list(map(str, visual))) == 0
    assert cli.run([*map(str, audio), "--frames-from", "V.parquet", "-o", "A.parquet", "-f", "-q"]) == 0


@pytest.fixture
def here(tmp_path: Path, made: Path, affcli: Affcli) -> Path:
    """The test's own copy of that folder."""
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def label(here: Path, affcli: Affcli) -> Label:
    """Runs label with the trained model; what it said comes back."""

    def run(*arguments: object, output: str = "out", status: int = 0) -> str:
        command = ("label", *FLAGS, "--model", "model.safetensors", "-o", output, *arguments)
        return affcli(*command, status=status).stderr

    return run


def tables(folder: Path) -> pa.Table:
    """All frame tables of a folder, in the order of their videos."""
    found = [pq.read_table(path) for path in (folder / "frames").iterdir()]
    return pa.concat_tables(sorted(found, key=lambda table: table["video"][0].as_py()))


def files(folder: Path) -> dict[str, bytes]:
    """By path within the folder, but for the one that tells how the last run went."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "status.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


# --- the same as the separate commands -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "slid", "smoothed"),
    [
        ((), (), ()),
        (("--face", "all", "--every", 2), ("--window", 6, "--stride", 3), ("-k", 5, "--method", "mean")),
        (("--face", "right"), (), ("-k", 3, "--method", "mode")),
    ],
)
def test_tables_equal_the_chain_of_the_separate_commands(
    here: Path, label: Label, affcli: Affcli, seen: tuple[str, ...], slid: tuple[str, ...], smoothed: tuple[str, ...]
) -> None:
    extract(here, *seen)
    streams = ("--visual", "V.parquet", "--audio", "A.parquet")
    affcli("predict", "--model", "model.safetensors", *streams, *slid, "-o", "w.parquet", "--precision", "fp32")
    affcli("vote", "w.parquet", "-o", "v.parquet")
    affcli("smooth", "v.parquet", *smoothed, "-o", "chain.parquet")
    label("clips", *seen, *slid, *smoothed, "--any-sound")
    chain, ours = pq.read_table("chain.parquet"), tables(here / "out")
    own = ("speech", "score", *BOX_COLUMNS)
    assert [name for name in ours.column_names if name not in own] == chain.column_names
    evidence = pc.or_(ours["face"], ours["audio"]).to_pylist()
    for name in chain.column_names:
        assert ours[name].type == chain[name].type
        if name in CLASSES:
            np.testing.assert_allclose(ours[name].to_numpy(), chain[name].to_numpy(), rtol=0, atol=1e-5)
        elif name == "label":
            expected = [
                label if there else None for label, there in zip(chain[name].to_pylist(), evidence, strict=True)
            ]
            assert ours[name].to_pylist() == expected
        else:
            assert ours[name].to_pylist() == chain[name].to_pylist(), name
    visual = pq.read_table("V.parquet")
    for name in ("score", *BOX_COLUMNS):
        assert ours[name].to_pylist() == visual[name].to_pylist()
    about = metadata_of(chain.schema)
    facts = metadata_of(pq.read_schema(next((here / "out" / "frames").glob("two*"))))
    assert {key: facts[key] for key in about} == about


def test_the_folder_is_one_table_for_other_commands(here: Path, label: Label, affcli: Affcli) -> None:
    label("clips")
    scored = affcli("score", "out", "--labels", "labels", "--json").stdout
    affcli("smooth", "out", "-k", 1, "-o", "s.parquet")
    affcli("vote", "out", "-o", "v.parquet")
    assert pq.read_table("v.parquet")["label"] == pq.read_table("s.parquet")["label"]
    assert affcli("score", "s.parquet", "--labels", "labels", "--json").stdout == scored
    assert "32 frames" in affcli("score", "out", "--labels", "labels").stdout


def test_a_summary_of_someone_else_is_a_table_as_any_other(tmp_path: Path, affcli: Affcli) -> None:
    for name in ("summary", "other"):
        (tmp_path / f"{name}.csv").write_text(f"video,frame,A,B\n{name},1,0.5,1.5\n")
    affcli("vote", ".", "--classes", "A,B", "-o", "v.csv")
    assert len((tmp_path / "v.csv").read_text().splitlines()) == 3


# --- the summary -----------------------------------------------------------------------------------------------------


def test_the_summary_counts_what_the_tables_hold(here: Path, label: Label) -> None:
    label("clips", "-k", 1)
    summary = pq.read_table("out/summary.parquet").to_pylist()
    assert [row["video"] for row in summary] == ["both", "nobody", "pair", "quiet", "two"]
    with (here / "out" / "summary.csv").open() as stream:
        assert [row["video"] for row in csv.DictReader(stream)] == [row["video"] for row in summary]
    for row in summary:
        frames = pq.read_table(here / "out" / "frames" / f"{row['video']}.parquet").to_pylist()
        assert row["frames"] == len(frames)
        assert row["duration_s"] == pytest.approx(len(frames) / 10)
        for name in CLASSES:
            assert row[f"{name}_s"] == pytest.approx(sum(frame["label"] == name for frame in frames) / 10)
        assert row["face_share"] == pytest.approx(sum(frame["face"] for frame in frames) / len(frames))
        assert row["sound_share"] == pytest.approx(sum(frame["audio"] for frame in frames) / len(frames))
        assert row["mean_confidence"] == pytest.approx(np.mean([confidence(frame) for frame in frames]), abs=1e-5)
        assert row["speech_share"] == 0
        unsure = [frame for frame in frames if frame["label"] is None]
        assert row["unsure_s"] == pytest.approx(len(unsure) / 10)
        assert all(not frame["face"] for frame in unsure)  # nobody speaks in these clips
    reasons = {row["video"]: row["problem"] for row in summary}
    assert reasons["nobody"] == "no face in 6 of 6 frames; no speech in the sound"
    assert reasons["pair"] is None


def confidence(frame: dict[str, float]) -> float:
    logits = np.array([frame[name] for name in CLASSES], np.float64)
    return float((np.exp(logits) / np.exp(logits).sum()).max())


def labelled(label: list[int], end_s: list[float] | None) -> LabelledVideo:
    count = len(label)
    ends = None if end_s is None else np.array(end_s)
    starts = None if ends is None else np.concatenate([[0.0], ends[:-1]])
    return LabelledVideo("x", CLASSES, np.arange(1, count + 1), np.array(label), starts, ends, None, None, None, None)


def test_the_longest_segments_are_by_time_and_the_first_of_equals() -> None:
    row = summary_row(labelled([0, 0, 0, 4, 5, 5, -1, 4], [1, 2, 3, 5, 6, 7, 8, 9]))
    assert [row[f"longest_{what}"] for what in ("label", "start_s", "end_s")] == ["Neutral", 0, 3]
    assert [row[f"longest_non_neutral_{what}"] for what in ("label", "start_s", "end_s")] == ["Happiness", 3, 5]
    assert (row["duration_s"], row["Happiness_s"], row["Sadness_s"], row["face_share"]) == (9, 3, 2, None)


def test_a_video_without_times_has_labels_and_no_seconds() -> None:
    row = summary_row(labelled([0, 4, 4], None))
    assert (row["longest_label"], row["longest_start_s"], row["Happiness_s"]) == ("Happiness", None, None)
    assert summary_row(labelled([0, 0], None))["longest_non_neutral_label"] is None


def test_frames_below_the_least_confidence_have_no_label_and_keep_their_logits(here: Path, label: Label) -> None:
    label("clips/pair.mkv", output="all")
    label("clips/pair.mkv", "--min-confidence", 1, output="none")
    named, unsure = pq.read_table("all/frames/pair.parquet"), pq.read_table("none/frames/pair.parquet")
    assert named["label"].null_count == 0
    assert unsure["label"].null_count == 2
    assert unsure.select(CLASSES) == named.select(CLASSES)
    assert metadata_of(unsure.schema)["min_confidence"] == 1
    [row] = pq.read_table("none/summary.parquet").to_pylist()
    assert (row["unsure_s"], row["longest_label"]) == (pytest.approx(0.2), None)
    assert row["problem"] == "no speech in the sound; too little confidence in 2 of 2 frames"


# --- what inputs lack ------------------------------------------------------------------------------------------------


def test_what_can_be_labelled_is_and_each_lack_is_one_line(here: Path, label: Label) -> None:
    write_frames(here / "clips" / "neither.mkv", [BLANK] * 3)
    (here / "clips" / "broken.mp4").write_text("no video")
    whole = (here / "clips" / "both.mkv").read_bytes()
    (here / "clips" / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.8", here / "speech.wav")
    told = label("clips", "speech.wav", status=3).splitlines()
    done = [line for line in told if ": done, " in line or ": incomplete, " in line]
    said = [line for line in told if line not in done]
    assert [line.split(":")[1].strip() for line in done] == [
        *(f"clips/{name}" for name in ("both.mkv", "cut.mkv", "nobody.mkv", "pair.mkv", "quiet.mkv")),
        "speech.wav",
        "clips/two.mkv",
    ]
    expected = {
        "broken.mp4": "not a video or sound file",
        "cut.mkv": "what could be decoded is labelled",
        "neither.mkv": "neither a face nor sound in it: there is nothing to label",
        "nobody.mkv": "note: clips/nobody.mkv: no frame is sure enough to be labelled; the summary says why",
        "quiet.mkv": "note: clips/quiet.mkv: no sound in it; its picture alone is labelled",
        "speech.wav": "note: speech.wav: no frame is sure enough to be labelled; the summary says why",
    }
    assert len(said) == len(expected) + 2, said
    for name, text in expected.items():
        [line] = [line for line in said if name in line]
        assert text in line
    assert said[-2].startswith("affcli label: 7 videos, ")
    assert said[-1] == "affcli label: 3 of 9 inputs failed or are incomplete."
    rows = {row["video"]: row for row in pq.read_table("out/summary.parquet").to_pylist()}
    assert list(rows) == ["both", "broken", "cut", "neither", "nobody", "pair", "quiet", "speech", "two"]
    assert [(rows[name]["frames"], rows[name]["duration_s"]) for name in ("broken", "neither")] == [(0, None)] * 2
    assert "not a video or sound file" in rows["broken"]["problem"]
    assert rows["neither"]["problem"] == "neither a face nor sound in it: there is nothing to label"
    assert (rows["speech"]["frames"], rows["speech"]["face_share"], rows["speech"]["sound_share"]) == (20, 0, 1)
    assert (rows["quiet"]["sound_share"], rows["nobody"]["face_share"], rows["pair"]["frames"]) == (0, 0, 2)
    assert rows["cut"]["problem"]
    assert list(pq.read_table("out/frames/speech.parquet")["box_x"].unique()) == [pa.scalar(None, pa.float32())]


def test_a_folder_of_pictures_has_no_sound_and_nothing_is_said_of_it(here: Path, label: Label) -> None:
    from PIL import Image

    (here / "x").mkdir()
    for number in (1, 2, 4):
        Image.fromarray(SMALL).save(here / "x" / f"{number:05}.jpg")
    said = label("x")
    assert "no sound" not in said
    assert pq.read_table("out/frames/x.parquet")["face"].to_pylist() == [True, True, False, True]
    assert pq.read_table("out/summary.parquet")["duration_s"].to_pylist() == [None]


def test_nothing_but_bad_inputs_is_exit_1_and_leaves_no_folder(here: Path, label: Label) -> None:
    (here / "a.mp4").write_text("no video")
    assert "none of the inputs could be used; nothing is written." in label("a.mp4", status=1)
    assert not (here / "out").exists()


def test_fail_fast_stops_and_keeps_what_is_done(here: Path, label: Label) -> None:
    (here / "clips" / "o.mp4").write_text("no video")
    assert "--fail-fast" in label("clips", "--fail-fast", status=1)
    assert [path.name for path in sorted((here / "out").rglob("*.parquet"))] == ["both.parquet", "nobody.parquet"]
    assert "going on with unfinished work: 2 of 6 inputs are done." in label("clips", status=3)


def test_a_file_that_changes_while_it_is_read_has_failed(
    here: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affcli.models.label.chain import Chain

    hear = Chain.hear

    def touched(chain, item, *arguments):  # type: ignore[no-untyped-def]
        if item.video == "pair":
            os.utime(item.path, (1, 1))
        return hear(chain, item, *arguments)

    monkeypatch.setattr(Chain, "hear", touched)
    assert "clips/pair.mkv: the file changed while it was read" in label("clips", status=3)
    assert not (here / "out" / "frames" / "pair.parquet").exists()


# --- again, and more -------------------------------------------------------------------------------------------------


def test_the_same_again_has_nothing_to_do_and_others_are_refused(here: Path, label: Label) -> None:
    label("clips/both.mkv", "clips/pair.mkv")
    before = files(here / "out")
    assert "nothing to do: out is complete." in label("clips/both.mkv", "clips/pair.mkv")
    assert "other inputs" in label("clips", status=1)
    assert "other settings" in label("clips/both.mkv", "clips/pair.mkv", "-k", 3, status=1)
    assert files(here / "out") == before
    label("clips/both.mkv", "-k", 3, "--force")
    assert sorted(files(here / "out")) == ["frames/both.parquet", "summary.csv", "summary.parquet"]


def test_update_adds_what_is_new_changed_or_failed_before(here: Path, label: Label) -> None:
    bad = here / "clips" / "bad.mkv"
    bad.write_text("no video")
    label("clips", "--face", "all", output="once", status=3)
    label("clips/two.mkv", "clips/bad.mkv", "--face", "all", status=3)
    assert "Try them again with --update" in label("clips/two.mkv", "clips/bad.mkv", "--face", "all", status=3)
    before = (here / "out" / "frames" / "two#1.parquet").stat().st_mtime_ns
    label("clips", "--face", "all", "--update", status=3)
    assert files(here / "out") == files(here / "once")
    assert (here / "out" / "frames" / "two#1.parquet").stat().st_mtime_ns == before
    write_frames(bad, [SMALL])
    write_clip(here / "clips" / "two.mkv", [np.hstack([PERSON, BLANK])] * 3)  # the second person has gone
    label("clips", "--face", "all", "--update")
    assert "frames/bad#1.parquet" in files(here / "out")
    assert "frames/two#2.parquet" not in files(here / "out")


def test_a_table_that_was_removed_is_made_again(here: Path, label: Label) -> None:
    label("clips")
    before = files(here / "out")
    (here / "out" / "frames" / "two.parquet").unlink()
    label("clips")
    assert files(here / "out") == before


def test_a_file_that_is_not_ours_is_left_alone(here: Path, label: Label) -> None:
    (here / "out" / "frames").mkdir(parents=True)
    (here / "out" / "frames" / "pair.parquet").write_text("mine")
    assert "out/frames: exists already, and affcli label has not made it." in label("clips", status=1)
    assert (here / "out" / "frames" / "pair.parquet").read_text() == "mine"
    assert "is no folder" in label("clips", output="model.safetensors", status=1)
    assert "the folder no does not exist" in label("clips", output="no/out", status=1)


# --- ended at any moment ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--face", "all", "--every", 2)])
def test_interrupted_work_goes_on_and_ends_with_the_same_bytes(
    here: Path, made: Path, affcli: Affcli, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    command = ("label", *FLAGS, "--model", "model.safetensors", "clips", *options, "-o")
    affcli(*command, "whole")
    from affcli.models.label.chain import Chain

    stops = [(PartWriter, "keep", 3), (Chain, "name", 1), (LabelFolder, "write", 2), (Chain, "hear", 2)]
    for owner, name, number in [*stops, (LabelFolder, "gather", 1)]:
        with monkeypatch.context() as patch:
            patch.setattr(stream_part, "KEEP_EVERY_S", 0)
            patch.setattr(owner, name, interrupted(getattr(owner, name), number))
            affcli(*command, "out", status=130)
        assert not (here / "out" / "summary.parquet").exists()
    assert "going on with unfinished work: 5 of 5 inputs are done" in affcli(*command, "out").stderr
    assert files(here / "out") == files(here / "whole")


def interrupted(method: Callable[..., object], number: int) -> Callable[..., object]:
    """The method, whose call of that number is interrupted."""
    count = 0

    def counted(*arguments: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count == number:
            raise KeyboardInterrupt
        return method(*arguments, **options)

    return counted


def test_killed_before_any_file_gets_its_name(here: Path, label: Label) -> None:
    label("clips", output="whole")
    command = ("label", *FLAGS, "--model", "model.safetensors", "clips", "-o", "out")
    for name in ("two.parquet", "summary.parquet"):
        code = DIES.replace("NAME", name)
        process = Warm(here, *command, code=code)
        assert process.wait() == -signal.SIGKILL, process.said
    label("clips")
    assert files(here / "out") == files(here / "whole")


def test_what_is_done_is_not_done_again(here: Path, label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    from affcli.models.label.chain import Chain

    monkeypatch.setattr(stream_part, "_SOON_S", 0)  # as if it had taken long
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "name", interrupted(Chain.name, 3))  # the pictures of the third clip are done by then
        label("clips", status=130)
    shown = []
    show = Show.__call__
    monkeypatch.setattr(
        Show, "__call__", lambda self, item, *rest: (shown.append(item.video), show(self, item, *rest))[1]
    )
    label("clips")
    assert shown == ["quiet", "two"]


def test_a_clip_that_takes_no_time_leaves_nothing_in_the_unfinished_work(
    here: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affcli.models.label.chain import Chain

    label("clips", output="whole")
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "name", interrupted(Chain.name, 3))
        label("clips", status=130)
    unfinished = here / "out" / "unfinished.parts"
    assert (unfinished / "about.json").exists()
    assert not list(unfinished.rglob("*.parquet"))
    label("clips")
    assert files(here / "out") == files(here / "whole")


def test_unfinished_work_with_other_settings_is_refused_and_replaced_with_force(
    here: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LabelFolder, "write", interrupted(LabelFolder.write, 3))
        label("clips", status=130)
    assert "made with other settings" in label("clips", "-k", 3, status=1)
    label("clips", "-k", 3, "--force")
    label("clips", "-k", 3, output="whole")
    assert files(here / "out") == files(here / "whole")


def test_tables_of_inputs_that_are_no_longer_named_go(
    here: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LabelFolder, "write", interrupted(LabelFolder.write, 3))
        label("clips", status=130)
    assert "removed the tables of inputs that are not named now: both." in label("clips/nobody.mkv")
    assert sorted(files(here / "out")) == ["frames/nobody.parquet", "summary.csv", "summary.parquet"]


# --- encoders and models ---------------------------------------------------------------------------------------------


def test_encoders_are_those_that_the_model_names(here: Path, label: Label, affcli: Affcli) -> None:
    (here / "tiny-wavlm").rename(here / "ear")
    said = label("clips", status=1)
    assert said.startswith("affcli label: model.safetensors was trained with the audio encoder tiny-wavlm, which is")
    assert "--audio-model tiny-wavlm" in said
    label("clips", "--audio-model", "ear")
    said = label("clips", "--audio-model", "ear", "--visual-model", "mini", status=1)
    assert "--visual-model mini: its features have 1024 numbers; model.safetensors was trained with tiny-beit" in said


def test_mini_names_a_photographed_smile_with_nothing_else_given(tmp_path: Path, affcli: Affcli) -> None:
    write_frames(tmp_path / "smile.mkv", [SMALL] * 6)
    assert "random" not in affcli("label", "smile.mkv", "-o", "out").stderr
    frames = pq.read_table(tmp_path / "out" / "frames" / "smile.parquet")
    assert frames["label"].to_pylist() == ["Happiness"] * 6
    affcli("extract-visual", "smile.mkv", "--model", "mini", "-o", "V.parquet", "-q")
    affcli("predict", "--model", "mini", "--visual", "V.parquet", "-o", "P.parquet", "-q")
    affcli("vote", "P.parquet", "-o", "voted.parquet", "-q")
    affcli("smooth", "voted.parquet", "-o", "frames.parquet", "-q")
    separate = pq.read_table(tmp_path / "frames.parquet")
    for label in CLASSES:
        np.testing.assert_allclose(frames[label].to_numpy(), separate[label].to_numpy(), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["no.mp4"], "no.mp4: no such file", 1),
        ([], "name at least one", 2),
        (["clips", "-k", 4], "--kernel 4", 2),
        (["clips", "--window", 99_999], "--window 99999", 2),
    ],
)
def test_wrong_calls_are_one_line_and_make_no_folder(
    here: Path, label: Label, arguments: list[object], text: str, status: int
) -> None:
    said = label(*arguments, status=status)
    assert text in said
    assert said.count("\n") == 1
    assert not (here / "out").exists()


# --- names -----------------------------------------------------------------------------------------------------------


def test_ids_that_are_paths_and_a_video_named_summary_have_their_tables(
    here: Path, label: Label, affcli: Affcli
) -> None:
    for name in ("s1/clip.mkv", "s2/clip.mkv", "summary.mkv", "50%.mkv"):
        (here / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / "clips" / "pair.mkv", here / "set" / name)
    label("set", "--names", "path")
    tables = ["%73ummary.parquet", "50%25.parquet", "s1%2Fclip.parquet", "s2%2Fclip.parquet"]
    names = [f"frames/{table}" for table in tables]
    assert sorted(files(here / "out")) == [*names, "summary.csv", "summary.parquet"]
    affcli("vote", "out", "-o", "v.parquet")
    assert sorted(set(pq.read_table("v.parquet")["video"].to_pylist())) == ["50%", "s1/clip", "s2/clip", "summary"]
    assert "nothing to do" in label("set", "--names", "path")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, max_size=2, unique=True))
def test_two_videos_never_share_a_table_and_no_name_leaves_the_folder(videos: list[str]) -> None:
    one, other = map(table_name, videos)
    assert one != other
    assert "/" not in one
    assert not one.startswith((".", "_"))
    assert one != "summary.parquet"
    assert len(one.encode()) < 200


def test_long_ids_are_cut_at_a_whole_character() -> None:
    one, other = table_name("é" * 150 + "a"), table_name("é" * 150 + "b")
    assert one != other
    assert one.startswith("é" * 83 + "~")
