"""Encoders over log-mel spectrograms (Whisper, w2v-BERT, AST) against transformers itself, on tiny checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
import transformers as hf
from helpers.threads import equal_for_threads

from affcli.errors import AffcliError
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.runtime import devices

CPU = devices.choose("cpu", "fp32")
RATE = 16_000


def sound(samples: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, samples).astype(np.float32)


def whisper_config(positions: int = 1500, **more: Any) -> hf.WhisperConfig:
    sizes = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "max_target_positions": 8}
    tokens = {"vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return hf.WhisperConfig(max_source_positions=positions, **sizes, **decoder, **tokens, **more)


def saved(model: Any, extractor: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


def whisper_encoder(config: hf.WhisperConfig) -> tuple[Any, Any]:
    encoder = hf.models.whisper.modeling_whisper.WhisperEncoder(config)
    return encoder, encoder


def whole_whisper(config: hf.WhisperConfig) -> tuple[Any, Any]:
    model = hf.WhisperForConditionalGeneration(config)
    return model, model.model.encoder


def whisper_classifier(config: hf.WhisperConfig) -> tuple[Any, Any]:
    model = hf.WhisperForAudioClassification(config)
    return model, model.encoder


@pytest.mark.parametrize("build", [whisper_encoder, whole_whisper, whisper_classifier])
def test_whisper_features_equal_the_last_hidden_layers_of_transformers(
    tmp_path: Path, build: Callable[[Any], Any]
) -> None:
    torch.manual_seed(0)
    model, encoder = build(whisper_config())
    name = saved(model, hf.WhisperFeatureExtractor(), tmp_path)
    samples = sound(30 * RATE)  # the longest that Whisper takes: nothing is padded, nothing cropped
    values = hf.WhisperFeatureExtractor()(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder.eval()(**values, output_hidden_states=True).hidden_states
    for layers in (1, 2, 3):
        ours = AudioEncoder(name, CPU, layers=layers).encode(samples)
        np.testing.assert_allclose(ours, torch.stack(hidden[-layers:]).mean(0)[0].numpy(), atol=1e-5)


def w2v_bert(folder: Path, **more: Any) -> tuple[Any, str]:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    model = hf.Wav2Vec2BertModel(hf.Wav2Vec2BertConfig(**sizes, **more)).eval()
    return model, saved(model, hf.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80), folder)


@pytest.mark.parametrize("more", [{}, {"position_embeddings_type": "relative"}, {"add_adapter": True}])
def test_w2v_bert_features_equal_the_hidden_layers_of_transformers(tmp_path: Path, more: dict[str, Any]) -> None:
    model, name = w2v_bert(tmp_path, **more)
    extract = hf.AutoFeatureExtractor.from_pretrained(name)
    ours = {layers: AudioEncoder(name, CPU, layers=layers) for layers in (1, 3, "all")}
    for samples in (560, 879, 880, 16_000, 16_160):
        steps = (samples - 560) // 320 + 1
        values = extract(sound(samples)[: 560 + 320 * (steps - 1)], sampling_rate=RATE, return_tensors="pt")
        assert values["attention_mask"].all()  # nothing is padded
        with torch.no_grad():
            hidden = model(**values, output_hidden_states=True).hidden_states
        assert hidden[0].shape == (1, steps, 16)
        for layers in (1, 3):
            expected = torch.stack(hidden[-layers:]).mean(0)[0].numpy()
            np.testing.assert_allclose(ours[layers].encode(sound(samples)), expected, atol=1e-5)
        np.testing.assert_allclose(ours["all"].encode(sound(samples)), torch.cat(hidden, -1)[0].numpy(), atol=1e-5)
    assert ours[1].encode(sound(559)).shape == (0, 16)
    assert ours[1].steps.centres_s(2).tolist() == [280 / RATE, 600 / RATE]


def test_shorter_sound_gives_what_a_whisper_of_so_many_positions_makes_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    _, encoder = whisper_encoder(whisper_config())
    name = saved(encoder, hf.WhisperFeatureExtractor(), tmp_path)
    ours = AudioEncoder(name, CPU, layers=1)
    for samples, steps in ((16_000, 50), (16_319, 50), (16_320, 51), (320, 1), (16_000, 50)):
        short = hf.models.whisper.modeling_whisper.WhisperEncoder(whisper_config(steps)).eval()
        weights = encoder.state_dict()
        short.load_state_dict({**weights, "embed_positions.weight": weights["embed_positions.weight"][:steps]})
        extract = hf.WhisperFeatureExtractor()
        values = extract(sound(samples)[: steps * 320], sampling_rate=RATE, return_tensors="pt", padding="do_not_pad")
        with torch.no_grad():
            expected = short(**values).last_hidden_state[0].numpy()
        np.testing.assert_allclose(ours.encode(sound(samples)), expected, atol=1e-5)
    assert ours.encode(sound(319)).shape == (0, 16)


def test_whisper_steps_are_centred_where_their_convolutions_look(tmp_path: Path) -> None:
    torch.manual_seed(0)
    _, encoder = whisper_encoder(whisper_config())
    ours = AudioEncoder(saved(encoder, hf.WhisperFeatureExtractor(), tmp_path), CPU)
    assert ours.steps.centres_s(3).tolist() == [0.0, 0.02, 0.04]
    # An impulse reaches only the convolutions' outputs of the steps whose field holds it.
    quiet, impulse = sound(RATE) * 1e-3, sound(RATE) * 1e-3
    impulse[8_000] += 1e-3
    with torch.no_grad():
        seen = [
            encoder.conv2(torch.nn.functional.gelu(encoder.conv1(torch.from_numpy(ours._front.prepared(values)[None]))))
            for values in (quiet, impulse)
        ]
    changed = np.flatnonzero(np.abs((seen[1] - seen[0]).numpy()).max((0, 1)) > 1e-7)
    field = [j for j in range(50) if ours.steps.start <= 8_000 - j * 320 < ours.steps.start + ours.steps.field]
    assert set(changed) <= set(field)
    assert 25 in changed


@pytest.mark.parametrize(("positions", "piece_s"), [(1500, 26), (500, 6), (3000, 30)])
def test_pieces_are_as_long_as_the_positions_allow_with_context_either_side(
    tmp_path: Path, positions: int, piece_s: int
) -> None:
    torch.manual_seed(0)
    _, encoder = whisper_encoder(whisper_config(positions))
    ours = AudioEncoder(saved(encoder, hf.WhisperFeatureExtractor(), tmp_path), CPU)
    assert ours.piece_s == piece_s
    assert ours.card.as_json().get("piece_s") == (None if piece_s == 30 else piece_s)


def test_an_encoder_that_takes_too_little_sound_is_refused(tmp_path: Path) -> None:
    _, encoder = whisper_encoder(whisper_config(200))
    with pytest.raises(AffcliError, match=r"takes 4 s of sound at most; affcli needs 5 s"):
        AudioEncoder(saved(encoder, hf.WhisperFeatureExtractor(), tmp_path), CPU)


def test_rows_of_long_sound_are_the_means_of_its_pieces(tmp_path: Path, affcli: Any) -> None:
    """Two pieces of 6 s with 2 s of the other, encoded by hand."""
    torch.manual_seed(0)
    _, encoder = whisper_encoder(whisper_config(500))
    name = saved(encoder, hf.WhisperFeatureExtractor(), tmp_path / "short-whisper")
    samples = (sound(10 * RATE) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "talk.wav", samples, RATE, subtype="PCM_16")
    affcli(
        "extract-audio",
        "talk.wav",
        "--fps",
        10,
        "--model",
        name,
        "--layers",
        1,
        "--precision",
        "fp32",
        "-o",
        "A.parquet",
    )
    ours, given = AudioEncoder(name, CPU, layers=1), samples.astype(np.float32) / 32768
    first, second = ours.encode(given[: 8 * RATE])[:300], ours.encode(given[4 * RATE :])[100:]
    steps, times = np.concatenate([first, second]), np.arange(500) * 0.02
    table = pq.read_table(tmp_path / "A.parquet")
    assert table.num_rows == 100
    for row in (0, 40, 59, 60, 62, 99):
        near = np.abs(times - (table["time_s"][row].as_py() + 0.05)) <= 0.5 + 1e-9
        np.testing.assert_allclose(table["feature"][row].as_py(), steps[near].mean(0), atol=2e-3)
    card = json.loads(table.schema.metadata[b"affcli"])["encoder"]
    assert (card["feature"], card["piece_s"]) == ("mean of last 1 hidden layers, mean of ±0.5 s", 6)


def ast_config(frames: int) -> hf.ASTConfig:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return hf.ASTConfig(max_length=frames, num_mel_bins=64, **sizes)


def test_ast_features_equal_the_mean_over_frequencies_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = hf.ASTModel(ast_config(1024)).eval()
    torch.nn.init.normal_(model.embeddings.position_embeddings)
    name = saved(model, hf.ASTFeatureExtractor(num_mel_bins=64, max_length=1024), tmp_path)
    ours = AudioEncoder(name, CPU, layers=2)
    assert (ours.steps.hop, ours.steps.field, ours.piece_s) == (1600, 2800, 6)
    assert ours.steps.centres_s(2).tolist() == [0.0875, 0.1875]
    weights = model.state_dict()
    table, rows = weights["embeddings.position_embeddings"], 5
    for samples, frames, steps in ((164_080, 1024, 101), (32_000, 198, 19), (2_800, 16, 1)):
        short = hf.ASTModel(ast_config(frames)).eval()
        patches = table[:, 2:].reshape(1, rows, 101, 16)[:, :, :steps].reshape(1, -1, 16)
        short.load_state_dict({**weights, "embeddings.position_embeddings": torch.cat([table[:, :2], patches], 1)})
        extract = hf.ASTFeatureExtractor(num_mel_bins=64, max_length=frames)
        values = extract(sound(samples), sampling_rate=RATE, return_tensors="pt")
        with torch.no_grad():
            hidden = short(**values, output_hidden_states=True).hidden_states
        expected = torch.stack(hidden[-2:]).mean(0)[0, 2:].reshape(rows, steps, 16).mean(0).numpy()
        np.testing.assert_allclose(ours.encode(sound(samples)), expected, atol=1e-5)
    assert ours.encode(sound(2_799)).shape == (0, 16)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_log_mel_features_do_not_depend_on_the_number_of_threads(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    config = hf.WhisperConfig(encoder_layers=1, d_model=384, encoder_attention_heads=6, encoder_ffn_dim=1536)
    name = saved(whisper_encoder(config)[0], hf.WhisperFeatureExtractor(), tmp_path)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(AudioEncoder(name, devices.choose("cpu", precision), layers=1).encode(sound(3 * RATE)))
    finally:
        torch.set_num_threads(before)
    assert equal_for_threads(*found, precision)


def test_layers_default_to_all_of_an_encoder_with_fewer_than_four(tmp_path: Path) -> None:
    _, encoder = whisper_encoder(whisper_config())
    name = saved(encoder, hf.WhisperFeatureExtractor(), tmp_path)
    assert AudioEncoder(name, CPU).card.feature == "mean of last 3 hidden layers"
    (tmp_path / "affcli.json").write_text(json.dumps({"kind": "audio encoder", "layers": 2}))
    assert AudioEncoder(name, CPU).card.feature == "mean of last 2 hidden layers"
    with pytest.raises(AffcliError, match=r"--layers 4.*3 hidden layers"):
        AudioEncoder(name, CPU, layers=4)
