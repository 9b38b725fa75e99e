"""The focal loss, over class numbers or over soft labels; label smoothing, logit adjustment."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """(1 − ε) t + ε / C: label smoothing of probabilities [n, C] (Szegedy et al. 2016, section 7)."""
    return (1 - smoothing) * targets + smoothing / targets.shape[-1]


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 2.0,
    class_weights: Tensor | None = None,
    frame_weights: Tensor | None = None,
    count: Tensor | int | None = None,
) -> Tensor:
    """The mean over labelled rows of −Σ_c w_c t_c (1 − p_c)^γ log p_c (Lin et al. 2017, eq. 4 and 5).

    logits [..., C]; targets int64 [...], class numbers with −1 for no label, or float [..., C], probabilities. The
    divisor is the *number* of labelled rows, also with `class_weights` [C]; with γ = 0 and no weights this is
    cross-entropy. With `frame_weights` [...] it is the weighted mean, divided by the labelled rows' weights: a row that
    weighs 0 is as one without a label. `count` divides instead where these rows are only a part of a batch. Without
    any labelled row the loss is 0.
    """
    soft = targets if targets.is_floating_point() else _one_hot(targets, logits.shape[-1])
    log_p = F.log_softmax(logits.float(), dim=-1)
    # 1 − p = −expm1(log p), exact for p near 1; the clamp keeps the slope of x^γ finite at p = 1 for γ < 1
    terms = log_p if gamma == 0 else ((-torch.expm1(log_p)).clamp(min=1e-12) ** gamma) * log_p
    if class_weights is not None:
        terms = terms * class_weights
    rows = (soft * terms).sum(dim=-1)
    if frame_weights is not None:
        rows = rows * frame_weights
    divisor = torch.as_tensor(labelled(soft.any(dim=-1), frame_weights) if count is None else count)
    return -rows.sum() / divisor.clamp(min=torch.finfo(divisor.dtype).tiny if divisor.is_floating_point() else 1)


def labelled(judged: Tensor, frame_weights: Tensor | None) -> Tensor:
    """How many rows have a label (`judged` [...] bool), or how much they weigh together: what a mean is divided by."""
    return judged.sum() if frame_weights is None else (judged * frame_weights).sum()


def soft_labels(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Class numbers [...] as smoothed probabilities [..., classes]; all 0 where there is no label."""
    return smoothed(_one_hot(labels, classes), smoothing) * (labels >= 0)[..., None]


def log_priors(counts: Tensor) -> Tensor:
    """log π_c of the training labels [C], which logit adjustment adds to the logits in training (Menon et al. 2021,
    eq. 10, τ = 1). A class that never occurs counts as one frame.
    """
    shares = counts.clamp(min=1).double()
    return (shares / shares.sum()).log().float()


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """float32 [..., C]; all 0 where there is no label."""
    return F.one_hot(labels.clamp(min=0), classes).float() * (labels >= 0)[..., None]
