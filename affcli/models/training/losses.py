"""Losses over soft labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """(1 − ε) t + ε / C: label smoothing of probabilities [n, C] (Szegedy et al. 2016, section 7)."""
    return (1 - smoothing) * targets + smoothing / targets.shape[-1]


def soft_focal_loss(logits: Tensor, targets: Tensor, *, gamma: float, count: int) -> Tensor:
    """−(1/count) Σ_n Σ_c t_nc (1 − p_nc)^γ log p_nc, for logits [n, C] and probabilities t [n, C].

    With one class a row this is the focal loss of Lin et al. 2017 (eq. 4), with γ = 0 cross-entropy. `count` is the
    number of rows of the whole batch, of which these may be a part.
    """
    log_p = F.log_softmax(logits.float(), dim=-1)
    # 1 − p = −expm1(log p), exact for p near 1; the clamp keeps the slope of x^γ finite at p = 1 for γ < 1
    terms = log_p if gamma == 0 else ((-torch.expm1(log_p)).clamp(min=1e-12) ** gamma) * log_p
    return -(targets * terms).sum() / count
