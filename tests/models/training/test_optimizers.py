"""Losses over soft labels, rates by layer, the average of weights: against formulas written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForImageClassification,
    BeitConfig,
    ConvNextConfig,
    Dinov2Config,
    SwinConfig,
    ViTConfig,
)

from affcli.models.training.losses import focal_loss, smoothed
from affcli.models.training.optimizers import Average, depths, parameter_groups, set_rate

SIZES = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 8, "image_size": 16}


def soft(count: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(0, 2, (count, 8))).float()
    return logits, torch.from_numpy(random.dirichlet([0.5] * 8, count)).float()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_soft_focal_loss_is_its_formula_summed_by_hand(gamma: float) -> None:
    logits, targets = soft()
    p = np.exp(logits.double().numpy())
    p /= p.sum(1, keepdims=True)
    by_hand = -sum(
        float(targets[n, c]) * (1 - p[n, c]) ** gamma * np.log(p[n, c])
        for n, c in itertools.product(range(7), range(8))
    )
    assert float(focal_loss(logits, targets, gamma=gamma, count=9)) == pytest.approx(by_hand / 9, rel=1e-5)


def test_without_gamma_it_is_cross_entropy_and_of_one_class_a_row_the_focal_loss() -> None:
    logits, targets = soft()
    cross_entropy = F.cross_entropy(logits, targets)
    torch.testing.assert_close(focal_loss(logits, targets, gamma=0, count=7), cross_entropy)
    labels = targets.argmax(1)
    hard = F.one_hot(labels, 8).float()
    expected = focal_loss(logits, labels, gamma=2.0)
    torch.testing.assert_close(focal_loss(logits, hard, gamma=2.0, count=7), expected)
    smooth = F.cross_entropy(logits, labels, label_smoothing=0.2)
    torch.testing.assert_close(focal_loss(logits, smoothed(hard, 0.2), gamma=0, count=7), smooth)


def test_the_loss_has_finite_slopes_where_the_network_is_sure() -> None:
    logits = torch.tensor([[100.0] + [0.0] * 7], requires_grad=True)
    focal_loss(logits, F.one_hot(torch.tensor([0]), 8).float(), gamma=0.5, count=1).backward()
    assert torch.isfinite(logits.grad).all()


def test_rates_of_beit_fall_layer_by_layer_and_tables_are_not_decayed() -> None:
    config = BeitConfig(patch_size=8, use_relative_position_bias=True, num_labels=8, **SIZES)
    network = AutoModelForImageClassification.from_config(config)
    groups = parameter_groups(network.named_parameters(), weight_decay=0.05, layer_decay=0.5)
    of = {id(p): group for group in groups for p in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    expected = {"embeddings": 0.5**4, "pooler": 1, "classifier": 1}
    expected |= {f"layers.{number}.": 0.5 ** (3 - number) for number in range(3)}
    seen = set()
    for name, parameter in network.named_parameters():
        [part] = [part for part in expected if part in name]
        seen.add(part)
        assert of[id(parameter)]["scale"] == expected[part], name
        decayed = parameter.ndim > 1 and not any(word in name for word in ("cls_token", "relative_position_bias_table"))
        assert of[id(parameter)]["weight_decay"] == (0.05 if decayed else 0.0), name
    assert seen == set(expected)
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    set_rate(optimizer, 0.3)
    assert optimizer.param_groups[0]["lr"] == 0.3 * 0.5**4
    assert optimizer.param_groups[-1]["lr"] == 0.3


@pytest.mark.parametrize(
    ("config", "blocks"),
    [
        (ViTConfig(patch_size=8, **SIZES), 3),
        (Dinov2Config(patch_size=8, **SIZES), 3),
        (SwinConfig(image_size=32, embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=2), 5),
        (ConvNextConfig(hidden_sizes=[4, 8], depths=[1, 2], num_stages=2, image_size=32), 4),
    ],
)
def test_any_encoders_depths_rise_from_the_embeddings_to_the_head(config: object, blocks: int) -> None:
    network = AutoModelForImageClassification.from_config(config)
    names = [name for name, _ in network.named_parameters()]
    found = dict(zip(names, depths(names), strict=True))
    assert {depth for name, depth in found.items() if "embeddings" in name} == {0}
    assert {depth for name, depth in found.items() if name.startswith("classifier")} == {max(found.values())}
    assert set(found.values()) == set(range(max(found.values()) + 1))
    assert max(found.values()) == blocks + 1


def test_networks_without_lists_of_blocks_have_one_depth() -> None:
    assert depths(["weight", "bias"]) == [0, 0]


def test_the_average_is_the_recursion_written_out_and_counts_are_copied() -> None:
    network = torch.nn.BatchNorm1d(2)
    average = Average(network, 0.4)
    expected = network.weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            network.weight.add_(torch.tensor([1.0, -2.0]))
        network.num_batches_tracked.add_(1)
        average.update(step)
        kept = min(0.4, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * network.weight.detach()
    torch.testing.assert_close(average.weights["weight"], expected)
    assert int(average.weights["num_batches_tracked"]) == 6


def test_an_average_that_was_kept_goes_on_as_if_it_had_never_ended() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    whole = Average(network, 0.9)
    for step in range(5):
        if step == 3:
            resumed = Average(network, 0.9)
            resumed.restore({name: tensor.clone() for name, tensor in whole.weights.items()})
        network(torch.randn(4, 3)).sum().backward()
        with torch.no_grad():
            for weight in network.parameters():
                weight.sub_(0.1 * weight.grad)
        whole.update(step)
        if step >= 3:
            resumed.update(step)
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items())
