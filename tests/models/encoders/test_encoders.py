"""Encoders against transformers called directly, on tiny checkpoints; what is said when a checkpoint cannot be had."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.threads import equal_for_threads
from PIL import Image
from safetensors import safe_open
from transformers import BeitModel, Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

from affcli.errors import AffcliError, UsageError
from affcli.models.encoders import find_checkpoint
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.loading import card_of, load
from affcli.models.encoders.steps import StepGrid
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices

CPU = devices.choose("cpu", "fp32")


def pictures(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def sound(samples: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, samples).astype(np.float32)


def test_visual_features_equal_the_pooled_vector_of_transformers(tiny_beit: Path) -> None:
    crops = pictures(5, 32)
    with torch.no_grad():
        values = (torch.from_numpy(crops).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        expected = BeitModel.from_pretrained(tiny_beit).eval()(pixel_values=values).pooler_output.numpy()
    encoder = VisualEncoder(str(tiny_beit), CPU, batch_size=8)
    assert encoder.card.feature == "pooled"
    assert encoder.card.name == "tiny-beit"
    np.testing.assert_allclose(encoder.encode(crops), expected, atol=2e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_feature_does_not_depend_on_its_batch_bit_for_bit(tiny_beit: Path, precision: str) -> None:
    encoder = VisualEncoder(str(tiny_beit), devices.choose("cpu", precision), batch_size=8)
    crops = pictures(8, 32)
    together = encoder.encode(crops)
    assert np.array_equal(encoder.encode(crops[5:6])[0], together[5])
    assert np.array_equal(encoder.encode(crops[::-1])[2], together[5])


def test_audio_features_equal_the_mean_of_the_last_hidden_layers_of_transformers(tiny_wavlm: Path) -> None:
    samples = sound(16_000)
    values = Wav2Vec2FeatureExtractor.from_pretrained(tiny_wavlm)(samples, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        hidden = WavLMModel.from_pretrained(tiny_wavlm).eval()(**values, output_hidden_states=True).hidden_states
    for layers in (1, 2, 3):
        encoder = AudioEncoder(str(tiny_wavlm), CPU, layers=layers)
        expected = torch.stack(hidden[-layers:]).mean(0)[0].numpy()
        np.testing.assert_allclose(encoder.encode(samples), expected, atol=1e-5)
    with pytest.raises(AffcliError, match=r"--layers 4.*3 hidden layers"):
        AudioEncoder(str(tiny_wavlm), CPU, layers=4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_do_not_depend_on_the_number_of_threads(tmp_path: Path, precision: str) -> None:
    """Processes under torchrun have one thread each; the table is to be the same. Sizes large enough to be shared."""
    torch.manual_seed(0)
    WavLMModel(WavLMConfig(num_hidden_layers=1)).save_pretrained(tmp_path)
    processing = {"do_normalize": True, "sampling_rate": 16000, "feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processing))
    samples = np.sin(np.arange(32_000) ** 1.3).astype(np.float32) / 2
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            encoder = AudioEncoder(str(tmp_path), devices.choose("cpu", precision), layers=1)
            found.append(encoder.encode(samples))
    finally:
        torch.set_num_threads(before)
    assert equal_for_threads(*found, precision)


def test_steps_stand_where_the_front_end_takes_them() -> None:
    steps = StepGrid.of((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), 16_000)
    assert (steps.hop, steps.field) == (320, 400)
    assert [steps.count(n) for n in (0, 399, 400, 719, 720, 16_000)] == [0, 0, 1, 1, 2, 49]
    assert steps.centres_s(3).tolist() == [200 / 16_000, 520 / 16_000, 840 / 16_000]


@pytest.mark.parametrize("samples", [400, 719, 720, 5_000])
def test_an_encoder_gives_the_counted_steps_and_none_for_too_short_a_sound(tiny_wavlm: Path, samples: int) -> None:
    encoder = AudioEncoder(str(tiny_wavlm), CPU, layers=2)
    assert encoder.encode(sound(samples)).shape == (encoder.steps.count(samples), 16)
    assert encoder.encode(sound(399)).shape == (0, 16)


def test_mini_is_an_image_encoder_and_a_speech_encoder() -> None:
    eye, again, ear = VisualEncoder("mini", CPU, batch_size=4), VisualEncoder("mini", CPU), AudioEncoder("mini", CPU)
    assert (eye.card.name, eye.card.feature, eye.card.size) == ("mini", "pooled", 1024)
    assert eye.card == again.card
    assert (ear.card.name, ear.card.feature, ear.card.size) == ("mini", "mean of last 1 hidden layers", 384)
    assert ear.piece_s == 6
    assert ear.card == AudioEncoder("mini", CPU).card
    assert ear.encode(sound(800)).shape == (2, ear.card.size)


def test_mini_tells_expressions_it_was_not_trained_on(tmp_path: Path) -> None:
    shared = Path(os.environ.get("AFFCLI_SHARED", Path(__file__).parents[4] / "shared")) / "data" / "ferplus.tar"
    if not shared.is_file():
        pytest.skip("FERPlus is not here")
    with tarfile.open(shared) as archive:
        rows = list(csv.reader(io.TextIOWrapper(archive.extractfile("ferplus/fer2013new.csv"))))  # type: ignore[arg-type]
        held_out = [row for row in rows if row[0] == "PublicTest" and row[1]][:600:2]
        votes = np.array([[int(row[2 + kind]) for kind in (0, 4, 5, 6, 1, 3, 2, 7)] for row in held_out])
        encoder = VisualEncoder("mini", CPU, batch_size=64, logits=True)
        faces = [archive.extractfile(f"ferplus/FER2013Valid/{row[1]}") for row in held_out]
        crops = [encoder.preprocessing.fitted(Image.open(face).convert("RGB")) for face in faces if face]
    batches = [np.stack(crops[at : at + 50]) for at in range(0, len(crops), 50)]
    guesses = [int(face.logits.argmax()) for batch in batches for face in encoder.start(batch).faces()]
    # As the set has them, which is harder than aligned, and with votes for no class among the truth.
    assert (np.array(guesses) == votes.argmax(axis=1)).mean() > 0.6


def test_a_fingerprint_tells_weights_apart_and_not_file_names(tiny_beit: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_beit, tmp_path / "another-name")
    one = VisualEncoder(str(tiny_beit), CPU)
    same = VisualEncoder(str(tmp_path / "another-name"), CPU)
    assert one.card.fingerprint == same.card.fingerprint
    model = BeitModel.from_pretrained(tiny_beit)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    model.save_pretrained(tmp_path / "another-name")
    assert VisualEncoder(str(tmp_path / "another-name"), CPU).card.fingerprint != one.card.fingerprint


def test_weights_in_a_bin_file_are_read_without_running_code(tiny_wavlm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin-only"
    shutil.copytree(tiny_wavlm, folder)
    (folder / "model.safetensors").unlink()
    torch.save(WavLMModel.from_pretrained(tiny_wavlm).state_dict(), folder / "pytorch_model.bin")
    one, other = AudioEncoder(str(tiny_wavlm), CPU, layers=2), AudioEncoder(str(folder), CPU, layers=2)
    assert one.card.fingerprint == other.card.fingerprint
    assert np.array_equal(one.encode(sound(800)), other.encode(sound(800)))

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path(tmp_path / "ran").write_text, ("yes",))

    torch.save({"weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(AffcliError, match="bin-only"):
        AudioEncoder(str(folder), CPU, layers=2)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "has no preprocessor_config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"junk"), "cannot load it"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: is not JSON"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("[]"), "not a JSON object"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(tiny_beit: Path, tmp_path: Path, break_it, said: str) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(tiny_beit, tmp_path / "broken")
    break_it(tmp_path / "broken")
    with pytest.raises(AffcliError, match=said) as caught:
        VisualEncoder(str(tmp_path / "broken"), CPU)
    assert "\n" not in str(caught.value)


def test_weights_that_the_config_asks_for_but_the_file_lacks_are_an_error(tiny_beit: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_beit, tmp_path / "short")
    config = json.loads((tmp_path / "short" / "config.json").read_text())
    (tmp_path / "short" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(AffcliError, match="lacks weights"):
        VisualEncoder(str(tmp_path / "short"), CPU)


def test_encoders_of_the_other_kind_are_refused(tiny_beit: Path, tiny_wavlm: Path) -> None:
    with pytest.raises(AffcliError, match="none of a speech encoder"):
        AudioEncoder(str(tiny_beit), CPU)
    with pytest.raises(AffcliError, match="does not name an image processor"):
        VisualEncoder(str(tiny_wavlm), CPU)


def test_a_hub_name_that_is_not_cached_names_the_ways_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AffcliError, match=r"not in the local cache.*local folder.*--model mini") as caught:
        find_checkpoint.find("affcli-tests/no-such-model", mini="visual")
    assert "\n" not in str(caught.value)
    for name in ("./nowhere", "/no/such/folder", "a b"):
        with pytest.raises(AffcliError, match="no such folder"):
            find_checkpoint.find(name, mini="visual")
    (tmp_path / "file").write_text("x")
    with pytest.raises(AffcliError, match="is a file"):
        find_checkpoint.find(str(tmp_path / "file"), mini="visual")


def test_devices_that_are_not_there_are_wrong_usage() -> None:
    for device in ("cuda:99", "toaster", "meta"):
        with pytest.raises(UsageError, match=f"--device {device}"):
            devices.choose(device)
    with pytest.raises(UsageError, match="fp16"):
        devices.choose("cpu", "fp16")


def test_a_torchaudio_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text('raise OSError("libcudart.so.13: cannot open")')
    about = tmp_path / "torchaudio-2.11.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchaudio\nVersion: 2.11.0\n")
    (tmp_path / "speech.wav").write_bytes(b"")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from affcli.cli import main; main(sys.argv[1:])"
    arguments = ["extract-audio", "--model", "mini", "--fps", "30", str(tmp_path / "speech.wav"), "-o", "a.parquet"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "torchaudio 2.11.0 cannot be imported" in line
    assert "libcudart.so.13" in line
    assert "pip uninstall torchaudio" in line


def test_the_packaged_networks_are_small() -> None:
    folder = find_checkpoint.find("mini", mini="visual").folder.parent
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 30_000_000
    for kind in ("visual", "audio"):
        with safe_open(folder / kind / "model.safetensors", "pt") as weights:
            assert sum(weights.get_tensor(name).numel() for name in weights.keys()) < 6_000_000  # noqa: SIM118 (no mapping)


def test_a_speech_encoders_fingerprint_is_of_the_weights_as_they_are_stored(tiny_wavlm: Path) -> None:
    """Tables and models of 0.1.0 know an encoder by it: weight norms are folded after it is taken."""
    checkpoint = find_checkpoint.find(str(tiny_wavlm), mini="audio")
    stored, lacking = load(checkpoint, torch.device("cpu"))
    known = card_of(checkpoint, stored, but=lacking, size=16, feature="any")
    assert AudioEncoder(str(tiny_wavlm), CPU, layers=1).card.fingerprint == known.fingerprint
