"""train-visual as a whole: what it learns, what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.runners import BEIT_PREPROCESSOR, Affcli
from helpers.warm import Warm, two_ranks
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    Dinov2Config,
    MobileNetV1Config,
    ViTConfig,
)

from affcli.errors import AffcliError
from affcli.facesets import preparing
from affcli.models.encoders.classifier import Classifier
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.face_training.trainer import PictureTrainer
from affcli.models.runtime import devices
from affcli.schema import CLASSES

CPU = devices.choose("cpu", "fp32")
FAST = ("--precision", "fp32", "--batch-size", 16, "--lr", 3e-3, "--layer-decay", 1, "--no-align")
PLAIN = ("--mixup", 0, "--label-smoothing", 0, "--augment", 0, "--drop-path", 0)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """set/: a folder for each class, twelve small pictures of a colour of its own in each."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (tmp_path / "set" / name).mkdir(parents=True)
        colour = 180 * np.array([number >> bit & 1 for bit in range(3)])
        for index in range(12):
            picture = colour + random.integers(0, 60, (40, 40, 3))
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "set" / name / f"{index}.png")
    return tmp_path


@pytest.fixture
def train(faces: Path, affcli: Affcli, tiny_beit: Path):  # type: ignore[no-untyped-def]
    """Runs train-visual over set/ with the tiny encoder; what it said comes back."""

    def run(*more: object, output: str | None = "out", status: int = 0) -> str:
        given = ("--stage", "static", "--data", "folder=set", "--model", tiny_beit, "--epochs", 2, *FAST)
        to = () if output is None else ("-o", output)
        return affcli("train-visual", *given, *to, *more, status=status).stderr

    return run


def lines(path: Path) -> list[dict[str, object]]:
    return [{**json.loads(line), "seconds": 0} for line in path.read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_it_learns_what_can_be_told_apart_and_keeps_the_best_epoch(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    said = train("--epochs", 20, *PLAIN, "--ema", 0.9, "--log", "log.jsonl")
    epochs = [json.loads(line) for line in (faces / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in epochs] == list(range(1, 21))
    assert set(epochs[0]) == {"epoch", "loss", "lr", "pictures", "seconds", "val_macro_f1", "val_accuracy"}
    assert epochs[0]["pictures"] == 8 * 11  # one of twelve is held out
    assert epochs[-1]["loss"] < 0.3 < 1.5 < epochs[0]["loss"]
    best = max(epochs, key=lambda line: line["val_macro_f1"])
    assert best["val_accuracy"] == 1
    assert f"kept epoch {best['epoch']}" in said
    card = json.loads((faces / "out" / "affcli.json").read_text())
    assert card["validation"] == {"epoch": best["epoch"], "macro_f1": 1, "accuracy": 1}
    assert card["classes"] == list(CLASSES)
    assert card["training"]["stage"] == "static"
    assert str(faces) not in json.dumps(card)
    assert not (faces / "out.pictures").exists()
    assert not (faces / "out.unfinished").exists()


def test_the_result_is_a_hugging_face_folder_with_the_features_of_extract_visual(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    train()
    folder = faces / "out"
    assert {file.name for file in folder.iterdir()} == {
        "affcli.json",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
    network = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert network.config.id2label == dict(enumerate(CLASSES))
    assert network.config.label2id == {name: number for number, name in enumerate(CLASSES)}
    assert "tiny-beit" not in (folder / "config.json").read_text()
    crops = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    values = processor([Image.fromarray(crop) for crop in crops], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        pooled = AutoModel.from_pretrained(folder).eval()(pixel_values=values).pooler_output.numpy()
        below, logits = network.beit(values).pooler_output.numpy(), network(values).logits.numpy()
    encoded = VisualEncoder(str(folder), CPU, batch_size=4, logits=True).start(crops).faces()
    assert np.array_equal(pooled, below)
    np.testing.assert_allclose([face.feature for face in encoded], pooled, atol=2e-3)
    np.testing.assert_allclose([face.logits for face in encoded], logits, atol=1e-5)


def test_info_shows_the_card(faces: Path, train, affcli: Affcli) -> None:  # type: ignore[no-untyped-def]
    train("--epochs", 1)
    shown = json.loads(affcli("info", "out", "--json").stdout)
    network = AutoModelForImageClassification.from_pretrained(faces / "out")
    assert shown["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert (shown["kind"], shown["training"]["epochs"]) == ("visual encoder", 1)
    assert "no encoder that affcli train-visual or train-audio made" in affcli("info", "set", status=1).stderr


def test_the_same_command_gives_the_same_bytes_and_another_seed_does_not(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    for output, seed in (("one", 0), ("two", 0), ("three", 1)):
        train("--seed", seed, output=output)
    assert contents(faces / "one") == contents(faces / "two")
    assert contents(faces / "one")["model.safetensors"] != contents(faces / "three")["model.safetensors"]


def test_a_second_stage_keeps_the_head_and_names_where_it_began(faces: Path, affcli: Affcli, train) -> None:  # type: ignore[no-untyped-def]
    train("--epochs", 20, *PLAIN, "--ema", 0, "--holdout", 0)  # the last epoch is kept
    (faces / "labels").mkdir()
    for number in range(4):
        (faces / "frames" / f"v{number}").mkdir(parents=True)
        (faces / "labels" / f"v{number}.txt").write_text(
            ",".join(CLASSES) + "\n" + "".join(f"{i % 8}\n" for i in range(16))
        )
        for frame in range(16):
            source = faces / "set" / CLASSES[frame % 8] / f"{number}.png"
            shutil.copy(source, faces / "frames" / f"v{number}" / f"{frame + 1:05d}.png")
    given = ("--stage", "domain", "--frames", "frames", "--labels", "labels", "--holdout", 0.25)
    more = (*FAST[:-1], *PLAIN, "--epochs", 1, "--lr", 1e-9, "--ema", 0, "--log", "log.jsonl", "-o", "out2")
    affcli("train-visual", *given, "--model", "out", *more)
    assert lines(faces / "log.jsonl")[0]["loss"] < 0.5
    card = json.loads((faces / "out2" / "affcli.json").read_text())
    assert (card["training"]["stage"], card["model"]) == ("domain", "out")
    first, second = (load_file(faces / name / "model.safetensors") for name in ("out", "out2"))
    assert set(first) == set(second)
    torch.testing.assert_close(first["classifier.weight"], second["classifier.weight"], atol=1e-6, rtol=0)


def test_aligned_and_raw_held_out_pictures_are_both_judged(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    train("--align", "--epochs", 1, "--log", "log.jsonl")
    [line] = lines(faces / "log.jsonl")
    assert {"val_raw_macro_f1", "val_raw_accuracy"} < set(line)
    # no face in any of these pictures: they are taken as they are, and both figures are of the same pixels
    assert line["val_raw_accuracy"] == line["val_accuracy"]


@pytest.mark.parametrize("holdout", [0.1, 0])  # without held-out pictures the last epoch is kept
def test_killed_training_goes_on_from_the_last_epoch_and_ends_with_the_same_bytes(
    faces: Path,
    train,  # type: ignore[no-untyped-def]
    tiny_beit: Path,
    holdout: float,
) -> None:
    more = ("--epochs", 8, "--holdout", holdout)
    train(*more, "--log", "whole.jsonl", output="whole")
    given = ("--stage", "static", "--data", "folder=set", "--model", tiny_beit, *FAST, *more)
    log = faces / "log.jsonl"
    process = Warm(faces, "train-visual", *given, "--log", log, "-o", "killed")
    process.wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 3)
    process.signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (faces / "killed.unfinished").is_file()
    assert not (faces / "killed").exists()
    assert "going on after epoch" in train(*more, "--log", "log.jsonl", output="killed")
    assert contents(faces / "killed") == contents(faces / "whole")
    assert not (faces / "killed.unfinished").exists()
    assert lines(faces / "log.jsonl") == lines(faces / "whole.jsonl")


def test_two_processes_train_as_one(faces: Path, train, tiny_beit: Path) -> None:  # type: ignore[no-untyped-def]
    # 88 pictures in batches of 29: the last batch is one picture, of which the second process has no share
    more = ("--epochs", 3, "--drop-path", 0, "--batch-size", 29, "--lr", 1e-3)
    train(*more, "--log", "one.jsonl", output="one")
    given = ("--stage", "static", "--data", "folder=set", "--model", tiny_beit, *FAST, *more)
    processes = two_ranks(faces, "train-visual", *given, "--log", "two.jsonl", "-o", "two")
    assert [process.wait() for process in processes] == [0, 0], [process.said for process in processes]
    for mine, theirs in zip(lines(faces / "one.jsonl"), lines(faces / "two.jsonl"), strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)
        assert theirs["val_accuracy"] == pytest.approx(mine["val_accuracy"], abs=0.13)  # one of eight pictures
    one, two = (load_file(faces / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-4, rtol=1e-3)
    assert ["kept epoch" in process.said for process in processes] == [True, False]


def test_the_same_command_again_has_nothing_to_do_and_others_are_refused(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    train("--cache", "kept")
    before = contents(faces / "out")
    assert list((faces / "kept").glob("train-*.npy"))
    assert "nothing to do" in train("--cache", "kept")
    assert "other data or settings" in train("--lr", 1e-3, status=1)
    assert contents(faces / "out") == before
    assert "kept epoch" in train("--lr", 1e-3, "--force")
    assert contents(faces / "out") != before
    assert [path.name for path in faces.iterdir() if path.name.startswith(".")] == []


@pytest.fixture
def undecodable_from_now(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Called, it lets no picture be decoded any more."""

    def refuse(*args: object) -> None:
        raise AssertionError("a picture was decoded")

    return lambda: monkeypatch.setattr(preparing.Preparer, "prepare", refuse)


def test_nothing_is_decoded_to_see_that_there_is_nothing_to_do(faces: Path, train, undecodable_from_now) -> None:  # type: ignore[no-untyped-def]
    time.sleep(0.1)  # the pictures are older than the training
    train()
    before = contents(faces / "out")
    number = "affcli-0123456789abcdef"
    for left in (f".out.{number}.tmp", f".out.{number}.old", "out.pictures"):  # by a process killed while it wrote
        (faces / left).mkdir()
    (faces / f".out.unfinished.{number}.tmp").write_text("half")
    undecodable_from_now()
    assert "nothing to do" in train()
    assert "other data or settings" in train("--lr", 1e-3, status=1)
    assert contents(faces / "out") == before
    assert [path.name for path in faces.iterdir() if "out" in path.name] == ["out"]


def test_a_picture_put_in_place_of_another_is_seen_whatever_its_size_and_date(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    time.sleep(0.1)
    train()
    picture = faces / "set" / "Anger" / "0.png"
    was = picture.stat()
    picture.touch()
    assert "nothing to do" in train()
    assert not (faces / "out.pictures").exists()
    Image.new("RGB", (40, 40), "white").save(picture)
    with picture.open("ab") as stream:  # what stands after a picture is not read
        stream.write(bytes(was.st_size - picture.stat().st_size))
    os.utime(picture, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (picture.stat().st_size, picture.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    assert "other data or settings" in train(status=1)


def test_a_picture_that_changes_while_training_runs_is_newer_than_the_card(faces: Path, train, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    epoch = PictureTrainer.epoch

    def changing(self: PictureTrainer, number: int) -> object:
        Image.new("RGB", (40, 40), "white").save(faces / "set" / "Anger" / "0.bmp")
        return epoch(self, number)

    Image.new("RGB", (40, 40), "black").save(faces / "set" / "Anger" / "0.bmp")
    monkeypatch.setattr(PictureTrainer, "epoch", changing)
    train()
    monkeypatch.undo()
    monkeypatch.chdir(faces)
    assert "other data or settings" in train(status=1)


def test_what_stands_in_the_card_is_part_of_what_an_encoder_was_made_from(faces: Path, train, tiny_beit: Path) -> None:  # type: ignore[no-untyped-def]
    train()
    shutil.copytree(tiny_beit, faces / "renamed")
    assert "other data or settings" in train("--model", "renamed", status=1)
    assert "kept epoch" in train("--model", "renamed", "--force")
    assert json.loads((faces / "out" / "affcli.json").read_text())["model"] == "renamed"


def test_no_folder_is_replaced_that_train_visual_did_not_make(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    before = sorted((faces / "set").rglob("*"))
    for more in ((), ("--force",)):
        assert "no encoder that affcli train-visual made" in train(*more, output="set", status=1)
    assert sorted((faces / "set").rglob("*")) == before
    (faces / "empty").mkdir()
    train("--epochs", 1, output="empty")
    assert (faces / "empty" / "config.json").is_file()


def test_a_dry_run_prints_counts_and_draws_augmented_samples(faces: Path, train, affcli: Affcli) -> None:  # type: ignore[no-untyped-def]
    printed = affcli("train-visual", "--stage", "static", "--data", "folder=set", "--dry-run").stdout
    header, trained, held_out, *_ = (line.split() for line in printed.splitlines())
    assert header[-9:] == [*CLASSES, "all"]
    assert trained[-9:] == ["11"] * 8 + ["88"]
    assert held_out[-9:] == ["1"] * 8 + ["8"]
    train("--dry-run", "--sheet", "look.png", output=None)
    with Image.open(faces / "look.png") as sheet:
        assert min(sheet.size) > 500
    assert not (faces / "out").exists()


def test_a_recipe_without_weights_begins_at_random_by_the_seed(faces: Path, train, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    recipe = faces / "recipe"
    recipe.mkdir()
    (recipe / "preprocessor_config.json").write_text(json.dumps(BEIT_PREPROCESSOR))
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = {"model_type": "beit", "image_size": 32, "patch_size": 8, "use_relative_position_bias": True, **sizes}
    (recipe / "config.json").write_text(json.dumps(config))
    one, same, other = (Classifier.load(str(recipe), drop_path=0, seed=seed).fingerprint() for seed in (0, 0, 1))
    assert one == same != other
    train("--model", recipe, "--epochs", 1)
    assert json.loads((faces / "out" / "config.json").read_text())["num_hidden_layers"] == 1


TRANSFORMER = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
OTHERS = {
    "ViT": ViTConfig(image_size=32, patch_size=8, **TRANSFORMER),
    "DINOv2": Dinov2Config(image_size=32, patch_size=8, **TRANSFORMER),
    "MobileNetV1": MobileNetV1Config(image_size=32, depth_multiplier=0.1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_encoders_are_trained_and_read_back_too(name: str, faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    AutoModel.from_config(OTHERS[name]).save_pretrained(faces / "other")
    (faces / "other" / "preprocessor_config.json").write_text(json.dumps(BEIT_PREPROCESSOR))
    said = train("--model", "other", "--epochs", 1)
    assert ("--drop-path does nothing" in said) == (name != "DINOv2")
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    values = (torch.from_numpy(crops).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        logits = AutoModelForImageClassification.from_pretrained(faces / "out").eval()(values).logits.numpy()
    encoded = VisualEncoder(str(faces / "out"), CPU, logits=True).start(crops).faces()
    np.testing.assert_allclose([face.logits for face in encoded], logits, atol=1e-5)


def test_the_keep_probability_of_mobilenets_is_not_taken_for_a_dropout(faces: Path) -> None:
    """transformers' MobileNets call TensorFlow's keep probability (0.999, 0.8) `classifier_dropout_prob`."""
    AutoModel.from_config(OTHERS["MobileNetV1"]).save_pretrained(faces / "mobile")
    (faces / "mobile" / "preprocessor_config.json").write_text(json.dumps(BEIT_PREPROCESSOR))
    network = Classifier.load(str(faces / "mobile"), drop_path=0, seed=0).network
    assert network.dropout.p == network.config.classifier_dropout_prob == pytest.approx(0.001)


def test_the_head_of_another_task_is_replaced_and_what_else_lacks_is_an_error(faces: Path, tiny_beit: Path) -> None:
    pets = AutoModelForImageClassification.from_pretrained(tiny_beit, num_labels=3)
    pets.save_pretrained(faces / "pets")
    shutil.copy(tiny_beit / "preprocessor_config.json", faces / "pets")
    assert Classifier.load(str(faces / "pets"), drop_path=0, seed=0).network.classifier.out_features == 8
    shutil.copytree(tiny_beit, faces / "short")
    config = json.loads((faces / "short" / "config.json").read_text())
    (faces / "short" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(AffcliError, match="lacks weights its config asks for"):
        Classifier.load(str(faces / "short"), drop_path=0, seed=0)


def test_wrong_calls_are_one_line_and_leave_nothing(
    faces: Path, affcli: Affcli, tiny_beit: Path, tiny_wavlm: Path
) -> None:
    data = ("--stage", "static", "--data", "folder=set")
    (faces / "file").write_text("x")
    cases = [
        (2, ("--data", "folder=set", "-o", "x"), "--stage"),
        (2, ("--stage", "static", "-o", "x"), "--stage static needs --data"),
        (2, ("--stage", "domain", "-o", "x"), "--stage domain needs --frames and --labels"),
        (2, (*data, "--frames", "set", "-o", "x"), "--stage static does not take --frames"),
        (2, ("--stage", "static", "--data", "set", "-o", "x"), "is not KIND=DIR"),
        (2, ("--stage", "static", "--data", "faces=set", "-o", "x"), "no kind of face set"),
        (1, ("--stage", "static", "--data", "folder=nowhere", "-o", "x"), "nowhere"),
        (2, data, "--dry-run"),
        (1, (*data, "-o", "no/such/x"), "does not exist"),
        (1, (*data, "-o", "file"), "is a file"),
        (1, (*data, "--model", "nothing/", "-o", "x"), "no such folder"),
        (1, (*data, "--model", tiny_wavlm, "-o", "x"), "does not name an image processor"),
        (2, (*data, "--model", tiny_beit, "--precision", "fp16", "-o", "x"), "bf16 or fp32"),
        (1, (*data, "--model", tiny_beit, "--log", "no/log", "-o", "x"), "does not exist"),
    ]
    for status, arguments, said in cases:
        [line] = affcli("train-visual", *arguments, status=status).stderr.splitlines()
        assert line.startswith("affcli train-visual: ")
        assert said in line, line
    assert not (faces / "x").exists()


def test_a_loss_that_is_not_finite_ends_training(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    said = train("--lr", 1e30, "--epochs", 3, status=1)
    assert "the loss is not finite in epoch" in said
    assert not (faces / "out").exists()


def test_pictures_of_others_beside_the_encoder_are_left_alone(faces: Path, train) -> None:  # type: ignore[no-untyped-def]
    (faces / "out.pictures").mkdir()
    (faces / "out.pictures" / "mine.jpg").write_bytes(b"mine")
    train("--epochs", 1)
    assert [path.name for path in (faces / "out.pictures").iterdir()] == ["mine.jpg"]
    (faces / "other.pictures").symlink_to(faces / "out.pictures")
    said = train("--epochs", 1, output="other", status=1)
    assert "other.pictures: is a link" in said
    assert [path.name for path in (faces / "out.pictures").iterdir()] == ["mine.jpg"]
