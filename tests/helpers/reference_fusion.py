"""The paper's network and its training steps as they were first released, written down once more and never changed.

`test_paper_setting.py` compares affcli's defaults with it to the bit. Parts are made in the same order, so that one
seed gives both the same weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, keys: Tensor, valid: Tensor) -> Tensor:
        some = valid.any(dim=1)
        attended = (valid | ~some[:, None])[:, None, None, :]
        key, value = self.key_value(keys).chunk(2, dim=-1)
        q, k, v = (
            x.reshape(*x.shape[:2], self.heads, x.shape[-1] // self.heads).transpose(1, 2)
            for x in (self.query(queries), key, value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attended)
        output = torch.where(some[:, None, None], self.out(mixed.transpose(1, 2).flatten(2)), 0.0)
        return self.norm(queries + self.dropout(output))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.layers(x)))


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(dim, heads, dropout)
        self.feed_forward = _FeedForward(dim, dropout)

    def forward(self, queries: Tensor, keys: Tensor, valid: Tensor) -> Tensor:
        return self.feed_forward(self.attention(queries, keys, valid))


class _Projection(nn.Module):
    def __init__(self, size: int, dim: int, window: int, dropout: float) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(size))
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(size, dim)
        self.dropout = nn.Dropout(dropout)
        position = torch.arange(window, dtype=torch.float64)[:, None]
        angle = position * torch.exp(torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10_000.0) / dim))
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim].float()
        self.register_buffer("positions", table, persistent=False)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        projected = self.linear(self.norm(torch.where(valid[..., None], features, self.missing)))
        return self.dropout(projected + self.positions[: projected.shape[1]])


class _Branch(nn.Module):
    def __init__(self, size: int, dim: int, layers: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.project = _Projection(size, dim, window, dropout)
        self.blocks = nn.ModuleList([_Block(dim, heads, dropout) for _ in range(layers)])

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        hidden = self.project(features, valid)
        for block in self.blocks:
            hidden = block(hidden, hidden, valid)
        return hidden


class _Gate(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * dim, dim)

    def forward(self, own: Tensor, crossed: Tensor) -> Tensor:
        gate = torch.sigmoid(self.linear(torch.cat([own, crossed], dim=-1)))
        return gate * own + (1 - gate) * crossed


class ReferenceNetwork(nn.Module):
    """Both branches, cross-attention, gates, classifier."""

    def __init__(
        self, visual: int, audio: int, *, dim: int, layers: int, heads: int, window: int, dropout: float
    ) -> None:
        super().__init__()
        self.visual = _Branch(visual, dim, layers, heads, window, dropout)
        self.audio = _Branch(audio, dim, layers, heads, window, dropout)
        self.visual_to_audio = _Block(dim, heads, dropout)
        self.audio_to_visual = _Block(dim, heads, dropout)
        self.visual_gate = _Gate(dim)
        self.audio_gate = _Gate(dim)
        self.classify = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, 8))

    def forward(self, visual: Tensor, face: Tensor, audio: Tensor, sound: Tensor) -> Tensor:
        own_visual, own_audio = self.visual(visual, face), self.audio(audio, sound)
        crossed_visual = self.visual_to_audio(own_visual, own_audio, sound)
        crossed_audio = self.audio_to_visual(own_audio, own_visual, face)
        fused = [self.visual_gate(own_visual, crossed_visual), self.audio_gate(own_audio, crossed_audio)]
        return self.classify(torch.cat(fused, dim=-1)).float()


def reference_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The focal loss with γ = 2, a mean over labelled frames."""
    soft = F.one_hot(labels.clamp(min=0), 8).float() * (labels >= 0)[..., None]
    log_p = F.log_softmax(logits.float(), dim=-1)
    terms = ((-torch.expm1(log_p)).clamp(min=1e-12) ** 2.0) * log_p
    return -(soft * terms).sum(dim=-1).sum() / torch.as_tensor((labels >= 0).sum()).clamp(min=1)
