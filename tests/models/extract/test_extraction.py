"""Videos in, feature tables out: every frame has its row, what fails is named, what is done is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.extracting import BLANK, SMALL, column
from helpers.media_fixtures import H264, ffmpeg, write_click, write_frames, write_pattern
from PIL import Image
from transformers import BeitModel

from affcli.media.audio import open_sound
from affcli.media.faces import FaceDetector, align
from affcli.media.hearing import RegularFrames, ShownFrames
from affcli.media.video import frame_centres, open_video
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.extract.audio_features import StepMeans
from affcli.models.runtime import devices
from affcli.schema import AUDIO, VISUAL, metadata_of


def direct_features(tiny_beit: Path, crops: list[np.ndarray]) -> np.ndarray:
    """transformers called by hand on the same crops."""
    values = (torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        return BeitModel.from_pretrained(tiny_beit).eval()(pixel_values=values).pooler_output.numpy()


def test_every_frame_has_its_row_and_its_feature_is_that_of_transformers(
    tmp_path: Path, visual, tiny_beit: Path
) -> None:  # type: ignore[no-untyped-def]
    frames = [SMALL, BLANK, np.roll(SMALL, 4, axis=1), BLANK, SMALL]
    clip = write_frames(tmp_path / "clip.mkv", frames)
    visual("clip.mkv")
    table = pq.read_table(tmp_path / "V.parquet")
    assert table.column_names == [
        "video",
        "frame",
        "time_s",
        "face",
        "score",
        "box_x",
        "box_y",
        "box_w",
        "box_h",
        "feature",
    ]
    assert [str(t) for t in table.schema.types[:4]] == ["string", "int32", "double", "bool"]
    assert table.schema.field("feature").type.list_size == 24
    assert table["frame"].to_pylist() == [1, 2, 3, 4, 5]
    assert table["time_s"].to_pylist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert table["face"].to_pylist() == [True, False, True, False, True]
    assert (
        table["score"].is_null().to_pylist()
        == table["feature"].is_null().to_pylist()
        == [False, True, False, True, False]
    )

    detector = FaceDetector(threads=1)
    with open_video(clip) as shown:
        pixels = [frame.pixels for frame in shown][::2]
    faces = [detector.detect(picture)[0] for picture in pixels]
    crops = [align(picture, face.landmarks, 32) for picture, face in zip(pixels, faces, strict=True)]
    stored = np.array([feature for feature in table["feature"].to_pylist() if feature is not None])
    np.testing.assert_allclose(stored, direct_features(tiny_beit, crops), atol=2e-3)
    assert table["box_w"].to_pylist()[0] == pytest.approx(faces[0].box[2], abs=1e-3)

    about = metadata_of(table.schema)
    assert about["kind"] == VISUAL
    assert about["encoder"]["name"] == "tiny-beit"
    assert about["alignment"] == {"template": "arcface-112", "size": 32}
    assert str(tmp_path) not in json.dumps(about)
    assert not list(tmp_path.glob("*.parts"))


def test_features_do_not_depend_on_the_batch_or_on_other_videos(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    for index, count in enumerate((3, 1, 6)):
        write_frames(tmp_path / f"c{index}.mkv", [np.roll(SMALL, 3 * index + i, axis=0) for i in range(count)])
    visual("c0.mkv", "c1.mkv", "c2.mkv")
    visual("c2.mkv", output="alone.parquet")
    assert column(tmp_path / "V.parquet", "feature", "c2") == column(tmp_path / "alone.parquet", "feature")
    assert column(tmp_path / "V.parquet", "video") == ["c0"] * 3 + ["c1"] + ["c2"] * 6


def test_cropped_aligned_folders_are_taken_as_they_are(tmp_path: Path, visual, tiny_beit: Path) -> None:  # type: ignore[no-untyped-def]
    root = tmp_path / "cropped_aligned"
    for video in ("x_left", "y"):
        (root / video).mkdir(parents=True)
    for name in ("x_left/00002.jpg", "x_left/00004.jpg", "y/00001.jpg"):
        Image.fromarray(SMALL[:112, 60:172]).save(root / name)
    (root / "y" / ".DS_Store").write_text("junk")
    visual(root, "--fps", 10)
    assert column(tmp_path / "V.parquet", "video") == ["x_left"] * 4 + ["y"]
    assert column(tmp_path / "V.parquet", "face") == [False, True, False, True, True]
    assert column(tmp_path / "V.parquet", "time_s") == pytest.approx([0, 0.1, 0.2, 0.3, 0])
    assert column(tmp_path / "V.parquet", "score") == [None] * 5
    with Image.open(root / "y" / "00001.jpg") as picture:
        crop = np.array(picture.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    stored = np.array(column(tmp_path / "V.parquet", "feature", "y"))
    np.testing.assert_allclose(stored, direct_features(tiny_beit, [crop]), atol=2e-3)


def test_folders_take_the_count_and_the_times_of_their_videos(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "frames" / "x_left").mkdir(parents=True)
    Image.fromarray(SMALL).save(tmp_path / "frames" / "x_left" / "00002.png")
    (tmp_path / "videos").mkdir()
    write_pattern(tmp_path / "videos" / "x.mkv", *H264, seconds=0.5, fps=10)
    visual("frames", "--videos", "videos")
    assert column(tmp_path / "V.parquet", "face") == [False, True, False, False, False]
    assert column(tmp_path / "V.parquet", "time_s") == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    visual("frames", output="untimed.parquet")
    assert column(tmp_path / "untimed.parquet", "time_s") == [None, None]


def test_every_nth_frame_is_encoded_and_the_rest_interpolated(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    frames = [np.roll(SMALL, 5 * index, axis=1) for index in range(6)]
    write_frames(tmp_path / "clip.mkv", frames)
    visual("clip.mkv")
    visual("clip.mkv", "--every", 3, output="third.parquet")
    full, third = (np.array(column(tmp_path / name, "feature")) for name in ("V.parquet", "third.parquet"))
    assert column(tmp_path / "third.parquet", "face") == [True] * 6
    for encoded in (0, 3, 5):  # frames 1, 4 and the last
        assert np.array_equal(third[encoded], full[encoded])
    np.testing.assert_allclose(third[1], (2 * full[0] + full[3]) / 3, atol=2e-3)
    np.testing.assert_allclose(third[4], (full[3] + full[5]) / 2, atol=2e-3)


def test_all_gives_each_person_rows_of_their_own(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    alone, two = np.hstack([SMALL, BLANK]), np.hstack([SMALL, SMALL[:, ::-1]])
    write_frames(tmp_path / "clip.mkv", [alone, alone, two, two, two, two])
    visual("clip.mkv", "--face", "all")
    assert column(tmp_path / "V.parquet", "video") == ["clip#1"] * 6 + ["clip#2"] * 6
    assert column(tmp_path / "V.parquet", "frame") == [1, 2, 3, 4, 5, 6] * 2
    # who comes later counts from the third sight on: until then a detection may be a flicker
    assert column(tmp_path / "V.parquet", "face") == [True] * 6 + [False] * 4 + [True] * 2
    write_frames(tmp_path / "empty.mkv", [BLANK, BLANK])
    visual("empty.mkv", "--face", "all", output="nobody.parquet")
    assert column(tmp_path / "nobody.parquet", "video") == ["empty#1"] * 2
    assert column(tmp_path / "nobody.parquet", "face") == [False, False]


def test_bad_inputs_are_named_and_the_good_ones_are_written(tmp_path: Path, visual, audio) -> None:  # type: ignore[no-untyped-def]
    write_frames(tmp_path / "good.mkv", [SMALL])
    (tmp_path / "text.mp4").write_text("this is no video\n")
    (tmp_path / "empty.mp4").write_bytes(b"")
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "sound.wav")
    said = visual("good.mkv", "text.mp4", "empty.mp4", "sound.wav", status=3).splitlines()
    assert column(tmp_path / "V.parquet", "video") == ["good"]
    for name in ("text.mp4", "empty.mp4", "sound.wav"):
        assert sum(f"affcli extract-visual: {name}: " in line for line in said) == 1
    assert "3 of 4 inputs failed" in said[-1]
    assert metadata_of(pq.read_schema(tmp_path / "V.parquet"))["failed"].keys() == {"text", "empty", "sound"}

    said = visual("text.mp4", output="none.parquet", status=1).splitlines()
    assert "none of the inputs" in said[-1]
    assert not (tmp_path / "none.parquet").exists()
    assert not list(tmp_path.glob("*.parts"))
    assert "stopped at the first failure" in visual("text.mp4", "good.mkv", "--fail-fast", output="f.parquet", status=1)

    said = audio("sound.wav", "text.mp4", status=1)
    assert "give --fps F or --frames-from" in said


def test_a_truncated_video_keeps_its_frames_and_is_named(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    frames = [np.roll(SMALL, index, axis=0) for index in range(50)]
    path = write_frames(tmp_path / "whole.mkv", frames, codec=(*H264, "-g", "1"))
    (tmp_path / "cut.mkv").write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    said = visual("cut.mkv", status=3)
    assert "cut.mkv" in said.splitlines()[0]
    kept = column(tmp_path / "V.parquet", "frame")
    assert 20 < len(kept) < 50
    assert kept == list(range(1, len(kept) + 1))


def test_the_same_command_again_has_nothing_to_do_and_others_are_refused(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    write_frames(tmp_path / "a.mkv", [SMALL])
    write_frames(tmp_path / "b.mkv", [SMALL, BLANK])
    visual("a.mkv")
    before = (tmp_path / "V.parquet").read_bytes()
    [line] = visual("a.mkv").splitlines()  # and no note about an encoder that was not used
    assert "nothing to do" in line
    assert "other settings" in visual("a.mkv", "--every", 2, status=1)
    assert "other inputs" in visual("a.mkv", "b.mkv", status=1)
    assert (tmp_path / "V.parquet").read_bytes() == before
    visual("a.mkv", "b.mkv", "--update")
    visual("a.mkv", "b.mkv", output="afresh.parquet")
    assert (tmp_path / "V.parquet").read_bytes() == (tmp_path / "afresh.parquet").read_bytes()
    write_frames(tmp_path / "a.mkv", [BLANK, SMALL, BLANK])
    visual("a.mkv", "b.mkv", "--update")
    assert column(tmp_path / "V.parquet", "face") == [False, True, False, True, False]
    visual("b.mkv", "--force")
    assert column(tmp_path / "V.parquet", "video") == ["b", "b"]


def test_update_names_what_it_keeps_of_inputs_that_are_not_named_any_more(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    write_frames(tmp_path / "a.mkv", [SMALL])
    write_frames(tmp_path / "b.mkv", [SMALL, SMALL])
    assert "keeps" not in visual("a.mkv", "b.mkv")
    (tmp_path / "b.mkv").rename(tmp_path / "c.mkv")
    note = "the output keeps 1 input of earlier runs that this one does not name: b."
    for _ in range(2):  # also where nothing is to do
        assert note in visual("a.mkv", "c.mkv", "--update")
        assert column(tmp_path / "V.parquet", "video") == ["a", "b", "b", "c", "c"]


def test_formerly_failed_inputs_are_tried_again_by_update(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    write_frames(tmp_path / "a.mkv", [SMALL])
    (tmp_path / "b.mkv").write_text("not yet")
    visual("a.mkv", "b.mkv", status=3)
    assert "nothing to do" in visual("a.mkv", "b.mkv", status=3)
    write_frames(tmp_path / "b.mkv", [SMALL, SMALL])
    visual("a.mkv", "b.mkv", "--update")
    assert column(tmp_path / "V.parquet", "video") == ["a", "b", "b"]


def test_a_folder_that_is_not_ours_is_refused_by_name_and_stays(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    write_frames(tmp_path / "a.mkv", [SMALL])
    parts = tmp_path / "V.parquet.parts"
    parts.mkdir()
    (parts / "thesis.txt").write_text("mine")
    assert "V.parquet.parts: is not a folder of affcli's (it holds thesis.txt)" in visual("a.mkv", status=1)
    (parts / "settings.json").write_text("{}")
    (parts / "lock").touch()
    assert "V.parquet.parts: holds unfinished work of affcli 0.1.0" in visual("a.mkv", "--force", status=1)
    assert sorted(path.name for path in parts.iterdir()) == ["lock", "settings.json", "thesis.txt"]
    parts.rename(tmp_path / "elsewhere")
    parts.symlink_to(tmp_path / "elsewhere")
    assert "V.parquet.parts: is a symbolic link" in visual("a.mkv", status=1)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 3


def test_update_tries_again_what_failed_for_want_of_times(tmp_path: Path, visual, audio) -> None:  # type: ignore[no-untyped-def]
    for name in ("x.mkv", "y.mkv"):
        write_click(tmp_path / name, *H264, "-c:a", "pcm_s16le", at_s=0.5, sound_end_s=1, seconds=1)
    visual("x.mkv")
    assert "has no video 'y'" in audio("x.mkv", "y.mkv", "--frames-from", "V.parquet", status=3)
    said = audio("x.mkv", "y.mkv", "--frames-from", "V.parquet", "--update", status=3)
    assert "has no video 'y'" in said
    assert "nothing to do" not in said
    visual("x.mkv", "y.mkv", "--update")
    audio("x.mkv", "y.mkv", "--frames-from", "V.parquet", "--update")
    assert column(tmp_path / "A.parquet", "video") == ["x"] * 25 + ["y"] * 25


def test_names_come_from_lists_and_collide_loudly(tmp_path: Path, visual, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    for folder in ("s1", "s2"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        write_frames(tmp_path / "in" / folder / "a b.mkv", [SMALL])
    assert "--names path" in visual("in", status=2)
    visual("in", "--names", "path")
    assert column(tmp_path / "V.parquet", "video") == ["s1/a b", "s2/a b"]
    (tmp_path / "list").write_text("in/s1/a b.mkv\n")
    visual("--from-file", "list", output="listed.parquet")
    assert column(tmp_path / "listed.parquet", "video") == ["a b"]
    (tmp_path / "nul").write_bytes(b"in/s2/a b.mkv\0")
    visual("--from-file", "nul", "-0", output="nul.parquet")
    assert "no such file" in visual("nowhere.mp4", status=1)
    (tmp_path / "void").mkdir()
    assert "no media in this folder" in visual("void", status=1)
    assert "name at least one" in visual(status=2)


# --- sound -----------------------------------------------------------------------------------------------------------


def test_each_frame_has_the_mean_of_the_steps_around_its_centre(tmp_path: Path, audio, tiny_wavlm: Path) -> None:  # type: ignore[no-untyped-def]
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=3", "-f", "lavfi", "-i", "anoisesrc=d=3:r=16000:seed=1:a=0.3"),
        *(*H264, "-c:a", "pcm_s16le", tmp_path / "clip.mkv"),
    )
    audio("clip.mkv")
    table = pq.read_table(tmp_path / "A.parquet")
    assert table.column_names == ["video", "frame", "time_s", "feature"]
    assert metadata_of(table.schema)["kind"] == AUDIO
    times = table["time_s"].to_numpy()
    assert len(times) == 30
    encoder = AudioEncoder(str(tiny_wavlm), devices.choose("cpu", "fp32"), layers=2)
    with open_sound(tmp_path / "clip.mkv", sample_rate_hz=16_000) as sound:
        [piece] = sound
    steps = encoder.encode(piece.samples)
    step_times = piece.start_s + (200 + 320 * np.arange(len(steps))) / 16_000
    expected = [steps[np.abs(step_times - centre) <= 0.5].mean(axis=0) for centre in frame_centres(times)]
    np.testing.assert_allclose(np.array(table["feature"].to_pylist()), np.array(expected), atol=2e-3)


def test_sound_that_starts_late_or_ends_early_or_is_absent_gives_null_rows_there(tmp_path: Path, audio) -> None:  # type: ignore[no-untyped-def]
    write_click(tmp_path / "late.mkv", *H264, "-c:a", "pcm_s16le", at_s=3, late_s=2.4, sound_end_s=4, seconds=5)
    write_pattern(tmp_path / "silent.mkv", *H264, seconds=0.4)
    audio("late.mkv", "silent.mkv", "--context", 0.1)
    heard = np.array([feature is not None for feature in column(tmp_path / "A.parquet", "feature", "late")])
    centres = (np.arange(125) + 0.5) / 25
    # the first step's centre is 12.5 ms into the sound, the last at most 32.5 ms before its end
    assert heard[(centres > 2.4125 - 0.1) & (centres < 4 - 0.0325 + 0.1)].all()
    assert not heard[(centres < 2.4 - 0.1) | (centres > 4 + 0.1)].any()
    assert column(tmp_path / "A.parquet", "feature", "silent") == [None] * 10


def test_sound_without_a_picture_has_rows_at_the_given_rate(tmp_path: Path, audio) -> None:  # type: ignore[no-untyped-def]
    ffmpeg("-f", "lavfi", "-i", "sine=d=1.96", tmp_path / "s.wav")
    audio("s.wav", "--fps", 25)
    assert column(tmp_path / "A.parquet", "frame") == list(range(1, 50))
    assert column(tmp_path / "A.parquet", "time_s")[:3] == pytest.approx([0, 0.04, 0.08])
    assert None not in column(tmp_path / "A.parquet", "feature")


def test_frame_times_can_come_from_the_visual_table(tmp_path: Path, visual, audio) -> None:  # type: ignore[no-untyped-def]
    write_click(tmp_path / "x.mkv", *H264, "-c:a", "pcm_s16le", at_s=0.5, sound_end_s=1, seconds=1)
    visual("x.mkv")
    audio("x.mkv")
    audio("x.mkv", "--frames-from", "V.parquet", output="from.parquet")
    assert column(tmp_path / "A.parquet", "feature") == column(tmp_path / "from.parquet", "feature")
    shutil.copy(tmp_path / "x.mkv", tmp_path / "other.mkv")
    said = audio("other.mkv", "--frames-from", "V.parquet", output="o.parquet", status=1)
    assert "has no video 'other'" in said


def test_step_means_equal_a_loop_whatever_the_pieces() -> None:
    random = np.random.default_rng(0)
    times = 0.0125 + 0.02 * np.arange(400)
    times = np.concatenate([times[:150], times[220:]])  # a gap in the sound
    steps = random.normal(size=(len(times), 3)).astype(np.float32)
    centres = np.sort(random.uniform(-1, 9, 300))
    for context in (0.5, 0.005):
        inside = [steps[np.abs(times - centre) <= context] for centre in centres]
        nearest = [np.abs(times - centre).argmin() for centre in centres]
        expected = [
            rows.mean(axis=0) if len(rows) else steps[n] if abs(times[n] - c) <= 0.02 else None
            for rows, n, c in zip(inside, nearest, centres, strict=True)
        ]
        means = StepMeans(3, context)
        found: list[np.ndarray | None] = []
        for piece in np.array_split(np.arange(len(times)), 7):
            means.add(times[piece], steps[piece])
            ready = np.searchsorted(centres, means.known_until_s - means.reach_s)
            done = np.arange(len(found), max(ready, len(found)))
            features, heard = means.means(centres[done])
            found += [row if there else None for row, there in zip(features, heard, strict=True)]
            means.forget_before(centres[len(found) :].min(initial=np.inf) - means.reach_s)
        features, heard = means.means(centres[len(found) :])
        found += [row if there else None for row, there in zip(features, heard, strict=True)]
        assert [row is None for row in found] == [row is None for row in expected]
        for one, other in zip(found, expected, strict=True):
            if one is not None:
                np.testing.assert_allclose(one, other, atol=1e-6)


def test_frames_before_a_time_are_counted_by_their_centres() -> None:
    regular = RegularFrames(25.0)
    assert [regular.before(t) for t in (-np.inf, -1.0, 0.0, 0.02, 0.021, 0.06, 1.0)] == [0, 0, 0, 0, 1, 1, 25]
    assert regular.total(1.96) == 49
    shown = ShownFrames(np.array([0.0, 0.04, 0.08]))
    assert [shown.before(t) for t in (0.0, 0.021, 9.0)] == [0, 1, 3]
