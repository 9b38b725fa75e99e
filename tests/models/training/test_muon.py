"""Muon and AdamW as one optimiser."""

from __future__ import annotations

import pytest
import torch

from affcli.models.training.optimizers import MuonAndAdamW, parameter_groups, set_rate


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    blocks = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 4)) for _ in range(2)])
    return torch.nn.ModuleDict({"stem": torch.nn.Linear(3, 4), "layers": blocks, "head": torch.nn.Linear(4, 2)})


def optimizer(net: torch.nn.Module) -> MuonAndAdamW:
    groups = parameter_groups(net.named_parameters(), weight_decay=0.1, layer_decay=0.5)
    return MuonAndAdamW(groups, lr=0.01, fused=False)


def step(net: torch.nn.Module, chosen: MuonAndAdamW, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random)
    set_rate(chosen, 0.02)
    chosen.step()


def test_matrices_of_blocks_take_the_steps_of_torchs_muon_and_all_else_those_of_adamw() -> None:
    ours, theirs = network(), network()
    names = dict(theirs.named_parameters())
    matrices = [name for name in names if name.startswith("layers") and name.endswith("weight")]
    rates = {"stem": 0.02 / 8, "layers.0": 0.02 / 4, "layers.1": 0.02 / 2, "head": 0.02}

    def groups(chosen: list[str]) -> list[dict[str, object]]:
        return [
            {
                "params": [names[name]],
                "lr": next(rate for part, rate in rates.items() if name.startswith(part)),
                "weight_decay": 0.1 if name.endswith("weight") else 0.0,
            }
            for name in chosen
        ]

    muon = torch.optim.Muon(groups(matrices), adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(groups([name for name in names if name not in matrices]))
    both = optimizer(ours)
    for seed in range(3):
        step(ours, both, seed)
        random = torch.Generator().manual_seed(seed)
        for parameter in theirs.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random)
        muon.step()
        adamw.step()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


def test_a_stored_state_goes_on_with_the_same_steps() -> None:
    whole, first, second = network(), network(), network()
    once, begun, resumed = optimizer(whole), optimizer(first), optimizer(second)
    for seed in range(4):
        step(whole, once, seed)
    for seed in range(2):
        step(first, begun, seed)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(
        {"state": begun.state_dict()["state"], "param_groups": resumed.state_dict()["param_groups"]}
    )
    for seed in (2, 3):
        step(second, resumed, seed)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_an_encoder_without_blocks_and_a_torch_without_muon_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = torch.nn.Linear(2, 2)
    groups = parameter_groups(plain.named_parameters(), weight_decay=0, layer_decay=1)
    with pytest.raises(Exception, match="no blocks with matrices"):
        MuonAndAdamW(groups, lr=1, fused=False)
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(Exception, match=r"torch 2\.9"):
        optimizer(network())
