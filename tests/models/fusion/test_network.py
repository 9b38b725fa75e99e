"""The network against its formulas: safe attention, gates, masks, modality dropout, focal loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from affcli.models.fusion.network import (
    FusionConfig,
    FusionNetwork,
    Gate,
    SafeAttention,
    hide_streams,
    sinusoidal_positions,
)
from affcli.models.training.losses import focal_loss

CONFIG = FusionConfig(visual_size=12, audio_size=10, window=16, dim=32, layers=2, heads=4, dropout=0.0)
GARBAGE = (float("nan"), float("inf"), -float("inf"), 1e30)

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def with_missing_vectors(config: FusionConfig) -> FusionNetwork:
    torch.manual_seed(0)
    network = FusionNetwork(config)
    for name, parameter in network.named_parameters():
        if name.endswith("missing"):  # zeros at the start would hide that the learned vector is used
            torch.nn.init.normal_(parameter)
    return network


@pytest.fixture
def network() -> FusionNetwork:
    return with_missing_vectors(CONFIG)


@pytest.fixture
def batch() -> Batch:
    """Four windows: all there; half of the faces; no face at all; no sound at all."""
    torch.manual_seed(1)
    visual, audio = torch.randn(4, 16, 12), torch.randn(4, 16, 10)
    face, sound = torch.ones(4, 16, dtype=torch.bool), torch.ones(4, 16, dtype=torch.bool)
    face[1, ::2] = False
    face[2] = False
    sound[3] = False
    return visual, face, audio, sound


def attention_by_hand(layer: SafeAttention, queries: Tensor, keys: Tensor, key_valid: Tensor) -> Tensor:
    """Masked multi-head attention in plain loops, with the zero rule of the paper."""
    rows = []
    for q, k, valid in zip(queries, keys, key_valid, strict=True):
        output = torch.zeros_like(q)
        if valid.any():
            dim, width = q.shape[1], q.shape[1] // layer.heads
            q_, kv = layer.query(q), layer.key_value(k[valid])
            heads = []
            for head in range(layer.heads):
                part = slice(head * width, (head + 1) * width)
                weights = torch.softmax(q_[:, part] @ kv[:, part].T / math.sqrt(width), dim=1)
                heads.append(weights @ kv[:, dim:][:, part])
            output = layer.out(torch.cat(heads, dim=1))
        rows.append(layer.norm(q + output))
    return torch.stack(rows)


def test_safe_attention_is_its_formula() -> None:
    torch.manual_seed(3)
    layer = SafeAttention(32, 4, dropout=0.0)
    queries, keys = torch.randn(3, 16, 32), torch.randn(3, 16, 32)
    valid = torch.rand(3, 16) < 0.5
    valid[2] = False
    torch.testing.assert_close(layer(queries, keys, valid), attention_by_hand(layer, queries, keys, valid))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_without_keys_the_sublayer_is_exactly_layer_norm(training: bool, half: bool, grad: bool) -> None:
    torch.manual_seed(4)
    layer = SafeAttention(32, 4, dropout=0.3).train(training)
    with torch.no_grad():
        layer.out.bias.fill_(7.0)  # would leak if the output were zeroed before its projection
    queries, keys = torch.randn(3, 16, 32), torch.randn(3, 16, 32)
    valid = torch.zeros(3, 16, dtype=torch.bool)
    valid[1, 4] = True  # a window with a key between two without
    with torch.set_grad_enabled(grad), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        output, normed = layer(queries, keys, valid), layer.norm(queries)
    assert torch.equal(output[::2], normed[::2])
    assert not torch.allclose(output[1], normed[1], atol=0.1)


def test_the_gate_is_its_formula() -> None:
    torch.manual_seed(5)
    gate = Gate(8)
    own, crossed = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    g = torch.sigmoid(torch.cat([own, crossed], -1) @ gate.linear.weight.T + gate.linear.bias)
    torch.testing.assert_close(gate(own, crossed), g * own + (1 - g) * crossed)


def test_each_stream_is_fused_with_the_cross_attention_that_its_queries_come_from(
    network: FusionNetwork, batch: Batch
) -> None:
    visual, face, audio, sound = batch
    own_visual = network.visual(network.visual.project.frames(visual, face), face)
    own_audio = network.audio(network.audio.project.frames(audio, sound), sound)
    fused_visual = network.visual_gate(own_visual, network.visual_to_audio(own_visual, own_audio, sound))
    fused_audio = network.audio_gate(own_audio, network.audio_to_visual(own_audio, own_visual, face))
    expected = network.classify(torch.cat([fused_visual, fused_audio], -1))
    assert torch.equal(network(*batch), expected)


def test_without_gates_cross_attention_counts_one_half(batch: Batch) -> None:
    network = FusionNetwork(replace(CONFIG, gates=False))
    visual, face, audio, sound = batch
    own_visual = network.visual(network.visual.project.frames(visual, face), face)
    own_audio = network.audio(network.audio.project.frames(audio, sound), sound)
    fused_visual = (own_visual + network.visual_to_audio(own_visual, own_audio, sound)) / 2
    fused_audio = (own_audio + network.audio_to_visual(own_audio, own_visual, face)) / 2
    expected = network.classify(torch.cat([fused_visual, fused_audio], -1))
    torch.testing.assert_close(network(*batch), expected)


@pytest.mark.parametrize("gates", [True, False])
def test_without_cross_attention_the_streams_meet_in_the_classifier_only(batch: Batch, gates: bool) -> None:
    network = FusionNetwork(replace(CONFIG, cross_attention=False, gates=gates))
    visual, face, audio, sound = batch
    own_visual = network.visual(network.visual.project.frames(visual, face), face)
    own_audio = network.audio(network.audio.project.frames(audio, sound), sound)
    assert torch.equal(network(*batch), network.classify(torch.cat([own_visual, own_audio], -1)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_is_stored_where_a_stream_is_missing_changes_nothing_bit_for_bit(
    batch: Batch, training: bool, half: bool, grad: bool, garbage: float
) -> None:
    visual, face, audio, sound = batch
    network = with_missing_vectors(replace(CONFIG, dropout=0.3)).train(training)
    dirty_visual = torch.where(face[..., None], visual, garbage)
    dirty_audio = torch.where(sound[..., None], audio, garbage)

    def run(v: Tensor, a: Tensor) -> tuple[Tensor, list[Tensor]]:
        network.zero_grad()
        v, a = v.clone().requires_grad_(grad), a.clone().requires_grad_(grad)
        torch.manual_seed(2)  # of dropout
        with torch.set_grad_enabled(grad), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits = network(v, face, a, sound)
        if not grad:
            return logits, []
        logits.square().sum().backward()
        learnt = [*network.parameters(), v, a]
        assert all(parameter.grad is not None for parameter in learnt)
        return logits, [parameter.grad.clone() for parameter in learnt]

    clean_logits, clean_grads = run(visual, audio)
    logits, grads = run(dirty_visual, dirty_audio)
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, clean_logits)
    assert all(torch.equal(one, other) for one, other in zip(grads, clean_grads, strict=True))
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_a_missing_position_is_never_a_key_but_stays_a_query(network: FusionNetwork, batch: Batch) -> None:
    visual, face, audio, sound = batch
    network.eval()
    hidden = torch.zeros(4, 16, dtype=torch.bool)
    hidden[0, 5] = True
    without = network(visual, face & ~hidden, audio, sound)
    assert not torch.equal(without[0, 5], network(*batch)[0, 5])
    changed = visual.clone()
    changed[0, 6] += 1
    # the faceless frame 5 still sees its neighbour 6
    assert not torch.equal(without[0, 5], network(changed, face & ~hidden, audio, sound)[0, 5])


@pytest.mark.parametrize(
    ("mode", "tolerance"), [("train", 1e-5), ("eval", 1e-5), ("no_grad", 1e-5), ("autocast", 0.05)]
)
def test_logits_do_not_depend_on_batch_mates_batch_size_or_padding(
    network: FusionNetwork, batch: Batch, mode: str, tolerance: float
) -> None:
    network.train(mode == "train")
    half = mode == "autocast"  # bf16 has three digits
    with torch.set_grad_enabled(mode != "no_grad"), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        together = network(*batch)
        for index in range(4):
            alone = network(*(part[index : index + 1] for part in batch))
            torch.testing.assert_close(alone[0], together[index], atol=tolerance, rtol=0)
        short = tuple(part[:1, :9] for part in batch)
        visual, face, audio, sound = (part[:1].clone() for part in batch)
        face[:, 9:], sound[:, 9:] = False, False
        padded = network(visual, face, audio, sound)
        torch.testing.assert_close(network(*short)[0], padded[0, :9], atol=tolerance, rtol=0)


def test_with_neither_stream_the_logits_are_one_constant(network: FusionNetwork) -> None:
    network.eval()
    nothing = torch.zeros(2, 16, dtype=torch.bool)
    one = network(torch.randn(2, 16, 12), nothing, torch.randn(2, 16, 10), nothing)
    assert torch.equal(one[0], one[1])
    assert torch.isfinite(one).all()


@pytest.mark.parametrize("half", [True, False])
def test_train_equals_eval_without_dropout(network: FusionNetwork, batch: Batch, half: bool) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        training = network.train()(*batch)
        with torch.no_grad():  # in which torch's own layers would take another path
            assert torch.equal(training, network.eval()(*batch))


def test_positions_are_interleaved_sines_and_cosines() -> None:
    table = sinusoidal_positions(64, 8)
    assert table.shape == (64, 8)
    assert table[0].tolist() == [0, 1] * 4
    assert table[5, 2].item() == pytest.approx(math.sin(5 / 10_000 ** (2 / 8)))
    assert table[5, 3].item() == pytest.approx(math.cos(5 / 10_000 ** (2 / 8)))


def test_modality_dropout_hides_one_whole_stream_and_never_both() -> None:
    face = torch.tensor([[True, False], [True, True], [True, True], [True, True], [False, False]])
    sound = torch.tensor([[True, True], [True, True], [False, False], [True, True], [True, True]])
    draw = torch.tensor([0.05, 0.15, 0.05, 0.5, 0.15])
    seen, heard = hide_streams(face, sound, draw, visual_rate=0.1, audio_rate=0.1)
    assert seen.tolist() == [[False, False], [True, True], [True, True], [True, True], [False, False]]
    # window 2 has no sound to rely on, window 4 no picture: there, nothing is hidden
    assert heard.tolist() == [[True, True], [False, False], [False, False], [True, True], [True, True]]


def test_modality_dropout_has_its_rates() -> None:
    torch.manual_seed(6)
    there = torch.ones(100_000, 2, dtype=torch.bool)
    seen, heard = hide_streams(there, there, torch.rand(100_000), visual_rate=0.1, audio_rate=0.05)
    assert (~seen[:, 0]).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert (~heard[:, 0]).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert not (~seen & ~heard).any()


def test_focal_loss_is_its_formula() -> None:
    torch.manual_seed(7)
    logits, labels = torch.randn(5, 8, dtype=torch.float64), torch.tensor([0, 3, -1, 7, 3])
    weights = torch.rand(8)
    expected, count = 0.0, 0
    for row, label in zip(logits.float(), labels.tolist(), strict=True):
        if label >= 0:
            p = torch.softmax(row, 0)[label].item()
            expected += weights[label].item() * -((1 - p) ** 2) * math.log(p)
            count += 1
    assert focal_loss(logits, labels, class_weights=weights).item() == pytest.approx(expected / count, rel=1e-5)


def test_focal_loss_without_gamma_is_cross_entropy() -> None:
    torch.manual_seed(8)
    logits, labels = torch.randn(2, 6, 8), torch.randint(-1, 8, (2, 6))
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-1)
    torch.testing.assert_close(focal_loss(logits, labels, gamma=0), expected)


def test_focal_loss_of_no_label_is_zero_and_of_certainty_finite() -> None:
    assert focal_loss(torch.randn(3, 8), torch.full((3,), -1)).item() == 0
    certain = torch.zeros(1, 8)
    certain[0, 2] = 200.0
    certain.requires_grad_()
    for gamma in (0.5, 2.0):
        focal_loss(certain, torch.tensor([2]), gamma=gamma).backward()
        assert certain.grad is not None
        assert torch.isfinite(certain.grad).all()
