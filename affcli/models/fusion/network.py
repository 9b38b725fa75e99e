"""The dual-branch network: visual and audio features of one window → eight logits a frame. Reads top to bottom.

    visual [B, T, Dv] ─ project ─ l × self-attention ─ H_v ─┬─ cross-attention to H_a ─ gate ─ F_v ─┐
                                                            │                                       ├─ MLP ─ logits
    audio  [B, T, Da] ─ project ─ l × self-attention ─ H_a ─┴─ cross-attention to H_v ─ gate ─ F_a ─┘

B windows of T frames. Every stream comes with a boolean mask [B, T], true where the frame has a face (or sound). What
is stored where the mask is false cannot reach a logit or a gradient: it is replaced before anything is computed.
The features of a stream may come from several tables, side by side in Dv numbers: each is projected by itself, then
they are joined. A table that lacks a frame holds NaN there, and is missing by itself.
Paper: "A Dual-Branch Transformer for Affective Computing", "Multimodal Attention Network" and "Safe Attention".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affcli.models.training.stated import LATER

Tables = tuple[tuple[int, int], ...]  # (hidden layers, numbers in a layer) of each feature table


@dataclass(frozen=True)
class FusionConfig:
    """Sizes and parts of the network; the paper's best are dim 256, 3 layers and all parts."""

    visual_size: int
    audio_size: int
    classes: int = 8
    window: int = 64
    dim: int = 256
    layers: int = 3
    heads: int = 8
    dropout: float = 0.1
    cross_attention: bool = True
    gates: bool = True  # nothing to gate without cross-attention
    # Of several tables, or of one that holds hidden layers; else one table of one layer, visual_size numbers long.
    visual_tables: Tables = field(default=(), metadata=LATER)
    audio_tables: Tables = field(default=(), metadata=LATER)
    join: str = field(default="concat", metadata=LATER)  # of tables: concat, gate


class SafeAttention(nn.Module):
    """An attention sublayer, post-norm: LayerNorm(Q + dropout(attention)); without any key, LayerNorm(Q)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, keys: Tensor, key_valid: Tensor) -> Tensor:
        """queries [B, T, d], keys [B, S, d], key_valid [B, S] bool → [B, T, d]."""
        some_key = key_valid.any(dim=1)
        # A softmax over no keys is NaN or zero, depending on the kernel. So a window without a key attends to all of
        # its (replaced, finite) positions, and the outcome is thrown away below.
        attended = (key_valid | ~some_key[:, None])[:, None, None, :]
        key, value = self.key_value(keys).chunk(2, dim=-1)
        q, k, v = (self._split(x) for x in (self.query(queries), key, value))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attended)
        output = self.out(mixed.transpose(1, 2).flatten(2))
        # Zero *after* the output projection: zeroing before it would leave the projection's bias in the sum.
        output = torch.where(some_key[:, None, None], output, 0.0)
        normed: Tensor = self.norm(queries + self.dropout(output))
        return normed

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, d] → [B, heads, T, d / heads]."""
        return x.reshape(*x.shape[:2], self.heads, x.shape[-1] // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """The sublayer after an attention sublayer, post-norm."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] → [B, T, d]."""
        output: Tensor = self.norm(x + self.dropout(self.layers(x)))
        return output


class AttentionBlock(nn.Module):
    """One transformer layer: safe attention, then feed-forward. Self-attention when queries and keys are one stream."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = SafeAttention(dim, heads, dropout)
        self.feed_forward = FeedForward(dim, dropout)

    def forward(self, queries: Tensor, keys: Tensor, key_valid: Tensor) -> Tensor:
        """queries [B, T, d], keys [B, S, d], key_valid [B, S] bool → [B, T, d]."""
        output: Tensor = self.feed_forward(self.attention(queries, keys, key_valid))
        return output


class Projection(nn.Module):
    """Features of one table → width d; a missing frame's feature is a learned vector.

    Features are normalised first (LayerNorm over the feature): encoders differ in scale by orders of magnitude.
    """

    def __init__(self, size: int, dim: int, layers: int = 1) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(size))
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(size, dim)
        self.mix = MixLayers(layers) if layers > 1 else None

    def frames(self, features: Tensor, valid: Tensor) -> Tensor:
        """features [..., layers · size], valid [...] → [..., d]: the same in every window a frame is in."""
        features = features.to(self.missing.dtype)
        if self.mix is not None:
            features = self.mix(torch.where(valid[..., None], features, 0.0))
        features = torch.where(valid[..., None], features, self.missing)
        projected: Tensor = self.linear(self.norm(features))
        return projected


class MixLayers(nn.Module):
    """Σ_l w_l h_l over an encoder's hidden layers, w = softmax of learned numbers (SUPERB: Yang et al. 2021, 3.2)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, features: Tensor) -> Tensor:
        """[..., layers · size], layer after layer → [..., size]."""
        layers = features.reshape(*features.shape[:-1], len(self.scores), -1)
        return torch.einsum("l,...ls->...s", self.scores.softmax(0).to(layers.dtype), layers)


class Concatenate(nn.Module):
    """Joins the projections of several tables: W [p_1 ; … ; p_k] + b. What is missing counts as its learned vector."""

    def __init__(self, tables: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(tables * dim, dim)

    def forward(self, projected: Tensor, there: Tensor) -> Tensor:
        """projected [..., tables, d], there [..., tables] bool → [..., d]."""
        joined: Tensor = self.linear(projected.flatten(-2))
        return joined


class WeighTables(nn.Module):
    """Joins by a weight for each table and frame: Σ_k w_k p_k, w = softmax(W [p_1 ; … ; p_k] + b) over those there."""

    def __init__(self, tables: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(tables * dim, tables)

    def forward(self, projected: Tensor, there: Tensor) -> Tensor:
        """projected [..., tables, d], there [..., tables] bool → [..., d]; where none is there, all count."""
        weighed = there | ~there.any(dim=-1, keepdim=True)
        weights = self.linear(projected.flatten(-2)).masked_fill(~weighed, -torch.inf).softmax(-1)
        joined: Tensor = (weights[..., None].to(projected.dtype) * projected).sum(-2)
        return joined


JOINS = {"concat": Concatenate, "gate": WeighTables}


class JoinedProjections(nn.Module):
    """In place of one projection: features of several tables → width d, each projected by itself, then joined."""

    def __init__(self, tables: Tables, dim: int, join: str) -> None:
        super().__init__()
        self.sizes = [layers * size for layers, size in tables]
        self.tables = nn.ModuleList([Projection(size, dim, layers) for layers, size in tables])
        self.join = JOINS[join](len(tables), dim)

    def frames(self, features: Tensor, valid: Tensor) -> Tensor:
        """features [..., numbers of all tables], valid [...] → [..., d]."""
        parts = torch.split(features, self.sizes, dim=-1)
        there = torch.stack([valid & ~part[..., 0].isnan() for part in parts], dim=-1)
        projected = [
            table.frames(part, there[..., number])  # type: ignore[operator]  # a module list knows no types
            for number, (table, part) in enumerate(zip(self.tables, parts, strict=True))
        ]
        joined: Tensor = self.join(torch.stack(projected, dim=-2), there)
        return joined


def _projection(size: int, tables: Tables, config: FusionConfig) -> Projection | JoinedProjections:
    if len(tables) > 1:
        return JoinedProjections(tables, config.dim, config.join)
    [(layers, size)] = tables or ((1, size),)
    return Projection(size, config.dim, layers)


class Branch(nn.Module):
    """One stream by itself: projection, positions and l self-attention layers → H."""

    positions: Tensor

    def __init__(self, size: int, tables: Tables, config: FusionConfig) -> None:
        super().__init__()
        self.project = _projection(size, tables, config)
        blocks = [AttentionBlock(config.dim, config.heads, config.dropout) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("positions", sinusoidal_positions(config.window, config.dim), persistent=False)

    def forward(self, projected: Tensor, valid: Tensor) -> Tensor:
        """Projected frames of windows [B, T, d], valid [B, T] → H [B, T, d]."""
        hidden: Tensor = self.dropout(projected + self._positions(projected.shape[1]))
        for block in self.blocks:
            hidden = block(hidden, hidden, valid)
        return hidden

    def _positions(self, length: int) -> Tensor:
        """[length, d], 0 at a window's first frame; windows may be longer than those of training."""
        if length > len(self.positions):
            self.positions = sinusoidal_positions(length, self.positions.shape[1]).to(self.positions)
        return self.positions[:length]


class Gate(nn.Module):
    """F = G ⊙ H + (1 − G) ⊙ H_cross with G = sigmoid(W [H ; H_cross] + b)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * dim, dim)

    def forward(self, own: Tensor, crossed: Tensor) -> Tensor:
        """H and H_cross, [B, T, d] each → F [B, T, d]."""
        gate: Tensor = torch.sigmoid(self.linear(torch.cat([own, crossed], dim=-1)))
        fused: Tensor = gate * own + (1 - gate) * crossed
        return fused


class Halves(nn.Module):
    """In place of a gate: F = ½ H + ½ H_cross."""

    def forward(self, own: Tensor, crossed: Tensor) -> Tensor:
        """H and H_cross, [B, T, d] each → F [B, T, d]."""
        return 0.5 * own + 0.5 * crossed


class OwnStream(nn.Module):
    """In place of cross-attention: H_cross = H, so that a stream knows nothing of the other one."""

    def forward(self, queries: Tensor, keys: Tensor, key_valid: Tensor) -> Tensor:
        """The queries [B, T, d] as they are."""
        return queries


class FusionNetwork(nn.Module):
    """The whole network. A stream is fused with the cross-attention whose *queries* come from it."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = Branch(config.visual_size, config.visual_tables, config)
        self.audio = Branch(config.audio_size, config.audio_tables, config)
        self.visual_to_audio = _crossing(config)
        self.audio_to_visual = _crossing(config)
        self.visual_gate = _gate(config)
        self.audio_gate = _gate(config)
        self.classify = nn.Sequential(
            nn.Linear(2 * config.dim, config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.dim, config.classes),
        )

    def forward(self, visual: Tensor, visual_valid: Tensor, audio: Tensor, audio_valid: Tensor) -> Tensor:
        """visual [B, T, Dv], audio [B, T, Da], masks [B, T] bool → logits [B, T, classes] float32."""
        projected_visual = self.visual.project.frames(visual, visual_valid)
        projected_audio = self.audio.project.frames(audio, audio_valid)
        return self.fuse(projected_visual, visual_valid, projected_audio, audio_valid)

    def fuse(self, visual: Tensor, visual_valid: Tensor, audio: Tensor, audio_valid: Tensor) -> Tensor:
        """As `forward`, for frames that are projected already, [B, T, d]."""
        own_visual = self.visual(visual, visual_valid)
        own_audio = self.audio(audio, audio_valid)
        crossed_visual = self.visual_to_audio(own_visual, own_audio, audio_valid)
        crossed_audio = self.audio_to_visual(own_audio, own_visual, visual_valid)
        fused_visual = self.visual_gate(own_visual, crossed_visual)
        fused_audio = self.audio_gate(own_audio, crossed_audio)
        logits: Tensor = self.classify(torch.cat([fused_visual, fused_audio], dim=-1))
        return logits.float()


def _crossing(config: FusionConfig) -> nn.Module:
    if not config.cross_attention:
        return OwnStream()
    return AttentionBlock(config.dim, config.heads, config.dropout)


def _gate(config: FusionConfig) -> nn.Module:
    return Gate(config.dim) if config.gates and config.cross_attention else Halves()


def sinusoidal_positions(length: int, dim: int) -> Tensor:
    """[length, dim]: sin and cos of position / 10000^(2i/dim), interleaved ("Attention Is All You Need", 3.5)."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    angle = position * torch.exp(torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10_000.0) / dim))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim].float()


def hide_streams(
    visual_valid: Tensor, audio_valid: Tensor, draw: Tensor, *, visual_rate: float, audio_rate: float
) -> tuple[Tensor, Tensor]:
    """Modality dropout: the masks [B, T] with one stream of some windows hidden, never both.

    `draw` [B] is uniform in [0, 1): below p the whole visual stream is hidden, from p to p + q the whole audio stream,
    each only where the other stream has at least one valid frame.
    """
    hide_visual = (draw < visual_rate) & audio_valid.any(dim=1)
    hide_audio = (draw >= visual_rate) & (draw < visual_rate + audio_rate) & visual_valid.any(dim=1)
    return visual_valid & ~hide_visual[:, None], audio_valid & ~hide_audio[:, None]
