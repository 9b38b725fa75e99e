"""How sound enters an encoder of speech: as a waveform (WavLM and its kind) or as a log-mel spectrogram.

Each front end runs transformers' own model on what transformers' own feature extractor makes of the samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.models.encoders.find_checkpoint import Checkpoint
from affcli.models.encoders.loading import load
from affcli.models.encoders.preprocessing import SoundPreprocessing, sampling_rate_hz
from affcli.models.encoders.steps import StepGrid
from affcli.models.runtime import devices

Samples = NDArray[np.float32]
Hidden = Sequence[torch.Tensor]  # [1, steps, size] of each layer, the embeddings first

_CONV_STRIDE: Final = 2  # of Whisper's second convolution: two frames of the spectrogram a step


class FrontEnd(Protocol):
    """An encoder without its last step, the mean over layers."""

    model: Any
    lacking: list[str]  # weights that the checkpoint lacks and that a feature depends on
    unused: list[str]  # weights that it lacks and that no feature depends on
    steps: StepGrid
    longest: int | None  # samples in one pass; None: any number

    def prepared(self, samples: Samples) -> NDArray[np.float32]:
        """What the model is given, without the batch's dimension."""
        ...

    def hidden(self, values: torch.Tensor) -> Hidden:
        """The hidden states for a batch of sounds of one length."""
        ...


def front_end_of(checkpoint: Checkpoint, device: torch.device, model: Any = None) -> FrontEnd:
    """The front end for a checkpoint; raises AffcliError for one that is no encoder of speech.

    `model` is the checkpoint's encoder where it is loaded already, as a part of a larger network.
    """
    kind = checkpoint.read("config.json").get("model_type")
    if kind == "whisper":
        return WhisperFrontEnd(checkpoint, device, model)
    if kind == "audio-spectrogram-transformer":
        return SpectrogramTransformerFrontEnd(checkpoint, device, model)
    if kind == "wav2vec2-bert":
        return Wav2Vec2BertFrontEnd(checkpoint, device, model)
    return WaveformFrontEnd(checkpoint, device, model)


class WaveformFrontEnd:
    """The wav2vec2 family: a stack of convolutions without padding over the samples."""

    longest: int | None = None

    def __init__(self, checkpoint: Checkpoint, device: torch.device, model: Any = None) -> None:
        self._preprocessing = SoundPreprocessing.of(checkpoint)
        self.model, lacking = (model, []) if model is not None else load(checkpoint, device)
        config = self.model.config
        if not hasattr(config, "conv_stride"):
            raise AffcliError(
                f"--model {checkpoint.name}: a {config.model_type} model is no speech encoder that affcli knows "
                "(the wav2vec2 family, Whisper, w2v-BERT, the Audio Spectrogram Transformer)."
            )
        self.unused = [name for name in lacking if name == "masked_spec_embed"]  # SpecAugment's, for training only
        self.lacking = [name for name in lacking if name not in self.unused]
        self.steps = StepGrid.of(config.conv_kernel, config.conv_stride, self._preprocessing.sample_rate_hz)

    def prepared(self, samples: Samples) -> NDArray[np.float32]:
        """The samples, normalised as the checkpoint asks, float32 [n]."""
        return self._preprocessing.normalised(samples)

    def hidden(self, values: torch.Tensor) -> Hidden:
        """Hidden states of all layers, [1, steps, size] each, the embeddings first."""
        return self.model(values, output_hidden_states=True).hidden_states  # type: ignore[no-any-return]


class WhisperFrontEnd:
    """Whisper's encoder, 50 steps a second: its table of positions is cropped to the sound, which is not padded.

    Step j is centred on sample 320·j: two convolutions with padding, of width 3, over frames of 400 samples. The last
    samples that fill no step are left out. Log-mel values are clamped to 8 below the largest of the same pass.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, model: Any = None) -> None:
        # Saved with its decoder, with a head for classification, or alone.
        keys = {r"^(model\.)?encoder\.": ""}
        kind = devices.transformers().models.whisper.modeling_whisper.WhisperEncoder
        own = load(checkpoint, device, kind=kind, key_mapping=keys) if model is None else (model, [])
        self.model, self.lacking = own
        self.unused: list[str] = []
        self._extractor = _feature_extractor(checkpoint, "WhisperFeatureExtractor")
        rate, frame, width = self._extractor.sampling_rate, self._extractor.hop_length, self._extractor.n_fft
        self._hop = _CONV_STRIDE * frame
        field = width + 4 * frame  # 5 frames
        self.steps = StepGrid(self._hop, field, rate, start=-field // 2, least=self._hop)
        self._positions = self.model.embed_positions.weight
        self.longest = len(self._positions) * self._hop

    def prepared(self, samples: Samples) -> NDArray[np.float32]:
        """The log-mel spectrogram [mels, frames] of the samples that fill whole steps."""
        whole = samples[: self.steps.count(len(samples)) * self._hop]
        facts = {"sampling_rate": self.steps.sample_rate_hz, "padding": "do_not_pad", "truncation": False}
        with torch.autocast("cpu", enabled=False):  # it computes by torch
            (values,) = self._extractor(whole, return_tensors="np", **facts)["input_features"]
        return np.ascontiguousarray(values, np.float32)

    def hidden(self, values: torch.Tensor) -> Hidden:
        """Hidden states of all layers, [1, steps, size] each, the embeddings first."""
        with self._cropped(values.shape[-1] // _CONV_STRIDE):
            return self.model(values, output_hidden_states=True).hidden_states  # type: ignore[no-any-return]

    @contextmanager
    def _cropped(self, steps: int) -> Iterator[None]:
        """With a table of so many positions: its forward pass takes this length only."""
        whole, config = self.model.embed_positions, self.model.config
        longest, config.max_source_positions = config.max_source_positions, steps
        self.model.embed_positions = torch.nn.Embedding.from_pretrained(self._positions[:steps])  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            self.model.embed_positions, config.max_source_positions = whole, longest


class SpectrogramTransformerFrontEnd:
    """The Audio Spectrogram Transformer (AST): a step is the mean over the patches of one place in time.

    Patches follow one another every `time_stride` frames of 10 ms. The table of positions is cropped in time to the
    sound, which is not padded.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, model: Any = None) -> None:
        self.model, lacking = (model, []) if model is not None else load(checkpoint, device)
        self.unused: list[str] = []
        self.lacking = lacking
        extractor = _feature_extractor(checkpoint, "ASTFeatureExtractor")
        config, frame, width = self.model.config, 160, 400  # 10 ms and 25 ms, fixed in the extractor
        if extractor.sampling_rate != 16_000:
            raise AffcliError(f"--model {checkpoint.name}: {extractor.sampling_rate} Hz; an AST takes 16000 Hz.")
        self._extractor, self._frame, self._width = extractor, frame, width
        field = (config.patch_size - 1) * frame + width
        self.steps = StepGrid(config.time_stride * frame, field, extractor.sampling_rate)
        self._rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        self._positions = self.model.embeddings.position_embeddings.detach()
        self.longest = (config.max_length - 1) * frame + width

    def prepared(self, samples: Samples) -> NDArray[np.float32]:
        """The log-mel spectrogram [frames, mels], neither padded nor cut."""
        self._extractor.max_length = (len(samples) - self._width) // self._frame + 1
        made = self._extractor(samples, sampling_rate=self.steps.sample_rate_hz, return_tensors="np")
        return np.ascontiguousarray(made["input_values"][0], np.float32)

    def hidden(self, values: torch.Tensor) -> Hidden:
        """Hidden states of all layers, [1, steps, size] each: means over the frequency patches of a step."""
        steps = self._steps(values)
        with self.cropped(values):
            layers = self.model(values, output_hidden_states=True).hidden_states
        return [layer[:, 2:].unflatten(1, (self._rows, steps)).mean(1) for layer in layers]

    def _steps(self, values: torch.Tensor) -> int:
        config = self.model.config
        return int((values.shape[1] - config.patch_size) // config.time_stride + 1)

    @contextmanager
    def cropped(self, values: torch.Tensor) -> Iterator[None]:
        """With a table of as many positions as a spectrogram [n, frames, mels] needs."""
        steps, begin, patches = self._steps(values), self._positions[:, :2], self._positions[:, 2:]
        kept = patches.unflatten(1, (self._rows, -1))[:, :, :steps].flatten(1, 2)
        # In its slot, which `torch.func.functional_call` fills with a tensor that is no parameter.
        slots = self.model.embeddings._parameters
        whole = slots["position_embeddings"]
        slots["position_embeddings"] = torch.nn.Parameter(torch.cat([begin, kept], 1), requires_grad=False)
        try:
            yield
        finally:
            slots["position_embeddings"] = whole


class Wav2Vec2BertFrontEnd:
    """w2v-BERT 2.0: a step is two frames of the log-mel spectrogram, 25 ms every 10 ms, one after the other.

    Each mel band is normalised over the pass. The last samples that fill no step are left out: nothing is padded.
    """

    longest: int | None = None

    def __init__(self, checkpoint: Checkpoint, device: torch.device, model: Any = None) -> None:
        self._extractor = _feature_extractor(checkpoint, "SeamlessM4TFeatureExtractor")
        frame, width, together = 160, 400, self._extractor.stride  # frame and width are fixed in the extractor
        if self._extractor.sampling_rate != 16_000:
            raise AffcliError(
                f"--model {checkpoint.name}: {self._extractor.sampling_rate} Hz; w2v-BERT takes 16000 Hz."
            )
        self.model, lacking = (model, []) if model is not None else load(checkpoint, device)
        self.unused = [name for name in lacking if name == "masked_spec_embed"]  # SpecAugment's, for training only
        self.lacking = [name for name in lacking if name not in self.unused]
        self.steps = StepGrid(together * frame, width + (together - 1) * frame, self._extractor.sampling_rate)

    def prepared(self, samples: Samples) -> NDArray[np.float32]:
        """The frames of each step [steps, stride · mels] of the samples that fill whole steps."""
        whole = samples[: self.steps.field + (self.steps.count(len(samples)) - 1) * self.steps.hop]
        made = self._extractor(whole, sampling_rate=self.steps.sample_rate_hz, return_tensors="np")
        return np.ascontiguousarray(made["input_features"][0], np.float32)

    def hidden(self, values: torch.Tensor) -> Hidden:
        """Hidden states of all layers, [1, steps, size] each, the embeddings first."""
        return self.model(values, output_hidden_states=True).hidden_states  # type: ignore[no-any-return]


def _feature_extractor(checkpoint: Checkpoint, kind: str) -> Any:
    """transformers' own, as the checkpoint describes it."""
    if "sampling_rate" in checkpoint.preprocessing():
        sampling_rate_hz(checkpoint)
    try:
        return getattr(devices.transformers(), kind).from_dict(checkpoint.preprocessing())
    except Exception as error:  # whatever a damaged file makes the extractor raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AffcliError(
            f"--model {checkpoint.name}: preprocessor_config.json does not suit a {kind}: {reason}"
        ) from error
