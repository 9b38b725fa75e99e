"""The speech network of `mini`: the beginning of Whisper tiny.en's encoder and a head of the eight classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from speech_data import BINS, facts
from transformers import WhisperConfig, WhisperForAudioClassification, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from affcli.schema import CLASSES

Tensor = torch.Tensor

LAYERS: Final = 2  # of Whisper's four: with a linear classifier over them, the second tells emotions best
POSITIONS: Final = 500  # 10 s
SIZE: Final = 384


def whisper(name: str) -> dict[str, Tensor]:
    """The weights of a Whisper tiny encoder, from a hub name or a folder (whole, or the encoder alone)."""
    architecture = (WhisperConfig.from_pretrained(name).architectures or [""])[0]
    if architecture == "WhisperEncoder":
        return WhisperEncoder.from_pretrained(name, dtype=torch.float32).state_dict()
    return WhisperModel.from_pretrained(name, dtype=torch.float32).encoder.state_dict()


def network(weights: dict[str, Tensor]) -> WhisperForAudioClassification:
    """With Whisper's weights below the head, which begins at random."""
    config = WhisperConfig(
        d_model=SIZE,
        encoder_layers=LAYERS,
        encoder_attention_heads=6,
        encoder_ffn_dim=4 * SIZE,
        decoder_layers=LAYERS,
        decoder_attention_heads=6,
        decoder_ffn_dim=4 * SIZE,
        num_mel_bins=BINS,
        max_source_positions=POSITIONS,
        classifier_proj_size=256,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: number for number, name in enumerate(CLASSES)},
        is_encoder_decoder=False,
        vocab_size=51_865,
        pad_token_id=50_256,
        bos_token_id=50_256,
        eos_token_id=50_256,
        decoder_start_token_id=50_257,
    )
    model = WhisperForAudioClassification(config)
    weights = weights | {"embed_positions.weight": weights["embed_positions.weight"][:POSITIONS]}
    kept = {name: weights[name] for name in model.encoder.state_dict()}
    model.encoder.load_state_dict(kept)
    model.encoder.embed_positions.weight.requires_grad_(False)
    return model


def steps(model: Any, spectra: Tensor) -> Tensor:
    """Normalised [n, frames, 80] → [n, frames // 2, 384], the table of positions cropped as affcli does."""
    encoder = model.encoder
    hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(spectra.transpose(1, 2))))).transpose(1, 2)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    for layer in encoder.layers:
        out = layer(hidden, None)
        hidden = out[0] if isinstance(out, tuple) else out
    return encoder.layer_norm(hidden)  # type: ignore[no-any-return]


def normalised(spectra: Tensor) -> Tensor:
    """What WhisperFeatureExtractor does to log10 power: clamp it to 8 below its maximum, and scale."""
    return (torch.maximum(spectra, spectra.amax((1, 2), keepdim=True) - 8) + 4) / 4


def logits(model: Any, hidden: Tensor) -> Tensor:
    return model.classifier(model.projector(hidden))  # type: ignore[no-any-return]


def begin_head(model: Any, features: Tensor, targets: Tensor, weights: Tensor, *, decay: float = 0.01) -> None:
    """Sets the head to a logistic regression over features [n, 384] of the network as it is.

    A random head would spoil the encoder before it is worth anything. The last layer norm takes over the features'
    means and deviations, so that the head sees numbers of one size.
    """
    mean, deviation = features.mean(0), features.std(0) + 1e-4
    inputs = (features - mean) / deviation
    weight, bias = torch.zeros(len(CLASSES), SIZE, requires_grad=True), torch.zeros(len(CLASSES), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        errors = F.cross_entropy(inputs @ weight.T + bias, targets, reduction="none")
        value = (weights * errors).sum() + decay * weight.pow(2).sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    with torch.no_grad():
        norm = model.encoder.layer_norm
        norm.weight /= deviation
        norm.bias.copy_((norm.bias - mean) / deviation)
        model.projector.weight.mul_(0.5)[: len(CLASSES)] = weight
        model.projector.bias[: len(CLASSES)] = bias
        model.classifier.weight.mul_(0.5)[:, : len(CLASSES)] = torch.eye(len(CLASSES))
        model.classifier.bias.zero_()


def save(model: Any, folder: Path) -> None:
    """The folder that ships: half precision, and which layers affcli takes."""
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    (folder / "preprocessor_config.json").write_text(json.dumps(facts(), indent=2) + "\n")
    card = {"kind": "audio encoder", "classes": CLASSES, "layers": 1}
    (folder / "affcli.json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters → {folder}")
