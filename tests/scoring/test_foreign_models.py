"""Scores of other people's models: seven of the eight classes, other words, label texts, segments, submissions."""

from __future__ import annotations

import functools
import json

import numpy as np
import pandas as pd
import pytest
from helpers.frame_tables import call, write_labels
from sklearn.metrics import f1_score

from affcli.schema import CLASSES

PYFEAT = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # py-feat's order
NUMBER = (1, 2, 3, 4, 5, 6, 0)


@pytest.fixture
def affcli(capsys):
    return functools.partial(call, capsys)


@pytest.fixture
def scored(affcli):
    def run(*arguments: object) -> dict:
        status, out, err = affcli("score", *arguments, "--json", "--bootstrap", 0)
        assert status == 0, err
        return json.loads(out)

    return run


def seven_and_truth(frames: int = 200) -> tuple[np.ndarray, list[int]]:
    """Logits of seven classes in py-feat's order, and labels of the eight, right about half of the time."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(frames, 7))
    predicted = np.array(NUMBER)[logits.argmax(axis=1)]
    truth = np.where(rng.random(frames) < 0.5, predicted, rng.integers(0, 8, frames))
    return logits, truth.tolist()


def frames_of(numbers: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    keys = {"video": "a", "frame": np.arange(1, len(numbers) + 1)}
    return pd.DataFrame({**keys, **dict(zip(names, numbers.T, strict=True))})


def test_a_model_of_seven_classes_scores_as_scikit_learn_says_alike_through_every_format(tmp_path, affcli, scored):
    logits, truth = seven_and_truth()
    frames_of(logits, PYFEAT).to_csv(tmp_path / "p.csv", index=False)
    frames_of(logits, PYFEAT).to_parquet(tmp_path / "p.parquet")
    affcli("smooth", tmp_path / "p.csv", "-k", 1, "-o", tmp_path / "s.parquet")
    affcli("export", tmp_path / "s.parquet", "--to", "csv", "-o", tmp_path / "s.csv")
    labels = write_labels(tmp_path / "labels", a=truth)
    predicted = np.array(NUMBER)[logits.argmax(axis=1)]
    every = f1_score(truth, predicted, labels=range(8), average=None, zero_division=0)
    for file in ("p.csv", "p.parquet", "s.parquet", "s.csv"):
        found = scored(tmp_path / file, "--labels", labels)
        assert found["macro_f1"] == pytest.approx(every.mean())
        assert found["macro_f1_known"] == pytest.approx(every[:7].mean())
        assert found["classes_known"] == list(CLASSES[:7])
    text = affcli("score", tmp_path / "s.csv", "--labels", labels, "--bootstrap", 0)
    assert "has no class Other: it counts as never predicted" in text[2]
    assert "macro F1 over the 7 known classes" in text[1]


def test_seven_classes_are_calibrated_exported_and_voted(tmp_path, affcli):
    logits, truth = seven_and_truth()
    table = pd.concat([frames_of(logits, PYFEAT), frames_of(logits, PYFEAT).assign(video="b")])
    table.to_csv(tmp_path / "p.csv", index=False)
    labels = write_labels(tmp_path / "labels", a=truth, b=truth)
    made = tmp_path / "c.json"
    assert affcli("calibrate", tmp_path / "p.csv", "--labels", labels, "-o", made, "--bootstrap", 0)[0] == 0
    offsets = json.loads(made.read_text())["offsets"]
    assert set(offsets) == set(CLASSES[:7])
    assert sum(offsets.values()) == pytest.approx(0, abs=1e-9)
    assert affcli("vote", tmp_path / "p.csv", "--calibration", made, "-o", tmp_path / "v.parquet")[0] == 0
    assert affcli("export", tmp_path / "p.csv", "--to", "labels", "-o", tmp_path / "out")[0] == 0
    written = (tmp_path / "out" / "a.txt").read_text().splitlines()
    assert [int(line) for line in written[1:]] == np.array(NUMBER)[logits.argmax(axis=1)].tolist()


def test_eight_columns_of_other_names_are_the_eight_in_their_order_where_the_user_says_so(tmp_path, affcli, scored):
    logits = np.random.default_rng(0).normal(size=(20, 8))
    names = tuple(f"e{i}" for i in range(8))
    frames_of(logits, names).to_csv(tmp_path / "p.csv", index=False)
    labels = write_labels(tmp_path / "labels", a=logits.argmax(axis=1).tolist())
    status, _, err = affcli("score", tmp_path / "p.csv", "--labels", labels)
    assert status == 2
    assert f"--classes {','.join(names)}" in err
    assert "--map" not in err
    assert scored(tmp_path / "p.csv", "--labels", labels, "--classes", ",".join(names))["accuracy"] == 1


def test_words_of_the_field_are_labels_and_others_are_mapped(tmp_path, affcli, scored):
    labels = pd.DataFrame({"video": "a", "frame": [1, 2, 3], "label": ["happy", "SAD", "bored"]})
    labels.to_csv(tmp_path / "l.csv", index=False)
    frames_of(np.eye(8)[[4, 5, 7]] * 9, CLASSES).to_csv(tmp_path / "p.csv", index=False)
    status, _, err = affcli("score", tmp_path / "p.csv", "--labels", tmp_path / "l.csv")
    assert status == 1
    assert "'bored', none of the classes" in err
    assert "--map bored=CLASS" in err
    assert scored(tmp_path / "p.csv", "--labels", tmp_path / "l.csv", "--map", "bored=Other")["accuracy"] == 1
    assert scored(tmp_path / "l.csv", "--labels", tmp_path / "l.csv", "--map", "bored=Other")["accuracy"] == 1


def test_label_texts_are_predictions(tmp_path, scored):
    truth = write_labels(tmp_path / "truth", a=[0, 1, -1, 3], b=[7])
    said = write_labels(tmp_path / "said", a=[0, 2, 5, 3], b=[7])
    found = scored(said, "--labels", truth)
    assert (found["frames"], found["accuracy"]) == (4, 0.75)
    assert scored(said / "b.txt", "--labels", truth / "b.txt")["accuracy"] == 1


def test_segments_are_scored_and_voted_as_their_frames(tmp_path, affcli, scored):
    spans = pd.DataFrame({"video": "a", "start": [1, 4], "end": [2, 5], "label": ["happy", "Fear"], "confidence": 0.5})
    spans.to_csv(tmp_path / "s.csv", index=False)
    labels = write_labels(tmp_path / "labels", a=[4, 4, -1, 3, 0])
    found = scored(tmp_path / "s.csv", "--labels", labels)
    assert (found["frames"], found["accuracy"]) == (4, 0.75)
    assert affcli("vote", tmp_path / "s.csv", "-o", tmp_path / "v.csv")[0] == 0
    voted = pd.read_csv(tmp_path / "v.csv")
    assert voted["label"].fillna("").tolist() == ["Happiness", "Happiness", "", "Fear", "Fear"]
    assert voted["votes"].tolist() == [1, 1, 0, 1, 1]


def test_overlapping_segments_are_for_vote(tmp_path, affcli):
    spans = pd.DataFrame({"video": "a", "start": [1, 2], "end": [3, 4], "label": ["Fear", "Other"]})
    spans.to_csv(tmp_path / "s.csv", index=False)
    labels = write_labels(tmp_path / "labels", a=[3, 3, 3])
    assert "overlap at frame 2" in affcli("score", tmp_path / "s.csv", "--labels", labels)[2]
    assert affcli("vote", tmp_path / "s.csv", "-o", tmp_path / "v.csv")[0] == 0
    assert pd.read_csv(tmp_path / "v.csv")["votes"].tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize(
    "place", ["a/{:05d}.jpg", "a/{:05d}", "cropped_aligned/a/{:05d}.jpg", "cropped_aligned\\a\\{:05d}.PNG"]
)
@pytest.mark.parametrize("classes", [CLASSES, tuple(sorted(CLASSES)), CLASSES[:7], ("Happy", "Sad", "neutral")])
def test_the_header_of_a_submission_says_what_its_numbers_are(tmp_path, scored, place, classes):
    words = {"Happy": "Happiness", "Sad": "Sadness", "neutral": "Neutral"}
    lines = [f"{place.format(i + 1)},{i}" for i in range(len(classes))]
    (tmp_path / "s.txt").write_text("\n".join([",".join(["image_location", *classes]), *lines]) + "\n")
    labels = write_labels(tmp_path / "labels", a=[CLASSES.index(words.get(name, name)) for name in classes])
    assert scored(tmp_path / "s.txt", "--labels", labels)["accuracy"] == 1


def test_a_submission_of_unknown_classes_is_refused(tmp_path, affcli):
    (tmp_path / "s.txt").write_text("image_location,Bored,Neutral\na/00001.jpg,0\n")
    labels = write_labels(tmp_path / "labels", a=[0])
    status, _, err = affcli("score", tmp_path / "s.txt", "--labels", labels)
    assert status == 1
    assert "'Bored'" in err
