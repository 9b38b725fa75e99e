"""The defaults are the paper's network, to the bit: every option added since leaves the model's bytes as they were.

Three holds, from the strictest to the one that needs least. The digest of a whole model file is of one torch version on
one kind of processor (arithmetic differs in the last bit elsewhere), and skipped on others. The comparison with
`helpers/reference_fusion.py`, bit for bit over weights, steps and logits, holds for every torch. So do the fingerprint
of data and settings, on which resumed work depends, and the card's words: no arithmetic of torch's is in them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.feature_tables import class_features, write_audio, write_labels, write_visual
from helpers.reference_fusion import ReferenceNetwork, reference_loss
from helpers.runners import Affcli
from safetensors import safe_open

from affcli.models.fusion.dataset import TrainingSet
from affcli.models.fusion.inference import windowed_logits
from affcli.models.fusion.model_file import load_model
from affcli.models.fusion.network import FusionConfig, FusionNetwork
from affcli.models.fusion.trainer import Trainer, TrainingOptions
from affcli.models.runtime import devices
from affcli.models.training.loop import learning_rate

LABELS = {"a": [0] * 60 + [4] * 50 + [-1] * 9 + [1] * 30, "b": [5] * 40 + [7] * 37, "c": [2] * 20}
TRAIN = ("train", "--visual", "V.parquet", "--audio", "A.parquet", "--labels", "labels", "--epochs", 2)
HOW = ("--dim", 16, "--layers", 1, "--heads", 2, "--precision", "fp32", "--device", "cpu", "--lr", 1e-3)
MODEL = {("2.13", "AVX512"): "7a759922dd5066906774d5766ce3317f"}  # torch version, processor → digest
MADE_FROM = "ab1fddbf8ef9369262e8ec0e31c5956b"
CPU = devices.choose("cpu", "fp32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tables and labels of three videos; frames without a face, without sound, without a label."""
    visual, audio = class_features(LABELS, 12), class_features(LABELS, 6, seed=1)
    for rows, other in zip(visual.values(), audio.values(), strict=True):
        rows[::5], other[3:11] = np.nan, np.nan
    visual["c"][:] = np.nan
    write_visual(tmp_path / "V.parquet", visual)
    write_audio(tmp_path / "A.parquet", audio)
    write_labels(tmp_path / "labels", LABELS)
    return tmp_path


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def content_of(model: Path) -> bytes:
    """All that a model file holds, but for affcli's own version."""
    with safe_open(model, framework="np") as file:
        card = json.loads(file.metadata()["affcli"])
        tensors = [name.encode() + file.get_tensor(name).tobytes() for name in sorted(file.keys())]
    card.pop("version")
    return json.dumps(card).encode() + b"".join(tensors)


def data_of(folder: Path) -> TrainingSet:
    from affcli.features.joined import JoinedFeatures
    from affcli.features.stream import FeatureTable
    from affcli.labels.reader import read_labels

    tables = (FeatureTable(str(folder / name)) for name in ("V.parquet", "A.parquet"))
    with JoinedFeatures(*tables, sizes=(0, 0)) as joined:
        return TrainingSet.load(joined, read_labels(str(folder / "labels")), window=64, stride=8)


def test_a_model_file_of_the_defaults_has_the_bytes_it_always_had(folder: Path, affcli: Affcli) -> None:
    affcli(*TRAIN, *HOW, "-o", "m.safetensors")
    version, processor = torch.__version__.rpartition(".")[0], torch.backends.cpu.get_cpu_capability()
    if (version, processor) not in MODEL:
        pytest.skip(f"the digest is of {MODEL}; this is torch {version} on {processor}")
    assert digest(content_of(folder / "m.safetensors")) == MODEL[version, processor]


def test_the_card_of_the_defaults_has_the_words_it_always_had(folder: Path, affcli: Affcli) -> None:
    affcli(*TRAIN, *HOW, "-o", "m.safetensors")
    with safe_open(folder / "m.safetensors", framework="np") as file:
        card = json.loads(file.metadata()["affcli"])
    assert list(card) == [
        "kind", "version", "config", "stride", "encoders", "alignment", "training", "validation", "classes",
        "min_confidence",
    ]  # fmt: skip
    assert card["config"] == {
        "visual_size": 12, "audio_size": 6, "classes": 8, "window": 64, "dim": 16, "layers": 1, "heads": 2,
        "dropout": 0.1, "cross_attention": True, "gates": True,
    }  # fmt: skip
    assert card["training"] == {
        "modality_dropout": 0.1, "audio_dropout": 0.0, "gamma": 2.0, "class_weights": "none", "stride": 8, "epochs": 2,
        "patience": 10, "lr": 0.001, "weight_decay": 0.01, "batch_size": 32, "seed": 0, "fold": None, "held_out": [],
        "made_from": MADE_FROM,
    }  # fmt: skip


def test_weights_steps_and_logits_are_those_of_the_reference_to_the_bit(folder: Path) -> None:
    data = data_of(folder)
    config = FusionConfig(visual_size=12, audio_size=6, dim=16, layers=1, heads=2)
    options = TrainingOptions(
        modality_dropout=0.1, audio_dropout=0.05, gamma=2.0, class_weights="none", stride=8, epochs=2, patience=0,
        lr=1e-3, weight_decay=0.01, batch_size=8, seed=3,
    )  # fmt: skip
    trainer = Trainer(config, options, data, None, CPU)
    torch.manual_seed(3)
    reference = ReferenceNetwork(12, 6, dim=16, layers=1, heads=2, window=64, dropout=0.1)
    assert_same(trainer.network, reference)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-3, weight_decay=0.01)
    batches = -(-len(data.windows) // 8)
    for epoch in (1, 2):
        trainer.epoch(epoch)
        train_reference(reference, optimizer, data, epoch=epoch, batches=batches)
    assert_same(trainer.network, reference)
    inputs = data.batch(torch.arange(len(data.windows)))[:4]
    assert torch.equal(trainer.network.eval()(*inputs), reference.eval()(*inputs))


def train_reference(
    network: ReferenceNetwork, optimizer: torch.optim.Optimizer, data: TrainingSet, *, epoch: int, batches: int
) -> None:
    """One epoch in plain steps: rates, order, modality dropout and clipping as they were first released."""
    seed = 3 * 1_000_003 + epoch
    torch.manual_seed(seed * 1_009)
    drawing = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.windows), generator=drawing)
    network.train()
    for index, windows in enumerate(torch.split(order, 8)):
        optimizer.param_groups[0]["lr"] = learning_rate((epoch - 1) * batches + index, 2 * batches, 1e-3)
        draw = torch.rand(len(windows), generator=drawing)
        visual, face, audio, sound, labels = data.batch(windows)
        no_face = (draw < 0.1) & sound.any(dim=1)
        no_sound = (draw >= 0.1) & (draw < 0.1 + 0.05) & face.any(dim=1)
        optimizer.zero_grad(set_to_none=True)
        reference_loss(network(visual, face & ~no_face[:, None], audio, sound & ~no_sound[:, None]), labels).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


def assert_same(network: torch.nn.Module, reference: torch.nn.Module) -> None:
    ours, theirs = network.state_dict(), reference.state_dict()
    assert list(ours) == list(theirs)
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in reference.named_parameters()]
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_the_network_that_comes_with_affcli_reads_and_predicts_as_the_reference_does() -> None:
    from affcli.features.joined import VideoFeatures
    from affcli.features.stream import StreamFeatures
    from affcli.models.fusion.model_file import find_model

    network, card = load_model(find_model("mini"))
    config = card.config
    sizes = {"dim": config.dim, "layers": config.layers, "heads": config.heads, "window": config.window}
    if config.classes != 8:
        pytest.skip("the reference has eight classes")
    reference = ReferenceNetwork(config.visual_size, config.audio_size, **sizes, dropout=0.0).eval()
    reference.load_state_dict(network.state_dict())
    random = np.random.default_rng(0)
    streams = [
        StreamFeatures(random.normal(size=(config.window, size)).astype(np.float16), random.random(config.window) < 0.7,
                       np.arange(config.window) / 25)
        for size in (config.visual_size, config.audio_size)
    ]  # fmt: skip
    found = windowed_logits(network, VideoFeatures("v", *streams), CPU, window=config.window, stride=1, batch_size=4)
    visual, audio = (torch.from_numpy(stream.features.astype(np.float32))[None] for stream in streams)
    face, sound = (torch.from_numpy(stream.valid)[None] for stream in streams)
    with torch.no_grad():
        expected = reference(visual, face, audio, sound)[0].numpy()
    np.testing.assert_allclose(found.logits, expected, rtol=1e-5, atol=1e-5)


def test_a_seed_gives_the_initial_weights_it_always_gave() -> None:
    torch.manual_seed(0)
    network = FusionNetwork(FusionConfig(visual_size=768, audio_size=768, dim=32, layers=1, heads=2))
    content = b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in network.state_dict().items())
    assert (
        digest(content) == "726238c02957ebaba002fbddc5b22cf4"
    )  # torch's uniform generator is the same on every processor
