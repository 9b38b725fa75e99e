"""Which columns hold logits: class words, never a wild guess, and errors that show the choice."""

from __future__ import annotations

import logging

import pyarrow as pa
import pytest

from affcli.class_words import CLASS_OF_WORD, class_of, counted_as_other, number_of
from affcli.errors import AmbiguousColumnsError, ColumnError, closest
from affcli.predictions.columns import ColumnNames, layout_of
from affcli.schema import CLASSES

PYFEAT = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


@pytest.fixture(autouse=True)
def _libraries_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("affcli").propagate = True


def layout(*floats: str, text: tuple[str, ...] = (), keys: tuple[str, ...] = ("frame",), **names: object):
    fields = [pa.field("video", pa.string()), *(pa.field(key, pa.int64()) for key in keys)]
    fields += [pa.field(name, pa.float64()) for name in floats] + [pa.field(name, pa.string()) for name in text]
    return layout_of("t.csv", pa.schema(fields), {}, ColumnNames(**names))


def numbered(name: str, count: int) -> list[str]:
    return [f"{name}{i}" for i in range(count)]


def test_every_class_is_a_word_for_itself_in_any_case():
    assert [class_of(name.upper()) for name in CLASSES] == list(CLASSES)
    assert {class_of(word) for word in CLASS_OF_WORD} == set(CLASSES)
    assert [number_of(word) for word in ("happy", "Joy ", "angry", "neutrality", "bored")] == [4, 4, 1, 0, None]
    assert counted_as_other(["Contempt", "other"]) == ["Contempt"]


def test_class_words_are_taken_and_the_other_numbers_named():
    found = layout("x_0", "AU01", *PYFEAT, "confidence")
    assert found.classes == CLASSES[:7]
    assert found.scores == PYFEAT
    assert found.carried == ("x_0", "AU01", "confidence")
    assert any("left out: x_0, AU01" in note for note in found.notes)


@pytest.mark.parametrize(
    "columns",
    [
        [name.upper() for name in CLASSES],
        [f"prob_{name.lower()}" for name in CLASSES],
        [f"emotion.{name}" for name in CLASSES],
        [f"{name} score" for name in CLASSES],
        ["neutral", "angry", "disgusted", "scared", "happy", "sad", "surprised", "others"],
    ],
)
def test_the_words_of_the_field_are_known(columns):
    assert layout(*reversed(columns)).classes == CLASSES


def test_contempt_counts_as_other_and_a_note_says_so():
    affectnet = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
    found = layout(*affectnet)
    assert found.classes == CLASSES
    assert found.class_of[7] == "Other"
    assert any("Contempt counts as Other" in note for note in found.notes)


def test_two_words_for_one_class_are_an_error_that_map_solves():
    with pytest.raises(AmbiguousColumnsError, match=r"happy, joy all mean Happiness.*--map happy=Happiness"):
        layout("happy", "joy", "sad")
    renamed = {"happy": "Happiness", "joy": "Happiness"}
    assert layout("happy", "joy", "sad", renamed=renamed).classes == ("Happiness", "Sadness")


def test_two_groups_of_words_are_shown_with_the_option_that_chooses_each():
    groups = [[f"{group}_{name}" for name in PYFEAT] for group in ("gt", "pred")]
    with pytest.raises(AmbiguousColumnsError) as caught:
        layout(*groups[0], *groups[1])
    assert all(f"--classes {','.join(group)}" in str(caught.value) for group in groups)
    assert layout(*groups[0], *groups[1], classes=tuple(groups[1])).scores == tuple(groups[1])


def test_more_columns_than_a_model_has_classes_are_an_error_that_shows_them():
    with pytest.raises(AmbiguousColumnsError, match=r"--classes f0,f1,…,f99 \(100 columns\)"):
        layout(*numbered("f", 100))


def test_several_groups_are_an_error_that_shows_each():
    with pytest.raises(AmbiguousColumnsError, match="--classes p0,p1,p2; --classes q0,q1,q2"):
        layout(*numbered("p", 3), *numbered("q", 3))
    assert layout(*numbered("logit_", 5)).scores == tuple(numbered("logit_", 5))


OPENFACE = ("timestamp", "confidence", "gaze_0_x", "eye_lmk_x_0", "pose_Tx", "x_0", "X_0", "AU01_r", "AU45_c")


@pytest.mark.parametrize(
    "columns",
    [OPENFACE, ("FaceRectX", "FaceScore", "Pitch", "Yaw"), ("x", "y", "w", "h"), ("start_s", "end_s", "score")],
)
def test_boxes_landmarks_and_action_units_beside_a_label_are_no_logits(columns):
    assert layout(*columns, text=("label",)).classes == ()
    with pytest.raises(ColumnError, match="no columns of logits"):
        layout(*columns)


def test_segments_with_a_label_have_no_logits():
    assert layout("start_s", "end_s", "p", "q", text=("label",), keys=("start", "end")).classes == ()


def test_eight_columns_may_be_named_in_the_order_of_the_eight():
    names = tuple(numbered("e", 8))
    assert layout(*names, classes=names).classes == names


def test_classes_are_found_without_regard_to_case_and_by_word():
    assert layout("neutral", "angry", "x", classes=("Neutral", "Anger")).scores == ("neutral", "angry")


def test_the_likeliest_columns_come_first():
    names = ["AU01", "x_0", "Frame", "clip", "frame_no"]
    assert closest("frame", names)[:2] == ["Frame", "frame_no"]
    assert closest("video", names)[0] == "clip"
    with pytest.raises(ColumnError, match=r"no column 'frame' \(columns: Frame_No, "):
        layout(*numbered("x_", 200), "Frame_No", keys=())
    with pytest.raises(ColumnError, match=r"no column 'Hapiness' \(columns: Happiness, "):
        layout(*numbered("x_", 200), "Happiness", "Sadness", classes=("Hapiness", "Sadness"))


def test_no_advice_maps_an_arbitrary_column_to_a_class(tmp_path):
    with pytest.raises(AmbiguousColumnsError) as caught:
        layout(*numbered("AUx", 3), *numbered("q", 3))
    assert "--map" not in str(caught.value)
