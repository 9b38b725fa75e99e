"""Corpora of speech: what of a folder and its table is trained on, held out, left out and refused."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from affcli.errors import AffcliError
from affcli.media.ffmpeg import MediaError
from affcli.schema import CLASSES
from affcli.speechsets.corpora import list_speech, name_of, read_corpus
from affcli.speechsets.sounds import decoded, read_sound


def corpus(folder: Path, text: str, files: tuple[str, ...] = ("a.wav", "b.wav", "c.wav")) -> Path:
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(files):
        tone = 0.1 * np.sin(np.arange(8000) * (0.05 + number / 50))
        soundfile.write(folder / file, tone, 16_000)
    (folder / "labels.csv").write_text(text)
    return folder


def test_words_of_any_spelling_are_classes_and_others_are_left_out_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = corpus(tmp_path / "x", "file,label,speaker\na.wav,happy,1\nb.wav,ANG,2\nc.wav,boredom,2\nd.wav,sad,3\n")
    found = read_corpus("x", folder)
    assert [CLASSES[int(target.argmax())] for target in found.targets] == ["Happiness", "Anger"]
    assert found.speakers == ["1", "2"]
    assert "2 utterances left out: 1 labelled 'boredom', 1 without their file" in caplog.text


def test_columns_of_votes_are_soft_labels_and_come_before_the_label(tmp_path: Path) -> None:
    header = "file,label,speaker,neutral,angry,contempt,other\n"
    text = header + "a.wav,sad,1,3,1,0,0\nb.wav,sad,2,0,0,1,1\nc.wav,sad,3,0,,0,0\n"
    found = read_corpus("x", corpus(tmp_path / "x", text))
    assert np.array_equal(found.targets, [[0.75, 0.25, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]])


def test_no_speaker_is_both_trained_on_and_held_out(tmp_path: Path) -> None:
    names = tuple(f"{number}.wav" for number in range(20))
    rows = "".join(f"{name},{CLASSES[n % 5]},{n % 4}\n" for n, name in enumerate(names))
    found = list_speech([("x", corpus(tmp_path / "x", "file,label,speaker\n" + rows, names))], holdout=0.3).listing
    speakers = [{int(Path(origin.path).stem) % 4 for origin in part.origins} for part in (found.train, found.held_out)]
    assert len(speakers[1]) == 1
    assert not speakers[0] & speakers[1]
    assert len(found) == 20


def test_a_split_decides_and_a_test_part_is_not_used(tmp_path: Path) -> None:
    text = "file;label;split\na.wav;sad;train\nb.wav;sad;Val\nc.wav;sad;test\n"
    found = list_speech([("x", corpus(tmp_path / "x", text))]).listing
    assert [len(part) for part in (found.train, found.held_out, found.unused)] == [1, 1, 1]


def test_a_corpus_left_out_is_held_out_as_a_whole_apart_from_the_speakers_that_choose(tmp_path: Path) -> None:
    one = corpus(tmp_path / "one", "file,label,speaker\na.wav,sad,1\nb.wav,sad,2\nc.wav,fear,3\n")
    two = corpus(tmp_path / "two", "file,label,speaker\na.wav,sad,1\nb.wav,sad,2\n", ("a.wav", "b.wav"))
    found = list_speech([("one", one), ("two", two)], leave_out="two")
    assert found.listing.train.source.tolist() == [0, 0]
    assert found.held_out.tolist() == [True, False, False]
    with pytest.raises(AffcliError, match="--leave-out three: no such corpus; --data names one, two"):
        list_speech([("one", one), ("two", two)], leave_out="three")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("label\nsad\n", "no column 'file'"),
        ("file,mood\na.wav,sad\n", "neither a column 'label' nor columns of votes"),
        ("file,label,split\na.wav,sad,later\n", "row 2: split 'later' is none of train, val and test"),
        ("file,label\na.wav,sad\na.wav,fear\n", "a.wav has 2 rows"),
        ("file,sad,fear\na.wav,-1,2\n", "row 2: votes must be numbers from 0 on"),
        ("file,label\nz.wav,sad\n", r"no utterance can be used \(1 without their file\)"),
        ("file,label\n", "no rows"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(AffcliError, match=says):
        read_corpus("x", corpus(tmp_path / "x", text))


def test_folders_without_a_table_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AffcliError, match=r"has no labels.csv"):
        read_corpus("x", tmp_path / "empty")
    with pytest.raises(AffcliError, match="no such folder"):
        read_corpus("x", tmp_path / "nowhere")
    with pytest.raises(AffcliError, match="two corpora are called 'x'"):
        list_speech([("x", tmp_path), ("x", tmp_path)])
    assert name_of("a=b/c") == ("a", Path("b/c"))
    assert name_of("b/c")[0] == "c"


def test_sounds_are_decoded_once_and_unusable_ones_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = corpus(tmp_path / "x", "file,label\na.wav,sad\nb.wav,fear\nc.wav,sad\nd.wav,sad\ne.wav,sad\n")
    (folder / "d.wav").write_bytes(b"no sound")
    soundfile.write(folder / "e.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "b.wav", np.full((44_100, 2), 0.25), 44_100)
    listed = list_speech([("x", folder)], holdout=0).listing.train
    with caplog.at_level(logging.WARNING):
        sounds, rows = decoded("train", listed, 16_000, cache=tmp_path / "cache")
    assert rows.tolist() == [0, 1, 2]
    assert sounds.lengths.tolist() == [8000, 16_000, 8000]
    assert "of 5 utterances, 1 cannot be read, 1 are silent" in caplog.text
    np.testing.assert_allclose(sounds.read(1, 4000, 100), 0.25, atol=1e-3)
    (file,) = (tmp_path / "cache").glob("*.pcm")
    made = file.stat().st_mtime_ns
    again, _ = decoded("train", listed, 16_000, cache=tmp_path / "cache")
    assert file.stat().st_mtime_ns == made
    assert again.digest == sounds.digest


@pytest.mark.parametrize("damage", ["bit", "facts", "lengths"])
def test_decoded_audio_that_has_changed_is_decoded_again_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder = corpus(tmp_path / "c", "file,label\na.wav,sad\n")
    listed = list_speech([("c", folder)], holdout=0).listing.train
    before, _ = decoded("train", listed, 16_000, cache=tmp_path / "cache")
    expected = before.read(0).copy()
    (stored,) = (tmp_path / "cache").glob("*.pcm")
    if damage == "bit":
        content = bytearray(stored.read_bytes())
        content[100] ^= 64
        stored.write_bytes(content)
    else:
        facts = stored.with_suffix(".json")
        other = "[" if damage == "facts" else facts.read_text().replace('"lengths": [', '"lengths": [7, ')
        facts.write_text(other)
    again, _ = decoded("train", listed, 16_000, cache=tmp_path / "cache")
    assert np.array_equal(again.read(0), expected)
    assert f"{stored}: damaged; its audio is decoded again." in caplog.text


def test_what_libsndfile_cannot_read_ffmpeg_decodes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(16_000) / 20), 16_000)
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    given = ["-v", "error", "-i", tmp_path / "a.wav", "-c:a", "aac", tmp_path / "a.m4a"]
    subprocess.run([ffmpeg, *given], check=True)
    one, other = read_sound(tmp_path / "a.wav", 16_000), read_sound(tmp_path / "a.m4a", 16_000)
    assert abs(len(other) - len(one)) < 2048
    assert np.corrcoef(one[2000:14_000], other[2000:14_000])[0, 1] > 0.95
    (tmp_path / "bad.m4a").write_bytes(b"nothing")
    with pytest.raises(MediaError):
        read_sound(tmp_path / "bad.m4a", 16_000)
