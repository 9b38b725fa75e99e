"""Encoders of many architectures, tiny and seeded, against transformers' own classes called directly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor
from transformers import PreTrainedModel

from affcli.errors import AffcliError
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices

CPU = devices.choose("cpu", "fp32")
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]

Model = PreTrainedModel
Direct = Callable[[Any, Tensor], Tensor]  # the saved model, called by hand: prepared pictures or sound → features


@dataclass(frozen=True)
class Pictures:
    """A model as it is saved, which vector is to be taken of it, and how to get that by hand."""

    build: Callable[[], Model]
    vector: str
    direct: Direct


def layers(**more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    return {**sizes, "image_size": 32, "patch_size": 8, **more}


def clip() -> hf.CLIPConfig:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return hf.CLIPConfig(
        text_config={**text, "vocab_size": 9, "max_position_embeddings": 8, "eos_token_id": 2},
        vision_config=layers(),
        projection_dim=8,
    )


def pooled(model: Any, pictures: Tensor) -> Tensor:
    return model(pixel_values=pictures).pooler_output.flatten(1)


PICTURES = {
    "BEiT": Pictures(lambda: hf.BeitModel(hf.BeitConfig(**layers())), "pooled", pooled),
    "BEiT classifier": Pictures(
        lambda: hf.BeitForImageClassification(hf.BeitConfig(**layers(use_relative_position_bias=True))),
        "pooled",
        lambda model, pictures: pooled(model.beit, pictures),
    ),
    "BEiT that was only pretrained": Pictures(
        lambda: hf.BeitForMaskedImageModeling(hf.BeitConfig(**layers())),
        "class token",
        lambda model, pictures: model.beit(pictures).last_hidden_state[:, 0],
    ),
    "ViT": Pictures(lambda: hf.ViTModel(hf.ViTConfig(**layers())), "pooled", pooled),
    "ViT classifier": Pictures(
        lambda: hf.ViTForImageClassification(hf.ViTConfig(**layers())),
        "class token",
        lambda model, pictures: model.vit(pictures).last_hidden_state[:, 0],
    ),
    "DINOv2": Pictures(lambda: hf.Dinov2Model(hf.Dinov2Config(**layers())), "pooled", pooled),
    "DINOv2 classifier with registers": Pictures(
        lambda: hf.Dinov2WithRegistersForImageClassification(hf.Dinov2WithRegistersConfig(**layers())),
        "pooled",
        lambda model, pictures: pooled(model.dinov2_with_registers, pictures),
    ),
    "DINOv3": Pictures(lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**layers())), "pooled", pooled),
    "CLIP": Pictures(
        lambda: hf.CLIPModel(clip()), "pooled", lambda model, pictures: pooled(model.vision_model, pictures)
    ),
    "CLIP's vision tower": Pictures(lambda: hf.CLIPVisionModel(clip().vision_config), "pooled", pooled),
    "Data2Vec classifier": Pictures(
        lambda: hf.Data2VecVisionForImageClassification(hf.Data2VecVisionConfig(**layers())),
        "pooled",
        lambda model, pictures: pooled(model.data2vec_vision, pictures),
    ),
    "I-JEPA, without class token": Pictures(
        lambda: hf.IJepaModel(hf.IJepaConfig(**layers())),
        "mean of patch tokens",
        lambda model, pictures: model(pictures).last_hidden_state.mean(1),
    ),
    "Swin classifier": Pictures(
        lambda: hf.SwinForImageClassification(
            hf.SwinConfig(image_size=32, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4)
        ),
        "pooled",
        lambda model, pictures: pooled(model.swin, pictures),
    ),
    "MobileNetV1 classifier": Pictures(
        lambda: hf.MobileNetV1ForImageClassification(
            hf.MobileNetV1Config(depth_multiplier=0.1, image_size=32, initializer_range=0.5)
        ),
        "pooled",
        lambda model, pictures: pooled(model.mobilenet_v1, pictures),
    ),
    "ResNet": Pictures(
        lambda: hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])), "pooled", pooled
    ),
}


def saved(model: Model, folder: Path, preprocessor: dict[str, Any]) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def saved_pictures(model: Model, folder: Path) -> Path:
    size = {"height": 32, "width": 32}
    facts = {"image_processor_type": "ViTImageProcessor", "size": size, "image_mean": MEAN, "image_std": STD}
    return saved(model, folder, facts)


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def prepared(pictures: np.ndarray) -> Tensor:
    values = (pictures / 255 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(values).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_encoded_as_by_the_architecture_itself(name: str, tmp_path: Path) -> None:
    about = PICTURES[name]
    torch.manual_seed(3)
    model = about.build().eval()
    folder = saved_pictures(model, tmp_path / "tiny")
    encoder, again = (VisualEncoder(str(folder), CPU, batch_size=4) for _ in range(2))
    with torch.no_grad():
        expected = about.direct(model, prepared(faces(3))).numpy()
    found = encoder.encode(faces(3))
    assert encoder.card.feature == about.vector
    assert encoder.card.size == expected.shape[1]
    np.testing.assert_allclose(found, expected, atol=2e-3, rtol=2e-3)
    assert np.ptp(found.astype(float), axis=0).max() > 1e-3, "a feature must tell pictures apart"
    # weights that the checkpoint lacks, such as a classifier's pooler, are random: nothing may depend on them
    assert encoder.card == again.card
    assert np.array_equal(found, again.encode(faces(3)))


def test_views_of_a_face_are_averaged_before_the_cast_to_half_precision(tiny_beit: Path) -> None:
    encoder = VisualEncoder(str(tiny_beit), CPU, batch_size=2)
    views = faces(6).reshape(2, 3, 32, 32, 3)
    with torch.no_grad():
        values = (torch.from_numpy(views.reshape(-1, 32, 32, 3)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        single = hf.BeitModel.from_pretrained(tiny_beit).eval()(pixel_values=values).pooler_output
    expected = single.reshape(2, 3, -1).mean(1).numpy()
    np.testing.assert_allclose(encoder.encode(views), expected, atol=1e-3)
    assert np.array_equal(encoder.encode(views[:, :1]), encoder.encode(views[:, 0]))
    assert np.array_equal(encoder.encode(views[1:])[0], encoder.encode(views)[1])


def test_encoders_that_cannot_give_one_feature_a_picture_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(3)
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    masked = hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**layers(**decoder, decoder_intermediate_size=16)))
    with pytest.raises(AffcliError, match="vit_mae model gives one picture another feature each time"):
        VisualEncoder(str(saved_pictures(masked, tmp_path / "mae")), CPU)
    other_size = hf.ViTModel(hf.ViTConfig(**layers(image_size=48)))
    with pytest.raises(AffcliError, match="vit model does not encode 32×32 pictures"):
        VisualEncoder(str(saved_pictures(other_size, tmp_path / "48")), CPU)
    text = hf.BertModel(hf.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(AffcliError, match="bert model does not encode"):
        VisualEncoder(str(saved_pictures(text, tmp_path / "bert")), CPU)


# --- sound -----------------------------------------------------------------------------------------------------------


def stack(**more: Any) -> dict[str, Any]:
    """Three small layers under the front end of the wav2vec2 family, which takes a step each 320 samples."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    return {**sizes, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, **more}


LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}  # as the "large" ones are built

SOUNDS: dict[str, Callable[[], Model]] = {
    "WavLM classifier": lambda: hf.WavLMForSequenceClassification(hf.WavLMConfig(**stack())),
    "WavLM large": lambda: hf.WavLMModel(hf.WavLMConfig(**stack(**LARGE))),
    "wav2vec2": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**stack())),
    "wav2vec2 large, recognises speech": lambda: hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**stack(**LARGE))),
    "wav2vec2 with an adapter": lambda: hf.Wav2Vec2Model(
        hf.Wav2Vec2Config(**stack(add_adapter=True, output_hidden_size=16))
    ),
    "HuBERT": lambda: hf.HubertModel(hf.HubertConfig(**stack())),
    "HuBERT large classifier": lambda: hf.HubertForSequenceClassification(hf.HubertConfig(**stack(**LARGE))),
    "Data2Vec": lambda: hf.Data2VecAudioModel(
        hf.Data2VecAudioConfig(**stack(num_conv_pos_embeddings=2, conv_pos_kernel_size=5))
    ),
}


def saved_sounds(model: Model, folder: Path) -> Path:
    facts = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000, "do_normalize": False}
    return saved(model, folder, facts)


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_is_encoded_as_by_the_architecture_itself(name: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = SOUNDS[name]().eval()
    folder = saved_sounds(model, tmp_path / "tiny")
    samples = np.random.default_rng(1).normal(0, 0.1, 8_000).astype(np.float32)
    with torch.no_grad():
        hidden = getattr(model, model.base_model_prefix, model)(
            torch.from_numpy(samples)[None], output_hidden_states=True
        )
    expected = torch.stack(hidden.hidden_states[-2:]).mean(0)[0].numpy()
    encoder, again = (AudioEncoder(str(folder), CPU, layers=2) for _ in range(2))
    assert encoder.card.feature == "mean of last 2 hidden layers"
    assert encoder.card == again.card
    assert encoder.encode(samples).shape == (24, 16)
    np.testing.assert_allclose(encoder.encode(samples), expected, atol=1e-5)


def test_a_speech_encoder_whose_steps_stand_elsewhere_is_refused(tmp_path: Path) -> None:
    front_end = {"conv_dim": (8,) * 7, "conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)}
    squeezed = hf.SEWModel(hf.SEWConfig(**stack(**front_end, squeeze_factor=2)))
    with pytest.raises(AffcliError, match="sew model's hidden layers have 4 steps for 8"):
        AudioEncoder(str(saved_sounds(squeezed, tmp_path / "sew")), CPU, layers=2)


def test_preprocessing_saved_together_with_a_tokenizer_is_found(tmp_path: Path) -> None:
    """transformers 5 writes it into processor_config.json then."""
    torch.manual_seed(5)
    folder = saved_sounds(hf.Wav2Vec2Model(hf.Wav2Vec2Config(**stack())), tmp_path / "tiny")
    before = AudioEncoder(str(folder), CPU, layers=2)
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": facts}))
    (folder / "preprocessor_config.json").unlink()
    assert AudioEncoder(str(folder), CPU, layers=2).card == before.card
    folder = saved_pictures(hf.CLIPModel(clip()), tmp_path / "clip")
    seen = VisualEncoder(str(folder), CPU)
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": facts}))
    (folder / "preprocessor_config.json").unlink()
    assert VisualEncoder(str(folder), CPU).card == seen.card


# --- the defaults' sizes ---------------------------------------------------------------------------------------------


def test_the_paper_s_encoders_at_their_real_sizes_equal_transformers(tmp_path: Path) -> None:
    """BEiT-base and WavLM-base with random weights: 224 × 224 pictures, two seconds of sound, 768-d features."""
    torch.manual_seed(6)
    beit = hf.BeitModel(hf.BeitConfig(use_relative_position_bias=True)).eval()
    facts = {"image_processor_type": "BeitImageProcessor", "size": 224, "image_mean": MEAN, "image_std": STD}
    pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    visual = VisualEncoder(str(saved(beit, tmp_path / "beit-base", facts)), CPU, batch_size=2)
    with torch.no_grad():
        expected = pooled(beit, prepared(pictures)).numpy()
    assert visual.card.size == 768
    np.testing.assert_allclose(visual.encode(pictures), expected, atol=2e-3, rtol=2e-3)

    wavlm = hf.WavLMModel(hf.WavLMConfig()).eval()
    audio = AudioEncoder(str(saved_sounds(wavlm, tmp_path / "wavlm-base")), CPU)
    samples = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)
    with torch.no_grad():
        hidden = wavlm(torch.from_numpy(samples)[None], output_hidden_states=True).hidden_states
    found = audio.encode(samples)
    assert found.shape == (99, 768)
    np.testing.assert_allclose(found, torch.stack(hidden[-4:]).mean(0)[0].numpy(), atol=1e-4)
    shutil.rmtree(tmp_path)  # 700 MB
