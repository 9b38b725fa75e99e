"""Casting to half precision beforehand: the same bits as under autocast alone, or nothing is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModel

from affcli.models.runtime.cast_weights import cast_once
from affcli.models.runtime.devices import Runtime

BF16 = Runtime(torch.device("cpu"), "bf16")


class Casts:
    """How often tensors are cast to bf16 in what runs within."""

    def __enter__(self) -> Casts:
        self._profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        self._profile.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._profile.__exit__(*error)
        self.count = sum(event.count for event in self._profile.key_averages() if event.key == "aten::_to_copy")


@pytest.mark.parametrize("kind", ["beit", "wavlm"])
def test_the_same_bits_come_with_fewer_casts(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(f"tiny_{kind}")
    values = {"pixel_values": torch.randn(3, 3, 32, 32)} if kind == "beit" else {"input_values": torch.randn(1, 4000)}
    ours, bare = (AutoModel.from_pretrained(folder).eval() for _ in range(2))

    def outcome(network: nn.Module) -> torch.Tensor:
        with BF16.inference():
            return network(**values).last_hidden_state

    assert cast_once(ours, torch.bfloat16, lambda: outcome(ours))
    with Casts() as as_it_was:
        expected = outcome(bare)
    with Casts() as prepared:
        found = outcome(ours)
    assert torch.equal(found, expected)
    assert prepared.count < as_it_was.count / 2
    for scale in (0.5, 3):  # another input is cast anew
        values = {name: value * scale for name, value in values.items()}
        assert torch.equal(outcome(ours), outcome(bare))


class WeightReader(nn.Module):
    """Does more with a weight than to multiply by it."""

    def __init__(self) -> None:
        super().__init__()
        self.product = nn.Linear(8, 8)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.product(values).float() + self.product.weight.float().sum()


class Rewriter(nn.Module):
    """Changes a product's input in its place and multiplies it again."""

    def __init__(self) -> None:
        super().__init__()
        self.product = nn.Linear(8, 8)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = values + 1
        once = self.product(values)
        values *= 2
        return once + self.product(values)


@pytest.mark.parametrize("kind", [WeightReader, Rewriter])
def test_a_network_that_would_give_other_bits_is_left_as_it_was(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network, values = kind().eval(), torch.randn(4, 8)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}

    def outcome() -> torch.Tensor:
        with BF16.inference():
            return network(values)

    expected = outcome()
    assert not cast_once(network, torch.bfloat16, outcome)
    assert torch.equal(outcome(), expected)
    assert all(torch.equal(network.state_dict()[name], weight) for name, weight in before.items())


def test_fp32_is_left_alone() -> None:
    network = nn.Linear(2, 2)
    Runtime(torch.device("cpu"), "fp32").prepare(network, lambda: pytest.fail("it was run"))
    assert network.weight.dtype == torch.float32
