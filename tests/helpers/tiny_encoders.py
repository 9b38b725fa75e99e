"""Tiny encoders that are real checkpoints: an image encoder and a speech encoder, saved as any other is."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.runners import BEIT_PREPROCESSOR

WAVLM_PREPROCESSOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "do_normalize": True,
    "feature_size": 1,
    "padding_value": 0.0,
    "sampling_rate": 16000,
}


def save_tiny_beit(folder: Path) -> Path:
    """A BEiT of two small layers, 32 × 32 pictures, 24-d features."""
    import torch
    from transformers import BeitConfig, BeitModel

    torch.manual_seed(1)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = BeitConfig(image_size=32, patch_size=8, use_relative_position_bias=True, **sizes)
    BeitModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(BEIT_PREPROCESSOR))
    return folder


def save_tiny_wavlm(folder: Path) -> Path:
    """A WavLM of three small layers with the real front end's steps, 16-d features."""
    import torch
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(2)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = WavLMConfig(conv_dim=(8,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, **sizes)
    WavLMModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(WAVLM_PREPROCESSOR))
    return folder
