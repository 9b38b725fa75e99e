"""How pictures are prepared, against transformers' own Pillow processors and against Pillow by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from affcli.errors import AffcliError
from affcli.models.encoders.find_checkpoint import Checkpoint
from affcli.models.encoders.preprocessing import PicturePreprocessing, SoundPreprocessing

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]


def checkpoint(folder: Path, preprocessor: dict[str, Any], model_type: str = "vit") -> Checkpoint:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return Checkpoint("tiny", folder)


def picture(width: int = 112, height: int = 112) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))


CLIP_SIZES = {"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}}


@pytest.mark.parametrize(
    ("name", "processor", "facts"),
    [
        ("BeitImageProcessor", BeitImageProcessorPil, {"size": {"height": 40, "width": 40}, "resample": 2}),
        ("BeitFeatureExtractor", BeitImageProcessorPil, {"size": 48, "do_center_crop": True, "crop_size": 40}),
        ("ViTImageProcessor", ViTImageProcessorPil, {"size": {"height": 40, "width": 40}, "resample": 3}),
        ("ViTImageProcessorFast", ViTImageProcessorPil, {}),
        ("BitImageProcessor", BitImageProcessorPil, CLIP_SIZES),
        ("CLIPFeatureExtractor", CLIPImageProcessorPil, {"size": 56, "crop_size": 48, "do_rescale": False}),
        ("CLIPImageProcessor", CLIPImageProcessorPil, {**CLIP_SIZES, "do_normalize": False}),
        ("ConvNextImageProcessor", ConvNextImageProcessorPil, {"size": {"shortest_edge": 56}, "crop_pct": 0.9}),
    ],
)
def test_pictures_are_prepared_as_transformers_does(
    name: str, processor: Any, facts: dict[str, Any], tmp_path: Path
) -> None:
    facts = {"image_mean": MEAN, "image_std": STD, **facts}
    key = "feature_extractor_type" if name.endswith("FeatureExtractor") else "image_processor_type"
    ours = PicturePreprocessing.of(checkpoint(tmp_path, {key: name, **facts}))
    for size in [(112, 112), (100, 150)] if "crop_size" in facts else [(112, 112)]:
        expected = processor(**facts)(picture(*size), return_tensors="pt")["pixel_values"]
        fitted = ours.fitted(picture(*size))
        assert fitted.shape == (ours.input_size, ours.input_size, 3)
        torch.testing.assert_close(ours.normalised(torch.from_numpy(fitted)[None]), expected, atol=1e-5, rtol=0)


def test_dinov2_pictures_are_resized_bicubically_and_cut_in_the_middle(tmp_path: Path) -> None:
    facts = {"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}}
    ours = PicturePreprocessing.of(checkpoint(tmp_path, facts, model_type="dinov2"))
    resized = picture().resize((56, 56), Image.Resampling.BICUBIC)
    assert ours.input_size == 48
    assert np.array_equal(ours.fitted(picture()), np.array(resized.crop((4, 4, 52, 52))))


@pytest.mark.parametrize(
    ("named", "resampling"),
    [
        ({"image_processor_type": "BeitImageProcessor"}, Image.Resampling.BICUBIC),
        ({"image_processor_type": "ViTImageProcessor"}, Image.Resampling.BILINEAR),
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, Image.Resampling.BICUBIC),
        ({}, Image.Resampling.BILINEAR),  # by the model's type, which is ViT
    ],
)
def test_resampling_that_is_not_said_is_the_named_processors_own(
    named: dict[str, str], resampling: Image.Resampling, tmp_path: Path
) -> None:
    ours = PicturePreprocessing.of(checkpoint(tmp_path, named))
    assert ours.input_size == 224
    assert np.array_equal(ours.fitted(picture()), np.array(picture().resize((224, 224), resampling)))


def test_a_processor_for_torchvision_alone_is_read_as_its_file_says(tmp_path: Path) -> None:
    facts = {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": {"height": 48, "width": 48}, "resample": 2}
    with pytest.raises(AffcliError, match="does not name an image processor"):
        PicturePreprocessing.of(checkpoint(tmp_path, facts, model_type="dinov3_vit"))
    facts |= {"image_mean": MEAN, "image_std": STD}
    ours = PicturePreprocessing.of(checkpoint(tmp_path, facts, model_type="dinov3_vit"))
    assert np.array_equal(ours.fitted(picture()), np.array(picture().resize((48, 48), Image.Resampling.BILINEAR)))
    assert (ours.mean, ours.std) == (tuple(MEAN), tuple(STD))


def test_grey_and_transparent_pictures_become_colour(tmp_path: Path) -> None:
    ours = PicturePreprocessing.of(checkpoint(tmp_path, {"size": 48}))
    for mode in ("L", "P", "RGBA"):
        assert ours.fitted(picture().convert(mode)).shape == (48, 48, 3)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"image_processor_type": "EfficientNetImageProcessor", "include_top": True}, "does more than resize"),
        ({"size": {"height": 48, "width": 40}}, "takes pictures of 40×48; only square ones"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "Siglip2ImageProcessorPil makes no picture"),
        ({"image_processor_type": "ViTImageProcessor", "size": "large"}, "preprocessor_config.json cannot be used"),
        ({"image_processor_type": "ViTImageProcessor", "size": ["x"]}, "preprocessor_config.json cannot be used"),
        ({"image_processor_type": "NoSuchProcessor"}, "does not name an image processor"),
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "does not name an image processor"),
        (
            {"auto_map": {"AutoImageProcessor": "code.Evil"}, "image_processor_type": "Evil"},
            "does not name an image processor",
        ),
    ],
)
def test_other_processors_are_refused_in_one_line(facts: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("raise SystemExit('ran')")
    found = checkpoint(tmp_path, facts, model_type="wav2vec2" if "does not name" in said else "vit")
    with pytest.raises(AffcliError, match=said) as caught:
        PicturePreprocessing.of(found)
    assert "\n" not in str(caught.value)


def test_a_model_type_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    found = checkpoint(tmp_path, {"do_resize": True}, model_type=["vit"])  # type: ignore[arg-type]
    with pytest.raises(AffcliError, match="does not name an image processor"):
        PicturePreprocessing.of(found)


def test_a_picture_that_does_not_fit_is_named_by_its_size(tmp_path: Path) -> None:
    facts = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 48}, "do_center_crop": False}
    ours = PicturePreprocessing.of(checkpoint(tmp_path, facts))
    assert ours.fitted(picture()).shape == (48, 48, 3)
    with pytest.raises(AffcliError, match="112×140 pixels does not fit the encoder, which takes 48×48"):
        ours.fitted(picture(112, 140))


@pytest.mark.parametrize(
    "facts",
    [
        *({"sampling_rate": odd} for odd in ({"a": 1}, [16_000], None, "16000", True, 0, -16_000, 16_000.5, 1e30)),
        {"sampling_rate": float("nan")},
        {"sampling_rate": 16_000, "do_normalize": {"a": 1}},
    ],
)
def test_odd_facts_of_sound_are_refused_in_one_line(facts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AffcliError, match=r"--model tiny: preprocessor_config\.json: (sampling_rate|do_normalize) is"):
        SoundPreprocessing.of(checkpoint(tmp_path, facts))


def test_facts_of_sound_are_read_as_they_stand(tmp_path: Path) -> None:
    found = SoundPreprocessing.of(checkpoint(tmp_path, {"sampling_rate": 16_000.0, "do_normalize": None}))
    assert found == SoundPreprocessing(16_000, normalise=False)
