"""The moments that the fusion network of `mini` is trained on (examples/mini/fusion_moments.py, fusion_data.py)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from affcli.schema import CLASSES

HAPPY, NEUTRAL, SURPRISE = (CLASSES.index(name) for name in ("Happiness", "Neutral", "Surprise"))


@pytest.fixture(scope="module")
def modules() -> Iterator[tuple[ModuleType, ModuleType]]:
    folder = str(Path(__file__).parents[2] / "examples" / "mini")
    sys.path.insert(0, folder)
    try:
        import fusion_data
        import fusion_moments

        yield fusion_data, fusion_moments
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def stage(modules):
    """Twelve clips of 3 s, two of each class, and 48 pictures: feature 0 of a clip or picture tells which it is."""
    data, moments = modules
    said = np.repeat(np.eye(8)[np.arange(12) % 6][:, None], 3, axis=1)
    said[0, 0], said[4, 2] = np.eye(8)[NEUTRAL], np.eye(8)[SURPRISE]  # what is said of both need not be a mean
    begins = np.arange(13) * 30
    features = np.zeros((360, 5), np.float16)
    features[:, 0] = np.repeat(np.arange(12), 30)
    voices = data.Voices(features, np.tile(np.repeat([0.0, 0.9, 0.1], 10), 12).astype(np.float32), begins, said,
                         np.repeat(1021, 12), np.array([f"c{i}" for i in range(12)]))  # fmt: skip
    looks = np.zeros((48, data.VARIANTS, 4), np.float16)
    looks[..., 0] = np.arange(48)[:, None]
    pictures = data.Looks(looks, np.eye(8, dtype=np.float32)[np.arange(48) % 8])
    return moments.Stage.of(voices, pictures, np.full((3, 20, 5), 7, np.float16))


def test_a_window_is_full_and_its_votes_are_shares(stage, modules):
    _, moments = modules
    random = np.random.default_rng(0)
    for kind in (None, *moments.KINDS):
        window = stage.window(random, kind)
        assert [len(part) for part in window] == [moments.FRAMES] * 5
        assert window.target.sum(1) == pytest.approx(np.ones(moments.FRAMES), abs=1e-5)
        assert np.isfinite(window.visual.astype(np.float32)).all()


def test_a_voice_is_heard_only_where_somebody_speaks(stage):
    audio, heard = stage._sound(np.random.default_rng(1), 3, 10.0)
    assert set(audio[:30, 0].tolist()) == {3}  # features of the clip itself
    assert 0 < heard.sum() <= 11
    assert not heard[:9].any()
    assert not heard[21:].any()


def test_the_target_is_what_people_said_of_both_and_of_a_voice_alone_a_share_of_what_they_heard(stage, modules):
    _, moments = modules
    both, voice = (stage._moment(np.random.default_rng(0), kind, SURPRISE, 20.0) for kind in ("clip", "voice"))
    assert both.target[0, SURPRISE] == 1  # clip 4's face and voice are happy; both together were said to be surprised
    assert not voice.seen.any()
    assert voice.target[0, SURPRISE] == pytest.approx(moments.JOINT)
    assert voice.target[0, HAPPY] == pytest.approx(1 - moments.JOINT)


def test_a_face_looks_as_people_saw_the_clip(stage, modules):
    _, moments = modules
    picture_classes = stage.nearest % 8
    for clip in range(12):
        seen = stage.voices.votes[clip, moments.FACE - 1].argmax()
        assert (picture_classes[clip, :6] == seen).sum() + (picture_classes[clip, 6:] == seen).sum() == 6


def test_a_neutral_voice_pulls_a_face_a_little_and_other_sound_does_not(stage, modules):
    _, moments = modules
    random = np.random.default_rng(0)
    spoken = stage._moment(random, "face, neutral voice", SURPRISE, 20.0)
    assert spoken.target[0, SURPRISE] == pytest.approx(1 - moments.PULL)
    assert spoken.target[0, NEUTRAL] == pytest.approx(moments.PULL)
    noisy = stage._moment(random, "face, other sound", SURPRISE, 20.0)
    assert noisy.heard.all()
    assert set(noisy.audio[:, 0].tolist()) == {7}
    assert noisy.target[0, SURPRISE] == 1
    assert not stage._moment(random, "face", SURPRISE, 20.0).heard.any()


def test_the_same_seed_gives_the_same_window(stage):
    one, two = (stage.window(np.random.default_rng(5)) for _ in range(2))
    for part, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(part, other)


def test_votes_are_read_by_way_of_judging(tmp_path, modules):
    data, _ = modules
    rows = ['"","A","D","F","H","N","S","fileName"', '"100001",1,0,0,3,0,0,"x"', '"200001",0,0,0,0,4,0,"x"']
    rows += ['"300001",0,2,0,0,0,2,"x"', '"300002",1,0,0,0,0,0,"judged one way only"']
    (tmp_path / "votes.csv").write_text("\n".join(rows) + "\n")
    found = data.votes(tmp_path / "votes.csv")
    assert list(found) == ["x"]
    assert found["x"][0].tolist() == [0, 0.25, 0, 0, 0.75, 0, 0, 0]
    assert found["x"][1, NEUTRAL] == 1
    assert found["x"][2].tolist() == [0, 0, 0.5, 0, 0, 0.5, 0, 0]


def test_coloured_noise_has_the_slope_it_is_asked_for(modules):
    data, _ = modules
    for slope in (0.0, 1.0, 2.0):
        power = np.abs(np.fft.rfft(data.coloured(np.random.default_rng(0), 1 << 16, slope))) ** 2
        low, high = power[100:400].mean(), power[1600:6400].mean()
        assert np.log2(low / high) / 4 == pytest.approx(slope, abs=0.1)


def test_clips_of_several_files_are_one(tmp_path, stage, modules):
    data, _ = modules
    for number in range(2):
        stage.voices.save(tmp_path / f"{number}.npz")
    found = data.Voices.load(tmp_path / "0.npz", tmp_path / "1.npz")
    assert found.begins.tolist() == list(range(0, 721, 30))
    assert found.name.tolist() == [*stage.voices.name, *stage.voices.name]
    assert np.array_equal(found.features[found.rows(15)], stage.voices.features[stage.voices.rows(3)])
