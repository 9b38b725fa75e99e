"""Training: what is learnt from, how the epochs go, what is kept; and prediction over the same windows."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.feature_tables import TOY, class_features, write_audio, write_labels, write_visual
from helpers.runners import Affcli
from helpers.warm import TORCHRUN, Warm
from safetensors import safe_open

from affcli.errors import AffcliError, UsageError
from affcli.features.joined import JoinedFeatures
from affcli.features.stream import FeatureTable
from affcli.labels.folds import Fold
from affcli.labels.reader import VideoLabels, read_labels
from affcli.models.fusion.dataset import TrainingSet
from affcli.models.fusion.inference import windowed_logits
from affcli.models.fusion.model_file import ModelCard, load_model, save_model
from affcli.models.fusion.network import FusionConfig, FusionNetwork
from affcli.models.fusion.trainer import balanced_weights
from affcli.models.runtime import devices
from affcli.models.training.loop import learning_rate
from affcli.models.training.saved_state import Progress

LABELS = {
    "a": [0] * 30 + [4] * 30 + [1] * 20,
    "b": [4] * 25 + [5] * 25,
    "c": [1] * 10 + [-1] * 10,
    "d": [5] * 40 + [0] * 37,
}
SMALL = ("--dim", 16, "--layers", 1, "--heads", 2, "--window", 16, "--stride", 4, "--batch-size", 8, "--lr", 3e-3)
CPU = devices.choose("cpu", "fp32")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """visual.parquet (every fifth frame without a face), audio.parquet and labels/ of four videos."""
    visual, audio = class_features(LABELS, 12), class_features(LABELS, 6, seed=1)
    for rows in visual.values():
        rows[::5] = np.nan
    write_visual(tmp_path / "visual.parquet", visual)
    write_audio(tmp_path / "audio.parquet", audio)
    write_labels(tmp_path / "labels", LABELS)
    return tmp_path


def train(affcli: Affcli, *more: object, output: str = "m.safetensors", status: int = 0) -> str:
    tables = ("--visual", "visual.parquet", "--audio", "audio.parquet", "--labels", "labels")
    return affcli("train", *tables, *SMALL, "--epochs", 12, "-o", output, *more, status=status).stderr


def joined(folder: Path) -> JoinedFeatures:
    tables = (FeatureTable(str(folder / name)) for name in ("visual.parquet", "audio.parquet"))
    return JoinedFeatures(*tables, sizes=(0, 0))


def test_training_set_holds_every_window_with_a_label_and_no_other(tables: Path) -> None:
    labels = read_labels(str(tables / "labels"))
    data = TrainingSet.load(joined(tables), labels, window=8, stride=8)
    # a: 80 frames, 10 windows; b: 50 frames, 6 windows and a flush one; c: 20 frames, the windows at 0 and 8 (of 0, 8,
    # 12 the last is unlabelled); d: 77 frames, 9 windows and a flush one
    assert len(data.windows) == 10 + 7 + 2 + 10
    assert data.videos == 4
    counted = np.bincount([label for numbers in LABELS.values() for label in numbers if label >= 0], minlength=8)
    assert data.class_counts().tolist() == counted.tolist()
    visual, face, audio, sound, batch_labels = data.batch(torch.tensor([0]))
    assert visual.shape == (1, 8, 12)
    assert audio.shape == (1, 8, 6)
    assert face[0].tolist() == [False, True, True, True, True, False, True, True]
    assert sound.all()
    assert batch_labels[0].tolist() == [0] * 8


def test_windows_with_neither_stream_and_lines_past_the_last_frame_teach_nothing(tmp_path: Path) -> None:
    nothing, there = np.full((10, 2), np.nan), np.ones((10, 2))
    write_visual(tmp_path / "visual.parquet", {"a": nothing, "b": there})
    write_audio(tmp_path / "audio.parquet", {"a": nothing, "b": nothing})
    write_labels(tmp_path / "labels", {"a": [1] * 10, "b": [2] * 12})
    data = TrainingSet.load(joined(tmp_path), read_labels(str(tmp_path / "labels")), window=16, stride=8)
    assert len(data.windows) == 1
    *_, labels = data.batch(torch.tensor([0]))
    assert labels[0].tolist() == [2] * 10 + [-1] * 6


def test_videos_without_any_label_in_common_are_an_error(tables: Path) -> None:
    write_labels(tables / "other", {"x": [1, 2]})
    with pytest.raises(AffcliError, match=r"no video has both.*a, b, c.*x"):
        TrainingSet.load(joined(tables), read_labels(str(tables / "other")), window=8, stride=8)


def test_balanced_weights_are_those_of_scikit_learn_and_0_for_absent_classes() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    counts = np.array([40, 0, 5, 15, 0, 0, 20, 0])
    labels = np.repeat(np.arange(8), counts)
    present = np.unique(labels)
    expected = np.zeros(8)
    expected[present] = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(balanced_weights(counts).numpy(), expected, rtol=1e-6)


def test_the_rate_warms_up_and_decays_to_nothing() -> None:
    rates = [learning_rate(step, 100, 2.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == 2.0
    assert all(one > other for one, other in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.01


def test_a_set_that_fits_into_the_devices_memory_is_gathered_there(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's device without memory: an index or a mask left behind on the processor would be an error."""
    data = TrainingSet.load(joined(tables), read_labels(str(tables / "labels")), window=8, stride=8)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * data.labelled.frames.bytes - 1, 0))
    assert data.fitted(torch.device("cuda")) is data
    assert data.fitted(torch.device("cpu")) is data
    there = TrainingSet(data.labelled.to(torch.device("meta")), data.windows.to(torch.device("meta")))
    batch = there.batch(torch.tensor([0, 5]))
    assert {part.device.type for part in batch} == {"meta"}
    assert [part.shape for part in batch] == [part.shape for part in data.batch(torch.tensor([0, 5]))]


def test_training_learns_keeps_the_best_epoch_and_writes_a_card(tables: Path, affcli: Affcli) -> None:
    said = train(affcli, "--val-labels", "labels", "--log", "log.jsonl", "--class-weights", "balanced")
    lines = [json.loads(line) for line in (tables / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    assert set(lines[0]) == {"epoch", "loss", "lr", "windows", "seconds", "val_macro_f1", "val_accuracy"}
    assert lines[-1]["loss"] < lines[0]["loss"] / 4
    best = max(lines, key=lambda line: line["val_macro_f1"])
    with safe_open(tables / "m.safetensors", framework="np") as file:
        card = json.loads(file.metadata()["affcli"])
    figures = {"epoch": best["epoch"], "macro_f1": best["val_macro_f1"], "accuracy": best["val_accuracy"]}
    assert card["validation"] == figures
    assert card["classes"][6] == "Surprise"
    assert (card["config"]["window"], card["stride"]) == (16, 4)
    assert card["encoders"]["visual"]["name"] == "toy"
    assert str(tables) not in json.dumps(card)
    assert f"kept epoch {best['epoch']}" in said
    assert (card["config"]["gates"], card["config"]["cross_attention"]) == (True, True)
    assert "both trained on and validated on" in said


def test_the_validation_score_is_what_the_pipe_scores(tables: Path, affcli: Affcli) -> None:
    # Lines past the last frame, as Aff-Wild2 has them, count too, and they differ from the frame they borrow from.
    write_labels(tables / "val", {video: [*numbers, 6, 6] for video, numbers in LABELS.items() if video != "c"})
    train(affcli, "--val-labels", "val", "-q")
    given = ("--model", "m.safetensors", "--visual", "visual.parquet", "--audio", "audio.parquet")
    affcli("predict", *given, "-o", "w.parquet")
    affcli("vote", "w.parquet", "-o", "f.parquet")
    scored = json.loads(affcli("score", "f.parquet", "--labels", "val", "--json", "-q").stdout)
    assert scored["frames"] == 80 + 50 + 77 + 6
    _, card = load_model(str(tables / "m.safetensors"))
    assert card.validation is not None
    assert scored["macro_f1"] == pytest.approx(card.validation["macro_f1"])
    assert scored["accuracy"] == pytest.approx(card.validation["accuracy"])
    assert scored["accuracy"] > 0.9


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tables: Path, affcli: Affcli) -> None:
    said = train(affcli, "--epochs", 2, output="one")
    assert "the last one is kept" in said
    train(affcli, "--epochs", 2, "-q", output="two")
    train(affcli, "--epochs", 2, "--seed", 1, "-q", output="three")
    one, two, three = ((tables / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_prediction_rows_are_the_windows_in_order_and_hold_the_networks_logits(tables: Path, affcli: Affcli) -> None:
    train(affcli, "--epochs", 1, "-q")
    given = ("--model", "m.safetensors", "--visual", "visual.parquet", "--audio", "audio.parquet")
    affcli("predict", *given, "-o", "w.parquet")
    table = pq.read_table(tables / "w.parquet")
    assert table.column_names[:6] == ["video", "window", "frame", "time_s", "face", "audio"]
    assert table.column_names[6:] == list(load_model(str(tables / "m.safetensors"))[1].classes)
    c = table.filter(np.array(table["video"].to_pylist()) == "c")
    expected = [(start, start + i) for start in (1, 5) for i in range(16)]
    assert list(zip(c["window"].to_pylist(), c["frame"].to_pylist(), strict=True)) == expected
    assert c["time_s"].to_pylist()[:2] == [0, 0.04]
    assert c["face"].to_pylist()[:6] == [False, True, True, True, True, False]

    network, card = load_model(str(tables / "m.safetensors"))
    video = joined(tables).read("c")
    rows = slice(4, 20)  # the second window
    inputs = [torch.from_numpy(stream.features[rows]).float()[None] for stream in (video.visual, video.audio)]
    masks = [torch.from_numpy(stream.valid[rows])[None] for stream in (video.visual, video.audio)]
    with torch.no_grad():
        by_hand = network(inputs[0], masks[0], inputs[1], masks[1])[0].numpy()
    logits = np.stack([c[name].to_numpy()[16:] for name in card.classes], axis=1)
    np.testing.assert_allclose(logits, by_hand, atol=1e-5)


def test_features_of_another_encoder_or_size_are_refused_by_predict(tables: Path, affcli: Affcli) -> None:
    train(affcli, "--epochs", 1, "-q")
    given = ("predict", "--model", "m.safetensors", "-o", "w")
    for stream, write, size in (("visual", write_visual, 12), ("audio", write_audio, 6)):
        other = {"encoder": {**TOY, "name": "other", "fingerprint": "4567", "size": size}}
        write(tables / "other.parquet", class_features(LABELS, size), **other)
        [line] = affcli(*given, f"--{stream}", "other.parquet", status=1).stderr.splitlines()
        assert "other.parquet: was made by the encoder other" in line
        assert "trained with toy" in line
        write(tables / "other.parquet", class_features(LABELS, size + 1))
        [line] = affcli(*given, f"--{stream}", "other.parquet", status=1).stderr.splitlines()
        assert f"have {size + 1} numbers; the model was trained with toy of {size}" in line
    assert not (tables / "w").exists()


def test_a_hidden_a_null_and_an_absent_picture_give_the_same_logits(tables: Path) -> None:
    torch.manual_seed(0)
    config = FusionConfig(12, 6, window=16, dim=16, layers=1, heads=2)
    network = FusionNetwork(config).eval()
    audio = FeatureTable(str(tables / "audio.parquet"))
    videos = audio.videos
    faceless = {video: np.full((len(LABELS[video]), 12), np.nan) for video in videos}
    null = FeatureTable(str(write_visual(tables / "null.parquet", faceless)))
    hidden_rows = pq.read_table(tables / "visual.parquet")
    hidden_rows = hidden_rows.set_column(3, "face", [[False] * hidden_rows.num_rows])
    pq.write_table(hidden_rows, tables / "hidden.parquet")
    hidden = FeatureTable(str(tables / "hidden.parquet"))
    for video in videos:
        one, two, three = (
            windowed_logits(
                network,
                JoinedFeatures(visual, audio, sizes=(12, 6)).read(video),
                CPU,
                window=16,
                stride=4,
                batch_size=3,
            ).logits
            for visual in (null, hidden, None)
        )
        assert np.array_equal(one, two)
        assert np.array_equal(one, three)


def test_prediction_does_not_depend_on_the_batch_size(tables: Path) -> None:
    torch.manual_seed(0)
    network = FusionNetwork(FusionConfig(12, 6, window=16, dim=16, layers=1, heads=2)).eval()
    video = joined(tables).read("a")
    logits = [windowed_logits(network, video, CPU, window=16, stride=4, batch_size=size).logits for size in (1, 3, 64)]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
    np.testing.assert_allclose(logits[0], logits[2], atol=1e-5)


def test_a_model_file_round_trips_and_foreign_files_are_named(tmp_path: Path) -> None:
    network = FusionNetwork(FusionConfig(4, 3, window=8, dim=8, layers=1, heads=2))
    card = ModelCard(network.config, 4, {"visual": {"size": 4}, "audio": {"size": 3}})
    save_model(str(tmp_path / "m"), network.state_dict(), card)
    loaded, same = load_model(str(tmp_path / "m"))
    assert same == card
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), loaded.parameters(), strict=True))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(AffcliError, match="not a safetensors file"):
        load_model(str(tmp_path / "text"))
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(AffcliError, match="no affcli card"):
        load_model(str(tmp_path / "other"))
    with pytest.raises(AffcliError, match="affcli train"):
        load_model(str(tmp_path / "absent"))


def test_wrong_calls_are_one_line_and_nothing_is_overwritten(tables: Path, affcli: Affcli) -> None:
    given = ("--visual", "visual.parquet", "--audio", "audio.parquet")
    cases = [
        (2, ("train", *given, "--labels", "labels", "-o", "m", "--dim", 10, "--heads", 4), "does not divide"),
        (2, ("train", *given, "--labels", "labels", "-o", "m", "--window", 8, "--stride", 9), "--stride 9"),
        (2, ("train", *given, "-o", "m"), "--labels"),
        (1, ("train", *given, "--labels", "nowhere", "-o", "m"), "nowhere"),
        (1, ("train", "--visual", "audio.parquet", "--audio", "x", "--labels", "labels", "-o", "m"), "exchanged"),
        (1, ("train", *given, "--labels", "labels", "-o", "no/such/folder/m"), "does not exist"),
        (2, ("train", *given, "--labels", "labels", "-o", "visual.parquet"), "is read or written as"),
        (1, ("train", *given, "--labels", "labels", "-o", "m", "--log", "no/log"), "no does not exist"),
        (2, ("predict", "--model", "m"), "--visual, --audio or both"),
        (1, ("predict", "--model", "absent", *given, "-o", "w"), "absent"),
        (1, ("predict", "--model", "visual.parquet", *given, "-o", "w"), "not a safetensors file"),
    ]
    for status, arguments, said in cases:
        [line] = affcli(*arguments, status=status).stderr.splitlines()
        assert line.startswith(f"affcli {arguments[0]}: ")
        assert said in line
    assert not (tables / "m").exists()
    assert not (tables / "w").exists()
    train(affcli, "--epochs", 1, "-q")
    model = ("predict", "--model", "m.safetensors")
    [line] = affcli(*model, *given, "--window", 99_999, "-o", "w", status=2).stderr.splitlines()
    assert "at most 16,384 frames" in line
    [line] = affcli(*model, *given, "--stride", 17, "-o", "w", status=2).stderr.splitlines()
    assert "--stride 17" in line


def test_the_same_command_again_has_nothing_to_do_and_others_are_refused(tables: Path, affcli: Affcli) -> None:
    train(affcli, "--epochs", 1)
    before = (tables / "m.safetensors").read_bytes()
    assert "nothing to do" in train(affcli, "--epochs", 1)
    given = ("--visual", "visual.parquet", "--audio", "audio.parquet", "--labels", "labels", *SMALL)
    said = affcli("train", *given, "--epochs", 2, "-o", "m.safetensors", status=1).stderr
    assert "other data or settings" in said
    assert (tables / "m.safetensors").read_bytes() == before
    assert "kept epoch 2" in train(affcli, "--epochs", 2, "--force")


def test_a_network_without_gates_or_cross_attention_is_trained_and_its_card_says_so(
    tables: Path, affcli: Affcli
) -> None:
    given = ("--visual", "visual.parquet", "--audio", "audio.parquet")
    for option, lacking in (("--no-gates", "gate"), ("--no-cross-attention", "_to_")):
        train(affcli, "--epochs", 1, "-q", option, output=option)
        network, card = load_model(str(tables / option))
        assert (card.config.gates, card.config.cross_attention) == (option != "--no-gates", option == "--no-gates")
        assert not [name for name, _ in network.named_parameters() if lacking in name]
        affcli("predict", "--model", f"./{option}", *given, "-o", f"w{option}.parquet")


@pytest.mark.parametrize("validated", [True, False])
def test_killed_training_goes_on_from_the_last_epoch_and_ends_with_the_same_bytes(
    tables: Path, affcli: Affcli, validated: bool
) -> None:
    more = ("--epochs", 8, "--dropout", 0.2, *(("--val-labels", "labels") if validated else ()))
    train(affcli, *more, "--log", "whole.jsonl", output="whole")
    arguments = ("--visual", "visual.parquet", "--audio", "audio.parquet", "--labels", "labels", *SMALL, *more)
    log = tables / "log.jsonl"
    process = Warm(tables, "train", *arguments, "--log", log, "-o", "killed")
    process.wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 3)
    process.signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (tables / "killed.unfinished").exists()
    assert not (tables / "killed").exists()
    said = train(affcli, *more, "--log", "log.jsonl", output="killed")
    assert "going on after epoch" in said
    assert (tables / "killed").read_bytes() == (tables / "whole").read_bytes()
    assert not (tables / "killed.unfinished").exists()
    lines, whole = (
        [{**json.loads(line), "seconds": 0} for line in (tables / name).read_text().splitlines()]
        for name in ("log.jsonl", "whole.jsonl")
    )
    assert lines == whole


@pytest.mark.parametrize("changed", ["settings", "features", "labels", "fold"])
def test_interrupted_training_of_other_settings_or_data_starts_afresh_and_says_so(
    tables: Path, affcli: Affcli, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    with monkeypatch.context() as patch:
        save = Progress.save
        patch.setattr(Progress, "save", lambda progress, state: (save(progress, state), interrupt(len(state.reports))))
        said = train(affcli, status=130).splitlines()[-1]
        assert said.startswith("affcli train: interrupted; ")
        assert said.endswith(" of 12 epochs is done and kept; the same command goes on from there.")
    assert (tables / "m.safetensors.unfinished").is_file()
    more = {"settings": ("--lr", 2e-3), "fold": ("--fold", "1/4")}.get(changed, ())
    if changed == "features":
        write_audio(tables / "audio.parquet", class_features(LABELS, 6, seed=2))
    if changed == "labels":
        write_labels(tables / "labels", {**LABELS, "b": [4] * 26 + [5] * 24})
    assert "starts afresh" in train(affcli, *more, "--epochs", 3)
    assert "starts afresh" not in train(affcli, *more, "--epochs", 3, output="uninterrupted")
    assert (tables / "m.safetensors").read_bytes() == (tables / "uninterrupted").read_bytes()
    assert not (tables / "m.safetensors.unfinished").exists()


def interrupt(epoch: int) -> None:
    if epoch == 2:
        raise KeyboardInterrupt


def test_a_flipped_bit_in_unfinished_weights_starts_afresh_and_says_so(
    tables: Path, affcli: Affcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        save = Progress.save
        patch.setattr(Progress, "save", lambda progress, state: (save(progress, state), interrupt(len(state.reports))))
        train(affcli, status=130)
    file = tables / "m.safetensors.unfinished"
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)
    assert "m.safetensors.unfinished is damaged; training starts afresh." in train(affcli)
    train(affcli, output="uninterrupted")
    assert (tables / "m.safetensors").read_bytes() == (tables / "uninterrupted").read_bytes()


def test_unfinished_training_that_cannot_be_read_starts_afresh_and_says_so(tables: Path, affcli: Affcli) -> None:
    (tables / "m.safetensors.unfinished").write_bytes(b"junk")
    assert "starts afresh" in train(affcli, "--epochs", 1)


def test_what_stands_in_the_card_is_part_of_what_a_model_was_made_from(tables: Path, affcli: Affcli) -> None:
    train(affcli, "--epochs", 1, "-q")
    visual = class_features(LABELS, 12)
    for rows in visual.values():
        rows[::5] = np.nan
    again = {"encoder": {**TOY, "size": 12}}
    write_visual(tables / "visual.parquet", visual, **again)
    assert "nothing to do" in train(affcli, "--epochs", 1)
    for other in ({**again, "alignment": {"size": 112}}, {"encoder": {**TOY, "name": "other", "size": 12}}):
        write_visual(tables / "visual.parquet", visual, **other)
        assert "other data or settings" in train(affcli, "--epochs", 1, status=1)


def test_a_loss_that_is_not_finite_ends_training_without_a_model(tables: Path, affcli: Affcli) -> None:
    given = ("--visual", "visual.parquet", "--audio", "audio.parquet", "--labels", "labels", *SMALL)
    said = affcli("train", *given, "--lr", 1e30, "--epochs", 3, "--log", "log.jsonl", "-o", "m", status=1).stderr
    assert "the loss is not finite in epoch" in said
    assert "lower --lr" in said
    assert not (tables / "m").exists()
    assert "NaN" not in (tables / "log.jsonl").read_text()


def test_training_in_fp16_is_refused_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="bf16 or fp32"):
        devices.choose_for_training("cpu", "fp16")
    monkeypatch.setattr(devices, "choose", lambda *_, **__: devices.Runtime(torch.device("cuda"), "fp16"))
    assert devices.choose_for_training() == devices.Runtime(torch.device("cuda"), "fp32")


def test_training_ends_when_it_gets_no_better(tables: Path, affcli: Affcli) -> None:
    said = train(affcli, "--epochs", 40, "--patience", 2, "--val-labels", "labels", "--log", "log.jsonl")
    lines = [json.loads(line) for line in (tables / "log.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: line["val_macro_f1"])
    assert len(lines) == min(40, best["epoch"] + 2)
    assert f"kept epoch {best['epoch']}" in said


def test_folds_split_the_videos_and_balance_the_classes() -> None:
    random = np.random.default_rng(0)
    labels = {
        f"v{i}": VideoLabels(f"v{i}", random.choice(8, 50, p=random.dirichlet([0.3] * 8)).astype(np.int8))
        for i in range(40)
    }
    parts = [Fold(number, 4).held_out(labels, seed=3) for number in range(1, 5)]
    assert sorted(itertools.chain(*parts)) == sorted(labels)
    assert parts[1] == Fold(2, 4).held_out(labels, seed=3)
    counts = np.array([sum(np.bincount(labels[v].labels, minlength=8) for v in part) for part in parts])
    even = counts.sum(axis=0) / 4
    at_random = np.array(
        [
            sum(np.bincount(labels[f"v{i}"].labels, minlength=8) for i in part)
            for part in random.permutation(40).reshape(4, 10)
        ]
    )
    assert np.abs(counts - even).sum() < 0.5 * np.abs(at_random - even).sum()
    with pytest.raises(AffcliError, match="cannot be split into 50"):
        Fold(1, 50).held_out(labels, seed=0)


def test_people_of_one_recording_are_held_out_together() -> None:
    labels = {name: VideoLabels(name, np.zeros(9, np.int8)) for name in ("x_left", "x_right", "y", "z#1", "z#2", "w")}
    parts = [set(Fold(number, 2).held_out(labels, seed=0)) for number in (1, 2)]
    assert parts[0] | parts[1] == set(labels)
    for pair in ({"x_left", "x_right"}, {"z#1", "z#2"}):
        assert any(pair <= part for part in parts)


def test_held_out_predictions_of_all_folds_cover_every_video_once(tables: Path, affcli: Affcli) -> None:
    for number in (1, 2):
        train(affcli, "--epochs", 1, "--fold", f"{number}/2", "-q", output=f"m{number}")
        given = ("--model", f"m{number}", "--visual", "visual.parquet", "--audio", "audio.parquet")
        affcli("predict", *given, "--held-out", "-o", f"w{number}.parquet")
    videos = [set(pq.read_table(tables / f"w{n}.parquet")["video"].to_pylist()) for n in (1, 2)]
    assert videos[0] | videos[1] == set(LABELS)
    assert not videos[0] & videos[1]
    affcli("vote", "w1.parquet", "w2.parquet", "-o", "all.parquet")
    scored = json.loads(affcli("score", "all.parquet", "--labels", "labels", "--json", "-q").stdout)
    assert scored["coverage"] == 1
    train(affcli, "--epochs", 1, "-q", output="whole")
    given = ("--model", "whole", "--visual", "visual.parquet")
    assert "held none" in affcli("predict", *given, "--held-out", "-o", "x", status=1).stderr
    for wrong in ("2", "0/2", "3/2", "1/1", "a/b"):
        assert "is not K/N" in affcli("train", "--fold", wrong, status=2).stderr


def test_two_processes_train_as_one(tables: Path, affcli: Affcli, programs: Path) -> None:
    # 46 windows in batches of 9: of the last one, the second process has no share
    more = ("--epochs", 3, "--dropout", 0, "--modality-dropout", 0.5, "--val-labels", "labels", "--batch-size", 9)
    assert " 46 windows" in train(affcli, *more, "--log", "one.jsonl", output="one")
    arguments = ("--visual", "visual.parquet", "--audio", "audio.parquet", "--labels", "labels", *SMALL, *more)
    several = ("--nproc-per-node", 2, "--no-python", "--", programs / "affcli", "train")
    torchrun = Warm(tables, *several, *arguments, "--log", "two.jsonl", "-o", "two", code=TORCHRUN)
    assert torchrun.wait() == 0, torchrun.said
    one, two = ([json.loads(line) for line in (tables / f"{n}.jsonl").read_text().splitlines()] for n in ("one", "two"))
    for mine, theirs in zip(one, two, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)
        assert theirs["val_macro_f1"] == pytest.approx(mine["val_macro_f1"], abs=1e-3)
    weights = [load_model(str(tables / name))[0].state_dict() for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=1e-4, rtol=1e-3)
    assert torchrun.said.count("kept epoch") == 1


@pytest.mark.parametrize("log", ["visual.parquet", "audio.parquet", "labels/a.txt", "m.safetensors"])
def test_a_log_never_replaces_what_is_read_or_written(tables: Path, affcli: Affcli, log: str) -> None:
    before = (tables / log).read_bytes() if (tables / log).exists() else None
    given = ("--visual", "visual.parquet", "--audio", "audio.parquet", "--labels", "labels", *SMALL)
    said = affcli("train", *given, "--epochs", 1, "--log", log, "-o", "m.safetensors", status=2).stderr
    assert f"{log}: is read or written as" in said
    assert ((tables / log).read_bytes() if before is not None else None) == before
