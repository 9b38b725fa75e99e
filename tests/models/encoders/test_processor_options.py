"""What processor configurations say beyond size, mean and std, and heads of other words: applied, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

from affcli.errors import AffcliError, PreprocessingError
from affcli.models.encoders.class_heads import head_outputs
from affcli.models.encoders.classifier import ClassHead
from affcli.models.encoders.find_checkpoint import Checkpoint
from affcli.models.encoders.preprocessing import PicturePreprocessing
from affcli.models.face_training.augmentation import Augmenter, Changes

BGR = {
    "image_processor_type": "MobileViTImageProcessor",
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
}
PLAIN = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def preprocessing(folder: Path, facts: dict[str, Any], model_type: str = "vit") -> PicturePreprocessing:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return PicturePreprocessing.of(Checkpoint("tiny", folder))


@pytest.mark.parametrize("flip", [True, False])
def test_crops_have_their_channels_in_the_order_that_pictures_have(tmp_path: Path, flip: bool) -> None:
    facts = {**BGR, "do_flip_channel_order": flip}
    ours = preprocessing(tmp_path, facts, "mobilevit")
    colour = Image.new("RGB", (32, 32), (255, 51, 0))
    crop = torch.from_numpy(np.asarray(colour).copy())[None]
    expected = MobileViTImageProcessorPil.from_dict(facts)(colour, return_tensors="np")["pixel_values"]
    assert np.allclose(ours.normalised(crop).numpy(), expected)
    assert np.allclose(ours.normalised(torch.from_numpy(ours.fitted(colour))[None]).numpy(), expected)
    assert ours.normalised(crop)[0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1] if flip else [1, 0.2, 0])


def test_training_sees_the_channels_in_the_same_order(tmp_path: Path) -> None:
    ours = preprocessing(tmp_path, {**BGR, "do_flip_channel_order": True}, "mobilevit")
    pixels = torch.from_numpy(np.full((1, 32, 32, 3), (200, 100, 50), np.uint8))
    unchanged = Changes.draw(1, 0.0, np.random.default_rng(0))
    assert torch.allclose(Augmenter(**ours.input_facts)(pixels, unchanged), ours.normalised(pixels), atol=1e-5)


@pytest.mark.parametrize(
    ("facts", "mean", "resample"),
    [
        ({"image_mean": 0.5, "image_std": 0.25}, (0.5, 0.5, 0.5), 2),
        ({"resample": "bicubic"}, (0.5, 0.5, 0.5), 3),
        ({"resample": "PIL.Image.Resampling.LANCZOS"}, (0.5, 0.5, 0.5), 1),
    ],
)
def test_one_number_for_all_channels_and_filters_by_name(
    tmp_path: Path, facts: dict[str, Any], mean: tuple[float, ...], resample: int
) -> None:
    found = preprocessing(tmp_path, {**PLAIN, **facts})
    assert (found.mean, found.resample) == (mean, resample)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"image_std": 0}, r"image_std is \[0\.0, 0\.0, 0\.0\]; it must be greater than 0"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std is .*; it must be greater than 0"),
        ({"image_mean": float("nan")}, r"image_mean is \[nan, nan, nan\]; it must be finite"),
        ({"image_mean": [0.5, 0.5]}, r"image_mean is .*0\.5, 0\.5"),
        ({"resample": "sharp"}, "resample 'sharp' is no filter of Pillow"),
    ],
)
def test_what_gives_no_numbers_is_refused(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    with pytest.raises(PreprocessingError, match=message) as caught:
        preprocessing(tmp_path, {**PLAIN, **facts})
    assert "\n" not in str(caught.value)


# --- heads -----------------------------------------------------------------------------------------------------------

SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
EIGHT = ("contempt", *SEVEN)


def headed(folder: Path, words: tuple[str, ...]) -> tuple[Checkpoint, ViTForImageClassification]:
    torch.manual_seed(5)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": dict(enumerate(words)), "label2id": {word: number for number, word in enumerate(words)}}
    network = ViTForImageClassification(ViTConfig(image_size=32, patch_size=16, **sizes, **labels)).eval()
    network.save_pretrained(folder)
    return Checkpoint("public", folder), network


@pytest.mark.parametrize("words", [SEVEN, EIGHT])
def test_a_head_of_emotion_words_gives_logits_by_class(
    tmp_path: Path, words: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint, network = headed(tmp_path, words)
    with caplog.at_level("WARNING"):
        head = ClassHead(checkpoint, network.vit)
    known = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
    assert head.classes == (known if words == SEVEN else (*known, "Other"))
    assert ("contempt of its head counts as Other" in caplog.text) == (words == EIGHT)
    values = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    own = {"Neutral": "neutral", "Anger": "angry", "Happiness": "happy", "Sadness": "sad", "Other": "contempt"}
    order = [words.index(own.get(name, name.lower())) for name in head.classes]
    with torch.no_grad():
        assert torch.allclose(head(values)[1], network(values).logits[:, order], atol=1e-6)


def test_two_outputs_of_one_class_count_by_the_larger(tmp_path: Path) -> None:
    checkpoint, network = headed(tmp_path, (*EIGHT, "other"))
    head = ClassHead(checkpoint, network.vit)
    values = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network(values).logits
        assert torch.equal(head(values)[1][:, -1], torch.maximum(logits[:, 0], logits[:, 8]))


@pytest.mark.parametrize("words", [("happy", "sad"), (*SEVEN, "boredom"), ("LABEL_0", "LABEL_1")])
def test_a_head_of_other_words_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    checkpoint, network = headed(tmp_path, words)
    assert head_outputs(network.config) is None
    with pytest.raises(AffcliError, match="has no head of the eight classes"):
        ClassHead(checkpoint, network.vit)
