"""The head of the eight classes: extract-visual --logits against transformers, and on through the filters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.extracting import BLANK, SMALL
from helpers.media_fixtures import write_frames
from helpers.runners import BEIT_PREPROCESSOR, Affcli
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    BeitConfig,
    BeitForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from affcli.errors import AffcliError
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices
from affcli.schema import CLASSES

CPU = devices.choose("cpu", "fp32")
SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SIZES |= {"image_size": 32, "patch_size": 8}


def saved(folder: Path, network: torch.nn.Module) -> Path:
    network.save_pretrained(folder)  # type: ignore[operator]
    (folder / "preprocessor_config.json").write_text(json.dumps(BEIT_PREPROCESSOR))
    return folder


def names(classes: tuple[str, ...] = CLASSES) -> dict[str, object]:
    return {"id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)}}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    return saved(tmp_path_factory.mktemp("heads") / "vit", ViTForImageClassification(ViTConfig(**SIZES, **names())))


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["headed_beit", "vit"])
def test_logits_equal_transformers_by_name_and_features_are_those_without_them(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(name)
    crops = pictures(5)
    values = (torch.from_numpy(crops).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    network = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        theirs = network(pixel_values=values).logits.numpy()
    columns = [network.config.label2id[name] for name in CLASSES]
    plain, judging = (VisualEncoder(str(folder), CPU, batch_size=8, logits=logits) for logits in (False, True))
    faces = judging.start(crops).faces()
    np.testing.assert_allclose([face.logits for face in faces], theirs[:, columns], atol=1e-5)
    assert np.array_equal([face.feature for face in faces], plain.encode(crops))
    assert plain.card == judging.card
    assert (plain.classes, judging.classes) == ((), CLASSES)
    assert all(face.logits.shape == (0,) for face in plain.start(crops).faces())


def test_an_encoder_with_its_head_runs_once(headed_beit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = VisualEncoder(str(headed_beit), CPU, batch_size=2, logits=True)
    calls = []
    encoder._model.register_forward_pre_hook(lambda *_: calls.append(1))
    encoder.start(pictures(2))
    assert len(calls) == 1


def test_views_of_a_face_count_alike_in_its_logits(headed_beit: Path) -> None:
    encoder = VisualEncoder(str(headed_beit), CPU, batch_size=4, logits=True)
    one, two = (encoder.start(pictures(4)[i::2]).faces() for i in (0, 1))
    both = encoder.start(np.stack([pictures(4)[0::2], pictures(4)[1::2]], axis=1)).faces()
    for face, first, second in zip(both, one, two, strict=True):
        np.testing.assert_allclose(face.logits, (first.logits + second.logits) / 2, atol=1e-5)


def test_a_checkpoint_without_our_head_is_refused_and_the_way_on_named(tiny_beit: Path, tmp_path: Path) -> None:
    with pytest.raises(AffcliError, match=r"has no head of the eight classes\. .*train-visual"):
        VisualEncoder(str(tiny_beit), CPU, logits=True)
    config = BeitConfig(**SIZES, **names(("cat", "dog")))
    folder = saved(tmp_path / "pets", BeitForImageClassification(config))
    with pytest.raises(AffcliError, match=r"pets has no head of the eight classes \(its outputs are named cat, dog\)"):
        VisualEncoder(str(folder), CPU, logits=True)


def test_a_head_that_is_named_but_not_there_is_refused(headed_beit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "headless"
    shutil.copytree(headed_beit, folder)
    AutoModel.from_pretrained(headed_beit).save_pretrained(folder)
    shutil.copy(headed_beit / "config.json", folder)
    with pytest.raises(AffcliError, match=r"lacks weights .*classifier"):
        VisualEncoder(str(folder), CPU, logits=True)


def test_the_table_has_eight_more_columns_that_smooth_and_score_read(
    tmp_path: Path, affcli: Affcli, headed_beit: Path
) -> None:
    write_frames(tmp_path / "a.mkv", [SMALL, BLANK, SMALL, SMALL[:, ::-1], SMALL])
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(",".join(CLASSES) + "\n" + "0\n" * 5)
    given = ("a.mkv", "--model", headed_beit, "--precision", "fp32", "--batch-size", 4)
    affcli("extract-visual", *given, "-o", "plain.parquet")
    affcli("extract-visual", *given, "--logits", "-o", "V.parquet")
    plain, table = pq.read_table(tmp_path / "plain.parquet"), pq.read_table(tmp_path / "V.parquet")
    assert table.column_names == [*plain.column_names, *CLASSES]
    assert table.select(plain.column_names).equals(plain)
    face = np.array(table["face"].to_pylist())
    assert face.tolist() == [True, False, True, True, True]
    for name in CLASSES:
        assert table[name].type == "float"
        assert (np.array([x is not None for x in table[name].to_pylist()]) == face).all()
    affcli("smooth", "V.parquet", "-k", 1, "-o", "S.parquet")
    smoothed = pq.read_table(tmp_path / "S.parquet")
    largest = np.array([[row[name] or 0 for name in CLASSES] for row in table.to_pylist()]).argmax(1)
    expected = [CLASSES[number] if there else None for number, there in zip(largest, face, strict=True)]
    assert smoothed["label"].to_pylist() == expected
    assert smoothed["feature"].to_pylist() == table["feature"].to_pylist()
    for name in ("V.parquet", "S.parquet"):
        scored = json.loads(affcli("score", name, "--labels", "labels", "--json", "--allow-missing", "-q").stdout)
        assert scored["accuracy"] == pytest.approx((largest[face] == 0).mean())


def test_logits_of_frames_between_two_encoded_ones_are_interpolated(
    tmp_path: Path, affcli: Affcli, headed_beit: Path
) -> None:
    write_frames(tmp_path / "a.mkv", [SMALL, BLANK, SMALL[:, ::-1]])
    affcli(
        "extract-visual",
        "a.mkv",
        "--model",
        headed_beit,
        "--every",
        2,
        "--logits",
        "--precision",
        "fp32",
        "-o",
        "V.parquet",
    )
    table = pq.read_table(tmp_path / "V.parquet")
    for name in CLASSES:
        first, middle, last = table[name].to_pylist()
        assert middle == pytest.approx((first + last) / 2, abs=1e-6)


def test_a_table_with_logits_is_another_than_one_without(tmp_path: Path, affcli: Affcli, headed_beit: Path) -> None:
    write_frames(tmp_path / "a.mkv", [SMALL])
    given = ("a.mkv", "--model", headed_beit, "--precision", "fp32", "-o", "V.parquet")
    affcli("extract-visual", *given)
    assert "other settings" in affcli("extract-visual", *given, "--logits", status=1).stderr
