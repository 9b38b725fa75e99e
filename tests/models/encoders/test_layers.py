"""`--layers`: every hidden layer side by side, or the mean of the last N, against transformers called directly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.extracting import BLANK
from helpers.extracting import SMALL as PERSON
from helpers.media_fixtures import ffmpeg, write_frames
from helpers.runners import BEIT_PREPROCESSOR, Affcli

from affcli.errors import AffcliError
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices

CPU = devices.choose("cpu", "fp32")


def hidden_of(folder: Path, pixels: np.ndarray) -> list[torch.Tensor]:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return list(model(pixel_values=torch.from_numpy(pixels), output_hidden_states=True).hidden_states)


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    """A clip of ten frames a second, with a tone."""
    silent = write_frames(path.with_suffix(".avi"), frames, fps=10)
    sound = ("-f", "lavfi", "-t", str(len(frames) / 10), "-i", "sine=440:sample_rate=16000")
    ffmpeg("-i", silent, *sound, "-c:v", "copy", "-c:a", "pcm_s16le", path)
    silent.unlink()


def noise(count: int, edge: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, edge, edge, 3)).astype(np.uint8)


def normalised(pictures: np.ndarray) -> np.ndarray:
    return ((pictures.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def tiny_dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(4)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 2}
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-dinov2"
    Dinov2Model(Dinov2Config(image_size=32, patch_size=8, **sizes)).save_pretrained(folder)
    facts = {**BEIT_PREPROCESSOR, "image_processor_type": "ViTImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


def test_all_layers_of_an_image_encoder_are_its_class_tokens_in_a_row(tiny_dinov2: Path) -> None:
    pictures = noise(3)
    encoder = VisualEncoder(str(tiny_dinov2), CPU, layers="all", batch_size=4)
    hidden = hidden_of(tiny_dinov2, normalised(pictures))
    expected = torch.cat([tokens[:, 0] for tokens in hidden], -1).numpy()
    np.testing.assert_allclose(encoder.encode(list(pictures)), expected, atol=2e-3)
    assert (encoder.card.size, encoder.card.layers) == (4 * 16, 4)
    assert encoder.card.feature == "class token, all 4 hidden layers"
    last = VisualEncoder(str(tiny_dinov2), CPU, layers=2, batch_size=4)
    mean = torch.stack([tokens[:, 0] for tokens in hidden[-2:]]).mean(0).numpy()
    np.testing.assert_allclose(last.encode(list(pictures)), mean, atol=2e-3)
    assert last.card.layers is None


def test_an_encoder_that_pools_by_the_mean_of_its_patches_gives_their_mean_in_each_layer(tiny_beit: Path) -> None:
    pictures = noise(2)
    encoder = VisualEncoder(str(tiny_beit), CPU, layers="all", batch_size=2)
    hidden = hidden_of(tiny_beit, normalised(pictures))
    expected = torch.cat([tokens[:, 1:].mean(1) for tokens in hidden], -1).numpy()
    np.testing.assert_allclose(encoder.encode(list(pictures)), expected, atol=2e-3)
    assert encoder.card.feature == "mean of patch tokens, all 3 hidden layers"


def test_encoders_whose_layers_differ_in_shape_and_too_many_layers_are_refused(tiny_beit: Path, tmp_path: Path) -> None:
    from transformers import ConvNextConfig, ConvNextModel

    sizes = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}
    ConvNextModel(ConvNextConfig(image_size=32, **sizes)).save_pretrained(tmp_path / "convnext")
    facts = {**BEIT_PREPROCESSOR, "image_processor_type": "ViTImageProcessor"}
    (tmp_path / "convnext/preprocessor_config.json").write_text(json.dumps(facts))
    with pytest.raises(AffcliError, match="convnext model, whose hidden layers are not of one shape"):
        VisualEncoder(str(tmp_path / "convnext"), CPU, layers="all")
    with pytest.raises(AffcliError, match=r"--layers 3: .* has 2 hidden layers"):
        VisualEncoder(str(tiny_beit), CPU, layers=3)


def test_all_layers_of_a_speech_encoder_are_transformers_hidden_states(tiny_wavlm: Path) -> None:
    from transformers import AutoFeatureExtractor, AutoModel

    samples = np.random.default_rng(1).normal(size=16_000).astype(np.float32) * 0.1
    encoder = AudioEncoder(str(tiny_wavlm), CPU, layers="all")
    extractor, model = AutoFeatureExtractor.from_pretrained(tiny_wavlm), AutoModel.from_pretrained(tiny_wavlm).eval()
    with torch.no_grad():
        values = extractor(samples, sampling_rate=16_000, return_tensors="pt")
        hidden = model(**values, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(encoder.encode(samples), torch.cat(hidden, -1)[0].numpy(), atol=1e-5)
    assert encoder.card.layers == 4
    assert encoder.card.feature == "all 4 hidden layers"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "a.mkv", [np.roll(PERSON, 3 * i, axis=1) for i in range(6)] + [BLANK] * 2)
    write_clip(folder / "b.mkv", [PERSON] * 5)
    return folder


def test_the_layers_stand_in_the_metadata_and_their_size_is_stated(
    clips: Path, affcli: Affcli, tiny_beit: Path, tiny_wavlm: Path
) -> None:
    told = affcli("extract-audio", "clips", "--model", tiny_wavlm, "--layers", "all", "-o", "A.parquet").stderr
    assert "4 hidden layers of 16 numbers: 128 bytes per frame" in told
    affcli("extract-visual", "clips", "--model", tiny_beit, "--layers", "all", "-o", "V.parquet")
    for name, layers, size in (("A", 4, 64), ("V", 3, 72)):
        table = pq.read_table(f"{name}.parquet")
        assert table.schema.field("feature").type.list_size == size
        facts = json.loads(table.schema.metadata[b"affcli"])
        assert facts["layers"] == facts["encoder"]["layers"] == layers
    few = ("extract-audio", "clips", "--model", tiny_wavlm, "--layers", 2, "-o", "B.parquet")
    affcli(*few)
    assert "layers" not in json.loads(pq.read_table("B.parquet").schema.metadata[b"affcli"])
    assert affcli("extract-audio", "clips", "--layers", "some", "-o", "C.parquet", status=2).stderr


def test_mirrored_features_are_the_mean_of_both_images(tiny_beit: Path, affcli: Affcli, clips: Path) -> None:
    how = ("extract-visual", "clips", "--model", tiny_beit, "--precision", "fp32")
    affcli(*how, "--crop-scale", "1,1.2", "--mirror", "-o", "M.parquet")
    affcli(*how, "--crop-scale", "1,1.2", "-o", "P.parquet")
    alignment = json.loads(pq.read_table("M.parquet").schema.metadata[b"affcli"])["alignment"]
    assert alignment["mirrored"] is True
    assert "mirrored" not in json.loads(pq.read_table("P.parquet").schema.metadata[b"affcli"])["alignment"]
    from affcli.files.inputs import MediaInput
    from affcli.media.showing import Show
    from affcli.media.sightings import SeenFrame

    encoder = VisualEncoder(str(tiny_beit), CPU, batch_size=4)
    show = Show(encoder.preprocessing.fitted, 32, "largest", 1, scales=(1.0, 1.2))
    events = list(show(MediaInput("b", clips / "b.mkv", "file")))
    crops = next(event.sightings[1].crops for event in events if isinstance(event, SeenFrame))
    views = [crops[0], crops[1], crops[0][:, ::-1].copy(), crops[1][:, ::-1].copy()]
    expected = encoder.encode(views).astype(np.float32).mean(0)
    found = pq.read_table("M.parquet").to_pandas().query("video == 'b'").feature.iloc[0]
    np.testing.assert_allclose(np.array(found, np.float32), expected, atol=2e-3)


def test_label_makes_every_table_that_the_model_was_trained_on(
    clips: Path, affcli: Affcli, tiny_beit: Path, tiny_dinov2: Path, tiny_wavlm: Path, tmp_path: Path
) -> None:
    for folder in (tiny_beit, tiny_dinov2, tiny_wavlm):
        (tmp_path / folder.name).symlink_to(folder)
    fp32 = ("--precision", "fp32", "--batch-size", 4)
    seen = ("extract-visual", "clips", *fp32)
    affcli(*seen, "--model", "tiny-beit", "-o", "V1.parquet")
    affcli(*seen, "--model", "tiny-beit", "--crop-scale", "0.9,1.3", "--mirror", "-o", "V2.parquet")
    affcli(*seen, "--model", "tiny-dinov2", "--layers", "all", "-o", "V3.parquet")
    heard = ("extract-audio", "clips", "--model", "tiny-wavlm", "--precision", "fp32")
    affcli(*heard, "-o", "A1.parquet")
    affcli(*heard, "--layers", "all", "--context", 0.2, "-o", "A2.parquet")
    (tmp_path / "labels.csv").write_text(
        "video,frame,label\n" + "".join(f"a,{i},{i % 3}\n" for i in range(1, 9)) + "b,1,4\n"
    )
    tables = ("--visual", "V1.parquet", "--visual", "V2.parquet", "--visual", "V3.parquet")
    tables = (*tables, "--audio", "A1.parquet", "--audio", "A2.parquet")
    small = ("--dim", 16, "--layers", 1, "--heads", 2, "--window", 8, "--stride", 4, "--epochs", 2, "--lr", 1e-2)
    affcli("train", *tables, "--join", "gate", "--labels", "labels.csv", *small, "-o", "m.safetensors")
    affcli("label", "clips", "--model", "m.safetensors", *fp32, "--any-sound", "-k", 1, "-o", "out")
    backwards = ("--visual", "V2.parquet", "--visual", "V1.parquet", "--visual", "V3.parquet")
    backwards = (*backwards, "--audio", "A2.parquet", "--audio", "A1.parquet")
    affcli("predict", "--model", "m.safetensors", *backwards, "-o", "W.parquet")
    affcli("vote", "W.parquet", "-o", "F.parquet")
    separate = pq.read_table("F.parquet").to_pandas()
    for video in ("a", "b"):
        [found] = Path("out").rglob(f"{video}.parquet")
        own = pq.read_table(found).to_pandas()
        expected = separate.query("video == @video")
        names = [name for name in expected.columns if name[0].isupper()]
        np.testing.assert_allclose(own[names].to_numpy(), expected[names].to_numpy(), atol=1e-3)
    for folder in (tiny_beit, tiny_dinov2):
        (tmp_path / folder.name).rename(tmp_path / f"moved-{folder.name}")
    moved = [f"--visual-model=moved-{folder.name}" for folder in (tiny_beit, tiny_dinov2)]
    again = ("label", "clips", "--model", "m.safetensors", *fp32, "--any-sound", "-k", 1)
    affcli(*again, *moved, "-o", "named")
    logits = [pq.read_table(f"{out}/frames/a.parquet").select(names) for out in ("out", "named")]
    assert logits[0].equals(logits[1])
    told = affcli(*again, moved[0], "-o", "o2", status=2).stderr
    assert "is given once; m.safetensors was trained with 2 visual encoders (tiny-beit, tiny-dinov2)." in told
    told = affcli(*again, *reversed(moved), "-o", "o2", status=1).stderr
    assert "its features have 16 numbers; m.safetensors was trained with tiny-beit of 24" in told
