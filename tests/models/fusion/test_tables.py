"""Several feature tables per stream: each projected by itself, joined, missing by itself, told by the card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.feature_tables import TOY, class_features, write_audio, write_labels, write_visual
from helpers.runners import Affcli
from torch import Tensor

from affcli.features.side_by_side import SideBySide
from affcli.features.stream import FeatureTable
from affcli.models.fusion.model_file import load_model
from affcli.models.fusion.network import FusionConfig, FusionNetwork, JoinedProjections, MixLayers, Projection

LABELS = {"a": [0] * 30 + [4] * 30 + [1] * 20, "b": [4] * 25 + [5] * 25, "c": [5] * 20}
SMALL = ("--dim", 16, "--layers", 1, "--heads", 2, "--window", 16, "--stride", 4, "--batch-size", 8, "--epochs", 3)
TABLES = ((1, 5), (1, 7), (2, 3))
CONFIG = FusionConfig(
    visual_size=18, audio_size=4, window=8, dim=8, layers=1, heads=2, dropout=0.0, visual_tables=TABLES
)


def projections(join: str) -> JoinedProjections:
    torch.manual_seed(1)
    found = FusionNetwork(replace(CONFIG, join=join)).visual.project
    assert isinstance(found, JoinedProjections)
    for table in found.tables:
        torch.nn.init.normal_(table.missing)
        if table.mix is not None:
            torch.nn.init.normal_(table.mix.scores)
    return found


def features() -> tuple[Tensor, Tensor]:
    """Four frames: all tables there; the second missing; only the third there; nothing there."""
    torch.manual_seed(2)
    rows = torch.randn(4, 18)
    rows[1, 5:12] = torch.nan
    rows[2, :12] = torch.nan
    return rows, torch.tensor([True, True, True, False])


def by_hand(project: JoinedProjections, rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Each table's projection of each frame, [4, 3, 8], and whether it is there."""
    projected, there = torch.zeros(4, 3, 8), torch.zeros(4, 3, dtype=torch.bool)
    for frame in range(4):
        for number, part in enumerate((rows[frame, :5], rows[frame, 5:12], rows[frame, 12:])):
            table = project.tables[number]
            there[frame, number] = valid[frame] and not part.isnan().any()
            if number == 2:
                weights = torch.softmax(table.mix.scores, 0)
                part = weights[0] * part[:3] + weights[1] * part[3:]
            own = part if there[frame, number] else table.missing
            projected[frame, number] = table.linear(table.norm(own))
    return projected, there


def test_concatenation_is_its_formula() -> None:
    project, (rows, valid) = projections("concat"), features()
    projected, _ = by_hand(project, rows, valid)
    expected = torch.cat([projected[:, 0], projected[:, 1], projected[:, 2]], -1) @ project.join.linear.weight.T
    torch.testing.assert_close(project.frames(rows, valid), expected + project.join.linear.bias)


def test_the_gate_is_a_softmax_over_the_tables_that_have_the_frame() -> None:
    project, (rows, valid) = projections("gate"), features()
    projected, there = by_hand(project, rows, valid)
    expected = []
    for frame in range(4):
        scores = project.join.linear(projected[frame].flatten())
        chosen = there[frame] if there[frame].any() else torch.ones(3, dtype=torch.bool)
        weights = torch.exp(scores[chosen]) / torch.exp(scores[chosen]).sum()
        expected.append((weights[:, None] * projected[frame][chosen]).sum(0))
    torch.testing.assert_close(project.frames(rows, valid), torch.stack(expected))


def test_layers_are_mixed_by_softmax_weights_and_begin_as_their_mean() -> None:
    mix = MixLayers(3)
    rows = torch.randn(2, 5, 12)
    torch.testing.assert_close(mix(rows), rows.reshape(2, 5, 3, 4).mean(2))
    torch.nn.init.normal_(mix.scores)
    weights = torch.exp(mix.scores) / torch.exp(mix.scores).sum()
    expected = weights[0] * rows[..., :4] + weights[1] * rows[..., 4:8] + weights[2] * rows[..., 8:]
    torch.testing.assert_close(mix(rows), expected)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("join", ["concat", "gate"])
def test_what_is_stored_where_nothing_is_valid_changes_no_logit_and_no_gradient(join: str, garbage: float) -> None:
    torch.manual_seed(3)
    network = FusionNetwork(replace(CONFIG, join=join))
    visual, audio = torch.randn(2, 8, 18), torch.randn(2, 8, 4)
    face = torch.rand(2, 8) < 0.5
    visual[..., 5:12] = torch.where(torch.rand(2, 8, 1) < 0.5, torch.nan, visual[..., 5:12])
    dirty = torch.where(face[..., None], visual, garbage)
    outcomes = []
    for rows in (visual, dirty):
        network.zero_grad()
        logits = network(rows, face, audio, torch.ones(2, 8, dtype=torch.bool))
        logits.square().sum().backward()
        outcomes.append([logits, *(parameter.grad for parameter in network.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*outcomes, strict=True))
    assert all(torch.isfinite(one).all() for one in outcomes[0])


def test_a_table_that_lacks_a_frame_is_missing_there_only(tmp_path: Path) -> None:
    one, other = np.ones((4, 2)), np.full((3, 3), 2.0)
    one[1], other[1:] = np.nan, np.nan
    tables = [
        FeatureTable(str(write_visual(tmp_path / "1.parquet", {"v": one, "w": one}))),
        FeatureTable(str(write_visual(tmp_path / "2.parquet", {"v": other}))),
    ]
    both = SideBySide(tables, [2, 3])
    read = both.read("v")
    nan = float("nan")
    expected = [[1, 1, 2, 2, 2], [0] * 5, [1, 1, nan, nan, nan], [1, 1, nan, nan, nan]]
    np.testing.assert_array_equal(read.features, np.array(expected, np.float16))
    assert read.valid.tolist() == [True, False, True, True]
    assert both.videos == ["v", "w"]
    np.testing.assert_array_equal(both.read("w").features[0], np.array([1, 1, nan, nan, nan], np.float16))
    assert both.read_times("v").tolist() == [0, 1 / 25, 2 / 25, 3 / 25]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """V1 (12 numbers), V2 (5, a crop of another size by the same encoder as V1 has elsewhere), A and labels."""
    first, second = class_features(LABELS, 12), class_features(LABELS, 5, seed=3)
    first["a"][:40:3] = np.nan
    second["b"][:] = np.nan
    write_visual(tmp_path / "V1.parquet", first, alignment={"template": "arcface-112", "size": 32})
    other = {**TOY, "fingerprint": "4567", "size": 5}
    write_visual(tmp_path / "V2.parquet", second, encoder=other)
    write_audio(tmp_path / "A.parquet", class_features(LABELS, 6, seed=1))
    write_labels(tmp_path / "labels", LABELS)
    return tmp_path


def train(affcli: Affcli, *more: object, status: int = 0) -> str:
    tables = ("--visual", "V1.parquet", "--audio", "A.parquet", "--labels", "labels")
    return affcli("train", *tables, *SMALL, *more, "-o", "m.safetensors", status=status).stderr


@pytest.mark.parametrize("join", ["concat", "gate"])
def test_predict_knows_the_tables_by_the_card_whatever_their_order(folder: Path, affcli: Affcli, join: str) -> None:
    train(affcli, "--visual", "V2.parquet", "--join", join)
    _, card = load_model(str(folder / "m.safetensors"))
    assert [one["fingerprint"] for one in card.encoders["visual"]["tables"]] == [TOY["fingerprint"], "4567"]
    assert card.config.visual_tables == ((1, 12), (1, 5))
    assert card.config.join == join
    how = ("predict", "--model", "m.safetensors", "--audio", "A.parquet")
    affcli(*how, "--visual", "V1.parquet", "--visual", "V2.parquet", "-o", "one.parquet")
    affcli(*how, "--visual", "V2.parquet", "--visual", "V1.parquet", "-o", "two.parquet")
    assert (folder / "one.parquet").read_bytes() == (folder / "two.parquet").read_bytes()
    told = affcli(*how, "--visual", "V2.parquet", "-o", "three.parquet").stderr
    assert "--visual: without the features of toy, which count as missing" in told
    assert (folder / "one.parquet").read_bytes() != (folder / "three.parquet").read_bytes()


def test_a_table_that_the_model_does_not_know_is_refused_by_name(folder: Path, affcli: Affcli) -> None:
    train(affcli, "--visual", "V2.parquet")
    how = ("predict", "--model", "m.safetensors", "-o", "W.parquet")
    write_visual(folder / "V3.parquet", class_features(LABELS, 12), encoder={**TOY, "fingerprint": "89ab", "size": 12})
    told = affcli(*how, "--visual", "V3.parquet", status=1).stderr
    assert "V3.parquet: --visual features of toy (pooled) are none that the model was trained with" in told
    told = affcli(*how, "--visual", "V1.parquet", "--visual", "V1.parquet", status=1).stderr
    assert "V1.parquet" in told


def test_a_model_of_one_table_refuses_two(folder: Path, affcli: Affcli) -> None:
    train(affcli)
    both = ("--visual", "V1.parquet", "--visual", "V2.parquet")
    told = affcli("predict", "--model", "m.safetensors", *both, "-o", "W.parquet", status=2).stderr
    assert "the model was trained with one --visual table, and 2 are given" in told
    told = train(affcli, "--join", "gate", status=2)
    assert "--join gate joins several tables" in told


def test_somebodys_logits_are_a_table_like_any_other(folder: Path, affcli: Affcli) -> None:
    rows = ["clip_name,video,frame,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"]
    for video, numbers in LABELS.items():
        for frame, number in enumerate(numbers[5:], start=6):
            rows.append(f"x,{video},{frame}," + ",".join(str(3.0 * (number == one) - 1.5) for one in range(8)))
    (folder / "logits.csv").write_text("\n".join(rows) + "\n")
    told = train(affcli, "--visual", "logits.csv")
    assert "logits.csv: has no features; its logits are taken: Neutral, Anger" in told
    network, card = load_model(str(folder / "m.safetensors"))
    assert network.visual.project.sizes == [12, 8]
    assert card.encoders["visual"]["tables"][1]["classes"][4] == "Happiness"
    both = ("--visual", "logits.csv", "--visual", "V1.parquet", "--audio", "A.parquet")
    affcli("predict", "--model", "m.safetensors", *both, "-o", "W.parquet")
    alone = ("--visual", "logits.csv", "--audio", "A.parquet", "--labels", "labels")
    affcli("train", *alone, *SMALL, "-o", "alone.safetensors")
    assert isinstance(load_model("alone.safetensors")[0].visual.project, Projection)


def test_windowed_logits_are_refused_as_features_with_the_way_out(folder: Path, affcli: Affcli) -> None:
    train(affcli)
    tables = ("--visual", "V1.parquet", "--audio", "A.parquet")
    affcli("predict", "--model", "m.safetensors", *tables, "-o", "W.parquet")
    more = ("--visual", "W.parquet", "--audio", "A.parquet", "--labels", "labels", "-o", "n.safetensors")
    told = affcli("train", *more, *SMALL, status=1).stderr
    assert "affcli vote" in told


def test_layers_in_the_metadata_are_learnt_weights_of_the_model(folder: Path, affcli: Affcli) -> None:
    layered = class_features(LABELS, 12, seed=5)
    write_audio(folder / "L.parquet", layered, encoder={**TOY, "fingerprint": "cdef", "size": 12, "layers": 3})
    tables = ("--visual", "V1.parquet", "--audio", "L.parquet", "--labels", "labels")
    affcli("train", *tables, *SMALL, "-o", "m.safetensors")
    network, card = load_model(str(folder / "m.safetensors"))
    assert card.config.audio_tables == ((3, 4),)
    assert network.audio.project.mix.scores.shape == (3,)
    shown = json.loads(affcli("info", "m.safetensors", "--json").stdout)
    weights = torch.softmax(network.audio.project.mix.scores, 0).tolist()
    assert shown["layer_weights"] == {"audio": [[pytest.approx(one, abs=1e-6) for one in weights]]}
    assert "layer_weights" in affcli("info", "m.safetensors").stdout


def test_windows_longer_than_those_of_training_have_their_positions(folder: Path, affcli: Affcli) -> None:
    train(affcli)
    how = ("predict", "--model", "m.safetensors", "--visual", "V1.parquet", "--audio", "A.parquet")
    affcli(*how, "--window", 1000, "--stride", 1000, "-o", "long.parquet")
    network, card = load_model(str(folder / "m.safetensors"))
    long = FusionNetwork(replace(card.config, window=80)).eval()
    long.load_state_dict(network.state_dict())
    rows = [FeatureTable(str(folder / f"{name}.parquet")).read("a") for name in ("V1", "A")]
    inputs = [torch.from_numpy(part)[None] for one in rows for part in (one.features.astype(np.float32), one.valid)]
    with torch.no_grad():
        expected = long(*inputs)[0].numpy()
    import pyarrow.parquet as pq

    found = pq.read_table(folder / "long.parquet").to_pandas().query("video == 'a'")
    assert set(found.window) == {1}
    np.testing.assert_allclose(found[list(card.classes)].to_numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_model_without_self_attention_layers_can_be_read(folder: Path, affcli: Affcli) -> None:
    tables = ("--visual", "V1.parquet", "--audio", "A.parquet", "--labels", "labels")
    per_frame = ("--layers", 0, "--window", 1, "--stride", 1, "--dim", 8, "--heads", 2, "--epochs", 1)
    affcli("train", *tables, *per_frame, "-o", "m.safetensors")
    assert len(load_model("m.safetensors")[0].visual.blocks) == 0
