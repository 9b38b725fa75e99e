"""extract-audio --logits: the heads of speech encoders, step by step, against transformers called directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
import transformers as hf
from helpers.runners import Affcli
from safetensors.torch import load_file, save_file

from affcli.errors import AffcliError
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.runtime import devices
from affcli.schema import CLASSES

CPU = devices.choose("cpu", "fp32")
RATE = 16_000
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = {"conv_dim": (8, 8), "conv_kernel": (10, 40), "conv_stride": (8, 40), "num_feat_extract_layers": 2}
WAVES = {**SIZES, **CONVOLUTIONS, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
WHISPER = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_layers": 1}
WHISPER |= {"decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1}
WHISPER |= {"eos_token_id": 2, "decoder_start_token_id": 1, "max_source_positions": 500}


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def labels(names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {n: i for i, n in enumerate(names)},
    }


def saved(model: Any, extractor: Any, folder: Path) -> Any:
    model.eval().save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["Wav2Vec2", "WavLM", "Hubert", "UniSpeechSat"])
def test_the_mean_of_the_logits_of_all_steps_is_what_transformers_makes_of_a_sound(
    tmp_path: Path, kind: str, weighted: bool
) -> None:
    torch.manual_seed(0)
    config = getattr(hf, f"{kind}Config")(**WAVES, **labels(CLASSES), use_weighted_layer_sum=weighted)
    model = saved(getattr(hf, f"{kind}ForSequenceClassification")(config), hf.Wav2Vec2FeatureExtractor(), tmp_path)
    if weighted:
        torch.nn.init.normal_(model.layer_weights)
        model.save_pretrained(tmp_path)
    values = hf.Wav2Vec2FeatureExtractor()(sound(2), sampling_rate=RATE, return_tensors="pt").input_values
    with torch.no_grad():
        wanted = model(values).logits[0].numpy()
    encoder = AudioEncoder(str(tmp_path), CPU, layers=1, logits=True)
    found = encoder.encode(sound(2))
    assert encoder.classes == CLASSES
    np.testing.assert_allclose(found[:, 16:].mean(0), wanted, atol=1e-5)
    np.testing.assert_array_equal(found[:, :16], AudioEncoder(str(tmp_path), CPU, layers=1).encode(sound(2)))


def test_whispers_head_reads_its_last_hidden_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    extractor = hf.WhisperFeatureExtractor(chunk_length=10)
    model = saved(hf.WhisperForAudioClassification(hf.WhisperConfig(**WHISPER, **labels(CLASSES))), extractor, tmp_path)
    values = extractor(sound(10), sampling_rate=RATE, return_tensors="pt").input_features
    with torch.no_grad():
        wanted = model(values).logits[0].numpy()
    found = AudioEncoder(str(tmp_path), CPU, logits=True).encode(sound(10))
    np.testing.assert_allclose(found[:, 16:].mean(0), wanted, atol=1e-5)


def test_a_public_head_of_four_emotions_gives_four_columns_in_the_order_of_the_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = hf.Wav2Vec2Config(**WAVES, **labels(["neu", "hap", "ang", "sad"]))
    model = saved(hf.Wav2Vec2ForSequenceClassification(config), hf.Wav2Vec2FeatureExtractor(), tmp_path)
    values = hf.Wav2Vec2FeatureExtractor()(sound(1), sampling_rate=RATE, return_tensors="pt").input_values
    with torch.no_grad():
        wanted = model(values).logits[0].numpy()[[0, 2, 1, 3]]
    encoder = AudioEncoder(str(tmp_path), CPU, logits=True)
    assert encoder.classes == ("Neutral", "Anger", "Happiness", "Sadness")
    np.testing.assert_allclose(encoder.encode(sound(1))[:, 16:].mean(0), wanted, atol=1e-5)


def test_a_head_of_other_things_or_none_is_refused_in_one_line(tmp_path: Path, tiny_wavlm: Path) -> None:
    torch.manual_seed(0)
    config = hf.Wav2Vec2Config(**WAVES, **labels(["yes", "no", "up", "down"]))
    saved(hf.Wav2Vec2ForSequenceClassification(config), hf.Wav2Vec2FeatureExtractor(), tmp_path)
    with pytest.raises(AffcliError, match=r"no head of emotion classes.*yes, no, up, down.*train-audio"):
        AudioEncoder(str(tmp_path), CPU, logits=True)
    with pytest.raises(AffcliError, match="no head of emotion classes"):
        AudioEncoder(str(tiny_wavlm), CPU, logits=True)


def test_a_head_whose_weights_are_not_there_is_refused(tmp_path: Path) -> None:
    saved(hf.Wav2Vec2Model(hf.Wav2Vec2Config(**WAVES, **labels(CLASSES))), hf.Wav2Vec2FeatureExtractor(), tmp_path)
    with pytest.raises(AffcliError, match="lacks weights"):
        AudioEncoder(str(tmp_path), CPU, logits=True)


def test_what_no_output_depends_on_may_be_missing(tmp_path: Path) -> None:
    model = hf.Wav2Vec2ForSequenceClassification(hf.Wav2Vec2Config(**WAVES, **labels(CLASSES)))
    saved(model, hf.Wav2Vec2FeatureExtractor(), tmp_path)
    before = AudioEncoder(str(tmp_path), CPU, logits=True).encode(sound(1))
    weights = load_file(tmp_path / "model.safetensors")
    del weights["wav2vec2.masked_spec_embed"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(AudioEncoder(str(tmp_path), CPU, logits=True).encode(sound(1)), before)


def test_an_ast_judges_a_sound_as_a_whole(tmp_path: Path) -> None:
    config = hf.ASTConfig(**SIZES, max_length=128, num_mel_bins=32, **labels(CLASSES))
    extractor = hf.ASTFeatureExtractor(max_length=128, num_mel_bins=32)
    saved(hf.ASTForAudioClassification(config), extractor, tmp_path)
    config.max_length = 1024
    saved(hf.ASTForAudioClassification(config), extractor, tmp_path)
    AudioEncoder(str(tmp_path), CPU)
    with pytest.raises(AffcliError, match="as a whole"):
        AudioEncoder(str(tmp_path), CPU, logits=True)


def test_a_frames_logits_are_the_mean_around_it_and_every_filter_reads_them(tmp_path: Path, affcli: Affcli) -> None:
    soundfile.write(tmp_path / "talk.wav", sound(3), RATE)
    affcli("extract-audio", "talk.wav", "--fps", 10, "--model", "mini", "--logits", "-o", "A.parquet")
    affcli("extract-audio", "talk.wav", "--fps", 10, "--model", "mini", "-o", "plain.parquet")
    table, plain = pq.read_table("A.parquet"), pq.read_table("plain.parquet")
    assert table.column_names == ["video", "frame", "time_s", "feature", *CLASSES]
    assert table["feature"].equals(plain["feature"])
    encoder = AudioEncoder("mini", CPU, logits=True)
    steps = encoder.encode(sound(3))
    times = encoder.steps.centres_s(len(steps))
    around = np.abs(times - 1.55) <= 0.5 + 1e-9  # frame 16 of 10 a second has its centre there
    found = [table[name][15].as_py() for name in CLASSES]
    np.testing.assert_allclose(found, steps[around][:, encoder.card.size :].mean(0), rtol=2e-2, atol=2e-2)
    affcli("smooth", "A.parquet", "-o", "S.parquet")
    smooth = pq.read_table("S.parquet")
    assert smooth.num_rows == 30
    assert set(smooth["label"].to_pylist()) <= set(CLASSES)
