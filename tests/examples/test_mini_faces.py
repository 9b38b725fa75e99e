"""The recipe of mini's face network and the judge of clips (examples/mini)."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForImageClassification

from affcli.schema import CLASSES

HERE = Path(__file__).parents[2] / "examples" / "mini"


@pytest.fixture(scope="module")
def example() -> Iterator:  # type: ignore[type-arg]
    """Imports a script of examples/mini by name."""
    sys.path.insert(0, str(HERE))
    yield importlib.import_module
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def network(example) -> ModuleType:  # type: ignore[no-untyped-def]
    return example("face_network")


@pytest.fixture
def tfjs(network: ModuleType, tmp_path: Path) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """A TensorFlow.js model of FaceRes's layout with random weights in tmp_path, and these weights by name."""
    random, arrays = np.random.default_rng(0), {}

    def add(name: str, *shape: int, scale: float = 1.0) -> None:
        arrays[name] = (scale * random.normal(size=shape)).astype(np.float32)

    add("age_pred/kernel", 4, 3)
    add("conv1/convolution/merged_input", 3, 3, 3, 32, scale=0.01)
    add("conv1_bn/batchnorm_1/sub", 32)
    for number, (inputs, outputs, _) in enumerate(network._BLOCKS, start=1):
        add(f"conv_dw_{number}/depthwise_kernel", 3, 3, inputs, 1, scale=0.3)
        add(f"conv_dw_{number}_bn/batchnorm_1/mul", inputs)
        add(f"conv_dw_{number}_bn/batchnorm_1/sub", inputs)
        add(f"conv_pw_{number}/convolution/merged_input", 1, 1, inputs, outputs, scale=inputs**-0.5)
        add(f"conv_pw_{number}_bn/batchnorm_1/sub", outputs)
    facts = [{"name": name, "shape": list(array.shape), "dtype": "float32"} for name, array in arrays.items()]
    (tmp_path / "model.json").write_text(json.dumps({"weightsManifest": [{"weights": facts}]}))
    (tmp_path / "model.bin").write_bytes(b"".join(array.tobytes() for array in arrays.values()))
    return arrays


@pytest.fixture
def begun(network: ModuleType, tfjs: dict[str, np.ndarray], tmp_path: Path) -> torch.nn.Module:  # type: ignore[type-arg]
    torch.manual_seed(0)
    made = network.GreyMobileNet()
    made.begin_with(network.faceres(tmp_path / "model.json", tmp_path / "model.bin"))
    torch.nn.init.normal_(made.classifier.weight, std=0.3)
    return made.eval()  # type: ignore[no-any-return]


def grey(count: int, size: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 1, size, size)).astype(np.float32))


@torch.no_grad()
def test_the_first_two_layers_of_the_backbone_compute_what_the_graph_says(begun, tfjs) -> None:  # type: ignore[no-untyped-def]
    """By loops over TensorFlow's own arrays: row, column, input, output; padding only behind an even edge."""
    picture = grey(1, 4)
    padded = np.pad(picture[0, 0].numpy(), (0, 1))
    kernel = tfjs["conv1/convolution/merged_input"].sum(2)
    stem = np.array([[(padded[r : r + 3, c : c + 3, None] * kernel).sum((0, 1)) for c in (0, 2)] for r in (0, 2)])
    stem = np.clip(stem + tfjs["conv1_bn/batchnorm_1/sub"], 0, 6)
    framed = np.pad(stem, ((1, 1), (1, 1), (0, 0)))
    kernel = tfjs["conv_dw_1/depthwise_kernel"][..., 0]
    deep = np.array([[(framed[r : r + 3, c : c + 3] * kernel).sum((0, 1)) for c in (0, 1)] for r in (0, 1)])
    deep = np.clip(deep * tfjs["conv_dw_1_bn/batchnorm_1/mul"] + tfjs["conv_dw_1_bn/batchnorm_1/sub"], 0, 6)
    found = begun.layer[0](begun.conv_stem(picture))[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, deep, atol=1e-3)


@torch.no_grad()
def test_calibration_gives_batch_statistics_and_changes_no_output(begun) -> None:  # type: ignore[no-untyped-def]
    pictures = grey(8, 64)
    before = begun(pictures)
    assert before.std() > 0.01
    begun.calibrate(pictures)
    torch.testing.assert_close(begun(pictures), before, rtol=1e-3, atol=1e-3)
    stem = begun.conv_stem
    torch.testing.assert_close(stem.normalization.running_mean, stem._convolved(pictures).mean((0, 2, 3)))


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 33])
def test_the_saved_network_sees_the_luminance_of_colour_pictures(size, begun, network, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """transformers' own class, with the weights as they are stored, against the grey network."""
    network.save(begun.state_dict(), tmp_path / "saved", size=size)
    stored = AutoModelForImageClassification.from_pretrained(tmp_path / "saved", dtype=torch.float32).eval()
    colour = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (3, 3, size, size)).astype(np.float32))
    luminance = (colour * torch.tensor(network.LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(stored(pixel_values=colour).logits, begun(luminance), rtol=0.02, atol=0.02)
    assert list(stored.config.id2label.values()) == list(CLASSES)


def test_changes_stay_in_range_and_follow_the_seed(example) -> None:  # type: ignore[no-untyped-def]
    changes = example("face_changes")
    picture = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    whole = np.array([[112 / 48, 0, (112 / 48 - 1) / 2], [0, 112 / 48, (112 / 48 - 1) / 2]])

    def drawn(seed: int) -> list[np.ndarray]:  # type: ignore[type-arg]
        random = np.random.default_rng(seed)
        return [changes.changed(picture, whole, whole, 64, changes.Amount(1, 0.3), random) for _ in range(100)]

    one, same, other = drawn(0), drawn(0), drawn(1)
    assert {made.dtype for made in one} == {np.dtype(np.float32)}
    assert {made.shape for made in one} == {(64, 64)}
    assert min(made.min() for made in one) >= 0
    assert max(made.max() for made in one) <= 255
    assert all(map(np.array_equal, one, same))
    assert not any(map(np.array_equal, one, other))


def test_without_changes_a_whole_picture_stays(example) -> None:  # type: ignore[no-untyped-def]
    changes = example("face_changes")
    picture = np.random.default_rng(0).integers(0, 256, (112, 112)).astype(np.uint8)
    assert np.array_equal(changes.plain(picture, np.eye(2, 3), 112), picture)


def test_rows_are_drawn_as_often_as_their_weights_say(example) -> None:  # type: ignore[no-untyped-def]
    faces, data = example("faces"), example("face_data")
    targets = np.eye(8, dtype=np.float32)[[0] * 90 + [1] * 10]
    few = data.Faces(np.zeros((100, 4, 4), np.uint8), np.full((100, 5, 2), np.nan, np.float32), targets)
    drawn = faces.Drawn.by_class(few, 0.5)
    share = 0.1**0.5 / (0.9**0.5 + 0.1**0.5)
    assert drawn.prior()[1] == pytest.approx(share)
    counts = np.bincount(drawn.rows(1000, np.random.default_rng(0)), minlength=100)
    assert counts[:90].min() >= np.floor(1000 * (1 - share) / 90)
    assert counts[90:].max() <= np.ceil(1000 * share / 10)


def test_wilson_s_interval_is_that_of_the_tables(example) -> None:  # type: ignore[no-untyped-def]
    """Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    wilson = example("judge").wilson
    table = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for counts, interval in table.items():
        assert wilson(*counts) == pytest.approx(interval, abs=6e-5)


def test_a_clip_s_answer_is_its_most_frequent_label(example, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Three frames of a: Fear, Fear, nothing known; b has no frame with logits."""
    fear, anger = np.eye(8)[CLASSES.index("Fear")], np.eye(8)[CLASSES.index("Anger")]
    rows = {"video": ["a", "a", "a", "a", "b"]}
    logits = [fear, anger, None, fear, None]
    for number, name in enumerate(CLASSES):
        rows[name] = [None if one is None else float(one[number]) for one in logits]
    pq.write_table(pa.table(rows), tmp_path / "frames.parquet")
    assert example("judge").most_frequent(tmp_path / "frames.parquet") == {"a": CLASSES.index("Fear")}
