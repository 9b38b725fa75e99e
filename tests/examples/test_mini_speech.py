"""What the recipe of mini's speech network (examples/mini/speech.py) computes by itself, against other oracles."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

RATE = 16_000


@pytest.fixture(scope="module")
def recipe() -> dict[str, ModuleType]:
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "mini"))
    try:
        return {name: importlib.import_module(name) for name in ("speech", "speech_changes", "speech_data")}
    finally:
        sys.path.pop(0)


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def test_spectrograms_become_what_whispers_feature_extractor_makes(recipe: dict[str, ModuleType]) -> None:
    ours = recipe["speech"].normalised(torch.from_numpy(recipe["speech_data"].log_mel(sound(2)))[None])[0].numpy()
    theirs = WhisperFeatureExtractor()(sound(2), sampling_rate=RATE, padding="do_not_pad", return_tensors="np")
    np.testing.assert_allclose(ours.T, theirs["input_features"][0], atol=1e-4)


def utterances(recipe: dict[str, ModuleType], lengths: list[int]) -> object:
    n = len(lengths)
    spectra = np.random.default_rng(0).normal(-2, 1, (sum(lengths), 80)).astype(np.float16)
    votes = np.eye(8, dtype=np.float32)[[0, 1, 0, 0][:n]]
    corpus = np.array(["crema-d", "crema-d", "emodb", "nemo"][:n])
    speaker = np.array([str(i) for i in range(n)])
    begins = np.cumsum([0, *lengths])
    return recipe["speech_data"].Utterances(spectra, begins, corpus, speaker, np.array([1, 1, 1, 6][:n]), votes)


def test_targets_mix_what_was_asked_for_with_what_was_heard(recipe: dict[str, ModuleType]) -> None:
    found = recipe["speech"].targets(utterances(recipe, [100, 100, 100, 100])).numpy()
    # Both were asked to be angry; the first was heard as neutral. Other corpora have no votes.
    ground = 0.05 / 8
    expected = np.full((4, 8), ground)
    expected[0, [0, 1]] += [0.95 * 0.2, 0.95 * 0.8]
    expected[1:3, 1] += 0.95
    expected[3, 6] += 0.95
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_packed_utterances_stand_where_their_spans_say(recipe: dict[str, ModuleType]) -> None:
    speech = utterances(recipe, [200, 150, 300, 250])
    batch = recipe["speech"].packed(speech, np.arange(4), np.random.default_rng(3))
    assert batch.power.shape == (1, 800, 80)
    assert batch.spans
    for row, first, last, i in batch.spans:
        whole = torch.from_numpy(10 ** speech.spectrum(i))[: 2 * (last - first)]
        assert torch.equal(batch.power[row, 2 * first : 2 * last], whole)
        assert batch.heard[row, 2 * first : 2 * last].all()


def test_changed_speech_is_finite_and_depends_on_the_generator_alone(recipe: dict[str, ModuleType]) -> None:
    power = torch.from_numpy(10 ** recipe["speech_data"].log_mel(sound(1.5)))[None].repeat(12, 1, 1)
    heard = torch.ones(power.shape[:2], dtype=torch.bool)
    one, same, other = (
        recipe["speech_changes"].Changes(torch.Generator().manual_seed(seed))(power, heard) for seed in (1, 1, 2)
    )
    assert torch.isfinite(one).all()
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.flatten(1).std(0).mean() > 0.1  # the same sound, changed in twelve ways


def test_the_telephone_keeps_its_band_and_loses_the_rest(recipe: dict[str, ModuleType]) -> None:
    time_s = np.arange(RATE) / RATE
    for hertz, kept in ((100, False), (1000, True), (6000, False)):
        tone = np.sin(2 * np.pi * hertz * time_s).astype(np.float32)
        level = np.sqrt((recipe["speech"].telephone(tone)[4000:-4000] ** 2).mean())
        assert (level > 0.6) == kept


def test_noise_has_the_level_that_is_asked_for(recipe: dict[str, ModuleType]) -> None:
    clean, random = sound(1), np.random.default_rng(1)
    added = recipe["speech"].noisy(clean, recipe["speech"].pink(len(clean), random), 10) - clean
    assert 10 * np.log10((clean**2).mean() / (added**2).mean()) == pytest.approx(10, abs=0.01)


def test_wilson_intervals_equal_published_ones(recipe: dict[str, ModuleType]) -> None:
    low, high = recipe["speech"].wilson(37, 76)
    assert (round(low, 3), round(high, 3)) == (0.378, 0.597)


def test_corpora_are_read_by_the_names_of_their_files(tmp_path: Path, recipe: dict[str, ModuleType]) -> None:
    files = {
        "crema-d/speech-emotion-recognition-en/Crema": ["1001_DFA_ANG_XX", "1006_TIE_HAP_XX"],  # the second: a twin
        "nEMO/samples": ["AO1_surprised_3"],
        "URDU-Dataset/Sad": ["SM1_F2_S02"],
        "emodb": ["03a01Fa", "03a04Lc"],  # L, boredom, is left out
    }
    for folder, stems in files.items():
        (tmp_path / folder).mkdir(parents=True)
        for stem in stems:
            soundfile.write(tmp_path / folder / f"{stem}.wav", sound(0.5), RATE)
    votes = ['"",A,D,F,H,N,S,fileName', "100001,1,0,0,0,3,0,1001_DFA_ANG_XX"]
    (tmp_path / "tabulatedVotes.csv").write_text("\n".join(votes))
    speech = recipe["speech_data"].read(tmp_path)
    assert speech.corpus.tolist() == ["crema-d", "nemo", "urdu", "emodb"]
    assert speech.speaker.tolist() == ["1001", "AO1", "SM1", "03"]
    assert speech.label.tolist() == [1, 6, 5, 4]
    assert speech.votes[0].tolist() == [0.75, 0.25, 0, 0, 0, 0, 0, 0]


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path, recipe: dict[str, ModuleType]) -> None:
    speech = utterances(recipe, [120, 150, 130, 140])
    drawing, truth = recipe["speech"].Drawing(speech, np.arange(4), 0), recipe["speech"].targets(speech)

    def begun() -> object:
        torch.manual_seed(0)
        sizes = {"d_model": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
        others = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 9}
        tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
        config = WhisperConfig(**sizes, **others, **tokens, num_labels=8, classifier_proj_size=4)
        return recipe["speech"].Training(WhisperForAudioClassification(config), total=4, lr=1e-3)

    def steps(training: object, last: int) -> None:
        for rows in drawing.batches(training.step):  # type: ignore[attr-defined]
            if training.step == last:  # type: ignore[attr-defined]
                return
            recipe["speech"].one_step(training, drawing, rows, truth)

    whole, first, second = begun(), begun(), begun()
    steps(whole, 4)
    steps(first, 2)
    first.save(tmp_path / "state.pt")  # type: ignore[attr-defined]
    second.load(tmp_path / "state.pt")  # type: ignore[attr-defined]
    steps(second, 4)
    for name, expected in whole.mean.state_dict().items():  # type: ignore[attr-defined]
        assert torch.equal(second.mean.state_dict()[name], expected), name  # type: ignore[attr-defined]
