"""Weights sorted beforehand for products in bf16: the same bits, or nothing is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModel

from affcli.models.runtime import pack_weights
from affcli.models.runtime.cast_weights import cast_once
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.pack_weights import pack_once

BF16 = Runtime(torch.device("cpu"), "bf16")


def prepared(folder: Path) -> tuple[nn.Module, nn.Module]:
    """A network with cast weights, and another one."""
    both = tuple(AutoModel.from_pretrained(folder).eval() for _ in range(2))
    for network in both:
        assert cast_once(network, torch.bfloat16, lambda network=network: outcome(network))  # type: ignore[misc]
    return both  # type: ignore[return-value]


def outcome(network: nn.Module, scale: float = 1.0, batch: int = 3) -> torch.Tensor:
    values = scale * torch.linspace(-1, 1, batch * 3 * 32 * 32).reshape(batch, 3, 32, 32)
    with BF16.inference():
        return network(pixel_values=values).last_hidden_state  # type: ignore[no-any-return]


@pytest.mark.skipif(not pack_weights._can_pack(), reason="this torch does not offer it")
def test_sorted_weights_give_the_same_bits_and_are_used(tiny_beit: Path) -> None:
    ours, bare = prepared(tiny_beit)
    assert pack_once(ours, lambda: outcome(ours))
    for scale, batch in ((1.0, 1), (-3.0, 3), (1.0, 32)):
        assert torch.equal(outcome(ours, scale, batch), outcome(bare, scale, batch))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        outcome(ours)
    assert any("_linear_pointwise" in event.key for event in profile.key_averages())


def test_other_bits_leave_the_network_as_it_was(tiny_beit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, bare = prepared(tiny_beit)
    monkeypatch.setattr(pack_weights, "_can_pack", lambda: True)
    monkeypatch.setattr(pack_weights, "_packed", lambda product: lambda values: values @ product.weight.T * 1.1)
    assert not pack_once(ours, lambda: outcome(ours))
    assert torch.equal(outcome(ours), outcome(bare))

    def fails(product: nn.Linear) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(pack_weights, "_packed", fails)
    assert not pack_once(ours, lambda: outcome(ours))
    assert torch.equal(outcome(ours), outcome(bare))


def test_a_torch_without_it_is_left_alone(tiny_beit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = prepared(tiny_beit)
    monkeypatch.setattr(pack_weights, "_can_pack", lambda: False)
    assert not pack_once(ours, lambda: pytest.fail("it was run"))
