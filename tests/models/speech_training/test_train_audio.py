"""train-audio as a whole: what it learns, what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers as hf
from helpers.runners import Affcli
from helpers.warm import Warm
from safetensors.torch import load_file

from affcli.models.encoders.audio_classifier import SpeechClassifier
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.runtime import devices
from affcli.models.speech_training.augmentation import changed, narrowed, noisy
from affcli.schema import CLASSES

CPU = devices.choose("cpu", "fp32")
RATE = 16_000
FAST = ("--precision", "fp32", "--batch-size", 8, "--lr", 3e-3, "--layer-decay", 1, "--augment", 0)
LEARNT = ("Neutral", "Anger", "Sadness", "Surprise")
WHISPER = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_layers": 1}
WHISPER |= {"decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1}
WHISPER |= {"eos_token_id": 2, "decoder_start_token_id": 1, "max_source_positions": 300}


def spoken(folder: Path, speakers: int = 6, seed: int = 0) -> None:
    """Half a second or so of a tone for each class, whose height tells the class, by some speakers."""
    folder.mkdir()
    random, rows = np.random.default_rng(seed), ["file,label,speaker"]
    for number, name in enumerate(LEARNT):
        for speaker in range(speakers):
            length = int(random.integers(6000, 9600))
            tone = np.sin(2 * np.pi * 300 * 2**number * (1 + speaker / 50) * np.arange(length) / RATE)
            file = f"{name}-{speaker}.wav"
            soundfile.write(folder / file, 0.2 * tone + random.normal(0, 0.01, length), RATE)
            rows.append(f"{file},{name},s{speaker}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    spoken(tmp_path / "one")
    spoken(tmp_path / "two", 3, seed=1)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-whisper"
    torch.manual_seed(0)
    hf.WhisperModel(hf.WhisperConfig(**WHISPER)).encoder.save_pretrained(folder)
    hf.WhisperFeatureExtractor(chunk_length=6).save_pretrained(folder)
    return folder


@pytest.fixture
def train(corpora: Path, affcli: Affcli, tiny_whisper: Path):  # type: ignore[no-untyped-def]
    """Runs train-audio over one/ with the tiny Whisper; what it said comes back."""

    def run(*more: object, output: str | None = "out", model: object = tiny_whisper, status: int = 0) -> str:
        given = ("--data", "one", "--model", model, "--epochs", 2, *FAST)
        return affcli("train-audio", *given, *(() if output is None else ("-o", output)), *more, status=status).stderr

    return run


def shapes_of_positions(weights: dict[str, torch.Tensor]) -> list[torch.Size]:
    return [tensor.shape for name, tensor in sorted(weights.items()) if "position" in name]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def lines(path: Path) -> list[dict[str, object]]:
    return [{**json.loads(line), "seconds": 0} for line in path.read_text().splitlines()]


def test_it_learns_what_can_be_told_apart_and_the_folder_gives_logits(corpora: Path, train, affcli: Affcli) -> None:  # type: ignore[no-untyped-def]
    said = train("--epochs", 25, "--ema", 0.8, "--log", "log.jsonl", "--data", "two")
    epochs = lines(corpora / "log.jsonl")
    assert [line["epoch"] for line in epochs] == list(range(1, 26))
    assert epochs[0]["utterances"] == 4 * 5 + 4 * 2  # a speaker of each corpus is held out
    best = max(epochs, key=lambda line: line["val_macro_f1"])  # type: ignore[arg-type,return-value]
    assert best["val_accuracy"] == 1
    assert f"kept epoch {best['epoch']}" in said
    card = json.loads((corpora / "out" / "affcli.json").read_text())
    assert card["kind"] == "audio encoder"
    assert (card["layers"], card["sources"], card["left_out"]) == (1, ["one", "two"], None)
    assert str(corpora) not in json.dumps(card)
    assert not (corpora / "out.sound").exists()
    assert not (corpora / "out.unfinished").exists()
    affcli("extract-audio", "two/Anger-1.wav", "--fps", 10, "--model", "out", "--logits", "-o", "A.parquet")
    printed = affcli("vote", "A.parquet", "-o", "-", "--format", "csv").stdout.splitlines()
    assert {line.split(",")[-1] for line in printed[1:]} == {"Anger"}
    assert "audio encoder" in affcli("info", "out").stdout


@pytest.mark.parametrize("kind", ["whisper", "wavlm", "ast"])
def test_the_result_is_a_hugging_face_folder_and_tables_of_positions_stay_whole(
    corpora: Path,
    train,  # type: ignore[no-untyped-def]
    tiny_whisper: Path,
    tiny_wavlm: Path,
    kind: str,
    tmp_path: Path,
) -> None:
    model = {"whisper": tiny_whisper, "wavlm": tiny_wavlm, "ast": tmp_path / "ast"}[kind]
    if kind == "ast":
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        hf.ASTModel(hf.ASTConfig(**sizes, max_length=1024)).save_pretrained(model)
        hf.ASTFeatureExtractor().save_pretrained(model)
    train("--epochs", 1, model=model)
    network = hf.AutoModelForAudioClassification.from_pretrained(corpora / "out").eval()
    assert network.config.id2label == dict(enumerate(CLASSES))
    before, after = (load_file(folder / "model.safetensors") for folder in (model, corpora / "out"))
    assert shapes_of_positions(after) == shapes_of_positions(before)
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    encoder = AudioEncoder(str(corpora / "out"), CPU)
    assert encoder.card.feature == "mean of last 1 hidden layers"
    assert np.isfinite(encoder.encode(samples)).all()


def test_a_trained_network_goes_on_with_its_head(corpora: Path, train) -> None:  # type: ignore[no-untyped-def]
    train("--epochs", 1)
    stored = load_file(corpora / "out" / "model.safetensors")
    network = SpeechClassifier.load("out", seed=1).network.network
    torch.testing.assert_close(network.classifier.weight.detach(), stored["classifier.weight"])


@pytest.mark.parametrize("holdout", [0.2, 0])
def test_killed_training_goes_on_from_the_last_epoch_and_ends_with_the_same_bytes(
    corpora: Path,
    train,  # type: ignore[no-untyped-def]
    tiny_whisper: Path,
    holdout: float,
) -> None:
    more = ("--epochs", 8, "--holdout", holdout, "--augment", 1)
    train(*more, "--log", "whole.jsonl", output="whole")
    log = corpora / "log.jsonl"
    given = ("--data", "one", "--model", tiny_whisper, *FAST, *more)
    process = Warm(corpora, "train-audio", *given, "--log", log, "-o", "killed")
    process.wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 3)
    process.signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (corpora / "killed.unfinished").is_file()
    assert not (corpora / "killed").exists()
    assert "going on after epoch" in train(*more, "--log", "log.jsonl", output="killed")
    assert contents(corpora / "killed") == contents(corpora / "whole")
    assert lines(log) == lines(corpora / "whole.jsonl")


def test_a_corpus_left_out_is_judged_every_epoch_and_never_trained_on(corpora: Path, train) -> None:  # type: ignore[no-untyped-def]
    said = train("--data", "two", "--leave-out", "two", "--log", "log.jsonl")
    epochs = lines(corpora / "log.jsonl")
    assert {"left_out_macro_f1", "left_out_accuracy", "val_macro_f1"} < set(epochs[0])
    assert epochs[0]["utterances"] == 4 * 5
    assert "corpus left out: macro F1" in said
    card = json.loads((corpora / "out" / "affcli.json").read_text())
    assert (card["sources"], card["left_out"]) == (["one"], "two")


def test_the_same_command_again_has_nothing_to_do_and_others_are_refused(corpora: Path, train) -> None:  # type: ignore[no-untyped-def]
    train("--epochs", 1, "--cache", "kept")
    before = contents(corpora / "out")
    assert list((corpora / "kept").glob("train-*.pcm"))
    assert "nothing to do" in train("--epochs", 1)
    assert "other data or settings" in train("--epochs", 1, "--lr", 1e-4, status=1)
    text = (corpora / "one" / "labels.csv").read_text()
    (corpora / "one" / "labels.csv").write_text(text.replace("Anger-1.wav,Anger", "Anger-1.wav,Sadness"))
    assert "other data or settings" in train("--epochs", 1, status=1)
    assert contents(corpora / "out") == before
    assert "kept epoch" in train("--epochs", 1, "--force")
    assert "is read or written as" in train(output="one", status=2)
    (corpora / "foreign").mkdir()
    (corpora / "foreign" / "config.json").write_text("{}")
    assert "no encoder that affcli train-audio made" in train(output="foreign", status=1)
    assert "is read or written as" in train("--log", "one/labels.csv", output="other", status=2)


def test_counts_are_printed_without_a_model(corpora: Path, affcli: Affcli) -> None:
    printed = affcli("train-audio", "--data", "a=one", "--data", "two", "--dry-run").stdout.splitlines()
    assert printed[0].split()[-9:] == [*CLASSES, "all"]
    assert printed[1].split() == ["a,", "train", "5", "5", "0", "0", "0", "5", "5", "0", "20"]
    assert "name the output folder" in affcli("train-audio", "--data", "one", status=2).stderr


def test_an_encoder_that_has_no_head_in_transformers_is_refused(corpora: Path, train, tiny_beit: Path) -> None:  # type: ignore[no-untyped-def]
    assert "--model" in train(model=tiny_beit, status=1)
    assert not (corpora / "out").exists()


def test_a_narrow_band_leaves_nothing_outside_it() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, RATE)
    for seed in range(8):
        heard = narrowed(sound, RATE, np.random.default_rng(seed))
        power = np.abs(np.fft.rfft(heard)) ** 2
        assert power[7800:].mean() < 0.05 * power[1000:2500].mean()
        assert len(heard) == RATE


def test_noise_has_the_power_that_is_asked_for() -> None:
    sound = np.sin(np.arange(RATE) / 10)
    noise = noisy(sound, 10, np.random.default_rng(0)) - sound
    assert 10 * np.log10((sound**2).mean() / (noise**2).mean()) == pytest.approx(10, abs=1e-6)


def test_changes_depend_on_the_seed_alone_and_none_are_made_at_strength_0() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    one, same = (changed(sound, RATE, 1, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, sound)
    assert changed(sound, RATE, 0, np.random.default_rng(3)) is sound
    assert all(np.abs(changed(sound, RATE, 2, np.random.default_rng(n))).max() <= 1 for n in range(20))
